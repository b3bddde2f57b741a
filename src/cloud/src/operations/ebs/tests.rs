//! The EBS direct API from the caller's side, over records.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Call, EbsError, Reply, call};
use crate::cloud::{Cloud, State};
use crate::config::Config;
use crate::model::ec2::PUBLIC_IMAGES;
use crate::node::blocks::BLOCK;
use crate::node::records::Records;
use crate::operations::ec2;
use crate::store::Log;
use crate::wire::query::Query;

struct Bench {
    cloud: Arc<Cloud>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap(), State::default())
    }

    /// A new server over what a former one left.
    fn over(folder: tempfile::TempDir, state: State) -> Self {
        let config = Config { records: true, ..Config::new(folder.path(), folder.path()) };
        let log = Log::open(config.files(), config.owner_uid).unwrap();
        let (records, _) = Records::new(folder.path());
        Self { cloud: Cloud::new(config, Arc::new(records), state, log), folder }
    }

    async fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Reply, EbsError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        call(&self.cloud, &Call { method, path: path.to_owned(), query: query.to_owned(), headers: map, body }).await
    }

    async fn start(&self, input: Value) -> Result<Value, EbsError> {
        let reply = self.call("POST", "/snapshots", &[], input.to_string().into()).await?;
        assert_eq!(reply.status, 201);
        Ok(value(&reply))
    }

    /// The id of a new snapshot.
    async fn begun(&self, input: Value) -> String {
        self.start(input).await.unwrap()["SnapshotId"].as_str().unwrap().to_owned()
    }

    async fn put(&self, id: &str, index: u64, byte: u8) -> Result<Reply, EbsError> {
        let block = block(byte);
        let headers = [
            ("x-amz-data-length", "524288"),
            ("x-amz-checksum", &sum(&[byte])),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-progress", "50"),
        ];
        self.call("PUT", &format!("/snapshots/{id}/blocks/{index}"), &headers, block).await
    }

    async fn complete(&self, id: &str, count: u64, checksum: Option<&str>) -> Result<Reply, EbsError> {
        let count = count.to_string();
        let mut headers = vec![("x-amz-changedblockscount", count.as_str())];
        if let Some(checksum) = checksum {
            headers.extend([
                ("x-amz-checksum", checksum),
                ("x-amz-checksum-algorithm", "SHA256"),
                ("x-amz-checksum-aggregation-method", "LINEAR"),
            ]);
        }
        self.call("POST", &format!("/snapshots/completion/{id}"), &headers, Bytes::new()).await
    }

    /// A completed snapshot with these blocks.
    async fn whole(&self, input: Value, blocks: &[(u64, u8)]) -> String {
        let id = self.begun(input).await;
        for (index, byte) in blocks {
            self.put(&id, *index, *byte).await.unwrap();
        }
        self.complete(&id, blocks.len() as u64, None).await.unwrap();
        self.pass(&id, 2);
        id
    }

    /// Lets a snapshot's time pass.
    fn pass(&self, id: &str, seconds: i64) {
        let mut state = self.cloud.state();
        let upload = state.ec2.snapshots.get_mut(id).unwrap().upload.as_mut().unwrap();
        let back = |time: Timestamp| time.checked_sub(seconds.seconds()).unwrap();
        upload.last_write = back(upload.last_write);
        upload.completed = upload.completed.map(|(at, blocks)| (back(at), blocks));
    }

    async fn get(&self, target: &str) -> Result<Value, EbsError> {
        Ok(value(&self.call("GET", target, &[], Bytes::new()).await?))
    }

    async fn ec2(&self, action: &str, form: &str) -> String {
        ec2::call(&self.cloud, action, &Query::parse(form).unwrap()).await.unwrap().as_str().to_owned()
    }
}

fn value(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn block(byte: u8) -> Bytes {
    vec![byte; BLOCK].into()
}

/// The checksum of one block, or that of the checksums of many.
fn sum(bytes: &[u8]) -> String {
    let sums: Vec<_> = bytes.iter().map(|byte| Sha256::digest(block(*byte))).collect();
    match sums.as_slice() {
        [one] => STANDARD.encode(one),
        many => STANDARD.encode(Sha256::digest(many.concat())),
    }
}

/// Code and reason of a refusal.
fn why<T: std::fmt::Debug>(outcome: Result<T, EbsError>) -> (String, &'static str) {
    let error = outcome.expect_err("a refusal");
    (error.code, error.reason.unwrap_or_default())
}

fn invalid(reason: &'static str) -> (String, &'static str) {
    ("ValidationException".to_owned(), reason)
}

fn text(query: &str) -> String {
    query.replace('+', "%2B").replace('=', "%3D")
}

#[tokio::test]
async fn a_snapshot_is_written_completed_and_read_back() {
    let bench = Bench::new();
    let input = json!({ "VolumeSize": 2, "Description": "d", "Tags": [{ "Key": "a", "Value": "1" }] });
    let started = bench.start(input).await.unwrap();
    assert_eq!((&started["Status"], &started["BlockSize"]), (&json!("pending"), &json!(524_288)));
    assert_eq!(started["Tags"], json!([{ "Key": "a", "Value": "1" }]));
    let id = started["SnapshotId"].as_str().unwrap();
    let put = bench.put(id, 7, 1).await.unwrap();
    assert_eq!((put.status, put.headers[0].1.as_str()), (201, sum(&[1]).as_str()));
    bench.put(id, 3, 9).await.unwrap();
    bench.put(id, 3, 2).await.unwrap();
    let checksum = sum(&[2, 1]);
    let completed = bench.complete(id, 2, Some(&checksum)).await.unwrap();
    assert_eq!((completed.status, value(&completed)), (202, json!({ "Status": "pending" })));
    assert!(bench.ec2("DescribeSnapshots", &format!("SnapshotId.1={id}")).await.contains("<status>pending</status>"));
    bench.pass(id, 1);
    let shown = bench.ec2("DescribeSnapshots", &format!("SnapshotId.1={id}")).await;
    assert!(shown.contains("<status>completed</status>") && shown.contains("<key>a</key>"), "{shown}");

    let listed = bench.get(&format!("/snapshots/{id}/blocks")).await.unwrap();
    let indexes: Vec<_> = listed["Blocks"].as_array().unwrap().iter().map(|block| block["BlockIndex"].clone()).collect();
    assert_eq!((indexes, &listed["VolumeSize"]), (vec![json!(3), json!(7)], &json!(2)));
    let token = text(listed["Blocks"][1]["BlockToken"].as_str().unwrap());
    let read = bench.call("GET", &format!("/snapshots/{id}/blocks/7?blockToken={token}"), &[], Bytes::new()).await.unwrap();
    assert_eq!((read.content_type, &read.body), ("application/octet-stream", &block(1)));
    let headers = [("x-amz-data-length", "524288".to_owned()), ("x-amz-checksum", sum(&[1]))];
    assert_eq!(&read.headers[..2], headers);
    let other = bench.get(&format!("/snapshots/{id}/blocks/3?blockToken={token}")).await;
    assert_eq!(why(other), invalid("INVALID_BLOCK_TOKEN"));
}

#[tokio::test]
async fn a_client_token_starts_one_snapshot() {
    let bench = Bench::new();
    let input = json!({ "VolumeSize": 1, "ClientToken": "t" });
    let id = bench.begun(input.clone()).await;
    assert_eq!(bench.begun(input).await, id);
    let other = bench.start(json!({ "VolumeSize": 2, "ClientToken": "t" })).await;
    assert_eq!(other.unwrap_err().status, 409);
    let other = bench.start(json!({ "VolumeSize": 2, "ClientToken": "t" })).await;
    assert_eq!(why(other), ("ConflictException".to_owned(), ""));
    assert_ne!(bench.begun(json!({ "VolumeSize": 1, "ClientToken": "u" })).await, id);
}

#[tokio::test]
async fn what_a_start_may_not_say_is_refused() {
    let bench = Bench::new();
    let parent = bench.whole(json!({ "VolumeSize": 2 }), &[]).await;
    let open = bench.begun(json!({ "VolumeSize": 1 })).await;
    for (input, expected) in [
        (json!({ "VolumeSize": 0 }), "INVALID_VOLUME_SIZE"),
        (json!({ "VolumeSize": 65_537 }), "INVALID_VOLUME_SIZE"),
        (json!({ "VolumeSize": 1, "Timeout": 9 }), "INVALID_PARAMETER_VALUE"),
        (json!({ "VolumeSize": 1, "Sugar": 2 }), "INVALID_PARAMETER_VALUE"),
        (json!({ "VolumeSize": 1, "KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/1" }), "INVALID_PARAMETER_VALUE"),
        (json!({ "VolumeSize": 2, "ParentSnapshotId": parent, "Encrypted": true }), "INVALID_PARAMETER_VALUE"),
        (json!({ "VolumeSize": 1, "ParentSnapshotId": parent }), "INVALID_VOLUME_SIZE"),
        (json!({ "VolumeSize": 1, "ParentSnapshotId": open }), "INVALID_SNAPSHOT_ID"),
        (json!({ "VolumeSize": 8, "ParentSnapshotId": PUBLIC_IMAGES[0].snapshot_id }), "INVALID_SNAPSHOT_ID"),
        (json!({ "VolumeSize": 1, "Tags": [{ "Key": "aws:a", "Value": "" }] }), "INVALID_TAG"),
    ] {
        assert_eq!(why(bench.start(input.clone()).await), invalid(expected), "{input}");
    }
    let unknown = bench.start(json!({ "VolumeSize": 1, "ParentSnapshotId": "snap-0123456789abcdef0" })).await;
    assert_eq!(why(unknown), ("ResourceNotFoundException".to_owned(), "SNAPSHOT_NOT_FOUND"));
}

#[tokio::test]
async fn a_block_is_whole_has_its_checksum_and_lies_in_the_volume() {
    let bench = Bench::new();
    let id = bench.begun(json!({ "VolumeSize": 1 })).await;
    let path = format!("/snapshots/{id}/blocks/0");
    let good = [("x-amz-data-length", "524288"), ("x-amz-checksum", &sum(&[1])), ("x-amz-checksum-algorithm", "SHA256")];
    let put = async |change: (&'static str, &str), body: Bytes| {
        let mut headers = good.to_vec();
        headers.retain(|(name, _)| *name != change.0);
        if !change.1.is_empty() {
            headers.push(change);
        }
        bench.call("PUT", &path, &headers, body).await
    };
    assert_eq!(why(put(("x-amz-data-length", "524287"), block(1)).await), invalid("INVALID_BLOCK"));
    assert_eq!(why(put(("x-amz-data-length", ""), block(1)).await), invalid("INVALID_PARAMETER_VALUE"));
    assert_eq!(why(put(("x-amz-checksum-algorithm", "MD5"), block(1)).await), invalid("INVALID_PARAMETER_VALUE"));
    assert_eq!(why(put(("x-amz-progress", "101"), block(1)).await), invalid("INVALID_PARAMETER_VALUE"));
    assert_eq!(why(put(("none", ""), block(2)).await), invalid("INVALID_BLOCK"));
    assert_eq!(why(put(("none", ""), block(1).slice(1..)).await), invalid("INVALID_BLOCK"));
    assert_eq!(why(bench.put(&id, 2048, 1).await), invalid("INVALID_BLOCK"));
    assert_eq!(why(bench.put("snap-0123456789abcdef0", 0, 1).await).0, "ResourceNotFoundException");
    assert_eq!(why(bench.put("vol-0123456789abcdef0", 0, 1).await), invalid("INVALID_SNAPSHOT_ID"));
    bench.put(&id, 2047, 1).await.unwrap();
    assert_eq!(bench.cloud.driver.blocks().written(&id).await.unwrap().0, 1);
}

#[tokio::test]
async fn a_snapshot_is_completed_only_with_its_blocks_and_its_checksum() {
    let bench = Bench::new();
    let id = bench.begun(json!({ "VolumeSize": 1 })).await;
    bench.put(&id, 0, 1).await.unwrap();
    bench.put(&id, 1, 2).await.unwrap();
    assert_eq!(why(bench.complete(&id, 1, None).await), invalid("INVALID_PARAMETER_VALUE"));
    assert_eq!(why(bench.complete(&id, 2, Some(&sum(&[2, 1]))).await), invalid("INVALID_PARAMETER_VALUE"));
    bench.complete(&id, 2, Some(&sum(&[1, 2]))).await.unwrap();
    assert_eq!(why(bench.put(&id, 2, 1).await), invalid("INVALID_SNAPSHOT_ID"));
    // Whoever lost the answer may ask again.
    assert_eq!(bench.complete(&id, 2, None).await.unwrap().status, 202);
    assert_eq!(why(bench.complete(&id, 3, None).await), invalid("INVALID_SNAPSHOT_ID"));
}

#[tokio::test]
async fn a_snapshot_that_nobody_writes_to_ends_in_error() {
    let bench = Bench::new();
    let id = bench.begun(json!({ "VolumeSize": 1, "Timeout": 10 })).await;
    bench.pass(&id, 9 * 60);
    bench.put(&id, 0, 1).await.unwrap();
    bench.pass(&id, 9 * 60);
    bench.put(&id, 1, 1).await.unwrap();
    bench.pass(&id, 10 * 60);
    assert_eq!(why(bench.put(&id, 2, 1).await), invalid("INVALID_SNAPSHOT_ID"));
    assert!(bench.ec2("DescribeSnapshots", &format!("SnapshotId.1={id}")).await.contains("<status>error</status>"));
    bench.ec2("DeleteSnapshot", &format!("SnapshotId={id}")).await;
}

#[tokio::test]
async fn pages_of_blocks_cover_all_once() {
    let bench = Bench::new();
    let blocks: Vec<(u64, u8)> = (0..250).map(|index| (index * 2, 1)).collect();
    let id = bench.whole(json!({ "VolumeSize": 1 }), &blocks).await;
    let path = format!("/snapshots/{id}/blocks?maxResults=100");
    let mut target = format!("{path}&startingBlockIndex=3");
    let mut seen = Vec::new();
    loop {
        let page = bench.get(&target).await.unwrap();
        seen.extend(page["Blocks"].as_array().unwrap().iter().map(|block| block["BlockIndex"].as_u64().unwrap()));
        let Some(token) = page["NextToken"].as_str() else { break };
        target = format!("{path}&pageToken={}", text(token));
    }
    assert_eq!(seen, (2..250).map(|index| index * 2).collect::<Vec<_>>());
    let few = bench.get(&format!("/snapshots/{id}/blocks?maxResults=99")).await;
    assert_eq!(why(few), invalid("INVALID_PARAMETER_VALUE"));
    let foreign = bench.get(&format!("/snapshots/{id}/blocks?pageToken=bm9uZQ%3D%3D")).await;
    assert_eq!(why(foreign), invalid("INVALID_PAGE_TOKEN"));
}

#[tokio::test]
async fn changes_are_listed_between_snapshots_of_one_line() {
    let bench = Bench::new();
    let first = bench.whole(json!({ "VolumeSize": 1 }), &[(0, 1), (1, 1)]).await;
    let second = bench.whole(json!({ "VolumeSize": 1, "ParentSnapshotId": first }), &[(1, 2), (5, 3)]).await;
    let path = format!("/snapshots/{second}/changedblocks");
    let changed = bench.get(&format!("{path}?firstSnapshotId={first}")).await.unwrap();
    let blocks = changed["ChangedBlocks"].as_array().unwrap();
    let shape: Vec<_> =
        blocks.iter().map(|block| (block["BlockIndex"].as_u64().unwrap(), block["FirstBlockToken"].is_string())).collect();
    assert_eq!(shape, [(1, true), (5, false)]);
    let token = text(blocks[0]["FirstBlockToken"].as_str().unwrap());
    let before = bench.call("GET", &format!("/snapshots/{first}/blocks/1?blockToken={token}"), &[], Bytes::new()).await;
    assert_eq!(before.unwrap().body, block(1));
    // Without a first snapshot all is new.
    assert_eq!(bench.get(&path).await.unwrap()["ChangedBlocks"].as_array().unwrap().len(), 3);
    let stranger = bench.whole(json!({ "VolumeSize": 1 }), &[]).await;
    let unrelated = bench.get(&format!("{path}?firstSnapshotId={stranger}")).await;
    assert_eq!(why(unrelated), invalid("UNRELATED_SNAPSHOTS"));
}

#[tokio::test]
async fn roots_and_unfinished_snapshots_have_no_blocks_to_read() {
    let bench = Bench::new();
    let id = bench.begun(json!({ "VolumeSize": 1 })).await;
    assert_eq!(why(bench.get(&format!("/snapshots/{id}/blocks")).await), invalid("INVALID_SNAPSHOT_ID"));
    let root = bench.get(&format!("/snapshots/{}/blocks", PUBLIC_IMAGES[0].snapshot_id)).await.unwrap_err();
    assert!(root.message.contains("root volume"), "{root}");
    let unknown = bench.call("DELETE", "/snapshots", &[], Bytes::new()).await.unwrap_err();
    assert_eq!((unknown.code.as_str(), unknown.status), ("UnknownOperationException", 404));
}

#[tokio::test]
async fn an_account_that_encrypts_by_default_encrypts_what_is_started() {
    let bench = Bench::new();
    let plain = bench.whole(json!({ "VolumeSize": 1 }), &[]).await;
    bench.cloud.state().ec2.ebs_encryption_by_default = true;
    let id = bench.begun(json!({ "VolumeSize": 1 })).await;
    assert!(bench.cloud.state().ec2.snapshots[&id].encrypted);
    let child = bench.start(json!({ "VolumeSize": 1, "ParentSnapshotId": plain })).await;
    assert_eq!(why(child), invalid("INVALID_PARAMETER_VALUE"));
}

#[tokio::test]
async fn at_most_a_hundred_snapshots_are_pending() {
    let bench = Bench::new();
    for _ in 0..100 {
        bench.begun(json!({ "VolumeSize": 1 })).await;
    }
    assert_eq!(why(bench.start(json!({ "VolumeSize": 1 })).await).0, "ConcurrentLimitExceededException");
}

#[tokio::test]
async fn a_volume_of_blocks_passes_them_on_to_its_snapshots_and_deletion_leaves_nothing() {
    let bench = Bench::new();
    let id = bench.whole(json!({ "VolumeSize": 1 }), &[(4, 4)]).await;
    let volume = bench.ec2("CreateVolume", &format!("AvailabilityZone=us-east-1a&SnapshotId={id}")).await;
    let volume = volume.split("<volumeId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let until = async |holds: &dyn Fn(&State) -> bool| {
        for _ in 0..2000 {
            if holds(&bench.cloud.state()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("waited in vain");
    };
    until(&|state| state.ec2.volumes[&volume].state.wire() == "available").await;
    bench.ec2("DeleteSnapshot", &format!("SnapshotId={id}")).await;
    let copy = bench.ec2("CreateSnapshot", &format!("VolumeId={volume}")).await;
    let copy = copy.split("<snapshotId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    until(&|state| state.ec2.snapshots[&copy].state.wire() == "completed").await;
    let listed = bench.get(&format!("/snapshots/{copy}/blocks")).await.unwrap();
    assert_eq!(listed["Blocks"][0]["BlockIndex"], json!(4));
    assert_eq!(bench.cloud.driver.blocks().read(&copy, 4).await.unwrap().0, block(4));
    bench.ec2("DeleteSnapshot", &format!("SnapshotId={copy}")).await;
    bench.ec2("DeleteVolume", &format!("VolumeId={volume}")).await;
    until(&|state| !state.ec2.volumes.contains_key(&volume)).await;
    let files = || ["snapshots", "volumes"].map(|name| std::fs::read_dir(bench.folder.path().join(name)).unwrap().count());
    until(&|_| files() == [0, 0]).await;
}

#[tokio::test]
async fn a_half_written_snapshot_is_finished_by_the_next_server() {
    let first = Bench::new();
    let id = first.begun(json!({ "VolumeSize": 1 })).await;
    first.put(&id, 0, 1).await.unwrap();
    let saved = serde_json::to_string(&*first.cloud.state()).unwrap();
    let second = Bench::over(first.folder, serde_json::from_str(&saved).unwrap());
    ec2::resume(&second.cloud).await;
    second.put(&id, 1, 2).await.unwrap();
    second.complete(&id, 2, Some(&sum(&[1, 2]))).await.unwrap();
    second.pass(&id, 2);
    let listed = second.get(&format!("/snapshots/{id}/blocks")).await.unwrap();
    assert_eq!(listed["Blocks"].as_array().unwrap().len(), 2);
}

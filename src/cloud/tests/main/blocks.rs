//! The EBS direct API over the wire: paths, headers and bytes, and who is let in.

use std::net::{SocketAddr, TcpStream};

use std::io::{Read, Write};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Bench, Signer};

const BLOCK: usize = 524_288;

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Signs and sends one call, the body signed or not; `sent` goes over the wire.
fn call(
    signer: &Signer,
    address: SocketAddr,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    (body, sent): (SignableBody<'_>, &[u8]),
) -> Reply {
    let identity = Identity::from(Credentials::from_keys(&signer.key, &signer.secret, None));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(signer.region)
        .name(signer.service)
        .time(signer.time)
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let host = address.to_string();
    let invocation = format!("{:032x}", rand::random::<u128>());
    let mut all = vec![("host", host.as_str()), ("amz-sdk-invocation-id", &invocation)];
    all.extend_from_slice(headers);
    if matches!(body, SignableBody::UnsignedPayload) {
        all.push(("x-amz-content-sha256", "UNSIGNED-PAYLOAD"));
    }
    let url = format!("http://{address}{target}");
    let signable = SignableRequest::new(method, url, all.iter().copied(), body).unwrap();
    let (instructions, _) = sign(signable, &parameters.into()).unwrap().into_parts();
    let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", sent.len());
    for (name, value) in all.iter().copied().chain(instructions.headers()) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(sent);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body: answer[end + 4..].to_vec() }
}

fn signed(body: &[u8]) -> (SignableBody<'_>, &[u8]) {
    (SignableBody::Bytes(body), body)
}

fn block_headers(checksum: &str) -> [(&str, &str); 3] {
    [("x-amz-data-length", "524288"), ("x-amz-checksum", checksum), ("x-amz-checksum-algorithm", "SHA256")]
}

async fn start(bench: &Bench) -> String {
    let input = json!({ "VolumeSize": 1, "ClientToken": "t" }).to_string();
    let reply = call(&bench.signer("ebs"), bench.address, ("POST", "/snapshots"), &[], signed(input.as_bytes()));
    assert_eq!((reply.status, reply.header("content-type")), (201, Some("application/json")));
    reply.json()["SnapshotId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_go_in_and_come_out_as_bytes_and_outlive_the_server() {
    let bench = Bench::start().await;
    let id = start(&bench).await;
    let data: Vec<u8> = (0..BLOCK).map(|place| (place % 251) as u8).collect();
    let checksum = STANDARD.encode(Sha256::digest(&data));
    let path = format!("/snapshots/{id}/blocks/11");
    let put = call(&bench.signer("ebs"), bench.address, ("PUT", &path), &block_headers(&checksum), signed(&data));
    assert_eq!((put.status, put.header("x-amz-checksum")), (201, Some(checksum.as_str())));
    let folder = bench.stop().await;

    let bench = Bench::start_in(folder).await;
    let (signer, address) = (bench.signer("ebs"), bench.address);
    let path = format!("/snapshots/completion/{id}");
    let complete = call(&signer, address, ("POST", &path), &[("x-amz-changedblockscount", "1")], signed(b""));
    assert_eq!((complete.status, complete.json()), (202, json!({ "Status": "pending" })));
    let path = format!("/snapshots/{id}/blocks");
    let listed = loop {
        let reply = call(&signer, address, ("GET", &path), &[], signed(b""));
        match reply.status {
            200 => break reply.json(),
            _ => assert_eq!(reply.json()["Reason"], "INVALID_SNAPSHOT_ID"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let token = listed["Blocks"][0]["BlockToken"].as_str().unwrap().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let get = call(&signer, address, ("GET", &format!("{path}/11?blockToken={token}")), &[], signed(b""));
    assert_eq!((get.status, get.header("x-amz-data-length")), (200, Some("524288")));
    assert!(get.body == data && get.header("x-amz-checksum") == Some(&checksum));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_body_is_admitted_for_a_block_alone_and_only_with_its_checksum() {
    let bench = Bench::start().await;
    let id = start(&bench).await;
    let (signer, address) = (bench.signer("ebs"), bench.address);
    let (data, other) = (vec![1; BLOCK], vec![2; BLOCK]);
    let checksum = STANDARD.encode(Sha256::digest(&data));
    let path = format!("/snapshots/{id}/blocks/0");
    let unsigned = |sent| (SignableBody::UnsignedPayload, sent);
    let put = |sent| call(&signer, address, ("PUT", &path), &block_headers(&checksum), unsigned(sent));
    assert_eq!(put(&data).status, 201);
    let changed = put(&other);
    assert_eq!((changed.status, changed.header("x-amzn-errortype")), (400, Some("ValidationException")));
    assert_eq!(changed.json()["Reason"], "INVALID_BLOCK");
    let headers = &block_headers(&checksum)[..1];
    assert_eq!(call(&signer, address, ("PUT", &path), headers, unsigned(&data)).status, 400);
    let input = json!({ "VolumeSize": 1 }).to_string();
    let start = call(&signer, address, ("POST", "/snapshots"), &[], unsigned(input.as_bytes()));
    assert_eq!(start.header("x-amzn-errortype"), Some("InvalidSignatureException"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signatures_and_unknown_paths_are_refused() {
    let bench = Bench::start().await;
    let address = bench.address;
    let foreign = call(&bench.signer("ec2"), address, ("GET", "/snapshots/snap-1/blocks"), &[], signed(b""));
    assert_eq!(foreign.header("x-amzn-errortype"), Some("InvalidSignatureException"));
    let wrong = Signer { secret: "x".repeat(40), ..bench.signer("ebs") };
    let wrong = call(&wrong, address, ("GET", "/snapshots/snap-1/blocks"), &[], signed(b""));
    assert_eq!(wrong.header("x-amzn-errortype"), Some("InvalidSignatureException"));
    let unsigned = bench.raw("GET /snapshots/snap-1/blocks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(unsigned.status == 400 && unsigned.json()["Message"] == "the request is not signed", "{unsigned:?}");
    let unknown = call(&bench.signer("ebs"), address, ("DELETE", "/snapshots/snap-1"), &[], signed(b""));
    assert_eq!((unknown.status, unknown.header("x-amzn-errortype")), (404, Some("UnknownOperationException")));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_befalls_a_block_is_told_in_the_words_of_ebs_and_a_lost_answer_leaves_the_block() {
    let bench = Bench::start().await;
    let id = start(&bench).await;
    let (signer, address) = (bench.signer("ebs"), bench.address);
    let data = vec![7; BLOCK];
    let checksum = STANDARD.encode(Sha256::digest(&data));
    let put = |index: u32| {
        let path = format!("/snapshots/{id}/blocks/{index}");
        call(&signer, address, ("PUT", &path), &block_headers(&checksum), signed(&data))
    };
    for (fault, status, code) in [
        ("throttled", 400, "RequestThrottledException"),
        ("deny", 403, "AccessDeniedException"),
        ("internal-error", 500, "InternalServerException"),
    ] {
        let rule = json!([{ "service": "ebs", "action": "PutSnapshotBlock", "count": 1, "fault": fault }]);
        bench.rules(rule).await;
        let refused = put(0);
        assert_eq!((refused.status, refused.header("x-amzn-errortype")), (status, Some(code)), "{fault}");
    }
    assert_eq!(put(0).status, 201);
    bench.rules(json!([{ "service": "ebs", "when": { "resource": id }, "count": 1, "fault": "error-after" }])).await;
    assert_eq!(put(1).status, 500);
    let path = format!("/snapshots/completion/{id}");
    let complete = call(&signer, address, ("POST", &path), &[("x-amz-changedblockscount", "2")], signed(b""));
    assert_eq!(complete.status, 202, "the second block took effect although its answer was an error");
    let journal = bench.local("GetJournal", json!({})).await.json();
    assert!(journal["calls"].as_array().unwrap().iter().any(|call| call["service"] == "ebs" && call["faults"] != json!([])));
    bench.stop().await;
}

//! Snapshots written block by block: StartSnapshot, PutSnapshotBlock, CompleteSnapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{CHECKSUM, Call, EbsError, Reply, block_index, find};
use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, NO_VOLUME, Snapshot, SnapshotSource, SnapshotState, Tags, Token, Upload, new_id};
use crate::node::blocks::BLOCK;
use crate::wire::json;

/// Largest volume in GiB (ec2.md 8.6).
const LARGEST: i64 = 65_536;

/// Minutes without a write after which a snapshot is given up, when the call says nothing (ec2.md 8.6).
const TIMEOUT: i64 = 60;

/// Snapshots that may be pending at once in an account (ec2.md 8.7).
const PENDING: usize = 100;

/// How often at most, in seconds, writes make the model be written to disk: only the time-out depends on it.
const NOTE_WRITES: i64 = 30;

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Start {
    volume_size: i64,
    parent_snapshot_id: Option<String>,
    tags: Option<Vec<TagInput>>,
    description: Option<String>,
    #[serde(skip_serializing)]
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagInput {
    key: String,
    value: Option<String>,
}

impl Start {
    fn check(&self) -> Result<(), EbsError> {
        if !(1..=LARGEST).contains(&self.volume_size) {
            let message = format!("VolumeSize {} is not between 1 and {LARGEST}", self.volume_size);
            return Err(EbsError::invalid("INVALID_VOLUME_SIZE", message));
        }
        if self.parent_snapshot_id.is_some() && self.encrypted.is_some() {
            return Err(EbsError::parameter("ParentSnapshotId and Encrypted cannot be given together"));
        }
        if self.kms_key_arn.is_some() && self.encrypted != Some(true) {
            return Err(EbsError::parameter("KmsKeyArn needs Encrypted to be true"));
        }
        if let Some(timeout) = self.timeout
            && !(10..=4320).contains(&timeout)
        {
            return Err(EbsError::parameter(format!("Timeout {timeout} is not between 10 and 4320 minutes")));
        }
        if self.description.as_ref().is_some_and(|description| description.chars().count() > 255) {
            return Err(EbsError::parameter("Description is longer than 255 characters"));
        }
        let token = self.client_token.as_deref().unwrap_or("none");
        if token.is_empty() || token.len() > 255 || token.contains(char::is_whitespace) {
            return Err(EbsError::parameter("ClientToken is not 1 to 255 characters without spaces"));
        }
        Ok(())
    }

    fn tags(&self) -> Result<Tags, EbsError> {
        let mut tags = Tags::new();
        for tag in self.tags.iter().flatten() {
            let value = tag.value.clone().unwrap_or_default();
            // Lengths as the service model of EBS has them: one less than EC2's.
            if tag.key.is_empty() || tag.key.chars().count() > 127 || value.chars().count() > 255 {
                let message = format!("tag {} exceeds the maximum length (key 127, value 255 characters)", tag.key);
                return Err(EbsError::invalid("INVALID_TAG", message));
            }
            if tag.key.starts_with("aws:") {
                return Err(EbsError::invalid("INVALID_TAG", "tag keys that begin with aws: are reserved"));
            }
            if tags.insert(tag.key.clone(), value).is_some() {
                return Err(EbsError::invalid("INVALID_TAG", format!("tag key {} comes twice", tag.key)));
            }
        }
        if tags.len() > 50 {
            return Err(EbsError::invalid("INVALID_TAG", "more than 50 tags are given"));
        }
        Ok(tags)
    }

    /// The parent, which must be this account's, completed and made of blocks.
    fn parent<'a>(&self, ec2: &'a Ec2) -> Result<Option<&'a Snapshot>, EbsError> {
        let Some(id) = &self.parent_snapshot_id else { return Ok(None) };
        let parent = super::read::readable(ec2, id)?;
        if parent.owner != ec2.account {
            return Err(EbsError::foreign(format!("snapshot {id} belongs to account {}", parent.owner)));
        }
        if i64::try_from(parent.gibibytes).is_ok_and(|size| size > self.volume_size) {
            let message = format!("VolumeSize {} is smaller than the {} of {id}", self.volume_size, parent.gibibytes);
            return Err(EbsError::invalid("INVALID_VOLUME_SIZE", message));
        }
        Ok(Some(parent))
    }
}

pub(super) async fn start(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Reply, EbsError> {
    let input: Start = json::input(body)?;
    input.check()?;
    let tags = input.tags()?;
    let parameters = serde_json::to_string(&input).map_err(|error| EbsError::internal(error.to_string()))?;
    let id = new_id("snap");
    // Whoever writes a block waits until there is something to write to.
    let _guard = cloud.settling.lock(&id).await;
    {
        let mut state = cloud.state();
        let ec2 = &mut state.ec2;
        let token = input.client_token.as_ref().map(|token| format!("StartSnapshot/{token}"));
        if let Some(earlier) = token.as_ref().and_then(|token| ec2.tokens.get(token)) {
            if earlier.parameters != parameters {
                return Err(EbsError::conflict("ClientToken was used before with other parameters"));
            }
            return Ok(Reply::json(201, &started(find(ec2, &earlier.result)?)));
        }
        let parent = input.parent(ec2)?;
        let pending = |snapshot: &&Snapshot| snapshot.upload.is_some() && snapshot.state == SnapshotState::Pending;
        if ec2.snapshots.values().filter(pending).count() >= PENDING {
            return Err(EbsError::too_many(format!("{PENDING} snapshots are pending already; complete or delete some")));
        }
        let encrypted = match parent {
            Some(parent) if ec2.ebs_encryption_by_default && !parent.encrypted => {
                return Err(EbsError::parameter(format!("{} is not encrypted, and the account encrypts by default", parent.id)));
            }
            Some(parent) => parent.encrypted,
            None => ec2.ebs_encryption_by_default || input.encrypted == Some(true),
        };
        let snapshot = Snapshot {
            id: id.clone(),
            volume_id: NO_VOLUME.to_owned(),
            // Checked to be between 1 and 65536.
            gibibytes: input.volume_size.unsigned_abs(),
            description: input.description.clone().unwrap_or_default(),
            state: SnapshotState::Pending,
            state_message: None,
            started: Timestamp::now(),
            encrypted,
            owner: ec2.account.clone(),
            source: SnapshotSource::Volume,
            copy_of: None,
            parent_id: input.parent_snapshot_id.clone(),
            upload: Some(Upload {
                timeout_minutes: input.timeout.unwrap_or(TIMEOUT),
                last_write: Timestamp::now(),
                completed: None,
            }),
            volume_permissions: Default::default(),
            tags,
        };
        if let Some(token) = token {
            ec2.tokens.insert(token, Token { parameters, result: id.clone(), at: snapshot.started });
        }
        ec2.snapshots.insert(id.clone(), snapshot);
    }
    cloud.changed();
    let begun = cloud.driver.blocks().begin(&id, input.parent_snapshot_id.as_deref()).await;
    let mut state = cloud.state();
    if let Err(error) = begun {
        if let Some(snapshot) = state.ec2.snapshots.get_mut(&id) {
            snapshot.state = SnapshotState::Error;
            snapshot.state_message = Some(crate::store::chain(&error));
        }
        drop(state);
        cloud.changed();
        return Err(error.into());
    }
    Ok(Reply::json(201, &started(find(&state.ec2, &id)?)))
}

/// What StartSnapshot tells of a snapshot.
fn started(snapshot: &Snapshot) -> serde_json::Value {
    let tags: Vec<_> = snapshot.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let mut answer = json!({
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.owner,
        "Status": snapshot.state.wire(),
        "StartTime": json::seconds(snapshot.started),
        "VolumeSize": snapshot.gibibytes,
        "BlockSize": BLOCK,
    });
    if !snapshot.description.is_empty() {
        answer["Description"] = json!(snapshot.description);
    }
    if !tags.is_empty() {
        answer["Tags"] = json!(tags);
    }
    if let Some(parent) = &snapshot.parent_id {
        answer["ParentSnapshotId"] = json!(parent);
    }
    answer
}

/// A header of the call, which must be given.
fn required<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, EbsError> {
    optional(headers, name)?.ok_or_else(|| EbsError::parameter(format!("the header {name} is missing")))
}

fn optional<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, EbsError> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose().map_err(|_| EbsError::parameter(format!("the header {name} is not ASCII")))
}

/// Refuses another value than the only one there is.
fn only(headers: &HeaderMap, name: &str, value: &str) -> Result<(), EbsError> {
    let found = required(headers, name)?;
    if found == value { Ok(()) } else { Err(EbsError::parameter(format!("{name} {found} is not {value}"))) }
}

/// The snapshot that is being written, as long as it is.
fn open<'a>(ec2: &'a Ec2, id: &str) -> Result<&'a Snapshot, EbsError> {
    let snapshot = find(ec2, id)?;
    if snapshot.owner != ec2.account {
        return Err(EbsError::foreign(format!("snapshot {id} belongs to account {}", snapshot.owner)));
    }
    let is_open = snapshot.upload.as_ref().is_some_and(|upload| upload.completed.is_none());
    if !is_open || snapshot.state != SnapshotState::Pending {
        let message =
            format!("snapshot {id} cannot be written to: it is {}, or not begun with StartSnapshot", snapshot.state.wire());
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", message));
    }
    Ok(snapshot)
}

pub(super) async fn put(cloud: &Arc<Cloud>, id: &str, index: &str, call: &Call) -> Result<Reply, EbsError> {
    let headers = &call.headers;
    let length = required(headers, "x-amz-data-length")?;
    if length != BLOCK.to_string() {
        return Err(EbsError::invalid("INVALID_BLOCK", format!("DataLength {length} is not {BLOCK}")));
    }
    only(headers, "x-amz-checksum-algorithm", "SHA256")?;
    if let Some(progress) = optional(headers, "x-amz-progress")?
        && !progress.parse::<u8>().is_ok_and(|progress| progress <= 100)
    {
        return Err(EbsError::parameter(format!("Progress {progress} is not between 0 and 100")));
    }
    let checksum = required(headers, CHECKSUM)?;
    if call.body.len() != BLOCK {
        return Err(EbsError::invalid("INVALID_BLOCK", format!("the block has {} bytes, not {BLOCK}", call.body.len())));
    }
    let sum = Sha256::digest(&call.body);
    if STANDARD.encode(sum) != checksum {
        let message = format!("the checksum {checksum} is not that of the block, which has {}", STANDARD.encode(sum));
        return Err(EbsError::invalid("INVALID_BLOCK", message));
    }
    block_index(index, open(&cloud.state().ec2, id)?)?;
    // One write at a time, so that a block and its checksum are of the same call, and none comes after the last.
    let _guard = cloud.settling.lock(id).await;
    let index = block_index(index, open(&cloud.state().ec2, id)?)?;
    cloud.driver.blocks().write(id, index, call.body.clone(), sum.into()).await?;
    let mut noted = false;
    if let Some(upload) = cloud.state().ec2.snapshots.get_mut(id).and_then(|snapshot| snapshot.upload.as_mut()) {
        let now = Timestamp::now();
        noted = upload.last_write.saturating_add(NOTE_WRITES.seconds()).is_ok_and(|due| due <= now);
        upload.last_write = now;
    }
    if noted {
        cloud.changed();
    }
    Ok(Reply {
        status: 201,
        content_type: "application/json",
        headers: vec![(CHECKSUM, checksum.to_owned()), ("x-amz-checksum-algorithm", "SHA256".to_owned())],
        body: "{}".into(),
    })
}

pub(super) async fn complete(cloud: &Arc<Cloud>, id: &str, call: &Call) -> Result<Reply, EbsError> {
    let headers = &call.headers;
    let count = required(headers, "x-amz-changedblockscount")?;
    let count: u64 =
        count.parse().map_err(|_| EbsError::parameter(format!("ChangedBlocksCount {count} is not a number of blocks")))?;
    let checksum = optional(headers, CHECKSUM)?;
    let attributes: BTreeMap<&str, &str> =
        [("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-aggregation-method", "LINEAR")].into();
    for (name, value) in attributes {
        if checksum.is_some() || headers.contains_key(name) {
            only(headers, name, value)?;
        }
    }
    let _guard = cloud.settling.lock(id).await;
    {
        let state = cloud.state();
        let snapshot = find(&state.ec2, id)?;
        // The answer to the first call may have been lost.
        let again = snapshot.upload.as_ref().and_then(|upload| upload.completed).is_some_and(|(_, blocks)| blocks == count);
        if again && snapshot.owner == state.ec2.account {
            return Ok(Reply::json(202, &json!({ "Status": snapshot.state.wire() })));
        }
        open(&state.ec2, id)?;
    }
    let (written, sum) = cloud.driver.blocks().written(id).await?;
    if written != count {
        return Err(EbsError::parameter(format!("ChangedBlocksCount {count} is not the number of blocks written, {written}")));
    }
    if let Some(checksum) = checksum
        && STANDARD.encode(sum) != checksum
    {
        let message = format!("the checksum {checksum} is not that of all blocks, which is {}", STANDARD.encode(sum));
        return Err(EbsError::parameter(message));
    }
    if let Some(upload) = cloud.state().ec2.snapshots.get_mut(id).and_then(|snapshot| snapshot.upload.as_mut()) {
        upload.completed = Some((Timestamp::now(), count));
    }
    cloud.changed();
    Ok(Reply::json(202, &json!({ "Status": SnapshotState::Pending.wire() })))
}

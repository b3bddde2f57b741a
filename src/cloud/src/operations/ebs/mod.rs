//! The EBS direct API: snapshots written and read block by block, without an instance or a volume.
//!
//! It shares its snapshots with EC2's actions; blocks are on disk (`node::blocks`), everything else is in the model.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, Snapshot};
use crate::wire::query::Query;

pub use error::EbsError;

/// One call as it came over the wire, its signature verified.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// Percent-encoded.
    pub path: String,
    /// Percent-encoded, without the question mark.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a call that succeeded is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Reply {
    fn json(status: u16, value: &Value) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: value.to_string().into() }
    }
}

/// The names of all actions.
pub fn actions() -> impl Iterator<Item = &'static str> {
    let all =
        ["CompleteSnapshot", "GetSnapshotBlock", "ListChangedBlocks", "ListSnapshotBlocks", "PutSnapshotBlock", "StartSnapshot"];
    all.into_iter()
}

/// The header that a block's checksum comes and goes in.
pub const CHECKSUM: &str = "x-amz-checksum";

/// The action that a method and a path stand for, with the parts of the path that vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action<'a> {
    Start,
    Put { id: &'a str, index: &'a str },
    Complete { id: &'a str },
    List { id: &'a str },
    ListChanged { id: &'a str },
    Get { id: &'a str, index: &'a str },
}

impl<'a> Action<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/snapshots")?.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", [""]) => Some(Self::Start),
            ("POST", ["", "completion", id]) => Some(Self::Complete { id }),
            ("PUT", ["", id, "blocks", index]) => Some(Self::Put { id, index }),
            ("GET", ["", id, "blocks"]) => Some(Self::List { id }),
            ("GET", ["", id, "changedblocks"]) => Some(Self::ListChanged { id }),
            ("GET", ["", id, "blocks", index]) => Some(Self::Get { id, index }),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start => "StartSnapshot",
            Self::Put { .. } => "PutSnapshotBlock",
            Self::Complete { .. } => "CompleteSnapshot",
            Self::List { .. } => "ListSnapshotBlocks",
            Self::ListChanged { .. } => "ListChangedBlocks",
            Self::Get { .. } => "GetSnapshotBlock",
        }
    }
}

/// The action's name in the API, if the method and the path stand for one.
pub fn action(method: &Method, path: &str) -> Option<&'static str> {
    Action::of(method, path).map(Action::name)
}

/// Whether the body of such a request may go unsigned: that of a block, which a signed checksum vouches for.
pub fn may_be_unsigned(method: &Method, path: &str) -> bool {
    matches!(Action::of(method, path), Some(Action::Put { .. }))
}

/// Carries out one call.
pub async fn call(cloud: &Arc<Cloud>, call: &Call) -> Result<Reply, EbsError> {
    let action = Action::of(&call.method, &call.path)
        .ok_or_else(|| EbsError::unknown_action(format!("{} {} is not an action of EBS", call.method, call.path)))?;
    let outcome = carry_out(cloud, call, action).await;
    // Blocks come by the ten thousand, so only those that fail are worth a line.
    match &outcome {
        Ok(_) if matches!(action, Action::Start | Action::Complete { .. }) => {
            cloud.log.line(format_args!("ebs {}", action.name()));
        }
        Err(error) => cloud.log.line(format_args!("ebs {}: {}", action.name(), error.code)),
        Ok(_) => {}
    }
    outcome
}

async fn carry_out(cloud: &Arc<Cloud>, call: &Call, action: Action<'_>) -> Result<Reply, EbsError> {
    let query = Query::parse(&call.query)?;
    let admitted: &[&str] = match action {
        Action::List { .. } => &["pageToken", "maxResults", "startingBlockIndex"],
        Action::ListChanged { .. } => &["firstSnapshotId", "pageToken", "maxResults", "startingBlockIndex"],
        Action::Get { .. } => &["blockToken"],
        Action::Start | Action::Put { .. } | Action::Complete { .. } => &[],
    };
    query.only(admitted)?;
    if super::ec2::prepare(cloud, &mut cloud.state().ec2) {
        cloud.changed();
    }
    match action {
        Action::Start => write::start(cloud, &call.body).await,
        Action::Put { id, index } => write::put(cloud, id, index, call).await,
        Action::Complete { id } => write::complete(cloud, id, call).await,
        Action::List { id } => read::list(cloud, id, &query).await,
        Action::ListChanged { id } => read::list_changed(cloud, id, &query).await,
        Action::Get { id, index } => read::get(cloud, id, index, &query).await,
    }
}

/// The snapshot of this id, whatever its state.
fn find<'a>(ec2: &'a Ec2, id: &str) -> Result<&'a Snapshot, EbsError> {
    let digits = id.strip_prefix("snap-").filter(|digits| id.len() <= 64 && !digits.is_empty());
    if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())) {
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", format!("snapshot id {id} is not like snap-0123456789abcdef0")));
    }
    ec2.snapshots.get(id).ok_or_else(|| EbsError::no_snapshot(id))
}

/// Reads a block's index, which must lie within the snapshot's volume.
fn block_index(text: &str, snapshot: &Snapshot) -> Result<u64, EbsError> {
    // 2048 blocks of 512 KiB are a GiB.
    let count = snapshot.gibibytes * 2048;
    let index: Option<u64> = text.parse().ok();
    index.filter(|index| *index < count).ok_or_else(|| {
        EbsError::invalid("INVALID_BLOCK", format!("block index {text} is not between 0 and {} of {}", count - 1, snapshot.id))
    })
}

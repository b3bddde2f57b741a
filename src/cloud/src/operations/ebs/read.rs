//! Snapshots read block by block: ListSnapshotBlocks, ListChangedBlocks, GetSnapshotBlock.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{CHECKSUM, EbsError, Reply, block_index, find};
use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, NO_VOLUME, Snapshot, SnapshotSource, SnapshotState};
use crate::node::blocks::BLOCK;
use crate::wire::json;
use crate::wire::query::Query;

/// How long block tokens are good for: seven days, as EBS documents it.
const TOKEN_HOURS: i64 = 7 * 24;

/// Blocks on a page, as the service model bounds them.
const PAGE: std::ops::RangeInclusive<i64> = 100..=10_000;

/// A snapshot whose blocks this account may read.
pub(super) fn readable<'a>(ec2: &'a Ec2, id: &str) -> Result<&'a Snapshot, EbsError> {
    let snapshot = find(ec2, id)?;
    let permitted = |account: &str| snapshot.volume_permissions.contains(account);
    if snapshot.owner != ec2.account && !permitted(&ec2.account) && !permitted("all") {
        return Err(EbsError::foreign(format!("snapshot {id} belongs to account {}", snapshot.owner)));
    }
    if let SnapshotSource::Root { .. } = snapshot.source {
        let message =
            format!("snapshot {id} is of a root volume, which this cloud keeps as a stack of folders: it has no blocks to read");
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", message));
    }
    if snapshot.state != SnapshotState::Completed {
        let message = format!("snapshot {id} is {}, not completed", snapshot.state.wire());
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", message));
    }
    Ok(snapshot)
}

/// Where a listing begins and how long it may be; `scope` tells its tokens from those of other listings.
fn page(query: &Query, scope: &str) -> Result<(u64, usize), EbsError> {
    let limit = query.integer("maxResults")?.unwrap_or(*PAGE.end());
    let limit = usize::try_from(limit)
        .ok()
        .filter(|_| PAGE.contains(&limit))
        .ok_or_else(|| EbsError::parameter(format!("MaxResults {limit} is not between {} and {}", PAGE.start(), PAGE.end())))?;
    if let Some(token) = query.text("pageToken").filter(|token| !token.is_empty()) {
        let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let from = text.and_then(|text| text.strip_prefix(scope)?.strip_prefix('/')?.parse().ok());
        let from = from.ok_or_else(|| EbsError::invalid("INVALID_PAGE_TOKEN", "NextToken is not one of this listing"))?;
        return Ok((from, limit));
    }
    let from = query.integer("startingBlockIndex")?.unwrap_or(0);
    let from = u64::try_from(from)
        .ok()
        .filter(|from| *from <= u64::from(u32::MAX))
        .ok_or_else(|| EbsError::invalid("INVALID_BLOCK", format!("StartingBlockIndex {from} is not a block index")))?;
    Ok((from, limit))
}

/// A token that lets its holder read one block until it expires. It is no secret: the call is signed as well.
fn block_token(id: &str, index: u64, expiry: Timestamp) -> String {
    STANDARD.encode(format!("block/{id}/{index}/{}", expiry.as_second()))
}

fn check_token(token: &str, id: &str, index: u64) -> Result<(), EbsError> {
    let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let expiry = text.and_then(|text| text.strip_prefix(&format!("block/{id}/{index}/"))?.parse::<i64>().ok());
    match expiry {
        Some(expiry) if expiry >= Timestamp::now().as_second() => Ok(()),
        Some(_) => Err(EbsError::invalid("INVALID_BLOCK_TOKEN", "BlockToken has expired; list the blocks anew")),
        None => Err(EbsError::invalid("INVALID_BLOCK_TOKEN", format!("BlockToken is not one of block {index} of {id}"))),
    }
}

fn expiry() -> Timestamp {
    Timestamp::now().saturating_add(TOKEN_HOURS.hours()).unwrap_or(Timestamp::MAX)
}

/// The answer of a listing.
fn listing(blocks: (&str, Vec<Value>), gibibytes: u64, expiry: Timestamp, scope: &str, next: Option<u64>) -> Reply {
    let mut answer = json!({
        (blocks.0): blocks.1,
        "ExpiryTime": json::seconds(expiry),
        "VolumeSize": gibibytes,
        "BlockSize": BLOCK,
    });
    if let Some(next) = next {
        answer["NextToken"] = json!(STANDARD.encode(format!("{scope}/{next}")));
    }
    Reply::json(200, &answer)
}

pub(super) async fn list(cloud: &Arc<Cloud>, id: &str, query: &Query) -> Result<Reply, EbsError> {
    let scope = format!("list/{id}");
    let (from, limit) = page(query, &scope)?;
    let gibibytes = readable(&cloud.state().ec2, id)?.gibibytes;
    let part = cloud.driver.blocks().list(id, from, limit).await?;
    let expiry = expiry();
    let blocks = part.blocks.iter().map(|index| json!({ "BlockIndex": index, "BlockToken": block_token(id, *index, expiry) }));
    Ok(listing(("Blocks", blocks.collect()), gibibytes, expiry, &scope, part.next))
}

pub(super) async fn list_changed(cloud: &Arc<Cloud>, second: &str, query: &Query) -> Result<Reply, EbsError> {
    // Without a first snapshot everything in the second is a change.
    let first = query.text("firstSnapshotId").filter(|id| !id.is_empty());
    let scope = format!("changed/{}/{second}", first.unwrap_or_default());
    let (from, limit) = page(query, &scope)?;
    let gibibytes = {
        let state = cloud.state();
        let of_second = readable(&state.ec2, second)?;
        if let Some(first) = first {
            let of_first = readable(&state.ec2, first)?;
            if !related(&state.ec2, of_first, of_second) {
                let message = format!("snapshots {first} and {second} are not of one volume or one line of parents");
                return Err(EbsError::invalid("UNRELATED_SNAPSHOTS", message));
            }
        }
        of_second.gibibytes
    };
    let expiry = expiry();
    let blocks = cloud.driver.blocks();
    let (changed, next) = match first {
        None => {
            let part = blocks.list(second, from, limit).await?;
            let of_second = |index: &u64| json!({ "BlockIndex": index, "SecondBlockToken": block_token(second, *index, expiry) });
            (part.blocks.iter().map(of_second).collect(), part.next)
        }
        Some(first) => {
            let part = blocks.changed(first, second, from, limit).await?;
            let of_both = |block: &crate::node::blocks::ChangedBlock| {
                let mut changed = json!({ "BlockIndex": block.index });
                for (is_there, member, id) in
                    [(block.in_first, "FirstBlockToken", first), (block.in_second, "SecondBlockToken", second)]
                {
                    if is_there {
                        changed[member] = json!(block_token(id, block.index, expiry));
                    }
                }
                changed
            };
            (part.blocks.iter().map(of_both).collect(), part.next)
        }
    };
    Ok(listing(("ChangedBlocks", changed), gibibytes, expiry, &scope, next))
}

/// Whether two snapshots can be compared: they are of one volume, or one line of parents leads to both.
fn related(ec2: &Ec2, first: &Snapshot, second: &Snapshot) -> bool {
    fn line<'a>(ec2: &'a Ec2, snapshot: &'a Snapshot) -> BTreeSet<&'a str> {
        let mut ids = BTreeSet::from([snapshot.id.as_str()]);
        let mut next = snapshot.parent_id.as_deref();
        while let Some(id) = next
            && ids.insert(id)
        {
            next = ec2.snapshots.get(id).and_then(|parent| parent.parent_id.as_deref());
        }
        ids
    }
    let of_one_volume = first.volume_id == second.volume_id && first.volume_id != NO_VOLUME;
    of_one_volume || !line(ec2, first).is_disjoint(&line(ec2, second))
}

pub(super) async fn get(cloud: &Arc<Cloud>, id: &str, index: &str, query: &Query) -> Result<Reply, EbsError> {
    let token = query.required("blockToken")?;
    let index = block_index(index, readable(&cloud.state().ec2, id)?)?;
    check_token(token, id, index)?;
    let (data, sum) = cloud.driver.blocks().read(id, index).await?;
    Ok(Reply {
        status: 200,
        content_type: "application/octet-stream",
        headers: vec![
            ("x-amz-data-length", data.len().to_string()),
            (CHECKSUM, STANDARD.encode(sum)),
            ("x-amz-checksum-algorithm", "SHA256".to_owned()),
        ],
        body: data.into(),
    })
}

//! Snapshots.

use jiff::ToSpan as _;

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::image::check_description;
use super::snapshot_attribute::default_key_arn;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for, wire_time};
use crate::model::ec2::{Ec2, InstanceState, Snapshot, SnapshotSource, SnapshotState, Tags, Volume, VolumeState, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateSnapshot", create, &["VolumeId", "Description", "TagSpecification"]),
    Operation::read("DescribeSnapshots", describe, &["SnapshotId", "Owner", "RestorableBy", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteSnapshot", delete, &["SnapshotId"]),
];

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let volume = turn::VOLUME.find(&turn.ec2.volumes, query.required("VolumeId")?)?;
    if ![VolumeState::Available, VolumeState::InUse].contains(&volume.state) {
        return Err(ApiError::new("IncorrectState", format!("Volume '{}' is {}.", volume.id, volume.state.wire())));
    }
    check_still(turn, volume)?;
    check_rate(turn, &volume.id)?;
    let tags = tags_for(query, "snapshot")?;
    let description = check_description(query)?;
    let snapshot = new_snapshot(turn, volume, &description, tags);
    let mut xml = Xml::new();
    put_snapshot(&mut xml, turn.ec2, &snapshot);
    turn.deeds.push(Deed::Snapshot(snapshot.id.clone()));
    turn.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
    Ok(xml)
}

/// Refuses a snapshot of a root while its node runs: folders that change cannot be frozen.
pub(super) fn check_still(turn: &Turn<'_>, volume: &Volume) -> Result<(), ApiError> {
    // A record has none.
    let is_root = volume.is_root && !turn.config.records;
    let root_of = volume.instance_id.as_ref().filter(|_| is_root).and_then(|id| turn.ec2.instance(id));
    if let Some(instance) = root_of.filter(|instance| instance.state != InstanceState::Stopped) {
        return Err(ApiError::new(
            "UnsupportedOperation",
            format!(
                "This cloud takes a snapshot of a root volume only while its instance is stopped; '{}' is {}.",
                instance.id,
                instance.state.wire().1
            ),
        ));
    }
    Ok(())
}

/// Refuses a second snapshot of a volume within 15 seconds (ec2.md 8.1).
pub(super) fn check_rate(turn: &Turn<'_>, volume_id: &str) -> Result<(), ApiError> {
    const SECONDS: i64 = 15;
    let recent = |snapshot: &Snapshot| {
        let due = snapshot.started.saturating_add(SECONDS.seconds()).unwrap_or(snapshot.started);
        snapshot.volume_id == volume_id && snapshot.upload.is_none() && due > turn.now
    };
    if turn.ec2.snapshots.values().any(recent) {
        return Err(ApiError::new(
            "SnapshotCreationPerVolumeRateExceeded",
            format!(
                "The maximum per volume CreateSnapshot request rate has been exceeded. Wait {SECONDS} seconds for {volume_id}."
            ),
        ));
    }
    Ok(())
}

/// A snapshot of a volume that is still to be taken.
pub(super) fn new_snapshot(turn: &Turn<'_>, volume: &Volume, description: &str, tags: Tags) -> Snapshot {
    Snapshot {
        id: new_id("snap"),
        volume_id: volume.id.clone(),
        gibibytes: volume.gibibytes,
        description: description.to_owned(),
        state: SnapshotState::Pending,
        state_message: None,
        started: turn.now,
        encrypted: volume.encrypted,
        owner: turn.ec2.account.clone(),
        // A root's layers are known once it is frozen.
        source: SnapshotSource::Volume,
        parent_id: None,
        copy_of: None,
        upload: None,
        volume_permissions: Default::default(),
        tags,
    }
}

pub(super) fn progress(snapshot: &Snapshot) -> &'static str {
    if snapshot.state == SnapshotState::Completed { "100%" } else { "0%" }
}

pub(super) fn put_snapshot(xml: &mut Xml, ec2: &Ec2, snapshot: &Snapshot) {
    xml.put("snapshotId", &snapshot.id)
        .put("volumeId", &snapshot.volume_id)
        .put("status", snapshot.state.wire())
        .maybe("statusMessage", snapshot.state_message.as_ref())
        .put("startTime", wire_time(snapshot.started))
        .put("progress", progress(snapshot))
        .put("ownerId", &snapshot.owner)
        .put("volumeSize", snapshot.gibibytes)
        .put("description", &snapshot.description)
        .put("encrypted", snapshot.encrypted)
        .maybe("kmsKeyId", snapshot.encrypted.then(|| default_key_arn(ec2)))
        .put("storageTier", "standard");
    put_tags(xml, &snapshot.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 11] = [
        "tag",
        "description",
        "encrypted",
        "owner-id",
        "progress",
        "snapshot-id",
        "start-time",
        "status",
        "storage-tier",
        "volume-id",
        "volume-size",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read_without_ids(query, "SnapshotId")?;
    let ids = query.list("SnapshotId");
    let owners = query.list("Owner");
    let ec2 = &*turn.ec2;
    turn::SNAPSHOT.asked(&ec2.snapshots, &ids)?;
    let found = ec2
        .snapshots
        .values()
        .filter(|snapshot| ids.is_empty() || ids.contains(&snapshot.id.as_str()))
        .filter(|snapshot| owned(ec2, &snapshot.owner, &owners))
        .filter(|snapshot| {
            filters.admit(&snapshot.tags, |name| {
                vec![match name {
                    "description" => snapshot.description.clone(),
                    "encrypted" => snapshot.encrypted.to_string(),
                    "owner-id" => snapshot.owner.clone(),
                    "progress" => progress(snapshot).to_owned(),
                    "snapshot-id" => snapshot.id.clone(),
                    "start-time" => wire_time(snapshot.started),
                    "status" => snapshot.state.wire().to_owned(),
                    "storage-tier" => "standard".to_owned(),
                    "volume-id" => snapshot.volume_id.clone(),
                    _ => snapshot.gibibytes.to_string(),
                }]
            })
        });
    let (found, token) = page.cut(found, |snapshot| snapshot.id.clone());
    let mut xml = Xml::new();
    xml.list("snapshotSet", found, |xml, snapshot| put_snapshot(xml, ec2, snapshot));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// Whether an owner is among those asked for; `self` is the account.
pub(super) fn owned(ec2: &Ec2, owner: &str, asked: &[&str]) -> bool {
    asked.is_empty() || asked.iter().any(|name| *name == owner || (*name == "self" && owner == ec2.account))
}

/// Refuses to change what belongs to another account.
pub(super) fn own(ec2: &Ec2, owner: &str, id: &str) -> Result<(), ApiError> {
    if owner == ec2.account {
        return Ok(());
    }
    Err(ApiError::new("AuthFailure", format!("Not authorized for resource: {id}")).with_status(403))
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("SnapshotId")?;
    let snapshot = turn::SNAPSHOT.find(&turn.ec2.snapshots, id)?;
    own(turn.ec2, &snapshot.owner, id)?;
    if let Some(image) = used_by(turn.ec2, id) {
        return Err(ApiError::new("InvalidSnapshot.InUse", format!("The snapshot {id} is currently in use by {image}")));
    }
    remove(turn, id);
    Ok(done())
}

/// An image that is made of this snapshot.
pub(super) fn used_by<'a>(ec2: &'a Ec2, snapshot_id: &str) -> Option<&'a str> {
    let uses = |devices: &[crate::model::ec2::ImageDevice]| {
        devices.iter().any(|device| device.snapshot_id.as_deref() == Some(snapshot_id))
    };
    ec2.images.values().find(|image| uses(&image.devices)).map(|image| image.id.as_str())
}

/// Forgets a snapshot; what it held below goes once nothing stands on it.
pub(super) fn remove(turn: &mut Turn<'_>, id: &str) {
    if let Some(snapshot) = turn.ec2.snapshots.remove(id) {
        turn.deeds.push(match snapshot.source {
            SnapshotSource::Root { .. } => Deed::Sweep,
            SnapshotSource::Volume => Deed::DeleteSnapshot(snapshot.id),
        });
    }
}

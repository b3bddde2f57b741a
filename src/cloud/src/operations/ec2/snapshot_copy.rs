//! Snapshots of snapshots, and of all volumes of an instance at once.

use super::deeds::Deed;
use super::image::check_description;
use super::snapshot::{check_rate, check_still, new_snapshot, progress};
use super::turn::{self, Operation, Turn, put_tags, tags_for, wire_time};
use crate::model::ec2::{Ec2, NO_VOLUME, Snapshot, SnapshotState, Tags, Volume, VolumeState, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CopySnapshot",
        copy,
        &[
            "CompletionDurationMinutes",
            "Description",
            "DestinationRegion",
            "Encrypted",
            "KmsKeyId",
            "PresignedUrl",
            "SourceRegion",
            "SourceSnapshotId",
            "TagSpecification",
        ],
    ),
    Operation::write(
        "CreateSnapshots",
        create_several,
        &[
            "CopyTagsFromSource",
            "Description",
            "InstanceSpecification.ExcludeBootVolume",
            "InstanceSpecification.ExcludeDataVolumeId",
            "InstanceSpecification.InstanceId",
            "TagSpecification",
        ],
    ),
];

/// Whether copies are to be encrypted whatever their sources are; there is no other key than the account's own.
pub(super) fn copies_encrypted(ec2: &Ec2, query: &Query) -> Result<bool, ApiError> {
    let asked = query.boolean("Encrypted")?;
    if query.text("KmsKeyId").is_some() {
        if asked != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        return Err(ApiError::unsupported_parameter("KmsKeyId"));
    }
    Ok(ec2.ebs_encryption_by_default || asked == Some(true))
}

/// A copy of a snapshot that is still to be made. A root's layers are shared, so its copy has nothing to wait for.
pub(super) fn copied(turn: &Turn<'_>, of: &Snapshot, description: String, encrypted: bool, tags: Tags) -> Snapshot {
    Snapshot {
        id: new_id("snap"),
        volume_id: NO_VOLUME.to_owned(),
        gibibytes: of.gibibytes,
        description,
        state: SnapshotState::Pending,
        state_message: None,
        started: turn.now,
        // A copy can be encrypted, and never decrypted (ec2.md 8.11).
        encrypted: encrypted || of.encrypted,
        owner: turn.ec2.account.clone(),
        source: of.source.clone(),
        parent_id: None,
        copy_of: Some(of.id.clone()),
        upload: None,
        volume_permissions: Default::default(),
        tags,
    }
}

fn copy(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (source_id, region) = (query.required("SourceSnapshotId")?, query.required("SourceRegion")?);
    let description = check_description(query)?;
    let other = [Some(region), query.text("DestinationRegion")].into_iter().flatten().find(|name| *name != turn.ec2.region);
    if let Some(other) = other {
        return Err(ApiError::invalid_value(format!("Invalid region '{other}': this cloud is {}", turn.ec2.region)));
    }
    if let Some(minutes) = query.integer("CompletionDurationMinutes")?
        && !((15..=2880).contains(&minutes) && minutes % 15 == 0)
    {
        return Err(ApiError::invalid_value(format!(
            "Value ({minutes}) for parameter completionDurationMinutes is invalid. Valid are 15 to 2880 in steps of 15."
        )));
    }
    let encrypted = copies_encrypted(turn.ec2, query)?;
    let source = turn::SNAPSHOT.find(&turn.ec2.snapshots, source_id)?;
    let permitted = |user: &str| source.volume_permissions.contains(user);
    if source.owner != turn.ec2.account && !permitted("all") && !permitted(&turn.ec2.account) {
        return Err(turn::SNAPSHOT.missing(source_id));
    }
    if source.state != SnapshotState::Completed {
        return Err(ApiError::new("IncorrectState", format!("Snapshot '{source_id}' is not completed")));
    }
    let tags = tags_for(query, "snapshot")?;
    let snapshot = copied(turn, source, description, encrypted, tags);
    let mut xml = Xml::new();
    xml.put("snapshotId", &snapshot.id);
    put_tags(&mut xml, &snapshot.tags);
    turn.deeds.push(Deed::Snapshot(snapshot.id.clone()));
    turn.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
    Ok(xml)
}

/// The volumes of the instance that the call does not leave out, the root first.
fn chosen(turn: &Turn<'_>, query: &Query) -> Result<Vec<Volume>, ApiError> {
    let instance_id = query.required("InstanceSpecification.InstanceId")?;
    let instance = turn::INSTANCE.find(&turn.ec2.instances, instance_id)?;
    let without_root = query.boolean("InstanceSpecification.ExcludeBootVolume")?.unwrap_or(false);
    let excluded = query.list("InstanceSpecification.ExcludeDataVolumeId");
    let attached: Vec<&Volume> = instance.devices.iter().filter_map(|device| turn.ec2.volumes.get(&device.volume_id)).collect();
    for id in &excluded {
        turn::VOLUME.check(id)?;
        if !attached.iter().any(|volume| volume.id == *id && !volume.is_root) {
            return Err(ApiError::invalid_value(format!("The volume '{id}' is not a data volume of instance '{instance_id}'")));
        }
    }
    let mut chosen: Vec<Volume> = attached
        .into_iter()
        .filter(|volume| !(without_root && volume.is_root))
        .filter(|volume| !excluded.contains(&volume.id.as_str()))
        .cloned()
        .collect();
    chosen.sort_by_key(|volume| !volume.is_root);
    if chosen.is_empty() {
        return Err(ApiError::invalid_combination(format!(
            "No volume of instance '{instance_id}' is left to take a snapshot of"
        )));
    }
    Ok(chosen)
}

fn create_several(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let copy_tags = match query.text("CopyTagsFromSource") {
        None => false,
        Some("volume") => true,
        Some(other) => return Err(ApiError::invalid_value(format!("Invalid value '{other}' for CopyTagsFromSource"))),
    };
    let description = check_description(query)?;
    let volumes = chosen(turn, query)?;
    for volume in &volumes {
        if ![VolumeState::Available, VolumeState::InUse].contains(&volume.state) {
            return Err(ApiError::new("IncorrectState", format!("Volume '{}' is {}.", volume.id, volume.state.wire())));
        }
        check_still(turn, volume)?;
        check_rate(turn, &volume.id)?;
    }
    let own_tags = tags_for(query, "snapshot")?;
    let mut snapshots = Vec::new();
    for volume in &volumes {
        let mut tags = Tags::new();
        if copy_tags {
            tags.extend(volume.tags.clone().into_iter().filter(|(key, _)| !key.starts_with("aws:")));
        }
        tags.extend(own_tags.clone());
        turn::check_tag_count(&tags)?;
        snapshots.push(new_snapshot(turn, volume, &description, tags));
    }
    let mut xml = Xml::new();
    xml.list("snapshotSet", &snapshots, put_info);
    for snapshot in snapshots {
        turn.deeds.push(Deed::Snapshot(snapshot.id.clone()));
        turn.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
    }
    Ok(xml)
}

/// Writes a snapshot as this action does, which calls its state otherwise than all others.
fn put_info(xml: &mut Xml, snapshot: &Snapshot) {
    xml.put("description", &snapshot.description);
    put_tags(xml, &snapshot.tags);
    xml.put("encrypted", snapshot.encrypted)
        .put("volumeId", &snapshot.volume_id)
        .put("state", snapshot.state.wire())
        .put("volumeSize", snapshot.gibibytes)
        .put("startTime", wire_time(snapshot.started))
        .put("progress", progress(snapshot))
        .put("ownerId", &snapshot.owner)
        .put("snapshotId", &snapshot.id);
}

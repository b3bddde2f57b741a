//! Volumes.

use jiff::{Timestamp, ToSpan as _};

use super::deeds::Deed;
use super::describe_instances::UNMANAGED;
use super::filter::{Filters, Page, put_next_token};
use super::launch_devices::{check_device_name, performance, usable_snapshot};
use super::snapshot_attribute::default_key_arn;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for, wire_time};
use super::vpc::{requested_zone, zone_id};
use crate::model::ec2::{
    DeviceState, Ec2, InstanceDevice, InstanceState, MODIFICATIONS_A_DAY, Modification, ModificationState, Volume, VolumeShape,
    VolumeState, new_id,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateVolume",
        create,
        &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "ClientToken",
            "Encrypted",
            "Iops",
            "MultiAttachEnabled",
            "Size",
            "SnapshotId",
            "TagSpecification",
            "Throughput",
            "VolumeType",
        ],
    ),
    Operation::read("DescribeVolumes", describe, &["VolumeId", "Filter", "MaxResults", "NextToken"]).ignoring(UNMANAGED),
    Operation::write("AttachVolume", attach, &["VolumeId", "InstanceId", "Device"]),
    Operation::write("DetachVolume", detach, &["VolumeId", "InstanceId", "Device"])
        .ignoring(&[("Force", "a node lets go of a volume at once")]),
    Operation::write("ModifyVolume", modify, &["VolumeId", "Size", "VolumeType", "Iops", "Throughput"]),
    Operation::read("DescribeVolumesModifications", describe_modifications, &["VolumeId", "Filter", "MaxResults", "NextToken"])
        .ignoring(UNMANAGED),
    Operation::write("DeleteVolume", delete, &["VolumeId"]),
];

/// A number that must be positive.
fn positive(query: &Query, name: &str) -> Result<Option<u64>, ApiError> {
    query
        .integer(name)?
        .map(|number| {
            u64::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| {
                ApiError::invalid_value(format!("Value ({number}) for parameter {name} is invalid. It must be positive."))
            })
        })
        .transpose()
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    if query.text("AvailabilityZone").or(query.text("AvailabilityZoneId")).is_none() {
        return Err(ApiError::missing_parameter("AvailabilityZone"));
    }
    let zone = requested_zone(turn.ec2, query).map_err(|error| ApiError::new("InvalidZone.NotFound", error.message))?;
    if query.boolean("MultiAttachEnabled")? == Some(true) {
        return Err(ApiError::unsupported_parameter("MultiAttachEnabled"));
    }
    let tags = tags_for(query, "volume")?;
    if let Some(id) = turn.replayed("CreateVolume", query)? {
        let volume = turn::VOLUME.find(&turn.ec2.volumes, &id)?;
        let mut xml = Xml::new();
        put_new_volume(&mut xml, turn.ec2, volume);
        return Ok(xml);
    }
    let snapshot_id = query.text("SnapshotId").filter(|id| !id.is_empty());
    let smallest = snapshot_id.map(|id| usable_snapshot(turn.ec2, id)).transpose()?;
    let gibibytes = match (positive(query, "Size")?, smallest) {
        (None, None) => return Err(ApiError::missing_parameter("size or snapshotId")),
        (None, Some(smallest)) => smallest,
        (Some(size), smallest) if size >= smallest.unwrap_or(1) => size,
        (Some(size), _) => {
            return Err(ApiError::invalid_value(format!("Volume of {size}GiB is smaller than its snapshot")));
        }
    };
    let volume_type = query.text("VolumeType").unwrap_or("gp2");
    let (iops, throughput) = performance(volume_type, gibibytes, positive(query, "Iops")?, positive(query, "Throughput")?)?;
    // A volume of an encrypted snapshot is encrypted, as is every one of an account that encrypts by default.
    let of_encrypted = snapshot_id.and_then(|id| turn.ec2.snapshots.get(id)).is_some_and(|snapshot| snapshot.encrypted);
    let encrypted = of_encrypted || turn.ec2.ebs_encryption_by_default || query.boolean("Encrypted")? == Some(true);
    let volume = Volume {
        id: new_id("vol"),
        gibibytes,
        zone,
        volume_type: volume_type.to_owned(),
        iops,
        throughput,
        encrypted,
        snapshot_id: snapshot_id.map(str::to_owned),
        state: VolumeState::Creating,
        created: turn.now,
        instance_id: None,
        is_root: false,
        auto_enable_io: false,
        modified: Vec::new(),
        tags,
    };
    let mut xml = Xml::new();
    put_new_volume(&mut xml, turn.ec2, &volume);
    turn.remember("CreateVolume", query, &volume.id);
    turn.deeds.push(Deed::Volume(volume.id.clone()));
    turn.ec2.volumes.insert(volume.id.clone(), volume);
    Ok(xml)
}

/// Writes a volume as CreateVolume does: the service model says of the other members that it does not return them.
fn put_new_volume(xml: &mut Xml, ec2: &Ec2, volume: &Volume) {
    xml.put("volumeId", &volume.id)
        .put("size", volume.gibibytes)
        .put("snapshotId", volume.snapshot_id.as_deref().unwrap_or_default())
        .put("availabilityZone", &volume.zone)
        .put("availabilityZoneId", zone_id(&volume.zone))
        .put("status", volume.state.wire())
        .put("createTime", wire_time(volume.created))
        .put("volumeType", &volume.volume_type)
        .maybe("iops", volume.iops)
        .maybe("throughput", volume.throughput)
        .put("encrypted", volume.encrypted)
        .maybe("kmsKeyId", volume.encrypted.then(|| default_key_arn(ec2)))
        .put("multiAttachEnabled", false);
    put_tags(xml, &volume.tags);
}

fn put_volume(xml: &mut Xml, ec2: &Ec2, volume: &Volume) {
    put_new_volume(xml, ec2, volume);
    xml.put("fastRestored", false).list("attachmentSet", attachment(ec2, volume), |xml, (instance_id, device)| {
        put_attachment(xml, instance_id, device);
    });
}

/// The instance and the device that a volume is attached as.
fn attachment<'a>(ec2: &'a Ec2, volume: &'a Volume) -> Option<(&'a str, &'a InstanceDevice)> {
    let instance = ec2.instance(volume.instance_id.as_ref()?)?;
    Some((&instance.id, instance.device_of(&volume.id)?))
}

fn put_attachment(xml: &mut Xml, instance_id: &str, device: &InstanceDevice) {
    xml.put("volumeId", &device.volume_id)
        .put("instanceId", instance_id)
        .put("device", &device.device)
        .put("status", device.state.wire())
        .put("attachTime", wire_time(device.attach_time))
        .put("deleteOnTermination", device.delete_on_termination);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 16] = [
        "tag",
        "attachment.attach-time",
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "availability-zone-id",
        "create-time",
        "encrypted",
        "fast-restored",
        "multi-attach-enabled",
        "size",
        "snapshot-id",
        "status",
        "volume-id",
    ];
    let filters = Filters::read(query, &[&FILTERS[..], &["volume-type"]].concat())?;
    let page = Page::read_without_ids(query, "VolumeId")?;
    let ids = query.list("VolumeId");
    let ec2 = &*turn.ec2;
    turn::VOLUME.asked(&ec2.volumes, &ids)?;
    let found = ec2
        .volumes
        .values()
        .filter(|volume| ids.is_empty() || ids.contains(&volume.id.as_str()))
        .filter(|volume| filters.admit(&volume.tags, |name| values(ec2, volume, name)));
    let (found, token) = page.cut(found, |volume| volume.id.clone());
    let mut xml = Xml::new();
    xml.list("volumeSet", found, |xml, volume| put_volume(xml, ec2, volume));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn values(ec2: &Ec2, volume: &Volume, name: &str) -> Vec<String> {
    if let Some(field) = name.strip_prefix("attachment.") {
        let Some((instance_id, device)) = attachment(ec2, volume) else { return Vec::new() };
        return vec![match field {
            "attach-time" => wire_time(device.attach_time),
            "delete-on-termination" => device.delete_on_termination.to_string(),
            "device" => device.device.clone(),
            "instance-id" => instance_id.to_owned(),
            _ => device.state.wire().to_owned(),
        }];
    }
    vec![match name {
        "availability-zone" => volume.zone.clone(),
        "availability-zone-id" => zone_id(&volume.zone),
        "create-time" => wire_time(volume.created),
        "encrypted" => volume.encrypted.to_string(),
        "fast-restored" | "multi-attach-enabled" => "false".to_owned(),
        "size" => volume.gibibytes.to_string(),
        "snapshot-id" => return volume.snapshot_id.iter().cloned().collect(),
        "status" => volume.state.wire().to_owned(),
        "volume-id" => volume.id.clone(),
        _ => volume.volume_type.clone(),
    }]
}

fn attach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (volume_id, instance_id) = (query.required("VolumeId")?, query.required("InstanceId")?);
    let device = query.required("Device")?;
    let volume = turn::VOLUME.find(&turn.ec2.volumes, volume_id)?;
    let instance = turn::INSTANCE.find(&turn.ec2.instances, instance_id)?;
    check_device_name(device)?;
    match volume.state {
        VolumeState::Available => {}
        VolumeState::InUse => {
            let holder = volume.instance_id.as_deref().unwrap_or("an instance");
            return Err(ApiError::new("VolumeInUse", format!("{volume_id} is already attached to {holder}")));
        }
        _ => return Err(ApiError::new("IncorrectState", format!("Volume '{volume_id}' is not 'available'."))),
    }
    if ![InstanceState::Running, InstanceState::Stopped].contains(&instance.state) {
        return Err(ApiError::new("IncorrectState", format!("Instance '{instance_id}' is not 'running'.")));
    }
    if volume.zone != instance.zone {
        return Err(ApiError::new(
            "InvalidVolume.ZoneMismatch",
            format!("The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'"),
        ));
    }
    if instance.devices.iter().any(|taken| taken.device == device) {
        return Err(ApiError::invalid_value(format!(
            "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        )));
    }
    let attached = InstanceDevice {
        device: device.to_owned(),
        volume_id: volume_id.to_owned(),
        // AttachVolume cannot say otherwise (ec2.md 5.5).
        delete_on_termination: false,
        attach_time: turn.now,
        state: DeviceState::Attaching,
    };
    let mut xml = Xml::new();
    put_attachment(&mut xml, instance_id, &attached);
    turn::VOLUME.find_mut(&mut turn.ec2.volumes, volume_id).map(|volume| {
        volume.state = VolumeState::InUse;
        volume.instance_id = Some(instance_id.to_owned());
    })?;
    turn::INSTANCE.find_mut(&mut turn.ec2.instances, instance_id)?.devices.push(attached);
    turn.deeds.push(Deed::Volume(volume_id.to_owned()));
    Ok(xml)
}

fn detach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let volume_id = query.required("VolumeId")?;
    let volume = turn::VOLUME.find(&turn.ec2.volumes, volume_id)?;
    let Some((instance_id, device)) = attachment(turn.ec2, volume) else {
        return Err(ApiError::new("IncorrectState", format!("Volume '{volume_id}' is in the '{}' state.", volume.state.wire())));
    };
    let elsewhere = query.text("InstanceId").is_some_and(|id| id != instance_id)
        || query.text("Device").is_some_and(|name| name != device.device);
    if elsewhere {
        return Err(ApiError::new(
            "InvalidAttachment.NotFound",
            format!("The volume '{volume_id}' is not attached as that device to that instance"),
        ));
    }
    if volume.is_root {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("Unable to detach root volume '{volume_id}' from instance '{instance_id}'"),
        ));
    }
    if device.state != DeviceState::Attached {
        return Err(ApiError::new("IncorrectState", format!("Volume '{volume_id}' is {}.", device.state.wire())));
    }
    let instance_id = instance_id.to_owned();
    let mut detaching = device.clone();
    detaching.state = DeviceState::Detaching;
    let mut xml = Xml::new();
    put_attachment(&mut xml, &instance_id, &detaching);
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, &instance_id)?;
    for device in instance.devices.iter_mut().filter(|device| device.volume_id == volume_id) {
        device.state = DeviceState::Detaching;
    }
    turn.deeds.push(Deed::Volume(volume_id.to_owned()));
    Ok(xml)
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let volume_id = query.required("VolumeId")?;
    let now = turn.now;
    let is_under_way = |modification: &Modification| {
        [ModificationState::Modifying, ModificationState::Optimizing].contains(&modification.state(now))
    };
    let under_way = turn.ec2.modifications.get(volume_id).is_some_and(is_under_way);
    let volume = turn::VOLUME.find_mut(&mut turn.ec2.volumes, volume_id)?;
    if ![VolumeState::Available, VolumeState::InUse].contains(&volume.state) {
        return Err(ApiError::new("IncorrectState", format!("Volume '{volume_id}' is {}.", volume.state.wire())));
    }
    if under_way {
        return Err(ApiError::new(
            "IncorrectModificationState",
            format!("Volume {volume_id} is not in the correct modification state: its last modification is not completed"),
        ));
    }
    let day_ago = now.saturating_sub(24.hours()).unwrap_or(Timestamp::MIN);
    if volume.modified.iter().filter(|at| **at > day_ago).count() >= MODIFICATIONS_A_DAY {
        return Err(ApiError::new(
            "VolumeModificationRateExceeded",
            format!(
                "Volume {volume_id} was modified {MODIFICATIONS_A_DAY} times within 24 hours, which is the most there can be"
            ),
        ));
    }
    let original = volume.shape();
    let gibibytes = positive(query, "Size")?.unwrap_or(original.gibibytes);
    if gibibytes < original.gibibytes {
        return Err(ApiError::invalid_value("New size cannot be smaller than existing size"));
    }
    let volume_type = query.text("VolumeType").unwrap_or(&original.volume_type).to_owned();
    // What another type does not know of is forgotten; gp2's IOPS follow its size.
    let kept = volume_type == original.volume_type && volume_type != "gp2";
    let iops = positive(query, "Iops")?.or(original.iops.filter(|_| kept));
    let throughput = positive(query, "Throughput")?.or(original.throughput.filter(|_| kept));
    let (iops, throughput) = performance(&volume_type, gibibytes, iops, throughput)?;
    let target = VolumeShape { gibibytes, volume_type, iops, throughput };
    volume.gibibytes = target.gibibytes;
    volume.volume_type.clone_from(&target.volume_type);
    (volume.iops, volume.throughput) = (target.iops, target.throughput);
    volume.modified.retain(|at| *at > day_ago);
    volume.modified.push(now);
    let modification = Modification { volume_id: volume_id.to_owned(), original, target, start: now, end: None, failure: None };
    let mut xml = Xml::new();
    xml.element("volumeModification", |xml| put_modification(xml, &modification, now));
    turn.ec2.modifications.insert(volume_id.to_owned(), modification);
    turn.deeds.push(Deed::Grow(volume_id.to_owned()));
    Ok(xml)
}

/// The state's name, the progress in per cent, and when it ended.
fn modification_state(modification: &Modification, now: Timestamp) -> (&'static str, u8, Option<Timestamp>) {
    match modification.state(now) {
        ModificationState::Modifying => ("modifying", 0, None),
        ModificationState::Optimizing => ("optimizing", 50, None),
        ModificationState::Completed(end) => ("completed", 100, Some(end)),
        ModificationState::Failed(end) => ("failed", 0, Some(end)),
    }
}

fn put_modification(xml: &mut Xml, modification: &Modification, now: Timestamp) {
    let (state, progress, end) = modification_state(modification, now);
    let (original, target) = (&modification.original, &modification.target);
    xml.put("volumeId", &modification.volume_id)
        .put("modificationState", state)
        .maybe("statusMessage", modification.failure.as_ref())
        .put("targetSize", target.gibibytes)
        .maybe("targetIops", target.iops)
        .put("targetVolumeType", &target.volume_type)
        .maybe("targetThroughput", target.throughput)
        .put("targetMultiAttachEnabled", false)
        .put("originalSize", original.gibibytes)
        .maybe("originalIops", original.iops)
        .put("originalVolumeType", &original.volume_type)
        .maybe("originalThroughput", original.throughput)
        .put("originalMultiAttachEnabled", false)
        .put("progress", progress)
        .put("startTime", wire_time(modification.start))
        .maybe("endTime", end.map(wire_time));
}

fn describe_modifications(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 9] = [
        "modification-state",
        "original-iops",
        "original-size",
        "original-volume-type",
        "start-time",
        "target-iops",
        "target-size",
        "target-volume-type",
        "volume-id",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    // At most 500, as the service model says.
    let page = Page::within(query, 1..=500, 500)?;
    let now = turn.now;
    let ids = query.list("VolumeId");
    let ec2 = &*turn.ec2;
    turn::VOLUME.asked(&ec2.volumes, &ids)?;
    if let Some(unmodified) = ids.iter().find(|id| !ec2.modifications.contains_key(**id)) {
        return Err(ApiError::new(
            "InvalidVolumeModification.NotFound",
            format!("Modification for volume '{unmodified}' does not exist."),
        ));
    }
    let found = ec2
        .modifications
        .values()
        .filter(|modification| ids.is_empty() || ids.contains(&modification.volume_id.as_str()))
        .filter(|modification| {
            filters.admit(&Default::default(), |name| {
                vec![match name {
                    "modification-state" => modification_state(modification, now).0.to_owned(),
                    "original-iops" => return modification.original.iops.iter().map(u64::to_string).collect(),
                    "original-size" => modification.original.gibibytes.to_string(),
                    "original-volume-type" => modification.original.volume_type.clone(),
                    "start-time" => wire_time(modification.start),
                    "target-iops" => return modification.target.iops.iter().map(u64::to_string).collect(),
                    "target-size" => modification.target.gibibytes.to_string(),
                    "target-volume-type" => modification.target.volume_type.clone(),
                    _ => modification.volume_id.clone(),
                }]
            })
        });
    let (found, token) = page.cut(found, |modification| modification.volume_id.clone());
    let mut xml = Xml::new();
    xml.list("volumeModificationSet", found, |xml, modification| put_modification(xml, modification, now));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("VolumeId")?;
    let volume = turn::VOLUME.find_mut(&mut turn.ec2.volumes, id)?;
    if let Some(instance_id) = &volume.instance_id {
        return Err(ApiError::new("VolumeInUse", format!("Volume {id} is currently attached to {instance_id}")));
    }
    match volume.state {
        VolumeState::Available | VolumeState::Error => volume.state = VolumeState::Deleting,
        VolumeState::Deleting => return Err(turn::VOLUME.missing(id)),
        _ => return Err(ApiError::new("IncorrectState", format!("Volume '{id}' is {}.", volume.state.wire()))),
    }
    turn.deeds.push(Deed::Volume(id.to_owned()));
    Ok(done())
}

//! Machine images.

use jiff::Timestamp;

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::snapshot::{check_rate, new_snapshot, own, owned, remove, used_by};
use super::turn::{self, Operation, Turn, put_tags, tag_specifications, wire_time};
use crate::model::ec2::{Ec2, Image, ImageDevice, ImageState, Instance, InstanceState, PUBLIC_IMAGES, Protection, Tags, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateImage",
        create,
        &[
            "InstanceId",
            "Name",
            "Description",
            "NoReboot",
            "TagSpecification",
            "BlockDeviceMapping.DeviceName",
            "BlockDeviceMapping.NoDevice",
            "BlockDeviceMapping.Ebs.DeleteOnTermination",
        ],
    ),
    Operation::read(
        "DescribeImages",
        describe,
        &["ImageId", "Owner", "ExecutableBy", "Filter", "IncludeDeprecated", "IncludeDisabled", "MaxResults", "NextToken"],
    ),
    Operation::write("DeregisterImage", deregister, &["ImageId", "DeleteAssociatedSnapshots"]),
];

/// Refuses a description that is longer than EC2 keeps.
pub(super) fn check_description(query: &Query) -> Result<String, ApiError> {
    let description = query.text("Description").unwrap_or_default();
    if description.chars().count() > 255 {
        return Err(ApiError::invalid_value("Description exceeds the maximum length of 255 characters"));
    }
    Ok(description.to_owned())
}

pub(super) fn check_name(ec2: &Ec2, name: &str) -> Result<(), ApiError> {
    let admitted = |character: char| character.is_ascii_alphanumeric() || "()[] ./-'@_".contains(character);
    if !(3..=128).contains(&name.len()) || !name.chars().all(admitted) {
        return Err(ApiError::new(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
        ));
    }
    match ec2.images.values().find(|image| image.owner == ec2.account && image.name == name) {
        None => Ok(()),
        Some(image) => {
            Err(ApiError::new("InvalidAMIName.Duplicate", format!("AMI name {name} is already in use by AMI {}", image.id)))
        }
    }
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("Name")?;
    let instance = turn::INSTANCE.find(&turn.ec2.instances, query.required("InstanceId")?)?.clone();
    check_name(turn.ec2, name)?;
    let mut tags = tag_specifications(query, &["image", "snapshot"])?;
    let snapshot_tags = tags.remove("snapshot").unwrap_or_default();
    let without_reboot = query.boolean("NoReboot")? == Some(true);
    match instance.state {
        InstanceState::Stopped => {}
        // Folders that change cannot be frozen; a record has none.
        InstanceState::Running if without_reboot && !turn.config.records => {
            return Err(ApiError::new(
                "UnsupportedOperation",
                "This cloud cannot take an image of a running instance with NoReboot; stop it first.",
            ));
        }
        InstanceState::Running => {}
        _ => {
            return Err(ApiError::invalid_value(format!(
                "Instance is not in state 'running' or 'stopped': {} is {}",
                instance.id,
                instance.state.wire().1
            )));
        }
    }
    let description = check_description(query)?;
    for device in &instance.devices {
        check_rate(turn, &device.volume_id)?;
    }
    let id = new_id("ami");
    // An image has the traits of the one that its instance was launched from.
    let traits = turn.ec2.images.get(&instance.image_id).map(|image| image.traits.clone()).unwrap_or_default();
    let devices = take_snapshots(turn, &instance, query, &id, &snapshot_tags)?;
    let image = Image {
        id: id.clone(),
        name: name.to_owned(),
        description,
        owner: turn.ec2.account.clone(),
        public: false,
        created: turn.now,
        state: ImageState::Pending,
        failure: None,
        root_device: instance.root_device.clone(),
        devices,
        layers: Vec::new(),
        source_instance_id: Some(instance.id.clone()),
        source_image_id: None,
        traits,
        launch_permissions: Default::default(),
        deprecation: None,
        protection: Protection::default(),
        last_launched: None,
        without_reboot,
        tags: tags.remove("image").unwrap_or_default(),
    };
    turn.ec2.images.insert(id.clone(), image);
    turn.deeds.push(Deed::Image(id.clone()));
    let mut xml = Xml::new();
    xml.put("imageId", id);
    Ok(xml)
}

/// Makes a pending snapshot of each volume of the instance, the root first; answers with the image's devices.
fn take_snapshots(
    turn: &mut Turn<'_>,
    instance: &Instance,
    query: &Query,
    image_id: &str,
    tags: &Tags,
) -> Result<Vec<ImageDevice>, ApiError> {
    let mut attached = instance.devices.clone();
    attached.sort_by_key(|device| device.device != instance.root_device);
    for mapping in query.structures("BlockDeviceMapping") {
        let name = mapping.required("DeviceName")?;
        let Some(place) = attached.iter().position(|device| device.device == name) else {
            return Err(ApiError::unsupported_parameter("BlockDeviceMapping of a device that is not attached"));
        };
        if mapping.text("NoDevice").is_some() && name != instance.root_device {
            attached.remove(place);
        } else if let Some(delete) = mapping.boolean("Ebs.DeleteOnTermination")? {
            attached[place].delete_on_termination = delete;
        }
    }
    let mut devices = Vec::new();
    for device in attached {
        let volume = turn::VOLUME.find(&turn.ec2.volumes, &device.volume_id)?;
        let description = format!("Created by CreateImage({}) for {image_id}", instance.id);
        let snapshot = new_snapshot(turn, volume, &description, tags.clone());
        devices.push(ImageDevice {
            device: device.device.clone(),
            snapshot_id: Some(snapshot.id.clone()),
            gibibytes: volume.gibibytes,
            volume_type: volume.volume_type.clone(),
            iops: volume.iops,
            throughput: volume.throughput,
            delete_on_termination: device.delete_on_termination,
            encrypted: volume.encrypted,
        });
        turn.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
    }
    Ok(devices)
}

pub(super) fn put_devices(xml: &mut Xml, image: &Image) {
    xml.list("blockDeviceMapping", &image.devices, |xml, device| {
        xml.put("deviceName", &device.device).element("ebs", |xml| {
            xml.maybe("snapshotId", device.snapshot_id.as_ref())
                .put("volumeSize", device.gibibytes)
                .put("volumeType", &device.volume_type)
                .maybe("iops", device.iops.filter(|_| device.volume_type != "gp2"))
                .maybe("throughput", device.throughput)
                .put("deleteOnTermination", device.delete_on_termination)
                .put("encrypted", device.encrypted);
        });
    });
}

fn put_image(xml: &mut Xml, image: &Image, ec2: &Ec2, now: Timestamp) {
    let traits = &image.traits;
    let parameter = PUBLIC_IMAGES.iter().find(|public| public.id == image.id).map(|public| public.parameter);
    xml.put("imageId", &image.id)
        .put("imageLocation", format!("{}/{}", image.owner, image.name))
        .put("imageState", image.state.wire())
        .put("imageOwnerId", &image.owner)
        .put("creationDate", wire_time(image.created))
        .put("isPublic", image.public)
        .texts("productCodes", [""; 0])
        .put("architecture", &traits.architecture)
        .put("imageType", "machine")
        .put("platformDetails", "Linux/UNIX")
        .put("usageOperation", "RunInstances")
        .put("enaSupport", traits.ena_support)
        .maybe("sriovNetSupport", traits.sriov.as_ref())
        .maybe("bootMode", traits.boot_mode.as_ref())
        .maybe("tpmSupport", traits.tpm_support.as_ref())
        .maybe("imdsSupport", traits.imds_support.as_ref())
        .maybe("deprecationTime", image.deprecation.map(wire_time))
        .put("deregistrationProtection", image.protection.wire(now))
        .maybe("lastLaunchedTime", image.last_launched.map(wire_time))
        .put("name", &image.name)
        .put("description", &image.description)
        .put("rootDeviceType", "ebs")
        .put("rootDeviceName", &image.root_device);
    put_devices(xml, image);
    xml.put("virtualizationType", &traits.virtualization)
        .put("hypervisor", "xen")
        .maybe("sourceInstanceId", image.source_instance_id.as_ref())
        .maybe("sourceImageId", image.source_image_id.as_ref())
        .maybe("sourceImageRegion", image.source_image_id.as_ref().map(|_| &ec2.region))
        .maybe("publicSsmParameterName", parameter);
    if let Some(failure) = &image.failure {
        xml.element("stateReason", |xml| {
            xml.put("code", "Client.ImageCreationFailed").put("message", failure);
        });
    }
    put_tags(xml, &image.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 28] = [
        "tag",
        "architecture",
        "block-device-mapping.delete-on-termination",
        "block-device-mapping.device-name",
        "block-device-mapping.encrypted",
        "block-device-mapping.snapshot-id",
        "block-device-mapping.volume-size",
        "block-device-mapping.volume-type",
        "boot-mode",
        "creation-date",
        "description",
        "ena-support",
        "hypervisor",
        "image-id",
        "image-type",
        "is-public",
        "name",
        "owner-alias",
        "owner-id",
        "platform-details",
        "root-device-name",
        "root-device-type",
        "source-image-id",
        "source-image-region",
        "source-instance-id",
        "state",
        "sriov-net-support",
        "virtualization-type",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let ids = query.list("ImageId");
    let owners = query.list("Owner");
    let users = query.list("ExecutableBy");
    let ec2 = &*turn.ec2;
    turn::IMAGE.asked(&ec2.images, &ids)?;
    // `all` means launchable by everyone, `self` and an account launchable by explicit permission.
    let executable = |image: &Image| {
        let permitted = |user: &str| image.launch_permissions.contains(if user == "self" { ec2.account.as_str() } else { user });
        users.is_empty() || users.iter().any(|user| if *user == "all" { image.public } else { permitted(user) })
    };
    let (now, deprecated, disabled) =
        (turn.now, query.boolean("IncludeDeprecated")? == Some(true), query.boolean("IncludeDisabled")? == Some(true));
    // Whoever names an image sees it; its owner always sees what is deprecated (ec2.md 8.11).
    let hidden = |image: &Image| {
        let is_old = image.deprecation.is_some_and(|at| at <= now) && image.owner != ec2.account;
        ids.is_empty() && ((is_old && !deprecated) || (image.state == ImageState::Disabled && !disabled))
    };
    let found = ec2
        .images
        .values()
        .filter(|image| ids.is_empty() || ids.contains(&image.id.as_str()))
        .filter(|image| owned(ec2, &image.owner, &owners) && executable(image) && !hidden(image))
        .filter(|image| filters.admit(&image.tags, |name| values(ec2, image, name)));
    let (found, token) = page.cut(found, |image| image.id.clone());
    let mut xml = Xml::new();
    xml.list("imagesSet", found, |xml, image| put_image(xml, image, ec2, now));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn values(ec2: &Ec2, image: &Image, name: &str) -> Vec<String> {
    let of_devices = |value: fn(&ImageDevice) -> String| image.devices.iter().map(value).collect();
    vec![match name {
        "architecture" => image.traits.architecture.clone(),
        "block-device-mapping.delete-on-termination" => {
            return of_devices(|device| device.delete_on_termination.to_string());
        }
        "block-device-mapping.device-name" => return of_devices(|device| device.device.clone()),
        "block-device-mapping.encrypted" => return of_devices(|device| device.encrypted.to_string()),
        "block-device-mapping.snapshot-id" => {
            return image.devices.iter().filter_map(|device| device.snapshot_id.clone()).collect();
        }
        "block-device-mapping.volume-size" => return of_devices(|device| device.gibibytes.to_string()),
        "block-device-mapping.volume-type" => return of_devices(|device| device.volume_type.clone()),
        "boot-mode" => return image.traits.boot_mode.iter().cloned().collect(),
        "creation-date" => wire_time(image.created),
        "description" => image.description.clone(),
        "ena-support" => image.traits.ena_support.to_string(),
        "hypervisor" => "xen".to_owned(),
        "image-id" => image.id.clone(),
        "image-type" => "machine".to_owned(),
        "is-public" => image.public.to_string(),
        "name" => image.name.clone(),
        "owner-id" => image.owner.clone(),
        "platform-details" => "Linux/UNIX".to_owned(),
        "root-device-name" => image.root_device.clone(),
        "root-device-type" => "ebs".to_owned(),
        "source-image-id" => return image.source_image_id.iter().cloned().collect(),
        // Images are copied within the one region.
        "source-image-region" => return image.source_image_id.iter().map(|_| ec2.region.clone()).collect(),
        "source-instance-id" => return image.source_instance_id.iter().cloned().collect(),
        "state" => image.state.wire().to_owned(),
        "sriov-net-support" => return image.traits.sriov.iter().cloned().collect(),
        "virtualization-type" => image.traits.virtualization.clone(),
        // No image here has an owner alias.
        _ => return Vec::new(),
    }]
}

fn deregister(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("ImageId")?;
    let image = turn::IMAGE.find(&turn.ec2.images, id)?;
    own(turn.ec2, &image.owner, id)?;
    if image.protection.holds(turn.now) {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("The image '{id}' is protected from deregistration; turn its protection off first."),
        ));
    }
    let snapshots: Vec<String> = image.devices.iter().filter_map(|device| device.snapshot_id.clone()).collect();
    turn.ec2.images.remove(id);
    let mut xml = Xml::new();
    xml.put("return", true);
    if query.boolean("DeleteAssociatedSnapshots")? == Some(true) {
        xml.list("deleteSnapshotResultSet", snapshots, |xml, snapshot_id| {
            let kept = used_by(turn.ec2, &snapshot_id).is_some();
            if !kept {
                remove(turn, &snapshot_id);
            }
            xml.put("snapshotId", &snapshot_id).put("returnCode", if kept { "skipped" } else { "success" });
        });
    }
    Ok(xml)
}

//! Images that no instance is the source of: of snapshots, and copies of other images.

use super::deeds::Deed;
use super::image::{check_description, check_name};
use super::launch_devices::{VolumeOptions, check_device_name, performance, usable_snapshot};
use super::snapshot_copy::{copied, copies_encrypted};
use super::turn::{self, Operation, Turn, tag_specifications, tags_for};
use crate::model::ec2::{Ec2, Image, ImageDevice, ImageState, ImageTraits, Protection, SnapshotState, Tags, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "RegisterImage",
        register,
        &[
            "Architecture",
            "BillingProduct",
            "BlockDeviceMapping.DeviceName",
            "BlockDeviceMapping.NoDevice",
            "BlockDeviceMapping.VirtualName",
            "BlockDeviceMapping.Ebs.DeleteOnTermination",
            "BlockDeviceMapping.Ebs.Encrypted",
            "BlockDeviceMapping.Ebs.Iops",
            "BlockDeviceMapping.Ebs.SnapshotId",
            "BlockDeviceMapping.Ebs.Throughput",
            "BlockDeviceMapping.Ebs.VolumeSize",
            "BlockDeviceMapping.Ebs.VolumeType",
            "BootMode",
            "Description",
            "EnaSupport",
            "ImageLocation",
            "ImdsSupport",
            "KernelId",
            "Name",
            "RamdiskId",
            "RootDeviceName",
            "SriovNetSupport",
            "TagSpecification",
            "TpmSupport",
            "UefiData",
            "VirtualizationType",
        ],
    ),
    Operation::write(
        "CopyImage",
        copy,
        &[
            "ClientToken",
            "CopyImageTags",
            "Description",
            "Encrypted",
            "KmsKeyId",
            "Name",
            "SourceImageId",
            "SourceRegion",
            "TagSpecification",
        ],
    ),
];

/// The value of a parameter that knows only these; the first if the call has none.
fn one_of<'a>(query: &'a Query, name: &str, values: &[&'a str]) -> Result<&'a str, ApiError> {
    let given = query.text(name).unwrap_or(values[0]);
    if values.contains(&given) {
        return Ok(given);
    }
    Err(ApiError::invalid_value(format!("Invalid value '{given}' for {name}. Valid are {}.", values.join(", "))))
}

/// What the call says of machines, with EC2's old defaults (ec2.md 8.3).
fn read_traits(query: &Query) -> Result<ImageTraits, ApiError> {
    let maybe = |name: &str, values: &[&'static str]| -> Result<Option<String>, ApiError> {
        query.text(name).map(|_| one_of(query, name, values).map(str::to_owned)).transpose()
    };
    let traits = ImageTraits {
        architecture: one_of(query, "Architecture", &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"])?.to_owned(),
        virtualization: one_of(query, "VirtualizationType", &["paravirtual", "hvm"])?.to_owned(),
        ena_support: query.boolean("EnaSupport")?.unwrap_or(false),
        sriov: maybe("SriovNetSupport", &["simple"])?,
        boot_mode: maybe("BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?,
        imds_support: maybe("ImdsSupport", &["v2.0"])?,
        tpm_support: maybe("TpmSupport", &["v2.0"])?,
        uefi_data: query.text("UefiData").filter(|data| !data.is_empty()).map(str::to_owned),
    };
    let combination = |message: &str| Err(ApiError::invalid_combination(message));
    if traits.virtualization == "paravirtual" {
        if traits.ena_support || traits.sriov.is_some() {
            return combination("Enhanced networking is only supported with the virtualization type 'hvm'");
        }
        if traits.boot_mode.as_deref().is_some_and(|mode| mode != "legacy-bios") {
            return combination("UEFI boot modes are only supported with the virtualization type 'hvm'");
        }
    }
    let is_arm = traits.architecture.starts_with("arm64");
    if is_arm && traits.boot_mode.as_deref().is_some_and(|mode| mode != "uefi") {
        return combination("Images of the architecture 'arm64' boot with 'uefi' alone");
    }
    if traits.tpm_support.is_some() && (traits.boot_mode.as_deref() != Some("uefi") || is_arm) {
        return combination("TpmSupport needs the boot mode 'uefi' and the architecture 'x86_64'");
    }
    // 64,000 characters, as the service model bounds it.
    if traits.uefi_data.as_ref().is_some_and(|data| data.len() > 64_000) {
        return Err(ApiError::invalid_value("UefiData exceeds the maximum length of 64000 characters"));
    }
    Ok(traits)
}

fn invalid_mapping(message: String) -> ApiError {
    ApiError::new("InvalidBlockDeviceMapping", message)
}

/// The image's volumes, the root first.
fn read_devices(ec2: &Ec2, query: &Query, root_device: &str) -> Result<Vec<ImageDevice>, ApiError> {
    let mut devices: Vec<ImageDevice> = Vec::new();
    for mapping in query.structures("BlockDeviceMapping") {
        let name = mapping.required("DeviceName")?;
        // An image has no volume that is left out, and types bring their instance store along.
        if mapping.text("NoDevice").is_some() || mapping.text("VirtualName").is_some() {
            continue;
        }
        check_device_name(name)?;
        if devices.iter().any(|device| device.device == name) {
            return Err(invalid_mapping(format!("Duplicate device name {name}")));
        }
        devices.push(read_device(ec2, mapping, name, name == root_device)?);
    }
    if !devices.iter().any(|device| device.device == root_device && device.snapshot_id.is_some()) {
        return Err(invalid_mapping(format!("Root device {root_device} has no snapshot in the block device mapping")));
    }
    devices.sort_by_key(|device| device.device != root_device);
    Ok(devices)
}

fn read_device(ec2: &Ec2, mapping: &Query, name: &str, is_root: bool) -> Result<ImageDevice, ApiError> {
    let snapshot_id = mapping.text("Ebs.SnapshotId").filter(|id| !id.is_empty());
    let asked_encryption = mapping.boolean("Ebs.Encrypted")?;
    let (smallest, encrypted) = match snapshot_id {
        None => (1, asked_encryption == Some(true)),
        Some(id) => {
            let snapshot = turn::SNAPSHOT.find(&ec2.snapshots, id)?;
            if asked_encryption.is_some() {
                return Err(invalid_mapping(format!(
                    "the encrypted flag cannot be specified since device {name} has a snapshot specified."
                )));
            }
            if is_root && snapshot.state != SnapshotState::Completed {
                return Err(ApiError::new("IncorrectState", format!("Snapshot '{id}' is not completed")));
            }
            if !is_root {
                usable_snapshot(ec2, id)?;
            }
            (snapshot.gibibytes, snapshot.encrypted)
        }
    };
    let gibibytes = match mapping.integer("Ebs.VolumeSize")? {
        Some(size) => u64::try_from(size).unwrap_or(0),
        None if snapshot_id.is_none() => return Err(ApiError::missing_parameter("size or snapshotId")),
        None => smallest,
    };
    if gibibytes < smallest {
        return Err(invalid_mapping(format!(
            "Volume of size {gibibytes}GB is smaller than snapshot '{}', expect size >= {smallest}GB",
            snapshot_id.unwrap_or("none")
        )));
    }
    let asked = VolumeOptions::read(mapping)?;
    let volume_type = asked.volume_type.unwrap_or("gp2");
    let (iops, throughput) = performance(volume_type, gibibytes, asked.iops, asked.throughput)?;
    Ok(ImageDevice {
        device: name.to_owned(),
        snapshot_id: snapshot_id.map(str::to_owned),
        gibibytes,
        volume_type: volume_type.to_owned(),
        iops,
        throughput,
        delete_on_termination: mapping.boolean("Ebs.DeleteOnTermination")?.unwrap_or(is_root),
        encrypted,
    })
}

fn register(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("Name")?;
    // Images in S3, kernels apart from their images and billing are of another age, or need what is not here.
    for unsupported in ["ImageLocation", "KernelId", "RamdiskId", "BillingProduct"] {
        if query.structure(unsupported).is_some() {
            return Err(ApiError::unsupported_parameter(unsupported));
        }
    }
    let description = check_description(query)?;
    let traits = read_traits(query)?;
    if query.structure("BlockDeviceMapping").is_none() {
        return Err(ApiError::missing_parameter("BlockDeviceMapping"));
    }
    let root_device = query.text("RootDeviceName").filter(|name| !name.is_empty()).unwrap_or("/dev/sda1");
    let devices = read_devices(turn.ec2, query, root_device)?;
    check_name(turn.ec2, name)?;
    let tags = tags_for(query, "image")?;
    let root = devices.first().and_then(|device| turn.ec2.snapshots.get(device.snapshot_id.as_ref()?));
    let image = Image {
        id: new_id("ami"),
        name: name.to_owned(),
        description,
        owner: turn.ec2.account.clone(),
        public: false,
        created: turn.now,
        state: ImageState::Available,
        failure: None,
        root_device: root_device.to_owned(),
        layers: root.map(|snapshot| snapshot.layers().to_vec()).unwrap_or_default(),
        devices,
        source_instance_id: None,
        source_image_id: None,
        traits,
        launch_permissions: Default::default(),
        deprecation: None,
        protection: Protection::default(),
        last_launched: None,
        without_reboot: false,
        tags,
    };
    let mut xml = Xml::new();
    xml.put("imageId", &image.id);
    turn.ec2.images.insert(image.id.clone(), image);
    Ok(xml)
}

fn copy(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("Name")?;
    let (source_id, region) = (query.required("SourceImageId")?, query.required("SourceRegion")?);
    let description = check_description(query)?;
    if region != turn.ec2.region {
        return Err(ApiError::invalid_value(format!(
            "Invalid value '{region}' for SourceRegion: this cloud is {}",
            turn.ec2.region
        )));
    }
    let encrypted = copies_encrypted(turn.ec2, query)?;
    let mut tags = tag_specifications(query, &["image", "snapshot"])?;
    if let Some(id) = turn.replayed("CopyImage", query)? {
        let mut xml = Xml::new();
        xml.put("imageId", id);
        return Ok(xml);
    }
    let source = turn::IMAGE.find(&turn.ec2.images, source_id)?.clone();
    let permitted = source.public || source.owner == turn.ec2.account || source.launch_permissions.contains(&turn.ec2.account);
    if !permitted {
        return Err(turn::IMAGE.missing(source_id));
    }
    if source.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{source_id}' is not available; its state is {}", source.state.wire()),
        ));
    }
    check_name(turn.ec2, name)?;
    let id = new_id("ami");
    let snapshot_tags = tags.remove("snapshot").unwrap_or_default();
    let mut image_tags = Tags::new();
    if query.boolean("CopyImageTags")? == Some(true) {
        image_tags.extend(source.tags.clone().into_iter().filter(|(key, _)| !key.starts_with("aws:")));
    }
    image_tags.extend(tags.remove("image").unwrap_or_default());
    turn::check_tag_count(&image_tags)?;
    let mut devices = source.devices.clone();
    for device in &mut devices {
        let of = device.snapshot_id.as_ref().and_then(|of| turn.ec2.snapshots.get(of));
        device.encrypted |= encrypted;
        if let Some(of) = of {
            let description = format!("Copied for DestinationAmi {id} from SourceAmi {source_id} for SourceSnapshot {}.", of.id);
            let snapshot = copied(turn, of, description, encrypted, snapshot_tags.clone());
            device.snapshot_id = Some(snapshot.id.clone());
            turn.ec2.snapshots.insert(snapshot.id.clone(), snapshot);
        }
    }
    let image = Image {
        id: id.clone(),
        name: name.to_owned(),
        description,
        owner: turn.ec2.account.clone(),
        public: false,
        created: turn.now,
        state: ImageState::Pending,
        failure: None,
        devices,
        layers: Vec::new(),
        source_instance_id: None,
        source_image_id: Some(source_id.to_owned()),
        // Shares, deprecation and protection are not copied.
        launch_permissions: Default::default(),
        deprecation: None,
        protection: Protection::default(),
        last_launched: None,
        without_reboot: false,
        tags: image_tags,
        ..source
    };
    turn.ec2.images.insert(id.clone(), image);
    turn.remember("CopyImage", query, &id);
    turn.deeds.push(Deed::Image(id.clone()));
    let mut xml = Xml::new();
    xml.put("imageId", id);
    Ok(xml)
}

/// Refuses an image that cannot boot on x86 Nitro instances, which all types of this cloud are.
pub(super) fn check_bootable(image: &Image, instance_type: &str) -> Result<(), ApiError> {
    let traits = &image.traits;
    if traits.architecture != "x86_64" {
        return Err(ApiError::invalid_value(format!(
            "The architecture 'x86_64' of the specified instance type does not match the architecture '{}' of the specified AMI. \
             Specify an instance type and an AMI that have matching architectures, and try again.",
            traits.architecture
        )));
    }
    if traits.virtualization != "hvm" {
        return Err(ApiError::invalid_combination(format!(
            "Non-Windows instances with a virtualization type of '{}' are currently not supported for the instance type {instance_type}.",
            traits.virtualization
        )));
    }
    if !traits.ena_support {
        return Err(ApiError::invalid_combination(format!(
            "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{instance_type}' instance type. \
             Ensure that you are using an AMI that is enabled for ENA."
        )));
    }
    Ok(())
}

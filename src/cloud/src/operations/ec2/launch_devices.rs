//! The volumes of a launch: the image's, changed and added to by the call.

use super::turn;
use crate::model::ec2::{Ec2, Image, ImageDevice, SnapshotSource, SnapshotState};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// What a block device mapping may say of its volume.
pub(super) const EBS: [&str; 7] =
    ["DeleteOnTermination", "Encrypted", "Iops", "SnapshotId", "Throughput", "VolumeSize", "VolumeType"];

/// All volumes that each instance gets, the root first.
pub(super) fn read(ec2: &Ec2, image: &Image, query: &Query) -> Result<Vec<ImageDevice>, ApiError> {
    let mut devices = image.devices.clone();
    for mapping in query.structures("BlockDeviceMapping") {
        let name = mapping.required("DeviceName")?;
        check_device_name(name)?;
        let place = devices.iter().position(|device| device.device == name);
        if mapping.text("NoDevice").is_some() {
            match place {
                Some(_) if name == image.root_device => {
                    return Err(ApiError::invalid_value("The root device may not be suppressed"));
                }
                Some(place) => drop(devices.remove(place)),
                None => {}
            }
            continue;
        }
        if mapping.text("VirtualName").is_some() {
            // Instance store: EC2 ignores it for types that bring their own disks.
            continue;
        }
        let before = place.map(|place| devices[place].clone());
        let device = read_device(ec2, name, before, name == image.root_device, mapping)?;
        match place {
            Some(place) => devices[place] = device,
            None => devices.push(device),
        }
    }
    for device in &mut devices {
        device.encrypted |= ec2.ebs_encryption_by_default;
    }
    devices.sort_by_key(|device| device.device != image.root_device);
    Ok(devices)
}

fn read_device(
    ec2: &Ec2,
    name: &str,
    before: Option<ImageDevice>,
    is_root: bool,
    mapping: &Query,
) -> Result<ImageDevice, ApiError> {
    let invalid = |message: String| ApiError::new("InvalidBlockDeviceMapping", message);
    let given = mapping.text("Ebs.SnapshotId");
    if let (Some(before), Some(given)) = (&before, given)
        && before.snapshot_id.as_deref() != Some(given)
    {
        return Err(invalid(format!("snapshotId cannot be modified on {} device", if is_root { "root" } else { "image" })));
    }
    let is_new = before.is_none();
    let mut device = before.unwrap_or(ImageDevice {
        device: name.to_owned(),
        snapshot_id: given.map(str::to_owned),
        gibibytes: 0,
        volume_type: "gp2".to_owned(),
        iops: None,
        throughput: None,
        // Further volumes outlive their instance unless the call says otherwise (ec2.md 5.5).
        delete_on_termination: false,
        encrypted: false,
    });
    let smallest = match &device.snapshot_id {
        None => 1,
        Some(id) if is_root || !is_new => ec2.snapshots.get(id).map_or(1, |snapshot| snapshot.gibibytes),
        Some(id) => usable_snapshot(ec2, id)?,
    };
    match mapping.integer("Ebs.VolumeSize")? {
        Some(size) => device.gibibytes = u64::try_from(size).unwrap_or(0),
        None if device.gibibytes == 0 && device.snapshot_id.is_none() => {
            return Err(ApiError::missing_parameter("size or snapshotId"));
        }
        None if device.gibibytes == 0 => device.gibibytes = smallest,
        None => {}
    }
    if device.gibibytes < smallest {
        return Err(invalid(format!(
            "Volume of size {}GB is smaller than snapshot '{}', expect size >= {smallest}GB",
            device.gibibytes,
            device.snapshot_id.as_deref().unwrap_or("none")
        )));
    }
    if let Some(delete) = mapping.boolean("Ebs.DeleteOnTermination")? {
        device.delete_on_termination = delete;
    }
    // Copies of what is encrypted are, too.
    let of = device.snapshot_id.as_ref().and_then(|id| ec2.snapshots.get(id));
    let asked_encryption = mapping.boolean("Ebs.Encrypted")?;
    device.encrypted |= asked_encryption == Some(true) || of.is_some_and(|snapshot| snapshot.encrypted);
    let asked = VolumeOptions::read(mapping)?;
    let volume_type = asked.volume_type.unwrap_or(&device.volume_type).to_owned();
    let same = volume_type == device.volume_type;
    let iops = asked.iops.or(device.iops.filter(|_| same));
    let throughput = asked.throughput.or(device.throughput.filter(|_| same));
    (device.iops, device.throughput) = performance(&volume_type, device.gibibytes, iops, throughput)?;
    device.volume_type = volume_type;
    Ok(device)
}

/// What a mapping says of its volume's performance.
pub(super) struct VolumeOptions<'a> {
    pub volume_type: Option<&'a str>,
    pub iops: Option<u64>,
    pub throughput: Option<u64>,
}

impl<'a> VolumeOptions<'a> {
    pub fn read(mapping: &'a Query) -> Result<Self, ApiError> {
        let positive = |name: &str| -> Result<Option<u64>, ApiError> {
            Ok(mapping.integer(name)?.map(|number| u64::try_from(number).unwrap_or(0)))
        };
        Ok(Self {
            volume_type: mapping.text("Ebs.VolumeType"),
            iops: positive("Ebs.Iops")?,
            throughput: positive("Ebs.Throughput")?,
        })
    }
}

/// Refuses a name that no EBS volume can have.
pub(super) fn check_device_name(device: &str) -> Result<(), ApiError> {
    let suffix = device.strip_prefix("/dev/sd").or(device.strip_prefix("/dev/xvd"));
    if suffix.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Ok(());
    }
    Err(ApiError::invalid_value(format!(
        "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
    )))
}

/// The size of a snapshot that a data volume can be made from.
pub(super) fn usable_snapshot(ec2: &Ec2, id: &str) -> Result<u64, ApiError> {
    let snapshot = turn::SNAPSHOT.find(&ec2.snapshots, id)?;
    if snapshot.state != SnapshotState::Completed {
        return Err(ApiError::new("IncorrectState", format!("Snapshot '{id}' is not completed")));
    }
    match snapshot.source {
        SnapshotSource::Volume => Ok(snapshot.gibibytes),
        SnapshotSource::Root { .. } => Err(ApiError::new(
            "UnsupportedOperation",
            format!("The snapshot '{id}' is of a root volume; this cloud makes instances from it, not volumes."),
        )),
    }
}

/// IOPS and throughput of a volume, as asked or by default; refuses what its type does not offer.
pub(super) fn performance(
    volume_type: &str,
    gibibytes: u64,
    iops: Option<u64>,
    throughput: Option<u64>,
) -> Result<(Option<u64>, Option<u64>), ApiError> {
    // Sizes, IOPS and throughput as the EC2 service model documents them for CreateVolume (ec2.md 6.3).
    let (sizes, iops_range) = match volume_type {
        "gp3" => (1..=65_536, Some(3_000..=80_000)),
        "gp2" => (1..=16_384, None),
        "io1" => (4..=16_384, Some(100..=64_000)),
        "io2" => (4..=65_536, Some(100..=256_000)),
        "st1" | "sc1" => (125..=16_384, None),
        "standard" => (1..=1_024, None),
        _ => return Err(ApiError::invalid_value(format!("Invalid value '{volume_type}' for VolumeType"))),
    };
    if !sizes.contains(&gibibytes) {
        return Err(ApiError::invalid_value(format!(
            "Volume of {gibibytes}GiB is invalid; valid sizes of {volume_type} are {} to {} GiB",
            sizes.start(),
            sizes.end()
        )));
    }
    let iops = match (iops_range, iops) {
        (None, Some(_)) => {
            return Err(ApiError::invalid_combination(format!("The parameter iops is not supported for {volume_type} volumes.")));
        }
        // gp2 shows its baseline: 3 a GiB, 100 to 16000.
        (None, None) if volume_type == "gp2" => Some((gibibytes * 3).clamp(100, 16_000)),
        (None, None) => None,
        (Some(range), Some(iops)) if range.contains(&iops) => Some(iops),
        (Some(range), Some(iops)) => {
            return Err(ApiError::invalid_value(format!(
                "Volume iops of {iops} is invalid; valid are {} to {}",
                range.start(),
                range.end()
            )));
        }
        (Some(range), None) if volume_type == "gp3" => Some(*range.start()),
        (Some(_), None) => return Err(ApiError::missing_parameter("iops")),
    };
    check_iops_ratio(volume_type, gibibytes, iops)?;
    let throughput = match (volume_type, throughput) {
        ("gp3", given) => Some(given.unwrap_or(125)),
        (_, None) => None,
        (_, Some(_)) => {
            return Err(ApiError::invalid_combination(format!(
                "The parameter throughput is not supported for {volume_type} volumes."
            )));
        }
    };
    if throughput.is_some_and(|throughput| !(125..=2_000).contains(&throughput)) {
        return Err(ApiError::invalid_value("Throughput is invalid; valid are 125 to 2000 MiB/s"));
    }
    // A quarter of a MiB/s for each operation a second.
    if let (Some(throughput), Some(iops)) = (throughput, iops)
        && throughput * 4 > iops
    {
        return Err(ApiError::invalid_value(format!(
            "Throughput (MiBps) to iops ratio of {throughput} to {iops} is too high; maximum is 0.250000 MiBps per iops."
        )));
    }
    Ok((iops, throughput))
}

/// Refuses more operations a second than a volume of this size can have.
fn check_iops_ratio(volume_type: &str, gibibytes: u64, iops: Option<u64>) -> Result<(), ApiError> {
    let Some(iops) = iops else { return Ok(()) };
    let most = match volume_type {
        // Every gp3 volume has 3000, however small.
        "gp3" if iops <= 3_000 => return Ok(()),
        "gp3" => 500,
        "io1" => 50,
        "io2" => 1_000,
        _ => return Ok(()),
    };
    if iops > gibibytes * most {
        return Err(ApiError::invalid_value(format!(
            "Iops to volume size ratio of {iops} to {gibibytes} is too high; maximum is {most} per GiB."
        )));
    }
    Ok(())
}

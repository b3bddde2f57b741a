//! What a launch asks for: the call's own parameters over those of its launch template.

use std::collections::BTreeMap;

use super::turn::{self, Reasoned};
use crate::model::ec2::{Ec2, LaunchTemplate};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// What a launch template and RunInstances both accept, without list numbers.
pub(super) const SHARED: &[&str] = &[
    "ImageId",
    "InstanceType",
    "KeyName",
    "UserData",
    "SecurityGroupId",
    "SecurityGroup",
    "NetworkInterface.AssociatePublicIpAddress",
    "NetworkInterface.DeleteOnTermination",
    "NetworkInterface.Description",
    "NetworkInterface.DeviceIndex",
    "NetworkInterface.SecurityGroupId",
    "NetworkInterface.PrivateIpAddress",
    "NetworkInterface.NetworkInterfaceId",
    "NetworkInterface.SubnetId",
    "NetworkInterface.InterfaceType",
    "NetworkInterface.NetworkCardIndex",
    "BlockDeviceMapping",
    "Placement.AvailabilityZone",
    "Placement.AvailabilityZoneId",
    "Placement.GroupName",
    "Placement.GroupId",
    "Placement.PartitionNumber",
    "Placement.Tenancy",
    "Monitoring.Enabled",
    "InstanceMarketOptions.MarketType",
    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
    "InstanceMarketOptions.SpotOptions.MaxPrice",
    "InstanceMarketOptions.SpotOptions.SpotInstanceType",
    "CpuOptions.CoreCount",
    "CpuOptions.ThreadsPerCore",
    "CreditSpecification.CpuCredits",
    "MetadataOptions",
    "IamInstanceProfile",
    "EbsOptimized",
    "DisableApiTermination",
    "DisableApiStop",
    "InstanceInitiatedShutdownBehavior",
    "TagSpecification",
    // Read for the values that are refused; the others ask for what is so anyway.
    "CapacityReservationSpecification.CapacityReservationPreference",
    "HibernationOptions.Configured",
    "EnclaveOptions.Enabled",
    "PrivateDnsNameOptions.HostnameType",
];

/// What a launch accepts and ignores.
pub(super) const IGNORED: &[Reasoned] = &[
    ("MaintenanceOptions.AutoRecovery", "no host fails under a node that could move to another"),
    ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", "nodes have no resource names in DNS"),
    ("PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", "nodes have no resource names in DNS"),
];

/// What EC2 would do for a launch and this cloud cannot.
pub(super) const REFUSED: &[Reasoned] = &[
    ("BlockDeviceMapping.Ebs.AvailabilityZone", "a volume is made in its instance's zone"),
    ("BlockDeviceMapping.Ebs.AvailabilityZoneId", "a volume is made in its instance's zone"),
    ("BlockDeviceMapping.Ebs.EbsCardIndex", "there are no EBS cards"),
    ("BlockDeviceMapping.Ebs.KmsKeyId", "there is no key service"),
    ("BlockDeviceMapping.Ebs.OutpostArn", "there are no Outposts"),
    ("BlockDeviceMapping.Ebs.VolumeInitializationRate", "volumes are there at once"),
    ("CapacityReservationSpecification.CapacityReservationTarget.*", "there are no capacity reservations"),
    ("CpuOptions.AmdSevSnp", "nodes share the machine's kernel"),
    ("CpuOptions.NestedVirtualization", "nodes share the machine's kernel"),
    ("ElasticGpuSpecification.*", "there are no accelerators"),
    ("ElasticInferenceAccelerator.*", "there are no accelerators"),
    ("InstanceMarketOptions.SpotOptions.BlockDurationMinutes", "spot requests are one-time"),
    ("InstanceMarketOptions.SpotOptions.ValidUntil", "spot requests are one-time"),
    ("EnablePrimaryIpv6", "there is no IPv6"),
    ("InstanceRequirements.*", "types are named, not described"),
    ("Ipv6Address.*", "there is no IPv6"),
    ("Ipv6AddressCount", "there is no IPv6"),
    ("KernelId", "nodes share the machine's kernel"),
    ("LicenseSpecification.*", "there is no licence manager"),
    ("Monitoring.MetricCategoryId", "there are no metrics"),
    ("NetworkInterface.AssociateCarrierIpAddress", "there are no Wavelength Zones"),
    ("NetworkInterface.ConnectionTrackingSpecification.*", "connections are tracked by the machine"),
    ("NetworkInterface.EnaQueueCount", "interfaces are the machine's"),
    ("NetworkInterface.EnaSrdSpecification.*", "interfaces are the machine's"),
    ("NetworkInterface.Ipv4Prefix.*", "a launch gives single addresses"),
    ("NetworkInterface.Ipv4PrefixCount", "a launch gives single addresses"),
    ("NetworkInterface.Ipv6AddressCount", "there is no IPv6"),
    ("NetworkInterface.Ipv6Addresses.*", "there is no IPv6"),
    ("NetworkInterface.Ipv6Prefix.*", "there is no IPv6"),
    ("NetworkInterface.Ipv6PrefixCount", "there is no IPv6"),
    ("NetworkInterface.PrimaryIpv6", "there is no IPv6"),
    ("NetworkInterface.PrivateIpAddresses.*", "a launch gives one address"),
    ("NetworkInterface.SecondaryPrivateIpAddressCount", "a launch gives one address"),
    ("NetworkPerformanceOptions.*", "bandwidth is the machine's"),
    ("Operator.Principal", "there are no managed instances"),
    ("Placement.Affinity", "there are no dedicated hosts"),
    ("Placement.HostId", "there are no dedicated hosts"),
    ("Placement.HostResourceGroupArn", "there are no dedicated hosts"),
    ("Placement.SpreadDomain", "there are no dedicated hosts"),
    ("RamDiskId", "nodes share the machine's kernel"),
    ("RamdiskId", "nodes share the machine's kernel"),
    ("SecondaryInterface.*", "there are no secondary networks"),
];

/// The launch template and version that a launch names.
pub(super) struct ChosenTemplate {
    pub id: String,
    pub version: u64,
}

/// A launch's parameters in effect.
pub(super) struct Effective {
    pub query: Query,
    pub template: Option<ChosenTemplate>,
}

/// Lays the call's parameters over its launch template's, if it names one.
pub(super) fn effective(ec2: &Ec2, query: &Query) -> Result<Effective, ApiError> {
    let Some(named) = query.structure("LaunchTemplate") else {
        return Ok(Effective { query: query.clone(), template: None });
    };
    let template = find_template(ec2, named.text("LaunchTemplateId"), named.text("LaunchTemplateName"))?;
    let version = version_number(template, named.text("Version").unwrap_or("$Default"))?;
    let data = template.versions.get(&version).ok_or_else(|| version_missing(&template.id, version))?;
    let mut merged = data.data.clone();
    for name in query.names() {
        let Some(given) = query.structure(name) else { continue };
        let laid = match name {
            "TagSpecification" => merge_tags(merged.structure(name), given)?,
            "BlockDeviceMapping" => merge_list(merged.structure(name), given, "DeviceName")?,
            "NetworkInterface" => merge_list(merged.structure(name), given, "DeviceIndex")?,
            _ => given.clone(),
        };
        merged.insert(name, laid);
    }
    Ok(Effective { query: merged, template: Some(ChosenTemplate { id: template.id.clone(), version }) })
}

/// The template of this id or name; naming both or none is refused.
pub(super) fn find_template<'a>(ec2: &'a Ec2, id: Option<&str>, name: Option<&str>) -> Result<&'a LaunchTemplate, ApiError> {
    match (id, name) {
        (Some(id), None) => turn::TEMPLATE.find(&ec2.launch_templates, id),
        (None, Some(name)) => ec2.launch_templates.values().find(|template| template.name == name).ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateName.NotFoundException",
                format!("At least one of the launch templates specified in the request does not exist: {name}"),
            )
        }),
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_combination("Launch template ID and launch template name may not both be specified"))
        }
        (None, None) => Err(ApiError::missing_parameter("LaunchTemplateId or LaunchTemplateName")),
    }
}

/// Reads a version: a number, `$Latest` or `$Default`.
pub(super) fn version_number(template: &LaunchTemplate, text: &str) -> Result<u64, ApiError> {
    match text {
        "$Latest" => Ok(template.latest_version()),
        "$Default" | "" => Ok(template.default_version),
        _ => {
            let number = text
                .parse()
                .map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for launch template version")))?;
            if template.versions.contains_key(&number) { Ok(number) } else { Err(version_missing(&template.id, number)) }
        }
    }
}

fn version_missing(id: &str, version: u64) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateId.VersionNotFound",
        format!("Could not find the specified version {version} for the launch template with ID {id}."),
    )
}

/// Lays one numbered list over another: items with an equal key replace each other, others are added.
fn merge_list(below: Option<&Query>, above: &Query, key: &str) -> Result<Query, ApiError> {
    let mut items: BTreeMap<String, Query> = BTreeMap::new();
    for list in below.into_iter().chain([above]) {
        for item in numbered(list) {
            items.insert(item.text(key).unwrap_or("0").to_owned(), item.clone());
        }
    }
    let mut merged = Query::default();
    for (place, item) in items.into_values().enumerate() {
        merged.insert(&(place + 1).to_string(), item);
    }
    Ok(merged)
}

/// Lays tags over tags: by kind of resource, then by key.
fn merge_tags(below: Option<&Query>, above: &Query) -> Result<Query, ApiError> {
    let mut kinds: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for list in below.into_iter().chain([above]) {
        for specification in numbered(list) {
            let kind = kinds.entry(specification.required("ResourceType")?.to_owned()).or_default();
            kind.extend(turn::read_tags(specification)?);
        }
    }
    let mut merged = Query::default();
    for (place, (kind, tags)) in kinds.into_iter().enumerate() {
        let place = place + 1;
        merged.set(&format!("{place}.ResourceType"), kind)?;
        for (number, (key, value)) in tags.into_iter().enumerate() {
            let number = number + 1;
            merged.set(&format!("{place}.Tag.{number}.Key"), key)?;
            merged.set(&format!("{place}.Tag.{number}.Value"), value)?;
        }
    }
    Ok(merged)
}

/// The items of a list node, in order of their numbers.
fn numbered(list: &Query) -> Vec<&Query> {
    let mut items: Vec<(u64, &Query)> =
        list.names().filter_map(|name| Some((name.parse().ok()?, list.structure(name)?))).collect();
    items.sort_by_key(|(number, _)| *number);
    items.into_iter().map(|(_, item)| item).collect()
}

//! What a launch asks for: the call's own parameters over those of its launch template.

use std::collections::BTreeMap;

use super::turn;
use crate::model::ec2::{Ec2, LaunchTemplate};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// What a launch template and RunInstances both accept, without list numbers.
pub(super) const SHARED: [&str; 39] = [
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
    "Placement.GroupName",
    "Placement.GroupId",
    "Placement.Tenancy",
    "Monitoring.Enabled",
    "InstanceMarketOptions.MarketType",
    "InstanceMarketOptions.SpotOptions",
    "CpuOptions.CoreCount",
    "CpuOptions.ThreadsPerCore",
    "MetadataOptions",
    "IamInstanceProfile",
    "EbsOptimized",
    "DisableApiTermination",
    "DisableApiStop",
    "InstanceInitiatedShutdownBehavior",
    "TagSpecification",
    // Without effect on nodes that share a machine.
    "CreditSpecification.CpuCredits",
    "MaintenanceOptions.AutoRecovery",
    "CapacityReservationSpecification.CapacityReservationPreference",
    "HibernationOptions.Configured",
    "EnclaveOptions.Enabled",
    "PrivateDnsNameOptions",
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

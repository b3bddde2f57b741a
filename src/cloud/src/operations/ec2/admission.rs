//! Which parameters an action takes: those that count, those it ignores, those it refuses by name.
//!
//! A client that is misunderstood must be told. So a parameter that no action of this name has is unknown, one that
//! EC2 has and this cloud does not serve is refused by its name, and what is ignored is listed in one place.

use super::turn::{Operation, Reasoned};
use super::unbuilt;
use crate::wire::error::ApiError;
use crate::wire::query::{Query, plain};

/// What every call may carry beside its own parameters.
pub(super) const COMMON: [&str; 2] = ["Action", "Version"];

/// Structures by their name at the end of a path, with all their members: a list of parameters that names one admits
/// these members and nothing else below it. Names are those of EC2's service model.
const STRUCTURES: &[(&str, &[&str])] = &[
    ("Tag", &["Key", "Value"]),
    ("TagSpecification", &["ResourceType", "Tag"]),
    ("Filter", &["Name", "Value"]),
    ("IamInstanceProfile", &["Arn", "Name"]),
    ("LaunchTemplate", &["LaunchTemplateId", "LaunchTemplateName", "Version"]),
    ("MetadataOptions", &["HttpEndpoint", "HttpPutResponseHopLimit", "HttpTokens", "HttpProtocolIpv6", "InstanceMetadataTags"]),
    ("PrivateDnsNameOptions", &["HostnameType", "EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord"]),
    ("BlockDeviceMapping", &["DeviceName", "NoDevice", "VirtualName", "Ebs"]),
    ("Ebs", &super::launch_devices::EBS),
    ("IpPermissions", &["IpProtocol", "FromPort", "ToPort", "IpRanges", "Ipv6Ranges", "Groups", "PrefixListIds"]),
    ("IpRanges", &["CidrIp", "Description"]),
    ("Ipv6Ranges", &["CidrIpv6", "Description"]),
    ("Groups", &["GroupId", "GroupName", "UserId", "VpcId", "VpcPeeringConnectionId", "PeeringStatus", "Description"]),
    ("PrefixListIds", &["PrefixListId", "Description"]),
    (
        "SecurityGroupRule",
        &[
            "SecurityGroupRuleId",
            "SecurityGroupRule.CidrIpv4",
            "SecurityGroupRule.CidrIpv6",
            "SecurityGroupRule.Description",
            "SecurityGroupRule.FromPort",
            "SecurityGroupRule.IpProtocol",
            "SecurityGroupRule.PrefixListId",
            "SecurityGroupRule.ReferencedGroupId",
            "SecurityGroupRule.ToPort",
        ],
    ),
    ("SecurityGroupRuleDescription", &["SecurityGroupRuleId", "Description"]),
    ("PrivateIpAddresses", &["PrivateIpAddress", "Primary"]),
    ("Attachment", &["AttachmentId", "DeleteOnTermination", "DefaultEnaQueueCount", "EnaQueueCount"]),
    ("LaunchPermission", &["Add", "Remove"]),
    // Unlike images, snapshots are not shared with organisations.
    ("CreateVolumePermission", &["Add.UserId", "Add.Group", "Remove.UserId", "Remove.Group"]),
    ("Add", &["UserId", "Group", "OrganizationArn", "OrganizationalUnitArn"]),
    ("Remove", &["UserId", "Group", "OrganizationArn", "OrganizationalUnitArn"]),
    ("DnsOptions", &["DnsRecordIpType", "PrivateDnsOnlyForInboundResolverEndpoint"]),
];

/// Structures that come as numbered lists; given without a number they would pass unread.
const NUMBERED: [&str; 8] = [
    "Tag",
    "TagSpecification",
    "Filter",
    "BlockDeviceMapping",
    "IpPermissions",
    "NetworkInterface",
    "LaunchTemplateConfigs",
    "Overrides",
];

/// Refuses a call that carries a parameter its action does not take.
pub(super) fn admit(operation: &Operation, query: &Query) -> Result<(), ApiError> {
    for (path, value) in query.leaves() {
        let name = plain(&path);
        if COMMON.contains(&name.as_str()) || (name == "DryRun" && operation.has_dry_run) {
            continue;
        }
        if let Err(error) = check(&path, &name, operation.parameters, operation.ignored, operation.refused) {
            unbuilt::verdict(operation.name, &name, value).unwrap_or(Err(error))?;
        }
    }
    Ok(())
}

/// Refuses a structure that carries what is in none of the lists.
pub(super) fn admit_structure(
    query: &Query,
    parameters: &[&str],
    ignored: &[Reasoned],
    refused: &[Reasoned],
) -> Result<(), ApiError> {
    query.leaves().iter().try_for_each(|(path, _)| check(path, &plain(path), parameters, ignored, refused))
}

fn check(path: &str, name: &str, parameters: &[&str], ignored: &[Reasoned], refused: &[Reasoned]) -> Result<(), ApiError> {
    if !is_numbered(path) {
        return Err(ApiError::unknown_parameter(path));
    }
    let listed = |list: &[Reasoned]| list.iter().find(|(known, _)| covers(known, name)).map(|(_, why)| *why);
    if parameters.iter().any(|known| covers(known, name)) || listed(ignored).is_some() {
        return Ok(());
    }
    match listed(refused) {
        Some(why) => {
            Err(ApiError::new("UnsupportedOperation", format!("The parameter {path} is not supported by this cloud: {why}.")))
        }
        None => Err(ApiError::unknown_parameter(path)),
    }
}

/// The paths of all scalars that a listed name stands for.
pub(super) fn spelled_out(listed: &str) -> Vec<String> {
    match STRUCTURES.iter().find(|(known, _)| Some(*known) == listed.rsplit('.').next()) {
        Some((_, members)) => members.iter().flat_map(|member| spelled_out(&format!("{listed}.{member}"))).collect(),
        None => vec![listed.to_owned()],
    }
}

/// Whether a listed name stands for this one: it is the same, or the structure that it names has such a member.
fn covers(listed: &str, name: &str) -> bool {
    let structure = listed.rsplit('.').next().unwrap_or(listed);
    let members = STRUCTURES.iter().find(|(known, _)| *known == structure).map(|(_, members)| *members);
    match (name.strip_prefix(listed), members) {
        (Some(""), None) => true,
        // Everything below a name with a star at its end.
        (None, _) if listed.ends_with(".*") => name.starts_with(listed.trim_end_matches('*')),
        (Some(rest), Some(members)) => {
            rest.strip_prefix('.').is_some_and(|rest| members.iter().any(|member| covers(member, rest)))
        }
        _ => false,
    }
}

/// Whether each structure that comes in lists has its number.
fn is_numbered(path: &str) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    parts.windows(2).all(|pair| !NUMBERED.contains(&pair[0]) || pair[1].parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(form: &str, parameters: &[&str]) -> String {
        let query = Query::parse(form).unwrap();
        let refused = [("KernelId", "nodes share a kernel")];
        match admit_structure(&query, parameters, &[("AdditionalInfo", "reserved")], &refused) {
            Ok(()) => "admitted".to_owned(),
            Err(error) => error.code.into_owned(),
        }
    }

    #[test]
    fn members_of_structures_are_known_one_by_one() {
        for (form, expected) in [
            ("Filter.1.Name=x&Filter.1.Value.1=y", "admitted"),
            ("Filter.1.Foo=x", "UnknownParameter"),
            ("Filter.1=x", "UnknownParameter"),
            ("Filter.Name=x", "UnknownParameter"),
            ("Tag.1.Foo=x", "UnknownParameter"),
            ("TagSpecification.1.Tag.1.Key=x", "admitted"),
            ("TagSpecification.1.Tag.1.Foo=x", "UnknownParameter"),
            ("TagSpecification.1.Foo=x", "UnknownParameter"),
            ("MetadataOptions.HttpTokens=x", "admitted"),
            ("MetadataOptions.Foo=x", "UnknownParameter"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize=8", "admitted"),
            ("BlockDeviceMapping.1.Ebs.Foo=8", "UnknownParameter"),
            ("InstanceId.1=i-1", "admitted"),
            ("InstanceId.1.Foo=i-1", "UnknownParameter"),
            ("InstanceIdd.1=i-1", "UnknownParameter"),
            ("AdditionalInfo=x", "admitted"),
            ("KernelId=x", "UnsupportedOperation"),
        ] {
            let known = ["Filter", "Tag", "TagSpecification", "MetadataOptions", "BlockDeviceMapping", "InstanceId"];
            assert_eq!(outcome(form, &known), expected, "{form}");
        }
    }
}

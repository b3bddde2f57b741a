//! Security group rules on the wire: `IpPermissions` in, rules out.

use std::collections::BTreeMap;

use super::route::find_prefix_list;
use super::turn::{self, put_tags};
use crate::model::ec2::{
    Ec2, Protocol, RuleTarget, SecurityGroup, SecurityGroupRule, Tags, network_text, network6_text, new_id, parse_network,
    parse_network6,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// Reads the rules that a call names: `IpPermissions`, or one rule in the call's own fields.
pub(super) fn read(ec2: &Ec2, group: &SecurityGroup, query: &Query, egress: bool) -> Result<Vec<SecurityGroupRule>, ApiError> {
    let mut rules = Vec::new();
    for permission in query.structures("IpPermissions") {
        let (protocol, ports) = read_flow(permission)?;
        let mut targets = Vec::new();
        for range in permission.structures("IpRanges") {
            targets.push((read_cidr(range.required("CidrIp")?)?, range.text("Description")));
        }
        for range in permission.structures("Ipv6Ranges") {
            targets.push((read_cidr6(range.required("CidrIpv6")?)?, range.text("Description")));
        }
        for list in permission.structures("PrefixListIds") {
            targets.push((read_prefix_list(list.required("PrefixListId")?)?, list.text("Description")));
        }
        for pair in permission.structures("Groups") {
            targets.push((read_group(ec2, group, pair)?, pair.text("Description")));
        }
        if targets.is_empty() {
            return Err(ApiError::missing_parameter("ipPermissions.ipRanges or ipPermissions.groups"));
        }
        for (target, description) in targets {
            rules.push(rule(egress, (protocol, ports), target, read_description(description)?));
        }
    }
    if query.text("IpProtocol").is_some() {
        let (protocol, ports) = read_flow(query)?;
        let target = read_cidr(query.required("CidrIp")?)?;
        rules.push(rule(egress, (protocol, ports), target, None));
    } else if let Some(name) = query.text("SourceSecurityGroupName") {
        own_account(ec2, query.text("SourceSecurityGroupOwnerId"))?;
        let target = RuleTarget::Group(group_by_name(ec2, &group.vpc_id, name)?.id.clone());
        rules.push(rule(egress, (Protocol(None), None), target, None));
    }
    if rules.is_empty() {
        return Err(ApiError::missing_parameter("ipPermissions"));
    }
    for (place, rule) in rules.iter().enumerate() {
        if rules[..place].iter().any(|other| other.same_flow(rule)) {
            return Err(ApiError::invalid_value("The same permission must not appear multiple times"));
        }
    }
    Ok(rules)
}

fn rule(
    egress: bool,
    (protocol, ports): (Protocol, Option<(i32, i32)>),
    target: RuleTarget,
    description: Option<String>,
) -> SecurityGroupRule {
    SecurityGroupRule { id: new_id("sgr"), egress, protocol, ports, target, description, tags: Tags::new() }
}

/// Holds a rule's description to EC2's limits.
pub(super) fn read_description(text: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let admitted = |character: char| character.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(character);
    if text.len() > 255 || !text.chars().all(admitted) {
        return Err(ApiError::invalid_value(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Reads the rule that ModifySecurityGroupRules puts in another's place: exactly one target, of the kind it had.
pub(super) fn read_replacement(
    ec2: &Ec2,
    group: &SecurityGroup,
    former: &SecurityGroupRule,
    query: &Query,
) -> Result<SecurityGroupRule, ApiError> {
    let (protocol, ports) = read_flow(query)?;
    let given: Vec<(&str, &str)> = ["CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupId"]
        .into_iter()
        .filter_map(|name| Some((name, query.text(name)?)))
        .collect();
    let target = match given.as_slice() {
        [("CidrIpv4", text)] => read_cidr(text)?,
        [("CidrIpv6", text)] => read_cidr6(text)?,
        [("PrefixListId", text)] => read_prefix_list(text)?,
        [(_, id)] => {
            let other = turn::SECURITY_GROUP.find(&ec2.security_groups, id)?;
            in_one_network(group, other)?;
            RuleTarget::Group(other.id.clone())
        }
        [] => return Err(ApiError::missing_parameter("CidrIpv4, CidrIpv6, PrefixListId or ReferencedGroupId")),
        _ => {
            return Err(ApiError::invalid_combination(
                "Only one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId may be specified",
            ));
        }
    };
    if !former.target.same_kind(&target) {
        return Err(ApiError::invalid_value(format!("You may not change the type of the rule {}.", former.id)));
    }
    let description = read_description(query.text("Description"))?;
    Ok(SecurityGroupRule { protocol, ports, target, description, ..former.clone() })
}

/// Protocol and ports of a permission: ports are required for TCP and UDP, free for ICMP, ignored for the rest.
fn read_flow(query: &Query) -> Result<(Protocol, Option<(i32, i32)>), ApiError> {
    let text = query.required("IpProtocol")?;
    let number = match text {
        "-1" | "all" => return Ok((Protocol(None), None)),
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "icmpv6" => 58,
        _ => text
            .parse::<u8>()
            .map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for IP protocol. Unknown protocol.")))?,
    };
    let port = |name: &str| -> Result<Option<i32>, ApiError> {
        let port = query.integer(name)?;
        port.map(|port| {
            i32::try_from(port)
                .ok()
                .filter(|port| (-1..=65535).contains(port))
                .ok_or_else(|| ApiError::invalid_value(format!("Invalid value '{port}' for port. Must be -1 to 65535")))
        })
        .transpose()
    };
    let (from, to) = (port("FromPort")?, port("ToPort")?);
    let ports = match number {
        6 | 17 => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(ApiError::invalid_value(
                    "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                ));
            };
            // -1 as both means every port here.
            let (from, to) = if (from, to) == (-1, -1) { (0, 65535) } else { (from, to) };
            if from > to || from < 0 {
                return Err(ApiError::invalid_value(format!("Invalid TCP/UDP port range ({from}:{to})")));
            }
            Some((from, to))
        }
        1 | 58 => Some((from.unwrap_or(-1), to.unwrap_or(-1))),
        _ => None,
    };
    Ok((Protocol(Some(number)), ports))
}

fn read_cidr(text: &str) -> Result<RuleTarget, ApiError> {
    parse_network(text).map(RuleTarget::Cidr).ok_or_else(|| ApiError::invalid_value(format!("CIDR block {text} is malformed")))
}

fn read_cidr6(text: &str) -> Result<RuleTarget, ApiError> {
    parse_network6(text).map(RuleTarget::Cidr6).ok_or_else(|| ApiError::invalid_value(format!("CIDR block {text} is malformed")))
}

fn read_prefix_list(id: &str) -> Result<RuleTarget, ApiError> {
    find_prefix_list(id).map(|()| RuleTarget::PrefixList(id.to_owned()))
}

fn read_group(ec2: &Ec2, group: &SecurityGroup, pair: &Query) -> Result<RuleTarget, ApiError> {
    own_account(ec2, pair.text("UserId"))?;
    let other = match (pair.text("GroupId"), pair.text("GroupName")) {
        (Some(id), _) => turn::SECURITY_GROUP.find(&ec2.security_groups, id)?,
        (None, Some(name)) => group_by_name(ec2, &group.vpc_id, name)?,
        (None, None) => return Err(ApiError::missing_parameter("groups.groupId")),
    };
    in_one_network(group, other)?;
    Ok(RuleTarget::Group(other.id.clone()))
}

/// Refuses a group of another account, of which this cloud has none.
fn own_account(ec2: &Ec2, account: Option<&str>) -> Result<(), ApiError> {
    match account.filter(|account| !account.is_empty() && *account != ec2.account) {
        None => Ok(()),
        Some(other) => Err(ApiError::new("InvalidGroup.NotFound", format!("There is no such group of the account '{other}'"))),
    }
}

fn in_one_network(group: &SecurityGroup, other: &SecurityGroup) -> Result<(), ApiError> {
    if other.vpc_id == group.vpc_id {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidGroup.NotFound",
        format!("You have specified two resources that belong to different networks: {}, {}", group.id, other.id),
    ))
}

/// The group of this name in the VPC.
pub(super) fn group_by_name<'a>(ec2: &'a Ec2, vpc_id: &str, name: &str) -> Result<&'a SecurityGroup, ApiError> {
    ec2.security_groups.values().find(|group| group.vpc_id == vpc_id && group.name == name).ok_or_else(|| {
        ApiError::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist in VPC '{vpc_id}'"))
    })
}

/// Writes one rule as DescribeSecurityGroupRules does.
pub(super) fn put_rule(xml: &mut Xml, ec2: &Ec2, group: &SecurityGroup, rule: &SecurityGroupRule) {
    let arn = format!("arn:aws:ec2:{}:{}:security-group-rule/{}", ec2.region, ec2.account, rule.id);
    put_flow(xml, group, rule);
    xml.put("groupOwnerId", &ec2.account).put("securityGroupRuleArn", arn);
    if let RuleTarget::Group(id) = &rule.target {
        xml.element("referencedGroupInfo", |xml| {
            xml.put("groupId", id).put("userId", &ec2.account).put("vpcId", &group.vpc_id);
        });
    }
    put_tags(xml, &rule.tags);
}

/// Writes one rule as Revoke answers do.
pub(super) fn put_revoked(xml: &mut Xml, group: &SecurityGroup, rule: &SecurityGroupRule) {
    put_flow(xml, group, rule);
    xml.maybe("referencedGroupId", rule.target.group());
}

fn put_flow(xml: &mut Xml, group: &SecurityGroup, rule: &SecurityGroupRule) {
    let (from, to) = rule.ports.unwrap_or((-1, -1));
    xml.put("securityGroupRuleId", &rule.id)
        .put("groupId", &group.id)
        .put("isEgress", rule.egress)
        .put("ipProtocol", rule.protocol)
        .put("fromPort", from)
        .put("toPort", to);
    match &rule.target {
        RuleTarget::Cidr(network) => {
            xml.put("cidrIpv4", network_text(*network));
        }
        RuleTarget::Cidr6(network) => {
            xml.put("cidrIpv6", network6_text(*network));
        }
        RuleTarget::PrefixList(id) => {
            xml.put("prefixListId", id);
        }
        RuleTarget::Group(_) => {}
    }
    xml.maybe("description", rule.description.as_ref());
}

/// Protocol and ports.
type Flow = (Option<u8>, Option<(i32, i32)>);

/// Writes rules as `ipPermissions`: those with equal flow together.
pub(super) fn put_permissions<'a>(xml: &mut Xml, ec2: &Ec2, name: &str, rules: impl Iterator<Item = &'a SecurityGroupRule>) {
    let mut flows: BTreeMap<Flow, Vec<&SecurityGroupRule>> = BTreeMap::new();
    for rule in rules {
        flows.entry((rule.protocol.0, rule.ports)).or_default().push(rule);
    }
    xml.list(name, flows, |xml, ((protocol, ports), rules)| {
        xml.put("ipProtocol", Protocol(protocol))
            .maybe("fromPort", ports.map(|(from, _)| from))
            .maybe("toPort", ports.map(|(_, to)| to));
        let groups = rules.iter().filter_map(|rule| Some((rule.target.group()?, &rule.description)));
        xml.list("groups", groups, |xml, (id, description)| {
            xml.put("userId", &ec2.account).put("groupId", id).maybe("description", description.as_ref());
        });
        let mut put_ranges = |set: &str, member: &str, of: fn(&RuleTarget) -> bool| {
            xml.list(set, rules.iter().filter(|rule| of(&rule.target)), |xml, rule| {
                xml.put(member, &rule.target).maybe("description", rule.description.as_ref());
            });
        };
        put_ranges("ipRanges", "cidrIp", |target| matches!(target, RuleTarget::Cidr(_)));
        put_ranges("ipv6Ranges", "cidrIpv6", |target| matches!(target, RuleTarget::Cidr6(_)));
        put_ranges("prefixListIds", "prefixListId", |target| matches!(target, RuleTarget::PrefixList(_)));
    });
}

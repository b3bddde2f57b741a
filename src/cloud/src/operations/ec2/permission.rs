//! Security group rules on the wire: `IpPermissions` in, rules out.

use std::collections::BTreeMap;

use super::turn::{self, put_tags};
use crate::model::ec2::{Ec2, Protocol, RuleTarget, SecurityGroup, SecurityGroupRule, Tags, network_text, new_id, parse_network};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// Reads the rules that a call names: `IpPermissions`, or one rule in the call's own fields.
pub(super) fn read(ec2: &Ec2, group: &SecurityGroup, query: &Query, egress: bool) -> Result<Vec<SecurityGroupRule>, ApiError> {
    let mut rules = Vec::new();
    for permission in query.structures("IpPermissions") {
        for unsupported in ["Ipv6Ranges", "PrefixListIds"] {
            if permission.structure(unsupported).is_some() {
                return Err(ApiError::unsupported_parameter(&format!("IpPermissions.{unsupported}")));
            }
        }
        let (protocol, ports) = read_flow(permission)?;
        let mut targets = Vec::new();
        for range in permission.structures("IpRanges") {
            targets.push((read_cidr(range.required("CidrIp")?)?, range.text("Description")));
        }
        for pair in permission.structures("Groups") {
            targets.push((read_group(ec2, group, pair)?, pair.text("Description")));
        }
        if targets.is_empty() {
            return Err(ApiError::missing_parameter("ipPermissions.ipRanges or ipPermissions.groups"));
        }
        for (target, description) in targets {
            rules.push(rule(egress, protocol, ports, target, description));
        }
    }
    if query.text("IpProtocol").is_some() {
        let (protocol, ports) = read_flow(query)?;
        let target = read_cidr(query.required("CidrIp")?)?;
        rules.push(rule(egress, protocol, ports, target, None));
    } else if let Some(name) = query.text("SourceSecurityGroupName") {
        let target = RuleTarget::Group(group_by_name(ec2, &group.vpc_id, name)?.id.clone());
        rules.push(rule(egress, Protocol(None), None, target, None));
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
    protocol: Protocol,
    ports: Option<(i32, i32)>,
    target: RuleTarget,
    description: Option<&str>,
) -> SecurityGroupRule {
    SecurityGroupRule {
        id: new_id("sgr"),
        egress,
        protocol,
        ports,
        target,
        description: description.map(str::to_owned),
        tags: Tags::new(),
    }
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

fn read_group(ec2: &Ec2, group: &SecurityGroup, pair: &Query) -> Result<RuleTarget, ApiError> {
    let other = match (pair.text("GroupId"), pair.text("GroupName")) {
        (Some(id), _) => turn::SECURITY_GROUP.find(&ec2.security_groups, id)?,
        (None, Some(name)) => group_by_name(ec2, &group.vpc_id, name)?,
        (None, None) => return Err(ApiError::missing_parameter("groups.groupId")),
    };
    if other.vpc_id != group.vpc_id {
        return Err(ApiError::new(
            "InvalidGroup.NotFound",
            format!("You have specified two resources that belong to different networks: {}, {}", group.id, other.id),
        ));
    }
    Ok(RuleTarget::Group(other.id.clone()))
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
    if let RuleTarget::Group(id) = &rule.target {
        xml.put("referencedGroupId", id);
    }
}

fn put_flow(xml: &mut Xml, group: &SecurityGroup, rule: &SecurityGroupRule) {
    let (from, to) = rule.ports.unwrap_or((-1, -1));
    xml.put("securityGroupRuleId", &rule.id)
        .put("groupId", &group.id)
        .put("isEgress", rule.egress)
        .put("ipProtocol", rule.protocol)
        .put("fromPort", from)
        .put("toPort", to);
    if let RuleTarget::Cidr(network) = &rule.target {
        xml.put("cidrIpv4", network_text(*network));
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
        let groups = rules.iter().filter_map(|rule| match &rule.target {
            RuleTarget::Group(id) => Some((id, &rule.description)),
            RuleTarget::Cidr(_) => None,
        });
        xml.list("groups", groups, |xml, (id, description)| {
            xml.put("userId", &ec2.account).put("groupId", id).maybe("description", description.as_ref());
        });
        let ranges = rules.iter().filter_map(|rule| match &rule.target {
            RuleTarget::Cidr(network) => Some((*network, &rule.description)),
            RuleTarget::Group(_) => None,
        });
        xml.list("ipRanges", ranges, |xml, (network, description)| {
            xml.put("cidrIp", network_text(network)).maybe("description", description.as_ref());
        });
        xml.texts("ipv6Ranges", [""; 0]).texts("prefixListIds", [""; 0]);
    });
}

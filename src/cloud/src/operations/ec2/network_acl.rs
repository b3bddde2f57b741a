//! Network ACLs: kept and shown. What nodes may send and receive follows their security groups alone.

use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{
    AclEntry, AclPeer, Ec2, NetworkAcl, Protocol, Subnet, network_text, network6_text, new_id, parse_network, parse_network6,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// What an entry is made of.
const ENTRY: [&str; 11] = [
    "NetworkAclId",
    "RuleNumber",
    "Protocol",
    "RuleAction",
    "Egress",
    "CidrBlock",
    "Ipv6CidrBlock",
    "PortRange.From",
    "PortRange.To",
    "Icmp.Type",
    "Icmp.Code",
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateNetworkAcl", create, &["VpcId", "TagSpecification", "ClientToken"]),
    Operation::read("DescribeNetworkAcls", describe, &["NetworkAclId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteNetworkAcl", delete, &["NetworkAclId"]),
    Operation::write("CreateNetworkAclEntry", |turn, query| put_entry(turn, query, false), &ENTRY),
    Operation::write("ReplaceNetworkAclEntry", |turn, query| put_entry(turn, query, true), &ENTRY),
    Operation::write("DeleteNetworkAclEntry", delete_entry, &["NetworkAclId", "RuleNumber", "Egress"]),
    Operation::write("ReplaceNetworkAclAssociation", replace_association, &["AssociationId", "NetworkAclId"]),
];

/// The number of the entry that refuses what no other speaks of; no one can make or change it.
const LAST: u32 = 32767;

/// EC2's default quota, in each direction. [VPCUG amazon-vpc-limits.md]
const ENTRIES: usize = 20;

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const SCOPE: &str = "CreateNetworkAcl";
    let vpc_id = query.required("VpcId")?;
    turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let tags = tags_for(query, "network-acl")?;
    let id = match turn.replayed(SCOPE, query)? {
        Some(id) => id,
        None => {
            let acl = NetworkAcl { id: new_id("acl"), vpc_id: vpc_id.to_owned(), is_default: false, entries: Vec::new(), tags };
            turn.remember(SCOPE, query, &acl.id);
            let id = acl.id.clone();
            turn.ec2.network_acls.insert(id.clone(), acl);
            id
        }
    };
    let acl = turn::NETWORK_ACL.find(&turn.ec2.network_acls, &id)?;
    let mut xml = Xml::new();
    xml.element("networkAcl", |xml| put(xml, turn.ec2, acl)).maybe("clientToken", query.text("ClientToken"));
    Ok(xml)
}

/// The subnets that an ACL stands before.
fn subnets<'a>(ec2: &'a Ec2, acl: &'a NetworkAcl) -> impl Iterator<Item = &'a Subnet> {
    ec2.subnets.values().filter(|subnet| ec2.acl_of(subnet) == Some(acl.id.as_str()))
}

fn peer_text(peer: AclPeer) -> String {
    match peer {
        AclPeer::V4(network) => network_text(network),
        AclPeer::V6(network) => network6_text(network),
    }
}

/// The number of a protocol, as ACLs have it.
fn protocol_text(protocol: Protocol) -> String {
    protocol.0.map_or_else(|| "-1".to_owned(), |number| number.to_string())
}

/// An ACL's entries as they are shown: by number, with the last ones.
fn all_entries(acl: &NetworkAcl) -> Vec<AclEntry> {
    let mut all = acl.entries.clone();
    for egress in [true, false] {
        let mut families: Vec<AclPeer> = ["0.0.0.0/0"].into_iter().filter_map(parse_network).map(AclPeer::V4).collect();
        let speaks_of_6 = acl.entries.iter().any(|entry| matches!(entry.peer, AclPeer::V6(_)));
        families.extend(parse_network6("::/0").filter(|_| speaks_of_6).map(AclPeer::V6));
        all.extend(families.into_iter().map(|peer| AclEntry {
            number: LAST,
            egress,
            protocol: Protocol(None),
            allow: false,
            peer,
            ports: None,
            icmp: None,
        }));
    }
    all.sort_by_key(|entry| (!entry.egress, entry.number));
    all
}

fn put(xml: &mut Xml, ec2: &Ec2, acl: &NetworkAcl) {
    xml.put("networkAclId", &acl.id).put("vpcId", &acl.vpc_id).put("ownerId", &ec2.account).put("default", acl.is_default);
    xml.list("entrySet", all_entries(acl), |xml, entry| {
        xml.put("ruleNumber", entry.number)
            .put("protocol", protocol_text(entry.protocol))
            .put("ruleAction", if entry.allow { "allow" } else { "deny" })
            .put("egress", entry.egress);
        let name = match entry.peer {
            AclPeer::V4(_) => "cidrBlock",
            AclPeer::V6(_) => "ipv6CidrBlock",
        };
        xml.put(name, peer_text(entry.peer));
        if let Some((from, to)) = entry.ports {
            xml.element("portRange", |xml| {
                xml.put("from", from).put("to", to);
            });
        }
        if let Some((kind, code)) = entry.icmp {
            xml.element("icmpTypeCode", |xml| {
                xml.put("type", kind).put("code", code);
            });
        }
    });
    xml.list("associationSet", subnets(ec2, acl), |xml, subnet| {
        xml.put("networkAclAssociationId", &subnet.network_acl_association_id)
            .put("networkAclId", &acl.id)
            .put("subnetId", &subnet.id);
    });
    put_tags(xml, &acl.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 18] = [
        "tag",
        "association.association-id",
        "association.network-acl-id",
        "association.subnet-id",
        "default",
        "entry.cidr",
        "entry.egress",
        "entry.icmp.code",
        "entry.icmp.type",
        "entry.ipv6-cidr",
        "entry.port-range.from",
        "entry.port-range.to",
        "entry.protocol",
        "entry.rule-action",
        "entry.rule-number",
        "network-acl-id",
        "owner-id",
        "vpc-id",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("NetworkAclId");
    let ec2 = &*turn.ec2;
    turn::NETWORK_ACL.asked(&ec2.network_acls, &ids)?;
    let found = ec2
        .network_acls
        .values()
        .filter(|acl| ids.is_empty() || ids.contains(&acl.id.as_str()))
        .filter(|acl| filters.admit(&acl.tags, |name| values(ec2, acl, name)));
    let (found, token) = page.cut(found, |acl| acl.id.clone());
    let mut xml = Xml::new();
    xml.list("networkAclSet", found, |xml, acl| put(xml, ec2, acl));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// What an ACL is under a filter's name.
fn values(ec2: &Ec2, acl: &NetworkAcl, name: &str) -> Vec<String> {
    let entries = |value: fn(AclEntry) -> Option<String>| all_entries(acl).into_iter().filter_map(value).collect();
    match name {
        "association.association-id" => subnets(ec2, acl).map(|subnet| subnet.network_acl_association_id.clone()).collect(),
        "association.network-acl-id" => subnets(ec2, acl).map(|_| acl.id.clone()).collect(),
        "association.subnet-id" => subnets(ec2, acl).map(|subnet| subnet.id.clone()).collect(),
        "default" => vec![acl.is_default.to_string()],
        "entry.cidr" => entries(|entry| matches!(entry.peer, AclPeer::V4(_)).then(|| peer_text(entry.peer))),
        "entry.egress" => entries(|entry| Some(entry.egress.to_string())),
        "entry.icmp.code" => entries(|entry| entry.icmp.map(|(_, code)| code.to_string())),
        "entry.icmp.type" => entries(|entry| entry.icmp.map(|(kind, _)| kind.to_string())),
        "entry.ipv6-cidr" => entries(|entry| matches!(entry.peer, AclPeer::V6(_)).then(|| peer_text(entry.peer))),
        "entry.port-range.from" => entries(|entry| entry.ports.map(|(from, _)| from.to_string())),
        "entry.port-range.to" => entries(|entry| entry.ports.map(|(_, to)| to.to_string())),
        "entry.protocol" => entries(|entry| Some(protocol_text(entry.protocol))),
        "entry.rule-action" => entries(|entry| Some(if entry.allow { "allow" } else { "deny" }.to_owned())),
        "entry.rule-number" => entries(|entry| Some(entry.number.to_string())),
        "network-acl-id" => vec![acl.id.clone()],
        "owner-id" => vec![ec2.account.clone()],
        _ => vec![acl.vpc_id.clone()],
    }
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkAclId")?;
    let acl = turn::NETWORK_ACL.find(&turn.ec2.network_acls, id)?;
    if acl.is_default {
        return Err(ApiError::invalid_value(format!("cannot delete default network ACL {id}")));
    }
    if subnets(turn.ec2, acl).next().is_some() {
        return Err(ApiError::dependency(format!("The networkAcl '{id}' has dependencies and cannot be deleted.")));
    }
    turn.ec2.network_acls.remove(id);
    Ok(done())
}

/// The number of an entry that a user may make.
fn rule_number(query: &Query) -> Result<u32, ApiError> {
    let number = query.integer("RuleNumber")?.ok_or_else(|| ApiError::missing_parameter("RuleNumber"))?;
    u32::try_from(number).ok().filter(|number| (1..LAST).contains(number)).ok_or_else(|| {
        ApiError::invalid_value(format!("Value ({number}) for parameter ruleNumber is invalid. Must be between 1 and 32766."))
    })
}

fn egress(query: &Query) -> Result<bool, ApiError> {
    query.boolean("Egress")?.ok_or_else(|| ApiError::missing_parameter("Egress"))
}

/// Two numbers that belong together.
fn pair(query: &Query, names: [&str; 2]) -> Result<(i32, i32), ApiError> {
    let number = |name: &str| {
        let number = query.integer(name)?.ok_or_else(|| ApiError::missing_parameter(name))?;
        i32::try_from(number)
            .ok()
            .filter(|number| (-1..=65535).contains(number))
            .ok_or_else(|| ApiError::invalid_value(format!("Value ({number}) for parameter {name} is invalid.")))
    };
    Ok((number(names[0])?, number(names[1])?))
}

fn read_entry(query: &Query) -> Result<AclEntry, ApiError> {
    let (number, egress) = (rule_number(query)?, egress(query)?);
    let text = query.required("Protocol")?;
    let protocol = match text {
        "-1" | "all" => None,
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        "icmpv6" => Some(58),
        _ => Some(
            text.parse::<u8>()
                .map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for IP protocol. Unknown protocol.")))?,
        ),
    };
    let allow = match query.required("RuleAction")? {
        "allow" => true,
        "deny" => false,
        other => return Err(ApiError::invalid_value(format!("Value ({other}) for parameter ruleAction is invalid."))),
    };
    let malformed = |text: &str| ApiError::invalid_value(format!("CIDR block {text} is malformed"));
    let peer = match (query.text("CidrBlock"), query.text("Ipv6CidrBlock")) {
        (Some(text), None) => parse_network(text).map(AclPeer::V4).ok_or_else(|| malformed(text))?,
        (None, Some(text)) => parse_network6(text).map(AclPeer::V6).ok_or_else(|| malformed(text))?,
        (None, None) => return Err(ApiError::missing_parameter("cidrBlock")),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination("Only one of cidrBlock and ipv6CidrBlock may be specified"));
        }
    };
    let ports = match protocol {
        Some(6 | 17) => {
            let (from, to) = pair(query, ["PortRange.From", "PortRange.To"])?;
            if from < 0 || from > to {
                return Err(ApiError::invalid_value(format!("Invalid TCP/UDP port range ({from}:{to})")));
            }
            Some((from, to))
        }
        _ => None,
    };
    let icmp = match protocol {
        Some(1 | 58) => Some(pair(query, ["Icmp.Type", "Icmp.Code"])?),
        _ => None,
    };
    Ok(AclEntry { number, egress, protocol: Protocol(protocol), allow, peer, ports, icmp })
}

/// Adds an entry, or puts it in the place of the one with its number and direction.
fn put_entry(turn: &mut Turn<'_>, query: &Query, replace: bool) -> Result<Xml, ApiError> {
    let id = query.required("NetworkAclId")?;
    let entry = read_entry(query)?;
    let acl = turn::NETWORK_ACL.find_mut(&mut turn.ec2.network_acls, id)?;
    let present = acl.entries.iter().position(|other| other.number == entry.number && other.egress == entry.egress);
    match (present, replace) {
        (Some(place), true) => acl.entries[place] = entry,
        (None, true) => return Err(entry_missing(entry.number, id)),
        (Some(_), false) => {
            return Err(ApiError::new(
                "NetworkAclEntryAlreadyExists",
                format!("The network acl entry identified by {} already exists.", entry.number),
            ));
        }
        (None, false) => {
            if acl.entries.iter().filter(|other| other.egress == entry.egress).count() >= ENTRIES {
                return Err(ApiError::new(
                    "NetworkAclEntryLimitExceeded",
                    format!("The maximum number of network acl entries has been reached: {ENTRIES}."),
                ));
            }
            acl.entries.push(entry);
        }
    }
    Ok(done())
}

fn entry_missing(number: u32, id: &str) -> ApiError {
    ApiError::new("InvalidNetworkAclEntry.NotFound", format!("no network acl entry {number} in network ACL {id}"))
}

fn delete_entry(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkAclId")?;
    let (number, egress) = (rule_number(query)?, egress(query)?);
    let acl = turn::NETWORK_ACL.find_mut(&mut turn.ec2.network_acls, id)?;
    let place = acl.entries.iter().position(|entry| entry.number == number && entry.egress == egress);
    acl.entries.remove(place.ok_or_else(|| entry_missing(number, id))?);
    Ok(done())
}

fn replace_association(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (association, id) = (query.required("AssociationId")?, query.required("NetworkAclId")?);
    let acl = turn::NETWORK_ACL.find(&turn.ec2.network_acls, id)?;
    let (vpc_id, is_default) = (acl.vpc_id.clone(), acl.is_default);
    let replaced = turn
        .ec2
        .subnets
        .values()
        .find(|subnet| subnet.former_acl_association.as_deref() == Some(association) && turn.ec2.acl_of(subnet) == Some(id));
    if let Some(subnet) = replaced {
        let mut xml = Xml::new();
        xml.put("newAssociationId", &subnet.network_acl_association_id);
        return Ok(xml);
    }
    let subnet = turn.ec2.subnets.values_mut().find(|subnet| subnet.network_acl_association_id == association);
    let subnet = subnet.ok_or_else(|| {
        ApiError::new("InvalidAssociationID.NotFound", format!("The association ID '{association}' does not exist"))
    })?;
    if subnet.vpc_id != vpc_id {
        return Err(ApiError::invalid_value(format!("Network ACL {id} and subnet {} belong to different networks", subnet.id)));
    }
    subnet.network_acl_id = (!is_default).then(|| id.to_owned());
    subnet.former_acl_association = Some(std::mem::replace(&mut subnet.network_acl_association_id, new_id("aclassoc")));
    let mut xml = Xml::new();
    xml.put("newAssociationId", &subnet.network_acl_association_id);
    Ok(xml)
}

//! Network interfaces: made, shown, deleted.

use std::net::Ipv4Addr;

use super::describe_instances::UNMANAGED;
use super::filter::{Filters, Page, put_next_token};
use super::launch_network::{fixed_address, free_address, free_addresses, security_groups};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for, wire_time};
use super::vpc::zone_id;
use crate::model::ec2::{Ec2, Interface, InterfaceView, Subnet, mac_of, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateNetworkInterface",
        create,
        &[
            "SubnetId",
            "Description",
            "PrivateIpAddress",
            "PrivateIpAddresses.PrivateIpAddress",
            "PrivateIpAddresses.Primary",
            "SecondaryPrivateIpAddressCount",
            "SecurityGroupId",
            "InterfaceType",
            "TagSpecification",
            "ClientToken",
        ],
    ),
    Operation::read("DescribeNetworkInterfaces", describe, &["NetworkInterfaceId", "Filter", "MaxResults", "NextToken"])
        .ignoring(UNMANAGED),
    Operation::write("DeleteNetworkInterface", delete, &["NetworkInterfaceId"]),
];

/// The interface of this id, or the right refusal.
pub(super) fn find<'a>(ec2: &'a Ec2, id: &str) -> Result<InterfaceView<'a>, ApiError> {
    turn::INTERFACE.check(id)?;
    ec2.interface(id).ok_or_else(|| turn::INTERFACE.missing(id))
}

pub(super) fn in_use(id: &str) -> ApiError {
    ApiError::new("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use."))
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const SCOPE: &str = "CreateNetworkInterface";
    let subnet_id = query.required("SubnetId")?;
    let kind = match query.text("InterfaceType") {
        None | Some("interface") => "interface",
        Some("efa") => "efa",
        Some(other) => return Err(ApiError::unsupported_parameter(&format!("InterfaceType={other}"))),
    };
    let subnet = turn::SUBNET.find(&turn.ec2.subnets, subnet_id)?.clone();
    let security_groups = security_groups(turn.ec2, &subnet, query)?;
    let tags = tags_for(query, "network-interface")?;
    // Before the addresses are looked at: a repeated call finds its own taken.
    if let Some(id) = turn.replayed(SCOPE, query)? {
        let one = find(turn.ec2, &id)?;
        return Ok(answer(turn.ec2, &one, one.status(), query));
    }
    let (primary, secondary) = addresses(turn.ec2, &subnet, query)?;
    let record = Interface {
        id: new_id("eni"),
        vpc_id: subnet.vpc_id.clone(),
        subnet_id: subnet.id.clone(),
        zone: subnet.zone.clone(),
        description: query.text("Description").unwrap_or_default().to_owned(),
        kind: kind.to_owned(),
        mac: mac_of(primary),
        private_address: primary,
        secondary_addresses: secondary,
        security_groups,
        source_dest_check: true,
        requester_managed: false,
        attachment: None,
        created: turn.now,
        tags,
    };
    turn.remember(SCOPE, query, &record.id);
    let xml = answer(turn.ec2, &InterfaceView::from(&record), "pending", query);
    turn.ec2.interfaces.insert(record.id.clone(), record);
    Ok(xml)
}

fn answer(ec2: &Ec2, one: &InterfaceView<'_>, status: &str, query: &Query) -> Xml {
    let mut xml = Xml::new();
    xml.element("networkInterface", |xml| put(xml, ec2, one, status)).maybe("clientToken", query.text("ClientToken"));
    xml
}

/// The primary and the secondary addresses that a new interface asks for.
fn addresses(ec2: &Ec2, subnet: &Subnet, query: &Query) -> Result<(Ipv4Addr, Vec<Ipv4Addr>), ApiError> {
    let mut primary = fixed_address(ec2, subnet, query.text("PrivateIpAddress"))?;
    let mut secondary: Vec<Ipv4Addr> = Vec::new();
    for item in query.structures("PrivateIpAddresses") {
        let address = fixed_address(ec2, subnet, Some(item.required("PrivateIpAddress")?))?;
        match item.boolean("Primary")?.unwrap_or(false) {
            true if primary.is_some() => {
                return Err(ApiError::invalid_combination("Only one primary private IP address can be specified."));
            }
            true => primary = address,
            false => secondary.extend(address),
        }
    }
    let count = query.integer("SecondaryPrivateIpAddressCount")?;
    if count.is_some() && !secondary.is_empty() {
        return Err(ApiError::invalid_combination(
            "The parameters privateIpAddresses and secondaryPrivateIpAddressCount may not both be specified",
        ));
    }
    // More than any instance type has for one interface.
    let count = count.map_or(Ok(0), |count| {
        usize::try_from(count).ok().filter(|count| *count <= 50).ok_or_else(|| {
            ApiError::invalid_value(format!("Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid."))
        })
    })?;
    let mut named: Vec<Ipv4Addr> = primary.into_iter().chain(secondary.iter().copied()).collect();
    named.sort_unstable();
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::invalid_value("A private IP address may be specified once only."));
    }
    let primary = match primary {
        Some(primary) => primary,
        None => free_address(ec2, subnet, &named)?,
    };
    named.push(primary);
    secondary.extend(free_addresses(ec2, subnet, &named, count, count)?);
    Ok((primary, secondary))
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkInterfaceId")?;
    let one = find(turn.ec2, id)?;
    if one.attachment.is_some() || one.requester_managed {
        return Err(in_use(id));
    }
    turn.ec2.interfaces.remove(id);
    turn.ec2.unmap(&[id.to_owned()]);
    Ok(done())
}

/// What to call the owner of an attachment that is AWS's own business.
const SERVICE: &str = "amazon-aws";

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 34] = [
        "tag",
        "addresses.association.owner-id",
        "addresses.association.public-ip",
        "addresses.primary",
        "addresses.private-ip-address",
        "association.allocation-id",
        "association.association-id",
        "association.ip-owner-id",
        "association.public-dns-name",
        "association.public-ip",
        "attachment.attach-time",
        "attachment.attachment-id",
        "attachment.delete-on-termination",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.status",
        "availability-zone",
        "availability-zone-id",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "mac-address",
        "network-interface-id",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "source-dest-check",
        "status",
        "subnet-id",
        "vpc-id",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read_without_ids(query, "NetworkInterfaceId")?;
    let ids = query.list("NetworkInterfaceId");
    let ec2 = &*turn.ec2;
    ids.iter().try_for_each(|id| turn::INTERFACE.check(id))?;
    let mut all: Vec<InterfaceView<'_>> = ec2.all_interfaces().collect();
    all.sort_by(|one, other| one.id.cmp(other.id));
    if let Some(unknown) = ids.iter().find(|id| all.binary_search_by(|one| one.id.cmp(id)).is_err()) {
        return Err(turn::INTERFACE.missing(unknown));
    }
    let found = all
        .into_iter()
        .filter(|one| ids.is_empty() || ids.contains(&one.id))
        .filter(|one| filters.admit(one.tags, |name| values(ec2, one, name)));
    let (found, token) = page.cut(found, |one| one.id.to_owned());
    let mut xml = Xml::new();
    xml.list("networkInterfaceSet", found, |xml, one| put(xml, ec2, &one, one.status()));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// What an interface is under a filter's name.
pub(super) fn values(ec2: &Ec2, one: &InterfaceView<'_>, name: &str) -> Vec<String> {
    let publics = || one.private_addresses().filter_map(|private| ec2.public_address(one, private));
    let first = || ec2.public_address(one, one.private_address);
    let association = || first().and_then(|public| public.elastic?.association.as_ref());
    let owner = |elastic: bool| if elastic { ec2.account.clone() } else { "amazon".to_owned() };
    let attachment = one.attachment.as_ref();
    let some = |value: Option<String>| value.into_iter().collect();
    vec![match name {
        "addresses.association.owner-id" => return publics().map(|public| owner(public.elastic.is_some())).collect(),
        "addresses.association.public-ip" => return publics().map(|public| public.address.to_string()).collect(),
        "addresses.primary" if one.secondary_addresses.is_empty() => "true".to_owned(),
        "addresses.primary" => return vec!["true".to_owned(), "false".to_owned()],
        "addresses.private-ip-address" => return one.private_addresses().map(|address| address.to_string()).collect(),
        "association.allocation-id" => return some(first().and_then(|public| Some(public.elastic?.id.clone()))),
        "association.association-id" => return some(association().map(|association| association.id.clone())),
        "association.ip-owner-id" => return some(first().map(|public| owner(public.elastic.is_some()))),
        "association.public-dns-name" => {
            return some(first().and_then(|public| ec2.public_dns_name(one.vpc_id, public.address)));
        }
        "association.public-ip" => return some(first().map(|public| public.address.to_string())),
        "attachment.attach-time" => return some(attachment.map(|attachment| wire_time(attachment.at))),
        "attachment.attachment-id" => return some(attachment.map(|attachment| attachment.id.to_owned())),
        "attachment.delete-on-termination" => {
            return some(attachment.map(|attachment| attachment.delete_on_termination.to_string()));
        }
        "attachment.device-index" => return some(attachment.map(|attachment| attachment.device_index.to_string())),
        "attachment.instance-id" => return some(attachment.map(|attachment| attachment.instance_id.to_owned())),
        "attachment.instance-owner-id" if one.requester_managed => SERVICE.to_owned(),
        "attachment.instance-owner-id" => return some(attachment.map(|_| ec2.account.clone())),
        "attachment.status" => return some(attachment.map(|_| "attached".to_owned())),
        "availability-zone" => one.zone.to_owned(),
        "availability-zone-id" => zone_id(one.zone),
        "description" => one.description.to_owned(),
        "group-id" => return one.security_groups.to_vec(),
        "group-name" => {
            let groups = one.security_groups.iter().filter_map(|id| ec2.security_groups.get(id));
            return groups.map(|group| group.name.clone()).collect();
        }
        "interface-type" => one.kind.to_owned(),
        "mac-address" => one.mac.to_owned(),
        "network-interface-id" => one.id.to_owned(),
        "owner-id" => ec2.account.clone(),
        "private-dns-name" => private_dns_name(ec2, one.private_address),
        "private-ip-address" => one.private_address.to_string(),
        "requester-id" => return some(one.requester_managed.then(|| SERVICE.to_owned())),
        "requester-managed" => one.requester_managed.to_string(),
        "source-dest-check" => one.source_dest_check.to_string(),
        "status" => one.status().to_owned(),
        "subnet-id" => one.subnet_id.to_owned(),
        _ => one.vpc_id.to_owned(),
    }]
}

/// The private DNS name of an address.
fn private_dns_name(ec2: &Ec2, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    match ec2.region.as_str() {
        // The region that does not stand in its names.
        "us-east-1" => format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
        region => format!("ip-{a}-{b}-{c}-{d}.{region}.compute.internal"),
    }
}

/// Writes an interface as its own actions do.
fn put(xml: &mut Xml, ec2: &Ec2, one: &InterfaceView<'_>, status: &str) {
    put_facts(xml, ec2, one, status, true);
    xml.put("availabilityZone", one.zone)
        .put("availabilityZoneId", zone_id(one.zone))
        .put("requesterManaged", one.requester_managed)
        .maybe("requesterId", one.requester_managed.then_some(SERVICE));
    if one.requester_managed {
        xml.element("attachment", |xml| {
            xml.put("attachmentId", one.id.replacen("eni-", "ela-attach-", 1))
                .put("instanceOwnerId", SERVICE)
                .put("deviceIndex", 1)
                .put("status", "attached")
                .put("deleteOnTermination", false);
        });
    } else if let Some(attachment) = one.attachment {
        xml.element("attachment", |xml| {
            put_attachment(xml, one);
            xml.put("instanceId", attachment.instance_id).put("instanceOwnerId", &ec2.account);
        });
    }
    put_tags(xml, one.tags);
}

/// Writes what DescribeInstances and DescribeNetworkInterfaces both tell of an interface; `ids` are those of elastic
/// addresses, which the latter tells alone.
pub(super) fn put_facts(xml: &mut Xml, ec2: &Ec2, one: &InterfaceView<'_>, status: &str, ids: bool) {
    xml.put("networkInterfaceId", one.id)
        .put("subnetId", one.subnet_id)
        .put("vpcId", one.vpc_id)
        .put("description", one.description)
        .put("ownerId", &ec2.account)
        .put("status", status)
        .put("macAddress", one.mac)
        .put("privateIpAddress", one.private_address)
        .put("privateDnsName", private_dns_name(ec2, one.private_address))
        .put("sourceDestCheck", one.source_dest_check)
        .put("interfaceType", one.kind)
        .texts("ipv6AddressesSet", [""; 0]);
    put_association(xml, ec2, one, one.private_address, ids);
    xml.list("privateIpAddressesSet", one.private_addresses().enumerate(), |xml, (place, address)| {
        xml.put("privateIpAddress", address).put("privateDnsName", private_dns_name(ec2, address)).put("primary", place == 0);
        put_association(xml, ec2, one, address, ids);
    });
    put_groups(xml, ec2, one.security_groups);
}

fn put_association(xml: &mut Xml, ec2: &Ec2, one: &InterfaceView<'_>, private: Ipv4Addr, ids: bool) {
    let Some(public) = ec2.public_address(one, private) else { return };
    xml.element("association", |xml| {
        xml.put("publicIp", public.address)
            .put("publicDnsName", ec2.public_dns_name(one.vpc_id, public.address).unwrap_or_default())
            .put("ipOwnerId", if public.elastic.is_some() { &ec2.account } else { "amazon" });
        if let Some(elastic) = public.elastic.filter(|_| ids) {
            xml.put("allocationId", &elastic.id)
                .maybe("associationId", elastic.association.as_ref().map(|association| &association.id));
        }
    });
}

pub(super) fn put_groups(xml: &mut Xml, ec2: &Ec2, ids: &[String]) {
    let groups = ids.iter().filter_map(|id| ec2.security_groups.get(id));
    xml.list("groupSet", groups, |xml, group| {
        xml.put("groupId", &group.id).put("groupName", &group.name);
    });
}

/// Writes how an interface is attached, without to what.
pub(super) fn put_attachment(xml: &mut Xml, one: &InterfaceView<'_>) {
    let Some(attachment) = one.attachment else { return };
    xml.put("attachmentId", attachment.id)
        .put("deviceIndex", attachment.device_index)
        .put("networkCardIndex", attachment.network_card)
        .put("status", "attached")
        .put("attachTime", wire_time(attachment.at))
        .put("deleteOnTermination", attachment.delete_on_termination);
}

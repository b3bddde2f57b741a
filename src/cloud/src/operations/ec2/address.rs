//! Elastic addresses.

use std::net::Ipv4Addr;

use super::filter::{Filters, Page, put_next_token};
use super::network_interface;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Address, AddressAssociation, Ec2, InstanceState, InterfaceView, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("AllocateAddress", allocate, &["Domain", "PublicIpv4Pool", "NetworkBorderGroup", "TagSpecification"]),
    Operation::write(
        "AssociateAddress",
        associate,
        &["AllocationId", "PublicIp", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress", "AllowReassociation"],
    ),
    Operation::write("DisassociateAddress", disassociate, &["AssociationId", "PublicIp"]),
    Operation::write("ReleaseAddress", release, &["AllocationId", "PublicIp", "NetworkBorderGroup"]),
    Operation::read("DescribeAddresses", describe, &["AllocationId", "PublicIp", "Filter"]),
    Operation::read("DescribeAddressesAttribute", describe_attribute, &["AllocationId", "Attribute", "MaxResults", "NextToken"]),
];

/// EC2's default quota in a region (ec2.md 6.6).
const QUOTA: usize = 5;

fn allocate(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    match query.text("Domain") {
        None | Some("vpc") => {}
        Some("standard") => {
            return Err(ApiError::new("UnsupportedOperation", "EC2-Classic has been retired; the domain is 'vpc'."));
        }
        Some(other) => return Err(ApiError::invalid_value(format!("Value ({other}) for parameter domain is invalid."))),
    }
    if query.text("PublicIpv4Pool").is_some_and(|pool| pool != "amazon") {
        return Err(ApiError::unsupported_parameter("PublicIpv4Pool"));
    }
    check_border_group(turn.ec2, query)?;
    let tags = tags_for(query, "elastic-ip")?;
    if turn.ec2.addresses.len() >= QUOTA {
        return Err(ApiError::new("AddressLimitExceeded", "The maximum number of addresses has been reached."));
    }
    let public_address = turn
        .ec2
        .take_public_addresses(1)
        .pop()
        .ok_or_else(|| ApiError::new("InsufficientAddressCapacity", "Not enough available addresses.").with_status(500))?;
    let address = Address { id: new_id("eipalloc"), public_address, association: None, former_association: None, tags };
    let mut xml = Xml::new();
    put_identity(&mut xml, turn.ec2, &address);
    turn.ec2.addresses.insert(address.id.clone(), address);
    Ok(xml)
}

fn check_border_group(ec2: &Ec2, query: &Query) -> Result<(), ApiError> {
    match query.text("NetworkBorderGroup") {
        Some(group) if group != ec2.region => {
            Err(ApiError::invalid_value(format!("Value ({group}) for parameter networkBorderGroup is invalid.")))
        }
        _ => Ok(()),
    }
}

fn put_identity(xml: &mut Xml, ec2: &Ec2, address: &Address) {
    xml.put("allocationId", &address.id)
        .put("publicIp", address.public_address)
        .put("publicIpv4Pool", "amazon")
        .put("networkBorderGroup", &ec2.region)
        .put("domain", "vpc");
}

/// The address that a call names, by allocation id or by itself.
fn named<'a>(ec2: &'a Ec2, query: &Query) -> Result<&'a Address, ApiError> {
    match (query.text("AllocationId"), query.text("PublicIp")) {
        (Some(id), None) => turn::ADDRESS.find(&ec2.addresses, id),
        (None, Some(text)) => by_text(ec2, text),
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_combination("You may specify public IP or allocation id, but not both in the same call"))
        }
        (None, None) => Err(ApiError::new("MissingParameter", "Either public IP or allocation id must be specified")),
    }
}

/// The elastic address of this text. One that is not this account's is refused as EC2 refuses a stranger's.
fn by_text<'a>(ec2: &'a Ec2, text: &str) -> Result<&'a Address, ApiError> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| ApiError::invalid_value(format!("Value ({text}) for parameter publicIp is invalid.")))?;
    ec2.addresses
        .values()
        .find(|one| one.public_address == address)
        .ok_or_else(|| ApiError::new("AuthFailure", format!("The address '{text}' does not belong to you.")))
}

fn associate(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ec2 = &*turn.ec2;
    let address = named(ec2, query)?;
    let interface = target(ec2, query)?;
    let private = match query.text("PrivateIpAddress") {
        None => interface.private_address,
        Some(text) => {
            text.parse().ok().filter(|wanted| interface.private_addresses().any(|private| private == *wanted)).ok_or_else(
                || ApiError::invalid_value(format!("Invalid value '{text}' for PrivateIpAddress: not one of {}", interface.id)),
            )?
        }
    };
    let attached = ec2.internet_gateways.values().any(|gateway| gateway.vpc_id.as_deref() == Some(interface.vpc_id));
    if !attached {
        return Err(ApiError::new(
            "Gateway.NotAttached",
            format!("Network {} is not attached to any internet gateway", interface.vpc_id),
        ));
    }
    // An address moves unless that is forbidden.
    let may_move = query.boolean("AllowReassociation")?.unwrap_or(true);
    let id = address.id.clone();
    if let Some(present) = &address.association {
        if present.interface_id == interface.id && present.private_address == private {
            // The same call once more does the same (ec2.md 2.5).
            let mut xml = Xml::new();
            xml.put("associationId", &present.id);
            return Ok(xml);
        }
        if !may_move {
            return Err(ApiError::new(
                "Resource.AlreadyAssociated",
                format!("resource {id} is already associated with associate-id {}", present.id),
            ));
        }
        refuse_service(ec2, address)?;
    }
    let other = ec2.public_address(&interface, private).and_then(|public| public.elastic);
    if let Some(other) = other.filter(|_| !may_move) {
        return Err(ApiError::new(
            "Resource.AlreadyAssociated",
            format!("resource {} is already associated with associate-id {}", interface.id, association_id(other)),
        ));
    }
    let former = address.association.as_ref().map(|association| association.interface_id.clone());
    let replaced = other.map(|other| other.id.clone());
    let interface_id = interface.id.to_owned();
    let association = AddressAssociation { id: new_id("eipassoc"), interface_id: interface_id.clone(), private_address: private };
    let mut xml = Xml::new();
    xml.put("associationId", &association.id);
    if let Some(replaced) = replaced.and_then(|id| turn.ec2.addresses.get_mut(&id)) {
        replaced.disassociate();
    }
    if let Some(address) = turn.ec2.addresses.get_mut(&id) {
        address.association = Some(association);
    }
    // The address that EC2 gave by itself makes way.
    let holder = turn.ec2.instances.values_mut().find(|instance| instance.interface_id == interface_id && instance.is_alive());
    if let Some(instance) = holder.filter(|instance| instance.private_address == private) {
        instance.first.public_address = None;
    }
    if let Some(former) = former {
        renew(turn.ec2, &former);
    }
    Ok(xml)
}

fn association_id(address: &Address) -> &str {
    address.association.as_ref().map_or("", |association| association.id.as_str())
}

/// The interface that an address is to stand for: named, or an instance's only one.
fn target<'a>(ec2: &'a Ec2, query: &Query) -> Result<InterfaceView<'a>, ApiError> {
    match (query.text("NetworkInterfaceId"), query.text("InstanceId")) {
        (Some(id), None) => {
            let one = network_interface::find(ec2, id)?;
            if one.requester_managed {
                return Err(ApiError::new(
                    "OperationNotPermitted",
                    format!("The network interface '{id}' is managed by a service."),
                ));
            }
            Ok(one)
        }
        (None, Some(id)) => {
            let instance = turn::INSTANCE.find(&ec2.instances, id)?;
            if !instance.is_alive() {
                return Err(turn::INSTANCE.missing(id));
            }
            if instance.state == InstanceState::Pending {
                return Err(ApiError::new(
                    "InvalidInstanceID",
                    format!("The pending instance '{id}' is not in a valid state for this operation."),
                ));
            }
            if ec2.interfaces_of(instance).len() > 1 {
                return Err(ApiError::new(
                    "InvalidInstanceID",
                    format!(
                        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
                    ),
                ));
            }
            Ok(instance.first_interface())
        }
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_combination("You may specify either instance ID or network interface ID, not both"))
        }
        (None, None) => Err(ApiError::missing_parameter("InstanceId or NetworkInterfaceId")),
    }
}

/// Refuses to take the address of a NAT gateway.
fn refuse_service(ec2: &Ec2, address: &Address) -> Result<(), ApiError> {
    let interface = address.association.as_ref().and_then(|association| ec2.interfaces.get(&association.interface_id));
    match interface.filter(|one| one.requester_managed) {
        Some(_) => Err(ApiError::new("AuthFailure", "You do not have permission to access the specified resource.")),
        None => Ok(()),
    }
}

/// Gives the instance whose first interface this is an address by itself again, if it asked for one.
fn renew(ec2: &mut Ec2, interface_id: &str) {
    let holder = ec2.living().find(|instance| instance.interface_id == interface_id).map(|instance| instance.id.clone());
    if let Some(instance_id) = holder {
        ec2.give_public_address(&instance_id);
    }
}

fn disassociate(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let address = match (query.text("AssociationId"), query.text("PublicIp")) {
        // To take off what was taken off already is no error (ec2.md 2.5).
        (Some(id), None) => {
            let is_or_was = |address: &&Address| {
                association_id(address) == id
                    || address.association.is_none() && address.former_association.as_deref() == Some(id)
            };
            turn.ec2.addresses.values().find(is_or_was).ok_or_else(|| {
                ApiError::new("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"))
            })?
        }
        (None, Some(text)) => by_text(turn.ec2, text)?,
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "You may specify public IP or association id, but not both in the same call",
            ));
        }
        (None, None) => return Err(ApiError::new("MissingParameter", "Either public IP or association id must be specified")),
    };
    refuse_service(turn.ec2, address)?;
    let id = address.id.clone();
    if let Some(interface_id) = turn.ec2.addresses.get_mut(&id).and_then(Address::disassociate) {
        renew(turn.ec2, &interface_id);
    }
    Ok(done())
}

fn release(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    check_border_group(turn.ec2, query)?;
    let address = named(turn.ec2, query)?;
    let held = address.association.as_ref().map(|association| association.interface_id.clone());
    // In the default VPC a release takes the address off first; elsewhere that is the caller's.
    let default = |id: &String| {
        let interface = turn.ec2.interface(id).filter(|one| !one.requester_managed);
        interface.and_then(|one| turn.ec2.vpcs.get(one.vpc_id)).is_some_and(|vpc| vpc.is_default)
    };
    if let Some(association) = address.association.as_ref().filter(|association| !default(&association.interface_id)) {
        return Err(ApiError::new(
            "InvalidIPAddress.InUse",
            format!("Address {} is in use by {}.", address.public_address, association.interface_id),
        ));
    }
    let id = address.id.clone();
    turn.ec2.addresses.remove(&id);
    if let Some(interface_id) = held {
        renew(turn.ec2, &interface_id);
    }
    Ok(done())
}

/// The addresses that a listing asks for: all when none is named.
fn asked<'a>(ec2: &'a Ec2, query: &Query) -> Result<Vec<&'a Address>, ApiError> {
    let (ids, texts) = (query.list("AllocationId"), query.list("PublicIp"));
    turn::ADDRESS.asked(&ec2.addresses, &ids)?;
    for text in &texts {
        if !ec2.addresses.values().any(|address| address.public_address.to_string() == *text) {
            return Err(ApiError::new("InvalidAddress.NotFound", format!("Address '{text}' not found.")));
        }
    }
    let wanted = |address: &&Address| {
        (ids.is_empty() && texts.is_empty())
            || ids.contains(&address.id.as_str())
            || texts.contains(&address.public_address.to_string().as_str())
    };
    Ok(ec2.addresses.values().filter(wanted).collect())
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 10] = [
        "tag",
        "allocation-id",
        "association-id",
        "domain",
        "instance-id",
        "network-border-group",
        "network-interface-id",
        "network-interface-owner-id",
        "private-ip-address",
        "public-ip",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let ec2 = &*turn.ec2;
    let found = asked(ec2, query)?.into_iter().filter(|address| {
        filters.admit(&address.tags, |name| {
            let association = address.association.as_ref();
            let some = |value: Option<String>| value.into_iter().collect();
            match name {
                "allocation-id" => vec![address.id.clone()],
                "association-id" => some(association.map(|association| association.id.clone())),
                "domain" => vec!["vpc".to_owned()],
                "instance-id" => some(holder(ec2, address).map(str::to_owned)),
                "network-border-group" => vec![ec2.region.clone()],
                "network-interface-id" => some(association.map(|association| association.interface_id.clone())),
                "network-interface-owner-id" => some(association.map(|_| ec2.account.clone())),
                "private-ip-address" => some(association.map(|association| association.private_address.to_string())),
                _ => vec![address.public_address.to_string()],
            }
        })
    });
    let mut xml = Xml::new();
    xml.list("addressesSet", found, |xml, address| {
        put_identity(xml, ec2, address);
        xml.maybe("instanceId", holder(ec2, address));
        if let Some(association) = &address.association {
            xml.put("associationId", &association.id)
                .put("networkInterfaceId", &association.interface_id)
                .put("networkInterfaceOwnerId", &ec2.account)
                .put("privateIpAddress", association.private_address);
        }
        put_tags(xml, &address.tags);
    });
    Ok(xml)
}

/// The instance that an address leads to.
fn holder<'a>(ec2: &'a Ec2, address: &Address) -> Option<&'a str> {
    Some(ec2.interface(&address.association.as_ref()?.interface_id)?.attachment?.instance_id)
}

fn describe_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    if query.text("Attribute").is_some_and(|attribute| attribute != "domain-name") {
        return Err(ApiError::invalid_value("The attribute of an address is domain-name"));
    }
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let (found, token) = page.cut(asked(turn.ec2, query)?, |address| address.id.clone());
    let mut xml = Xml::new();
    xml.list("addressSet", found, |xml, address| {
        xml.put("publicIp", address.public_address).put("allocationId", &address.id);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

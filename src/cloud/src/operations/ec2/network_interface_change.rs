//! Network interfaces that exist: attached, detached, changed, given more addresses.
//!
//! An interface that is attached to an instance is a record: the node keeps its one link, as it would keep an interface
//! down that no one has configured.

use std::net::Ipv4Addr;

use super::deeds::Deed;
use super::launch_network::{fixed_address, free_addresses};
use super::launch_options::find_type;
use super::network_interface::{find, in_use, put_attachment, put_groups};
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::{Address, Ec2, InstanceState, InterfaceAttachment, InterfaceMut, InterfaceView, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("AttachNetworkInterface", attach, &["NetworkInterfaceId", "InstanceId", "DeviceIndex", "NetworkCardIndex"]),
    Operation::write("DetachNetworkInterface", detach, &["AttachmentId", "Force"]),
    Operation::write(
        "ModifyNetworkInterfaceAttribute",
        modify,
        &[
            "NetworkInterfaceId",
            "Description.Value",
            "SourceDestCheck.Value",
            "SecurityGroupId",
            "AssociatePublicIpAddress",
            "Attachment.AttachmentId",
            "Attachment.DeleteOnTermination",
        ],
    ),
    Operation::read("DescribeNetworkInterfaceAttribute", describe, &["NetworkInterfaceId", "Attribute"]),
    Operation::write("ResetNetworkInterfaceAttribute", reset, &["NetworkInterfaceId", "SourceDestCheck"]),
    Operation::write(
        "AssignPrivateIpAddresses",
        assign,
        &["NetworkInterfaceId", "PrivateIpAddress", "SecondaryPrivateIpAddressCount", "AllowReassignment"],
    ),
    Operation::write("UnassignPrivateIpAddresses", unassign, &["NetworkInterfaceId", "PrivateIpAddress"]),
];

fn find_mut<'a>(ec2: &'a mut Ec2, id: &str) -> Result<InterfaceMut<'a>, ApiError> {
    ec2.interface_mut(id).ok_or_else(|| turn::INTERFACE.missing(id))
}

fn index(query: &Query, name: &str) -> Result<Option<u32>, ApiError> {
    let number = query.integer(name)?;
    number
        .map(|number| {
            u32::try_from(number)
                .map_err(|_| ApiError::invalid_value(format!("Value ({number}) for parameter {name} is invalid.")))
        })
        .transpose()
}

fn attach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, instance_id) = (query.required("NetworkInterfaceId")?, query.required("InstanceId")?);
    let device_index = index(query, "DeviceIndex")?.ok_or_else(|| ApiError::missing_parameter("DeviceIndex"))?;
    let network_card = index(query, "NetworkCardIndex")?.unwrap_or(0);
    let one = find(turn.ec2, id)?;
    let instance = turn::INSTANCE.find(&turn.ec2.instances, instance_id)?;
    if one.status() != "available" {
        return Err(in_use(id));
    }
    // An EFA is there from the boot on (ec2.md 10.1).
    let admitted: &[InstanceState] = match one.kind {
        "efa" => &[InstanceState::Stopped],
        _ => &[InstanceState::Running, InstanceState::Stopped],
    };
    if !admitted.contains(&instance.state) {
        return Err(ApiError::new(
            "IncorrectState",
            format!("Instance '{instance_id}' is '{}' and cannot take the network interface '{id}'.", instance.state.wire().1),
        ));
    }
    if instance.zone != one.zone {
        return Err(ApiError::invalid_combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        ));
    }
    if instance.vpc_id != one.vpc_id {
        return Err(ApiError::invalid_combination(
            "You may not attach a network interface to an instance if they are not in the same VPC",
        ));
    }
    let kind = find_type(&instance.instance_type)?;
    let present = turn.ec2.interfaces_of(instance);
    if present.iter().any(|other| other.attachment.is_some_and(|at| at.device_index == device_index)) {
        return Err(ApiError::invalid_value(format!(
            "Instance '{instance_id}' already has an interface attached at device index '{device_index}'."
        )));
    }
    if network_card >= kind.network_cards {
        return Err(ApiError::invalid_value(format!("Network card index '{network_card}' is not supported on {}.", kind.name)));
    }
    // The type's limit is the bound of the index, too.
    let most = usize::try_from(kind.interfaces).unwrap_or(usize::MAX);
    if present.len() >= most || device_index >= kind.interfaces {
        return Err(ApiError::new(
            "AttachmentLimitExceeded",
            format!("Interface count {} exceeds the limit for {}", present.len() + 1, kind.name),
        ));
    }
    if one.kind == "efa" {
        let present = present.iter().filter(|other| other.kind == "efa").count();
        match usize::try_from(kind.efa_interfaces).unwrap_or(usize::MAX) {
            0 => {
                return Err(ApiError::invalid_combination(format!("EFA interfaces are not supported on {}.", kind.name)));
            }
            most if present >= most => {
                return Err(ApiError::new(
                    "AttachmentLimitExceeded",
                    format!("EFA interface count {} exceeds the limit for {}", present + 1, kind.name),
                ));
            }
            _ => {}
        }
    }
    check_address_count(&one, Some(&instance.instance_type), 0)?;
    let attachment = InterfaceAttachment {
        id: new_id("eni-attach"),
        instance_id: instance_id.to_owned(),
        device_index,
        network_card,
        at: turn.now,
        // One that was made by itself stays by default (ec2.md 5.5).
        delete_on_termination: false,
    };
    let mut xml = Xml::new();
    xml.put("attachmentId", &attachment.id).put("networkCardIndex", network_card);
    if let Some(record) = turn.ec2.interfaces.get_mut(id) {
        record.attachment = Some(attachment);
    }
    Ok(xml)
}

/// Refuses more private addresses than the interface may have on this type of instance.
fn check_address_count(one: &InterfaceView<'_>, instance_type: Option<&str>, more: usize) -> Result<(), ApiError> {
    let Some(name) = instance_type else { return Ok(()) };
    let most = find_type(name)?.addresses_per_interface;
    let count = one.private_addresses().count() + more;
    if count > usize::try_from(most).unwrap_or(usize::MAX) {
        return Err(ApiError::new(
            "PrivateIpAddressLimitExceeded",
            format!("Number of private addresses will exceed limit of {most} for an interface of {name}."),
        ));
    }
    Ok(())
}

fn detach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("AttachmentId")?;
    query.boolean("Force")?;
    if id.starts_with("ela-attach-") {
        return Err(ApiError::new("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments."));
    }
    if turn.ec2.living().any(|instance| instance.interface_attachment_id == id) {
        return Err(ApiError::new(
            "OperationNotPermitted",
            "The network interface at device index 0 and networkCard index 0 cannot be detached.",
        ));
    }
    let attached = |attachment: &mut InterfaceAttachment| attachment.id == id;
    if turn.ec2.interfaces.values_mut().any(|one| one.attachment.take_if(attached).is_some()) {
        return Ok(done());
    }
    Err(ApiError::new("InvalidAttachmentID.NotFound", format!("The attachment ID '{id}' does not exist")))
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkInterfaceId")?;
    let given: Vec<&str> = ["Description", "SourceDestCheck", "SecurityGroupId", "AssociatePublicIpAddress", "Attachment"]
        .into_iter()
        .filter(|name| query.structure(name).is_some())
        .collect();
    let name = match given.as_slice() {
        [one] => *one,
        [] => return Err(ApiError::missing_parameter("Description, SourceDestCheck, SecurityGroupId or Attachment")),
        _ => return Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
    };
    let one = find(turn.ec2, id)?;
    if one.requester_managed {
        return Err(ApiError::new("OperationNotPermitted", format!("The network interface '{id}' is managed by a service.")));
    }
    match name {
        "Description" => {
            let text = query.text("Description.Value").unwrap_or_default().to_owned();
            *find_mut(turn.ec2, id)?.description() = text;
        }
        "SourceDestCheck" => {
            let on =
                query.boolean("SourceDestCheck.Value")?.ok_or_else(|| ApiError::missing_parameter("SourceDestCheck.Value"))?;
            *find_mut(turn.ec2, id)?.source_dest_check() = on;
        }
        "SecurityGroupId" => {
            let vpc_id = one.vpc_id.to_owned();
            let groups = read_groups(turn.ec2, &vpc_id, id, &query.list("SecurityGroupId"))?;
            *find_mut(turn.ec2, id)?.security_groups() = groups;
            turn.deeds.push(Deed::Firewall(vpc_id));
        }
        "AssociatePublicIpAddress" => {
            let on = query.boolean("AssociatePublicIpAddress")?.unwrap_or(false);
            modify_public(turn.ec2, id, on)?;
        }
        _ => {
            let attachment_id = query.required("Attachment.AttachmentId")?;
            let delete = query
                .boolean("Attachment.DeleteOnTermination")?
                .ok_or_else(|| ApiError::missing_parameter("Attachment.DeleteOnTermination"))?;
            if one.attachment.is_none_or(|attachment| attachment.id != attachment_id) {
                return Err(ApiError::new(
                    "InvalidAttachmentID.NotFound",
                    format!("The attachment ID '{attachment_id}' does not exist for the network interface '{id}'"),
                ));
            }
            find_mut(turn.ec2, id)?.set_delete_on_termination(delete);
        }
    }
    Ok(done())
}

/// Gives an instance's first interface a public address, or takes it away; no other interface can have one.
fn modify_public(ec2: &mut Ec2, id: &str, on: bool) -> Result<(), ApiError> {
    let mut living = ec2.instances.values_mut().filter(|instance| instance.is_alive());
    let Some(instance) = living.find(|instance| instance.interface_id == id) else {
        return Err(ApiError::invalid_combination(format!(
            "Only a primary network interface may have a public address by itself: {id} is none"
        )));
    };
    instance.wants_public_address = on;
    if !on {
        instance.first.public_address = None;
    }
    let instance_id = instance.id.clone();
    ec2.give_public_address(&instance_id);
    Ok(())
}

/// Reads the groups that an interface is to have: of its VPC, one to five.
pub(super) fn read_groups(ec2: &Ec2, vpc_id: &str, what: &str, ids: &[&str]) -> Result<Vec<String>, ApiError> {
    let mut groups: Vec<String> = Vec::new();
    for id in ids {
        let group = turn::SECURITY_GROUP.find(&ec2.security_groups, id)?;
        if group.vpc_id != vpc_id {
            return Err(ApiError::new(
                "InvalidGroup.NotFound",
                format!("You have specified two resources that belong to different networks: {id}, {what}"),
            ));
        }
        if !groups.contains(&group.id) {
            groups.push(group.id.clone());
        }
    }
    if groups.is_empty() {
        return Err(ApiError::missing_parameter("GroupId"));
    }
    // EC2's default quota for one interface (ec2.md 6.5).
    if groups.len() > 5 {
        return Err(ApiError::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok(groups)
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let one = find(turn.ec2, query.required("NetworkInterfaceId")?)?;
    let attribute = query.required("Attribute")?;
    let mut xml = Xml::new();
    xml.put("networkInterfaceId", one.id);
    match attribute {
        "description" => {
            xml.element("description", |xml| {
                xml.put("value", one.description);
            });
        }
        "sourceDestCheck" => {
            xml.element("sourceDestCheck", |xml| {
                xml.put("value", one.source_dest_check);
            });
        }
        "groupSet" => put_groups(&mut xml, turn.ec2, one.security_groups),
        "attachment" => {
            if let Some(attachment) = one.attachment {
                xml.element("attachment", |xml| {
                    put_attachment(xml, &one);
                    xml.put("instanceId", attachment.instance_id).put("instanceOwnerId", &turn.ec2.account);
                });
            }
        }
        "associatePublicIpAddress" => {
            xml.put("associatePublicIpAddress", one.public_address.is_some());
        }
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    }
    Ok(xml)
}

fn reset(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkInterfaceId")?;
    if query.text("SourceDestCheck").is_none() {
        return Err(ApiError::missing_parameter("SourceDestCheck"));
    }
    find(turn.ec2, id)?;
    *find_mut(turn.ec2, id)?.source_dest_check() = true;
    Ok(done())
}

fn assign(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkInterfaceId")?;
    let named = query.list("PrivateIpAddress");
    let count = query.integer("SecondaryPrivateIpAddressCount")?;
    let move_them = query.boolean("AllowReassignment")?.unwrap_or(false);
    match (named.is_empty(), count) {
        (true, None) => {
            return Err(ApiError::missing_parameter("PrivateIpAddress or SecondaryPrivateIpAddressCount"));
        }
        (false, Some(_)) => {
            return Err(ApiError::invalid_combination(
                "The parameters privateIpAddress and secondaryPrivateIpAddressCount may not both be specified",
            ));
        }
        _ => {}
    }
    let count = count.map_or(Ok(0), |count| {
        usize::try_from(count).ok().filter(|count| (1..=50).contains(count)).ok_or_else(|| {
            ApiError::invalid_value(format!("Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid."))
        })
    })?;
    let one = find(turn.ec2, id)?;
    let subnet = turn::SUBNET.find(&turn.ec2.subnets, one.subnet_id)?;
    let instance = one.attachment.and_then(|attachment| turn.ec2.instance(attachment.instance_id));
    check_address_count(&one, instance.map(|instance| instance.instance_type.as_str()), named.len() + count)?;
    let mut taken_from: Vec<(String, Ipv4Addr)> = Vec::new();
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for text in named {
        let address: Ipv4Addr =
            text.parse().map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for PrivateIpAddress.")))?;
        let holder = turn.ec2.interface_at(one.vpc_id, address);
        match holder.filter(|holder| move_them && holder.secondary_addresses.contains(&address)) {
            Some(holder) if holder.subnet_id == one.subnet_id => taken_from.push((holder.id.to_owned(), address)),
            _ => {
                fixed_address(turn.ec2, subnet, Some(text))?;
            }
        }
        if addresses.contains(&address) {
            return Err(ApiError::invalid_value("A private IP address may be specified once only."));
        }
        addresses.push(address);
    }
    addresses.extend(free_addresses(turn.ec2, subnet, &addresses, count, count)?);
    for (holder, address) in taken_from {
        find_mut(turn.ec2, &holder)?.secondary_addresses().retain(|other| *other != address);
        // The elastic address that stands for it moves along.
        for association in turn.ec2.addresses.values_mut().filter_map(|elastic| elastic.association.as_mut()) {
            if association.interface_id == holder && association.private_address == address {
                id.clone_into(&mut association.interface_id);
            }
        }
    }
    find_mut(turn.ec2, id)?.secondary_addresses().extend(&addresses);
    let mut xml = Xml::new();
    xml.put("networkInterfaceId", id).list("assignedPrivateIpAddressesSet", addresses, |xml, address| {
        xml.put("privateIpAddress", address);
    });
    Ok(xml)
}

/// Takes the elastic address off one private address.
fn unmap_private(ec2: &mut Ec2, interface_id: &str, private: Ipv4Addr) {
    let held = |address: &&mut Address| {
        address
            .association
            .as_ref()
            .is_some_and(|association| association.interface_id == interface_id && association.private_address == private)
    };
    for address in ec2.addresses.values_mut().filter(held) {
        address.disassociate();
    }
}

fn unassign(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NetworkInterfaceId")?;
    let named = query.list("PrivateIpAddress");
    if named.is_empty() {
        return Err(ApiError::missing_parameter("PrivateIpAddress"));
    }
    let one = find(turn.ec2, id)?;
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for text in named {
        let address = text.parse().ok().filter(|address| one.secondary_addresses.contains(address)).ok_or_else(|| {
            ApiError::invalid_value(format!("Some of the specified addresses are not assigned to interface {id}: {text}"))
        })?;
        addresses.push(address);
    }
    find_mut(turn.ec2, id)?.secondary_addresses().retain(|address| !addresses.contains(address));
    for address in addresses {
        unmap_private(turn.ec2, id, address);
    }
    Ok(done())
}

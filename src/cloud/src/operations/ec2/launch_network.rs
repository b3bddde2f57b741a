//! Where a launch puts its instances: subnet, groups, addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::network_interface::{find, in_use};
use super::permission::group_by_name;
use super::security_group::default_vpc;
use super::turn;
use crate::model::ec2::instance_types::InstanceType;
use crate::model::ec2::{Ec2, Interface, Subnet, is_reserved, usable_addresses};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// The place of a launch, and an address for each of its instances.
pub(super) struct Place {
    pub subnet: Subnet,
    pub security_groups: Vec<String>,
    pub public_address: bool,
    pub interface_type: &'static str,
    pub description: String,
    /// The one address that was asked for.
    pub fixed: Option<Ipv4Addr>,
    /// The interface that was made before, if the launch names one.
    pub existing: Option<Interface>,
    /// Whether the interface outlives the instance.
    pub kept: bool,
}

/// Reads where a launch goes: from its one network interface, or from the call's own fields.
pub(super) fn read(ec2: &Ec2, kind: &InstanceType, query: &Query) -> Result<Place, ApiError> {
    let interfaces = query.structures("NetworkInterface");
    let interface = match interfaces.as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => return Err(ApiError::unsupported_parameter("NetworkInterface.2")),
    };
    if interface.is_some() {
        for (name, what) in [
            ("SubnetId", "subnet ID"),
            ("SecurityGroupId", "security groups"),
            ("SecurityGroup", "security groups"),
            ("PrivateIpAddress", "private IP address"),
        ] {
            if query.structure(name).is_some() {
                return Err(ApiError::invalid_combination(format!(
                    "Network interfaces and an instance-level {what} may not be specified on the same request"
                )));
            }
        }
    }
    let source = interface.unwrap_or(query);
    if let Some(interface) = interface {
        check_interface(interface)?;
        if let Some(id) = interface.text("NetworkInterfaceId").filter(|id| !id.is_empty()) {
            return read_existing(ec2, kind, interface, id);
        }
    }
    let subnet = subnet(ec2, source.text("SubnetId"), query.text("Placement.AvailabilityZone"))?;
    let security_groups = security_groups(ec2, subnet, source)?;
    let interface_type = match interface.and_then(|interface| interface.text("InterfaceType")) {
        None | Some("interface") => "interface",
        Some("efa") if kind.efa_interfaces > 0 => "efa",
        Some("efa") => {
            return Err(ApiError::invalid_combination(format!("EFA interfaces are not supported on {}.", kind.name)));
        }
        Some(_) => return Err(ApiError::unsupported_parameter("NetworkInterface.InterfaceType")),
    };
    let public = interface.map(|interface| interface.boolean("AssociatePublicIpAddress")).transpose()?.flatten();
    Ok(Place {
        subnet: subnet.clone(),
        security_groups,
        public_address: public.unwrap_or(subnet.map_public_address),
        interface_type,
        description: interface.and_then(|one| one.text("Description")).unwrap_or_default().to_owned(),
        fixed: fixed_address(ec2, subnet, source.text("PrivateIpAddress"))?,
        existing: None,
        // What a launch makes goes with the instance by default (ec2.md 5.5).
        kept: deleted_on_termination(interface)?.is_some_and(|deleted| !deleted),
    })
}

fn deleted_on_termination(interface: Option<&Query>) -> Result<Option<bool>, ApiError> {
    Ok(interface.map(|interface| interface.boolean("DeleteOnTermination")).transpose()?.flatten())
}

/// The place of a launch that takes an interface which is there already.
fn read_existing(ec2: &Ec2, kind: &InstanceType, interface: &Query, id: &str) -> Result<Place, ApiError> {
    for name in ["SubnetId", "SecurityGroupId", "PrivateIpAddress", "Description", "InterfaceType", "AssociatePublicIpAddress"] {
        if interface.structure(name).is_some() {
            return Err(ApiError::invalid_combination(format!(
                "The parameter {name} may not be specified together with the network interface ID"
            )));
        }
    }
    let one = find(ec2, id)?;
    let record = ec2.interfaces.get(id).filter(|_| one.status() == "available").ok_or_else(|| in_use(id))?;
    let interface_type = match record.kind.as_str() {
        "efa" if kind.efa_interfaces > 0 => "efa",
        "efa" => {
            return Err(ApiError::invalid_combination(format!("EFA interfaces are not supported on {}.", kind.name)));
        }
        _ => "interface",
    };
    let count = one.private_addresses().count();
    if count > usize::try_from(kind.addresses_per_interface).unwrap_or(usize::MAX) {
        return Err(ApiError::new(
            "PrivateIpAddressLimitExceeded",
            format!(
                "Number of private addresses ({count}) exceeds the limit of {} for {}.",
                kind.addresses_per_interface, kind.name
            ),
        ));
    }
    Ok(Place {
        subnet: turn::SUBNET.find(&ec2.subnets, &record.subnet_id)?.clone(),
        security_groups: record.security_groups.clone(),
        // One that was made before gets no public address by itself.
        public_address: false,
        interface_type,
        description: record.description.clone(),
        fixed: Some(record.private_address),
        existing: Some(record.clone()),
        // What was made by itself stays by default (ec2.md 5.5).
        kept: !interface.boolean("DeleteOnTermination")?.unwrap_or(false),
    })
}

fn check_interface(interface: &Query) -> Result<(), ApiError> {
    for name in ["DeviceIndex", "NetworkCardIndex"] {
        if interface.integer(name)?.is_some_and(|index| index != 0) {
            return Err(ApiError::unsupported_parameter(&format!("NetworkInterface.{name}")));
        }
    }
    Ok(())
}

/// The subnet of this id, or the default one of the zone, or of the first zone.
fn subnet<'a>(ec2: &'a Ec2, id: Option<&str>, zone: Option<&str>) -> Result<&'a Subnet, ApiError> {
    let zone = zone.filter(|zone| !zone.is_empty());
    if let Some(zone) = zone.filter(|zone| !ec2.zones().any(|known| known == *zone)) {
        return Err(ApiError::invalid_value(format!("Invalid availability zone: [{zone}]")));
    }
    if let Some(id) = id {
        let subnet = turn::SUBNET.find(&ec2.subnets, id)?;
        if zone.is_some_and(|zone| zone != subnet.zone) {
            return Err(ApiError::invalid_value(format!(
                "The availability zone '{}' of the subnet '{id}' is not the one requested",
                subnet.zone
            )));
        }
        return Ok(subnet);
    }
    let vpc_id = default_vpc(ec2)?;
    let mut candidates: Vec<&Subnet> = ec2
        .subnets
        .values()
        .filter(|subnet| subnet.vpc_id == vpc_id && subnet.default_for_zone)
        .filter(|subnet| zone.is_none_or(|zone| zone == subnet.zone))
        .collect();
    candidates.sort_by(|one, other| one.zone.cmp(&other.zone));
    candidates.first().copied().ok_or_else(|| {
        ApiError::new("MissingInput", format!("No subnets found for the default VPC '{vpc_id}'. Please specify a subnet."))
    })
}

/// Ids of the groups a launch names; the VPC's default group when it names none.
pub(super) fn security_groups(ec2: &Ec2, subnet: &Subnet, source: &Query) -> Result<Vec<String>, ApiError> {
    let mut ids: Vec<String> = Vec::new();
    for id in source.list("SecurityGroupId") {
        let group = turn::SECURITY_GROUP.find(&ec2.security_groups, id)?;
        if group.vpc_id != subnet.vpc_id {
            return Err(ApiError::new(
                "InvalidParameter",
                format!("Security group {id} and subnet {} belong to different networks.", subnet.id),
            ));
        }
        ids.push(group.id.clone());
    }
    for name in source.list("SecurityGroup") {
        if default_vpc(ec2)? != subnet.vpc_id {
            return Err(ApiError::invalid_combination("The parameter groupName cannot be used with the parameter subnet"));
        }
        ids.push(group_by_name(ec2, &subnet.vpc_id, name)?.id.clone());
    }
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    if ids.is_empty() {
        ids.push(group_by_name(ec2, &subnet.vpc_id, "default")?.id.clone());
    }
    // EC2's default quota for one interface.
    if ids.len() > 5 {
        return Err(ApiError::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok(ids)
}

/// Reads an address of the subnet that is free.
pub(super) fn fixed_address(ec2: &Ec2, subnet: &Subnet, text: Option<&str>) -> Result<Option<Ipv4Addr>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let address: Ipv4Addr =
        text.parse().map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for PrivateIpAddress.")))?;
    let host = crate::node::Network { address, prefix: 32 };
    if !crate::model::ec2::contains(subnet.cidr, host) {
        return Err(ApiError::invalid_value(format!("Address {address} does not fall within the subnet's address range")));
    }
    if is_reserved(subnet.cidr, address) {
        return Err(ApiError::invalid_value(format!("Address {address} is in subnet's reserved address range")));
    }
    if ec2.interface_at(&subnet.vpc_id, address).is_some() {
        return Err(ApiError::new("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
    }
    Ok(Some(address))
}

/// Addresses for up to `most` instances; fewer than `least` free ones are a refusal.
pub(super) fn allocate(ec2: &Ec2, place: &Place, least: usize, most: usize) -> Result<Vec<Ipv4Addr>, ApiError> {
    if let Some(address) = place.fixed {
        if most > 1 {
            return Err(ApiError::invalid_combination("The private IP address may be specified for one instance alone"));
        }
        return Ok(vec![address]);
    }
    free_addresses(ec2, &place.subnet, &[], least, most)
}

/// One free address of a subnet, beside those `named` already.
pub(super) fn free_address(ec2: &Ec2, subnet: &Subnet, named: &[Ipv4Addr]) -> Result<Ipv4Addr, ApiError> {
    // At least one was asked for, so one comes or the subnet is refused.
    free_addresses(ec2, subnet, named, 1, 1)?.pop().ok_or_else(|| ApiError::internal("no free address"))
}

/// Up to `most` free addresses of a subnet beside those `named` already; fewer than `least` are a refusal.
pub(super) fn free_addresses(
    ec2: &Ec2,
    subnet: &Subnet,
    named: &[Ipv4Addr],
    least: usize,
    most: usize,
) -> Result<Vec<Ipv4Addr>, ApiError> {
    let mut used = ec2.addresses_in(&subnet.id);
    used.extend(named);
    // EC2 picks at random. The lowest addresses are given last here: they are those that people fix.
    const OFTEN_FIXED: usize = 12;
    let free = |address: &Ipv4Addr| !used.contains(address);
    let high = usable_addresses(subnet.cidr).skip(OFTEN_FIXED).filter(free);
    let low = usable_addresses(subnet.cidr).take(OFTEN_FIXED).filter(free);
    let addresses: Vec<Ipv4Addr> = high.chain(low).take(most).collect();
    if addresses.len() < least {
        return Err(ApiError::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.",
                subnet.id
            ),
        ));
    }
    Ok(addresses)
}

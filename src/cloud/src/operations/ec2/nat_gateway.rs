//! NAT gateways: records. The nodes of a VPC reach out by its internet gateway alone.

use super::filter::{Filters, Page, put_next_token};
use super::launch_network::{fixed_address, free_address};
use super::turn::{self, Operation, Turn, put_tags, tags_for, wire_time};
use crate::model::ec2::{AddressAssociation, Ec2, Interface, NatGateway, Subnet, Tags, mac_of, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateNatGateway",
        create,
        &["SubnetId", "AllocationId", "ConnectivityType", "PrivateIpAddress", "TagSpecification", "ClientToken"],
    ),
    Operation::read("DescribeNatGateways", describe, &["NatGatewayId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteNatGateway", delete, &["NatGatewayId"]),
];

/// EC2's default quota in a zone. [VPCUG amazon-vpc-limits.md]
const QUOTA: usize = 5;

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const SCOPE: &str = "CreateNatGateway";
    let subnet_id = query.required("SubnetId")?;
    let public = match query.text("ConnectivityType") {
        None | Some("public") => true,
        Some("private") => false,
        Some(other) => {
            return Err(ApiError::invalid_value(format!("Value ({other}) for parameter connectivityType is invalid.")));
        }
    };
    let allocation_id = query.text("AllocationId").filter(|id| !id.is_empty());
    match (public, allocation_id) {
        (true, None) => return Err(ApiError::missing_parameter("AllocationId")),
        (false, Some(_)) => {
            return Err(ApiError::invalid_combination("A private NAT gateway may have no elastic IP address"));
        }
        _ => {}
    }
    let subnet = turn::SUBNET.find(&turn.ec2.subnets, subnet_id)?.clone();
    if let Some(id) = allocation_id {
        turn::ADDRESS.find(&turn.ec2.addresses, id)?;
    }
    let tags = tags_for(query, "natgateway")?;
    let id = match turn.replayed(SCOPE, query)? {
        Some(id) => id,
        None => {
            let zone = |gateway: &&NatGateway| turn.ec2.subnets.get(&gateway.subnet_id).map(|subnet| &subnet.zone);
            let living = turn.ec2.nat_gateways.values().filter(|one| one.deleted.is_none() && one.failure.is_none());
            if living.filter(|gateway| zone(gateway) == Some(&subnet.zone)).count() >= QUOTA {
                return Err(ApiError::new(
                    "NatGatewayLimitExceeded",
                    "Performing this operation would exceed the limit of 5 NAT gateways",
                ));
            }
            let gateway = make(turn, query, &subnet, allocation_id, tags)?;
            turn.remember(SCOPE, query, &gateway.id);
            let id = gateway.id.clone();
            turn.ec2.nat_gateways.insert(id.clone(), gateway);
            id
        }
    };
    let gateway = turn::NAT_GATEWAY.find(&turn.ec2.nat_gateways, &id)?;
    let mut xml = Xml::new();
    xml.maybe("clientToken", query.text("ClientToken")).element("natGateway", |xml| put(xml, turn, gateway));
    Ok(xml)
}

/// Makes a gateway with its interface and the association of its address; what cannot be is told by its state later.
fn make(
    turn: &mut Turn<'_>,
    query: &Query,
    subnet: &Subnet,
    allocation_id: Option<&str>,
    tags: Tags,
) -> Result<NatGateway, ApiError> {
    let private_address = match fixed_address(turn.ec2, subnet, query.text("PrivateIpAddress"))? {
        Some(address) => address,
        None => free_address(turn.ec2, subnet, &[])?,
    };
    let mut gateway = NatGateway {
        id: new_id("nat"),
        vpc_id: subnet.vpc_id.clone(),
        subnet_id: subnet.id.clone(),
        public: allocation_id.is_some(),
        allocation_id: allocation_id.map(str::to_owned),
        association_id: None,
        public_address: None,
        interface_id: new_id("eni"),
        private_address,
        created: turn.now,
        deleted: None,
        failure: None,
        tags,
    };
    if let Some(id) = allocation_id {
        gateway.failure = failure(turn.ec2, subnet, id);
        if gateway.failure.is_some() {
            return Ok(gateway);
        }
        let association =
            AddressAssociation { id: new_id("eipassoc"), interface_id: gateway.interface_id.clone(), private_address };
        gateway.association_id = Some(association.id.clone());
        if let Some(address) = turn.ec2.addresses.get_mut(id) {
            gateway.public_address = Some(address.public_address);
            address.association = Some(association);
        }
    }
    let interface = Interface {
        id: gateway.interface_id.clone(),
        vpc_id: subnet.vpc_id.clone(),
        subnet_id: subnet.id.clone(),
        zone: subnet.zone.clone(),
        description: format!("Interface for NAT Gateway {}", gateway.id),
        kind: "nat_gateway".to_owned(),
        mac: mac_of(private_address),
        private_address,
        secondary_addresses: Vec::new(),
        security_groups: Vec::new(),
        source_dest_check: false,
        requester_managed: true,
        attachment: None,
        created: turn.now,
        tags: Tags::new(),
    };
    turn.ec2.interfaces.insert(interface.id.clone(), interface);
    Ok(gateway)
}

/// Why a public gateway in this subnet with this address cannot be.
fn failure(ec2: &Ec2, subnet: &Subnet, allocation_id: &str) -> Option<(String, String)> {
    let attached = ec2.internet_gateways.values().any(|gateway| gateway.vpc_id.as_ref() == Some(&subnet.vpc_id));
    if !attached {
        return Some(("Gateway.NotAttached".to_owned(), format!("Network {} has no Internet gateway attached", subnet.vpc_id)));
    }
    ec2.addresses.get(allocation_id)?.association.as_ref()?;
    Some(("Resource.AlreadyAssociated".to_owned(), format!("Elastic IP address [{allocation_id}] is already associated")))
}

fn put(xml: &mut Xml, turn: &Turn<'_>, gateway: &NatGateway) {
    let state = gateway.state(turn.now);
    // A failure is known once it has happened.
    let failure = gateway.failure.as_ref().filter(|_| state == "failed");
    xml.put("natGatewayId", &gateway.id)
        .put("subnetId", &gateway.subnet_id)
        .put("vpcId", &gateway.vpc_id)
        .put("state", state)
        .put("createTime", wire_time(gateway.created))
        .maybe("deleteTime", gateway.deleted.map(wire_time))
        .maybe("failureCode", failure.map(|(code, _)| code))
        .maybe("failureMessage", failure.map(|(_, message)| message))
        .put("connectivityType", if gateway.public { "public" } else { "private" })
        .put("availabilityMode", "zonal");
    xml.list("natGatewayAddressSet", [gateway], |xml, gateway| {
        xml.maybe("allocationId", gateway.allocation_id.as_ref());
        if gateway.failure.is_none() && state != "pending" {
            xml.put("networkInterfaceId", &gateway.interface_id)
                .put("privateIp", gateway.private_address)
                .maybe("publicIp", gateway.public_address)
                .maybe("associationId", gateway.association_id.as_ref());
        }
        let status = match state {
            "pending" => "associating",
            "failed" => "failed",
            "deleting" => "disassociating",
            _ => "succeeded",
        };
        xml.put("isPrimary", true).put("status", status);
    });
    put_tags(xml, &gateway.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "nat-gateway-id", "state", "subnet-id", "vpc-id"])?;
    let page = Page::read(query)?;
    let ids = query.list("NatGatewayId");
    turn::NAT_GATEWAY.asked(&turn.ec2.nat_gateways, &ids)?;
    let found =
        turn.ec2.nat_gateways.values().filter(|gateway| ids.is_empty() || ids.contains(&gateway.id.as_str())).filter(|gateway| {
            filters.admit(&gateway.tags, |name| {
                vec![match name {
                    "nat-gateway-id" => gateway.id.clone(),
                    "state" => gateway.state(turn.now).to_owned(),
                    "subnet-id" => gateway.subnet_id.clone(),
                    _ => gateway.vpc_id.clone(),
                }]
            })
        });
    let (found, token) = page.cut(found, |gateway| gateway.id.clone());
    let mut xml = Xml::new();
    xml.list("natGatewaySet", found, |xml, gateway| put(xml, turn, gateway));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// One that is deleted already is no error.
fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("NatGatewayId")?;
    let now = turn.now;
    let gateway = turn::NAT_GATEWAY.find_mut(&mut turn.ec2.nat_gateways, id)?;
    gateway.deleted.get_or_insert(now);
    let mut xml = Xml::new();
    xml.put("natGatewayId", id);
    Ok(xml)
}

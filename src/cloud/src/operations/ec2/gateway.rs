//! Internet gateways.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Ec2, InternetGateway, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateInternetGateway", create_gateway, &["TagSpecification"]),
    Operation::write("AttachInternetGateway", attach_gateway, &["InternetGatewayId", "VpcId"]),
    Operation::write("DetachInternetGateway", detach_gateway, &["InternetGatewayId", "VpcId"]),
    Operation::read("DescribeInternetGateways", describe_gateways, &["InternetGatewayId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteInternetGateway", delete_gateway, &["InternetGatewayId"]),
];

fn create_gateway(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let gateway = InternetGateway { id: new_id("igw"), vpc_id: None, tags: tags_for(query, "internet-gateway")? };
    let mut xml = Xml::new();
    xml.element("internetGateway", |xml| put_gateway(xml, turn.ec2, &gateway));
    turn.ec2.internet_gateways.insert(gateway.id.clone(), gateway);
    Ok(xml)
}

fn put_gateway(xml: &mut Xml, ec2: &Ec2, gateway: &InternetGateway) {
    xml.put("internetGatewayId", &gateway.id).put("ownerId", &ec2.account).list(
        "attachmentSet",
        &gateway.vpc_id,
        |xml, vpc_id| {
            // EC2 says `available` here, although the model's enumeration does not list it.
            xml.put("vpcId", vpc_id).put("state", "available");
        },
    );
    put_tags(xml, &gateway.tags);
}

fn attach_gateway(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, vpc_id) = (query.required("InternetGatewayId")?, query.required("VpcId")?);
    turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let taken = turn.ec2.internet_gateways.values().any(|other| other.id != id && other.vpc_id.as_deref() == Some(vpc_id));
    let gateway = turn::GATEWAY.find_mut(&mut turn.ec2.internet_gateways, id)?;
    if let Some(other) = &gateway.vpc_id {
        return Err(ApiError::new("Resource.AlreadyAssociated", format!("resource {id} is already attached to network {other}")));
    }
    if taken {
        return Err(ApiError::invalid_value(format!("Network {vpc_id} already has an internet gateway attached")));
    }
    gateway.vpc_id = Some(vpc_id.to_owned());
    turn.deeds.push(Deed::Network(vpc_id.to_owned()));
    Ok(done())
}

fn detach_gateway(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, vpc_id) = (query.required("InternetGatewayId")?, query.required("VpcId")?);
    turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let gateway = turn::GATEWAY.find(&turn.ec2.internet_gateways, id)?;
    if gateway.vpc_id.as_deref() != Some(vpc_id) {
        return Err(ApiError::new("Gateway.NotAttached", format!("resource {id} is not attached to network {vpc_id}")));
    }
    if turn.ec2.has_mapped_addresses(vpc_id) {
        return Err(ApiError::dependency(format!(
            "Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
        )));
    }
    if let Some(gateway) = turn.ec2.internet_gateways.get_mut(id) {
        gateway.vpc_id = None;
    }
    turn.deeds.push(Deed::Network(vpc_id.to_owned()));
    Ok(done())
}

fn describe_gateways(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 5] = ["tag", "internet-gateway-id", "attachment.vpc-id", "attachment.state", "owner-id"];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("InternetGatewayId");
    let ec2 = &*turn.ec2;
    turn::GATEWAY.asked(&ec2.internet_gateways, &ids)?;
    let found =
        ec2.internet_gateways.values().filter(|gateway| ids.is_empty() || ids.contains(&gateway.id.as_str())).filter(|gateway| {
            filters.admit(&gateway.tags, |name| match name {
                "internet-gateway-id" => vec![gateway.id.clone()],
                "attachment.vpc-id" => gateway.vpc_id.iter().cloned().collect(),
                "attachment.state" => gateway.vpc_id.iter().map(|_| "available".to_owned()).collect(),
                _ => vec![ec2.account.clone()],
            })
        });
    let (found, token) = page.cut(found, |gateway| gateway.id.clone());
    let mut xml = Xml::new();
    xml.list("internetGatewaySet", found, |xml, gateway| put_gateway(xml, ec2, gateway));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn delete_gateway(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InternetGatewayId")?;
    if turn::GATEWAY.find(&turn.ec2.internet_gateways, id)?.vpc_id.is_some() {
        return Err(ApiError::dependency(format!("The internetGateway '{id}' has dependencies and cannot be deleted.")));
    }
    turn.ec2.internet_gateways.remove(id);
    Ok(done())
}

//! The default VPC made anew, and the DHCP options that every VPC has.

use super::filter::{Filters, Page, put_next_token};
use super::turn::{Operation, Turn};
use super::vpc::{DHCP_OPTIONS, put_subnet, put_vpc, requested_zone, subnet_size};
use crate::model::ec2::Tags;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateDefaultVpc", create_vpc, &[]),
    Operation::write("CreateDefaultSubnet", create_subnet, &["AvailabilityZone", "AvailabilityZoneId"]),
    Operation::read("DescribeDhcpOptions", describe_dhcp_options, &["DhcpOptionsId", "Filter", "MaxResults", "NextToken"]),
];

fn create_vpc(turn: &mut Turn<'_>, _query: &Query) -> Result<Xml, ApiError> {
    if turn.ec2.vpcs.values().any(|vpc| vpc.is_default) {
        return Err(ApiError::new("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region."));
    }
    let id = turn.ec2.add_default_vpc();
    let mut xml = Xml::new();
    if let Some(vpc) = turn.ec2.vpcs.get(&id) {
        xml.element("vpc", |xml| put_vpc(xml, turn.ec2, vpc, "pending"));
    }
    Ok(xml)
}

fn create_subnet(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    if query.text("AvailabilityZone").or(query.text("AvailabilityZoneId")).is_none() {
        return Err(ApiError::missing_parameter("AvailabilityZone"));
    }
    let zone = requested_zone(turn.ec2, query)?;
    let vpc = turn.ec2.vpcs.values().find(|vpc| vpc.is_default);
    let vpc_id = match vpc {
        Some(vpc) => vpc.id.clone(),
        None => return Err(ApiError::new("DefaultVpcDoesNotExist", "There is no default VPC for this account in this region.")),
    };
    let present = turn.ec2.subnets.values().find(|subnet| subnet.default_for_zone && subnet.zone == zone);
    if let Some(present) = present {
        return Err(ApiError::new(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            format!("'{}' is already the default subnet in {zone}.", present.id),
        ));
    }
    let id = turn.ec2.add_default_subnet(&vpc_id, &zone).ok_or_else(|| {
        ApiError::new("InvalidSubnet.Conflict", format!("The block of the default subnet in {zone} is taken by another subnet"))
    })?;
    turn.deeds.push(super::deeds::Deed::Network(vpc_id));
    let mut xml = Xml::new();
    if let Some(subnet) = turn.ec2.subnets.get(&id) {
        xml.element("subnet", |xml| put_subnet(xml, turn.ec2, subnet, subnet_size(subnet.cidr)));
    }
    Ok(xml)
}

fn describe_dhcp_options(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "dhcp-options-id", "key", "value", "owner-id"])?;
    let page = Page::read(query)?;
    let ids = query.list("DhcpOptionsId");
    if let Some(unknown) = ids.iter().find(|id| **id != DHCP_OPTIONS) {
        return Err(ApiError::new("InvalidDhcpOptionID.NotFound", format!("The dhcpOption ID '{unknown}' does not exist")));
    }
    let ec2 = &*turn.ec2;
    let domain = match ec2.region.as_str() {
        // The region that does not stand in its names.
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    let options = [("domain-name", domain.as_str()), ("domain-name-servers", "AmazonProvidedDNS")];
    let found = Some(DHCP_OPTIONS).filter(|_| {
        filters.admit(&Tags::new(), |name| match name {
            "dhcp-options-id" => vec![DHCP_OPTIONS.to_owned()],
            "key" => options.iter().map(|(key, _)| (*key).to_owned()).collect(),
            "value" => options.iter().map(|(_, value)| (*value).to_owned()).collect(),
            _ => vec![ec2.account.clone()],
        })
    });
    let (found, token) = page.cut(found, |id| (*id).to_owned());
    let mut xml = Xml::new();
    xml.list("dhcpOptionsSet", found, |xml, id| {
        xml.put("dhcpOptionsId", id).put("ownerId", &ec2.account);
        xml.list("dhcpConfigurationSet", options, |xml, (key, value)| {
            xml.put("key", key).list("valueSet", [value], |xml, value| {
                xml.put("value", value);
            });
        });
        xml.texts("tagSet", [""; 0]);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

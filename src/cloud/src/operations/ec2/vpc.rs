//! VPCs and subnets.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Ec2, Subnet, Vpc, ZONES, contains, network_text, new_id, parse_network, usable_addresses};
use crate::node::Network;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateVpc", create_vpc, &["CidrBlock", "InstanceTenancy", "TagSpecification"]),
    Operation::read("DescribeVpcs", describe_vpcs, &["VpcId", "Filter", "MaxResults", "NextToken"]),
    Operation::write(
        "ModifyVpcAttribute",
        modify_vpc_attribute,
        &["VpcId", "EnableDnsSupport.Value", "EnableDnsHostnames.Value", "EnableNetworkAddressUsageMetrics.Value"],
    ),
    Operation::read("DescribeVpcAttribute", describe_vpc_attribute, &["VpcId", "Attribute"]),
    Operation::write("DeleteVpc", delete_vpc, &["VpcId"]),
    Operation::write(
        "CreateSubnet",
        create_subnet,
        &["VpcId", "CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "TagSpecification"],
    ),
    Operation::read("DescribeSubnets", describe_subnets, &["SubnetId", "Filter", "MaxResults", "NextToken"]),
    Operation::write(
        "ModifySubnetAttribute",
        modify_subnet_attribute,
        &[
            "SubnetId",
            "MapPublicIpOnLaunch.Value",
            "AssignIpv6AddressOnCreation.Value",
            "EnableDns64.Value",
            "EnableResourceNameDnsARecordOnLaunch.Value",
            "EnableResourceNameDnsAAAARecordOnLaunch.Value",
            "PrivateDnsHostnameTypeOnLaunch",
        ],
    ),
    Operation::write("DeleteSubnet", delete_subnet, &["SubnetId"]),
];

/// Reads a CIDR block of a size that VPCs and subnets may have.
fn block(query: &Query, range_code: &'static str) -> Result<Network, ApiError> {
    let text = query.required("CidrBlock")?;
    let network = parse_network(text).ok_or_else(|| {
        ApiError::invalid_value(format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."))
    })?;
    if !(16..=28).contains(&network.prefix) {
        return Err(ApiError::new(range_code, format!("The CIDR '{text}' is invalid.")));
    }
    Ok(network)
}

fn create_vpc(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let cidr = block(query, "InvalidVpc.Range")?;
    if query.text("InstanceTenancy").is_some_and(|tenancy| tenancy != "default") {
        return Err(ApiError::unsupported_parameter("InstanceTenancy"));
    }
    let tags = tags_for(query, "vpc")?;
    let id = turn.ec2.add_vpc(cidr, false, tags);
    let mut xml = Xml::new();
    xml.element("vpc", |xml| put_vpc(xml, turn.ec2, &turn.ec2.vpcs[&id], "pending"));
    Ok(xml)
}

pub(super) fn put_vpc(xml: &mut Xml, ec2: &Ec2, vpc: &Vpc, state: &str) {
    xml.put("vpcId", &vpc.id)
        .put("ownerId", &ec2.account)
        .put("state", state)
        .put("cidrBlock", network_text(vpc.cidr))
        .list("cidrBlockAssociationSet", [vpc], |xml, vpc| {
            xml.put("associationId", &vpc.cidr_association_id).put("cidrBlock", network_text(vpc.cidr)).element(
                "cidrBlockState",
                |xml| {
                    xml.put("state", "associated");
                },
            );
        })
        .put("dhcpOptionsId", DHCP_OPTIONS)
        .put("instanceTenancy", "default")
        .put("isDefault", vpc.is_default);
    put_tags(xml, &vpc.tags);
}

/// The one set of DHCP options, which every VPC has.
pub(super) const DHCP_OPTIONS: &str = "dopt-0a0a0a0a0a0a0a0a0";

fn describe_vpcs(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 12] = [
        "tag",
        "vpc-id",
        "cidr",
        // Not in EC2's documentation; Ansible asks by it.
        "cidr-block",
        "cidr-block-association.association-id",
        "cidr-block-association.cidr-block",
        "cidr-block-association.state",
        "dhcp-options-id",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("VpcId");
    let ec2 = &*turn.ec2;
    turn::VPC.asked(&ec2.vpcs, &ids)?;
    let found = ec2.vpcs.values().filter(|vpc| ids.is_empty() || ids.contains(&vpc.id.as_str())).filter(|vpc| {
        filters.admit(&vpc.tags, |name| {
            vec![match name {
                "vpc-id" => vpc.id.clone(),
                "cidr" | "cidr-block" | "cidr-block-association.cidr-block" => network_text(vpc.cidr),
                "cidr-block-association.association-id" => vpc.cidr_association_id.clone(),
                "cidr-block-association.state" => "associated".to_owned(),
                "dhcp-options-id" => DHCP_OPTIONS.to_owned(),
                "is-default" | "isDefault" => vpc.is_default.to_string(),
                "owner-id" => ec2.account.clone(),
                _ => "available".to_owned(),
            }]
        })
    });
    let (found, token) = page.cut(found, |vpc| vpc.id.clone());
    let mut xml = Xml::new();
    xml.list("vpcSet", found, |xml, vpc| put_vpc(xml, ec2, vpc, "available"));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn modify_vpc_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let vpc = turn::VPC.find_mut(&mut turn.ec2.vpcs, query.required("VpcId")?)?;
    let given = (
        query.boolean("EnableDnsSupport.Value")?,
        query.boolean("EnableDnsHostnames.Value")?,
        query.boolean("EnableNetworkAddressUsageMetrics.Value")?,
    );
    match given {
        (Some(support), None, None) => vpc.dns_support = support,
        // Which code EC2 has for this is not documented.
        (None, Some(true), None) if !vpc.dns_support => {
            return Err(ApiError::invalid_combination(format!(
                "The vpc '{}' needs enableDnsSupport before enableDnsHostnames",
                vpc.id
            )));
        }
        (None, Some(hostnames), None) => vpc.dns_hostnames = hostnames,
        (None, None, Some(metrics)) => vpc.usage_metrics = metrics,
        (None, None, None) => return Err(ApiError::missing_parameter("EnableDnsSupport or EnableDnsHostnames")),
        _ => return Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
    }
    Ok(done())
}

fn describe_vpc_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let vpc = turn::VPC.find(&turn.ec2.vpcs, query.required("VpcId")?)?;
    let attribute = query.required("Attribute")?;
    let value = match attribute {
        "enableDnsSupport" => vpc.dns_support,
        "enableDnsHostnames" => vpc.dns_hostnames,
        "enableNetworkAddressUsageMetrics" => vpc.usage_metrics,
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    };
    let mut xml = Xml::new();
    xml.put("vpcId", &vpc.id).element(attribute, |xml| {
        xml.put("value", value);
    });
    Ok(xml)
}

fn delete_vpc(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("VpcId")?;
    let vpc = turn::VPC.find(&turn.ec2.vpcs, id)?;
    let has_network = vpc.has_network;
    let ec2 = &mut *turn.ec2;
    let in_use = ec2.subnets.values().any(|subnet| subnet.vpc_id == id)
        || ec2.internet_gateways.values().any(|gateway| gateway.vpc_id.as_deref() == Some(id))
        || ec2.route_tables.values().any(|table| table.vpc_id == id && table.main_association_id.is_none())
        || ec2.security_groups.values().any(|group| group.vpc_id == id && group.name != "default")
        || ec2.network_acls.values().any(|acl| acl.vpc_id == id && !acl.is_default)
        || ec2.vpc_endpoints.values().any(|endpoint| endpoint.vpc_id == id && endpoint.deleted.is_none())
        || ec2.all_interfaces().any(|one| one.vpc_id == id);
    if in_use {
        return Err(ApiError::dependency(format!("The vpc '{id}' has dependencies and cannot be deleted.")));
    }
    ec2.route_tables.retain(|_, table| table.vpc_id != id);
    ec2.security_groups.retain(|_, group| group.vpc_id != id);
    ec2.network_acls.retain(|_, acl| acl.vpc_id != id);
    ec2.vpcs.remove(id);
    if has_network {
        turn.deeds.push(Deed::RemoveNetwork(id.to_owned()));
    }
    Ok(done())
}

/// The id of a zone, the same for every account here: `use1-az1` for `us-east-1a`.
pub(super) fn zone_id(zone: &str) -> String {
    let (region, letter) = zone.split_at(zone.len().saturating_sub(1));
    let short: String = region
        .split('-')
        .enumerate()
        .map(|(place, part)| match (place, part) {
            (0, part) => part.to_owned(),
            (_, "north" | "south" | "east" | "west" | "central") => part[..1].to_owned(),
            (_, "northeast") => "ne".to_owned(),
            (_, "northwest") => "nw".to_owned(),
            (_, "southeast") => "se".to_owned(),
            (_, "southwest") => "sw".to_owned(),
            (_, part) => part.to_owned(),
        })
        .collect();
    let number = ZONES.iter().position(|known| letter.starts_with(*known)).map_or(1, |place| place + 1);
    format!("{short}-az{number}")
}

fn create_subnet(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let vpc_id = query.required("VpcId")?;
    let ec2 = &mut *turn.ec2;
    let vpc = turn::VPC.find(&ec2.vpcs, vpc_id)?;
    let cidr = block(query, "InvalidSubnet.Range")?;
    if !contains(vpc.cidr, cidr) {
        return Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{}' is invalid.", network_text(cidr))));
    }
    let overlaps = |other: Network| contains(cidr, other) || contains(other, cidr);
    if ec2.subnets.values().any(|subnet| subnet.vpc_id == vpc_id && overlaps(subnet.cidr)) {
        return Err(ApiError::new(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{}' conflicts with another subnet", network_text(cidr)),
        ));
    }
    let zone = requested_zone(ec2, query)?;
    let subnet = Subnet {
        id: new_id("subnet"),
        vpc_id: vpc_id.to_owned(),
        cidr,
        zone,
        default_for_zone: false,
        map_public_address: false,
        network_acl_association_id: new_id("aclassoc"),
        network_acl_id: None,
        former_acl_association: None,
        tags: tags_for(query, "subnet")?,
    };
    let mut xml = Xml::new();
    xml.element("subnet", |xml| put_subnet(xml, ec2, &subnet, subnet_size(subnet.cidr)));
    ec2.subnets.insert(subnet.id.clone(), subnet);
    turn.deeds.push(Deed::Network(vpc_id.to_owned()));
    Ok(xml)
}

/// The zone by name or id; the first one when neither is given.
pub(super) fn requested_zone(ec2: &Ec2, query: &Query) -> Result<String, ApiError> {
    let name = query.text("AvailabilityZone");
    let id = query.text("AvailabilityZoneId");
    let asked = name.or(id);
    ec2.zones().find(|zone| name.is_none_or(|name| name == zone) && id.is_none_or(|id| id == zone_id(zone))).ok_or_else(|| {
        ApiError::invalid_value(format!("Value ({}) for parameter availabilityZone is invalid.", asked.unwrap_or_default()))
    })
}

/// How many instances fit.
pub(super) fn subnet_size(cidr: Network) -> usize {
    usable_addresses(cidr).size_hint().0
}

pub(super) fn put_subnet(xml: &mut Xml, ec2: &Ec2, subnet: &Subnet, free: usize) {
    xml.put("subnetId", &subnet.id)
        .put("subnetArn", format!("arn:aws:ec2:{}:{}:subnet/{}", ec2.region, ec2.account, subnet.id))
        .put("state", "available")
        .put("ownerId", &ec2.account)
        .put("vpcId", &subnet.vpc_id)
        .put("cidrBlock", network_text(subnet.cidr))
        .put("availableIpAddressCount", free)
        .put("availabilityZone", &subnet.zone)
        .put("availabilityZoneId", zone_id(&subnet.zone))
        .put("defaultForAz", subnet.default_for_zone)
        .put("mapPublicIpOnLaunch", subnet.map_public_address)
        .put("assignIpv6AddressOnCreation", false)
        .put("mapCustomerOwnedIpOnLaunch", false)
        .put("enableDns64", false)
        .put("ipv6Native", false)
        .texts("ipv6CidrBlockAssociationSet", [""; 0])
        .element("privateDnsNameOptionsOnLaunch", |xml| {
            xml.put("hostnameType", "ip-name")
                .put("enableResourceNameDnsARecord", false)
                .put("enableResourceNameDnsAAAARecord", false);
        });
    put_tags(xml, &subnet.tags);
}

fn describe_subnets(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 17] = [
        "tag",
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "availabilityZoneId",
        "available-ip-address-count",
        "cidr-block",
        "cidr",
        "cidrBlock",
        "default-for-az",
        "defaultForAz",
        "map-public-ip-on-launch",
        "owner-id",
        "state",
        "subnet-arn",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("SubnetId");
    let ec2 = &*turn.ec2;
    turn::SUBNET.asked(&ec2.subnets, &ids)?;
    let free = |subnet: &Subnet| subnet_size(subnet.cidr).saturating_sub(ec2.addresses_in(&subnet.id).len());
    let found = ec2.subnets.values().filter(|subnet| ids.is_empty() || ids.contains(&subnet.id.as_str())).filter(|subnet| {
        filters.admit(&subnet.tags, |name| {
            vec![match name {
                "subnet-id" => subnet.id.clone(),
                "vpc-id" => subnet.vpc_id.clone(),
                "availability-zone" | "availabilityZone" => subnet.zone.clone(),
                "availability-zone-id" | "availabilityZoneId" => zone_id(&subnet.zone),
                "available-ip-address-count" => free(subnet).to_string(),
                "cidr-block" | "cidr" | "cidrBlock" => network_text(subnet.cidr),
                "default-for-az" | "defaultForAz" => subnet.default_for_zone.to_string(),
                "map-public-ip-on-launch" => subnet.map_public_address.to_string(),
                "owner-id" => ec2.account.clone(),
                "subnet-arn" => format!("arn:aws:ec2:{}:{}:subnet/{}", ec2.region, ec2.account, subnet.id),
                _ => "available".to_owned(),
            }]
        })
    });
    let (found, token) = page.cut(found, |subnet| subnet.id.clone());
    let mut xml = Xml::new();
    xml.list("subnetSet", found, |xml, subnet| put_subnet(xml, ec2, subnet, free(subnet)));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn modify_subnet_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    // Each may be said to be as it is, one a call (ec2.md 6.1).
    const FIXED: [(&str, &str); 5] = [
        ("AssignIpv6AddressOnCreation.Value", "false"),
        ("EnableDns64.Value", "false"),
        ("EnableResourceNameDnsARecordOnLaunch.Value", "false"),
        ("EnableResourceNameDnsAAAARecordOnLaunch.Value", "false"),
        ("PrivateDnsHostnameTypeOnLaunch", "ip-name"),
    ];
    let id = query.required("SubnetId")?;
    let given: Vec<(&str, &str)> = FIXED.into_iter().filter(|(name, _)| query.text(name).is_some()).collect();
    let map_public = query.boolean("MapPublicIpOnLaunch.Value")?;
    match (map_public, given.as_slice()) {
        (None, []) => return Err(ApiError::missing_parameter("MapPublicIpOnLaunch")),
        (Some(_), []) => {}
        (None, [(name, value)]) => {
            if query.text(name) != Some(value) {
                return Err(ApiError::unsupported_parameter(name));
            }
        }
        _ => return Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
    }
    let subnet = turn::SUBNET.find_mut(&mut turn.ec2.subnets, id)?;
    subnet.map_public_address = map_public.unwrap_or(subnet.map_public_address);
    Ok(done())
}

fn delete_subnet(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("SubnetId")?;
    let vpc_id = turn::SUBNET.find(&turn.ec2.subnets, id)?.vpc_id.clone();
    if turn.ec2.all_interfaces().any(|one| one.subnet_id == id) {
        return Err(ApiError::dependency(format!("The subnet '{id}' has dependencies and cannot be deleted.")));
    }
    for table in turn.ec2.route_tables.values_mut() {
        table.associations.retain(|(_, subnet_id)| subnet_id != id);
    }
    turn.ec2.subnets.remove(id);
    turn.deeds.push(Deed::Network(vpc_id));
    Ok(done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_have_the_regions_short_name() {
        assert_eq!(zone_id("us-east-1a"), "use1-az1");
        assert_eq!(zone_id("eu-central-1c"), "euc1-az3");
        assert_eq!(zone_id("ap-northeast-2b"), "apne2-az2");
    }
}

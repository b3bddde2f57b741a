//! VPC endpoints: records, with their interfaces and routes.

use std::collections::BTreeMap;

use super::endpoint_service::services;
use super::filter::{Filters, Page, put_next_token};
use super::launch_network::free_address;
use super::network_interface_change::read_groups;
use super::permission::group_by_name;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for, wire_time};
use crate::model::ec2::{Ec2, Interface, Tags, VpcEndpoint, mac_of, new_id, prefix_list_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateVpcEndpoint",
        create,
        &[
            "VpcId",
            "ServiceName",
            "VpcEndpointType",
            "PolicyDocument",
            "RouteTableId",
            "SubnetId",
            "SecurityGroupId",
            "PrivateDnsEnabled",
            "IpAddressType",
            "TagSpecification",
            "ClientToken",
        ],
    ),
    Operation::read("DescribeVpcEndpoints", describe, &["VpcEndpointId", "Filter", "MaxResults", "NextToken"]),
    Operation::write(
        "ModifyVpcEndpoint",
        modify,
        &[
            "VpcEndpointId",
            "PolicyDocument",
            "ResetPolicy",
            "AddRouteTableId",
            "RemoveRouteTableId",
            "AddSubnetId",
            "RemoveSubnetId",
            "AddSecurityGroupId",
            "RemoveSecurityGroupId",
            "PrivateDnsEnabled",
        ],
    ),
    Operation::write("DeleteVpcEndpoints", delete, &["VpcEndpointId"]),
];

/// What an endpoint allows when nothing is said.
const EVERYTHING: &str =
    r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const SCOPE: &str = "CreateVpcEndpoint";
    let (vpc_id, service) = (query.required("VpcId")?, query.required("ServiceName")?);
    let gateway = match query.text("VpcEndpointType") {
        None | Some("Gateway") => true,
        Some("Interface") => false,
        Some(other) => return Err(ApiError::unsupported_parameter(&format!("VpcEndpointType={other}"))),
    };
    if query.text("IpAddressType").is_some_and(|kind| kind != "ipv4") {
        return Err(ApiError::unsupported_parameter("IpAddressType"));
    }
    let foreign: &[&str] = match gateway {
        true => &["SubnetId", "SecurityGroupId", "PrivateDnsEnabled"],
        false => &["RouteTableId"],
    };
    refuse(foreign, query)?;
    let policy = policy(query)?;
    let vpc = turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let names = vpc.dns_support && vpc.dns_hostnames;
    let private_dns = private_dns(turn.ec2, vpc_id, query)?;
    if !services(turn.ec2).contains(&(service.to_owned(), gateway)) {
        return Err(ApiError::new("InvalidServiceName", format!("The Vpc Endpoint Service '{service}' does not exist")));
    }
    let tags = tags_for(query, "vpc-endpoint")?;
    let id = match turn.replayed(SCOPE, query)? {
        Some(id) => id,
        None => {
            let endpoint = VpcEndpoint {
                id: new_id("vpce"),
                vpc_id: vpc_id.to_owned(),
                service: service.to_owned(),
                gateway,
                route_tables: route_tables(turn.ec2, vpc_id, service, &query.list("RouteTableId"))?,
                subnets: subnets(turn.ec2, vpc_id, &query.list("SubnetId"))?,
                security_groups: match (gateway, query.list("SecurityGroupId")) {
                    (true, _) => Vec::new(),
                    (false, ids) if ids.is_empty() => vec![group_by_name(turn.ec2, vpc_id, "default")?.id.clone()],
                    (false, ids) => read_groups(turn.ec2, vpc_id, vpc_id, &ids)?,
                },
                interfaces: Vec::new(),
                private_dns: !gateway && private_dns.unwrap_or(names),
                policy,
                created: turn.now,
                deleted: None,
                tags,
            };
            let interfaces = interfaces(turn, &endpoint)?;
            let endpoint = VpcEndpoint { interfaces: interfaces.iter().map(|one| one.id.clone()).collect(), ..endpoint };
            turn.ec2.interfaces.extend(interfaces.into_iter().map(|one| (one.id.clone(), one)));
            turn.remember(SCOPE, query, &endpoint.id);
            let id = endpoint.id.clone();
            turn.ec2.vpc_endpoints.insert(id.clone(), endpoint);
            id
        }
    };
    let endpoint = turn::ENDPOINT.find(&turn.ec2.vpc_endpoints, &id)?;
    let mut xml = Xml::new();
    xml.element("vpcEndpoint", |xml| put(xml, turn, endpoint)).maybe("clientToken", query.text("ClientToken"));
    Ok(xml)
}

/// Refuses what is for endpoints of the other type.
fn refuse(foreign: &[&str], query: &Query) -> Result<(), ApiError> {
    match foreign.iter().find(|name| query.structure(name).is_some()) {
        Some(name) => Err(ApiError::new("InvalidParameter", format!("{name} is not for endpoints of this type"))),
        None => Ok(()),
    }
}

/// Whether the service's own name is to lead to the endpoint, which needs the VPC's names switched on.
fn private_dns(ec2: &Ec2, vpc_id: &str, query: &Query) -> Result<Option<bool>, ApiError> {
    let wanted = query.boolean("PrivateDnsEnabled")?;
    let names = ec2.vpcs.get(vpc_id).is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames);
    if wanted == Some(true) && !names {
        return Err(ApiError::new(
            "InvalidParameter",
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true",
        ));
    }
    Ok(wanted)
}

/// The policy that a call gives, or the one that allows everything. This cloud keeps it and asks nothing of it.
fn policy(query: &Query) -> Result<String, ApiError> {
    match query.text("PolicyDocument").filter(|text| !text.is_empty()) {
        None => Ok(EVERYTHING.to_owned()),
        Some(text) if serde_json::from_str::<serde_json::Value>(text).is_ok_and(|policy| policy.is_object()) => {
            Ok(text.to_owned())
        }
        Some(_) => Err(ApiError::new("InvalidPolicyDocument", "The policy document is not valid JSON")),
    }
}

/// The route tables that a gateway endpoint is to stand in: of its VPC, and without a route to that service yet.
fn route_tables(ec2: &Ec2, vpc_id: &str, service: &str, ids: &[&str]) -> Result<Vec<String>, ApiError> {
    let mut tables: Vec<String> = Vec::new();
    for id in ids {
        let table = turn::ROUTE_TABLE.find(&ec2.route_tables, id)?;
        if table.vpc_id != vpc_id {
            return Err(ApiError::new("InvalidParameter", format!("Route table {id} does not belong to the VPC {vpc_id}")));
        }
        let other = ec2
            .vpc_endpoints
            .values()
            .find(|other| other.deleted.is_none() && other.service == service && other.route_tables.contains(&table.id));
        if let Some(other) = other {
            let list = prefix_list_id(service).unwrap_or_default();
            return Err(ApiError::new(
                "RouteAlreadyExists",
                format!("route table {id} already has a route with destination-prefix-list-id {list} (endpoint {})", other.id),
            ));
        }
        if !tables.contains(&table.id) {
            tables.push(table.id.clone());
        }
    }
    Ok(tables)
}

/// The subnets that an interface endpoint is to stand in: of its VPC, one a zone.
fn subnets(ec2: &Ec2, vpc_id: &str, ids: &[&str]) -> Result<Vec<String>, ApiError> {
    let mut zones: Vec<&str> = Vec::new();
    for id in ids {
        let subnet = turn::SUBNET.find(&ec2.subnets, id)?;
        if subnet.vpc_id != vpc_id {
            return Err(ApiError::new("InvalidParameter", format!("Subnet {id} does not belong to the VPC {vpc_id}")));
        }
        if zones.contains(&subnet.zone.as_str()) {
            return Err(ApiError::new("DuplicateSubnetsInSameZone", "Found another subnet in the same zone"));
        }
        zones.push(&subnet.zone);
    }
    Ok(ids.iter().map(|id| (*id).to_owned()).collect())
}

/// An interface in each of the endpoint's subnets.
fn interfaces(turn: &Turn<'_>, endpoint: &VpcEndpoint) -> Result<Vec<Interface>, ApiError> {
    let mut made = Vec::new();
    for id in &endpoint.subnets {
        let subnet = turn::SUBNET.find(&turn.ec2.subnets, id)?;
        let private_address = free_address(turn.ec2, subnet, &[])?;
        made.push(Interface {
            id: new_id("eni"),
            vpc_id: subnet.vpc_id.clone(),
            subnet_id: subnet.id.clone(),
            zone: subnet.zone.clone(),
            description: format!("VPC Endpoint Interface {}", endpoint.id),
            kind: "vpc_endpoint".to_owned(),
            mac: mac_of(private_address),
            private_address,
            secondary_addresses: Vec::new(),
            security_groups: endpoint.security_groups.clone(),
            source_dest_check: true,
            requester_managed: true,
            attachment: None,
            created: turn.now,
            tags: Tags::new(),
        });
    }
    Ok(made)
}

fn put(xml: &mut Xml, turn: &Turn<'_>, endpoint: &VpcEndpoint) {
    let ec2 = &*turn.ec2;
    xml.put("vpcEndpointId", &endpoint.id)
        .put("vpcEndpointType", if endpoint.gateway { "Gateway" } else { "Interface" })
        .put("vpcId", &endpoint.vpc_id)
        .put("serviceName", &endpoint.service)
        // In small letters, as EC2 writes them, although the model's enumeration has capitals.
        .put("state", endpoint.state(turn.now))
        .put("policyDocument", &endpoint.policy)
        .texts("routeTableIdSet", &endpoint.route_tables)
        .texts("subnetIdSet", &endpoint.subnets);
    let groups = endpoint.security_groups.iter().filter_map(|id| ec2.security_groups.get(id));
    xml.list("groupSet", groups, |xml, group| {
        xml.put("groupId", &group.id).put("groupName", &group.name);
    });
    xml.put("privateDnsEnabled", endpoint.private_dns)
        .put("requesterManaged", false)
        .texts("networkInterfaceIdSet", &endpoint.interfaces);
    if !endpoint.gateway {
        let short = endpoint.service.rsplit_once(&format!("{}.", ec2.region)).map_or("", |(_, short)| short);
        let (_, digits) = endpoint.id.split_once('-').unwrap_or_default();
        let name =
            format!("{}-{}.{short}.{}.vpce.amazonaws.com", endpoint.id, &digits[digits.len().saturating_sub(8)..], ec2.region);
        xml.list("dnsEntrySet", [name], |xml, name| {
            xml.put("dnsName", name);
        });
        xml.put("ipAddressType", "ipv4");
    }
    xml.put("creationTimestamp", wire_time(endpoint.created)).put("ownerId", &ec2.account);
    put_tags(xml, &endpoint.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 7] =
        ["tag", "ip-address-type", "service-name", "vpc-endpoint-id", "vpc-endpoint-state", "vpc-endpoint-type", "vpc-id"];
    let filters = Filters::read(query, &FILTERS)?;
    // The model has no bounds; a page is 1000 at most.
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let ids = query.list("VpcEndpointId");
    turn::ENDPOINT.asked(&turn.ec2.vpc_endpoints, &ids)?;
    let found = turn.ec2.vpc_endpoints.values().filter(|endpoint| ids.is_empty() || ids.contains(&endpoint.id.as_str())).filter(
        |endpoint| {
            filters.admit(&endpoint.tags, |name| {
                vec![match name {
                    // Gateways have none.
                    "ip-address-type" if endpoint.gateway => return Vec::new(),
                    "ip-address-type" => "ipv4".to_owned(),
                    "service-name" => endpoint.service.clone(),
                    "vpc-endpoint-id" => endpoint.id.clone(),
                    "vpc-endpoint-state" => endpoint.state(turn.now).to_owned(),
                    "vpc-endpoint-type" => if endpoint.gateway { "Gateway" } else { "Interface" }.to_owned(),
                    _ => endpoint.vpc_id.clone(),
                }]
            })
        },
    );
    let (found, token) = page.cut(found, |endpoint| endpoint.id.clone());
    let mut xml = Xml::new();
    xml.list("vpcEndpointSet", found, |xml, endpoint| put(xml, turn, endpoint));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("VpcEndpointId")?;
    let endpoint = turn::ENDPOINT.find(&turn.ec2.vpc_endpoints, id)?;
    if endpoint.deleted.is_some() {
        return Err(turn::ENDPOINT.missing(id));
    }
    let foreign: &[&str] = match endpoint.gateway {
        true => &["AddSubnetId", "RemoveSubnetId", "AddSecurityGroupId", "RemoveSecurityGroupId", "PrivateDnsEnabled"],
        false => &["AddRouteTableId", "RemoveRouteTableId"],
    };
    refuse(foreign, query)?;
    let mut changed = endpoint.clone();
    if query.boolean("ResetPolicy")?.unwrap_or(false) {
        changed.policy = EVERYTHING.to_owned();
    } else if query.text("PolicyDocument").is_some() {
        changed.policy = policy(query)?;
    }
    changed.private_dns = private_dns(turn.ec2, &changed.vpc_id, query)?.unwrap_or(changed.private_dns);
    changed.route_tables = {
        let remove = query.list("RemoveRouteTableId");
        remove.iter().try_for_each(|id| turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id).map(|_| ()))?;
        let add = new_ones(query.list("AddRouteTableId"), &endpoint.route_tables);
        let added = route_tables(turn.ec2, &endpoint.vpc_id, &endpoint.service, &add)?;
        left(&endpoint.route_tables, &remove).chain(added).collect()
    };
    changed.security_groups = {
        let add = query.list("AddSecurityGroupId");
        let remove = query.list("RemoveSecurityGroupId");
        let groups: Vec<String> = left(&endpoint.security_groups, &remove).chain(add.iter().map(|id| (*id).to_owned())).collect();
        match add.is_empty() && remove.is_empty() {
            true => groups,
            false => read_groups(turn.ec2, &endpoint.vpc_id, id, &groups.iter().map(String::as_str).collect::<Vec<_>>())?,
        }
    };
    let (add, remove) = (new_ones(query.list("AddSubnetId"), &endpoint.subnets), query.list("RemoveSubnetId"));
    let stay: Vec<String> = left(&endpoint.subnets, &remove).collect();
    changed.subnets = {
        let wanted: Vec<&str> = stay.iter().map(String::as_str).chain(add.iter().copied()).collect();
        subnets(turn.ec2, &endpoint.vpc_id, &wanted)?
    };
    let fresh = interfaces(turn, &VpcEndpoint { subnets: add.into_iter().map(str::to_owned).collect(), ..changed.clone() })?;
    // Of the interfaces those stay whose subnet does, with the groups of now.
    let stays = |one: &Interface| stay.contains(&one.subnet_id);
    changed.interfaces.retain(|id| turn.ec2.interfaces.get(id).is_some_and(stays));
    turn.ec2
        .interfaces
        .retain(|id, _| !endpoint_had(&turn.ec2.vpc_endpoints, &changed.id, id) || changed.interfaces.contains(id));
    for id in &changed.interfaces {
        if let Some(one) = turn.ec2.interfaces.get_mut(id) {
            one.security_groups.clone_from(&changed.security_groups);
        }
    }
    changed.interfaces.extend(fresh.iter().map(|one| one.id.clone()));
    turn.ec2.interfaces.extend(fresh.into_iter().map(|one| (one.id.clone(), one)));
    turn.ec2.vpc_endpoints.insert(changed.id.clone(), changed);
    Ok(done())
}

/// Whether the interface was the endpoint's before it changed.
fn endpoint_had(endpoints: &BTreeMap<String, VpcEndpoint>, endpoint_id: &str, interface_id: &str) -> bool {
    endpoints.get(endpoint_id).is_some_and(|endpoint| endpoint.interfaces.iter().any(|id| id == interface_id))
}

/// Those that are not there yet.
fn new_ones<'a>(asked: Vec<&'a str>, present: &[String]) -> Vec<&'a str> {
    asked.into_iter().filter(|id| !present.iter().any(|other| other == id)).collect()
}

/// Those that are not taken away.
fn left<'a>(present: &'a [String], taken: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    present.iter().filter(|id| !taken.contains(&id.as_str())).cloned()
}

/// Deletes what can be deleted and tells of the rest.
fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = query.list("VpcEndpointId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("VpcEndpointId"));
    }
    ids.iter().try_for_each(|id| turn::ENDPOINT.check(id))?;
    let now = turn.now;
    let mut unknown: Vec<&str> = Vec::new();
    for id in ids {
        match turn.ec2.vpc_endpoints.get_mut(id).filter(|endpoint| endpoint.deleted.is_none()) {
            Some(endpoint) => {
                endpoint.deleted = Some(now);
                // Its routes go at once.
                endpoint.route_tables.clear();
            }
            None => unknown.push(id),
        }
    }
    let mut xml = Xml::new();
    xml.list("unsuccessful", unknown, |xml, id| {
        let missing = turn::ENDPOINT.missing(id);
        xml.element("error", |xml| {
            xml.put("code", &missing.code).put("message", &missing.message);
        })
        .put("resourceId", id);
    });
    Ok(xml)
}

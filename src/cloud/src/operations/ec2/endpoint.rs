//! VPC endpoints: records, with their interfaces and routes.

use super::filter::{Filters, Page, put_next_token};
use super::launch_network::free_addresses;
use super::network_interface_change::read_groups;
use super::permission::group_by_name;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for, wire_time};
use super::vpc::zone_id;
use crate::model::ec2::{
    Ec2, Interface, PREFIX_LISTS, PrefixList, Tags, VpcEndpoint, mac_of, network_text, new_id, prefix_list_id,
};
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
        &["VpcEndpointId", "PolicyDocument", "ResetPolicy", "AddRouteTableId", "RemoveRouteTableId", "PrivateDnsEnabled"],
    ),
    Operation::write("DeleteVpcEndpoints", delete, &["VpcEndpointId"]),
    Operation::read("DescribeVpcEndpointServices", describe_services, &["ServiceName", "Filter", "MaxResults", "NextToken"]),
    Operation::read("DescribePrefixLists", describe_prefix_lists, &["PrefixListId", "Filter", "MaxResults", "NextToken"]),
];

/// Services with an interface endpoint that clusters have use for: SSM without a way to the internet (ec2.md 7.1),
/// and what user data and images fetch.
const INTERFACES: [&str; 10] =
    ["ec2", "ec2messages", "ecr.api", "ecr.dkr", "elasticfilesystem", "kms", "logs", "ssm", "ssmmessages", "sts"];

/// What an endpoint allows when nothing is said.
const EVERYTHING: &str =
    r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

/// The whole names of the services, and whether each has a gateway endpoint.
fn services(ec2: &Ec2) -> Vec<(String, bool)> {
    let whole = |name: &str| format!("com.amazonaws.{}.{name}", ec2.region);
    let gateways = PREFIX_LISTS.iter().map(|list| (whole(list.service), true));
    let mut all: Vec<(String, bool)> = gateways.chain(INTERFACES.iter().map(|name| (whole(name), false))).collect();
    all.sort();
    all
}

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
    if let Some(name) = foreign.iter().find(|name| query.structure(name).is_some()) {
        return Err(ApiError::new("InvalidParameter", format!("{name} is not for endpoints of this type")));
    }
    let policy = policy(query)?;
    let vpc = turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let names = vpc.dns_support && vpc.dns_hostnames;
    let private_dns = query.boolean("PrivateDnsEnabled")?;
    if private_dns == Some(true) && !names {
        return Err(ApiError::new(
            "InvalidParameter",
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true",
        ));
    }
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
        let private_address = free_addresses(turn.ec2, subnet, &[], 1, 1)?.remove(0);
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
    let filters =
        Filters::read(query, &["tag", "service-name", "vpc-endpoint-id", "vpc-endpoint-state", "vpc-endpoint-type", "vpc-id"])?;
    // The model has no bounds; a page is 1000 at most.
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let ids = query.list("VpcEndpointId");
    turn::ENDPOINT.asked(&turn.ec2.vpc_endpoints, &ids)?;
    let found = turn.ec2.vpc_endpoints.values().filter(|endpoint| ids.is_empty() || ids.contains(&endpoint.id.as_str())).filter(
        |endpoint| {
            filters.admit(&endpoint.tags, |name| {
                vec![match name {
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
    let (add, remove) = (query.list("AddRouteTableId"), query.list("RemoveRouteTableId"));
    let changes_tables = !add.is_empty() || !remove.is_empty();
    if !endpoint.gateway && changes_tables {
        return Err(ApiError::new("InvalidParameter", "Route tables are for gateway endpoints"));
    }
    if endpoint.gateway && query.text("PrivateDnsEnabled").is_some() {
        return Err(ApiError::new("InvalidParameter", "PrivateDnsEnabled is for interface endpoints"));
    }
    let policy = match query.boolean("ResetPolicy")? {
        Some(true) => Some(EVERYTHING.to_owned()),
        _ if query.text("PolicyDocument").is_some() => Some(policy(query)?),
        _ => None,
    };
    let private_dns = query.boolean("PrivateDnsEnabled")?;
    remove.iter().try_for_each(|id| turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id).map(|_| ()))?;
    let added: Vec<&str> = add.into_iter().filter(|id| !endpoint.route_tables.iter().any(|table| table == id)).collect();
    let added = route_tables(turn.ec2, &endpoint.vpc_id, &endpoint.service, &added)?;
    let endpoint = turn::ENDPOINT.find_mut(&mut turn.ec2.vpc_endpoints, id)?;
    endpoint.route_tables.retain(|table| !remove.contains(&table.as_str()));
    endpoint.route_tables.extend(added);
    if let Some(policy) = policy {
        endpoint.policy = policy;
    }
    endpoint.private_dns = private_dns.unwrap_or(endpoint.private_dns);
    Ok(done())
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

fn describe_services(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "owner", "service-name", "service-region", "service-type"])?;
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let names = query.list("ServiceName");
    let ec2 = &*turn.ec2;
    let all = services(ec2);
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(service, _)| service == *name)) {
        return Err(ApiError::new("InvalidServiceName", format!("The Vpc Endpoint Service '{unknown}' does not exist")));
    }
    let kind = |gateway: bool| if gateway { "Gateway" } else { "Interface" };
    let found = all.into_iter().filter(|(service, _)| names.is_empty() || names.contains(&service.as_str())).filter(
        |(service, gateway)| {
            filters.admit(&Tags::new(), |name| {
                vec![match name {
                    "owner" => "amazon".to_owned(),
                    "service-name" => service.clone(),
                    "service-region" => ec2.region.clone(),
                    _ => kind(*gateway).to_owned(),
                }]
            })
        },
    );
    let (found, token) = page.cut(found, |(service, _)| service.clone());
    let mut xml = Xml::new();
    xml.texts("serviceNameSet", found.iter().map(|(service, _)| service));
    xml.list("serviceDetailSet", &found, |xml, (service, gateway)| {
        let short = service.rsplit_once(&format!("{}.", ec2.region)).map_or("", |(_, short)| short);
        // Ids are stable: the same service has the same one everywhere.
        let number: u64 = service
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let zones: Vec<String> = ec2.zones().collect();
        xml.put("serviceName", service)
            .put("serviceId", format!("vpce-svc-0{number:016x}"))
            .list("serviceType", [kind(*gateway)], |xml, kind| {
                xml.put("serviceType", kind);
            })
            .put("serviceRegion", &ec2.region)
            .texts("availabilityZoneIdSet", zones.iter().map(|zone| zone_id(zone)))
            .texts("availabilityZoneSet", &zones)
            .put("owner", "amazon")
            .texts("baseEndpointDnsNameSet", [format!("{short}.{}.vpce.amazonaws.com", ec2.region)])
            .put("vpcEndpointPolicySupported", true)
            .put("acceptanceRequired", false)
            .put("managesVpcEndpoints", false);
        if !gateway {
            xml.put("privateDnsName", format!("{short}.{}.amazonaws.com", ec2.region));
        }
        xml.texts("supportedIpAddressTypeSet", ["ipv4"]).texts("tagSet", [""; 0]);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn describe_prefix_lists(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["prefix-list-id", "prefix-list-name"])?;
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let ids = query.list("PrefixListId");
    ids.iter().try_for_each(|id| super::route::find_prefix_list(id))?;
    let name_of = |list: &PrefixList| format!("com.amazonaws.{}.{}", turn.ec2.region, list.service);
    let mut all: Vec<&PrefixList> = PREFIX_LISTS.iter().filter(|list| ids.is_empty() || ids.contains(&list.id)).collect();
    all.sort_by_key(|list| list.id);
    let found = all.into_iter().filter(|list| {
        filters.admit(&Tags::new(), |name| {
            vec![match name {
                "prefix-list-id" => list.id.to_owned(),
                _ => name_of(list),
            }]
        })
    });
    let (found, token) = page.cut(found, |list| list.id.to_owned());
    let mut xml = Xml::new();
    xml.list("prefixListSet", found, |xml, list| {
        xml.put("prefixListId", list.id)
            .put("prefixListName", name_of(list))
            .texts("cidrSet", list.cidrs.iter().map(|network| network_text(*network)));
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

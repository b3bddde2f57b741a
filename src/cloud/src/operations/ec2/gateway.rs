//! Internet gateways and route tables.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Ec2, InstanceState, InternetGateway, Route, RouteTable, contains, network_text, new_id, parse_network};
use crate::node::Network;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateInternetGateway", create_gateway, &["TagSpecification"]),
    Operation::write("AttachInternetGateway", attach_gateway, &["InternetGatewayId", "VpcId"]),
    Operation::write("DetachInternetGateway", detach_gateway, &["InternetGatewayId", "VpcId"]),
    Operation::read("DescribeInternetGateways", describe_gateways, &["InternetGatewayId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteInternetGateway", delete_gateway, &["InternetGatewayId"]),
    Operation::write("CreateRouteTable", create_table, &["VpcId", "TagSpecification", "ClientToken"]),
    Operation::write("AssociateRouteTable", associate_table, &["RouteTableId", "SubnetId"]),
    Operation::write("DisassociateRouteTable", disassociate_table, &["AssociationId"]),
    Operation::write("CreateRoute", create_route, &["RouteTableId", "DestinationCidrBlock", "GatewayId"]),
    Operation::write("DeleteRoute", delete_route, &["RouteTableId", "DestinationCidrBlock"]),
    Operation::read("DescribeRouteTables", describe_tables, &["RouteTableId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteRouteTable", delete_table, &["RouteTableId"]),
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
    let mapped = turn.ec2.living().any(|instance| {
        // A stopped instance has given its public address back.
        instance.vpc_id == vpc_id && instance.wants_public_address && instance.state != InstanceState::Stopped
    });
    if mapped {
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

fn create_table(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let vpc_id = query.required("VpcId")?;
    turn::VPC.find(&turn.ec2.vpcs, vpc_id)?;
    let tags = tags_for(query, "route-table")?;
    let id = match turn.replayed("CreateRouteTable", query)? {
        Some(id) => id,
        None => {
            let table = RouteTable {
                id: new_id("rtb"),
                vpc_id: vpc_id.to_owned(),
                main_association_id: None,
                associations: Vec::new(),
                routes: Vec::new(),
                tags,
            };
            turn.remember("CreateRouteTable", query, &table.id);
            let id = table.id.clone();
            turn.ec2.route_tables.insert(id.clone(), table);
            id
        }
    };
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, &id)?;
    let mut xml = Xml::new();
    xml.element("routeTable", |xml| put_table(xml, turn.ec2, table)).maybe("clientToken", query.text("ClientToken"));
    Ok(xml)
}

fn put_table(xml: &mut Xml, ec2: &Ec2, table: &RouteTable) {
    let main = table.main_association_id.iter().map(|id| (id, None));
    let others = table.associations.iter().map(|(id, subnet_id)| (id, Some(subnet_id)));
    xml.put("routeTableId", &table.id).put("vpcId", &table.vpc_id).put("ownerId", &ec2.account).list(
        "routeSet",
        all_routes(ec2, table),
        |xml, (destination, gateway, origin, state)| {
            xml.put("destinationCidrBlock", network_text(destination))
                .put("gatewayId", gateway)
                .put("state", state)
                .put("origin", origin);
        },
    );
    xml.list("associationSet", main.chain(others), |xml, (id, subnet_id)| {
        xml.put("routeTableAssociationId", id)
            .put("routeTableId", &table.id)
            .maybe("subnetId", subnet_id)
            .put("main", subnet_id.is_none())
            .element("associationState", |xml| {
                xml.put("state", "associated");
            });
    })
    .texts("propagatingVgwSet", [""; 0]);
    put_tags(xml, &table.tags);
}

/// Destination, gateway, origin and state of each route, the local one first.
fn all_routes<'a>(ec2: &'a Ec2, table: &'a RouteTable) -> impl Iterator<Item = (Network, &'a str, &'static str, &'static str)> {
    let local = ec2.vpcs.get(&table.vpc_id).map(|vpc| (vpc.cidr, "local", "CreateRouteTable", "active"));
    let others = table.routes.iter().map(|route| {
        let gateway = ec2.internet_gateways.get(&route.gateway_id);
        let attached = gateway.is_some_and(|gateway| gateway.vpc_id.as_ref() == Some(&table.vpc_id));
        // A route whose gateway was detached or deleted stays and leads nowhere.
        (route.destination, route.gateway_id.as_str(), "CreateRoute", if attached { "active" } else { "blackhole" })
    });
    local.into_iter().chain(others)
}

fn associate_table(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, subnet_id) = (query.required("RouteTableId")?, query.required("SubnetId")?);
    let subnet = turn::SUBNET.find(&turn.ec2.subnets, subnet_id)?;
    let vpc_id = subnet.vpc_id.clone();
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    if table.vpc_id != vpc_id {
        return Err(ApiError::invalid_value(format!("Route table {id} and subnet {subnet_id} belong to different networks")));
    }
    if let Some((association, _)) = table.associations.iter().find(|(_, other)| other == subnet_id) {
        return Ok(association_answer(association));
    }
    let elsewhere =
        turn.ec2.route_tables.values().find_map(|table| {
            table.associations.iter().find(|(_, other)| other == subnet_id).map(|(association, _)| association)
        });
    if let Some(association) = elsewhere {
        return Err(ApiError::new(
            "Resource.AlreadyAssociated",
            format!("the specified association for route table {id} conflicts with an existing association {association}"),
        ));
    }
    let association = new_id("rtbassoc");
    if let Some(table) = turn.ec2.route_tables.get_mut(id) {
        table.associations.push((association.clone(), subnet_id.to_owned()));
    }
    turn.deeds.push(Deed::Network(vpc_id));
    Ok(association_answer(&association))
}

fn association_answer(association: &str) -> Xml {
    let mut xml = Xml::new();
    xml.put("associationId", association).element("associationState", |xml| {
        xml.put("state", "associated");
    });
    xml
}

fn disassociate_table(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("AssociationId")?;
    for table in turn.ec2.route_tables.values_mut() {
        if table.main_association_id.as_deref() == Some(id) {
            return Err(ApiError::invalid_value(format!("cannot disassociate the main route table association {id}")));
        }
        if let Some(place) = table.associations.iter().position(|(association, _)| association == id) {
            table.associations.remove(place);
            turn.deeds.push(Deed::Network(table.vpc_id.clone()));
            return Ok(done());
        }
    }
    Err(ApiError::new("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist")))
}

fn destination(query: &Query) -> Result<Network, ApiError> {
    let text = query.required("DestinationCidrBlock")?;
    parse_network(text).ok_or_else(|| {
        ApiError::invalid_value(format!(
            "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
        ))
    })
}

fn create_route(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let destination = destination(query)?;
    let gateway_id = query.required("GatewayId")?;
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    let vpc_id = table.vpc_id.clone();
    turn::GATEWAY.check(gateway_id).map_err(|_| gateway_missing(gateway_id))?;
    let gateway = turn.ec2.internet_gateways.get(gateway_id).ok_or_else(|| gateway_missing(gateway_id))?;
    if gateway.vpc_id.as_deref() != Some(vpc_id.as_str()) {
        return Err(ApiError::invalid_value(format!(
            "route table {id} and network gateway {gateway_id} belong to different networks"
        )));
    }
    let vpc_cidr = turn::VPC.find(&turn.ec2.vpcs, &vpc_id)?.cidr;
    if contains(vpc_cidr, destination) {
        return Err(ApiError::invalid_value(format!(
            "The destination CIDR block {} is equal to or more specific than one of this VPC's CIDR blocks.",
            network_text(destination)
        )));
    }
    let table = turn::ROUTE_TABLE.find_mut(&mut turn.ec2.route_tables, id)?;
    if table.routes.iter().any(|route| route.destination == destination) {
        return Err(ApiError::new(
            "RouteAlreadyExists",
            format!("The route identified by {} already exists.", network_text(destination)),
        ));
    }
    table.routes.push(Route { destination, gateway_id: gateway_id.to_owned() });
    turn.deeds.push(Deed::Network(vpc_id));
    Ok(done())
}

fn gateway_missing(id: &str) -> ApiError {
    ApiError::new("InvalidGatewayID.NotFound", format!("The gateway ID '{id}' does not exist"))
}

fn delete_route(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let destination = destination(query)?;
    let table = turn::ROUTE_TABLE.find_mut(&mut turn.ec2.route_tables, id)?;
    let Some(place) = table.routes.iter().position(|route| route.destination == destination) else {
        let local = turn.ec2.vpcs.get(&table.vpc_id).is_some_and(|vpc| vpc.cidr == destination);
        return Err(if local {
            ApiError::invalid_value(format!("cannot remove local route {} in route table {id}", network_text(destination)))
        } else {
            ApiError::new(
                "InvalidRoute.NotFound",
                format!("no route with destination-cidr-block {} in route table {id}", network_text(destination)),
            )
        });
    };
    table.routes.remove(place);
    turn.deeds.push(Deed::Network(table.vpc_id.clone()));
    Ok(done())
}

fn describe_tables(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 12] = [
        "tag",
        "route-table-id",
        "vpc-id",
        "owner-id",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "association.main",
        "route.destination-cidr-block",
        "route.gateway-id",
        "route.origin",
        "route.state",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("RouteTableId");
    let ec2 = &*turn.ec2;
    turn::ROUTE_TABLE.asked(&ec2.route_tables, &ids)?;
    let found = ec2
        .route_tables
        .values()
        .filter(|table| ids.is_empty() || ids.contains(&table.id.as_str()))
        .filter(|table| filters.admit(&table.tags, |name| table_values(ec2, table, name)));
    let (found, token) = page.cut(found, |table| table.id.clone());
    let mut xml = Xml::new();
    xml.list("routeTableSet", found, |xml, table| put_table(xml, ec2, table));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn table_values(ec2: &Ec2, table: &RouteTable, name: &str) -> Vec<String> {
    let routes = || all_routes(ec2, table);
    match name {
        "route-table-id" => vec![table.id.clone()],
        "vpc-id" => vec![table.vpc_id.clone()],
        "owner-id" => vec![ec2.account.clone()],
        "association.route-table-association-id" => {
            let others = table.associations.iter().map(|(id, _)| id);
            table.main_association_id.iter().chain(others).cloned().collect()
        }
        "association.route-table-id" => {
            let associated = table.main_association_id.is_some() || !table.associations.is_empty();
            associated.then(|| table.id.clone()).into_iter().collect()
        }
        "association.subnet-id" => table.associations.iter().map(|(_, subnet_id)| subnet_id.clone()).collect(),
        "association.main" => {
            let mut values: Vec<String> = table.associations.iter().map(|_| "false".to_owned()).collect();
            values.extend(table.main_association_id.iter().map(|_| "true".to_owned()));
            values
        }
        "route.destination-cidr-block" => routes().map(|(destination, ..)| network_text(destination)).collect(),
        "route.gateway-id" => routes().map(|(_, gateway, ..)| gateway.to_owned()).collect(),
        "route.origin" => routes().map(|(_, _, origin, _)| origin.to_owned()).collect(),
        _ => routes().map(|(.., state)| state.to_owned()).collect(),
    }
}

fn delete_table(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    if table.main_association_id.is_some() || !table.associations.is_empty() {
        return Err(ApiError::dependency(format!("The routeTable '{id}' has dependencies and cannot be deleted.")));
    }
    turn.ec2.route_tables.remove(id);
    Ok(done())
}

//! Route tables and what associates them with subnets.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::route::{ShownRoute, routes_of};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Destination, Ec2, RouteTable, network_text, network6_text, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateRouteTable", create_table, &["VpcId", "TagSpecification", "ClientToken"]),
    Operation::write("AssociateRouteTable", associate_table, &["RouteTableId", "SubnetId"]),
    Operation::write("DisassociateRouteTable", disassociate_table, &["AssociationId"]),
    Operation::write("ReplaceRouteTableAssociation", replace_association, &["AssociationId", "RouteTableId"]),
    Operation::read("DescribeRouteTables", describe_tables, &["RouteTableId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteRouteTable", delete_table, &["RouteTableId"]),
];

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
    xml.put("routeTableId", &table.id).put("vpcId", &table.vpc_id).put("ownerId", &ec2.account);
    xml.list("routeSet", routes_of(ec2, table), |xml, route| put_route(xml, ec2, &route));
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

fn put_route(xml: &mut Xml, ec2: &Ec2, route: &ShownRoute<'_>) {
    match &route.destination {
        Destination::V4(network) => xml.put("destinationCidrBlock", network_text(*network)),
        Destination::V6(network) => xml.put("destinationIpv6CidrBlock", network6_text(*network)),
        Destination::PrefixList { prefix_list_id } => xml.put("destinationPrefixListId", prefix_list_id),
    };
    match route.target.split_once('-') {
        Some(("nat", _)) => {
            xml.put("natGatewayId", route.target);
        }
        Some(("eni", _)) => {
            xml.put("networkInterfaceId", route.target);
            if let Some(attachment) = ec2.interface(route.target).and_then(|one| one.attachment) {
                xml.put("instanceId", attachment.instance_id).put("instanceOwnerId", &ec2.account);
            }
        }
        // Internet gateways, gateway endpoints, and the VPC itself.
        _ => {
            xml.put("gatewayId", route.target);
        }
    }
    xml.put("state", route.state()).put("origin", route.origin);
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

/// Moves an association to another table; the main one makes that table the VPC's main one.
fn replace_association(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, table_id) = (query.required("AssociationId")?, query.required("RouteTableId")?);
    let vpc_id = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, table_id)?.vpc_id.clone();
    let held = turn.ec2.route_tables.values().find_map(|table| {
        let is_main = table.main_association_id.as_deref() == Some(id);
        let subnet = table.associations.iter().find(|(association, _)| association == id);
        (is_main || subnet.is_some()).then(|| (table, subnet.map(|(_, subnet_id)| subnet_id.clone())))
    });
    let Some((table, subnet_id)) = held else {
        return Err(ApiError::new("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist")));
    };
    if table.vpc_id != vpc_id {
        return Err(ApiError::invalid_value(format!(
            "Route table {table_id} and the association {id} belong to different networks"
        )));
    }
    let association = new_id("rtbassoc");
    for table in turn.ec2.route_tables.values_mut() {
        table.main_association_id.take_if(|association| association == id);
        table.associations.retain(|(association, _)| association != id);
        if table.id == table_id {
            match &subnet_id {
                None => table.main_association_id = Some(association.clone()),
                Some(subnet_id) => table.associations.push((association.clone(), subnet_id.clone())),
            }
        }
    }
    turn.deeds.push(Deed::Network(vpc_id));
    let mut xml = Xml::new();
    xml.put("newAssociationId", &association).element("associationState", |xml| {
        xml.put("state", "associated");
    });
    Ok(xml)
}

fn describe_tables(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 18] = [
        "tag",
        "route-table-id",
        "vpc-id",
        "owner-id",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "association.main",
        "route.destination-cidr-block",
        "route.destination-ipv6-cidr-block",
        "route.destination-prefix-list-id",
        "route.gateway-id",
        "route.instance-id",
        "route.nat-gateway-id",
        "route.vpc-peering-connection-id",
        "route.transit-gateway-id",
        "route.origin",
        "route.state",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    // Narrower bounds than most: 5 to 100.
    let page = Page::within(query, 5..=100, 100)?;
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
    let routes = || routes_of(ec2, table).into_iter();
    let targets = |of: fn(&str) -> bool| -> Vec<String> {
        routes().filter(|route| of(route.target)).map(|route| route.target.to_owned()).collect()
    };
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
        "route.destination-cidr-block" => routes()
            .filter_map(|route| match route.destination {
                Destination::V4(network) => Some(network_text(network)),
                _ => None,
            })
            .collect(),
        "route.destination-ipv6-cidr-block" => routes()
            .filter_map(|route| match route.destination {
                Destination::V6(network) => Some(network6_text(network)),
                _ => None,
            })
            .collect(),
        "route.destination-prefix-list-id" => routes()
            .filter_map(|route| match route.destination {
                Destination::PrefixList { prefix_list_id } => Some(prefix_list_id),
                _ => None,
            })
            .collect(),
        "route.gateway-id" => targets(|target| !target.starts_with("nat-") && !target.starts_with("eni-")),
        "route.instance-id" => {
            routes().filter_map(|route| Some(ec2.interface(route.target)?.attachment?.instance_id.to_owned())).collect()
        }
        "route.nat-gateway-id" => targets(|target| target.starts_with("nat-")),
        "route.origin" => routes().map(|route| route.origin.to_owned()).collect(),
        "route.state" => routes().map(|route| route.state().to_owned()).collect(),
        // No route here leads to a peering or a transit gateway.
        _ => Vec::new(),
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

//! Routes.

use super::deeds::Deed;
use super::network_interface;
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::{
    Destination, Ec2, PREFIX_LISTS, Route, RouteTable, contains, network_text, network6_text, parse_network, parse_network6,
    prefix_list_id,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// What CreateRoute and ReplaceRoute take: where to, and by what.
const PARAMETERS: [&str; 9] = [
    "RouteTableId",
    "DestinationCidrBlock",
    "DestinationIpv6CidrBlock",
    "DestinationPrefixListId",
    "GatewayId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "VpcEndpointId",
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateRoute", create, &PARAMETERS),
    Operation::write("ReplaceRoute", replace, &PARAMETERS),
    Operation::write(
        "DeleteRoute",
        delete,
        &["RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"],
    ),
];

/// A route as it is shown.
pub(super) struct ShownRoute<'a> {
    pub destination: Destination,
    /// An id, or `local`.
    pub target: &'a str,
    pub origin: &'static str,
    /// Whether the target is there.
    active: bool,
}

impl ShownRoute<'_> {
    /// The word for its state: a route whose target has gone stays and leads nowhere.
    pub fn state(&self) -> &'static str {
        if self.active { "active" } else { "blackhole" }
    }
}

/// Every route of a table, the local one first, those of gateway endpoints last.
pub(super) fn routes_of<'a>(ec2: &'a Ec2, table: &'a RouteTable) -> Vec<ShownRoute<'a>> {
    let local = ec2.vpcs.get(&table.vpc_id).map(|vpc| ShownRoute {
        destination: Destination::V4(vpc.cidr),
        target: "local",
        origin: "CreateRouteTable",
        active: true,
    });
    let own = table.routes.iter().map(|route| ShownRoute {
        destination: route.destination.clone(),
        target: &route.target,
        origin: "CreateRoute",
        active: is_there(ec2, &table.vpc_id, &route.target),
    });
    let endpoints = ec2
        .vpc_endpoints
        .values()
        .filter(|endpoint| endpoint.deleted.is_none() && endpoint.gateway && endpoint.route_tables.contains(&table.id))
        .filter_map(|endpoint| {
            Some(ShownRoute {
                destination: Destination::PrefixList { prefix_list_id: prefix_list_id(&endpoint.service)?.to_owned() },
                target: &endpoint.id,
                origin: "CreateRoute",
                active: true,
            })
        });
    local.into_iter().chain(own).chain(endpoints).collect()
}

/// Whether a route's target can take traffic of the VPC.
fn is_there(ec2: &Ec2, vpc_id: &str, target: &str) -> bool {
    match target.split_once('-') {
        Some(("nat", _)) => {
            ec2.nat_gateways.get(target).is_some_and(|gateway| gateway.deleted.is_none() && gateway.failure.is_none())
        }
        Some(("eni", _)) => ec2.interface(target).is_some_and(|one| one.attachment.is_some()),
        _ => ec2.internet_gateways.get(target).is_some_and(|gateway| gateway.vpc_id.as_deref() == Some(vpc_id)),
    }
}

/// The one destination that a call names.
fn destination(query: &Query) -> Result<Destination, ApiError> {
    let invalid = |text: &str, name: &str| {
        ApiError::invalid_value(format!("Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."))
    };
    let given = |name: &str| query.text(name).filter(|text| !text.is_empty());
    match (given("DestinationCidrBlock"), given("DestinationIpv6CidrBlock"), given("DestinationPrefixListId")) {
        (Some(text), None, None) => parse_network(text).map(Destination::V4).ok_or_else(|| invalid(text, "destinationCidrBlock")),
        (None, Some(text), None) => {
            parse_network6(text).map(Destination::V6).ok_or_else(|| invalid(text, "destinationIpv6CidrBlock"))
        }
        (None, None, Some(id)) => {
            find_prefix_list(id)?;
            Ok(Destination::PrefixList { prefix_list_id: id.to_owned() })
        }
        (None, None, None) => Err(ApiError::missing_parameter("destinationCidrBlock")),
        _ => Err(ApiError::invalid_combination("Only one destination may be specified")),
    }
}

/// Refuses a prefix list that does not exist.
pub(super) fn find_prefix_list(id: &str) -> Result<(), ApiError> {
    match PREFIX_LISTS.iter().any(|list| list.id == id) {
        true => Ok(()),
        false => Err(ApiError::new("InvalidPrefixListID.NotFound", format!("The prefix list ID '{id}' does not exist"))),
    }
}

fn text(destination: &Destination) -> String {
    match destination {
        Destination::V4(network) => network_text(*network),
        Destination::V6(network) => network6_text(*network),
        Destination::PrefixList { prefix_list_id } => prefix_list_id.clone(),
    }
}

/// The one target that a call names: it exists and belongs to the table's VPC.
fn target(ec2: &Ec2, table: &RouteTable, query: &Query) -> Result<String, ApiError> {
    let names = ["GatewayId", "NatGatewayId", "NetworkInterfaceId", "InstanceId", "VpcEndpointId"];
    let given: Vec<(&str, &str)> =
        names.into_iter().filter_map(|name| Some((name, query.text(name).filter(|id| !id.is_empty())?))).collect();
    let (name, id) = match given.as_slice() {
        [one] => *one,
        [] => return Err(ApiError::missing_parameter("GatewayId")),
        _ => return Err(ApiError::invalid_combination("Only one target may be specified")),
    };
    let elsewhere =
        |what: &str| ApiError::invalid_value(format!("route table {} and {what} {id} belong to different networks", table.id));
    match name {
        "GatewayId" => {
            let missing = || ApiError::new("InvalidGatewayID.NotFound", format!("The gateway ID '{id}' does not exist"));
            let gateway = ec2.internet_gateways.get(id).ok_or_else(missing)?;
            if gateway.vpc_id.as_ref() != Some(&table.vpc_id) {
                return Err(elsewhere("network gateway"));
            }
        }
        "NatGatewayId" => {
            let gateway = ec2.nat_gateways.get(id).filter(|gateway| gateway.deleted.is_none()).ok_or_else(|| {
                ApiError::new("InvalidNatGatewayID.NotFound", format!("The natGateway ID '{id}' does not exist"))
            })?;
            if gateway.vpc_id != table.vpc_id {
                return Err(elsewhere("NAT gateway"));
            }
        }
        "NetworkInterfaceId" => {
            if network_interface::find(ec2, id)?.vpc_id != table.vpc_id {
                return Err(elsewhere("interface"));
            }
        }
        "InstanceId" => {
            let instance = turn::INSTANCE.find(&ec2.instances, id)?;
            if instance.vpc_id != table.vpc_id || !instance.is_alive() {
                return Err(elsewhere("instance"));
            }
            if ec2.interfaces_of(instance).len() > 1 {
                return Err(ApiError::new(
                    "InvalidInstanceID",
                    format!("There are multiple interfaces attached to instance '{id}'. Please specify an interface ID instead."),
                ));
            }
            return Ok(instance.interface_id.clone());
        }
        _ => {
            turn::ENDPOINT.find(&ec2.vpc_endpoints, id)?;
            // Gateway endpoints enter tables by themselves, interface endpoints never do.
            return Err(ApiError::invalid_value(format!(
                "Endpoint {id} is no Gateway Load Balancer endpoint, which alone may be the target of a route."
            )));
        }
    }
    Ok(id.to_owned())
}

/// Refuses a destination inside the VPC, which the local route serves; a middle box may stand before a part of it.
fn check_outside(ec2: &Ec2, table: &RouteTable, destination: &Destination, target: &str) -> Result<(), ApiError> {
    let cidr = turn::VPC.find(&ec2.vpcs, &table.vpc_id)?.cidr;
    let Destination::V4(network) = *destination else { return Ok(()) };
    if contains(cidr, network) && (network == cidr || target.starts_with("igw-")) {
        return Err(ApiError::invalid_value(format!(
            "The destination CIDR block {} is equal to or more specific than one of this VPC's CIDR blocks.",
            network_text(network)
        )));
    }
    Ok(())
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let destination = destination(query)?;
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    let vpc_id = table.vpc_id.clone();
    let target = target(turn.ec2, table, query)?;
    check_outside(turn.ec2, table, &destination, &target)?;
    if routes_of(turn.ec2, table).iter().any(|route| route.destination == destination) {
        return Err(ApiError::new(
            "RouteAlreadyExists",
            format!("The route identified by {} already exists.", text(&destination)),
        ));
    }
    turn::ROUTE_TABLE.find_mut(&mut turn.ec2.route_tables, id)?.routes.push(Route { destination, target });
    turn.deeds.push(Deed::Network(vpc_id));
    Ok(done())
}

/// The place of the route with this destination in its table.
fn place(ec2: &Ec2, table: &RouteTable, destination: &Destination, verb: &str) -> Result<usize, ApiError> {
    if let Some(place) = table.routes.iter().position(|route| route.destination == *destination) {
        return Ok(place);
    }
    match routes_of(ec2, table).iter().find(|route| route.destination == *destination) {
        Some(route) if route.target == "local" => {
            Err(ApiError::invalid_value(format!("cannot {verb} local route {} in route table {}", text(destination), table.id)))
        }
        // It comes and goes with its endpoint.
        Some(route) => {
            Err(ApiError::invalid_value(format!("cannot {verb} the route of {} in route table {}", route.target, table.id)))
        }
        None => Err(ApiError::new(
            "InvalidRoute.NotFound",
            format!("no route with destination-cidr-block {} in route table {}", text(destination), table.id),
        )),
    }
}

fn replace(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let destination = destination(query)?;
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    let vpc_id = table.vpc_id.clone();
    let target = target(turn.ec2, table, query)?;
    check_outside(turn.ec2, table, &destination, &target)?;
    let place = place(turn.ec2, table, &destination, "replace")?;
    turn::ROUTE_TABLE.find_mut(&mut turn.ec2.route_tables, id)?.routes[place].target = target;
    turn.deeds.push(Deed::Network(vpc_id));
    Ok(done())
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("RouteTableId")?;
    let destination = destination(query)?;
    let table = turn::ROUTE_TABLE.find(&turn.ec2.route_tables, id)?;
    let place = place(turn.ec2, table, &destination, "remove")?;
    let table = turn::ROUTE_TABLE.find_mut(&mut turn.ec2.route_tables, id)?;
    table.routes.remove(place);
    turn.deeds.push(Deed::Network(table.vpc_id.clone()));
    Ok(done())
}

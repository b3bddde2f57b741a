//! A network that a cluster did not make: the VPC and subnet that a spec names, and whether its nodes can be reached there.

use aws_sdk_ec2::types as sdk;
use ewulf_core::spec;
use ewulf_core::world::{ExistingNetwork, WayOut};

use super::{convert, filter};
use crate::aws::{CallError, Class, Cloud, failure};

/// Reads the VPC and subnet that the spec names.
pub(super) async fn network(cloud: &Cloud, wanted: &spec::ExistingNetwork) -> Result<Option<ExistingNetwork>, CallError> {
    let (vpc, subnet) = (wanted.vpc.as_str(), wanted.subnet.as_str());
    let (vpcs, subnets, interfaces, tables) = tokio::try_join!(
        async {
            let answer = cloud.ec2.describe_vpcs().filters(filter("vpc-id", vpc)).send().await;
            answer.map_err(|error| failure("DescribeVpcs", vpc, error))
        },
        async {
            let answer = cloud.ec2.describe_subnets().filters(filter("subnet-id", subnet)).send().await;
            answer.map_err(|error| failure("DescribeSubnets", subnet, error))
        },
        async {
            let request = cloud.ec2.describe_network_interfaces().filters(filter("subnet-id", subnet));
            let pages = request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
            pages.map_err(|error| failure("DescribeNetworkInterfaces", subnet, error))
        },
        async {
            let request = cloud.ec2.describe_route_tables().filters(filter("vpc-id", vpc));
            let pages = request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
            pages.map_err(|error| failure("DescribeRouteTables", vpc, error))
        },
    )?;
    let found = vpcs.vpcs().iter().filter_map(convert::vpc).next();
    let its_subnet = subnets.subnets().iter().find(|one| one.vpc_id() == Some(vpc));
    let (Some(found), Some(its_subnet)) = (found, its_subnet) else { return Ok(None) };
    let Some(facts) = convert::subnet(its_subnet) else { return Ok(None) };
    let way_out = match by_route(&tables, its_subnet) {
        WayOut::None | WayOut::NoAddress if has_endpoint(cloud, vpc).await? => WayOut::Open,
        way_out => way_out,
    };
    Ok(Some(ExistingNetwork {
        vpc: found.id,
        vpc_cidr: found.cidr,
        subnet: facts.id,
        subnet_cidr: facts.cidr,
        zone: facts.zone,
        free_addresses: its_subnet.available_ip_address_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        taken_addresses: interfaces
            .iter()
            .flat_map(|interface| interface.private_ip_addresses())
            .filter_map(|address| address.private_ip_address()?.parse().ok())
            .collect(),
        way_out,
    }))
}

/// Where the route table that holds for a subnet leads: its own, or else the main one of the VPC.
fn by_route(tables: &[sdk::RouteTable], subnet: &sdk::Subnet) -> WayOut {
    let of_subnet = |table: &&sdk::RouteTable| table.associations().iter().any(|one| one.subnet_id == subnet.subnet_id);
    let is_main = |table: &&sdk::RouteTable| table.associations().iter().any(|one| one.main == Some(true));
    let table = tables.iter().find(of_subnet).or_else(|| tables.iter().find(is_main));
    let is_way = |route: &&sdk::Route| {
        route.destination_cidr_block() == Some("0.0.0.0/0") && route.state() != Some(&sdk::RouteState::Blackhole)
    };
    match table.and_then(|table| table.routes().iter().find(is_way)) {
        None => WayOut::None,
        Some(route) if route.gateway_id().is_some_and(|id| id.starts_with("igw-")) => {
            if subnet.map_public_ip_on_launch == Some(true) { WayOut::Open } else { WayOut::NoAddress }
        }
        Some(_) => WayOut::Open,
    }
}

/// Whether the VPC has an endpoint of SSM, without which there is no use in looking for those of its messages. Who may not
/// look is not warned: it is an advice, and not worth a failure.
async fn has_endpoint(cloud: &Cloud, vpc: &str) -> Result<bool, CallError> {
    let is_there = sdk::Filter::builder().name("vpc-endpoint-state").values("available").values("pending").build();
    let request = cloud.ec2.describe_vpc_endpoints().filters(filter("vpc-id", vpc)).filters(is_there);
    let pages = request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    match pages.map_err(|error| failure("DescribeVpcEndpoints", vpc, error)) {
        Ok(endpoints) => Ok(endpoints.iter().any(|endpoint| endpoint.service_name().is_some_and(|name| name.ends_with(".ssm")))),
        Err(error) if error.class == Class::Permission => Ok(true),
        Err(error) => Err(error),
    }
}

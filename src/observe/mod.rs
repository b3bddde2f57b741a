//! Reads the world: every Describe call at once, by tag, into plain data. Reads only; decides nothing.

mod account;
mod convert;
mod existing;
mod settled;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Image as SdkImage};
use ewulf_core::address::{ADDRESS_TAG, Address, CLUSTER_TAG};
use ewulf_core::names::ClusterName;
use ewulf_core::spec::{ClusterSpec, ImageReference, Market, Network};
use ewulf_core::world::{Ami, Companions, Listed, Node, World};

use crate::aws::{CallError, Class, Cloud, failure, retry};

pub use settled::settled;

/// How long reads are repeated while EC2 fails or throttles, beyond what the SDK does within half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

pub use account::account;
pub use convert::{metadata_options, tags};

/// Reads everything of the spec's cluster, and what a plan for the spec must know beyond it. Images of recipes are
/// not looked up here: whoever knows the recipes fills `World::images`.
pub async fn observe(cloud: &Cloud, spec: &ClusterSpec) -> Result<World, CallError> {
    let network = match &spec.network {
        Network::Own(_) => None,
        Network::Existing(network) => Some(network),
    };
    let (mut world, zones, amis, existing) =
        tokio::try_join!(read(cloud, &spec.cluster, Some(spec)), zones(cloud), amis(cloud, spec), async {
            match network {
                Some(network) => existing::network(cloud, network).await,
                None => Ok(None),
            }
        },)?;
    world.zones = zones;
    world.amis = amis;
    world.existing_network = existing;
    world.normalise();
    Ok(world)
}

/// Reads everything that carries the cluster's tag and can be by itself: what goes with a node is left out.
pub async fn cluster(cloud: &Cloud, name: &ClusterName) -> Result<World, CallError> {
    read(cloud, name, None).await
}

/// Reads a cluster; for a spec, also what its nodes were made with: root volumes, interfaces, and spot requests where
/// the spec asks for spot nodes on any rung.
async fn read(cloud: &Cloud, name: &ClusterName, spec: Option<&ClusterSpec>) -> Result<World, CallError> {
    let mut world = World::empty(name.clone());
    let rungs = spec.into_iter().flat_map(|spec| spec.workers.iter().flat_map(|group| group.rungs()));
    let has_spot = rungs.into_iter().any(|rung| rung.market == Some(Market::Spot));
    let (vpcs, subnets, gateways, routes, groups, placements, templates, volumes, instances, interfaces, requests) = tokio::try_join!(
        vpcs(cloud, name),
        subnets(cloud, name),
        gateways(cloud, name),
        route_tables(cloud, name),
        security_groups(cloud, name),
        placement_groups(cloud, name),
        templates(cloud, name),
        async {
            match spec {
                Some(_) => volumes(cloud, name).await,
                None => shared_volumes(cloud, name).await,
            }
        },
        instances(cloud, name, None),
        async { if spec.is_some() { interfaces(cloud, name).await } else { Ok(Vec::new()) } },
        async { if has_spot { spot_requests(cloud, name).await } else { Ok(Vec::new()) } },
    )?;
    world.placement_groups = placements.iter().filter_map(convert::placement_group).collect();
    world.templates = templates.iter().filter_map(convert::template).collect();
    for instance in &instances {
        match convert::instance(instance) {
            Some(convert::Seen::Alive(node)) => world.nodes.push(*node),
            Some(convert::Seen::Gone(node)) => world.gone.push(node),
            None => {}
        }
    }
    world.adopt(Listed {
        vpcs: vpcs.iter().filter_map(convert::vpc).collect(),
        subnets: subnets.iter().filter_map(convert::subnet).collect(),
        gateways: gateways.iter().filter_map(convert::gateway).collect(),
        routes: routes.iter().filter_map(convert::routes).collect(),
        security_groups: groups.iter().filter_map(convert::security_group).collect(),
        volumes: volumes.iter().filter_map(convert::volume).collect(),
    });
    let of_interfaces =
        interfaces.iter().filter_map(|one| Some((one.network_interface_id.clone()?, convert::tags(one.tag_set()))));
    let of_requests = requests.iter().filter_map(|one| Some((one.spot_instance_request_id.clone()?, convert::tags(one.tags()))));
    world.assign(Companions {
        roots: volumes.iter().filter_map(convert::root).collect(),
        tags: of_interfaces.chain(of_requests).collect(),
    });
    world.normalise();
    Ok(world)
}

/// A filter by one name and value.
pub fn filter(name: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn tagged(cluster: &ClusterName) -> Filter {
    filter(&format!("tag:{CLUSTER_TAG}"), cluster.as_str())
}

/// Reads all pages of one tagged Describe call.
macro_rules! describe {
    ($function:ident, $call:literal, $operation:ident, $item:ty $(, $address:expr)?) => {
        async fn $function(cloud: &Cloud, cluster: &ClusterName) -> Result<Vec<$item>, CallError> {
            retry(PATIENCE, &[Class::Ambiguous], || async {
                let request = cloud.ec2.$operation().filters(tagged(cluster));
                $(let request = request.filters(filter(&format!("tag:{ADDRESS_TAG}"), $address.to_string()));)?
                let pages = request.into_paginator().items().send();
                pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| failure($call, cluster.as_str(), error))
            })
            .await
        }
    };
}

describe!(vpcs, "DescribeVpcs", describe_vpcs, aws_sdk_ec2::types::Vpc);
describe!(subnets, "DescribeSubnets", describe_subnets, aws_sdk_ec2::types::Subnet);
describe!(gateways, "DescribeInternetGateways", describe_internet_gateways, aws_sdk_ec2::types::InternetGateway);
describe!(route_tables, "DescribeRouteTables", describe_route_tables, aws_sdk_ec2::types::RouteTable);
describe!(security_groups, "DescribeSecurityGroups", describe_security_groups, aws_sdk_ec2::types::SecurityGroup);
describe!(templates, "DescribeLaunchTemplates", describe_launch_templates, aws_sdk_ec2::types::LaunchTemplate);
describe!(volumes, "DescribeVolumes", describe_volumes, aws_sdk_ec2::types::Volume);
// Root volumes carry the cluster's tag as well, one for each node.
describe!(shared_volumes, "DescribeVolumes", describe_volumes, aws_sdk_ec2::types::Volume, Address::Volume);
describe!(interfaces, "DescribeNetworkInterfaces", describe_network_interfaces, aws_sdk_ec2::types::NetworkInterface);
describe!(
    spot_requests,
    "DescribeSpotInstanceRequests",
    describe_spot_instance_requests,
    aws_sdk_ec2::types::SpotInstanceRequest
);

async fn placement_groups(cloud: &Cloud, cluster: &ClusterName) -> Result<Vec<aws_sdk_ec2::types::PlacementGroup>, CallError> {
    let answer = retry(PATIENCE, &[Class::Ambiguous], || async {
        let answer = cloud.ec2.describe_placement_groups().filters(tagged(cluster)).send().await;
        answer.map_err(|error| failure("DescribePlacementGroups", cluster.as_str(), error))
    });
    Ok(answer.await?.placement_groups.unwrap_or_default())
}

/// Reads the instances of a cluster, those on their way out included; all of them, or those that one more filter admits.
pub async fn instances(
    cloud: &Cloud,
    cluster: &ClusterName,
    only: Option<Filter>,
) -> Result<Vec<aws_sdk_ec2::types::Instance>, CallError> {
    let reservations = retry(PATIENCE, &[Class::Ambiguous, Class::Unreachable], || async {
        let filters = [tagged(cluster)].into_iter().chain(only.clone()).collect();
        let pages = cloud.ec2.describe_instances().set_filters(Some(filters)).into_paginator().items().send();
        pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| failure("DescribeInstances", cluster.as_str(), error))
    });
    Ok(reservations.await?.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).collect())
}

/// Reads the cluster's nodes that are not on their way out.
pub async fn nodes(cloud: &Cloud, cluster: &ClusterName) -> Result<Vec<Node>, CallError> {
    let alive = |instance: &aws_sdk_ec2::types::Instance| match convert::instance(instance) {
        Some(convert::Seen::Alive(node)) => Some(*node),
        Some(convert::Seen::Gone(_)) | None => None,
    };
    Ok(instances(cloud, cluster, None).await?.iter().filter_map(alive).collect())
}

async fn zones(cloud: &Cloud) -> Result<Vec<String>, CallError> {
    let answer = cloud
        .ec2
        .describe_availability_zones()
        .filters(filter("state", "available"))
        .filters(filter("zone-type", "availability-zone"))
        .send()
        .await
        .map_err(|error| failure("DescribeAvailabilityZones", cloud.region.clone(), error))?;
    Ok(answer.availability_zones.unwrap_or_default().into_iter().filter_map(|zone| zone.zone_name).collect())
}

/// Looks up the AMIs that the spec names by id; by filter, so that an unknown one does not fail the others.
async fn amis(cloud: &Cloud, spec: &ClusterSpec) -> Result<BTreeMap<String, Option<Ami>>, CallError> {
    let references = std::iter::once(&spec.master.image).chain(spec.workers.iter().map(|group| &group.image));
    let mut found: BTreeMap<String, Option<Ami>> = references
        .filter_map(|reference| match reference {
            ImageReference::Ami(reference) => Some((reference.ami.to_string(), None)),
            ImageReference::Recipe(_) => None,
        })
        .collect();
    if found.is_empty() {
        return Ok(found);
    }
    let wanted = Filter::builder().name("image-id").set_values(Some(found.keys().cloned().collect())).build();
    let answer = cloud.ec2.describe_images().filters(wanted).send().await;
    for image in answer.map_err(|error| failure("DescribeImages", "AMIs of the spec", error))?.images.unwrap_or_default() {
        if let Some(ami) = ami(&image) {
            found.insert(ami.id.clone(), Some(ami));
        }
    }
    Ok(found)
}

/// What a plan needs of an image.
pub fn ami(image: &SdkImage) -> Option<Ami> {
    let root_device = image.root_device_name.clone()?;
    let root = image.block_device_mappings().iter().find(|mapping| mapping.device_name.as_ref() == Some(&root_device));
    let size = root.and_then(|mapping| mapping.ebs.as_ref()).and_then(|ebs| ebs.volume_size).unwrap_or(1);
    Some(Ami { id: image.image_id.clone()?, root_device, root_gibibytes: u32::try_from(size).unwrap_or(1) })
}

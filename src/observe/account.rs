//! Reads what an account has of ewulf's in one region, whoever's it is: clusters, bakes, images and locks.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types as sdk;
use ewulf_core::address::{ADDRESS_TAG, CLUSTER_TAG, KEEP_TAG};
use ewulf_core::instance_types::{price_per_hour, volume_price_per_hour};
use ewulf_core::orphans::{Belongs, Part, PartKind};
use ewulf_core::quantity::VolumeSize;
use ewulf_core::spec::Market;
use ewulf_core::world::{Listed, Tags, World};
use jiff::Timestamp;

use super::{convert, filter};
use crate::apply::Holder;
use crate::aws::{CallError, Cloud, failure};
use crate::bake::{BAKE_TAG, IMAGE_TAG, OWNER_TAG, Owner};

/// Where locks are, as parameters `/ewulf/CLUSTER/lock`.
const LOCKS: &str = "/ewulf";

/// Reads every part in the cloud's region: a tagged Describe for each kind, side by side.
pub async fn account(cloud: &Cloud) -> Result<Vec<Part>, CallError> {
    let (vpcs, subnets, gateways, routes, groups, placements, templates, volumes, instances, images, snapshots, locks) = tokio::try_join!(
        vpcs(cloud),
        subnets(cloud),
        gateways(cloud),
        route_tables(cloud),
        security_groups(cloud),
        placement_groups(cloud),
        templates(cloud),
        volumes(cloud),
        instances(cloud),
        images(cloud),
        snapshots(cloud),
        locks(cloud),
    )?;
    let doubled = doubled(&instances, &vpcs, &subnets, &gateways, &routes, &groups, &volumes);
    let named: BTreeSet<&str> = images
        .iter()
        .flat_map(|image| image.block_device_mappings())
        .filter_map(|mapping| mapping.ebs()?.snapshot_id())
        .collect();
    let mut parts: Vec<Part> = Vec::new();
    parts.extend(instances.iter().filter_map(instance));
    parts.extend(volumes.iter().filter_map(volume));
    parts.extend(vpcs.iter().filter_map(|vpc| {
        let state = vpc.state().map(|state| state.as_str()).unwrap_or_default();
        part(PartKind::Vpc, vpc.vpc_id(), vpc.tags(), state, None)
    }));
    parts.extend(subnets.iter().filter_map(|subnet| {
        let state = subnet.state().map(|state| state.as_str()).unwrap_or_default();
        part(PartKind::Subnet, subnet.subnet_id(), subnet.tags(), state, None)
    }));
    parts.extend(gateways.iter().filter_map(|gateway| {
        let state = if gateway.attachments().is_empty() { "detached" } else { "attached" };
        part(PartKind::Gateway, gateway.internet_gateway_id(), gateway.tags(), state, None)
    }));
    parts.extend(routes.iter().filter_map(|table| part(PartKind::Routes, table.route_table_id(), table.tags(), "", None)));
    parts.extend(groups.iter().filter_map(|group| part(PartKind::SecurityGroup, group.group_id(), group.tags(), "", None)));
    parts.extend(placements.iter().filter_map(|group| {
        let state = group.state().map(|state| state.as_str()).unwrap_or_default();
        let is_there = !matches!(state, "deleting" | "deleted");
        part(PartKind::PlacementGroup, group.group_name().filter(|_| is_there), group.tags(), state, None)
    }));
    parts.extend(templates.iter().filter_map(|template| {
        part(PartKind::Template, template.launch_template_id(), template.tags(), "", template.create_time())
    }));
    parts.extend(images.iter().filter_map(|image| {
        let state = image.state().map(|state| state.as_str()).unwrap_or_default();
        let made = image.creation_date().and_then(|date| date.parse::<Timestamp>().ok()).map(Timestamp::as_second);
        Some(Part { made, ..part(PartKind::Image, image.image_id(), image.tags(), state, None)? })
    }));
    parts.extend(snapshots.iter().filter_map(|snapshot| {
        let state = snapshot.state().map(|state| state.as_str()).unwrap_or_default();
        let part = part(PartKind::Snapshot, snapshot.snapshot_id(), snapshot.tags(), state, snapshot.start_time())?;
        Some(Part { in_use: named.contains(part.id.as_str()), ..part })
    }));
    parts.extend(locks);
    for part in &mut parts {
        part.doubled = doubled.contains(&part.id);
    }
    parts.sort_by(|a, b| (&a.belongs, a.kind, &a.address, &a.id).cmp(&(&b.belongs, b.kind, &b.address, &b.id)));
    Ok(parts)
}

/// A part from what all kinds have in common; None if it has no id or no tag of ewulf's.
fn part(kind: PartKind, id: Option<&str>, tags: &[sdk::Tag], state: &str, made: Option<&DateTime>) -> Option<Part> {
    let tags = convert::tags(tags);
    let belongs = match (tags.get(CLUSTER_TAG), tags.get(BAKE_TAG).or(tags.get(IMAGE_TAG))) {
        (Some(cluster), _) => Belongs::Cluster(cluster.clone()),
        (None, Some(image)) => Belongs::Image(image.clone()),
        (None, None) => return None,
    };
    // An owner that cannot be read is nobody's, as for the bake that looks for remnants.
    let lives = |tags: &Tags| tags.get(OWNER_TAG).and_then(|owner| owner.parse::<Owner>().ok()).is_some_and(|it| it.is_alive());
    Some(Part {
        kind,
        id: id?.to_owned(),
        bake_lives: tags.contains_key(BAKE_TAG).then(|| lives(&tags)),
        belongs,
        address: tags.get(ADDRESS_TAG).cloned(),
        state: state.to_owned(),
        made: made.map(DateTime::secs),
        price_per_hour: None,
        in_use: false,
        keep: tags.get(KEEP_TAG).is_some_and(|keep| keep == "true"),
        doubled: false,
    })
}

/// Instances on their way out are none of anybody's.
fn instance(instance: &sdk::Instance) -> Option<Part> {
    let state = instance.state()?.name()?.as_str();
    if matches!(state, "shutting-down" | "terminated") {
        return None;
    }
    let spot = instance.instance_lifecycle == Some(sdk::InstanceLifecycleType::Spot);
    let market = if spot { Market::Spot } else { Market::OnDemand };
    // A stopped instance costs its volumes alone, which are parts of their own.
    let runs = matches!(state, "pending" | "running");
    let price = instance.instance_type().filter(|_| runs).and_then(|kind| price_per_hour(kind.as_str(), market));
    let part = part(PartKind::Instance, instance.instance_id(), instance.tags(), state, instance.launch_time())?;
    Some(Part { price_per_hour: price, ..part })
}

fn volume(volume: &sdk::Volume) -> Option<Part> {
    let state = volume.state()?.as_str();
    if matches!(state, "deleting" | "deleted") {
        return None;
    }
    let size = volume.size.and_then(|size| u32::try_from(size).ok()).and_then(VolumeSize::from_gibibytes);
    let part = part(PartKind::Volume, volume.volume_id(), volume.tags(), state, volume.create_time())?;
    Some(Part { in_use: !volume.attachments().is_empty(), price_per_hour: size.map(volume_price_per_hour), ..part })
}

/// Ids of what clusters have a second time: the same judgement that `plan` makes.
fn doubled(
    instances: &[sdk::Instance],
    vpcs: &[sdk::Vpc],
    subnets: &[sdk::Subnet],
    gateways: &[sdk::InternetGateway],
    routes: &[sdk::RouteTable],
    groups: &[sdk::SecurityGroup],
    volumes: &[sdk::Volume],
) -> BTreeSet<String> {
    let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
    let of = |tags: &Tags| tags.get(CLUSTER_TAG).cloned();
    macro_rules! sort {
        ($items:expr, $convert:path, $list:ident) => {
            for item in $items.iter().filter_map($convert) {
                if let Some(cluster) = of(&item.tags) {
                    listed.entry(cluster).or_default().$list.push(item);
                }
            }
        };
    }
    sort!(vpcs, convert::vpc, vpcs);
    sort!(subnets, convert::subnet, subnets);
    sort!(gateways, convert::gateway, gateways);
    sort!(routes, convert::routes, routes);
    sort!(groups, convert::security_group, security_groups);
    sort!(volumes, convert::volume, volumes);
    let mut strays = BTreeSet::new();
    for (cluster, listed) in listed {
        let Ok(name) = cluster.parse() else { continue };
        let mut world = World::empty(name);
        for instance in instances {
            if let Some(convert::Seen::Alive(node)) = convert::instance(instance)
                && of(&node.tags).as_ref() == Some(&cluster)
            {
                world.nodes.push(*node);
            }
        }
        world.adopt(listed);
        strays.extend(world.strays.iter().map(|stray| stray.id().to_owned()));
    }
    strays
}

fn ours() -> sdk::Filter {
    sdk::Filter::builder().name("tag-key").values(CLUSTER_TAG).values(BAKE_TAG).build()
}

/// Reads all pages of one Describe call of everything that carries a tag of ewulf's.
macro_rules! describe {
    ($function:ident, $call:literal, $operation:ident, $item:ty) => {
        async fn $function(cloud: &Cloud) -> Result<Vec<$item>, CallError> {
            let pages = cloud.ec2.$operation().filters(ours()).into_paginator().items().send();
            pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| failure($call, cloud.region.as_str(), error))
        }
    };
}

describe!(vpcs, "DescribeVpcs", describe_vpcs, sdk::Vpc);
describe!(subnets, "DescribeSubnets", describe_subnets, sdk::Subnet);
describe!(gateways, "DescribeInternetGateways", describe_internet_gateways, sdk::InternetGateway);
describe!(route_tables, "DescribeRouteTables", describe_route_tables, sdk::RouteTable);
describe!(security_groups, "DescribeSecurityGroups", describe_security_groups, sdk::SecurityGroup);
describe!(templates, "DescribeLaunchTemplates", describe_launch_templates, sdk::LaunchTemplate);
describe!(volumes, "DescribeVolumes", describe_volumes, sdk::Volume);

async fn placement_groups(cloud: &Cloud) -> Result<Vec<sdk::PlacementGroup>, CallError> {
    let answer = cloud.ec2.describe_placement_groups().filters(ours()).send().await;
    let answer = answer.map_err(|error| failure("DescribePlacementGroups", cloud.region.as_str(), error))?;
    Ok(answer.placement_groups.unwrap_or_default())
}

async fn instances(cloud: &Cloud) -> Result<Vec<sdk::Instance>, CallError> {
    let pages = cloud.ec2.describe_instances().filters(ours()).into_paginator().items().send();
    let reservations = pages.collect::<Result<Vec<_>, _>>().await;
    let reservations = reservations.map_err(|error| failure("DescribeInstances", cloud.region.as_str(), error))?;
    Ok(reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).collect())
}

async fn images(cloud: &Cloud) -> Result<Vec<sdk::Image>, CallError> {
    let pages = cloud.ec2.describe_images().owners("self").filters(filter("tag-key", IMAGE_TAG)).into_paginator().items().send();
    pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| failure("DescribeImages", cloud.region.as_str(), error))
}

async fn snapshots(cloud: &Cloud) -> Result<Vec<sdk::Snapshot>, CallError> {
    let request = cloud.ec2.describe_snapshots().owner_ids("self").filters(filter("tag-key", IMAGE_TAG));
    let pages = request.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    pages.map_err(|error| failure("DescribeSnapshots", cloud.region.as_str(), error))
}

/// Locks of clusters; another parameter below the same path is not ewulf's.
async fn locks(cloud: &Cloud) -> Result<Vec<Part>, CallError> {
    let mut found = Vec::new();
    let mut pages = cloud.ssm.get_parameters_by_path().path(LOCKS).recursive(true).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failure("GetParametersByPath", LOCKS, error))?;
        found.extend(page.parameters.unwrap_or_default());
    }
    let lock = |parameter: aws_sdk_ssm::types::Parameter| {
        let (name, value) = (parameter.name?, parameter.value?);
        let cluster = name.strip_prefix(LOCKS)?.strip_prefix('/')?.strip_suffix("/lock")?.to_owned();
        let holder: Holder = serde_json::from_str(&value).ok()?;
        let is_live = !holder.is_over();
        Some(Part {
            kind: PartKind::Lock,
            id: name,
            belongs: Belongs::Cluster(cluster),
            address: None,
            state: if is_live { "held" } else { "expired" }.to_owned(),
            made: Some(holder.since.as_second()),
            price_per_hour: None,
            in_use: is_live,
            keep: false,
            doubled: false,
            bake_lives: None,
        })
    };
    Ok(found.into_iter().filter_map(lock).collect())
}

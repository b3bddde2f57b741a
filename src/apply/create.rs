//! What nodes stand on: every create carries its tags, and one without a token looks before it repeats.

use std::time::Duration;

use aws_sdk_ec2::types as sdk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ewulf_core::address::{ADDRESS_TAG, Address, CLUSTER_TAG, FILE_SYSTEM_TAG, FINGERPRINT_TAG, KEEP_TAG};
use ewulf_core::fingerprint;
use ewulf_core::plan::TemplateData;
use ewulf_core::quantity::Ipv4Network;
use ewulf_core::spec::Market;
use ewulf_core::world::{IngressRule, IngressSource, Tags};

use super::actions::{display_name, shortened};
use super::{Run, StepError};
use crate::aws::{Backoff, CallError, Class, Script, failure, retry, shell_quote};
use crate::observe::filter;

/// How long a new id may stay unknown to other calls: EC2's guide says up to 5 minutes (ec2.md 1.1).
pub(super) const SETTLE: Duration = Duration::from_secs(300);

/// What a call that can be repeated is repeated on: what it names is not visible yet, or nobody knows what it did.
pub(super) const UNCERTAIN: [Class; 3] = [Class::NotFound, Class::Ambiguous, Class::Unreachable];
/// The same, and something in a state that passes.
pub(super) const UNSETTLED: [Class; 4] = [Class::NotFound, Class::Ambiguous, Class::Unreachable, Class::Conflict];

/// Tags of a resource in its creating call.
pub(super) fn tag_specification(run: &Run, address: &Address, kind: sdk::ResourceType, more: Tags) -> sdk::TagSpecification {
    let mut tags = run.plan.tags.clone();
    tags.insert(ADDRESS_TAG.to_owned(), address.to_string());
    tags.insert("Name".to_owned(), display_name(run, address));
    tags.extend(more);
    let list = tags.into_iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect();
    sdk::TagSpecification::builder().resource_type(kind).set_tags(Some(list)).build()
}

/// Token of a create: the same for the same parts, so that a repeated call makes nothing twice. What tags alone tell from
/// what was deleted since has the run's nonce among its parts.
pub(super) fn token(run: &Run, parts: &[&str]) -> String {
    format!("ewulf-{}", fingerprint::of(&(run.plan.cluster.as_str(), parts)))
}

/// How long a machine may take to see that its volume has grown: modifications are usable within seconds to minutes.
const GROWN: Duration = Duration::from_secs(300);

/// How long something whose creating call went unanswered is looked for before it is created again: what exists shows
/// up in lists within seconds (ec2.md 1.1), and one that is made twice costs more than a wait.
const LOOK_UP: Duration = Duration::from_secs(20);

/// Creates what has no client token: after an ambiguous answer or a name that is taken, `find` is asked first.
///
/// The SDK must not repeat such a call by itself, since it cannot look: VPCs, subnets and gateways go by `ec2_once`.
async fn create_or_adopt<C, F>(create: impl Fn() -> C, find: impl Fn() -> F) -> Result<String, CallError>
where
    C: Future<Output = Result<Option<String>, CallError>>,
    F: Future<Output = Result<Option<String>, CallError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10), SETTLE);
    loop {
        let error = match create().await {
            Ok(Some(id)) => return Ok(id),
            Ok(None) => CallError::unexpected("create", "answer", "it has no id"),
            Err(error) => error,
        };
        match error.class {
            Class::Ambiguous | Class::Exists | Class::Unreachable => {
                if let Some(id) = look_up(&find).await? {
                    return Ok(id);
                }
            }
            // What it stands on was made moments ago and is not visible everywhere yet.
            Class::NotFound | Class::Throttled => {}
            _ => return Err(error),
        }
        if !backoff.pause().await {
            return Err(error);
        }
    }
}

/// Asks `find` until it finds something or [`LOOK_UP`] is over.
async fn look_up<F>(find: impl Fn() -> F) -> Result<Option<String>, CallError>
where
    F: Future<Output = Result<Option<String>, CallError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), LOOK_UP);
    loop {
        if let Some(id) = find().await? {
            return Ok(Some(id));
        }
        if !backoff.pause().await {
            return Ok(None);
        }
    }
}

fn ours(run: &Run, address: &Address) -> [sdk::Filter; 2] {
    [filter(&format!("tag:{CLUSTER_TAG}"), run.plan.cluster.as_str()), filter(&format!("tag:{ADDRESS_TAG}"), address.to_string())]
}

/// Looks one of our resources up by its tags; its id is the smallest found.
macro_rules! find_by_tags {
    ($run:expr, $address:expr, $call:literal, $operation:ident, $list:ident, $id:ident) => {
        || async {
            let answer = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
                let answer = $run.cloud.ec2.$operation().set_filters(Some(ours($run, $address).to_vec())).send().await;
                answer.map_err(|error| failure($call, $address.to_string(), error))
            })
            .await?;
            Ok(answer.$list().iter().filter_map(|item| item.$id.clone()).min())
        }
    };
}

pub async fn vpc(run: &Run, cidr: Ipv4Network) -> Result<String, StepError> {
    let address = &Address::Vpc;
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::Vpc, Tags::new());
            let answer = run.cloud.ec2_once.create_vpc().cidr_block(cidr.to_string()).tag_specifications(tags).send().await;
            Ok(answer.map_err(|error| failure("CreateVpc", "vpc", error))?.vpc.and_then(|vpc| vpc.vpc_id))
        },
        find_by_tags!(run, address, "DescribeVpcs", describe_vpcs, vpcs, vpc_id),
    )
    .await?;
    run.learn(Address::Vpc, &id);
    Ok(format!("created VPC {cidr}, {id}"))
}

pub async fn subnet(run: &Run, cidr: Ipv4Network, zone: &str) -> Result<String, StepError> {
    let (address, vpc) = (&Address::Subnet, run.id(&Address::Vpc)?);
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::Subnet, Tags::new());
            let request = run.cloud.ec2_once.create_subnet().vpc_id(&vpc).cidr_block(cidr.to_string()).availability_zone(zone);
            let answer = request.tag_specifications(tags).send().await;
            Ok(answer.map_err(|error| failure("CreateSubnet", "subnet", error))?.subnet.and_then(|subnet| subnet.subnet_id))
        },
        find_by_tags!(run, address, "DescribeSubnets", describe_subnets, subnets, subnet_id),
    )
    .await?;
    run.learn(Address::Subnet, &id);
    Ok(format!("created subnet {cidr} in {zone}, {id}"))
}

pub async fn gateway(run: &Run) -> Result<String, StepError> {
    let address = &Address::Gateway;
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::InternetGateway, Tags::new());
            let answer = run.cloud.ec2_once.create_internet_gateway().tag_specifications(tags).send().await;
            let answer = answer.map_err(|error| failure("CreateInternetGateway", "gateway", error))?;
            Ok(answer.internet_gateway.and_then(|gateway| gateway.internet_gateway_id))
        },
        find_by_tags!(
            run,
            address,
            "DescribeInternetGateways",
            describe_internet_gateways,
            internet_gateways,
            internet_gateway_id
        ),
    )
    .await?;
    run.learn(Address::Gateway, &id);
    Ok(format!("created internet gateway {id}"))
}

pub async fn attach_gateway(run: &Run) -> Result<String, StepError> {
    let (gateway, vpc) = (run.id(&Address::Gateway)?, run.id(&Address::Vpc)?);
    let answer = retry(SETTLE, &UNCERTAIN, || async {
        let request = run.cloud.ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(&vpc);
        request.send().await.map(drop).map_err(|error| failure("AttachInternetGateway", &gateway, error))
    })
    .await;
    match answer {
        // A repeated attach of the same pair.
        Err(error) if error.is("Resource.AlreadyAssociated") => {}
        answer => answer?,
    }
    Ok(format!("attached {gateway} to {vpc}"))
}

pub async fn routes(run: &Run) -> Result<String, StepError> {
    let (address, vpc) = (&Address::Routes, run.id(&Address::Vpc)?);
    let token = token(run, &["routes", &vpc, &run.nonce]);
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::RouteTable, Tags::new());
            let request = run.cloud.ec2.create_route_table().vpc_id(&vpc).client_token(&token).tag_specifications(tags);
            let answer = request.send().await.map_err(|error| failure("CreateRouteTable", "routes", error))?;
            Ok(answer.route_table.and_then(|table| table.route_table_id))
        },
        find_by_tags!(run, address, "DescribeRouteTables", describe_route_tables, route_tables, route_table_id),
    )
    .await?;
    run.learn(Address::Routes, &id);
    Ok(format!("created route table {id}"))
}

pub async fn associate_routes(run: &Run) -> Result<String, StepError> {
    let (table, subnet) = (run.id(&Address::Routes)?, run.id(&Address::Subnet)?);
    let answer = retry(SETTLE, &UNCERTAIN, || async {
        let request = run.cloud.ec2.associate_route_table().route_table_id(&table).subnet_id(&subnet);
        request.send().await.map(drop).map_err(|error| failure("AssociateRouteTable", &table, error))
    })
    .await;
    match answer {
        Err(error) if error.is("Resource.AlreadyAssociated") => {}
        answer => answer?,
    }
    Ok(format!("associated {table} with {subnet}"))
}

pub async fn default_route(run: &Run) -> Result<String, StepError> {
    const EVERYWHERE: &str = "0.0.0.0/0";
    let (table, gateway) = (run.id(&Address::Routes)?, run.id(&Address::Gateway)?);
    let create = || async {
        let request = run.cloud.ec2.create_route().route_table_id(&table).gateway_id(&gateway);
        let answer = request.destination_cidr_block(EVERYWHERE).send().await;
        answer.map(drop).map_err(|error| failure("CreateRoute", &table, error))
    };
    match retry(SETTLE, &UNCERTAIN, create).await {
        // Our own, whose answer was lost.
        Err(error) if error.class == Class::Exists && default_gateway(run, &table).await?.as_ref() == Some(&gateway) => {}
        // A route to another gateway, or a black hole of one that is gone, makes way for ours.
        Err(error) if error.class == Class::Exists => {
            let answer = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
                let request = run.cloud.ec2.delete_route().route_table_id(&table).destination_cidr_block(EVERYWHERE);
                request.send().await.map(drop).map_err(|error| failure("DeleteRoute", &table, error))
            });
            match answer.await {
                Err(error) if error.class == Class::NotFound => {}
                answer => answer?,
            }
            retry(SETTLE, &UNCERTAIN, create).await?;
        }
        answer => answer?,
    }
    Ok(format!("routed {EVERYWHERE} to {gateway}"))
}

/// Where a route table sends what goes to 0.0.0.0/0; a table that has such a route may not show it at once.
async fn default_gateway(run: &Run, table: &str) -> Result<Option<String>, CallError> {
    let find = || async {
        let answer = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
            let request = run.cloud.ec2.describe_route_tables().filters(filter("route-table-id", table));
            request.send().await.map_err(|error| failure("DescribeRouteTables", table, error))
        });
        let answer = answer.await?;
        let mut routes = answer.route_tables().iter().flat_map(|table| table.routes());
        let default = routes.find(|route| route.destination_cidr_block() == Some("0.0.0.0/0"));
        Ok(default.map(|route| route.gateway_id().unwrap_or_default().to_owned()))
    };
    look_up(find).await
}

pub async fn security_group(run: &Run, name: &str) -> Result<String, StepError> {
    let (address, vpc) = (&Address::SecurityGroup, run.id(&Address::Vpc)?);
    let description = format!("Nodes of ewulf cluster {}", run.plan.cluster);
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::SecurityGroup, Tags::new());
            let request = run.cloud.ec2.create_security_group().group_name(name).description(&description).vpc_id(&vpc);
            let answer = request.tag_specifications(tags).send().await;
            Ok(answer.map_err(|error| failure("CreateSecurityGroup", name, error))?.group_id)
        },
        find_by_tags!(run, address, "DescribeSecurityGroups", describe_security_groups, security_groups, group_id),
    )
    .await?;
    run.learn(Address::SecurityGroup, &id);
    Ok(format!("created security group {id}"))
}

/// EC2's form of our rules, for the group itself.
pub(super) fn permissions(group: &str, rules: &[IngressRule]) -> Vec<sdk::IpPermission> {
    let permission = |rule: &IngressRule| {
        let mut permission = sdk::IpPermission::builder().ip_protocol(&rule.protocol);
        if let Some((first, last)) = rule.ports {
            permission = permission.from_port(first).to_port(last);
        }
        match &rule.source {
            IngressSource::Itself => permission.user_id_group_pairs(sdk::UserIdGroupPair::builder().group_id(group).build()),
            IngressSource::Network(network) => permission.ip_ranges(sdk::IpRange::builder().cidr_ip(network).build()),
            IngressSource::Other(id) if id.starts_with("sg-") => {
                permission.user_id_group_pairs(sdk::UserIdGroupPair::builder().group_id(id).build())
            }
            IngressSource::Other(id) if id.starts_with("pl-") => {
                permission.prefix_list_ids(sdk::PrefixListId::builder().prefix_list_id(id).build())
            }
            IngressSource::Other(network) => permission.ipv6_ranges(sdk::Ipv6Range::builder().cidr_ipv6(network).build()),
        }
        .build()
    };
    rules.iter().map(permission).collect()
}

pub async fn allow_ingress(run: &Run, rules: &[IngressRule]) -> Result<String, StepError> {
    let group = run.id(&Address::SecurityGroup)?;
    let permissions = permissions(&group, rules);
    let answer = retry(SETTLE, &UNCERTAIN, || async {
        let request = run.cloud.ec2.authorize_security_group_ingress().group_id(&group);
        let answer = request.set_ip_permissions(Some(permissions.clone())).send().await;
        answer.map(drop).map_err(|error| failure("AuthorizeSecurityGroupIngress", &group, error))
    })
    .await;
    match answer {
        Err(error) if error.is("InvalidPermission.Duplicate") => {}
        answer => answer?,
    }
    Ok(format!("{} admits {}", group, rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
}

pub async fn placement_group(run: &Run, address: &Address, name: &str) -> Result<String, StepError> {
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::PlacementGroup, Tags::new());
            let request = run.cloud.ec2.create_placement_group().group_name(name).strategy(sdk::PlacementStrategy::Cluster);
            let answer = request.tag_specifications(tags).send().await;
            answer.map_err(|error| failure("CreatePlacementGroup", name, error))?;
            Ok(Some(name.to_owned()))
        },
        find_by_tags!(run, address, "DescribePlacementGroups", describe_placement_groups, placement_groups, group_name),
    )
    .await?;
    run.learn(address.clone(), &id);
    Ok(format!("created placement group {name}"))
}

pub async fn template(run: &Run, address: &Address, name: &str, data: &TemplateData) -> Result<String, StepError> {
    let root = sdk::LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_size(i32::try_from(data.root_gibibytes).unwrap_or(i32::MAX))
        .volume_type(sdk::VolumeType::Gp3)
        .delete_on_termination(true)
        .build();
    let mapping = sdk::LaunchTemplateBlockDeviceMappingRequest::builder().device_name(&data.root_device).ebs(root).build();
    let metadata = sdk::LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_tokens(sdk::LaunchTemplateHttpTokensState::Required)
        .http_endpoint(sdk::LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_put_response_hop_limit(1)
        .build();
    // A worker that powers itself off should not leave a paid volume behind (ec2.md 5.6); the master only stops.
    let is_master = *address == Address::Template(ewulf_core::address::Role::Master);
    let shutdown = if is_master { sdk::ShutdownBehavior::Stop } else { sdk::ShutdownBehavior::Terminate };
    let mut request = sdk::RequestLaunchTemplateData::builder()
        .image_id(&data.image_id)
        .instance_type(sdk::InstanceType::from(data.instance_type.as_str()))
        .user_data(STANDARD.encode(&data.user_data))
        .block_device_mappings(mapping)
        .metadata_options(metadata)
        .instance_initiated_shutdown_behavior(shutdown);
    if let Some(profile) = &data.instance_profile {
        request = request
            .iam_instance_profile(sdk::LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(profile).build());
    }
    if let Some(group) = &data.placement_group {
        request = request.placement(sdk::LaunchTemplatePlacementRequest::builder().group_name(group).build());
    }
    if data.market == Market::Spot {
        let spot = sdk::LaunchTemplateInstanceMarketOptionsRequest::builder().market_type(sdk::MarketType::Spot).build();
        request = request.instance_market_options(spot);
    }
    let data_of_request = request.build();
    let fingerprint: Tags = [(FINGERPRINT_TAG.to_owned(), fingerprint::of(data))].into();
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::LaunchTemplate, fingerprint.clone());
            // No token of ours: the name is the guard, and a token would still stand for a template deleted since.
            let request = run.cloud.ec2.create_launch_template().launch_template_name(name);
            let answer = request.launch_template_data(data_of_request.clone()).tag_specifications(tags).send().await;
            let answer = answer.map_err(|error| failure("CreateLaunchTemplate", name, error))?;
            Ok(answer.launch_template.and_then(|template| template.launch_template_id))
        },
        || async {
            let by_name = filter("launch-template-name", name);
            let answer = run.cloud.ec2.describe_launch_templates().filters(by_name).send().await;
            let answer = answer.map_err(|error| failure("DescribeLaunchTemplates", name, error))?;
            Ok(answer.launch_templates().iter().filter_map(|template| template.launch_template_id.clone()).min())
        },
    )
    .await?;
    run.learn(address.clone(), &id);
    Ok(format!("created launch template {id}"))
}

pub async fn volume(run: &Run, gibibytes: u32, zone: &str, keep: bool) -> Result<String, StepError> {
    let address = &Address::Volume;
    let size = i32::try_from(gibibytes).unwrap_or(i32::MAX);
    let tags_of_volume: Tags =
        [(KEEP_TAG.to_owned(), keep.to_string()), (FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string())].into();
    let token = token(run, &["volume", &run.nonce]);
    let id = create_or_adopt(
        || async {
            let tags = tag_specification(run, address, sdk::ResourceType::Volume, tags_of_volume.clone());
            let request = run.cloud.ec2.create_volume().size(size).availability_zone(zone).volume_type(sdk::VolumeType::Gp3);
            let answer = request.client_token(&token).tag_specifications(tags).send().await;
            Ok(answer.map_err(|error| failure("CreateVolume", "volume", error))?.volume_id)
        },
        find_by_tags!(run, address, "DescribeVolumes", describe_volumes, volumes, volume_id),
    )
    .await?;
    run.learn(Address::Volume, &id);
    Ok(format!("created volume of {gibibytes} GiB, {id}"))
}

pub async fn grow_volume(run: &Run, gibibytes: u32) -> Result<String, StepError> {
    let volume = run.id(&Address::Volume)?;
    modify_volume(run, &volume, gibibytes).await?;
    Ok(format!("grew {volume} to {gibibytes} GiB"))
}

pub(super) async fn modify_volume(run: &Run, volume: &str, gibibytes: u32) -> Result<(), CallError> {
    let size = i32::try_from(gibibytes).unwrap_or(i32::MAX);
    retry(SETTLE, &UNSETTLED, || async {
        let answer = run.cloud.ec2.modify_volume().volume_id(volume).size(size).send().await;
        match answer.map(drop).map_err(|error| failure("ModifyVolume", volume, error)) {
            // A modification is under way: ours, if an answer was lost.
            Err(error) if error.class == Class::Conflict && size_of(run, volume).await? >= size => Ok(()),
            answer => answer,
        }
    })
    .await
}

/// Grows the file system on the master, once the machine sees the volume's new size, and notes it on the volume.
pub async fn grow_file_system(run: &Run, gibibytes: u32, shared_path: &str) -> Result<String, StepError> {
    let (volume, master) = (run.id(&Address::Volume)?, run.id(&Address::Master)?);
    // A path that is no device's was put there by whoever made the machine.
    let body = format!(
        "device=$(findmnt -nro SOURCE --mountpoint {path} | tail -n 1) || true\n\
         [ -b \"$device\" ] || exit 0\n\
         waited=0\n\
         until [ \"$(blockdev --getsize64 \"$device\")\" -ge {bytes} ]; do\n\
           if [ $waited -ge {patience} ]; then echo \"$device is still smaller than {bytes} bytes\"; exit 1; fi\n\
           sleep 1; waited=$((waited + 1))\n\
         done\n\
         resize2fs \"$device\"\n",
        path = shell_quote(shared_path),
        bytes = u64::from(gibibytes) << 30,
        patience = GROWN.as_secs(),
    );
    let script = Script::new("grow the shared file system", body).timeout(GROWN + Duration::from_secs(120));
    run.cloud.expect_success(&[master], &script).await?;
    set_tags(run, &[volume], &[(FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string())].into()).await?;
    Ok(format!("grew the shared file system to {gibibytes} GiB"))
}

async fn size_of(run: &Run, volume: &str) -> Result<i32, CallError> {
    let answer = run.cloud.ec2.describe_volumes().filters(filter("volume-id", volume)).send().await;
    let answer = answer.map_err(|error| failure("DescribeVolumes", volume, error))?;
    Ok(answer.volumes().iter().filter_map(|volume| volume.size()).max().unwrap_or(0))
}

pub async fn attach_volume(run: &Run, device: &str) -> Result<String, StepError> {
    let (volume, master) = (run.id(&Address::Volume)?, run.id(&Address::Master)?);
    // A new volume is `creating` for seconds, and one of a master just terminated detaches within a minute.
    let answer = retry(SETTLE, &UNSETTLED, || async {
        let request = run.cloud.ec2.attach_volume().volume_id(&volume).instance_id(&master).device(device);
        match request.send().await.map_err(|error| failure("AttachVolume", &volume, error)) {
            Err(error) if error.is("VolumeInUse") && is_attached_to(run, &volume, &master).await? => Ok(()),
            answer => answer.map(drop),
        }
    });
    answer.await?;
    Ok(format!("attached {volume} to {master} as {device}"))
}

async fn is_attached_to(run: &Run, volume: &str, instance: &str) -> Result<bool, CallError> {
    let answer = run.cloud.ec2.describe_volumes().filters(filter("volume-id", volume)).send().await;
    let answer = answer.map_err(|error| failure("DescribeVolumes", volume, error))?;
    let mut attachments = answer.volumes().iter().flat_map(|volume| volume.attachments());
    Ok(attachments.any(|attachment| attachment.instance_id() == Some(instance)))
}

pub async fn set_tags(run: &Run, ids: &[String], tags: &Tags) -> Result<String, StepError> {
    let list: Vec<sdk::Tag> = tags.iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect();
    retry(SETTLE, &UNSETTLED, || async {
        let request = run.cloud.ec2.create_tags().set_resources(Some(ids.to_vec())).set_tags(Some(list.clone()));
        request.send().await.map_err(|error| failure("CreateTags", shortened(ids), error))
    })
    .await?;
    Ok(format!("tagged {}", shortened(ids)))
}

//! From the SDK's shapes to the world's; what has no id or no address of ours is not ours and is left out.

use aws_sdk_ec2::types as sdk;
use ewulf_core::address::{ADDRESS_TAG, Address, FINGERPRINT_TAG, INDEXES_TAG, Indexes, Role};
use ewulf_core::spec::Market;
use ewulf_core::world::{
    Companion, Gateway, GoneNode, IngressRule, IngressSource, MetadataOptions, Node, NodeState, PlacementGroup, Root, Routes,
    SecurityGroup, Subnet, Tags, Template, Volume, Vpc,
};

pub fn tags(list: &[sdk::Tag]) -> Tags {
    list.iter().filter_map(|tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default()))).collect()
}

pub fn vpc(vpc: &sdk::Vpc) -> Option<Vpc> {
    Some(Vpc { id: vpc.vpc_id.clone()?, cidr: vpc.cidr_block()?.parse().ok()?, tags: tags(vpc.tags()) })
}

pub fn subnet(subnet: &sdk::Subnet) -> Option<Subnet> {
    Some(Subnet {
        id: subnet.subnet_id.clone()?,
        vpc: subnet.vpc_id.clone().unwrap_or_default(),
        cidr: subnet.cidr_block()?.parse().ok()?,
        zone: subnet.availability_zone.clone().unwrap_or_default(),
        tags: tags(subnet.tags()),
    })
}

pub fn gateway(gateway: &sdk::InternetGateway) -> Option<Gateway> {
    Some(Gateway {
        id: gateway.internet_gateway_id.clone()?,
        attached_to: gateway.attachments().first().and_then(|attachment| attachment.vpc_id.clone()),
        tags: tags(gateway.tags()),
    })
}

pub fn routes(table: &sdk::RouteTable) -> Option<Routes> {
    let (mut associated_subnets, mut associations) = (Vec::new(), Vec::new());
    for association in table.associations() {
        if let (Some(subnet), Some(id)) = (&association.subnet_id, &association.route_table_association_id) {
            associated_subnets.push(subnet.clone());
            associations.push(id.clone());
        }
    }
    let default = table.routes().iter().find(|route| route.destination_cidr_block() == Some("0.0.0.0/0"));
    Some(Routes {
        id: table.route_table_id.clone()?,
        vpc: table.vpc_id.clone().unwrap_or_default(),
        associated_subnets,
        associations,
        default_gateway: default.and_then(|route| route.gateway_id.clone()),
        tags: tags(table.tags()),
    })
}

pub fn security_group(group: &sdk::SecurityGroup) -> Option<SecurityGroup> {
    let id = group.group_id.clone()?;
    let ingress = group.ip_permissions().iter().flat_map(|permission| rules(permission, &id)).collect();
    Some(SecurityGroup { id, vpc: group.vpc_id.clone().unwrap_or_default(), ingress, tags: tags(group.tags()) })
}

/// One rule for each source of a permission.
fn rules(permission: &sdk::IpPermission, group: &str) -> Vec<IngressRule> {
    let protocol = permission.ip_protocol.clone().unwrap_or_default();
    let ports = match (permission.from_port, permission.to_port) {
        (Some(first), Some(last)) if protocol != "-1" => Some((first, last)),
        _ => None,
    };
    let members = permission
        .user_id_group_pairs()
        .iter()
        .filter_map(|pair| pair.group_id.clone())
        .map(|id| if id == group { IngressSource::Itself } else { IngressSource::Other(id) });
    let networks = permission.ip_ranges().iter().filter_map(|range| range.cidr_ip.clone()).map(IngressSource::Network);
    let wide = permission.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6.clone()).map(IngressSource::Other);
    let lists = permission.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id.clone()).map(IngressSource::Other);
    let sources = members.chain(networks).chain(wide).chain(lists);
    sources.map(|source| IngressRule { protocol: protocol.clone(), ports, source }).collect()
}

fn address(tags: &Tags) -> Option<Address> {
    tags.get(ADDRESS_TAG)?.parse().ok()
}

pub fn placement_group(group: &sdk::PlacementGroup) -> Option<PlacementGroup> {
    if group.state == Some(sdk::PlacementGroupState::Deleting) || group.state == Some(sdk::PlacementGroupState::Deleted) {
        return None;
    }
    let tags = tags(group.tags());
    Some(PlacementGroup { id: group.group_id.clone()?, name: group.group_name.clone()?, address: address(&tags)?, tags })
}

pub fn template(template: &sdk::LaunchTemplate) -> Option<Template> {
    let tags = tags(template.tags());
    Some(Template {
        id: template.launch_template_id.clone()?,
        name: template.launch_template_name.clone()?,
        address: address(&tags)?,
        fingerprint: tags.get(FINGERPRINT_TAG).cloned().unwrap_or_default(),
        tags,
    })
}

/// The shared volume; root volumes carry the cluster's tag as well, but another address.
pub fn volume(volume: &sdk::Volume) -> Option<Volume> {
    let tags = tags(volume.tags());
    let leaving = matches!(volume.state, Some(sdk::VolumeState::Deleting | sdk::VolumeState::Deleted | sdk::VolumeState::Error));
    if address(&tags)? != Address::Volume || leaving {
        return None;
    }
    Some(Volume {
        id: volume.volume_id.clone()?,
        gibibytes: volume.size.and_then(|size| u32::try_from(size).ok())?,
        zone: volume.availability_zone.clone().unwrap_or_default(),
        attached_to: volume.attachments().first().and_then(|attachment| attachment.instance_id.clone()),
        tags,
    })
}

/// The root volume of a node, with the instance that it is attached to.
pub fn root(volume: &sdk::Volume) -> Option<(String, Root)> {
    let tags = tags(volume.tags());
    if !tags.get(ADDRESS_TAG)?.starts_with("node/") {
        return None;
    }
    let instance = volume.attachments().first()?.instance_id.clone()?;
    let gibibytes = volume.size.and_then(|size| u32::try_from(size).ok())?;
    Some((instance, Root { id: volume.volume_id.clone()?, gibibytes, tags }))
}

/// An instance of ours, alive or on its way out.
pub enum Seen {
    Alive(Box<Node>),
    Gone(GoneNode),
}

pub fn instance(instance: &sdk::Instance) -> Option<Seen> {
    let tags = tags(instance.tags());
    let (role, index) = role(&tags, instance.ami_launch_index.unwrap_or(0))?;
    let id = instance.instance_id.clone()?;
    let launched = instance.launch_time.map(|time| time.to_string()).unwrap_or_default();
    use sdk::InstanceStateName as S;
    let state = match instance.state.as_ref()?.name.as_ref()? {
        S::Pending => NodeState::Pending,
        S::Running => NodeState::Running,
        S::Stopping => NodeState::Stopping,
        S::Stopped => NodeState::Stopped,
        _ => {
            let reason = instance.state_reason.as_ref();
            let message = reason.and_then(|reason| reason.message.clone().or(reason.code.clone()));
            let reason = message.unwrap_or_else(|| "no reason given".into());
            return Some(Seen::Gone(GoneNode { id, role, index, launched, reason }));
        }
    };
    let spot = instance.instance_lifecycle == Some(sdk::InstanceLifecycleType::Spot);
    let placement = instance.placement();
    Some(Seen::Alive(Box::new(Node {
        id,
        role,
        index,
        state,
        instance_type: instance.instance_type.as_ref().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        image_id: instance.image_id.clone().unwrap_or_default(),
        private_address: instance.private_ip_address().and_then(|address| address.parse().ok()),
        public_address: instance.public_ip_address().and_then(|address| address.parse().ok()),
        market: if spot { Market::Spot } else { Market::OnDemand },
        security_groups: security_groups(instance),
        instance_profile: instance.iam_instance_profile().and_then(|profile| profile.arn()).map(profile_name),
        placement_group: placement.and_then(|placement| placement.group_name.clone()).filter(|name| !name.is_empty()),
        metadata_options: instance.metadata_options().and_then(metadata_options),
        root: None,
        interface: interface(instance),
        spot_request: instance.spot_instance_request_id.clone().map(|id| Companion { id, tags: None }),
        launched,
        tags,
    })))
}

/// The name in an ARN such as `arn:aws:iam::123456789012:instance-profile/team/nodes`.
fn profile_name(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}

/// None for a cloud that does not tell all of it.
pub fn metadata_options(options: &sdk::InstanceMetadataOptionsResponse) -> Option<MetadataOptions> {
    Some(MetadataOptions {
        needs_token: *options.http_tokens()? == sdk::HttpTokensState::Required,
        is_enabled: *options.http_endpoint()? == sdk::InstanceMetadataEndpointState::Enabled,
        hops: options.http_put_response_hop_limit()?,
    })
}

/// The interface that a node was launched with.
fn first_interface(instance: &sdk::Instance) -> Option<&sdk::InstanceNetworkInterface> {
    let is_first = |one: &&sdk::InstanceNetworkInterface| one.attachment().and_then(|it| it.device_index()) == Some(0);
    instance.network_interfaces().iter().find(is_first)
}

fn interface(instance: &sdk::Instance) -> Option<Companion> {
    let id = first_interface(instance)?.network_interface_id.clone()?;
    Some(Companion { id, tags: None })
}

/// The groups of the first interface; an instance without one tells its own.
fn security_groups(instance: &sdk::Instance) -> Vec<String> {
    let groups = first_interface(instance).map_or(instance.security_groups(), |interface| interface.groups());
    groups.iter().filter_map(|group| group.group_id.clone()).collect()
}

/// Role and index from the tags of a launch: its instances share them, and the launch index tells them apart.
fn role(tags: &Tags, launch_index: i32) -> Option<(Role, u32)> {
    let address = tags.get(ADDRESS_TAG)?;
    if address == "node/master" {
        return Some((Role::Master, 0));
    }
    let group = address.strip_prefix("node/")?.parse().ok()?;
    let indexes: Indexes = tags.get(INDEXES_TAG)?.parse().ok()?;
    let index = indexes.at(usize::try_from(launch_index).ok()?)?;
    Some((Role::Worker(group), index))
}

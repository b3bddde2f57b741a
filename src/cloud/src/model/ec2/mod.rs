//! EC2 as plain data: every resource, the ids that name them, and the rules that need no machine.
//!
//! Operations change it under the cloud's lock; nothing here waits, reads a clock or touches the machine.

mod acl;
mod address;
mod cidr;
mod endpoint;
mod fate;
mod fleet;
mod image;
mod instance;
pub mod instance_types;
mod interface;
mod key_pair;
mod network;
mod prefix_list;
mod root_replacement;
mod seed;
mod spot;
mod storage;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use acl::{AclEntry, AclPeer, NetworkAcl};
pub use address::{Address, AddressAssociation, PublicAddress};
pub use cidr::{
    Network6, contains, is_reserved, last_address, network_text, network6_text, parse_network, parse_network6, usable_addresses,
};
pub use endpoint::{NatGateway, VpcEndpoint};
pub use fate::{Fate, Interruption, Onset};
pub use fleet::{Capacity, Fleet, FleetError, FleetLaunch, Pool};
pub use image::{Image, ImageDevice, ImageState, ImageTraits, PUBLIC_IMAGES, Protection, PublicImage};
pub use instance::{
    CpuOptions, DeviceState, Instance, InstanceDevice, InstanceProfile, InstanceState, MetadataOptions, ShutdownBehavior,
    StateReason,
};
pub use interface::{AttachmentView, FirstInterface, Interface, InterfaceAttachment, InterfaceMut, InterfaceView, mac_of};
pub use key_pair::{KeyKind, KeyPair, PublicKey, created_rsa_fingerprint};
pub use network::{
    Destination, InternetGateway, Protocol, Route, RouteTable, RuleTarget, SecurityGroup, SecurityGroupRule, Subnet, Vpc,
};
pub use prefix_list::{PREFIX_LISTS, PrefixList, prefix_list_id};
pub use root_replacement::{ReplacementState, RootReplacement};
pub use spot::{SpotRequest, SpotStanding};
pub use storage::{
    MODIFICATIONS_A_DAY, Modification, ModificationState, NO_VOLUME, Snapshot, SnapshotSource, SnapshotState, Upload, Volume,
    VolumeShape, VolumeState,
};
pub use template::{LaunchTemplate, LaunchTemplateVersion, PlacementGroup};

/// Tags of one resource.
pub type Tags = BTreeMap<String, String>;

/// Letters of the zones of the one region.
pub const ZONES: [char; 3] = ['a', 'b', 'c'];

/// Everything EC2 knows. Maps are by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ec2 {
    /// Whether the default VPC and the public images were made.
    pub seeded: bool,
    pub region: String,
    pub account: String,
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub internet_gateways: BTreeMap<String, InternetGateway>,
    pub route_tables: BTreeMap<String, RouteTable>,
    pub security_groups: BTreeMap<String, SecurityGroup>,
    pub network_acls: BTreeMap<String, NetworkAcl>,
    pub nat_gateways: BTreeMap<String, NatGateway>,
    pub vpc_endpoints: BTreeMap<String, VpcEndpoint>,
    /// Network interfaces that are no instance's first one.
    pub interfaces: BTreeMap<String, Interface>,
    /// Elastic addresses.
    pub addresses: BTreeMap<String, Address>,
    /// Place in the pool of the public address that was given last.
    pub last_public: u32,
    pub key_pairs: BTreeMap<String, KeyPair>,
    pub placement_groups: BTreeMap<String, PlacementGroup>,
    pub launch_templates: BTreeMap<String, LaunchTemplate>,
    /// Requests of spot instances; forgotten with their instance.
    pub spot_requests: BTreeMap<String, SpotRequest>,
    pub fleets: BTreeMap<String, Fleet>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub volumes: BTreeMap<String, Volume>,
    pub snapshots: BTreeMap<String, Snapshot>,
    pub images: BTreeMap<String, Image>,
    /// The last modification of each volume, by volume id.
    pub modifications: BTreeMap<String, Modification>,
    /// Calls with a client token that were carried out, by action, scope and token.
    pub tokens: BTreeMap<String, Token>,
    /// Layers that the driver holds; each is deleted once nothing stands on it.
    pub layers: BTreeSet<String>,
    /// Tasks that replace the roots of instances.
    pub root_replacements: BTreeMap<String, RootReplacement>,
    /// Whether new volumes and snapshots are encrypted unasked.
    pub ebs_encryption_by_default: bool,
    /// Shares that were given to nodes: driver key by group.
    pub shares: BTreeMap<String, BTreeSet<String>>,
}

/// What a client token stood for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The call's parameters, canonical.
    pub parameters: String,
    /// Id of what it made.
    pub result: String,
    pub at: Timestamp,
}

impl Ec2 {
    /// The instance of this id; terminated ones are there for a while.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// The instance that holds this address in the VPC; a terminated one holds none.
    pub fn instance_at(&self, vpc_id: &str, address: Ipv4Addr) -> Option<&Instance> {
        self.instances
            .values()
            .find(|instance| instance.private_address == address && instance.vpc_id == vpc_id && instance.is_alive())
    }

    /// The names of an instance's security groups, in the order of its list.
    pub fn group_names<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = &'a str> {
        instance.security_groups.iter().filter_map(|id| Some(self.security_groups.get(id)?.name.as_str()))
    }

    /// Every instance that is not terminated.
    pub fn living(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|instance| instance.is_alive())
    }

    /// The tags of the resource of this id, whatever its kind.
    pub fn tags_mut(&mut self, id: &str) -> Option<&mut Tags> {
        let tags = match id_prefix(id)? {
            "vpc" => &mut self.vpcs.get_mut(id)?.tags,
            "subnet" => &mut self.subnets.get_mut(id)?.tags,
            "igw" => &mut self.internet_gateways.get_mut(id)?.tags,
            "rtb" => &mut self.route_tables.get_mut(id)?.tags,
            "sg" => &mut self.security_groups.get_mut(id)?.tags,
            "sgr" => {
                let mut groups = self.security_groups.values_mut();
                &mut groups.find_map(|group| group.rules.iter_mut().find(|rule| rule.id == id))?.tags
            }
            "pg" => &mut self.placement_groups.get_mut(id)?.tags,
            "lt" => &mut self.launch_templates.get_mut(id)?.tags,
            "sir" => &mut self.spot_requests.get_mut(id)?.tags,
            "fleet" => &mut self.fleets.get_mut(id)?.tags,
            "i" => &mut self.instances.get_mut(id)?.tags,
            "acl" => &mut self.network_acls.get_mut(id)?.tags,
            "nat" => &mut self.nat_gateways.get_mut(id)?.tags,
            "vpce" => &mut self.vpc_endpoints.get_mut(id)?.tags,
            "eipalloc" => &mut self.addresses.get_mut(id)?.tags,
            "key" => &mut self.key_pairs.get_mut(id)?.tags,
            "eni" if self.interfaces.contains_key(id) => &mut self.interfaces.get_mut(id)?.tags,
            "eni" => {
                let mut instances = self.instances.values_mut();
                &mut instances.find(|instance| instance.interface_id == id && instance.is_alive())?.interface_tags
            }
            "vol" => &mut self.volumes.get_mut(id)?.tags,
            "snap" => &mut self.snapshots.get_mut(id)?.tags,
            "ami" => &mut self.images.get_mut(id)?.tags,
            "replacevol" => &mut self.root_replacements.get_mut(id)?.tags,
            _ => return None,
        };
        Some(tags)
    }

    /// Id, kind and tags of every resource that can have tags.
    pub fn tagged(&self) -> impl Iterator<Item = (&str, &'static str, &Tags)> {
        fn each<'a, T>(
            map: &'a BTreeMap<String, T>,
            kind: &'static str,
            tags: fn(&'a T) -> &'a Tags,
        ) -> impl Iterator<Item = (&'a str, &'static str, &'a Tags)> {
            map.iter().map(move |(id, value)| (id.as_str(), kind, tags(value)))
        }
        let rules = self.security_groups.values().flat_map(|group| &group.rules);
        let interfaces = self.living().map(|one| (one.interface_id.as_str(), "network-interface", &one.interface_tags));
        each(&self.vpcs, "vpc", |one| &one.tags)
            .chain(each(&self.subnets, "subnet", |one| &one.tags))
            .chain(each(&self.internet_gateways, "internet-gateway", |one| &one.tags))
            .chain(each(&self.route_tables, "route-table", |one| &one.tags))
            .chain(each(&self.security_groups, "security-group", |one| &one.tags))
            .chain(rules.map(|rule| (rule.id.as_str(), "security-group-rule", &rule.tags)))
            .chain(each(&self.network_acls, "network-acl", |one| &one.tags))
            .chain(each(&self.nat_gateways, "natgateway", |one| &one.tags))
            .chain(each(&self.vpc_endpoints, "vpc-endpoint", |one| &one.tags))
            .chain(each(&self.interfaces, "network-interface", |one| &one.tags))
            .chain(each(&self.addresses, "elastic-ip", |one| &one.tags))
            .chain(each(&self.key_pairs, "key-pair", |one| &one.tags))
            .chain(each(&self.placement_groups, "placement-group", |one| &one.tags))
            .chain(each(&self.launch_templates, "launch-template", |one| &one.tags))
            .chain(each(&self.spot_requests, "spot-instances-request", |one| &one.tags))
            .chain(each(&self.fleets, "fleet", |one| &one.tags))
            .chain(each(&self.instances, "instance", |one| &one.tags))
            .chain(interfaces)
            .chain(each(&self.volumes, "volume", |one| &one.tags))
            .chain(each(&self.snapshots, "snapshot", |one| &one.tags))
            .chain(each(&self.images, "image", |one| &one.tags))
            .chain(each(&self.root_replacements, "replace-root-volume-task", |one| &one.tags))
    }

    /// The zone names of the region.
    pub fn zones(&self) -> impl Iterator<Item = String> + '_ {
        ZONES.iter().map(|letter| format!("{}{letter}", self.region))
    }

    /// Layers that nothing stands on any more: no snapshot, no root of a living instance.
    pub fn unused_layers(&self) -> Vec<String> {
        let mut used: BTreeSet<&str> = BTreeSet::new();
        used.extend(self.snapshots.values().flat_map(|snapshot| snapshot.layers()).map(String::as_str));
        used.extend(self.living().flat_map(|instance| &instance.layers).map(String::as_str));
        let replacements = self.root_replacements.values().filter(|task| task.state.is_open());
        used.extend(replacements.flat_map(|task| &task.layers).map(String::as_str));
        self.layers.iter().filter(|layer| !used.contains(layer.as_str())).cloned().collect()
    }
}

/// What an id is of, by its prefix: `eni-attach` of `eni-attach-…`, `fleet` of `fleet-` and a UUID.
pub fn id_prefix(id: &str) -> Option<&str> {
    if id.starts_with("fleet-") { Some("fleet") } else { id.rsplit_once('-').map(|(prefix, _)| prefix) }
}

/// Makes a resource id such as `vpc-` and 17 hexadecimal digits.
pub fn new_id(prefix: &str) -> String {
    let bits: u128 = rand::random();
    format!("{prefix}-0{:016x}", bits >> 64)
}

//! The world: what exists in EC2 for one cluster, as plain data, read by tags.

mod adoption;
mod companions;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::{Address, ROOT_IMAGE_TAG, Role};
use crate::capacity::Findings;
use crate::names::{ClusterName, ImageName};
use crate::pacing::Limits;
use crate::quantity::Ipv4Network;
use crate::spec::Market;

pub use adoption::{Listed, Stray};
pub use companions::{Companion, Companions, MetadataOptions, Root};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Everything of one cluster, and what a plan must know beyond it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    pub cluster: ClusterName,
    pub vpc: Option<Vpc>,
    pub subnet: Option<Subnet>,
    pub gateway: Option<Gateway>,
    pub routes: Option<Routes>,
    pub security_group: Option<SecurityGroup>,
    pub placement_groups: Vec<PlacementGroup>,
    pub templates: Vec<Template>,
    pub volume: Option<Volume>,
    /// Every instance with the cluster's tag that is not on its way out, by address and age.
    pub nodes: Vec<Node>,
    /// Instances on their way out or gone but still listed: only for explaining, never adopted.
    pub gone: Vec<GoneNode>,
    /// What the cluster has a second time, in the order in which it can be deleted.
    pub strays: Vec<Stray>,
    /// What stands for the recipes that the spec names.
    pub images: BTreeMap<ImageName, Image>,
    /// The AMIs that the spec names by id.
    pub amis: BTreeMap<String, Option<Ami>>,
    /// Zones of the region that accept launches, by name.
    pub zones: Vec<String>,
    /// The network that the spec names, when it names one.
    pub existing_network: Option<ExistingNetwork>,
    /// What the apply under way has found out about capacity; nothing for a plan that begins.
    pub findings: Findings,
    /// How fast the account may launch, start and end instances.
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub id: String,
    pub cidr: Ipv4Network,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    /// Id of the VPC it lies in.
    pub vpc: String,
    pub cidr: Ipv4Network,
    pub zone: String,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub id: String,
    pub attached_to: Option<String>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    pub id: String,
    /// Id of the VPC it serves.
    pub vpc: String,
    pub associated_subnets: Vec<String>,
    /// Association ids, needed to undo them.
    pub associations: Vec<String>,
    /// Gateway of the route to 0.0.0.0/0.
    pub default_gateway: Option<String>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: String,
    /// Id of the VPC it guards.
    pub vpc: String,
    pub ingress: Vec<IngressRule>,
    pub tags: Tags,
}

/// One admission: everything from the group itself, or one port from a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IngressRule {
    /// `-1` for all, or `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// First and last port; None for all.
    pub ports: Option<(i32, i32)>,
    pub source: IngressSource,
}

/// Where admitted traffic comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IngressSource {
    /// The members of the group itself.
    Itself,
    /// A network, as EC2 writes it.
    Network(String),
    /// Another security group or prefix list, by id: never ours.
    Other(String),
}

impl IngressRule {
    /// Everything between members: MPI uses any port (ec2.md 10.5).
    pub fn between_members() -> Self {
        Self { protocol: "-1".to_owned(), ports: None, source: IngressSource::Itself }
    }

    /// Ssh from a network.
    pub fn ssh_from(network: Ipv4Network) -> Self {
        Self { protocol: "tcp".to_owned(), ports: Some((22, 22)), source: IngressSource::Network(network.to_string()) }
    }
}

impl std::fmt::Display for IngressRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match (self.protocol.as_str(), self.ports) {
            ("-1", _) => "all traffic".to_owned(),
            (protocol, Some((first, last))) if first == last => format!("{protocol} {first}"),
            (protocol, Some((first, last))) => format!("{protocol} {first}-{last}"),
            (protocol, None) => protocol.to_owned(),
        };
        match &self.source {
            IngressSource::Itself => write!(formatter, "{what} between members"),
            IngressSource::Network(network) => write!(formatter, "{what} from {network}"),
            IngressSource::Other(id) => write!(formatter, "{what} from {id}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementGroup {
    pub id: String,
    pub name: String,
    pub address: Address,
    pub tags: Tags,
}

/// A launch template; templates are immutable, so a changed one is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub id: String,
    pub name: String,
    pub address: Address,
    pub fingerprint: String,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub id: String,
    pub gibibytes: u32,
    pub zone: String,
    /// Instance it is attached to.
    pub attached_to: Option<String>,
    pub tags: Tags,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    Pending,
    Running,
    Stopping,
    Stopped,
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// One instance of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    pub role: Role,
    /// Index inside the group; 0 for the master.
    pub index: u32,
    pub state: NodeState,
    pub instance_type: String,
    pub image_id: String,
    pub private_address: Option<Ipv4Addr>,
    pub public_address: Option<Ipv4Addr>,
    pub market: Market,
    /// Security groups of its first interface.
    pub security_groups: Vec<String>,
    /// Name of its instance profile.
    pub instance_profile: Option<String>,
    /// Name of the placement group that it is in.
    pub placement_group: Option<String>,
    /// None where the cloud does not tell.
    pub metadata_options: Option<MetadataOptions>,
    /// None where nobody looked, or where it carries no tag of the cluster.
    pub root: Option<Root>,
    /// Its first network interface.
    pub interface: Option<Companion>,
    /// What it was bought by, if it is of the spot market.
    pub spot_request: Option<Companion>,
    /// Launch time as EC2 writes it, RFC 3339.
    pub launched: String,
    pub tags: Tags,
}

impl Node {
    /// Its name inside the cluster.
    pub fn address(&self) -> Address {
        match &self.role {
            Role::Master => Address::Master,
            Role::Worker(group) => Address::Worker(group.clone(), self.index),
        }
    }

    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    /// The AMI that its root volume was made of: that of its launch, unless it got another root since.
    pub fn image(&self) -> &str {
        self.tag(ROOT_IMAGE_TAG).unwrap_or(&self.image_id)
    }

    /// Whether it comes to run by itself: it is not stopped, nor about to be.
    pub fn is_up(&self) -> bool {
        matches!(self.state, NodeState::Pending | NodeState::Running)
    }
}

/// An instance that ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneNode {
    pub id: String,
    pub role: Role,
    pub index: u32,
    /// When it was launched, in RFC 3339, to tell it from others that ended.
    pub launched: String,
    /// Code and message of EC2's StateReason.
    pub reason: String,
}

/// What a recipe stands for at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Image {
    /// The AMI baked from the recipe as it is.
    Fresh(Ami),
    /// The newest AMI of that name, baked from an earlier recipe.
    Stale(Ami),
    /// No AMI of that name.
    Missing,
}

impl Image {
    pub fn ami(&self) -> Option<&Ami> {
        match self {
            Self::Fresh(ami) | Self::Stale(ami) => Some(ami),
            Self::Missing => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ami {
    pub id: String,
    /// Device name of the root volume: a mapping under any other name would add a second volume.
    pub root_device: String,
    pub root_gibibytes: u32,
}

/// A VPC and subnet that ewulf did not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingNetwork {
    pub vpc: String,
    pub subnet: String,
    pub subnet_cidr: Ipv4Network,
    pub zone: String,
    pub free_addresses: u32,
    /// Addresses of the subnet that something uses.
    pub taken_addresses: Vec<Ipv4Addr>,
    /// Network that MPI traffic stays in.
    pub vpc_cidr: Ipv4Network,
    pub way_out: WayOut,
}

/// How nodes of a subnet reach SSM, without which they cannot be joined (ec2.md 7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayOut {
    /// By a route, or by endpoints in the VPC.
    #[default]
    Open,
    /// There is neither a default route nor an endpoint of SSM.
    None,
    /// The default route leads to an internet gateway, and the subnet gives its nodes no public addresses.
    NoAddress,
}

impl World {
    /// A world without anything in it.
    pub fn empty(cluster: ClusterName) -> Self {
        Self {
            cluster,
            vpc: None,
            subnet: None,
            gateway: None,
            routes: None,
            security_group: None,
            placement_groups: Vec::new(),
            templates: Vec::new(),
            volume: None,
            nodes: Vec::new(),
            gone: Vec::new(),
            strays: Vec::new(),
            images: BTreeMap::new(),
            amis: BTreeMap::new(),
            zones: Vec::new(),
            existing_network: None,
            findings: Findings::default(),
            limits: Limits::default(),
        }
    }

    /// Whether nothing of the cluster exists; a kept volume counts as something.
    pub fn is_empty(&self) -> bool {
        self.vpc.is_none()
            && self.subnet.is_none()
            && self.gateway.is_none()
            && self.routes.is_none()
            && self.security_group.is_none()
            && self.placement_groups.is_empty()
            && self.templates.is_empty()
            && self.volume.is_none()
            && self.nodes.is_empty()
            && self.strays.is_empty()
    }

    /// Whether a thing is here, by its id or unique name; instances count until EC2 forgets them.
    pub fn shows(&self, id: &str) -> bool {
        let is = |known: &String| known == id;
        self.vpc.iter().map(|it| &it.id).any(is)
            || self.subnet.iter().map(|it| &it.id).any(is)
            || self.gateway.iter().map(|it| &it.id).any(is)
            || self.routes.iter().map(|it| &it.id).any(is)
            || self.security_group.iter().map(|it| &it.id).any(is)
            || self.placement_groups.iter().any(|it| it.id == id || it.name == id)
            || self.templates.iter().map(|it| &it.id).any(is)
            || self.volume.iter().map(|it| &it.id).any(is)
            || self.nodes.iter().map(|it| &it.id).any(is)
            || self.gone.iter().map(|it| &it.id).any(is)
            || self.strays.iter().any(|it| it.id() == id)
    }

    /// The master, if there is one.
    pub fn master(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.role == Role::Master)
    }

    /// The cluster's network: what MPI traffic is kept to.
    pub fn network_cidr(&self) -> Option<Ipv4Network> {
        self.vpc.as_ref().map(|vpc| vpc.cidr).or(self.existing_network.as_ref().map(|network| network.vpc_cidr))
    }

    /// Puts lists into one order, so that equal worlds are equal values.
    pub fn normalise(&mut self) {
        self.nodes.sort_by(|a, b| (&a.role, a.index, &a.launched, &a.id).cmp(&(&b.role, b.index, &b.launched, &b.id)));
        self.gone.sort_by(|a, b| (&a.role, a.index, &a.launched, &a.id).cmp(&(&b.role, b.index, &b.launched, &b.id)));
        self.placement_groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.templates.sort_by(|a, b| (&a.address, &a.name).cmp(&(&b.address, &b.name)));
        self.zones.sort();
        if let Some(group) = &mut self.security_group {
            group.ingress.sort();
            group.ingress.dedup();
        }
    }
}

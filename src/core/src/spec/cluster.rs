//! The cluster spec: what `clusters/*.yaml` says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capacity::Rung;
use super::image::AmiReference;
use crate::instance_types::InstanceType;
use crate::names::{ClusterName, GroupName, ImageName, InstanceProfileName, NodePath, Region, SubnetId, VpcId, Zone};
use crate::quantity::{AddressRange, Ipv4Network, VolumeSize};

/// A cluster: one master and any number of worker groups in one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Name of the cluster, and its identity in EC2: renaming makes another cluster.
    pub cluster: ClusterName,
    /// Where it runs.
    #[serde(default)]
    pub cloud: Cloud,
    /// Region of AWS; `us-east-1` unless given.
    #[serde(default = "default_region")]
    pub region: Region,
    /// The network the nodes share.
    pub network: Network,
    /// The node that exports the shared path and starts jobs.
    pub master: Master,
    /// Groups of like workers; none for a cluster of the master alone.
    #[serde(default)]
    pub workers: Vec<WorkerGroup>,
    /// The path that every node sees.
    #[serde(default)]
    pub shared: Shared,
    /// Instance profile of every node that names none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<InstanceProfileName>,
    /// Tags put on everything the cluster is made of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What apply brings the nodes to.
    #[serde(default, skip_serializing_if = "Ready::is_joined")]
    pub ready: Ready,
}

/// What apply brings nodes to, and what `status` calls ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// Booted, the shared path mounted, ssh between the nodes verified, MPI answered by all: fit for jobs.
    #[default]
    Joined,
    /// Running in EC2's words and no more: for images without MPI, and for clouds whose nodes have no SSM agent.
    Running,
}

impl Ready {
    fn is_joined(&self) -> bool {
        *self == Self::Joined
    }
}

/// The cloud a cluster runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// Amazon EC2.
    #[default]
    Aws,
    /// Real nodes on this machine.
    Local,
}

/// Where the nodes get their addresses: a network that ewulf makes, or one that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Network {
    /// VPC, subnet, gateway and routes are made and removed with the cluster.
    Own(OwnNetwork),
    /// VPC and subnet exist and stay.
    Existing(ExistingNetwork),
}

/// A network made for the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnNetwork {
    /// Addresses of the VPC and of its one subnet, /16 to /28.
    pub cidr: Ipv4Network,
    /// Availability zone of the subnet; EC2 chooses if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Networks that may reach port 22; none by default, since SSM needs no open port.
    #[serde(default)]
    pub ssh_from: Vec<Ipv4Network>,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExistingNetwork {
    /// Id of the VPC.
    pub vpc: VpcId,
    /// Id of a subnet in it.
    pub subnet: SubnetId,
    /// Networks that may reach port 22; none by default, since SSM needs no open port.
    #[serde(default)]
    pub ssh_from: Vec<Ipv4Network>,
}

impl Network {
    /// Returns the networks that may reach port 22.
    pub fn ssh_from(&self) -> &[Ipv4Network] {
        match self {
            Self::Own(network) => &network.ssh_from,
            Self::Existing(network) => &network.ssh_from,
        }
    }
}

/// The master node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// Its instance type.
    pub instance_type: InstanceType,
    /// The image it boots.
    pub image: ImageReference,
    /// Size of its root volume.
    #[serde(default = "default_root_volume")]
    pub root_volume: VolumeSize,
    /// Its instance profile, instead of the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<InstanceProfileName>,
}

/// A group of like workers, launched together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerGroup {
    /// Name of the group, unique in the cluster.
    pub group: GroupName,
    /// How many workers.
    #[schemars(range(min = 1, max = 10000), extend("x-ewulf-hint" = "a group has 1 to 10000 workers; remove the group to have none"))]
    pub count: u32,
    /// Their instance type.
    pub instance_type: InstanceType,
    /// The image they boot.
    pub image: ImageReference,
    /// Size of their root volumes.
    #[serde(default = "default_root_volume")]
    pub root_volume: VolumeSize,
    /// Whether they are placed close to each other.
    #[serde(default)]
    pub placement: Placement,
    /// How they are bought.
    #[serde(default)]
    pub market: Market,
    /// Where they are looked for, in order, one rung after the other; the type and market above alone if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50))]
    pub capacity: Vec<Rung>,
    /// The fewest that will do where EC2 has no room for all; all or none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000), extend("x-ewulf-hint" = "leave `min` out for all or none"))]
    pub min: Option<u32>,
    /// Their instance profile, instead of the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<InstanceProfileName>,
    /// Where their private addresses lie: worker 0 has the first, worker 1 the second. EC2 chooses if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressRange>,
}

/// The image of a node: a recipe, or an AMI that exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageReference {
    /// Name of a recipe in `images/`.
    Recipe(ImageName),
    /// An AMI by its id.
    Ami(AmiReference),
}

/// Placement of a group's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Wherever EC2 has room.
    #[default]
    None,
    /// In a cluster placement group, for the shortest way between nodes.
    Cluster,
}

/// How instances are bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the listed price, until terminated.
    #[default]
    OnDemand,
    /// From spare capacity, cheaper, until EC2 wants it back.
    Spot,
}

impl std::fmt::Display for Market {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        })
    }
}

/// The shared path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Where every node sees it.
    #[serde(default = "default_shared_path")]
    pub path: NodePath,
    /// Size of a volume of its own; without one, the path lies on the master's root volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSize>,
    /// Whether the volume outlives the cluster.
    #[serde(default = "default_keep")]
    pub keep: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self { path: default_shared_path(), volume: None, keep: default_keep() }
    }
}

impl ClusterSpec {
    /// Returns the instance profile of the master.
    pub fn master_instance_profile(&self) -> Option<&InstanceProfileName> {
        self.master.instance_profile.as_ref().or(self.instance_profile.as_ref())
    }

    /// Returns the instance profile of a group's workers.
    pub fn group_instance_profile<'a>(&'a self, group: &'a WorkerGroup) -> Option<&'a InstanceProfileName> {
        group.instance_profile.as_ref().or(self.instance_profile.as_ref())
    }

    /// Returns how many nodes the cluster has, the master among them.
    pub fn node_count(&self) -> u64 {
        1 + self.workers.iter().map(|group| u64::from(group.count)).sum::<u64>()
    }

    /// Returns how many MPI slots the cluster has at most: the real cores of every node, the master among them. On another
    /// rung of a ladder, or with fewer workers than asked for, it has fewer.
    pub fn slots(&self) -> u64 {
        let workers = self.workers.iter().map(|group| u64::from(group.count) * u64::from(group.cores()));
        u64::from(self.master.instance_type.info().cores) + workers.sum::<u64>()
    }

    /// Returns the recipes that the nodes boot from, each once, in order of name.
    pub fn recipes(&self) -> Vec<&ImageName> {
        let references = std::iter::once(&self.master.image).chain(self.workers.iter().map(|group| &group.image));
        let mut recipes: Vec<&ImageName> = references
            .filter_map(|reference| match reference {
                ImageReference::Recipe(name) => Some(name),
                ImageReference::Ami(_) => None,
            })
            .collect();
        recipes.sort();
        recipes.dedup();
        recipes
    }
}

fn default_region() -> Region {
    "us-east-1".parse().expect("the literal is a region")
}

/// Default root volume: Debian with MPI, Python and the kernels takes 3 GiB; the rest is room for logs and swap-free work.
fn default_root_volume() -> VolumeSize {
    VolumeSize::from_gibibytes(20).expect("20 GiB is in range")
}

fn default_shared_path() -> NodePath {
    "/shared".parse().expect("the literal is a path of its own")
}

fn default_keep() -> bool {
    true
}

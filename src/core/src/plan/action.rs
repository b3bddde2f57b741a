//! What a plan carries out: steps, each one call to EC2 or a few that only make sense together.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::{ADDRESS_TAG, Address, FILE_SYSTEM_TAG, FINGERPRINT_TAG, INDEXES_TAG, Indexes, JOINS_TAG, MASTER_TAG, Role};
use crate::capacity::Pool;
use crate::quantity::Ipv4Network;
use crate::spec::Market;
use crate::world::{IngressRule, MetadataOptions, Tags};

/// One call, or a few that only make sense together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub address: Address,
    /// Positions of the steps that must have ended before.
    pub after: Vec<usize>,
    pub action: Action,
}

/// Everything that apply can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    CreateVpc {
        cidr: Ipv4Network,
    },
    CreateSubnet {
        cidr: Ipv4Network,
        zone: String,
    },
    CreateGateway,
    AttachGateway,
    CreateRoutes,
    AssociateRoutes,
    CreateDefaultRoute,
    CreateSecurityGroup {
        name: String,
    },
    AllowIngress {
        rules: Vec<IngressRule>,
    },
    RevokeIngress {
        rules: Vec<IngressRule>,
    },
    CreatePlacementGroup {
        name: String,
    },
    CreateTemplate {
        name: String,
        template: TemplateData,
    },
    CreateVolume {
        gibibytes: u32,
        zone: String,
        keep: bool,
    },
    GrowVolume {
        gibibytes: u32,
    },
    AttachVolume {
        device: String,
    },
    /// Makes the shared file system as large as its volume, and notes its size on the volume.
    GrowFileSystem {
        gibibytes: u32,
        shared_path: String,
    },
    Launch(Launch),
    Start {
        ids: Vec<String>,
    },
    /// Gives nodes an instance profile, or takes theirs away.
    SetInstanceProfile {
        ids: Vec<String>,
        profile: Option<String>,
    },
    /// Puts interfaces into the cluster's security group and no other.
    SetSecurityGroup {
        interfaces: Vec<String>,
    },
    SetMetadataOptions {
        ids: Vec<String>,
        options: MetadataOptions,
    },
    GrowRoots {
        volumes: Vec<String>,
        gibibytes: u32,
    },
    /// Makes the root file systems of nodes as large as their volumes, and notes their size on the volumes.
    GrowRootFileSystems {
        ids: Vec<String>,
        volumes: Vec<String>,
        gibibytes: u32,
    },
    /// Stops nodes together, changes what only a stopped node lets change, starts them together; they keep volumes and
    /// addresses. If they cannot become so, for want of capacity, say, they are made what they were and started again.
    ChangeStopped {
        nodes: Vec<StoppedChange>,
    },
    ReplaceRoot(RootReplacement),
    /// Waits until every node runs, by one tagged DescribeInstances at a time.
    AwaitRunning {
        nodes: Vec<Address>,
    },
    /// Waits for every node's boot, makes all know each other's keys, verifies ssh and mpirun across all of them.
    Join {
        nodes: Vec<Address>,
        shared_path: String,
        cidr: Ipv4Network,
    },
    SetTags {
        ids: Vec<String>,
        tags: Tags,
    },
    RemoveTags {
        ids: Vec<String>,
        keys: Vec<String>,
    },
    /// Of any number of nodes: it takes as many calls as it must, and they are waited for together.
    Terminate {
        ids: Vec<String>,
    },
    DeleteVolume {
        id: String,
    },
    DeleteTemplate {
        id: String,
    },
    DeletePlacementGroup {
        name: String,
    },
    DeleteSecurityGroup {
        id: String,
    },
    DeleteSubnet {
        id: String,
    },
    DissociateRoutes {
        associations: Vec<String>,
    },
    DeleteRoutes {
        id: String,
    },
    DetachGateway {
        id: String,
        vpc: String,
    },
    DeleteGateway {
        id: String,
    },
    DeleteVpc {
        id: String,
    },
}

/// What becomes of one node while it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedChange {
    pub id: String,
    /// In this order, one attribute a call (ec2.md 6.1); undone in the other.
    pub changes: Vec<StoppedAttribute>,
}

/// What only a stopped node lets change, from what to what (ec2.md 6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoppedAttribute {
    InstanceType {
        from: String,
        to: String,
    },
    /// Name of the placement group, or none.
    PlacementGroup {
        from: Option<String>,
        to: Option<String>,
    },
    /// Plain text. The node reads it when it boots from a root volume that never booted before, so until then its
    /// fingerprint says [`UNFINISHED`].
    UserData {
        to: String,
    },
}

/// Fingerprint of a node whose user data is not that of its root volume.
pub const UNFINISHED: &str = "unfinished";

/// Another root volume for a running node: it keeps its id, its address and all other volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootReplacement {
    pub id: String,
    pub image_id: String,
    /// Fingerprint of the node once it is done.
    pub fingerprint: String,
}

/// What a launch template holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateData {
    pub image_id: String,
    pub instance_type: String,
    /// Plain text; under 16 KB.
    pub user_data: String,
    pub instance_profile: Option<String>,
    pub root_device: String,
    pub root_gibibytes: u32,
    pub placement_group: Option<String>,
    pub market: Market,
}

/// One RunInstances: all nodes or none, or at least as many as will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub role: Role,
    pub indexes: Indexes,
    /// Name of the launch template.
    pub template: String,
    /// Hash of what the nodes are made from, beyond image and type.
    pub fingerprint: String,
    /// Address of the one node of this launch; the others get what is free.
    pub private_address: Option<Ipv4Addr>,
    /// Where these nodes, or those that are workers, look for the master.
    pub master_address: Ipv4Addr,
    /// As the template says: only a launch on the spot market makes requests that can be tagged.
    pub market: Market,
    pub root_gibibytes: u32,
    /// Whether the nodes ask for a public address, their way to SSM and to packages; otherwise the subnet decides.
    pub public_address: bool,
    /// Where the nodes have what they share.
    pub shared_path: String,
    /// Tells this launch from earlier ones of the same nodes.
    pub generation: String,
    /// Fewest nodes that will do: with fewer, nothing is launched (ec2.md 4.2).
    pub least: usize,
    /// Where they are launched.
    pub pool: Pool,
    /// For how many seconds a pool without room is asked again.
    pub patience_seconds: u64,
    /// Number of the rung of the group's ladder, from 1, and how many there are.
    pub rung: (usize, usize),
    /// Whether they are to become part of the mesh.
    pub joins: bool,
}

impl Launch {
    /// Tags of the nodes beyond the plan's own; workers of one launch share their address.
    pub fn tags(&self) -> Tags {
        let address = match &self.role {
            Role::Master => Address::Master.to_string(),
            Role::Worker(group) => format!("node/{group}"),
        };
        let mut tags = Tags::from([
            (ADDRESS_TAG.to_owned(), address),
            (FINGERPRINT_TAG.to_owned(), self.fingerprint.clone()),
            (INDEXES_TAG.to_owned(), self.indexes.to_string()),
            (MASTER_TAG.to_owned(), self.master_address.to_string()),
        ]);
        if self.joins {
            tags.insert(JOINS_TAG.to_owned(), "true".to_owned());
        }
        tags
    }

    /// Tags of the nodes' root volumes beyond the plan's own.
    pub fn root_tags(&self) -> Tags {
        let mut tags = self.tags();
        tags.insert(FILE_SYSTEM_TAG.to_owned(), self.root_gibibytes.to_string());
        tags
    }

    /// Addresses of the nodes, in launch order.
    pub fn addresses(&self) -> Vec<Address> {
        match &self.role {
            Role::Master => vec![Address::Master],
            Role::Worker(group) => self.indexes.iter().map(|index| Address::Worker(group.clone(), index)).collect(),
        }
    }
}

//! The plan: every change needed to bring the world to the spec, in order, each with its reason.
//!
//! [`plan`] and [`destroy`] are pure and deterministic; a plan leaves no choice to whoever carries it out.

mod attributes;
mod blueprint;
mod changes;
mod draft;
mod ladder;
mod mesh;
mod network;
mod nodes;
mod pinned;
mod removal;
mod seat;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::{ADDRESS_TAG, Address, FILE_SYSTEM_TAG, FINGERPRINT_TAG, INDEXES_TAG, Indexes, JOINS_TAG, MASTER_TAG, Role};
use crate::capacity::Pool;
use crate::names::{ClusterName, GroupName};
use crate::pacing::{self, Paced};
use crate::quantity::{Ipv4Network, Money};
use crate::spec::{ClusterSpec, Market};
use crate::world::{IngressRule, MetadataOptions, Tags, World};

pub use ladder::{Ladder, LadderRung, Shortfall};
pub use removal::{destroy, remove_strays};

/// Most ids that one call takes: TerminateInstances and CreateTags end there (ec2.md 2.8, 3.10), and RunInstances may ask
/// for as many instances at once as its bucket holds (ec2.md 3.1).
pub const IDS_PER_CALL: usize = 1000;

/// What is to be done with one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub cluster: ClusterName,
    /// What a person reads: one entry for each thing that changes.
    pub changes: Vec<Change>,
    /// What is carried out: every step may begin when those it names have ended.
    pub steps: Vec<Step>,
    /// Ids of what exists and stays, by address.
    pub known: BTreeMap<Address, String>,
    /// Tags of everything the plan creates; address, name and fingerprint are added step by step.
    pub tags: Tags,
    /// Why the plan cannot be carried out; empty for one that can.
    pub blockers: Vec<Blocker>,
    /// What the user should know before saying yes.
    pub warnings: Vec<Blocker>,
    /// Dollars per hour by the built-in list; None where a type has no known price.
    pub price_before: Option<Money>,
    pub price_after: Option<Money>,
    /// Where each group that has alternatives is looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladders: Vec<Ladder>,
    /// Groups that are not had whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<Shortfall>,
    /// What has to wait for EC2's limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paced: Vec<Paced>,
}

impl Plan {
    /// Whether a group cannot be had, so that all this plan does is to take back what was launched of it.
    pub fn is_hopeless(&self) -> bool {
        self.shortfalls.iter().any(|shortfall| !shortfall.is_tolerable())
    }

    /// Whether the world is already as it should be.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether all that is missing are workers that their groups may stand without.
    pub fn is_enough(&self) -> bool {
        let may_miss =
            |group: &GroupName| self.ladders.iter().any(|ladder| ladder.group == *group && ladder.standing >= ladder.least);
        self.blockers.is_empty()
            && self.changes.iter().all(|change| match (&change.address, change.sign) {
                (Address::Worker(group, _) | Address::Workers(group, _), Sign::Create) => may_miss(group),
                (Address::Template(Role::Worker(group)), Sign::Create) => may_miss(group),
                (Address::Mesh, Sign::Update) => change.reason == Reason::NodesChanged,
                _ => false,
            })
    }

    /// Counts changes by sign: created, changed, replaced, removed.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for change in &self.changes {
            let count = change.count;
            match change.sign {
                Sign::Create => totals.create += count,
                Sign::Update => totals.update += count,
                Sign::Replace => totals.replace += count,
                Sign::Delete => totals.delete += count,
            }
        }
        totals
    }
}

/// How many things a plan touches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub delete: usize,
}

/// Something in the way, or something to know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    pub address: Address,
    pub message: String,
    pub hint: String,
}

/// One thing that changes, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub sign: Sign,
    pub address: Address,
    /// How many resources it stands for: a group's nodes are one change.
    pub count: usize,
    /// What it is, or becomes: `VPC 10.42.0.0/24`.
    pub summary: String,
    /// Attributes that differ.
    pub details: Vec<Difference>,
    pub reason: Reason,
    pub effect: Effect,
}

/// An attribute, from what to what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    pub attribute: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// What kind of change, as `+ ~ - ±`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    Create,
    Update,
    Delete,
    Replace,
}

impl Sign {
    pub fn symbol(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
            Self::Replace => '±',
        }
    }
}

/// Why something changes: for explaining, never for deciding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The spec asks for it and it is not there.
    NotThere,
    /// The spec now says otherwise.
    SpecChanged,
    /// An earlier apply did not finish.
    Unfinished,
    /// Somebody changed it outside ewulf.
    ChangedOutside,
    /// The node is stopped, though nobody asked ewulf to stop it.
    StoppedOutside,
    /// The node ended outside ewulf; EC2's reason.
    EndedOutside(String),
    /// The spec no longer asks for it.
    NotInSpec,
    /// Something newer has taken its place.
    Superseded,
    /// A create whose answer was lost made it a second time.
    Doubled,
    /// EC2 gave it the address that the master is to have.
    InTheWay(Ipv4Addr),
    /// The cluster is being destroyed.
    Destroyed,
    /// The set of nodes changes, so they must learn of each other.
    NodesChanged,
    /// EC2 has no room for the rest of its group.
    NoRoom,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => formatter.write_str("not there yet"),
            Self::SpecChanged => formatter.write_str("the spec changed"),
            Self::Unfinished => formatter.write_str("an earlier apply did not finish"),
            Self::ChangedOutside => formatter.write_str("changed outside ewulf"),
            Self::StoppedOutside => formatter.write_str("stopped outside ewulf"),
            Self::EndedOutside(reason) => write!(formatter, "ended outside ewulf: {reason}"),
            Self::NotInSpec => formatter.write_str("no longer in the spec"),
            Self::Superseded => formatter.write_str("replaced by a newer one"),
            Self::Doubled => formatter.write_str("made twice, by a call whose answer was lost"),
            Self::InTheWay(address) => write!(formatter, "it was given {address}, where the workers look for the master"),
            Self::Destroyed => formatter.write_str("the cluster is destroyed"),
            Self::NodesChanged => formatter.write_str("the set of nodes changes"),
            Self::NoRoom => formatter.write_str("EC2 has no room for all of the group"),
        }
    }
}

/// What a change does to whoever is working on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing running notices.
    InPlace,
    /// New ones first, then the old ones go; jobs on the old ones end.
    Rolling,
    /// It goes first and comes back; jobs on it end.
    Replace,
    /// The node is stopped, changed and started; jobs on it end, its volumes and address stay.
    NeedsStop,
    /// The node gets another root volume and boots from it; jobs on it end, its id, address and other volumes stay.
    NewRoot,
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InPlace => "in place",
            Self::Rolling => "rolling",
            Self::Replace => "replace",
            Self::NeedsStop => "stop, change, start",
            Self::NewRoot => "new root volume",
        })
    }
}

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

/// Name of a resource where EC2 wants one that is unique in an account.
pub fn resource_name(cluster: &ClusterName, part: &str) -> String {
    format!("ewulf-{cluster}-{part}")
}

/// Computes what brings `world` to `spec`.
pub fn plan(spec: &ClusterSpec, world: &World) -> Plan {
    let climb = ladder::climb(spec, world);
    let mut draft = draft::Draft::new(&climb.spec, &climb.world);
    climb.begin(&mut draft);
    if !climb.is_hopeless() {
        network::plan(&mut draft);
        nodes::plan(&mut draft);
    }
    let plan = draft.finish();
    let paced = pacing::of(&plan.steps, &world.limits);
    let price_before = draft::price_of_world(world);
    Plan { price_before, paced, ladders: climb.ladders, shortfalls: climb.shortfalls, ..plan }
}

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod ladder_tests;
#[cfg(test)]
mod tests;

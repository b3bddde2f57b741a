//! The plan: every change needed to bring the world to the spec, in order, each with its reason.
//!
//! [`plan`] and [`destroy`] are pure and deterministic; a plan leaves no choice to whoever carries it out.

mod action;
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

use crate::address::{Address, Role};
use crate::names::{ClusterName, GroupName};
use crate::pacing::{self, Paced};
use crate::quantity::Money;
use crate::spec::ClusterSpec;
use crate::world::{Tags, World};

pub use action::{Action, Launch, RootReplacement, Step, StoppedAttribute, StoppedChange, TemplateData, UNFINISHED};
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

//! What of an account nobody will come back for.
//!
//! Everything that carries a tag of ewulf is a [`Part`]; [`marks`] tells which parts are orphaned, and why. A part of a
//! cluster that lives, or that somebody works on, never is, except what the cluster has a second time.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::address::Address;
use crate::quantity::{Duration, Money};

/// How old something must be before it can count as orphaned: longer than any apply or bake between two of its calls.
pub const USUAL_AGE: Duration = Duration::from_seconds(3600);

/// What kind of thing a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    Instance,
    Volume,
    Vpc,
    Subnet,
    Gateway,
    Routes,
    SecurityGroup,
    PlacementGroup,
    Template,
    Image,
    Snapshot,
    /// The parameter that says who works on a cluster.
    Lock,
}

impl fmt::Display for PartKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Instance => "instance",
            Self::Volume => "volume",
            Self::Vpc => "VPC",
            Self::Subnet => "subnet",
            Self::Gateway => "internet gateway",
            Self::Routes => "route table",
            Self::SecurityGroup => "security group",
            Self::PlacementGroup => "placement group",
            Self::Template => "launch template",
            Self::Image => "image",
            Self::Snapshot => "snapshot",
            Self::Lock => "lock",
        })
    }
}

/// Whose a part is, by its tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Belongs {
    Cluster(String),
    /// A bake's, and what it baked.
    Image(String),
}

impl fmt::Display for Belongs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => formatter.write_str(name),
            Self::Image(name) => write!(formatter, "(image {name})"),
        }
    }
}

/// One thing that carries a tag of ewulf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub kind: PartKind,
    /// Id, or name where EC2 goes by names.
    pub id: String,
    pub belongs: Belongs,
    /// Its address inside the cluster, as tagged.
    pub address: Option<String>,
    pub state: String,
    /// Seconds since 1970; None where EC2 does not tell.
    pub made: Option<i64>,
    #[serde(serialize_with = "as_dollars")]
    pub price_per_hour: Option<Money>,
    /// A volume: an instance has it. A snapshot: an image names it. A lock: its holder may still work.
    pub in_use: bool,
    /// It was told to outlive its cluster.
    pub keep: bool,
    /// The cluster has it a second time.
    pub doubled: bool,
    /// Of a bake's builder and its group: whether the bake may still be at work.
    pub bake_lives: Option<bool>,
}

fn as_dollars<S: Serializer>(price: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
    price.map(Money::as_dollars).serialize(serializer)
}

/// What is to be said of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// A volume that was told to outlive its cluster, and does.
    Kept,
    Orphan(Cause),
}

impl Mark {
    /// Why it is orphaned, if it is.
    pub fn orphan(self) -> Option<Cause> {
        match self {
            Self::Kept => None,
            Self::Orphan(cause) => Some(cause),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => formatter.write_str("kept: it outlives its cluster"),
            Self::Orphan(cause) => write!(formatter, "orphan: {cause}"),
        }
    }
}

/// Why something is orphaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing of its cluster runs, and nobody works on it.
    NoNodes,
    /// Its cluster has workers and no master, and nobody works on it.
    NoMaster,
    /// Its cluster lives and has another one.
    Doubled,
    /// A node's volume whose node is gone.
    Detached,
    /// The lock of a process that is gone.
    DeadLock,
    /// What a bake made that ended without removing it.
    DeadBake,
    /// EC2 could not make the image.
    FailedImage,
    /// The image that it was taken for is gone.
    NoImage,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoNodes => "its cluster has no node and nobody works on it",
            Self::NoMaster => "its cluster has no master and nobody works on it",
            Self::Doubled => "its cluster has another one",
            Self::Detached => "its node is gone",
            Self::DeadLock => "its holder is gone",
            Self::DeadBake => "the bake that made it is gone",
            Self::FailedImage => "EC2 could not make it",
            Self::NoImage => "its image is gone",
        })
    }
}

/// Marks every part, in the same order. `now` is in seconds since 1970; what is younger than `age` is never an orphan.
///
/// EC2 does not tell the age of networks, groups and gateways: they are as old as the youngest dated part of their cluster,
/// or old if there is none, since a cluster without anything dated holds nothing that could be lost.
pub fn marks(parts: &[Part], now: i64, age: Duration) -> Vec<Option<Mark>> {
    let age = i64::try_from(age.as_seconds()).unwrap_or(i64::MAX);
    let is_old = |made: Option<i64>| made.is_none_or(|made| now.saturating_sub(made) >= age);
    let mut clusters: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        if let Belongs::Cluster(name) = &part.belongs {
            clusters.entry(name).or_default().push(part);
        }
    }
    let states: BTreeMap<&str, ClusterState> = clusters
        .iter()
        .map(|(name, parts)| {
            let youngest = parts.iter().filter_map(|part| part.made).max();
            (*name, ClusterState::of(parts, is_old(youngest)))
        })
        .collect();
    let is_pending = |image: &Belongs| {
        parts.iter().any(|part| part.kind == PartKind::Image && part.belongs == *image && part.state == "pending")
    };
    let mark = |part: &Part| match &part.belongs {
        Belongs::Cluster(name) => states[name.as_str()].mark(part, is_old(part.made)),
        Belongs::Image(_) => match (part.kind, part.bake_lives) {
            (_, Some(false)) => Some(Mark::Orphan(Cause::DeadBake)),
            (PartKind::Image, _) if part.state == "failed" => Some(Mark::Orphan(Cause::FailedImage)),
            (PartKind::Snapshot, _) if !part.in_use && is_old(part.made) && !is_pending(&part.belongs) => {
                Some(Mark::Orphan(Cause::NoImage))
            }
            _ => None,
        },
    };
    parts.iter().map(mark).collect()
}

/// How a cluster is, as far as its parts are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClusterState {
    /// Somebody works on it, or it has nodes and no master, but not for long.
    Busy,
    /// It has no node, but not for long.
    Resting,
    Lives,
    Dead(Cause),
}

impl ClusterState {
    fn of(parts: &[&Part], is_old: bool) -> Self {
        let master = Address::Master.to_string();
        let mut nodes = parts.iter().filter(|part| part.kind == PartKind::Instance).peekable();
        let has_node = nodes.peek().is_some();
        if parts.iter().any(|part| part.kind == PartKind::Lock && part.in_use) {
            Self::Busy
        } else if nodes.any(|node| node.address.as_ref() == Some(&master)) {
            Self::Lives
        } else if !is_old {
            if has_node { Self::Busy } else { Self::Resting }
        } else if has_node {
            Self::Dead(Cause::NoMaster)
        } else {
            Self::Dead(Cause::NoNodes)
        }
    }

    fn mark(self, part: &Part, is_old: bool) -> Option<Mark> {
        let of_node = part.address.as_ref().is_some_and(|address| address.starts_with("node/"));
        match self {
            // A kept volume whose cluster is gone is no concern of anybody's, whatever else there is.
            Self::Dead(_) | Self::Resting if part.keep => Some(Mark::Kept),
            Self::Busy | Self::Resting => None,
            Self::Dead(_) if part.kind == PartKind::Lock => Some(Mark::Orphan(Cause::DeadLock)),
            Self::Dead(cause) => Some(Mark::Orphan(cause)),
            Self::Lives if !is_old || part.in_use || part.keep => None,
            Self::Lives if part.doubled => Some(Mark::Orphan(Cause::Doubled)),
            Self::Lives if part.kind == PartKind::Lock => Some(Mark::Orphan(Cause::DeadLock)),
            Self::Lives if part.kind == PartKind::Volume && of_node => Some(Mark::Orphan(Cause::Detached)),
            Self::Lives => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn part(kind: PartKind, id: &str, belongs: Belongs) -> Part {
        Part {
            kind,
            id: id.to_owned(),
            belongs,
            address: None,
            state: "available".to_owned(),
            made: None,
            price_per_hour: None,
            in_use: false,
            keep: false,
            doubled: false,
            bake_lives: None,
        }
    }

    fn of_demo(kind: PartKind, id: &str) -> Part {
        part(kind, id, Belongs::Cluster("demo".to_owned()))
    }

    fn node(address: &str) -> Part {
        let made = Some(NOW - 7200);
        Part { address: Some(address.to_owned()), made, ..of_demo(PartKind::Instance, "i-1") }
    }

    fn of_worker(kind: PartKind, id: &str) -> Part {
        part(kind, id, Belongs::Image("worker".to_owned()))
    }

    fn causes(parts: &[Part]) -> Vec<Option<Cause>> {
        marks(parts, NOW, USUAL_AGE).into_iter().map(|mark| mark.and_then(Mark::orphan)).collect()
    }

    #[test]
    fn what_is_left_of_a_cluster_without_nodes_is_orphaned() {
        let template = Part { made: Some(NOW - 3600), ..of_demo(PartKind::Template, "lt-1") };
        let parts = [of_demo(PartKind::Vpc, "vpc-1"), template];
        assert_eq!(causes(&parts), [Some(Cause::NoNodes), Some(Cause::NoNodes)]);
    }

    #[test]
    fn a_cluster_that_lives_has_no_orphans_but_what_it_has_twice() {
        let doubled = Part { doubled: true, ..of_demo(PartKind::Vpc, "vpc-2") };
        let parts = [node("node/master"), of_demo(PartKind::Vpc, "vpc-1"), doubled];
        assert_eq!(causes(&parts), [None, None, Some(Cause::Doubled)]);
    }

    #[test]
    fn nothing_is_orphaned_while_somebody_works_on_it() {
        let held = Part { in_use: true, made: Some(NOW - 7200), ..of_demo(PartKind::Lock, "/ewulf/demo/lock") };
        let doubled = Part { doubled: true, ..of_demo(PartKind::Vpc, "vpc-2") };
        assert_eq!(causes(&[of_demo(PartKind::Vpc, "vpc-1"), doubled, held]), [None, None, None]);
    }

    #[test]
    fn a_cluster_whose_youngest_part_is_younger_than_an_hour_is_left_alone() {
        let young = Part { made: Some(NOW - 3599), ..of_demo(PartKind::Volume, "vol-1") };
        let old = Part { made: Some(NOW - 90_000), ..of_demo(PartKind::Template, "lt-1") };
        assert_eq!(causes(&[of_demo(PartKind::Vpc, "vpc-1"), old, young]), [None, None, None]);
    }

    #[test]
    fn workers_without_a_master_are_orphaned_with_all_they_stand_on() {
        let parts = [node("node/compute"), of_demo(PartKind::Subnet, "subnet-1")];
        assert_eq!(causes(&parts), [Some(Cause::NoMaster), Some(Cause::NoMaster)]);
    }

    #[test]
    fn a_kept_volume_is_kept_and_never_an_orphan() {
        let volume = Part { keep: true, made: Some(NOW - 7200), ..of_demo(PartKind::Volume, "vol-1") };
        assert_eq!(marks(std::slice::from_ref(&volume), NOW, USUAL_AGE), [Some(Mark::Kept)]);
        let young = Part { made: Some(NOW), ..volume.clone() };
        assert_eq!(marks(&[young], NOW, USUAL_AGE), [Some(Mark::Kept)]);
        let parts = [volume.clone(), of_demo(PartKind::Vpc, "vpc-1")];
        assert_eq!(marks(&parts, NOW, USUAL_AGE), [Some(Mark::Kept), Some(Mark::Orphan(Cause::NoNodes))]);
        // In a living cluster it is simply the cluster's volume, and a second one is for a person to look at.
        let second = Part { doubled: true, ..volume };
        assert_eq!(causes(&[node("node/master"), second]), [None, None]);
    }

    #[test]
    fn a_root_volume_outlives_its_node_as_an_orphan() {
        let root =
            Part { address: Some("node/compute".to_owned()), made: Some(NOW - 7200), ..of_demo(PartKind::Volume, "vol-1") };
        let attached = Part { in_use: true, ..root.clone() };
        assert_eq!(causes(&[node("node/master"), root, attached]), [None, Some(Cause::Detached), None]);
    }

    #[test]
    fn the_lock_of_a_dead_holder_is_orphaned_and_never_keeps_its_cluster() {
        let dead = Part { made: Some(NOW - 7200), ..of_demo(PartKind::Lock, "/ewulf/demo/lock") };
        assert_eq!(causes(&[dead.clone(), of_demo(PartKind::Vpc, "vpc-1")]), [Some(Cause::DeadLock), Some(Cause::NoNodes)]);
        assert_eq!(causes(&[dead, node("node/master")]), [Some(Cause::DeadLock), None]);
    }

    #[test]
    fn one_cluster_s_state_says_nothing_about_another_s() {
        let other = part(PartKind::Vpc, "vpc-9", Belongs::Cluster("other".to_owned()));
        assert_eq!(causes(&[node("node/master"), of_demo(PartKind::Vpc, "vpc-1"), other]), [None, None, Some(Cause::NoNodes)]);
    }

    #[test]
    fn what_a_dead_bake_left_is_orphaned_and_a_living_one_s_is_not() {
        let builder = |lives| Part { bake_lives: Some(lives), ..of_worker(PartKind::Instance, "i-9") };
        assert_eq!(causes(&[builder(false), builder(true)]), [Some(Cause::DeadBake), None]);
    }

    #[test]
    fn failed_images_and_snapshots_without_an_image_are_orphaned() {
        let image = |state: &str| Part { state: state.to_owned(), ..of_worker(PartKind::Image, "ami-1") };
        let snapshot = Part { made: Some(NOW - 7200), ..of_worker(PartKind::Snapshot, "snap-1") };
        let used = Part { in_use: true, ..snapshot.clone() };
        let parts = [image("available"), image("failed"), snapshot.clone(), used];
        assert_eq!(causes(&parts), [None, Some(Cause::FailedImage), Some(Cause::NoImage), None]);
        // EC2 does not name the snapshots of an image that it still makes.
        assert_eq!(causes(&[image("pending"), snapshot]), [None, None]);
    }
}

//! What EC2 makes with a node and lists by itself: its root volume, its interface, its spot request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Tags, World};

/// Whether and how a node may ask for its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// Whether only IMDSv2 answers.
    pub needs_token: bool,
    pub is_enabled: bool,
    /// Hops that an answer may take: more than 1 reaches containers.
    pub hops: i32,
}

impl MetadataOptions {
    /// What every node is launched with (ec2.md 9.1).
    pub const OF_NODES: Self = Self { needs_token: true, is_enabled: true, hops: 1 };
}

impl std::fmt::Display for MetadataOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (enabled, token) =
            (if self.is_enabled { "on" } else { "off" }, if self.needs_token { "required" } else { "optional" });
        write!(formatter, "{enabled}, tokens {token}, hop limit {}", self.hops)
    }
}

/// The root volume of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub id: String,
    pub gibibytes: u32,
    pub tags: Tags,
}

/// Something that was made with a node and goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    pub id: String,
    /// None where nobody looked, or where it carries no tag of the cluster.
    pub tags: Option<Tags>,
}

/// What was found of nodes beside the nodes themselves.
#[derive(Debug, Clone, Default)]
pub struct Companions {
    /// Root volumes by the instance that they are attached to.
    pub roots: BTreeMap<String, Root>,
    /// Tags of interfaces and of spot requests, by id.
    pub tags: BTreeMap<String, Tags>,
}

impl World {
    /// Gives every node what was found of it. Nodes must be known before.
    pub fn assign(&mut self, mut found: Companions) {
        for node in &mut self.nodes {
            node.root = found.roots.remove(&node.id);
            for companion in node.interface.iter_mut().chain(&mut node.spot_request) {
                companion.tags = found.tags.remove(&companion.id);
            }
        }
    }
}

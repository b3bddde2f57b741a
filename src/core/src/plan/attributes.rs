//! What of a node differs from its blueprint, attribute by attribute, and what EC2 allows for each (ec2.md 6.1).

use super::Difference;
use super::blueprint::Blueprint;
use super::draft::difference;
use crate::address::FINGERPRINT_TAG;
use crate::instance_types;
use crate::spec::Market;
use crate::world::{MetadataOptions, Node};

/// An attribute of a node that EC2 tells, or that a tag tells for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attribute {
    InstanceProfile,
    SecurityGroups,
    MetadataOptions,
    RootVolume,
    InstanceType,
    PlacementGroup,
    Image,
    /// User data, as far as its fingerprint tells.
    Configuration,
    Market,
    PrivateAddress,
}

/// How a difference is mended, the gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Nothing running notices.
    Live,
    /// While the node is stopped.
    Stopped,
    /// By another root volume under the same node.
    NewRoot,
    /// By another node.
    Replace,
}

/// A difference, and how it is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub attribute: Attribute,
    pub way: Way,
    pub difference: Difference,
}

/// A node with all that differs of it.
pub(super) type Wrong<'a> = (&'a Node, Vec<Gap>);

/// Whether any difference needs another node.
pub(super) fn needs_replacement(gaps: &[Gap]) -> bool {
    gaps.iter().any(|gap| gap.way == Way::Replace)
}

/// How far a node is from its blueprint: the hardest way first, then the number of differences.
pub(super) fn distance(gaps: &[Gap]) -> (Option<Way>, usize) {
    (gaps.iter().map(|gap| gap.way).max(), gaps.len())
}

impl Blueprint {
    /// What of a node differs from this; `security_group` is the cluster's, where it exists.
    pub fn gaps(&self, node: &Node, security_group: Option<&String>) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut add = |attribute, way, name: &str, from: Option<String>, to: Option<String>| {
            gaps.push(Gap { attribute, way, difference: difference(name, from, to) });
        };
        let wanted = &self.template;
        let some = |text: &str| Some(text.to_owned());
        let buys = |market: Market| some(if market == Market::Spot { "spot" } else { "on-demand" });
        // On whichever rung of its group's ladder it stands, it stays.
        let is_on_ladder = self.is_on_ladder(node);
        if !is_on_ladder && node.market != wanted.market {
            add(Attribute::Market, Way::Replace, "market", buys(node.market), buys(wanted.market));
        }
        if let Some(address) = self.address_of(node.index)
            && node.private_address != Some(address)
        {
            let from = node.private_address.map(|address| address.to_string());
            add(Attribute::PrivateAddress, Way::Replace, "private address", from, Some(address.to_string()));
        }
        if !is_on_ladder && node.instance_type != wanted.instance_type {
            let way = if can_change_type(node) { Way::Stopped } else { Way::Replace };
            add(Attribute::InstanceType, way, "instance type", some(&node.instance_type), some(&wanted.instance_type));
        }
        if node.placement_group != wanted.placement_group {
            let way = if can_stop(node) { Way::Stopped } else { Way::Replace };
            let (from, to) = (node.placement_group.clone(), wanted.placement_group.clone());
            add(Attribute::PlacementGroup, way, "placement group", from, to);
        }
        // A node whose place nobody else may take stays and gets another root volume.
        let content = if self.keeps_its_place() && can_stop(node) { Way::NewRoot } else { Way::Replace };
        if node.image() != wanted.image_id {
            add(Attribute::Image, content, "image", some(node.image()), some(&wanted.image_id));
        }
        if node.tag(FINGERPRINT_TAG) != Some(&self.fingerprint) {
            let was = node.tag(FINGERPRINT_TAG).map(str::to_owned);
            add(Attribute::Configuration, content, "user data", was, some(&self.fingerprint));
        }
        if node.instance_profile != wanted.instance_profile {
            let (from, to) = (node.instance_profile.clone(), wanted.instance_profile.clone());
            add(Attribute::InstanceProfile, Way::Live, "instance profile", from, to);
        }
        let group = security_group.map(std::slice::from_ref);
        if node.interface.is_some() && group != Some(&node.security_groups) {
            let to = security_group.cloned().or_else(|| some("the cluster's"));
            add(Attribute::SecurityGroups, Way::Live, "security groups", Some(node.security_groups.join(", ")), to);
        }
        let options = MetadataOptions::OF_NODES;
        if let Some(of_node) = node.metadata_options.filter(|of_node| *of_node != options) {
            let (from, to) = (Some(of_node.to_string()), Some(options.to_string()));
            add(Attribute::MetadataOptions, Way::Live, "metadata service", from, to);
        }
        if let Some(root) = &node.root
            && let Some(way) = self.way_of_root(root.gibibytes)
        {
            let size = |gibibytes: u32| Some(format!("{gibibytes}GiB"));
            add(Attribute::RootVolume, way, "root volume", size(root.gibibytes), size(wanted.root_gibibytes));
        }
        gaps
    }

    /// A root volume grows in place. It cannot shrink, so a worker makes room for one with a smaller root, and what keeps
    /// its place keeps its size, too.
    fn way_of_root(&self, gibibytes: u32) -> Option<Way> {
        match gibibytes.cmp(&self.template.root_gibibytes) {
            std::cmp::Ordering::Less => Some(Way::Live),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => (!self.keeps_its_place()).then_some(Way::Replace),
        }
    }
}

/// One-time spot requests cannot be stopped, nor can the type of what they bought change (ec2.md 6.1).
fn can_stop(node: &Node) -> bool {
    node.market == Market::OnDemand
}

/// Whether a stopped node can become another type: both must be of one architecture, and all types that a spec may name
/// are; of others nothing is known.
fn can_change_type(node: &Node) -> bool {
    can_stop(node) && instance_types::find(&node.instance_type).is_some()
}

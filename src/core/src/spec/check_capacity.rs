//! What the ladders of worker groups must keep beyond their structure.

use super::capacity::Rung;
use super::cluster::{ClusterSpec, Market, Network, Placement, WorkerGroup};
use crate::yaml::{Node, Problem};

/// Adds what is wrong with the ladders of a spec.
pub(super) fn check(spec: &ClusterSpec, tree: &Node, problems: &mut Vec<Problem>) {
    let mut zones_of: Option<&str> = None;
    for (index, group) in spec.workers.iter().enumerate() {
        let name = group.group.as_str();
        if let Some(min) = group.min.filter(|min| *min > group.count) {
            problems.push(
                Problem::new(
                    tree.span_at(&format!("/workers/{index}/min")),
                    format!("group `{name}`: at least {min} workers of {} cannot be had", group.count),
                )
                .hint(format!("write `min: {}` or less, or leave it out for all or none", group.count)),
            );
        }
        if group.tries_zones() {
            if let Some(other) = zones_of {
                problems.push(
                    Problem::new(
                        tree.span_at(&format!("/workers/{index}/capacity")),
                        format!("group `{name}` chooses zones, and so does group `{other}`"),
                    )
                    .hint(format!("leave `zone` out here: group `{name}` goes where `{other}` finds room"))
                    .note("all nodes of a cluster share one subnet, and a subnet lies in one zone"),
                );
            }
            zones_of = zones_of.or(Some(name));
        }
        rungs(spec, group, index, tree, problems);
    }
}

fn rungs(spec: &ClusterSpec, group: &WorkerGroup, index: usize, tree: &Node, problems: &mut Vec<Problem>) {
    if group.capacity.is_empty() {
        return;
    }
    let rungs = group.rungs();
    for (position, rung) in rungs.iter().enumerate() {
        let at = |key: &str| tree.span_at(&format!("/workers/{index}/capacity/{position}/{key}"));
        let name = group.group.as_str();
        let is_same = |earlier: &&Rung| Rung { within: None, ..(*earlier).clone() } == Rung { within: None, ..rung.clone() };
        if let Some(earlier) = rungs[..position].iter().position(|earlier| is_same(&earlier)) {
            problems.push(
                Problem::new(
                    tree.span_at(&format!("/workers/{index}/capacity/{position}")),
                    format!("group `{name}`: rung {} is rung {} again", position + 1, earlier + 1),
                )
                .hint("remove it, or give the first one more time by `within`".to_owned()),
            );
        }
        zone(spec, rung, at("zone"), name, problems);
        let Some(kind) = rung.instance_type else { continue };
        let is_own = kind == group.instance_type;
        if group.placement == Placement::Cluster && !kind.can_cluster() && !is_own {
            problems.push(
                Problem::new(
                    at("instance_type"),
                    format!("group `{name}`: EC2 takes no `{kind}` into a cluster placement group"),
                )
                .hint("write `placement: none`, or use a type that is not burstable, such as `c7i.large`".to_owned()),
            );
        }
        if rung.market == Some(Market::Spot) && !kind.can_spot() && !(is_own && group.market == Market::Spot) {
            let key = if group.capacity[position].market.is_some() { "market" } else { "instance_type" };
            problems.push(
                Problem::new(at(key), format!("group `{name}`: EC2 sells no `{kind}` on the spot market"))
                    .hint("write `market: on-demand` for this rung, or use another type".to_owned()),
            );
        }
    }
}

fn zone(spec: &ClusterSpec, rung: &Rung, at: crate::diagnostics::Span, name: &str, problems: &mut Vec<Problem>) {
    let Some(zone) = &rung.zone else { return };
    match &spec.network {
        Network::Existing(_) => problems.push(
            Problem::new(at, format!("group `{name}`: zone `{zone}` cannot be chosen for a subnet that exists"))
                .hint("leave `zone` out, or let ewulf make the network: `network: {cidr: 10.42.0.0/16}`".to_owned()),
        ),
        Network::Own(own) => {
            if let Some(pinned) = &own.zone {
                problems.push(
                    Problem::new(at, format!("group `{name}`: zone `{zone}` cannot be tried, as the network is in `{pinned}`"))
                        .hint("remove `zone` from `network`, or from the rungs".to_owned()),
                );
            } else if !zone.as_str().starts_with(spec.region.as_str()) {
                problems.push(
                    Problem::new(at, format!("zone `{zone}` is not in region `{}`", spec.region))
                        .hint(format!("write `zone: {}a`, or another region", spec.region)),
                );
            }
        }
    }
}

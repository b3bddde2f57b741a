//! What the address ranges of worker groups must keep.

use std::net::Ipv4Addr;

use super::cluster::{ClusterSpec, Network};
use crate::quantity::{AddressRange, Ipv4Network};
use crate::yaml::{Node, Problem};

/// Returns everything that is wrong with the ranges of a spec. What a subnet that exists holds is looked at by `plan`.
pub(super) fn check(spec: &ClusterSpec, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, group) in spec.workers.iter().enumerate() {
        let Some(range) = group.addresses else { continue };
        let at = tree.span_at(&format!("/workers/{index}/addresses"));
        let name = &group.group;
        if range.size() < u64::from(group.count) {
            let enough = range.first().to_bits().checked_add(group.count - 1).map(Ipv4Addr::from);
            let wider = enough.and_then(|last| AddressRange::between(range.first(), last));
            problems.push(
                Problem::new(
                    at,
                    format!("group `{name}`: range `{range}` has {} addresses for {} workers", range.size(), group.count),
                )
                .hint(wider.map(|range| format!("write `{range}`, or fewer workers"))),
            );
        }
        if let Network::Own(network) = &spec.network {
            problems.extend(
                inside(range, network.cidr)
                    .map(|(message, hint)| Problem::new(at, format!("group `{name}`: range `{range}` {message}")).hint(hint)),
            );
        }
        let earlier = spec.workers[..index].iter().find(|earlier| earlier.addresses.is_some_and(|it| it.overlaps(range)));
        if let Some(earlier) = earlier {
            problems.push(
                Problem::new(at, format!("group `{name}`: range `{range}` overlaps that of group `{}`", earlier.group))
                    .hint("give each group addresses of its own".to_owned()),
            );
        }
    }
    problems
}

/// What is wrong with a range in a network of ewulf's, and what to write.
fn inside(range: AddressRange, network: Ipv4Network) -> Option<(String, String)> {
    let (first, master) = (network.hosts().next()?, network.hosts().next_back()?);
    let free = AddressRange::between(first, network.hosts().rev().nth(1)?)?;
    if !network.contains(range.first()) || !network.contains(range.last()) {
        return Some((format!("is not inside the network `{network}`"), format!("its workers can have {free}")));
    }
    if range.contains(master) {
        return Some((format!("has {master}, which is the master's"), format!("its workers can have {free}")));
    }
    if range.first() < first || range.last() > master {
        let message = "has an address that AWS keeps: the first four and the last of a subnet".to_owned();
        return Some((message, format!("its workers can have {free}")));
    }
    None
}

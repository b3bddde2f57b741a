//! What a cluster spec must keep beyond its structure.

use std::collections::BTreeMap;

use super::cluster::{ClusterSpec, Market, Network, OwnNetwork, Placement};
use super::{check_addresses, check_capacity};
use crate::names::TextForm;
use crate::quantity::Ipv4Network;
use crate::yaml::{Node, Problem};

/// Shortest and longest prefix of a subnet of AWS.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=28;

/// Most tags of a user: EC2 allows 50 on a resource, and ewulf needs some itself.
const TAGS_MAX: usize = 40;

/// Longest key and value of a tag in EC2, in characters.
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;

/// Networks that no interface can have, with what they are for.
const SPECIAL_NETWORKS: [(&str, &str); 4] = [
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses, instance metadata among them"),
    ("224.0.0.0/3", "multicast and future use"),
];

/// Returns everything that is wrong with a spec.
pub(super) fn check(spec: &ClusterSpec, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Network::Own(network) = &spec.network {
        own_network(spec, network, tree, &mut problems);
    }
    ssh_networks(spec.network.ssh_from(), tree, &mut problems);
    groups(spec, tree, &mut problems);
    check_capacity::check(spec, tree, &mut problems);
    problems.extend(check_addresses::check(spec, tree));
    tags(&spec.tags, tree, &mut problems);
    problems
}

fn own_network(spec: &ClusterSpec, network: &OwnNetwork, tree: &Node, problems: &mut Vec<Problem>) {
    let at = tree.span_at("/network/cidr");
    let cidr = network.cidr;
    if !PREFIXES.contains(&cidr.prefix()) {
        let message = format!("network `{cidr}` is too {}", if cidr.prefix() < 16 { "large" } else { "small" });
        let nearest = cidr.prefix().clamp(*PREFIXES.start(), *PREFIXES.end());
        let suggestion =
            Ipv4Network::containing(cidr.address(), nearest).map(|network| format!("AWS takes /16 to /28: write `{network}`"));
        problems.push(Problem::new(at, message).hint(suggestion));
    } else if cidr.usable() < spec.node_count() {
        let needed = spec.node_count() + (cidr.size() - cidr.usable());
        let fitting = (*PREFIXES.start()..=*PREFIXES.end())
            .rev()
            .filter_map(|prefix| Ipv4Network::containing(cidr.address(), prefix))
            .find(|network| network.size() >= needed);
        problems.push(
            Problem::new(at, format!("network `{cidr}` has {} addresses for {} nodes", cidr.usable(), spec.node_count()))
                .hint(match fitting {
                    Some(network) => format!("write `{network}`"),
                    None => "have fewer workers: the largest network is a /16".to_owned(),
                })
                .note(format!("of its {} addresses AWS keeps five", cidr.size())),
        );
    }
    for (special, purpose) in SPECIAL_NETWORKS {
        if special.parse::<Ipv4Network>().is_ok_and(|special| special.overlaps(cidr)) {
            problems.push(
                Problem::new(at, format!("network `{cidr}` overlaps `{special}`, which is for {purpose}"))
                    .hint(format!("write a private network, such as `{}`", Ipv4Network::EXAMPLE)),
            );
        }
    }
    if let Some(zone) = &network.zone
        && !zone.as_str().starts_with(spec.region.as_str())
    {
        problems.push(
            Problem::new(tree.span_at("/network/zone"), format!("zone `{zone}` is not in region `{}`", spec.region))
                .hint(format!("write `zone: {}a`, or another region", spec.region)),
        );
    }
}

fn ssh_networks(networks: &[Ipv4Network], tree: &Node, problems: &mut Vec<Problem>) {
    for (index, network) in networks.iter().enumerate() {
        if let Some(earlier) = networks[..index].iter().find(|earlier| earlier.overlaps(*network)) {
            let wider = if earlier.prefix() <= network.prefix() { earlier } else { network };
            problems.push(
                Problem::new(
                    tree.span_at(&format!("/network/ssh_from/{index}")),
                    format!("network `{network}` overlaps `{earlier}`"),
                )
                .hint(format!("keep `{wider}` alone")),
            );
        }
    }
}

fn groups(spec: &ClusterSpec, tree: &Node, problems: &mut Vec<Problem>) {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, group) in spec.workers.iter().enumerate() {
        let at = |key: &str| tree.span_at(&format!("/workers/{index}/{key}"));
        let name = group.group.as_str();
        match lines.get(name) {
            Some(line) => problems.push(
                Problem::new(at("group"), format!("group `{name}` is given twice"))
                    .hint("give it another name, or add its count to the first".to_owned())
                    .note(format!("it is first given in line {line}")),
            ),
            None => {
                lines.insert(name, at("group").line);
            }
        }
        if group.placement == Placement::Cluster && !group.instance_type.can_cluster() {
            problems.push(
                Problem::new(
                    at("placement"),
                    format!("group `{name}`: EC2 takes no `{}` into a cluster placement group", group.instance_type),
                )
                .hint("write `placement: none`, or use a type that is not burstable, such as `c7i.large`".to_owned()),
            );
        }
        if group.market == Market::Spot && !group.instance_type.can_spot() {
            problems.push(
                Problem::new(at("market"), format!("group `{name}`: EC2 sells no `{}` on the spot market", group.instance_type))
                    .hint("write `market: on-demand`, or use another type".to_owned()),
            );
        }
    }
}

fn tags(tags: &BTreeMap<String, String>, tree: &Node, problems: &mut Vec<Problem>) {
    if tags.len() > TAGS_MAX {
        problems.push(
            Problem::new(tree.span_at("/tags"), format!("`tags` has {} entries; at most {TAGS_MAX} fit", tags.len()))
                .note("EC2 allows 50 tags on a resource, and ewulf needs some itself"),
        );
    }
    let entries = tree.get("tags").map(Node::entries).unwrap_or_default();
    for entry in entries {
        let key = entry.key.as_str();
        let lower = key.to_ascii_lowercase();
        let (message, hint) = if let Some(prefix) = ["aws:", "ewulf:"].iter().find(|prefix| lower.starts_with(**prefix)) {
            (format!("tag `{key}` starts with `{prefix}`, which is reserved"), "choose another key")
        } else if key == "Name" {
            ("tag `Name` is set by ewulf".to_owned(), "choose another key, such as `title`")
        } else if key.is_empty() || key.chars().count() > TAG_KEY_MAX {
            (format!("tag `{key:.20}…`: a key has 1 to {TAG_KEY_MAX} characters"), "shorten it")
        } else if key.chars().any(char::is_control) {
            (format!("tag {key:?} has a control character"), "remove it")
        } else {
            let value = tags.get(key).map(String::as_str).unwrap_or_default();
            if value.chars().count() > TAG_VALUE_MAX {
                let message = format!("tag `{key}`: a value has at most {TAG_VALUE_MAX} characters");
                problems.push(Problem::new(entry.value.span, message).hint("shorten it".to_owned()));
            } else if value.chars().any(char::is_control) {
                problems.push(
                    Problem::new(entry.value.span, format!("tag `{key}`: its value has a control character"))
                        .hint("remove it".to_owned()),
                );
            }
            continue;
        };
        problems.push(Problem::new(entry.key_span, message).hint(hint.to_owned()));
    }
}

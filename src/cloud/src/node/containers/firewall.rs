//! Security groups as nftables rules in a VPC's namespace.
//!
//! A packet must be allowed out of its sender and into its receiver; established flows always pass. Metadata is reached
//! at the router itself, which nobody's rules concern.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Ground, check_id, network, program};
use crate::node::{DriverError, FlowRule, NodeFirewall, Peer};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Ground {
    pub(super) fn set_firewall(&self, vpc_id: &str, nodes: &[NodeFirewall]) -> Result<(), DriverError> {
        let rules = ruleset(nodes);
        self.vpc_namespace(check_id(vpc_id)?).enter(|| program::run("nft", ["-f", "-"], &rules).map(drop))
    }
}

/// All rules of a VPC as one nftables transaction that replaces the former.
pub(super) fn ruleset(nodes: &[NodeFirewall]) -> String {
    let mut text = String::from("table ip firewall {\n}\ndelete table ip firewall\ntable ip firewall {\n");
    let mut known = BTreeSet::new();
    for node in nodes.iter().filter(|node| known.insert(node.address)) {
        chain(&mut text, "out", "daddr", node.address, &node.egress, "return");
        chain(&mut text, "in", "saddr", node.address, &node.ingress, "accept");
    }
    map(&mut text, "senders", "jump out", &known);
    map(&mut text, "receivers", "goto in", &known);
    text.push_str(
        "\tchain forward {\n\
         \t\ttype filter hook forward priority filter; policy drop;\n\
         \t\tct state vmap { established : accept, related : accept, invalid : drop }\n\
         \t\tiifname \"wan\" ip daddr vmap @receivers\n\
         \t\tiifname \"wan\" drop\n",
    );
    if !known.is_empty() {
        // A sender's chain returns what it allows and drops the rest.
        let _ = writeln!(text, "\t\tip saddr != {} drop", set(&known));
        text.push_str("\t\tip saddr vmap @senders\n\t\toifname \"wan\" accept\n\t\tip daddr vmap @receivers\n");
    }
    text.push_str(
        "\t}\n\tchain input {\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tiifname \"wan\" ct state new drop\n\t}\n}\n",
    );
    text
}

fn chain(text: &mut String, name: &str, side: &str, address: Ipv4Addr, rules: &[FlowRule], verdict: &str) {
    let _ = writeln!(text, "\tchain {} {{", chain_name(name, address));
    for condition in rules.iter().filter_map(|rule| condition(rule, side)) {
        let _ = writeln!(text, "\t\t{condition}{verdict}");
    }
    text.push_str("\t\tdrop\n\t}\n");
}

fn map(text: &mut String, name: &str, verdict: &str, addresses: &BTreeSet<Ipv4Addr>) {
    let _ = writeln!(text, "\tmap {name} {{\n\t\ttype ipv4_addr : verdict");
    let (action, chain) = verdict.split_once(' ').unwrap_or((verdict, ""));
    let elements: Vec<String> =
        addresses.iter().map(|address| format!("{address} : {action} {}", chain_name(chain, *address))).collect();
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

fn chain_name(name: &str, address: Ipv4Addr) -> String {
    format!("{name}_{}", address.to_string().replace('.', "_"))
}

fn set<'a>(addresses: impl IntoIterator<Item = &'a Ipv4Addr>) -> String {
    let unique: BTreeSet<&Ipv4Addr> = addresses.into_iter().collect();
    let words: Vec<String> = unique.into_iter().map(Ipv4Addr::to_string).collect();
    format!("{{ {} }}", words.join(", "))
}

/// What a packet must match, ending in a space unless empty; None for a rule that can match nothing.
fn condition(rule: &FlowRule, side: &str) -> Option<String> {
    let mut text = match &rule.peer {
        Peer::Cidr(cidr) if cidr.prefix == 0 => String::new(),
        Peer::Cidr(cidr) => format!("ip {side} {}/{} ", network::nth(*cidr, 0), cidr.prefix.min(32)),
        Peer::Addresses(addresses) if addresses.is_empty() => return None,
        Peer::Addresses(addresses) => format!("ip {side} {} ", set(addresses)),
    };
    let Some(protocol) = rule.protocol else { return Some(text) };
    let (from, to) = rule.ports.unwrap_or((-1, -1));
    match protocol {
        TCP | UDP if from >= 0 => {
            let name = if protocol == TCP { "tcp" } else { "udp" };
            let (from, to) = (from.clamp(0, 65535), to.clamp(0, 65535));
            if from > to {
                return None;
            }
            let _ = write!(text, "{name} dport {from}-{to} ");
        }
        ICMP if from >= 0 => {
            let _ = write!(text, "icmp type {} ", from.min(255));
            if to >= 0 {
                let _ = write!(text, "icmp code {} ", to.min(255));
            }
        }
        other => {
            let _ = write!(text, "ip protocol {other} ");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Network;

    fn rule(protocol: Option<u8>, ports: Option<(i32, i32)>, peer: Peer) -> FlowRule {
        FlowRule { protocol, ports, peer }
    }

    fn anywhere() -> Peer {
        Peer::Cidr(Network { address: Ipv4Addr::UNSPECIFIED, prefix: 0 })
    }

    #[test]
    fn rules_become_conditions() {
        let subnet = Peer::Cidr(Network { address: Ipv4Addr::new(10, 42, 0, 9), prefix: 24 });
        let cases = [
            (rule(None, None, anywhere()), ""),
            (rule(Some(TCP), Some((22, 22)), anywhere()), "tcp dport 22-22 "),
            (rule(Some(UDP), Some((0, 65535)), subnet.clone()), "ip saddr 10.42.0.0/24 udp dport 0-65535 "),
            (rule(Some(TCP), None, subnet), "ip saddr 10.42.0.0/24 ip protocol 6 "),
            (rule(Some(ICMP), Some((8, -1)), anywhere()), "icmp type 8 "),
            (rule(Some(ICMP), Some((-1, -1)), anywhere()), "ip protocol 1 "),
            (rule(Some(50), Some((1, 2)), anywhere()), "ip protocol 50 "),
        ];
        for (rule, expected) in cases {
            assert_eq!(condition(&rule, "saddr").as_deref(), Some(expected), "{rule:?}");
        }
    }

    #[test]
    fn an_empty_group_admits_nobody() {
        assert_eq!(condition(&rule(None, None, Peer::Addresses(Vec::new())), "saddr"), None);
    }

    #[test]
    fn a_node_named_twice_makes_one_chain() {
        let node = NodeFirewall { address: Ipv4Addr::new(10, 0, 0, 4), ingress: Vec::new(), egress: Vec::new() };
        let text = ruleset(&[node.clone(), node]);
        assert_eq!(text.matches("chain in_10_0_0_4").count(), 1);
    }
}

//! Networks of VPCs: one namespace each, a bridge for every subnet, a port and a namespace for every node.
//!
//! Ports are isolated and the bridge answers ARP for every address, so all traffic, that within a subnet too, passes
//! the router and its firewall, as on EC2, where no frame reaches a neighbour unrouted either.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::namespace::{self, Namespace};
use super::uplink::Uplink;
use super::{Ground, check_id, firewall, io_error, link_name, lock, note, program, read_json, uplink, write_json};
use crate::node::{DriverError, Network, NodeBoot, SubnetNetwork, VpcNetwork};

/// Where instances find their metadata.
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Largest packet between nodes: EC2's jumbo frame inside a VPC.
const NODE_MTU: u32 = 9001;

/// A network as it was last made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub network: VpcNetwork,
    /// Number of the VPC's link to the cloud's namespace: the n-th /30 of 100.127.0.0/16.
    link: u32,
}

impl Made {
    fn link_network(&self) -> Network {
        link_network(self.link)
    }
}

impl Ground {
    pub(super) fn vpc_namespace(&self, vpc_id: &str) -> Namespace {
        Namespace::new(format!("ewulf-{}.{vpc_id}", self.name))
    }

    pub(super) fn node_namespace(&self, instance_id: &str) -> Namespace {
        Namespace::new(format!("ewulf-{}.{instance_id}", self.name))
    }

    pub(super) fn network_file(&self, vpc_id: &str) -> PathBuf {
        self.state.join("networks").join(format!("{vpc_id}.json"))
    }

    pub(super) fn set_network(&self, network: &VpcNetwork) -> Result<(), DriverError> {
        check_id(&network.vpc_id)?;
        let mut networks = lock(&self.networks);
        let uplink = self.ensure_uplink()?;
        let namespace = self.vpc_namespace(&network.vpc_id);
        let file = self.network_file(&network.vpc_id);
        let before: Option<Made> = if namespace.exists() { read_json(&file) } else { None };
        let connected = before.is_some() && namespace.enter(|| Ok(link_exists("wan")))?;
        let made = match &before {
            Some(before) if connected && before.network == *network => {
                networks.insert(network.vpc_id.clone(), before.clone());
                return Ok(());
            }
            Some(before) => {
                if !connected {
                    self.connect_vpc(before, &uplink)?;
                }
                Made { network: network.clone(), link: before.link }
            }
            None => {
                self.take_down_vpc(&network.vpc_id)?;
                let made = Made { network: network.clone(), link: free_link(&self.links(), network.cidr) };
                self.make_vpc(&made, &uplink)?;
                made
            }
        };
        let gateway = nth(made.link_network(), 1);
        // What fails half-way is still noted as it was before, and made anew by the next call.
        namespace.enter(|| apply(before.as_ref().map(|before| &before.network), network, gateway, uplink.mtu))?;
        write_json(&file, &made)?;
        networks.insert(network.vpc_id.clone(), made);
        Ok(())
    }

    /// Every VPC that is noted on disk.
    pub(super) fn known_networks(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state.join("networks")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
    }

    /// Numbers of links that are taken.
    fn links(&self) -> Vec<u32> {
        let noted = self.known_networks().into_iter().filter_map(|id| read_json::<Made>(&self.network_file(&id)));
        noted.map(|made| made.link).collect()
    }

    fn make_vpc(&self, made: &Made, uplink: &Uplink) -> Result<(), DriverError> {
        let namespace = self.vpc_namespace(&made.network.vpc_id);
        namespace.create()?;
        namespace.enter(|| {
            namespace::set_parameters(&router_parameters())?;
            namespace::ip(&["link set lo up".to_owned(), format!("addr add {METADATA_ADDRESS}/32 dev lo")])?;
            // Nobody is admitted before the first rules.
            program::run("nft", ["-f", "-"], &firewall::ruleset(&[])).map(drop)
        })?;
        self.connect_vpc(made, uplink)
    }

    /// Links the VPC's namespace to the cloud's.
    fn connect_vpc(&self, made: &Made, uplink: &Uplink) -> Result<(), DriverError> {
        let (namespace, mtu) = (self.vpc_namespace(&made.network.vpc_id), uplink.mtu);
        let (outer, inner) = (nth(made.link_network(), 1), nth(made.link_network(), 2));
        let link = link_name("v-", &made.network.vpc_id);
        self.cloud_namespace().ip(&[
            format!("link add {link} mtu {mtu} type veth peer name wan mtu {mtu} netns {}", namespace.name),
            format!("addr add {outer}/30 dev {link}"),
            format!("link set {link} up"),
        ])?;
        namespace.ip(&[format!("addr add {inner}/30 dev wan"), "link set wan up".to_owned()])
    }

    pub(super) fn remove_network(&self, vpc_id: &str) -> Result<(), DriverError> {
        check_id(vpc_id)?;
        let mut networks = lock(&self.networks);
        self.take_down_vpc(vpc_id)?;
        networks.remove(vpc_id);
        std::fs::remove_file(self.network_file(vpc_id))
            .or_else(ignore_missing)
            .map_err(io_error(format!("network {vpc_id} cannot be forgotten")))
    }

    /// Removes the VPC's link and namespace if they are there.
    pub(super) fn take_down_vpc(&self, vpc_id: &str) -> Result<(), DriverError> {
        let cloud = self.cloud_namespace();
        let link = link_name("v-", vpc_id);
        if cloud.exists() {
            cloud.enter(|| delete_link(&link))?;
        }
        self.vpc_namespace(vpc_id).delete()
    }

    pub(super) fn listen(&self, vpc_id: &str, address: Ipv4Addr, port: u16) -> Result<TcpListener, DriverError> {
        let what = format!("{address}:{port} cannot be listened at in {vpc_id}");
        self.vpc_namespace(check_id(vpc_id)?).enter(|| TcpListener::bind((address, port)).map_err(io_error(what)))
    }

    /// Gives the node a namespace of its own whose only way is its port on the subnet's bridge.
    pub(super) fn connect_node(&self, node: &NodeBoot) -> Result<(), DriverError> {
        self.disconnect_node(&node.instance_id, &node.vpc_id)?;
        let (namespace, vpc) = (self.node_namespace(&node.instance_id), self.vpc_namespace(&node.vpc_id));
        let (port, bridge) = (link_name("p-", &node.instance_id), link_name("br-", &node.subnet_id));
        check_mac(&node.mac)?;
        namespace.create()?;
        vpc.ip(&[
            format!(
                "link add {port} mtu {NODE_MTU} type veth peer name eth0 mtu {NODE_MTU} address {} netns {}",
                node.mac, namespace.name
            ),
            format!("link set {port} master {bridge} up"),
            format!("link set {port} type bridge_slave isolated on"),
        ])?;
        namespace.ip(&[
            "link set lo up".to_owned(),
            format!("addr add {}/{} brd + dev eth0", node.address, node.subnet.prefix),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", router(node.subnet)),
        ])
    }

    pub(super) fn disconnect_node(&self, instance_id: &str, vpc_id: &str) -> Result<(), DriverError> {
        let vpc = self.vpc_namespace(vpc_id);
        if vpc.exists() {
            // The port goes first and at once; with the namespace it would go some time later.
            vpc.enter(|| delete_link(&link_name("p-", instance_id)))?;
        }
        self.node_namespace(instance_id).delete()
    }
}

/// Brings bridges and the way out from one state of the VPC to another; runs inside its namespace.
fn apply(before: Option<&VpcNetwork>, after: &VpcNetwork, gateway: Ipv4Addr, mtu: u32) -> Result<(), DriverError> {
    let had = before.map_or(&[][..], |before| &before.subnets);
    for gone in had.iter().filter(|subnet| !after.subnets.contains(subnet)) {
        delete_link(&link_name("br-", &gone.subnet_id))?;
    }
    let added: Vec<&SubnetNetwork> = after.subnets.iter().filter(|subnet| !had.contains(subnet)).collect();
    let mut lines = Vec::new();
    for subnet in &added {
        check_id(&subnet.subnet_id)?;
        let bridge = link_name("br-", &subnet.subnet_id);
        delete_link(&bridge)?;
        lines.push(format!("link add {bridge} address {} mtu {NODE_MTU} type bridge", router_mac(&subnet.subnet_id)));
        lines.push(format!("addr add {}/{} dev {bridge}", router(subnet.cidr), subnet.cidr.prefix));
        lines.push(format!("link set {bridge} up"));
    }
    if after.internet {
        lines.push(format!("route replace default via {gateway}"));
    }
    namespace::ip(&lines)?;
    let answering = added.iter().flat_map(|subnet| {
        let bridge = link_name("br-", &subnet.subnet_id);
        // Linux delays answers of an ARP proxy by up to 0.8 s.
        [(format!("ipv4/neigh/{bridge}/proxy_delay"), "0"), (format!("ipv4/conf/{bridge}/proxy_arp_pvlan"), "1")]
    });
    namespace::set_parameters(&answering.collect::<Vec<_>>())?;
    let internet = if after.internet { way_out(mtu) } else { "table ip way_out {\n}\ndelete table ip way_out\n".to_owned() };
    program::run("nft", ["-f", "-"], &internet)?;
    if !after.internet && before.is_some_and(|before| before.internet) {
        program::run("ip", ["route", "flush", "exact", "0.0.0.0/0"], "")?;
    }
    Ok(())
}

/// Masquerading, and segments cut to what the way out carries: nodes think in jumbo frames.
fn way_out(mtu: u32) -> String {
    // A TCP segment's IP and TCP headers take 40 bytes.
    let segment = mtu.saturating_sub(40);
    uplink::masquerade("way_out", "oifname \"wan\"")
        + &format!(
            "table ip way_out {{\n\tchain segments {{\n\t\ttype filter hook forward priority mangle; policy accept;\n\
             \t\tiifname \"wan\" tcp flags & (syn | rst) == syn tcp option maxseg size set {segment}\n\
             \t\toifname \"wan\" tcp flags & (syn | rst) == syn tcp option maxseg size set {segment}\n\t}}\n}}\n"
        )
}

/// How a VPC's namespace routes. New links inherit `default`.
fn router_parameters() -> Vec<(String, &'static str)> {
    let set = |path: &str, value| (path.to_owned(), value);
    vec![
        set("ipv4/ip_forward", "1"),
        // Traffic that leaves where it came in is the rule here: no redirects, no reverse path test.
        set("ipv4/conf/all/send_redirects", "0"),
        set("ipv4/conf/default/send_redirects", "0"),
        set("ipv4/conf/all/rp_filter", "0"),
        set("ipv4/conf/default/rp_filter", "0"),
        // Every packet passes the router, so bridge filters would only see it twice.
        set("bridge/bridge-nf-call-iptables", "0"),
        set("bridge/bridge-nf-call-ip6tables", "0"),
        set("bridge/bridge-nf-call-arptables", "0"),
    ]
}

/// Deletes a link of the calling thread's namespace if it is there.
fn delete_link(name: &str) -> Result<(), DriverError> {
    if link_exists(name) {
        namespace::ip(&[format!("link del {name}")])?;
    }
    Ok(())
}

/// Whether the calling thread's namespace has a link of this name; /sys would show that of its mount.
fn link_exists(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_else(|error| {
        note(format!("links cannot be listed: {error}"));
        String::new()
    });
    text.lines().filter_map(|line| line.split_once(':')).any(|(link, _)| link.trim() == name)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn check_mac(mac: &str) -> Result<(), DriverError> {
    let pairs: Vec<&str> = mac.split(':').collect();
    if pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok()) {
        return Ok(());
    }
    Err(DriverError::State(format!("hardware address {mac:?} is none")))
}

fn link_network(number: u32) -> Network {
    Network { address: Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 127, 0, 0)) + number * 4), prefix: 30 }
}

/// The first link number that is free and whose addresses do not lie in the VPC.
fn free_link(taken: &[u32], cidr: Network) -> u32 {
    let free = |number: &u32| !taken.contains(number) && !overlap(link_network(*number), cidr);
    (0..1 << 14).find(free).unwrap_or_default()
}

/// A subnet's first usable address, which its router has.
pub(super) fn router(subnet: Network) -> Ipv4Addr {
    nth(subnet, 1)
}

/// A stable number from a text.
pub(super) fn digest(text: &str) -> u32 {
    let bytes = Sha256::digest(text.as_bytes());
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A locally administered hardware address from an id, so that the bridge does not take that of a port.
fn router_mac(id: &str) -> String {
    let [first, second, third, fourth] = digest(id).to_be_bytes();
    format!("02:65:{first:02x}:{second:02x}:{third:02x}:{fourth:02x}")
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or_default()
}

/// The network's own address, host bits cleared.
pub(super) fn first(network: Network) -> u32 {
    u32::from(network.address) & mask(network.prefix)
}

pub(super) fn nth(network: Network, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(first(network) + number)
}

pub(super) fn contains(network: Network, address: Ipv4Addr) -> bool {
    u32::from(address) & mask(network.prefix) == first(network)
}

pub(super) fn overlap(one: Network, other: Network) -> bool {
    let shorter = mask(one.prefix.min(other.prefix));
    u32::from(one.address) & shorter == u32::from(other.address) & shorter
}

/// Reads `10.0.0.0/8` or a single address.
pub(super) fn parse(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let network = Network { address: address.parse().ok()?, prefix: prefix.parse().ok()? };
    (network.prefix <= 32).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        parse(text).unwrap()
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        assert!(overlap(network("10.42.0.0/16"), network("10.42.7.0/24")));
        assert!(overlap(network("0.0.0.0/0"), network("10.42.7.0/24")));
        assert!(!overlap(network("10.42.0.0/24"), network("10.42.1.0/24")));
    }

    #[test]
    fn a_vpc_in_the_link_range_gets_a_link_outside_itself() {
        let number = free_link(&[64], network("100.127.0.0/24"));
        assert_eq!(link_network(number), network("100.127.1.4/30"));
    }

    #[test]
    fn the_router_has_the_first_usable_address() {
        assert_eq!(router(network("10.42.16.0/20")), Ipv4Addr::new(10, 42, 16, 1));
    }
}

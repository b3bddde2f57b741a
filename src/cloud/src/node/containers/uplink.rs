//! The one link between the local cloud's namespace and the host, and how nodes find names.
//!
//! The host gets one interface, one nftables table and, on the interfaces that lead out, forwarding; all of it is taken
//! back by [`Ground::remove_uplink`]. Routes and other rules of the host stay as they are.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::namespace::{self, Namespace};
use super::{Ground, create_folder, io_error, network, note, program, read_json, write_json};
use crate::node::{DriverError, Network};

/// What every local cloud of the machine shares: the lock, who is up, and which forwarding was switched on.
const COMMON: &str = "/run/ewulf";

/// The largest packet the link carries if the host has no way out to learn it from.
const ETHERNET_MTU: u32 = 1500;

/// The link as it was made: a /30 of the carrier-grade range, the host's end first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uplink {
    pub network: Network,
    pub mtu: u32,
}

impl Uplink {
    pub fn host_end(&self) -> Ipv4Addr {
        network::nth(self.network, 1)
    }

    fn cloud_end(&self) -> Ipv4Addr {
        network::nth(self.network, 2)
    }
}

/// What the host's routing tables say: networks it knows, and interfaces of default routes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Routes {
    networks: Vec<(Network, String)>,
    ways_out: Vec<String>,
}

impl Ground {
    /// The namespace between the host and the VPCs.
    pub(super) fn cloud_namespace(&self) -> Namespace {
        Namespace::new(format!("ewulf-{}", self.name))
    }

    fn uplink_name(&self) -> String {
        format!("ew-{}", self.name)
    }

    fn table_name(&self) -> String {
        format!("ewulf_{}", self.name)
    }

    fn uplink_file(&self) -> PathBuf {
        self.state.join("uplink.json")
    }

    /// Makes the cloud's namespace and its link to the host unless they exist.
    pub(super) fn ensure_uplink(&self) -> Result<Uplink, DriverError> {
        let link_exists = Path::new("/sys/class/net").join(self.uplink_name()).exists();
        if link_exists
            && self.cloud_namespace().exists()
            && let Some(uplink) = read_json(&self.uplink_file())
        {
            keep_forwarding();
            return Ok(uplink);
        }
        let _lock = lock_machine()?;
        self.take_down_uplink()?;
        let routes = read_routes()?;
        let resolvers = host_resolvers();
        let mut ways_out = routes.ways_out.clone();
        ways_out.extend(
            routes
                .networks
                .iter()
                .filter(|(net, _)| resolvers.iter().any(|ip| network::contains(*net, *ip)))
                .map(|(_, device)| device.clone()),
        );
        ways_out.sort();
        ways_out.dedup();
        ways_out.retain(|device| device != "lo");
        let mtu = ways_out.iter().filter_map(|device| read_mtu(device)).min().unwrap_or(ETHERNET_MTU);
        let uplink = Uplink { network: self.choose_network(&routes, &resolvers), mtu: mtu.min(ETHERNET_MTU) };
        self.make_uplink(&uplink)?;
        forward(&ways_out)?;
        warn_of_foreign_firewall();
        let common = Path::new(COMMON).join("clouds");
        create_folder(&common)?;
        std::fs::write(common.join(&self.name), self.uplink_name()).map_err(io_error("the cloud cannot be noted in /run"))?;
        write_json(&self.uplink_file(), &uplink)?;
        Ok(uplink)
    }

    /// A /30 that no route and no resolver of the host lies in; the search starts at a place of the cloud's own.
    fn choose_network(&self, routes: &Routes, resolvers: &[Ipv4Addr]) -> Network {
        let start = network::digest(&self.name);
        // 100.64.0.0 to 100.126.255.255: the last /16 of the range numbers the links of VPCs.
        let count = (63 << 16) / 4;
        let candidate = |step: u32| Network {
            address: Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + (start.wrapping_add(step) % count) * 4),
            prefix: 30,
        };
        let free = |net: &Network| {
            !routes.networks.iter().any(|(known, _)| known.prefix > 0 && network::overlap(*known, *net))
                && !resolvers.iter().any(|ip| network::contains(*net, *ip))
        };
        (0..count).map(candidate).find(free).unwrap_or_else(|| candidate(0))
    }

    fn make_uplink(&self, uplink: &Uplink) -> Result<(), DriverError> {
        let (link, mtu, host, cloud) = (self.uplink_name(), uplink.mtu, uplink.host_end(), uplink.cloud_end());
        let namespace = self.cloud_namespace();
        namespace.create()?;
        namespace::ip(&[
            format!("link add {link} mtu {mtu} type veth peer name uplink mtu {mtu} netns {}", namespace.name),
            format!("addr add {host}/30 dev {link}"),
            format!("link set {link} up"),
        ])?;
        // Replies come back by this interface's own switch; the host's ip_forward stays as it is.
        namespace::set_parameters(&[(format!("ipv4/conf/{link}/forwarding"), "1")])?;
        namespace.enter(|| {
            namespace::set_parameters(&[("ipv4/ip_forward".to_owned(), "1"), ("ipv4/conf/all/rp_filter".to_owned(), "0")])?;
            namespace::ip(&[
                "link set lo up".to_owned(),
                format!("addr add {cloud}/30 dev uplink"),
                "link set uplink up".to_owned(),
                format!("route add default via {host}"),
            ])?;
            program::run("nft", ["-f", "-"], &masquerade("ewulf", "oifname \"uplink\"")).map(drop)
        })?;
        let table = self.table_name();
        let mut rules = masquerade(&table, &format!("ip saddr {}/30 oifname != \"{link}\"", uplink.network.address));
        if host_resolvers().is_empty() {
            // The host asks a resolver of its own on 127.0.0.x: nodes ask the link's host end, which hands it on.
            namespace::set_parameters(&[(format!("ipv4/conf/{link}/route_localnet"), "1")])?;
            rules += &name_service(&table, &link, host, loopback_resolver());
        }
        program::run("nft", ["-f", "-"], &rules).map(drop)
    }

    /// Removes link, table and namespace, and restores forwarding when no other local cloud is up.
    pub(super) fn remove_uplink(&self) -> Result<(), DriverError> {
        let _lock = lock_machine()?;
        self.take_down_uplink()?;
        let _ = std::fs::remove_file(self.uplink_file());
        let _ = std::fs::remove_file(Path::new(COMMON).join("clouds").join(&self.name));
        if !other_clouds_are_up() {
            restore_forwarding();
        }
        Ok(())
    }

    fn take_down_uplink(&self) -> Result<(), DriverError> {
        let link = self.uplink_name();
        if Path::new("/sys/class/net").join(&link).exists() {
            namespace::ip(&[format!("link del {link}")])?;
        }
        self.cloud_namespace().delete()?;
        let table = self.table_name();
        program::run("nft", ["-f", "-"], &format!("table ip {table} {{\n}}\ndelete table ip {table}\n")).map(drop)
    }

    /// The text of a node's /etc/resolv.conf.
    pub(super) fn resolver_file(&self, uplink: &Uplink) -> String {
        let mut resolvers = host_resolvers();
        if resolvers.is_empty() {
            resolvers.push(uplink.host_end());
        }
        // The C library asks at most three (resolv.conf(5)).
        resolvers.iter().take(3).map(|ip| format!("nameserver {ip}\n")).collect()
    }
}

/// A table of one name with one masquerading rule, replacing what it had before.
pub(super) fn masquerade(table: &str, condition: &str) -> String {
    format!(
        "table ip {table} {{\n}}\ndelete table ip {table}\ntable ip {table} {{\n\
         \tchain outgoing {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\t{condition} masquerade\n\t}}\n}}\n"
    )
}

fn name_service(table: &str, link: &str, host: Ipv4Addr, resolver: Ipv4Addr) -> String {
    format!(
        "table ip {table} {{\n\tchain names {{\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tiifname \"{link}\" ip daddr {host} udp dport 53 dnat to {resolver}\n\
         \t\tiifname \"{link}\" ip daddr {host} tcp dport 53 dnat to {resolver}\n\t}}\n}}\n"
    )
}

/// Only one local cloud of the machine changes the host's network at a time.
fn lock_machine() -> Result<File, DriverError> {
    create_folder(Path::new(COMMON))?;
    let what = "the lock of the machine's network cannot be taken";
    let file = File::create(Path::new(COMMON).join("lock")).map_err(io_error(what))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| io_error(what)(error.into()))?;
    Ok(file)
}

/// Switches forwarding on for these interfaces and notes those that had it off.
fn forward(devices: &[String]) -> Result<(), DriverError> {
    let noted = Path::new(COMMON).join("forwarding");
    create_folder(&noted)?;
    for device in devices {
        let parameter = format!("ipv4/conf/{device}/forwarding");
        let now = std::fs::read_to_string(Path::new("/proc/sys/net").join(&parameter)).unwrap_or_default();
        if now.trim() == "0" {
            std::fs::write(noted.join(device), "0").map_err(io_error("the host's forwarding cannot be noted"))?;
            namespace::set_parameters(&[(parameter, "1")])?;
        }
    }
    Ok(())
}

/// Rules of other programs (Docker's, for one) may drop what is forwarded; they are not ours to change.
fn warn_of_foreign_firewall() {
    let chain = program::run("nft", ["list", "chain", "ip", "filter", "FORWARD"], "").unwrap_or_default();
    if chain.contains("policy drop") {
        note(
            "the host's firewall drops forwarded traffic: nodes may not reach the world; \
             hint: sudo iptables -I FORWARD -s 100.64.0.0/10 -j ACCEPT; sudo iptables -I FORWARD -d 100.64.0.0/10 -j ACCEPT",
        );
    }
}

/// Interfaces whose forwarding the local clouds of this machine have switched on.
fn forwarding_devices() -> Vec<String> {
    let noted = std::fs::read_dir(Path::new(COMMON).join("forwarding")).into_iter().flatten().flatten();
    noted.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Switches forwarding on again where something else has switched it off since, such as a reload of all parameters.
fn keep_forwarding() {
    if let Err(error) = forward(&forwarding_devices()) {
        note(error);
    }
}

fn restore_forwarding() {
    for device in forwarding_devices() {
        if let Err(error) = namespace::set_parameters(&[(format!("ipv4/conf/{device}/forwarding"), "0")]) {
            note(error);
        }
        let _ = std::fs::remove_file(Path::new(COMMON).join("forwarding").join(device));
    }
}

/// A noted cloud counts only while its link exists: /run may outlive a restart of the machine.
fn other_clouds_are_up() -> bool {
    let noted = std::fs::read_dir(Path::new(COMMON).join("clouds")).into_iter().flatten().flatten();
    noted
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|link| Path::new("/sys/class/net").join(link.trim()).exists())
}

fn read_mtu(device: &str) -> Option<u32> {
    std::fs::read_to_string(Path::new("/sys/class/net").join(device).join("mtu")).ok()?.trim().parse().ok()
}

fn read_routes() -> Result<Routes, DriverError> {
    let text = program::run("ip", ["-4", "-json", "route", "show", "table", "all"], "")?;
    parse_routes(&text).ok_or_else(|| DriverError::State("the host's routes cannot be understood".to_owned()))
}

/// Reads `ip -json route`: a list of objects with `dst` (`default`, an address or a network) and `dev`.
fn parse_routes(text: &str) -> Option<Routes> {
    let mut routes = Routes::default();
    let entries: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    for entry in &entries {
        let device = entry["dev"].as_str().unwrap_or_default().to_owned();
        match entry["dst"].as_str().unwrap_or_default() {
            "default" if !device.is_empty() => routes.ways_out.push(device),
            destination => {
                if let Some(known) = network::parse(destination) {
                    routes.networks.push((known, device));
                }
            }
        }
    }
    Some(routes)
}

/// The host's resolvers that a node can reach: not those on loopback, for which systemd-resolved lists its own sources.
fn host_resolvers() -> Vec<Ipv4Addr> {
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .map(|file| {
            let listed = parse_resolvers(&std::fs::read_to_string(file).unwrap_or_default());
            listed.into_iter().filter(|ip| !ip.is_loopback()).collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn loopback_resolver() -> Ipv4Addr {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    parse_resolvers(&text).into_iter().next().unwrap_or(Ipv4Addr::LOCALHOST)
}

fn parse_resolvers(text: &str) -> Vec<Ipv4Addr> {
    text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).filter_map(|ip| ip.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_from_ip() {
        let routes = parse_routes(
            r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0"},{"dst":"192.0.2.0/24","dev":"eth0"},{"type":"local","dst":"127.0.0.1","dev":"lo"}]"#,
        )
        .unwrap();
        assert_eq!(routes.ways_out, ["eth0"]);
        assert_eq!(routes.networks.len(), 2);
        assert_eq!(routes.networks[1].0.prefix, 32);
    }

    #[test]
    fn resolvers_of_other_families_are_left_out() {
        let text = "# local\nsearch example.org\nnameserver 127.0.0.53\nnameserver fe80::1\nnameserver 192.0.2.53\n";
        assert_eq!(parse_resolvers(text), [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(192, 0, 2, 53)]);
    }
}

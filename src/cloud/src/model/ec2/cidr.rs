//! Networks: text, canonical form, membership, and the addresses EC2 keeps for itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::node::Network;

/// Reads `10.0.0.0/16`; host bits are masked, as EC2 does. None if it is no CIDR block.
pub fn parse_network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    let address: Ipv4Addr = address.parse().ok()?;
    Some(Network { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix })
}

/// Writes a network as `10.0.0.0/16`.
pub fn network_text(network: Network) -> String {
    format!("{}/{}", network.address, network.prefix)
}

/// A block of IPv6 addresses. This cloud's networks have none; rules and routes may speak of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network6 {
    pub address: Ipv6Addr,
    pub prefix: u8,
}

/// As [`parse_network`], for IPv6.
pub fn parse_network6(text: &str) -> Option<Network6> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 128)?;
    let address: Ipv6Addr = address.parse().ok()?;
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Some(Network6 { address: Ipv6Addr::from_bits(address.to_bits() & mask), prefix })
}

/// Writes a network as `2001:db8::/32`.
pub fn network6_text(network: Network6) -> String {
    format!("{}/{}", network.address, network.prefix)
}

/// Whether the inner network lies within the outer one.
pub fn contains(outer: Network, inner: Network) -> bool {
    inner.prefix >= outer.prefix && inner.address.to_bits() & mask(outer.prefix) == outer.address.to_bits()
}

/// The broadcast address.
pub fn last_address(network: Network) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.address.to_bits() | !mask(network.prefix))
}

/// Whether EC2 keeps this address of the subnet for itself: the first four and the last.
pub fn is_reserved(subnet: Network, address: Ipv4Addr) -> bool {
    address.to_bits() - subnet.address.to_bits() < 4 || address == last_address(subnet)
}

/// The addresses of a subnet that instances may hold, lowest first.
pub fn usable_addresses(subnet: Network) -> impl Iterator<Item = Ipv4Addr> {
    (subnet.address.to_bits() + 4..last_address(subnet).to_bits()).map(Ipv4Addr::from_bits)
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_masked() {
        assert_eq!(parse_network("100.68.0.18/18").map(network_text).as_deref(), Some("100.68.0.0/18"));
        assert_eq!(parse_network("1.2.3.4/0").map(network_text).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(parse_network("1.2.3.4/33"), None);
        assert_eq!(parse_network6("2001:DB8::1/32").map(network6_text).as_deref(), Some("2001:db8::/32"));
        assert_eq!(parse_network6("2001:db8::1/0").map(network6_text).as_deref(), Some("::/0"));
        assert_eq!(parse_network6("2001:db8::1/129"), None);
    }

    #[test]
    fn five_addresses_of_a_subnet_are_reserved() {
        let subnet = parse_network("10.0.0.0/28").unwrap();
        let usable: Vec<Ipv4Addr> = usable_addresses(subnet).collect();
        assert_eq!((usable.len(), usable[0]), (11, Ipv4Addr::new(10, 0, 0, 4)));
        assert!(!usable.iter().any(|address| is_reserved(subnet, *address)));
    }

    #[test]
    fn a_network_contains_its_parts_alone() {
        let vpc = parse_network("10.0.0.0/16").unwrap();
        assert!(contains(vpc, parse_network("10.0.255.0/24").unwrap()));
        assert!(!contains(vpc, parse_network("10.1.0.0/24").unwrap()));
        assert!(!contains(vpc, parse_network("10.0.0.0/8").unwrap()));
    }
}

//! Networks of IPv4 addresses in CIDR form.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::names::{Invalid, TextForm, serde_as_text};

/// A network of IPv4 addresses: `10.42.0.0/16`. The bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Network {
    address: u32,
    prefix: u8,
}

/// Addresses that AWS keeps in each subnet: network, router, DNS, future use, broadcast.
const RESERVED_BY_AWS: u64 = 5;

impl Ipv4Network {
    /// Makes the network of the given prefix that an address lies in, or `None` for a prefix over 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self { address: u32::from(address) & mask(prefix), prefix })
    }

    /// Returns the first address, which names the network.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.address)
    }

    /// Returns the number of leading bits that all addresses share, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns how many addresses the network has.
    pub fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// Returns how many addresses a subnet of AWS with this network can give to instances: all but five.
    pub fn usable(self) -> u64 {
        self.size().saturating_sub(RESERVED_BY_AWS)
    }

    /// Returns the addresses that a subnet of AWS can give to instances, in order; the first is the network's fifth.
    pub fn hosts(self) -> impl DoubleEndedIterator<Item = Ipv4Addr> {
        let usable = self.usable();
        (0..usable).map(move |index| {
            let offset = u32::try_from(4 + index).expect("an offset is below 2^32: a network has at most that many addresses");
            Ipv4Addr::from(self.address + offset)
        })
    }

    /// Tells whether an address lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.address
    }

    /// Tells whether both networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.address & mask(prefix) == other.address & mask(prefix)
    }

    /// Returns the mask in dotted form: `255.255.0.0`.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }
}

/// Returns the bits that a prefix fixes.
fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl TextForm for Ipv4Network {
    const KIND: &'static str = "ipv4-network";
    const NOUN: &'static str = "a network";
    const EXAMPLE: &'static str = "10.42.0.0/16";
    const PATTERN: &'static str = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$";
}

impl FromStr for Ipv4Network {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(format!("`{text}` is not a network in CIDR form"));
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(match text.parse::<Ipv4Addr>() {
                Ok(_) => invalid().hint(format!("write `{text}/32` for this one address")),
                Err(_) => invalid().hint("write an address, a slash and a prefix, such as `10.42.0.0/16`"),
            });
        };
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| invalid().hint(format!("`{address}` is not an IPv4 address: four numbers from 0 to 255 with dots")))?;
        let prefix_text = prefix;
        let digits = !prefix.is_empty() && prefix.len() <= 2 && prefix.chars().all(|c| c.is_ascii_digit());
        let network = prefix
            .parse()
            .ok()
            .filter(|_| digits)
            .and_then(|prefix| Self::containing(address, prefix))
            .ok_or_else(|| invalid().hint(format!("`{prefix_text}` is not a prefix: a number from 0 to 32")))?;
        if network.address() != address {
            return Err(
                Invalid::new(format!("network `{text}` has bits set after its prefix")).hint(format!("write `{network}`"))
            );
        }
        Ok(network)
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address(), self.prefix)
    }
}

serde_as_text!(Ipv4Network);

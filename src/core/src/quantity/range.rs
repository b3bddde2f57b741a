//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::Ipv4Network;
use crate::names::{Invalid, TextForm, serde_as_text};

/// Addresses that follow each other: `10.42.0.32-10.42.0.63`, which `10.42.0.32/27` says as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: u32,
    last: u32,
}

impl AddressRange {
    /// Makes the range between two addresses, both in it; `None` if the last comes before the first.
    pub fn between(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        let (first, last) = (u32::from(first), u32::from(last));
        (first <= last).then_some(Self { first, last })
    }

    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first)
    }

    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(self.last)
    }

    /// Returns how many addresses the range has.
    pub fn size(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// Returns the address at a position, from 0.
    pub fn at(self, position: u32) -> Option<Ipv4Addr> {
        let address = self.first.checked_add(position)?;
        (address <= self.last).then(|| Ipv4Addr::from(address))
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    /// Tells whether both ranges have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl From<Ipv4Network> for AddressRange {
    fn from(network: Ipv4Network) -> Self {
        let first = u32::from(network.address());
        let last = u64::from(first) + network.size() - 1;
        Self { first, last: u32::try_from(last).expect("a network ends at 255.255.255.255 or before") }
    }
}

impl TextForm for AddressRange {
    const KIND: &'static str = "address-range";
    const NOUN: &'static str = "a range of addresses";
    const EXAMPLE: &'static str = "10.42.0.32-10.42.0.63";
    const PATTERN: &'static str = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2}|-[0-9]{1,3}(\\.[0-9]{1,3}){3})$";
}

impl FromStr for AddressRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.contains('/') {
            return text.parse::<Ipv4Network>().map(Self::from);
        }
        let invalid = || Invalid::new(format!("`{text}` is not a range of addresses"));
        let address = |part: &str| {
            part.trim()
                .parse::<Ipv4Addr>()
                .map_err(|_| invalid().hint(format!("`{part}` is not an IPv4 address: four numbers from 0 to 255 with dots")))
        };
        let Some((first, last)) = text.split_once('-') else {
            return Err(match text.parse::<Ipv4Addr>() {
                Ok(_) => invalid().hint(format!("write `{text}-{text}` for this one address")),
                Err(_) => invalid().hint(format!("write first and last address, such as `{}`, or a network", Self::EXAMPLE)),
            });
        };
        let (first, last) = (address(first)?, address(last)?);
        Self::between(first, last)
            .ok_or_else(|| Invalid::new(format!("range `{text}` ends before it begins")).hint(format!("write `{last}-{first}`")))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first(), self.last())
    }
}

serde_as_text!(AddressRange);

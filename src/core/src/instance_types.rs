//! The instance types a spec may name, with their cores, memory and price.
//!
//! The table is compiled in, so that a spec can be checked and priced without asking a cloud. It covers x86-64 types
//! that MPI clusters are built from. Prices are estimates: AWS's public on-demand price list for Linux in us-east-1, as
//! known in 2025; the hpc families are sold in us-east-2 and elsewhere, and carry that region's price. Other regions
//! differ, mostly upwards, by up to a half.

use std::sync::LazyLock;

use crate::names::{Invalid, TextForm, serde_as_text};
use crate::quantity::{Money, VolumeSize};
use crate::spec::Market;

/// The table: type, vCPUs, cores, memory in MiB, dollars per hour or nothing if unknown.
const TABLE: &str = include_str!("instance_types.csv");

/// What is known of one instance type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceTypeInfo {
    /// Name, such as `c7i.8xlarge`.
    pub name: &'static str,
    /// Threads of its processors.
    pub vcpus: u32,
    /// Real cores: what MPI gets slots for.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// On-demand price of Linux per hour in us-east-1; `None` if unknown.
    pub price_per_hour: Option<Money>,
}

impl InstanceTypeInfo {
    fn from_line(line: &'static str) -> Option<Self> {
        let mut fields = line.split(',');
        Some(Self {
            name: fields.next()?,
            vcpus: fields.next()?.parse().ok()?,
            cores: fields.next()?.parse().ok()?,
            memory_mib: fields.next()?.parse().ok()?,
            price_per_hour: match fields.next()? {
                "" => None,
                dollars => Some(format!("${dollars}").parse().ok()?),
            },
        })
    }
}

static INSTANCE_TYPES: LazyLock<Vec<InstanceTypeInfo>> =
    LazyLock::new(|| TABLE.lines().skip(1).filter_map(InstanceTypeInfo::from_line).collect());

/// Returns every known type, families together, smaller sizes first.
pub fn all() -> &'static [InstanceTypeInfo] {
    &INSTANCE_TYPES
}

/// Returns what is known of a type, or `None` for an unknown one.
pub fn find(name: &str) -> Option<&'static InstanceTypeInfo> {
    all().iter().find(|info| info.name == name)
}

/// Estimates the price of one instance per hour, without its volumes.
///
/// `None` if the type is unknown, or the market is spot, whose price moves.
pub fn price_per_hour(name: &str, market: Market) -> Option<Money> {
    match market {
        Market::OnDemand => find(name)?.price_per_hour,
        Market::Spot => None,
    }
}

/// Price of a GiB of gp3 for a month in millionths of a dollar: $0.08 in us-east-1.
const VOLUME_MICRODOLLARS_PER_MONTH: u64 = 80_000;

/// Hours that AWS's price pages count in a month.
const HOURS_PER_MONTH: u64 = 730;

/// Estimates the price of a gp3 volume per hour.
pub fn volume_price_per_hour(size: VolumeSize) -> Money {
    Money::from_microdollars(u64::from(size.as_gibibytes()) * VOLUME_MICRODOLLARS_PER_MONTH / HOURS_PER_MONTH)
}

/// An instance type of the table.
#[derive(Clone, Copy, Debug)]
pub struct InstanceType(&'static InstanceTypeInfo);

impl InstanceType {
    /// Returns its name.
    pub fn as_str(&self) -> &'static str {
        self.0.name
    }

    /// Returns what is known of it.
    pub fn info(&self) -> &'static InstanceTypeInfo {
        self.0
    }

    /// Returns its family: `c7i` of `c7i.8xlarge`.
    pub fn family(&self) -> &'static str {
        family(self.0.name)
    }

    /// Tells whether EC2 takes it into a cluster placement group: all but burstable types.
    pub fn can_cluster(&self) -> bool {
        !self.family().starts_with('t')
    }

    /// Tells whether EC2 sells it on the spot market: all but the hpc families.
    pub fn can_spot(&self) -> bool {
        !self.family().starts_with("hpc")
    }
}

fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl PartialEq for InstanceType {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for InstanceType {}

impl PartialOrd for InstanceType {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InstanceType {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for InstanceType {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl TextForm for InstanceType {
    const KIND: &'static str = "instance-type";
    const NOUN: &'static str = "an instance type";
    const EXAMPLE: &'static str = "c7i.xlarge";
    const PATTERN: &'static str = "^[a-z][a-z0-9-]*\\.[a-z0-9]+$";
}

impl std::str::FromStr for InstanceType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(info) = find(text) {
            return Ok(Self(info));
        }
        let invalid = Invalid::new(format!("instance type `{text}` is unknown"));
        let sizes: Vec<&str> = all().iter().filter(|info| family(info.name) == family(text)).map(|info| info.name).collect();
        let nearest = crate::diagnostics::nearest(text, all().iter().map(|info| info.name));
        Err(match (nearest.as_slice(), sizes.is_empty()) {
            ([], true) => invalid.hint(format!("known families: {}", families().join(", "))),
            ([], false) => invalid.hint(format!("this family has {}", sizes.join(", "))),
            (nearest, _) => {
                let quoted: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
                invalid.hint(format!("did you mean {}?", quoted.join(" or ")))
            }
        })
    }
}

fn families() -> Vec<&'static str> {
    let mut families: Vec<&str> = all().iter().map(|info| family(info.name)).collect();
    families.dedup();
    families
}

impl std::fmt::Display for InstanceType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

serde_as_text!(InstanceType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_no_type_appears_twice() {
        assert_eq!(all().len(), TABLE.lines().count() - 1);
        let mut names: Vec<&str> = all().iter().map(|info| info.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        for info in all() {
            assert!(info.cores == info.vcpus || info.cores * 2 == info.vcpus, "{info:?}");
        }
    }

    #[test]
    fn hyperthreads_are_not_cores() {
        let info = find("c7i.8xlarge").unwrap();
        assert_eq!((info.vcpus, info.cores, info.memory_mib), (32, 16, 65_536));
        assert_eq!(info.price_per_hour.unwrap().to_string(), "$1.428");
        assert_eq!(find("c7a.8xlarge").unwrap().cores, 32);
    }

    #[test]
    fn an_unknown_type_is_met_with_the_nearest_names() {
        let invalid = "c7i.8xlrge".parse::<InstanceType>().unwrap_err();
        assert_eq!(invalid.message, "instance type `c7i.8xlrge` is unknown");
        assert!(invalid.hint.unwrap().contains("`c7i.8xlarge`"));
        let invalid = "warp.drive".parse::<InstanceType>().unwrap_err();
        assert!(invalid.hint.unwrap().starts_with("known families: t3, t3a, m5"));
    }

    #[test]
    fn prices_of_spot_and_of_unknown_types_are_unknown() {
        assert_eq!(price_per_hour("c7i.xlarge", Market::OnDemand).unwrap().to_string(), "$0.1785");
        assert_eq!(price_per_hour("c7i.xlarge", Market::Spot), None);
        assert_eq!(price_per_hour("x9z.xlarge", Market::OnDemand), None);
    }

    #[test]
    fn a_volume_of_730_gib_costs_its_monthly_price_by_the_hour() {
        let size = VolumeSize::from_gibibytes(730).unwrap();
        assert_eq!(volume_price_per_hour(size).to_string(), "$0.08");
    }
}

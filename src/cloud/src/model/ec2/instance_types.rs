//! The table of instance types: current x86-64 families, as DescribeInstanceTypes knows them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a type offers.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceType {
    pub name: &'static str,
    pub vcpus: u32,
    pub cores: u32,
    pub threads_per_core: u32,
    pub memory_mib: u64,
    /// Such as `Up to 12.5 Gigabit`.
    pub network_performance: &'static str,
    pub baseline_gbps: f64,
    pub interfaces: u32,
    pub addresses_per_interface: u32,
    pub network_cards: u32,
    /// 0 where EFA is not supported.
    pub efa_interfaces: u32,
    pub manufacturer: &'static str,
    pub clock_ghz: f64,
    pub spot: bool,
    /// Placement strategies.
    pub strategies: Vec<&'static str>,
    /// Core counts that CpuOptions may ask for; empty where it may not.
    pub valid_cores: Vec<u32>,
    pub valid_threads_per_core: Vec<u32>,
    /// Total size of its instance store, 0 for none.
    pub instance_store_gb: u64,
    pub ebs_baseline_mbps: u32,
    pub ebs_maximum_mbps: u32,
    /// What the type can do, a word each; see [`InstanceType::can`].
    pub traits: Vec<&'static str>,
    pub ebs_baseline_iops: u32,
    pub ebs_maximum_iops: u32,
    /// How many volumes can be attached, or volumes and interfaces together where they share a limit.
    pub ebs_attachments: u32,
    /// Of one network card, which is the whole where there is one.
    pub card_performance: &'static str,
    pub card_peak_gbps: f64,
    pub ena_queues: EnaQueues,
}

/// The queues that a network card gives its interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnaQueues {
    pub default: u32,
    /// Only where queues can be moved between interfaces.
    pub flexible: Option<FlexibleQueues>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlexibleQueues {
    pub most_an_interface: u32,
    pub most_a_card: u32,
    pub additional_interfaces: u32,
}

impl InstanceType {
    /// `c7i` of `c7i.xlarge`.
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// Whether the table says so of the type: `current` generation, `free-tier`, dedicated `hosts`, `hibernation`,
    /// `enclaves`, `tpm` (Nitro TPM 2.0), `clock` (a precision hardware clock), `migration` at reboot, `srd` (ENA Express),
    /// `encryption` in transit, `own-attachments` (a limit for volumes alone).
    pub fn can(&self, word: &str) -> bool {
        self.traits.contains(&word)
    }

    pub fn burstable(&self) -> bool {
        self.family().starts_with('t')
    }
}

static TABLE: LazyLock<BTreeMap<&'static str, InstanceType>> = LazyLock::new(|| {
    include_str!("instance_types.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse)
        .map(|kind| (kind.name, kind))
        .collect()
});

/// The type of this name.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    TABLE.get(name)
}

/// Every type, by name.
pub fn all() -> impl Iterator<Item = &'static InstanceType> {
    TABLE.values()
}

/// Reads one line of the table; a test checks that each can be read.
fn parse(line: &'static str) -> Option<InstanceType> {
    let mut fields = line.split(',');
    let mut next = || fields.next();
    Some(InstanceType {
        name: next()?,
        vcpus: next()?.parse().ok()?,
        cores: next()?.parse().ok()?,
        threads_per_core: next()?.parse().ok()?,
        memory_mib: next()?.parse().ok()?,
        network_performance: next()?,
        baseline_gbps: next()?.parse().ok()?,
        interfaces: next()?.parse().ok()?,
        addresses_per_interface: next()?.parse().ok()?,
        network_cards: next()?.parse().ok()?,
        efa_interfaces: next()?.parse().ok()?,
        manufacturer: next()?,
        clock_ghz: next()?.parse().ok()?,
        spot: next()? == "spot",
        strategies: next()?.split(' ').collect(),
        valid_cores: numbers(next()?)?,
        valid_threads_per_core: numbers(next()?)?,
        instance_store_gb: next()?.parse().ok()?,
        ebs_baseline_mbps: next()?.parse().ok()?,
        ebs_maximum_mbps: next()?.parse().ok()?,
        traits: next()?.split(' ').collect(),
        ebs_baseline_iops: next()?.parse().ok()?,
        ebs_maximum_iops: next()?.parse().ok()?,
        ebs_attachments: next()?.parse().ok()?,
        card_performance: next()?,
        card_peak_gbps: next()?.parse().ok()?,
        ena_queues: queues(next()?)?,
    })
}

/// Reads `8`, or `8 16 64 0` where queues are flexible.
fn queues(text: &str) -> Option<EnaQueues> {
    match numbers(text)?[..] {
        [default] => Some(EnaQueues { default, flexible: None }),
        [default, most_an_interface, most_a_card, additional_interfaces] => {
            let flexible = Some(FlexibleQueues { most_an_interface, most_a_card, additional_interfaces });
            Some(EnaQueues { default, flexible })
        }
        _ => None,
    }
}

/// Reads numbers and ranges: `1 2 4-16/2`.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split_whitespace() {
        match part.split_once('-') {
            None => numbers.push(part.parse().ok()?),
            Some((first, rest)) => {
                let (last, step) = rest.split_once('/')?;
                let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
                let step: usize = step.parse().ok().filter(|step| *step > 0)?;
                numbers.extend((first..=last).step_by(step));
            }
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_can_be_read() {
        let lines = include_str!("instance_types.csv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(all().count(), lines);
    }

    #[test]
    fn processors_are_cores_times_threads() {
        for kind in all() {
            assert_eq!(kind.vcpus, kind.cores * kind.threads_per_core, "{}", kind.name);
            assert!(kind.valid_cores.is_empty() || kind.valid_cores.contains(&kind.cores), "{}", kind.name);
        }
    }

    #[test]
    fn known_types_have_their_published_sizes() {
        let kind = find("c7i.xlarge").unwrap();
        assert_eq!((kind.vcpus, kind.cores, kind.memory_mib), (4, 2, 8192));
        let kind = find("hpc7a.96xlarge").unwrap();
        assert_eq!((kind.vcpus, kind.threads_per_core, kind.efa_interfaces, kind.spot), (192, 1, 2, false));
        // Two cards of 150 Gigabit each; an older family is no longer of the current generation.
        assert_eq!((kind.card_performance, kind.network_performance, kind.network_cards), ("150 Gigabit", "300 Gigabit", 2));
        assert!(kind.can("current") && !find("c5.large").unwrap().can("current"));
        assert!(find("c7i.gigantic").is_none());
    }
}

//! Addresses: the stable name of a resource inside its cluster, and sets of worker indexes in one word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::GroupName;

/// Tag that names the cluster a resource belongs to.
pub const CLUSTER_TAG: &str = "ewulf:cluster";
/// Tag that holds a resource's address; workers of one launch share `node/GROUP`.
pub const ADDRESS_TAG: &str = "ewulf:address";
/// Tag that holds the hash of inputs that cannot be read back.
pub const FINGERPRINT_TAG: &str = "ewulf:fingerprint";
/// Tag that tells which worker indexes a launch was for: the instance with launch index i has the i-th of them.
pub const INDEXES_TAG: &str = "ewulf:indexes";
/// Tag of a node: the address at which it was told at launch to look for the master.
pub const MASTER_TAG: &str = "ewulf:master";
/// Tag that a node gets once it is part of the mesh; its value is the instance id of the master it joined.
pub const JOINED_TAG: &str = "ewulf:joined";
/// Tag of a node that was launched to become part of the mesh.
pub const JOINS_TAG: &str = "ewulf:joins";
/// Tag that names the shared path on every node.
pub const SHARED_TAG: &str = "ewulf:shared";
/// Tag on a node that got another root volume after its launch: the AMI that this one was made of.
pub const ROOT_IMAGE_TAG: &str = "ewulf:root-image";
/// Tag on the shared volume and on root volumes: how many GiB the file system was made or grown for.
pub const FILE_SYSTEM_TAG: &str = "ewulf:file-system";
/// Tag on the shared volume: whether it outlives the cluster.
pub const KEEP_TAG: &str = "ewulf:keep";

/// A resource's name inside its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Vpc,
    Subnet,
    Gateway,
    Routes,
    SecurityGroup,
    PlacementGroup(GroupName),
    Template(Role),
    Volume,
    Master,
    Worker(GroupName, u32),
    /// All workers of one launch or of one change.
    Workers(GroupName, Indexes),
    /// The cluster as a whole: its mesh of verified ssh connections.
    Mesh,
}

/// What a node is for: the master, or a worker of a named group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Master,
    Worker(GroupName),
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => formatter.write_str("master"),
            Self::Worker(group) => group.fmt(formatter),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpc => formatter.write_str("vpc"),
            Self::Subnet => formatter.write_str("subnet"),
            Self::Gateway => formatter.write_str("gateway"),
            Self::Routes => formatter.write_str("routes"),
            Self::SecurityGroup => formatter.write_str("group/cluster"),
            Self::PlacementGroup(group) => write!(formatter, "placement/{group}"),
            Self::Template(role) => write!(formatter, "template/{role}"),
            Self::Volume => formatter.write_str("volume/shared"),
            Self::Master => formatter.write_str("node/master"),
            Self::Worker(group, index) => write!(formatter, "node/{group}/{index}"),
            Self::Workers(group, indexes) => write!(formatter, "node/{group}/{indexes}"),
            Self::Mesh => formatter.write_str("mesh"),
        }
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address")]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.to_owned());
        let group = |name: &str| name.parse::<GroupName>().map_err(|_| wrong());
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts.as_slice() {
            ["vpc"] => Self::Vpc,
            ["subnet"] => Self::Subnet,
            ["gateway"] => Self::Gateway,
            ["routes"] => Self::Routes,
            ["group", "cluster"] => Self::SecurityGroup,
            ["placement", name] => Self::PlacementGroup(group(name)?),
            ["template", "master"] => Self::Template(Role::Master),
            ["template", name] => Self::Template(Role::Worker(group(name)?)),
            ["volume", "shared"] => Self::Volume,
            ["node", "master"] => Self::Master,
            ["node", name, index] => match index.parse::<u32>() {
                Ok(index) => Self::Worker(group(name)?, index),
                Err(_) => Self::Workers(group(name)?, index.parse().map_err(|_| wrong())?),
            },
            ["mesh"] => Self::Mesh,
            _ => return Err(wrong()),
        })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of worker indexes, written as `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Indexes(Vec<u32>);

impl Indexes {
    /// The set of these indexes, sorted, each once.
    pub fn new(indexes: impl IntoIterator<Item = u32>) -> Self {
        let mut sorted: Vec<u32> = indexes.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted)
    }

    /// Returns the index at a position of the sorted set.
    pub fn at(&self, position: usize) -> Option<u32> {
        self.0.get(position).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Cuts the set so that each part has at most `most` indexes and its text at most `characters`: EC2's tag values end
    /// at 256, and its calls take a thousand of anything.
    pub fn split(&self, most: usize, characters: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        // Length of the text up to the run that is open, that run's first index, and the length with it.
        let (mut before, mut first, mut length) = (0, 0, 0);
        for index in self.iter() {
            let continues = part.last().is_some_and(|last| last + 1 == index);
            let longer = match (part.is_empty(), continues) {
                (true, _) => digits(index),
                (false, true) => before + digits(first) + 1 + digits(index),
                (false, false) => length + 1 + digits(index),
            };
            if !part.is_empty() && (part.len() == most || longer > characters) {
                parts.push(Self(std::mem::take(&mut part)));
                (before, first, length) = (0, index, digits(index));
            } else {
                if !continues {
                    (before, first) = (longer - digits(index), index);
                }
                length = longer;
            }
            part.push(index);
        }
        if !part.is_empty() {
            parts.push(Self(part));
        }
        parts
    }
}

/// How many decimal digits a number has.
fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut position = 0;
        while let Some(&first) = self.0.get(position) {
            let mut last = first;
            while self.0.get(position + 1) == Some(&(last + 1)) {
                position += 1;
                last += 1;
            }
            if first != self.0[0] {
                formatter.write_str(",")?;
            }
            if first == last {
                write!(formatter, "{first}")?;
            } else {
                write!(formatter, "{first}-{last}")?;
            }
            position += 1;
        }
        Ok(())
    }
}

impl FromStr for Indexes {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress(text.to_owned());
        let mut indexes = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
            // A group has at most 10,000 workers; anything far beyond is not ours.
            if first > last || last > 100_000 {
                return Err(wrong());
            }
            indexes.extend(first..=last);
        }
        Ok(Self::new(indexes))
    }
}

impl Serialize for Indexes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Indexes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn indexes_read_back_what_they_write(set in proptest::collection::btree_set(0_u32..2000, 0..60)) {
            let indexes = Indexes::new(set.iter().copied());
            prop_assert_eq!(indexes.to_string().parse::<Indexes>().unwrap(), indexes.clone());
            let parts = indexes.split(25, 40);
            prop_assert!(parts.iter().all(|part| part.to_string().len() <= 40 && part.len() <= 25));
            // No cut before it is due.
            for pair in parts.windows(2) {
                let more = Indexes::new(pair[0].iter().chain(pair[1].at(0)));
                prop_assert!(more.len() > 25 || more.to_string().len() > 40);
            }
            prop_assert_eq!(Indexes::new(parts.iter().flat_map(Indexes::iter)), indexes);
        }
    }

    #[test]
    fn addresses_read_back_what_they_write() {
        for text in
            ["vpc", "group/cluster", "template/master", "template/compute", "node/master", "node/compute/3", "node/compute/0-3,7"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("node/Compute/3".parse::<Address>().is_err());
        assert!("node".parse::<Address>().is_err());
    }
}

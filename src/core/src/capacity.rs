//! Pools of capacity, and what an apply has found out about them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::GroupName;
use crate::spec::Market;

/// What EC2 has room in, or not: a type, in a zone, on a market (ec2.md 4.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pool {
    pub instance_type: String,
    pub zone: String,
    pub market: Market,
}

impl fmt::Display for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}, in {}", self.instance_type, self.market, self.zone)
    }
}

/// A pool that had no room for a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refused {
    pub group: GroupName,
    pub pool: Pool,
}

/// What one apply has found out so far. It is kept in memory alone: a later apply begins at the first rung again, since
/// capacity comes and goes within minutes (ec2.md 4.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Pools that are not asked again by this apply, so that a ladder has an end.
    pub refused: BTreeSet<Refused>,
    /// Ids of the instances that this apply launched.
    pub launched: BTreeSet<String>,
}

impl Findings {
    /// Whether a pool had no room for a group.
    pub fn is_refused(&self, group: &GroupName, pool: &Pool) -> bool {
        self.refused.iter().any(|refused| refused.group == *group && refused.pool == *pool)
    }
}

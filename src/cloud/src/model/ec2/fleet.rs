//! Fleets of type instant: one attempt, whose outcome is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;
use crate::wire::query::Query;

/// A fleet that was launched, or tried to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    pub id: String,
    pub created: Timestamp,
    pub client_token: String,
    /// The call as given: its options are shown again as they came.
    pub request: Query,
    pub capacity: Capacity,
    pub launches: Vec<FleetLaunch>,
    pub errors: Vec<FleetError>,
    /// When it was deleted; its instances are terminated then.
    pub deleted: Option<Timestamp>,
    pub tags: Tags,
}

/// How much a fleet is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    pub total: u32,
    pub on_demand: u32,
    pub spot: u32,
    /// Whether what is neither is spot.
    pub spot_by_default: bool,
}

/// A launch template with one set of overrides, as an attempt used it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub template_id: String,
    pub version: String,
    /// Empty where the template was used as it is.
    pub overrides: Query,
    pub spot: bool,
}

/// Instances that came from one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLaunch {
    pub pool: Pool,
    pub instance_type: String,
    pub zone: String,
    pub subnet_id: String,
    pub instance_ids: Vec<String>,
    /// Units of capacity that each instance counts for.
    pub weight: u32,
}

/// Why a pool gave nothing, or too little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetError {
    pub pool: Pool,
    pub code: String,
    pub message: String,
}

impl Fleet {
    /// Units of capacity that were launched in this market.
    pub fn fulfilled(&self, spot: bool) -> u32 {
        let launches = self.launches.iter().filter(|launch| launch.pool.spot == spot);
        launches.map(|launch| u32::try_from(launch.instance_ids.len()).unwrap_or(u32::MAX).saturating_mul(launch.weight)).sum()
    }

    /// The ids of all its instances.
    pub fn instance_ids(&self) -> impl Iterator<Item = &str> {
        self.launches.iter().flat_map(|launch| &launch.instance_ids).map(String::as_str)
    }
}

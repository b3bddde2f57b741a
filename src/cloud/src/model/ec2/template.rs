//! Launch templates and placement groups.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;
use crate::wire::query::Query;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub default_version: u64,
    /// By number, from 1; numbers are never used again.
    pub versions: BTreeMap<u64, LaunchTemplateVersion>,
    /// The last number given; its version may be gone.
    #[serde(default)]
    pub last_number: u64,
    pub tags: Tags,
}

impl LaunchTemplate {
    /// The highest version.
    pub fn latest_version(&self) -> u64 {
        self.versions.last_key_value().map_or(0, |(number, _)| *number)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateVersion {
    pub number: u64,
    pub description: Option<String>,
    pub created: Timestamp,
    /// The `LaunchTemplateData` as given: its names are those of RunInstances, so a launch overlays the one on the other.
    pub data: Query,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementGroup {
    pub id: String,
    pub name: String,
    /// `cluster`, `spread` or `partition`.
    pub strategy: String,
    pub partition_count: Option<u32>,
    /// `host` or `rack`, for spread alone.
    pub spread_level: Option<String>,
    pub tags: Tags,
}

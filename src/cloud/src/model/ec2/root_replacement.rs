//! Replacements of the root of a running instance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;

/// A task that gives an instance another root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootReplacement {
    pub id: String,
    pub instance_id: String,
    pub image_id: Option<String>,
    pub snapshot_id: Option<String>,
    /// What the new root stands on, lowest first.
    pub layers: Vec<String>,
    pub gibibytes: u64,
    /// Whether the volume of the old root goes.
    pub delete_replaced: bool,
    pub state: ReplacementState,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub tags: Tags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplacementState {
    Pending,
    InProgress,
    Succeeded,
    Failed,
}

impl ReplacementState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in-progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Whether it is still to end.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

//! The ladder of a worker group: the types, zones and markets in which its workers are looked for, in order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::{Market, WorkerGroup};
use crate::instance_types::InstanceType;
use crate::names::Zone;
use crate::quantity::Duration;

/// One rung of a ladder; what it does not say is the group's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Instance type, instead of the group's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<InstanceType>,
    /// Availability zone, for the whole cluster and only before anything of it runs; where the cluster is if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// How they are bought, instead of the group's way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    /// For how long EC2 is asked again before the next rung; it is asked once if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
}

impl WorkerGroup {
    /// Returns the rungs in full, in order: at least one, each with a type and a market.
    pub fn rungs(&self) -> Vec<Rung> {
        let full = |rung: &Rung| Rung {
            instance_type: Some(rung.instance_type.unwrap_or(self.instance_type)),
            market: Some(rung.market.unwrap_or(self.market)),
            ..rung.clone()
        };
        if self.capacity.is_empty() { vec![full(&Rung::default())] } else { self.capacity.iter().map(full).collect() }
    }

    /// Returns the group as it is on one of its rungs; its ladder stays.
    #[must_use]
    pub fn on_rung(&self, rung: &Rung) -> Self {
        let capacity = if self.capacity.is_empty() { Vec::new() } else { self.rungs() };
        Self {
            capacity,
            instance_type: rung.instance_type.unwrap_or(self.instance_type),
            market: rung.market.unwrap_or(self.market),
            ..self.clone()
        }
    }

    /// Returns the fewest workers with which the group may stand.
    pub fn least(&self) -> u32 {
        self.min.unwrap_or(self.count)
    }

    /// Returns the most real cores that one of its workers may have.
    pub fn cores(&self) -> u32 {
        self.rungs().iter().filter_map(|rung| Some(rung.instance_type?.info().cores)).max().unwrap_or(0)
    }

    /// Whether the ladder chooses the cluster's zone.
    pub fn tries_zones(&self) -> bool {
        self.capacity.iter().any(|rung| rung.zone.is_some())
    }
}

//! Jobs: from a manifest to a run on a live cluster, and back to results.
//!
//! Decides everything about a run as data on this side ([`Plan`]), stages it, starts it detached on the master and follows
//! it by offset, so that a lost connection loses nothing. Knows clusters as a list of nodes and reaches them through SSM
//! alone; makes and changes no resource of the cloud.

mod answer;
mod bundle;
mod error;
mod failure;
mod fetch;
mod finish;
mod follow;
mod groups;
mod lines;
mod members;
#[cfg(test)]
mod members_tests;
mod mpirun;
mod placement;
mod plan;
#[cfg(test)]
mod programs_tests;
mod run_id;
mod runner;
mod scripts;

use std::net::Ipv4Addr;

use ewulf_core::names::{ClusterName, NodePath};
use ewulf_core::quantity::Ipv4Network;

pub use answer::{LeftFile, ListedRun, Outcome, RunList, Status};
pub use error::JobError;
pub use failure::JobFailure;
pub use finish::{Finished, Receipt};
pub use follow::FollowEnd;
pub use groups::Group;
pub use lines::{Line, Source};
pub use members::{MemberResult, SetResult, Statistic, SweepResult, argument_text, swept};
pub use plan::{Plan, PlannedNode, PlannedStep};
pub use run_id::{NotARunId, RunId};
pub use runner::{Cancelled, PreparedRun, RunHandle, Runner};

/// Longest start that is sent as one command; a larger one is uploaded first.
///
/// What SSM takes is not published but for the 64 KB of a document; a start that it refuses is uploaded as well.
const INLINE_MAX: usize = 20_000;

/// Address of the master inside its cluster.
const MASTER: &str = "node/master";

/// A live cluster as jobs see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterNodes {
    pub cluster: ClusterName,
    /// SHA-256 of the spec that the cluster was applied from, for receipts.
    pub spec_sha256: Option<String>,
    /// The folder that all nodes share.
    pub shared_path: NodePath,
    /// The cluster's network, which MPI keeps to.
    pub cidr: Ipv4Network,
    /// All running nodes, the master among them, in the order in which ranks are to fill them.
    pub nodes: Vec<JobNode>,
}

/// One node as jobs see it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobNode {
    /// Its name inside the cluster: `node/master`, `node/compute/0`.
    pub address: String,
    pub instance_id: String,
    pub private_address: Ipv4Addr,
    pub instance_type: String,
    pub image_id: String,
    /// Real cores, each of which is a slot.
    pub cores: u32,
    /// Dollars an hour; none where nobody knows.
    pub price_per_hour: Option<f64>,
}

impl ClusterNodes {
    fn master(&self) -> Result<&JobNode, JobError> {
        self.nodes.iter().find(|node| node.address == MASTER).ok_or_else(|| JobError::NotReady {
            cluster: self.cluster.to_string(),
            reason: "its master is not running".to_owned(),
        })
    }

    fn runs_folder(&self) -> String {
        format!("{}/runs", self.shared_path)
    }

    fn run_folder(&self, run: &RunId) -> String {
        format!("{}/{run}", self.runs_folder())
    }
}

#[cfg(test)]
mod tests {
    use ewulf_core::spec::JobManifest;

    use super::*;

    /// A cluster whose nodes have so many cores, the master first.
    pub(super) fn cluster(cores: &[u32]) -> ClusterNodes {
        let node = |(index, cores): (usize, &u32)| JobNode {
            address: if index == 0 { MASTER.to_owned() } else { format!("node/compute/{}", index - 1) },
            instance_id: format!("i-{index:017x}"),
            private_address: Ipv4Addr::new(10, 42, 0, 4 + index as u8),
            instance_type: "c7i.xlarge".to_owned(),
            image_id: "ami-0a1b2c3d4e5f60718".to_owned(),
            cores: *cores,
            price_per_hour: Some(0.5),
        };
        ClusterNodes {
            cluster: "demo".parse().unwrap(),
            spec_sha256: None,
            shared_path: "/shared".parse().unwrap(),
            cidr: "10.42.0.0/16".parse().unwrap(),
            nodes: cores.iter().enumerate().map(node).collect(),
        }
    }

    /// A manifest with these keys besides those that every one needs; a job named `test` that runs `pi` unless it says.
    pub(super) fn manifest(keys: &str) -> JobManifest {
        let mut written: serde_json::Map<String, serde_json::Value> =
            if keys.is_empty() { serde_json::Map::new() } else { serde_yaml::from_str(keys).unwrap() };
        written.insert("job".to_owned(), "test".into());
        written.insert("cluster".to_owned(), "demo".into());
        if !written.contains_key("command") {
            written.insert("kernel".to_owned(), "pi".into());
        }
        serde_json::from_value(written.into()).unwrap()
    }
}

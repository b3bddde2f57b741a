//! Why a job cannot be prepared, started, followed or fetched, and how a run failed.

use std::path::PathBuf;

use super::{JobFailure, RunId};
use crate::aws::CallError;

/// Everything that can go wrong with a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The manifest does not fit the cluster or this machine's files; nothing was started.
    #[error("{message}")]
    Invalid {
        /// What is wrong: a lowercase fragment that names the object first.
        message: String,
        /// What to write or do instead.
        hint: Option<String>,
    },
    /// A local file or folder could not be read or written.
    #[error("{}: {doing} failed", path.display())]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// The cluster cannot run jobs as it is.
    #[error("cluster {cluster}: {reason}")]
    NotReady { cluster: String, reason: String },
    /// Other runs are active on the cluster.
    #[error("cluster {cluster}: {} still running", and(active))]
    Busy { cluster: String, active: Vec<String> },
    /// No run of this id is on the cluster.
    #[error("run {run}: there is none of this id on cluster {cluster}")]
    UnknownRun { run: RunId, cluster: String },
    /// A command on a node answered something else than it should.
    #[error("node {node}: {doing} failed: {message}")]
    Node { node: String, doing: &'static str, message: String },
    /// The run ended, but not well.
    #[error("run {run}: {failure}")]
    Failed { run: RunId, failure: Box<JobFailure> },
    /// The cloud did not do what it was asked.
    #[error("run {run}: the cloud refused")]
    Cloud {
        run: String,
        #[source]
        source: CallError,
    },
}

impl JobError {
    pub(super) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: Some(hint.into()) }
    }

    /// What the user can do about it: one runnable line where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { hint, .. } => hint.clone(),
            Self::File { .. } | Self::Cloud { .. } => None,
            Self::NotReady { cluster, .. } => Some(format!("ewulf apply clusters/{cluster}.yaml")),
            Self::Busy { active, .. } => {
                active.first().map(|run| format!("ewulf logs -f {run}, ewulf cancel {run}, or run beside it with --share"))
            }
            Self::UnknownRun { .. } => Some("ewulf runs".to_owned()),
            Self::Node { .. } => None,
            Self::Failed { run, .. } => Some(format!("ewulf logs {run}")),
        }
    }
}

fn and(runs: &[String]) -> String {
    match runs {
        [one] => format!("run {one} is"),
        more => format!("runs {} are", more.join(", ")),
    }
}

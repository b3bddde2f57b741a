//! What the engine says while it works: one typed stream with three consumers (terminal, plain lines, JSON).

use serde::{Deserialize, Serialize};

/// One thing that happened. `task` is a stable key of a piece of work: an address (`node/compute/3`), a bake step
/// (`worker: install packages`), a job's phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A piece of work has begun; `sentence` says what is being done, without a period: `creating VPC 10.42.0.0/16`.
    Begun { task: String, sentence: String },
    /// It has got so far. `total` 0 means that nobody knows how much there is.
    Progress { task: String, done: u64, total: u64, unit: String },
    /// It is waiting for something outside; `sentence` says for what.
    Waiting { task: String, sentence: String },
    /// It is done; `sentence` says what came of it.
    Done { task: String, sentence: String, seconds: f64 },
    /// It failed; causes run from the outermost to the root.
    Failed { task: String, causes: Vec<String> },
    /// It was not begun, because something before it failed or the user interrupted.
    Skipped { task: String, sentence: String },
    /// A line of output from elsewhere: `source` is a node's address, a rank, or a bake step.
    Output { source: String, line: String, error: bool },
    /// A sentence for the user that belongs to no task.
    Notice { level: Level, sentence: String },
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Info,
    Warning,
}

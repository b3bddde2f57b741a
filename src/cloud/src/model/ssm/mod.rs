//! SSM as plain data: parameters, commands, registered instances, and the rules that need no machine.

mod command;
mod output;
mod parameter;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use command::{Command, Commands, Invocation, Outcome, Status, Target, rate};
pub use output::{STDERR_LIMIT, STDOUT_LIMIT, content, plugin_output};
pub use parameter::{Kind, Parameter, Parameters, Put, Tier, Version, check_name};

/// Everything SSM knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssm {
    pub parameters: Parameters,
    /// Instances that were reachable for commands at some time, by id.
    pub registrations: BTreeMap<String, Registration>,
    /// Kept in files of their own.
    #[serde(skip)]
    pub commands: Commands,
}

/// An instance that takes commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub registered: Timestamp,
    /// When it was last seen to answer.
    pub last_ping: Timestamp,
    /// Whether it answers since its last start.
    pub online: bool,
    /// The instance's start that `online` speaks of.
    pub generation: u64,
    /// `NAME` and `VERSION_ID` of its operating system, once read.
    pub platform: Option<(String, String)>,
}

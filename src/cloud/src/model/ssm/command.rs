//! Commands and their invocations: one command, one invocation for each instance it was sent to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Commands that are remembered. AWS forgets after 30 days; a cloud on one machine forgets by number, since every job
/// and every bake leaves hundreds.
const KEPT_COMMANDS: usize = 2_000;

/// Where one invocation stands. AWS writes two words for each: a coarse status and its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Pending,
    InProgress,
    /// The instance could not be reached yet; tried again until the delivery time-out.
    Delayed,
    Success,
    Cancelling,
    Cancelled,
    /// The script ended with a status other than zero, or could not be started.
    Failed,
    /// The script ran into its own time-out.
    ExecutionTimedOut,
    /// The instance could not be reached in time: the script never ran.
    DeliveryTimedOut,
    /// The instance is gone or takes no commands: the script never ran.
    Undeliverable,
    /// Ended by the cloud: the command had too many errors before, or the server ended.
    Terminated,
}

impl Status {
    /// The coarse word on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::ExecutionTimedOut | Self::DeliveryTimedOut => "TimedOut",
            Self::Failed | Self::Undeliverable | Self::Terminated => "Failed",
            other => other.details(),
        }
    }

    /// The precise word on the wire, without spaces.
    pub fn details(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Delayed => "Delayed",
            Self::Success => "Success",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::Failed => "Failed",
            Self::ExecutionTimedOut => "ExecutionTimedOut",
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::Undeliverable => "Undeliverable",
            Self::Terminated => "Terminated",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress | Self::Delayed | Self::Cancelling)
    }

    /// Whether it counts toward the command's MaxErrors; delivery time-outs do not.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::ExecutionTimedOut | Self::Undeliverable)
    }
}

/// A command on one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    pub instance_id: String,
    /// The instance's `Name` tag when the command was sent.
    pub instance_name: String,
    pub status: Status,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// -1 until the script ended.
    pub response_code: i32,
    /// Already cut to what the API shows.
    pub stdout: String,
    pub stderr: String,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    pub response_code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// An end without a script: never started, or not known how it ended.
    pub fn without_output(status: Status, reason: impl Into<String>) -> Self {
        Self { status, response_code: -1, stdout: String::new(), stderr: reason.into() }
    }
}

/// A choice of instances: `InstanceIds` or `tag:KEY`, with values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Target {
    pub key: String,
    #[serde(default)]
    pub values: Vec<String>,
}

/// One SendCommand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: String,
    pub document: String,
    pub comment: String,
    pub parameters: BTreeMap<String, Vec<String>>,
    /// As given in the call; empty with targets.
    pub instance_ids: Vec<String>,
    pub targets: Vec<Target>,
    pub requested: Timestamp,
    pub expires: Timestamp,
    /// For delivery alone.
    pub timeout_seconds: i64,
    pub max_concurrency: String,
    pub max_errors: String,
    pub invocations: Vec<Invocation>,
}

impl Command {
    pub fn invocation(&self, instance_id: &str) -> Option<&Invocation> {
        self.invocations.iter().find(|invocation| invocation.instance_id == instance_id)
    }

    /// Invocations that ended.
    pub fn completed(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.status.is_final()).count()
    }

    /// Invocations that count as errors.
    pub fn errors(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.status.is_error()).count()
    }

    pub fn delivery_timed_out(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.status == Status::DeliveryTimedOut).count()
    }

    /// The whole command's status and details on the wire: the worst of its invocations once all have ended.
    pub fn status(&self) -> (&'static str, &'static str) {
        let has = |status: Status| self.invocations.iter().any(|invocation| invocation.status == status);
        if self.invocations.is_empty() {
            return ("Success", "NoInstancesInTag");
        }
        if self.completed() < self.invocations.len() {
            return if has(Status::Cancelling) {
                ("Cancelling", "Cancelling")
            } else if self.invocations.iter().all(|invocation| invocation.status == Status::Pending) {
                ("Pending", "Pending")
            } else {
                ("InProgress", "InProgress")
            };
        }
        // In AWS's order of severity.
        if has(Status::Cancelled) {
            ("Cancelled", "Cancelled")
        } else if has(Status::Undeliverable) && self.invocations.len() == self.errors() && !has(Status::Failed) {
            ("Failed", "Undeliverable")
        } else if has(Status::Failed) || has(Status::Undeliverable) || has(Status::Terminated) {
            ("Failed", "Failed")
        } else if has(Status::ExecutionTimedOut) {
            ("TimedOut", "ExecutionTimedOut")
        } else if has(Status::DeliveryTimedOut) {
            ("TimedOut", "DeliveryTimedOut")
        } else {
            ("Success", "Success")
        }
    }
}

/// All commands, oldest first, and which of them changed since they were last written.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    by_id: BTreeMap<String, Command>,
    /// Ids in the order of their sending.
    order: Vec<String>,
    changed: BTreeSet<String>,
}

impl Commands {
    pub fn get(&self, id: &str) -> Option<&Command> {
        self.by_id.get(id)
    }

    /// Newest first, as the API lists them.
    pub fn newest_first(&self) -> impl Iterator<Item = &Command> {
        self.order.iter().rev().filter_map(|id| self.by_id.get(id))
    }

    /// Adds a new command; the oldest finished ones beyond 2,000 are forgotten.
    pub fn add(&mut self, command: Command) {
        self.changed.insert(command.id.clone());
        self.order.push(command.id.clone());
        self.by_id.insert(command.id.clone(), command);
        while self.order.len() > KEPT_COMMANDS {
            let finished = |id: &String| self.by_id.get(id).is_none_or(|it| it.completed() == it.invocations.len());
            let Some(place) = self.order.iter().position(finished) else { break };
            let id = self.order.remove(place);
            self.by_id.remove(&id);
            self.changed.insert(id);
        }
    }

    /// Takes up a command that was written to disk.
    pub fn restore(&mut self, command: Command) {
        let place = self.order.partition_point(|id| self.by_id.get(id).is_some_and(|it| it.requested <= command.requested));
        self.order.insert(place, command.id.clone());
        self.by_id.insert(command.id.clone(), command);
    }

    /// Changes an invocation, unless it has ended.
    pub fn change(&mut self, id: &str, instance_id: &str, change: impl FnOnce(&mut Invocation)) {
        let command = self.by_id.get_mut(id);
        let invocation = command.and_then(|it| it.invocations.iter_mut().find(|it| it.instance_id == instance_id));
        if let Some(invocation) = invocation.filter(|invocation| !invocation.status.is_final()) {
            change(invocation);
            self.changed.insert(id.to_owned());
        }
    }

    /// Ends an invocation, unless it has ended.
    pub fn end(&mut self, id: &str, instance_id: &str, outcome: Outcome, now: Timestamp) {
        self.change(id, instance_id, |invocation| {
            invocation.status = outcome.status;
            invocation.response_code = outcome.response_code;
            invocation.stdout = outcome.stdout;
            invocation.stderr = outcome.stderr;
            invocation.ended = Some(now);
        });
    }

    /// Command and instance of every invocation that has not ended.
    pub fn unfinished(&self) -> Vec<(String, String)> {
        let open = self.by_id.values().flat_map(|command| {
            let open = command.invocations.iter().filter(|invocation| !invocation.status.is_final());
            open.map(|invocation| (command.id.clone(), invocation.instance_id.clone()))
        });
        open.collect()
    }

    /// The commands to write, with None for those to delete; they count as written from here on.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Command>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|id| (id.clone(), self.by_id.get(&id).cloned())).collect()
    }

    /// Takes back that these were written.
    pub fn mark_changed(&mut self, ids: impl IntoIterator<Item = String>) {
        self.changed.extend(ids);
    }
}

/// A number or a percentage of the targets: `10` or `20%`. None if it is neither.
pub fn rate(text: &str, targets: usize) -> Option<usize> {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: usize = percent.parse().ok().filter(|percent| *percent <= 100)?;
            Some(targets * percent / 100)
        }
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(statuses: &[Status]) -> Command {
        let invocation = |(index, status): (usize, &Status)| Invocation {
            instance_id: format!("i-{index}"),
            instance_name: String::new(),
            status: *status,
            started: None,
            ended: None,
            response_code: -1,
            stdout: String::new(),
            stderr: String::new(),
        };
        Command {
            id: "c".to_owned(),
            document: "AWS-RunShellScript".to_owned(),
            comment: String::new(),
            parameters: BTreeMap::new(),
            instance_ids: Vec::new(),
            targets: Vec::new(),
            requested: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
            timeout_seconds: 30,
            max_concurrency: "50".to_owned(),
            max_errors: "0".to_owned(),
            invocations: statuses.iter().enumerate().map(invocation).collect(),
        }
    }

    #[test]
    fn a_command_is_as_good_as_its_worst_invocation() {
        use Status::{Cancelled, ExecutionTimedOut, Failed, InProgress, Pending, Success, Terminated, Undeliverable};
        for (statuses, expected) in [
            (&[Pending, Pending][..], ("Pending", "Pending")),
            (&[Success, Pending], ("InProgress", "InProgress")),
            (&[InProgress, Failed], ("InProgress", "InProgress")),
            (&[Success, Success], ("Success", "Success")),
            (&[Success, Failed, Terminated], ("Failed", "Failed")),
            (&[Success, ExecutionTimedOut], ("TimedOut", "ExecutionTimedOut")),
            (&[Success, Cancelled], ("Cancelled", "Cancelled")),
            (&[Undeliverable], ("Failed", "Undeliverable")),
            (&[], ("Success", "NoInstancesInTag")),
        ] {
            assert_eq!(command(statuses).status(), expected, "{statuses:?}");
        }
    }

    #[test]
    fn an_ended_invocation_never_changes_again() {
        let mut commands = Commands::default();
        commands.add(command(&[Status::Pending]));
        let end = |status| Outcome::without_output(status, "");
        commands.end("c", "i-0", end(Status::Cancelled), Timestamp::UNIX_EPOCH);
        commands.end("c", "i-0", end(Status::Success), Timestamp::UNIX_EPOCH);
        assert_eq!(commands.get("c").and_then(|it| it.invocation("i-0")).map(|it| it.status), Some(Status::Cancelled));
    }

    #[test]
    fn rates_are_numbers_or_percentages() {
        assert_eq!((rate("3", 50), rate("10%", 50), rate("100%", 7), rate("x", 1)), (Some(3), Some(5), Some(7), None));
    }
}

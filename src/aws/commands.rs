//! Commands on nodes through SSM: sent once to many nodes, polled together, answered node by node.

use std::time::Duration;

use aws_sdk_ssm::types::{CommandInvocation, CommandInvocationStatus, InstanceInformationStringFilter};

use super::{Backoff, CallError, Class, Cloud, failure, retry};

/// SendCommand takes at most 50 instance ids (ec2.md 7.7).
const IDS_PER_COMMAND: usize = 50;
/// What ListCommandInvocations keeps of an output (ec2.md 7.12); longer ones are fetched singly.
const LISTED_OUTPUT: usize = 2_400;
/// How long a sent command may stay invisible (ec2.md 1.16).
const INVOCATION_LAG: Duration = Duration::from_secs(60);

/// A shell script to run as root on nodes.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it is for, shown in SSM's history; at most 100 characters are kept.
    pub comment: String,
    /// Body, run by bash with `set -euo pipefail`.
    pub body: String,
    /// How long it may run on a node; SSM takes 5 s to 48 h.
    pub timeout: Duration,
}

impl Script {
    pub fn new(comment: impl Into<String>, body: impl Into<String>) -> Self {
        Self { comment: comment.into(), body: body.into(), timeout: Duration::from_secs(300) }
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The text SSM gets: the agent runs the file itself, so that its first line picks the shell (ec2.md 7.10).
    fn text(&self) -> String {
        format!("#!/bin/bash\nset -euo pipefail\n{}", self.body)
    }
}

/// How a command ended on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandStatus {
    Success,
    /// It ran and exited with another status than 0.
    Failed,
    /// It never ran: not delivered, or the node is gone. Safe to repeat.
    Undelivered,
    /// It ran out of its time; it may have done part of its work.
    TimedOut,
    Cancelled,
}

/// What one node answered.
#[derive(Debug, Clone)]
pub struct CommandOutcome {
    pub instance_id: String,
    pub status: CommandStatus,
    /// Exit status, −1 when there is none.
    pub exit: i32,
    /// At most 24,000 characters (ec2.md 7.12).
    pub stdout: String,
    /// At most 8,000 characters; joined into `stdout` where SSM lists both as one.
    pub stderr: String,
    /// SSM's StatusDetails, such as `ExecutionTimedOut`, without spaces.
    pub details: String,
}

impl CommandOutcome {
    pub fn is_success(&self) -> bool {
        self.status == CommandStatus::Success
    }

    /// The last `lines` lines of both outputs, for an error message; one that did not simply exit also says why.
    pub fn tail(&self, lines: usize) -> String {
        let ending = match self.status {
            CommandStatus::Success | CommandStatus::Failed => String::new(),
            _ if self.details.is_empty() => "SSM did not say how it ended".to_owned(),
            _ => format!("SSM says {}", self.details),
        };
        let text = format!("{}\n{}\n{ending}", self.stdout.trim_end(), self.stderr.trim_end());
        let kept: Vec<&str> = text.trim().lines().rev().take(lines).collect();
        kept.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Cloud {
    /// Runs `script` on every node and waits for all of them; failures of nodes are outcomes, not errors.
    pub async fn run_on(&self, instance_ids: &[String], script: &Script) -> Result<Vec<CommandOutcome>, CallError> {
        let mut tasks = tokio::task::JoinSet::new();
        for batch in instance_ids.chunks(IDS_PER_COMMAND) {
            let (cloud, batch, script) = (self.clone(), batch.to_vec(), script.clone());
            tasks.spawn(async move {
                let command = cloud.send(&batch, &script).await?;
                cloud.outcomes(&command, &batch, script.timeout).await
            });
        }
        let mut outcomes = Vec::with_capacity(instance_ids.len());
        while let Some(done) = tasks.join_next().await {
            let batch = done.map_err(|error| CallError::unexpected("SendCommand", &script.comment, error.to_string()))?;
            outcomes.extend(batch?);
        }
        Ok(outcomes)
    }

    /// Runs `script` on one node.
    pub async fn run_on_one(&self, instance_id: &str, script: &Script) -> Result<CommandOutcome, CallError> {
        let mut outcomes = self.run_on(&[instance_id.to_owned()], script).await?;
        outcomes.pop().ok_or_else(|| CallError::unexpected("SendCommand", instance_id, "no invocation was reported"))
    }

    /// Sends `script` and answers the command's id; nodes that are still registering are waited for, 60 s at most.
    pub async fn send(&self, instance_ids: &[String], script: &Script) -> Result<String, CallError> {
        let comment: String = script.comment.chars().take(100).collect();
        let text = script.text();
        retry(Duration::from_secs(60), &[Class::Conflict], || async {
            let seconds = script.timeout.as_secs().clamp(5, 172_800);
            let answer = self
                .ssm
                .send_command()
                .document_name("AWS-RunShellScript")
                .set_instance_ids(Some(instance_ids.to_vec()))
                .parameters("commands", vec![text.clone()])
                .parameters("executionTimeout", vec![seconds.to_string()])
                .timeout_seconds(60)
                .max_errors("100%")
                .comment(&comment)
                .send()
                .await
                .map_err(|error| failure("SendCommand", &comment, error))?;
            answer
                .command
                .and_then(|command| command.command_id)
                .ok_or_else(|| CallError::unexpected("SendCommand", &comment, "the answer has no command id"))
        })
        .await
    }

    /// Polls a command until every node has answered.
    pub async fn outcomes(
        &self,
        command: &str,
        instance_ids: &[String],
        timeout: Duration,
    ) -> Result<Vec<CommandOutcome>, CallError> {
        let mut backoff = Backoff::new(Duration::from_millis(60), Duration::from_secs(5), timeout + INVOCATION_LAG);
        loop {
            let listed = self.invocations(command).await?;
            let ended = listed.iter().filter(|invocation| is_final(invocation)).count();
            if ended >= instance_ids.len() {
                break;
            }
            if !backoff.pause().await {
                let _ = self.ssm.cancel_command().command_id(command).send().await;
                break;
            }
        }
        let mut outcomes = Vec::with_capacity(instance_ids.len());
        for invocation in self.invocations(command).await? {
            outcomes.push(self.outcome(command, invocation).await?);
        }
        for id in instance_ids {
            if !outcomes.iter().any(|outcome| &outcome.instance_id == id) {
                outcomes.push(CommandOutcome {
                    instance_id: id.clone(),
                    status: CommandStatus::Undelivered,
                    exit: -1,
                    stdout: String::new(),
                    stderr: String::new(),
                    details: String::new(),
                });
            }
        }
        Ok(outcomes)
    }

    async fn invocations(&self, command: &str) -> Result<Vec<CommandInvocation>, CallError> {
        let answer = self
            .ssm
            .list_command_invocations()
            .command_id(command)
            .details(true)
            .max_results(50)
            .send()
            .await
            .map_err(|error| failure("ListCommandInvocations", command, error))?;
        Ok(answer.command_invocations.unwrap_or_default())
    }

    async fn outcome(&self, command: &str, invocation: CommandInvocation) -> Result<CommandOutcome, CallError> {
        let instance_id = invocation.instance_id.clone().unwrap_or_default();
        let status = status_of(&invocation);
        let details = invocation.status_details.clone().unwrap_or_default().replace(' ', "");
        let plugin = invocation.command_plugins.as_ref().and_then(|plugins| plugins.first());
        let listed = plugin.and_then(|plugin| plugin.output.clone()).unwrap_or_default();
        let exit = plugin.map_or(-1, |plugin| plugin.response_code);
        if listed.len() < LISTED_OUTPUT && status == CommandStatus::Success {
            return Ok(CommandOutcome { instance_id, status, exit, stdout: listed, stderr: String::new(), details });
        }
        let full = self
            .ssm
            .get_command_invocation()
            .command_id(command)
            .instance_id(&instance_id)
            .send()
            .await
            .map_err(|error| failure("GetCommandInvocation", &instance_id, error))?;
        Ok(CommandOutcome {
            instance_id,
            status,
            exit: full.response_code,
            stdout: full.standard_output_content.unwrap_or_default(),
            stderr: full.standard_error_content.unwrap_or_default(),
            details,
        })
    }

    /// Waits until SSM lists every node as online; answers those that are not when the budget is spent.
    pub async fn wait_online(&self, instance_ids: &[String], budget: Duration) -> Result<Vec<String>, CallError> {
        let mut backoff = Backoff::polling(budget);
        let mut missing = instance_ids.to_vec();
        loop {
            let mut still = Vec::new();
            for batch in missing.chunks(IDS_PER_COMMAND) {
                let filter = InstanceInformationStringFilter::builder()
                    .key("InstanceIds")
                    .set_values(Some(batch.to_vec()))
                    .build()
                    .map_err(|error| CallError::unexpected("DescribeInstanceInformation", "filter", error.to_string()))?;
                let answer = self
                    .ssm
                    .describe_instance_information()
                    .filters(filter)
                    .max_results(50)
                    .send()
                    .await
                    .map_err(|error| failure("DescribeInstanceInformation", "nodes", error))?;
                let online: Vec<String> = answer
                    .instance_information_list
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|info| info.ping_status.as_ref().is_some_and(|status| status.as_str() == "Online"))
                    .filter_map(|info| info.instance_id)
                    .collect();
                still.extend(batch.iter().filter(|id| !online.contains(id)).cloned());
            }
            missing = still;
            if missing.is_empty() || !backoff.pause().await {
                return Ok(missing);
            }
        }
    }
}

fn is_final(invocation: &CommandInvocation) -> bool {
    use CommandInvocationStatus as S;
    matches!(invocation.status, Some(S::Success | S::Failed | S::Cancelled | S::TimedOut))
}

/// Tells whether the command ran, from the detailed status; its spelling varies with spaces (ec2.md 7.11).
fn status_of(invocation: &CommandInvocation) -> CommandStatus {
    let details = invocation.status_details.clone().unwrap_or_default().replace(' ', "");
    match (invocation.status.as_ref(), details.as_str()) {
        (Some(CommandInvocationStatus::Success), _) => CommandStatus::Success,
        (_, "DeliveryTimedOut" | "Undeliverable" | "Terminated" | "InvalidPlatform" | "AccessDenied") => {
            CommandStatus::Undelivered
        }
        (Some(CommandInvocationStatus::TimedOut), _) => CommandStatus::TimedOut,
        (Some(CommandInvocationStatus::Cancelled | CommandInvocationStatus::Cancelling), _) => CommandStatus::Cancelled,
        (Some(CommandInvocationStatus::Failed), _) => CommandStatus::Failed,
        _ => CommandStatus::TimedOut,
    }
}

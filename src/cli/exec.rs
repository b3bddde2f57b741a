//! `ewulf exec`: a program on nodes, through SSM.

use ewulf_core::quantity::Duration;
use serde_json::json;

use crate::aws::{CommandOutcome, CommandStatus, Script, shell_quote};
use crate::ui::text;

use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::nodes::{Chosen, NodeChoice};
use super::session::Session;

/// What GetCommandInvocation keeps of standard output (ec2.md 7.12).
const STDOUT_KEPT: usize = 24_000;

/// Runs a program on one or more nodes through SSM, and shows what it says.
///
/// The words after `--` reach the program as they are; a pipe needs a shell of its own. SSM keeps the first 24,000
/// characters of the output. Fails if the program fails on any node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf exec master -- uptime
  ewulf exec demo/all -- df -h /shared
  ewulf exec compute/1 -- journalctl -u ewulf-node -n 20
  ewulf exec master --user ewulf -- mpirun --version
  ewulf exec all -- sh -c 'ps aux | grep mpirun'")]
pub struct Exec {
    /// The nodes: master, compute/3, compute (the group) or all, after CLUSTER/ if there are several clusters
    #[arg(value_name = "NODE")]
    nodes: NodeChoice,
    /// The cluster [default: the only one of the project]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The user who runs it; jobs run as ewulf
    #[arg(long, value_name = "NAME", default_value = "root")]
    user: String,
    /// How long it may run
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: Duration,
    #[command(flatten)]
    cloud: CloudOptions,
    /// The program and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    pub async fn run(self, session: &Session) -> Outcome {
        let chosen = self.nodes.find(session, self.cluster.as_deref(), &self.cloud).await?;
        let program = self.command.first().map_or("", String::as_str);
        let script = Script::new(format!("exec {program}"), body(&self.user, &self.command)).timeout(self.timeout.as_std());
        let ids: Vec<String> = chosen.nodes.iter().map(|node| node.id.clone()).collect();
        let mut outcomes = chosen.cloud.run_on(&ids, &script).await?;
        outcomes.sort_by_key(|outcome| ids.iter().position(|id| *id == outcome.instance_id));
        show(session, &chosen, &outcomes)?;
        session.tell_calls(&chosen.cloud);
        let failed: Vec<String> = outcomes
            .iter()
            .filter(|outcome| !outcome.is_success())
            .map(|outcome| format!("{}: {}", address(&chosen, outcome), ending(outcome)))
            .collect();
        if failed.is_empty() {
            return Ok(Exit::Done);
        }
        let nodes = text::count(outcomes.len() as u64, "node");
        let mut failure = Failure::new(Kind::Failed, format!("`{program}` failed on {} of {nodes}", failed.len()));
        failure.causes = failed;
        Err(failure)
    }
}

/// The script for the nodes: every word is quoted, once for the login shell and once for the script.
fn body(user: &str, command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| shell_quote(word)).collect();
    let line = format!("exec {}", words.join(" "));
    format!("exec runuser --login {} --shell /bin/bash --command {}\n", shell_quote(user), shell_quote(&line))
}

fn address(chosen: &Chosen, outcome: &CommandOutcome) -> String {
    let node = chosen.nodes.iter().find(|node| node.id == outcome.instance_id);
    node.map_or_else(|| outcome.instance_id.clone(), |node| node.name.clone())
}

fn ending(outcome: &CommandOutcome) -> String {
    match outcome.status {
        CommandStatus::Success => "done".to_owned(),
        CommandStatus::Failed => format!("exit status {}", outcome.exit),
        CommandStatus::Undelivered => "SSM could not deliver it".to_owned(),
        CommandStatus::TimedOut => "it ran out of time; `--timeout` gives it more".to_owned(),
        CommandStatus::Cancelled => "it was cancelled".to_owned(),
    }
}

fn show(session: &Session, chosen: &Chosen, outcomes: &[CommandOutcome]) -> Result<(), Failure> {
    let screen = &session.screen;
    if screen.is_json() {
        let documents: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                json!({
                    "address": address(chosen, outcome),
                    "id": outcome.instance_id,
                    "success": outcome.is_success(),
                    "exit": outcome.exit,
                    "stdout": outcome.stdout,
                    "stderr": outcome.stderr,
                })
            })
            .collect();
        screen.print_json(&documents)?;
        return Ok(());
    }
    for outcome in outcomes {
        let prefix = if outcomes.len() > 1 { format!("{} │ ", address(chosen, outcome)) } else { String::new() };
        for line in outcome.stdout.lines() {
            screen.print_line(&format!("{prefix}{}", text::printable(line)))?;
        }
        for line in outcome.stderr.lines() {
            screen.say(&format!("{prefix}{}", text::printable(line)));
        }
        if outcome.stdout.chars().count() >= STDOUT_KEPT {
            screen.warn(&format!("{}: SSM kept only the first {STDOUT_KEPT} characters", address(chosen, outcome)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        // What the node's two shells make of the script, with `runuser` replaced by the shell it starts.
        let words = ["printf", "[%s]", "a b", "$(id)", "it's", "--", "`x`", "\"", "a\nb"].map(str::to_owned);
        let script = body("ewulf", &words).replace("exec runuser --login 'ewulf' --shell /bin/bash --command", "exec bash -c");
        let output = std::process::Command::new("bash").arg("-c").arg(script).output().expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[a b][$(id)][it's][--][`x`][\"][a\nb]");
    }
}

//! `ewulf local`: the local cloud of this machine, from outside and (hidden) its server.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use ewulf_cloud::config::Files;
use ewulf_cloud::lifecycle;
use serde_json::json;

use crate::events::Events;
use crate::ui::{Table, text};

use super::connect;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::faults::Faults;
use super::session::Session;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Starts, shows and ends the local cloud: EC2 and SSM on 127.0.0.1, with real nodes on this machine.
///
/// Verbs with `cloud: local` start it on first use, so `up` is rarely needed. It needs root; its credentials belong to
/// the user who started it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo ewulf local up
  ewulf local status
  eval \"$(ewulf local env)\" && aws ec2 describe-instances
  sudo ewulf local reset --yes")]
pub struct Local {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Starts the local cloud, unless it is up; makes the Debian base image on first need
    #[command(after_help = "\
Examples:
  sudo ewulf local up
  sudo ewulf local up --local-state /var/tmp/cloud
  ewulf local up --records --local-state /tmp/records")]
    Up {
        /// Keep instances as records, without nodes: the API alone, without root. Later starts do the same
        #[arg(long)]
        records: bool,
    },
    /// Shows whether it is up, and its nodes
    #[command(after_help = "Examples:\n  ewulf local status\n  ewulf local status --json")]
    Status,
    /// Prints the server's log
    #[command(after_help = "Examples:\n  ewulf local logs -n 50\n  ewulf local logs -f")]
    Logs {
        /// Go on with new lines until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Only the last lines
        #[arg(short = 'n', long, value_name = "COUNT")]
        lines: Option<usize>,
    },
    /// Ends the server and all nodes; disks and state stay for the next `up`
    #[command(after_help = "Examples:\n  sudo ewulf local down")]
    Down,
    /// Ends the server and all nodes, and erases their disks and images; the Debian base image stays
    #[command(after_help = "Examples:\n  sudo ewulf local reset\n  sudo ewulf local reset --yes")]
    Reset {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Prints what a shell must export so that the aws command talks to the local cloud
    #[command(after_help = "Examples:\n  eval \"$(ewulf local env)\"\n  ewulf local env --json")]
    Env,
    Faults(Box<Faults>),
    /// Serves in the foreground
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        records: bool,
    },
}

impl Local {
    /// Whether an interrupt may end it at any point.
    pub fn only_reads(&self) -> bool {
        match &self.act {
            Act::Status | Act::Logs { .. } | Act::Env => true,
            Act::Faults(faults) => faults.only_reads(),
            Act::Up { .. } | Act::Down | Act::Reset { .. } | Act::Serve { .. } => false,
        }
    }

    pub async fn run(self, session: &Session) -> Outcome {
        let state = session.local_state();
        match self.act {
            Act::Up { records } => up(session, &state, records).await,
            Act::Status => status(session, &state).await,
            Act::Logs { follow, lines } => logs(session, &state, follow, lines).await,
            Act::Down => {
                end(&session.event_stream(), "down", lifecycle::down(&state)).await?;
                Ok(Exit::Done)
            }
            Act::Reset { yes } => reset(session, &state, yes).await,
            Act::Env => env(session, &state).await,
            Act::Faults(faults) => faults.run(session).await,
            Act::Serve { records } => {
                ewulf_cloud::serve(connect::config(&state, records)?).await.map_err(|error| Failure::of(Kind::Failed, &error))?;
                Ok(Exit::Done)
            }
        }
    }
}

async fn up(session: &Session, state: &Path, records: bool) -> Outcome {
    if records && !connect::keeps_records(state)? {
        refuse_nodes(state).await?;
    }
    let running = connect::start_local(state, records, &session.events()).await?;
    if session.screen.is_json() {
        session.screen.print_json(&json!({ "endpoint": running.endpoint, "pid": running.pid, "state": state }))?;
    } else {
        session.screen.print_line(&format!("The local cloud is up at {} (process {}).", running.endpoint, running.pid))?;
    }
    Ok(Exit::Done)
}

/// Refuses to turn a cloud with nodes into one of records: its nodes would be lost.
async fn refuse_nodes(state: &Path) -> Result<(), Failure> {
    let status = lifecycle::status(state).await?;
    let what = match (status.running, status.nodes.as_deref()) {
        (Some(_), _) => "is up with real nodes",
        (None, Some([])) => return Ok(()),
        (None, _) => "has real nodes",
    };
    Err(Failure::invalid(format!("the local cloud in {} {what}", state.display()))
        .hint("name another folder with `--local-state DIR`, or erase this one first: sudo ewulf local reset"))
}

async fn status(session: &Session, state: &Path) -> Outcome {
    let status = lifecycle::status(state).await?;
    let nodes = status.nodes.as_deref().unwrap_or_default();
    let exit = if status.running.is_some() { Exit::Done } else { Exit::Unhealthy };
    if session.screen.is_json() {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| json!({ "id": node.instance_id, "name": node.name, "state": node.state, "address": node.address }))
            .collect();
        let (endpoint, pid) = status.running.map(|running| (running.endpoint, running.pid)).unzip();
        let up = endpoint.is_some();
        session.screen.print_json(&json!({ "up": up, "endpoint": endpoint, "pid": pid, "state": state, "nodes": nodes }))?;
        return Ok(exit);
    }
    match &status.running {
        Some(running) => {
            let up = session.screen.style().green("up");
            session.screen.print_line(&format!("The local cloud is {up} at {} (process {}).", running.endpoint, running.pid))?;
        }
        None => session.screen.print_line("The local cloud is down.")?,
    }
    session.screen.print_line(&format!("State: {}", state.display()))?;
    if status.nodes.is_none() {
        session.screen.print_line("Its nodes are not shown: only root may read the state.")?;
    }
    if !nodes.is_empty() {
        let mut table = Table::new(["ID", "NAME", "STATE", "ADDRESS"]);
        for node in nodes {
            let name = node.name.clone().unwrap_or_default();
            table.row([node.instance_id.clone(), name, node.state.to_owned(), node.address.to_string()]);
        }
        session.screen.print("\n")?;
        session.screen.print_table(&table)?;
    }
    Ok(exit)
}

async fn logs(session: &Session, state: &Path, follow: bool, lines: Option<usize>) -> Outcome {
    let path = Files { state_dir: state }.log();
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Failed, format!("log {}: cannot be read", path.display()))
            .caused_by(Some(&error))
            .hint("`ewulf local status` says whether there is a local cloud; another user's needs sudo")
    };
    let mut reader = BufReader::new(std::fs::File::open(&path).map_err(failed)?);
    let mut shown = Vec::new();
    read_lines(&mut reader, &mut shown).map_err(failed)?;
    let first = lines.map_or(0, |lines| shown.len().saturating_sub(lines));
    let mut text: String = shown[first..].concat();
    loop {
        session.screen.print(&text)?;
        if !follow {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
        // A reset and a new start make another, shorter log.
        let length = std::fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
        if length < reader.stream_position().map_err(failed)? {
            reader = BufReader::new(std::fs::File::open(&path).map_err(failed)?);
            reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        shown.clear();
        read_lines(&mut reader, &mut shown).map_err(failed)?;
        text = shown.concat();
    }
}

/// Reads what is there; escape sequences of nodes' output lose their power.
fn read_lines(reader: &mut impl BufRead, lines: &mut Vec<String>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        lines.push(format!("{}\n", text::printable(String::from_utf8_lossy(&bytes).trim_end())));
        bytes.clear();
    }
    Ok(())
}

async fn reset(session: &Session, state: &Path, yes: bool) -> Outcome {
    let nodes = lifecycle::status(state).await?.nodes.unwrap_or_default();
    let what = format!(
        "This ends {} and erases every disk and image of the local cloud in {}.",
        text::count(nodes.len() as u64, "node"),
        state.display()
    );
    if !yes && !session.screen.confirm(&format!("{what}\nGo on?"))? {
        return Err(Failure::interrupted("not confirmed; nothing was erased"));
    }
    end(&session.event_stream(), "reset", lifecycle::reset(state)).await?;
    Ok(Exit::Done)
}

/// Ends the cloud in one way or the other, with its events.
async fn end(
    events: &Events,
    act: &str,
    ending: impl Future<Output = Result<(), lifecycle::LifecycleError>>,
) -> Result<(), Failure> {
    let work = events.begin("local cloud", "ending the server and all nodes");
    match ending.await {
        Ok(()) => {
            work.done(if act == "reset" { "Ended and erased." } else { "Ended; its state stays." });
            Ok(())
        }
        Err(error) => {
            work.failed(&error);
            Err(error.into())
        }
    }
}

async fn env(session: &Session, state: &Path) -> Outcome {
    let Some(running) = lifecycle::status(state).await?.running else {
        return Err(Failure::new(Kind::Failed, "the local cloud is down").hint("sudo ewulf local up"));
    };
    let credentials = Files { state_dir: state }.credentials();
    let region = connect::config(state, false)?.region;
    let variables = variables(running.endpoint, &credentials, &region);
    if session.screen.is_json() {
        let object: serde_json::Map<_, _> = variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        session.screen.print_json(&object)?;
    } else {
        for line in shell_lines(&variables) {
            session.screen.print_line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// What a shell's environment must say, or not say (None), for AWS's tools to speak to the local cloud and to nothing
/// else. Keys in the environment go before any profile, a service's endpoint before the common one, and the user's
/// configuration file may name endpoints, roles and sources of credentials for the default profile.
fn variables(endpoint: String, credentials: &Path, region: &str) -> Vec<(&'static str, Option<String>)> {
    const MISLEADING: [&str; 12] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ENDPOINT_URL_EBS",
        "AWS_ENDPOINT_URL_EC2",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_ENDPOINT_URL_STS",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
    ];
    let set = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_string_lossy().into_owned()),
        // A file that is there, and empty.
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_PROFILE", "default".to_owned()),
        ("AWS_REGION", region.to_owned()),
        ("AWS_DEFAULT_REGION", region.to_owned()),
    ];
    let unset = MISLEADING.into_iter().map(|name| (name, None));
    set.into_iter().map(|(name, value)| (name, Some(value))).chain(unset).collect()
}

fn shell_lines(variables: &[(&str, Option<String>)]) -> Vec<String> {
    let line = |(name, value): &(&str, Option<String>)| match value {
        Some(value) => format!("export {name}={}", text::shell_word(value)),
        None => format!("unset {name}"),
    };
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_knew_another_account_speaks_to_the_local_cloud_alone() {
        let lines = shell_lines(&variables("http://127.0.0.1:1".to_owned(), Path::new("/a b/credentials"), "us-east-1"));
        let script = format!("set -u\n{}\nenv", lines.join("\n"));
        let theirs = [
            ("AWS_ACCESS_KEY_ID", "AKIDTHEIRS"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_CONFIG_FILE", "/home/user/.aws/config"),
            ("AWS_PROFILE", "production"),
            ("AWS_ENDPOINT_URL_EC2", "https://ec2.example.com"),
        ];
        let output =
            std::process::Command::new("sh").args(["-c", &script]).env_clear().envs(theirs).output().expect("there is a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("an environment of ASCII");
        let mut ours: Vec<&str> = text.lines().filter(|line| line.starts_with("AWS_")).collect();
        ours.sort_unstable();
        let expected = [
            "AWS_CONFIG_FILE=/dev/null",
            "AWS_DEFAULT_REGION=us-east-1",
            "AWS_ENDPOINT_URL=http://127.0.0.1:1",
            "AWS_PROFILE=default",
            "AWS_REGION=us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE=/a b/credentials",
        ];
        assert_eq!(ours, expected);
    }
}

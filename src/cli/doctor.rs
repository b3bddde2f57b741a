//! `ewulf doctor`: what the machine and the cloud need, whether it is there, and how to get it.

mod aws;
mod machine;

pub use machine::find_program;

use serde::Serialize;

use crate::ui::{Style, Table, text};

use super::failure::{Exit, Outcome};
use super::session::Session;

/// Looks for everything that ewulf needs and says how to get what is missing.
///
/// Checks this machine for the local cloud and, where AWS credentials are found or asked for, the AWS account. Nothing
/// is changed: mounts and links are tried in namespaces of their own. Exits with 1 if something needed is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo ewulf doctor
  ewulf doctor aws --region eu-central-1
  ewulf doctor local --json")]
pub struct Doctor {
    /// What to check [default: local, and aws if there are credentials]
    #[arg(value_enum)]
    what: Option<What>,
    /// Region of AWS to check [default: as every AWS tool finds it, else us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// This machine, for the local cloud
    Local,
    /// The AWS account
    Aws,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// Only some verbs need it, or only some specs.
    Optional,
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    area: &'static str,
    name: String,
    state: State,
    detail: String,
    /// How to get it; a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Debian package that brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'static str>,
}

impl Check {
    fn new(area: &'static str, name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { area, name: name.into(), state, detail: detail.into(), hint: None, package: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn package(mut self, package: &'static str) -> Self {
        self.package = Some(package);
        self
    }
}

impl Doctor {
    pub async fn run(self, session: &Session) -> Outcome {
        let mut checks = Vec::new();
        if self.what != Some(What::Aws) {
            let state = session.local_state();
            checks.extend(machine::checks(&state));
        }
        if self.what != Some(What::Local) {
            let endpoint_url = session.options.endpoint_url.clone();
            checks.extend(aws::checks(endpoint_url, self.region.as_deref(), self.what == Some(What::Aws)).await);
        }
        let is_healthy = checks.iter().all(|check| check.state != State::Missing);
        if session.screen.is_json() {
            session.screen.print_json(&serde_json::json!({ "healthy": is_healthy, "checks": checks }))?;
        } else {
            session.screen.print_table(&table(&checks, session.screen.style()))?;
            session.screen.print(&advice(&checks, session.screen.style()))?;
        }
        Ok(if is_healthy { Exit::Done } else { Exit::Unhealthy })
    }
}

fn table(checks: &[Check], style: Style) -> Table {
    let mut table = Table::new(["AREA", "CHECK", "STATE", "DETAIL"]);
    for check in checks {
        let state = match check.state {
            State::Ok => style.green("ok"),
            State::Optional => style.yellow("optional"),
            State::Missing => style.red("missing"),
        };
        table.row([check.area.to_owned(), check.name.clone(), state, check.detail.clone()]);
    }
    table
}

/// Says how to get what is missing: packages in one line, everything else in a line each.
fn advice(checks: &[Check], style: Style) -> String {
    let wanting = || checks.iter().filter(|check| check.state != State::Ok);
    let mut packages: Vec<&str> = wanting().filter_map(|check| check.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let mut hints: Vec<String> = Vec::new();
    if !packages.is_empty() {
        hints.push(format!("sudo apt-get install {}", packages.join(" ")));
    }
    hints.extend(wanting().filter_map(|check| Some(format!("{}: {}", check.name, check.hint.as_ref()?))));
    let missing = checks.iter().filter(|check| check.state == State::Missing).count();
    let verdict = match missing {
        0 => "Everything that is needed is there.".to_owned(),
        1 => "1 thing is missing.".to_owned(),
        _ => format!("{missing} things are missing."),
    };
    let mut advice = format!("\n{verdict}\n");
    for hint in hints {
        advice.push_str(&format!("{} {hint}\n", style.cyan("hint:")));
    }
    advice
}

/// Shortens what a program said to its first line.
fn first_line(output: &str) -> String {
    text::printable(output.trim_start().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_packages_become_one_install_line() {
        let checks = [
            Check::new("machine", "nft", State::Missing, "not found").package("nftables"),
            Check::new("machine", "ip", State::Missing, "not found").package("iproute2"),
            Check::new("machine", "tc", State::Missing, "not found").package("iproute2"),
            Check::new("machine", "overlay", State::Ok, "works").hint("never shown"),
        ];
        assert_eq!(advice(&checks, Style::new(false)), "\n3 things are missing.\nhint: sudo apt-get install iproute2 nftables\n");
    }
}

//! `ewulf runs`: the runs of a cluster.

use crate::job::ListedRun;
use crate::ui::{Style, Table, text};

use super::connect::CloudOptions;
use super::failure::{Exit, Outcome};
use super::jobs::JobCluster;
use super::nodes::only_cluster;
use super::session::Session;

/// Lists the runs on a cluster, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf runs
  ewulf runs prod
  ewulf runs --json | jq -r '.[] | select(.active).run'")]
pub struct Runs {
    /// The cluster, by name or spec [default: the only one of the project]
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Runs {
    pub async fn run(self, session: &Session) -> Outcome {
        let name = match self.cluster {
            Some(name) => name,
            None => only_cluster(session)?,
        };
        let cluster = JobCluster::find(session, &name, &self.cloud, &session.events()).await?;
        let list = cluster.runner.list(&cluster.nodes).await?;
        session.tell_calls(&cluster.cloud);
        if session.screen.is_json() {
            session.screen.print_json(&list.runs)?;
            return Ok(Exit::Done);
        }
        if list.runs.is_empty() {
            session.screen.print_line(&format!("Cluster {} has no runs.", cluster.nodes.cluster))?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(["RUN", "STATE", ">RANKS", ">NODES", "STARTED", ">TIME"]);
        for run in &list.runs {
            table.row(row(run, session.screen.style()));
        }
        session.screen.print_table(&table)?;
        if list.more > 0 {
            session.screen.print_line(&format!("… and {} older.", list.more))?;
        }
        Ok(Exit::Done)
    }
}

fn row(run: &ListedRun, style: Style) -> [String; 6] {
    use crate::job::Outcome as Ended;
    let state = match (run.status.outcome, run.active) {
        (Some(Ended::Succeeded), _) => style.green("succeeded"),
        (Some(outcome), _) => style.red(&outcome.to_string()),
        (None, true) => {
            style.cyan(&run.status.step_name.clone().or(run.status.phase.clone()).unwrap_or_else(|| "starting".to_owned()))
        }
        // Its unit is gone, and it did not say how it ended.
        (None, false) => style.red("lost"),
    };
    let started = run.status.started_at().unwrap_or(run.prepared).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let time = run.status.seconds().map(text::seconds).unwrap_or_default();
    [run.run.to_string(), state, run.ranks.to_string(), run.nodes.to_string(), started, time]
}

//! `ewulf cancel`: ends a run.

use serde_json::json;

use crate::job::RunId;
use crate::ui::text;

use super::connect::CloudOptions;
use super::failure::{Exit, Outcome};
use super::jobs::JobCluster;
use super::session::Session;

/// Ends a run, and makes sure that no process of it is left on any node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf cancel knn-20260131-174502-3f9a
  ewulf cancel knn-20260131-174502-3f9a --cluster prod")]
pub struct Cancel {
    /// The run's id, as `ewulf run` and `ewulf runs` show it
    #[arg(value_name = "RUN")]
    run: RunId,
    /// The cluster, by name or spec [default: that of the job's manifest]
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Cancel {
    pub async fn run(self, session: &Session) -> Outcome {
        let events = session.event_stream();
        let cluster = JobCluster::of_run(session, &self.run, self.cluster.as_deref(), &self.cloud, &events).await?;
        let cancelled = cluster.runner.cancel(&cluster.nodes, &self.run).await?;
        for (node, count) in &cancelled.killed {
            session.screen.tell(&format!("Killed {} that the run had left on {node}.", text::count(*count, "process")));
        }
        session.tell_calls(&cluster.cloud);
        if session.screen.is_json() {
            session.screen.print_json_line(&json!({ "event": "finished", "run": self.run, "cancelled": cancelled }))?;
        }
        Ok(Exit::Done)
    }
}

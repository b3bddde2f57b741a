//! `ewulf logs`: what a run says, or said.

use crate::job::RunId;

use super::connect::CloudOptions;
use super::failure::{Exit, Outcome};
use super::jobs::{JobCluster, finish};
use super::run::{Followed, detached, follow, left_running};
use super::session::Session;

/// Prints what a run has said; with -f goes on until it ends, and fetches its results as `ewulf run` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf logs knn-20260131-174502-3f9a
  ewulf logs -f knn-20260131-174502-3f9a --cluster prod")]
pub struct Logs {
    /// The run's id, as `ewulf run` and `ewulf runs` show it
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Go on until the run ends
    #[arg(short, long)]
    follow: bool,
    /// The cluster, by name or spec [default: that of the job's manifest]
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Logs {
    /// Whether an interrupt may end it at any point.
    pub fn only_reads(&self) -> bool {
        !self.follow
    }

    pub async fn run(self, session: &Session) -> Outcome {
        let events = session.screen.output_stream(!self.follow);
        let cluster = JobCluster::of_run(session, &self.run, self.cluster.as_deref(), &self.cloud, &events).await?;
        let mut handle = cluster.runner.find(&cluster.nodes, &self.run).await?;
        if !self.follow {
            cluster.runner.show_log(&mut handle).await?;
            return Ok(Exit::Done);
        }
        match follow(session, &cluster.runner, &mut handle, &events).await? {
            Followed::Ended => {}
            Followed::Detached => return detached(session, cluster.nodes.cluster.as_str(), &handle),
            Followed::Left => return Err(left_running(cluster.nodes.cluster.as_str(), &handle)),
            Followed::Cancel => {
                cluster.runner.cancel(&cluster.nodes, &self.run).await?;
                cluster.runner.follow(&mut handle, std::future::pending()).await?;
            }
        }
        session.tell_calls(&cluster.cloud);
        finish(session, &cluster.runner, &handle).await
    }
}

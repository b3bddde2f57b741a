//! `ewulf run`: an MPI job on a live cluster.

use std::path::{Path, PathBuf};

use ewulf_core::plan::Plan;
use ewulf_core::spec::JobManifest;
use jiff::Timestamp;

use crate::events::Events;
use crate::job::{FollowEnd, JobError, PreparedRun, RunHandle, Runner};
use crate::ui;

use super::cluster;
use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::jobs::{BuiltInFolder, cluster_nodes, finish, later};
use super::project::Text;
use super::session::Session;

/// Runs a job on its cluster, shows what it says, and fetches its results into results/RUN/.
///
/// The cluster must be as its spec says. The job runs on the cluster by itself: a lost connection loses nothing, and
/// Ctrl-C asks whether to leave it running or to cancel it. Exits with 5 if the job fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf run jobs/pi.yaml
  ewulf run jobs/knn.yaml --cluster prod --detach
  ewulf run jobs/knn.yaml --json | jq 'select(.event == \"finished\").summary'")]
pub struct Run {
    /// A job manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The cluster, by name or spec, instead of the manifest's
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Start the job and leave it running
    #[arg(short, long)]
    detach: bool,
    /// Run beside other jobs on the same nodes
    #[arg(long)]
    share: bool,
    /// Run even if the cluster is not as its spec says; do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Run {
    pub async fn run(self, session: &Session) -> Outcome {
        let project = session.project()?;
        let (loaded, text) = project.job(&self.file, self.cluster.as_deref())?;
        let manifest = loaded.spec;
        let name = self.cluster.clone().unwrap_or_else(|| manifest.cluster.to_string());
        let spec = cluster::spec(project, &name, &self.cloud)?;
        let events = session.screen.output_stream(false);
        let cloud = session.connect_for(&spec, &events).await?;
        let planned = cluster::plan(session, &cloud, &spec).await?;
        let nodes = cluster_nodes(&spec, &planned.world)?;
        self.check_plan(session, &planned.plan)?;
        let prepared = prepare(&manifest, &nodes, &text)?;
        let runner = Runner::new(cloud.clone(), events.clone());
        let mut handle = runner.start(&prepared, self.share).await?;
        let cluster = spec.cluster.as_str();
        if self.detach {
            return detached(session, cluster, &handle);
        }
        match follow(session, &runner, &mut handle, &events).await? {
            Followed::Ended => {}
            Followed::Detached => return detached(session, cluster, &handle),
            Followed::Left => return Err(left_running(cluster, &handle)),
            Followed::Cancel => {
                runner.cancel(&nodes, &handle.plan().run).await?;
                // What it had to say until now is fetched like any other end.
                runner.follow(&mut handle, std::future::pending()).await?;
            }
        }
        session.tell_calls(&cloud);
        finish(session, &runner, &handle).await
    }

    /// Asks before running on a cluster that is not what its spec says, not even with the fewest workers that will do.
    fn check_plan(&self, session: &Session, plan: &Plan) -> Result<(), Failure> {
        if plan.is_empty() || plan.is_enough() || self.yes {
            return Ok(());
        }
        let message = format!("cluster {}: it is not as its spec says", plan.cluster);
        if !session.screen.is_interactive() {
            return Err(Failure::new(Kind::Failed, message)
                .hint(format!("make it so: ewulf apply clusters/{}.yaml", plan.cluster))
                .hint("or run on it as it is: add `--yes`"));
        }
        session.screen.tell(ui::plan::render(plan, session.screen.stderr_style()).trim_end());
        if session.screen.confirm(&format!("Cluster {} is not as its spec says. Run on it as it is?", plan.cluster))? {
            return Ok(());
        }
        Err(Failure::interrupted("nothing was started").hint(format!("ewulf apply clusters/{}.yaml", plan.cluster)))
    }
}

/// Packs a run; the files of a built-in manifest are written out for that long.
fn prepare(manifest: &JobManifest, nodes: &crate::job::ClusterNodes, text: &Text) -> Result<PreparedRun, Failure> {
    let now = Timestamp::now();
    let prepared = match &text.folder {
        Some(folder) if folder.as_os_str().is_empty() => Runner::prepare(manifest, nodes, Path::new("."), now),
        Some(folder) => Runner::prepare(manifest, nodes, folder, now),
        None => Runner::prepare(manifest, nodes, BuiltInFolder::of_jobs(manifest)?.path(), now),
    };
    Ok(prepared?)
}

/// Says how to come back to a run that the user leaves on purpose.
pub fn detached(session: &Session, cluster: &str, handle: &RunHandle) -> Outcome {
    let run = &handle.plan().run;
    if session.screen.is_json() {
        session.screen.print_json_line(&serde_json::json!({ "event": "detached", "run": run, "cluster": cluster }))?;
    } else {
        let [look, end] = later(cluster, run);
        session.screen.print_line(&format!("Run {run} goes on by itself.\n  {look}\n  {end}"))?;
    }
    Ok(Exit::Done)
}

/// How following a run ended.
pub enum Followed {
    Ended,
    /// The user answered to leave it running.
    Detached,
    /// An interrupt left it running without an answer.
    Left,
    /// The user wants it to end.
    Cancel,
}

/// Follows a run to its end; a first Ctrl-C asks what is to become of it, a second leaves it running at once.
pub async fn follow(session: &Session, runner: &Runner, handle: &mut RunHandle, events: &Events) -> Result<Followed, JobError> {
    if runner.follow(handle, session.interrupt.requested()).await? == FollowEnd::Ended {
        return Ok(Followed::Ended);
    }
    if !session.screen.is_interactive() {
        return Ok(Followed::Left);
    }
    let question = format!("Run {}: [d]etach and leave it running, [c]ancel it, or go [o]n?", handle.plan().run);
    let answer = tokio::task::block_in_place(|| session.screen.ask(&question));
    match answer.as_deref().map(|answer| answer.chars().next()) {
        Ok(Some('c' | 'C')) => Ok(Followed::Cancel),
        Ok(Some('o' | 'O')) => {
            events.notice(crate::events::Level::Info, "Going on; Ctrl-C again leaves it running at once.");
            runner.follow(handle, std::future::pending()).await.map(|_| Followed::Ended)
        }
        Ok(Some('d' | 'D')) => Ok(Followed::Detached),
        _ => Ok(Followed::Left),
    }
}

/// Says that a run goes on without anybody watching.
pub fn left_running(cluster: &str, handle: &RunHandle) -> Failure {
    let run = &handle.plan().run;
    let [look, end] = later(cluster, run);
    Failure::interrupted(format!("run {run} goes on by itself")).hint(look).hint(end)
}

//! What the verbs on jobs share: a live cluster as jobs see it, and the end of a run.

use ewulf_core::instance_types::{find, price_per_hour};
use ewulf_core::spec::{ClusterSpec, JobManifest, load_job};
use ewulf_core::world::{Node, NodeState, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::events::Events;
use crate::job::{ClusterNodes, Finished, JobError, JobFailure, JobNode, Receipt, RunHandle, RunId, Runner};
use crate::ui::{Table, text};

use super::cluster;
use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::nodes::only_cluster;
use super::project::{Kind as SpecKind, Project};
use super::session::Session;
use super::sweep;
use super::user::User;

/// Lines of a failed program that the failure shows.
const LAST_LINES: usize = 12;

/// A cluster that may have runs, and the way to them.
pub struct JobCluster {
    pub runner: Runner,
    pub nodes: ClusterNodes,
    pub cloud: crate::aws::Cloud,
}

impl JobCluster {
    /// Connects to a cluster by its name or spec and looks at its nodes; whether it is as specified does not matter.
    pub async fn find(session: &Session, name: &str, options: &CloudOptions, events: &Events) -> Result<Self, Failure> {
        let spec = cluster::spec(session.project()?, name, options)?;
        let cloud = session.connect_for(&spec, events).await?;
        let world = crate::observe::observe(&cloud, &spec).await?;
        let nodes = cluster_nodes(&spec, &world)?;
        Ok(Self { runner: Runner::new(cloud.clone(), events.clone()), nodes, cloud })
    }

    /// Connects to the cluster that a run is on: the one named, else the one in its receipt or its job's manifest, else the
    /// only one.
    pub async fn of_run(
        session: &Session,
        run: &RunId,
        cluster: Option<&str>,
        options: &CloudOptions,
        events: &Events,
    ) -> Result<Self, Failure> {
        let name = match cluster {
            Some(name) => name.to_owned(),
            None => match cluster_of_receipt(session.project()?, run).or(cluster_of_job(session.project()?, run)) {
                Some(name) => name,
                None => only_cluster(session)?,
            },
        };
        Self::find(session, &name, options, events).await
    }
}

/// The cluster that a run was on, if its results are here.
fn cluster_of_receipt(project: &Project, run: &RunId) -> Option<String> {
    let receipt = std::fs::read(project.output_folder().join("results").join(run.as_str()).join("receipt.json")).ok()?;
    Some(serde_json::from_slice::<Receipt>(&receipt).ok()?.cluster.to_string())
}

/// The cluster that the manifest of a run's job names, if the project has that manifest.
fn cluster_of_job(project: &Project, run: &RunId) -> Option<String> {
    // `JOB-YYYYMMDD-HHMMSS-xxxx`: three parts come after the job's name, which may have dashes itself.
    let job = run.as_str().rsplitn(4, '-').last()?;
    let text = project.read(SpecKind::Job, &project.path(SpecKind::Job, job)).ok()?;
    Some(load_job(&text.file, &text.bytes).ok()?.spec.cluster.to_string())
}

/// The running nodes of a world as jobs see them, the master first.
pub fn cluster_nodes(spec: &ClusterSpec, world: &World) -> Result<ClusterNodes, Failure> {
    let not_ready = |reason: &str| JobError::NotReady { cluster: spec.cluster.to_string(), reason: reason.to_owned() };
    let cidr = world.network_cidr().ok_or_else(|| not_ready("it has no network"))?;
    let nodes: Vec<JobNode> = world.nodes.iter().filter(|node| node.state == NodeState::Running).filter_map(job_node).collect();
    if nodes.is_empty() {
        return Err(not_ready("none of its nodes is running").into());
    }
    let canonical = serde_json::to_vec(spec).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let digest: String = Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect();
    let (cluster, shared_path) = (spec.cluster.clone(), spec.shared.path.clone());
    Ok(ClusterNodes { cluster, spec_sha256: Some(digest), shared_path, cidr, nodes })
}

fn job_node(node: &Node) -> Option<JobNode> {
    Some(JobNode {
        address: node.address().to_string(),
        instance_id: node.id.clone(),
        private_address: node.private_address?,
        instance_type: node.instance_type.clone(),
        image_id: node.image_id.clone(),
        // A type that nobody knows has one core for certain.
        cores: find(&node.instance_type).map_or(1, |info| info.cores),
        price_per_hour: price_per_hour(&node.instance_type, node.market).map(|price| price.as_dollars()),
    })
}

/// Fetches the results of a run that has ended, shows them, and makes a run that failed a failure.
pub async fn finish(session: &Session, runner: &Runner, handle: &RunHandle) -> Outcome {
    let results = session.project()?.output_folder().join("results");
    let finished = runner.finish(handle, &results).await?;
    // Behind sudo, results belong to the user.
    User::invoking().own_all(&results).map_err(|error| {
        Failure::new(Kind::Failed, format!("{}: cannot be given to its user", results.display())).caused_by(Some(&error))
    })?;
    show(session, &finished)?;
    finished.into_result()?;
    Ok(Exit::Done)
}

fn show(session: &Session, finished: &Finished) -> Result<(), Failure> {
    let Finished { receipt, folder, summary, sweep } = finished;
    if session.screen.is_json() {
        let document = json!({ "event": "finished", "folder": folder, "receipt": receipt, "summary": summary, "sweep": sweep });
        session.screen.print_json_line(&document)?;
        return Ok(());
    }
    if let Some(sweep) = sweep {
        sweep::show(session, &receipt.manifest, sweep, folder)?;
    }
    let mut table = Table::new(["RESULT", "VALUE"]);
    if let Some(Value::Object(summary)) = summary {
        for (key, value) in summary {
            table.row([key.replace('_', " "), value_text(value)]);
        }
    }
    table.row(["outcome".to_owned(), receipt.outcome.to_string()]);
    if let Some(members) = receipt.members {
        table.row(["members".to_owned(), format!("{} of {} succeeded", members.succeeded, members.total)]);
    }
    if let Some(seconds) = receipt.seconds {
        table.row(["time".to_owned(), text::seconds(seconds)]);
    }
    let extent = format!("{} on {}", text::count(receipt.ranks.into(), "rank"), text::count(receipt.nodes.len() as u64, "node"));
    table.row(["ranks".to_owned(), extent]);
    if let Some(cost) = receipt.cost {
        table.row(["cost".to_owned(), format!("${cost:.4}")]);
    }
    table.row(["results".to_owned(), folder.display().to_string()]);
    session.screen.print_table(&table)?;
    Ok(())
}

/// Writes one value of a summary; what is long or deep is only named, since the file has it in full.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text::printable(text),
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
            text::count(values.len() as u64, "entry")
        }
        Value::Array(values) => values.iter().map(value_text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key} {}", value_text(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// The commands for a run that goes on without ewulf: to see it again, and to end it.
pub fn later(cluster: &str, run: &RunId) -> [String; 2] {
    [format!("ewulf logs -f {run} --cluster {cluster}"), format!("ewulf cancel {run} --cluster {cluster}")]
}

/// Puts a manifest's built-in folder where its relative paths can be read; removed when dropped.
pub struct BuiltInFolder(std::path::PathBuf);

impl BuiltInFolder {
    /// Writes all built-in jobs with their sources into a temporary folder of this process.
    pub fn of_jobs(manifest: &JobManifest) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("ewulf-{}-{}", manifest.job, std::process::id()));
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Failed, format!("{}: cannot be written", folder.display())).caused_by(Some(&error))
        };
        // Somebody else's folder of that name is refused, not used.
        std::fs::create_dir(&folder).map_err(failed)?;
        let made = Self(folder.clone());
        for (path, content) in crate::sources::starter_files() {
            let Some(path) = path.strip_prefix("jobs/") else { continue };
            let target = folder.join(path);
            target
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&target, content))
                .map_err(failed)?;
        }
        Ok(made)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for BuiltInFolder {
    fn drop(&mut self) {
        // What stays in the temporary folder is a copy of what is built in.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        let hint = error.hint();
        let failure = match &error {
            JobError::Invalid { .. } | JobError::UnknownRun { .. } => Self::of(Kind::InvalidInput, &error),
            JobError::File { .. } | JobError::NotReady { .. } | JobError::Busy { .. } | JobError::Node { .. } => {
                Self::of(Kind::Failed, &error)
            }
            JobError::Failed { failure, .. } => Self::of(Kind::JobFailed, &error).last_words(failure),
            JobError::Cloud { source, .. } => {
                let below = Self::from(source.clone());
                Self { hints: below.hints, ..Self::of(below.kind, &error) }
            }
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl Failure {
    /// Adds the last lines of what failed.
    fn last_words(mut self, failure: &JobFailure) -> Self {
        let first = failure.lines.len().saturating_sub(LAST_LINES);
        let lines: Vec<String> = failure.lines[first..].iter().map(|line| text::printable(line)).collect();
        if !lines.is_empty() {
            self.causes.push(format!("last lines:\n{}", lines.join("\n")));
        }
        self
    }
}

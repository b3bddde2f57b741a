//! The operations of jobs on a live cluster: prepare, start, list, find, cancel.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use ewulf_core::spec::JobManifest;
use jiff::Timestamp;

use super::answer::{self, AnswerError, News, RunList, Started};
use super::bundle::{Bundle, pack};
use super::follow::Live;
use super::scripts::{self, Payload};
use super::{ClusterNodes, INLINE_MAX, JobError, JobNode, Plan, RunId, Status};
use crate::aws::{CallError, Class, Cloud, CommandOutcome, CommandStatus, Script};
use crate::events::{Events, Level};

/// Runs that a list tells of: their answer has to fit SSM's 24,000 characters, and takes about a quarter of that.
const LISTED: usize = 100;
/// Most time for a stop: the unit's own 30 s for its end and as much for the sweep.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// Runs jobs in one cloud, and tells of it as events.
#[derive(Debug, Clone)]
pub struct Runner {
    pub(super) cloud: Cloud,
    pub(super) events: Events,
}

/// A run that is decided and packed, and not yet started.
#[derive(Debug, Clone)]
pub struct PreparedRun {
    plan: Plan,
    bundle: Bundle,
    master: JobNode,
    shared_path: String,
    spec_sha256: Option<String>,
}

impl PreparedRun {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes that are sent to the cluster.
    pub fn staged_bytes(&self) -> usize {
        self.bundle.packed.len()
    }
}

/// A run on a cluster, with how far it has been read.
#[derive(Debug)]
pub struct RunHandle {
    pub(super) plan: Plan,
    /// Instance id of the master.
    pub(super) master: String,
    pub(super) spec_sha256: Option<String>,
    pub(super) live: Live,
}

impl RunHandle {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The run's state when it was last looked at.
    pub fn status(&self) -> &Status {
        &self.live.status
    }
}

/// What a request to cancel did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cancelled {
    /// False if the run had ended already.
    pub was_active: bool,
    /// Processes of the run that had to be killed after its end, by node.
    pub killed: Vec<(String, u64)>,
    /// Nodes that could not be searched.
    pub unreachable: Vec<String>,
}

impl Runner {
    pub fn new(cloud: Cloud, events: Events) -> Self {
        Self { cloud, events }
    }

    /// Decides and packs a run: checks everything that can be checked on this side, and touches no cloud.
    ///
    /// `base` is the folder that the manifest's paths are relative to.
    pub fn prepare(manifest: &JobManifest, cluster: &ClusterNodes, base: &Path, now: Timestamp) -> Result<PreparedRun, JobError> {
        let salt = RandomState::new().build_hasher().finish() as u16;
        let plan = Plan::new(manifest, cluster, now, salt)?;
        Ok(PreparedRun {
            bundle: pack(&plan, base)?,
            master: cluster.master()?.clone(),
            shared_path: cluster.shared_path.to_string(),
            spec_sha256: cluster.spec_sha256.clone(),
            plan,
        })
    }

    /// Stages and starts a run; `share` lets it run beside others.
    ///
    /// Repeating it after an ambiguous answer is safe: the run is started once.
    pub async fn start(&self, prepared: &PreparedRun, share: bool) -> Result<RunHandle, JobError> {
        let plan = &prepared.plan;
        let sentence = format!("starting {}: {}", plan.job, extent(plan));
        let work = self.events.begin(plan.job.to_string(), sentence);
        match self.launch(prepared, share, &work).await {
            Ok(news) => {
                work.done(format!("Started {}: {}.", plan.run, extent(plan)));
                if plan.idle_ranks() > 0 {
                    let sentence = format!("{} of them have no member to run.", count(plan.idle_ranks().into(), "rank"));
                    self.events.notice(Level::Info, sentence);
                }
                Ok(RunHandle {
                    plan: plan.clone(),
                    master: prepared.master.instance_id.clone(),
                    spec_sha256: prepared.spec_sha256.clone(),
                    live: Live::beginning_with(news),
                })
            }
            Err(error) => {
                work.failed(&error);
                Err(error)
            }
        }
    }

    async fn launch(&self, prepared: &PreparedRun, share: bool, work: &crate::events::Work) -> Result<News, JobError> {
        let plan = &prepared.plan;
        let text = scripts::start(plan, &prepared.shared_path, Payload::Inline(&prepared.bundle.packed), share);
        let outcome = match text.len() {
            ..INLINE_MAX => match self.run_start(prepared, text).await {
                // Too long for SSM after all.
                Err(error) if error.class == Class::Invalid => None,
                answered => Some(answered.map_err(|source| refused(&plan.run, source))?),
            },
            _ => None,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => self.launch_uploaded(prepared, share, work).await?,
        };
        let answer = checked(outcome, "starting the run", &prepared.master.address)?;
        let odd = |error: AnswerError| odd_answer(&prepared.master.address, "starting the run", &error);
        match answer::started(&answer).map_err(odd)? {
            (Started::Yes, rest) => News::read(rest).map_err(odd),
            (Started::Busy(active), _) => Err(JobError::Busy { cluster: plan.cluster.to_string(), active }),
            (Started::NotReady(reason), _) => {
                let reason = if reason.is_empty() { "its master has not finished its boot".to_owned() } else { reason };
                Err(JobError::NotReady { cluster: plan.cluster.to_string(), reason })
            }
        }
    }

    async fn launch_uploaded(
        &self,
        prepared: &PreparedRun,
        share: bool,
        work: &crate::events::Work,
    ) -> Result<CommandOutcome, JobError> {
        let plan = &prepared.plan;
        let path = format!("/var/tmp/ewulf-stage-{}.tar", plan.run);
        let master = [prepared.master.instance_id.clone()];
        let tell = |sent: usize, all: usize| work.progress(sent as u64, all as u64, "chunks");
        let uploaded = self.cloud.upload(&master, &prepared.bundle.tar, &path, 0o600, tell).await;
        uploaded.map_err(|source| refused(&plan.run, source))?;
        let text = scripts::start(plan, &prepared.shared_path, Payload::File(&path), share);
        self.run_start(prepared, text).await.map_err(|source| refused(&plan.run, source))
    }

    async fn run_start(&self, prepared: &PreparedRun, text: String) -> Result<CommandOutcome, CallError> {
        let script = Script::new(format!("start {}", prepared.plan.run), text);
        self.cloud.run_on_one(&prepared.master.instance_id, &script).await
    }

    /// The runs of a cluster, newest first.
    pub async fn list(&self, cluster: &ClusterNodes) -> Result<RunList, JobError> {
        let master = cluster.master()?;
        let script = Script::new("list runs", scripts::list(&cluster.runs_folder(), LISTED));
        let answer = self.ask(master, &script, "listing runs", "list").await?;
        RunList::read(&answer).map_err(|error| odd_answer(&master.address, "listing runs", &error))
    }

    /// A run by its id, read from its beginning.
    pub async fn find(&self, cluster: &ClusterNodes, run: &RunId) -> Result<RunHandle, JobError> {
        let master = cluster.master()?;
        let script = Script::new(format!("find {run}"), scripts::plan_of(&cluster.run_folder(run)));
        let answer = self.ask(master, &script, "looking for the run", run.as_str()).await?;
        let plan = answer::plan(&answer).map_err(|error| odd_answer(&master.address, "looking for the run", &error))?;
        match plan {
            Some(plan) => Ok(RunHandle {
                plan,
                master: master.instance_id.clone(),
                spec_sha256: cluster.spec_sha256.clone(),
                live: Live::default(),
            }),
            None => Err(JobError::UnknownRun { run: run.clone(), cluster: cluster.cluster.to_string() }),
        }
    }

    /// Ends a run and makes sure that no process of it is left on any node.
    pub async fn cancel(&self, cluster: &ClusterNodes, run: &RunId) -> Result<Cancelled, JobError> {
        let handle = self.find(cluster, run).await?;
        let work = self.events.begin(run.to_string(), format!("cancelling {run}"));
        match self.stop_and_sweep(cluster, &handle).await {
            Ok(cancelled) => {
                work.done(match cancelled.was_active {
                    true => format!("Cancelled {run}; no process of it is left."),
                    false => format!("Run {run} had ended already; no process of it is left."),
                });
                Ok(cancelled)
            }
            Err(error) => {
                work.failed(&error);
                Err(error)
            }
        }
    }

    async fn stop_and_sweep(&self, cluster: &ClusterNodes, handle: &RunHandle) -> Result<Cancelled, JobError> {
        let (plan, master) = (&handle.plan, cluster.master()?);
        let script = Script::new(format!("cancel {}", plan.run), scripts::cancel(&plan.folder, &plan.run)).timeout(STOP_PATIENCE);
        let state = self.ask(master, &script, "cancelling the run", plan.run.as_str()).await?;
        let nodes: Vec<(String, String)> =
            cluster.nodes.iter().map(|node| (node.instance_id.clone(), node.address.clone())).collect();
        let (killed, unreachable) = self.sweep(&plan.run, &nodes).await?;
        if let Some(node) = unreachable.first() {
            let message = "it did not answer, so processes of the run may be left there".to_owned();
            return Err(JobError::Node { node: node.clone(), doing: "looking for leftovers", message });
        }
        Ok(Cancelled { was_active: !matches!(state.trim(), "inactive" | "failed"), killed, unreachable })
    }

    /// Kills what is left of a run on nodes (instance id, address); answers counts by node, and nodes without an answer.
    pub(super) async fn sweep(
        &self,
        run: &RunId,
        nodes: &[(String, String)],
    ) -> Result<(Vec<(String, u64)>, Vec<String>), JobError> {
        let ids: Vec<String> = nodes.iter().map(|(id, _)| id.clone()).collect();
        let script = Script::new(format!("sweep {run}"), scripts::sweep(run)).timeout(STOP_PATIENCE);
        let outcomes = self.cloud.run_on(&ids, &script).await.map_err(|source| refused(run, source))?;
        let (mut killed, mut unreachable) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let address = nodes.iter().find(|(id, _)| *id == outcome.instance_id).map(|(_, address)| address.clone());
            let address = address.unwrap_or_else(|| outcome.instance_id.clone());
            match outcome.stdout.trim().parse() {
                Ok(0) if outcome.is_success() => {}
                Ok(count) if outcome.is_success() => killed.push((address, count)),
                _ => unreachable.push(address),
            }
        }
        unreachable.sort();
        Ok((killed, unreachable))
    }

    /// Runs a script on one node and answers its output.
    pub(super) async fn ask(&self, node: &JobNode, script: &Script, doing: &'static str, run: &str) -> Result<String, JobError> {
        let outcome = self.cloud.run_on_one(&node.instance_id, script).await;
        checked(outcome.map_err(|source| JobError::Cloud { run: run.to_owned(), source })?, doing, &node.address)
    }
}

/// `1 rank`, `6 ranks`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `6 ranks on 3 nodes`.
fn extent(plan: &Plan) -> String {
    let ranks = format!("{} on {}", count(plan.ranks.into(), "rank"), count(plan.nodes.len() as u64, "node"));
    match plan.groups.len() as u64 {
        0 => ranks,
        groups => format!("{} in {} of {ranks}", count(plan.manifest.member_count(), "member"), count(groups, "group")),
    }
}

/// The output of a script that must have succeeded.
pub(super) fn checked(outcome: CommandOutcome, doing: &'static str, node: &str) -> Result<String, JobError> {
    if outcome.is_success() {
        return Ok(outcome.stdout);
    }
    let message = match outcome.status {
        CommandStatus::Undelivered => "the command did not reach it".to_owned(),
        CommandStatus::TimedOut => "the command ran out of time".to_owned(),
        _ => format!("status {}\n{}", outcome.exit, outcome.tail(12)),
    };
    Err(JobError::Node { node: node.to_owned(), doing, message })
}

pub(super) fn refused(run: &RunId, source: CallError) -> JobError {
    JobError::Cloud { run: run.to_string(), source }
}

pub(super) fn odd_answer(node: &str, doing: &'static str, error: &AnswerError) -> JobError {
    JobError::Node { node: node.to_owned(), doing, message: crate::aws::describe(error) }
}

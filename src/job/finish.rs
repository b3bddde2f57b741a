//! The end of a run: leftovers killed, results fetched, a receipt written.

use std::path::{Path, PathBuf};

use ewulf_core::names::{ClusterName, JobName};
use ewulf_core::spec::JobManifest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answer::failure_facts;
use super::failure::FailureFacts;
use super::fetch::{Fetched, write};
use super::{JobError, JobFailure, LeftFile, Outcome, Plan, PlannedNode, RunHandle, RunId, Runner, SweepResult};
use crate::events::{Level, Work};

/// Everything about a run that is worth keeping; `receipt.json` beside its results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub run: RunId,
    pub job: JobName,
    pub cluster: ClusterName,
    pub outcome: Outcome,
    pub failure: Option<JobFailure>,
    pub prepared: Timestamp,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// From the first step to the end.
    pub seconds: Option<f64>,
    pub attempts: u32,
    /// Exit status of the last program, negative for a signal.
    pub exit: Option<i32>,
    pub ranks: u32,
    /// The nodes that had ranks, in the order of the ranks.
    pub nodes: Vec<PlannedNode>,
    pub hostfile: String,
    /// mpirun and its options, up to the program.
    pub mpirun: Vec<String>,
    /// The program that every rank ran; what members had besides is in `sweep.json`.
    pub program: Vec<String>,
    /// How many members there were; none for a run without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCount>,
    /// Dollars: the price of the nodes with ranks, for the time of the run.
    pub cost: Option<f64>,
    pub spec_sha256: Option<String>,
    pub manifest_sha256: String,
    pub manifest: JobManifest,
    /// The run's folder on the cluster.
    pub folder: String,
    /// Results that were fetched, relative to the receipt.
    pub files: Vec<String>,
    /// Results that stay on the cluster, and why.
    pub left: Vec<LeftFile>,
    /// Further ones, that are not named.
    pub more_left: u64,
    /// Output patterns that nothing matched.
    pub missing: Vec<String>,
    /// Bytes of the log on the cluster; `output.log` here is its end.
    pub log_bytes: u64,
    /// Processes that outlived the run and were killed, by node.
    pub killed: Vec<(String, u64)>,
    /// Nodes that could not be searched for such processes.
    pub unswept: Vec<String>,
}

/// Members of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCount {
    pub total: usize,
    pub succeeded: usize,
    /// How many ran at once.
    pub groups: usize,
}

/// A run that is over, with its results here.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub receipt: Receipt,
    /// Local folder of the results.
    pub folder: PathBuf,
    /// The program's own `summary.json`, if it left one.
    pub summary: Option<serde_json::Value>,
    /// What became of its members, if it has any.
    pub sweep: Option<SweepResult>,
}

impl Finished {
    /// Makes a run that did not succeed an error.
    pub fn into_result(self) -> Result<Self, JobError> {
        match &self.receipt.failure {
            None => Ok(self),
            Some(failure) => Err(JobError::Failed { run: self.receipt.run.clone(), failure: Box::new(failure.clone()) }),
        }
    }
}

impl Runner {
    /// Brings the results of a run that has ended into `results/RUN/`, and writes its receipt.
    ///
    /// A run that failed is finished as well; [`Finished::into_result`] makes an error of it.
    pub async fn finish(&self, handle: &RunHandle, results: &Path) -> Result<Finished, JobError> {
        let plan = &handle.plan;
        if !handle.live.over {
            return Err(JobError::invalid(format!("run {}: it has not ended", plan.run), format!("ewulf logs -f {}", plan.run)));
        }
        let folder = results.join(plan.run.as_str());
        let work = self.events.begin(plan.run.to_string(), format!("fetching the results of {}", plan.run));
        match self.bring_home(handle, &folder, &work).await {
            Ok(finished) => {
                let count = finished.receipt.files.len();
                let files = if count == 1 { "file" } else { "files" };
                work.done(format!("Fetched {count} {files} into {}.", folder.display()));
                self.tell_what_is_left(&finished.receipt);
                Ok(finished)
            }
            Err(error) => {
                work.failed(&error);
                Err(error)
            }
        }
    }

    async fn bring_home(&self, handle: &RunHandle, folder: &Path, work: &Work) -> Result<Finished, JobError> {
        let (plan, status) = (&handle.plan, &handle.live.status);
        let succeeded = status.outcome == Some(Outcome::Succeeded);
        let (mut killed, mut unswept, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        if !succeeded {
            lost = self.lost_nodes(plan).await?;
            let there = plan.nodes.iter().filter(|node| !lost.contains(&node.address));
            let there: Vec<_> = there.map(|node| (node.instance_id.clone(), node.address.clone())).collect();
            (killed, unswept) = self.sweep(&plan.run, &there).await?;
        }
        let fetched = self.fetch(handle, folder, work).await?;
        let facts = match &fetched.failure {
            Some(json) => failure_facts(json).unwrap_or_default(),
            None => FailureFacts::default(),
        };
        let sweep = (!plan.groups.is_empty()).then(|| SweepResult::read(plan, &fetched.members));
        let failure = match (status.outcome, &sweep) {
            (Some(Outcome::Succeeded), _) => None,
            (None, _) if lost.is_empty() => Some(JobFailure::lost_run()),
            (Some(Outcome::Failed), Some(sweep)) if facts.step.is_none() => Some(JobFailure::of_members(Outcome::Failed, sweep)),
            _ => Some(JobFailure::explain(plan, status, &facts, &lost)),
        };
        let summary = fetched.files.iter().any(|file| file == "summary.json");
        if let Some(sweep) = &sweep {
            write_tables(plan, sweep, folder)?;
        }
        let members = sweep.as_ref().map(|sweep| MemberCount {
            total: sweep.members.len(),
            succeeded: sweep.succeeded(),
            groups: plan.groups.len(),
        });
        let receipt = Receipt { members, ..receipt(handle, failure, fetched, killed, unswept) };
        let json = serde_json::to_vec_pretty(&receipt).expect("a receipt is made of texts and numbers");
        write(folder, Path::new("receipt.json"), &[json.as_slice(), b"\n"].concat())?;
        let summary = if summary { std::fs::read(folder.join("summary.json")).ok() } else { None };
        Ok(Finished {
            receipt,
            folder: folder.to_owned(),
            // What is no JSON is still fetched, as a file.
            summary: summary.and_then(|json| serde_json::from_slice(&json).ok()),
            sweep,
        })
    }

    fn tell_what_is_left(&self, receipt: &Receipt) {
        for file in &receipt.left {
            let size = if file.bytes > 0 { format!(" ({} MiB)", file.bytes.div_ceil(1 << 20)) } else { String::new() };
            let sentence = format!("{}{size} stays on the cluster as {}/{}: {}.", file.path, receipt.folder, file.path, file.why);
            self.events.notice(Level::Warning, sentence);
        }
        if receipt.more_left > 0 {
            self.events.notice(Level::Warning, format!("{} more files stay in {}.", receipt.more_left, receipt.folder));
        }
        // A run that failed is expected to leave less.
        for pattern in receipt.missing.iter().filter(|_| receipt.failure.is_none()) {
            self.events.notice(Level::Warning, format!("The job left nothing that matches its output `{pattern}`."));
        }
        for (node, count) in &receipt.killed {
            self.events.notice(Level::Warning, format!("Killed {count} processes of the run that were left on {node}."));
        }
        for node in &receipt.unswept {
            let sentence = format!("{node} did not answer: processes of the run may be left there.");
            self.events.notice(Level::Warning, sentence);
        }
    }
}

fn receipt(
    handle: &RunHandle,
    failure: Option<JobFailure>,
    fetched: Fetched,
    killed: Vec<(String, u64)>,
    unswept: Vec<String>,
) -> Receipt {
    let (plan, status) = (&handle.plan, &handle.live.status);
    Receipt {
        run: plan.run.clone(),
        job: plan.job.clone(),
        cluster: plan.cluster.clone(),
        outcome: status.outcome.unwrap_or(Outcome::Stopped),
        failure,
        prepared: plan.prepared,
        started: status.started_at(),
        ended: status.ended_at(),
        seconds: status.seconds(),
        attempts: status.attempt,
        exit: status.exit,
        ranks: plan.ranks,
        nodes: plan.nodes.clone(),
        hostfile: plan.hostfile(),
        mpirun: plan.mpirun.clone(),
        program: plan.program.clone(),
        members: None,
        cost: cost(plan, status.seconds()),
        spec_sha256: handle.spec_sha256.clone(),
        manifest_sha256: plan.manifest_sha256.clone(),
        manifest: plan.manifest.clone(),
        folder: plan.folder.clone(),
        files: fetched.files,
        left: fetched.left,
        more_left: fetched.more_left,
        missing: fetched.missing,
        log_bytes: fetched.log_bytes,
        killed,
        unswept,
    }
}

/// Writes the members as one table: `sweep.csv`, `sweep.json`, and `folds.csv` if there are folds.
fn write_tables(plan: &Plan, sweep: &SweepResult, folder: &Path) -> Result<(), JobError> {
    let json = serde_json::to_vec_pretty(sweep).expect("a table is made of texts and numbers");
    write(folder, Path::new("sweep.json"), &[json.as_slice(), b"\n"].concat())?;
    write(folder, Path::new("sweep.csv"), sweep.members_csv(&plan.manifest).as_bytes())?;
    if plan.manifest.folds.is_some() {
        write(folder, Path::new("folds.csv"), sweep.folds_csv(&plan.manifest).as_bytes())?;
    }
    Ok(())
}

/// Dollars for all nodes with ranks over the time of a run.
fn cost(plan: &Plan, seconds: Option<f64>) -> Option<f64> {
    Some(plan.price_per_hour()? * seconds? / 3600.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cluster, manifest};
    use super::*;

    #[test]
    fn a_run_costs_what_its_nodes_cost_for_its_time() {
        let mut cluster = cluster(&[2, 2, 2]);
        let plan = Plan::new(&manifest("ranks: 4"), &cluster, Timestamp::UNIX_EPOCH, 1).unwrap();
        assert_eq!(cost(&plan, Some(1800.0)), Some(0.5));
        assert_eq!(cost(&plan, None), None);
        cluster.nodes[1].price_per_hour = None;
        let plan = Plan::new(&manifest("ranks: 4"), &cluster, Timestamp::UNIX_EPOCH, 1).unwrap();
        assert_eq!(cost(&plan, Some(1800.0)), None);
    }
}

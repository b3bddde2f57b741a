//! Job manifests as they are written: alternatives are keys of which exactly one is there.
//!
//! The typed forms in [`super::job`] say the same by enums; conversions run both ways.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{Arguments, Bind, Input, InputSource, JobManifest, Program, Ranks, Step};
use super::scalar::Scalar;
use super::sweep::Sweep;
use crate::names::{ClusterName, EnvironmentName, InputUrl, Invalid, JobName, KernelName, OutputPattern, RelativePath, Word};
use crate::quantity::Duration;

/// A job: an MPI program, what it reads and what it leaves.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobManifest", extend("oneOf" = [{"required": ["kernel"]}, {"required": ["command"]}]))]
pub(super) struct WrittenManifest {
    /// Name of the job.
    job: JobName,
    /// The cluster it runs on, unless the command line names another.
    cluster: ClusterName,
    /// How many ranks: a number, or `all` for every slot.
    #[serde(default)]
    ranks: Ranks,
    /// The most ranks on one node; every slot if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    ranks_per_node: Option<u32>,
    /// A kernel of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<KernelName>,
    /// Any other program and its first arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    command: Option<Vec<Word>>,
    /// Options of the program, written as long options: `min_support: 8` is `--min-support 8`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    args: Arguments,
    /// Several runs in one, its members: arguments that vary from one to the next, and win over `args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sweep: Option<Sweep>,
    /// Runs each member once a fold, with `--fold K/N` and `--fold-seed`, and adds up the scores of all folds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000), extend("x-ewulf-hint" = "five or ten folds are usual; remove `folds` for none"))]
    folds: Option<u32>,
    /// Ranks of one member: as many members run at once as fit into `ranks`. All ranks, one member after the other, if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    split: Option<u32>,
    /// Local folder whose files the program finds in its working directory, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<RelativePath>,
    /// Files and folders put into the run's folder before the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Input>,
    /// Steps run once on the master, in order, in the run's folder, before the ranks start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prepare: Vec<Step>,
    /// Environment of the steps and of every rank.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<EnvironmentName, Scalar>,
    /// What is fetched from the run's folder afterwards: paths, or patterns with `*` and `?`.
    #[serde(default)]
    outputs: Vec<OutputPattern>,
    /// Longest time from the first step to the end; with `sweep` or `folds`, of all steps and of each member.
    #[serde(default = "default_timeout")]
    timeout: Duration,
    /// How many times a failed job or member is started again.
    #[serde(default)]
    #[schemars(range(max = 10))]
    retries: u32,
    /// Whether there may be more ranks than slots.
    #[serde(default)]
    oversubscribe: bool,
    /// What ranks are bound to; Open MPI's own choice if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bind: Option<Bind>,
}

/// Default time-out: long enough for every job of the repository, short enough that a hanging one on 16 large nodes
/// costs less than a day of them.
fn default_timeout() -> Duration {
    Duration::from_seconds(3600)
}

/// Something put into the run's folder before the start.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Input", extend("oneOf" = [{"required": ["path"]}, {"required": ["url"]}]))]
pub(super) struct WrittenInput {
    /// A file or folder of this machine, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<RelativePath>,
    /// An address that the master fetches by itself: `s3://…` or `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<InputUrl>,
    /// Its name in the run's folder; the last segment of `path` or `url` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<RelativePath>,
}

/// A program run once on the master before the ranks start.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step", extend("oneOf" = [{"required": ["kernel"]}, {"required": ["command"]}]))]
pub(super) struct WrittenStep {
    /// A kernel of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<KernelName>,
    /// Any other program and its first arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    command: Option<Vec<Word>>,
    /// Options of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    args: Arguments,
}

impl Program {
    fn from_written(kernel: Option<KernelName>, command: Option<Vec<Word>>) -> Result<Self, Invalid> {
        match (kernel, command) {
            (Some(kernel), None) => Ok(Self::Kernel(kernel)),
            (None, Some(words)) if words.first().is_some_and(|word| !word.as_str().is_empty()) => Ok(Self::Command(words)),
            (None, Some(_)) => {
                Err(Invalid::new("`command` names no program").hint("write the program first: `command: [python3, my.py]`"))
            }
            (Some(_), Some(_)) => Err(Invalid::new("`kernel` and `command` exclude each other")),
            (None, None) => Err(Invalid::new("either `kernel` or `command` is needed")),
        }
    }

    fn into_written(self) -> (Option<KernelName>, Option<Vec<Word>>) {
        match self {
            Self::Kernel(kernel) => (Some(kernel), None),
            Self::Command(words) => (None, Some(words)),
        }
    }
}

impl TryFrom<WrittenStep> for Step {
    type Error = Invalid;

    fn try_from(written: WrittenStep) -> Result<Self, Invalid> {
        Ok(Self { program: Program::from_written(written.kernel, written.command)?, args: written.args })
    }
}

impl From<Step> for WrittenStep {
    fn from(step: Step) -> Self {
        let (kernel, command) = step.program.into_written();
        Self { kernel, command, args: step.args }
    }
}

impl TryFrom<WrittenInput> for Input {
    type Error = Invalid;

    fn try_from(written: WrittenInput) -> Result<Self, Invalid> {
        let from = match (written.path, written.url) {
            (Some(path), None) => InputSource::Path(path),
            (None, Some(url)) => InputSource::Url(url),
            (Some(_), Some(_)) => return Err(Invalid::new("`path` and `url` exclude each other")),
            (None, None) => return Err(Invalid::new("either `path` or `url` is needed")),
        };
        let to = match written.to {
            Some(to) => to,
            None => last_segment(&from)?,
        };
        Ok(Self { from, to })
    }
}

/// Returns the name an input has where it comes from.
fn last_segment(source: &InputSource) -> Result<RelativePath, Invalid> {
    let text = match source {
        InputSource::Path(path) => path.as_str(),
        InputSource::Url(url) => {
            let address = url.as_str().split(['?', '#']).next().unwrap_or_default();
            // Without a slash after the host there is no path, and so no name.
            address.splitn(4, '/').nth(3).unwrap_or_default()
        }
    };
    match text.rsplit('/').next() {
        Some(name) if !matches!(name, "" | ".") => name.parse(),
        _ => Err(Invalid::new(format!("input `{text}` has no last segment to take its name from"))
            .hint("write its name in the run's folder: `to: data`")),
    }
}

impl From<Input> for WrittenInput {
    fn from(input: Input) -> Self {
        let (path, url) = match input.from {
            InputSource::Path(path) => (Some(path), None),
            InputSource::Url(url) => (None, Some(url)),
        };
        Self { path, url, to: Some(input.to) }
    }
}

impl TryFrom<WrittenManifest> for JobManifest {
    type Error = Invalid;

    fn try_from(written: WrittenManifest) -> Result<Self, Invalid> {
        Ok(Self {
            job: written.job,
            cluster: written.cluster,
            ranks: written.ranks,
            ranks_per_node: written.ranks_per_node,
            program: Program::from_written(written.kernel, written.command)?,
            args: written.args,
            sweep: written.sweep,
            folds: written.folds,
            split: written.split,
            source: written.source,
            inputs: written.inputs,
            prepare: written.prepare,
            environment: written.environment,
            outputs: written.outputs,
            timeout: written.timeout,
            retries: written.retries,
            oversubscribe: written.oversubscribe,
            bind: written.bind,
        })
    }
}

impl From<JobManifest> for WrittenManifest {
    fn from(manifest: JobManifest) -> Self {
        let (kernel, command) = manifest.program.into_written();
        Self {
            job: manifest.job,
            cluster: manifest.cluster,
            ranks: manifest.ranks,
            ranks_per_node: manifest.ranks_per_node,
            kernel,
            command,
            args: manifest.args,
            sweep: manifest.sweep,
            folds: manifest.folds,
            split: manifest.split,
            source: manifest.source,
            inputs: manifest.inputs,
            prepare: manifest.prepare,
            environment: manifest.environment,
            outputs: manifest.outputs,
            timeout: manifest.timeout,
            retries: manifest.retries,
            oversubscribe: manifest.oversubscribe,
            bind: manifest.bind,
        }
    }
}

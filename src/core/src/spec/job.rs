//! The job manifest: what `jobs/*.yaml` says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use super::sweep::Sweep;
use super::written::{WrittenInput, WrittenManifest, WrittenStep};
use crate::names::{ClusterName, EnvironmentName, InputUrl, JobName, KernelName, OptionName, OutputPattern, RelativePath, Word};
use crate::quantity::Duration;

/// A job: an MPI program, what it reads and what it leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenManifest", into = "WrittenManifest")]
pub struct JobManifest {
    /// Name of the job.
    pub job: JobName,
    /// The cluster it runs on, unless the command line names another.
    pub cluster: ClusterName,
    /// How many ranks.
    pub ranks: Ranks,
    /// The most ranks on one node; every slot if not given.
    pub ranks_per_node: Option<u32>,
    /// What every rank runs.
    pub program: Program,
    /// Options of the program.
    pub args: Arguments,
    /// Arguments that vary: each set of them is a member, a run of its own inside the job's.
    pub sweep: Option<Sweep>,
    /// How many folds to cross-validate over: each set of arguments has one member a fold.
    pub folds: Option<u32>,
    /// How many ranks a member has; all of the job's if not given.
    pub split: Option<u32>,
    /// Local folder whose files the program finds in its working directory, relative to the manifest.
    pub source: Option<RelativePath>,
    /// Files and folders put into the run's folder before the start.
    pub inputs: Vec<Input>,
    /// Steps run once on the master, in order, in the run's folder, before the ranks start.
    pub prepare: Vec<Step>,
    /// Environment of the steps and of every rank.
    pub environment: BTreeMap<EnvironmentName, Scalar>,
    /// What is fetched from the run's folder afterwards.
    pub outputs: Vec<OutputPattern>,
    /// Longest time from the first step to the end; with members, of all steps and of each member.
    pub timeout: Duration,
    /// How many times a failed job or member is started again.
    pub retries: u32,
    /// Whether there may be more ranks than slots.
    pub oversubscribe: bool,
    /// What ranks are bound to; Open MPI's own choice if not given.
    pub bind: Option<Bind>,
}

/// How many ranks a job has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ranks {
    /// One on every slot of the cluster.
    #[default]
    #[serde(rename = "all")]
    All,
    /// This many, at least one.
    #[serde(untagged)]
    Count(#[schemars(range(min = 1, max = 100_000))] u32),
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A kernel of the image: `/opt/ewulf/bin/NAME`.
    Kernel(KernelName),
    /// A program and its first arguments, never empty.
    Command(Vec<Word>),
}

/// Options of a program by name, written as long options.
pub type Arguments = BTreeMap<OptionName, Argument>;

/// Value of an option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Argument {
    /// The option is given once; `true` gives it without a value, `false` not at all.
    One(Scalar),
    /// The option is repeated, once for each value.
    Many(Vec<Scalar>),
}

/// Something put into the run's folder before the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenInput", into = "WrittenInput")]
pub struct Input {
    /// Where it comes from.
    pub from: InputSource,
    /// Its name in the run's folder.
    pub to: RelativePath,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// A file or folder of this machine, relative to the manifest.
    Path(RelativePath),
    /// An address that the master fetches by itself.
    Url(InputUrl),
}

/// A program run once on the master before the ranks start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenStep", into = "WrittenStep")]
pub struct Step {
    /// What is run.
    pub program: Program,
    /// Its options.
    pub args: Arguments,
}

/// What ranks are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bind {
    /// Each rank to a core.
    Core,
    /// Each rank to the cores of a NUMA node.
    Numa,
    /// Each rank to the cores of a processor.
    Package,
    /// Nothing.
    None,
}

//! From a manifest and a cluster to everything that a run needs, as data.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ewulf_core::names::{ClusterName, JobName};
use ewulf_core::spec::{InputSource, JobManifest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::groups::{Group, groups};
use super::mpirun::{Mpirun, binding};
use super::placement::{Share, place, threads_per_rank};
use super::{ClusterNodes, JobError, MASTER, RunId};

/// Folder of a run, inside its own, that belongs to ewulf.
pub(super) const CONTROL: &str = ".ewulf";
/// Name of the hostfile of all ranks, in that folder.
const HOSTFILE: &str = "hostfile";
/// Seconds that mpirun may take to start its first rank, and one more for each node: it takes one or two on a quiet cluster.
const START_SECONDS: u64 = 120;

/// One execution of a manifest, decided to the last word; `plan.json` in the run's folder.
///
/// The runner on the master carries it out, and whoever follows the run later learns from it what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub run: RunId,
    pub job: JobName,
    pub cluster: ClusterName,
    /// The run's folder on the cluster.
    pub folder: String,
    /// Private address of the master.
    pub master: Ipv4Addr,
    /// The nodes that have ranks, in the order of the ranks.
    pub nodes: Vec<PlannedNode>,
    pub ranks: u32,
    /// mpirun and its options, up to the program.
    pub mpirun: Vec<String>,
    /// Environment of mpirun itself.
    pub mpirun_environment: BTreeMap<String, String>,
    /// Environment of the steps and of every rank.
    pub environment: BTreeMap<String, String>,
    /// What is done on the master before the ranks start.
    pub steps: Vec<PlannedStep>,
    /// Words of the program that every rank runs; members have words of their own.
    pub program: Vec<String>,
    /// Where members run, one at a time on each group; none for a run without members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Seconds from the first step to the end; with members, for all steps, and for each member.
    pub timeout: u64,
    /// How often the ranks, or those of a member, are started at most.
    pub attempts: u32,
    /// Seconds after which an mpirun that has started no rank counts as hung.
    #[serde(default)]
    pub start_seconds: u64,
    pub manifest: JobManifest,
    /// SHA-256 of the manifest in its canonical JSON form.
    pub manifest_sha256: String,
    /// When the plan was made.
    pub prepared: Timestamp,
}

/// A node as a run uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Its name inside the cluster, such as `node/compute/0`.
    pub address: String,
    /// Its private address.
    pub host: Ipv4Addr,
    pub instance_id: String,
    pub instance_type: String,
    pub image_id: String,
    pub cores: u32,
    /// Ranks on it.
    pub ranks: u32,
    /// Dollars an hour; none where nobody knows.
    pub price_per_hour: Option<f64>,
}

/// A step that runs once on the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What it is called in messages.
    pub name: String,
    pub program: Vec<String>,
}

impl Plan {
    /// Decides everything about a run of `manifest` on `cluster`.
    pub(super) fn new(manifest: &JobManifest, cluster: &ClusterNodes, now: Timestamp, salt: u16) -> Result<Self, JobError> {
        let master = cluster.master()?;
        let cluster = &in_order(cluster);
        let shares = place(manifest, cluster)?;
        let run = RunId::new(&manifest.job, now, salt);
        let folder = cluster.run_folder(&run);
        let ranks = shares.iter().map(|share| share.ranks).sum();
        let environment = environment(manifest, &run, &folder, &shares)?;
        let mpirun = Mpirun { network: cluster.cidr, folder: &folder };
        Ok(Self {
            job: manifest.job.clone(),
            cluster: cluster.cluster.clone(),
            master: master.private_address,
            nodes: shares.iter().map(planned_node).collect(),
            ranks,
            mpirun: mpirun.words(HOSTFILE, &shares, binding(manifest.bind, &shares)),
            groups: groups(manifest, &shares, &mpirun)?,
            mpirun_environment: mpirun_environment(&environment),
            environment,
            steps: steps(manifest)?,
            program: checked_program(manifest.program_argv())?,
            timeout: manifest.timeout.as_seconds(),
            attempts: manifest.retries + 1,
            start_seconds: START_SECONDS + shares.len() as u64,
            manifest: manifest.clone(),
            manifest_sha256: digest(&serde_json::to_vec(manifest).expect("a manifest came from YAML, so JSON can hold it")),
            prepared: now,
            run,
            folder,
        })
    }

    /// The hostfile of mpirun.
    pub fn hostfile(&self) -> String {
        hostfile(&self.nodes)
    }

    /// Most seconds that the run takes if all goes as badly as it may.
    pub fn longest(&self) -> u64 {
        match self.groups.len() as u64 {
            0 => self.timeout,
            groups => self.timeout.saturating_mul(1 + self.manifest.member_count().div_ceil(groups)),
        }
    }

    /// The part of the run that a group is, as a run of its own: its nodes and ranks.
    pub(super) fn of_group(&self, group: &Group) -> Self {
        let nodes = group.nodes.clone();
        let ranks = nodes.iter().map(|node| node.ranks).sum();
        Self { nodes, ranks, mpirun: group.mpirun.clone(), groups: Vec::new(), steps: Vec::new(), ..self.clone() }
    }

    /// The node that a rank runs on.
    pub fn node_of(&self, rank: u32) -> Option<&PlannedNode> {
        let mut first = 0;
        self.nodes.iter().find(|node| {
            first += node.ranks;
            rank < first
        })
    }

    /// Dollars an hour of all nodes that have ranks.
    pub fn price_per_hour(&self) -> Option<f64> {
        self.nodes.iter().map(|node| node.price_per_hour).sum()
    }
}

/// A hostfile with exactly the slots that have ranks.
pub(super) fn hostfile(nodes: &[PlannedNode]) -> String {
    nodes.iter().map(|node| format!("{} slots={}\n", node.host, node.ranks)).collect()
}

/// The master first: mpirun runs there, and its daemons are numbered in the order of the hostfile.
fn in_order(cluster: &ClusterNodes) -> ClusterNodes {
    let mut cluster = cluster.clone();
    cluster.nodes.sort_by_key(|node| node.address != MASTER);
    cluster
}

pub(super) fn planned_node(share: &Share) -> PlannedNode {
    let node = share.node;
    PlannedNode {
        address: node.address.clone(),
        host: node.private_address,
        instance_id: node.instance_id.clone(),
        instance_type: node.instance_type.clone(),
        image_id: node.image_id.clone(),
        cores: node.cores,
        ranks: share.ranks,
        price_per_hour: node.price_per_hour,
    }
}

/// Only parameters of Open MPI reach mpirun itself; all else is the ranks' alone.
fn mpirun_environment(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_parameter = |name: &str| ["OMPI_MCA_", "PRTE_MCA_", "PMIX_MCA_"].iter().any(|prefix| name.starts_with(prefix));
    environment.iter().filter(|(name, _)| is_parameter(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What the steps and ranks find in their environment; the manifest's own comes last.
fn environment(
    manifest: &JobManifest,
    run: &RunId,
    folder: &str,
    shares: &[Share],
) -> Result<BTreeMap<String, String>, JobError> {
    let mut environment = BTreeMap::from([
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        // A program's output goes into a pipe, and Python would keep it back until the end.
        ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        // Numerical libraries would start a thread for each core of the node in every rank.
        ("OMP_NUM_THREADS".to_owned(), threads_per_rank(shares).to_string()),
        // A rank that waits lets others run. Where nodes share a machine, as they do in a local cloud, ranks would
        // otherwise wait for a core that another one only waits on: 200 allreduces of 6 ranks on 2 cores took 24 s
        // instead of 3 s. On a core of its own, yielding returns at once.
        ("OMPI_MCA_mpi_yield_when_idle".to_owned(), "1".to_owned()),
    ]);
    environment.extend(manifest.environment());
    if let Some(name) = environment.keys().find(|name| name.starts_with("EWULF_")) {
        return Err(JobError::invalid(
            format!("job {}: environment variable `{name}` is set by ewulf", manifest.job),
            "choose a name that does not start with `EWULF_`",
        ));
    }
    environment.insert("EWULF_RUN".to_owned(), run.to_string());
    environment.insert("EWULF_EVENTS".to_owned(), format!("{folder}/{CONTROL}/events.jsonl"));
    Ok(environment)
}

/// Fetches of inputs by address, then the manifest's own steps.
fn steps(manifest: &JobManifest) -> Result<Vec<PlannedStep>, JobError> {
    let fetches = manifest.inputs.iter().filter_map(|input| match &input.from {
        InputSource::Url(url) => {
            Some(PlannedStep { name: format!("fetch {}", input.to), program: fetch(url.as_str(), input.to.as_str()) })
        }
        InputSource::Path(_) => None,
    });
    let own = manifest.prepare.iter().enumerate().map(|(index, step)| {
        let program = checked_program(step.argv())?;
        let name = program.first().map(|word| word.rsplit('/').next().unwrap_or(word).to_owned()).unwrap_or_default();
        Ok(PlannedStep { name: format!("step {} ({name})", index + 1), program })
    });
    fetches.map(Ok).chain(own).collect()
}

/// Words that fetch one address on the master; a path that starts with a dash must not be taken for an option.
fn fetch(url: &str, to: &str) -> Vec<String> {
    let target = format!("./{to}");
    let words: Vec<&str> = if url.starts_with("s3://") {
        let mut words = vec!["aws", "s3", "cp", "--no-progress"];
        if url.ends_with('/') {
            words.push("--recursive");
        }
        words.extend([url, &target]);
        words
    } else {
        vec![
            "curl",
            "--fail",
            "--location",
            "--silent",
            "--show-error",
            "--proto",
            "=https",
            "--retry",
            "3",
            "--create-dirs",
            "--output",
            &target,
            "--",
            url,
        ]
    };
    words.into_iter().map(str::to_owned).collect()
}

/// The launcher starts programs by `env`, which takes a word with `=` for a variable.
pub(super) fn checked_program(program: Vec<String>) -> Result<Vec<String>, JobError> {
    match program.first() {
        Some(first) if first.contains('=') => Err(JobError::invalid(
            format!("program `{first}`: its name has `=`"),
            "start it by another program: `command: [bash, -c, …]`",
        )),
        _ => Ok(program),
    }
}

/// Hex digits of a SHA-256.
pub(super) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cluster, manifest};
    use super::*;

    fn plan(yaml: &str) -> Plan {
        Plan::new(&manifest(yaml), &cluster(&[2, 4, 4]), Timestamp::UNIX_EPOCH, 1).unwrap()
    }

    #[test]
    fn mpirun_keeps_to_the_clusters_network_and_has_no_choice_of_nodes() {
        let plan = plan("ranks: 5");
        let words = plan.mpirun.join(" ");
        assert!(words.starts_with(
            "/usr/bin/mpirun --hostfile /shared/runs/test-19700101-000000-0001/.ewulf/hostfile -n 5 --map-by slot "
        ));
        assert!(
            words.contains("--prtemca prte_if_include 10.42.0.0/16") && words.contains("--mca btl_tcp_if_include 10.42.0.0/16")
        );
        assert!(!words.contains("bind-to"));
        assert_eq!(plan.hostfile(), "10.42.0.4 slots=2\n10.42.0.5 slots=3\n");
    }

    #[test]
    fn ranks_run_through_the_nodes_in_order() {
        let plan = plan("ranks: 7");
        let addresses: Vec<_> = (0..8).map(|rank| plan.node_of(rank).map(|node| node.address.as_str())).collect();
        let (master, first, second) = (Some("node/master"), Some("node/compute/0"), Some("node/compute/1"));
        assert_eq!(addresses, [master, master, first, first, first, first, second, None]);
    }

    #[test]
    fn ranks_that_share_cores_are_not_bound() {
        assert!(plan("{ranks: 20, oversubscribe: true}").mpirun.ends_with(&["--bind-to".to_owned(), "none".to_owned()]));
        assert!(plan("{ranks: 20, oversubscribe: true, bind: core}").mpirun.ends_with(&["core:overload-allowed".to_owned()]));
        assert!(plan("bind: core").mpirun.ends_with(&["core".to_owned()]));
    }

    #[test]
    fn the_manifests_environment_wins_over_defaults_but_not_over_the_runs_own() {
        let plan = plan("environment: {OMP_NUM_THREADS: '8', OMPI_MCA_pml: ob1}");
        assert_eq!(plan.environment["OMP_NUM_THREADS"], "8");
        assert_eq!(plan.environment["EWULF_EVENTS"], "/shared/runs/test-19700101-000000-0001/.ewulf/events.jsonl");
        assert_eq!(plan.mpirun_environment.keys().collect::<Vec<_>>(), ["OMPI_MCA_mpi_yield_when_idle", "OMPI_MCA_pml"]);
    }

    #[test]
    fn addresses_are_fetched_before_the_manifests_own_steps() {
        let plan = plan(
            "{inputs: [{url: 'https://example.org/a.csv', to: '-x'}, {url: 's3://bucket/data/', to: data}], \
             prepare: [{kernel: datagen, args: {seed: 1}}]}",
        );
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["fetch -x", "fetch data", "step 1 (datagen)"]);
        assert_eq!(plan.steps[0].program[plan.steps[0].program.len() - 3..], ["./-x", "--", "https://example.org/a.csv"]);
        assert_eq!(plan.steps[1].program.join(" "), "aws s3 cp --no-progress --recursive s3://bucket/data/ ./data");
        assert_eq!(plan.steps[2].program, ["/opt/ewulf/bin/datagen", "--seed", "1"]);
    }

    #[test]
    fn a_plan_reads_back_from_its_json() {
        let plan = plan("{ranks: 3, environment: {A: \"x\\ty ' $(id) ü\"}, args: {text: '--foo', list: [1, 2]}}");
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}

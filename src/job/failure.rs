//! How a run failed: which rank on which node, by what, and its last lines.

use serde::{Deserialize, Serialize};

use super::{Outcome, Plan, PlannedNode, Status, SweepResult};

/// What the runner kept when something went wrong: `failure.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct FailureFacts {
    /// The step that failed, if it was one.
    pub step: Option<String>,
    /// Exit status of the step or of mpirun, negative for a signal.
    #[serde(default)]
    pub exit: i32,
    /// Last lines of the step or of mpirun.
    #[serde(default)]
    pub lines: Vec<String>,
    /// Ranks that did not end well, in order of time.
    #[serde(default)]
    pub ranks: Vec<RankEnd>,
    /// Seconds in which mpirun started no rank, the last time it was started.
    #[serde(default)]
    pub hung: Option<u64>,
}

/// How one rank ended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RankEnd {
    pub rank: u32,
    /// Exit status as a shell tells it: 128 and more for signals.
    pub status: i32,
    #[serde(default)]
    pub lines: Vec<String>,
}

/// How a run failed, for a person and as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFailure {
    pub outcome: Outcome,
    /// One sentence fragment: what happened.
    pub message: String,
    /// The rank that failed first.
    pub rank: Option<u32>,
    /// Address of the node it ran on, or of the node that was lost.
    pub node: Option<String>,
    /// Exit status of the rank, the step or mpirun.
    pub exit: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// Its last lines.
    pub lines: Vec<String>,
}

impl std::fmt::Display for JobFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl JobFailure {
    /// Explains a run that did not succeed; `lost` are addresses of nodes that the cloud says are not running.
    pub(super) fn explain(plan: &Plan, status: &Status, facts: &FailureFacts, lost: &[String]) -> Self {
        let outcome = status.outcome.unwrap_or(Outcome::Stopped);
        let plain = |message: String| Self {
            outcome,
            message,
            rank: None,
            node: None,
            exit: status.exit,
            signal: None,
            lines: facts.lines.clone(),
        };
        match outcome {
            Outcome::Cancelled => plain("cancelled".to_owned()),
            Outcome::TimedOut => {
                plain(format!("not done within its time limit of {}", ewulf_core::quantity::Duration::from_seconds(plan.timeout)))
            }
            _ if !lost.is_empty() => {
                Self { node: lost.first().cloned(), ..plain(format!("{} was lost while the job ran", lost.join(" and "))) }
            }
            Outcome::Stopped => plain("stopped from outside: the master went down, or its runner was killed".to_owned()),
            Outcome::Failed | Outcome::Succeeded => match (&facts.step, culprit(facts)) {
                (Some(step), _) => step_failure(plan, step, facts, plain),
                (None, Some(rank)) => rank_failure(plan, rank, facts, outcome),
                (None, None) => mpirun_failure(plan, facts, plain),
            },
        }
    }

    /// Explains a run of which some members did not succeed.
    pub(super) fn of_members(outcome: Outcome, sweep: &SweepResult) -> Self {
        let not_good = || sweep.members.iter().filter(|member| member.outcome != Some(Outcome::Succeeded));
        let count = format!("{} of {} members did not succeed", not_good().count(), sweep.members.len());
        match not_good().find_map(|member| Some((member, member.failure.as_ref()?))) {
            Some((member, failure)) => {
                let message = format!("{count}; member {} ({}): {failure}", member.member.number, member.member);
                Self { outcome, message, ..failure.clone() }
            }
            None => Self { outcome, message: count, ..Self::lost_run() },
        }
    }

    /// Explains a run of which nothing is left to tell how it ended.
    pub(super) fn lost_run() -> Self {
        Self {
            outcome: Outcome::Stopped,
            message: "it is not active any more, and did not tell how it ended: the master was probably restarted".to_owned(),
            rank: None,
            node: None,
            exit: None,
            signal: None,
            lines: Vec::new(),
        }
    }
}

/// The rank that failed first: the one that called MPI_Abort if one did, otherwise the first in time.
///
/// mpirun's own report names whichever rank it heard of first, which may be one that only lost its neighbour.
fn culprit(facts: &FailureFacts) -> Option<&RankEnd> {
    let aborted = facts.lines.iter().find_map(|line| aborting_rank(line));
    aborted.and_then(|rank| facts.ranks.iter().find(|end| end.rank == rank)).or_else(|| facts.ranks.first())
}

/// The rank of Open MPI's `MPI_ABORT was invoked on rank 3 in communicator …`.
fn aborting_rank(line: &str) -> Option<u32> {
    let rest = line.trim_start().strip_prefix("MPI_ABORT was invoked on rank ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The error code of Open MPI's `Errorcode: 7` after an abort.
fn abort_code(facts: &FailureFacts) -> Option<i32> {
    facts.lines.iter().find_map(|line| line.trim_start().strip_prefix("Errorcode: ")?.trim().parse().ok())
}

fn rank_failure(plan: &Plan, end: &RankEnd, facts: &FailureFacts, outcome: Outcome) -> JobFailure {
    let node = plan.node_of(end.rank).map(|node| node.address.clone());
    let place = node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    let aborted = facts.lines.iter().any(|line| aborting_rank(line) == Some(end.rank));
    let (exit, signal, how) = match (aborted, end.status) {
        (true, _) => {
            let code = abort_code(facts).unwrap_or(facts.exit);
            (Some(code), None, format!("aborted the job with status {code}"))
        }
        (false, 127) => (Some(127), None, "could not start the program: it was not found (status 127)".to_owned()),
        (false, 126) => (Some(126), None, "could not start the program: it may not be executed (status 126)".to_owned()),
        // A shell tells signals as 128 and more.
        (false, status @ 129..=192) => how_it_ended(128 - status),
        (false, status) => how_it_ended(status),
    };
    // A program may leave it to one of its ranks to say what is wrong, and that need not be the first to end.
    let alike = facts.ranks.iter().filter(|other| other.status == end.status);
    let speaker = std::iter::once(end).chain(alike).find(|end| !end.lines.is_empty());
    let lines = speaker.map_or_else(|| facts.lines.clone(), |end| end.lines.clone());
    JobFailure { outcome, message: format!("rank {}{place} {how}", end.rank), rank: Some(end.rank), node, exit, signal, lines }
}

/// Explains a step that failed.
fn step_failure(plan: &Plan, step: &str, facts: &FailureFacts, plain: impl Fn(String) -> JobFailure) -> JobFailure {
    let program = plan.steps.iter().find(|planned| planned.name == step).and_then(|step| step.program.first());
    let (exit, signal, how) = match (facts.exit, program.map(String::as_str)) {
        (127, Some("aws")) => {
            (Some(127), None, "needs the AWS command line: add `awscli` to `packages` of the master's image".to_owned())
        }
        (127, Some(program)) => (Some(127), None, format!("could not start {program}: it was not found (status 127)")),
        (status, _) => how_it_ended(status),
    };
    JobFailure { exit, signal, ..plain(format!("{step} {how}")) }
}

/// Explains an end for which no rank is to blame.
fn mpirun_failure(plan: &Plan, facts: &FailureFacts, plain: impl Fn(String) -> JobFailure) -> JobFailure {
    if let Some(node) = facts.lines.iter().find_map(|line| lost_daemon(line)).and_then(|daemon| daemon_node(plan, daemon)) {
        return JobFailure {
            node: Some(node.address.clone()),
            ..plain(format!("the master lost its connection to {}", node.address))
        };
    }
    let (exit, signal, how) = how_it_ended(facts.exit);
    if let Some(seconds) = facts.hung {
        let message = format!("mpirun hung: it had started no rank after {seconds} s, however often it was started");
        return JobFailure { exit, signal, ..plain(message) };
    }
    // Seen with PRRTE 3.0.8: it ends with status 0 after it has given up.
    let early = if facts.exit == 0 { " before all ranks had ended" } else { "" };
    JobFailure { exit, signal, ..plain(format!("mpirun {how}{early}")) }
}

/// The node of a daemon: they are numbered as the nodes of the hostfile, and the master's is 0 even if it is not in there.
fn daemon_node(plan: &Plan, daemon: usize) -> Option<&PlannedNode> {
    let mut others = plan.nodes.iter().filter(|node| node.host != plan.master);
    others.nth(daemon.checked_sub(1)?)
}

/// Number of the daemon in PRRTE's `Remote daemon: [prterun-master-351@0,2] on node …`.
fn lost_daemon(line: &str) -> Option<usize> {
    let (name, _) = line.trim_start().strip_prefix("Remote daemon: [")?.split_once(']')?;
    name.rsplit_once("@0,")?.1.parse().ok()
}

/// Exit status, signal and words for a status that is negative for a signal.
fn how_it_ended(status: i32) -> (Option<i32>, Option<i32>, String) {
    if status >= 0 {
        return (Some(status), None, format!("ended with status {status}"));
    }
    let signal = -status;
    let hint = if signal == 9 { "; it may have run out of memory" } else { "" };
    (None, Some(signal), format!("was killed by signal {signal}{}{hint}", signal_name(signal)))
}

/// The names of signals that end programs, on Linux.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        5 => " (SIGTRAP)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        24 => " (SIGXCPU)",
        25 => " (SIGXFSZ)",
        31 => " (SIGSYS)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::tests::{cluster, manifest};
    use super::*;

    fn explain(outcome: Outcome, facts: FailureFacts, lost: &[String]) -> JobFailure {
        let keys = "{timeout: 90s, inputs: [{url: 's3://bucket/ratings', to: ratings}]}";
        let plan = Plan::new(&manifest(keys), &cluster(&[2, 2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        JobFailure::explain(&plan, &Status { outcome: Some(outcome), ..Status::default() }, &facts, lost)
    }

    fn end(rank: u32, status: i32) -> RankEnd {
        RankEnd { rank, status, lines: vec![format!("last words of {rank}")] }
    }

    #[test]
    fn the_first_rank_to_fail_is_named_with_node_signal_and_last_lines() {
        // As Open MPI 5.0.7 tells it when rank 3 is killed: its own report blames another rank.
        let lines = vec!["prterun has exited due to process rank 4 with PID 551 on node jobnode3 calling".to_owned()];
        let facts = FailureFacts { exit: 14, lines, ranks: vec![end(3, 137), end(4, 14)], ..FailureFacts::default() };
        let failure = explain(Outcome::Failed, facts, &[]);
        assert_eq!(failure.message, "rank 3 on node/compute/0 was killed by signal 9 (SIGKILL); it may have run out of memory");
        assert_eq!((failure.rank, failure.signal, failure.exit), (Some(3), Some(9), None));
        assert_eq!(failure.lines, ["last words of 3"]);
    }

    #[test]
    fn a_silent_rank_is_told_with_the_words_of_another_that_failed() {
        let silent = RankEnd { lines: Vec::new(), ..end(1, 2) };
        let facts = FailureFacts { exit: 2, ranks: vec![silent, end(0, 2)], ..FailureFacts::default() };
        let failure = explain(Outcome::Failed, facts, &[]);
        assert_eq!((failure.rank, failure.lines), (Some(1), vec!["last words of 0".to_owned()]));
    }

    #[test]
    fn a_rank_that_aborts_is_the_culprit_whoever_ended_first() {
        let lines = ["MPI_ABORT was invoked on rank 5 in communicator MPI_COMM_WORLD", "  Proc: [[45600,1],5]", "  Errorcode: 7"];
        let lines = lines.map(str::to_owned).to_vec();
        let facts = FailureFacts { exit: 7, lines, ranks: vec![end(0, 143), end(5, 143)], ..FailureFacts::default() };
        let failure = explain(Outcome::Failed, facts, &[]);
        assert_eq!(failure.message, "rank 5 on node/compute/1 aborted the job with status 7");
        assert_eq!((failure.exit, failure.signal), (Some(7), None));
    }

    #[test]
    fn steps_time_limits_lost_nodes_and_missing_programs_are_told_apart() {
        let step = FailureFacts { step: Some("fetch data".to_owned()), exit: 22, ..FailureFacts::default() };
        assert_eq!(explain(Outcome::Failed, step, &[]).message, "fetch data ended with status 22");
        let step = FailureFacts { step: Some("fetch ratings".to_owned()), exit: 127, ..FailureFacts::default() };
        assert!(explain(Outcome::Failed, step, &[]).message.contains("add `awscli`"));
        assert_eq!(explain(Outcome::TimedOut, FailureFacts::default(), &[]).message, "not done within its time limit of 1m30s");
        let facts = FailureFacts { ranks: vec![end(0, 14)], ..FailureFacts::default() };
        let lost = explain(Outcome::Failed, facts, &["node/compute/1".to_owned()]);
        assert_eq!(
            (lost.message.as_str(), lost.node.as_deref()),
            ("node/compute/1 was lost while the job ran", Some("node/compute/1"))
        );
        let facts = FailureFacts { ranks: vec![end(0, 127)], ..FailureFacts::default() };
        assert!(explain(Outcome::Failed, facts, &[]).message.contains("was not found"));
        let lines = [
            "PRTE has lost communication with a remote daemon.",
            "  Remote daemon: [prterun-jobnode1-1363@0,2] on node jobnode3",
        ];
        let cut = FailureFacts { lines: lines.map(str::to_owned).to_vec(), ..FailureFacts::default() };
        let cut = explain(Outcome::Failed, cut, &[]);
        assert_eq!(
            (cut.message.as_str(), cut.node.as_deref()),
            ("the master lost its connection to node/compute/1", Some("node/compute/1"))
        );
        let plan = Plan::new(&manifest("{folds: 2, split: 4}"), &cluster(&[2, 2, 2, 2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let group = plan.of_group(&plan.groups[1]);
        assert_eq!(daemon_node(&group, 2).map(|node| node.address.as_str()), Some("node/compute/2"));
        assert_eq!(
            explain(Outcome::Failed, FailureFacts { exit: -6, ..FailureFacts::default() }, &[]).message,
            "mpirun was killed by signal 6 (SIGABRT)"
        );
    }
}

//! The programs that run on a cluster, run here: the runner with a stand-in for mpirun, and the packing of results.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer::{self, Status};
use super::bundle::pack;
use super::failure::FailureFacts;
use super::lines::{Line, Source};
use super::tests::{cluster, manifest};
use super::{JobFailure, Outcome, Plan};

/// Starts as many ranks as its first word says, and ends all of them when it is told to or one fails, as mpirun does.
const STAND_IN: &str = r#"#!/bin/bash
ranks=$1
shift
# Each rank gets a process group of its own, which gets the signals.
set -m
end() { for child in "${children[@]}"; do kill -TERM -- "-$child" 2>/dev/null; done; }
trap 'end; wait; exit 143' TERM
for ((rank = 0; rank < ranks; rank++)); do
    OMPI_COMM_WORLD_RANK=$rank "$@" &
    children+=($!)
done
status=0
for child in "${children[@]}"; do
    wait -n || { status=$?; end; }
done
exit "$status"
"#;

pub(super) struct Staged {
    pub base: tempfile::TempDir,
    pub plan: Plan,
}

impl Staged {
    /// Stages a run of `command` on three ranks of one node into a folder of this machine.
    pub fn new(keys: &str) -> Self {
        Self::on(&[3], keys, |_| {})
    }

    /// Stages a run on nodes of so many cores, all of which are this machine; `change` has the last word on the plan.
    pub fn on(cores: &[u32], keys: &str, change: impl FnOnce(&mut Plan)) -> Self {
        let base = tempfile::tempdir().unwrap();
        let mut plan = Plan::new(&manifest(keys), &cluster(cores), Timestamp::UNIX_EPOCH, rank_salt()).unwrap();
        let stand_in = base.path().join("mpirun");
        fs::write(&stand_in, STAND_IN).unwrap();
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
        plan.folder = base.path().join("run").to_str().unwrap().to_owned();
        let words = |ranks: u32| vec![stand_in.to_str().unwrap().to_owned(), ranks.to_string()];
        plan.mpirun = words(plan.ranks);
        for group in &mut plan.groups {
            group.mpirun = words(group.nodes.iter().map(|node| node.ranks).sum());
        }
        change(&mut plan);
        let bundle = pack(&plan, base.path()).unwrap();
        tar::Archive::new(bundle.tar.as_slice()).unpack(&plan.folder).unwrap();
        Self { base, plan }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.plan.folder).join(name)
    }

    pub fn spawn(&self) -> Child {
        Command::new("python3").arg(self.path(".ewulf/run.py")).spawn().unwrap()
    }

    pub fn carry_out(&self) -> Status {
        assert!(self.spawn().wait().unwrap().success());
        self.status()
    }

    pub fn status(&self) -> Status {
        serde_json::from_slice(&fs::read(self.path(".ewulf/status.json")).unwrap()).unwrap()
    }

    fn failure(&self) -> JobFailure {
        let facts: FailureFacts = serde_json::from_slice(&fs::read(self.path(".ewulf/failure.json")).unwrap()).unwrap();
        JobFailure::explain(&self.plan, &self.status(), &facts, &[])
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path(".ewulf/output.log")).unwrap()
    }

    /// Processes of this machine that carry the run's mark.
    pub fn processes(&self) -> usize {
        let mark = format!("EWULF_RUN={}", self.plan.run);
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let marked = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes());
        entries.filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(marked)).count()
    }

    pub fn results(&self, limit: u64) -> (answer::Packed, Vec<u8>) {
        let program = include_str!("programs/results.py");
        let output = Command::new("python3")
            .args(["-I", "-c", program, &self.plan.folder, &limit.to_string(), "1000000"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        answer::packed(&String::from_utf8(output.stdout).unwrap()).unwrap()
    }
}

/// Runs of one test process must not share their ids: leftovers are found by them.
fn rank_salt() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) ^ std::process::id() as u16
}

pub(super) fn names(packed: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn words_and_environment_reach_ranks_and_steps_unchanged() {
    let words =
        ["$(touch evil)", "`touch evil`", "it's \"so\"", "two\nlines", "", "--foo", "-x", ":", "*", "ünï", "a=b", "; touch evil"];
    let show = |file: &str| format!("printf '%s\\0' \"$ODD\" \"$@\" >\"{file}\"");
    let command = |file: &str| [&["bash", "-c", &show(file), "name"], words.as_slice()].concat().join("\u{1}");
    let command = |file: &str| serde_json::json!(command(file).split('\u{1}').collect::<Vec<_>>());
    let odd = "x $(touch evil) `y` ' \" \\ ü";
    let keys = serde_json::json!({
        "command": command("rank-$OMPI_COMM_WORLD_RANK"),
        "prepare": [{"command": command("step")}],
        "environment": {"ODD": odd},
    });
    let run = Staged::new(&keys.to_string());
    assert_eq!(run.carry_out().outcome, Some(Outcome::Succeeded), "{}", run.log());
    let expected: String = [odd].iter().chain(&words).map(|word| format!("{word}\0")).collect();
    for file in ["step", "rank-0", "rank-1", "rank-2"] {
        assert_eq!(fs::read_to_string(run.path(file)).unwrap(), expected, "{file}");
    }
    assert!(!run.path("evil").exists());
}

#[test]
fn every_line_of_every_rank_is_whole_and_in_order_however_much_they_print_at_once() {
    let script = "for ((i = 0; i < 3000; i++)); do echo \"line $i of $OMPI_COMM_WORLD_RANK\"; done; printf 'no end' >&2";
    let run = Staged::new(&serde_json::json!({"command": ["bash", "-c", script]}).to_string());
    assert_eq!(run.carry_out().outcome, Some(Outcome::Succeeded));
    let log = run.log();
    let mut next = [0; 3];
    for line in log.lines().map(Line::parse).filter(|line| !line.error) {
        if let Source::Rank(rank) = line.source {
            assert_eq!(line.text, format!("line {} of {rank}", next[rank as usize]));
            next[rank as usize] += 1;
        }
    }
    assert_eq!(next, [3000; 3]);
    assert_eq!(log.lines().filter(|line| line.ends_with("!] no end")).count(), 3);
}

#[test]
fn a_failing_rank_is_named_with_its_last_words_after_all_attempts() {
    let script = "if [ $OMPI_COMM_WORLD_RANK = 1 ]; then echo 'bad input' >&2; kill -SEGV $$; fi; sleep 60";
    let run = Staged::new(&serde_json::json!({"command": ["bash", "-c", script], "retries": 1}).to_string());
    let status = run.carry_out();
    assert_eq!((status.outcome, status.attempt), (Some(Outcome::Failed), 2), "{}", run.log());
    let failure = run.failure();
    assert_eq!(failure.message, "rank 1 on node/master was killed by signal 11 (SIGSEGV)");
    assert!(failure.lines.contains(&"bad input".to_owned()), "{:?}", failure.lines);
    assert_eq!(run.processes(), 0);
}

#[test]
fn a_failing_step_ends_the_run_before_any_rank_starts() {
    let run = Staged::new("{command: [touch, started], prepare: [{command: [bash, -c, 'echo why; exit 3']}]}");
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed));
    assert_eq!(
        (run.failure().message.as_str(), run.failure().lines.as_slice()),
        ("step 1 (bash) ended with status 3", ["why".to_owned()].as_slice())
    );
    assert!(!run.path("started").exists());
}

#[test]
fn a_program_that_does_not_exist_is_told_as_that() {
    let run = Staged::new("command: [no-such-program]");
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed));
    assert!(run.failure().message.contains("was not found"), "{}", run.failure().message);
}

#[test]
fn a_time_limit_ends_every_process_even_those_that_hid() {
    let script = "setsid sleep 1000 & trap '' TERM; while :; do sleep 1; done";
    let run = Staged::new(&serde_json::json!({"command": ["bash", "-c", script], "timeout": "1s"}).to_string());
    let status = run.carry_out();
    assert_eq!(status.outcome, Some(Outcome::TimedOut), "{}", run.log());
    assert_eq!(run.processes(), 0);
}

/// Lets mpirun hang so often before it starts any rank; it counts as hung after three seconds.
fn hangs(plan: &mut Plan, times: u32) {
    let script = "hung=$(cat hung 2>/dev/null || echo 0); \
                  if [ \"$hung\" -lt \"$1\" ]; then echo $((hung + 1)) >hung; exec sleep 1000; fi; shift; exec \"$@\"";
    let words = ["/bin/bash", "-c", script, "mpirun"].map(str::to_owned).into_iter().chain([times.to_string()]);
    plan.mpirun = words.chain(plan.mpirun.clone()).collect();
    plan.start_seconds = 3;
}

#[test]
fn an_mpirun_that_hangs_before_any_rank_has_started_is_started_again() {
    let run = Staged::on(&[3], "command: [bash, -c, 'sleep 4; echo here']", |plan| hangs(plan, 2));
    let status = run.carry_out();
    assert_eq!((status.outcome, status.attempt), (Some(Outcome::Succeeded), 1), "{}", run.log());
    let log = run.log();
    assert_eq!(log.lines().filter(|line| line.ends_with("] here")).count(), 3, "{log}");
    assert!(log.contains("mpirun had started no rank after 3 s: starting it again (3 of 3)"), "{log}");
    assert_eq!(run.processes(), 0);
}

#[test]
fn an_mpirun_that_never_starts_a_rank_ends_the_run_and_is_named() {
    let run = Staged::on(&[3], "command: [echo, here]", |plan| hangs(plan, 9));
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed), "{}", run.log());
    let failure = run.failure();
    assert!(failure.message.starts_with("mpirun hung: it had started no rank after 3 s"), "{}", failure.message);
    assert_eq!(run.processes(), 0);
}

#[test]
fn a_cancelled_run_says_so_and_leaves_no_process() {
    let run = Staged::new("command: [sleep, '1000']");
    let mut runner = run.spawn();
    let begun = Instant::now();
    while run.processes() < 6 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the ranks did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(run.path(".ewulf/cancelled"), "").unwrap();
    assert!(Command::new("kill").arg(runner.id().to_string()).status().unwrap().success());
    assert!(runner.wait().unwrap().success());
    assert_eq!(run.status().outcome, Some(Outcome::Cancelled));
    assert_eq!(run.processes(), 0);
}

#[test]
fn results_are_what_the_patterns_match_inside_the_runs_folder() {
    let run = Staged::new("{command: ['true'], outputs: ['*.npy', deep, 'n?ne', '.', link, etc/passwd, '[x]']}");
    fs::create_dir_all(run.path("deep/er")).unwrap();
    for file in ["a.npy", "deep/er/b c", "[x]", ".hidden"] {
        fs::write(run.path(file), file).unwrap();
    }
    symlink("/etc/passwd", run.path("link")).unwrap();
    symlink("/etc", run.path("etc")).unwrap();
    symlink("a.npy", run.path("deep/inside")).unwrap();
    symlink("../a.npy", run.path("deep/same")).unwrap();
    fs::write(run.path(".ewulf/output.log"), "[0] x\n").unwrap();
    let (packed, content) = run.results(1 << 20);
    assert_eq!(
        names(&content),
        ["files/.hidden", "files/[x]", "files/a.npy", "files/deep/er/b c", "files/deep/same", "run/output.log"]
    );
    assert_eq!(packed.missing, ["n?ne", "link", "etc/passwd"]);
    assert!(packed.left.iter().any(|file| file.path == "link" && file.why.contains("leaves")), "{:?}", packed.left);
    assert_eq!((packed.bytes, packed.log_bytes), (content.len(), 6));
}

#[test]
fn a_result_that_is_too_large_stays_and_small_ones_come() {
    let run = Staged::new("{command: ['true'], outputs: ['*']}");
    fs::write(run.path("small"), "x").unwrap();
    fs::write(run.path("zeros"), vec![0; 3 << 20]).unwrap();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 32) as u8
    })
    .take(2 << 20)
    .collect();
    fs::write(run.path("noise"), noise).unwrap();
    let (packed, content) = run.results(1 << 20);
    assert_eq!(names(&content), ["files/small", "files/zeros"]);
    assert_eq!((packed.left[0].path.as_str(), packed.left[0].bytes), ("noise", 2 << 20));
    assert!(run.base.path().exists());
}

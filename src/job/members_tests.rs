//! The runner's members, carried out here with a stand-in for mpirun.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::lines::{Line, Source};
use super::members::SweepResult;
use super::programs_tests::{Staged, names};
use super::{JobFailure, Outcome};

/// Keys of a job that runs a shell script with the words `--seed N` for each of some seeds.
fn script(script: &str, seeds: &[u32], more: serde_json::Value) -> String {
    let mut keys = json!({"command": ["bash", "-c", script, "member"], "sweep": {"grid": {"seed": seeds}}, "split": 1});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys.to_string()
}

fn result(run: &Staged) -> SweepResult {
    SweepResult::read(&run.plan, &fs::read(run.path(".ewulf/members.jsonl")).unwrap_or_default())
}

fn outcomes(run: &Staged) -> Vec<Option<Outcome>> {
    result(run).members.iter().map(|member| member.outcome).collect()
}

const SUCCEEDED: Option<Outcome> = Some(Outcome::Succeeded);

#[test]
fn each_member_works_in_a_folder_of_its_own_and_finds_what_the_run_has() {
    let body = "cat data/in seed; echo \"{\\\"seed\\\": $2, \\\"scores\\\": {\\\"rmse\\\": 0.$2}, \\\"list\\\": [1], \\\"odd\\\": NaN}\" >summary.json; \
                echo \"$EWULF_EVENTS\" >events; echo x >data/out-$2";
    let prepare = json!([{"command": ["bash", "-c", "mkdir data; echo shared >data/in; echo 7 >seed; chmod 644 seed"]}]);
    let keys = script(body, &[5, 3, 4], json!({"prepare": prepare, "outputs": ["*"]}));
    let run = Staged::on(&[2], &keys, |_| {});
    assert_eq!(run.carry_out().outcome, SUCCEEDED, "{}", run.log());
    let result = result(&run);
    let summaries: Vec<String> = result.members.iter().map(|member| serde_json::to_string(&member.summary).unwrap()).collect();
    assert_eq!(
        summaries,
        [3, 4, 5].map(|seed| [5, 3, 4][seed - 3]).map(|seed| format!("{{\"seed\":{seed},\"scores.rmse\":0.{seed}}}"))
    );
    let (packed, content) = run.results(1 << 20);
    let own: Vec<String> =
        (1..4).flat_map(|member| ["events", "summary.json"].map(|file| format!("files/members/00{member}/{file}"))).collect();
    let rest = ["run/members.jsonl", "run/output.log", "run/status.json"].map(str::to_owned);
    assert_eq!(names(&content), [own, rest.to_vec()].concat(), "links are not fetched as files");
    assert!(packed.left.is_empty() && packed.missing.is_empty());
    let events: BTreeSet<String> =
        (1..4).map(|member| fs::read_to_string(run.path(&format!("members/00{member}/events"))).unwrap()).collect();
    assert_eq!(events.len(), 3, "each has a file of events of its own");
    assert_eq!(fs::metadata(run.path("seed")).unwrap().permissions().mode() & 0o222, 0, "nobody writes into what others read");
    let log = run.log();
    let lines: Vec<Line> = log.lines().map(Line::parse).collect();
    for member in 1..4 {
        let said = lines.iter().filter(|line| line.member == Some(member) && line.source == Source::Rank(0));
        assert_eq!(said.map(|line| line.text).collect::<Vec<_>>(), ["shared", "7"]);
    }
}

#[test]
fn members_run_at_once_on_their_groups_and_in_order() {
    let body = "echo x >../../began-$2; while [ $(ls ../.. | grep -c began-) -lt 2 ]; do sleep 0.02; done; sleep 0.2; \
                ls ../.. | grep -c began- >count";
    let run = Staged::on(&[2], &script(body, &[1, 2, 3, 4], json!({"timeout": "20s"})), |_| {});
    assert_eq!(run.carry_out().outcome, SUCCEEDED, "{}", run.log());
    let begun: Vec<String> = run.log().lines().filter(|line| line.contains(" of 4 on ")).map(str::to_owned).collect();
    assert!(begun[0].contains("--seed 1") || begun[1].contains("--seed 1"), "{begun:?}");
    let first = fs::read_to_string(run.path("members/001/count")).unwrap();
    assert_eq!(first.trim(), "2", "two of them, and not three, ran when the first ended");
    let ended: Vec<serde_json::Value> = fs::read_to_string(run.path(".ewulf/events.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "progress")
        .collect();
    assert_eq!(ended.last().unwrap(), &json!({"event": "progress", "phase": "members", "done": 4, "total": 4}));
}

#[test]
fn a_member_that_fails_is_told_with_its_last_words_and_the_others_go_on() {
    let body = "echo attempt >>attempts; if [ $2 = 2 ]; then echo 'bad seed' >&2; kill -SEGV $$; fi; echo '{\"ok\": true}' >summary.json";
    let run = Staged::on(&[1, 1], &script(body, &[1, 2, 3], json!({"retries": 1, "outputs": ["summary.json"]})), |plan| {
        // Both nodes are this one, and no ssh is needed.
        for group in &mut plan.groups {
            group.nodes[0].host = plan.master;
        }
    });
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed), "{}", run.log());
    assert_eq!(outcomes(&run), [SUCCEEDED, Some(Outcome::Failed), SUCCEEDED]);
    assert_eq!(fs::read_to_string(run.path("members/002/attempts")).unwrap().lines().count(), 2);
    let failure = JobFailure::of_members(Outcome::Failed, &result(&run));
    assert!(failure.message.starts_with("1 of 3 members did not succeed; member 2 (--seed 2): rank 0 on node/"), "{failure}");
    assert!(failure.message.ends_with("was killed by signal 11 (SIGSEGV)"), "{failure}");
    assert!(failure.lines.contains(&"bad seed".to_owned()), "{:?}", failure.lines);
    let (_, content) = run.results(1 << 20);
    assert!(names(&content).contains(&"files/members/003/summary.json".to_owned()));
    assert_eq!(run.processes(), 0);
}

#[test]
fn a_member_that_takes_too_long_is_ended_alone() {
    let body = "if [ $2 = 1 ]; then trap '' TERM; setsid sleep 1000 & sleep 1000; fi";
    let run = Staged::on(&[2], &script(body, &[1, 2, 3], json!({"timeout": "1s"})), |_| {});
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed), "{}", run.log());
    assert_eq!(outcomes(&run), [Some(Outcome::TimedOut), SUCCEEDED, SUCCEEDED]);
    let failure = result(&run).members[0].failure.clone().unwrap();
    assert_eq!(failure.message, "not done within its time limit of 1s");
    assert_eq!(run.processes(), 0);
}

#[test]
fn members_of_a_cancelled_run_end_and_those_that_wait_are_not_begun() {
    let run = Staged::on(&[2], &script("sleep 1000", &[1, 2, 3], json!({})), |_| {});
    let mut runner = run.spawn();
    let begun = Instant::now();
    while run.processes() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the members did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(run.path(".ewulf/cancelled"), "").unwrap();
    assert!(std::process::Command::new("kill").arg(runner.id().to_string()).status().unwrap().success());
    assert!(runner.wait().unwrap().success());
    assert_eq!(run.status().outcome, Some(Outcome::Cancelled));
    assert_eq!(outcomes(&run), [Some(Outcome::Cancelled), Some(Outcome::Cancelled), None]);
    assert_eq!(run.processes(), 0);
}

#[test]
fn a_member_whose_node_is_gone_goes_to_another_group() {
    let run = Staged::on(&[1, 1], &script("sleep 0.3", &[1, 2, 3, 4], json!({})), |plan| {
        plan.groups[1].mpirun = vec!["false".to_owned()];
        // Nobody may log in there.
        plan.groups[1].nodes[0].host = "127.0.0.1".parse().unwrap();
    });
    assert_eq!(run.carry_out().outcome, SUCCEEDED, "{}", run.log());
    assert_eq!(outcomes(&run), [SUCCEEDED; 4]);
    assert!(run.log().contains("lost node/compute/0: member"), "{}", run.log());
    assert!(result(&run).members.iter().all(|member| member.nodes == ["node/master"]));
}

#[test]
fn steps_that_fail_leave_all_members_unbegun() {
    let run = Staged::on(&[2], &script("true", &[1, 2], json!({"prepare": [{"command": ["false"]}]})), |_| {});
    assert_eq!(run.carry_out().outcome, Some(Outcome::Failed));
    assert_eq!(outcomes(&run), [None, None]);
    assert!(!run.path("members").exists());
}

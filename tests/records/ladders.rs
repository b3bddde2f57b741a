//! Clusters for which EC2 has no room, or not everywhere, and those that are too large for its limits.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Account;

/// Writes the spec of one master and a group of `count` workers in `network`; answers its path.
fn spec(account: &Account, count: u32, group: &str, more: &str) -> String {
    let image = account.image();
    let text = format!(
        "cluster: gang\ncloud: local\nready: running\nnetwork: {{cidr: 10.42.0.0/20}}\n\
         master: {{instance_type: c7i.large, image: {image}}}\n\
         workers:\n  - {{group: compute, count: {count}, instance_type: c7a.large, image: {image}, {group}}}\n{more}\n"
    );
    let path = account.path().join("gang.yaml");
    std::fs::write(&path, text).expect("the folder is writable");
    path.display().to_string()
}

/// Lets the cloud follow these rules and no others.
fn rules(account: &Account, rules: &[&str]) {
    let text = rules.iter().map(|rule| format!("  - {rule}\n")).collect::<String>();
    std::fs::write(account.path().join("faults.yaml"), format!("rules:\n{text}")).expect("the folder is writable");
    account.succeed(&["local", "faults", "load", "faults.yaml"]);
}

/// How many instances of each type, market and zone there are.
async fn instances(account: &Account) -> BTreeMap<String, usize> {
    let answer = account.cloud.ec2.describe_instances().into_paginator().items().send();
    let reservations = answer.collect::<Result<Vec<_>, _>>().await.expect("instances are listed");
    let mut counts = BTreeMap::new();
    for instance in reservations.iter().flat_map(|reservation| reservation.instances()) {
        let state = instance.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned()).unwrap_or_default();
        if ["terminated", "shutting-down"].contains(&state.as_str()) {
            continue;
        }
        let kind = instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
        let market = instance.instance_lifecycle().map_or("on-demand", |lifecycle| lifecycle.as_str()).to_owned();
        let zone = instance.placement().and_then(|placement| placement.availability_zone()).unwrap_or_default().to_owned();
        *counts.entry(format!("{kind} {market} {zone}")).or_default() += 1;
    }
    counts
}

fn counts<const N: usize>(list: [(&str, usize); N]) -> BTreeMap<String, usize> {
    list.into_iter().map(|(what, number)| (what.to_owned(), number)).collect()
}

/// Folders of evidence.
fn evidence(project: &Path) -> usize {
    std::fs::read_dir(project.join("results/failures")).map_or(0, Iterator::count)
}

const LADDER: &str = "market: spot, capacity: [{within: 1s}, {instance_type: m7a.large}, {market: on-demand}]";

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_without_room_goes_to_the_next_rung_and_both_are_told() {
    let account = Account::open().await;
    let spec = spec(&account, 4, LADDER, "");
    let plan = account.succeed(&["plan", &spec]);
    for words in ["all 4 or none, on the first rung with room", "m7a.large", "at most $0.4106", "for 1s", "once"] {
        assert!(plan.contains(words), "{words} is missing in\n{plan}");
    }
    rules(&account, &["{when: {market: spot, type: c7a.large}, fault: {capacity: {left: 3}}}"]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    for words in [
        "compute: no room for 4 × c7a.large, spot, in us-east-1a (rung 1 of 3) after 1 s: InsufficientInstanceCapacity",
        "compute: next is rung 2 of 3: m7a.large, spot, in us-east-1a",
        "is ready: 5 nodes",
    ] {
        assert!(err.contains(words), "{words} is missing in\n{err}");
    }
    let standing = counts([("c7i.large on-demand us-east-1a", 1), ("m7a.large spot us-east-1a", 4)]);
    assert_eq!(instances(&account).await, standing);
    let (code, out, err) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert_eq!(code, 0, "who stands on any rung is as specified:\n{out}{err}");
    assert_eq!(evidence(account.path()), 0, "nothing failed");
    account.succeed(&["destroy", &spec, "--yes"]);
    assert_eq!(instances(&account).await, counts([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rungs_without_room_exit_with_4_and_leave_nothing_of_the_gang() {
    let account = Account::open().await;
    let spec = spec(&account, 4, LADDER, "");
    let few = "{when: {type: c7a.*}, fault: {capacity: {left: 3}}}";
    rules(&account, &[few, "{when: {type: m7a.*}, fault: {capacity: {left: 0}}}"]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 4, "{err}");
    let told = err.split_once("error: ").map_or("", |(_, told)| told);
    for words in [
        "InsufficientInstanceCapacity",
        "4 × c7a.large, spot, in us-east-1a (rung 1 of 3)",
        "4 × m7a.large, spot, in us-east-1a (rung 2 of 3)",
        "4 × c7a.large, on-demand, in us-east-1a (rung 3 of 3)",
        "none of the 3 rungs that were tried has room",
    ] {
        assert!(told.contains(words), "{words} is missing in\n{err}");
    }
    assert_eq!(instances(&account).await, counts([("c7i.large on-demand us-east-1a", 1)]));
    assert_eq!(evidence(account.path()), 1);
    // The same command goes on when there is room again.
    account.succeed(&["local", "faults", "clear"]);
    account.succeed(&["apply", &spec, "--yes"]);
    assert_eq!(instances(&account).await["c7a.large spot us-east-1a"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_that_ec2_accepted_and_could_not_start_is_taken_back_whole() {
    let account = Account::open().await;
    let spec = spec(&account, 4, LADDER, "");
    let dies = "{action: RunInstances, when: {type: c7a.large}, count: 1, \
                fault: {launch-failure: {code: Server.InsufficientInstanceCapacity}}}";
    rules(&account, &[dies]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("rung 1 of 3") && err.contains("next is rung 2 of 3"), "{err}");
    let standing = counts([("c7i.large on-demand us-east-1a", 1), ("m7a.large spot us-east-1a", 4)]);
    assert_eq!(instances(&account).await, standing);
    assert_eq!(evidence(account.path()), 1, "what is known of the node that died is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_will_do_are_kept_and_the_rest_comes_later() {
    let account = Account::open().await;
    let spec = spec(&account, 4, "min: 2", "");
    rules(&account, &["{when: {type: c7a.large}, fault: {capacity: {left: 3}}}"]);
    let (code, out, err) = account.ewulf(&["apply", &spec, "--yes", "--json"]);
    assert_eq!(code, 0, "{err}");
    let last: Value = serde_json::from_str(out.lines().last().expect("it ends with a document")).expect("it is JSON");
    assert_eq!((&last["shortfalls"][0]["standing"], &last["attempts"][0]["had"]), (&3.into(), &3.into()), "{last:#}");
    assert_eq!(instances(&account).await["c7a.large on-demand us-east-1a"], 3);
    let (code, out, err) = account.ewulf(&["status", &spec]);
    assert!(code == 0 && out.contains("4 of 5 nodes ready"), "it is healthy as it is:\n{out}{err}");
    let (code, out, _) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert!(code == 2 && out.contains("+  node/compute/3"), "{out}");
    account.succeed(&["local", "faults", "clear"]);
    account.succeed(&["apply", &spec, "--yes"]);
    assert_eq!(instances(&account).await["c7a.large on-demand us-east-1a"], 4);

    let (code, _, err) = {
        account.succeed(&["destroy", &spec, "--yes"]);
        rules(&account, &["{when: {type: c7a.large}, fault: {capacity: {left: 1}}}"]);
        account.ewulf(&["apply", &spec, "--yes"])
    };
    assert_eq!(code, 4, "{err}");
    assert_eq!(instances(&account).await, counts([("c7i.large on-demand us-east-1a", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anything_runs_the_cluster_goes_to_another_zone() {
    let account = Account::open().await;
    let zones = "capacity: [{zone: us-east-1b}, {zone: us-east-1c}]";
    let spec = spec(&account, 4, zones, "shared: {volume: 1GiB, keep: false}");
    rules(&account, &["{when: {zone: us-east-1b, type: c7a.large}, fault: {capacity: {left: 3}}}"]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    let standing = counts([("c7i.large on-demand us-east-1c", 1), ("c7a.large on-demand us-east-1c", 4)]);
    assert_eq!(instances(&account).await, standing);
    let (code, out, err) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(account.vpcs().await.len(), 1, "only its subnet moved");
    account.succeed(&["destroy", &spec, "--yes"]);
    assert!(account.everything().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_on_the_second_rung_launches_nothing_twice() {
    let account = Account::open().await;
    let spec = spec(&account, 4, LADDER, "");
    let none = "{when: {type: c7a.large}, fault: {capacity: {left: 0}}}";
    rules(&account, &[none, "{action: RunInstances, when: {type: m7a.large}, count: 1, fault: lost}"]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    let standing = counts([("c7i.large on-demand us-east-1a", 1), ("m7a.large spot us-east-1a", 4)]);
    assert_eq!(instances(&account).await, standing);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_moments_ago_and_is_not_seen_yet_is_not_made_again() {
    let account = Account::open().await;
    let spec = spec(&account, 2, LADDER, "");
    rules(&account, &["{when: {type: c7a.large}, fault: {capacity: {left: 0}}}", "{fault: {lag: {seconds: 2}}}"]);
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    account.succeed(&["local", "faults", "clear"]);
    let standing = counts([("c7i.large on-demand us-east-1a", 1), ("m7a.large spot us-east-1a", 2)]);
    assert_eq!(instances(&account).await, standing);
    assert_eq!(account.vpcs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_larger_than_the_bucket_is_launched_in_parts_and_is_whole_or_not_there() {
    let account = Account::open().await;
    let spec = spec(&account, 12, "capacity: [{}, {instance_type: m7a.large}]", "");
    let paced = |arguments: &[&str]| {
        let mut command = account.command(arguments);
        command.env("EWULF_LAUNCH_LIMIT", "9/2");
        super::told(tokio::task::block_in_place(|| command.output()).expect("the binary starts"))
    };
    let (_, plan, _) = paced(&["plan", &spec]);
    assert!(plan.contains("Pacing: 13 nodes are launched as fast as EC2 allows"), "{plan}");
    rules(&account, &["{when: {type: c7a.large}, fault: {capacity: {left: 11}}}"]);
    let begun = std::time::Instant::now();
    let (code, _, err) = paced(&["apply", &spec, "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert!(begun.elapsed().as_secs_f64() >= 2.0, "four nodes are waited for");
    assert!(err.contains("for EC2's limits"), "{err}");
    let standing = counts([("c7i.large on-demand us-east-1a", 1), ("m7a.large on-demand us-east-1a", 12)]);
    assert_eq!(instances(&account).await, standing, "the first part did not stay alone");
    let (code, _, err) = {
        let mut command = account.command(&["plan", &spec]);
        command.env("EWULF_LAUNCH_LIMIT", "many");
        super::told(tokio::task::block_in_place(|| command.output()).expect("the binary starts"))
    };
    assert!(code == 3 && err.contains("EWULF_LAUNCH_LIMIT=many is not a limit") && err.contains("2000/5"), "{err}");
}

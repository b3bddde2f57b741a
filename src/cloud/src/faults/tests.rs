//! The engine as whole: what strikes, how often, and that it can be repeated.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

const NOW: Duration = Duration::from_secs(100);

fn faults(plan: Value) -> Faults {
    let mut plan: Plan = serde_json::from_value(plan).unwrap();
    plan.name_rules().unwrap();
    Faults::new(plan)
}

fn call(action: &str) -> Facts {
    Facts { service: "ec2", action: action.to_owned(), ..Facts::default() }
}

fn launch(kind: &str, zone: &str) -> Facts {
    let (instance_type, zone) = (Some(kind.to_owned()), Some(zone.to_owned()));
    Facts { instance_type, zone, market: Some(Market::OnDemand), ..call("RunInstances") }
}

/// Which of so many calls a rule struck.
fn struck(faults: &Faults, action: &str, calls: usize) -> Vec<bool> {
    (0..calls).map(|_| faults.before(&call(action)).1.is_some()).collect()
}

#[test]
fn the_same_seed_and_calls_meet_the_same_faults_whatever_happens_beside() {
    let plan = |seed: u64| {
        json!({ "seed": seed, "rules": [
            { "id": "launches", "action": "RunInstances", "probability": 0.3, "fault": "internal-error" },
            { "id": "tags", "action": "CreateTags", "probability": 0.3, "fault": "internal-error" },
        ]})
    };
    for seed in 0..20 {
        let (calm, busy) = (faults(plan(seed)), faults(plan(seed)));
        let alone = struck(&calm, "RunInstances", 50);
        let mut among = Vec::new();
        for round in 0..50 {
            struck(&busy, "CreateTags", round % 3);
            struck(&busy, "DescribeVpcs", 1);
            among.extend(struck(&busy, "RunInstances", 1));
        }
        assert_eq!(alone, among, "seed {seed}");
    }
    let count = |seed| struck(&faults(plan(seed)), "RunInstances", 400).iter().filter(|struck| **struck).count();
    assert!((80..160).contains(&count(1)), "{}", count(1));
    assert_ne!(struck(&faults(plan(1)), "RunInstances", 50), struck(&faults(plan(2)), "RunInstances", 50));
}

#[test]
fn a_rule_lets_calls_pass_strikes_so_often_and_rests() {
    let faults = faults(json!({ "rules": [
        { "action": "Create*", "when": { "after_calls": 2 }, "count": 2, "fault": "unavailable" },
    ]}));
    assert_eq!(struck(&faults, "CreateVpc", 6), [false, false, true, true, false, false]);
    assert_eq!(struck(&faults, "DeleteVpc", 1), [false]);
    let told = &faults.told()[0];
    assert_eq!((told.asked, told.struck), (6, 2));
}

#[tokio::test]
async fn a_rule_for_the_third_change_strikes_that_one_alone() {
    let faults = faults(json!({ "rules": [{ "when": { "nth_mutating": 3 }, "fault": "lost" }] }));
    let mut lost = Vec::new();
    for action in ["CreateVpc", "DescribeVpcs", "CreateSubnet", "CreateTags", "CreateTags"] {
        let ticket = faults.arrive("ec2", action, !action.starts_with("Describe"), Timestamp::UNIX_EPOCH);
        lost.push(ticket.during(async { faults.strike(Stage::After, &call(action)) }).await.is_some());
        faults.finish(ticket, Some("OK"));
    }
    assert_eq!(lost, [false, false, false, true, false]);
    let (entries, ordinal) = faults.journal(10);
    let shown: Vec<_> = entries.iter().map(|entry| (entry.ordinal, entry.action.as_str(), entry.faults.len())).collect();
    // The read met nothing and is not told.
    assert_eq!(
        shown,
        [(Some(1), "CreateVpc", 0), (Some(2), "CreateSubnet", 0), (Some(3), "CreateTags", 1), (Some(4), "CreateTags", 0)]
    );
    assert_eq!(ordinal, 4);
    faults.set(faults.plan());
    assert_eq!(faults.journal(10), (Vec::new(), 0), "the count begins anew with the rules");
}

#[test]
fn delays_add_up_before_what_ends_the_call() {
    let faults = faults(json!({ "rules": [
        { "fault": { "delay": { "seconds": 0.5 } } },
        { "fault": { "delay": { "seconds": 0.25 } } },
        { "fault": "reset" },
        { "id": "never", "fault": "deny" },
    ]}));
    assert_eq!(faults.before(&call("CreateVpc")), (Duration::from_millis(750), Some(Fault::Reset)));
    assert_eq!(faults.told()[3].asked, 0, "a call that has ended asks no one");
}

#[test]
fn capacity_is_given_out_until_it_is_gone() {
    let faults = faults(json!({ "rules": [
        { "when": { "type": "c7i.*", "zone": "us-east-1a", "market": "on-demand" }, "fault": { "capacity": { "left": 3 } } },
    ]}));
    let here = launch("c7i.large", "us-east-1a");
    assert_eq!(faults.capacity(&launch("m7i.large", "us-east-1a"), 9, 9), Some(9), "another type has its own machines");
    assert_eq!(faults.capacity(&launch("c7i.large", "us-east-1b"), 9, 9), Some(9));
    assert_eq!(faults.capacity(&Facts { market: Some(Market::Spot), ..here.clone() }, 9, 9), Some(9));
    assert_eq!(faults.capacity(&here, 4, 4), None, "all or nothing");
    assert_eq!(faults.capacity(&here, 1, 2), Some(2));
    assert_eq!(faults.capacity(&here, 1, 2), Some(1), "as many as there are");
    assert_eq!(faults.capacity(&here, 1, 1), None);
}

#[test]
fn request_limits_throttle_and_recover() {
    let faults = faults(json!({ "rules": [{ "fault": "throttle" }] }));
    let launches = |now| (0..8).filter(|_| !faults.is_throttled(&call("RunInstances"), false, 1, now)).count();
    assert_eq!((launches(NOW), launches(NOW + Duration::from_secs(1))), (5, 2));
    let listings = |broad| (0..300).filter(|_| !faults.is_throttled(&call("DescribeInstances"), broad, 0, NOW)).count();
    assert_eq!((listings(true), listings(false)), (50, 100));
    assert!(faults.is_throttled(&call("TerminateInstances"), false, 1001, NOW), "more instances than the bucket holds");
    let halved = super::tests::faults(json!({ "rules": [{ "fault": { "throttle": { "scale": 0.4 } } }] }));
    assert_eq!((0..8).filter(|_| !halved.is_throttled(&call("RunInstances"), false, 1, NOW)).count(), 2);
}

#[test]
fn a_profile_is_known_some_time_after_it_was_first_named() {
    let faults = faults(json!({ "rules": [{ "fault": { "profile-lag": { "seconds": 10 } } }] }));
    let at = |seconds| faults.is_too_new(&call("RunInstances"), "nodes", NOW + Duration::from_secs(seconds));
    assert_eq!([at(0), at(9), at(10), at(11)], [true, true, false, false]);
}

#[test]
fn replicas_are_of_every_age_up_to_the_greatest() {
    let faults = faults(json!({ "rules": [{ "action": "Describe*", "fault": { "lag": { "seconds": 2 } } }] }));
    let ages: Vec<Duration> = (0..200).filter_map(|_| faults.lag(&call("DescribeVpcs"))).map(|(age, _)| age).collect();
    assert!(ages.len() == 200 && ages.iter().all(|age| *age < Duration::from_secs(2)));
    assert!(ages.iter().any(|age| age.as_millis() < 500) && ages.iter().any(|age| age.as_millis() > 1500));
    assert_eq!(faults.greatest_lag(), Some(Duration::from_secs(2)));
    assert_eq!(faults.lag(&call("CreateVpc")), None);
}

#[test]
fn a_rule_that_is_added_or_removed_leaves_the_others_as_they_were() {
    let faults = faults(json!({ "rules": [{ "id": "first", "count": 1, "fault": "deny" }] }));
    assert_eq!(struck(&faults, "CreateVpc", 2), [true, false]);
    let rule: Rule = serde_json::from_value(json!({ "fault": "reset", "count": 1 })).unwrap();
    assert_eq!(faults.add(rule.clone()).unwrap(), "rule-1");
    assert_eq!(struck(&faults, "CreateVpc", 2), [true, false]);
    // The same id begins anew.
    faults.add(Rule { id: "first".to_owned(), ..rule }).unwrap();
    assert_eq!(struck(&faults, "CreateVpc", 2), [true, false]);
    assert_eq!(faults.told().len(), 2);
    faults.remove("first").unwrap();
    assert_eq!(faults.remove("first"), Err(PlanError::Unknown("first".to_owned())));
}

#[test]
fn what_is_held_is_let_go_in_time() {
    let faults = Faults::default();
    faults.hold(Hold::ImageName, "worker", NOW);
    assert!(faults.holds(Hold::ImageName, "worker", NOW - Duration::from_millis(1)));
    assert!(!faults.holds(Hold::Interface, "worker", NOW - Duration::from_millis(1)));
    assert!(!faults.holds(Hold::ImageName, "worker", NOW));
}

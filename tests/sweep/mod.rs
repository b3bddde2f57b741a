//! Every call that changes something, each in turn the one at which it goes wrong; then the plain command again.
//!
//! A story is a command on a cloud of records. Its clean run tells which calls it makes. For each of them the story is
//! told again with the client killed just before or just after, or with a fault of the cloud; the plain command must
//! then finish the work, the next plan be empty, nothing exist twice, and destroy leave nothing. `make test` takes every
//! kill of apply and destroy and a sample of the rest; `make sweep` takes everything.

mod pairs;
mod story;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use story::Story;

use crate::wire::{Deed, Place, Rule};

/// Cases at once: most of their time is waiting.
const AT_ONCE: usize = 3;
/// At once where faults are waited out by the client.
const PATIENT_AT_ONCE: usize = 12;
/// Seed of the sample; any other is as good, and one that never changes makes failures come again.
const SEED: u64 = 2008;

const KILLS: [Deed; 2] = [Deed::KillBefore, Deed::KillAfter];

/// Whether `make sweep` asks for everything.
fn is_whole() -> bool {
    std::env::var_os("EWULF_SWEEP").is_some_and(|value| value == "all")
}

/// What went wrong where, and what must come of it.
#[derive(Debug, Clone)]
struct Case {
    rule: Rule,
    /// Exit code of the run with the fault, where only one is right.
    code: Option<i32>,
    /// What that run must say.
    words: Vec<String>,
}

impl Case {
    fn new(at: &Place, deed: Deed, times: usize) -> Self {
        Self { rule: Rule { at: at.clone(), times, deed }, code: None, words: Vec::new() }
    }

    fn refused(at: &Place, status: u16, code: &'static str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { code: Some(4), words, ..Self::new(at, Deed::Answer { status, code }, usize::MAX) }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.rule.at, self.rule.deed)
    }
}

/// Kills before and after every one of these calls.
fn kills(places: &[Place]) -> Vec<Case> {
    places.iter().flat_map(|place| KILLS.map(|deed| Case::new(place, deed, 1))).collect()
}

/// Every fault that a cloud may answer at each of these calls.
fn faults(places: &[Place]) -> Vec<Case> {
    let mut cases = Vec::new();
    for place in places {
        let answer = |status, code| Deed::Answer { status, code };
        let action = place.action.as_str();
        cases.push(Case::new(place, answer(503, "RequestLimitExceeded"), 2));
        cases.push(Case::new(place, answer(500, "InternalError"), 1));
        cases.push(Case::new(place, Deed::LostBefore, 1));
        cases.push(Case::new(place, Deed::LostAfter, 1));
        cases.push(Case::new(place, Deed::Hang, 1));
        if let Some(code) = not_found(action) {
            cases.push(Case::new(place, answer(400, code), 2));
        }
        let permission = format!("{}:{action}", if is_of_ssm(action) { "ssm" } else { "ec2" });
        cases.push(Case::refused(place, 403, "UnauthorizedOperation", &[&permission]));
        if let Some(code) = quota(action) {
            cases.push(Case::refused(place, 400, code, &[code, "quota"]));
        }
        if matches!(action, "RunInstances" | "StartInstances") {
            cases.push(Case::refused(place, 500, "InsufficientInstanceCapacity", &["InsufficientInstanceCapacity", "no room"]));
        }
    }
    cases
}

fn is_of_ssm(action: &str) -> bool {
    ["PutParameter", "DeleteParameter", "SendCommand", "CancelCommand"].contains(&action)
}

/// The code for what an action stands on and that is not visible everywhere yet; None where it stands on nothing new.
fn not_found(action: &str) -> Option<&'static str> {
    Some(match action {
        "CreateSubnet" | "CreateRouteTable" | "CreateSecurityGroup" | "AttachInternetGateway" => "InvalidVpcID.NotFound",
        "AssociateRouteTable" | "CreateRoute" => "InvalidRouteTableID.NotFound",
        "AuthorizeSecurityGroupIngress" => "InvalidGroup.NotFound",
        "RunInstances" => "InvalidLaunchTemplateName.NotFoundException",
        "AttachVolume" => "InvalidVolume.NotFound",
        "CreateTags" => "InvalidID.NotFound",
        _ => return None,
    })
}

/// The code for a quota that is used up by what an action makes.
fn quota(action: &str) -> Option<&'static str> {
    Some(match action {
        "CreateVpc" => "VpcLimitExceeded",
        "CreateSubnet" => "SubnetLimitExceeded",
        "CreateInternetGateway" => "InternetGatewayLimitExceeded",
        "CreateSecurityGroup" => "SecurityGroupLimitExceeded",
        "CreatePlacementGroup" => "PlacementGroupLimitExceeded",
        "CreateVolume" => "VolumeLimitExceeded",
        "RunInstances" => "VcpuLimitExceeded",
        _ => return None,
    })
}

/// Choices that look like chance, the same with every run.
struct Chance(u64);

impl Chance {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        // Numerical Recipes' generator; its upper bits are good enough to choose a few of many.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A sample of `number` cases, the same with every run.
fn sample(mut cases: Vec<Case>, number: usize) -> Vec<Case> {
    let mut chance = Chance(SEED);
    while cases.len() > number {
        cases.swap_remove(chance.below(cases.len()));
    }
    cases
}

/// Tells a story with each of the cases that `cases` makes of its calls; fails with all that went wrong.
fn sweep(story: &Story, kind: &str, at_once: usize, cases: impl Fn(&[Place]) -> Vec<Case>) {
    let begun = Instant::now();
    let start = story.start();
    let places = story.clean(start.as_ref()).unwrap_or_else(|error| panic!("{}, undisturbed: {error}", story.name));
    let cases = cases(&places);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let at_first = Mutex::new(BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match story.told_with(start.as_ref(), case) {
                        Ok(code) => {
                            let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
                            *at_first.lock().expect("nobody panics with it").entry(code).or_default() += 1;
                        }
                        Err(error) => failures.lock().expect("nobody panics with it").push(format!("{case}: {error}")),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("nobody panics with it");
    failures.sort();
    let first: Vec<String> =
        at_first.into_inner().expect("nobody panics with it").iter().map(|(code, count)| format!("{count} × {code}")).collect();
    println!(
        "sweep {:<10} {kind:<7} {:>3} calls, {:>3} cases: {} converged (first run: {}), {} failed, {:.0} s",
        story.name,
        places.len(),
        cases.len(),
        cases.len() - failures.len(),
        first.join(", "),
        failures.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(failures.is_empty(), "{}: {} of {} failed\n\n{}", story.name, failures.len(), cases.len(), failures.join("\n\n"));
}

/// Kills at every call of a story under `make sweep`, at `number` of them else.
fn sweep_kills(story: &Story, number: usize) {
    sweep(story, "kills", AT_ONCE, |places| sample(kills(places), if is_whole() { usize::MAX } else { number }));
}

/// Faults at every call of a story, under `make sweep` alone: many of them are waited out by the client.
fn sweep_faults(story: &Story) {
    if is_whole() {
        sweep(story, "faults", PATIENT_AT_ONCE, faults);
    }
}

#[test]
fn an_apply_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::apply(), usize::MAX);
}

#[test]
fn a_destroy_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::destroy(), usize::MAX);
}

#[test]
fn a_scale_up_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::scale_up(), 4);
}

#[test]
fn a_replacement_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::replace(), 6);
}

#[test]
fn a_change_in_place_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::change(), 6);
}

#[test]
fn a_root_replacement_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::new_root(), 6);
}

#[test]
fn a_join_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::join(), 6);
}

#[test]
fn a_climb_to_another_rung_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::ladder(), 8);
}

#[test]
fn a_bake_killed_at_any_call_is_finished_by_the_next() {
    sweep_kills(&Story::bake(), 6);
}

#[test]
fn an_apply_survives_every_fault_at_any_call() {
    sweep_faults(&Story::apply());
}

#[test]
fn a_destroy_survives_every_fault_at_any_call() {
    sweep_faults(&Story::destroy());
}

#[test]
fn a_scale_up_survives_every_fault_at_any_call() {
    sweep_faults(&Story::scale_up());
}

#[test]
fn a_replacement_survives_every_fault_at_any_call() {
    sweep_faults(&Story::replace());
}

#[test]
fn a_change_in_place_survives_every_fault_at_any_call() {
    sweep_faults(&Story::change());
}

#[test]
fn a_root_replacement_survives_every_fault_at_any_call() {
    sweep_faults(&Story::new_root());
}

#[test]
fn a_join_survives_every_fault_at_any_call() {
    sweep_faults(&Story::join());
}

#[test]
fn a_climb_to_another_rung_survives_every_fault_at_any_call() {
    sweep_faults(&Story::ladder());
}

#[test]
fn a_bake_survives_every_fault_at_any_call() {
    sweep_faults(&Story::bake());
}

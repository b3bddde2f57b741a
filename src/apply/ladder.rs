//! Launches that EC2 has no room for: asked again within their time, then told, so that the next plan takes the next rung.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ewulf_core::address::{Address, Role};
use ewulf_core::capacity::{Findings, Pool, Refused};
use ewulf_core::events::Level;
use ewulf_core::names::GroupName;
use ewulf_core::plan::{Action, Launch, Plan, Step};

use super::actions::count;
use super::evidence::Aftermath;
use super::pace::sleep;
use super::{ApplyError, Run, StepError};
use crate::aws::{CallError, Class, classify};
use crate::events::{Events, Work};

/// Pauses between two questions for room: it comes back within minutes, and each question costs one of the two requests
/// that EC2 allows in a second (ec2.md 3.1).
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Launches are ordered so that it happens once at most; more often, somebody else takes the address.
const MOST_DISPLACED: usize = 3;

/// A group that EC2 had no room for, or not for all of it.
#[derive(Debug)]
pub struct Short {
    pub address: Address,
    pub attempt: Attempt,
    pub source: StepError,
    pub after: Box<Aftermath>,
}

/// One rung that was tried in vain.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Attempt {
    pub group: GroupName,
    pub pool: Pool,
    /// Number of the rung, from 1, and how many there are.
    pub rung: (usize, usize),
    pub wanted: usize,
    pub had: usize,
    pub seconds: f64,
    /// EC2's words.
    pub reason: String,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, pool, rung: (rung, of), wanted, had, seconds, reason } = self;
        write!(formatter, "{group}: no room for {wanted} × {pool}")?;
        if *had > 0 {
            write!(formatter, ", but for {had}")?;
        }
        if *of > 1 {
            write!(formatter, " (rung {rung} of {of})")?;
        }
        write!(formatter, " after {seconds:.0} s: {reason}")
    }
}

/// Whether EC2 has no room in a pool, so that another pool may help. A subnet without addresses is full in all of them.
pub(super) fn is_out_of_room(error: &CallError) -> bool {
    error.class == Class::Capacity && !error.is("InsufficientFreeAddressesInSubnet")
}

/// How long a launch is asked for again.
pub(super) struct Patience {
    begun: Instant,
    most: Duration,
    pause: Duration,
}

impl Patience {
    pub fn new(launch: &Launch) -> Self {
        Self { begun: Instant::now(), most: Duration::from_secs(launch.patience_seconds), pause: FIRST_PAUSE }
    }

    /// Waits before the next question; false when the time is over, or no time helps.
    pub async fn lasts(&mut self, run: &Run, launch: &Launch, error: &CallError, work: &Work) -> Result<bool, StepError> {
        let left = self.most.saturating_sub(self.begun.elapsed());
        if left.is_zero() || error.is("Unsupported") {
            return Ok(false);
        }
        let what = format!("{} × {}", launch.indexes.len(), launch.pool);
        work.waiting(format!("no room for {what}: EC2 is asked again for {} s", left.as_secs_f64().ceil()));
        sleep(run, self.pause.min(left), Some(&launch.role), None).await?;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(true)
    }
}

/// Tells whether a step failed for want of room for a group, and what was tried then.
pub(super) fn attempt(plan: &Plan, step: &Step, error: &StepError, seconds: f64) -> Option<Attempt> {
    let (launch, wanted, had) = match (error, &step.action) {
        (StepError::Call(call), Action::Launch(launch)) if is_out_of_room(call) => (launch, launch.indexes.len(), 0),
        (StepError::Fewer { had, .. }, Action::Launch(launch)) => (launch, launch.indexes.len(), *had),
        // EC2 accepted the launch and found out later that there is no room for one of its nodes (ec2.md 4.4).
        (StepError::Ended { object, code: Some(code), .. }, _) if classify(code) == Class::Capacity => {
            let address: Address = object.split(' ').next()?.parse().ok()?;
            let launch = launch_of(plan, &address)?;
            (launch, launch.indexes.len(), launch.indexes.len() - 1)
        }
        _ => return None,
    };
    let Role::Worker(group) = &launch.role else { return None };
    let reason = match error {
        StepError::Call(call) => format!("{}: {}", call.code.as_deref().unwrap_or_default(), call.message),
        error => error.to_string(),
    };
    Some(Attempt { group: group.clone(), pool: launch.pool.clone(), rung: launch.rung, wanted, had, seconds, reason })
}

/// The launch of a plan that a worker came from.
fn launch_of<'a>(plan: &'a Plan, address: &Address) -> Option<&'a Launch> {
    let Address::Worker(group, index) = address else { return None };
    let role = Role::Worker(group.clone());
    plan.steps.iter().find_map(|step| match &step.action {
        Action::Launch(launch) if launch.role == role && launch.indexes.iter().any(|it| it == *index) => Some(launch),
        _ => None,
    })
}

/// The way of one apply along the ladders of a cluster, from plan to plan.
#[derive(Debug, Default)]
pub struct Ascent {
    /// What the next plan must know.
    pub findings: Findings,
    /// Every rung that was tried in vain, in order.
    pub attempts: Vec<Attempt>,
    /// How often a node's address was given to another.
    displaced: usize,
    /// What the last plan made and the next one must see, or it would make it again.
    made: BTreeSet<String>,
    last: Option<Short>,
}

impl Ascent {
    /// Takes what a plan ran out of room for, and answers the folders of what was found out; gives back any other failure.
    pub fn learn(&mut self, error: ApplyError, events: &Events) -> Result<Vec<PathBuf>, ApplyError> {
        let (shorts, made) = match error {
            ApplyError::NoRoom { shorts, made, .. } => (shorts, made),
            ApplyError::Displaced { address, source, made, .. } if self.displaced < MOST_DISPLACED => {
                self.displaced += 1;
                let then = if address == Address::Master { "that node makes way" } else { "another plan is made" };
                events.notice(Level::Warning, format!("{source}; {then}"));
                (Vec::new(), made)
            }
            error => return Err(error),
        };
        self.findings.launched.extend(made.iter().filter(|id| id.starts_with("i-")).cloned());
        // What earlier plans made was seen before this one began, and may have been removed by it.
        self.made = made;
        let mut folders = Vec::new();
        for short in shorts {
            let Attempt { group, pool, .. } = &short.attempt;
            self.findings.refused.insert(Refused { group: group.clone(), pool: pool.clone() });
            events.notice(Level::Warning, short.attempt.to_string());
            if let Some(folder) = &short.after.folder {
                events.notice(Level::Info, format!("what was found out about it is in {}", folder.display()));
                folders.push(folder.clone());
            }
            self.attempts.push(short.attempt.clone());
            self.last = Some(short);
        }
        Ok(folders)
    }

    /// Whether a world shows everything that this apply made (ec2.md 1.6).
    pub fn is_seen_in(&self, world: &ewulf_core::world::World) -> bool {
        self.made.iter().all(|id| world.shows(id))
    }

    /// Says on which rung each group goes on.
    pub fn announce(&self, plan: &Plan, events: &Events) {
        for ladder in &plan.ladders {
            let tried = self.attempts.iter().any(|attempt| attempt.group == ladder.group);
            let launched = plan
                .steps
                .iter()
                .any(|step| matches!(&step.action, Action::Launch(launch) if launch.role == Role::Worker(ladder.group.clone())));
            if let (Some(chosen), true, true) = (ladder.chosen, tried, launched) {
                let (of, pool) = (ladder.rungs.len(), &ladder.rungs[chosen].pool);
                events.notice(Level::Info, format!("{}: next is rung {} of {of}: {pool}", ladder.group, chosen + 1));
            }
        }
        for shortfall in plan.shortfalls.iter().filter(|shortfall| shortfall.is_tolerable()) {
            let standing = count(shortfall.standing as usize, "worker");
            let sentence = format!("{}: it stands with {standing} of {}", shortfall.group, shortfall.count);
            events.notice(Level::Warning, sentence);
        }
    }

    /// The failure of an apply for which no rung is left.
    pub fn end(self) -> Option<ApplyError> {
        let Self { findings, attempts, last, .. } = self;
        let Short { address, source, mut after, .. } = last?;
        if attempts.len() > 1 {
            after.facts.extend(attempts.iter().map(ToString::to_string));
        }
        after.rungs = findings.refused.len();
        Some(ApplyError::Room { address, source, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_says_what_was_tried_for_how_long_and_what_ec2_said() {
        let mut attempt = Attempt {
            group: "compute".parse().unwrap(),
            pool: Pool { instance_type: "c7a.large".into(), zone: "us-east-1b".into(), market: ewulf_core::spec::Market::Spot },
            rung: (2, 3),
            wanted: 4,
            had: 0,
            seconds: 59.8,
            reason: "InsufficientInstanceCapacity: none left".into(),
        };
        let told = "compute: no room for 4 × c7a.large, spot, in us-east-1b (rung 2 of 3) after 60 s: \
                    InsufficientInstanceCapacity: none left";
        assert_eq!(attempt.to_string(), told);
        (attempt.rung, attempt.had) = ((1, 1), 3);
        assert!(attempt.to_string().starts_with("compute: no room for 4 × c7a.large, spot, in us-east-1b, but for 3 after"));
    }
}

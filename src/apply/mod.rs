//! Carries out a plan: the only writer. It decides nothing; what may run side by side runs side by side.

mod actions;
mod changes;
mod create;
mod evidence;
mod instances;
mod join;
mod lock;
mod remove;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ewulf_core::address::Address;
use ewulf_core::fingerprint;
use ewulf_core::plan::{Plan, Step};
use tokio::task::JoinSet;

use crate::aws::{CallError, Cloud};
use crate::events::{Event, Events};
use crate::interrupt::Interrupt;

pub use evidence::{Aftermath, OnFailure, Tried};
pub use lock::{Guard, Holder, Lock, LockError};

/// Steps in flight at once: more would empty the SDK's retry quota when EC2 throttles (ec2.md 3.6).
const PARALLEL: usize = 16;

/// Why a plan was not carried out to its end. What was done stays done: the next apply goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{address}: the plan could not be carried out; {done} of {all} steps were done")]
    Step {
        address: Address,
        done: usize,
        all: usize,
        #[source]
        source: StepError,
        after: Box<Aftermath>,
    },
    #[error("interrupted; {done} of {all} steps were done")]
    Interrupted { done: usize, all: usize },
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{object} did not become {wanted} within {seconds} s; it is {state}")]
    Slow { object: String, wanted: &'static str, state: String, seconds: u64 },
    #[error("{object} ended while it was starting: {reason}")]
    Ended { object: String, code: Option<String>, reason: String },
    #[error("{node} did not boot: {cause}")]
    Boot { node: String, cause: String },
    #[error("{what} failed on {node}: {output}")]
    Node { what: &'static str, node: String, output: String },
    /// Stopped nodes could not be changed, or not started as what they had become.
    #[error("the nodes could not become {wanted}; {}", kept(.was, .started))]
    PutBack {
        wanted: String,
        /// What they were, and are again.
        was: String,
        /// Why that failed, if it did.
        started: Option<Box<StepError>>,
        #[source]
        source: CallError,
    },
    #[error("{0} is not known: a step before should have made it")]
    Unknown(Address),
    #[error("the cluster's lock was lost: it could not be renewed in time, or somebody else took it over")]
    LockLost,
}

/// What became of nodes that could not be changed.
fn kept(was: &str, failed: &Option<Box<StepError>>) -> String {
    match failed {
        None if was.is_empty() => "they were started as they were".to_owned(),
        None => format!("they are {was} again and were started"),
        Some(error) => format!("putting them back failed, too: {error}"),
    }
}

/// What carrying out a plan came to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Applied {
    pub steps: usize,
    pub seconds: f64,
}

/// Everything a step needs: the cloud, the plan, and the ids known so far.
#[derive(Clone)]
pub(crate) struct Run {
    pub cloud: Cloud,
    pub plan: Arc<Plan>,
    pub events: Events,
    /// Tells the creates of this run from those of others.
    pub nonce: String,
    ids: Arc<Mutex<BTreeMap<Address, String>>>,
    /// Ids of what this run made: not to find one of them does not mean that it is gone (ec2.md 1.6).
    made: Arc<Mutex<BTreeSet<String>>>,
}

impl Run {
    /// Id of what an address stands for.
    pub fn id(&self, address: &Address) -> Result<String, StepError> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.get(address).cloned().ok_or_else(|| StepError::Unknown(address.clone()))
    }

    pub fn learn(&self, address: Address, id: impl Into<String>) {
        let id = id.into();
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(address, id);
    }

    /// Whether this run made what has this id.
    pub fn made(&self, id: &str) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Says of a failed call whether what it did not find is not visible yet or gone: the answer names the id.
    fn settled(&self, error: StepError) -> StepError {
        match error {
            StepError::Call(call) => {
                let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                let is_recent = made.iter().any(|id| call.object.contains(id) || call.message.contains(id));
                StepError::Call(call.settled(is_recent))
            }
            error => error,
        }
    }
}

/// Carries out `plan`. The first interrupt finishes the steps in flight and starts nothing new, and so does the loss of
/// the lock; after a failure, `on_failure` says what is kept of it and what becomes of nodes that failed before they were
/// part of the cluster.
pub async fn apply(
    cloud: &Cloud,
    plan: &Plan,
    events: &Events,
    interrupt: &Interrupt,
    on_failure: &OnFailure,
    guard: &Guard,
) -> Result<Applied, ApplyError> {
    let begun = Instant::now();
    let run = Run {
        cloud: cloud.clone(),
        plan: Arc::new(plan.clone()),
        events: events.clone(),
        nonce: fingerprint::of(&(std::process::id(), jiff::Timestamp::now().as_nanosecond().to_string())),
        ids: Arc::new(Mutex::new(plan.known.clone())),
        made: Arc::default(),
    };
    let mut walk = Walk::new(plan);
    let mut running: JoinSet<(usize, Result<String, StepError>)> = JoinSet::new();
    loop {
        while walk.failure.is_none() && !interrupt.is_requested() && !guard.is_lost() && running.len() < PARALLEL {
            let Some(position) = walk.next() else { break };
            let run = run.clone();
            running.spawn(async move {
                let plan = run.plan.clone();
                (position, carry_out(&run, &plan.steps[position]).await)
            });
        }
        let Some(ended) = running.join_next().await else { break };
        match ended {
            Ok((position, Ok(_))) => walk.finish(position),
            Ok((position, Err(error))) => walk.fail(position, error),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    let all = plan.steps.len();
    let done = walk.done;
    walk.report_skipped(plan, events);
    match walk.failure {
        Some((position, source)) => {
            let (step, source) = (&plan.steps[position], run.settled(source));
            let after = Box::new(evidence::after(&run, step, &source, on_failure).await);
            Err(ApplyError::Step { address: step.address.clone(), done, all, source, after })
        }
        None if done < all && guard.is_lost() => {
            let after = Box::default();
            Err(ApplyError::Step { address: Address::Mesh, done, all, source: StepError::LockLost, after })
        }
        None if done < all => Err(ApplyError::Interrupted { done, all }),
        None => Ok(Applied { steps: done, seconds: begun.elapsed().as_secs_f64() }),
    }
}

/// Runs one step between its events.
async fn carry_out(run: &Run, step: &Step) -> Result<String, StepError> {
    let work = run.events.begin(step.address.to_string(), actions::sentence(&step.action));
    match actions::perform(run, step, &work).await {
        Ok(sentence) => {
            work.done(sentence.clone());
            Ok(sentence)
        }
        Err(error) => {
            work.failed(&error);
            Err(error)
        }
    }
}

/// Which steps may begin.
struct Walk {
    /// How many steps each one still waits for.
    waiting: Vec<usize>,
    followers: Vec<Vec<usize>>,
    /// Steps that may begin, those first on which the longest chain of others waits.
    ready: BinaryHeap<(usize, Reverse<usize>)>,
    /// Length of the longest chain from each step to the end.
    heights: Vec<usize>,
    begun: Vec<bool>,
    done: usize,
    failure: Option<(usize, StepError)>,
}

impl Walk {
    fn new(plan: &Plan) -> Self {
        let waiting: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let mut followers = vec![Vec::new(); plan.steps.len()];
        for (position, step) in plan.steps.iter().enumerate() {
            for before in &step.after {
                followers[*before].push(position);
            }
        }
        // Steps wait for earlier ones only, so whatever follows one is known before it from the end.
        let mut heights = vec![0; plan.steps.len()];
        for position in (0..plan.steps.len()).rev() {
            let below = followers[position].iter().map(|follower: &usize| heights[*follower]).max().unwrap_or(0);
            heights[position] = below + 1;
        }
        let roots = (0..waiting.len()).filter(|position| waiting[*position] == 0);
        let ready = roots.map(|position| (heights[position], Reverse(position))).collect();
        let begun = vec![false; waiting.len()];
        Self { waiting, followers, ready, heights, begun, done: 0, failure: None }
    }

    fn next(&mut self) -> Option<usize> {
        let (_, Reverse(position)) = self.ready.pop()?;
        self.begun[position] = true;
        Some(position)
    }

    fn finish(&mut self, position: usize) {
        self.done += 1;
        for follower in std::mem::take(&mut self.followers[position]) {
            self.waiting[follower] -= 1;
            if self.waiting[follower] == 0 {
                self.ready.push((self.heights[follower], Reverse(follower)));
            }
        }
    }

    /// Keeps the first failure: those after it are usually its consequences.
    fn fail(&mut self, position: usize, error: StepError) {
        self.failure.get_or_insert((position, error));
    }

    fn report_skipped(&self, plan: &Plan, events: &Events) {
        for (step, begun) in plan.steps.iter().zip(&self.begun) {
            if !begun {
                let sentence = actions::sentence(&step.action);
                events.emit(Event::Skipped { task: step.address.to_string(), sentence });
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Carries out a plan: the only writer. It decides nothing; what may run side by side runs side by side.

mod actions;
mod changes;
mod create;
mod evidence;
mod instances;
mod join;
mod ladder;
mod lock;
mod pace;
mod remove;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ewulf_core::address::{Address, Role};
use ewulf_core::fingerprint;
use ewulf_core::plan::{Plan, Step};
use tokio::task::JoinSet;

use crate::aws::{CallError, Cloud};
use crate::events::{Event, Events};
use crate::interrupt::Interrupt;

pub use evidence::{Aftermath, OnFailure, Tried};
pub use ladder::{Ascent, Attempt, Short};
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
    /// EC2 has no room for some groups; a plan that knows so may take other rungs of their ladders.
    #[error("EC2 has no room for all nodes; {done} of {all} steps were done")]
    NoRoom { shorts: Vec<Short>, made: BTreeSet<String>, done: usize, all: usize },
    /// A node has the address of another; a plan that sees it may make that node go.
    #[error("{address}: another node has its address; {done} of {all} steps were done")]
    Displaced {
        address: Address,
        #[source]
        source: StepError,
        made: BTreeSet<String>,
        done: usize,
        all: usize,
    },
    /// No rung of a ladder is left.
    #[error("{address}: EC2 has no room for it")]
    Room {
        address: Address,
        #[source]
        source: StepError,
        after: Box<Aftermath>,
    },
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
    #[error("{address} cannot be launched at {private_address}: {holder} has that address")]
    Displaced { address: Address, private_address: std::net::Ipv4Addr, holder: String },
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
    #[error("{object}: EC2 had room for {had} of {wanted} only")]
    Fewer { object: String, had: usize, wanted: usize },
    #[error("the user interrupted it")]
    Interrupted,
    #[error("another part of its group found no room")]
    GivenUp,
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
    pub interrupt: Interrupt,
    pub guard: Guard,
    ids: Arc<Mutex<BTreeMap<Address, String>>>,
    /// Ids of what this run made: not to find one of them does not mean that it is gone (ec2.md 1.6).
    made: Arc<Mutex<BTreeSet<String>>>,
    /// Groups of which a part found no room: their other parts would be taken back again.
    given_up: Arc<Mutex<BTreeSet<Role>>>,
}

impl Run {
    /// Launches nothing more of a group.
    pub fn give_up(&self, role: &Role) {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(role.clone());
    }

    /// Whether a step has no point any more, with its reason: the user asks to stop, somebody else has the lock, or a part
    /// of the same group found no room.
    pub fn is_over(&self, role: Option<&Role>) -> Result<(), StepError> {
        let is_given_up = |role| self.given_up.lock().unwrap_or_else(PoisonError::into_inner).contains(role);
        match role {
            _ if self.interrupt.is_requested() => Err(StepError::Interrupted),
            _ if self.guard.is_lost() => Err(StepError::LockLost),
            Some(role) if is_given_up(role) => Err(StepError::GivenUp),
            _ => Ok(()),
        }
    }

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
/// part of the cluster. Where EC2 has no room for a group, whatever does not wait for it goes on.
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
        interrupt: interrupt.clone(),
        guard: guard.clone(),
        ids: Arc::new(Mutex::new(plan.known.clone())),
        made: Arc::default(),
        given_up: Arc::default(),
    };
    let mut walk = Walk::new(plan);
    let mut running: JoinSet<(usize, f64, Result<String, StepError>)> = JoinSet::new();
    loop {
        while walk.failure.is_none() && !interrupt.is_requested() && !guard.is_lost() && running.len() < PARALLEL {
            let Some(position) = walk.next() else { break };
            let run = run.clone();
            running.spawn(async move {
                let (plan, begun) = (run.plan.clone(), Instant::now());
                let answer = carry_out(&run, &plan.steps[position]).await;
                (position, begun.elapsed().as_secs_f64(), answer)
            });
        }
        let Some(ended) = running.join_next().await else { break };
        match ended {
            Ok((position, _, Ok(_))) => walk.finish(position),
            Ok((_, _, Err(StepError::Interrupted | StepError::GivenUp))) => {}
            Ok((position, seconds, Err(error))) => match ladder::attempt(plan, &plan.steps[position], &error, seconds) {
                Some(attempt) => walk.shorts.push((position, attempt, error)),
                None => walk.fail(position, error),
            },
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    let all = plan.steps.len();
    let done = walk.done;
    let is_short = walk.failure.is_none() && !walk.shorts.is_empty() && !guard.is_lost();
    if !is_short {
        walk.report_skipped(plan, events);
    }
    match walk.failure {
        None if is_short => {
            let shorts = shorts(&run, walk.shorts, on_failure).await;
            let made = run.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Err(ApplyError::NoRoom { shorts, made, done, all })
        }
        Some((position, source @ StepError::Displaced { .. })) => {
            let made = run.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Err(ApplyError::Displaced { address: plan.steps[position].address.clone(), source, made, done, all })
        }
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

/// Collects what there is about launches without room. A refused call left nothing to look at; it is kept all the same when
/// nothing else can be tried.
async fn shorts(run: &Run, found: Vec<(usize, Attempt, StepError)>, on_failure: &OnFailure) -> Vec<Short> {
    let mut shorts = Vec::new();
    for (position, attempt, source) in found {
        let (step, source) = (&run.plan.steps[position], run.settled(source));
        let is_over = attempt.rung.0 == attempt.rung.1 && attempt.had == 0;
        let after = if is_over || matches!(source, StepError::Ended { .. }) {
            evidence::after(run, step, &source, on_failure).await
        } else {
            Aftermath::default()
        };
        shorts.push(Short { address: step.address.clone(), attempt, source, after: Box::new(after) });
    }
    shorts
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
    /// Steps that EC2 had no room for.
    shorts: Vec<(usize, Attempt, StepError)>,
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
        Self { waiting, followers, ready, heights, begun, done: 0, failure: None, shorts: Vec::new() }
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

//! Faults on request: which call meets which trouble, by rules, with chance that can be repeated.
//!
//! It holds rules, counts how often each was asked and struck, and remembers the calls. It knows neither the model nor
//! the network, reads no clock and draws from a seed alone: the same rules asked the same questions strike the same.
//! Whoever carries out a call asks at the [`Stage`] it is at and does what the answer says.

mod buckets;
mod dice;
mod journal;
mod rule;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use buckets::{Bucket, Size};
pub use journal::Entry;
use journal::Journal;
pub use rule::{Fault, Market, Plan, PlanError, Quota, Rule, Seconds, Service, Stage, When, fits};

tokio::task_local! {
    /// The call that the running task carries out.
    static TICKET: Ticket;
}

/// A call under way, as the journal knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    entry: u64,
    ordinal: Option<u64>,
}

impl Ticket {
    /// Runs the work so that whatever strikes in it is noted at this call.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        TICKET.scope(self, work).await
    }

    fn current() -> Option<Self> {
        TICKET.try_with(|ticket| *ticket).ok()
    }
}

/// What is known of a call, or of an instance, that rules may be about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub service: &'static str,
    pub action: String,
    pub instance_type: Option<String>,
    pub zone: Option<String>,
    pub market: Option<Market>,
    /// Ids, names, and whatever else the call says.
    pub resources: Vec<String>,
}

impl Rule {
    /// Whether the rule is about a call of which this is known. What a rule asks for and nobody knows does not fit.
    fn is_about(&self, facts: &Facts) -> bool {
        let text = |wanted: &Option<String>, known: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| known.as_ref().is_some_and(|known| fits(wanted, known)))
        };
        self.service.is_none_or(|service| service.name() == facts.service)
            && self.action.as_ref().is_none_or(|action| fits(action, &facts.action))
            && text(&self.when.instance_type, &facts.instance_type)
            && text(&self.when.zone, &facts.zone)
            && self.when.market.is_none_or(|market| facts.market == Some(market))
            && self.when.resource.as_ref().is_none_or(|wanted| facts.resources.iter().any(|known| fits(wanted, known)))
    }
}

/// A rule and what came of it so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    #[serde(flatten)]
    pub rule: Rule,
    /// Calls that it was about.
    pub asked: u64,
    /// Those at which it struck.
    pub struck: u64,
}

/// The rules at work.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    plan: Plan,
    /// By rule id.
    memories: BTreeMap<String, Memory>,
    ordinal: u64,
    journal: Journal,
    /// What is kept from view or from use until some moment, by kind and key.
    held: BTreeMap<(Hold, String), Duration>,
}

/// What a rule remembers.
#[derive(Debug, Default)]
struct Memory {
    asked: u64,
    struck: u64,
    /// Instances that were given out.
    given: u64,
    /// When a name was first heard.
    first: BTreeMap<String, Duration>,
    buckets: BTreeMap<String, Bucket>,
}

/// Why something is kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// An image's name, after the image is gone.
    ImageName,
    /// An instance's network interface, after the instance is gone.
    Interface,
    /// A command's invocations, after the command was sent.
    Command,
}

impl Inner {
    /// Asks one rule; answers whether it strikes. Only a rule that is about the call counts it.
    fn ask(&mut self, at: usize, facts: &Facts) -> bool {
        let rule = &self.plan.rules[at];
        if !rule.is_about(facts) {
            return false;
        }
        let memory = self.memories.entry(rule.id.clone()).or_default();
        memory.asked += 1;
        let ordinal = Ticket::current().and_then(|ticket| ticket.ordinal);
        rule.when.nth_mutating.is_none_or(|wanted| ordinal == Some(wanted))
            && memory.asked > rule.when.after_calls.unwrap_or(0)
            && rule.count.is_none_or(|count| memory.struck < count)
            && rule.probability.is_none_or(|chance| dice::fraction(self.plan.seed, &rule.id, memory.asked) < chance.into())
    }

    /// Notes that a rule struck, at the call under way if there is one.
    fn strike(&mut self, at: usize) -> Fault {
        let Rule { id, fault, .. } = &self.plan.rules[at];
        self.memories.entry(id.clone()).or_default().struck += 1;
        if let Some(entry) = Ticket::current().and_then(|ticket| self.journal.entry(ticket.entry)) {
            entry.rules.push(id.clone());
            entry.faults.push(fault.name());
        }
        fault.clone()
    }

    /// The places of the rules of a stage.
    fn at(&self, stage: Stage) -> Vec<usize> {
        (0..self.plan.rules.len()).filter(|at| self.plan.rules[*at].fault.stage() == stage).collect()
    }
}

impl Faults {
    /// Puts rules to work; their ids are all different.
    pub fn new(plan: Plan) -> Self {
        Self { inner: Mutex::new(Inner { plan, ..Inner::default() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn plan(&self) -> Plan {
        self.inner().plan.clone()
    }

    /// Replaces all rules. Counts, journal and ordinals begin anew.
    pub fn set(&self, plan: Plan) {
        let mut inner = self.inner();
        // A call under way must not be taken for a later one: its number stays its own.
        let mut journal = std::mem::take(&mut inner.journal);
        journal.clear();
        *inner = Inner { plan, journal, ..Inner::default() };
    }

    /// Adds a rule, or puts it in the place of the one with its id; answers the id. Other rules go on as they were.
    pub fn add(&self, rule: Rule) -> Result<String, PlanError> {
        let mut inner = self.inner();
        let mut plan = inner.plan.clone();
        let place = match plan.rules.iter().position(|other| !rule.id.is_empty() && other.id == rule.id) {
            Some(place) => {
                inner.memories.remove(&rule.id);
                plan.rules[place] = rule;
                place
            }
            None => {
                plan.rules.push(rule);
                plan.rules.len() - 1
            }
        };
        plan.name_rules()?;
        let id = plan.rules[place].id.clone();
        inner.plan = plan;
        Ok(id)
    }

    pub fn remove(&self, id: &str) -> Result<(), PlanError> {
        let mut inner = self.inner();
        let before = inner.plan.rules.len();
        inner.plan.rules.retain(|rule| rule.id != id);
        inner.memories.remove(id);
        if inner.plan.rules.len() == before { Err(PlanError::Unknown(id.to_owned())) } else { Ok(()) }
    }

    /// Every rule with its counts, in order.
    pub fn told(&self) -> Vec<Told> {
        let inner = self.inner();
        let counts = |id: &str| inner.memories.get(id).map_or((0, 0), |memory| (memory.asked, memory.struck));
        let told = |rule: &Rule| {
            let (asked, struck) = counts(&rule.id);
            Told { rule: rule.clone(), asked, struck }
        };
        inner.plan.rules.iter().map(told).collect()
    }

    /// The newest entries of the journal, and how many calls have changed something.
    pub fn journal(&self, most: usize) -> (Vec<Entry>, u64) {
        let inner = self.inner();
        (inner.journal.last(most).cloned().collect(), inner.ordinal)
    }

    /// Whether any rule is of this stage: what a question needs may be dear to find out.
    pub fn has(&self, stage: Stage) -> bool {
        !self.inner().at(stage).is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.inner().plan.rules.is_empty()
    }

    /// Enters a call; one that changes something gets the next ordinal.
    pub fn arrive(&self, service: &str, action: &str, mutating: bool, time: Timestamp) -> Ticket {
        let mut inner = self.inner();
        inner.ordinal += u64::from(mutating);
        let ordinal = mutating.then_some(inner.ordinal);
        let (service, action) = (service.to_owned(), action.to_owned());
        let entry = Entry { ordinal, time, service, action, code: None, rules: Vec::new(), faults: Vec::new() };
        Ticket { entry: inner.journal.add(entry), ordinal }
    }

    /// Notes how a call ended, if it began. A call that only reads and met nothing is forgotten.
    pub fn finish(&self, ticket: Ticket, code: Option<&str>) {
        let mut inner = self.inner();
        let Some(entry) = inner.journal.entry(ticket.entry) else { return };
        entry.code = code.map(str::to_owned);
        if entry.ordinal.is_none() && entry.rules.is_empty() {
            inner.journal.forget(ticket.entry);
        }
    }

    /// The first rule of the stage that strikes.
    pub fn strike(&self, stage: Stage, facts: &Facts) -> Option<Fault> {
        let mut inner = self.inner();
        let at = inner.at(stage).into_iter().find(|at| inner.ask(*at, facts))?;
        Some(inner.strike(at))
    }

    /// Every rule of the stage that strikes, in order.
    pub fn strikes(&self, stage: Stage, facts: &Facts) -> Vec<Fault> {
        let mut inner = self.inner();
        let mut struck = Vec::new();
        for at in inner.at(stage) {
            if inner.ask(at, facts) {
                struck.push(inner.strike(at));
            }
        }
        struck
    }

    /// What stands before a call: a delay, and what ends it afterwards.
    pub fn before(&self, facts: &Facts) -> (Duration, Option<Fault>) {
        let mut inner = self.inner();
        let mut delay = Duration::ZERO;
        for at in inner.at(Stage::Before) {
            if !inner.ask(at, facts) {
                continue;
            }
            match inner.strike(at) {
                Fault::Delay { seconds } => delay += seconds.duration(),
                fault => return (delay, Some(fault)),
            }
        }
        (delay, None)
    }

    /// Whether the call is one too many. `broad`: neither filtered nor paginated; `instances`: how many it is about.
    pub fn is_throttled(&self, facts: &Facts, broad: bool, instances: u64, now: Duration) -> bool {
        let mut inner = self.inner();
        for at in inner.at(Stage::Throttle) {
            if !inner.ask(at, facts) {
                continue;
            }
            let Rule { id, fault: Fault::Throttle { scale }, .. } = &inner.plan.rules[at] else { continue };
            let (id, scale) = (id.clone(), scale.map_or(1.0, f64::from));
            let memory = inner.memories.entry(id).or_default();
            let mut is_short = false;
            for charge in buckets::charges(facts.service, &facts.action, broad, instances) {
                let size = Size { capacity: charge.size.capacity * scale, refill: charge.size.refill * scale };
                let bucket = memory.buckets.entry(charge.bucket).or_insert_with(|| Bucket::new(size, now));
                is_short |= !bucket.take(charge.tokens, now);
            }
            if is_short {
                inner.strike(at);
                return true;
            }
        }
        false
    }

    /// How many of `most` instances there is room for; None if there are fewer than `least`.
    pub fn capacity(&self, facts: &Facts, least: u64, most: u64) -> Option<u64> {
        let mut inner = self.inner();
        let asked: Vec<usize> = inner.at(Stage::Capacity).into_iter().filter(|at| inner.ask(*at, facts)).collect();
        let mut granted = most;
        let mut short = None;
        for at in &asked {
            let Rule { id, fault: Fault::Capacity { left }, .. } = &inner.plan.rules[*at] else { continue };
            let room = left.saturating_sub(inner.memories.get(id).map_or(0, |memory| memory.given));
            if room < granted {
                (granted, short) = (room, Some(*at));
            }
        }
        if let Some(at) = short {
            inner.strike(at);
        }
        if granted < least {
            return None;
        }
        for at in asked {
            let id = inner.plan.rules[at].id.clone();
            inner.memories.entry(id).or_default().given += granted;
        }
        Some(granted)
    }

    /// The limits that hold for a call. Whoever finds one exceeded says so by [`Faults::exceeded`].
    pub fn quotas(&self, facts: &Facts) -> Vec<(usize, When, Quota)> {
        let mut inner = self.inner();
        let asked: Vec<usize> = inner.at(Stage::Quota).into_iter().filter(|at| inner.ask(*at, facts)).collect();
        let quota = |at: usize| match &inner.plan.rules[at] {
            Rule { when, fault: Fault::Quota(quota), .. } => Some((at, when.clone(), quota.clone())),
            _ => None,
        };
        asked.into_iter().filter_map(quota).collect()
    }

    /// Notes that the limits of the rule at this place were exceeded.
    pub fn exceeded(&self, at: usize) {
        let mut inner = self.inner();
        if at < inner.plan.rules.len() {
            inner.strike(at);
        }
    }

    /// Whether a name is too new to be known: it was first heard less than a rule's time ago.
    pub fn is_too_new(&self, facts: &Facts, name: &str, now: Duration) -> bool {
        let mut inner = self.inner();
        for at in inner.at(Stage::Profile) {
            if !inner.ask(at, facts) {
                continue;
            }
            let Rule { id, fault: Fault::ProfileLag { seconds }, .. } = &inner.plan.rules[at] else { continue };
            let (id, lag) = (id.clone(), seconds.duration());
            let first = *inner.memories.entry(id).or_default().first.entry(name.to_owned()).or_insert(now);
            if now.saturating_sub(first) < lag {
                inner.strike(at);
                return true;
            }
        }
        false
    }

    /// How old the replica is that answers a call, and the place of the rule that says so.
    pub fn lag(&self, facts: &Facts) -> Option<(Duration, usize)> {
        let mut inner = self.inner();
        let at = inner.at(Stage::Lag).into_iter().find(|at| inner.ask(*at, facts))?;
        let Rule { id, fault: Fault::Lag { seconds }, .. } = &inner.plan.rules[at] else { return None };
        let asked = inner.memories.get(id).map_or(0, |memory| memory.asked);
        // Another name, so that the draw is not the one that decided whether the rule strikes.
        let fraction = dice::fraction(inner.plan.seed, &format!("{id}/age"), asked);
        Some((seconds.duration().mul_f64(fraction), at))
    }

    /// The greatest age that a replica may have; None without lag.
    pub fn greatest_lag(&self) -> Option<Duration> {
        let inner = self.inner();
        let lags = inner.plan.rules.iter().filter_map(|rule| match &rule.fault {
            Fault::Lag { seconds } => Some(seconds.duration()),
            _ => None,
        });
        lags.max()
    }

    /// Keeps something back until then.
    pub fn hold(&self, kind: Hold, key: &str, until: Duration) {
        self.inner().held.insert((kind, key.to_owned()), until);
    }

    /// Whether something is kept back.
    pub fn holds(&self, kind: Hold, key: &str, now: Duration) -> bool {
        let mut inner = self.inner();
        if inner.held.is_empty() {
            return false;
        }
        inner.held.retain(|_, until| *until > now);
        inner.held.contains_key(&(kind, key.to_owned()))
    }
}

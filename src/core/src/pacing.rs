//! When a launch may be sent: EC2 counts requests and instances in token buckets, and refuses what finds them empty.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Action, IDS_PER_CALL, Step};

/// Tokens that come back with time, up to a capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bucket {
    pub capacity: u64,
    /// Tokens that come back in a second.
    pub refill: u64,
}

/// The two buckets of an action: a token for each request, and one for each instance it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    pub requests: Bucket,
    pub instances: Bucket,
}

/// How fast EC2 lets an account launch, start and end instances in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    pub launch: Rate,
    pub start: Rate,
    pub end: Rate,
}

impl Default for Limits {
    /// EC2's own, which every account has unless AWS raised them (ec2.md 3.1).
    fn default() -> Self {
        let bucket = |capacity, refill| Bucket { capacity, refill };
        let launch = Rate { requests: bucket(5, 2), instances: bucket(1000, 2) };
        Self { launch, start: launch, end: Rate { requests: bucket(100, 5), instances: bucket(1000, 20) } }
    }
}

/// A bucket in use; time is handed in, as a distance from any fixed moment.
#[derive(Debug, Clone)]
struct Level {
    bucket: Bucket,
    /// Thousandths of a token that it held at `at`.
    milli: u64,
    at: Duration,
}

impl Level {
    fn full(bucket: Bucket) -> Self {
        Self { bucket, milli: bucket.capacity * 1000, at: Duration::ZERO }
    }

    /// When it holds so many tokens, at the earliest; a bucket that is too small for them is waited for until it is full.
    fn ready(&self, tokens: u64) -> Duration {
        let lacking = (tokens.min(self.bucket.capacity) * 1000).saturating_sub(self.milli);
        self.at + Duration::from_millis(lacking.div_ceil(self.bucket.refill.max(1)))
    }

    fn take(&mut self, tokens: u64, now: Duration) {
        let back = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX).saturating_mul(self.bucket.refill);
        let held = self.milli.saturating_add(back).min(self.bucket.capacity * 1000);
        (self.milli, self.at) = (held.saturating_sub(tokens * 1000), now.max(self.at));
    }
}

/// Both buckets of an action in use.
#[derive(Debug, Clone)]
pub struct Meter {
    requests: Level,
    instances: Level,
}

impl Meter {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        Self { requests: Level::full(rate.requests), instances: Level::full(rate.instances) }
    }

    /// Takes what a call about so many instances costs; answers when it may be sent, `now` or later. Calls are served in
    /// the order in which they ask.
    pub fn reserve(&mut self, instances: usize, now: Duration) -> Duration {
        let instances = instances as u64;
        let start = now.max(self.requests.ready(1)).max(self.instances.ready(instances));
        self.requests.take(1, start);
        self.instances.take(instances, start);
        start
    }

    /// Puts back what instances cost that were not launched after all.
    pub fn give_back(&mut self, instances: usize) {
        let level = &mut self.instances;
        level.milli = (level.milli + instances as u64 * 1000).min(level.bucket.capacity * 1000);
    }
}

/// Answers when each of these calls may be sent, in this order, from full buckets; each is about so many instances.
pub fn schedule(calls: &[usize], rate: Rate) -> Vec<Duration> {
    let mut meter = Meter::new(rate);
    calls.iter().map(|instances| meter.reserve(*instances, Duration::ZERO)).collect()
}

/// What is sent later than the rest, because EC2 would refuse it earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paced {
    /// What is done to the nodes.
    pub deed: Deed,
    pub nodes: usize,
    /// How many of them without a wait worth telling.
    pub now: usize,
    /// How long it takes until the last call may be sent, in seconds.
    pub seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    Launch,
    Start,
    End,
}

impl std::fmt::Display for Paced {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let deed = match self.deed {
            Deed::Launch => "launched",
            Deed::Start => "started",
            Deed::End => "ended",
        };
        let Self { nodes, now, seconds, .. } = self;
        write!(formatter, "{nodes} nodes are {deed} as fast as EC2 allows: {now} now, the rest over {seconds} s")
    }
}

/// A wait below this is not worth telling: a call itself takes as long.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// Tells which of the steps have to wait for EC2's buckets.
pub fn of(steps: &[Step], limits: &Limits) -> Vec<Paced> {
    let (mut launches, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match &step.action {
            Action::Launch(launch) => launches.push(launch.indexes.len()),
            Action::Start { ids } => starts.push(ids.len()),
            Action::ChangeStopped { nodes } => starts.push(nodes.len()),
            Action::Terminate { ids } => ends.extend(ids.chunks(IDS_PER_CALL).map(<[String]>::len)),
            _ => {}
        }
    }
    let deeds = [(Deed::Launch, launches, limits.launch), (Deed::Start, starts, limits.start), (Deed::End, ends, limits.end)];
    deeds.into_iter().filter_map(|(deed, calls, rate)| paced(deed, &calls, rate)).collect()
}

fn paced(deed: Deed, calls: &[usize], rate: Rate) -> Option<Paced> {
    let starts = schedule(calls, rate);
    let last = *starts.last()?;
    if last < WORTH_TELLING {
        return None;
    }
    let now = calls.iter().zip(&starts).filter(|(_, start)| **start < WORTH_TELLING).map(|(number, _)| number).sum();
    Some(Paced { deed, nodes: calls.iter().sum(), now, seconds: last.as_millis().div_ceil(1000) as u64 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;

    fn seconds(starts: &[Duration]) -> Vec<f64> {
        starts.iter().map(Duration::as_secs_f64).collect()
    }

    #[test]
    fn a_thousand_instances_go_at_once_and_the_rest_at_two_a_second() {
        let launch = Limits::default().launch;
        assert_eq!(seconds(&schedule(&[1000, 500], launch)), [0.0, 250.0]);
        assert_eq!(seconds(&schedule(&[1, 1000, 1000], launch)), [0.0, 0.5, 500.5]);
        let told = paced(Deed::Launch, &[1000, 500], launch).unwrap().to_string();
        assert_eq!(told, "1500 nodes are launched as fast as EC2 allows: 1000 now, the rest over 250 s");
        assert_eq!(paced(Deed::Launch, &[1, 1000], launch), None, "half a second is not told");
    }

    #[test]
    fn nodes_that_are_stopped_to_be_changed_count_as_starts() {
        let nodes = |number: usize| vec![crate::plan::StoppedChange { id: "i-1".into(), changes: Vec::new() }; number];
        let step =
            |number| Step { address: Address::Mesh, after: Vec::new(), action: Action::ChangeStopped { nodes: nodes(number) } };
        let told: Vec<String> = of(&[step(1000), step(500)], &Limits::default()).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["1500 nodes are started as fast as EC2 allows: 1000 now, the rest over 250 s"]);
    }

    #[test]
    fn a_hundred_calls_of_one_node_each_take_48_seconds() {
        let starts = schedule(&[1; 100], Limits::default().launch);
        assert_eq!(starts.iter().filter(|start| start.is_zero()).count(), 5);
        assert_eq!(starts[99], Duration::from_millis(47_500));
    }

    /// What a bucket of EC2's would hold, in thousandths of a token.
    struct Judge {
        bucket: Bucket,
        milli: u64,
        at: Duration,
    }

    impl Judge {
        fn new(bucket: Bucket) -> Self {
            Self { bucket, milli: bucket.capacity * 1000, at: Duration::ZERO }
        }

        fn take(&mut self, tokens: u64, now: Duration) -> bool {
            let back = (now - self.at).as_millis() as u64 * self.bucket.refill;
            (self.milli, self.at) = ((self.milli + back).min(self.bucket.capacity * 1000), now);
            let Some(left) = self.milli.checked_sub(tokens * 1000) else { return false };
            self.milli = left;
            true
        }
    }

    proptest! {
        #[test]
        fn no_call_finds_a_bucket_empty_and_none_waits_without_need(
            calls in prop::collection::vec(1_usize..30, 1..40),
            (capacity, refill) in (30_u64..60, 1_u64..9),
            (bursts, steady) in (1_u64..6, 1_u64..6),
        ) {
            let rate = Rate { requests: Bucket { capacity: bursts, refill: steady }, instances: Bucket { capacity, refill } };
            let starts = schedule(&calls, rate);
            prop_assert!(starts.is_sorted());
            let judge = |starts: &[Duration]| {
                let (mut requests, mut instances) = (Judge::new(rate.requests), Judge::new(rate.instances));
                calls.iter().zip(starts).all(|(number, start)| requests.take(1, *start) && instances.take(*number as u64, *start))
            };
            prop_assert!(judge(&starts));
            for position in 0..calls.len() {
                let mut earlier = starts.clone();
                let before = if position == 0 { Duration::ZERO } else { starts[position - 1] };
                let Some(sooner) = starts[position].checked_sub(Duration::from_millis(1)).filter(|sooner| *sooner >= before) else {
                    continue;
                };
                earlier[position] = sooner;
                prop_assert!(!judge(&earlier), "call {position} could have been sent earlier");
            }
        }
    }
}

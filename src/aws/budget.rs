//! EC2's limits on launching, starting and ending instances, kept as budgets on this side: a call that would be refused
//! is sent later instead (ec2.md 3.1, 3.2).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ewulf_core::pacing::{Bucket, Deed, Limits, Meter};

/// Variable that names the instances that may be launched at once and in every second after, where AWS raised them.
const LAUNCH_LIMIT: &str = "EWULF_LAUNCH_LIMIT";

/// How much later than the figures say a call is sent that has to wait: the call before it may have been longer on its way,
/// and one that arrives a millisecond early is refused.
const MARGIN: Duration = Duration::from_millis(250);

/// What an account may still do at this moment, as far as this process knows.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    begun: Instant,
    launch: Mutex<Meter>,
    start: Mutex<Meter>,
    end: Mutex<Meter>,
}

/// A limit that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{LAUNCH_LIMIT}={0} is not a limit")]
pub struct NotALimit(String);

impl Budget {
    /// Full budgets.
    pub fn new(limits: Limits) -> Self {
        let meter = |rate| Mutex::new(Meter::new(rate));
        let (launch, start, end) = (meter(limits.launch), meter(limits.start), meter(limits.end));
        Self { limits, begun: Instant::now(), launch, start, end }
    }

    /// EC2's own limits, or what the environment says of launches: `2000/5` is 2,000 at once and 5 a second after.
    pub fn from_environment() -> Result<Self, NotALimit> {
        let mut limits = Limits::default();
        if let Some(text) = std::env::var_os(LAUNCH_LIMIT) {
            limits.launch.instances = parse(&text.to_string_lossy())?;
        }
        Ok(Self::new(limits))
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes what a call about so many instances costs; answers how long it must wait before it is sent.
    pub fn reserve(&self, deed: Deed, instances: usize) -> Duration {
        let now = self.begun.elapsed();
        let start = self.meter(deed).lock().unwrap_or_else(PoisonError::into_inner).reserve(instances, now);
        if start > now { start - now + MARGIN } else { Duration::ZERO }
    }

    /// Puts back what instances cost that EC2 did not launch.
    pub fn give_back(&self, deed: Deed, instances: usize) {
        self.meter(deed).lock().unwrap_or_else(PoisonError::into_inner).give_back(instances);
    }

    fn meter(&self, deed: Deed) -> &Mutex<Meter> {
        match deed {
            Deed::Launch => &self.launch,
            Deed::Start => &self.start,
            Deed::End => &self.end,
        }
    }
}

fn parse(text: &str) -> Result<Bucket, NotALimit> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0).map(u64::from);
    let bucket =
        text.split_once('/').and_then(|(capacity, refill)| Some(Bucket { capacity: number(capacity)?, refill: number(refill)? }));
    bucket.ok_or_else(|| NotALimit(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_waited_for_and_what_was_not_launched_is_put_back() {
        let budget = Budget::new(Limits::default());
        assert_eq!(budget.reserve(Deed::Launch, 1000), Duration::ZERO);
        let wait = budget.reserve(Deed::Launch, 500).as_secs_f64();
        assert!((249.5..=250.25).contains(&wait), "{wait}");
        assert_eq!(budget.reserve(Deed::End, 1000), Duration::ZERO, "ending has a budget of its own");

        let budget = Budget::new(Limits::default());
        budget.reserve(Deed::Launch, 1000);
        budget.give_back(Deed::Launch, 1000);
        assert_eq!(budget.reserve(Deed::Launch, 1000), Duration::ZERO);
    }

    #[test]
    fn a_limit_is_two_numbers() {
        assert_eq!(parse("2000/5"), Ok(Bucket { capacity: 2000, refill: 5 }));
        for wrong in ["", "2000", "2000/", "0/2", "5/0", "-1/2", "a/b"] {
            assert_eq!(parse(wrong), Err(NotALimit(wrong.to_owned())), "{wrong}");
        }
    }
}

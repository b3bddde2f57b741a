//! Waiting and repeating: one backoff for every poller, one rule for which failures are repeated.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::passing::passes_within;
use super::{CallError, Class, Handling};

/// A growing pause between polls, within a budget of time.
#[derive(Debug, Clone)]
pub struct Backoff {
    pause: Duration,
    ceiling: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Starts with `first`, doubles up to `ceiling`, and is spent after `budget`.
    pub fn new(first: Duration, ceiling: Duration, budget: Duration) -> Self {
        Self { pause: first, ceiling, deadline: Instant::now() + budget }
    }

    /// For states that change within seconds: quick at first, then 5 s as EC2's guides advise for polling.
    pub fn polling(budget: Duration) -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5), budget)
    }

    /// Sleeps the next pause; false when the budget is spent.
    pub async fn pause(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        sleep(self.pause.min(self.deadline - now)).await;
        self.pause = (self.pause * 2).min(self.ceiling);
        true
    }
}

/// Longest time for which an endpoint that does not answer at all is asked again: a network that comes back does so
/// within it, and one that does not should be told soon.
const UNREACHABLE: Duration = Duration::from_secs(60);

/// Repeats `call` while it fails with one of `classes` and the budget lasts; what is always repeated counts as well, and
/// failures that pass by themselves have budgets of their own.
pub async fn retry<T, F>(budget: Duration, classes: &[Class], mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let begun = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let budget = match error.class {
            class if class.handling() == Handling::Repeat => budget,
            Class::Unreachable if classes.contains(&Class::Unreachable) => budget.min(UNREACHABLE),
            class if classes.contains(&class) => budget,
            _ => passes_within(&error).unwrap_or(Duration::ZERO),
        };
        let left = budget.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(error);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

//! Waiting and repeating: one backoff for every poller, one rule for which failures are repeated.

use std::time::Duration;

use tokio::time::{Instant, sleep};

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

/// Repeats `call` while it fails with one of `classes`, or with one that is always repeated, and the budget lasts.
pub async fn retry<T, F>(budget: Duration, classes: &[Class], mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10), budget);
    loop {
        match call().await {
            Err(error) if classes.contains(&error.class) || error.class.handling() == Handling::Repeat => {
                if !backoff.pause().await {
                    return Err(error);
                }
            }
            answer => return answer,
        }
    }
}

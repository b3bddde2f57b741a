//! Waiting that can be cut short: for EC2's limits, and for room.

use std::time::Duration;

use ewulf_core::address::Role;
use ewulf_core::pacing::Deed;
use tokio::time::{Instant, sleep_until};

use super::actions::count;
use super::{Run, StepError};
use crate::events::Work;

/// Between two looks at how far a wait is, and whether it still has a point.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until EC2's limits allow a call about so many instances, as long as the call has a point.
pub async fn pace(run: &Run, deed: Deed, instances: usize, role: Option<&Role>, work: &Work) -> Result<(), StepError> {
    let wait = run.cloud.budget.reserve(deed, instances);
    if wait.is_zero() {
        return Ok(());
    }
    let seconds = wait.as_secs_f64().ceil();
    if wait >= LOOK {
        work.waiting(format!("{} must wait {seconds} s for EC2's limits", count(instances, "node")));
    }
    let waited = sleep(run, wait, role, Some(work)).await;
    if waited.is_err() {
        run.cloud.budget.give_back(deed, instances);
    }
    waited
}

/// Sleeps, unless what follows has no point any more; tells how far it is, if asked to.
pub async fn sleep(run: &Run, pause: Duration, role: Option<&Role>, work: Option<&Work>) -> Result<(), StepError> {
    let begun = Instant::now();
    let end = begun + pause;
    loop {
        run.is_over(role)?;
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        if let Some(work) = work.filter(|_| pause >= LOOK) {
            work.progress((now - begun).as_secs(), pause.as_secs_f64().ceil() as u64, "s");
        }
        tokio::select! {
            () = sleep_until(end.min(now + LOOK)) => {}
            () = run.interrupt.requested() => {}
        }
    }
}

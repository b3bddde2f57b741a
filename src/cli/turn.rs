//! Waiting for one's turn at a cluster that somebody else is changing.

use std::time::{Duration, Instant};

use ewulf_core::names::ClusterName;
use ewulf_core::quantity;

use super::failure::Failure;
use super::session::Session;
use crate::apply::{Lock, LockError};
use crate::aws::Cloud;
use crate::ui::text;

/// Between two looks at whether the cluster is free; each is two calls to Parameter Store.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Whether a verb that changes a cluster waits for one that is at it already.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TurnOptions {
    /// How long to wait while somebody else changes the cluster, as 90s, 10m or 1h; without it, that is refused at once
    #[arg(long, value_name = "DURATION")]
    wait: Option<quantity::Duration>,
}

impl TurnOptions {
    /// Takes the cluster's lock, at once or as soon as it is free within the time to wait.
    pub async fn lock(self, session: &Session, cloud: &Cloud, cluster: &ClusterName, doing: &str) -> Result<Lock, Failure> {
        let begun = Instant::now();
        let patience = self.wait.map(quantity::Duration::as_std).unwrap_or_default();
        let mut told = None;
        loop {
            let error = match Lock::acquire(cloud, cluster, doing).await {
                Ok(lock) => return Ok(lock),
                Err(error) => error,
            };
            let LockError::Held { holder, .. } = &error else { return Err(error.into()) };
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let failure = Failure::from(error);
                return Err(if self.wait.is_none() { failure.hint("`--wait 10m` waits for your turn") } else { failure });
            }
            // One who follows another is told anew.
            let key = (holder.host.clone(), holder.process, holder.since);
            if told.as_ref() != Some(&key) {
                session.screen.tell(&format!("{error}; waiting for up to {} more", text::duration(left)));
                told = Some(key);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKS_EVERY.min(left)) => {}
                () = session.interrupt.requested() => return Err(Failure::interrupted("nothing was changed")),
            }
        }
    }
}

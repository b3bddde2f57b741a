//! The running cloud: configuration, driver and model, shared by every request.
//!
//! It owns the model's lock and says when the model changed; it may not decide anything about the model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Config;
use crate::faults::Faults;
use crate::imds::Listeners;
use crate::model;
use crate::node::Driver;
use crate::operations::ec2::{Replicas, Settling};
use crate::operations::ssm::Running;
use crate::store::Log;

/// All that a cloud knows; what is written to disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub ec2: model::ec2::Ec2,
    pub ssm: model::ssm::Ssm,
}

/// One local cloud at work.
pub struct Cloud {
    pub config: Config,
    pub driver: Arc<dyn Driver>,
    pub log: Log,
    /// Open metadata listeners, one a VPC.
    pub(crate) metadata: Listeners,
    /// SSM commands in flight.
    pub(crate) running: Running,
    /// Held while the state is written: one write at a time, the newest last.
    pub(crate) writing: Mutex<()>,
    /// What the driver is asked for on EC2's behalf.
    pub(crate) settling: Settling,
    /// Trouble on request.
    pub faults: Faults,
    /// EC2's model as it was a while ago, for readers that are to lag behind.
    pub(crate) replicas: Replicas,
    born: Instant,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Cloud {
    pub fn new(config: Config, driver: Arc<dyn Driver>, state: State, log: Log) -> Arc<Self> {
        Arc::new(Self {
            config,
            driver,
            log,
            metadata: Listeners::default(),
            running: Running::default(),
            writing: Mutex::new(()),
            settling: Settling::default(),
            faults: Faults::default(),
            replicas: Replicas::default(),
            born: Instant::now(),
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        })
    }

    /// Locks the model. Held briefly, never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one request must not take the cloud down; each change is applied as a whole by its operation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this cloud has been at work: a clock that never runs back.
    pub fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// Says that the model changed: it is written to disk within about 50 ms and whoever waits looks again.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Resolves `changed().await` at each later change of the model.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

//! What the driver is asked for after a call has changed the model.
//!
//! Deeds look at the model, not at the call: each brings the machine to where the model says it should be, and may be
//! repeated. So a server that starts again only has to ask for all of them once more.

mod image;
mod instance;
mod interruption;
mod network;
mod root;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::cloud::Cloud;
use crate::node::DriverError;

pub(super) use instance::{ended, node_boot, note_end};
pub(crate) use interruption::interrupt;
pub(super) use network::vpc_network;

/// One thing to bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The VPC's subnets or routes changed.
    Network(String),
    /// Rules or members of the VPC's groups changed.
    Firewall(String),
    RemoveNetwork(String),
    /// The instance is on its way to another state.
    Instance(String),
    Reboot(String),
    /// A spot instance is to be taken back at the time it was told.
    Interruption(String),
    /// The volume is to be made, deleted, attached or detached.
    Volume(String),
    Grow(String),
    Snapshot(String),
    /// A volume's snapshot is gone from the model.
    DeleteSnapshot(String),
    Image(String),
    /// The root of an instance is to be replaced.
    Root(String),
    /// Something went that layers or shares may have stood on.
    Sweep,
}

/// How many nodes boot at once: more would only wait for the same processor and disk.
const BOOTS_AT_ONCE: usize = 8;

/// Locks and limits of the deeds under way.
pub(crate) struct Settling {
    /// One lock for each resource that the driver is asked about.
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    boots: Semaphore,
    /// Bases that this server knows to be present.
    bases: Mutex<BTreeSet<String>>,
    /// VPCs whose network, and whose firewall, is older than the model.
    stale_networks: Mutex<BTreeSet<String>>,
    stale_firewalls: Mutex<BTreeSet<String>>,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            locks: Mutex::default(),
            boots: Semaphore::new(BOOTS_AT_ONCE),
            bases: Mutex::default(),
            stale_networks: Mutex::default(),
            stale_firewalls: Mutex::default(),
        }
    }
}

impl Settling {
    /// Waits until no one else asks the driver about this resource.
    pub(in crate::operations) async fn lock(&self, id: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(id.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Begins deeds; those that a client sees at once, rules and routes, are done when this returns.
pub(super) async fn begin(cloud: &Arc<Cloud>, deeds: Vec<Deed>) {
    for deed in &deeds {
        network::note(cloud, deed);
    }
    let mut prompt = Vec::new();
    for deed in deeds {
        if matches!(deed, Deed::Network(_) | Deed::Firewall(_)) {
            prompt.push(deed);
        } else {
            start(cloud, deed);
        }
    }
    if !prompt.is_empty() {
        // In a task of their own: a caller who hangs up must not cut them short.
        let cloud = Arc::clone(cloud);
        let done = tokio::spawn(async move {
            for deed in prompt {
                perform(&cloud, deed).await;
            }
        });
        // A panic in there is the task's; what it left stale stays noted for whoever comes next.
        let _ = done.await;
    }
}

/// Begins a deed without waiting for it.
fn start(cloud: &Arc<Cloud>, deed: Deed) {
    let cloud = Arc::clone(cloud);
    tokio::spawn(async move { perform(&cloud, deed).await });
}

async fn perform(cloud: &Arc<Cloud>, deed: Deed) {
    match deed {
        Deed::Network(vpc_id) | Deed::Firewall(vpc_id) => {
            let outcome = network::synchronise(cloud, &vpc_id, false).await;
            report(cloud, &format!("network of {vpc_id}"), outcome);
        }
        Deed::RemoveNetwork(vpc_id) => network::remove(cloud, &vpc_id).await,
        Deed::Instance(id) => instance::settle(cloud, &id).await,
        Deed::Reboot(id) => instance::reboot(cloud, &id).await,
        Deed::Interruption(id) => interruption::carry_out(cloud, &id).await,
        Deed::Volume(id) => storage::settle_volume(cloud, &id).await,
        Deed::Grow(id) => storage::grow(cloud, &id).await,
        Deed::Snapshot(id) => image::settle_snapshot(cloud, &id).await,
        Deed::DeleteSnapshot(id) => {
            let outcome = cloud.driver.delete_volume_snapshot(&id).await;
            report(cloud, &format!("deletion of {id}"), outcome);
        }
        Deed::Image(id) => image::settle_image(cloud, &id).await,
        Deed::Root(id) => root::replace(cloud, &id).await,
        Deed::Sweep => storage::sweep(cloud).await,
    }
}

/// Logs a failure with its causes; answers whether there was none.
fn report(cloud: &Cloud, what: &str, outcome: Result<(), DriverError>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) => {
            cloud.log.line(format!("{what} failed: {}", crate::store::chain(&error)));
            false
        }
    }
}

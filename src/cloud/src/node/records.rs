//! A driver without containers: every deed answers at once and leaves only a record.
//!
//! It serves callers that look at the model alone. It never claims that a command ran: a record has no inside. Blocks
//! that were written to a snapshot are kept, though, and so are volumes made of them: the API can read them back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::blocks::Blocks;
use super::{
    Answer, Disturbance, Driver, DriverError, NodeBoot, NodeCommand, NodeCommandResult, NodeDevice, NodeEvent, NodeFirewall,
    VpcNetwork,
};

/// The records; see [`Driver`].
#[derive(Debug)]
pub struct Records {
    inner: Mutex<Inner>,
    /// A record never ends by itself, but it can be ended.
    events: mpsc::UnboundedSender<NodeEvent>,
    /// Contents of volumes that came from blocks.
    volumes: PathBuf,
    blocks: Blocks,
}

#[derive(Debug, Default)]
struct Inner {
    /// Roots by instance, and whether the node is up.
    nodes: BTreeMap<String, bool>,
    layers: BTreeSet<String>,
    volumes: BTreeMap<String, u64>,
    snapshots: BTreeMap<String, u64>,
}

impl Records {
    /// Records with the contents of snapshots below this folder.
    pub fn new(state_dir: &Path) -> (Self, mpsc::UnboundedReceiver<NodeEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (volumes, blocks) = (state_dir.join("volumes"), Blocks::new(state_dir.join("snapshots")));
        (Self { inner: Mutex::default(), volumes, blocks, events: sender }, receiver)
    }

    fn volume_file(&self, volume_id: &str) -> PathBuf {
        self.volumes.join(format!("{volume_id}.img"))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ready<'a, T: Send + 'a>(answer: Result<T, DriverError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

/// Gives contents, if there are any, a further name: nothing writes to a record's volume or to a finished snapshot.
fn link(from: &Path, to: &Path) -> Result<(), DriverError> {
    let linked = to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::hard_link(from, to));
    match linked {
        Err(source) if ![ErrorKind::NotFound, ErrorKind::AlreadyExists].contains(&source.kind()) => {
            Err(DriverError::Io { what: format!("{} cannot be linked to {}", from.display(), to.display()), source })
        }
        _ => Ok(()),
    }
}

fn refused<'a, T: Send + 'a>(what: String) -> Answer<'a, T> {
    ready(Err(DriverError::State(what)))
}

impl Driver for Records {
    fn ensure_base<'a>(&'a self, _name: &'a str, _progress: mpsc::UnboundedSender<String>) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn set_network<'a>(&'a self, _network: &'a VpcNetwork) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn remove_network<'a>(&'a self, _vpc_id: &'a str) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn set_firewall<'a>(&'a self, _vpc_id: &'a str, _nodes: &'a [NodeFirewall]) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    /// Binds a free port on the host's loopback address instead, since a record's network has no inside either.
    fn listen<'a>(&'a self, vpc_id: &'a str, _address: Ipv4Addr, _port: u16) -> Answer<'a, std::net::TcpListener> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        ready(listener.map_err(|source| DriverError::Io { what: format!("network {vpc_id} cannot be listened in"), source }))
    }

    fn create_root<'a>(&'a self, instance_id: &'a str, _layers: &'a [String]) -> Answer<'a, ()> {
        self.inner().nodes.entry(instance_id.to_owned()).or_insert(false);
        ready(Ok(()))
    }

    fn freeze_layer<'a>(&'a self, _instance_id: &'a str, layer: &'a str) -> Answer<'a, ()> {
        // Whether it runs or not: a record has nothing that changes meanwhile.
        self.inner().layers.insert(layer.to_owned());
        ready(Ok(()))
    }

    fn delete_layer<'a>(&'a self, layer: &'a str) -> Answer<'a, ()> {
        self.inner().layers.remove(layer);
        ready(Ok(()))
    }

    fn boot<'a>(&'a self, node: &'a NodeBoot) -> Answer<'a, ()> {
        self.inner().nodes.insert(node.instance_id.clone(), true);
        ready(Ok(()))
    }

    fn stop<'a>(&'a self, instance_id: &'a str, _force: bool) -> Answer<'a, ()> {
        if let Some(up) = self.inner().nodes.get_mut(instance_id) {
            *up = false;
        }
        ready(Ok(()))
    }

    fn reboot<'a>(&'a self, _instance_id: &'a str) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn destroy<'a>(&'a self, instance_id: &'a str) -> Answer<'a, ()> {
        self.inner().nodes.remove(instance_id);
        ready(Ok(()))
    }

    fn delete_share<'a>(&'a self, _key: &'a str) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn create_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64, from_snapshot: Option<&'a str>) -> Answer<'a, ()> {
        self.inner().volumes.entry(volume_id.to_owned()).or_insert(gibibytes);
        let Some(snapshot_id) = from_snapshot else { return ready(Ok(())) };
        ready(link(&self.blocks.image(snapshot_id), &self.volume_file(volume_id)))
    }

    fn grow_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64) -> Answer<'a, ()> {
        self.inner().volumes.insert(volume_id.to_owned(), gibibytes);
        ready(Ok(()))
    }

    fn snapshot_volume<'a>(&'a self, volume_id: &'a str, snapshot_id: &'a str) -> Answer<'a, ()> {
        let mut inner = self.inner();
        let gibibytes = inner.volumes.get(volume_id).copied().unwrap_or_default();
        inner.snapshots.insert(snapshot_id.to_owned(), gibibytes);
        ready(link(&self.volume_file(volume_id), &self.blocks.image(snapshot_id)))
    }

    fn blocks(&self) -> Blocks {
        self.blocks.clone()
    }

    fn delete_volume<'a>(&'a self, volume_id: &'a str) -> Answer<'a, ()> {
        self.inner().volumes.remove(volume_id);
        match std::fs::remove_file(self.volume_file(volume_id)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                ready(Err(DriverError::Io { what: format!("volume {volume_id} cannot be deleted"), source }))
            }
            _ => ready(Ok(())),
        }
    }

    fn delete_volume_snapshot<'a>(&'a self, snapshot_id: &'a str) -> Answer<'a, ()> {
        self.inner().snapshots.remove(snapshot_id);
        let deleted = self.blocks.delete(snapshot_id);
        ready(deleted.map_err(|source| DriverError::Io { what: format!("snapshot {snapshot_id} cannot be deleted"), source }))
    }

    fn attach_volume<'a>(&'a self, _instance_id: &'a str, _device: &'a NodeDevice) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn detach_volume<'a>(&'a self, _instance_id: &'a str, _device: &'a NodeDevice) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn is_up<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool> {
        ready(Ok(self.inner().nodes.get(instance_id) == Some(&true)))
    }

    fn run<'a>(
        &'a self,
        instance_id: &'a str,
        _command: &'a NodeCommand,
        _limits: (usize, usize),
        _cancel: tokio::sync::oneshot::Receiver<()>,
    ) -> Answer<'a, NodeCommandResult> {
        refused(format!("node {instance_id} is a record without an inside; nothing can run in it"))
    }

    /// A record has no inside to be frozen or filled, and no network; it can only end.
    fn disturb<'a>(&'a self, instance_id: &'a str, disturbance: &'a Disturbance) -> Answer<'a, ()> {
        let powered_off = match disturbance {
            Disturbance::Kill => false,
            Disturbance::PowerOff => true,
            other => return refused(format!("node {instance_id} is a record without an inside; it cannot be {other}")),
        };
        match self.inner().nodes.get_mut(instance_id) {
            Some(up) if *up => *up = false,
            _ => return refused(format!("node {instance_id} does not run")),
        }
        // Without a receiver the cloud is gone, and so is whoever might care.
        let _ = self.events.send(NodeEvent::Ended { instance_id: instance_id.to_owned(), powered_off });
        ready(Ok(()))
    }

    fn console<'a>(&'a self, _instance_id: &'a str, _limit: usize) -> Answer<'a, Vec<u8>> {
        ready(Ok(Vec::new()))
    }

    /// A record is up again as it was: that it existed is all there is to it.
    fn adopt<'a>(&'a self, nodes: &'a [NodeBoot], _networks: &'a [VpcNetwork]) -> Answer<'a, Vec<String>> {
        let ids: Vec<String> = nodes.iter().map(|node| node.instance_id.clone()).collect();
        self.inner().nodes.extend(ids.iter().map(|id| (id.clone(), true)));
        ready(Ok(ids))
    }

    fn shut_down<'a>(&'a self) -> Answer<'a, ()> {
        self.inner().nodes.values_mut().for_each(|up| *up = false);
        ready(Ok(()))
    }
}

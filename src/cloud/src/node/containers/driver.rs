//! The driver's face: every call is done by [`Ground`] on a thread where it may block.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Containers, Ground};
use crate::node::blocks::Blocks;
use crate::node::{
    Answer, Disturbance, Driver, DriverError, NodeBoot, NodeCommand, NodeCommandResult, NodeDevice, NodeFirewall, VpcNetwork,
};

impl Containers {
    /// Does blocking work elsewhere; once begun it is finished, also when nobody waits for the answer any more.
    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Ground>) -> Result<T, DriverError> + Send + 'static,
    ) -> Answer<'_, T> {
        let ground = self.ground.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&ground)).await;
            done.unwrap_or_else(|error| Err(DriverError::State(format!("work on nodes was cut short: {error}"))))
        })
    }
}

impl Driver for Containers {
    fn ensure_base<'a>(&'a self, name: &'a str, progress: mpsc::UnboundedSender<String>) -> Answer<'a, ()> {
        let name = name.to_owned();
        self.work(move |ground| ground.ensure_base(&name, &progress))
    }

    fn set_network<'a>(&'a self, network: &'a VpcNetwork) -> Answer<'a, ()> {
        let network = network.clone();
        self.work(move |ground| ground.set_network(&network))
    }

    fn remove_network<'a>(&'a self, vpc_id: &'a str) -> Answer<'a, ()> {
        let vpc_id = vpc_id.to_owned();
        self.work(move |ground| ground.remove_network(&vpc_id))
    }

    fn set_firewall<'a>(&'a self, vpc_id: &'a str, nodes: &'a [NodeFirewall]) -> Answer<'a, ()> {
        let (vpc_id, nodes) = (vpc_id.to_owned(), nodes.to_vec());
        self.work(move |ground| ground.set_firewall(&vpc_id, &nodes))
    }

    fn listen<'a>(&'a self, vpc_id: &'a str, address: Ipv4Addr, port: u16) -> Answer<'a, TcpListener> {
        let vpc_id = vpc_id.to_owned();
        self.work(move |ground| ground.listen(&vpc_id, address, port))
    }

    fn create_root<'a>(&'a self, instance_id: &'a str, layers: &'a [String]) -> Answer<'a, ()> {
        let (instance_id, layers) = (instance_id.to_owned(), layers.to_vec());
        self.work(move |ground| ground.create_root(&instance_id, &layers))
    }

    fn freeze_layer<'a>(&'a self, instance_id: &'a str, layer: &'a str) -> Answer<'a, ()> {
        let (instance_id, layer) = (instance_id.to_owned(), layer.to_owned());
        self.work(move |ground| ground.freeze_layer(&instance_id, &layer))
    }

    fn delete_layer<'a>(&'a self, layer: &'a str) -> Answer<'a, ()> {
        let layer = layer.to_owned();
        self.work(move |ground| ground.delete_layer(&layer))
    }

    fn boot<'a>(&'a self, node: &'a NodeBoot) -> Answer<'a, ()> {
        let node = node.clone();
        self.work(move |ground| ground.boot_node(&node))
    }

    fn stop<'a>(&'a self, instance_id: &'a str, force: bool) -> Answer<'a, ()> {
        let instance_id = instance_id.to_owned();
        self.work(move |ground| ground.stop_node(&instance_id, force))
    }

    fn reboot<'a>(&'a self, instance_id: &'a str) -> Answer<'a, ()> {
        let instance_id = instance_id.to_owned();
        self.work(move |ground| ground.reboot_node(&instance_id))
    }

    fn destroy<'a>(&'a self, instance_id: &'a str) -> Answer<'a, ()> {
        let instance_id = instance_id.to_owned();
        self.work(move |ground| ground.destroy_node(&instance_id))
    }

    fn delete_share<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        let key = key.to_owned();
        self.work(move |ground| ground.delete_share(&key))
    }

    fn create_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64, from_snapshot: Option<&'a str>) -> Answer<'a, ()> {
        let (volume_id, from_snapshot) = (volume_id.to_owned(), from_snapshot.map(str::to_owned));
        self.work(move |ground| ground.create_volume(&volume_id, gibibytes, from_snapshot.as_deref()))
    }

    fn grow_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64) -> Answer<'a, ()> {
        let volume_id = volume_id.to_owned();
        self.work(move |ground| ground.grow_volume(&volume_id, gibibytes))
    }

    fn snapshot_volume<'a>(&'a self, volume_id: &'a str, snapshot_id: &'a str) -> Answer<'a, ()> {
        let (volume_id, snapshot_id) = (volume_id.to_owned(), snapshot_id.to_owned());
        self.work(move |ground| ground.snapshot_volume(&volume_id, &snapshot_id))
    }

    fn blocks(&self) -> Blocks {
        self.ground.blocks()
    }

    fn delete_volume<'a>(&'a self, volume_id: &'a str) -> Answer<'a, ()> {
        let volume_id = volume_id.to_owned();
        self.work(move |ground| ground.delete_volume(&volume_id))
    }

    fn delete_volume_snapshot<'a>(&'a self, snapshot_id: &'a str) -> Answer<'a, ()> {
        let snapshot_id = snapshot_id.to_owned();
        self.work(move |ground| ground.delete_volume_snapshot(&snapshot_id))
    }

    fn attach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()> {
        let (instance_id, device) = (instance_id.to_owned(), device.clone());
        self.work(move |ground| ground.attach_volume(&instance_id, &device))
    }

    fn detach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()> {
        let (instance_id, device) = (instance_id.to_owned(), device.clone());
        self.work(move |ground| ground.detach_volume(&instance_id, &device))
    }

    fn is_up<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool> {
        let instance_id = instance_id.to_owned();
        self.work(move |ground| Ok(ground.is_up(&instance_id)))
    }

    fn run<'a>(
        &'a self,
        instance_id: &'a str,
        command: &'a NodeCommand,
        limits: (usize, usize),
        cancel: oneshot::Receiver<()>,
    ) -> Answer<'a, NodeCommandResult> {
        Box::pin(self.ground.run_command(instance_id, command, limits, cancel))
    }

    fn disturb<'a>(&'a self, instance_id: &'a str, disturbance: &'a Disturbance) -> Answer<'a, ()> {
        if let Disturbance::Fill { path, leave_mib } = disturbance {
            return Box::pin(self.ground.fill_disk(instance_id, path, *leave_mib));
        }
        let (instance_id, disturbance) = (instance_id.to_owned(), disturbance.clone());
        self.work(move |ground| ground.disturb_node(&instance_id, &disturbance))
    }

    fn console<'a>(&'a self, instance_id: &'a str, limit: usize) -> Answer<'a, Vec<u8>> {
        let instance_id = instance_id.to_owned();
        self.work(move |ground| ground.console(&instance_id, limit))
    }

    fn adopt<'a>(&'a self, nodes: &'a [NodeBoot], networks: &'a [VpcNetwork]) -> Answer<'a, Vec<String>> {
        let (nodes, networks) = (nodes.to_vec(), networks.to_vec());
        self.work(move |ground| ground.adopt(&nodes, &networks))
    }

    fn shut_down(&self) -> Answer<'_, ()> {
        self.work(Ground::shut_down)
    }
}

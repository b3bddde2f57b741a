//! Taking up what a former server left, and leaving nothing behind.

use std::sync::Arc;

use super::boot::Supervised;
use super::{Ground, io_error, lock, namespace, note, read_json};
use crate::node::{DriverError, NodeBoot, VpcNetwork};

impl Ground {
    pub(super) fn adopt(self: &Arc<Self>, nodes: &[NodeBoot], networks: &[VpcNetwork]) -> Result<Vec<String>, DriverError> {
        for network in networks {
            self.set_network(network)?;
        }
        let mut running = Vec::new();
        for boot in nodes {
            if self.adopt_node(boot) {
                running.push(boot.instance_id.clone());
            } else {
                // It ended while nobody watched.
                self.clear_away(boot)?;
            }
        }
        let named = |id: &str| nodes.iter().any(|boot| boot.instance_id == id);
        self.remove_remnants(&named)?;
        for vpc_id in self.known_networks() {
            if !networks.iter().any(|network| network.vpc_id == vpc_id) {
                self.remove_network(&vpc_id)?;
            }
        }
        self.remove_namespaces(|id| named(id) || networks.iter().any(|network| network.vpc_id == id));
        Ok(running)
    }

    /// Watches a node that runs already; false when it does not.
    fn adopt_node(self: &Arc<Self>, boot: &NodeBoot) -> bool {
        let id = &boot.instance_id;
        let node = self.node(id);
        let _operation = lock(&node.operation);
        if node.supervisor().is_some() {
            return true;
        }
        let Some(found) = read_json::<Supervised>(&self.supervisor_file(id)) else { return false };
        let Some(handle) = found.supervisor.handle() else { return false };
        lock(&self.cores).insert(id.clone(), found.cores);
        self.watch(id, &node, found.supervisor, handle, None);
        true
    }

    /// Destroys nodes that are not named: those with a folder, and those with processes only.
    fn remove_remnants(self: &Arc<Self>, named: &dyn Fn(&str) -> bool) -> Result<(), DriverError> {
        for id in self.known_nodes()?.into_iter().filter(|id| !named(id)) {
            note(format!("node {id} belongs to nobody and is removed"));
            if let Some(boot) = read_json::<NodeBoot>(&self.boot_file(&id)) {
                self.adopt_node(&boot);
            }
            self.destroy_node(&id)?;
            self.kill_group(&id);
            self.remove_group(&id)?;
        }
        Ok(())
    }

    /// Every node with a folder or a control group.
    fn known_nodes(&self) -> Result<Vec<String>, DriverError> {
        let mut ids = self.grouped_nodes()?;
        let entries = std::fs::read_dir(self.state.join("nodes")).map_err(io_error("nodes cannot be listed"))?;
        ids.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn remove_namespaces(&self, kept: impl Fn(&str) -> bool) {
        let prefix = format!("ewulf-{}.", self.name);
        for namespace in namespace::named(&prefix) {
            let id = &namespace.name[prefix.len()..];
            if kept(id) {
                continue;
            }
            let removed = if id.starts_with("vpc-") { self.take_down_vpc(id) } else { namespace.delete() };
            if let Err(error) = removed {
                note(error);
            }
        }
    }

    /// Ends everything on the host; folders stay, so that nodes can be booted again.
    pub(super) fn shut_down(self: &Arc<Self>) -> Result<(), DriverError> {
        let ids = self.known_nodes()?;
        let results: Vec<Result<(), DriverError>> = std::thread::scope(|scope| {
            let ending: Vec<_> = ids.iter().map(|id| scope.spawn(move || self.end_node(id))).collect();
            ending
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(DriverError::State("ending a node panicked".to_owned()))))
                .collect()
        });
        self.release_all_devices();
        for vpc_id in self.known_networks() {
            self.remove_network(&vpc_id)?;
        }
        self.remove_namespaces(|_| false);
        self.remove_uplink()?;
        self.remove_cloud_group()?;
        results.into_iter().collect()
    }

    fn end_node(self: &Arc<Self>, id: &str) -> Result<(), DriverError> {
        let boot = read_json::<NodeBoot>(&self.boot_file(id));
        if let Some(boot) = &boot {
            self.adopt_node(boot);
        }
        self.stop_node(id, false)?;
        match &boot {
            Some(boot) => self.clear_away(boot),
            None => {
                self.kill_group(id);
                self.remove_group(id)
            }
        }
    }
}

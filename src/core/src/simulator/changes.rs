//! Changes under nodes that stay, with EC2's rules for each (ec2.md 6.1).

use std::collections::HashSet;

use super::{Action, Address, IDS_PER_CALL, Node, NodeState, Outcome, Simulator};
use crate::address::{FILE_SYSTEM_TAG, FINGERPRINT_TAG, JOINED_TAG, ROOT_IMAGE_TAG};
use crate::plan::{RootReplacement, StoppedAttribute, StoppedChange, UNFINISHED};
use crate::spec::Market;

impl Simulator {
    pub(super) fn change_nodes(&mut self, action: &Action, outcome: Outcome) {
        // Half of a live change is that of the first node.
        let part = |ids: &[String]| if outcome == Outcome::Half { ids[..1].to_vec() } else { ids.to_vec() };
        match action {
            Action::SetInstanceProfile { ids, profile } => {
                self.each(&part(ids), |node| node.instance_profile.clone_from(profile));
            }
            Action::SetSecurityGroup { interfaces } => {
                let group = self.known(&Address::SecurityGroup);
                let interfaces: HashSet<String> = part(interfaces).into_iter().collect();
                let nodes = self.instances.iter_mut().map(|it| &mut it.node);
                let concerned = nodes.filter(|node| node.interface.as_ref().is_some_and(|it| interfaces.contains(&it.id)));
                concerned.for_each(|node| node.security_groups = vec![group.clone()]);
            }
            Action::SetMetadataOptions { ids, options } => self.each(&part(ids), |node| node.metadata_options = Some(*options)),
            Action::GrowRoots { volumes, gibibytes } => self.each_root(&part(volumes), |root| root.gibibytes = *gibibytes),
            Action::GrowRootFileSystems { volumes, gibibytes, .. } => self.each_root(&part(volumes), |root| {
                root.tags.insert(FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string());
            }),
            Action::ChangeStopped { nodes } => self.change_stopped(nodes, outcome),
            Action::ReplaceRoot(replacement) => self.replace_root(replacement, outcome),
            _ => unreachable!("change sorts actions"),
        }
    }

    fn each_root(&mut self, ids: &[String], change: impl Fn(&mut crate::world::Root)) {
        let roots = self.instances.iter_mut().filter_map(|it| it.node.root.as_mut());
        roots.filter(|root| ids.contains(&root.id)).for_each(change);
    }

    fn change_stopped(&mut self, nodes: &[StoppedChange], outcome: Outcome) {
        for (position, StoppedChange { id, changes }) in nodes.iter().enumerate() {
            let ids = std::slice::from_ref(id);
            // Cut in the middle: all are stopped, the first is changed already.
            let is_cut = outcome == Outcome::Half;
            let is_changed = if is_cut { position == 0 } else { outcome != Outcome::NoRoom };
            self.each(ids, |node| {
                node.state = if is_cut { NodeState::Stopped } else { NodeState::Running };
                for change in changes {
                    change_attribute(node, change, is_changed);
                }
            });
        }
    }

    fn replace_root(&mut self, replacement: &RootReplacement, outcome: Outcome) {
        let RootReplacement { id, image_id, fingerprint } = replacement;
        let volume = self.fresh("vol");
        self.each(std::slice::from_ref(id), |node| {
            node.tags.insert(JOINED_TAG.to_owned(), UNFINISHED.to_owned());
            if outcome == Outcome::Half || outcome == Outcome::NoRoom {
                return;
            }
            if let Some(root) = &mut node.root {
                root.id.clone_from(&volume);
                root.tags.insert(FILE_SYSTEM_TAG.to_owned(), root.gibibytes.to_string());
            }
            node.tags.insert(ROOT_IMAGE_TAG.to_owned(), image_id.clone());
            node.tags.insert(FINGERPRINT_TAG.to_owned(), fingerprint.clone());
        });
    }

    /// Checks that EC2 would take this change.
    pub(super) fn check_change(&self, action: &Action) {
        match action {
            Action::SetInstanceProfile { ids, .. } | Action::SetMetadataOptions { ids, .. } => self.check_ids(ids),
            Action::SetSecurityGroup { interfaces } => {
                self.security_group();
                let known: HashSet<&String> =
                    self.instances.iter().filter_map(|it| it.node.interface.as_ref()).map(|it| &it.id).collect();
                assert!(interfaces.iter().all(|id| known.contains(id)), "InvalidNetworkInterfaceID.NotFound");
            }
            Action::GrowRoots { volumes, gibibytes } => {
                let grows = |id: &String| self.root(id).is_some_and(|root| root.gibibytes < *gibibytes);
                assert!(volumes.iter().all(grows), "ModifyVolume: InvalidParameterValue, a volume only grows");
            }
            Action::GrowRootFileSystems { ids, volumes, gibibytes } => {
                self.check_running(ids, "SendCommand: InvalidInstanceId, a node does not run");
                let fits = |id: &String| self.root(id).is_some_and(|root| root.gibibytes >= *gibibytes);
                assert!(volumes.iter().all(fits), "a file system fits its volume");
            }
            Action::ChangeStopped { nodes } => {
                let ids: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
                self.check_ids(&ids);
                for StoppedChange { id, changes } in nodes {
                    self.check_stopped_change(id, changes);
                }
            }
            Action::ReplaceRoot(replacement) => {
                let ids = std::slice::from_ref(&replacement.id);
                self.check_running(ids, "CreateReplaceRootVolumeTask: IncorrectInstanceState");
            }
            _ => unreachable!("check sorts actions"),
        }
    }

    fn check_stopped_change(&self, id: &str, changes: &[StoppedAttribute]) {
        let node = self.instances.iter().map(|it| &it.node).find(|node| node.id == id).expect("InvalidInstanceID.NotFound");
        assert_ne!(node.market, Market::Spot, "StopInstances: UnsupportedOperation, a one-time spot instance");
        assert!(!changes.is_empty(), "a node is stopped for nothing");
        for change in changes {
            if let StoppedAttribute::PlacementGroup { to: Some(name), .. } = change {
                let exists = self.placement_groups.iter().any(|it| &it.name == name);
                assert!(exists, "ModifyInstancePlacement: InvalidPlacementGroup.Unknown");
            }
        }
    }

    fn check_running(&self, ids: &[String], message: &str) {
        assert!(ids.len() <= IDS_PER_CALL, "InvalidParameterValue: too many ids");
        let running = self.instances.iter().filter(|it| it.node.state == NodeState::Running);
        let running: HashSet<&String> = running.map(|it| &it.node.id).collect();
        assert!(ids.iter().all(|id| running.contains(id)), "{message}");
    }

    fn root(&self, id: &str) -> Option<&crate::world::Root> {
        self.instances.iter().filter_map(|it| it.node.root.as_ref()).find(|root| root.id == id)
    }
}

/// Changes one attribute of a stopped node, or leaves it as it was.
fn change_attribute(node: &mut Node, change: &StoppedAttribute, is_changed: bool) {
    match change {
        StoppedAttribute::InstanceType { from, to } => node.instance_type.clone_from(if is_changed { to } else { from }),
        StoppedAttribute::PlacementGroup { from, to } => node.placement_group.clone_from(if is_changed { to } else { from }),
        // Noted before it is set, so that nobody takes the node for what its root volume is not.
        StoppedAttribute::UserData { .. } => {
            node.tags.insert(FINGERPRINT_TAG.to_owned(), UNFINISHED.to_owned());
        }
    }
}

//! Planning of how nodes become a cluster: the shared volume on the master, all running, all joined.

use super::draft::{Draft, difference};
use super::network::SHARED_DEVICE;
use super::{Action, Effect, Reason, Sign};
use crate::address::{Address, FILE_SYSTEM_TAG, JOINED_TAG, Role};
use crate::quantity::Ipv4Network;
use crate::spec::Ready;

/// Attaches the shared volume and joins the nodes when any is new, restarted or not yet joined; answers the steps
/// after which the cluster is ready.
pub(super) fn plan(draft: &mut Draft, cidr: Ipv4Network) -> Vec<usize> {
    let moving = draft.booting();
    let attached = attach_volume(draft);
    let ready = join(draft, cidr, moving, attached);
    grow_file_system(draft, &ready);
    ready
}

fn join(draft: &mut Draft, cidr: Ipv4Network, moving: Vec<usize>, attached: bool) -> Vec<usize> {
    if draft.spec.ready == Ready::Running {
        return if moving.is_empty() { Vec::new() } else { vec![await_running(draft, moving)] };
    }
    let joined = joined_to_master(draft);
    if moving.is_empty() && !attached && joined {
        return Vec::new();
    }
    let mut after = if moving.is_empty() { network(draft) } else { vec![await_running(draft, moving)] };
    after.extend(draft.makers_of(&[Address::Volume]));
    let reason = if joined { Reason::NodesChanged } else { Reason::Unfinished };
    let reason = if draft.world.nodes.is_empty() { Reason::NotThere } else { reason };
    let nodes = all_nodes(draft);
    let noun = if nodes.len() == 1 { "node" } else { "nodes" };
    let summary = format!("join {} {noun}: boot, shared path, ssh, mpirun", nodes.len());
    draft.change(Sign::Update, Address::Mesh, 1, summary, Vec::new(), reason, Effect::InPlace);
    let shared_path = draft.spec.shared.path.to_string();
    vec![draft.step_after(Address::Mesh, after, Action::Join { nodes, shared_path, cidr })]
}

fn all_nodes(draft: &Draft) -> Vec<Address> {
    let workers = draft.spec.workers.iter();
    let workers = workers.flat_map(|group| (0..group.count).map(|index| Address::Worker(group.group.clone(), index)));
    let workers = workers.filter(|address| !is_left_out(draft, address));
    std::iter::once(Address::Master).chain(workers).collect()
}

/// Whether there is no such worker, and none is launched.
fn is_left_out(draft: &Draft, address: &Address) -> bool {
    let Address::Worker(group, index) = address else { return false };
    draft.withholds(&Role::Worker(group.clone()), *index) && !draft.knows(address)
}

/// Everything about the network: nodes are launched once their subnet and group exist, and of use once all of it is done.
fn network(draft: &Draft) -> Vec<usize> {
    draft.makers_of(&[Address::Vpc, Address::Subnet, Address::Gateway, Address::Routes, Address::SecurityGroup])
}

fn await_running(draft: &mut Draft, moving: Vec<usize>) -> usize {
    let mut after = network(draft);
    after.extend(moving);
    let nodes = all_nodes(draft);
    draft.step_after(Address::Mesh, after, Action::AwaitRunning { nodes })
}

/// Attaches the volume as soon as the master runs: its boot waits for the device, whatever the workers do.
fn attach_volume(draft: &mut Draft) -> bool {
    if draft.spec.shared.volume.is_none() {
        return false;
    }
    let master = draft.world.master().map(|node| node.id.clone());
    let attached_to = draft.world.volume.as_ref().and_then(|volume| volume.attached_to.clone());
    let replaced = draft.relaunches_master();
    if attached_to.is_some() && attached_to == master && !replaced {
        return false;
    }
    let mut after = draft.creators_of(&[Address::Volume]);
    let booting = draft.booting_master();
    if !booting.is_empty() {
        after.push(draft.step_after(Address::Master, booting, Action::AwaitRunning { nodes: vec![Address::Master] }));
    }
    if draft.world.volume.is_some() {
        let details = vec![difference("attached to", attached_to, Some("node/master".into()))];
        draft.change(Sign::Update, Address::Volume, 1, "attach", details, Reason::NodesChanged, Effect::InPlace);
    }
    draft.step_after(Address::Volume, after, Action::AttachVolume { device: SHARED_DEVICE.to_owned() });
    true
}

/// Grows the file system of a volume that has grown, by this plan or by one that did not get so far. It is mounted once
/// the cluster is ready; without an agent to ask, it grows when the master boots next.
fn grow_file_system(draft: &mut Draft, ready: &[usize]) {
    let (Some(size), Some(volume)) = (draft.spec.shared.volume, &draft.world.volume) else { return };
    let gibibytes = size.as_gibibytes().max(volume.gibibytes);
    let known = volume.tags.get(FILE_SYSTEM_TAG).and_then(|text| text.parse::<u32>().ok());
    if draft.spec.ready == Ready::Running || known.is_none_or(|known| known >= gibibytes) {
        return;
    }
    if volume.gibibytes == gibibytes {
        let details = vec![difference("file system", known.map(|known| format!("{known}GiB")), Some(format!("{gibibytes}GiB")))];
        draft.change(Sign::Update, Address::Volume, 1, "file system", details, Reason::Unfinished, Effect::InPlace);
    }
    let mut after = draft.makers_of(&[Address::Volume]);
    after.extend(ready);
    let shared_path = draft.spec.shared.path.to_string();
    draft.step_after(Address::Volume, after, Action::GrowFileSystem { gibibytes, shared_path });
}

/// Whether every node that stays has joined the master that stands.
fn joined_to_master(draft: &Draft) -> bool {
    let Some(master) = draft.world.master() else { return false };
    draft.world.nodes.iter().all(|node| node.tag(JOINED_TAG) == Some(&master.id))
}

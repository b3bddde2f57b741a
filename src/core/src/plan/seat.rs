//! The master's address: chosen before anything runs, since workers are told at launch where to look for the master.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::draft::Draft;
use crate::address::{Address, MASTER_TAG, Role};
use crate::quantity::Ipv4Network;
use crate::spec::Network;
use crate::world::{Node, World};

/// Where the master is, or will be.
pub(super) struct Seat {
    pub address: Ipv4Addr,
    /// The network that MPI stays in.
    pub cidr: Ipv4Network,
}

/// Workers are launched beside the master if at most one launch in so many is expected to give one of them the master's
/// address: mending that costs a minute, and waiting costs a call each time.
const RISK: u64 = 50;

/// The standing master's address, or where workers look for it, or the last that is free.
pub(super) fn choose(draft: &mut Draft) -> Option<Seat> {
    let (subnet, cidr) = networks(draft)?;
    let world = draft.world;
    let standing = world.master().and_then(|master| master.private_address);
    let strangers: HashSet<Ipv4Addr> =
        world.existing_network.iter().flat_map(|network| network.taken_addresses.iter().copied()).collect();
    let of_nodes: HashSet<Ipv4Addr> = world.nodes.iter().filter_map(|node| node.private_address).collect();
    let told = world.nodes.iter().filter_map(told_address);
    let is_ours = |address: &Ipv4Addr| subnet.contains(*address) && (of_nodes.contains(address) || !strangers.contains(address));
    let told = told.filter(is_ours).min();
    // From the end: people fix the first addresses, and clouds that do not choose by chance as EC2 does give them first.
    let is_pinned = |address: &Ipv4Addr| draft.spec.workers.iter().filter_map(|it| it.addresses).any(|it| it.contains(*address));
    let is_free = |address: &Ipv4Addr| !strangers.contains(address) && !of_nodes.contains(address) && !is_pinned(address);
    match standing.or(told).or_else(|| subnet.hosts().rev().find(is_free)) {
        Some(address) => Some(Seat { address, cidr }),
        None => {
            draft.block(Address::Subnet, "no address is free for the master", "use a larger subnet");
            None
        }
    }
}

/// The subnet that the nodes lie in, and the network that MPI stays in.
fn networks(draft: &Draft) -> Option<(Ipv4Network, Ipv4Network)> {
    match &draft.spec.network {
        // What stands wins: a differing spec is a blocker already.
        Network::Own(own) => {
            let standing = draft.world.subnet.as_ref().map_or(own.cidr, |subnet| subnet.cidr);
            Some((standing, standing))
        }
        Network::Existing(_) => {
            let network = draft.world.existing_network.as_ref()?;
            Some((network.subnet_cidr, network.vpc_cidr))
        }
    }
}

/// Where a worker looks for the master.
fn told_address(node: &Node) -> Option<Ipv4Addr> {
    node.tag(MASTER_TAG).and_then(|text| text.parse().ok())
}

/// Workers that were given the master's address when they were launched beside it.
pub(super) fn intruders(world: &World, address: Ipv4Addr) -> Vec<&Node> {
    if world.master().is_some() {
        return Vec::new();
    }
    world.nodes.iter().filter(|node| node.role != Role::Master && node.private_address == Some(address)).collect()
}

/// Whether workers that are launched beside the master would too often be given its address: EC2 gives any that is free.
pub(super) fn is_contested(draft: &Draft) -> bool {
    if draft.world.master().is_some() {
        // Its address is free for a moment while it is replaced.
        return true;
    }
    let Some((subnet, _)) = networks(draft) else { return true };
    let free = match &draft.world.existing_network {
        Some(network) => u64::from(network.free_addresses),
        None => subnet.usable().saturating_sub(draft.world.nodes.len() as u64),
    };
    draft.spec.node_count() * RISK > free
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, spec, spec_of};
    use super::super::{Action, Plan, plan};
    use super::*;
    use crate::simulator::Simulator;

    /// Positions of the steps that do such a thing.
    fn positions(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> Vec<usize> {
        (0..plan.steps.len()).filter(|position| wanted(&plan.steps[*position].action)).collect()
    }

    fn launches(plan: &Plan, role: &Role) -> Vec<usize> {
        positions(plan, |action| matches!(action, Action::Launch(launch) if &launch.role == role))
    }

    fn workers() -> Role {
        Role::Worker("compute".parse().unwrap())
    }

    #[test]
    fn workers_wait_for_the_master_where_they_could_be_given_its_address() {
        for (workers_number, waits) in [(3, false), (4, false), (5, true), (200, true)] {
            let first = plan(
                &spec_of(workers_number, 0, "c7i.large", false, "none", "a"),
                &Simulator::new(super::super::tests::world_with_images()).world(),
            );
            let (master, workers) = (launches(&first, &Role::Master), launches(&first, &workers()));
            assert_eq!(first.steps[workers[0]].after.contains(&master[0]), waits, "{workers_number} workers of 251 addresses");
        }
    }

    #[test]
    fn a_worker_at_the_masters_address_makes_way_and_the_others_stay() {
        let spec = spec_of(3, 0, "c7i.large", true, "none", "a");
        let mut simulator = applied(&spec);
        // The launch of the master found its address taken by a worker that was launched beside it.
        let master = simulator.world().master().unwrap().clone();
        simulator.end(std::slice::from_ref(&master.id), "Client.UserInitiatedShutdown");
        let intruder = simulator.world().nodes[1].clone();
        simulator.each(std::slice::from_ref(&intruder.id), |node| node.private_address = master.private_address);

        let mending = plan(&spec, &simulator.world());
        let ended = positions(&mending, |action| matches!(action, Action::Terminate { ids } if *ids == [intruder.id.clone()]));
        let (master_launch, worker_launch) = (launches(&mending, &Role::Master), launches(&mending, &workers()));
        assert_eq!((ended.len(), master_launch.len(), worker_launch.len()), (1, 1, 1), "{mending:#?}");
        assert!(mending.steps[master_launch[0]].after.contains(&ended[0]));
        assert!(mending.steps[worker_launch[0]].after.contains(&master_launch[0]));
        simulator.run(&mending);
        assert_eq!(simulator.world().master().unwrap().private_address, master.private_address);
        assert!(plan(&spec, &simulator.world()).is_empty());
    }

    #[test]
    fn a_master_that_is_gone_comes_back_to_where_the_workers_look_for_it() {
        let before = spec(
            "cluster: test\nnetwork: {cidr: 10.1.0.0/24}\nmaster: {instance_type: c7i.large, image: master}\n\
             workers: [{group: compute, count: 2, instance_type: c7i.large, image: worker}]\n",
        );
        let mut simulator = applied(&before);
        let master = simulator.world().master().unwrap().clone();
        simulator.end(std::slice::from_ref(&master.id), "Server.InternalError");
        let mending = plan(&before, &simulator.world());
        assert_eq!(positions(&mending, |action| matches!(action, Action::Terminate { .. })), Vec::<usize>::new());
        simulator.run(&mending);
        assert_eq!(simulator.world().master().unwrap().private_address, master.private_address);
    }
}

//! Planning of workers whose addresses the spec gives: each is launched by a call of its own (ec2.md 6.7), and who has its
//! address goes before it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::blueprint::Blueprint;
use super::draft::Draft;
use super::nodes::{Sorted, is_foreign, shown_as};
use super::{Action, Step};
use crate::address::{Address, Role};
use crate::quantity::AddressRange;
use crate::spec::Network;
use crate::world::Node;

/// Who makes room before a group's new workers come.
#[derive(Default)]
pub(super) struct Room<'a> {
    /// Ids of nodes of the group that go first.
    pub leaving: BTreeSet<&'a str>,
    /// Indexes whose worker comes after them.
    pub waiting: BTreeSet<u32>,
    /// Steps that end nodes of groups that the spec no longer has, where one of them has a wanted address.
    foreign: Vec<usize>,
}

impl<'a> Room<'a> {
    /// Finds who has the addresses of workers that are to come; what stays in the way blocks the plan.
    pub fn of(draft: &mut Draft<'a>, blueprint: &Blueprint, sorted: &Sorted<'a>) -> Self {
        let mut room = Self::default();
        let Some(range) = blueprint.addresses else { return room };
        check_subnet(draft, blueprint, range);
        let world = draft.world;
        let holders: BTreeMap<Ipv4Addr, &Node> =
            world.nodes.iter().filter_map(|node| Some((node.private_address?, node))).collect();
        let strangers: BTreeSet<Ipv4Addr> =
            world.existing_network.iter().flat_map(|network| network.taken_addresses.iter().copied()).collect();
        let going = sorted.wrong.iter().map(|(node, _)| *node).chain(sorted.surplus.iter().copied());
        let going: BTreeSet<&str> = going.chain(sorted.superseded.iter().copied()).map(|node| node.id.as_str()).collect();
        let coming = sorted.wrong.iter().map(|(node, _)| node.index).chain(sorted.missing.iter().copied());
        for index in coming {
            let Some(address) = range.at(index) else { continue };
            match holders.get(&address) {
                Some(node) if going.contains(node.id.as_str()) => {
                    room.leaving.insert(&node.id);
                    room.waiting.insert(index);
                }
                Some(node) if is_foreign(draft.spec, &node.role) => {
                    let of_role = draft.positions_of(|step| ends(step, &node.id));
                    room.foreign.extend(of_role);
                    room.waiting.insert(index);
                }
                Some(node) => draft.block(
                    shown_as(&blueprint.role, [index]),
                    format!("its address {address} is that of {} {}", node.address(), node.id),
                    "give the group another range; a node whose address EC2 chose may lie in any, so give its group `addresses`, too",
                ),
                None if strangers.contains(&address) => draft.block(
                    shown_as(&blueprint.role, [index]),
                    format!("its address {address} is taken by something that is not of this cluster"),
                    "give the group another range; what a node that has just ended leaves goes within minutes",
                ),
                None => {}
            }
        }
        room
    }

    /// Steps that a worker waits for, when these steps end the nodes that go first.
    pub fn before(&self, index: u32, gone: &[usize]) -> Vec<usize> {
        if !self.waiting.contains(&index) {
            return Vec::new();
        }
        gone.iter().chain(&self.foreign).copied().collect()
    }
}

fn ends(step: &Step, id: &String) -> bool {
    matches!(&step.action, Action::Terminate { ids } if ids.contains(id))
}

/// A subnet that exists may lie elsewhere than the range.
fn check_subnet(draft: &mut Draft, blueprint: &Blueprint, range: AddressRange) {
    let Network::Existing(_) = &draft.spec.network else { return };
    let Some(network) = &draft.world.existing_network else { return };
    let cidr = network.subnet_cidr;
    let (Some(first), Some(last)) = (cidr.hosts().next(), cidr.hosts().next_back()) else { return };
    if range.first() >= first && range.last() <= last {
        return;
    }
    let Role::Worker(group) = &blueprint.role else { return };
    draft.block(
        Address::Subnet,
        format!("subnet {} can give {first}-{last}, and group `{group}` asks for {range}", network.subnet),
        "write `addresses` that lie inside it",
    );
}

//! Ladders: on which rung each group's missing workers are launched, and what becomes of a gang that EC2 has no room for.
//!
//! A gang is whole, or at least as large as its group's `min`, or it is not there: workers that were launched in vain are
//! taken back before the next rung. Workers that have stood before are never taken back, and keep their rung: mixed types
//! and later additions find room less often (ec2.md 4.5).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::attributes::needs_replacement;
use super::blueprint::{Blueprint, group_blueprint};
use super::draft::Draft;
use super::nodes::{Standing, indexes_of, shown_as, terminate};
use super::seat::{self, Seat};
use super::{Action, Effect, Reason, Sign, network};
use crate::address::{Address, JOINED_TAG, JOINS_TAG, Role};
use crate::capacity::Pool;
use crate::instance_types::price_per_hour;
use crate::names::GroupName;
use crate::quantity::{Duration, Money};
use crate::spec::{ClusterSpec, Market, Network, Ready, Rung, WorkerGroup};
use crate::world::{GoneNode, Node, World};

/// The ladder of a group, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    pub group: GroupName,
    /// How many workers are asked for, and how many will do.
    pub count: u32,
    pub least: u32,
    /// How many are there.
    pub standing: u32,
    /// The rung on which the group stands or is launched now; None when none is left.
    pub chosen: Option<usize>,
    pub rungs: Vec<LadderRung>,
}

/// A rung of a ladder as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderRung {
    pub pool: Pool,
    /// For how long EC2 is asked again; once if not given.
    pub within: Option<Duration>,
    /// What all workers cost on it per hour; on the spot market at most that, since a bid is the on-demand price (ec2.md
    /// 4.9).
    pub price_per_hour: Option<Money>,
    /// Whether EC2 had no room in it a moment ago.
    pub is_refused: bool,
    /// Why it cannot be tried.
    pub obstacle: Option<String>,
}

/// A group that has fewer workers than asked for, because no rung has room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    pub group: GroupName,
    pub count: u32,
    pub least: u32,
    pub standing: u32,
}

impl Shortfall {
    /// Whether the group may stand so.
    pub fn is_tolerable(&self) -> bool {
        self.standing >= self.least
    }
}

/// How the missing workers of a group are launched.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub pool: Pool,
    pub patience: Option<Duration>,
    /// Number of the rung, from 1, and how many there are.
    pub rung: (usize, usize),
    /// How many more workers must be had for the group to stand; each launch takes its part of it.
    pub least: usize,
}

/// What planning goes on from once every group has its rung.
pub(super) struct Climb<'a> {
    /// The spec with every group on its rung.
    pub spec: Cow<'a, ClusterSpec>,
    /// The world without what is taken back.
    pub world: Cow<'a, World>,
    pub terms: BTreeMap<GroupName, Terms>,
    /// Indexes that are missing and not launched, since the group may stand without them.
    pub withheld: BTreeMap<GroupName, BTreeSet<u32>>,
    pub ladders: Vec<Ladder>,
    pub shortfalls: Vec<Shortfall>,
    taken: Vec<&'a Node>,
    /// The subnet that makes way for one in another zone.
    left: Option<&'a crate::world::Subnet>,
    /// Groups of which no rung can be tried at all, with the first obstacle.
    barred: Vec<(Address, String)>,
}

/// Decides for every group.
pub(super) fn climb<'a>(spec: &'a ClusterSpec, world: &'a World) -> Climb<'a> {
    let mut climb = Climb {
        spec: Cow::Borrowed(spec),
        world: Cow::Borrowed(world),
        terms: BTreeMap::new(),
        withheld: BTreeMap::new(),
        ladders: Vec::new(),
        shortfalls: Vec::new(),
        taken: Vec::new(),
        left: None,
        barred: Vec::new(),
    };
    let mut probe = Draft::new(spec, world);
    let Some(Seat { address: master_address, cidr }) = seat::choose(&mut probe) else { return climb };
    let standing = Standing::of(world);
    let mut looks = BTreeMap::new();
    for group in &spec.workers {
        if let Some(blueprint) = group_blueprint(&mut probe, group, master_address, cidr) {
            looks.insert(&group.group, Look::of(spec, world, &standing, group, &blueprint));
        }
    }
    // The group that chooses the zone goes first: the others go where it goes.
    let (first, others): (Vec<&WorkerGroup>, Vec<_>) = spec.workers.iter().partition(|group| group.tries_zones());
    for group in first.into_iter().chain(others) {
        if let Some(look) = looks.remove(&group.group) {
            climb.choose(world, group, look);
        }
    }
    climb.ladders.sort_by_key(|ladder| spec.workers.iter().position(|group| group.group == ladder.group));
    climb
}

/// The workers of a group that are as they should be, on whichever rung.
struct Look<'a> {
    /// Rung of each that has stood before, by index.
    proven: BTreeMap<u32, usize>,
    /// Those that were launched and never were part of the cluster, with their rung.
    fresh: Vec<(&'a Node, usize)>,
    /// Indexes that have none.
    wanted: BTreeSet<u32>,
}

impl<'a> Look<'a> {
    fn of(spec: &ClusterSpec, world: &World, standing: &Standing<'a>, group: &WorkerGroup, blueprint: &Blueprint) -> Self {
        let mut look = Self { proven: BTreeMap::new(), fresh: Vec::new(), wanted: BTreeSet::new() };
        let zone = world.subnet.as_ref().map(|subnet| subnet.zone.as_str());
        let zone = zone.or(world.existing_network.as_ref().map(|network| network.zone.as_str()));
        for index in 0..group.count {
            let security_group = world.security_group.as_ref().map(|group| &group.id);
            let stays = |node: &&&Node| !needs_replacement(&blueprint.gaps(node, security_group));
            let right = standing.at(&blueprint.role, index).iter().filter(stays);
            let mut has_any = false;
            for node in right {
                has_any = true;
                let rung = blueprint.rung_of(node, zone);
                if is_proven(spec, world, node) {
                    look.proven.insert(index, rung);
                } else {
                    look.fresh.push((*node, rung));
                }
            }
            if !has_any {
                look.wanted.insert(index);
            }
        }
        look
    }

    /// How many indexes have a worker.
    fn standing(&self) -> u32 {
        let fresh = self.fresh.iter().map(|(node, _)| node.index);
        u32::try_from(self.proven.keys().copied().chain(fresh).collect::<BTreeSet<u32>>().len()).unwrap_or(u32::MAX)
    }

    /// The rung of most workers that stay, the lowest of several.
    fn base(&self) -> Option<usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let fresh = self.fresh.iter().map(|(_, rung)| *rung).filter(|_| self.proven.is_empty());
        for rung in self.proven.values().copied().chain(fresh) {
            *counts.entry(rung).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(rung, count)| (*count, std::cmp::Reverse(*rung))).map(|(rung, _)| rung)
    }
}

/// Whether a node was ever part of the cluster: never taken back then. One that this apply launched was not, nor one that
/// was launched to be joined and is not.
fn is_proven(spec: &ClusterSpec, world: &World, node: &Node) -> bool {
    let was_to_join = spec.ready == Ready::Joined && node.tag(JOINS_TAG).is_some();
    let is_unjoined = was_to_join && node.tag(JOINED_TAG).is_none();
    !world.findings.launched.contains(&node.id) && !is_unjoined
}

impl<'a> Climb<'a> {
    /// Chooses a group's rung, takes back what must make way, and notes what is not to be had.
    fn choose(&mut self, world: &'a World, group: &WorkerGroup, mut look: Look<'a>) {
        if self.left.is_some() {
            // Its workers went with the others into the new zone.
            look.wanted.extend(std::mem::take(&mut look.fresh).iter().map(|(node, _)| node.index));
        }
        let rungs = group.rungs();
        let here = self.zone();
        let shown: Vec<LadderRung> = rungs.iter().map(|rung| self.shown(world, group, rung, &here)).collect();
        let (standing, least, base) = (look.standing(), group.least(), look.base());
        let (chosen, withholds) = self.decide(group, &look, &shown, &here);
        if withholds {
            self.withheld.insert(group.group.clone(), look.wanted.clone());
        }
        let goes_elsewhere = chosen.is_none() || (chosen != base && base.is_some());
        if goes_elsewhere {
            self.taken.extend(look.fresh.iter().map(|(node, _)| *node));
            self.forget(look.fresh.iter().map(|(node, _)| *node));
        }
        if chosen.is_none() || withholds {
            let standing = if goes_elsewhere { u32::try_from(look.proven.len()).unwrap_or(u32::MAX) } else { standing };
            self.shortfalls.push(Shortfall { group: group.group.clone(), count: group.count, least, standing });
        }
        if let Some(rung) = chosen {
            let stays = if goes_elsewhere { 0 } else { standing };
            self.settle_on(world, group, &rungs[rung], &shown[rung], base != Some(rung));
            // Beside workers that stand, it is their zone, whatever the ladder says by now.
            let zone = if base == Some(rung) { here } else { shown[rung].pool.zone.clone() };
            let terms = Terms {
                pool: Pool { zone, ..shown[rung].pool.clone() },
                patience: rungs[rung].within,
                rung: (rung + 1, rungs.len()),
                least: least.saturating_sub(stays).max(1) as usize,
            };
            self.terms.insert(group.group.clone(), terms);
        } else if let (None, Some(obstacle)) = (base, shown.iter().find_map(|rung| rung.obstacle.clone()))
            && !shown.iter().any(|rung| rung.is_refused)
        {
            self.barred.push((shown_as(&Role::Worker(group.group.clone()), 0..group.count), obstacle));
        }
        if !group.capacity.is_empty() || group.min.is_some() {
            let (group, count) = (group.group.clone(), group.count);
            self.ladders.push(Ladder { group, count, least, standing, chosen, rungs: shown });
        }
    }

    /// The rung that a group takes, and whether it stands there without what is missing; no rung if none is left.
    fn decide(&self, group: &WorkerGroup, look: &Look, shown: &[LadderRung], here: &str) -> (Option<usize>, bool) {
        let next = shown.iter().position(|rung| !rung.is_refused && rung.obstacle.is_none());
        match look.base() {
            Some(base) if look.wanted.is_empty() || self.may_launch(group, &shown[base].pool, here) => (Some(base), false),
            Some(base) if look.standing() >= group.least() => (Some(base), true),
            // Those that have stood keep their rung, and it has no room.
            Some(_) if !look.proven.is_empty() => (None, false),
            Some(_) | None => (next, false),
        }
    }

    /// Whether workers may be launched beside those that stand, which are in this zone whatever their rung says.
    fn may_launch(&self, group: &WorkerGroup, pool: &Pool, here: &str) -> bool {
        let pool = Pool { zone: here.to_owned(), ..pool.clone() };
        !self.world.findings.is_refused(&group.group, &pool)
    }

    /// The zone that the cluster lies in, or would if no rung said otherwise.
    fn zone(&self) -> String {
        network::zone(&Draft::new(&self.spec, &self.world)).unwrap_or_default()
    }

    fn shown(&self, world: &World, group: &WorkerGroup, rung: &Rung, here: &str) -> LadderRung {
        let kind = rung.instance_type.unwrap_or(group.instance_type);
        let zone = rung.zone.as_ref().map_or(here, |zone| zone.as_str());
        let pool = Pool { instance_type: kind.to_string(), zone: zone.to_owned(), market: rung.market.unwrap_or(group.market) };
        LadderRung {
            within: rung.within,
            price_per_hour: price_per_hour(kind.as_str(), Market::OnDemand).map(|price| price * u64::from(group.count)),
            is_refused: world.findings.is_refused(&group.group, &pool),
            obstacle: (zone != here).then(|| self.obstacle(world, zone)).flatten(),
            pool,
        }
    }

    /// Why the cluster cannot go to a zone; None if it can.
    fn obstacle(&self, world: &World, zone: &str) -> Option<String> {
        if let Some(volume) = world.volume.as_ref().filter(|volume| volume.zone != zone) {
            return Some(format!("volume {} lies in {}", volume.id, volume.zone));
        }
        let proven = self.world.nodes.iter().find(|node| is_proven(&self.spec, world, node));
        if let Some(node) = proven {
            return Some(format!("{} runs in {}", node.address(), self.zone()));
        }
        let is_known = world.zones.is_empty() || world.zones.iter().any(|known| known == zone);
        (!is_known).then(|| format!("no zone `{zone}` in this region; zones: {}", world.zones.join(", ")))
    }

    /// Puts a group on a rung; the cluster moves if nothing of the group stands and the rung is in another zone.
    fn settle_on(&mut self, world: &'a World, group: &WorkerGroup, rung: &Rung, shown: &LadderRung, may_move: bool) {
        let moves = may_move && rung.zone.is_some() && self.world.subnet.as_ref().is_some_and(|it| it.zone != shown.pool.zone);
        if moves {
            self.leave_zone(world);
        }
        if *rung == group.rungs()[0] && group.capacity.is_empty() {
            return;
        }
        let spec = self.spec.to_mut();
        if let (Network::Own(own), true, Some(zone)) = (&mut spec.network, may_move, &rung.zone) {
            own.zone = Some(zone.clone());
        }
        let place = spec.workers.iter_mut().find(|it| it.group == group.group);
        if let Some(place) = place {
            *place = place.on_rung(rung);
        }
    }

    /// Takes every node back, and the subnet with them: none of them was ever part of the cluster.
    fn leave_zone(&mut self, world: &'a World) {
        let taken: BTreeSet<&str> = self.taken.iter().map(|node| node.id.as_str()).collect();
        let others: Vec<&Node> = world.nodes.iter().filter(|node| !taken.contains(node.id.as_str())).collect();
        self.taken.extend(&others);
        self.forget(others.into_iter());
        self.left = world.subnet.as_ref();
        let here = self.world.to_mut();
        let Some(subnet) = here.subnet.take() else { return };
        if let Some(routes) = &mut here.routes {
            let pairs = std::mem::take(&mut routes.associations).into_iter().zip(std::mem::take(&mut routes.associated_subnets));
            let left = pairs.filter(|(_, associated)| *associated != subnet.id);
            (routes.associations, routes.associated_subnets) = left.unzip();
        }
    }

    /// Sees nodes as EC2 will show them once they are taken back.
    fn forget<'n>(&mut self, nodes: impl Iterator<Item = &'n Node>) {
        let ids: BTreeSet<&str> = nodes.map(|node| node.id.as_str()).collect();
        if ids.is_empty() {
            return;
        }
        let world = self.world.to_mut();
        let (gone, left) = std::mem::take(&mut world.nodes).into_iter().partition(|node| ids.contains(node.id.as_str()));
        world.nodes = left;
        let reason = "Client.UserInitiatedShutdown: taken back";
        let gone: Vec<Node> = gone;
        let gone = gone.into_iter().map(|Node { id, role, index, launched, .. }| GoneNode {
            id,
            role,
            index,
            launched,
            reason: reason.into(),
        });
        world.gone.extend(gone);
        world.normalise();
    }

    /// Whether a group cannot be had: all that is left to do then is to take back what was launched of it.
    pub fn is_hopeless(&self) -> bool {
        self.shortfalls.iter().any(|shortfall| !shortfall.is_tolerable())
    }

    /// Adds the steps that take nodes and subnet back, and what a person should know.
    pub fn begin(&self, draft: &mut Draft) {
        draft.terms = self.terms.clone();
        draft.withheld = self.withheld.clone();
        let mut roles: BTreeMap<&Role, Vec<&Node>> = BTreeMap::new();
        for node in &self.taken {
            roles.entry(&node.role).or_default().push(node);
        }
        let mut ended = Vec::new();
        for (role, nodes) in roles {
            let address = shown_as(role, indexes_of(&nodes));
            let summary = format!("{} × {}", nodes.len(), nodes[0].instance_type);
            draft.change(Sign::Delete, address.clone(), nodes.len(), summary, Vec::new(), Reason::NoRoom, Effect::InPlace);
            let ids: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
            ended.extend(terminate(draft, &address, &[], &ids));
        }
        if let Some(subnet) = self.left {
            let summary = format!("subnet {} in {}", subnet.cidr, subnet.zone);
            draft.change(Sign::Delete, Address::Subnet, 1, summary, Vec::new(), Reason::NoRoom, Effect::InPlace);
            let action = Action::DeleteSubnet { id: subnet.id.clone() };
            ended.push(draft.step_apart(Address::Subnet, ended.clone(), action));
        }
        draft.retreat = ended;
        for (address, obstacle) in &self.barred {
            draft.block(address.clone(), format!("no rung of its ladder can be tried: {obstacle}"), "add a rung that can");
        }
        for Shortfall { group, count, standing, .. } in self.shortfalls.iter().filter(|it| it.is_tolerable()) {
            let address = shown_as(&Role::Worker(group.clone()), 0..*count);
            let message = format!("it stands with {standing} of {count} workers: EC2 has no room for more");
            draft.warn(address, message, "apply again later, or ask for less: the spec's `min` allows it to stand so");
        }
    }
}

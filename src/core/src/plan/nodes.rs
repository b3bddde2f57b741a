//! Planning of nodes: which are missing, wrong or too many, and how they change.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::blueprint::{
    Blueprint, ensure_template, group_blueprint, master_blueprint, placement_group, placement_name, remove_unused_templates,
};
use super::draft::{Draft, TagDrift, difference};
use super::ladder::Terms;
use super::seat::{self, Seat};
use super::{Action, Difference, Effect, IDS_PER_CALL, Launch, Reason, Sign, Step, TemplateData, mesh, network};
use crate::address::{Address, Indexes, Role};
use crate::capacity::Pool;
use crate::fingerprint;
use crate::names::GroupName;
use crate::spec::{Network, Ready};
use crate::world::{GoneNode, Node, NodeState, World};

/// A tag value has at most 256 characters (ec2.md 2.8).
const TAG_VALUE_LIMIT: usize = 256;

pub(super) fn plan(draft: &mut Draft) {
    let Some(Seat { address: master_address, cidr }) = seat::choose(draft) else { return };
    let mut standing = Standing::of(draft.world);
    standing.make_way(draft, master_address);
    remove_foreign_groups(draft, &standing);
    let mut blueprints = Vec::new();
    if let Some(blueprint) = master_blueprint(draft, master_address, cidr) {
        blueprints.push(blueprint);
    }
    for group in &draft.spec.workers {
        placement_group(draft, group);
        if let Some(blueprint) = group_blueprint(draft, group, master_address, cidr) {
            blueprints.push(blueprint);
        }
    }
    if blueprints.len() < draft.spec.workers.len() + 1 {
        return;
    }
    let mut outgoing = Vec::new();
    for blueprint in &blueprints {
        outgoing.extend(nodes_of(draft, &standing, blueprint, master_address));
    }
    remove_unused_templates(draft, &blueprints);
    network::late_volume(draft);
    let ready = mesh::plan(draft, cidr);
    for (address, ids) in outgoing {
        terminate(draft, &address, &ready, &ids);
    }
    remove_placement_groups(draft);
}

/// The nodes of the world, and those that ended, by role and index.
pub(super) struct Standing<'a> {
    nodes: BTreeMap<&'a Role, BTreeMap<u32, Vec<&'a Node>>>,
    gone: BTreeMap<&'a Role, BTreeMap<u32, Vec<&'a GoneNode>>>,
    /// Steps that end workers at the master's address: it can be launched after them.
    cleared: Vec<usize>,
}

impl<'a> Standing<'a> {
    pub fn of(world: &'a World) -> Self {
        let mut standing = Self { nodes: BTreeMap::new(), gone: BTreeMap::new(), cleared: Vec::new() };
        for node in &world.nodes {
            standing.nodes.entry(&node.role).or_default().entry(node.index).or_default().push(node);
        }
        for gone in &world.gone {
            standing.gone.entry(&gone.role).or_default().entry(gone.index).or_default().push(gone);
        }
        standing
    }

    /// Plans the end of workers that sit at the master's address while there is no master.
    fn make_way(&mut self, draft: &mut Draft, master_address: Ipv4Addr) {
        for node in seat::intruders(draft.world, master_address) {
            let address = node.address();
            let summary = format!("1 × {}", node.instance_type);
            let reason = Reason::InTheWay(master_address);
            draft.change(Sign::Delete, address.clone(), 1, summary, Vec::new(), reason, Effect::Replace);
            self.cleared.extend(terminate(draft, &address, &[], std::slice::from_ref(&node.id)));
            if let Some(nodes) = self.nodes.get_mut(&node.role).and_then(|nodes| nodes.get_mut(&node.index)) {
                nodes.retain(|other| other.id != node.id);
            }
        }
    }

    pub fn at(&self, role: &Role, index: u32) -> &[&'a Node] {
        self.nodes.get(role).and_then(|nodes| nodes.get(&index)).map_or(&[], Vec::as_slice)
    }

    fn gone_at(&self, role: &Role, index: u32) -> &[&'a GoneNode] {
        self.gone.get(role).and_then(|gone| gone.get(&index)).map_or(&[], Vec::as_slice)
    }

    fn from(&self, role: &Role, index: u32) -> Vec<&'a Node> {
        self.nodes.get(role).into_iter().flat_map(|nodes| nodes.range(index..)).flat_map(|(_, nodes)| nodes).copied().collect()
    }
}

/// Ids on their way out once the others are ready, under the address they are shown as.
type Outgoing = Vec<(Address, Vec<String>)>;

/// Plans the nodes of one role; answers those that go once the new ones are ready.
fn nodes_of(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, master_address: Ipv4Addr) -> Outgoing {
    let count = match &blueprint.role {
        Role::Master => 1,
        Role::Worker(name) => draft.spec.workers.iter().find(|group| &group.group == name).map_or(0, |group| group.count),
    };
    let mut sorted = Sorted { surplus: standing.from(&blueprint.role, count), ..Sorted::default() };
    for index in 0..count {
        let nodes = standing.at(&blueprint.role, index);
        if draft.withholds(&blueprint.role, index) {
            // What is there stays as it is, since there is no room for a better one.
            nodes.iter().for_each(|node| draft.know(node.address(), &node.id));
        } else {
            sorted.sort_index(nodes, blueprint, index);
        }
    }
    keep(draft, &blueprint.role, &sorted.good);
    let mut outgoing = Vec::new();
    outgoing.extend(surplus(draft, blueprint, &sorted.surplus, Reason::NotInSpec));
    outgoing.extend(surplus(draft, blueprint, &sorted.superseded, Reason::Superseded));
    match blueprint.role {
        Role::Master => replace_master(draft, standing, blueprint, &sorted, master_address),
        Role::Worker(_) => outgoing.extend(replace_workers(draft, standing, blueprint, &sorted)),
    }
    launch_missing(draft, standing, blueprint, &sorted, master_address);
    outgoing
}

/// The nodes of one role, by what has to happen to them.
#[derive(Default)]
struct Sorted<'a> {
    good: Vec<&'a Node>,
    wrong: Vec<(&'a Node, Vec<Difference>)>,
    /// Old ones of an index that has a right one.
    superseded: Vec<&'a Node>,
    surplus: Vec<&'a Node>,
    missing: Vec<u32>,
}

impl<'a> Sorted<'a> {
    fn sort_index(&mut self, nodes: &[&'a Node], blueprint: &Blueprint, index: u32) {
        let mut found: Vec<(&Node, Vec<Difference>)> = nodes.iter().map(|node| (*node, blueprint.differences(node))).collect();
        // The right one first, then the youngest: the others are what an unfinished replacement left.
        found.sort_by(|(a, da), (b, db)| (da.len(), &b.launched, &a.id).cmp(&(db.len(), &a.launched, &b.id)));
        let mut found = found.into_iter();
        match found.next() {
            None => self.missing.push(index),
            Some((node, differences)) if differences.is_empty() => self.good.push(node),
            Some(wrong) => self.wrong.push(wrong),
        }
        self.superseded.extend(found.map(|(node, _)| node));
    }
}

/// Nodes that stay: tags mended, stopped ones started; all that need the same together.
fn keep(draft: &mut Draft, role: &Role, good: &[&Node]) {
    let mut drifted: BTreeMap<TagDrift, Vec<&Node>> = BTreeMap::new();
    let mut stopped = Vec::new();
    for node in good {
        draft.know(node.address(), &node.id);
        if let Some(drift) = draft.tag_drift(&node.tags) {
            drifted.entry(drift).or_default().push(node);
        }
        if matches!(node.state, NodeState::Stopped | NodeState::Stopping) {
            stopped.push(*node);
        }
    }
    for (drift, nodes) in drifted {
        draft.mend_drift(&shown_as(role, indexes_of(&nodes)), &ids_of(&nodes), drift);
    }
    if let Some(first) = stopped.first() {
        let address = shown_as(role, indexes_of(&stopped));
        let details = vec![difference("state", Some(first.state.to_string()), Some("running".into()))];
        let number = stopped.len();
        draft.change(Sign::Update, address.clone(), number, "start", details, Reason::StoppedOutside, Effect::InPlace);
        for ids in ids_of(&stopped).chunks(IDS_PER_CALL) {
            draft.step(address.clone(), &[], Action::Start { ids: ids.to_vec() });
        }
    }
}

fn ids_of(nodes: &[&Node]) -> Vec<String> {
    nodes.iter().map(|node| node.id.clone()).collect()
}

pub(super) fn indexes_of(nodes: &[&Node]) -> impl Iterator<Item = u32> {
    nodes.iter().map(|node| node.index)
}

fn surplus(draft: &mut Draft, blueprint: &Blueprint, nodes: &[&Node], reason: Reason) -> Outgoing {
    let Some(first) = nodes.first() else { return Vec::new() };
    let address = shown_as(&blueprint.role, indexes_of(nodes));
    let summary = format!("{} × {}", nodes.len(), first.instance_type);
    draft.change(Sign::Delete, address.clone(), nodes.len(), summary, Vec::new(), reason, Effect::InPlace);
    vec![(address, ids_of(nodes))]
}

pub(super) fn shown_as(role: &Role, indexes: impl IntoIterator<Item = u32>) -> Address {
    match role {
        Role::Master => Address::Master,
        Role::Worker(group) => {
            let indexes = Indexes::new(indexes);
            match (indexes.len(), indexes.at(0)) {
                (1, Some(only)) => Address::Worker(group.clone(), only),
                _ => Address::Workers(group.clone(), indexes),
            }
        }
    }
}

/// Adds the steps that end nodes.
pub(super) fn terminate(draft: &mut Draft, address: &Address, after: &[usize], ids: &[String]) -> Vec<usize> {
    let chunks = ids.chunks(IDS_PER_CALL);
    chunks.map(|ids| draft.step_after(address.clone(), after.to_vec(), Action::Terminate { ids: ids.to_vec() })).collect()
}

/// A master of another type is resized, its address and volumes stay; any other difference replaces it, old before
/// new, because its address is fixed.
fn replace_master(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted, address: Ipv4Addr) {
    for (node, differences) in &sorted.wrong {
        let only_type = differences.iter().all(|difference| difference.attribute == "instance_type");
        if only_type {
            draft.know(Address::Master, &node.id);
            let details = differences.clone();
            draft.change(Sign::Update, Address::Master, 1, "resize", details, Reason::SpecChanged, Effect::NeedsStop);
            let instance_type = blueprint.template.instance_type.clone();
            let action = Action::Resize { id: node.id.clone(), instance_type, market: blueprint.template.market };
            draft.step(Address::Master, &[], action);
            draft.mend_tags(&Address::Master, &node.id, &node.tags);
        } else {
            let summary = format!("1 × {}", blueprint.template.instance_type);
            let details = differences.clone();
            draft.change(Sign::Replace, Address::Master, 1, summary, details, Reason::SpecChanged, Effect::Replace);
            let gone = terminate(draft, &Address::Master, &[], std::slice::from_ref(&node.id));
            launch(draft, standing, blueprint, &[0], Some(node.private_address.unwrap_or(address)), gone);
        }
    }
}

fn replace_workers(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted) -> Outgoing {
    if sorted.wrong.is_empty() {
        return Vec::new();
    }
    let indexes: Vec<u32> = sorted.wrong.iter().map(|(node, _)| node.index).collect();
    let address = shown_as(&blueprint.role, indexes.iter().copied());
    let summary = format!("{} × {}", indexes.len(), blueprint.template.instance_type);
    let mut details: Vec<Difference> = Vec::new();
    let mut told = std::collections::HashSet::new();
    for difference in sorted.wrong.iter().flat_map(|(_, differences)| differences) {
        if told.insert((&difference.attribute, &difference.from)) {
            details.push(difference.clone());
        }
    }
    draft.change(Sign::Replace, address.clone(), indexes.len(), summary, details, Reason::SpecChanged, Effect::Rolling);
    launch(draft, standing, blueprint, &indexes, None, Vec::new());
    vec![(address, sorted.wrong.iter().map(|(node, _)| node.id.clone()).collect())]
}

fn launch_missing(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted, master_address: Ipv4Addr) {
    if sorted.missing.is_empty() {
        return;
    }
    let mut fresh = Vec::new();
    for index in sorted.missing.iter().copied() {
        match ended(draft, standing, blueprint, index) {
            Some(reason) => {
                let summary = format!("1 × {}", blueprint.template.instance_type);
                draft.create(shown_as(&blueprint.role, [index]), summary, Reason::EndedOutside(reason));
            }
            None => fresh.push(index),
        }
    }
    if !fresh.is_empty() {
        let summary = format!("{} × {}", fresh.len(), blueprint.template.instance_type);
        let address = shown_as(&blueprint.role, fresh.iter().copied());
        draft.change(Sign::Create, address, fresh.len(), summary, Vec::new(), Reason::NotThere, Effect::InPlace);
    }
    let fixed = (blueprint.role == Role::Master).then_some(master_address);
    let after = if fixed.is_some() { standing.cleared.clone() } else { Vec::new() };
    launch(draft, standing, blueprint, &sorted.missing, fixed, after);
}

/// Why an index has no node although others of the cluster live on: EC2's reason for the one that ended.
fn ended(draft: &Draft, standing: &Standing, blueprint: &Blueprint, index: u32) -> Option<String> {
    if draft.world.nodes.is_empty() {
        return None;
    }
    let gone = standing.gone_at(&blueprint.role, index).last()?;
    // What ewulf itself terminated is no surprise.
    (!gone.reason.starts_with("Client.UserInitiatedShutdown")).then(|| format!("{} {}", gone.id, gone.reason))
}

/// Launches nodes once all that they are launched into exists. What else makes the network whole is waited for later.
fn launch(
    draft: &mut Draft,
    standing: &Standing,
    blueprint: &Blueprint,
    indexes: &[u32],
    address: Option<Ipv4Addr>,
    mut after: Vec<usize>,
) {
    let master_address = blueprint.master_address;
    let mut needs = vec![Address::Subnet, Address::SecurityGroup, ensure_template(draft, blueprint)];
    if let Role::Worker(group) = &blueprint.role {
        needs.push(Address::PlacementGroup(group.clone()));
    }
    after.extend(draft.creators_of(&needs));
    if address.is_none() && (!standing.cleared.is_empty() || seat::is_contested(draft)) {
        after.extend(draft.positions_of(takes_its_address));
    }
    let most = usize::try_from(draft.world.limits.launch.instances.capacity).unwrap_or(IDS_PER_CALL).clamp(1, IDS_PER_CALL);
    let mut terms = terms(draft, blueprint);
    for part in Indexes::new(indexes.iter().copied()).split(most, TAG_VALUE_LIMIT) {
        let shown = shown_as(&blueprint.role, part.iter());
        // The first parts must be whole before a later one may be small: together they are at least as many as will do.
        let least = terms.least.clamp(1, part.len());
        terms.least = terms.least.saturating_sub(part.len());
        let launch = Launch {
            least,
            pool: terms.pool.clone(),
            patience_seconds: terms.patience.map_or(0, |patience| patience.as_seconds()),
            rung: terms.rung,
            joins: draft.spec.ready == Ready::Joined,
            role: blueprint.role.clone(),
            generation: generation(standing, &blueprint.role, &part),
            indexes: part,
            template: blueprint.template_name.clone(),
            fingerprint: blueprint.fingerprint.clone(),
            private_address: address,
            master_address,
            public_address: matches!(draft.spec.network, Network::Own(_)),
            shared_path: draft.spec.shared.path.to_string(),
        };
        draft.step_after(shown, after.clone(), Action::Launch(launch));
    }
    if let Role::Worker(group) = &blueprint.role
        && let Some(kept) = draft.terms.get_mut(group)
    {
        kept.least = terms.least;
    }
}

/// On which terms nodes of a role are launched; what a group still needs is counted down launch by launch.
fn terms(draft: &Draft, blueprint: &Blueprint) -> Terms {
    let of_group = match &blueprint.role {
        Role::Master => None,
        Role::Worker(group) => draft.terms.get(group).cloned(),
    };
    of_group.unwrap_or_else(|| {
        let TemplateData { instance_type, market, .. } = &blueprint.template;
        let zone = network::zone(draft).unwrap_or_default();
        Terms {
            pool: Pool { instance_type: instance_type.clone(), zone, market: *market },
            patience: None,
            rung: (1, 1),
            least: usize::MAX,
        }
    })
}

fn takes_its_address(step: &Step) -> bool {
    matches!(&step.action, Action::Launch(launch) if launch.private_address.is_some())
}

/// Hash of every instance that these indexes ever had, as far as it is still listed.
fn generation(standing: &Standing, role: &Role, indexes: &Indexes) -> String {
    let mut ids = Vec::new();
    for index in indexes.iter() {
        ids.extend(standing.at(role, index).iter().map(|node| node.id.as_str()));
        ids.extend(standing.gone_at(role, index).iter().map(|gone| gone.id.as_str()));
    }
    ids.sort_unstable();
    fingerprint::of(&ids)
}

/// Nodes of groups that the spec no longer has.
fn remove_foreign_groups(draft: &mut Draft, standing: &Standing) {
    let groups = &draft.spec.workers;
    let is_foreign = |role: &Role| matches!(role, Role::Worker(name) if !groups.iter().any(|group| &group.group == name));
    for role in standing.nodes.keys().filter(|role| is_foreign(role)) {
        let nodes = standing.from(role, 0);
        let address = shown_as(role, indexes_of(&nodes));
        let summary = format!("{} × {}", nodes.len(), nodes[0].instance_type);
        draft.change(Sign::Delete, address.clone(), nodes.len(), summary, Vec::new(), Reason::NotInSpec, Effect::InPlace);
        terminate(draft, &address, &[], &ids_of(&nodes));
    }
}

/// Placement groups that the spec no longer asks for go after the nodes in them.
fn remove_placement_groups(draft: &mut Draft) {
    let groups = &draft.spec.workers;
    for placement in &draft.world.placement_groups {
        if groups.iter().any(|group| placement_name(draft, group).as_ref() == Some(&placement.name)) {
            continue;
        }
        let after = draft.positions_of(|step| {
            matches!(step.action, Action::Terminate { .. }) && group_of(&step.address) == group_of(&placement.address)
        });
        let address = placement.address.clone();
        draft.change(Sign::Delete, address.clone(), 1, "placement group", Vec::new(), Reason::NotInSpec, Effect::InPlace);
        draft.step_after(address, after, Action::DeletePlacementGroup { name: placement.name.clone() });
    }
}

fn group_of(address: &Address) -> Option<&GroupName> {
    match address {
        Address::PlacementGroup(group) | Address::Worker(group, _) | Address::Workers(group, _) => Some(group),
        _ => None,
    }
}

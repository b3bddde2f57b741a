//! Planning of nodes: which are missing, wrong or too many, and how they change.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::attributes::{Wrong, distance, needs_replacement};
use super::blueprint::{
    Blueprint, ensure_template, group_blueprint, master_blueprint, placement_group, placement_name, remove_unused_templates,
};
use super::changes::{self, Changed, Growing};
use super::draft::{Draft, TagDrift, difference};
use super::ladder::Terms;
use super::pinned::Room;
use super::seat::{self, Seat};
use super::{Action, Difference, Effect, IDS_PER_CALL, Launch, Reason, Sign, Step, TemplateData, mesh, network};
use crate::address::{Address, Indexes, Role};
use crate::capacity::Pool;
use crate::fingerprint;
use crate::names::GroupName;
use crate::spec::{ClusterSpec, Network, Ready};
use crate::world::{GoneNode, Node, World};

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
    let (mut outgoing, mut growing) = (Vec::new(), Growing::new());
    // EC2 gives whoever has no address of his own any that is free, so those who have one come first.
    blueprints.sort_by_key(|blueprint| !blueprint.keeps_its_place());
    for blueprint in &blueprints {
        outgoing.extend(nodes_of(draft, &standing, blueprint, master_address, &mut growing));
    }
    remove_unused_templates(draft, &blueprints);
    network::late_volume(draft);
    let ready = mesh::plan(draft, cidr);
    changes::grow_file_systems(draft, growing, &ready);
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
fn nodes_of<'a>(
    draft: &mut Draft<'a>,
    standing: &Standing<'a>,
    blueprint: &Blueprint,
    master_address: Ipv4Addr,
    growing: &mut Growing<'a>,
) -> Outgoing {
    let count = match &blueprint.role {
        Role::Master => 1,
        Role::Worker(name) => draft.spec.workers.iter().find(|group| &group.group == name).map_or(0, |group| group.count),
    };
    let mut sorted = Sorted { surplus: standing.from(&blueprint.role, count), ..Sorted::default() };
    let security_group = draft.world.security_group.as_ref().map(|group| &group.id);
    for index in 0..count {
        let nodes = standing.at(&blueprint.role, index);
        if draft.withholds(&blueprint.role, index) {
            // What is there stays as it is, since there is no room for a better one.
            nodes.iter().for_each(|node| draft.know(node.address(), &node.id));
        } else {
            sorted.sort_index(nodes, blueprint, security_group, index);
        }
    }
    let kept: Vec<&Node> = sorted.good.iter().copied().chain(sorted.changing.iter().map(|(node, _)| *node)).collect();
    mend_tags(draft, &blueprint.role, &kept);
    let mut changed = changes::plan(draft, blueprint, &sorted.changing);
    start_stopped(draft, &blueprint.role, &kept, &mut changed);
    changes::new_roots(draft, blueprint, &sorted.changing, &mut changed);
    changes::note_growing(growing, blueprint, &kept, &changed);
    let room = Room::of(draft, blueprint, &sorted);
    let mut outgoing = Vec::new();
    outgoing.extend(surplus(draft, blueprint, &sorted.surplus, Reason::NotInSpec));
    outgoing.extend(surplus(draft, blueprint, &sorted.superseded, Reason::Superseded));
    let leaving: Vec<String> = room.leaving.iter().map(|id| (*id).to_owned()).collect();
    let gone = terminate(draft, &shown_as(&blueprint.role, room.waiting.iter().copied()), &[], &leaving);
    let gone = Vec::from_iter(gone);
    let places = match blueprint.role {
        Role::Master => Places::Fixed(master_address, &standing.cleared),
        Role::Worker(_) if blueprint.addresses.is_some() => Places::Pinned(&room, &gone),
        Role::Worker(_) => Places::Free,
    };
    match blueprint.role {
        Role::Master => replace_master(draft, standing, blueprint, &sorted, master_address),
        Role::Worker(_) => outgoing.extend(replace_workers(draft, standing, blueprint, &sorted, &places)),
    }
    launch_missing(draft, standing, blueprint, &sorted, &places);
    for (_, ids) in &mut outgoing {
        ids.retain(|id| !room.leaving.contains(id.as_str()));
    }
    outgoing
}

/// Which addresses new nodes get.
enum Places<'a> {
    /// Whatever is free.
    Free,
    /// One node's own, once these steps have ended.
    Fixed(Ipv4Addr, &'a [usize]),
    /// One each, from the group's range, once the steps that end their holders have ended.
    Pinned(&'a Room<'a>, &'a [usize]),
}

/// The nodes of one role, by what has to happen to them.
#[derive(Default)]
pub(super) struct Sorted<'a> {
    good: Vec<&'a Node>,
    /// Those that stay and change.
    changing: Vec<Wrong<'a>>,
    /// Those that make room for others.
    pub wrong: Vec<Wrong<'a>>,
    /// Old ones of an index that has a right one.
    pub superseded: Vec<&'a Node>,
    pub surplus: Vec<&'a Node>,
    pub missing: Vec<u32>,
}

impl<'a> Sorted<'a> {
    fn sort_index(&mut self, nodes: &[&'a Node], blueprint: &Blueprint, security_group: Option<&String>, index: u32) {
        let mut found: Vec<Wrong<'a>> = nodes.iter().map(|node| (*node, blueprint.gaps(node, security_group))).collect();
        // The right one first, then the youngest: the others are what an unfinished replacement left.
        found.sort_by(|(a, of_a), (b, of_b)| (distance(of_a), &b.launched, &a.id).cmp(&(distance(of_b), &a.launched, &b.id)));
        let mut found = found.into_iter();
        match found.next() {
            None => self.missing.push(index),
            Some((node, gaps)) if gaps.is_empty() => self.good.push(node),
            Some((node, gaps)) if needs_replacement(&gaps) => self.wrong.push((node, gaps)),
            Some(changing) => self.changing.push(changing),
        }
        self.superseded.extend(found.map(|(node, _)| node));
    }
}

/// Mends the tags of nodes that stay and of what was made with them: all that drifted alike together.
fn mend_tags(draft: &mut Draft, role: &Role, kept: &[&Node]) {
    let mut drifted: BTreeMap<TagDrift, (Vec<&Node>, Vec<String>)> = BTreeMap::new();
    for node in kept {
        draft.know(node.address(), &node.id);
        let root = node.root.iter().map(|root| (&root.id, &root.tags));
        let companions = node.interface.iter().chain(&node.spot_request);
        let companions = companions.filter_map(|companion| Some((&companion.id, companion.tags.as_ref()?)));
        for (id, tags) in std::iter::once((&node.id, &node.tags)).chain(root).chain(companions) {
            if let Some(drift) = draft.tag_drift(tags) {
                let (nodes, ids) = drifted.entry(drift).or_default();
                if nodes.last().is_none_or(|last| last.id != node.id) {
                    nodes.push(node);
                }
                ids.push(id.clone());
            }
        }
    }
    for (drift, (nodes, ids)) in drifted {
        let summary = match ids.iter().filter(|id| !id.starts_with("i-")).count() {
            0 => "tags".to_owned(),
            others if others == ids.len() => format!("tags of volumes, interfaces or requests ({others})"),
            others => format!("tags, also of volumes, interfaces or requests ({others})"),
        };
        draft.mend_drift(&shown_as(role, indexes_of(&nodes)), &summary, nodes.len(), &ids, drift);
    }
}

/// Starts nodes that stay and are stopped, once what changes live has changed.
fn start_stopped(draft: &mut Draft, role: &Role, kept: &[&Node], changed: &mut Changed) {
    let is_stopped = |node: &&&Node| !node.is_up() && !changed.restarted.contains(node.id.as_str());
    let stopped: Vec<&Node> = kept.iter().filter(is_stopped).copied().collect();
    let Some(first) = stopped.first() else { return };
    let address = shown_as(role, indexes_of(&stopped));
    let details = vec![difference("state", Some(first.state.to_string()), Some("running".into()))];
    let number = stopped.len();
    draft.change(Sign::Update, address.clone(), number, "start", details, Reason::StoppedOutside, Effect::InPlace);
    for ids in ids_of(&stopped).chunks(IDS_PER_CALL) {
        let start = draft.step_after(address.clone(), changed.live.clone(), Action::Start { ids: ids.to_vec() });
        changed.starting.push(start);
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

/// Adds the step that ends nodes, if there are any.
pub(super) fn terminate(draft: &mut Draft, address: &Address, after: &[usize], ids: &[String]) -> Option<usize> {
    let action = Action::Terminate { ids: ids.to_vec() };
    (!ids.is_empty()).then(|| draft.step_after(address.clone(), after.to_vec(), action))
}

/// A master that cannot be changed where it stands goes before its successor comes, because its address is fixed.
fn replace_master(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted, address: Ipv4Addr) {
    for (node, _) in &sorted.wrong {
        let summary = format!("1 × {}", blueprint.template.instance_type);
        let details = told_once(&sorted.wrong);
        draft.change(Sign::Replace, Address::Master, 1, summary, details, Reason::SpecChanged, Effect::Replace);
        let gone = Vec::from_iter(terminate(draft, &Address::Master, &[], std::slice::from_ref(&node.id)));
        let places = Places::Fixed(node.private_address.unwrap_or(address), &gone);
        launch(draft, standing, blueprint, &[0], &places);
    }
}

fn replace_workers(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted, places: &Places) -> Outgoing {
    if sorted.wrong.is_empty() {
        return Vec::new();
    }
    let indexes: Vec<u32> = sorted.wrong.iter().map(|(node, _)| node.index).collect();
    let address = shown_as(&blueprint.role, indexes.iter().copied());
    let summary = summary(blueprint, &indexes);
    let details = told_once(&sorted.wrong);
    let goes_first = matches!(places, Places::Pinned(room, _) if indexes.iter().any(|index| room.waiting.contains(index)));
    let effect = if goes_first { Effect::Replace } else { Effect::Rolling };
    draft.change(Sign::Replace, address.clone(), indexes.len(), summary, details, Reason::SpecChanged, effect);
    launch(draft, standing, blueprint, &indexes, places);
    vec![(address, sorted.wrong.iter().map(|(node, _)| node.id.clone()).collect())]
}

/// All differences of nodes, each once.
fn told_once(wrong: &[Wrong]) -> Vec<Difference> {
    let mut told = std::collections::HashSet::new();
    let differences = wrong.iter().flat_map(|(_, gaps)| gaps).map(|gap| &gap.difference);
    differences.filter(|difference| told.insert((&difference.attribute, &difference.from))).cloned().collect()
}

/// What is launched, in words.
fn summary(blueprint: &Blueprint, indexes: &[u32]) -> String {
    let what = format!("{} × {}", indexes.len(), blueprint.template.instance_type);
    let address = |index: &u32| blueprint.address_of(*index);
    match (indexes.first().and_then(address), indexes.last().and_then(address)) {
        (Some(first), Some(last)) if first == last => format!("{what} at {first}"),
        (Some(first), Some(last)) => format!("{what} at {first}-{last}, a launch each"),
        _ => what,
    }
}

fn launch_missing(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, sorted: &Sorted, places: &Places) {
    if sorted.missing.is_empty() {
        return;
    }
    let mut fresh = Vec::new();
    for index in sorted.missing.iter().copied() {
        match ended(draft, standing, blueprint, index) {
            Some(reason) => {
                let summary = summary(blueprint, &[index]);
                draft.create(shown_as(&blueprint.role, [index]), summary, Reason::EndedOutside(reason));
            }
            None => fresh.push(index),
        }
    }
    if !fresh.is_empty() {
        let summary = summary(blueprint, &fresh);
        let address = shown_as(&blueprint.role, fresh.iter().copied());
        draft.change(Sign::Create, address, fresh.len(), summary, Vec::new(), Reason::NotThere, Effect::InPlace);
    }
    launch(draft, standing, blueprint, &sorted.missing, places);
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
fn launch(draft: &mut Draft, standing: &Standing, blueprint: &Blueprint, indexes: &[u32], places: &Places) {
    let mut needs = vec![Address::Subnet, Address::SecurityGroup, ensure_template(draft, blueprint)];
    if let Role::Worker(group) = &blueprint.role {
        needs.push(Address::PlacementGroup(group.clone()));
    }
    let mut after = draft.creators_of(&needs);
    if matches!(places, Places::Free) {
        // EC2 gives nodes without an address of their own any that is free, another's too.
        let is_risky = !standing.cleared.is_empty() || seat::is_contested(draft);
        after.extend(draft.positions_of(|step| takes_its_address(step) && (is_risky || step.address != Address::Master)));
    }
    // A fixed address takes one instance a call (ec2.md 6.7).
    let most = if matches!(places, Places::Free) {
        usize::try_from(draft.world.limits.launch.instances.capacity).unwrap_or(IDS_PER_CALL).clamp(1, IDS_PER_CALL)
    } else {
        1
    };
    let mut terms = terms(draft, blueprint);
    for part in Indexes::new(indexes.iter().copied()).split(most, TAG_VALUE_LIMIT) {
        let shown = shown_as(&blueprint.role, part.iter());
        let first = part.at(0).unwrap_or_default();
        let (address, before) = match places {
            Places::Free => (None, Vec::new()),
            Places::Fixed(address, gone) => (Some(*address), gone.to_vec()),
            Places::Pinned(room, gone) => (blueprint.address_of(first), room.before(first, gone)),
        };
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
            master_address: blueprint.master_address,
            market: blueprint.template.market,
            root_gibibytes: blueprint.template.root_gibibytes,
            public_address: matches!(draft.spec.network, Network::Own(_)),
            shared_path: draft.spec.shared.path.to_string(),
        };
        let after = after.iter().copied().chain(before).collect();
        draft.step_after(shown, after, Action::Launch(launch));
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

/// Whether the spec has no such group.
pub(super) fn is_foreign(spec: &ClusterSpec, role: &Role) -> bool {
    matches!(role, Role::Worker(name) if !spec.workers.iter().any(|group| &group.group == name))
}

/// Nodes of groups that the spec no longer has.
fn remove_foreign_groups(draft: &mut Draft, standing: &Standing) {
    let spec = draft.spec;
    for role in standing.nodes.keys().filter(|role| is_foreign(spec, role)) {
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
            let leaves = matches!(step.action, Action::Terminate { .. } | Action::ChangeStopped { .. });
            leaves && group_of(&step.address) == group_of(&placement.address)
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

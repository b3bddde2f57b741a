//! Planning of nodes: what they are made from, which are missing, wrong or too many, and how they find each other.

use std::net::Ipv4Addr;

use super::draft::{Draft, difference};
use super::network::SHARED_DEVICE;
use super::{Action, Difference, Effect, Launch, Reason, Sign, TemplateData, resource_name};
use crate::address::{Address, FINGERPRINT_TAG, Indexes, JOINED_TAG, Role};
use crate::fingerprint;
use crate::quantity::Ipv4Network;
use crate::spec::{ImageReference, Market, Network, Placement, Ready, WorkerGroup};
use crate::user_data::{NodeConfiguration, user_data};
use crate::world::{Ami, Image, Node, NodeState};

/// A tag value has at most 256 characters (ec2.md 2.8).
const TAG_VALUE_LIMIT: usize = 256;

/// What all nodes of one role are made from.
struct Blueprint {
    role: Role,
    template: TemplateData,
    /// Hash of all but image and type, which can be read back.
    fingerprint: String,
    template_name: String,
}

pub(super) fn plan(draft: &mut Draft) {
    let Some((master_address, cidr)) = addresses(draft) else { return };
    remove_foreign_groups(draft);
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
        outgoing.extend(nodes_of(draft, blueprint, master_address));
    }
    remove_unused_templates(draft, &blueprints);
    let ready = join(draft, cidr);
    for (address, ids) in outgoing {
        draft.step_after(address, ready.clone(), Action::Terminate { ids });
    }
}

/// The master's address and the network that MPI stays in.
fn addresses(draft: &mut Draft) -> Option<(Ipv4Addr, Ipv4Network)> {
    let (subnet, cidr) = match &draft.spec.network {
        // What stands wins: a differing spec is a blocker already.
        Network::Own(own) => {
            let standing = draft.world.subnet.as_ref().map(|subnet| subnet.cidr).unwrap_or(own.cidr);
            (standing, standing)
        }
        Network::Existing(_) => {
            let network = draft.world.existing_network.as_ref()?;
            (network.subnet_cidr, network.vpc_cidr)
        }
    };
    let standing = draft.world.master().and_then(|master| master.private_address);
    let taken: Vec<Ipv4Addr> =
        draft.world.existing_network.as_ref().map(|network| network.taken_addresses.clone()).unwrap_or_default();
    // AWS keeps the first four addresses and the last (ec2.md 6.6); ours is the first after them that is free.
    let chosen = standing.or_else(|| subnet.hosts().find(|address| !taken.contains(address)));
    match chosen {
        Some(address) => Some((address, cidr)),
        None => {
            draft.block(Address::Subnet, "no address is free for the master", "use a larger subnet");
            None
        }
    }
}

fn ami(draft: &mut Draft, address: &Address, reference: &ImageReference) -> Option<Ami> {
    match reference {
        ImageReference::Ami(reference) => {
            let found = draft.world.amis.get(reference.ami.as_str()).cloned().flatten();
            if found.is_none() {
                let message = format!("AMI {} is not visible in this region", reference.ami);
                draft.block(address.clone(), message, "check the id and the region, or name a recipe");
            }
            found
        }
        ImageReference::Recipe(name) => match draft.world.images.get(name) {
            Some(Image::Fresh(ami)) => Some(ami.clone()),
            Some(Image::Stale(ami)) => {
                let ami = ami.clone();
                draft.warn(
                    address.clone(),
                    format!("image `{name}` is stale: {} was baked from an earlier recipe, templates, kernels or base", ami.id),
                    format!("ewulf bake-ami images/{name}.yaml"),
                );
                Some(ami)
            }
            Some(Image::Missing) | None => {
                let message = format!("image `{name}` is not baked yet");
                draft.block(address.clone(), message, format!("ewulf bake-ami images/{name}.yaml"));
                None
            }
        },
    }
}

fn master_blueprint(draft: &mut Draft, master_address: Ipv4Addr, cidr: Ipv4Network) -> Option<Blueprint> {
    let spec = draft.spec;
    let ami = ami(draft, &Address::Master, &spec.master.image)?;
    let template = TemplateData {
        instance_type: spec.master.instance_type.to_string(),
        user_data: configuration(draft, &Role::Master, master_address, cidr),
        instance_profile: spec.master_instance_profile().map(ToString::to_string),
        root_gibibytes: spec.master.root_volume.as_gibibytes().max(ami.root_gibibytes),
        placement_group: None,
        market: Market::OnDemand,
        image_id: ami.id,
        root_device: ami.root_device,
    };
    Some(Blueprint::new(draft, Role::Master, template))
}

fn group_blueprint(draft: &mut Draft, group: &WorkerGroup, master_address: Ipv4Addr, cidr: Ipv4Network) -> Option<Blueprint> {
    let role = Role::Worker(group.group.clone());
    let ami = ami(draft, &Address::Workers(group.group.clone(), Indexes::new(0..group.count)), &group.image)?;
    let template = TemplateData {
        instance_type: group.instance_type.to_string(),
        user_data: configuration(draft, &role, master_address, cidr),
        instance_profile: draft.spec.group_instance_profile(group).map(ToString::to_string),
        root_gibibytes: group.root_volume.as_gibibytes().max(ami.root_gibibytes),
        placement_group: placement_name(draft, group),
        market: group.market,
        image_id: ami.id,
        root_device: ami.root_device,
    };
    Some(Blueprint::new(draft, role, template))
}

fn configuration(draft: &Draft, role: &Role, master_address: Ipv4Addr, cidr: Ipv4Network) -> String {
    let has_volume = *role == Role::Master && draft.spec.shared.volume.is_some();
    user_data(&NodeConfiguration {
        cluster: draft.spec.cluster.to_string(),
        role: role.clone(),
        master_address,
        cidr,
        shared_path: draft.spec.shared.path.to_string(),
        shared_device: has_volume.then(|| SHARED_DEVICE.to_owned()),
    })
}

impl Blueprint {
    fn new(draft: &Draft, role: Role, template: TemplateData) -> Self {
        let rest = TemplateData { image_id: String::new(), instance_type: String::new(), ..template.clone() };
        let template_name = resource_name(&draft.spec.cluster, &format!("{role}-{}", fingerprint::of(&template)));
        Self { role, fingerprint: fingerprint::of(&rest), template, template_name }
    }

    /// What of a node differs from this.
    fn differences(&self, node: &Node) -> Vec<Difference> {
        let mut found = Vec::new();
        if node.instance_type != self.template.instance_type {
            found.push(difference("instance_type", Some(node.instance_type.clone()), Some(self.template.instance_type.clone())));
        }
        if node.image_id != self.template.image_id {
            found.push(difference("image", Some(node.image_id.clone()), Some(self.template.image_id.clone())));
        }
        if node.tag(FINGERPRINT_TAG) != Some(&self.fingerprint) {
            let was = node.tag(FINGERPRINT_TAG).map(str::to_owned);
            found.push(difference("configuration", was, Some(self.fingerprint.clone())));
        }
        found
    }
}

fn placement_name(draft: &Draft, group: &WorkerGroup) -> Option<String> {
    (group.placement == Placement::Cluster).then(|| resource_name(&draft.spec.cluster, group.group.as_str()))
}

fn placement_group(draft: &mut Draft, group: &WorkerGroup) {
    let Some(name) = placement_name(draft, group) else { return };
    let address = Address::PlacementGroup(group.group.clone());
    match draft.world.placement_groups.iter().find(|existing| existing.name == name) {
        Some(existing) => {
            draft.know(address.clone(), &existing.name);
            draft.mend_tags(&address, std::slice::from_ref(&existing.id), &existing.tags);
        }
        None => {
            draft.create(address.clone(), "cluster placement group", Reason::NotThere);
            draft.step(address, &[], Action::CreatePlacementGroup { name });
        }
    }
}

/// Ids on their way out once the others are ready, under the address they are shown as.
type Outgoing = Vec<(Address, Vec<String>)>;

/// Plans the nodes of one role; answers those that go once the new ones are ready.
fn nodes_of(draft: &mut Draft, blueprint: &Blueprint, master_address: Ipv4Addr) -> Outgoing {
    let count = match &blueprint.role {
        Role::Master => 1,
        Role::Worker(name) => draft.spec.workers.iter().find(|group| &group.group == name).map_or(0, |group| group.count),
    };
    let mut sorted = Sorted::default();
    for index in 0..count {
        sorted.sort_index(draft, blueprint, index);
    }
    for node in draft.world.nodes.iter().filter(|node| node.role == blueprint.role && node.index >= count) {
        sorted.surplus.push(node);
    }
    keep(draft, &sorted);
    let mut outgoing = Vec::new();
    outgoing.extend(surplus(draft, blueprint, &sorted.surplus, Reason::NotInSpec));
    outgoing.extend(surplus(draft, blueprint, &sorted.superseded, Reason::Superseded));
    match blueprint.role {
        Role::Master => replace_master(draft, blueprint, &sorted),
        Role::Worker(_) => outgoing.extend(replace_workers(draft, blueprint, &sorted)),
    }
    launch_missing(draft, blueprint, &sorted, master_address);
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
    fn sort_index(&mut self, draft: &Draft<'a>, blueprint: &Blueprint, index: u32) {
        let mut found: Vec<(&Node, Vec<Difference>)> = draft
            .world
            .nodes
            .iter()
            .filter(|node| node.role == blueprint.role && node.index == index)
            .map(|node| (node, blueprint.differences(node)))
            .collect();
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

/// Nodes that stay: tags mended, stopped ones started.
fn keep(draft: &mut Draft, sorted: &Sorted) {
    for node in &sorted.good {
        draft.know(node.address(), &node.id);
        draft.mend_tags(&node.address(), std::slice::from_ref(&node.id), &node.tags);
        if matches!(node.state, NodeState::Stopped | NodeState::Stopping) {
            let details = vec![difference("state", Some(node.state.to_string()), Some("running".into()))];
            draft.change(Sign::Update, node.address(), 1, "start", details, Reason::StoppedOutside, Effect::InPlace);
            draft.step(node.address(), &[], Action::Start { ids: vec![node.id.clone()] });
        }
    }
}

fn surplus(draft: &mut Draft, blueprint: &Blueprint, nodes: &[&Node], reason: Reason) -> Outgoing {
    if nodes.is_empty() {
        return Vec::new();
    }
    let address = shown_as(&blueprint.role, nodes.iter().map(|node| node.index));
    let summary = format!("{} × {}", nodes.len(), nodes[0].instance_type);
    draft.change(Sign::Delete, address.clone(), nodes.len(), summary, Vec::new(), reason, Effect::InPlace);
    vec![(address, nodes.iter().map(|node| node.id.clone()).collect())]
}

fn shown_as(role: &Role, indexes: impl IntoIterator<Item = u32>) -> Address {
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

/// A master of another type is resized, its address and volumes stay; any other difference replaces it, old before
/// new, because its address is fixed.
fn replace_master(draft: &mut Draft, blueprint: &Blueprint, sorted: &Sorted) {
    for (node, differences) in &sorted.wrong {
        let only_type = differences.iter().all(|difference| difference.attribute == "instance_type");
        if only_type {
            draft.know(Address::Master, &node.id);
            let details = differences.clone();
            draft.change(Sign::Update, Address::Master, 1, "resize", details, Reason::SpecChanged, Effect::NeedsStop);
            let instance_type = blueprint.template.instance_type.clone();
            let action = Action::Resize { id: node.id.clone(), instance_type, market: blueprint.template.market };
            draft.step(Address::Master, &[], action);
        } else {
            let summary = format!("1 × {}", blueprint.template.instance_type);
            let details = differences.clone();
            draft.change(Sign::Replace, Address::Master, 1, summary, details, Reason::SpecChanged, Effect::Replace);
            let gone = draft.step(Address::Master, &[], Action::Terminate { ids: vec![node.id.clone()] });
            launch(draft, blueprint, &[0], node.private_address, vec![gone]);
        }
    }
}

fn replace_workers(draft: &mut Draft, blueprint: &Blueprint, sorted: &Sorted) -> Outgoing {
    if sorted.wrong.is_empty() {
        return Vec::new();
    }
    let indexes: Vec<u32> = sorted.wrong.iter().map(|(node, _)| node.index).collect();
    let address = shown_as(&blueprint.role, indexes.iter().copied());
    let summary = format!("{} × {}", indexes.len(), blueprint.template.instance_type);
    let mut details: Vec<Difference> = Vec::new();
    for difference in sorted.wrong.iter().flat_map(|(_, differences)| differences) {
        if !details.contains(difference) {
            details.push(difference.clone());
        }
    }
    draft.change(Sign::Replace, address.clone(), indexes.len(), summary, details, Reason::SpecChanged, Effect::Rolling);
    launch(draft, blueprint, &indexes, None, Vec::new());
    vec![(address, sorted.wrong.iter().map(|(node, _)| node.id.clone()).collect())]
}

fn launch_missing(draft: &mut Draft, blueprint: &Blueprint, sorted: &Sorted, master_address: Ipv4Addr) {
    if sorted.missing.is_empty() {
        return;
    }
    let lost: Vec<u32> = sorted.missing.iter().copied().filter(|index| ended(draft, blueprint, *index).is_some()).collect();
    let fresh: Vec<u32> = sorted.missing.iter().copied().filter(|index| !lost.contains(index)).collect();
    for index in lost {
        let reason = ended(draft, blueprint, index).unwrap_or_default();
        let summary = format!("1 × {}", blueprint.template.instance_type);
        draft.create(shown_as(&blueprint.role, [index]), summary, Reason::EndedOutside(reason));
    }
    if !fresh.is_empty() {
        let summary = format!("{} × {}", fresh.len(), blueprint.template.instance_type);
        let address = shown_as(&blueprint.role, fresh.iter().copied());
        draft.change(Sign::Create, address, fresh.len(), summary, Vec::new(), Reason::NotThere, Effect::InPlace);
    }
    let fixed = (blueprint.role == Role::Master).then_some(master_address);
    launch(draft, blueprint, &sorted.missing, fixed, Vec::new());
}

/// Why an index has no node although others of the cluster live on: EC2's reason for the one that ended.
fn ended(draft: &Draft, blueprint: &Blueprint, index: u32) -> Option<String> {
    if draft.world.nodes.is_empty() {
        return None;
    }
    let gone = draft.world.gone.iter().rev().find(|gone| gone.role == blueprint.role && gone.index == index)?;
    // What ewulf itself terminated is no surprise.
    (!gone.reason.starts_with("Client.UserInitiatedShutdown")).then(|| format!("{} {}", gone.id, gone.reason))
}

fn launch(draft: &mut Draft, blueprint: &Blueprint, indexes: &[u32], address: Option<Ipv4Addr>, mut after: Vec<usize>) {
    let template = ensure_template(draft, blueprint);
    let mut needs = vec![Address::Subnet, Address::SecurityGroup, Address::Routes, template];
    if let Role::Worker(group) = &blueprint.role {
        needs.push(Address::PlacementGroup(group.clone()));
    }
    after.extend(draft.makers_of(&needs));
    for part in Indexes::new(indexes.iter().copied()).split_by_text(TAG_VALUE_LIMIT) {
        let shown = shown_as(&blueprint.role, part.iter());
        let generation = generation(draft, blueprint, &part);
        let launch = Launch {
            role: blueprint.role.clone(),
            indexes: part,
            template: blueprint.template_name.clone(),
            fingerprint: blueprint.fingerprint.clone(),
            private_address: address,
            generation,
        };
        draft.step_after(shown, after.clone(), Action::Launch(launch));
    }
}

/// Hash of every instance that these indexes ever had, as far as it is still listed.
fn generation(draft: &Draft, blueprint: &Blueprint, indexes: &Indexes) -> String {
    let world = draft.world;
    let present =
        world.nodes.iter().filter(|node| node.role == blueprint.role && indexes.iter().any(|index| index == node.index));
    let gone = world.gone.iter().filter(|node| node.role == blueprint.role && indexes.iter().any(|index| index == node.index));
    let mut ids: Vec<&str> = present.map(|node| node.id.as_str()).chain(gone.map(|node| node.id.as_str())).collect();
    ids.sort_unstable();
    fingerprint::of(&ids)
}

fn ensure_template(draft: &mut Draft, blueprint: &Blueprint) -> Address {
    let address = Address::Template(blueprint.role.clone());
    let exists = draft.world.templates.iter().any(|template| template.name == blueprint.template_name);
    if !exists && !draft.is_touched(&address) {
        let needs = match &blueprint.role {
            Role::Master => Vec::new(),
            Role::Worker(group) => vec![Address::PlacementGroup(group.clone())],
        };
        let older = draft.world.templates.iter().any(|template| template.address == address);
        let (sign, reason) = if older { (Sign::Replace, Reason::SpecChanged) } else { (Sign::Create, Reason::NotThere) };
        draft.change(sign, address.clone(), 1, "launch template", Vec::new(), reason, Effect::InPlace);
        let action = Action::CreateTemplate { name: blueprint.template_name.clone(), template: blueprint.template.clone() };
        draft.step(address.clone(), &needs, action);
    }
    address
}

/// Templates that no role uses any more go; the replaced ones too.
fn remove_unused_templates(draft: &mut Draft, blueprints: &[Blueprint]) {
    for template in &draft.world.templates {
        let Some(blueprint) = blueprints.iter().find(|blueprint| Address::Template(blueprint.role.clone()) == template.address)
        else {
            draft.change(
                Sign::Delete,
                template.address.clone(),
                1,
                "launch template",
                vec![],
                Reason::NotInSpec,
                Effect::InPlace,
            );
            draft.step_after(template.address.clone(), Vec::new(), Action::DeleteTemplate { id: template.id.clone() });
            continue;
        };
        if template.name == blueprint.template_name {
            draft.mend_tags(&template.address, std::slice::from_ref(&template.id), &template.tags);
        } else {
            let after = draft.makers_of(std::slice::from_ref(&template.address));
            if after.is_empty() {
                let address = template.address.clone();
                draft.change(Sign::Delete, address, 1, "launch template", vec![], Reason::Superseded, Effect::InPlace);
            }
            draft.step_after(template.address.clone(), after, Action::DeleteTemplate { id: template.id.clone() });
        }
    }
}

/// Groups that the spec no longer has: their nodes and placement groups.
fn remove_foreign_groups(draft: &mut Draft) {
    let world = draft.world;
    let groups = &draft.spec.workers;
    let mut foreign: Vec<&Role> = world
        .nodes
        .iter()
        .map(|node| &node.role)
        .filter(|role| matches!(role, Role::Worker(name) if !groups.iter().any(|group| &group.group == name)))
        .collect();
    foreign.dedup();
    for role in foreign {
        let nodes: Vec<&Node> = world.nodes.iter().filter(|node| &node.role == role).collect();
        let address = shown_as(role, nodes.iter().map(|node| node.index));
        let summary = format!("{} × {}", nodes.len(), nodes[0].instance_type);
        draft.change(Sign::Delete, address.clone(), nodes.len(), summary, Vec::new(), Reason::NotInSpec, Effect::InPlace);
        let ids = nodes.iter().map(|node| node.id.clone()).collect();
        draft.step(address, &[], Action::Terminate { ids });
    }
    for placement in &world.placement_groups {
        let wanted = groups.iter().any(|group| placement_name(draft, group).as_ref() == Some(&placement.name));
        if !wanted {
            let after: Vec<usize> = draft.all_steps();
            let address = placement.address.clone();
            draft.change(Sign::Delete, address.clone(), 1, "placement group", Vec::new(), Reason::NotInSpec, Effect::InPlace);
            draft.step_after(address, after, Action::DeletePlacementGroup { name: placement.name.clone() });
        }
    }
}

/// Attaches the shared volume and joins the nodes when any is new, restarted or not yet joined; answers the steps
/// after which the cluster is ready.
fn join(draft: &mut Draft, cidr: Ipv4Network) -> Vec<usize> {
    let mut nodes = vec![Address::Master];
    for group in &draft.spec.workers {
        nodes.extend((0..group.count).map(|index| Address::Worker(group.group.clone(), index)));
    }
    let moving = draft.booting();
    let attached = attach_volume(draft, &moving);
    if draft.spec.ready == Ready::Running {
        return if moving.is_empty() { Vec::new() } else { vec![await_running(draft, &nodes, moving)] };
    }
    let joined = joined_to_master(draft);
    if moving.is_empty() && !attached && joined {
        return Vec::new();
    }
    let after = if moving.is_empty() { Vec::new() } else { vec![await_running(draft, &nodes, moving)] };
    let mut after = after;
    after.extend(draft.makers_of(&[Address::Volume]));
    let reason = if joined { Reason::NodesChanged } else { Reason::Unfinished };
    let reason = if draft.world.nodes.is_empty() { Reason::NotThere } else { reason };
    let noun = if nodes.len() == 1 { "node" } else { "nodes" };
    let summary = format!("join {} {noun}: boot, shared path, ssh, mpirun", nodes.len());
    draft.change(Sign::Update, Address::Mesh, 1, summary, Vec::new(), reason, Effect::InPlace);
    let shared_path = draft.spec.shared.path.to_string();
    vec![draft.step_after(Address::Mesh, after, Action::Join { nodes, shared_path, cidr })]
}

fn await_running(draft: &mut Draft, nodes: &[Address], moving: Vec<usize>) -> usize {
    if let Some(position) = draft.position_of(|action| matches!(action, Action::AwaitRunning { .. })) {
        return position;
    }
    draft.step_after(Address::Mesh, moving, Action::AwaitRunning { nodes: nodes.to_vec() })
}

fn attach_volume(draft: &mut Draft, moving: &[usize]) -> bool {
    if draft.spec.shared.volume.is_none() {
        return false;
    }
    let master = draft.world.master().map(|node| node.id.clone());
    let attached_to = draft.world.volume.as_ref().and_then(|volume| volume.attached_to.clone());
    let replaced = draft.relaunches_master();
    if attached_to.is_some() && attached_to == master && !replaced {
        return false;
    }
    let mut after = draft.makers_of(&[Address::Volume]);
    if !moving.is_empty() {
        let mut nodes = vec![Address::Master];
        for group in &draft.spec.workers {
            nodes.extend((0..group.count).map(|index| Address::Worker(group.group.clone(), index)));
        }
        after.push(await_running(draft, &nodes, moving.to_vec()));
    }
    if draft.world.volume.is_some() {
        let details = vec![difference("attached to", attached_to, Some("node/master".into()))];
        draft.change(Sign::Update, Address::Volume, 1, "attach", details, Reason::NodesChanged, Effect::InPlace);
    }
    draft.step_after(Address::Volume, after, Action::AttachVolume { device: SHARED_DEVICE.to_owned() });
    true
}

/// Whether every node that stays has joined the master that stands.
fn joined_to_master(draft: &Draft) -> bool {
    let Some(master) = draft.world.master() else { return false };
    draft.world.nodes.iter().all(|node| node.tag(JOINED_TAG) == Some(&master.id))
}

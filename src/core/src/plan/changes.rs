//! Planning of what changes under nodes that stay: live, while they are stopped, or by another root volume (ec2.md 6.1).

use std::collections::{BTreeMap, HashSet};

use super::attributes::{Attribute, Gap, Way, Wrong};
use super::blueprint::Blueprint;
use super::draft::{Draft, difference};
use super::nodes::shown_as;
use super::{Action, Difference, Effect, IDS_PER_CALL, Reason, RootReplacement, Sign, StoppedAttribute, StoppedChange};
use crate::address::{Address, FILE_SYSTEM_TAG, Role};
use crate::spec::Ready;
use crate::world::{MetadataOptions, Node};

/// What the changes of one role's nodes leave to plan after them.
#[derive(Default)]
pub(super) struct Changed<'a> {
    /// Steps after which a node that is stopped may start.
    pub live: Vec<usize>,
    /// Steps that start nodes of the role.
    pub starting: Vec<usize>,
    /// Ids of nodes that are started by their change.
    pub restarted: HashSet<&'a str>,
    /// Ids of nodes that get another root volume, whose file system fills it.
    new_roots: HashSet<&'a str>,
}

/// Plans all changes of nodes that stay.
pub(super) fn plan<'a>(draft: &mut Draft, blueprint: &Blueprint, wrong: &[Wrong<'a>]) -> Changed<'a> {
    let mut changed = Changed { live: live(draft, blueprint, wrong), ..Changed::default() };
    stopped(draft, blueprint, wrong, &mut changed);
    changed
}

/// Plans other root volumes, once the nodes run.
pub(super) fn new_roots<'a>(draft: &mut Draft, blueprint: &Blueprint, wrong: &[Wrong<'a>], changed: &mut Changed<'a>) {
    let concerned = with(wrong, |gap| gap.way == Way::NewRoot);
    if concerned.is_empty() {
        return;
    }
    let address = shown(&blueprint.role, &concerned);
    let details = details(&concerned, |gap| gap.way == Way::NewRoot);
    let summary = format!("root volume from {}", blueprint.template.image_id);
    draft.change(Sign::Update, address.clone(), concerned.len(), summary, details, Reason::SpecChanged, Effect::NewRoot);
    if blueprint.role == Role::Master && draft.spec.shared.volume.is_none() {
        draft.warn(
            Address::Master,
            format!("{} lies on its root volume and goes with it", draft.spec.shared.path),
            "copy what is needed first; `shared.volume` keeps it on a volume of its own",
        );
    }
    let mut after = changed.live.clone();
    after.extend(&changed.starting);
    for (node, _) in &concerned {
        let action = Action::ReplaceRoot(RootReplacement {
            id: node.id.clone(),
            image_id: blueprint.template.image_id.clone(),
            fingerprint: blueprint.fingerprint.clone(),
        });
        draft.step_after(node.address(), after.clone(), action);
        changed.new_roots.insert(&node.id);
    }
}

/// Those with a gap of a kind.
fn with<'a, 'b>(wrong: &'b [Wrong<'a>], wanted: impl Fn(&Gap) -> bool) -> Vec<&'b Wrong<'a>> {
    wrong.iter().filter(|(_, gaps)| gaps.iter().any(&wanted)).collect()
}

fn shown(role: &Role, wrong: &[&Wrong]) -> Address {
    shown_as(role, wrong.iter().map(|(node, _)| node.index))
}

fn ids(wrong: &[&Wrong]) -> Vec<String> {
    wrong.iter().map(|(node, _)| node.id.clone()).collect()
}

/// Differences of a kind, each told once.
fn details(wrong: &[&Wrong], wanted: impl Fn(&Gap) -> bool) -> Vec<Difference> {
    let mut told = HashSet::new();
    let gaps = wrong.iter().flat_map(|(_, gaps)| gaps).filter(|gap| wanted(gap));
    let fresh = gaps.filter(|gap| told.insert((&gap.difference.attribute, &gap.difference.from)));
    fresh.map(|gap| gap.difference.clone()).collect()
}

/// Plans live changes, a few calls for each attribute; answers their steps.
fn live(draft: &mut Draft, blueprint: &Blueprint, wrong: &[Wrong]) -> Vec<usize> {
    const ATTRIBUTES: [(Attribute, &str, Reason); 4] = [
        (Attribute::InstanceProfile, "instance profile", Reason::SpecChanged),
        (Attribute::SecurityGroups, "security group", Reason::ChangedOutside),
        (Attribute::MetadataOptions, "metadata service", Reason::ChangedOutside),
        (Attribute::RootVolume, "root volume", Reason::SpecChanged),
    ];
    let mut steps = Vec::new();
    for (attribute, summary, reason) in ATTRIBUTES {
        let is_meant = |gap: &Gap| gap.attribute == attribute && gap.way == Way::Live;
        let concerned = with(wrong, is_meant);
        if concerned.is_empty() {
            continue;
        }
        let address = shown(&blueprint.role, &concerned);
        let details = details(&concerned, is_meant);
        draft.change(Sign::Update, address.clone(), concerned.len(), summary, details, reason, Effect::InPlace);
        for part in concerned.chunks(IDS_PER_CALL) {
            let action = live_action(attribute, blueprint, part);
            let after = draft.creators_of(&[Address::SecurityGroup]);
            steps.push(draft.step_after(address.clone(), after, action));
        }
        if attribute == Attribute::InstanceProfile {
            warn_of_late_agents(draft, &address, &concerned);
        }
    }
    steps
}

fn live_action(attribute: Attribute, blueprint: &Blueprint, part: &[&Wrong]) -> Action {
    match attribute {
        Attribute::SecurityGroups => {
            let interfaces = part.iter().filter_map(|(node, _)| node.interface.as_ref());
            Action::SetSecurityGroup { interfaces: interfaces.map(|interface| interface.id.clone()).collect() }
        }
        Attribute::MetadataOptions => Action::SetMetadataOptions { ids: ids(part), options: MetadataOptions::OF_NODES },
        Attribute::RootVolume => {
            let roots = part.iter().filter_map(|(node, _)| node.root.as_ref());
            let volumes = roots.map(|root| root.id.clone()).collect();
            Action::GrowRoots { volumes, gibibytes: blueprint.template.root_gibibytes }
        }
        _ => Action::SetInstanceProfile { ids: ids(part), profile: blueprint.template.instance_profile.clone() },
    }
}

/// An agent that booted without a profile asks for credentials again after half an hour only (ec2.md 7.4).
fn warn_of_late_agents(draft: &mut Draft, address: &Address, concerned: &[&Wrong]) {
    let late = concerned.iter().filter(|(node, _)| node.instance_profile.is_none() && node.is_up()).count();
    if late > 0 && draft.spec.ready == Ready::Joined {
        draft.warn(
            address.clone(),
            "it runs without an instance profile: its SSM agent may take half an hour to notice the new one",
            "reboot it to have it notice at once",
        );
    }
}

/// Plans what only stopped nodes let change: all of a role in one step, so that they stop and start together, as nodes of
/// one placement group should (ec2.md 4.5).
fn stopped<'a>(draft: &mut Draft, blueprint: &Blueprint, wrong: &[Wrong<'a>], changed: &mut Changed<'a>) {
    let is_meant = |gap: &Gap| gap.way == Way::Stopped;
    let told = with(wrong, is_meant);
    if !told.is_empty() {
        let mut names: Vec<&str> = told.iter().flat_map(|(_, gaps)| gaps).filter(|gap| is_meant(gap)).map(name).collect();
        names.sort_unstable();
        names.dedup();
        let (address, details) = (shown(&blueprint.role, &told), details(&told, is_meant));
        draft.change(Sign::Update, address, told.len(), names.join(", "), details, Reason::SpecChanged, Effect::NeedsStop);
    }
    // User data can be set while a node is stopped alone, too, and is read when its new root volume boots.
    let concerned = with(wrong, |gap| is_meant(gap) || sets_user_data(gap));
    let address = shown(&blueprint.role, &concerned);
    for part in concerned.chunks(IDS_PER_CALL) {
        let nodes =
            part.iter().map(|(node, gaps)| StoppedChange { id: node.id.clone(), changes: attributes(blueprint, node, gaps) });
        let mut after = changed.live.clone();
        after.extend(draft.creators_of(&placement_address(&blueprint.role)));
        let action = Action::ChangeStopped { nodes: nodes.collect() };
        changed.starting.push(draft.step_after(address.clone(), after, action));
        changed.restarted.extend(part.iter().map(|(node, _)| node.id.as_str()));
    }
}

fn placement_address(role: &Role) -> Vec<Address> {
    match role {
        Role::Master => Vec::new(),
        Role::Worker(group) => vec![Address::PlacementGroup(group.clone())],
    }
}

fn name(gap: &Gap) -> &str {
    &gap.difference.attribute
}

fn sets_user_data(gap: &Gap) -> bool {
    gap.attribute == Attribute::Configuration && gap.way == Way::NewRoot
}

/// What changes of a stopped node, in an order in which EC2 takes it: a placement group must suit the type at any time.
fn attributes(blueprint: &Blueprint, node: &Node, gaps: &[Gap]) -> Vec<StoppedAttribute> {
    let has = |attribute| gaps.iter().any(|gap| gap.attribute == attribute && gap.way == Way::Stopped);
    let wanted = &blueprint.template;
    let (from, to) = (node.placement_group.clone(), wanted.placement_group.clone());
    let is_left = to.is_none();
    let placement = has(Attribute::PlacementGroup).then_some(StoppedAttribute::PlacementGroup { from, to });
    let (from, to) = (node.instance_type.clone(), wanted.instance_type.clone());
    let kind = has(Attribute::InstanceType).then_some(StoppedAttribute::InstanceType { from, to });
    let user_data = gaps.iter().any(sets_user_data).then(|| StoppedAttribute::UserData { to: wanted.user_data.clone() });
    let (first, then) = if is_left { (placement, kind) } else { (kind, placement) };
    first.into_iter().chain(then).chain(user_data).collect()
}

/// Root volumes whose file systems are to be grown, by the size that they get.
pub(super) type Growing<'a> = BTreeMap<(Role, u32), Vec<&'a Node>>;

/// Notes nodes whose root file system is smaller than its volume is, or will be.
pub(super) fn note_growing<'a>(growing: &mut Growing<'a>, blueprint: &Blueprint, kept: &[&'a Node], changed: &Changed<'a>) {
    for node in kept.iter().filter(|node| !changed.new_roots.contains(node.id.as_str())) {
        let Some(root) = &node.root else { continue };
        let known = root.tags.get(FILE_SYSTEM_TAG).and_then(|text| text.parse::<u32>().ok());
        let gibibytes = root.gibibytes.max(blueprint.template.root_gibibytes);
        if known.is_some_and(|known| known < gibibytes) {
            growing.entry((blueprint.role.clone(), gibibytes)).or_default().push(node);
        }
    }
}

/// Grows root file systems once the nodes are ready; without an agent to ask, they grow when the nodes boot next.
pub(super) fn grow_file_systems(draft: &mut Draft, growing: Growing, ready: &[usize]) {
    if draft.spec.ready == Ready::Running {
        return;
    }
    let mut after = ready.to_vec();
    after.extend(draft.positions_of(|step| matches!(step.action, Action::GrowRoots { .. })));
    for ((role, gibibytes), nodes) in growing {
        let address = shown_as(&role, nodes.iter().map(|node| node.index));
        let grown = |node: &&&Node| node.root.as_ref().is_some_and(|root| root.gibibytes == gibibytes);
        let left: Vec<&Node> = nodes.iter().filter(grown).copied().collect();
        if let Some(root) = left.first().and_then(|node| node.root.as_ref()) {
            let from = root.tags.get(FILE_SYSTEM_TAG).map(|size| format!("{size}GiB"));
            let details = vec![difference("root file system", from, Some(format!("{gibibytes}GiB")))];
            let shown = shown_as(&role, left.iter().map(|node| node.index));
            draft.change(Sign::Update, shown, left.len(), "root file system", details, Reason::Unfinished, Effect::InPlace);
        }
        for part in nodes.chunks(IDS_PER_CALL) {
            let roots = part.iter().filter_map(|node| node.root.as_ref());
            let volumes = roots.map(|root| root.id.clone()).collect();
            let ids = part.iter().map(|node| node.id.clone()).collect();
            draft.step_apart(address.clone(), after.clone(), Action::GrowRootFileSystems { ids, volumes, gibibytes });
        }
    }
}

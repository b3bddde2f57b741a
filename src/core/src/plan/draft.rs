//! A plan in the making: what both halves of planning share.

use std::collections::{BTreeMap, BTreeSet};

use super::ladder::Terms;
use super::{Action, Blocker, Change, Difference, Effect, IDS_PER_CALL, Plan, Reason, Sign, Step};
use crate::address::{Address, CLUSTER_TAG, Role};
use crate::instance_types::{price_per_hour, volume_price_per_hour};
use crate::names::GroupName;
use crate::quantity::{Money, VolumeSize};
use crate::spec::{ClusterSpec, Market};
use crate::world::{Tags, World};

/// Collects steps and changes; knows which steps make which address.
pub(super) struct Draft<'a> {
    pub spec: &'a ClusterSpec,
    pub world: &'a World,
    /// How each group's missing workers are launched.
    pub terms: BTreeMap<GroupName, Terms>,
    /// Indexes of workers that are missing and not launched.
    pub withheld: BTreeMap<GroupName, BTreeSet<u32>>,
    /// Steps that take back what was launched in vain: its place is needed by what follows.
    pub retreat: Vec<usize>,
    steps: Vec<Step>,
    changes: Vec<Change>,
    blockers: Vec<Blocker>,
    warnings: Vec<Blocker>,
    known: BTreeMap<Address, String>,
    creators: BTreeMap<Address, usize>,
    makers: BTreeMap<Address, Vec<usize>>,
}

/// Tags that something has and should not, lacks, or has with another value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TagDrift {
    missing: Tags,
    extra: Vec<String>,
    /// Present values of both.
    was: Tags,
}

impl<'a> Draft<'a> {
    pub fn new(spec: &'a ClusterSpec, world: &'a World) -> Self {
        Self {
            spec,
            world,
            terms: BTreeMap::new(),
            withheld: BTreeMap::new(),
            retreat: Vec::new(),
            steps: Vec::new(),
            changes: Vec::new(),
            blockers: Vec::new(),
            warnings: Vec::new(),
            known: BTreeMap::new(),
            creators: BTreeMap::new(),
            makers: BTreeMap::new(),
        }
    }

    /// Adds a step that must come after the creation of all of `needs`; answers its position.
    pub fn step(&mut self, address: Address, needs: &[Address], action: Action) -> usize {
        let after = self.creators_of(needs);
        self.step_after(address, after, action)
    }

    /// Adds a step that must come after these steps.
    pub fn step_after(&mut self, address: Address, mut after: Vec<usize>, action: Action) -> usize {
        if matches!(action, Action::Launch(_) | Action::CreateSubnet { .. }) {
            after.extend(&self.retreat);
        }
        after.sort_unstable();
        after.dedup();
        let position = self.steps.len();
        if creates(&action) {
            self.creators.insert(address.clone(), position);
        }
        self.steps.push(Step { address: address.clone(), after, action });
        self.makers.entry(address).or_default().push(position);
        position
    }

    /// Adds a step that nothing else waits for, since it is not about the address's own resource.
    pub fn step_apart(&mut self, address: Address, after: Vec<usize>, action: Action) -> usize {
        self.steps.push(Step { address, after, action });
        self.steps.len() - 1
    }

    /// Positions of the steps after which these exist, as far as they do not exist yet.
    pub fn creators_of(&self, addresses: &[Address]) -> Vec<usize> {
        addresses.iter().filter_map(|address| self.creators.get(address)).copied().collect()
    }

    /// Positions of all steps that make or change these.
    pub fn makers_of(&self, addresses: &[Address]) -> Vec<usize> {
        addresses.iter().filter_map(|address| self.makers.get(address)).flatten().copied().collect()
    }

    /// Whether this plan creates it.
    pub fn is_created(&self, address: &Address) -> bool {
        self.creators.contains_key(address)
    }

    /// Positions of the steps that do such a thing.
    pub fn positions_of(&self, wanted: impl Fn(&Step) -> bool) -> Vec<usize> {
        (0..self.steps.len()).filter(|position| wanted(&self.steps[*position])).collect()
    }

    /// Positions of the steps after which a node boots.
    pub fn booting(&self) -> Vec<usize> {
        self.positions_of(boots)
    }

    /// Positions of the steps after which the master boots.
    pub fn booting_master(&self) -> Vec<usize> {
        self.positions_of(|step| step.address == Address::Master && boots(step))
    }

    /// Whether a worker is missing and not launched.
    pub fn withholds(&self, role: &Role, index: u32) -> bool {
        let Role::Worker(group) = role else { return false };
        self.withheld.get(group).is_some_and(|indexes| indexes.contains(&index))
    }

    /// Whether a new master is launched.
    pub fn relaunches_master(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.action, Action::Launch(launch) if launch.role == Role::Master))
    }

    pub fn know(&mut self, address: Address, id: &str) {
        self.known.insert(address, id.to_owned());
    }

    /// Whether what an address stands for exists and stays.
    pub fn knows(&self, address: &Address) -> bool {
        self.known.contains_key(address)
    }

    pub fn create(&mut self, address: Address, summary: impl Into<String>, reason: Reason) {
        self.change(Sign::Create, address, 1, summary, Vec::new(), reason, Effect::InPlace);
    }

    #[expect(clippy::too_many_arguments, reason = "a change is these seven facts; naming them twice would not help")]
    pub fn change(
        &mut self,
        sign: Sign,
        address: Address,
        count: usize,
        summary: impl Into<String>,
        details: Vec<Difference>,
        reason: Reason,
        effect: Effect,
    ) {
        self.changes.push(Change { sign, address, count, summary: summary.into(), details, reason, effect });
    }

    pub fn block(&mut self, address: Address, message: impl Into<String>, hint: impl Into<String>) {
        self.blockers.push(Blocker { address, message: message.into(), hint: hint.into() });
    }

    pub fn warn(&mut self, address: Address, message: impl Into<String>, hint: impl Into<String>) {
        self.warnings.push(Blocker { address, message: message.into(), hint: hint.into() });
    }

    /// Mends the tags of one thing that exists; ewulf's own and EC2's are left alone.
    pub fn mend_tags(&mut self, address: &Address, id: &str, present: &Tags) {
        if let Some(drift) = self.tag_drift(present) {
            self.mend_drift(address, "tags", 1, &[id.to_owned()], drift);
        }
    }

    /// What differs between the spec's tags and these.
    pub fn tag_drift(&self, present: &Tags) -> Option<TagDrift> {
        let wanted = &self.spec.tags;
        let missing: Tags = wanted.iter().filter(|(key, value)| present.get(*key) != Some(value)).map(own).collect();
        let extra: Vec<String> = present.keys().filter(|key| !is_reserved(key) && !wanted.contains_key(*key)).cloned().collect();
        if missing.is_empty() && extra.is_empty() {
            return None;
        }
        let was = missing.keys().chain(&extra).filter_map(|key| present.get_key_value(key)).map(own).collect();
        Some(TagDrift { missing, extra, was })
    }

    /// Mends the tags of all that drifted alike: `ids` of `count` things and of what was made with them.
    pub fn mend_drift(
        &mut self,
        address: &Address,
        summary: &str,
        count: usize,
        ids: &[String],
        TagDrift { missing, extra, was }: TagDrift,
    ) {
        let changed = missing.iter().map(|(key, value)| (key, Some(value.clone())));
        let details: Vec<Difference> = changed
            .chain(extra.iter().map(|key| (key, None)))
            .map(|(key, to)| difference(format!("tags.{key}"), was.get(key).cloned(), to))
            .collect();
        // Whether the spec or an outsider moved cannot be told from the tags alone; both are mended alike.
        self.change(Sign::Update, address.clone(), count, summary, details, Reason::ChangedOutside, Effect::InPlace);
        for ids in ids.chunks(IDS_PER_CALL) {
            if !missing.is_empty() {
                self.step(address.clone(), &[], Action::SetTags { ids: ids.to_vec(), tags: missing.clone() });
            }
            if !extra.is_empty() {
                self.step(address.clone(), &[], Action::RemoveTags { ids: ids.to_vec(), keys: extra.clone() });
            }
        }
    }

    pub fn finish(self) -> Plan {
        let mut tags = self.spec.tags.clone();
        tags.insert(CLUSTER_TAG.to_owned(), self.spec.cluster.to_string());
        Plan {
            cluster: self.spec.cluster.clone(),
            changes: self.changes,
            steps: self.steps,
            known: self.known,
            tags,
            blockers: self.blockers,
            warnings: self.warnings,
            price_before: price_of_world(self.world),
            price_after: price_of_spec(self.spec, &self.withheld),
            ladders: Vec::new(),
            shortfalls: Vec::new(),
            paced: Vec::new(),
        }
    }
}

fn creates(action: &Action) -> bool {
    matches!(
        action,
        Action::CreateVpc { .. }
            | Action::CreateSubnet { .. }
            | Action::CreateGateway
            | Action::CreateRoutes
            | Action::CreateSecurityGroup { .. }
            | Action::CreatePlacementGroup { .. }
            | Action::CreateTemplate { .. }
            | Action::CreateVolume { .. }
    )
}

fn boots(step: &Step) -> bool {
    matches!(step.action, Action::Launch(_) | Action::Start { .. } | Action::ChangeStopped { .. } | Action::ReplaceRoot(_))
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// Tags that are not the user's: EC2's, ours, and the display name.
fn is_reserved(key: &str) -> bool {
    key.starts_with("aws:") || key.starts_with("ewulf:") || key == "Name"
}

pub(super) fn difference(attribute: impl Into<String>, from: Option<String>, to: Option<String>) -> Difference {
    Difference { attribute: attribute.into(), from, to }
}

/// Price per hour of what runs now; stopped nodes cost their volumes only, which are not counted here.
pub(super) fn price_of_world(world: &World) -> Option<Money> {
    let nodes = world.nodes.iter().map(|node| price_per_hour(&node.instance_type, node.market));
    let volume = world.volume.as_ref().and_then(|volume| VolumeSize::from_gibibytes(volume.gibibytes));
    let volume = volume.map(|size| Some(volume_price_per_hour(size)));
    nodes.chain(volume).sum()
}

/// Price per hour of what the spec asks for, without the workers that are not to be had.
fn price_of_spec(spec: &ClusterSpec, withheld: &BTreeMap<GroupName, BTreeSet<u32>>) -> Option<Money> {
    let master = price_per_hour(spec.master.instance_type.as_str(), Market::OnDemand);
    let workers = spec.workers.iter().map(|group| {
        let number = u64::from(group.count) - withheld.get(&group.group).map_or(0, |indexes| indexes.len() as u64);
        price_per_hour(group.instance_type.as_str(), group.market).map(|price| price * number)
    });
    let volume = spec.shared.volume.map(|size| Some(volume_price_per_hour(size)));
    std::iter::once(master).chain(workers).chain(volume).sum()
}

//! What the nodes of a role are made from: image, type, user data and volumes, as a launch template.

use std::net::Ipv4Addr;

use super::draft::{Draft, difference};
use super::network::SHARED_DEVICE;
use super::{Action, Difference, Effect, Reason, Sign, TemplateData, resource_name};
use crate::address::{Address, FINGERPRINT_TAG, Indexes, Role};
use crate::fingerprint;
use crate::quantity::Ipv4Network;
use crate::spec::{ImageReference, Market, Placement, Rung, WorkerGroup};
use crate::user_data::{NodeConfiguration, user_data};
use crate::world::{Ami, Image, Node};

/// What all nodes of one role are made from.
pub(super) struct Blueprint {
    pub role: Role,
    pub template: TemplateData,
    /// Hash of all but image and type, which can be read back.
    pub fingerprint: String,
    pub template_name: String,
    /// Where its nodes look for the master.
    pub master_address: Ipv4Addr,
    /// Type, fingerprint and zone of every rung of the group's ladder: whoever stands on any of them is as it should be.
    rungs: Vec<(String, String, Option<String>)>,
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

pub(super) fn master_blueprint(draft: &mut Draft, master_address: Ipv4Addr, cidr: Ipv4Network) -> Option<Blueprint> {
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
    Some(Blueprint::new(draft, Role::Master, template, master_address, &[]))
}

pub(super) fn group_blueprint(
    draft: &mut Draft,
    group: &WorkerGroup,
    master_address: Ipv4Addr,
    cidr: Ipv4Network,
) -> Option<Blueprint> {
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
    Some(Blueprint::new(draft, role, template, master_address, &group.rungs()))
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
    fn new(draft: &Draft, role: Role, template: TemplateData, master_address: Ipv4Addr, ladder: &[Rung]) -> Self {
        let rest = TemplateData { image_id: String::new(), instance_type: String::new(), ..template.clone() };
        let template_name = resource_name(&draft.spec.cluster, &format!("{role}-{}", fingerprint::of(&template)));
        let rung = |rung: &Rung| {
            let kind = rung.instance_type.map(|kind| kind.to_string()).unwrap_or_default();
            let on_it = TemplateData { market: rung.market.unwrap_or_default(), ..rest.clone() };
            (kind, fingerprint::of(&on_it), rung.zone.as_ref().map(ToString::to_string))
        };
        let rungs = ladder.iter().map(rung).collect();
        Self { role, fingerprint: fingerprint::of(&rest), template, template_name, master_address, rungs }
    }

    /// The rung that a node stands on in a zone: of those of its type and market the one in its zone.
    pub fn rung_of(&self, node: &Node, zone: Option<&str>) -> usize {
        let fits = |(kind, fingerprint, _): &&(String, String, Option<String>)| is_on(node, kind, fingerprint);
        let is_here = |rung: &(String, String, Option<String>)| rung.2.is_none() || rung.2.as_deref() == zone;
        let here = self.rungs.iter().position(|rung| fits(&rung) && is_here(rung));
        here.or_else(|| self.rungs.iter().position(|rung| fits(&rung))).unwrap_or(0)
    }

    /// What of a node differs from this.
    pub fn differences(&self, node: &Node) -> Vec<Difference> {
        let mut found = Vec::new();
        let is_on_ladder = self.rungs.iter().any(|(kind, fingerprint, _)| is_on(node, kind, fingerprint));
        if !is_on_ladder && node.instance_type != self.template.instance_type {
            found.push(difference("instance_type", Some(node.instance_type.clone()), Some(self.template.instance_type.clone())));
        }
        if node.image_id != self.template.image_id {
            found.push(difference("image", Some(node.image_id.clone()), Some(self.template.image_id.clone())));
        }
        if !is_on_ladder && node.tag(FINGERPRINT_TAG) != Some(&self.fingerprint) {
            let was = node.tag(FINGERPRINT_TAG).map(str::to_owned);
            found.push(difference("configuration", was, Some(self.fingerprint.clone())));
        }
        found
    }
}

/// Whether a node has this type, and the rest of it this fingerprint.
fn is_on(node: &Node, kind: &str, fingerprint: &str) -> bool {
    node.instance_type == kind && node.tag(FINGERPRINT_TAG) == Some(fingerprint)
}

pub(super) fn placement_name(draft: &Draft, group: &WorkerGroup) -> Option<String> {
    (group.placement == Placement::Cluster).then(|| resource_name(&draft.spec.cluster, group.group.as_str()))
}

pub(super) fn placement_group(draft: &mut Draft, group: &WorkerGroup) {
    let Some(name) = placement_name(draft, group) else { return };
    let address = Address::PlacementGroup(group.group.clone());
    match draft.world.placement_groups.iter().find(|existing| existing.name == name) {
        Some(existing) => {
            draft.know(address.clone(), &existing.name);
            draft.mend_tags(&address, &existing.id, &existing.tags);
        }
        None => {
            draft.create(address.clone(), "cluster placement group", Reason::NotThere);
            draft.step(address, &[], Action::CreatePlacementGroup { name });
        }
    }
}

pub(super) fn ensure_template(draft: &mut Draft, blueprint: &Blueprint) -> Address {
    let address = Address::Template(blueprint.role.clone());
    let exists = draft.world.templates.iter().any(|template| template.name == blueprint.template_name);
    if !exists && !draft.is_created(&address) {
        let older = draft.world.templates.iter().any(|template| template.address == address);
        let (sign, reason) = if older { (Sign::Replace, Reason::SpecChanged) } else { (Sign::Create, Reason::NotThere) };
        draft.change(sign, address.clone(), 1, "launch template", Vec::new(), reason, Effect::InPlace);
        let action = Action::CreateTemplate { name: blueprint.template_name.clone(), template: blueprint.template.clone() };
        // A template is not checked against what it names (ec2.md 6.2), so it need not wait for its placement group.
        draft.step(address.clone(), &[], action);
    }
    address
}

/// Templates that no role uses any more go; the replaced ones too.
pub(super) fn remove_unused_templates(draft: &mut Draft, blueprints: &[Blueprint]) {
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
            draft.mend_tags(&template.address, &template.id, &template.tags);
        } else {
            let after = draft.creators_of(std::slice::from_ref(&template.address));
            if after.is_empty() {
                let address = template.address.clone();
                draft.change(Sign::Delete, address, 1, "launch template", vec![], Reason::Superseded, Effect::InPlace);
            }
            draft.step_after(template.address.clone(), after, Action::DeleteTemplate { id: template.id.clone() });
        }
    }
}

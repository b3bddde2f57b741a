//! What the nodes of a role are made from: image, type, user data and volumes, as a launch template.

use std::net::Ipv4Addr;

use super::draft::Draft;
use super::network::SHARED_DEVICE;
use super::{Action, Effect, Reason, Sign, TemplateData, resource_name};
use crate::address::{Address, Indexes, Role};
use crate::fingerprint;
use crate::quantity::{AddressRange, Ipv4Network};
use crate::spec::{ImageReference, Market, Placement, Rung, WorkerGroup};
use crate::user_data::{NodeConfiguration, user_data};
use crate::world::{Ami, Image, Node};

/// What all nodes of one role are made from.
pub(super) struct Blueprint {
    pub role: Role,
    pub template: TemplateData,
    /// Hash of the user data: everything else can be read back.
    pub fingerprint: String,
    pub template_name: String,
    /// Where its nodes look for the master.
    pub master_address: Ipv4Addr,
    /// Every rung of the group's ladder: whoever stands on any of them is as it should be.
    rungs: Vec<Rung>,
    /// Where its nodes' addresses lie, if the spec says so.
    pub addresses: Option<AddressRange>,
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
    Some(Blueprint::new(draft, Role::Master, template, master_address))
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
    let blueprint = Blueprint::new(draft, role, template, master_address);
    Some(Blueprint { addresses: group.addresses, rungs: group.rungs(), ..blueprint })
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
    fn new(draft: &Draft, role: Role, template: TemplateData, master_address: Ipv4Addr) -> Self {
        let template_name = resource_name(&draft.spec.cluster, &format!("{role}-{}", fingerprint::of(&template)));
        let fingerprint = fingerprint::of(&template.user_data);
        Self { role, fingerprint, template, template_name, master_address, addresses: None, rungs: Vec::new() }
    }

    /// Whether a node stands on some rung of the ladder.
    pub fn is_on_ladder(&self, node: &Node) -> bool {
        self.rungs.iter().any(|rung| self.is_on(node, rung))
    }

    /// The rung that a node stands on in a zone: of those of its type and market the one in its zone.
    pub fn rung_of(&self, node: &Node, zone: Option<&str>) -> usize {
        let is_here = |rung: &Rung| rung.zone.as_ref().is_none_or(|of_rung| Some(of_rung.as_str()) == zone);
        let here = self.rungs.iter().position(|rung| self.is_on(node, rung) && is_here(rung));
        here.or_else(|| self.rungs.iter().position(|rung| self.is_on(node, rung))).unwrap_or(0)
    }

    fn is_on(&self, node: &Node, rung: &Rung) -> bool {
        let kind = rung.instance_type.map_or_else(|| self.template.instance_type.clone(), |kind| kind.to_string());
        node.instance_type == kind && node.market == rung.market.unwrap_or(self.template.market)
    }

    /// Whether no other node can be made beside one of its nodes before that goes, because of its address.
    pub fn keeps_its_place(&self) -> bool {
        self.role == Role::Master || self.addresses.is_some()
    }

    /// The address that the spec gives a worker.
    pub fn address_of(&self, index: u32) -> Option<Ipv4Addr> {
        self.addresses?.at(index)
    }
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

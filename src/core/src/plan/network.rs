//! Planning of what nodes stand on: network, security group, shared volume.

use super::draft::{Draft, difference};
use super::removal::{stray_address, stray_steps, stray_summary};
use super::{Action, Effect, Reason, Sign, resource_name};
use crate::address::Address::{Gateway, Routes, SecurityGroup, Subnet, Vpc};
use crate::address::{Address, JOINED_TAG};
use crate::spec::{Network, OwnNetwork, Ready};
use crate::world::{IngressRule, Stray, WayOut};

/// Device name of the shared volume: the first that EC2 keeps for data volumes (ec2.md 6.9).
pub(super) const SHARED_DEVICE: &str = "/dev/sdf";

pub(super) fn plan(draft: &mut Draft) {
    match &draft.spec.network {
        Network::Own(own) => own_network(draft, own),
        Network::Existing(_) => existing_network(draft),
    }
    security_group(draft);
    if !waits_for_zone(draft) {
        volume(draft, Vec::new());
    }
    strays(draft);
}

/// Whether a new volume must wait until the workers found room in the zone: it could not follow them to another.
fn waits_for_zone(draft: &Draft) -> bool {
    draft.world.volume.is_none() && draft.spec.workers.iter().any(|group| group.tries_zones())
}

/// Plans the volume that waited, after every launch.
pub(super) fn late_volume(draft: &mut Draft) {
    if waits_for_zone(draft) {
        let launches = draft.positions_of(|step| matches!(step.action, Action::Launch(_)));
        volume(draft, launches);
    }
}

/// What the cluster has a second time goes; but data only by `destroy`, which asks for the cluster's name.
fn strays(draft: &mut Draft) {
    let world = draft.world;
    let (volumes, others): (Vec<&Stray>, Vec<&Stray>) = world.strays.iter().partition(|stray| matches!(stray, Stray::Volume(_)));
    for stray in &others {
        let (address, summary) = (stray_address(stray), stray_summary(stray));
        draft.change(Sign::Delete, address, 1, summary, Vec::new(), Reason::Doubled, Effect::InPlace);
    }
    stray_steps(others.into_iter(), Vec::new(), |address, after, action| draft.step_apart(address, after, action));
    for stray in volumes {
        draft.warn(
            Address::Volume,
            format!("{}: it is left alone", stray_summary(stray)),
            "delete it by hand when its data is not needed; ewulf destroy removes it with the cluster",
        );
    }
}

/// Zone that the cluster lies in: where its subnet is, or else its kept volume, or else what the spec or EC2 names first.
pub(super) fn zone(draft: &Draft) -> Option<String> {
    let world = draft.world;
    if let Network::Existing(_) = &draft.spec.network {
        return world.existing_network.as_ref().map(|network| network.zone.clone());
    }
    let wanted = match &draft.spec.network {
        Network::Own(own) => own.zone.as_ref().map(ToString::to_string),
        Network::Existing(_) => None,
    };
    let standing = world.subnet.as_ref().map(|subnet| subnet.zone.clone());
    let kept = world.volume.as_ref().map(|volume| volume.zone.clone());
    standing.or(wanted).or(kept).or_else(|| world.zones.first().cloned())
}

fn own_network(draft: &mut Draft, own: &OwnNetwork) {
    let world = draft.world;
    match &world.vpc {
        None => {
            draft.create(Vpc, format!("VPC {}", own.cidr), Reason::NotThere);
            draft.step(Vpc, &[], Action::CreateVpc { cidr: own.cidr });
        }
        Some(vpc) => {
            if vpc.cidr != own.cidr {
                draft.block(
                    Vpc,
                    format!("its network is {} and the spec says {}: EC2 cannot change that in place", vpc.cidr, own.cidr),
                    format!("destroy the cluster first: ewulf destroy {}", draft.spec.cluster),
                );
            }
            draft.know(Vpc, &vpc.id);
            draft.mend_tags(&Vpc, &vpc.id, &vpc.tags);
        }
    }
    subnet(draft, own);
    gateway(draft);
    routes(draft);
}

fn subnet(draft: &mut Draft, own: &OwnNetwork) {
    let world = draft.world;
    let Some(zone) = zone(draft) else {
        draft.block(Subnet, "the region has no availability zone that accepts launches", "name another region in the spec");
        return;
    };
    if let Some(wanted) = &own.zone
        && !world.zones.is_empty()
        && !world.zones.contains(&wanted.to_string())
    {
        draft.block(Subnet, format!("no zone `{wanted}` in this region"), format!("zones: {}", world.zones.join(", ")));
    }
    match &world.subnet {
        None => {
            draft.create(Subnet, format!("subnet {} in {zone}", own.cidr), Reason::NotThere);
            draft.step(Subnet, &[Vpc], Action::CreateSubnet { cidr: own.cidr, zone });
        }
        Some(subnet) => {
            if own.zone.as_ref().is_some_and(|wanted| wanted.as_str() != subnet.zone) {
                draft.block(
                    Subnet,
                    format!("it lies in {} and the spec says {}: a subnet cannot move", subnet.zone, zone_text(own)),
                    format!("destroy the cluster first: ewulf destroy {}", draft.spec.cluster),
                );
            }
            draft.know(Subnet, &subnet.id);
            draft.mend_tags(&Subnet, &subnet.id, &subnet.tags);
        }
    }
}

fn zone_text(own: &OwnNetwork) -> String {
    own.zone.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn gateway(draft: &mut Draft) {
    let Some(gateway) = &draft.world.gateway else {
        draft.create(Gateway, "internet gateway", Reason::NotThere);
        draft.step(Gateway, &[], Action::CreateGateway);
        draft.step(Gateway, &[Vpc, Gateway], Action::AttachGateway);
        return;
    };
    draft.know(Gateway, &gateway.id);
    draft.mend_tags(&Gateway, &gateway.id, &gateway.tags);
    if gateway.attached_to.is_none() {
        let details = vec![difference("attached to", None, Some("vpc".into()))];
        draft.change(Sign::Update, Gateway, 1, "internet gateway", details, Reason::Unfinished, Effect::InPlace);
        draft.step(Gateway, &[Vpc, Gateway], Action::AttachGateway);
    }
}

fn routes(draft: &mut Draft) {
    let Some(routes) = &draft.world.routes else {
        draft.create(Routes, "route table with a default route to the gateway", Reason::NotThere);
        let table = draft.step(Routes, &[Vpc], Action::CreateRoutes);
        draft.step(Routes, &[Routes, Subnet], Action::AssociateRoutes);
        // Only an attached gateway can be routed to.
        let mut after = draft.makers_of(&[Gateway]);
        after.push(table);
        draft.step_after(Routes, after, Action::CreateDefaultRoute);
        return;
    };
    draft.know(Routes, &routes.id);
    draft.mend_tags(&Routes, &routes.id, &routes.tags);
    let subnet = draft.world.subnet.as_ref().map(|subnet| subnet.id.clone());
    if subnet.as_ref().is_none_or(|id| !routes.associated_subnets.contains(id)) {
        let details = vec![difference("associated with", None, Some("subnet".into()))];
        draft.change(Sign::Update, Routes, 1, "route table", details, Reason::Unfinished, Effect::InPlace);
        draft.step(Routes, &[Subnet], Action::AssociateRoutes);
    }
    let gateway = draft.world.gateway.as_ref().map(|gateway| gateway.id.clone());
    if routes.default_gateway.is_none() || routes.default_gateway != gateway {
        let details = vec![difference("route to 0.0.0.0/0", routes.default_gateway.clone(), Some("gateway".into()))];
        draft.change(Sign::Update, Routes, 1, "route table", details, Reason::Unfinished, Effect::InPlace);
        let after = draft.makers_of(&[Gateway]);
        draft.step_after(Routes, after, Action::CreateDefaultRoute);
    }
}

fn existing_network(draft: &mut Draft) {
    let Network::Existing(wanted) = &draft.spec.network else { return };
    let Some(network) = &draft.world.existing_network else {
        draft.block(
            Subnet,
            format!("no subnet {} in VPC {} is visible in this region", wanted.subnet, wanted.vpc),
            "check `network.vpc`, `network.subnet` and `region` in the spec",
        );
        return;
    };
    draft.know(Vpc, &network.vpc);
    draft.know(Subnet, &network.subnet);
    let missing = draft.spec.node_count().saturating_sub(draft.world.nodes.len() as u64);
    if u64::from(network.free_addresses) < missing {
        draft.block(
            Subnet,
            format!(
                "subnet {} has {} free addresses and {missing} nodes are to be launched",
                network.subnet, network.free_addresses
            ),
            "use a larger subnet or fewer workers",
        );
    }
    // Once a node has joined, it is known that they are reached.
    let is_reached = draft.world.nodes.iter().any(|node| node.tag(JOINED_TAG).is_some());
    if draft.spec.ready != Ready::Joined || is_reached {
        return;
    }
    let why = match network.way_out {
        WayOut::Open => return,
        WayOut::None => "its routes lead nowhere outside, and its VPC has no endpoint of SSM",
        WayOut::NoAddress => "its way out is an internet gateway, and it gives nodes no public address",
    };
    draft.warn(
        Subnet,
        format!("subnet {}: {why}", network.subnet),
        "nodes are joined through SSM: give the subnet a route to a NAT gateway, endpoints for ssm, ssmmessages and ec2messages, \
         or public addresses and an internet gateway",
    );
}

fn security_group(draft: &mut Draft) {
    let world = draft.world;
    let mut wanted = vec![IngressRule::between_members()];
    wanted.extend(draft.spec.network.ssh_from().iter().map(|network| IngressRule::ssh_from(*network)));
    wanted.sort();
    wanted.dedup();
    let Some(group) = &world.security_group else {
        let rules: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        draft.create(SecurityGroup, format!("security group: {}", rules.join("; ")), Reason::NotThere);
        let name = resource_name(&draft.spec.cluster, "cluster");
        draft.step(SecurityGroup, &[Vpc], Action::CreateSecurityGroup { name });
        draft.step(SecurityGroup, &[SecurityGroup], Action::AllowIngress { rules: wanted });
        return;
    };
    draft.know(SecurityGroup, &group.id);
    draft.mend_tags(&SecurityGroup, &group.id, &group.tags);
    let missing: Vec<IngressRule> = wanted.iter().filter(|rule| !group.ingress.contains(rule)).cloned().collect();
    let extra: Vec<IngressRule> = group.ingress.iter().filter(|rule| !wanted.contains(rule)).cloned().collect();
    if missing.is_empty() && extra.is_empty() {
        return;
    }
    let mut details: Vec<_> = missing.iter().map(|rule| difference("ingress", None, Some(rule.to_string()))).collect();
    details.extend(extra.iter().map(|rule| difference("ingress", Some(rule.to_string()), None)));
    draft.change(Sign::Update, SecurityGroup, 1, "security group", details, Reason::ChangedOutside, Effect::InPlace);
    if !missing.is_empty() {
        draft.step(SecurityGroup, &[], Action::AllowIngress { rules: missing });
    }
    if !extra.is_empty() {
        draft.step(SecurityGroup, &[], Action::RevokeIngress { rules: extra });
    }
}

fn volume(draft: &mut Draft, after: Vec<usize>) {
    let shared = &draft.spec.shared;
    let Some(size) = shared.volume else {
        if let Some(volume) = &draft.world.volume {
            draft.warn(
                Address::Volume,
                format!("volume {} of {} GiB exists and the spec asks for none: it is left alone", volume.id, volume.gibibytes),
                "put `shared.volume` back to use it, or delete it by hand when its data is no longer needed",
            );
        }
        return;
    };
    let gibibytes = size.as_gibibytes();
    let Some(volume) = &draft.world.volume else {
        let Some(zone) = zone(draft) else { return };
        draft.create(Address::Volume, format!("volume {size} in {zone}"), Reason::NotThere);
        draft.step_after(Address::Volume, after, Action::CreateVolume { gibibytes, zone, keep: shared.keep });
        return;
    };
    draft.know(Address::Volume, &volume.id);
    draft.mend_tags(&Address::Volume, &volume.id, &volume.tags);
    let keep = shared.keep.to_string();
    let tagged = volume.tags.get(crate::address::KEEP_TAG);
    if tagged != Some(&keep) {
        let details = vec![difference("keep", tagged.cloned(), Some(keep.clone()))];
        draft.change(Sign::Update, Address::Volume, 1, "volume", details, Reason::SpecChanged, Effect::InPlace);
        let tags = [(crate::address::KEEP_TAG.to_owned(), keep)].into();
        draft.step(Address::Volume, &[], Action::SetTags { ids: vec![volume.id.clone()], tags });
    }
    if gibibytes > volume.gibibytes {
        let details = vec![difference("size", Some(format!("{}GiB", volume.gibibytes)), Some(size.to_string()))];
        draft.change(Sign::Update, Address::Volume, 1, "volume", details, Reason::SpecChanged, Effect::InPlace);
        draft.step(Address::Volume, &[], Action::GrowVolume { gibibytes });
    } else if gibibytes < volume.gibibytes {
        draft.block(
            Address::Volume,
            format!("volume {} has {} GiB and the spec says {size}: EBS volumes cannot shrink", volume.id, volume.gibibytes),
            format!("write `volume: {}GiB`", volume.gibibytes),
        );
    }
    if zone(draft).is_some_and(|zone| zone != volume.zone) {
        draft.block(
            Address::Volume,
            format!("volume {} lies in {} and cannot be used from another zone", volume.id, volume.zone),
            format!("write `zone: {}` under `network`", volume.zone),
        );
    }
}

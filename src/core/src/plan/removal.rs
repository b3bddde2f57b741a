//! The plan that removes a cluster: nodes first, then what they stood on, in the order EC2 demands (ec2.md 5.1).

use std::collections::BTreeMap;

use super::draft::price_of_world;
use super::nodes::shown_as;
use super::{Action, Change, Effect, Plan, Reason, Sign, Step};
use crate::address::{Address, CLUSTER_TAG, KEEP_TAG, Role};
use crate::world::{Node, Stray, World};

/// Computes what removes everything of the cluster; a volume tagged to be kept stays unless `with_kept_volume`.
pub fn destroy(world: &World, with_kept_volume: bool) -> Plan {
    let mut removal = Removal::default();
    let nodes = removal.nodes(world);
    for template in &world.templates {
        let action = Action::DeleteTemplate { id: template.id.clone() };
        removal.delete(template.address.clone(), "launch template", Vec::new(), action);
    }
    for group in &world.placement_groups {
        let action = Action::DeletePlacementGroup { name: group.name.clone() };
        removal.delete(group.address.clone(), "placement group", nodes.clone(), action);
    }
    if let Some(volume) = &world.volume {
        let kept = volume.tags.get(KEEP_TAG).is_some_and(|keep| keep == "true");
        if !kept || with_kept_volume {
            let summary = format!("volume of {} GiB with all data on it", volume.gibibytes);
            removal.delete(Address::Volume, &summary, nodes.clone(), Action::DeleteVolume { id: volume.id.clone() });
        }
    }
    removal.network(world, &nodes);
    for stray in &world.strays {
        if with_kept_volume || !is_kept(stray) {
            removal.change(stray_address(stray), 1, &stray_summary(stray));
        }
    }
    let strays = world.strays.iter().filter(|stray| with_kept_volume || !is_kept(stray));
    stray_steps(strays, nodes, |address, after, action| removal.step(address, after, action));
    let kept =
        world.volume.as_ref().filter(|_| !removal.steps.iter().any(|step| matches!(step.action, Action::DeleteVolume { .. })));
    let price_after = kept.and_then(|volume| {
        crate::quantity::VolumeSize::from_gibibytes(volume.gibibytes).map(crate::instance_types::volume_price_per_hour)
    });
    Plan {
        cluster: world.cluster.clone(),
        paced: crate::pacing::of(&removal.steps, &world.limits),
        ladders: Vec::new(),
        shortfalls: Vec::new(),
        changes: removal.changes,
        steps: removal.steps,
        known: Default::default(),
        tags: [(CLUSTER_TAG.to_owned(), world.cluster.to_string())].into(),
        blockers: Vec::new(),
        warnings: Vec::new(),
        price_before: price_of_world(world),
        price_after: Some(price_after.unwrap_or_default()),
    }
}

/// Computes what removes from a cluster those strays that `is_meant` picks by id, and nothing else.
pub fn remove_strays(world: &World, is_meant: impl Fn(&str) -> bool) -> Plan {
    let mut removal = Removal::default();
    let strays: Vec<&Stray> = world.strays.iter().filter(|stray| is_meant(stray.id()) && !is_kept(stray)).collect();
    for stray in &strays {
        removal.change(stray_address(stray), 1, &stray_summary(stray));
    }
    stray_steps(strays.into_iter(), Vec::new(), |address, after, action| removal.step(address, after, action));
    let (changes, steps) = (removal.changes, removal.steps);
    Plan { changes, steps, price_after: price_of_world(world), ..destroy(world, false) }
}

#[derive(Default)]
struct Removal {
    steps: Vec<Step>,
    changes: Vec<Change>,
}

impl Removal {
    fn step(&mut self, address: Address, after: Vec<usize>, action: Action) -> usize {
        self.steps.push(Step { address, after, action });
        self.steps.len() - 1
    }

    fn delete(&mut self, address: Address, summary: &str, after: Vec<usize>, action: Action) -> usize {
        self.change(address.clone(), 1, summary);
        self.step(address, after, action)
    }

    fn change(&mut self, address: Address, count: usize, summary: &str) {
        self.changes.push(Change {
            sign: Sign::Delete,
            address,
            count,
            summary: summary.to_owned(),
            details: Vec::new(),
            reason: Reason::Destroyed,
            effect: Effect::InPlace,
        });
    }

    /// All nodes end in one step, so that they are waited for together; answers the steps to wait for.
    fn nodes(&mut self, world: &World) -> Vec<usize> {
        let mut roles: BTreeMap<&Role, Vec<&Node>> = BTreeMap::new();
        for node in &world.nodes {
            roles.entry(&node.role).or_default().push(node);
        }
        for (role, nodes) in roles {
            let address = shown_as(role, nodes.iter().map(|node| node.index));
            self.change(address, nodes.len(), &format!("{} × {}", nodes.len(), nodes[0].instance_type));
        }
        let ids: Vec<String> = world.nodes.iter().map(|node| node.id.clone()).collect();
        if ids.is_empty() { Vec::new() } else { vec![self.step(Address::Mesh, Vec::new(), Action::Terminate { ids })] }
    }

    fn network(&mut self, world: &World, nodes: &[usize]) {
        let mut before_vpc = nodes.to_vec();
        if let Some(group) = &world.security_group {
            let action = Action::DeleteSecurityGroup { id: group.id.clone() };
            before_vpc.push(self.delete(Address::SecurityGroup, "security group", nodes.to_vec(), action));
        }
        if let Some(subnet) = &world.subnet {
            let action = Action::DeleteSubnet { id: subnet.id.clone() };
            let deleted = self.delete(Address::Subnet, &format!("subnet {}", subnet.cidr), nodes.to_vec(), action);
            before_vpc.push(deleted);
        }
        if let Some(gateway) = &world.gateway {
            let mut after = nodes.to_vec();
            self.change(Address::Gateway, 1, "internet gateway");
            if let Some(vpc) = &gateway.attached_to {
                let action = Action::DetachGateway { id: gateway.id.clone(), vpc: vpc.clone() };
                after = vec![self.step(Address::Gateway, after, action)];
                before_vpc.extend(&after);
            }
            self.step(Address::Gateway, after, Action::DeleteGateway { id: gateway.id.clone() });
        }
        if let Some(routes) = &world.routes {
            // Associations are undone by name rather than left to the subnet's deletion, and while the nodes end: so the
            // route table goes beside the subnet.
            let mut after = nodes.to_vec();
            if !routes.associations.is_empty() {
                let action = Action::DissociateRoutes { associations: routes.associations.clone() };
                after.push(self.step(Address::Routes, Vec::new(), action));
            }
            let action = Action::DeleteRoutes { id: routes.id.clone() };
            before_vpc.push(self.delete(Address::Routes, "route table", after, action));
        }
        if let Some(vpc) = &world.vpc {
            let action = Action::DeleteVpc { id: vpc.id.clone() };
            self.delete(Address::Vpc, &format!("VPC {}", vpc.cidr), before_vpc, action);
        }
    }
}

/// Whether a stray is a volume that was told to outlive the cluster.
fn is_kept(stray: &Stray) -> bool {
    matches!(stray, Stray::Volume(volume) if volume.tags.get(KEEP_TAG).is_some_and(|keep| keep == "true"))
}

pub(super) fn stray_address(stray: &Stray) -> Address {
    match stray {
        Stray::SecurityGroup(_) => Address::SecurityGroup,
        Stray::Subnet(_) => Address::Subnet,
        Stray::Gateway(_) => Address::Gateway,
        Stray::Routes(_) => Address::Routes,
        Stray::Vpc(_) => Address::Vpc,
        Stray::Volume(_) => Address::Volume,
    }
}

pub(super) fn stray_summary(stray: &Stray) -> String {
    let kind = match stray {
        Stray::SecurityGroup(_) => "security group",
        Stray::Subnet(_) => "subnet",
        Stray::Gateway(_) => "internet gateway",
        Stray::Routes(_) => "route table",
        Stray::Vpc(_) => "VPC",
        Stray::Volume(volume) => return format!("second volume {} of {} GiB with all data on it", volume.id, volume.gibibytes),
    };
    format!("second {kind} {}", stray.id())
}

/// Adds the steps that remove `strays`, one after the other: they are few, and each may lie in a later one.
pub(super) fn stray_steps<'a>(
    strays: impl Iterator<Item = &'a Stray>,
    mut after: Vec<usize>,
    mut step: impl FnMut(Address, Vec<usize>, Action) -> usize,
) {
    for stray in strays {
        let id = stray.id().to_owned();
        let actions = match stray {
            Stray::SecurityGroup(_) => vec![Action::DeleteSecurityGroup { id }],
            Stray::Subnet(_) => vec![Action::DeleteSubnet { id }],
            Stray::Gateway(gateway) => {
                let vpc = gateway.attached_to.clone();
                let detach = vpc.map(|vpc| Action::DetachGateway { id: id.clone(), vpc });
                detach.into_iter().chain([Action::DeleteGateway { id }]).collect()
            }
            Stray::Routes(table) => {
                let associations = table.associations.clone();
                let dissociate = (!associations.is_empty()).then_some(Action::DissociateRoutes { associations });
                dissociate.into_iter().chain([Action::DeleteRoutes { id }]).collect()
            }
            Stray::Vpc(_) => vec![Action::DeleteVpc { id }],
            Stray::Volume(_) => vec![Action::DeleteVolume { id }],
        };
        for action in actions {
            after = vec![step(stray_address(stray), after, action)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Vpc;

    #[test]
    fn only_the_strays_that_are_meant_go_and_the_cluster_stays() {
        let vpc = |id: &str| Vpc { id: id.to_owned(), cidr: "10.42.0.0/24".parse().unwrap(), tags: Default::default() };
        let mut world = World::empty("demo".parse().unwrap());
        world.vpc = Some(vpc("vpc-1"));
        world.strays = vec![Stray::Vpc(vpc("vpc-2")), Stray::Vpc(vpc("vpc-3"))];
        let plan = remove_strays(&world, |id| id != "vpc-3");
        let actions: Vec<&Action> = plan.steps.iter().map(|step| &step.action).collect();
        assert_eq!(actions, [&Action::DeleteVpc { id: "vpc-2".to_owned() }]);
        assert_eq!(plan.totals().delete, 1);
    }
}

//! A world in memory that carries out plans: the judge of plans in tests, without a cloud.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::address::{ADDRESS_TAG, Address, JOINED_TAG, KEEP_TAG, Role};
use crate::plan::{Action, Launch, Plan, Step};
use crate::spec::Market;
use crate::world::{
    Gateway, GoneNode, Node, NodeState, PlacementGroup, Routes, SecurityGroup, Stray, Subnet, Tags, Template, Volume, Vpc, World,
};

/// Carries out plans on a world; ids are counted up.
#[derive(Debug, Clone)]
pub struct Simulator {
    pub world: World,
    next_id: u64,
    templates: BTreeMap<String, (String, String, Market)>,
}

impl Simulator {
    pub fn new(world: World) -> Self {
        Self { world, next_id: 1, templates: BTreeMap::new() }
    }

    /// Carries out the first `count` steps of a plan in their order.
    pub fn run_steps(&mut self, plan: &Plan, count: usize) {
        for step in plan.steps.iter().take(count) {
            self.run_step(plan, step);
        }
        self.world.normalise();
    }

    /// Carries out a whole plan.
    pub fn run(&mut self, plan: &Plan) {
        self.run_steps(plan, plan.steps.len());
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}-{:08x}", self.next_id)
    }

    /// The VPC that everything is made in.
    fn vpc(&self) -> String {
        let existing = self.world.existing_network.as_ref().map(|network| network.vpc.clone());
        self.world.vpc.as_ref().map(|vpc| vpc.id.clone()).or(existing).expect("planned after it")
    }

    fn run_step(&mut self, plan: &Plan, step: &Step) {
        let mut tags = plan.tags.clone();
        tags.insert(ADDRESS_TAG.to_owned(), step.address.to_string());
        match &step.action {
            Action::CreateVpc { cidr } => {
                let id = self.id("vpc");
                self.world.vpc = Some(Vpc { id, cidr: *cidr, tags });
            }
            Action::CreateSubnet { cidr, zone } => {
                let (id, vpc) = (self.id("subnet"), self.vpc());
                self.world.subnet = Some(Subnet { id, vpc, cidr: *cidr, zone: zone.clone(), publishes_addresses: false, tags });
            }
            Action::PublishAddresses => self.world.subnet.as_mut().expect("planned after it").publishes_addresses = true,
            Action::CreateGateway => {
                let id = self.id("igw");
                self.world.gateway = Some(Gateway { id, attached_to: None, tags });
            }
            Action::AttachGateway => {
                let vpc = self.world.vpc.as_ref().map(|vpc| vpc.id.clone());
                self.world.gateway.as_mut().expect("planned after it").attached_to = vpc;
            }
            Action::CreateRoutes => {
                let (id, vpc) = (self.id("rtb"), self.vpc());
                self.world.routes =
                    Some(Routes { id, vpc, associated_subnets: vec![], associations: vec![], default_gateway: None, tags });
            }
            Action::AssociateRoutes => {
                let association = self.id("rtbassoc");
                let subnet = self.world.subnet.as_ref().expect("planned after it").id.clone();
                let routes = self.world.routes.as_mut().expect("planned after it");
                routes.associated_subnets.push(subnet);
                routes.associations.push(association);
            }
            Action::CreateDefaultRoute => {
                let gateway = self.world.gateway.as_ref().map(|gateway| gateway.id.clone());
                self.world.routes.as_mut().expect("planned after it").default_gateway = gateway;
            }
            Action::CreateSecurityGroup { .. } => {
                let (id, vpc) = (self.id("sg"), self.vpc());
                self.world.security_group = Some(SecurityGroup { id, vpc, ingress: Vec::new(), tags });
            }
            Action::AllowIngress { rules } => {
                self.world.security_group.as_mut().expect("planned after it").ingress.extend(rules.clone());
            }
            Action::RevokeIngress { rules } => {
                let group = self.world.security_group.as_mut().expect("planned on it");
                group.ingress.retain(|rule| !rules.contains(rule));
            }
            Action::CreatePlacementGroup { name } => {
                let id = self.id("pg");
                let address = step.address.clone();
                self.world.placement_groups.push(PlacementGroup { id, name: name.clone(), address, tags });
            }
            Action::CreateTemplate { name, template } => {
                let id = self.id("lt");
                let made = (template.image_id.clone(), template.instance_type.clone(), template.market);
                self.templates.insert(name.clone(), made);
                let address = step.address.clone();
                self.world.templates.push(Template { id, name: name.clone(), address, fingerprint: String::new(), tags });
            }
            Action::CreateVolume { gibibytes, zone, keep } => {
                let id = self.id("vol");
                tags.insert(KEEP_TAG.to_owned(), keep.to_string());
                self.world.volume = Some(Volume { id, gibibytes: *gibibytes, zone: zone.clone(), attached_to: None, tags });
            }
            Action::GrowVolume { gibibytes } => self.world.volume.as_mut().expect("planned on it").gibibytes = *gibibytes,
            Action::AttachVolume { .. } => {
                let master = self.newest(&Address::Master);
                self.world.volume.as_mut().expect("planned after it").attached_to = master;
            }
            Action::Launch(launch) => self.launch(launch, &tags),
            Action::Start { ids } => self.each(ids, |node| node.state = NodeState::Running),
            Action::Resize { id, instance_type, .. } => {
                self.each(std::slice::from_ref(id), |node| node.instance_type.clone_from(instance_type));
            }
            Action::AwaitRunning { .. } => {}
            Action::Join { nodes, .. } => self.join(nodes),
            Action::SetTags { ids, tags } => self.tags_of(ids, |present| present.extend(tags.clone())),
            Action::RemoveTags { ids, keys } => self.tags_of(ids, |present| present.retain(|key, _| !keys.contains(key))),
            Action::Terminate { ids } => self.terminate(ids),
            Action::DeleteVolume { id } => self.delete(id),
            Action::DeleteTemplate { id } => self.world.templates.retain(|template| &template.id != id),
            Action::DeletePlacementGroup { name } => self.world.placement_groups.retain(|group| &group.name != name),
            Action::DeleteSecurityGroup { id } => self.delete(id),
            Action::DeleteSubnet { id } => self.delete(id),
            Action::DeleteRoutes { id, .. } => self.delete(id),
            Action::DetachGateway { id, .. } => {
                let strays = self.world.strays.iter_mut().filter_map(|stray| match stray {
                    Stray::Gateway(gateway) => Some(gateway),
                    _ => None,
                });
                let gateway = self.world.gateway.iter_mut().chain(strays).find(|gateway| &gateway.id == id);
                gateway.expect("planned on it").attached_to = None;
            }
            Action::DeleteGateway { id } => self.delete(id),
            Action::DeleteVpc { id } => self.delete(id),
        }
    }

    /// Deletes what has this id, be it the cluster's own or a stray.
    fn delete(&mut self, id: &str) {
        fn take<T>(slot: &mut Option<T>, id: &str, of: impl Fn(&T) -> &String) {
            slot.take_if(|item| of(item) == id);
        }
        let world = &mut self.world;
        take(&mut world.volume, id, |it| &it.id);
        take(&mut world.security_group, id, |it| &it.id);
        take(&mut world.subnet, id, |it| &it.id);
        take(&mut world.routes, id, |it| &it.id);
        take(&mut world.gateway, id, |it| &it.id);
        take(&mut world.vpc, id, |it| &it.id);
        world.strays.retain(|stray| stray.id() != id);
    }

    fn launch(&mut self, launch: &Launch, tags: &Tags) {
        let (image_id, instance_type, market) = self.templates.get(&launch.template).cloned().expect("templates come first");
        for index in launch.indexes.iter() {
            let id = self.id("i");
            let mut tags = tags.clone();
            tags.extend(launch.tags());
            self.world.nodes.push(Node {
                role: launch.role.clone(),
                index: if launch.role == Role::Master { 0 } else { index },
                state: NodeState::Running,
                instance_type: instance_type.clone(),
                image_id: image_id.clone(),
                private_address: launch.private_address.or(Some(Ipv4Addr::new(10, 0, (index >> 8) as u8, index as u8))),
                public_address: None,
                market,
                security_groups: Vec::new(),
                launched: id.clone(),
                id,
                tags,
            });
        }
    }

    /// The youngest instance of an address: the one a replacement has made.
    fn newest(&self, address: &Address) -> Option<String> {
        let nodes = self.world.nodes.iter().filter(|node| &node.address() == address);
        nodes.max_by(|a, b| a.launched.cmp(&b.launched)).map(|node| node.id.clone())
    }

    fn join(&mut self, nodes: &[Address]) {
        let master = self.newest(&Address::Master).expect("a cluster has a master");
        let ids: Vec<String> = nodes.iter().filter_map(|address| self.newest(address)).collect();
        assert_eq!(ids.len(), nodes.len(), "only nodes that exist can be joined");
        self.each(&ids, |node| {
            node.tags.insert(JOINED_TAG.to_owned(), master.clone());
        });
    }

    fn each(&mut self, ids: &[String], change: impl Fn(&mut Node)) {
        self.world.nodes.iter_mut().filter(|node| ids.contains(&node.id)).for_each(change);
    }

    fn terminate(&mut self, ids: &[String]) {
        if let Some(volume) = &mut self.world.volume
            && volume.attached_to.as_ref().is_some_and(|id| ids.contains(id))
        {
            volume.attached_to = None;
        }
        let (gone, left) = std::mem::take(&mut self.world.nodes).into_iter().partition(|node| ids.contains(&node.id));
        self.world.nodes = left;
        let gone: Vec<Node> = gone;
        self.world.gone.extend(gone.into_iter().map(|node| GoneNode {
            id: node.id,
            role: node.role,
            index: node.index,
            reason: "Client.UserInitiatedShutdown".to_owned(),
        }));
    }

    fn tags_of(&mut self, ids: &[String], change: impl Fn(&mut Tags)) {
        let world = &mut self.world;
        let single = [
            world.vpc.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
            world.subnet.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
            world.gateway.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
            world.routes.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
            world.security_group.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
            world.volume.as_mut().map(|it| (it.id.clone(), &mut it.tags)),
        ];
        let groups = world.placement_groups.iter_mut().map(|it| (it.id.clone(), &mut it.tags));
        let templates = world.templates.iter_mut().map(|it| (it.id.clone(), &mut it.tags));
        let nodes = world.nodes.iter_mut().map(|it| (it.id.clone(), &mut it.tags));
        for (id, tags) in single.into_iter().flatten().chain(groups).chain(templates).chain(nodes) {
            if ids.contains(&id) {
                change(tags);
            }
        }
    }
}

//! A cloud in memory that carries out plans: the judge of plans in tests, without a cloud.
//!
//! It insists on EC2's rules: whoever breaks one is stopped by a panic that names it. Steps run in any order that their
//! plan allows, and a run may end anywhere, with answers lost, things made twice and nodes that die.

mod changes;
mod rules;

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use crate::address::{ADDRESS_TAG, Address, FILE_SYSTEM_TAG, JOINED_TAG, KEEP_TAG, Role};
use crate::capacity::{Findings, Pool, Refused};
use crate::plan::{Action, IDS_PER_CALL, Launch, Plan, Step, TemplateData};
use crate::spec::Market;
use crate::world::{
    Companion, Gateway, GoneNode, Listed, MetadataOptions, Node, NodeState, PlacementGroup, Root, Routes, SecurityGroup, Subnet,
    Tags, Template, Volume, Vpc, World,
};

/// Everything that exists, and who uses what.
#[derive(Debug, Clone)]
pub struct Simulator {
    /// What a plan must know beyond the cluster: images, zones, an existing network.
    pub surroundings: World,
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<Gateway>,
    pub routes: Vec<Routes>,
    pub security_groups: Vec<SecurityGroup>,
    pub placement_groups: Vec<PlacementGroup>,
    pub templates: Vec<(Template, TemplateData)>,
    pub volumes: Vec<Volume>,
    pub instances: Vec<Instance>,
    pub gone: Vec<GoneNode>,
    /// How many more instances fit into a pool; any number where nothing is said.
    pub room: BTreeMap<Pool, usize>,
    /// What the apply under way has found out.
    pub findings: Findings,
    next_id: u64,
    /// Ids known to the run under way.
    ids: BTreeMap<Address, String>,
}

/// A node, and what else it uses.
#[derive(Debug, Clone)]
pub struct Instance {
    pub node: Node,
    subnet: String,
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It took effect twice: the first answer was lost, and what it made was not yet visible. Done for the caller.
    Twice,
    /// It took effect, and nobody learned of it: failed for the caller.
    Lost,
    /// Only the first of its calls took effect.
    Half,
    /// What it launched ended at once.
    Died,
    /// The last of what it launched ended at once, because there was no room for it after all (ec2.md 4.4).
    Starved,
    /// There is no room for what a stopped node has become: it is what it was again. Failed for the caller.
    NoRoom,
}

impl Simulator {
    pub fn new(surroundings: World) -> Self {
        Self {
            surroundings,
            vpcs: Vec::new(),
            subnets: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
            security_groups: Vec::new(),
            placement_groups: Vec::new(),
            templates: Vec::new(),
            volumes: Vec::new(),
            instances: Vec::new(),
            gone: Vec::new(),
            room: BTreeMap::new(),
            findings: Findings::default(),
            next_id: 1,
            ids: BTreeMap::new(),
        }
    }

    /// What an observer sees.
    pub fn world(&self) -> World {
        let mut world = World {
            nodes: self.instances.iter().map(|instance| instance.node.clone()).collect(),
            gone: self.gone.clone(),
            findings: self.findings.clone(),
            placement_groups: self.placement_groups.clone(),
            templates: self.templates.iter().map(|(template, _)| template.clone()).collect(),
            ..self.surroundings.clone()
        };
        world.adopt(Listed {
            vpcs: self.vpcs.clone(),
            subnets: self.subnets.clone(),
            gateways: self.gateways.clone(),
            routes: self.routes.clone(),
            security_groups: self.security_groups.clone(),
            volumes: self.volumes.clone(),
        });
        world.normalise();
        world
    }

    /// Carries out a whole plan, in its own order.
    pub fn run(&mut self, plan: &Plan) {
        let done = self.run_so(plan, usize::MAX, |position| position as u64, |_| Outcome::Done);
        assert_eq!(done, plan.steps.len(), "a plan without failures is carried out to its end");
    }

    /// Carries out at most `most` steps; of those that may begin, the one of the lowest `priority` first. What waits for
    /// a step that failed never begins. Answers how many were carried out.
    pub fn run_so(
        &mut self,
        plan: &Plan,
        most: usize,
        priority: impl Fn(usize) -> u64,
        outcome: impl Fn(usize) -> Outcome,
    ) -> usize {
        assert!(plan.blockers.is_empty(), "a plan with blockers is not carried out");
        self.ids = plan.known.clone();
        let mut ended = vec![false; plan.steps.len()];
        let mut begun = vec![false; plan.steps.len()];
        for number in 0..most {
            let may_begin = |position: &usize| !begun[*position] && plan.steps[*position].after.iter().all(|step| ended[*step]);
            let next = (0..plan.steps.len()).filter(may_begin).min_by_key(|position| (priority(*position), *position));
            let Some(position) = next else { return number };
            begun[position] = true;
            let outcome = outcome(position);
            let is_whole = self.run_step(plan, &plan.steps[position], outcome);
            ended[position] = is_whole && matches!(outcome, Outcome::Done | Outcome::Twice);
        }
        most
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}-{:08x}", self.next_id)
    }

    fn known(&self, address: &Address) -> String {
        self.ids.get(address).unwrap_or_else(|| panic!("{address} is not known: a step before should have made it")).clone()
    }

    /// Answers whether all of it was had.
    fn run_step(&mut self, plan: &Plan, step: &Step, outcome: Outcome) -> bool {
        self.check(step);
        let mut is_whole = true;
        let mut tags = plan.tags.clone();
        tags.insert(ADDRESS_TAG.to_owned(), step.address.to_string());
        let made = match &step.action {
            Action::CreateVpc { cidr } => {
                let times = if outcome == Outcome::Twice { 2 } else { 1 };
                let mut id = String::new();
                for _ in 0..times {
                    id = self.fresh("vpc");
                    self.vpcs.push(Vpc { id: id.clone(), cidr: *cidr, tags: tags.clone() });
                }
                Some(id)
            }
            Action::CreateGateway => {
                let times = if outcome == Outcome::Twice { 2 } else { 1 };
                let mut id = String::new();
                for _ in 0..times {
                    id = self.fresh("igw");
                    self.gateways.push(Gateway { id: id.clone(), attached_to: None, tags: tags.clone() });
                }
                Some(id)
            }
            Action::CreateSubnet { cidr, zone } => {
                let (id, vpc) = (self.fresh("subnet"), self.known(&Address::Vpc));
                self.subnets.push(Subnet { id: id.clone(), vpc, cidr: *cidr, zone: zone.clone(), tags });
                Some(id)
            }
            Action::CreateRoutes => {
                let (id, vpc) = (self.fresh("rtb"), self.known(&Address::Vpc));
                let (associated_subnets, associations) = (Vec::new(), Vec::new());
                let table = Routes { id: id.clone(), vpc, associated_subnets, associations, default_gateway: None, tags };
                self.routes.push(table);
                Some(id)
            }
            Action::CreateSecurityGroup { .. } => {
                let (id, vpc) = (self.fresh("sg"), self.known(&Address::Vpc));
                self.security_groups.push(SecurityGroup { id: id.clone(), vpc, ingress: Vec::new(), tags });
                Some(id)
            }
            Action::CreatePlacementGroup { name } => {
                let (id, address) = (self.fresh("pg"), step.address.clone());
                self.placement_groups.push(PlacementGroup { id, name: name.clone(), address, tags });
                Some(name.clone())
            }
            Action::CreateTemplate { name, template } => {
                let (id, address) = (self.fresh("lt"), step.address.clone());
                let made = Template { id: id.clone(), name: name.clone(), address, fingerprint: String::new(), tags };
                self.templates.push((made, template.clone()));
                Some(id)
            }
            Action::CreateVolume { gibibytes, zone, keep } => {
                let id = self.fresh("vol");
                tags.insert(KEEP_TAG.to_owned(), keep.to_string());
                tags.insert(FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string());
                self.volumes.push(Volume { id: id.clone(), gibibytes: *gibibytes, zone: zone.clone(), attached_to: None, tags });
                Some(id)
            }
            Action::Launch(launch) => {
                let ids = self.launch(plan, launch);
                is_whole = ids.len() == launch.indexes.len();
                match (outcome, ids.last()) {
                    (Outcome::Died, _) => self.end(&ids, "Server.InternalError"),
                    (Outcome::Starved, Some(last)) => {
                        self.end(std::slice::from_ref(last), "Server.InsufficientInstanceCapacity");
                        self.refuse(launch);
                    }
                    _ => {}
                }
                self.ids.extend(launch.addresses().into_iter().zip(ids));
                None
            }
            action => {
                self.change(action, outcome);
                None
            }
        };
        if let Some(id) = made {
            self.ids.insert(step.address.clone(), id);
        }
        is_whole
    }

    /// Carries out what makes nothing.
    fn change(&mut self, action: &Action, outcome: Outcome) {
        let half = outcome == Outcome::Half;
        match action {
            Action::AttachGateway => {
                let (vpc, id) = (self.known(&Address::Vpc), self.known(&Address::Gateway));
                self.gateways.iter_mut().filter(|it| it.id == id).for_each(|it| it.attached_to = Some(vpc.clone()));
            }
            Action::AssociateRoutes => {
                let (association, subnet) = (self.fresh("rtbassoc"), self.known(&Address::Subnet));
                let id = self.known(&Address::Routes);
                for table in self.routes.iter_mut().filter(|it| it.id == id) {
                    table.associated_subnets.push(subnet.clone());
                    table.associations.push(association.clone());
                }
            }
            Action::CreateDefaultRoute => {
                let (gateway, id) = (self.known(&Address::Gateway), self.known(&Address::Routes));
                self.routes.iter_mut().filter(|it| it.id == id).for_each(|it| it.default_gateway = Some(gateway.clone()));
            }
            Action::AllowIngress { rules } => {
                let id = self.known(&Address::SecurityGroup);
                let groups = self.security_groups.iter_mut().filter(|it| it.id == id);
                groups.for_each(|it| it.ingress.extend(rules.clone()));
            }
            Action::RevokeIngress { rules } => {
                let id = self.known(&Address::SecurityGroup);
                let groups = self.security_groups.iter_mut().filter(|it| it.id == id);
                groups.for_each(|it| it.ingress.retain(|rule| !rules.contains(rule)));
            }
            Action::GrowVolume { gibibytes } => {
                let id = self.known(&Address::Volume);
                self.volumes.iter_mut().filter(|it| it.id == id).for_each(|it| it.gibibytes = *gibibytes);
            }
            Action::AttachVolume { .. } => {
                let (id, master) = (self.known(&Address::Volume), self.known(&Address::Master));
                self.volumes.iter_mut().filter(|it| it.id == id).for_each(|it| it.attached_to = Some(master.clone()));
            }
            Action::GrowFileSystem { .. } if half => {}
            Action::GrowFileSystem { gibibytes, .. } => {
                let grown = Tags::from([(FILE_SYSTEM_TAG.to_owned(), gibibytes.to_string())]);
                self.tags_of(&[self.known(&Address::Volume)], |present| present.extend(grown.clone()));
            }
            Action::Start { ids } => self.each(ids, |node| node.state = NodeState::Running),
            Action::SetInstanceProfile { .. }
            | Action::SetSecurityGroup { .. }
            | Action::SetMetadataOptions { .. }
            | Action::GrowRoots { .. }
            | Action::GrowRootFileSystems { .. }
            | Action::ChangeStopped { .. }
            | Action::ReplaceRoot(_) => self.change_nodes(action, outcome),
            Action::Join { nodes, .. } => {
                let master = self.known(&Address::Master);
                let joined = if half { &nodes[..nodes.len() / 2] } else { nodes };
                let ids: Vec<String> = joined.iter().map(|address| self.known(address)).collect();
                self.each(&ids, |node| {
                    node.tags.insert(JOINED_TAG.to_owned(), master.clone());
                });
            }
            Action::SetTags { ids, tags } => self.tags_of(ids, |present| present.extend(tags.clone())),
            Action::RemoveTags { ids, keys } => self.tags_of(ids, |present| present.retain(|key, _| !keys.contains(key))),
            Action::Terminate { ids } => self.end(ids, "Client.UserInitiatedShutdown"),
            Action::DeleteVolume { id } => self.volumes.retain(|it| &it.id != id),
            Action::DeleteTemplate { id } => self.templates.retain(|(it, _)| &it.id != id),
            Action::DeletePlacementGroup { name } => self.placement_groups.retain(|it| &it.name != name),
            Action::DeleteSecurityGroup { id } => self.security_groups.retain(|it| &it.id != id),
            Action::DeleteSubnet { id } => self.delete_subnet(id),
            Action::DissociateRoutes { associations } => {
                let undone = if half { &associations[..1] } else { associations };
                for table in &mut self.routes {
                    let left = table.associations.iter().zip(&table.associated_subnets).filter(|(it, _)| !undone.contains(it));
                    (table.associations, table.associated_subnets) =
                        left.map(|(it, subnet)| (it.clone(), subnet.clone())).unzip();
                }
            }
            Action::DeleteRoutes { id } => self.routes.retain(|it| &it.id != id),
            Action::DetachGateway { id, .. } => {
                self.gateways.iter_mut().filter(|it| &it.id == id).for_each(|it| it.attached_to = None);
            }
            Action::DeleteGateway { id } => self.gateways.retain(|it| &it.id != id),
            Action::DeleteVpc { id } => self.vpcs.retain(|it| &it.id != id),
            Action::AwaitRunning { .. } => {}
            Action::CreateVpc { .. }
            | Action::CreateSubnet { .. }
            | Action::CreateGateway
            | Action::CreateRoutes
            | Action::CreateSecurityGroup { .. }
            | Action::CreatePlacementGroup { .. }
            | Action::CreateTemplate { .. }
            | Action::CreateVolume { .. }
            | Action::Launch(_) => unreachable!("run_step makes things"),
        }
    }

    /// Deleting a subnet undoes its associations.
    fn delete_subnet(&mut self, id: &str) {
        self.subnets.retain(|it| it.id != id);
        for table in &mut self.routes {
            let left = table.associations.iter().zip(&table.associated_subnets).filter(|(_, subnet)| *subnet != id);
            (table.associations, table.associated_subnets) = left.map(|(it, subnet)| (it.clone(), subnet.clone())).unzip();
        }
    }

    /// Notes that a pool had no room for a group; nobody but an apply keeps such notes.
    fn refuse(&mut self, launch: &Launch) {
        if let Role::Worker(group) = &launch.role {
            self.findings.refused.insert(Refused { group: group.clone(), pool: launch.pool.clone() });
        }
    }

    /// How many instances of a launch there is room for; none if those are fewer than will do (ec2.md 4.2).
    fn admit(&mut self, launch: &Launch) -> usize {
        let wanted = launch.indexes.len();
        let Some(room) = self.room.get_mut(&launch.pool) else { return wanted };
        let given = wanted.min(*room);
        let given = if given < launch.least { 0 } else { given };
        *room -= given;
        if given < wanted {
            self.refuse(launch);
        }
        given
    }

    fn launch(&mut self, plan: &Plan, launch: &Launch) -> Vec<String> {
        let given = self.admit(launch);
        let named = self.templates.iter().find(|(template, _)| template.name == launch.template);
        let (_, data) = named.expect("checked before").clone();
        let (subnet, group) = (self.known(&Address::Subnet), self.known(&Address::SecurityGroup));
        let mut ids = Vec::new();
        // EC2 gives any free address; the first ones are the unkindest.
        let mut free: Vec<Ipv4Addr> = self.free_addresses(&subnet).take(given).collect();
        free.reverse();
        for index in launch.indexes.iter().take(given) {
            let id = self.fresh("i");
            self.findings.launched.insert(id.clone());
            let mut tags = plan.tags.clone();
            tags.extend(launch.tags());
            let address = launch.private_address.or_else(|| free.pop());
            assert!(address.is_some(), "RunInstances: InsufficientFreeAddressesInSubnet");
            let node = Node {
                role: launch.role.clone(),
                index: if launch.role == Role::Master { 0 } else { index },
                state: NodeState::Running,
                instance_type: data.instance_type.clone(),
                image_id: data.image_id.clone(),
                private_address: address,
                public_address: None,
                market: data.market,
                security_groups: vec![group.clone()],
                instance_profile: data.instance_profile.clone(),
                placement_group: data.placement_group.clone(),
                metadata_options: Some(MetadataOptions::OF_NODES),
                root: Some(self.root_of(plan, launch, &data)),
                interface: Some(Companion { id: self.fresh("eni"), tags: Some(tags.clone()) }),
                spot_request: (data.market == Market::Spot)
                    .then(|| Companion { id: self.fresh("sir"), tags: Some(tags.clone()) }),
                launched: id.clone(),
                id: id.clone(),
                tags,
            };
            self.instances.push(Instance { node, subnet: subnet.clone() });
            ids.push(id);
        }
        ids
    }

    fn root_of(&mut self, plan: &Plan, launch: &Launch, data: &TemplateData) -> Root {
        let tags = plan.tags.iter().map(|(key, value)| (key.clone(), value.clone())).chain(launch.root_tags()).collect();
        Root { id: self.fresh("vol"), gibibytes: data.root_gibibytes, tags }
    }

    /// Changes what some nodes are.
    pub fn each(&mut self, ids: &[String], change: impl Fn(&mut Node)) {
        let ids: HashSet<&String> = ids.iter().collect();
        self.instances.iter_mut().map(|it| &mut it.node).filter(|node| ids.contains(&node.id)).for_each(change);
    }

    /// Ends instances, for a reason; volumes are free again.
    pub fn end(&mut self, ids: &[String], reason: &str) {
        let ids: HashSet<&String> = ids.iter().collect();
        for volume in &mut self.volumes {
            volume.attached_to.take_if(|id| ids.contains(&*id));
        }
        let (gone, left): (Vec<Instance>, _) =
            std::mem::take(&mut self.instances).into_iter().partition(|it| ids.contains(&it.node.id));
        self.instances = left;
        self.gone.extend(gone.into_iter().map(|Instance { node, .. }| GoneNode {
            id: node.id,
            role: node.role,
            index: node.index,
            launched: node.launched,
            reason: reason.to_owned(),
        }));
    }

    fn tags_of(&mut self, ids: &[String], change: impl Fn(&mut Tags)) {
        let vpcs = self.vpcs.iter_mut().map(|it| (&it.id, &mut it.tags));
        let subnets = self.subnets.iter_mut().map(|it| (&it.id, &mut it.tags));
        let gateways = self.gateways.iter_mut().map(|it| (&it.id, &mut it.tags));
        let routes = self.routes.iter_mut().map(|it| (&it.id, &mut it.tags));
        let security_groups = self.security_groups.iter_mut().map(|it| (&it.id, &mut it.tags));
        let placement_groups = self.placement_groups.iter_mut().map(|it| (&it.id, &mut it.tags));
        let templates = self.templates.iter_mut().map(|(it, _)| (&it.id, &mut it.tags));
        let volumes = self.volumes.iter_mut().map(|it| (&it.id, &mut it.tags));
        let ids: HashSet<&String> = ids.iter().collect();
        let network = vpcs.chain(subnets).chain(gateways).chain(routes).chain(security_groups);
        for (id, tags) in network.chain(placement_groups).chain(templates).chain(volumes) {
            if ids.contains(id) {
                change(tags);
            }
        }
        for node in self.instances.iter_mut().map(|it| &mut it.node) {
            let root = node.root.iter_mut().map(|root| (&root.id, &mut root.tags));
            let companions = node.interface.iter_mut().chain(&mut node.spot_request);
            let companions = companions.filter_map(|companion| Some((&companion.id, companion.tags.as_mut()?)));
            for (id, tags) in std::iter::once((&node.id, &mut node.tags)).chain(root).chain(companions) {
                if ids.contains(id) {
                    change(tags);
                }
            }
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.world().is_empty()
    }
}

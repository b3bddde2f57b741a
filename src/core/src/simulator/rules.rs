//! EC2's rules, as far as a plan can break them (ec2.md): each is a panic with EC2's code.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::{Action, Address, IDS_PER_CALL, Launch, NodeState, Simulator, Step};
use crate::world::{IngressRule, SecurityGroup};

impl Simulator {
    /// Checks that EC2 would take this step.
    pub(super) fn check(&self, step: &Step) {
        match &step.action {
            Action::CreateVpc { .. } | Action::CreateGateway | Action::CreateVolume { .. } => {}
            Action::CreateSubnet { .. } => {
                let vpc = self.vpc();
                assert!(!self.subnets.iter().any(|it| it.vpc == vpc), "CreateSubnet: InvalidSubnet.Conflict");
            }
            Action::CreateRoutes => drop(self.vpc()),
            Action::AttachGateway => {
                let vpc = self.vpc();
                let taken = self.gateways.iter().any(|it| it.attached_to.as_ref() == Some(&vpc));
                assert!(!taken, "AttachInternetGateway: Resource.AlreadyAssociated");
            }
            Action::AssociateRoutes => {
                let subnet = self.known(&Address::Subnet);
                let vpc = self.subnets.iter().find(|it| it.id == subnet).map(|it| &it.vpc);
                let table = self.known(&Address::Routes);
                let of_table = self.routes.iter().find(|it| it.id == table).map(|it| &it.vpc);
                assert!(vpc.is_some() && vpc == of_table, "AssociateRouteTable: not in one VPC");
                let taken = self.routes.iter().any(|it| it.associated_subnets.contains(&subnet));
                assert!(!taken, "AssociateRouteTable: Resource.AlreadyAssociated");
            }
            Action::CreateDefaultRoute => {
                let (id, table) = (self.known(&Address::Gateway), self.known(&Address::Routes));
                let vpc = self.routes.iter().find(|it| it.id == table).map(|it| &it.vpc);
                let attached = self.gateways.iter().find(|it| it.id == id).and_then(|it| it.attached_to.as_ref());
                assert!(attached.is_some() && attached == vpc, "CreateRoute: Gateway.NotAttached");
            }
            Action::CreateSecurityGroup { .. } => {
                let vpc = self.vpc();
                assert!(!self.security_groups.iter().any(|it| it.vpc == vpc), "CreateSecurityGroup: InvalidGroup.Duplicate");
            }
            Action::AllowIngress { rules } => {
                let group = self.security_group();
                assert!(!rules.iter().any(|rule| group.ingress.contains(rule)), "Authorize: InvalidPermission.Duplicate");
            }
            Action::RevokeIngress { rules } => {
                let group = self.security_group();
                assert!(rules.iter().all(|rule| group.ingress.contains(rule)), "Revoke: InvalidPermission.NotFound");
            }
            Action::CreatePlacementGroup { name } => {
                let taken = self.placement_groups.iter().any(|it| &it.name == name);
                assert!(!taken, "CreatePlacementGroup: InvalidPlacementGroup.Duplicate");
            }
            Action::CreateTemplate { name, .. } => {
                let taken = self.templates.iter().any(|(it, _)| &it.name == name);
                assert!(!taken, "CreateLaunchTemplate: InvalidLaunchTemplateName.AlreadyExistsException");
            }
            Action::GrowVolume { gibibytes } => {
                let id = self.known(&Address::Volume);
                let grows = self.volumes.iter().any(|it| it.id == id && it.gibibytes < *gibibytes);
                assert!(grows, "ModifyVolume: InvalidParameterValue, a volume only grows");
            }
            Action::AttachVolume { .. } => {
                let (id, master) = (self.known(&Address::Volume), self.known(&Address::Master));
                assert!(self.volumes.iter().any(|it| it.id == id && it.attached_to.is_none()), "AttachVolume: VolumeInUse");
                let runs = self.instances.iter().any(|it| it.node.id == master && it.node.state == NodeState::Running);
                assert!(runs, "AttachVolume: IncorrectState");
            }
            Action::GrowFileSystem { gibibytes, .. } => {
                let (id, master) = (self.known(&Address::Volume), self.known(&Address::Master));
                let fits = |it: &&crate::world::Volume| it.attached_to.as_ref() == Some(&master) && it.gibibytes >= *gibibytes;
                assert!(self.volumes.iter().filter(|it| it.id == id).any(|it| fits(&it)), "a file system fits its volume");
                let runs = self.instances.iter().any(|it| it.node.id == master && it.node.state == NodeState::Running);
                assert!(runs, "SendCommand: InvalidInstanceId, the master does not run");
            }
            Action::Launch(launch) => self.check_launch(launch),
            Action::Start { ids } => self.check_ids(ids),
            Action::SetInstanceProfile { .. }
            | Action::SetSecurityGroup { .. }
            | Action::SetMetadataOptions { .. }
            | Action::GrowRoots { .. }
            | Action::GrowRootFileSystems { .. }
            | Action::ChangeStopped { .. }
            | Action::ReplaceRoot(_) => self.check_change(&step.action),
            Action::AwaitRunning { nodes } => {
                let running = self.instances.iter().filter(|it| it.node.state == NodeState::Running);
                let running: HashSet<&String> = running.map(|it| &it.node.id).collect();
                for address in nodes {
                    assert!(running.contains(&self.known(address)), "{address} is waited for and never runs");
                }
            }
            Action::Join { nodes, .. } => self.check_join(nodes),
            Action::SetTags { ids, .. } | Action::RemoveTags { ids, .. } => {
                assert!(ids.len() <= IDS_PER_CALL, "CreateTags: InvalidParameterValue, too many resources");
            }
            Action::Terminate { ids } => self.check_known(ids),
            Action::DeleteVolume { id } => {
                assert!(!self.volumes.iter().any(|it| &it.id == id && it.attached_to.is_some()), "DeleteVolume: VolumeInUse");
            }
            Action::DeleteTemplate { .. } => {}
            Action::DeletePlacementGroup { name } => {
                let used = self.instances.iter().any(|it| it.node.placement_group.as_ref() == Some(name));
                assert!(!used, "DeletePlacementGroup: InvalidPlacementGroup.InUse");
            }
            Action::DeleteSecurityGroup { id } => {
                let used = self.instances.iter().any(|it| it.node.security_groups.contains(id));
                assert!(!used, "DeleteSecurityGroup: DependencyViolation");
            }
            Action::DeleteSubnet { id } => {
                assert!(!self.instances.iter().any(|it| &it.subnet == id), "DeleteSubnet: DependencyViolation");
            }
            Action::DissociateRoutes { .. } => {}
            Action::DeleteRoutes { id } => {
                let associated = self.routes.iter().any(|it| &it.id == id && !it.associations.is_empty());
                assert!(!associated, "DeleteRouteTable: DependencyViolation, it has associations");
            }
            Action::DetachGateway { vpc, .. } => {
                let inside: HashSet<&String> = self.subnets.iter().filter(|it| &it.vpc == vpc).map(|it| &it.id).collect();
                let used = self.instances.iter().any(|it| inside.contains(&it.subnet));
                assert!(!used, "DetachInternetGateway: DependencyViolation, public addresses are mapped");
            }
            Action::DeleteGateway { id } => {
                let attached = self.gateways.iter().any(|it| &it.id == id && it.attached_to.is_some());
                assert!(!attached, "DeleteInternetGateway: DependencyViolation");
            }
            Action::DeleteVpc { id } => {
                let used = self.subnets.iter().any(|it| &it.vpc == id)
                    || self.routes.iter().any(|it| &it.vpc == id)
                    || self.security_groups.iter().any(|it| &it.vpc == id)
                    || self.gateways.iter().any(|it| it.attached_to.as_ref() == Some(id));
                assert!(!used, "DeleteVpc: DependencyViolation");
            }
        }
    }

    /// The VPC that things are made in; one that ewulf did not make exists as well.
    fn vpc(&self) -> String {
        let id = self.known(&Address::Vpc);
        let existing = self.surroundings.existing_network.as_ref().is_some_and(|network| network.vpc == id);
        assert!(existing || self.vpcs.iter().any(|it| it.id == id), "InvalidVpcID.NotFound");
        id
    }

    pub(super) fn security_group(&self) -> &SecurityGroup {
        let id = self.known(&Address::SecurityGroup);
        self.security_groups.iter().find(|it| it.id == id).expect("InvalidGroup.NotFound")
    }

    pub(super) fn check_ids(&self, ids: &[String]) {
        assert!(ids.len() <= IDS_PER_CALL, "InvalidParameterValue: too many ids");
        self.check_known(ids);
    }

    fn check_known(&self, ids: &[String]) {
        let known: HashSet<&String> = self.instances.iter().map(|it| &it.node.id).collect();
        assert!(ids.iter().all(|id| known.contains(id)), "InvalidInstanceID.NotFound");
    }

    fn check_launch(&self, launch: &Launch) {
        assert!(!launch.indexes.is_empty() && launch.indexes.len() <= IDS_PER_CALL, "RunInstances: InstanceLimitExceeded");
        assert!(launch.indexes.to_string().len() <= 256, "RunInstances: InvalidParameterValue, tag value too long");
        let template = self.templates.iter().find(|(template, _)| template.name == launch.template);
        let (_, data) = template.expect("RunInstances: InvalidLaunchTemplateName.NotFoundException");
        if let Some(name) = &data.placement_group {
            let exists = self.placement_groups.iter().any(|it| &it.name == name);
            assert!(exists, "RunInstances: InvalidPlacementGroup.Unknown");
        }
        assert!(launch.least >= 1 && launch.least <= launch.indexes.len(), "RunInstances: InvalidParameterValue, MinCount");
        let group = self.security_group();
        let subnet = self.known(&Address::Subnet);
        let existing = self.surroundings.existing_network.as_ref().is_some_and(|network| network.subnet == subnet);
        let zone = self.surroundings.existing_network.as_ref().filter(|_| existing).map(|network| &network.zone);
        let zone = zone.or(self.subnets.iter().find(|it| it.id == subnet).map(|it| &it.zone));
        assert_eq!(zone, Some(&launch.pool.zone), "a launch says where it goes");
        assert_eq!((&data.instance_type, data.market), (&launch.pool.instance_type, launch.pool.market), "and as what");
        let of_group = self.subnets.iter().any(|it| it.id == subnet && it.vpc == group.vpc);
        assert!(existing || of_group, "RunInstances: InvalidSubnetID.NotFound, or not in the group's VPC");
        if let Some(address) = launch.private_address {
            assert_eq!(launch.indexes.len(), 1, "RunInstances: InvalidParameterCombination, one address for many");
            assert!(self.free_addresses(&subnet).any(|free| free == address), "RunInstances: InvalidIPAddress.InUse");
        }
    }

    /// Addresses of a subnet that nothing uses, in order.
    pub(super) fn free_addresses(&self, subnet: &str) -> impl Iterator<Item = Ipv4Addr> {
        let existing = self.surroundings.existing_network.as_ref();
        let cidr = self.subnets.iter().find(|it| it.id == subnet).map(|it| it.cidr);
        let cidr = cidr.or(existing.map(|network| network.subnet_cidr)).expect("InvalidSubnetID.NotFound");
        let strangers = existing.iter().flat_map(|network| network.taken_addresses.iter().copied());
        let nodes = self.instances.iter().filter(|it| it.subnet == subnet).filter_map(|it| it.node.private_address);
        let taken: HashSet<Ipv4Addr> = strangers.chain(nodes).collect();
        cidr.hosts().filter(move |address| !taken.contains(address))
    }

    /// Nodes can be joined once they run in a whole network, with the volume on the master.
    fn check_join(&self, nodes: &[Address]) {
        let ids: HashSet<String> = nodes.iter().map(|address| self.known(address)).collect();
        assert_eq!(ids.len(), nodes.len(), "no node is joined twice");
        let running = self.instances.iter().filter(|it| ids.contains(&it.node.id) && it.node.state == NodeState::Running);
        assert_eq!(running.count(), ids.len(), "only nodes that run can be joined");
        assert!(self.security_group().ingress.contains(&IngressRule::between_members()), "the nodes cannot reach each other");
        if self.surroundings.existing_network.is_none() {
            let (table, subnet) = (self.known(&Address::Routes), self.known(&Address::Subnet));
            let whole = |it: &&crate::world::Routes| it.associated_subnets.contains(&subnet) && it.default_gateway.is_some();
            assert!(self.routes.iter().filter(|it| it.id == table).any(|it| whole(&it)), "the nodes cannot reach SSM");
        }
        if let Some(volume) = self.ids.get(&Address::Volume) {
            let master = self.known(&Address::Master);
            let attached = self.volumes.iter().any(|it| &it.id == volume && it.attached_to.as_ref() == Some(&master));
            assert!(attached, "the master waits for a volume that is not attached");
        }
    }
}

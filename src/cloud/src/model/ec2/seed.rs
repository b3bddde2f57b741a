//! What exists before anyone asks: the default VPC and the public images.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{
    Ec2, Image, ImageDevice, ImageState, InternetGateway, PUBLIC_IMAGES, Protocol, Route, RouteTable, RuleTarget, SecurityGroup,
    SecurityGroupRule, Snapshot, SnapshotSource, SnapshotState, Subnet, Tags, Vpc, new_id,
};
use crate::node::Network;

/// Everything everywhere.
const ANYWHERE: Network = Network { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };

impl Ec2 {
    /// Makes the default VPC and the public images, once.
    pub fn seed(&mut self, region: &str, account: &str) {
        if self.seeded {
            return;
        }
        self.seeded = true;
        region.clone_into(&mut self.region);
        account.clone_into(&mut self.account);
        self.seed_default_vpc();
        self.seed_public_images();
    }

    /// Adds a VPC with what every VPC has: main route table, default group, default ACL.
    pub fn add_vpc(&mut self, cidr: Network, is_default: bool, tags: Tags) -> String {
        let id = new_id("vpc");
        let vpc = Vpc {
            id: id.clone(),
            cidr,
            cidr_association_id: new_id("vpc-cidr-assoc"),
            is_default,
            dns_support: true,
            // Off in all but the default VPC.
            dns_hostnames: is_default,
            network_acl_id: new_id("acl"),
            has_network: false,
            tags,
        };
        self.vpcs.insert(id.clone(), vpc);
        let table = RouteTable {
            id: new_id("rtb"),
            vpc_id: id.clone(),
            main_association_id: Some(new_id("rtbassoc")),
            associations: Vec::new(),
            routes: Vec::new(),
            tags: Tags::new(),
        };
        self.route_tables.insert(table.id.clone(), table);
        let group = self.add_security_group(&id, "default", "default VPC security group", Tags::new());
        if let Some(members) = self.security_groups.get_mut(&group) {
            members.rules.push(SecurityGroupRule {
                id: new_id("sgr"),
                egress: false,
                protocol: Protocol(None),
                ports: None,
                target: RuleTarget::Group(group.clone()),
                description: None,
                tags: Tags::new(),
            });
        }
        id
    }

    /// Adds a group that allows everything out.
    pub fn add_security_group(&mut self, vpc_id: &str, name: &str, description: &str, tags: Tags) -> String {
        let id = new_id("sg");
        let rules = vec![SecurityGroupRule {
            id: new_id("sgr"),
            egress: true,
            protocol: Protocol(None),
            ports: None,
            target: RuleTarget::Cidr(ANYWHERE),
            description: None,
            tags: Tags::new(),
        }];
        let group = SecurityGroup {
            id: id.clone(),
            vpc_id: vpc_id.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            rules,
            tags,
        };
        self.security_groups.insert(id.clone(), group);
        id
    }

    fn seed_default_vpc(&mut self) {
        let cidr = Network { address: Ipv4Addr::new(172, 31, 0, 0), prefix: 16 };
        let vpc_id = self.add_vpc(cidr, true, Tags::new());
        let zones: Vec<String> = self.zones().collect();
        for (zone, third) in zones.into_iter().zip((0u8..).step_by(16)) {
            let id = new_id("subnet");
            let subnet = Subnet {
                id: id.clone(),
                vpc_id: vpc_id.clone(),
                cidr: Network { address: Ipv4Addr::new(172, 31, third, 0), prefix: 20 },
                zone,
                default_for_zone: true,
                map_public_address: true,
                network_acl_association_id: new_id("aclassoc"),
                tags: Tags::new(),
            };
            self.subnets.insert(id, subnet);
        }
        let gateway_id = new_id("igw");
        let gateway = InternetGateway { id: gateway_id.clone(), vpc_id: Some(vpc_id.clone()), tags: Tags::new() };
        self.internet_gateways.insert(gateway_id.clone(), gateway);
        for table in self.route_tables.values_mut().filter(|table| table.vpc_id == vpc_id) {
            table.routes.push(Route { destination: ANYWHERE, gateway_id: gateway_id.clone() });
        }
    }

    fn seed_public_images(&mut self) {
        for public in PUBLIC_IMAGES {
            let created: Timestamp = public.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
            let layers = vec![public.base.to_owned()];
            let snapshot = Snapshot {
                id: public.snapshot_id.to_owned(),
                volume_id: "vol-ffffffff".to_owned(),
                gibibytes: public.gibibytes,
                description: public.description.to_owned(),
                state: SnapshotState::Completed,
                state_message: None,
                started: created,
                encrypted: false,
                owner: public.owner.to_owned(),
                source: SnapshotSource::Root { layers: layers.clone() },
                tags: Tags::new(),
            };
            self.snapshots.insert(snapshot.id.clone(), snapshot);
            let image = Image {
                id: public.id.to_owned(),
                name: public.name.to_owned(),
                description: public.description.to_owned(),
                owner: public.owner.to_owned(),
                public: true,
                created,
                state: ImageState::Available,
                failure: None,
                root_device: "/dev/xvda".to_owned(),
                devices: vec![ImageDevice {
                    device: "/dev/xvda".to_owned(),
                    snapshot_id: Some(public.snapshot_id.to_owned()),
                    gibibytes: public.gibibytes,
                    volume_type: "gp3".to_owned(),
                    iops: Some(3000),
                    throughput: Some(125),
                    delete_on_termination: true,
                    encrypted: false,
                }],
                layers,
                source_instance_id: None,
                tags: Tags::new(),
            };
            self.images.insert(image.id.clone(), image);
        }
    }
}

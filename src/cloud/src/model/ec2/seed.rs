//! What exists before anyone asks: the default VPC and the public images.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{
    Destination, Ec2, Image, ImageDevice, ImageState, ImageTraits, InternetGateway, NO_VOLUME, NetworkAcl, PUBLIC_IMAGES,
    Protection, Protocol, Route, RouteTable, RuleTarget, SecurityGroup, SecurityGroupRule, Snapshot, SnapshotSource,
    SnapshotState, Subnet, Tags, Vpc, new_id,
};
use crate::node::Network;

/// Everything everywhere.
pub(super) const ANYWHERE: Network = Network { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };

impl Ec2 {
    /// Makes the default VPC and the public images, once each.
    pub fn seed(&mut self, region: &str, account: &str) {
        if self.seeded {
            // A cloud of an earlier time may lack images that became public since.
            self.seed_public_images();
            return;
        }
        self.seeded = true;
        region.clone_into(&mut self.region);
        account.clone_into(&mut self.account);
        self.add_default_vpc();
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
            usage_metrics: false,
            network_acl_id: new_id("acl"),
            has_network: false,
            tags,
        };
        self.vpcs.insert(id.clone(), vpc);
        self.add_default_acls();
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

    /// Gives each VPC the default ACL that it names; those of a former release have none yet.
    pub fn add_default_acls(&mut self) {
        for vpc in self.vpcs.values() {
            let id = &vpc.network_acl_id;
            self.network_acls.entry(id.clone()).or_insert_with(|| NetworkAcl::default_of(id, &vpc.id));
        }
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

    /// Adds a default subnet to the default VPC; None if the zone's place in the VPC is taken.
    pub fn add_default_subnet(&mut self, vpc_id: &str, zone: &str) -> Option<String> {
        let place = self.zones().position(|known| known == zone)?;
        // The place of the zone among the sixteen blocks of /20.
        let third = u8::try_from(place * 16).ok()?;
        let cidr = Network { address: Ipv4Addr::new(172, 31, third, 0), prefix: 20 };
        let overlaps = |other: Network| super::contains(cidr, other) || super::contains(other, cidr);
        if self.subnets.values().any(|subnet| subnet.vpc_id == vpc_id && overlaps(subnet.cidr)) {
            return None;
        }
        let id = new_id("subnet");
        let subnet = Subnet {
            id: id.clone(),
            vpc_id: vpc_id.to_owned(),
            cidr,
            zone: zone.to_owned(),
            default_for_zone: true,
            map_public_address: true,
            network_acl_association_id: new_id("aclassoc"),
            network_acl_id: None,
            former_acl_association: None,
            tags: Tags::new(),
        };
        self.subnets.insert(id.clone(), subnet);
        Some(id)
    }

    /// Makes the default VPC, with a subnet in each zone and a way to the internet; answers with its id.
    pub fn add_default_vpc(&mut self) -> String {
        let cidr = Network { address: Ipv4Addr::new(172, 31, 0, 0), prefix: 16 };
        let vpc_id = self.add_vpc(cidr, true, Tags::new());
        let zones: Vec<String> = self.zones().collect();
        for zone in zones {
            self.add_default_subnet(&vpc_id, &zone);
        }
        let gateway_id = new_id("igw");
        let gateway = InternetGateway { id: gateway_id.clone(), vpc_id: Some(vpc_id.clone()), tags: Tags::new() };
        self.internet_gateways.insert(gateway_id.clone(), gateway);
        for table in self.route_tables.values_mut().filter(|table| table.vpc_id == vpc_id) {
            table.routes.push(Route { destination: Destination::V4(ANYWHERE), target: gateway_id.clone() });
        }
        vpc_id
    }

    fn seed_public_images(&mut self) {
        for public in PUBLIC_IMAGES {
            if self.images.contains_key(public.id) {
                continue;
            }
            let created: Timestamp = public.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
            let layers = vec![public.base.to_owned()];
            let snapshot = Snapshot {
                id: public.snapshot_id.to_owned(),
                volume_id: NO_VOLUME.to_owned(),
                gibibytes: public.gibibytes,
                description: public.description.to_owned(),
                state: SnapshotState::Completed,
                state_message: None,
                started: created,
                encrypted: false,
                owner: public.owner.to_owned(),
                source: SnapshotSource::Root { layers: layers.clone() },
                parent_id: None,
                copy_of: None,
                upload: None,
                volume_permissions: ["all".to_owned()].into(),
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
                root_device: public.root_device.to_owned(),
                devices: vec![ImageDevice {
                    device: public.root_device.to_owned(),
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
                source_image_id: None,
                traits: ImageTraits::default(),
                launch_permissions: BTreeSet::new(),
                deprecation: None,
                protection: Protection::default(),
                last_launched: None,
                without_reboot: false,
                tags: Tags::new(),
            };
            self.images.insert(image.id.clone(), image);
        }
    }
}

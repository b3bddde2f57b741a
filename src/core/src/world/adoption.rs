//! Which resources are the cluster's own, where EC2 lists more of a kind than a cluster has.
//!
//! A create whose answer was lost may have made something that the look-up before its repetition did not see yet. The
//! cluster then has two of a kind: the one that its nodes and the rest of its network hang on is its own, and what is
//! left over is a stray, for `plan` and `destroy` to remove.

use serde::{Deserialize, Serialize};

use super::{Gateway, Routes, SecurityGroup, Subnet, Volume, Vpc, World};

/// Everything that carries the cluster's tag and of which a cluster has one.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<Gateway>,
    pub routes: Vec<Routes>,
    pub security_groups: Vec<SecurityGroup>,
    pub volumes: Vec<Volume>,
}

/// A resource that the cluster has a second time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stray {
    SecurityGroup(SecurityGroup),
    Subnet(Subnet),
    Gateway(Gateway),
    Routes(Routes),
    Vpc(Vpc),
    Volume(Volume),
}

impl Stray {
    pub fn id(&self) -> &str {
        match self {
            Self::SecurityGroup(group) => &group.id,
            Self::Subnet(subnet) => &subnet.id,
            Self::Gateway(gateway) => &gateway.id,
            Self::Routes(table) => &table.id,
            Self::Vpc(vpc) => &vpc.id,
            Self::Volume(volume) => &volume.id,
        }
    }
}

impl World {
    /// Takes what is the cluster's own out of all that is listed; the rest are strays. Nodes must be known before.
    pub fn adopt(&mut self, listed: Listed) {
        let Listed { vpcs, subnets, gateways, routes, security_groups, volumes } = listed;
        let of_nodes = |group: &SecurityGroup| self.nodes.iter().filter(|node| node.security_groups.contains(&group.id)).count();
        // More nodes first, then more parts, then the smaller id: the same one in every run.
        let hold = |vpc: &str| {
            let nodes: usize = security_groups.iter().filter(|group| group.vpc == vpc).map(of_nodes).sum();
            let parts = subnets.iter().filter(|subnet| subnet.vpc == vpc).count()
                + routes.iter().filter(|table| table.vpc == vpc).count()
                + security_groups.iter().filter(|group| group.vpc == vpc).count()
                + gateways.iter().filter(|gateway| gateway.attached_to.as_deref() == Some(vpc)).count();
            (nodes, parts)
        };
        let holds: Vec<_> = vpcs.iter().map(|vpc| hold(&vpc.id)).collect();
        let mut ranked: Vec<_> = vpcs.into_iter().zip(holds).collect();
        ranked.sort_by(|(a, held_by_a), (b, held_by_b)| held_by_b.cmp(held_by_a).then_with(|| a.id.cmp(&b.id)));
        let mut vpcs = ranked.into_iter().map(|(vpc, _)| vpc);
        self.vpc = vpcs.next();
        let own = self.vpc.as_ref().map(|vpc| vpc.id.clone());
        let elsewhere = |vpc: &str| own.as_ref().is_some_and(|own| own != vpc);

        let ranks: Vec<_> = security_groups.iter().map(|group| (elsewhere(&group.vpc), usize::MAX - of_nodes(group))).collect();
        let mut ranks = ranks.into_iter();
        let mut strays = Vec::new();
        self.security_group =
            best(security_groups, |group| (ranks.next(), group.id.clone()), |left| strays.extend(left.map(Stray::SecurityGroup)));
        self.subnet =
            best(subnets, |subnet| (elsewhere(&subnet.vpc), subnet.id.clone()), |left| strays.extend(left.map(Stray::Subnet)));
        self.gateway = best(
            gateways,
            |gateway| (gateway.attached_to.is_none() || gateway.attached_to != own, gateway.id.clone()),
            |left| strays.extend(left.map(Stray::Gateway)),
        );
        self.routes =
            best(routes, |table| (elsewhere(&table.vpc), table.id.clone()), |left| strays.extend(left.map(Stray::Routes)));
        strays.extend(vpcs.map(Stray::Vpc));
        self.volume = best(
            volumes,
            |volume| (volume.attached_to.is_none(), volume.id.clone()),
            |left| strays.extend(left.map(Stray::Volume)),
        );
        self.strays = strays;
    }
}

/// The item that ranks lowest; the others, by rank, go to `leave`.
fn best<T, R: Ord>(items: Vec<T>, mut rank: impl FnMut(&T) -> R, leave: impl FnOnce(&mut dyn Iterator<Item = T>)) -> Option<T> {
    let mut ranked: Vec<(R, T)> = items.into_iter().map(|item| (rank(&item), item)).collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut items = ranked.into_iter().map(|(_, item)| item);
    let first = items.next();
    leave(&mut items);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Tags;

    fn vpc(id: &str) -> Vpc {
        Vpc { id: id.into(), cidr: "10.42.0.0/24".parse().unwrap(), tags: Tags::new() }
    }

    fn subnet(id: &str, vpc: &str) -> Subnet {
        let cidr = "10.42.0.0/24".parse().unwrap();
        Subnet { id: id.into(), vpc: vpc.into(), cidr, zone: "z".into(), tags: Tags::new() }
    }

    fn gateway(id: &str, vpc: Option<&str>) -> Gateway {
        Gateway { id: id.into(), attached_to: vpc.map(str::to_owned), tags: Tags::new() }
    }

    fn group(id: &str, vpc: &str) -> SecurityGroup {
        SecurityGroup { id: id.into(), vpc: vpc.into(), ingress: Vec::new(), tags: Tags::new() }
    }

    fn world() -> World {
        World::empty("demo".parse().unwrap())
    }

    #[test]
    fn of_two_networks_the_one_with_parts_is_the_clusters_own() {
        let mut world = world();
        world.adopt(Listed {
            vpcs: vec![vpc("vpc-1"), vpc("vpc-2")],
            subnets: vec![subnet("subnet-9", "vpc-2")],
            gateways: vec![gateway("igw-1", None), gateway("igw-2", Some("vpc-2"))],
            security_groups: vec![group("sg-2", "vpc-2")],
            ..Listed::default()
        });
        assert_eq!(world.vpc.map(|vpc| vpc.id).as_deref(), Some("vpc-2"));
        assert_eq!(world.gateway.map(|gateway| gateway.id).as_deref(), Some("igw-2"));
        assert_eq!(world.strays, [Stray::Gateway(gateway("igw-1", None)), Stray::Vpc(vpc("vpc-1"))]);
    }

    #[test]
    fn parts_of_the_other_network_are_strays_and_come_before_it() {
        let mut world = world();
        world.adopt(Listed {
            vpcs: vec![vpc("vpc-1"), vpc("vpc-2")],
            subnets: vec![subnet("subnet-1", "vpc-1"), subnet("subnet-2", "vpc-2")],
            security_groups: vec![group("sg-2", "vpc-2")],
            ..Listed::default()
        });
        assert_eq!(world.subnet.map(|subnet| subnet.id).as_deref(), Some("subnet-2"));
        assert_eq!(world.strays, [Stray::Subnet(subnet("subnet-1", "vpc-1")), Stray::Vpc(vpc("vpc-1"))]);
    }

    #[test]
    fn without_any_difference_the_smallest_id_wins_whatever_the_order() {
        for ids in [["vpc-1", "vpc-2"], ["vpc-2", "vpc-1"]] {
            let mut world = world();
            world.adopt(Listed { vpcs: ids.map(vpc).to_vec(), ..Listed::default() });
            assert_eq!(world.vpc, Some(vpc("vpc-1")));
            assert_eq!(world.strays, [Stray::Vpc(vpc("vpc-2"))]);
        }
    }
}

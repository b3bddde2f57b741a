//! Everything that an account holds, and how it must differ once a cluster stands.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::Tag;

use super::{Shape, runtime};

/// One thing: its id and its tags; for instances also type and place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub id: String,
    pub tags: BTreeMap<String, String>,
    /// What else tells it from others: an instance's type and state, a volume's size.
    pub facts: Vec<String>,
}

/// Things by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory(pub BTreeMap<&'static str, Vec<Thing>>);

fn thing(id: Option<&str>, tags: &[Tag], facts: Vec<String>) -> Thing {
    let tag = |tag: &Tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned());
    Thing { id: id.unwrap_or_default().to_owned(), tags: tags.iter().map(tag).collect(), facts }
}

/// Reads all pages of one Describe call, whatever it is tagged with.
macro_rules! all {
    ($cloud:expr, $operation:ident, $id:ident, $facts:expr) => {{
        let pages = $cloud.ec2.$operation().into_paginator().items().send();
        let items = pages.collect::<Result<Vec<_>, _>>().await.expect("the cloud can be described");
        let mut things: Vec<Thing> = items.iter().map(|item| thing(item.$id(), item.tags(), $facts(item))).collect();
        things.sort();
        things
    }};
    ($cloud:expr, $operation:ident, $id:ident) => {
        all!($cloud, $operation, $id, |_| Vec::new())
    };
}

/// Reads what exists, without instances that EC2 still lists and that are gone.
pub fn inventory(cloud: &ewulf::aws::Cloud) -> Inventory {
    use aws_sdk_ec2::types::{Instance, NetworkInterface, Volume};
    runtime().block_on(async {
        let mut found = BTreeMap::new();
        found.insert("vpcs", all!(cloud, describe_vpcs, vpc_id));
        found.insert("subnets", all!(cloud, describe_subnets, subnet_id));
        found.insert("internet gateways", all!(cloud, describe_internet_gateways, internet_gateway_id));
        found.insert("route tables", all!(cloud, describe_route_tables, route_table_id));
        found.insert("security groups", all!(cloud, describe_security_groups, group_id));
        found.insert("launch templates", all!(cloud, describe_launch_templates, launch_template_id));
        let size = |volume: &Volume| vec![format!("{} GiB", volume.size().unwrap_or_default())];
        found.insert("volumes", all!(cloud, describe_volumes, volume_id, size));
        let interfaces = cloud.ec2.describe_network_interfaces().into_paginator().items().send();
        let interfaces = interfaces.collect::<Result<Vec<_>, _>>().await.expect("the cloud can be described");
        let interface = |one: &NetworkInterface| thing(one.network_interface_id(), one.tag_set(), Vec::new());
        found.insert("network interfaces", interfaces.iter().map(interface).collect());
        let groups = cloud.ec2.describe_placement_groups().send().await.expect("the cloud can be described");
        let group = |group: &aws_sdk_ec2::types::PlacementGroup| thing(group.group_id(), group.tags(), Vec::new());
        found.insert("placement groups", groups.placement_groups().iter().map(group).collect());
        let images = cloud.ec2.describe_images().owners("self").send().await.expect("the cloud can be described");
        let image = |image: &aws_sdk_ec2::types::Image| thing(image.image_id(), image.tags(), Vec::new());
        found.insert("images", images.images().iter().map(image).collect());
        let snapshots = cloud.ec2.describe_snapshots().owner_ids("self").send().await.expect("the cloud can be described");
        let snapshot = |one: &aws_sdk_ec2::types::Snapshot| thing(one.snapshot_id(), one.tags(), Vec::new());
        found.insert("snapshots", snapshots.snapshots().iter().map(snapshot).collect());
        let pages = cloud.ec2.describe_instances().into_paginator().items().send();
        let reservations = pages.collect::<Result<Vec<_>, _>>().await.expect("the cloud can be described");
        let instances = reservations.iter().flat_map(|reservation| reservation.instances());
        let state =
            |one: &Instance| one.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned()).unwrap_or_default();
        let alive = instances.filter(|one| !["shutting-down", "terminated"].contains(&state(one).as_str()));
        let instance = |one: &Instance| {
            let kind = one.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
            let place = one.ami_launch_index().unwrap_or_default().to_string();
            thing(one.instance_id(), one.tags(), vec![kind, state(one), place])
        };
        found.insert("instances", alive.map(instance).collect());
        let locks = cloud.ssm.get_parameters_by_path().path("/ewulf").recursive(true).send().await;
        let locks = locks.map(|answer| answer.parameters.unwrap_or_default()).unwrap_or_default();
        let lock = |one: &aws_sdk_ssm::types::Parameter| thing(one.name(), &[], vec![one.value().unwrap_or_default().to_owned()]);
        found.insert("parameters", locks.iter().map(lock).collect());
        found.values_mut().for_each(|things: &mut Vec<Thing>| things.sort());
        Inventory(found)
    })
}

impl Inventory {
    /// What is here and was not there in `before`; an error names what was there and is gone.
    pub fn since(&self, before: &Self) -> Result<Self, String> {
        let mut new = BTreeMap::new();
        for (kind, things) in &self.0 {
            let old: BTreeSet<&str> = before.0.get(kind).into_iter().flatten().map(|thing| thing.id.as_str()).collect();
            let here: BTreeSet<&str> = things.iter().map(|thing| thing.id.as_str()).collect();
            if let Some(gone) = old.difference(&here).next() {
                return Err(format!("{kind}: {gone} was there before and is gone"));
            }
            new.insert(*kind, things.iter().filter(|thing| !old.contains(thing.id.as_str())).cloned().collect());
        }
        Ok(Self(new))
    }

    /// Without what moto keeps otherwise than EC2 does: it gives every instance a second, untagged root volume, and
    /// neither that nor an instance's network interface goes when the instance is terminated (ec2.md 5.6).
    pub fn reduced_to_moto(mut self) -> Self {
        self.0.remove("network interfaces");
        self.0.entry("volumes").or_default().retain(|volume| !volume.tags.is_empty());
        self
    }

    /// How many of each kind; kinds without any are left out.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.0.iter().filter(|(_, things)| !things.is_empty()).map(|(kind, things)| (*kind, things.len())).collect()
    }

    /// Fails unless nothing is in it.
    pub fn is_empty(&self) -> Result<(), String> {
        if self.counts().is_empty() { Ok(()) } else { Err(format!("left behind: {:?}\n{:#?}", self.counts(), self.tagged())) }
    }

    /// Addresses or names of all things, for an error message.
    fn tagged(&self) -> Vec<String> {
        let name = |kind: &str, thing: &Thing| {
            let tag = |key: &str| thing.tags.get(key).cloned().unwrap_or_default();
            format!("{kind} {} {} {} {:?}", thing.id, tag("ewulf:address"), tag("Name"), thing.facts)
        };
        self.0.iter().flat_map(|(kind, things)| things.iter().map(move |thing| name(kind, thing))).collect()
    }

    /// Fails unless this is exactly the cluster of a shape: nothing missing, nothing twice, nothing else.
    pub fn is(&self, shape: &Shape) -> Result<(), String> {
        let nodes = shape.workers as usize + 1;
        let has_group = usize::from(shape.workers > 0);
        let mut expected = BTreeMap::from([
            ("vpcs", 1),
            ("subnets", 1),
            ("internet gateways", 1),
            // The VPC's own beside the cluster's.
            ("route tables", 2),
            ("security groups", 2),
            ("placement groups", has_group),
            ("launch templates", usize::from(!shape.is_resized[0]) + has_group * usize::from(!shape.is_resized[1])),
            // A root of every node, and the shared one.
            ("volumes", nodes + usize::from(shape.gibibytes > 0)),
            ("network interfaces", nodes),
            ("instances", nodes),
        ]);
        expected.retain(|kind, count| *count > 0 && self.0.contains_key(kind));
        if self.counts() != expected {
            return Err(format!("there are {:?}\nand not {expected:?}\n{:#?}", self.counts(), self.tagged()));
        }
        let mut wanted: Vec<String> = (0..shape.workers).map(|index| format!("node/compute/{index}")).collect();
        wanted.push("node/master".to_owned());
        let mut places: Vec<String> = self.0["instances"].iter().map(place).collect();
        wanted.sort();
        places.sort();
        if places != wanted {
            return Err(format!("the nodes are {places:?} and not {wanted:?}"));
        }
        for node in &self.0["instances"] {
            let kind = if place(node) == "node/master" { shape.master_type } else { shape.worker_type };
            if node.facts[..2] != [kind, "running"] {
                return Err(format!("{} is {:?} and not {kind}, running", place(node), node.facts));
            }
        }
        let shared =
            self.0["volumes"].iter().filter(|volume| volume.tags.get("ewulf:address").is_some_and(|it| it == "volume/shared"));
        let sizes: Vec<&str> = shared.flat_map(|volume| volume.facts.iter().map(String::as_str)).collect();
        if shape.gibibytes > 0 && sizes != [format!("{} GiB", shape.gibibytes)] {
            return Err(format!("the shared volume has {sizes:?}"));
        }
        self.is_tagged(shape)
    }

    /// Fails unless everything that ewulf made carries the cluster's and the user's tags.
    fn is_tagged(&self, shape: &Shape) -> Result<(), String> {
        for (kind, things) in &self.0 {
            let made = match *kind {
                // One of two is EC2's.
                "route tables" | "security groups" => 1,
                _ => things.len(),
            };
            let ours = things.iter().filter(|thing| {
                let tag = |key: &str| thing.tags.get(key).map(String::as_str);
                tag("ewulf:cluster") == Some(Shape::CLUSTER) && tag("team") == Some(shape.team)
            });
            if ours.count() != made {
                return Err(format!("{kind}: not all carry the tags of the spec: {things:#?}"));
            }
        }
        Ok(())
    }
}

/// A node's address: instances of one launch share their tags and differ by launch index.
fn place(instance: &Thing) -> String {
    let tag = |key: &str| instance.tags.get(key).map(String::as_str).unwrap_or_default();
    if tag("ewulf:address") == "node/master" {
        return "node/master".to_owned();
    }
    let indexes: Vec<u32> = tag("ewulf:indexes").split(',').flat_map(range).collect();
    let position: usize = instance.facts.get(2).and_then(|place| place.parse().ok()).unwrap_or_default();
    match indexes.get(position) {
        Some(index) => format!("{}/{index}", tag("ewulf:address")),
        None => format!("{} without an index", instance.id),
    }
}

/// `3`, or `3-7`.
fn range(text: &str) -> Vec<u32> {
    let mut ends = text.split('-').filter_map(|end| end.trim().parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => (first..=last).collect(),
        (Some(only), None) => vec![only],
        _ => Vec::new(),
    }
}

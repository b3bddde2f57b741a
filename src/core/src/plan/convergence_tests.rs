//! Whatever happens to a cluster and to the runs on it, applies bring it to its spec and destroy removes it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{bake, spec, world_with_images};
use super::*;
use crate::capacity::Findings;
use crate::simulator::{Outcome, Simulator};
use crate::spec::ClusterSpec;
use crate::world::{ExistingNetwork, GoneNode, Image, IngressRule, MetadataOptions, NodeState, WayOut};

/// What differs between one spec of a cluster and another.
#[derive(Debug, Clone)]
struct Wish {
    groups: Vec<(&'static str, u32, &'static str, &'static str, &'static str)>,
    /// The ladder of the first group.
    ladder: &'static str,
    master_type: &'static str,
    volume: Option<u32>,
    ready: &'static str,
    ssh_from: Option<&'static str>,
    tag: &'static str,
    profile: Option<&'static str>,
    /// GiB of the root volumes.
    root: u32,
    path: &'static str,
    /// How far into a range of its own each group's addresses begin, if they have one.
    pinned: Option<u32>,
}

impl Wish {
    fn spec(&self, existing: bool) -> ClusterSpec {
        let ssh = self.ssh_from.map_or(String::new(), |network| format!(", ssh_from: [{network}]"));
        let network = if existing { "vpc: vpc-0123456789abcdef0, subnet: subnet-0123456789abcdef0" } else { "cidr: 10.1.0.0/26" };
        let mut text = format!(
            "cluster: test\nready: {}\nnetwork: {{{network}{ssh}}}\ntags: {{team: {}}}\n\
             master: {{instance_type: {}, image: master, root_volume: {}GiB}}\n",
            self.ready, self.tag, self.master_type, self.root
        );
        let volume = self.volume.map_or(String::new(), |size| format!(", volume: {size}GiB, keep: true"));
        text.push_str(&format!("shared: {{path: {}{volume}}}\n", self.path));
        if let Some(profile) = self.profile {
            text.push_str(&format!("instance_profile: {profile}\n"));
        }
        text.push_str("workers:\n");
        for (position, (group, count, kind, placement, market)) in self.groups.iter().enumerate() {
            let ladder = match position {
                0 if existing && self.ladder.contains("zone") => "",
                0 => self.ladder,
                _ => "",
            };
            text.push_str(&format!(
                "- {{group: {group}, count: {count}, instance_type: {kind}, image: worker, placement: {placement}, market: {market}, \
                 root_volume: {}GiB{}{ladder}}}\n",
                self.root,
                self.first_address(group, existing).map_or(String::new(), |first| {
                    format!(", addresses: {first}-{}", std::net::Ipv4Addr::from(u32::from(first) + 7))
                })
            ));
        }
        spec(&text)
    }

    /// The address of a group's worker 0, if the spec gives it one.
    fn first_address(&self, group: &str, existing: bool) -> Option<std::net::Ipv4Addr> {
        let shift = self.pinned?;
        let host = if group == "compute" { 40 } else { 50 };
        Some([10, if existing { 7 } else { 1 }, 0, host + u8::try_from(shift).ok()?].into())
    }
}

fn any_group(name: &'static str) -> impl Strategy<Value = (&'static str, u32, &'static str, &'static str, &'static str)> {
    let kinds = prop_oneof![Just("c7i.large"), Just("c7i.xlarge")];
    let placements = prop_oneof![Just("none"), Just("cluster")];
    let markets = prop_oneof![3 => Just("on-demand"), 1 => Just("spot")];
    (Just(name), 1_u32..6, kinds, placements, markets)
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let groups = prop_oneof![
        any_group("compute").prop_map(|group| vec![group]),
        any_group("extra").prop_map(|group| vec![group]),
        (any_group("compute"), any_group("extra")).prop_map(|(one, two)| vec![one, two]),
    ];
    let ssh = prop_oneof![Just(None), Just(Some("192.0.2.0/24")), Just(Some("198.51.100.0/24"))];
    let ready = prop_oneof![Just("joined"), Just("running")];
    let types = prop_oneof![Just("c7i.large"), Just("c7i.xlarge")];
    let ladders = prop_oneof![
        3 => Just(""),
        1 => Just(", min: 1"),
        1 => Just(", capacity: [{}, {instance_type: c7i.2xlarge, market: on-demand}, \
                 {instance_type: c7i.2xlarge, market: spot}]"),
        1 => Just(", min: 1, capacity: [{zone: us-east-1b, within: 1m}, {zone: us-east-1a}, {instance_type: c7i.2xlarge}]"),
    ];
    let first = ((groups, ladders), types, prop::option::of(Just(8_u32)), ready, ssh, prop_oneof![Just("a"), Just("b")]);
    let profiles = prop_oneof![Just(None), Just(Some("nodes")), Just(Some("others"))];
    let second = (profiles, prop_oneof![Just(20_u32), Just(30)], prop_oneof![4 => Just("/shared"), 1 => Just("/data")]);
    let second = (second.0, second.1, second.2, prop::option::of(0_u32..2));
    (first, second).prop_map(|(((groups, ladder), master_type, volume, ready, ssh_from, tag), (profile, root, path, pinned))| {
        Wish { groups, ladder, master_type, volume, ready, ssh_from, tag, profile, root, path, pinned }
    })
}

/// How a run goes: how far, in which order, and how each step ends.
#[derive(Debug, Clone)]
struct Course {
    most: usize,
    seed: u64,
}

fn any_course() -> impl Strategy<Value = Course> {
    (0_usize..45, any::<u64>()).prop_map(|(most, seed)| Course { most, seed })
}

/// A number that looks like chance, the same for the same inputs.
fn mix(seed: u64, position: usize, salt: u64) -> u64 {
    let mut value = seed ^ (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for shift in [30, 27, 31] {
        value = (value ^ (value >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    value
}

impl Course {
    fn run(&self, simulator: &mut Simulator, plan: &Plan) {
        let outcome = |position| match mix(self.seed, position, 1) % 18 {
            0 => Outcome::Lost,
            1 => Outcome::Half,
            2 => Outcome::Died,
            5 => Outcome::Starved,
            3 | 4 => Outcome::Twice,
            6 | 7 => Outcome::NoRoom,
            _ => Outcome::Done,
        };
        simulator.run_so(plan, self.most, |position| mix(self.seed, position, 2), outcome);
    }

    /// Every step ends well, in an order of chance.
    fn run_well(&self, simulator: &mut Simulator, plan: &Plan) {
        let done = simulator.run_so(plan, usize::MAX, |position| mix(self.seed, position, 3), |_| Outcome::Done);
        assert_eq!(done, plan.steps.len());
    }
}

/// What others do to a cluster.
fn drift(simulator: &mut Simulator, seed: u64) {
    for round in 0..(seed % 4) {
        let chance = mix(seed, round as usize, 4);
        let nodes = simulator.instances.len().max(1);
        let node = simulator.instances.get((chance / 16) as usize % nodes).map(|instance| instance.node.id.clone());
        match (chance % 16, node) {
            (0, Some(id)) => simulator.each(&[id], |node| node.state = NodeState::Stopped),
            (1, Some(id)) => simulator.end(&[id], "Server.SpotInstanceTermination"),
            (2, Some(id)) => simulator.each(&[id], |node| drop(node.tags.remove("team"))),
            (3, Some(id)) => simulator.each(&[id], |node| drop(node.tags.insert("owner".into(), "somebody".into()))),
            (4, _) => simulator.security_groups.iter_mut().for_each(|group| group.ingress.clear()),
            (5, _) => simulator.security_groups.iter_mut().for_each(|group| {
                let rule = IngressRule::ssh_from("203.0.113.0/24".parse().unwrap());
                group.ingress.push(rule);
                group.ingress.dedup();
            }),
            (6, _) => simulator.routes.iter_mut().for_each(|table| table.default_gateway = None),
            (7, _) => simulator.routes.iter_mut().for_each(|table| {
                table.associations.clear();
                table.associated_subnets.clear();
            }),
            (8, _) => simulator.volumes.iter_mut().for_each(|volume| volume.attached_to = None),
            (9, Some(id)) => simulator.each(&[id], |node| node.security_groups.push("sg-of-others".into())),
            (10, Some(id)) => simulator.each(&[id], |node| node.instance_profile = Some("of-others".into())),
            (11, Some(id)) => simulator.each(&[id], |node| {
                node.metadata_options = Some(MetadataOptions { hops: 2, ..MetadataOptions::OF_NODES });
            }),
            (12, Some(id)) => simulator.each(&[id], |node| {
                let interface = node.interface.as_mut().and_then(|interface| interface.tags.as_mut());
                interface.into_iter().for_each(|tags| drop(tags.remove("team")));
            }),
            (13, Some(id)) => simulator.each(&[id], |node| node.root.iter_mut().for_each(|root| root.gibibytes += 5)),
            (14, _) => bake(&mut simulator.surroundings, "master", &format!("ami-master-{chance}")),
            (15, _) => bake(&mut simulator.surroundings, "worker", &format!("ami-worker-{chance}")),
            (_, _) => simulator.templates.truncate(1),
        }
    }
}

fn surroundings(existing: bool) -> World {
    let mut world = world_with_images();
    world.existing_network = existing.then(|| ExistingNetwork {
        vpc: "vpc-0123456789abcdef0".into(),
        subnet: "subnet-0123456789abcdef0".into(),
        subnet_cidr: "10.7.0.0/26".parse().unwrap(),
        zone: "us-east-1b".into(),
        free_addresses: 50,
        taken_addresses: vec!["10.7.0.4".parse().unwrap()],
        vpc_cidr: "10.7.0.0/16".parse().unwrap(),
        way_out: WayOut::Open,
    });
    world
}

/// The types that each node may have.
fn addresses(spec: &ClusterSpec) -> BTreeMap<Address, BTreeSet<String>> {
    let workers = spec.workers.iter().flat_map(|group| {
        let types: BTreeSet<String> = group.rungs().iter().filter_map(|rung| Some(rung.instance_type?.to_string())).collect();
        (0..group.count).map(move |index| (Address::Worker(group.group.clone(), index), types.clone()))
    });
    workers.chain([(Address::Master, [spec.master.instance_type.to_string()].into())]).collect()
}

fn nodes(simulator: &Simulator) -> BTreeMap<Address, String> {
    let nodes = simulator.instances.iter().map(|instance| (instance.node.address(), instance.node.instance_type.clone()));
    nodes.collect()
}

fn volumes(simulator: &Simulator) -> BTreeSet<String> {
    simulator.volumes.iter().map(|volume| volume.id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn two_applies_bring_any_cluster_to_its_spec(
        existing in any::<bool>(),
        wishes in prop::collection::vec((any_wish(), any_course(), any::<u64>()), 1..4),
        (mut wish, course, grows) in (any_wish(), any_course(), any::<bool>()),
    ) {
        wish.volume = wish.volume.map(|size| if grows { 2 * size } else { size });
        let mut simulator = Simulator::new(surroundings(existing));
        for (wish, course, others) in &wishes {
            let before = volumes(&simulator);
            simulator.findings = Findings::default();
            let broken = plan(&wish.spec(existing), &simulator.world());
            course.run(&mut simulator, &broken);
            prop_assert!(volumes(&simulator).is_superset(&before), "an apply deleted data");
            drift(&mut simulator, *others);
        }
        let before = volumes(&simulator);
        let spec = wish.spec(existing);
        for _ in 0..2 {
            simulator.findings = Findings::default();
            let next = plan(&spec, &simulator.world());
            course.run_well(&mut simulator, &next);
        }
        let last = plan(&spec, &simulator.world());
        prop_assert!(last.is_empty(), "{:#?}", last.changes);
        let (there, allowed) = (nodes(&simulator), addresses(&spec));
        prop_assert!(there.keys().eq(allowed.keys()), "{there:?}");
        prop_assert!(there.iter().all(|(address, kind)| allowed[address].contains(kind)), "{there:?}");
        prop_assert_eq!(simulator.instances.len() as u64, spec.node_count());
        prop_assert!(volumes(&simulator).is_superset(&before), "an apply deleted data");
        for node in simulator.instances.iter().map(|instance| &instance.node) {
            if let Role::Worker(group) = &node.role
                && let Some(first) = wish.first_address(group.as_str(), existing)
            {
                let wanted = std::net::Ipv4Addr::from(u32::from(first) + node.index);
                prop_assert_eq!(node.private_address, Some(wanted));
            }
        }
        let used: BTreeSet<_> = simulator.instances.iter().map(|instance| instance.node.private_address).collect();
        prop_assert_eq!(used.len(), simulator.instances.len());
    }

    #[test]
    fn destroy_leaves_nothing_wherever_it_begins_and_is_cut(
        existing in any::<bool>(),
        wish in any_wish(),
        (creation, cut, whole) in (any_course(), any_course(), any_course()),
        others in any::<u64>(),
        keeps in any::<bool>(),
    ) {
        let mut simulator = Simulator::new(surroundings(existing));
        let made = plan(&wish.spec(existing), &simulator.world());
        creation.run(&mut simulator, &made);
        drift(&mut simulator, others);
        let kept = volumes(&simulator);
        let removal = destroy(&simulator.world(), !keeps);
        cut.run(&mut simulator, &removal);
        let rest = destroy(&simulator.world(), !keeps);
        whole.run_well(&mut simulator, &rest);
        if keeps {
            prop_assert_eq!(volumes(&simulator), kept);
            simulator.volumes.clear();
        }
        prop_assert!(simulator.is_empty());
        prop_assert!(simulator.vpcs.is_empty() && simulator.gateways.is_empty());
    }

    #[test]
    fn the_order_of_lists_does_not_change_the_plan(from in any_wish(), to in any_wish()) {
        let mut simulator = Simulator::new(surroundings(false));
        simulator.run(&plan(&from.spec(false), &simulator.world()));
        let world = simulator.world();
        simulator.instances.reverse();
        simulator.templates.reverse();
        simulator.placement_groups.reverse();
        prop_assert_eq!(plan(&to.spec(false), &world), plan(&to.spec(false), &simulator.world()));
    }

    #[test]
    fn steps_only_wait_for_earlier_steps(from in any_wish(), to in any_wish()) {
        let mut simulator = Simulator::new(surroundings(false));
        simulator.run(&plan(&from.spec(false), &simulator.world()));
        let change = plan(&to.spec(false), &simulator.world());
        for (position, step) in change.steps.iter().enumerate() {
            prop_assert!(step.after.iter().all(|earlier| *earlier < position));
        }
    }
}

/// Seconds of one plan.
fn seconds(spec: &ClusterSpec, world: &World) -> f64 {
    let begun = std::time::Instant::now();
    std::hint::black_box(plan(spec, world));
    begun.elapsed().as_secs_f64()
}

/// A spec of so many workers, and the worlds in which it is planned: nothing there, all there, every other worker lost,
/// all of an older image.
fn worlds_of(count: u32) -> (ClusterSpec, [World; 4]) {
    let spec = spec(&format!(
        "cluster: test\nnetwork: {{cidr: 10.0.0.0/16}}\nmaster: {{instance_type: c7i.large, image: master}}\n\
         tags: {{team: a}}\nworkers: [{{group: compute, count: {count}, instance_type: c7i.large, image: worker}}]\n"
    ));
    let mut simulator = Simulator::new(surroundings(false));
    let nothing = simulator.world();
    simulator.run(&plan(&spec, &nothing));
    let whole = simulator.world();
    let mut lost = whole.clone();
    let workers = std::mem::take(&mut lost.nodes).into_iter().enumerate();
    let (kept, ended): (Vec<_>, Vec<_>) = workers.partition(|(position, _)| position % 2 == 0);
    lost.nodes = kept.into_iter().map(|(_, node)| node).collect();
    lost.gone = ended
        .into_iter()
        .map(|(_, node)| GoneNode {
            id: node.id,
            role: node.role,
            index: node.index,
            launched: node.launched,
            reason: "Server.InternalError".into(),
        })
        .collect();
    let mut older = whole.clone();
    older.images.values_mut().for_each(|image| {
        if let Image::Fresh(ami) = image {
            ami.id.push('2');
        }
    });
    (spec, [nothing, whole, lost, older])
}

#[test]
fn twice_the_workers_take_at_most_four_times_as_long() {
    let (half_spec, halves) = worlds_of(5_000);
    let (whole_spec, wholes) = worlds_of(10_000);
    for (name, (half, whole)) in ["nothing", "whole", "lost", "older"].iter().zip(halves.iter().zip(&wholes)) {
        // The least of many, by turns: the rest is what the machine does besides.
        let rounds = (0..15).map(|_| (seconds(&half_spec, half), seconds(&whole_spec, whole)));
        let (half, whole) = rounds.fold((f64::INFINITY, f64::INFINITY), |best, round| (best.0.min(round.0), best.1.min(round.1)));
        println!("{name}: 5,000 workers in {half:.4} s, 10,000 in {whole:.4} s");
        assert!(whole <= 4.0 * half, "{name}: {half} s, then {whole} s");
    }
}

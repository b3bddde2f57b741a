//! Ladders, judged by a simulator whose pools run dry.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{spec, world_with_images};
use super::*;
use crate::address::ADDRESS_TAG;
use crate::capacity::{Findings, Pool};
use crate::simulator::{Outcome, Simulator};
use crate::spec::Market;
use crate::world::{Node, Volume};

/// A spec of one group of four with this ladder; `more` are further lines of the spec. No worker has the master's type, so
/// that the master always has room.
fn of_four(group: &str, more: &str) -> ClusterSpec {
    spec(&format!(
        "cluster: test\nnetwork: {{cidr: 10.1.0.0/24}}\nmaster: {{instance_type: c7i.4xlarge, image: master}}\n{more}\n\
         workers: [{{group: compute, count: 4, instance_type: c7i.large, image: worker, {group}}}]\n"
    ))
}

fn pool(kind: &str, zone: &str, market: Market) -> Pool {
    Pool { instance_type: kind.to_owned(), zone: format!("us-east-1{zone}"), market }
}

fn simulator(room: &[(Pool, usize)]) -> Simulator {
    let mut simulator = Simulator::new(world_with_images());
    simulator.room = room.iter().cloned().collect();
    simulator
}

/// What an apply comes to.
#[derive(Debug, PartialEq)]
enum End {
    Done(Plan),
    Hopeless(Plan),
}

/// Plans and carries out until nothing is refused any more, as an apply does; `outcome` says how each round's launches go.
fn apply(simulator: &mut Simulator, spec: &ClusterSpec, outcome: impl Fn(usize, &Action) -> Outcome) -> End {
    simulator.findings = Findings::default();
    for round in 0..20 {
        let next = plan(spec, &simulator.world());
        assert_eq!(next.blockers, vec![]);
        let known = simulator.findings.refused.len();
        simulator.run_so(&next, usize::MAX, |position| position as u64, |position| outcome(round, &next.steps[position].action));
        if next.is_hopeless() {
            return End::Hopeless(next);
        }
        if simulator.findings.refused.len() == known {
            return End::Done(next);
        }
    }
    panic!("a ladder has an end");
}

fn well(_: usize, _: &Action) -> Outcome {
    Outcome::Done
}

fn workers(simulator: &Simulator) -> Vec<&Node> {
    let nodes = simulator.instances.iter().map(|instance| &instance.node);
    nodes.filter(|node| node.role != Role::Master).collect()
}

fn types(simulator: &Simulator) -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for node in workers(simulator) {
        *types.entry(format!("{} {}", node.instance_type, node.market)).or_default() += 1;
    }
    types
}

const TWO: &str = "market: spot, capacity: [{within: 1m}, {instance_type: c7i.xlarge}, {market: on-demand}]";

#[test]
fn the_first_rung_is_taken_while_it_has_room_and_the_next_one_after_it() {
    let spec = of_four(TWO, "");
    for (room, expected) in [(vec![], "c7i.large spot"), (vec![(pool("c7i.large", "a", Market::Spot), 3)], "c7i.xlarge spot")] {
        let mut simulator = simulator(&room);
        assert!(matches!(apply(&mut simulator, &spec, well), End::Done(_)));
        assert_eq!(types(&simulator), [(expected.to_owned(), 4)].into());
        simulator.findings = Findings::default();
        let next = plan(&spec, &simulator.world());
        assert!(next.is_empty(), "who stands on a rung stays on it: {:#?}", next.changes);
    }
}

#[test]
fn a_plan_shows_every_rung_with_its_price_and_where_it_stands() {
    let shown = plan(&of_four(TWO, ""), &world_with_images());
    let ladder = &shown.ladders[0];
    assert_eq!((ladder.count, ladder.least, ladder.chosen), (4, 4, Some(0)));
    let rungs: Vec<String> = ladder.rungs.iter().map(|rung| rung.pool.to_string()).collect();
    assert_eq!(
        rungs,
        ["c7i.large, spot, in us-east-1a", "c7i.xlarge, spot, in us-east-1a", "c7i.large, on-demand, in us-east-1a"]
    );
    assert_eq!(ladder.rungs[1].price_per_hour.unwrap().to_string(), "$0.714");
    assert_eq!(ladder.rungs[0].within.unwrap().as_seconds(), 60);
}

#[test]
fn all_rungs_without_room_leave_nothing_of_the_gang() {
    let spec = of_four(TWO, "");
    let rooms = [("c7i.large", Market::Spot), ("c7i.xlarge", Market::Spot), ("c7i.large", Market::OnDemand)];
    let rooms: Vec<_> = rooms.iter().map(|(kind, market)| (pool(kind, "a", *market), 3)).collect();
    let mut simulator = simulator(&rooms);
    let End::Hopeless(last) = apply(&mut simulator, &spec, well) else { panic!("there is no room") };
    assert!(last.is_empty() && workers(&simulator).is_empty());
    assert_eq!((last.shortfalls[0].standing, last.ladders[0].chosen), (0, None));
    simulator.room.clear();
    assert!(matches!(apply(&mut simulator, &spec, well), End::Done(_)), "the next apply begins anew");
    assert_eq!(workers(&simulator).len(), 4);
}

#[test]
fn a_gang_that_loses_a_member_while_it_starts_is_taken_back_whole() {
    let mut simulator = simulator(&[]);
    let starved = |round, action: &Action| match action {
        Action::Launch(launch) if round == 0 && launch.role != Role::Master => Outcome::Starved,
        _ => Outcome::Done,
    };
    assert!(matches!(apply(&mut simulator, &of_four(TWO, ""), starved), End::Done(_)));
    assert_eq!(types(&simulator), [("c7i.xlarge spot".to_owned(), 4)].into());
}

#[test]
fn a_partial_gang_is_enough_where_the_spec_says_so() {
    let spec = of_four("min: 2", "");
    let mut short = simulator(&[(pool("c7i.large", "a", Market::OnDemand), 3)]);
    let End::Done(last) = apply(&mut short, &spec, well) else { panic!("three are enough") };
    assert_eq!(workers(&short).len(), 3);
    assert!(last.shortfalls[0].is_tolerable() && last.warnings[0].message.contains("3 of 4"), "{:?}", last.warnings);
    let joined = short.instances.iter().all(|it| it.node.tag(crate::address::JOINED_TAG).is_some());
    assert!(joined, "those that are there are a cluster");
    let price = |kind| crate::instance_types::price_per_hour(kind, Market::OnDemand).unwrap();
    assert_eq!(last.price_after, Some(price("c7i.4xlarge") + price("c7i.large") * 3));
    // There is room for one more by now.
    short.room.clear();
    apply(&mut short, &spec, well);
    assert_eq!(workers(&short).len(), 4);

    let mut none = simulator(&[(pool("c7i.large", "a", Market::OnDemand), 1)]);
    assert!(matches!(apply(&mut none, &spec, well), End::Hopeless(_)));
    assert!(workers(&none).is_empty());
}

#[test]
fn workers_that_have_stood_keep_their_rung_and_are_never_taken_back() {
    let spec = of_four(TWO, "");
    let mut simulator = simulator(&[(pool("c7i.large", "a", Market::Spot), 0)]);
    apply(&mut simulator, &spec, well);
    let stood: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
    simulator.room = [(pool("c7i.xlarge", "a", Market::Spot), 0)].into();
    simulator.end(&stood[..1], "Server.SpotInstanceTermination");
    assert!(matches!(apply(&mut simulator, &spec, well), End::Hopeless(_)), "the other rungs are not mixed in");
    let left: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
    assert_eq!(left, stood[1..]);
    simulator.room.clear();
    apply(&mut simulator, &spec, well);
    assert_eq!(types(&simulator), [("c7i.xlarge spot".to_owned(), 4)].into());
}

#[test]
fn a_replacement_without_room_leaves_the_old_ones() {
    let mut simulator = simulator(&[]);
    apply(&mut simulator, &of_four("", ""), well);
    let before: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
    simulator.room = [(pool("c7i.large", "a", Market::Spot), 2)].into();
    let mut other = of_four("", "");
    other.workers[0].market = Market::Spot;
    assert!(matches!(apply(&mut simulator, &other, well), End::Hopeless(_)));
    let after: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
    assert_eq!(before, after);
}

const ZONES: &str = "capacity: [{zone: us-east-1b}, {zone: us-east-1a}]";

#[test]
fn before_anything_runs_the_whole_cluster_goes_to_another_zone() {
    let spec = of_four(ZONES, "shared: {volume: 8GiB}");
    let mut simulator = simulator(&[(pool("c7i.large", "b", Market::OnDemand), 3)]);
    assert!(matches!(apply(&mut simulator, &spec, well), End::Done(_)));
    assert_eq!(simulator.subnets.iter().map(|it| it.zone.as_str()).collect::<Vec<_>>(), ["us-east-1a"]);
    assert_eq!(simulator.volumes.iter().map(|it| it.zone.as_str()).collect::<Vec<_>>(), ["us-east-1a"]);
    assert_eq!(simulator.instances.len(), 5);
    simulator.findings = Findings::default();
    assert!(plan(&spec, &simulator.world()).is_empty());
}

#[test]
fn a_cluster_that_runs_or_has_a_volume_stays_in_its_zone() {
    let mut simulator = simulator(&[]);
    apply(&mut simulator, &of_four("", ""), well);
    let mut spec = of_four("", "");
    spec.workers.push(of_four(ZONES, "").workers[0].clone());
    spec.workers[1].group = "extra".parse().unwrap();
    simulator.room = [(pool("c7i.large", "a", Market::OnDemand), 0)].into();
    let End::Hopeless(last) = apply(&mut simulator, &spec, well) else { panic!("the other zone is out of reach") };
    let obstacle = last.ladders[0].rungs[0].obstacle.clone().unwrap_or_default();
    assert!(obstacle.contains("node/master runs in us-east-1a"), "{obstacle}");
    assert_eq!(workers(&simulator).len(), 4);

    let mut world = world_with_images();
    let tags = [(ADDRESS_TAG.to_owned(), "volume/shared".to_owned())].into();
    world.volume = Some(Volume { id: "vol-1".into(), gibibytes: 8, zone: "us-east-1a".into(), attached_to: None, tags });
    let kept = plan(&of_four("capacity: [{zone: us-east-1b}]", "shared: {volume: 8GiB}"), &world);
    assert!(kept.blockers[0].message.contains("volume vol-1 lies in us-east-1a"), "{:?}", kept.blockers);
}

#[test]
fn a_large_gang_is_launched_in_parts_and_taken_back_in_parts() {
    let text = "cluster: test\nnetwork: {cidr: 10.1.0.0/16}\nmaster: {instance_type: c7i.4xlarge, image: master}\n\
                workers: [{group: compute, count: 2500, min: 2100, instance_type: c7i.large, image: worker}]\n";
    let spec = spec(text);
    let first = plan(&spec, &world_with_images());
    let launches = |plan: &Plan| -> Vec<(usize, usize)> {
        let launch = |step: &Step| match &step.action {
            Action::Launch(launch) if launch.role != Role::Master => Some((launch.indexes.len(), launch.least)),
            _ => None,
        };
        plan.steps.iter().filter_map(launch).collect()
    };
    assert_eq!(launches(&first), [(1000, 1000), (1000, 1000), (500, 100)]);
    assert_eq!(first.paced[0].to_string(), "2501 nodes are launched as fast as EC2 allows: 1001 now, the rest over 751 s");

    let mut enough = simulator(&[(pool("c7i.large", "a", Market::OnDemand), 2200)]);
    assert!(matches!(apply(&mut enough, &spec, well), End::Done(_)));
    assert_eq!(workers(&enough).len(), 2200);
    let mut few = simulator(&[(pool("c7i.large", "a", Market::OnDemand), 2050)]);
    let End::Hopeless(last) = apply(&mut few, &spec, well) else { panic!("2,050 are too few") };
    assert!(workers(&few).is_empty());
    assert_eq!(last.paced[0].nodes, 2000);
}

#[test]
fn launches_are_no_larger_than_the_accounts_bucket() {
    let mut world = world_with_images();
    world.limits.launch.instances = crate::pacing::Bucket { capacity: 3, refill: 1 };
    let shown = plan(&of_four("", ""), &world);
    let sizes = shown.steps.iter().filter_map(|step| match &step.action {
        Action::Launch(launch) => Some(launch.indexes.len()),
        _ => None,
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [1, 3, 1]);
}

fn any_rung() -> impl Strategy<Value = String> {
    let kinds = prop_oneof![Just("c7i.large"), Just("c7i.xlarge")];
    let zones = prop_oneof![3 => Just(""), 1 => Just("zone: us-east-1a, "), 1 => Just("zone: us-east-1b, ")];
    let markets = prop_oneof![Just("on-demand"), Just("spot")];
    (kinds, zones, markets).prop_map(|(kind, zone, market)| format!("{{{zone}instance_type: {kind}, market: {market}}}"))
}

fn any_ladder() -> impl Strategy<Value = String> {
    (prop::collection::btree_set(any_rung(), 1..5), 1_u32..5).prop_map(|(rungs, min)| {
        let rungs: Vec<String> = rungs.into_iter().collect();
        format!("min: {min}, capacity: [{}]", rungs.join(", "))
    })
}

fn any_room() -> impl Strategy<Value = BTreeMap<Pool, usize>> {
    prop::collection::vec(0_usize..7, 8).prop_map(|rooms| {
        let pools = [("c7i.large", Market::OnDemand), ("c7i.large", Market::Spot), ("c7i.xlarge", Market::OnDemand)]
            .into_iter()
            .chain([("c7i.xlarge", Market::Spot)])
            .flat_map(|(kind, market)| ["a", "b"].map(|zone| pool(kind, zone, market)));
        pools.zip(rooms).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_apply_leaves_half_a_gang(
        ladder in any_ladder(),
        rooms in (any_room(), any_room()),
        starves in prop::collection::vec(any::<bool>(), 20),
        ready in prop_oneof![Just("ready: joined"), Just("ready: running")],
    ) {
        let spec = of_four(&ladder, &format!("{ready}\nshared: {{volume: 8GiB}}"));
        let least = spec.workers[0].least() as usize;
        let mut simulator = simulator(&[]);
        for room in [rooms.0, rooms.1] {
            let before: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
            simulator.room = room;
            let outcome = |round: usize, action: &Action| match action {
                Action::Launch(launch) if launch.role != Role::Master && starves[round] => Outcome::Starved,
                _ => Outcome::Done,
            };
            let end = apply(&mut simulator, &spec, outcome);
            let standing = workers(&simulator).len();
            match end {
                End::Done(last) => {
                    prop_assert!(standing >= least, "{standing} of at least {least}");
                    prop_assert_eq!(standing == 4, last.shortfalls.is_empty());
                    prop_assert!(plan(&spec, &simulator.world()).is_empty(), "an apply ends when nothing is left to do");
                }
                End::Hopeless(_) => {
                    let now: Vec<String> = workers(&simulator).iter().map(|node| node.id.clone()).collect();
                    prop_assert!(now.iter().all(|id| before.contains(id)), "something new is left behind");
                    prop_assert!(now.is_empty() || now == before);
                }
            }
            let zones: std::collections::BTreeSet<&str> = simulator.subnets.iter().map(|it| it.zone.as_str()).collect();
            prop_assert_eq!(simulator.subnets.len(), zones.len().min(1), "the cluster is in one zone");
            prop_assert!(simulator.volumes.iter().all(|volume| zones.contains(volume.zone.as_str())));
        }
    }

    #[test]
    fn a_gang_stands_if_any_rung_in_reach_has_room(ladder in any_ladder(), room in any_room()) {
        let spec = of_four(&ladder, "");
        let group = &spec.workers[0];
        // Without zones, every rung is where the cluster is.
        prop_assume!(!group.tries_zones());
        let has_room = group.rungs().iter().any(|rung| {
            let kind = rung.instance_type.unwrap().to_string();
            room[&pool(&kind, "a", rung.market.unwrap())] >= group.least() as usize
        });
        let mut simulator = simulator(&[]);
        simulator.room = room.clone();
        prop_assert_eq!(matches!(apply(&mut simulator, &spec, well), End::Done(_)), has_room);
    }
}

//! Plans judged by the simulator.

use proptest::prelude::*;

use super::*;
use crate::simulator::Simulator;
use crate::spec::Ready;
use crate::world::{Ami, Gateway, Image, NodeState, Stray, Volume, Vpc};

fn spec(text: &str) -> ClusterSpec {
    crate::spec::load_cluster("test.yaml", text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}")).spec
}

/// A spec of one or two groups.
fn spec_of(compute: u32, extra: u32, worker_type: &str, volume: bool, placement: &str, tag: &str) -> ClusterSpec {
    let mut text = format!(
        "cluster: test\nnetwork:\n  cidr: 10.1.0.0/24\nmaster:\n  instance_type: c7i.large\n  image: master\n\
         tags: {{team: {tag}}}\nworkers:\n- {{group: compute, count: {compute}, instance_type: {worker_type}, image: worker, placement: {placement}}}\n"
    );
    if extra > 0 {
        text.push_str(&format!("- {{group: extra, count: {extra}, instance_type: c7i.large, image: worker}}\n"));
    }
    if volume {
        text.push_str("shared:\n  volume: 8GiB\n");
    }
    spec(&text)
}

fn world_with_images() -> World {
    let mut world = World::empty("test".parse().unwrap());
    for name in ["master", "worker"] {
        let ami = Ami { id: format!("ami-{name}"), root_device: "/dev/xvda".into(), root_gibibytes: 8 };
        world.images.insert(name.parse().unwrap(), Image::Fresh(ami));
    }
    world.zones = vec!["us-east-1a".into(), "us-east-1b".into()];
    world
}

fn applied(spec: &ClusterSpec) -> Simulator {
    let mut simulator = Simulator::new(world_with_images());
    let first = plan(spec, &simulator.world);
    assert_eq!(first.blockers, vec![]);
    simulator.run(&first);
    simulator
}

#[test]
fn a_second_plan_after_an_apply_is_empty() {
    let spec = spec_of(3, 2, "c7i.large", true, "cluster", "a");
    let simulator = applied(&spec);
    let second = plan(&spec, &simulator.world);
    assert_eq!(second.changes, vec![]);
    assert!(second.is_empty());
}

#[test]
fn growing_a_group_launches_only_the_new_indexes() {
    let mut simulator = applied(&spec_of(2, 0, "c7i.large", false, "none", "a"));
    let grown = spec_of(4, 0, "c7i.large", false, "none", "a");
    let growth = plan(&grown, &simulator.world);
    let launches: Vec<&Launch> = growth
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Launch(launch) => Some(launch),
            _ => None,
        })
        .collect();
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0].indexes, Indexes::new([2, 3]));
    assert!(!growth.steps.iter().any(|step| matches!(step.action, Action::Terminate { .. })));
    simulator.run(&growth);
    assert!(plan(&grown, &simulator.world).is_empty());
}

#[test]
fn shrinking_a_group_takes_the_highest_indexes() {
    let mut simulator = applied(&spec_of(4, 0, "c7i.large", false, "none", "a"));
    let shrunk = spec_of(2, 0, "c7i.large", false, "none", "a");
    let shrinking = plan(&shrunk, &simulator.world);
    assert_eq!(shrinking.steps.len(), 1);
    simulator.run(&shrinking);
    let left: Vec<String> = simulator.world.nodes.iter().map(|node| node.address().to_string()).collect();
    assert_eq!(left, ["node/master", "node/compute/0", "node/compute/1"]);
}

#[test]
fn a_changed_type_launches_new_workers_before_it_ends_old_ones() {
    let simulator = applied(&spec_of(2, 0, "c7i.large", false, "none", "a"));
    let changed = plan(&spec_of(2, 0, "c7i.xlarge", false, "none", "a"), &simulator.world);
    let position = |wanted: fn(&Action) -> bool| changed.steps.iter().position(|step| wanted(&step.action)).unwrap();
    let launch = position(|action| matches!(action, Action::Launch(_)));
    let join = position(|action| matches!(action, Action::Join { .. }));
    let terminate = position(|action| matches!(action, Action::Terminate { .. }));
    assert!(launch < join && join < terminate);
    assert!(changed.steps[terminate].after.contains(&join));
    assert!(changed.changes.iter().any(|change| change.sign == Sign::Replace && change.effect == Effect::Rolling));
}

#[test]
fn a_stopped_node_is_started_and_joined_again() {
    let spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    simulator.world.nodes[1].state = NodeState::Stopped;
    let mending = plan(&spec, &simulator.world);
    assert!(mending.changes.iter().any(|change| change.reason == Reason::StoppedOutside));
    simulator.run(&mending);
    assert!(plan(&spec, &simulator.world).is_empty());
}

#[test]
fn a_master_of_another_type_is_resized_and_keeps_its_address() {
    let mut spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    spec.master.instance_type = "c7i.xlarge".parse().unwrap();
    let id = simulator.world.master().unwrap().id.clone();
    let resizing = plan(&spec, &simulator.world);
    assert!(resizing.changes.iter().any(|change| change.effect == Effect::NeedsStop));
    simulator.run(&resizing);
    assert_eq!(simulator.world.master().unwrap().id, id);
    assert!(plan(&spec, &simulator.world).is_empty());
}

#[test]
fn a_missing_image_blocks_the_plan_and_says_how_to_bake_it() {
    let mut world = world_with_images();
    world.images.insert("worker".parse().unwrap(), Image::Missing);
    let blocked = plan(&spec_of(1, 0, "c7i.large", false, "none", "a"), &world);
    assert_eq!(blocked.blockers.len(), 1);
    assert_eq!(blocked.blockers[0].hint, "ewulf bake-ami images/worker.yaml");
}

#[test]
fn destroy_keeps_a_kept_volume_and_the_next_apply_adopts_it() {
    let spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    let volume = simulator.world.volume.clone().unwrap().id;
    simulator.run(&destroy(&simulator.world, false));
    assert_eq!(simulator.world.volume.as_ref().map(|volume| volume.id.clone()), Some(volume.clone()));
    assert!(simulator.world.nodes.is_empty() && simulator.world.vpc.is_none() && simulator.world.templates.is_empty());
    simulator.run(&plan(&spec, &simulator.world));
    assert_eq!(simulator.world.volume.as_ref().map(|volume| volume.id.clone()), Some(volume));
    simulator.run(&destroy(&simulator.world, true));
    assert!(simulator.world.is_empty());
}

#[test]
fn a_cluster_that_is_only_to_run_is_never_joined_and_its_next_plan_is_empty() {
    let mut spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    spec.ready = Ready::Running;
    let mut simulator = Simulator::new(world_with_images());
    let first = plan(&spec, &simulator.world);
    assert!(first.steps.iter().any(|step| matches!(step.action, Action::AwaitRunning { .. })));
    assert!(!first.steps.iter().any(|step| matches!(step.action, Action::Join { .. })));
    simulator.run(&first);
    assert!(plan(&spec, &simulator.world).is_empty());
}

/// A world as it is after an apply, with a second network that a lost answer left behind.
fn with_strays(world: World) -> World {
    let mut world = world;
    let vpc = |id: &str| Vpc { id: id.into(), cidr: "10.1.0.0/24".parse().unwrap(), tags: Tags::new() };
    let gateway = Gateway { id: "igw-stray".into(), attached_to: Some("vpc-stray".into()), tags: Tags::new() };
    let volume = world.volume.clone().map(|volume| Volume { id: "vol-stray".into(), attached_to: None, ..volume });
    world.strays = vec![Stray::Gateway(gateway), Stray::Vpc(vpc("vpc-stray"))];
    world.strays.extend(volume.map(Stray::Volume));
    world
}

#[test]
fn what_was_made_twice_goes_with_the_next_apply_but_no_data() {
    let spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    simulator.world = with_strays(simulator.world);
    let mending = plan(&spec, &simulator.world);
    assert_eq!(mending.totals().delete, 2);
    assert!(mending.changes.iter().all(|change| change.reason == Reason::Doubled));
    assert_eq!(mending.warnings.len(), 1);
    simulator.run(&mending);
    assert!(matches!(simulator.world.strays.as_slice(), [Stray::Volume(_)]));
    assert!(plan(&spec, &simulator.world).is_empty());
    simulator.run(&destroy(&simulator.world, true));
    assert!(simulator.world.is_empty());
}

fn any_spec() -> impl Strategy<Value = ClusterSpec> {
    let types = prop_oneof![Just("c7i.large"), Just("c7i.xlarge")];
    let placements = prop_oneof![Just("none"), Just("cluster")];
    (1_u32..6, 0_u32..3, types, any::<bool>(), placements, prop_oneof![Just("a"), Just("b")])
        .prop_map(|(compute, extra, kind, volume, placement, tag)| spec_of(compute, extra, kind, volume, placement, tag))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_spec_from_any_world_converges_in_one_apply(from in any_spec(), to in any_spec()) {
        let mut simulator = applied(&from);
        let change = plan(&to, &simulator.world);
        simulator.run(&change);
        let rest = plan(&to, &simulator.world);
        prop_assert!(rest.is_empty(), "{:#?}", rest.changes);
    }

    #[test]
    fn an_apply_cut_anywhere_converges_in_the_next(from in any_spec(), to in any_spec(), cut in 0_usize..40) {
        let mut simulator = applied(&from);
        let change = plan(&to, &simulator.world);
        simulator.run_steps(&change, cut.min(change.steps.len()));
        let rest = plan(&to, &simulator.world);
        simulator.run(&rest);
        let last = plan(&to, &simulator.world);
        prop_assert!(last.is_empty(), "{:#?}", last.changes);
        let wanted = to.node_count() as usize;
        prop_assert_eq!(simulator.world.nodes.len(), wanted);
    }

    #[test]
    fn the_order_of_lists_does_not_change_the_plan(from in any_spec(), to in any_spec()) {
        let world = applied(&from).world;
        let mut shuffled = world.clone();
        shuffled.nodes.reverse();
        shuffled.templates.reverse();
        shuffled.placement_groups.reverse();
        shuffled.normalise();
        prop_assert_eq!(plan(&to, &world), plan(&to, &shuffled));
    }

    #[test]
    fn destroy_leaves_nothing_from_any_cut(from in any_spec(), cut in 0_usize..40) {
        let mut simulator = Simulator::new(world_with_images());
        let creation = plan(&from, &simulator.world);
        simulator.run_steps(&creation, cut.min(creation.steps.len()));
        simulator.run(&destroy(&simulator.world, true));
        prop_assert!(simulator.world.is_empty());
    }

    #[test]
    fn steps_only_wait_for_earlier_steps(from in any_spec(), to in any_spec()) {
        let change = plan(&to, &applied(&from).world);
        for (position, step) in change.steps.iter().enumerate() {
            prop_assert!(step.after.iter().all(|earlier| *earlier < position));
        }
    }
}

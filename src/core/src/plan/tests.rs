//! Plans judged by the simulator.

use super::*;
use crate::address::Indexes;
use crate::quantity::VolumeSize;
use crate::simulator::{Outcome, Simulator};
use crate::spec::Ready;
use crate::world::{Ami, Gateway, GoneNode, Image, NodeState, Stray, Volume, Vpc};

pub(super) fn spec(text: &str) -> ClusterSpec {
    crate::spec::load_cluster("test.yaml", text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}")).spec
}

/// A spec of one or two groups.
pub(super) fn spec_of(compute: u32, extra: u32, worker_type: &str, volume: bool, placement: &str, tag: &str) -> ClusterSpec {
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

pub(super) fn world_with_images() -> World {
    let mut world = World::empty("test".parse().unwrap());
    for name in ["master", "worker"] {
        let ami = Ami { id: format!("ami-{name}"), root_device: "/dev/xvda".into(), root_gibibytes: 8 };
        world.images.insert(name.parse().unwrap(), Image::Fresh(ami));
    }
    world.zones = vec!["us-east-1a".into(), "us-east-1b".into()];
    world
}

/// Another AMI stands for an image.
pub(super) fn bake(world: &mut World, image: &str, id: &str) {
    let ami = Ami { id: id.into(), root_device: "/dev/xvda".into(), root_gibibytes: 8 };
    world.images.insert(image.parse().unwrap(), Image::Fresh(ami));
}

pub(super) fn applied(spec: &ClusterSpec) -> Simulator {
    let mut simulator = Simulator::new(world_with_images());
    let first = plan(spec, &simulator.world());
    assert_eq!(first.blockers, vec![]);
    simulator.run(&first);
    simulator
}

#[test]
fn a_second_plan_after_an_apply_is_empty() {
    let spec = spec_of(3, 2, "c7i.large", true, "cluster", "a");
    let simulator = applied(&spec);
    let second = plan(&spec, &simulator.world());
    assert_eq!(second.changes, vec![]);
    assert!(second.is_empty());
}

#[test]
fn growing_a_group_launches_only_the_new_indexes() {
    let mut simulator = applied(&spec_of(2, 0, "c7i.large", false, "none", "a"));
    let grown = spec_of(4, 0, "c7i.large", false, "none", "a");
    let growth = plan(&grown, &simulator.world());
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
    assert!(plan(&grown, &simulator.world()).is_empty());
}

#[test]
fn shrinking_a_group_takes_the_highest_indexes() {
    let mut simulator = applied(&spec_of(4, 0, "c7i.large", false, "none", "a"));
    let shrunk = spec_of(2, 0, "c7i.large", false, "none", "a");
    let shrinking = plan(&shrunk, &simulator.world());
    assert_eq!(shrinking.steps.len(), 1);
    simulator.run(&shrinking);
    let left: Vec<String> = simulator.world().nodes.iter().map(|node| node.address().to_string()).collect();
    assert_eq!(left, ["node/master", "node/compute/0", "node/compute/1"]);
}

#[test]
fn a_changed_image_launches_new_workers_before_it_ends_old_ones() {
    let spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    bake(&mut simulator.surroundings, "worker", "ami-newer");
    let changed = plan(&spec, &simulator.world());
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
    simulator.instances[1].node.state = NodeState::Stopped;
    let mending = plan(&spec, &simulator.world());
    assert!(mending.changes.iter().any(|change| change.reason == Reason::StoppedOutside));
    simulator.run(&mending);
    assert!(plan(&spec, &simulator.world()).is_empty());
}

#[test]
fn a_node_that_ended_is_explained_by_the_last_of_its_index() {
    let spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    let first = simulator.instances[2].node.clone();
    // Ids do not tell which came first.
    for (launched, id, reason) in
        [("2026-01-01T10:00:00Z", "i-9", "Server.First"), ("2026-01-01T11:00:00Z", "i-1", "Server.Last")]
    {
        let (role, launched) = (first.role.clone(), launched.to_owned());
        simulator.gone.push(GoneNode { id: id.into(), role, index: first.index, launched, reason: reason.into() });
    }
    simulator.instances.remove(2);
    let mended = plan(&spec, &simulator.world());
    assert_eq!(mended.changes[0].reason, Reason::EndedOutside("i-1 Server.Last".into()));
}

#[test]
fn a_master_of_another_type_is_resized_and_keeps_its_address() {
    let mut spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    spec.master.instance_type = "c7i.xlarge".parse().unwrap();
    let id = simulator.world().master().unwrap().id.clone();
    let resizing = plan(&spec, &simulator.world());
    assert!(resizing.changes.iter().any(|change| change.effect == Effect::NeedsStop));
    simulator.run(&resizing);
    assert_eq!(simulator.world().master().unwrap().id, id);
    assert!(plan(&spec, &simulator.world()).is_empty());
}

#[test]
fn a_master_that_is_resized_gets_the_tags_of_the_spec_in_the_same_plan() {
    let mut spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    spec.master.instance_type = "c7i.xlarge".parse().unwrap();
    spec.tags.insert("team".to_owned(), "search".to_owned());
    simulator.run(&plan(&spec, &simulator.world()));
    assert_eq!(simulator.world().master().unwrap().tag("team"), Some("search"));
    assert!(plan(&spec, &simulator.world()).is_empty());
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
    let volume = simulator.volumes[0].id.clone();
    simulator.run(&destroy(&simulator.world(), false));
    assert_eq!(simulator.world().volume.map(|volume| volume.id), Some(volume.clone()));
    let left = simulator.world();
    assert!(left.nodes.is_empty() && left.vpc.is_none() && left.templates.is_empty());
    simulator.run(&plan(&spec, &simulator.world()));
    assert_eq!(simulator.world().volume.map(|volume| volume.id), Some(volume));
    simulator.run(&destroy(&simulator.world(), true));
    assert!(simulator.is_empty());
}

#[test]
fn a_cluster_that_is_only_to_run_is_never_joined_and_its_next_plan_is_empty() {
    let mut spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    spec.ready = Ready::Running;
    let mut simulator = Simulator::new(world_with_images());
    let first = plan(&spec, &simulator.world());
    assert!(first.steps.iter().any(|step| matches!(step.action, Action::AwaitRunning { .. })));
    assert!(!first.steps.iter().any(|step| matches!(step.action, Action::Join { .. })));
    simulator.run(&first);
    assert!(plan(&spec, &simulator.world()).is_empty());
}

/// Adds what lost answers may leave behind: a second network and a second volume.
fn add_strays(simulator: &mut Simulator) {
    let cidr = "10.1.0.0/24".parse().unwrap();
    simulator.vpcs.push(Vpc { id: "vpc-stray".into(), cidr, tags: Tags::new() });
    let attached_to = Some("vpc-stray".into());
    simulator.gateways.push(Gateway { id: "igw-stray".into(), attached_to, tags: Tags::new() });
    let volume = Volume { id: "vol-stray".into(), attached_to: None, ..simulator.volumes[0].clone() };
    simulator.volumes.push(volume);
}

#[test]
fn what_was_made_twice_goes_with_the_next_apply_but_no_data() {
    let spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    add_strays(&mut simulator);
    let mending = plan(&spec, &simulator.world());
    assert_eq!(mending.totals().delete, 2);
    assert!(mending.changes.iter().all(|change| change.reason == Reason::Doubled));
    assert_eq!(mending.warnings.len(), 1);
    simulator.run(&mending);
    assert!(matches!(simulator.world().strays.as_slice(), [Stray::Volume(_)]));
    assert!(plan(&spec, &simulator.world()).is_empty());
    simulator.run(&destroy(&simulator.world(), true));
    assert!(simulator.is_empty());
}

/// The steps of a plan that do such a thing.
fn steps(plan: &Plan, wanted: fn(&Action) -> bool) -> Vec<&Step> {
    plan.steps.iter().filter(|step| wanted(&step.action)).collect()
}

/// Whether one step must have ended before another begins.
fn is_before(plan: &Plan, first: usize, then: usize) -> bool {
    plan.steps[then].after.iter().any(|step| *step == first || is_before(plan, first, *step))
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> usize {
    plan.steps.iter().position(wanted).unwrap()
}

#[test]
fn workers_are_launched_after_the_master_has_its_address() {
    let first = plan(&spec_of(3, 2, "c7i.large", false, "none", "a"), &world_with_images());
    let is_master = |step: &Step| matches!(&step.action, Action::Launch(launch) if launch.role == Role::Master);
    let master = position(&first, is_master);
    for (worker, step) in first.steps.iter().enumerate() {
        if matches!(step.action, Action::Launch(_)) && !is_master(step) {
            assert!(is_before(&first, master, worker), "{step:?}");
        }
    }
}

#[test]
fn no_call_of_a_plan_takes_more_than_a_thousand_of_anything() {
    let mut many = spec(
        "cluster: test\nnetwork: {cidr: 10.1.0.0/16}\nready: running\n\
         master: {instance_type: c7i.large, image: master}\ntags: {team: a}\n\
         workers: [{group: compute, count: 2500, instance_type: c7i.large, image: worker}]\n",
    );
    let mut simulator = applied(&many);
    for instance in &mut simulator.instances {
        instance.node.state = NodeState::Stopped;
    }
    many.tags.insert("team".into(), "b".into());
    let mending = plan(&many, &simulator.world());
    assert_eq!(steps(&mending, |action| matches!(action, Action::Start { .. })).len(), 4);
    // Of every worker three things are tagged: itself, its root volume and its interface.
    assert!(steps(&mending, |action| matches!(action, Action::SetTags { .. })).len() < 20);
    // The simulator counts what each call takes.
    simulator.run(&mending);
    assert!(plan(&many, &simulator.world()).is_empty());
    let removal = destroy(&simulator.world(), true);
    assert_eq!(steps(&removal, |action| matches!(action, Action::Terminate { .. })).len(), 1);
    let waits = crate::pacing::of(&removal.steps, &crate::pacing::Limits::default());
    assert_eq!(waits[0].to_string(), "2501 nodes are ended as fast as EC2 allows: 1000 now, the rest over 76 s");
    simulator.run(&removal);
    assert!(simulator.is_empty());
}

#[test]
fn nodes_that_are_only_to_run_know_their_shared_path() {
    let mut spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    spec.ready = Ready::Running;
    spec.shared.path = "/data".parse().unwrap();
    let first = plan(&spec, &world_with_images());
    let paths = first.steps.iter().filter_map(|step| match &step.action {
        Action::Launch(launch) => Some(launch.shared_path.as_str()),
        _ => None,
    });
    assert_eq!(paths.collect::<Vec<_>>(), ["/data", "/data"]);
}

#[test]
fn the_volume_is_attached_once_the_master_runs_whatever_the_workers_do() {
    let first = plan(&spec_of(3, 0, "c7i.large", true, "none", "a"), &world_with_images());
    let attach = position(&first, |step| matches!(step.action, Action::AttachVolume { .. }));
    for (worker, step) in first.steps.iter().enumerate() {
        if matches!(&step.action, Action::Launch(launch) if launch.role != Role::Master) {
            assert!(!is_before(&first, worker, attach));
        }
    }
}

/// Steps in sequence, where each takes as many calls one after the other as are given.
fn depth(plan: &Plan, calls: fn(&Action) -> usize) -> usize {
    let mut depths: Vec<usize> = Vec::new();
    for step in &plan.steps {
        let before = step.after.iter().map(|earlier| depths[*earlier]).max().unwrap_or(0);
        depths.push(before + calls(&step.action));
    }
    depths.into_iter().max().unwrap_or(0)
}

/// EC2 calls of an action, polls left out: what is removed waits for one, what is launched for one at the end.
fn calls(action: &Action) -> usize {
    match action {
        Action::AwaitRunning { .. } | Action::Join { .. } => 0,
        Action::DissociateRoutes { associations } => associations.len(),
        _ => 1,
    }
}

#[test]
fn a_cluster_is_made_and_removed_in_few_calls() {
    let mut spec = spec_of(100, 0, "c7i.large", false, "cluster", "a");
    spec.ready = Ready::Running;
    let mut simulator = Simulator::new(world_with_images());
    let creation = plan(&spec, &simulator.world());
    let count = |plan: &Plan| plan.steps.iter().map(|step| calls(&step.action)).sum::<usize>();
    // VPC, subnet, master, workers; after 11 reads.
    assert_eq!((count(&creation), depth(&creation, calls)), (14, 4));
    simulator.run(&creation);
    let removal = destroy(&simulator.world(), false);
    // Nodes, what they stood in, what that stood in; after 9 reads.
    assert_eq!((count(&removal), depth(&removal, calls)), (11, 3));
}

#[test]
fn a_file_system_grows_after_its_volume_even_when_an_apply_was_cut_between() {
    let mut spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    spec.shared.volume = VolumeSize::from_gibibytes(16);
    let growth = plan(&spec, &simulator.world());
    let grows = |action: &Action| matches!(action, Action::GrowFileSystem { gibibytes: 16, .. });
    assert_eq!(steps(&growth, grows).len(), 1);
    // Killed after ModifyVolume.
    simulator.run_so(&growth, 1, |position| position as u64, |_| Outcome::Done);
    assert_eq!(simulator.volumes[0].gibibytes, 16);
    let rest = plan(&spec, &simulator.world());
    assert!(grows(&rest.steps[0].action) && rest.steps.len() == 1);
    assert_eq!(rest.changes[0].reason, Reason::Unfinished);
    simulator.run(&rest);
    assert!(plan(&spec, &simulator.world()).is_empty());
}

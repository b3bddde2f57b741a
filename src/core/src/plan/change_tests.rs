//! What changes in place, while stopped, by another root volume, or by another node, as the simulator judges it.

use super::tests::{applied, bake, spec, spec_of, world_with_images};
use super::*;
use crate::address::FILE_SYSTEM_TAG;
use crate::simulator::{Outcome, Simulator};
use crate::spec::{Placement, Ready};
use crate::world::{MetadataOptions, NodeState};

/// The change at an address.
fn change<'a>(plan: &'a Plan, address: &str) -> &'a Change {
    let found = plan.changes.iter().find(|change| change.address.to_string() == address);
    found.unwrap_or_else(|| panic!("nothing changes at {address}: {:#?}", plan.changes))
}

fn ids(simulator: &Simulator) -> Vec<String> {
    simulator.world().nodes.iter().map(|node| node.id.clone()).collect()
}

/// Carries out the plan for a spec; fails unless nothing is left to do then, and answers the plan.
fn becomes(simulator: &mut Simulator, spec: &ClusterSpec) -> Plan {
    let made = plan(spec, &simulator.world());
    simulator.run(&made);
    let rest = plan(spec, &simulator.world());
    assert!(rest.is_empty(), "{:#?}", rest.changes);
    made
}

#[test]
fn another_instance_profile_is_set_live_on_the_nodes_that_have_it() {
    let mut spec = spec_of(3, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    spec.instance_profile = Some("nodes".parse().unwrap());
    spec.master.instance_profile = Some("masters".parse().unwrap());
    let made = becomes(&mut simulator, &spec);
    let workers = change(&made, "node/compute/0-2");
    assert_eq!((workers.sign, workers.effect, workers.count), (Sign::Update, Effect::InPlace, 3));
    assert_eq!(workers.details[0].attribute, "instance profile");
    assert!(made.warnings.iter().any(|warning| warning.message.contains("half an hour")), "{:?}", made.warnings);
    assert_eq!(ids(&simulator), before);
    let profiles: Vec<_> = simulator.world().nodes.iter().map(|node| node.instance_profile.clone().unwrap()).collect();
    assert_eq!(profiles, ["masters", "nodes", "nodes", "nodes"]);
    spec.instance_profile = None;
    becomes(&mut simulator, &spec);
    assert!(simulator.world().nodes[1].instance_profile.is_none());
}

#[test]
fn groups_and_metadata_options_that_others_changed_are_mended_live() {
    let spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    simulator.instances[1].node.security_groups.push("sg-of-others".into());
    simulator.instances[2].node.metadata_options = Some(MetadataOptions { needs_token: false, is_enabled: true, hops: 2 });
    let made = becomes(&mut simulator, &spec);
    assert_eq!(made.steps.len(), 2);
    assert!(made.changes.iter().all(|change| change.reason == Reason::ChangedOutside && change.effect == Effect::InPlace));
    assert_eq!(ids(&simulator), before);
}

#[test]
fn workers_of_another_type_stop_change_and_start_together_and_stay_who_they_are() {
    let mut simulator = applied(&spec_of(3, 0, "c7i.large", false, "cluster", "a"));
    let before = ids(&simulator);
    let made = becomes(&mut simulator, &spec_of(3, 0, "c7i.xlarge", false, "cluster", "a"));
    let workers = change(&made, "node/compute/0-2");
    assert_eq!((workers.effect.to_string().as_str(), workers.summary.as_str()), ("stop, change, start", "instance type"));
    let changes = made.steps.iter().filter(|step| matches!(&step.action, Action::ChangeStopped { nodes } if nodes.len() == 3));
    assert_eq!(changes.count(), 1);
    assert_eq!(ids(&simulator), before);
}

#[test]
fn spot_workers_of_another_type_are_replaced() {
    let text = |kind: &str| {
        spec(&format!(
            "cluster: test\nnetwork: {{cidr: 10.1.0.0/24}}\nmaster: {{instance_type: c7i.large, image: master}}\n\
             workers: [{{group: compute, count: 2, instance_type: {kind}, image: worker, market: spot}}]\n"
        ))
    };
    let mut simulator = applied(&text("c7i.large"));
    let made = becomes(&mut simulator, &text("c7i.xlarge"));
    assert_eq!(change(&made, "node/compute/0-1").effect, Effect::Rolling);
}

#[test]
fn a_node_whose_architecture_is_unknown_is_replaced() {
    let spec = spec_of(1, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    simulator.instances[1].node.instance_type = "c7g.large".into();
    assert_eq!(change(&becomes(&mut simulator, &spec), "node/compute/0").effect, Effect::Rolling);
}

#[test]
fn without_room_for_the_new_type_nodes_are_what_they_were_and_the_next_apply_tries_again() {
    let mut simulator = applied(&spec_of(2, 0, "c7i.large", false, "none", "a"));
    let changed = spec_of(2, 0, "c7i.xlarge", false, "none", "a");
    let attempt = plan(&changed, &simulator.world());
    simulator.run_so(&attempt, usize::MAX, |position| position as u64, |_| Outcome::NoRoom);
    let world = simulator.world();
    assert!(world.nodes.iter().all(|node| node.state == NodeState::Running && node.instance_type == "c7i.large"));
    becomes(&mut simulator, &changed);
}

#[test]
fn nodes_move_into_a_placement_group_and_out_of_it_while_they_are_stopped() {
    let mut spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    spec.workers[0].placement = Placement::Cluster;
    let made = becomes(&mut simulator, &spec);
    assert_eq!(change(&made, "node/compute/0-1").summary, "placement group");
    assert!(simulator.world().nodes[1].placement_group.is_some());
    spec.workers[0].placement = Placement::None;
    becomes(&mut simulator, &spec);
    assert!(simulator.world().placement_groups.is_empty());
    assert_eq!(ids(&simulator), before);
}

#[test]
fn a_master_of_another_image_keeps_its_id_its_address_and_its_volumes() {
    let spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    let before = simulator.world();
    bake(&mut simulator.surroundings, "master", "ami-newer");
    let made = becomes(&mut simulator, &spec);
    let master = change(&made, "node/master");
    assert_eq!((master.effect.to_string().as_str(), master.summary.as_str()), ("new root volume", "root volume from ami-newer"));
    assert!(made.steps.iter().any(|step| matches!(step.action, Action::Join { .. })));
    assert!(!made.steps.iter().any(|step| matches!(step.action, Action::Terminate { .. } | Action::ChangeStopped { .. })));
    let (old, new) = (before.master().unwrap(), simulator.world());
    let new = new.master().unwrap();
    assert_eq!((&new.id, new.private_address, new.image()), (&old.id, old.private_address, "ami-newer"));
    assert_eq!(simulator.world().volume.unwrap().attached_to, Some(old.id.clone()));
    assert!(made.warnings.is_empty());
}

#[test]
fn a_shared_path_on_the_root_volume_that_is_replaced_is_warned_of() {
    let spec = spec_of(1, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    bake(&mut simulator.surroundings, "master", "ami-newer");
    let made = plan(&spec, &simulator.world());
    assert!(made.warnings[0].message.contains("/shared lies on its root volume"), "{:?}", made.warnings);
}

#[test]
fn other_user_data_of_the_master_comes_with_another_root_volume_and_replaces_workers() {
    let mut spec = spec_of(2, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    spec.shared.path = "/data".parse().unwrap();
    let made = plan(&spec, &simulator.world());
    assert_eq!(change(&made, "node/master").details[0].attribute, "user data");
    assert_eq!(change(&made, "node/compute/0-1").effect, Effect::Rolling);
    // Cut after the user data is set: the node is not taken for what its root volume is not.
    let set = made.steps.iter().position(|step| matches!(step.action, Action::ChangeStopped { .. })).unwrap();
    simulator.run_so(&made, 1, |position| u64::from(position != set), |_| Outcome::Done);
    spec.shared.path = "/shared".parse().unwrap();
    assert_eq!(change(&plan(&spec, &simulator.world()), "node/master").effect, Effect::NewRoot);
    becomes(&mut simulator, &spec);
    assert_eq!(ids(&simulator), before);
}

#[test]
fn a_master_that_is_cut_off_while_it_gets_a_root_volume_joins_again() {
    let spec = spec_of(1, 0, "c7i.large", true, "none", "a");
    let mut simulator = applied(&spec);
    bake(&mut simulator.surroundings, "master", "ami-newer");
    for outcome in [Outcome::Half, Outcome::Lost] {
        let made = plan(&spec, &simulator.world());
        simulator.run_so(&made, 1, |position| position as u64, |_| outcome);
        let rest = plan(&spec, &simulator.world());
        assert!(rest.steps.iter().any(|step| matches!(step.action, Action::Join { .. })), "{rest:#?}");
    }
    becomes(&mut simulator, &spec);
}

#[test]
fn user_tags_come_and_go_on_everything_that_was_made_with_a_node_by_one_call() {
    let mut spec = spec(
        "cluster: test\nnetwork: {cidr: 10.1.0.0/24}\nmaster: {instance_type: c7i.large, image: master}\n\
         tags: {team: a}\n\
         workers: [{group: compute, count: 3, instance_type: c7i.large, image: worker, market: spot}]\n",
    );
    let mut simulator = applied(&spec);
    spec.tags = Tags::from([("owner".to_owned(), "b".to_owned())]);
    let made = becomes(&mut simulator, &spec);
    let of_workers = |wanted: fn(&Action) -> bool| {
        let all = made.steps.iter().filter(|step| step.address.to_string() == "node/compute/0-2");
        all.filter(|step| wanted(&step.action)).count()
    };
    assert_eq!(of_workers(|action| matches!(action, Action::SetTags { ids, .. } if ids.len() == 12)), 1);
    assert_eq!(of_workers(|action| matches!(action, Action::RemoveTags { ids, .. } if ids.len() == 12)), 1);
    // One tag that somebody took from one interface.
    let interface = simulator.instances[1].node.interface.as_mut().unwrap();
    interface.tags.as_mut().unwrap().remove("owner");
    let mending = becomes(&mut simulator, &spec);
    assert_eq!(mending.changes[0].summary, "tags of volumes, interfaces or requests (1)");
}

#[test]
fn a_larger_root_volume_grows_in_place_and_its_file_system_after_it() {
    let mut spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    spec.workers[0].root_volume = "50GiB".parse().unwrap();
    let growth = plan(&spec, &simulator.world());
    assert_eq!(change(&growth, "node/compute/0-1").effect, Effect::InPlace);
    let grows = |action: &Action| matches!(action, Action::GrowRootFileSystems { gibibytes: 50, .. });
    assert!(growth.steps.iter().any(|step| grows(&step.action)));
    // Killed after the first ModifyVolume.
    simulator.run_so(&growth, 1, |position| position as u64, |_| Outcome::Half);
    let rest = becomes(&mut simulator, &spec);
    assert!(rest.changes.iter().any(|change| change.reason == Reason::Unfinished), "{:#?}", rest.changes);
    assert_eq!(ids(&simulator), before);
    let sizes: Vec<_> =
        simulator.world().nodes.iter().map(|node| node.root.clone().unwrap().tags[FILE_SYSTEM_TAG].clone()).collect();
    assert_eq!(sizes, ["20", "50", "50"]);
    // Smaller ones take new nodes; the master's stays as large as it is.
    spec.workers[0].root_volume = "20GiB".parse().unwrap();
    spec.master.root_volume = "10GiB".parse().unwrap();
    let shrinking = becomes(&mut simulator, &spec);
    assert_eq!(change(&shrinking, "node/compute/0-1").effect, Effect::Rolling);
    assert!(!shrinking.changes.iter().any(|change| change.address == Address::Master));
}

#[test]
fn without_an_agent_root_file_systems_are_left_to_the_next_boot() {
    let mut spec = spec_of(1, 0, "c7i.large", false, "none", "a");
    spec.ready = Ready::Running;
    let mut simulator = Simulator::new(world_with_images());
    simulator.run(&plan(&spec, &simulator.world()));
    spec.master.root_volume = "50GiB".parse().unwrap();
    let made = becomes(&mut simulator, &spec);
    assert!(made.steps.iter().any(|step| matches!(step.action, Action::GrowRoots { .. })));
    assert!(!made.steps.iter().any(|step| matches!(step.action, Action::GrowRootFileSystems { .. })));
}

#[test]
fn a_stopped_node_that_also_changes_is_changed_before_it_starts() {
    let mut spec = spec_of(2, 0, "c7i.large", false, "none", "a");
    let mut simulator = applied(&spec);
    simulator.instances[1].node.state = NodeState::Stopped;
    spec.instance_profile = Some("nodes".parse().unwrap());
    let made = becomes(&mut simulator, &spec);
    let start = made.steps.iter().find(|step| matches!(step.action, Action::Start { .. })).unwrap();
    let set = made.steps.iter().position(|step| matches!(&step.action, Action::SetInstanceProfile { ids, .. } if ids.len() == 2));
    assert!(start.after.contains(&set.unwrap()));
    assert!(simulator.world().nodes.iter().all(|node| node.state == NodeState::Running));
}

/// A spec whose workers have the addresses of a range, and a group whose have not.
fn pinned(count: u32, range: &str) -> ClusterSpec {
    let addresses = if range.is_empty() { String::new() } else { format!(", addresses: {range}") };
    spec(&format!(
        "cluster: test\nnetwork: {{cidr: 10.1.0.0/24}}\nmaster: {{instance_type: c7i.large, image: master}}\nworkers:\n\
         - {{group: extra, count: 2, instance_type: c7i.large, image: worker}}\n\
         - {{group: compute, count: {count}, instance_type: c7i.large, image: worker{addresses}}}\n"
    ))
}

/// Addresses of the group `compute`.
fn addresses(simulator: &Simulator) -> Vec<String> {
    let nodes = simulator.world().nodes.into_iter().filter(|node| node.address().to_string().starts_with("node/compute"));
    nodes.filter_map(|node| node.private_address).map(|address| address.to_string()).collect()
}

#[test]
fn workers_of_a_range_have_its_addresses_and_are_launched_one_by_one_before_those_without() {
    let spec = pinned(3, "10.1.0.5-10.1.0.9");
    let first = plan(&spec, &world_with_images());
    assert_eq!(change(&first, "node/compute/0-2").summary, "3 × c7i.large at 10.1.0.5-10.1.0.7, a launch each");
    let launches = first.steps.iter().filter(|step| matches!(step.action, Action::Launch(_)));
    assert_eq!(launches.count(), 5);
    let mut simulator = Simulator::new(world_with_images());
    // EC2 would give the group without addresses the first that are free.
    simulator.run_so(&first, usize::MAX, |position| u64::MAX - position as u64, |_| Outcome::Done);
    assert!(plan(&spec, &simulator.world()).is_empty());
    assert_eq!(addresses(&simulator), ["10.1.0.5", "10.1.0.6", "10.1.0.7"]);
}

#[test]
fn another_range_replaces_workers_and_who_has_an_address_goes_first() {
    let mut simulator = applied(&pinned(3, "10.1.0.32/29"));
    let made = becomes(&mut simulator, &pinned(3, "10.1.0.33-10.1.0.39"));
    let workers = change(&made, "node/compute/0-2");
    assert_eq!((workers.sign, workers.effect), (Sign::Replace, Effect::Replace));
    assert_eq!(addresses(&simulator), ["10.1.0.33", "10.1.0.34", "10.1.0.35"]);
    // Where nobody is in the way, new ones come first; without a range they keep what they have.
    let made = becomes(&mut simulator, &pinned(3, "10.1.0.48/29"));
    assert_eq!(change(&made, "node/compute/0-2").effect, Effect::Rolling);
    assert!(plan(&pinned(3, ""), &simulator.world()).is_empty());
}

#[test]
fn an_address_that_another_node_keeps_blocks_the_plan() {
    let simulator = applied(&pinned(1, ""));
    let taken = simulator.world().nodes.iter().find(|node| node.address().to_string() == "node/extra/0").unwrap().clone();
    let address = taken.private_address.unwrap();
    let blocked = plan(&pinned(1, &format!("{address}-10.1.0.20")), &simulator.world());
    assert_eq!(blocked.blockers.len(), 1, "{:?}", blocked.blockers);
    assert_eq!(blocked.blockers[0].message, format!("its address {address} is that of node/extra/0 {}", taken.id));
}

#[test]
fn workers_of_a_range_get_another_root_volume_instead_of_making_room() {
    let spec = pinned(2, "10.1.0.32/29");
    let mut simulator = applied(&spec);
    let before = ids(&simulator);
    bake(&mut simulator.surroundings, "worker", "ami-newer");
    let made = becomes(&mut simulator, &spec);
    assert_eq!(change(&made, "node/compute/0-1").effect, Effect::NewRoot);
    assert_eq!(change(&made, "node/extra/0-1").effect, Effect::Rolling);
    assert_eq!(addresses(&simulator), ["10.1.0.32", "10.1.0.33"]);
    assert!(ids(&simulator).iter().filter(|id| before.contains(id)).count() == 3);
}

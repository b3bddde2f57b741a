//! Plans carried out on a cloud of records: what EC2 is asked, and what is there then.

use std::collections::BTreeSet;

use ewulf_core::address::{Role, SHARED_TAG};
use ewulf_core::plan::{self, Action};
use ewulf_core::spec::ClusterSpec;
use ewulf_core::world::World;
use tokio::sync::watch;

use super::*;
use crate::aws::CallTotals;
use crate::aws::testing::RecordsCloud;
use crate::observe;

/// The Debian that every local cloud has.
const AMI: &str = "ami-0deb13a64d0000001";

fn spec(count: u32, more: &str) -> ClusterSpec {
    let text = format!(
        "cluster: demo\ncloud: local\nready: running\nnetwork: {{cidr: 10.42.0.0/22}}\n\
         master: {{instance_type: c7i.large, image: {{ami: {AMI}}}}}\n\
         workers: [{{group: compute, count: {count}, instance_type: c7i.large, image: {{ami: {AMI}}}, placement: cluster}}]\n{more}"
    );
    ewulf_core::spec::load_cluster("test.yaml", text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}")).spec
}

async fn carry_out(cloud: &Cloud, plan: &Plan) -> Result<Applied, ApplyError> {
    apply(cloud, plan, &Events::new(|_| {}), &Interrupt::never(), &OnFailure::default(), &Guard::none()).await
}

async fn bring_to(cloud: &Cloud, spec: &ClusterSpec) -> World {
    let world = observe::observe(cloud, spec).await.unwrap();
    let plan = plan::plan(spec, &world);
    assert!(plan.blockers.is_empty(), "{:?}", plan.blockers);
    carry_out(cloud, &plan).await.unwrap_or_else(|error| panic!("{}", crate::aws::describe(&error)));
    observe::observe(cloud, spec).await.unwrap()
}

/// Calls to EC2 without the polls that only wait: all DescribeInstances but the first.
fn but_polls(totals: &CallTotals) -> usize {
    totals.ec2().requests + 1 - totals.by_action["DescribeInstances"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_any_size_is_made_looked_at_and_removed_in_few_calls() {
    for count in [3, 300] {
        let records = RecordsCloud::start().await;
        let spec = spec(count, "");
        let creating = records.clients().await;
        let world = observe::observe(&creating, &spec).await.unwrap();
        carry_out(&creating, &plan::plan(&spec, &world)).await.unwrap();
        let totals = creating.calls.totals();
        println!("{count} workers made: {:?} {:?}", totals.by_service, totals.by_action);
        assert!(but_polls(&totals) <= 30, "{totals:?}");
        assert!(totals.by_action["DescribeInstances"] <= 6, "{totals:?}");

        let looking = records.clients().await;
        let world = observe::observe(&looking, &spec).await.unwrap();
        assert!(plan::plan(&spec, &world).is_empty());
        assert_eq!(looking.calls.totals().ec2().requests, 12);
        assert_eq!(world.nodes.len(), count as usize + 1);

        let removing = records.clients().await;
        let world = observe::cluster(&removing, &spec.cluster).await.unwrap();
        carry_out(&removing, &plan::destroy(&world, true)).await.unwrap();
        let totals = removing.calls.totals();
        println!("{count} workers removed: {:?} {:?}", totals.by_service, totals.by_action);
        assert!(but_polls(&totals) <= 26, "{totals:?}");
        assert!(observe::cluster(&removing, &spec.cluster).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_has_the_last_address_and_every_node_asks_for_a_public_one() {
    let records = RecordsCloud::start().await;
    let world = bring_to(&records.cloud, &spec(5, "shared: {path: /data}\n")).await;
    let last = "10.42.3.254".parse().ok();
    assert_eq!(world.master().unwrap().private_address, last);
    assert!(records.server.cloud().state().ec2.instances().all(|instance| instance.wants_public_address));
    assert!(world.nodes.iter().all(|node| node.tag(SHARED_TAG) == Some("/data")));
    let addresses: BTreeSet<_> = world.nodes.iter().map(|node| node.private_address).collect();
    assert_eq!(addresses.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_an_unseen_launch_made_are_adopted_though_the_tags_have_changed_since() {
    let records = RecordsCloud::start().await;
    let cloud = &records.cloud;
    let spec = spec(4, "tags: {team: a}\n");
    let unseen = observe::observe(cloud, &spec).await.unwrap();
    let first = plan::plan(&spec, &unseen);
    carry_out(cloud, &first).await.unwrap();
    let world = observe::observe(cloud, &spec).await.unwrap();
    // The same launches, asked for by somebody who did not see them, under other tags.
    let mut again = first.clone();
    again.steps.retain(|step| matches!(step.action, Action::Launch(_)));
    again.steps.iter_mut().for_each(|step| step.after.clear());
    again.tags.insert("team".to_owned(), "b".to_owned());
    again.known.insert(Address::Subnet, world.subnet.as_ref().unwrap().id.clone());
    again.known.insert(Address::SecurityGroup, world.security_group.as_ref().unwrap().id.clone());
    carry_out(cloud, &again).await.unwrap();
    let ids = |world: &World| world.nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&observe::observe(cloud, &spec).await.unwrap()), ids(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_right_already_is_left_alone_and_a_missing_one_made() {
    let records = RecordsCloud::start().await;
    let spec = spec(1, "");
    let world = bring_to(&records.cloud, &spec).await;
    let mut again = plan::plan(&spec, &world);
    again.steps.push(Step { address: Address::Routes, after: vec![], action: Action::CreateDefaultRoute });
    let cloud = records.clients().await;
    carry_out(&cloud, &again).await.unwrap();
    assert!(!cloud.calls.totals().by_action.contains_key("DeleteRoute"));

    let (table, gateway) = (world.routes.unwrap().id, world.gateway.unwrap().id);
    cloud.ec2.delete_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0").send().await.unwrap();
    carry_out(&cloud, &again).await.unwrap();
    let routes = observe::cluster(&cloud, &spec.cluster).await.unwrap().routes.unwrap();
    assert_eq!(routes.default_gateway, Some(gateway));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_lock_a_plan_goes_no_further() {
    let records = RecordsCloud::start().await;
    let spec = spec(1, "");
    let world = observe::observe(&records.cloud, &spec).await.unwrap();
    let lost = Guard::of(watch::channel(true).1);
    let first = plan::plan(&spec, &world);
    let error =
        apply(&records.cloud, &first, &Events::new(|_| {}), &Interrupt::never(), &OnFailure::default(), &lost).await.unwrap_err();
    assert!(matches!(error, ApplyError::Step { source: StepError::LockLost, done: 0, .. }), "{error:?}");
    assert!(observe::cluster(&records.cloud, &spec.cluster).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_is_started_by_one_call_a_role() {
    let records = RecordsCloud::start().await;
    let spec = spec(6, "");
    let world = bring_to(&records.cloud, &spec).await;
    let ids: Vec<String> = world.nodes.iter().map(|node| node.id.clone()).collect();
    records.cloud.ec2.stop_instances().set_instance_ids(Some(ids)).send().await.unwrap();
    let cloud = records.clients().await;
    let world = bring_to(&cloud, &spec).await;
    assert_eq!(cloud.calls.totals().by_action["StartInstances"], 2);
    assert!(plan::plan(&spec, &world).is_empty());
}

#[test]
fn what_the_longest_chain_waits_for_begins_first() {
    let mut world = World::empty("demo".parse().unwrap());
    world.zones = vec!["us-east-1a".into()];
    let ami = ewulf_core::world::Ami { id: AMI.into(), root_device: "/dev/xvda".into(), root_gibibytes: 8 };
    world.amis.insert(AMI.into(), Some(ami));
    let creation = plan::plan(&spec(2, ""), &world);
    let mut walk = Walk::new(&creation);
    let first = walk.next().unwrap();
    assert!(matches!(creation.steps[first].action, Action::CreateVpc { .. }));
    // All that does not wait for it may begin as well, and nothing else.
    while let Some(position) = walk.next() {
        assert!(creation.steps[position].after.is_empty());
    }
    walk.finish(first);
    let then = walk.next().unwrap();
    assert!(matches!(creation.steps[then].action, Action::CreateSubnet { .. } | Action::CreateSecurityGroup { .. }));
    assert!(creation.steps.iter().any(|step| matches!(&step.action, Action::Launch(launch) if launch.role == Role::Master)));
}

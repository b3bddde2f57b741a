use crate::operations::ec2::resume;

use super::bench::Bench;

#[tokio::test]
async fn nodes_that_died_while_no_server_ran_are_stopped() {
    let first = Bench::new();
    let ids = first.launch(2, "").await;
    let second = Bench::with_state(first.saved());
    second.witness.dead.lock().unwrap().push(ids[0].clone());
    resume(&second.cloud).await;
    second.until_state(&ids[0], "stopped").await;
    second.until_state(&ids[1], "running").await;
}

#[tokio::test]
async fn what_was_under_way_is_carried_on() {
    let first = Bench::new();
    let ids = first.launch(3, "").await;
    let mut state = first.saved();
    {
        use crate::model::ec2::InstanceState;
        let ways = [InstanceState::Pending, InstanceState::ShuttingDown, InstanceState::Stopping];
        for (id, way) in ids.iter().zip(ways) {
            state.ec2.instances.get_mut(id).unwrap().state = way;
        }
    }
    let second = Bench::with_state(state);
    second.witness.dead.lock().unwrap().push(ids[0].clone());
    resume(&second.cloud).await;
    second.until_state(&ids[0], "running").await;
    second.until_state(&ids[1], "terminated").await;
    second.until_state(&ids[2], "stopped").await;
    assert_eq!(second.boot(&ids[0]).instance_id, ids[0]);
    assert!(second.did(&format!("destroy {}", ids[1])));
}

#[tokio::test]
async fn terminated_instances_are_shown_for_a_while_and_then_forgotten() {
    use jiff::{Timestamp, ToSpan as _};
    let bench = Bench::new();
    let ids = bench.launch(2, "").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={}&InstanceId.2={}", ids[0], ids[1])).await;
    for id in &ids {
        bench.until_state(id, "terminated").await;
    }
    let long_ago = Timestamp::now().checked_sub(11.minutes()).unwrap();
    bench.cloud.state().ec2.instances.get_mut(&ids[0]).unwrap().terminated_at = Some(long_ago);
    assert_eq!(bench.all("DescribeInstances", "", "instanceId").await, [ids[1].clone()]);
}

#[tokio::test]
async fn the_state_reads_back_as_it_was_written() {
    let bench = Bench::new();
    bench.launch(2, "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=1&ClientToken=t").await;
    bench.ok("CreateLaunchTemplate", "LaunchTemplateName=web&LaunchTemplateData.InstanceType=c7i.large").await;
    let text = |state: &crate::cloud::State| serde_json::to_string(state).unwrap();
    assert_eq!(text(&bench.saved()), text(&bench.cloud.state()));
}

/// A state as it was written before there were interfaces, addresses, ACLs and more than one kind of route.
fn of_a_former_release(state: &crate::cloud::State) -> crate::cloud::State {
    let mut json = serde_json::to_value(state).unwrap();
    let ec2 = json["ec2"].as_object_mut().unwrap();
    for name in ["network_acls", "nat_gateways", "vpc_endpoints", "interfaces", "addresses", "last_public", "key_pairs"] {
        assert!(ec2.remove(name).is_some(), "{name}");
    }
    let each = |ec2: &mut serde_json::Map<String, serde_json::Value>, map: &str, names: &[&str]| {
        for one in ec2[map].as_object_mut().unwrap().values_mut() {
            for name in names {
                assert!(one.as_object_mut().unwrap().remove(*name).is_some(), "{map} {name}");
            }
        }
    };
    each(ec2, "instances", &["first", "public_key"]);
    each(ec2, "subnets", &["network_acl_id", "former_acl_association"]);
    each(ec2, "vpcs", &["usage_metrics"]);
    for table in ec2["route_tables"].as_object_mut().unwrap().values_mut() {
        for route in table["routes"].as_array_mut().unwrap() {
            let route = route.as_object_mut().unwrap();
            let target = route.remove("target").unwrap();
            route.insert("gateway_id".to_owned(), target);
        }
    }
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn the_state_of_a_former_release_is_taken_up() {
    let first = Bench::new();
    let id = first.launch(1, "").await.remove(0);
    let second = Bench::with_state(of_a_former_release(&first.saved()));
    let routes = second.all("DescribeRouteTables", "", "destinationCidrBlock").await;
    assert_eq!(routes, ["172.31.0.0/16", "0.0.0.0/0"]);
    assert_eq!(second.all("DescribeRouteTables", "", "state").await, ["active", "active", "associated"]);
    assert_eq!(second.all("DescribeNetworkAcls", "", "subnetId").await.len(), 3);
    let interface = second.first("DescribeInstances", &format!("InstanceId.1={id}"), "networkInterfaceId").await;
    assert_eq!(second.all("DescribeNetworkInterfaces", "", "networkInterfaceId").await, [interface]);
    second.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    second.until_state(&id, "terminated").await;
    assert!(second.all("DescribeNetworkInterfaces", "", "networkInterfaceId").await.is_empty());
}

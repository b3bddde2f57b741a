//! What EC2 says when it is unkind: no capacity, no quota, not known yet, still in use.

use std::time::Duration;

use ewulf_cloud::model::ec2::PUBLIC_IMAGES;
use serde_json::json;

use super::{eventually, ids};
use crate::client::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn capacity_runs_out_by_type_zone_and_market() {
    let bench = Bench::start().await;
    bench
        .rules(json!([{ "id": "scarce", "when": { "type": "t3.*", "market": "on-demand" }, "fault": { "capacity": { "left": 3 } } }]))
        .await;
    let refused = bench.run_instances(4, 4, "&ClientToken=gang").await;
    assert_eq!((refused.status, refused.code().as_str()), (500, "InsufficientInstanceCapacity"));
    assert_eq!(bench.count("DescribeInstances", "instanceId").await, 0, "all or nothing");
    assert_eq!(bench.run_instances(9, 9, "&DryRun=true").await.code(), "DryRunOperation", "a dry run knows nothing of capacity");
    let spot = bench.run_instances(4, 4, "&InstanceMarketOptions.MarketType=spot").await;
    assert_eq!(ids(&spot).len(), 4, "the other market has its own machines");
    assert_eq!(ids(&bench.run_instances(1, 2, "").await).len(), 2);
    assert_eq!(ids(&bench.run_instances(1, 2, "").await).len(), 1, "as many as there are");
    assert_eq!(bench.run_instances(1, 1, "").await.code(), "InsufficientInstanceCapacity");
    assert_eq!(bench.local("RemoveFault", json!({ "id": "scarce" })).await.status, 200);
    assert_eq!(ids(&bench.run_instances(4, 4, "&ClientToken=gang").await).len(), 4, "a refused call leaves no token behind");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_may_find_its_place_taken() {
    let bench = Bench::start().await;
    let id = ids(&bench.run_instances(1, 1, "").await).remove(0);
    bench.wait_state(&id, "running").await;
    bench.made(&format!("Action=StopInstances&InstanceId.1={id}"), "name").await;
    bench.wait_state(&id, "stopped").await;
    bench.rules(json!([{ "action": "StartInstances", "count": 1, "fault": "capacity" }])).await;
    let start = format!("Action=StartInstances&Version=2016-11-15&InstanceId.1={id}");
    assert_eq!(bench.ec2(&start).await.code(), "InsufficientInstanceCapacity");
    assert!(bench.describe(&id).await.contains("<name>stopped</name>"));
    assert_eq!(bench.ec2(&start).await.status, 200, "the rule rests after one refusal");
    bench.wait_state(&id, "running").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_named() {
    let bench = Bench::start().await;
    let limits = json!({ "vpcs": 2, "internet_gateways": 1, "volumes": 1 });
    bench.rules(json!([{ "fault": { "quota": limits } }])).await;
    for (form, code) in [
        ("Action=CreateVpc&CidrBlock=10.9.0.0/16", "VpcLimitExceeded"),
        ("Action=CreateInternetGateway", "InternetGatewayLimitExceeded"),
        ("Action=CreateVolume&Size=1&AvailabilityZone=us-east-1a", "VolumeLimitExceeded"),
    ] {
        let form = format!("{form}&Version=2016-11-15");
        let mut codes = Vec::new();
        for _ in 0..3 {
            codes.push(bench.ec2(&form).await.code_or_ok());
        }
        // The default VPC has a gateway and is one of the two.
        assert!(codes.last().is_some_and(|last| last == code), "{codes:?}");
        assert!(code == "InternetGatewayLimitExceeded" || codes[0] == "OK", "{codes:?}");
    }
    // A t3.micro has two vCPUs.
    bench
        .rules(json!([{ "when": { "market": "on-demand" }, "fault": { "quota": { "vcpus": 6, "terminated_seconds": 1 } } }]))
        .await;
    assert_eq!(bench.run_instances(4, 4, "").await.code(), "VcpuLimitExceeded");
    let three = ids(&bench.run_instances(1, 4, "").await);
    assert_eq!(three.len(), 3);
    assert_eq!(bench.run_instances(1, 1, "").await.code(), "VcpuLimitExceeded");
    assert_eq!(ids(&bench.run_instances(2, 2, "&InstanceMarketOptions.MarketType=spot").await).len(), 2);
    bench.made(&format!("Action=TerminateInstances&InstanceId.1={}", three[0]), "name").await;
    bench.wait_state(&three[0], "terminated").await;
    assert_eq!(bench.run_instances(1, 1, "").await.code(), "VcpuLimitExceeded", "a terminated instance counts for a while");
    eventually(async || (bench.run_instances(1, 1, "").await.status == 200).then_some(())).await;
    bench.rules(json!([{ "fault": { "quota": { "instances": 1 } } }])).await;
    assert_eq!(bench.run_instances(1, 1, "").await.code(), "InstanceLimitExceeded");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_made_is_not_known_everywhere() {
    let bench = Bench::start().await;
    bench.rules(json!([{ "id": "behind", "service": "ec2", "fault": { "lag": { "seconds": 3600 } } }])).await;
    let vpc = bench.made("Action=CreateVpc&CidrBlock=10.9.0.0/16", "vpcId").await;
    let find = format!("Action=DescribeVpcs&Version=2016-11-15&VpcId.1={vpc}");
    let use_it = format!("Action=CreateSubnet&Version=2016-11-15&VpcId={vpc}&CidrBlock=10.9.1.0/24");
    assert_eq!(bench.ec2(&find).await.code(), "InvalidVpcID.NotFound");
    assert_eq!(bench.count("DescribeVpcs", "vpcId").await, 1, "a listing without ids is just older");
    assert_eq!(bench.ec2(&use_it).await.code(), "InvalidVpcID.NotFound");
    let id = ids(&bench.run_instances(1, 1, "").await).remove(0);
    let end = format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={id}");
    assert_eq!(bench.ec2(&end).await.code(), "InvalidInstanceID.NotFound", "and yet it runs");
    assert_eq!(bench.local("RemoveFault", json!({ "id": "behind" })).await.status, 200);
    assert_eq!(bench.ec2(&find).await.status, 200);
    assert_eq!(bench.ec2(&use_it).await.status, 200);
    bench.wait_state(&id, "running").await;
    // A short lag is over soon, for what calls changed and for what happened by itself.
    bench.rules(json!([{ "service": "ec2", "fault": { "lag": { "seconds": 0.4 } } }])).await;
    assert_eq!(eventually(async || (bench.ec2(&end).await.status == 200).then_some(())).await, ());
    bench.wait_state(&id, "terminated").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..20 {
        assert!(bench.describe(&id).await.contains("<name>terminated</name>"), "nothing is older than the greatest lag");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_profile_is_not_known_at_first() {
    let bench = Bench::start().await;
    bench.rules(json!([{ "fault": { "profile-lag": { "seconds": 0.5 } } }])).await;
    let first = bench.run_instances(1, 1, "&IamInstanceProfile.Name=nodes").await;
    assert_eq!((first.status, first.code().as_str()), (400, "InvalidParameterValue"));
    assert!(first.body.contains("Invalid IAM Instance Profile name"), "{first:?}");
    assert_eq!(bench.run_instances(1, 1, "").await.status, 200, "without a profile there is nothing to wait for");
    eventually(async || (bench.run_instances(1, 1, "&IamInstanceProfile.Name=nodes").await.status == 200).then_some(())).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_of_an_instance_may_outlive_it() {
    let bench = Bench::start().await;
    let vpc = bench.made("Action=CreateVpc&CidrBlock=10.9.0.0/16", "vpcId").await;
    let subnet = bench.made(&format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.9.1.0/24"), "subnetId").await;
    let group = format!("Action=CreateSecurityGroup&VpcId={vpc}&GroupName=g&GroupDescription=g");
    let group = bench.made(&group, "groupId").await;
    bench.rules(json!([{ "fault": { "lingering-interfaces": { "seconds": 1.5 } } }])).await;
    let id = ids(&bench.run_instances(1, 1, &format!("&SubnetId={subnet}&SecurityGroupId.1={group}")).await).remove(0);
    bench.wait_state(&id, "running").await;
    bench.made(&format!("Action=TerminateInstances&InstanceId.1={id}"), "name").await;
    bench.wait_state(&id, "terminated").await;
    let delete_group = format!("Action=DeleteSecurityGroup&Version=2016-11-15&GroupId={group}");
    let delete_subnet = format!("Action=DeleteSubnet&Version=2016-11-15&SubnetId={subnet}");
    assert_eq!(bench.ec2(&delete_group).await.code(), "DependencyViolation");
    assert_eq!(bench.ec2(&delete_subnet).await.code(), "DependencyViolation");
    for form in [delete_group, delete_subnet, format!("Action=DeleteVpc&Version=2016-11-15&VpcId={vpc}")] {
        eventually(async || (bench.ec2(&form).await.status == 200).then_some(())).await;
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_image_that_is_gone_stays_taken_for_a_while() {
    let bench = Bench::start().await;
    let id = ids(&bench.run_instances(1, 1, "").await).remove(0);
    bench.wait_state(&id, "running").await;
    let make = format!("Action=CreateImage&Version=2016-11-15&InstanceId={id}&Name=worker");
    let image = bench.made(&make, "imageId").await;
    let find = format!("Action=DescribeImages&Version=2016-11-15&ImageId.1={image}");
    eventually(async || bench.ec2(&find).await.body.contains("<imageState>available").then_some(())).await;
    bench.rules(json!([{ "fault": { "name-taken": { "seconds": 1 } } }])).await;
    assert_ne!(image, PUBLIC_IMAGES[0].id);
    bench.made(&format!("Action=DeregisterImage&ImageId={image}"), "return").await;
    assert_eq!(bench.ec2(&make).await.code(), "InvalidAMIName.Duplicate");
    eventually(async || (bench.ec2(&make).await.status == 200).then_some(())).await;
    bench.stop().await;
}

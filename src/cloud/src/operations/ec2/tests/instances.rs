use crate::node::NodeEvent;
use crate::operations::ec2::node_event;

use super::bench::{BASE, Bench, texts};

#[tokio::test]
async fn an_instance_stops_starts_and_terminates_with_its_reasons() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let form = format!("InstanceId.1={id}");
    let answer = bench.ok("StopInstances", &form).await;
    assert_eq!(texts(&answer, "name"), ["stopping", "running"]);
    bench.until_state(&id, "stopped").await;
    assert_eq!(bench.first("DescribeInstances", &form, "reason").await.split(" (").next(), Some("User initiated"));
    let answer = bench.ok("DescribeInstances", &form).await;
    assert!(answer.contains("<stateReason><code>Client.UserInitiatedShutdown</code>"));
    let answer = bench.ok("StartInstances", &form).await;
    assert_eq!(texts(&answer, "name"), ["pending", "stopped"]);
    bench.until_state(&id, "running").await;
    assert_eq!(bench.cloud.state().ec2.instance(&id).unwrap().generation, 2);
    let answer = bench.ok("TerminateInstances", &form).await;
    assert_eq!(texts(&answer, "name"), ["shutting-down", "running"]);
    bench.until_state(&id, "terminated").await;
    let answer = bench.ok("DescribeInstances", &form).await;
    assert!(texts(&answer, "privateIpAddress").is_empty());
    assert!(texts(&answer, "volumeId").is_empty());
    bench.ok("TerminateInstances", &form).await;
    assert_eq!(bench.code("StartInstances", &form).await, "IncorrectInstanceState");
}

#[tokio::test]
async fn one_unknown_or_malformed_id_fails_the_whole_call() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    for action in ["DescribeInstances", "TerminateInstances", "StopInstances"] {
        let unknown = format!("InstanceId.1={id}&InstanceId.2=i-0123456789abcdef0");
        assert_eq!(bench.code(action, &unknown).await, "InvalidInstanceID.NotFound");
        let malformed = format!("InstanceId.1={id}&InstanceId.2=i-xyz");
        assert_eq!(bench.code(action, &malformed).await, "InvalidInstanceID.Malformed");
    }
    bench.until_state(&id, "running").await;
}

#[tokio::test]
async fn a_node_powered_off_from_inside_stops_or_terminates_as_told() {
    let bench = Bench::new();
    let stops = bench.launch(1, "").await.remove(0);
    let ends = bench.launch(1, "InstanceInitiatedShutdownBehavior=terminate").await.remove(0);
    for id in [&stops, &ends] {
        node_event(&bench.cloud, NodeEvent::Ended { instance_id: id.clone(), powered_off: true }).await;
    }
    bench.until_state(&stops, "stopped").await;
    bench.until_state(&ends, "terminated").await;
    let code = bench.first("DescribeInstances", &format!("InstanceId.1={stops}"), "stateReason").await;
    assert!(code.contains("Client.InstanceInitiatedShutdown"));
}

#[tokio::test]
async fn a_killed_node_shows_as_stopped_and_can_be_started() {
    let bench = Bench::new();
    let id = bench.launch(1, "InstanceInitiatedShutdownBehavior=terminate").await.remove(0);
    node_event(&bench.cloud, NodeEvent::Ended { instance_id: id.clone(), powered_off: false }).await;
    bench.until_state(&id, "stopped").await;
    let reason = bench.first("DescribeInstances", &format!("InstanceId.1={id}"), "stateReason").await;
    assert!(reason.contains("Server.InternalError"));
    bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "running").await;
}

#[tokio::test]
async fn the_end_of_a_node_that_was_stopped_on_purpose_is_no_news() {
    let bench = Bench::new();
    let id = bench.launch(1, "InstanceInitiatedShutdownBehavior=terminate").await.remove(0);
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    node_event(&bench.cloud, NodeEvent::Ended { instance_id: id.clone(), powered_off: true }).await;
    bench.until_state(&id, "stopped").await;
}

#[tokio::test]
async fn protection_holds_until_it_is_lifted() {
    let bench = Bench::new();
    let id = bench.launch(1, "DisableApiTermination=true").await.remove(0);
    let form = format!("InstanceId.1={id}");
    assert_eq!(bench.code("TerminateInstances", &form).await, "OperationNotPermitted");
    bench.ok("ModifyInstanceAttribute", &format!("InstanceId={id}&DisableApiTermination.Value=false")).await;
    bench.ok("TerminateInstances", &form).await;
}

#[tokio::test]
async fn types_change_while_stopped_alone() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let change = format!("InstanceId={id}&InstanceType.Value=c7i.2xlarge");
    assert_eq!(bench.code("ModifyInstanceAttribute", &change).await, "IncorrectInstanceState");
    let both = format!("{change}&SourceDestCheck.Value=true");
    assert_eq!(bench.code("ModifyInstanceAttribute", &both).await, "InvalidParameterCombination");
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    bench.ok("ModifyInstanceAttribute", &change).await;
    bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "running").await;
    assert_eq!(bench.boot(&id).cores, 8);
    let value = bench.first("DescribeInstanceAttribute", &format!("InstanceId={id}&Attribute=instanceType"), "value").await;
    assert_eq!(value, "c7i.2xlarge");
}

#[tokio::test]
async fn one_time_spot_instances_cannot_be_stopped() {
    let bench = Bench::new();
    let id = bench.launch(1, "InstanceMarketOptions.MarketType=spot").await.remove(0);
    assert_eq!(bench.first("DescribeInstances", "", "instanceLifecycle").await, "spot");
    assert_eq!(bench.code("StopInstances", &format!("InstanceId.1={id}")).await, "UnsupportedOperation");
}

#[tokio::test]
async fn filters_and_pages_select_instances() {
    let bench = Bench::new();
    let tags = |value: &str| {
        format!(
            "TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=role&TagSpecification.1.Tag.1.Value={value}"
        )
    };
    let workers = bench.launch(12, &tags("worker-a")).await;
    let master = bench.launch(1, &tags("master")).await.remove(0);
    let by_tag = bench.all("DescribeInstances", "Filter.1.Name=tag:role&Filter.1.Value.1=worker-*", "instanceId").await;
    assert_eq!(by_tag.len(), 12);
    let both = "Filter.1.Name=tag-key&Filter.1.Value.1=role&Filter.2.Name=instance-state-name&Filter.2.Value.1=stopped";
    assert!(bench.all("DescribeInstances", both, "instanceId").await.is_empty());
    assert_eq!(bench.code("DescribeInstances", "Filter.1.Name=colour&Filter.1.Value.1=red").await, "InvalidParameterValue");
    assert_eq!(bench.code("DescribeInstances", "MaxResults=3").await, "InvalidParameterValue");
    assert_eq!(bench.code("DescribeInstances", "NextToken=%21").await, "InvalidParameterValue");
    let ids = format!("MaxResults=5&InstanceId.1={master}");
    assert_eq!(bench.code("DescribeInstances", &ids).await, "InvalidParameterCombination");
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let answer = bench.ok("DescribeInstances", &format!("MaxResults=5{next}")).await;
        seen.extend(texts(&answer, "instanceId"));
        match texts(&answer, "nextToken").first() {
            Some(token) => next = format!("&NextToken={token}"),
            None => break,
        }
    }
    let mut expected = workers;
    expected.push(master);
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn interfaces_and_status_follow_the_instance() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let filter = format!("Filter.1.Name=attachment.instance-id&Filter.1.Value.1={id}");
    let interfaces = bench.all("DescribeNetworkInterfaces", &filter, "networkInterfaceId").await;
    assert_eq!(interfaces.len(), 1);
    assert_eq!(bench.all("DescribeInstanceStatus", "", "instanceId").await, std::slice::from_ref(&id));
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    assert!(bench.all("DescribeInstanceStatus", "", "instanceId").await.is_empty());
    let answer = bench.ok("DescribeInstanceStatus", "IncludeAllInstances=true").await;
    assert_eq!(texts(&answer, "instanceId"), std::slice::from_ref(&id));
    assert_eq!(texts(&answer, "status"), ["not-applicable"; 3], "no check applies to what is stopped, so none is detailed");
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    assert!(bench.all("DescribeNetworkInterfaces", &filter, "networkInterfaceId").await.is_empty());
}

#[tokio::test]
async fn tags_are_written_read_and_taken_away() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let both = format!("ResourceId.1={vpc}&ResourceId.2={subnet}");
    bench.ok("CreateTags", &format!("{both}&Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b&Tag.2.Value=2")).await;
    let filter = format!("Filter.1.Name=resource-id&Filter.1.Value.1={subnet}");
    assert_eq!(bench.all("DescribeTags", &filter, "key").await, ["a", "b"]);
    bench.ok("DeleteTags", &format!("ResourceId.1={subnet}&Tag.1.Key=a&Tag.2.Key=b&Tag.2.Value=other")).await;
    assert_eq!(bench.all("DescribeTags", &filter, "key").await, ["b"]);
    assert_eq!(bench.all("DescribeTags", "Filter.1.Name=resource-type&Filter.1.Value.1=vpc", "value").await, ["1", "2"]);
    // The prefix is AWS's own however it is written.
    for key in ["aws:x", "AWS:x", "Aws:x"] {
        let form = format!("{both}&Tag.1.Key={key}&Tag.1.Value=1");
        assert_eq!(bench.code("CreateTags", &form).await, "InvalidParameterValue", "{key}");
    }
    assert_eq!(bench.code("CreateTags", "ResourceId.1=vpc-0123456789abcdef0&Tag.1.Key=x").await, "InvalidVpcID.NotFound");
}

#[tokio::test]
async fn the_catalogue_answers_types_zones_and_prices() {
    let bench = Bench::new();
    let answer = bench.ok("DescribeInstanceTypes", "InstanceType.1=c7i.8xlarge").await;
    assert_eq!((texts(&answer, "defaultVCpus"), texts(&answer, "defaultCores")), (vec!["32".to_owned()], vec!["16".to_owned()]));
    assert_eq!(bench.code("DescribeInstanceTypes", "InstanceType.1=c7i.gigantic").await, "InvalidInstanceType");
    assert_eq!(bench.all("DescribeInstanceTypes", "", "instanceType").await.len(), 100);
    assert_eq!(bench.all("DescribeAvailabilityZones", "", "zoneId").await, ["use1-az1", "use1-az2", "use1-az3"]);
    let offered = "LocationType=availability-zone&Filter.1.Name=instance-type&Filter.1.Value.1=hpc7a.*";
    assert_eq!(bench.all("DescribeInstanceTypeOfferings", offered, "location").await.len(), 12);
    let price = |answer: Vec<String>| answer[0].parse::<f64>().unwrap();
    let large = price(bench.all("DescribeSpotPriceHistory", "InstanceType.1=c5.large", "spotPrice").await);
    let huge = price(bench.all("DescribeSpotPriceHistory", "InstanceType.1=c5.18xlarge", "spotPrice").await);
    assert!(huge > 5.0 * large);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let bench = Bench::new();
    let before = bench.saved();
    let form = format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&DryRun=true");
    assert_eq!(bench.code("RunInstances", &form).await, "DryRunOperation");
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/16&DryRun=true").await, "DryRunOperation");
    assert_eq!(bench.saved().ec2.instances().count(), before.ec2.instances().count());
    assert_eq!(bench.all("DescribeVpcs", "", "vpcId").await.len(), 1);
}

use super::bench::{Bench, texts};

/// A launched instance that was stopped.
async fn stopped(bench: &Bench, form: &str) -> String {
    let id = bench.launch(1, form).await.remove(0);
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    id
}

#[tokio::test]
async fn one_protected_instance_keeps_its_zone_and_the_others_go() {
    let bench = Bench::new();
    let zone = |letter: &str, more: &str| format!("Placement.AvailabilityZone=us-east-1{letter}{more}");
    let held = bench.launch(1, &zone("a", "&DisableApiTermination=true")).await.remove(0);
    let beside = bench.launch(1, &zone("a", "")).await.remove(0);
    let other = bench.launch(1, &zone("b", "")).await.remove(0);
    let all = format!("InstanceId.1={held}&InstanceId.2={beside}&InstanceId.3={other}");
    assert_eq!(bench.code("TerminateInstances", &all).await, "OperationNotPermitted");
    bench.until_state(&other, "terminated").await;
    bench.until_state(&held, "running").await;
    bench.until_state(&beside, "running").await;
}

#[tokio::test]
async fn placement_changes_while_stopped() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=tight").await;
    bench.ok("CreatePlacementGroup", "GroupName=racks&Strategy=partition&PartitionCount=2").await;
    let running = bench.launch(1, "Placement.AvailabilityZone=us-east-1b&Placement.GroupName=tight").await.remove(0);
    let id = stopped(&bench, "Placement.AvailabilityZone=us-east-1a").await;
    let modify = |id: &str, change: &str| format!("InstanceId={id}&{change}");
    for (call, code) in [
        (modify(&running, "GroupName="), "IncorrectInstanceState"),
        (modify(&id, "GroupName=tight"), "InvalidPlacementGroup.InUse"),
        (modify(&id, "GroupName=none"), "InvalidPlacementGroup.Unknown"),
        (modify(&id, "Tenancy=dedicated"), "UnsupportedOperation"),
        (modify(&id, "HostId=h-1"), "UnsupportedOperation"),
        (modify(&id, "PartitionNumber=1"), "InvalidParameterCombination"),
        (format!("InstanceId={id}"), "MissingParameter"),
        (modify(&id, "GroupName=racks&DryRun=true"), "UnknownParameter"),
    ] {
        assert_eq!(bench.code("ModifyInstancePlacement", &call).await, code, "{call}");
    }
    bench.ok("ModifyInstancePlacement", &modify(&id, "GroupName=racks&PartitionNumber=2")).await;
    let shown = format!("InstanceId.1={id}");
    assert_eq!(bench.first("DescribeInstances", &shown, "partitionNumber").await, "2");
    bench.ok("ModifyInstancePlacement", &modify(&id, "GroupName=")).await;
    assert_eq!(bench.first("DescribeInstances", &shown, "groupName").await, "");
}

#[tokio::test]
async fn processors_change_while_stopped_and_go_back_with_the_type() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let change = format!("InstanceId={id}&CoreCount=1&ThreadsPerCore=1");
    assert_eq!(bench.code("ModifyInstanceCpuOptions", &change).await, "IncorrectInstanceState");
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    assert_eq!(
        bench.code("ModifyInstanceCpuOptions", &format!("InstanceId={id}&CoreCount=1")).await,
        "InvalidParameterCombination"
    );
    let answer = bench.ok("ModifyInstanceCpuOptions", &change).await;
    assert_eq!((texts(&answer, "coreCount"), texts(&answer, "threadsPerCore")), (vec!["1".to_owned()], vec!["1".to_owned()]));
    bench.ok("ModifyInstanceAttribute", &format!("InstanceId={id}&InstanceType.Value=c7i.xlarge")).await;
    let answer = bench.ok("DescribeInstances", "").await;
    assert_eq!((texts(&answer, "coreCount"), texts(&answer, "threadsPerCore")), (vec!["2".to_owned()], vec!["2".to_owned()]));
}

#[tokio::test]
async fn metadata_options_are_pending_for_a_moment() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let form = format!("InstanceId={id}&HttpPutResponseHopLimit=3&InstanceMetadataTags=enabled");
    let answer = bench.ok("ModifyInstanceMetadataOptions", &form).await;
    assert_eq!(
        (texts(&answer, "state"), texts(&answer, "httpPutResponseHopLimit")),
        (vec!["pending".to_owned()], vec!["3".to_owned()])
    );
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let applied = "Filter.1.Name=metadata-options.state&Filter.1.Value.1=applied&Filter.2.Name=metadata-options.instance-metadata-tags&Filter.2.Value.1=enabled";
    assert_eq!(bench.all("DescribeInstances", applied, "instanceId").await, std::slice::from_ref(&id));
    let wrong = format!("InstanceId={id}&HttpTokens=maybe");
    assert_eq!(bench.code("ModifyInstanceMetadataOptions", &wrong).await, "InvalidParameterValue");
}

#[tokio::test]
async fn tags_that_metadata_cannot_show_are_refused_where_it_shows_tags() {
    let bench = Bench::new();
    let tag = "TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a/b&TagSpecification.1.Tag.1.Value=1";
    let launch = format!("ImageId={}&InstanceType=t3.micro&MinCount=1&MaxCount=1", super::bench::BASE);
    let shown = format!("{launch}&{tag}&MetadataOptions.InstanceMetadataTags=enabled");
    assert_eq!(bench.code("RunInstances", &shown).await, "InvalidParameterValue");
    let hidden = bench.launch(1, tag).await.remove(0);
    let enable = |id: &str| format!("InstanceId={id}&InstanceMetadataTags=enabled");
    assert_eq!(bench.code("ModifyInstanceMetadataOptions", &enable(&hidden)).await, "InvalidParameterValue");
    let plain = bench.launch(1, "").await.remove(0);
    bench.ok("ModifyInstanceMetadataOptions", &enable(&plain)).await;
    assert_eq!(
        bench.code("CreateTags", &format!("ResourceId.1={plain}&Tag.1.Key=a%20b&Tag.1.Value=1")).await,
        "InvalidParameterValue"
    );
    bench.ok("CreateTags", &format!("ResourceId.1={hidden}&Tag.1.Key=a%20b&Tag.1.Value=1")).await;
}

#[tokio::test]
async fn monitoring_is_switched_with_a_word_on_its_way() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let form = format!("InstanceId.1={id}");
    assert_eq!(bench.first("MonitorInstances", &form, "state").await, "pending");
    assert_eq!(bench.first("MonitorInstances", &form, "state").await, "enabled");
    let filter = "Filter.1.Name=monitoring-state&Filter.1.Value.1=enabled";
    assert_eq!(bench.all("DescribeInstances", filter, "instanceId").await.len(), 1);
    assert_eq!(bench.first("UnmonitorInstances", &form, "state").await, "disabling");
}

#[tokio::test]
async fn a_profile_is_associated_replaced_and_taken_away() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let associate = format!("InstanceId={id}&IamInstanceProfile.Name=one");
    let first = bench.first("AssociateIamInstanceProfile", &associate, "associationId").await;
    assert_eq!(bench.code("AssociateIamInstanceProfile", &associate).await, "IncorrectState");
    let replace = format!("AssociationId={first}&IamInstanceProfile.Name=two");
    assert_eq!(bench.code("ReplaceIamInstanceProfileAssociation", &format!("{replace}&DryRun=true")).await, "UnknownParameter");
    let answer = bench.ok("ReplaceIamInstanceProfileAssociation", &replace).await;
    let second = texts(&answer, "associationId").remove(0);
    assert!(second != first && answer.contains(":instance-profile/two"), "{answer}");
    assert_eq!(
        bench.code("DisassociateIamInstanceProfile", &format!("AssociationId={first}")).await,
        "InvalidAssociationID.NotFound"
    );
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    let again = format!("AssociationId={second}&IamInstanceProfile.Name=one");
    assert_eq!(bench.code("ReplaceIamInstanceProfileAssociation", &again).await, "IncorrectInstanceState");
    let gone = format!("AssociationId={second}");
    assert_eq!(bench.first("DisassociateIamInstanceProfile", &gone, "state").await, "disassociating");
    assert!(bench.all("DescribeIamInstanceProfileAssociations", "", "associationId").await.is_empty());
    bench.ok("AssociateIamInstanceProfile", &associate).await;
}

#[tokio::test]
async fn credits_are_for_burstable_types_alone() {
    let bench = Bench::new();
    let fixed = bench.launch(1, "").await.remove(0);
    let burstable = bench.launch(1, "InstanceType=t3.micro").await.remove(0);
    assert_eq!(bench.all("DescribeInstanceCreditSpecifications", "", "instanceId").await, std::slice::from_ref(&burstable));
    let form = format!(
        "InstanceCreditSpecification.1.InstanceId={burstable}&InstanceCreditSpecification.1.CpuCredits=standard\
         &InstanceCreditSpecification.2.InstanceId={fixed}&InstanceCreditSpecification.2.CpuCredits=standard"
    );
    let answer = bench.ok("ModifyInstanceCreditSpecification", &form).await;
    assert_eq!(texts(&answer, "instanceId"), [burstable.clone(), fixed]);
    assert_eq!(texts(&answer, "code"), ["InstanceCreditSpecification.NotSupported"]);
    let asked = format!("InstanceId.1={burstable}");
    assert_eq!(bench.first("DescribeInstanceCreditSpecifications", &asked, "cpuCredits").await, "standard");
    assert!(bench.all("DescribeInstanceCreditSpecifications", "", "instanceId").await.is_empty());
}

#[tokio::test]
async fn an_attribute_goes_back_and_a_topology_is_told() {
    let bench = Bench::new();
    let id = bench.launch(1, "InstanceType=hpc7a.96xlarge").await.remove(0);
    bench.ok("ModifyInstanceAttribute", &format!("InstanceId={id}&SourceDestCheck.Value=false")).await;
    let filter = "Filter.1.Name=network-interface.source-dest-check&Filter.1.Value.1=false";
    assert_eq!(bench.all("DescribeInstances", filter, "instanceId").await.len(), 1);
    bench.ok("ResetInstanceAttribute", &format!("InstanceId={id}&Attribute=sourceDestCheck")).await;
    assert!(bench.all("DescribeInstances", filter, "instanceId").await.is_empty());
    assert_eq!(bench.code("ResetInstanceAttribute", &format!("InstanceId={id}&Attribute=kernel")).await, "UnsupportedOperation");
    let answer = bench.ok("DescribeInstanceTopology", &format!("InstanceId.1={id}")).await;
    assert_eq!(texts(&answer, "networkNodeSet")[0].matches("<item>nn-").count(), 3);
}

use super::bench::{BASE, Bench, texts};

/// A template `web` of c7i.large.
async fn bench() -> Bench {
    let bench = Bench::new();
    let data = format!("LaunchTemplateName=web&LaunchTemplateData.ImageId={BASE}&LaunchTemplateData.InstanceType=c7i.large");
    bench.ok("CreateLaunchTemplate", &data).await;
    bench
}

fn form(total: u32, more: &str) -> String {
    format!(
        "Type=instant&TargetCapacitySpecification.TotalTargetCapacity={total}\
         &LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName=web\
         &LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=$Default&{more}"
    )
}

fn overrides(number: u32, name: &str, value: &str) -> String {
    format!("LaunchTemplateConfigs.1.Overrides.{number}.{name}={value}&")
}

#[tokio::test]
async fn an_instant_fleet_launches_at_once_and_tags_its_instances() {
    let bench = bench().await;
    let tags = "TagSpecification.1.ResourceType=fleet&TagSpecification.1.Tag.1.Key=f&TagSpecification.1.Tag.1.Value=1\
                &TagSpecification.2.ResourceType=instance&TagSpecification.2.Tag.1.Key=i&TagSpecification.2.Tag.1.Value=2";
    let answer = bench.ok("CreateFleet", &form(3, tags)).await;
    let fleet = texts(&answer, "fleetId").remove(0);
    assert_eq!(texts(&answer, "lifecycle"), ["on-demand"]);
    assert!(answer.contains("<errorSet></errorSet>"), "{answer}");
    let tagged = format!("Filter.1.Name=tag:aws:ec2:fleet-id&Filter.1.Value.1={fleet}&Filter.2.Name=tag:i&Filter.2.Value.1=2");
    assert_eq!(bench.all("DescribeInstances", &tagged, "instanceId").await.len(), 3);
    assert_eq!(bench.all("DescribeTags", "Filter.1.Name=resource-type&Filter.1.Value.1=fleet", "key").await, ["f"]);
    // It is shown by its id alone.
    assert!(bench.all("DescribeFleets", "", "fleetId").await.is_empty());
    let shown = bench.ok("DescribeFleets", &format!("FleetId.1={fleet}")).await;
    for (element, value) in
        [("fleetState", "active"), ("activityStatus", "fulfilled"), ("fulfilledCapacity", "3.0"), ("type", "instant")]
    {
        assert_eq!(texts(&shown, element), [value], "{element}");
    }
    assert_eq!(bench.code("DescribeFleetInstances", &format!("FleetId={fleet}")).await, "UnsupportedOperation");
}

#[tokio::test]
async fn a_fleet_takes_what_it_gets_and_tells_what_it_did_not_get() {
    let bench = bench().await;
    let (vpc, _) = bench.network().await;
    let subnet = bench.first("CreateSubnet", &format!("VpcId={vpc}&CidrBlock=10.0.1.0/28"), "subnetId").await;
    let more = [
        overrides(1, "InstanceType", "c7i.gigantic"),
        overrides(1, "Priority", "0"),
        overrides(2, "SubnetId", &subnet),
        overrides(2, "Priority", "1"),
        overrides(3, "InstanceType", "c7i.xlarge"),
        overrides(3, "Priority", "2"),
        "OnDemandOptions.AllocationStrategy=prioritized".to_owned(),
    ];
    let answer = bench.ok("CreateFleet", &form(15, &more.concat())).await;
    assert_eq!(texts(&answer, "errorCode"), ["InvalidParameterValue", "InsufficientInstanceCapacity"]);
    // 11 addresses in the small subnet, and the rest from the next override.
    let sets = texts(&answer, "instanceIds");
    assert_eq!(sets.iter().map(|set| set.matches("<item>").count()).collect::<Vec<_>>(), [11, 4]);
    assert_eq!(
        bench.all("DescribeInstances", "Filter.1.Name=instance-type&Filter.1.Value.1=c7i.xlarge", "instanceId").await.len(),
        4
    );
    let fleet = texts(&answer, "fleetId").remove(0);
    let shown = bench.ok("DescribeFleets", &format!("FleetId.1={fleet}")).await;
    assert_eq!(texts(&shown, "fulfilledCapacity"), ["15.0"]);
}

#[tokio::test]
async fn below_its_minimum_a_fleet_launches_nothing() {
    let bench = bench().await;
    let (vpc, _) = bench.network().await;
    let subnet = bench.first("CreateSubnet", &format!("VpcId={vpc}&CidrBlock=10.0.1.0/28"), "subnetId").await;
    let least = "OnDemandOptions.MinTargetCapacity=12&OnDemandOptions.SingleAvailabilityZone=true";
    let more = format!("{}{least}", overrides(1, "SubnetId", &subnet));
    let answer = bench.ok("CreateFleet", &form(12, &more)).await;
    assert_eq!(texts(&answer, "errorCode"), ["InsufficientFreeAddressesInSubnet"]);
    assert!(bench.all("DescribeInstances", "", "instanceId").await.is_empty());
    assert_eq!(bench.code("CreateFleet", &form(2, "OnDemandOptions.MinTargetCapacity=2")).await, "InvalidParameterCombination");
    let many = form(2, "OnDemandOptions.MinTargetCapacity=3&OnDemandOptions.SingleInstanceType=true");
    assert_eq!(bench.code("CreateFleet", &many).await, "InvalidParameterValue");
}

#[tokio::test]
async fn both_markets_and_weights_make_up_the_capacity() {
    let bench = bench().await;
    let more = [
        overrides(1, "InstanceType", "c7i.2xlarge"),
        overrides(1, "WeightedCapacity", "4"),
        "TargetCapacitySpecification.OnDemandTargetCapacity=4&TargetCapacitySpecification.DefaultTargetCapacityType=spot"
            .to_owned(),
    ];
    let answer = bench.ok("CreateFleet", &form(10, &more.concat())).await;
    assert_eq!(texts(&answer, "lifecycle"), ["on-demand", "spot"]);
    let spot = "Filter.1.Name=instance-lifecycle&Filter.1.Value.1=spot";
    assert_eq!(bench.all("DescribeInstances", spot, "instanceId").await.len(), 2);
    assert_eq!(bench.all("DescribeInstances", "", "instanceId").await.len(), 3);
    let cheap = format!("{}TargetCapacitySpecification.DefaultTargetCapacityType=spot", overrides(1, "MaxPrice", "0.0001"));
    let answer = bench.ok("CreateFleet", &form(1, &cheap)).await;
    assert_eq!(texts(&answer, "errorCode"), ["SpotMaxPriceTooLow"]);
}

#[tokio::test]
async fn a_fleet_token_launches_once() {
    let bench = bench().await;
    let call = form(1, "ClientToken=t");
    let fleet = bench.first("CreateFleet", &call, "fleetId").await;
    assert_eq!(bench.first("CreateFleet", &call, "fleetId").await, fleet);
    assert_eq!(bench.all("DescribeInstances", "", "instanceId").await.len(), 1);
    assert_eq!(bench.code("CreateFleet", &form(2, "ClientToken=t")).await, "IdempotentParameterMismatch");
}

#[tokio::test]
async fn other_types_and_what_is_not_built_are_refused_by_name() {
    let bench = bench().await;
    let call = form(1, "");
    for (call, code) in [
        (call.replace("Type=instant", "Type=maintain"), "UnsupportedOperation"),
        (call.replace("Type=instant&", ""), "UnsupportedOperation"),
        (call.replace("Type=instant", "Type=sudden"), "InvalidParameterValue"),
        (form(1, "ValidUntil=2030-01-01T00:00:00Z"), "UnsupportedOperation"),
        (form(1, &overrides(1, "InstanceRequirements.VCpuCount.Min", "2")), "UnsupportedOperation"),
        (form(1, &overrides(1, "InstanceTipe", "c7i.large")), "UnknownParameter"),
        (form(1, &overrides(1, "WeightedCapacity", "0")), "InvalidParameterValue"),
        (form(1, "TargetCapacitySpecification.OnDemandTargetCapacity=2"), "InvalidParameterCombination"),
        (call.replace("=web", "=none"), "InvalidLaunchTemplateName.NotFoundException"),
    ] {
        assert_eq!(bench.code("CreateFleet", &call).await, code, "{call}");
    }
    assert_eq!(bench.code("CreateFleet", &form(1, "DryRun=true")).await, "DryRunOperation");
}

#[tokio::test]
async fn a_deleted_fleet_takes_its_instances_with_it() {
    let bench = bench().await;
    let answer = bench.ok("CreateFleet", &form(2, "")).await;
    let fleet = texts(&answer, "fleetId").remove(0);
    let ids = bench.all("DescribeInstances", "", "instanceId").await;
    for id in &ids {
        bench.until_state(id, "running").await;
    }
    let kept = bench.ok("DeleteFleets", &format!("FleetId.1={fleet}&TerminateInstances=false")).await;
    assert_eq!(texts(&kept, "code"), ["fleetNotInDeletableState"]);
    let unknown = "fleet-01234567-89ab-cdef-0123-456789abcdef";
    let both = format!("FleetId.1={fleet}&FleetId.2={unknown}&TerminateInstances=true");
    let answer = bench.ok("DeleteFleets", &both).await;
    assert_eq!(texts(&answer, "currentFleetState"), ["deleted_terminating"]);
    assert_eq!(texts(&answer, "code"), ["fleetIdDoesNotExist"]);
    for id in &ids {
        bench.until_state(id, "terminated").await;
    }
    assert_eq!(bench.first("DescribeFleets", &format!("FleetId.1={fleet}"), "fleetState").await, "deleted");
    assert_eq!(bench.code("DeleteFleets", &format!("FleetId.1={fleet}")).await, "MissingParameter");
}

#[tokio::test]
async fn a_subnet_override_goes_into_the_templates_interface() {
    let bench = bench().await;
    let (vpc, subnet) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let version = format!(
        "LaunchTemplateName=web&SourceVersion=1&LaunchTemplateData.NetworkInterface.1.DeviceIndex=0\
         &LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1={group}"
    );
    bench.ok("CreateLaunchTemplateVersion", &version).await;
    bench.ok("ModifyLaunchTemplate", "LaunchTemplateName=web&SetDefaultVersion=2").await;
    bench.ok("CreateFleet", &form(1, &overrides(1, "SubnetId", &subnet))).await;
    let answer = bench.ok("DescribeInstances", "").await;
    assert_eq!((texts(&answer, "subnetId")[0].clone(), texts(&answer, "groupId")[0].clone()), (subnet, group));
}

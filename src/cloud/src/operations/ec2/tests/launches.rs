use std::time::Instant;

use super::bench::{BASE, Bench, texts};

#[tokio::test]
async fn a_launch_is_pending_first_and_running_once_booted() {
    let bench = Bench::new();
    let form = format!("ImageId={BASE}&InstanceType=c7i.xlarge&MinCount=3&MaxCount=3&UserData=aGk=");
    let answer = bench.ok("RunInstances", &form).await;
    let ids = texts(&answer, "instanceId");
    assert_eq!(texts(&answer, "amiLaunchIndex"), ["0", "1", "2"]);
    assert_eq!(texts(&answer, "reservationId").len(), 1);
    assert!(answer.contains("<name>pending</name>"));
    for id in &ids {
        bench.until_state(id, "running").await;
    }
    let boot = bench.boot(&ids[0]);
    assert_eq!((boot.cores, boot.subnet.prefix), (4, 20));
    assert!(boot.hostname.starts_with("ip-172-31-"));
    assert_eq!(bench.cloud.state().ec2.instance(&ids[0]).unwrap().user_data, b"hi");
    assert!(bench.did("ensure_base debian-13"));
    assert!(bench.did(&format!("create_root {} [\"debian-13\"]", ids[0])));
}

#[tokio::test]
async fn no_more_than_eight_nodes_boot_at_once() {
    let bench = Bench::new();
    bench.launch(40, "").await;
    assert_eq!(bench.most_boots_at_once(), 8);
}

#[tokio::test]
async fn a_launch_of_many_sets_the_firewall_a_few_times_at_most() {
    let bench = Bench::new();
    bench.launch(30, "").await;
    let sets = bench.deeds().iter().filter(|deed| deed.starts_with("set_firewall")).count();
    assert!(sets <= 3, "{sets} times");
}

#[tokio::test]
async fn launches_that_cannot_be_are_refused_with_the_right_code() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let form = |more: &str| format!("InstanceType=c7i.large&MinCount=1&MaxCount=1&ImageId={BASE}&SubnetId={subnet}&{more}");
    let cases = [
        ("ImageId=ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("ImageId=debian", "InvalidAMIID.Malformed"),
        ("InstanceType=c7i.gigantic", "InvalidParameterValue"),
        ("MinCount=2", "InvalidParameterCombination"),
        ("MaxCount=0", "InvalidParameterValue"),
        ("SubnetId=subnet-0123456789abcdef0", "InvalidSubnetID.NotFound"),
        ("SecurityGroupId.1=sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("Placement.GroupName=none", "InvalidPlacementGroup.Unknown"),
        ("KeyName=none", "InvalidKeyPair.NotFound"),
        ("UserData=%25%25", "InvalidUserData.Malformed"),
        ("PrivateIpAddress=10.0.0.3", "InvalidParameterValue"),
        ("PrivateIpAddress=10.0.0.255", "InvalidParameterValue"),
        ("PrivateIpAddress=10.0.1.9", "InvalidParameterValue"),
        ("PrivateIpAddress=10.0.0.9&MaxCount=2", "InvalidParameterCombination"),
        ("MinCount=252&MaxCount=252", "InsufficientFreeAddressesInSubnet"),
        ("CpuOptions.CoreCount=7&CpuOptions.ThreadsPerCore=1", "InvalidParameterValue"),
        ("CpuOptions.CoreCount=1", "InvalidParameterCombination"),
        ("NetworkInterface.1.DeviceIndex=0", "InvalidParameterCombination"),
        ("Placement.Tenancy=dedicated", "UnsupportedOperation"),
        ("KernelId=aki-1", "UnsupportedOperation"),
        ("KernelIdd=aki-1", "UnknownParameter"),
        ("MetadataOptions.HttpTokenz=required", "UnknownParameter"),
        ("MetadataOptions.HttpProtocolIpv6=enabled", "UnsupportedOperation"),
        ("TagSpecification.1.Foo=x", "UnknownParameter"),
        ("TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Kee=a", "UnknownParameter"),
        ("BlockDeviceMapping.1.Ebs.Sise=8", "UnknownParameter"),
        ("BlockDeviceMapping.1.Ebs.KmsKeyId=x", "UnsupportedOperation"),
        ("CapacityReservationSpecification.CapacityReservationPreference=capacity-reservations-only", "UnsupportedOperation"),
        ("CreditSpecification.CpuCredits=standard", "InstanceCreditSpecification.NotSupported"),
        ("InstanceMarketOptions.SpotOptions.MaxPrice=1", "InvalidParameterCombination"),
        ("Placement.PartitionNumber=1", "InvalidParameterCombination"),
        ("Placement.AvailabilityZoneId=use1-az9", "InvalidParameterValue"),
        ("ImageId=resolve:ssm:/none", "InvalidParameterValue"),
        ("Version=2014-10-01", "NoSuchVersion"),
        ("TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=a", "InvalidParameterValue"),
        ("TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=aws:a", "InvalidParameterValue"),
        ("LaunchTemplate.LaunchTemplateName=none", "InvalidLaunchTemplateName.NotFoundException"),
        ("BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.VolumeSize=1", "InvalidBlockDeviceMapping"),
        ("BlockDeviceMapping.1.DeviceName=/dev/sdf", "MissingParameter"),
        ("IamInstanceProfile.Arn=nonsense", "InvalidParameterValue"),
    ];
    for (more, code) in cases {
        assert_eq!(bench.code("RunInstances", &form(more)).await, code, "{more}");
        // Parameters are checked before the dry run ends.
        assert_eq!(bench.code("RunInstances", &form(&format!("{more}&DryRun=true"))).await, code, "{more}");
    }
    assert_eq!(bench.code("RunInstances", &form("DryRun=true")).await, "DryRunOperation");
    assert!(
        bench.all("DescribeInstances", &format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}"), "instanceId").await.is_empty()
    );
}

#[tokio::test]
async fn burstable_types_do_not_go_into_cluster_placement_groups() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=tight").await;
    let form = format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&Placement.GroupName=tight");
    assert_eq!(bench.code("RunInstances", &form).await, "InvalidParameterCombination");
}

#[tokio::test]
async fn user_data_of_more_than_16_kib_is_refused() {
    use base64::Engine as _;
    let bench = Bench::new();
    let encoded = |size: usize| base64::engine::general_purpose::STANDARD.encode(vec![b'a'; size]).replace('+', "%2B");
    let form = |size: usize| {
        format!("DryRun=true&ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&UserData={}", encoded(size))
    };
    assert_eq!(bench.code("RunInstances", &form(16_384)).await, "DryRunOperation");
    assert_eq!(bench.code("RunInstances", &form(16_385)).await, "InvalidParameterValue");
}

#[tokio::test]
async fn a_fixed_address_is_given_once() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let id = bench.launch(1, &format!("SubnetId={subnet}&PrivateIpAddress=10.0.0.4")).await.remove(0);
    assert_eq!(bench.boot(&id).address.to_string(), "10.0.0.4");
    let again = format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&SubnetId={subnet}&PrivateIpAddress=10.0.0.4");
    assert_eq!(bench.code("RunInstances", &again).await, "InvalidIPAddress.InUse");
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    bench.launch(1, &format!("SubnetId={subnet}&PrivateIpAddress=10.0.0.4")).await;
}

#[tokio::test]
async fn as_many_are_launched_as_fit_but_not_fewer_than_the_minimum() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let subnet = bench.first("CreateSubnet", &format!("VpcId={vpc}&CidrBlock=10.0.1.0/28"), "subnetId").await;
    let form = |least: u32, most: u32| {
        format!("ImageId={BASE}&InstanceType=t3.micro&SubnetId={subnet}&MinCount={least}&MaxCount={most}")
    };
    assert_eq!(bench.all("RunInstances", &form(5, 20), "instanceId").await.len(), 11);
    assert_eq!(bench.code("RunInstances", &form(1, 1)).await, "InsufficientFreeAddressesInSubnet");
}

#[tokio::test]
async fn a_client_token_launches_once() {
    let bench = Bench::new();
    let form = format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&ClientToken=t1");
    let id = bench.first("RunInstances", &form, "instanceId").await;
    assert_eq!(bench.first("RunInstances", &form, "instanceId").await, id);
    assert_eq!(bench.code("RunInstances", &form.replace("t3.micro", "t3.small")).await, "IdempotentParameterMismatch");
    bench.until_state(&id, "running").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    assert_eq!(bench.code("RunInstances", &form).await, "IdempotentInstanceTerminated");
}

#[tokio::test]
async fn a_repeat_finds_its_launch_though_image_and_template_are_gone() {
    let bench = Bench::new();
    let builder = bench.launch(1, "").await.remove(0);
    bench.ok("StopInstances", &format!("InstanceId.1={builder}")).await;
    bench.until_state(&builder, "stopped").await;
    let image = bench.first("CreateImage", &format!("InstanceId={builder}&Name=mine"), "imageId").await;
    bench.until(|bench| bench.cloud.state().ec2.images[&image].state.wire() == "available").await;
    let data = format!("LaunchTemplateName=web&LaunchTemplateData.InstanceType=t3.micro&LaunchTemplateData.ImageId={image}");
    bench.ok("CreateLaunchTemplate", &data).await;
    let form = "LaunchTemplate.LaunchTemplateName=web&MinCount=1&MaxCount=1&ClientToken=t1";
    let id = bench.first("RunInstances", form, "instanceId").await;
    bench.until_state(&id, "running").await;
    bench.ok("DeregisterImage", &format!("ImageId={image}")).await;
    assert_eq!(bench.first("RunInstances", form, "instanceId").await, id);
    bench.ok("DeleteLaunchTemplate", "LaunchTemplateName=web").await;
    assert_eq!(bench.first("RunInstances", form, "instanceId").await, id);
    let other = form.replace("MaxCount=1", "MaxCount=2");
    assert_eq!(bench.code("RunInstances", &other).await, "IdempotentParameterMismatch");
}

#[tokio::test]
async fn a_token_counts_in_the_zone_that_the_call_names() {
    let bench = Bench::new();
    let form = |zone: &str| {
        format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&ClientToken=t&Placement.AvailabilityZone={zone}")
    };
    let first = bench.first("RunInstances", &form("us-east-1a"), "instanceId").await;
    assert_ne!(bench.first("RunInstances", &form("us-east-1b"), "instanceId").await, first);
    assert_eq!(bench.first("RunInstances", &form("us-east-1a"), "instanceId").await, first);
    let by_id = format!("ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&Placement.AvailabilityZoneId=use1-az3");
    assert_eq!(bench.first("RunInstances", &by_id, "availabilityZone").await, "us-east-1c");
}

#[tokio::test]
async fn a_cluster_group_is_in_one_zone() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=tight").await;
    let form = |zone: &str| {
        format!(
            "ImageId={BASE}&InstanceType=c7i.large&MinCount=1&MaxCount=1&Placement.GroupName=tight&Placement.AvailabilityZone=us-east-1{zone}"
        )
    };
    bench.ok("RunInstances", &form("a")).await;
    bench.ok("RunInstances", &form("a")).await;
    assert_eq!(bench.code("RunInstances", &form("b")).await, "InvalidPlacementGroup.InUse");
}

#[tokio::test]
async fn a_spread_group_holds_seven_in_each_zone() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=wide&Strategy=spread").await;
    let form = |zone: &str, least: u32, most: u32| {
        format!(
            "ImageId={BASE}&InstanceType=c7i.large&MinCount={least}&MaxCount={most}&Placement.GroupName=wide&Placement.AvailabilityZone=us-east-1{zone}"
        )
    };
    assert_eq!(bench.code("RunInstances", &form("a", 8, 8)).await, "InsufficientInstanceCapacity");
    assert_eq!(bench.all("RunInstances", &form("a", 1, 9), "instanceId").await.len(), 7);
    assert_eq!(bench.code("RunInstances", &form("a", 1, 1)).await, "InsufficientInstanceCapacity");
    assert_eq!(bench.all("RunInstances", &form("b", 1, 1), "instanceId").await.len(), 1);
}

#[tokio::test]
async fn partitions_fill_evenly_unless_one_is_asked_for() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=racks&Strategy=partition&PartitionCount=3").await;
    let form = |more: &str, count: u32| {
        format!("ImageId={BASE}&InstanceType=c7i.large&MinCount={count}&MaxCount={count}&Placement.GroupName=racks{more}")
    };
    assert_eq!(bench.all("RunInstances", &form("", 4), "partitionNumber").await, ["1", "2", "3", "1"]);
    assert_eq!(bench.all("RunInstances", &form("&Placement.PartitionNumber=3", 2), "partitionNumber").await, ["3", "3"]);
    assert_eq!(bench.code("RunInstances", &form("&Placement.PartitionNumber=4", 1)).await, "InvalidParameterValue");
    let third = "Filter.1.Name=placement-partition-number&Filter.1.Value.1=3";
    assert_eq!(bench.all("DescribeInstances", third, "instanceId").await.len(), 3);
}

#[tokio::test]
async fn an_image_may_be_named_by_a_parameter() {
    let bench = Bench::new();
    let name = "resolve:ssm:/aws/service/debian/release/13/latest/amd64";
    let form = |image: &str| format!("ImageId={image}&InstanceType=t3.micro&MinCount=1&MaxCount=1");
    assert_eq!(bench.first("RunInstances", &form(name), "imageId").await, BASE);
    let data = format!("LaunchTemplateName=web&LaunchTemplateData.ImageId={name}&LaunchTemplateData.InstanceType=t3.micro");
    bench.ok("CreateLaunchTemplate", &data).await;
    let launch = "LaunchTemplate.LaunchTemplateName=web&MinCount=1&MaxCount=1";
    assert_eq!(bench.first("RunInstances", launch, "imageId").await, BASE);
    let shown = "LaunchTemplateName=web";
    assert_eq!(bench.first("DescribeLaunchTemplateVersions", shown, "imageId").await, name);
    let resolved = "LaunchTemplateName=web&ResolveAlias=true";
    assert_eq!(bench.first("DescribeLaunchTemplateVersions", resolved, "imageId").await, BASE);
}

#[tokio::test]
async fn an_image_without_a_base_is_a_record_that_no_node_boots_from() {
    let bench = Bench::new();
    let name = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let form = format!("ImageId={name}&InstanceType=t3.micro&MinCount=1&MaxCount=1");
    assert_eq!(bench.code("RunInstances", &form).await, "UnsupportedOperation");
    let owned = bench.all("DescribeImages", "Owner.1=137112412989", "name").await;
    assert!(owned[0].starts_with("al2023-ami-"), "{owned:?}");
}

#[tokio::test]
async fn a_fixed_address_and_a_client_token_can_be_repeated() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let form = format!(
        "ImageId={BASE}&InstanceType=t3.micro&MinCount=1&MaxCount=1&SubnetId={subnet}&PrivateIpAddress=10.0.0.4&ClientToken=t1"
    );
    let id = bench.first("RunInstances", &form, "instanceId").await;
    assert_eq!(bench.first("RunInstances", &form, "instanceId").await, id);
}

#[tokio::test]
async fn a_launch_template_fills_what_the_call_leaves_out() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let data = format!(
        "LaunchTemplateData.ImageId={BASE}&LaunchTemplateData.InstanceType=c7i.large&LaunchTemplateData.UserData=aGk=\
         &LaunchTemplateData.NetworkInterface.1.DeviceIndex=0&LaunchTemplateData.NetworkInterface.1.SubnetId={subnet}\
         &LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1={group}\
         &LaunchTemplateData.TagSpecification.1.ResourceType=instance\
         &LaunchTemplateData.TagSpecification.1.Tag.1.Key=a&LaunchTemplateData.TagSpecification.1.Tag.1.Value=1"
    );
    let template = bench.first("CreateLaunchTemplate", &format!("LaunchTemplateName=web&{data}"), "launchTemplateId").await;
    let version = "LaunchTemplateName=web&SourceVersion=1&LaunchTemplateData.InstanceType=c7i.xlarge";
    assert_eq!(bench.first("CreateLaunchTemplateVersion", version, "versionNumber").await, "2");
    let launch = |version: &str| {
        format!(
            "MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateId={template}{version}\
                 &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=b&TagSpecification.1.Tag.1.Value=2"
        )
    };
    let answer = bench.ok("RunInstances", &launch("")).await;
    assert_eq!(texts(&answer, "instanceType"), ["c7i.large"]);
    assert_eq!(texts(&answer, "subnetId")[0], subnet);
    assert_eq!(texts(&answer, "groupId")[0], group);
    assert_eq!(texts(&answer, "key"), ["a", "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version", "b"]);
    let answer = bench.ok("RunInstances", &launch("&LaunchTemplate.Version=$Latest")).await;
    assert_eq!(texts(&answer, "instanceType"), ["c7i.xlarge"]);
    bench.ok("ModifyLaunchTemplate", "LaunchTemplateName=web&SetDefaultVersion=2").await;
    let answer = bench.ok("RunInstances", &launch("")).await;
    assert_eq!(texts(&answer, "instanceType"), ["c7i.xlarge"]);
    assert_eq!(bench.code("RunInstances", &launch("&LaunchTemplate.Version=9")).await, "InvalidLaunchTemplateId.VersionNotFound");
    let answer = bench.ok("DescribeLaunchTemplateVersions", &format!("LaunchTemplateId={template}")).await;
    assert_eq!(texts(&answer, "versionNumber"), ["1", "2"]);
    assert!(answer.contains(&format!("<groupSet><groupId>{group}</groupId></groupSet>")));
    assert!(answer.contains("<tagSpecificationSet><item><resourceType>instance</resourceType><tagSet><item><key>a</key>"));
    bench.ok("DeleteLaunchTemplate", &format!("LaunchTemplateId={template}")).await;
    assert_eq!(bench.code("RunInstances", &launch("")).await, "InvalidLaunchTemplateId.NotFound");
}

#[tokio::test]
async fn template_versions_go_one_by_one_and_numbers_never_come_back() {
    let bench = Bench::new();
    bench.ok("CreateLaunchTemplate", "LaunchTemplateName=web&LaunchTemplateData.InstanceType=c7i.large").await;
    for _ in 0..2 {
        let version = "LaunchTemplateName=web&SourceVersion=1&LaunchTemplateData.EbsOptimized=true";
        bench.ok("CreateLaunchTemplateVersion", version).await;
    }
    let delete = "LaunchTemplateName=web&LaunchTemplateVersion.1=1&LaunchTemplateVersion.2=3&LaunchTemplateVersion.3=9";
    let answer = bench.ok("DeleteLaunchTemplateVersions", delete).await;
    assert_eq!(texts(&answer, "versionNumber"), ["3", "1", "9"]);
    assert_eq!(texts(&answer, "code"), ["unexpectedError", "launchTemplateVersionDoesNotExist"]);
    assert_eq!(bench.all("DescribeLaunchTemplateVersions", "LaunchTemplateName=web", "versionNumber").await, ["1", "2"]);
    let next = "LaunchTemplateName=web&LaunchTemplateData.InstanceType=c7i.large";
    assert_eq!(bench.first("CreateLaunchTemplateVersion", next, "versionNumber").await, "4");
    let alias = "LaunchTemplateName=web&LaunchTemplateVersion.1=$Latest";
    assert_eq!(bench.code("DeleteLaunchTemplateVersions", alias).await, "InvalidParameterValue");
}

#[tokio::test]
async fn template_data_hold_what_a_launch_knows_and_nothing_else() {
    let bench = Bench::new();
    let code = |data: &str| format!("LaunchTemplateName=web&LaunchTemplateData.InstanceType=c7i.large&LaunchTemplateData.{data}");
    for (data, expected) in [
        ("InstanceTyp=c7i.large", "UnknownParameter"),
        ("MetadataOptions.Foo=x", "UnknownParameter"),
        ("NetworkInterface.DeviceIndex=0", "UnknownParameter"),
        ("InstanceRequirements.VCpuCount.Min=2", "UnsupportedOperation"),
        ("RamDiskId=ari-1", "UnsupportedOperation"),
    ] {
        assert_eq!(bench.code("CreateLaunchTemplate", &code(data)).await, expected, "{data}");
    }
}

#[tokio::test]
async fn an_instance_can_be_told_as_a_template() {
    let bench = Bench::new();
    let more = "InstanceInitiatedShutdownBehavior=terminate&UserData=aGk=&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1";
    let id = bench.launch(1, more).await.remove(0);
    let answer = bench.ok("GetLaunchTemplateData", &format!("InstanceId={id}")).await;
    for (element, value) in
        [("imageId", BASE), ("userData", "aGk="), ("instanceInitiatedShutdownBehavior", "terminate"), ("volumeType", "gp3")]
    {
        assert_eq!(texts(&answer, element), [value], "{element}");
    }
    assert!(answer.contains("<resourceType>instance</resourceType><tagSet><item><key>a</key><value>1</value>"), "{answer}");
}

#[tokio::test]
async fn template_names_are_unique_but_a_token_repeats() {
    let bench = Bench::new();
    let form = "LaunchTemplateName=web&LaunchTemplateData.InstanceType=c7i.large";
    let id = bench.first("CreateLaunchTemplate", &format!("{form}&ClientToken=t"), "launchTemplateId").await;
    assert_eq!(bench.first("CreateLaunchTemplate", &format!("{form}&ClientToken=t"), "launchTemplateId").await, id);
    assert_eq!(bench.code("CreateLaunchTemplate", form).await, "InvalidLaunchTemplateName.AlreadyExistsException");
}

#[tokio::test]
async fn nodes_with_share_tags_get_their_shared_folder_until_the_last_is_gone() {
    // Where the kernel mounts NFS by itself there is nothing to give.
    let kernel = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let needs_bind = !kernel.contains("nfs");
    let bench = Bench::new();
    let tags = "TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=app:shared&TagSpecification.1.Tag.1.Value=/shared\
                &TagSpecification.1.Tag.2.Key=app:cluster&TagSpecification.1.Tag.2.Value=demo";
    let ids = bench.launch(2, tags).await;
    let shares: Vec<String> = bench.boot(&ids[1]).shares.iter().map(|share| format!("{} {}", share.key, share.path)).collect();
    if !needs_bind {
        assert!(shares.is_empty());
        return;
    }
    assert_eq!(shares, ["demo/shared /shared"]);
    bench.ok("TerminateInstances", &format!("InstanceId.1={}", ids[0])).await;
    bench.until_state(&ids[0], "terminated").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={}", ids[1])).await;
    bench.until(|bench| bench.did("delete_share demo/shared")).await;
    let at = |deed: &str| bench.deeds().iter().position(|done| done == deed);
    assert!(at("delete_share demo/shared") > at(&format!("destroy {}", ids[1])));
}

#[tokio::test]
async fn a_thousand_instances_are_described_quickly() {
    let bench = Bench::new();
    let vpc = bench.first("DescribeVpcs", "", "vpcId").await;
    assert!(!vpc.is_empty());
    let form = format!(
        "ImageId={BASE}&InstanceType=t3.micro&MinCount=1000&MaxCount=1000&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v"
    );
    bench.ok("RunInstances", &form).await;
    let before = Instant::now();
    let found = bench.all("DescribeInstances", "Filter.1.Name=tag:k&Filter.1.Value.1=v", "instanceId").await;
    let took = before.elapsed();
    assert_eq!(found.len(), 1000);
    // Unoptimised builds take a tenth of this; a quadratic answer would take far longer.
    assert!(took.as_millis() < 2000, "{took:?}");
}

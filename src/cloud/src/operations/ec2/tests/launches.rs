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
        ("KernelId=aki-1", "UnknownParameter"),
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

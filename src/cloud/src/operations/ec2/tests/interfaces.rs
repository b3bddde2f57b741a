use super::bench::{BASE, Bench, texts};

/// An interface in the subnet, with these further parameters.
async fn interface(bench: &Bench, subnet: &str, more: &str) -> String {
    bench.first("CreateNetworkInterface", &format!("SubnetId={subnet}&{more}"), "networkInterfaceId").await
}

async fn status(bench: &Bench, id: &str) -> String {
    let answer = bench.ok("DescribeNetworkInterfaces", &format!("NetworkInterfaceId.1={id}")).await;
    // The attachment's status comes last.
    texts(&answer, "status").remove(0)
}

#[tokio::test]
async fn an_interface_has_the_addresses_that_were_asked_for() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let form = format!(
        "SubnetId={subnet}&PrivateIpAddresses.1.PrivateIpAddress=10.0.0.10&PrivateIpAddresses.1.Primary=true\
         &PrivateIpAddresses.2.PrivateIpAddress=10.0.0.11&Description=mine&ClientToken=one"
    );
    let answer = bench.ok("CreateNetworkInterface", &form).await;
    let id = texts(&answer, "networkInterfaceId").remove(0);
    assert_eq!(texts(&answer, "status"), ["pending"]);
    assert_eq!(texts(&answer, "primary"), ["true", "false"]);
    assert_eq!(bench.first("CreateNetworkInterface", &form, "networkInterfaceId").await, id);
    let other = form.replace("mine", "yours");
    assert_eq!(bench.code("CreateNetworkInterface", &other).await, "IdempotentParameterMismatch");
    assert_eq!(status(&bench, &id).await, "available");
    for (more, code) in [
        ("PrivateIpAddress=10.0.0.11", "InvalidIPAddress.InUse"),
        ("PrivateIpAddress=10.0.0.3", "InvalidParameterValue"),
        ("PrivateIpAddress=10.1.0.9", "InvalidParameterValue"),
        ("PrivateIpAddress=10.0.0.20&PrivateIpAddresses.1.PrivateIpAddress=10.0.0.20", "InvalidParameterValue"),
        (
            "PrivateIpAddress=10.0.0.20&PrivateIpAddresses.1.PrivateIpAddress=10.0.0.21&PrivateIpAddresses.1.Primary=true",
            "InvalidParameterCombination",
        ),
        ("PrivateIpAddresses.1.PrivateIpAddress=10.0.0.20&SecondaryPrivateIpAddressCount=1", "InvalidParameterCombination"),
        ("SecondaryPrivateIpAddressCount=51", "InvalidParameterValue"),
        ("InterfaceType=trunk", "UnsupportedOperation"),
        ("Ipv6AddressCount=1", "UnsupportedOperation"),
        ("Ipv6AddressCount=0&PrivateIpAddress=10.0.0.11", "InvalidIPAddress.InUse"),
        ("Nonsense=1", "UnknownParameter"),
        ("SecurityGroupId.1=sg-00000000000000000", "InvalidGroup.NotFound"),
    ] {
        assert_eq!(bench.code("CreateNetworkInterface", &format!("SubnetId={subnet}&{more}")).await, code, "{more}");
    }
    let free = bench.first("DescribeSubnets", &format!("SubnetId.1={subnet}"), "availableIpAddressCount").await;
    assert_eq!(free, "249");
    let fixed =
        format!("ImageId={BASE}&InstanceType=c7i.large&MinCount=1&MaxCount=1&SubnetId={subnet}&PrivateIpAddress=10.0.0.11");
    assert_eq!(bench.code("RunInstances", &fixed).await, "InvalidIPAddress.InUse");
}

#[tokio::test]
async fn what_has_an_interface_cannot_be_deleted() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=g&VpcId={vpc}"), "groupId").await;
    let id = interface(&bench, &subnet, &format!("SecurityGroupId.1={group}")).await;
    let violation = "DependencyViolation";
    assert_eq!(bench.code("DeleteSubnet", &format!("SubnetId={subnet}")).await, violation);
    assert_eq!(bench.code("DeleteSecurityGroup", &format!("GroupId={group}")).await, violation);
    assert_eq!(bench.code("DeleteVpc", &format!("VpcId={vpc}")).await, violation);
    bench.ok("DeleteNetworkInterface", &format!("NetworkInterfaceId={id}")).await;
    let missing = "InvalidNetworkInterfaceID.NotFound";
    assert_eq!(bench.code("DeleteNetworkInterface", &format!("NetworkInterfaceId={id}")).await, missing);
    bench.ok("DeleteSecurityGroup", &format!("GroupId={group}")).await;
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    bench.ok("DeleteVpc", &format!("VpcId={vpc}")).await;
}

#[tokio::test]
async fn an_interface_is_attached_once_and_within_the_types_limit() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let instance = bench.launch(1, &format!("SubnetId={subnet}")).await.remove(0);
    let id = interface(&bench, &subnet, "").await;
    let form = |index: u32| format!("NetworkInterfaceId={id}&InstanceId={instance}&DeviceIndex={index}");
    assert_eq!(bench.code("AttachNetworkInterface", &form(0)).await, "InvalidParameterValue");
    // A c7i.large has three.
    assert_eq!(bench.code("AttachNetworkInterface", &form(3)).await, "AttachmentLimitExceeded");
    let attachment = bench.first("AttachNetworkInterface", &form(1), "attachmentId").await;
    assert_eq!(bench.code("AttachNetworkInterface", &form(2)).await, "InvalidNetworkInterface.InUse");
    let delete = format!("NetworkInterfaceId={id}");
    assert_eq!(bench.code("DeleteNetworkInterface", &delete).await, "InvalidNetworkInterface.InUse");
    assert_eq!(status(&bench, &id).await, "in-use");
    let shown = bench.ok("DescribeInstances", &format!("InstanceId.1={instance}")).await;
    assert_eq!(texts(&shown, "deviceIndex"), ["0", "1"]);
    // With two interfaces an instance is not enough to say which is meant.
    let groups = format!("InstanceId={instance}&SourceDestCheck.Value=false");
    assert_eq!(bench.code("ModifyInstanceAttribute", &groups).await, "InvalidInstanceID");
    bench.ok("DetachNetworkInterface", &format!("AttachmentId={attachment}")).await;
    assert_eq!(bench.code("DetachNetworkInterface", &format!("AttachmentId={attachment}")).await, "InvalidAttachmentID.NotFound");
    let first = texts(&shown, "attachmentId").remove(0);
    assert_eq!(bench.code("DetachNetworkInterface", &format!("AttachmentId={first}")).await, "OperationNotPermitted");
    bench.ok("DeleteNetworkInterface", &delete).await;
    let primary = texts(&shown, "networkInterfaceId").remove(0);
    let delete = format!("NetworkInterfaceId={primary}");
    assert_eq!(bench.code("DeleteNetworkInterface", &delete).await, "InvalidNetworkInterface.InUse");
}

#[tokio::test]
async fn interfaces_outlive_their_instance_as_their_attachment_says() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let instance = bench.launch(1, &format!("SubnetId={subnet}")).await.remove(0);
    let (stays, goes) = (interface(&bench, &subnet, "").await, interface(&bench, &subnet, "").await);
    for (id, index) in [(&stays, 1), (&goes, 2)] {
        let form = format!("NetworkInterfaceId={id}&InstanceId={instance}&DeviceIndex={index}");
        bench.ok("AttachNetworkInterface", &form).await;
    }
    let shown = bench.ok("DescribeInstances", &format!("InstanceId.1={instance}")).await;
    assert_eq!(texts(&shown, "networkInterfaceId").len(), 3);
    let (primary, attachments) = (texts(&shown, "networkInterfaceId").remove(0), texts(&shown, "attachmentId"));
    let change = |id: &str, attachment: &str, delete: bool| {
        format!("NetworkInterfaceId={id}&Attachment.AttachmentId={attachment}&Attachment.DeleteOnTermination={delete}")
    };
    let modify = "ModifyNetworkInterfaceAttribute";
    assert_eq!(bench.code(modify, &change(&goes, &attachments[0], true)).await, "InvalidAttachmentID.NotFound");
    bench.ok(modify, &change(&goes, &attachments[2], true)).await;
    bench.ok(modify, &change(&primary, &attachments[0], false)).await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={instance}")).await;
    bench.until_state(&instance, "terminated").await;
    let mut left =
        bench.all("DescribeNetworkInterfaces", "Filter.1.Name=status&Filter.1.Value.1=available", "networkInterfaceId").await;
    left.sort();
    let mut expected = vec![stays, primary];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn an_instance_is_launched_with_an_interface_that_is_there() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=g&VpcId={vpc}"), "groupId").await;
    let tag = "TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b";
    let more = format!("PrivateIpAddress=10.0.0.50&SecurityGroupId.1={group}&SecondaryPrivateIpAddressCount=1&{tag}");
    let id = interface(&bench, &subnet, &more).await;
    let form = |count: u32, more: &str| {
        format!(
            "ImageId={BASE}&InstanceType=c7i.large&MinCount={count}&MaxCount={count}\
             &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId={id}{more}"
        )
    };
    assert_eq!(bench.code("RunInstances", &form(2, "")).await, "InvalidParameterCombination");
    let with_subnet = format!("&NetworkInterface.1.SubnetId={subnet}");
    assert_eq!(bench.code("RunInstances", &form(1, &with_subnet)).await, "InvalidParameterCombination");
    let instance = bench.first("RunInstances", &form(1, "&ClientToken=one"), "instanceId").await;
    bench.until_state(&instance, "running").await;
    // The same call once more finds what it made, not its interface taken.
    assert_eq!(bench.first("RunInstances", &form(1, "&ClientToken=one"), "instanceId").await, instance);
    assert_eq!(bench.boot(&instance).address.to_string(), "10.0.0.50");
    assert_eq!(bench.code("RunInstances", &form(1, "")).await, "InvalidNetworkInterface.InUse");
    let shown = bench.ok("DescribeNetworkInterfaces", &format!("NetworkInterfaceId.1={id}")).await;
    assert_eq!(texts(&shown, "groupId"), std::slice::from_ref(&group));
    assert_eq!(texts(&shown, "primary"), ["true", "false"]);
    // Made by itself, it stays by default.
    assert_eq!(texts(&shown, "deleteOnTermination"), ["false"]);
    bench.ok("TerminateInstances", &format!("InstanceId.1={instance}")).await;
    bench.until_state(&instance, "terminated").await;
    let after = bench.ok("DescribeNetworkInterfaces", &format!("NetworkInterfaceId.1={id}")).await;
    assert_eq!(texts(&after, "status"), ["available"]);
    assert_eq!(texts(&after, "key"), ["a"]);
    assert_eq!(texts(&after, "primary"), ["true", "false"]);
    // And serves another instance, with which it goes.
    let again = bench.first("RunInstances", &form(1, "&NetworkInterface.1.DeleteOnTermination=true"), "instanceId").await;
    bench.until_state(&again, "running").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={again}")).await;
    bench.until_state(&again, "terminated").await;
    let gone = bench.code("DescribeNetworkInterfaces", &format!("NetworkInterfaceId.1={id}")).await;
    assert_eq!(gone, "InvalidNetworkInterfaceID.NotFound");
}

#[tokio::test]
async fn an_interface_that_a_launch_makes_stays_if_the_launch_says_so() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let form = format!(
        "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={subnet}&NetworkInterface.1.DeleteOnTermination=false"
    );
    let instance = bench.launch(1, &form).await.remove(0);
    let id = bench.first("DescribeInstances", "", "networkInterfaceId").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={instance}")).await;
    bench.until_state(&instance, "terminated").await;
    assert_eq!(status(&bench, &id).await, "available");
    assert_eq!(bench.code("DeleteSubnet", &format!("SubnetId={subnet}")).await, "DependencyViolation");
    bench.ok("DeleteNetworkInterface", &format!("NetworkInterfaceId={id}")).await;
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
}

#[tokio::test]
async fn one_attribute_of_an_interface_changes_at_a_time() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let id = interface(&bench, &subnet, "").await;
    let modify = "ModifyNetworkInterfaceAttribute";
    let form = |more: &str| format!("NetworkInterfaceId={id}&{more}");
    let two = "Description.Value=x&SourceDestCheck.Value=false";
    assert_eq!(bench.code(modify, &form(two)).await, "InvalidParameterCombination");
    assert_eq!(bench.code(modify, &form("")).await, "MissingParameter");
    bench.ok(modify, &form("Description.Value=x")).await;
    bench.ok(modify, &form("SourceDestCheck.Value=false")).await;
    let read = |attribute: &str| form(&format!("Attribute={attribute}"));
    assert_eq!(bench.first("DescribeNetworkInterfaceAttribute", &read("description"), "value").await, "x");
    assert_eq!(bench.first("DescribeNetworkInterfaceAttribute", &read("sourceDestCheck"), "value").await, "false");
    bench.ok("ResetNetworkInterfaceAttribute", &form("SourceDestCheck=true")).await;
    assert_eq!(bench.first("DescribeNetworkInterfaceAttribute", &read("sourceDestCheck"), "value").await, "true");
    let mut groups = String::new();
    for number in 1..=6 {
        let form = format!("GroupName=g{number}&GroupDescription=g&VpcId={vpc}");
        let group = bench.first("CreateSecurityGroup", &form, "groupId").await;
        groups.push_str(&format!("SecurityGroupId.{number}={group}&"));
        let code = "SecurityGroupsPerInterfaceLimitExceeded";
        match number {
            6 => assert_eq!(bench.code(modify, &form_of(&id, &groups)).await, code),
            _ => drop(bench.ok(modify, &form_of(&id, &groups)).await),
        }
    }
    assert_eq!(bench.all("DescribeNetworkInterfaceAttribute", &read("groupSet"), "groupId").await.len(), 5);
}

fn form_of(id: &str, groups: &str) -> String {
    format!("NetworkInterfaceId={id}&{groups}")
}

#[tokio::test]
async fn secondary_addresses_come_go_and_move() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let (one, other) = (interface(&bench, &subnet, "").await, interface(&bench, &subnet, "").await);
    let assign = "AssignPrivateIpAddresses";
    let form = |id: &str, more: &str| format!("NetworkInterfaceId={id}&{more}");
    assert_eq!(bench.code(assign, &form(&one, "")).await, "MissingParameter");
    bench.ok(assign, &form(&one, "PrivateIpAddress.1=10.0.0.77")).await;
    assert_eq!(bench.code(assign, &form(&other, "PrivateIpAddress.1=10.0.0.77")).await, "InvalidIPAddress.InUse");
    let moved = form(&other, "PrivateIpAddress.1=10.0.0.77&AllowReassignment=true");
    assert_eq!(bench.code(assign, &format!("{moved}&DryRun=true")).await, "UnknownParameter");
    bench.ok(assign, &moved).await;
    let addresses = |id: String| {
        let bench = &bench;
        async move {
            let answer = bench.ok("DescribeNetworkInterfaces", &format!("NetworkInterfaceId.1={id}")).await;
            texts(&answer, "primary").len()
        }
    };
    assert_eq!((addresses(one.clone()).await, addresses(other.clone()).await), (1, 2));
    assert_eq!(bench.all(assign, &form(&one, "SecondaryPrivateIpAddressCount=2"), "privateIpAddress").await.len(), 2);
    let unassign = "UnassignPrivateIpAddresses";
    assert_eq!(bench.code(unassign, &form(&one, "PrivateIpAddress.1=10.0.0.77")).await, "InvalidParameterValue");
    bench.ok(unassign, &form(&other, "PrivateIpAddress.1=10.0.0.77")).await;
    assert_eq!((addresses(one).await, addresses(other).await), (3, 1));
}

#[tokio::test]
async fn an_efa_is_attached_to_a_stopped_instance_of_a_type_that_has_one() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let efa = interface(&bench, &subnet, "InterfaceType=efa").await;
    for (kind, code) in [("c7i.large", "InvalidParameterCombination"), ("c7i.48xlarge", "")] {
        let form = format!("ImageId={BASE}&InstanceType={kind}&MinCount=1&MaxCount=1&SubnetId={subnet}");
        let instance = bench.first("RunInstances", &form, "instanceId").await;
        bench.until_state(&instance, "running").await;
        let attach = format!("NetworkInterfaceId={efa}&InstanceId={instance}&DeviceIndex=1");
        assert_eq!(bench.code("AttachNetworkInterface", &attach).await, "IncorrectState", "{kind}");
        bench.ok("StopInstances", &format!("InstanceId.1={instance}")).await;
        bench.until_state(&instance, "stopped").await;
        match code {
            "" => drop(bench.ok("AttachNetworkInterface", &attach).await),
            code => assert_eq!(bench.code("AttachNetworkInterface", &attach).await, code, "{kind}"),
        }
    }
    let shown = bench.all("DescribeNetworkInterfaces", "Filter.1.Name=interface-type&Filter.1.Value.1=efa", "deviceIndex").await;
    assert_eq!(shown, ["1"]);
}

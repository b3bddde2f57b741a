use super::bench::{Bench, texts};

/// The public address of an instance, if it has one.
async fn public(bench: &Bench, id: &str) -> Option<String> {
    bench.all("DescribeInstances", &format!("InstanceId.1={id}"), "ipAddress").await.pop()
}

#[tokio::test]
async fn a_public_address_changes_with_each_start_and_is_none_while_stopped() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let first = public(&bench, &id).await.unwrap();
    let shown = bench.ok("DescribeInstances", &format!("InstanceId.1={id}")).await;
    let name = format!("ec2-{}.compute-1.amazonaws.com", first.replace('.', "-"));
    assert_eq!(texts(&shown, "dnsName"), [name]);
    assert_eq!(texts(&shown, "ipOwnerId"), ["amazon", "amazon"]);
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    assert_eq!(public(&bench, &id).await, None);
    assert!(bench.all("DescribeNetworkInterfaces", "", "publicIp").await.is_empty());
    bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "running").await;
    let second = public(&bench, &id).await.unwrap();
    assert_ne!(first, second);
    let found =
        bench.all("DescribeInstances", &format!("Filter.1.Name=ip-address&Filter.1.Value.1={second}"), "instanceId").await;
    assert_eq!(found, [id]);
}

#[tokio::test]
async fn only_who_asks_for_a_public_address_has_one() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let without = bench.launch(1, &format!("SubnetId={subnet}")).await.remove(0);
    assert_eq!(public(&bench, &without).await, None);
    let form = format!(
        "NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={subnet}&NetworkInterface.1.AssociatePublicIpAddress=true"
    );
    let ids = bench.launch(2, &form).await;
    assert_ne!(public(&bench, &ids[0]).await.unwrap(), public(&bench, &ids[1]).await.unwrap());
    // Names are for VPCs that have host names switched on.
    let shown = bench.ok("DescribeInstances", &format!("InstanceId.1={}", ids[0])).await;
    assert_eq!(texts(&shown, "dnsName"), [""]);
    // And it can be asked for later, and given back.
    let shown = bench.ok("DescribeInstances", &format!("InstanceId.1={without}")).await;
    let interface = texts(&shown, "networkInterfaceId").remove(0);
    let change = |on: bool| format!("NetworkInterfaceId={interface}&AssociatePublicIpAddress={on}");
    bench.ok("ModifyNetworkInterfaceAttribute", &change(true)).await;
    assert!(public(&bench, &without).await.is_some());
    bench.ok("ModifyNetworkInterfaceAttribute", &change(false)).await;
    assert_eq!(public(&bench, &without).await, None);
}

#[tokio::test]
async fn an_elastic_address_takes_the_place_of_the_own_one_and_gives_it_back() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let own = public(&bench, &id).await.unwrap();
    let made = bench.ok("AllocateAddress", "Domain=vpc").await;
    let (allocation, elastic) = (texts(&made, "allocationId").remove(0), texts(&made, "publicIp").remove(0));
    let form = format!("AllocationId={allocation}&InstanceId={id}");
    let association = bench.first("AssociateAddress", &form, "associationId").await;
    // Once more does no more.
    assert_eq!(bench.first("AssociateAddress", &form, "associationId").await, association);
    assert_eq!(public(&bench, &id).await.as_ref(), Some(&elastic));
    let shown = bench.ok("DescribeNetworkInterfaces", "").await;
    assert_eq!(texts(&shown, "allocationId").first(), Some(&allocation));
    let release = format!("AllocationId={allocation}");
    // It stays through a stop.
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    assert_eq!(public(&bench, &id).await.as_ref(), Some(&elastic));
    bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "running").await;
    assert_eq!(public(&bench, &id).await.as_ref(), Some(&elastic));
    for _ in 0..2 {
        bench.ok("DisassociateAddress", &format!("AssociationId={association}")).await;
    }
    let unknown = "AssociationId=eipassoc-00000000000000000";
    assert_eq!(bench.code("DisassociateAddress", unknown).await, "InvalidAssociationID.NotFound");
    let after = public(&bench, &id).await.unwrap();
    assert!(after != own && after != elastic, "{after}");
    bench.ok("ReleaseAddress", &release).await;
    assert_eq!(bench.code("ReleaseAddress", &release).await, "InvalidAllocationID.NotFound");
    assert_eq!(bench.code("ReleaseAddress", "PublicIp=192.0.2.1").await, "AuthFailure");
}

#[tokio::test]
async fn an_elastic_address_moves_unless_that_is_forbidden() {
    let bench = Bench::new();
    let ids = bench.launch(2, "").await;
    let allocation = bench.first("AllocateAddress", "", "allocationId").await;
    let form = |id: &str, more: &str| format!("AllocationId={allocation}&InstanceId={id}{more}");
    bench.ok("AssociateAddress", &form(&ids[0], "")).await;
    let stay = form(&ids[1], "&AllowReassociation=false");
    assert_eq!(bench.code("AssociateAddress", &stay).await, "Resource.AlreadyAssociated");
    bench.ok("AssociateAddress", &form(&ids[1], "")).await;
    let shown = bench.all("DescribeAddresses", &format!("AllocationId.1={allocation}"), "instanceId").await;
    assert_eq!(shown, [ids[1].clone()]);
    // The former holder has one by itself again.
    assert!(public(&bench, &ids[0]).await.is_some());
    // What was there before gives way, and stays allocated.
    let other = bench.first("AllocateAddress", "", "allocationId").await;
    bench.ok("AssociateAddress", &format!("AllocationId={other}&InstanceId={}", ids[1])).await;
    let associated = "Filter.1.Name=instance-id&Filter.1.Value.1=i-*";
    assert_eq!(bench.all("DescribeAddresses", associated, "allocationId").await, std::slice::from_ref(&other));
    bench.ok("TerminateInstances", &format!("InstanceId.1={}", ids[1])).await;
    bench.until_state(&ids[1], "terminated").await;
    assert!(bench.all("DescribeAddresses", "", "associationId").await.is_empty());
    bench.ok("ReleaseAddress", &format!("AllocationId={allocation}")).await;
    // In the default VPC a release takes the address off by itself.
    bench.ok("AssociateAddress", &format!("AllocationId={other}&InstanceId={}", ids[0])).await;
    bench.ok("ReleaseAddress", &format!("AllocationId={other}")).await;
    assert!(public(&bench, &ids[0]).await.is_some());
}

#[tokio::test]
async fn an_elastic_address_moves_along_with_its_secondary_one() {
    let bench = Bench::new();
    let subnet = bench.first("DescribeSubnets", "", "subnetId").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(bench.first("CreateNetworkInterface", &format!("SubnetId={subnet}"), "networkInterfaceId").await);
    }
    let assign = |id: &str, more: &str| format!("NetworkInterfaceId={id}&{more}");
    let address =
        bench.first("AssignPrivateIpAddresses", &assign(&ids[0], "SecondaryPrivateIpAddressCount=1"), "privateIpAddress").await;
    let allocation = bench.first("AllocateAddress", "", "allocationId").await;
    let form = format!("AllocationId={allocation}&NetworkInterfaceId={}&PrivateIpAddress={address}", ids[0]);
    bench.ok("AssociateAddress", &form).await;
    let moved = assign(&ids[1], &format!("PrivateIpAddress.1={address}&AllowReassignment=true"));
    bench.ok("AssignPrivateIpAddresses", &moved).await;
    assert_eq!(bench.all("DescribeAddresses", "", "networkInterfaceId").await, [ids[1].clone()]);
    bench.ok("UnassignPrivateIpAddresses", &assign(&ids[1], &format!("PrivateIpAddress.1={address}"))).await;
    assert!(bench.all("DescribeAddresses", "", "associationId").await.is_empty());
}

#[tokio::test]
async fn elastic_addresses_need_a_gateway_and_hold_it_fast() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let interface = bench.first("CreateNetworkInterface", &format!("SubnetId={subnet}"), "networkInterfaceId").await;
    let allocation = bench.first("AllocateAddress", "", "allocationId").await;
    let form = format!("AllocationId={allocation}&NetworkInterfaceId={interface}");
    assert_eq!(bench.code("AssociateAddress", &form).await, "Gateway.NotAttached");
    let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
    let attachment = format!("InternetGatewayId={gateway}&VpcId={vpc}");
    bench.ok("AttachInternetGateway", &attachment).await;
    let association = bench.first("AssociateAddress", &form, "associationId").await;
    assert_eq!(bench.code("DetachInternetGateway", &attachment).await, "DependencyViolation");
    assert_eq!(bench.code("ReleaseAddress", &format!("AllocationId={allocation}")).await, "InvalidIPAddress.InUse");
    bench.ok("DisassociateAddress", &format!("AssociationId={association}")).await;
    bench.ok("DetachInternetGateway", &attachment).await;
}

#[tokio::test]
async fn there_are_five_elastic_addresses() {
    let bench = Bench::new();
    for _ in 0..5 {
        bench.ok("AllocateAddress", "TagSpecification.1.ResourceType=elastic-ip&TagSpecification.1.Tag.1.Key=a").await;
    }
    assert_eq!(bench.code("AllocateAddress", "").await, "AddressLimitExceeded");
    assert_eq!(bench.all("DescribeAddresses", "Filter.1.Name=tag-key&Filter.1.Value.1=a", "publicIp").await.len(), 5);
    assert_eq!(bench.code("DescribeAddresses", "PublicIp.1=192.0.2.1").await, "InvalidAddress.NotFound");
    assert_eq!(bench.code("AllocateAddress", "Domain=standard").await, "UnsupportedOperation");
}

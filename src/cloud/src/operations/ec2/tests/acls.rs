use super::bench::{Bench, texts};

#[tokio::test]
async fn every_vpc_has_a_default_acl_that_allows_everything() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let filter = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    let shown = bench.ok("DescribeNetworkAcls", &filter).await;
    assert_eq!(texts(&shown, "default"), ["true"]);
    assert_eq!(texts(&shown, "ruleAction"), ["allow", "deny", "allow", "deny"]);
    assert_eq!(texts(&shown, "subnetId"), [subnet]);
    let id = texts(&shown, "networkAclId").remove(0);
    assert_eq!(bench.code("DeleteNetworkAcl", &format!("NetworkAclId={id}")).await, "InvalidParameterValue");
    bench.ok("CreateTags", &format!("ResourceId.1={id}&Tag.1.Key=a&Tag.1.Value=b")).await;
    assert_eq!(bench.all("DescribeNetworkAcls", &filter, "key").await, ["a"]);
}

#[tokio::test]
async fn entries_are_unique_by_number_and_direction() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let id = bench.first("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAclId").await;
    let form = |more: &str| format!("NetworkAclId={id}&RuleNumber=100&Egress=false&Protocol=tcp&RuleAction=allow&{more}");
    let good = form("CidrBlock=10.1.2.3/8&PortRange.From=22&PortRange.To=22");
    assert_eq!(bench.code("ReplaceNetworkAclEntry", &good).await, "InvalidNetworkAclEntry.NotFound");
    assert_eq!(bench.code("CreateNetworkAclEntry", &form("CidrBlock=10.0.0.0/8")).await, "MissingParameter");
    assert_eq!(bench.code("CreateNetworkAclEntry", &form("PortRange.From=22&PortRange.To=22")).await, "MissingParameter");
    let last = good.replace("RuleNumber=100", "RuleNumber=32767");
    assert_eq!(bench.code("CreateNetworkAclEntry", &last).await, "InvalidParameterValue");
    bench.ok("CreateNetworkAclEntry", &good).await;
    assert_eq!(bench.code("CreateNetworkAclEntry", &good).await, "NetworkAclEntryAlreadyExists");
    bench.ok("ReplaceNetworkAclEntry", &good.replace("allow", "deny")).await;
    let shown = bench.ok("DescribeNetworkAcls", &format!("NetworkAclId.1={id}")).await;
    assert_eq!(texts(&shown, "cidrBlock"), ["0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"]);
    assert_eq!(texts(&shown, "ruleAction"), ["deny", "deny", "deny"]);
    assert_eq!(texts(&shown, "protocol"), ["-1", "6", "-1"]);
    let entry = format!("NetworkAclId={id}&RuleNumber=100&Egress=false");
    bench.ok("DeleteNetworkAclEntry", &entry).await;
    assert_eq!(bench.code("DeleteNetworkAclEntry", &entry).await, "InvalidNetworkAclEntry.NotFound");
    for number in 1..=20 {
        bench.ok("CreateNetworkAclEntry", &good.replace("=100", &format!("={number}"))).await;
    }
    assert_eq!(bench.code("CreateNetworkAclEntry", &good).await, "NetworkAclEntryLimitExceeded");
}

#[tokio::test]
async fn a_subnet_moves_from_one_acl_to_another() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let by_subnet = format!("Filter.1.Name=association.subnet-id&Filter.1.Value.1={subnet}");
    let shown = bench.ok("DescribeNetworkAcls", &by_subnet).await;
    let (association, default) = (texts(&shown, "networkAclAssociationId").remove(0), texts(&shown, "networkAclId").remove(0));
    let id = bench.first("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAclId").await;
    let form = format!("AssociationId={association}&NetworkAclId={id}");
    let moved = bench.first("ReplaceNetworkAclAssociation", &form, "newAssociationId").await;
    // Once more does no more.
    assert_eq!(bench.first("ReplaceNetworkAclAssociation", &form, "newAssociationId").await, moved);
    let back = format!("AssociationId={association}&NetworkAclId={default}");
    assert_eq!(bench.code("ReplaceNetworkAclAssociation", &back).await, "InvalidAssociationID.NotFound");
    assert_eq!(bench.first("DescribeNetworkAcls", &by_subnet, "networkAclId").await, id);
    assert_eq!(bench.code("DeleteNetworkAcl", &format!("NetworkAclId={id}")).await, "DependencyViolation");
    assert_eq!(bench.code("DeleteVpc", &format!("VpcId={vpc}")).await, "DependencyViolation");
    bench.ok("ReplaceNetworkAclAssociation", &format!("AssociationId={moved}&NetworkAclId={default}")).await;
    bench.ok("DeleteNetworkAcl", &format!("NetworkAclId={id}")).await;
    let foreign = bench.first("CreateVpc", "CidrBlock=10.9.0.0/16", "vpcId").await;
    let foreign = bench.first("CreateNetworkAcl", &format!("VpcId={foreign}"), "networkAclId").await;
    let association = bench.first("DescribeNetworkAcls", &by_subnet, "networkAclAssociationId").await;
    let form = format!("AssociationId={association}&NetworkAclId={foreign}");
    assert_eq!(bench.code("ReplaceNetworkAclAssociation", &form).await, "InvalidParameterValue");
}

#[tokio::test]
async fn a_default_vpc_is_made_anew_once_it_is_gone() {
    let bench = Bench::new();
    let vpc = bench.first("DescribeVpcs", "", "vpcId").await;
    assert_eq!(bench.code("CreateDefaultVpc", "").await, "DefaultVpcAlreadyExists");
    let subnets = bench.all("DescribeSubnets", "", "subnetId").await;
    let zone = "AvailabilityZone=us-east-1b";
    assert_eq!(bench.code("CreateDefaultSubnet", zone).await, "DefaultSubnetAlreadyExistsInAvailabilityZone");
    for subnet in subnets {
        bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    }
    assert_eq!(bench.first("CreateDefaultSubnet", zone, "cidrBlock").await, "172.31.16.0/20");
    let subnet = bench.first("DescribeSubnets", "", "subnetId").await;
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    let gateway = bench.first("DescribeInternetGateways", "", "internetGatewayId").await;
    bench.ok("DetachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    bench.ok("DeleteVpc", &format!("VpcId={vpc}")).await;
    assert_eq!(bench.code("CreateDefaultSubnet", zone).await, "DefaultVpcDoesNotExist");
    assert_eq!(bench.first("CreateDefaultVpc", "", "isDefault").await, "true");
    assert_eq!(bench.all("DescribeSubnets", "", "defaultForAz").await, ["true", "true", "true"]);
    bench.launch(1, "").await;
}

#[tokio::test]
async fn every_vpc_has_the_one_set_of_dhcp_options() {
    let bench = Bench::new();
    let id = bench.first("DescribeVpcs", "", "dhcpOptionsId").await;
    let shown = bench.ok("DescribeDhcpOptions", &format!("DhcpOptionsId.1={id}")).await;
    assert_eq!(texts(&shown, "key"), ["domain-name", "domain-name-servers"]);
    assert_eq!(bench.code("DescribeDhcpOptions", "DhcpOptionsId.1=dopt-1").await, "InvalidDhcpOptionID.NotFound");
}

use super::bench::{Bench, texts};

#[tokio::test]
async fn a_default_vpc_with_a_subnet_in_each_zone_exists_from_the_start() {
    let bench = Bench::new();
    let vpc = bench.first("DescribeVpcs", "Filter.1.Name=is-default&Filter.1.Value.1=true", "vpcId").await;
    let zones = bench.all("DescribeSubnets", &format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}"), "availabilityZone").await;
    assert_eq!(zones.len(), 3);
    let routes =
        bench.all("DescribeRouteTables", &format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}"), "destinationCidrBlock").await;
    assert_eq!(routes, ["172.31.0.0/16", "0.0.0.0/0"]);
    let free = bench.all("DescribeSubnets", "", "availableIpAddressCount").await;
    assert_eq!(free, ["4091", "4091", "4091"]);
}

#[tokio::test]
async fn every_vpc_has_a_main_route_table_and_a_default_group_which_go_with_it() {
    let bench = Bench::new();
    let vpc = bench.first("CreateVpc", "CidrBlock=10.1.2.3/16", "vpcId").await;
    let filter = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    assert_eq!(bench.first("DescribeVpcs", &filter, "cidrBlock").await, "10.1.0.0/16");
    for name in ["cidr", "cidr-block"] {
        let by_cidr = format!("Filter.1.Name={name}&Filter.1.Value.1=10.1.0.0/16");
        assert_eq!(bench.all("DescribeVpcs", &by_cidr, "vpcId").await, [vpc.as_str()], "{name}");
    }
    assert_eq!(bench.all("DescribeRouteTables", &filter, "main").await, ["true"]);
    assert_eq!(bench.all("DescribeSecurityGroups", &filter, "groupName").await, ["default"]);
    bench.ok("DeleteVpc", &format!("VpcId={vpc}")).await;
    assert!(bench.all("DescribeSecurityGroups", &filter, "groupName").await.is_empty());
    assert_eq!(bench.code("DescribeVpcs", &format!("VpcId.1={vpc}")).await, "InvalidVpcID.NotFound");
}

#[tokio::test]
async fn deletion_is_refused_while_something_depends() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
    bench.ok("AttachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    let id = bench.launch(1, &format!("SubnetId={subnet}")).await.remove(0);
    let violation = "DependencyViolation";
    assert_eq!(bench.code("DeleteSubnet", &format!("SubnetId={subnet}")).await, violation);
    assert_eq!(bench.code("DeleteVpc", &format!("VpcId={vpc}")).await, violation);
    assert_eq!(bench.code("DeleteInternetGateway", &format!("InternetGatewayId={gateway}")).await, violation);
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    assert_eq!(bench.code("DeleteVpc", &format!("VpcId={vpc}")).await, violation);
    bench.ok("DetachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    bench.ok("DeleteInternetGateway", &format!("InternetGatewayId={gateway}")).await;
    bench.ok("DeleteVpc", &format!("VpcId={vpc}")).await;
    bench.until(|bench| bench.did(&format!("remove_network {vpc}"))).await;
}

#[tokio::test]
async fn a_gateway_with_mapped_addresses_stays_attached() {
    let bench = Bench::new();
    let vpc = bench.first("DescribeVpcs", "", "vpcId").await;
    let gateway = bench.first("DescribeInternetGateways", "", "internetGatewayId").await;
    let id = bench.launch(1, "").await.remove(0);
    let form = format!("InternetGatewayId={gateway}&VpcId={vpc}");
    assert_eq!(bench.code("DetachInternetGateway", &form).await, "DependencyViolation");
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    bench.ok("DetachInternetGateway", &form).await;
}

#[tokio::test]
async fn subnets_lie_within_the_vpc_and_do_not_overlap() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let form = |cidr: &str| format!("VpcId={vpc}&CidrBlock={cidr}");
    assert_eq!(bench.code("CreateSubnet", &form("10.0.0.128/25")).await, "InvalidSubnet.Conflict");
    assert_eq!(bench.code("CreateSubnet", &form("10.1.0.0/24")).await, "InvalidSubnet.Range");
    assert_eq!(bench.code("CreateSubnet", &form("10.0.1.0/29")).await, "InvalidSubnet.Range");
    assert_eq!(bench.code("CreateSubnet", &form("nonsense")).await, "InvalidParameterValue");
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/8").await, "InvalidVpc.Range");
}

#[tokio::test]
async fn routes_lead_to_attached_gateways_and_open_the_network() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let table = bench.first("CreateRouteTable", &format!("VpcId={vpc}"), "routeTableId").await;
    let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
    let route = format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}");
    assert_eq!(bench.code("CreateRoute", &route).await, "InvalidParameterValue");
    bench.ok("AttachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    bench.ok("CreateRoute", &route).await;
    assert_eq!(bench.code("CreateRoute", &route).await, "RouteAlreadyExists");
    let association =
        bench.first("AssociateRouteTable", &format!("RouteTableId={table}&SubnetId={subnet}"), "associationId").await;
    assert_eq!(bench.code("DeleteRouteTable", &format!("RouteTableId={table}")).await, "DependencyViolation");
    bench.launch(1, &format!("SubnetId={subnet}")).await;
    assert!(bench.last_network().internet);
    bench.ok("DeleteRoute", &format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0")).await;
    assert!(!bench.last_network().internet);
    bench.ok("DisassociateRouteTable", &format!("AssociationId={association}")).await;
    bench.ok("DeleteRouteTable", &format!("RouteTableId={table}")).await;
}

#[tokio::test]
async fn a_route_whose_gateway_is_gone_is_a_black_hole() {
    let bench = Bench::new();
    let vpc = bench.first("DescribeVpcs", "", "vpcId").await;
    let gateway = bench.first("DescribeInternetGateways", "", "internetGatewayId").await;
    bench.ok("DetachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    let answer = bench.ok("DescribeRouteTables", "").await;
    assert!(texts(&answer, "state").contains(&"blackhole".to_owned()));
}

#[tokio::test]
async fn attributes_of_vpcs_and_subnets_read_back() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let read = format!("VpcId={vpc}&Attribute=enableDnsHostnames");
    assert_eq!(bench.first("DescribeVpcAttribute", &read, "value").await, "false");
    bench.ok("ModifyVpcAttribute", &format!("VpcId={vpc}&EnableDnsHostnames.Value=true")).await;
    assert_eq!(bench.first("DescribeVpcAttribute", &read, "value").await, "true");
    bench.ok("ModifySubnetAttribute", &format!("SubnetId={subnet}&MapPublicIpOnLaunch.Value=true")).await;
    let answer = bench.first("DescribeSubnets", &format!("SubnetId.1={subnet}"), "mapPublicIpOnLaunch").await;
    assert_eq!(answer, "true");
    bench.ok("ModifyVpcAttribute", &format!("VpcId={vpc}&EnableDnsHostnames.Value=false")).await;
    bench.ok("ModifyVpcAttribute", &format!("VpcId={vpc}&EnableDnsSupport.Value=false")).await;
    let hostnames = format!("VpcId={vpc}&EnableDnsHostnames.Value=true");
    assert_eq!(bench.code("ModifyVpcAttribute", &hostnames).await, "InvalidParameterCombination");
    let modify = "ModifySubnetAttribute";
    let form = |more: &str| format!("SubnetId={subnet}&{more}");
    let two = "MapPublicIpOnLaunch.Value=true&EnableDns64.Value=false";
    assert_eq!(bench.code(modify, &form(two)).await, "InvalidParameterCombination");
    assert_eq!(bench.code(modify, &form("EnableDns64.Value=true")).await, "UnsupportedOperation");
    bench.ok(modify, &form("PrivateDnsHostnameTypeOnLaunch=ip-name")).await;
    assert_eq!(bench.code(modify, &form("MapPublicIpOnLaunch.Value=true&DryRun=true")).await, "UnknownParameter");
}

#[tokio::test]
async fn placement_groups_have_unique_names_and_stay_while_in_use() {
    let bench = Bench::new();
    bench.ok("CreatePlacementGroup", "GroupName=tight&Strategy=cluster").await;
    assert_eq!(bench.code("CreatePlacementGroup", "GroupName=tight").await, "InvalidPlacementGroup.Duplicate");
    assert_eq!(bench.code("DescribePlacementGroups", "GroupName.1=loose").await, "InvalidPlacementGroup.Unknown");
    let id = bench.launch(1, "Placement.GroupName=tight").await.remove(0);
    assert_eq!(bench.code("DeletePlacementGroup", "GroupName=tight").await, "InvalidPlacementGroup.InUse");
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    bench.ok("DeletePlacementGroup", "GroupName=tight").await;
}

use super::bench::{Bench, texts};

/// Takes the clock's waiting away: what was made or deleted was so a minute ago.
fn age(bench: &Bench) {
    use jiff::ToSpan as _;
    let mut state = bench.cloud.state();
    for gateway in state.ec2.nat_gateways.values_mut() {
        gateway.created -= 1.minute();
        gateway.deleted = gateway.deleted.map(|at| at - 1.minute());
    }
    for endpoint in state.ec2.vpc_endpoints.values_mut() {
        endpoint.created -= 1.minute();
        endpoint.deleted = endpoint.deleted.map(|at| at - 1.minute());
    }
}

/// VPC, subnet, route table and a gateway of the VPC.
async fn ground(bench: &Bench) -> (String, String, String, String) {
    let (vpc, subnet) = bench.network().await;
    let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
    bench.ok("AttachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    let table = bench.first("CreateRouteTable", &format!("VpcId={vpc}"), "routeTableId").await;
    (vpc, subnet, table, gateway)
}

async fn state(bench: &Bench, id: &str) -> String {
    bench.first("DescribeNatGateways", &format!("NatGatewayId.1={id}"), "state").await
}

#[tokio::test]
async fn a_nat_gateway_comes_serves_a_route_and_goes() {
    let bench = Bench::new();
    let (vpc, subnet, table, internet) = ground(&bench).await;
    let allocation = bench.first("AllocateAddress", "", "allocationId").await;
    let form = format!("SubnetId={subnet}&AllocationId={allocation}&ClientToken=one");
    let id = bench.first("CreateNatGateway", &form, "natGatewayId").await;
    assert_eq!(bench.first("CreateNatGateway", &form, "natGatewayId").await, id);
    assert_eq!(state(&bench, &id).await, "pending");
    age(&bench);
    let shown = bench.ok("DescribeNatGateways", "Filter.1.Name=state&Filter.1.Value.1=available").await;
    assert_eq!(texts(&shown, "natGatewayId"), std::slice::from_ref(&id));
    let elastic = bench.first("DescribeAddresses", "", "publicIp").await;
    assert_eq!(texts(&shown, "publicIp"), [elastic]);
    let route = format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&NatGatewayId={id}");
    bench.ok("CreateRoute", &route).await;
    let routes = || bench.ok("DescribeRouteTables", "Filter.1.Name=route.nat-gateway-id&Filter.1.Value.1=nat-*");
    assert_eq!(texts(&routes().await, "state"), ["active", "active"]);
    // Its interface and its address are its own.
    let interface = bench
        .first("DescribeNetworkInterfaces", "Filter.1.Name=interface-type&Filter.1.Value.1=nat_gateway", "networkInterfaceId")
        .await;
    let delete = format!("NetworkInterfaceId={interface}");
    assert_eq!(bench.code("DeleteNetworkInterface", &delete).await, "InvalidNetworkInterface.InUse");
    assert_eq!(bench.code("ReleaseAddress", &format!("AllocationId={allocation}")).await, "InvalidIPAddress.InUse");
    let detach = format!("InternetGatewayId={internet}&VpcId={vpc}");
    assert_eq!(bench.code("DetachInternetGateway", &detach).await, "DependencyViolation");
    bench.ok("DeleteNatGateway", &format!("NatGatewayId={id}")).await;
    assert_eq!(state(&bench, &id).await, "deleting");
    assert_eq!(bench.code("DeleteSubnet", &format!("SubnetId={subnet}")).await, "DependencyViolation");
    age(&bench);
    assert_eq!(state(&bench, &id).await, "deleted");
    assert_eq!(texts(&routes().await, "state"), ["active", "blackhole"]);
    bench.ok("ReleaseAddress", &format!("AllocationId={allocation}")).await;
    bench.ok("DetachInternetGateway", &detach).await;
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    for _ in 0..10 {
        age(&bench);
    }
    let gone = bench.code("DescribeNatGateways", &format!("NatGatewayId.1={id}")).await;
    assert_eq!(gone, "NatGatewayNotFound");
}

#[tokio::test]
async fn a_nat_gateway_that_cannot_be_fails_and_says_why() {
    let bench = Bench::new();
    let (_, subnet) = bench.network().await;
    let allocation = bench.first("AllocateAddress", "", "allocationId").await;
    assert_eq!(bench.code("CreateNatGateway", &format!("SubnetId={subnet}")).await, "MissingParameter");
    let form = format!("SubnetId={subnet}&AllocationId={allocation}");
    let private = format!("{form}&ConnectivityType=private");
    assert_eq!(bench.code("CreateNatGateway", &private).await, "InvalidParameterCombination");
    let unknown = format!("SubnetId={subnet}&AllocationId=eipalloc-00000000000000000");
    assert_eq!(bench.code("CreateNatGateway", &unknown).await, "InvalidAllocationID.NotFound");
    let id = bench.first("CreateNatGateway", &form, "natGatewayId").await;
    age(&bench);
    assert_eq!(state(&bench, &id).await, "failed");
    assert_eq!(bench.all("DescribeNatGateways", "", "failureCode").await, ["Gateway.NotAttached"]);
    bench.ok("DeleteNatGateway", &format!("NatGatewayId={id}")).await;
    let private = format!("SubnetId={subnet}&ConnectivityType=private");
    let id = bench.first("CreateNatGateway", &private, "natGatewayId").await;
    age(&bench);
    assert_eq!(state(&bench, &id).await, "available");
}

#[tokio::test]
async fn a_gateway_endpoint_is_a_route_in_its_tables() {
    let bench = Bench::new();
    let (vpc, _, table, _) = ground(&bench).await;
    let form = format!("VpcId={vpc}&ServiceName=com.amazonaws.us-east-1.s3&RouteTableId.1={table}");
    let id = bench.first("CreateVpcEndpoint", &form, "vpcEndpointId").await;
    assert_eq!(bench.code("CreateVpcEndpoint", &form).await, "RouteAlreadyExists");
    let shown = bench.ok("DescribeRouteTables", &format!("RouteTableId.1={table}")).await;
    assert_eq!(texts(&shown, "destinationPrefixListId"), ["pl-63a5400a"]);
    assert_eq!(texts(&shown, "gatewayId"), ["local".to_owned(), id.clone()]);
    let route = format!("RouteTableId={table}&DestinationPrefixListId=pl-63a5400a");
    assert_eq!(bench.code("DeleteRoute", &route).await, "InvalidParameterValue");
    assert_eq!(
        bench.code("CreateRoute", &format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&VpcEndpointId={id}")).await,
        "InvalidParameterValue"
    );
    assert_eq!(bench.code("DeleteVpc", &format!("VpcId={vpc}")).await, "DependencyViolation");
    bench.ok("ModifyVpcEndpoint", &format!("VpcEndpointId={id}&RemoveRouteTableId.1={table}")).await;
    assert!(bench.all("DescribeRouteTables", "", "destinationPrefixListId").await.is_empty());
    bench.ok("ModifyVpcEndpoint", &format!("VpcEndpointId={id}&AddRouteTableId.1={table}")).await;
    bench.ok("DeleteVpcEndpoints", &format!("VpcEndpointId.1={id}")).await;
    assert!(bench.all("DescribeRouteTables", "", "destinationPrefixListId").await.is_empty());
    assert_eq!(bench.all("DescribeVpcEndpoints", "", "state").await, ["deleting"]);
    let again = bench.ok("DeleteVpcEndpoints", &format!("VpcEndpointId.1={id}")).await;
    assert_eq!(texts(&again, "code"), ["InvalidVpcEndpointId.NotFound"]);
}

#[tokio::test]
async fn an_interface_endpoint_has_an_interface_in_each_subnet() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let form = format!(
        "VpcId={vpc}&ServiceName=com.amazonaws.us-east-1.ssm&VpcEndpointType=Interface&SubnetId.1={subnet}&ClientToken=a"
    );
    let dns = format!("{form}&PrivateDnsEnabled=true").replace("ClientToken=a", "ClientToken=b");
    assert_eq!(bench.code("CreateVpcEndpoint", &dns).await, "InvalidParameter");
    let id = bench.first("CreateVpcEndpoint", &form, "vpcEndpointId").await;
    assert_eq!(bench.first("CreateVpcEndpoint", &form, "vpcEndpointId").await, id);
    assert_eq!(bench.all("DescribeVpcEndpoints", "", "state").await, ["pending"]);
    age(&bench);
    let shown = bench.ok("DescribeVpcEndpoints", &format!("VpcEndpointId.1={id}")).await;
    assert_eq!(texts(&shown, "state"), ["available"]);
    let interfaces = bench.all("DescribeNetworkInterfaces", "", "interfaceType").await;
    assert_eq!(interfaces, ["vpc_endpoint"]);
    assert_eq!(bench.code("DeleteSubnet", &format!("SubnetId={subnet}")).await, "DependencyViolation");
    let form = format!("VpcId={vpc}&CidrBlock=10.0.1.0/24&AvailabilityZone=us-east-1b");
    let second = bench.first("CreateSubnet", &form, "subnetId").await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=g&VpcId={vpc}"), "groupId").await;
    let modify = format!("VpcEndpointId={id}&AddSubnetId.1={second}&AddSecurityGroupId.1={group}");
    bench.ok("ModifyVpcEndpoint", &modify).await;
    let shown = bench.ok("DescribeNetworkInterfaces", &format!("Filter.1.Name=group-id&Filter.1.Value.1={group}")).await;
    assert_eq!(texts(&shown, "subnetId").len(), 2);
    let table = format!("VpcEndpointId={id}&AddRouteTableId.1=rtb-00000000000000000");
    assert_eq!(bench.code("ModifyVpcEndpoint", &table).await, "InvalidParameter");
    let modify = format!("VpcEndpointId={id}&RemoveSubnetId.1={second}&RemoveSecurityGroupId.1={group}");
    bench.ok("ModifyVpcEndpoint", &modify).await;
    assert_eq!(bench.all("DescribeNetworkInterfaces", "", "subnetId").await, std::slice::from_ref(&subnet));
    bench.ok("DeleteSecurityGroup", &format!("GroupId={group}")).await;
    bench.ok("DeleteSubnet", &format!("SubnetId={second}")).await;
    bench.ok("DeleteVpcEndpoints", &format!("VpcEndpointId.1={id}")).await;
    age(&bench);
    assert_eq!(bench.all("DescribeVpcEndpoints", "", "state").await, ["deleted"]);
    bench.ok("DeleteSubnet", &format!("SubnetId={subnet}")).await;
    bench.ok("DeleteVpc", &format!("VpcId={vpc}")).await;
}

#[tokio::test]
async fn endpoint_services_are_listed_by_kind() {
    let bench = Bench::new();
    let gateways = "Filter.1.Name=service-type&Filter.1.Value.1=Gateway";
    let shown = bench.ok("DescribeVpcEndpointServices", gateways).await;
    assert_eq!(texts(&shown, "serviceName"), ["com.amazonaws.us-east-1.dynamodb", "com.amazonaws.us-east-1.s3"]);
    let unknown = "ServiceName.1=com.amazonaws.us-east-1.nothing";
    assert_eq!(bench.code("DescribeVpcEndpointServices", unknown).await, "InvalidServiceName");
    let lists = bench.all("DescribePrefixLists", "", "prefixListName").await;
    assert_eq!(lists.len(), 2);
}

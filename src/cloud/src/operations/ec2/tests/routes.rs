use super::bench::{Bench, texts};

/// A table of the VPC.
async fn table(bench: &Bench, vpc: &str) -> String {
    bench.first("CreateRouteTable", &format!("VpcId={vpc}"), "routeTableId").await
}

#[tokio::test]
async fn a_route_leads_to_one_target_from_one_destination() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let table = table(&bench, &vpc).await;
    let interface = bench.first("CreateNetworkInterface", &format!("SubnetId={subnet}"), "networkInterfaceId").await;
    let form = |more: &str| format!("RouteTableId={table}&{more}");
    for (more, code) in [
        ("DestinationCidrBlock=192.168.0.0/16".to_owned(), "MissingParameter"),
        (format!("NetworkInterfaceId={interface}"), "MissingParameter"),
        (
            format!("DestinationCidrBlock=192.168.0.0/16&DestinationIpv6CidrBlock=::/0&NetworkInterfaceId={interface}"),
            "InvalidParameterCombination",
        ),
        (
            format!("DestinationCidrBlock=192.168.0.0/16&NetworkInterfaceId={interface}&NatGatewayId=nat-1"),
            "InvalidParameterCombination",
        ),
        (format!("DestinationCidrBlock=10.0.0.0/16&NetworkInterfaceId={interface}"), "InvalidParameterValue"),
        ("DestinationCidrBlock=0.0.0.0/0&NatGatewayId=nat-00000000000000000".to_owned(), "InvalidNatGatewayID.NotFound"),
        (format!("DestinationPrefixListId=pl-00000001&NetworkInterfaceId={interface}"), "InvalidPrefixListID.NotFound"),
        ("DestinationCidrBlock=0.0.0.0/0&TransitGatewayId=tgw-1".to_owned(), "UnsupportedOperation"),
    ] {
        assert_eq!(bench.code("CreateRoute", &form(&more)).await, code, "{more}");
    }
    bench.ok("CreateRoute", &form(&format!("DestinationIpv6CidrBlock=::/0&NetworkInterfaceId={interface}"))).await;
    bench.ok("CreateRoute", &form(&format!("DestinationCidrBlock=192.168.5.5/16&NetworkInterfaceId={interface}"))).await;
    let shown = bench.ok("DescribeRouteTables", &format!("RouteTableId.1={table}")).await;
    assert_eq!(texts(&shown, "destinationIpv6CidrBlock"), ["::/0"]);
    assert_eq!(texts(&shown, "destinationCidrBlock"), ["10.0.0.0/16", "192.168.0.0/16"]);
    // An interface that is attached to nothing takes no traffic.
    assert_eq!(texts(&shown, "state"), ["active", "blackhole", "blackhole",]);
    bench.ok("DeleteRoute", &form("DestinationIpv6CidrBlock=::/0")).await;
    bench.ok("DeleteNetworkInterface", &format!("NetworkInterfaceId={interface}")).await;
    let shown = bench.ok("DescribeRouteTables", &format!("RouteTableId.1={table}")).await;
    assert_eq!(texts(&shown, "state"), ["active", "blackhole"]);
}

#[tokio::test]
async fn a_route_is_replaced_in_its_place() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let table = table(&bench, &vpc).await;
    let instance = bench.launch(1, &format!("SubnetId={subnet}")).await.remove(0);
    let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
    bench.ok("AttachInternetGateway", &format!("InternetGatewayId={gateway}&VpcId={vpc}")).await;
    let form = |more: &str| format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&{more}");
    assert_eq!(bench.code("ReplaceRoute", &form(&format!("GatewayId={gateway}"))).await, "InvalidRoute.NotFound");
    bench.ok("CreateRoute", &form(&format!("GatewayId={gateway}"))).await;
    bench.ok("ReplaceRoute", &form(&format!("InstanceId={instance}"))).await;
    let shown = bench.ok("DescribeRouteTables", &format!("RouteTableId.1={table}")).await;
    assert_eq!(texts(&shown, "instanceId"), std::slice::from_ref(&instance));
    assert_eq!(texts(&shown, "gatewayId"), ["local"]);
    assert_eq!(texts(&shown, "state"), ["active", "active",]);
    bench.ok("TerminateInstances", &format!("InstanceId.1={instance}")).await;
    bench.until_state(&instance, "terminated").await;
    let shown = bench.ok("DescribeRouteTables", &format!("RouteTableId.1={table}")).await;
    assert_eq!(texts(&shown, "state"), ["active", "blackhole"]);
    let local = format!("RouteTableId={table}&DestinationCidrBlock=10.0.0.0/16");
    assert_eq!(bench.code("DeleteRoute", &local).await, "InvalidParameterValue");
}

#[tokio::test]
async fn an_association_moves_to_another_table_and_so_does_the_main_one() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let (one, other) = (table(&bench, &vpc).await, table(&bench, &vpc).await);
    let association = bench.first("AssociateRouteTable", &format!("RouteTableId={one}&SubnetId={subnet}"), "associationId").await;
    let replace = "ReplaceRouteTableAssociation";
    let moved = bench.first(replace, &format!("AssociationId={association}&RouteTableId={other}"), "newAssociationId").await;
    assert_ne!(moved, association);
    let form = format!("AssociationId={association}&RouteTableId={other}");
    assert_eq!(bench.code(replace, &form).await, "InvalidAssociationID.NotFound");
    bench.ok("DeleteRouteTable", &format!("RouteTableId={one}")).await;
    let filter = format!("Filter.1.Name=association.main&Filter.1.Value.1=true&Filter.2.Name=vpc-id&Filter.2.Value.1={vpc}");
    let shown = bench.ok("DescribeRouteTables", &filter).await;
    let (main, former) = (texts(&shown, "routeTableAssociationId").remove(0), texts(&shown, "routeTableId").remove(0));
    bench.ok(replace, &format!("AssociationId={main}&RouteTableId={other}")).await;
    assert_eq!(bench.first("DescribeRouteTables", &filter, "routeTableId").await, other);
    bench.ok("DeleteRouteTable", &format!("RouteTableId={former}")).await;
}

#[tokio::test]
async fn listings_of_route_tables_have_bounds_of_their_own() {
    let bench = Bench::new();
    assert_eq!(bench.code("DescribeRouteTables", "MaxResults=4").await, "InvalidParameterValue");
    assert_eq!(bench.code("DescribeRouteTables", "MaxResults=101").await, "InvalidParameterValue");
    bench.ok("DescribeRouteTables", "MaxResults=100").await;
}

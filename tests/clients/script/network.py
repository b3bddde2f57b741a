"""VPCs, subnets, gateways, route tables and network ACLs."""

from kit import scenario
from script.ground import ec2_of, filters, make_subnet, make_vpc, tagged


@scenario
def a_vpc_is_made_changed_and_deleted(cloud):
    ec2 = ec2_of(cloud)
    tags = tagged("vpc", Name="life", team="recsys")
    vpc = ec2("CreateVpc", CidrBlock="10.60.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    ec2.wait("VpcAvailable", VpcIds=[vpc])
    ec2("DescribeVpcs", Filters=filters(cidr="10.60.0.0/16", state="available"))
    ec2("DescribeVpcs", Filters=[{"Name": "tag:Name", "Values": ["li*"]}, {"Name": "vpc-id", "Values": [vpc]}])
    ec2("DescribeVpcs", Filters=filters(vpc_id=vpc, is_default="true"))
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        ec2("DescribeVpcAttribute", VpcId=vpc, Attribute=attribute)
    ec2("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    ec2("DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsHostnames")
    ec2("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={"Value": False})
    ec2("DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsSupport")
    ec2("DescribeRouteTables", Filters=filters(vpc_id=vpc))
    ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc))
    ec2("DescribeNetworkAcls", Filters=filters(vpc_id=vpc))
    ec2("DeleteVpc", VpcId=vpc)
    ec2.refused("InvalidVpcID.NotFound", "DescribeVpcs", VpcIds=[vpc])
    ec2.refused("InvalidVpcID.NotFound", "DeleteVpc", VpcId=vpc)


@scenario
def a_vpc_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    ec2.refused("DryRunOperation", "CreateVpc", CidrBlock="10.61.0.0/16", DryRun=True)
    ec2.refused("InvalidVpc.Range", "CreateVpc", CidrBlock="10.0.0.0/8")
    ec2.refused("InvalidVpc.Range", "CreateVpc", CidrBlock="10.61.0.0/29")
    ec2.refused("InvalidParameterValue", "CreateVpc", CidrBlock="ten")
    ec2.refused("MissingParameter", "CreateVpc")
    ec2.refused("InvalidVpcID.NotFound", "DescribeVpcs", VpcIds=["vpc-0123456789abcdef0"])
    ec2.refused("InvalidVpcID.Malformed", "DescribeVpcs", VpcIds=["network"])
    ec2.refused("InvalidParameterValue", "DescribeVpcs", Filters=filters(colour="red"))
    ec2.refused("InvalidVpcID.NotFound", "DeleteVpc", VpcId="vpc-0123456789abcdef0")
    vpc = make_vpc(ec2, "10.61.0.0/16")
    ec2.refused(
        "InvalidParameterCombination",
        "ModifyVpcAttribute",
        VpcId=vpc,
        EnableDnsHostnames={"Value": True},
        EnableDnsSupport={"Value": True},
    )
    ec2.refused("InvalidVpcID.NotFound", "ModifyVpcAttribute", VpcId="vpc-0123456789abcdef0", EnableDnsSupport={"Value": True})
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def the_default_vpc_is_ready_for_use(cloud):
    ec2 = ec2_of(cloud)
    vpcs = ec2("DescribeVpcs", Filters=filters(is_default="true"))["Vpcs"]
    vpc = vpcs[0]["VpcId"]
    ec2("DescribeSubnets", Filters=filters(vpc_id=vpc, availability_zone="us-east-1a", default_for_az="true"))
    ec2("DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsHostnames")
    ec2("DescribeInternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])
    ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc, group_name="default"))
    ec2("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}])
    ec2.refused("DefaultVpcAlreadyExists", "CreateDefaultVpc")


@scenario
def subnets_divide_a_vpc(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.62.0.0/16")
    tags = tagged("subnet", Name="first")
    ask = {"VpcId": vpc, "CidrBlock": "10.62.1.0/24", "AvailabilityZone": "us-east-1a", "TagSpecifications": tags}
    first = ec2("CreateSubnet", **ask)["Subnet"]["SubnetId"]
    ec2.wait("SubnetAvailable", SubnetIds=[first])
    second = make_subnet(ec2, vpc, "10.62.2.0/28", zone="us-east-1b")
    ec2("DescribeSubnets", Filters=filters(vpc_id=vpc))
    ec2("DescribeSubnets", Filters=filters(vpc_id=vpc, availability_zone="us-east-1b"))
    ec2("DescribeSubnets", Filters=[{"Name": "tag:Name", "Values": ["first"]}, {"Name": "vpc-id", "Values": [vpc]}])
    ec2("DescribeSubnets", Filters=filters(vpc_id=vpc, cidr_block="10.62.2.0/28"))
    ec2("DescribeSubnets", Filters=filters(vpc_id=vpc, state="pending"))
    ec2("ModifySubnetAttribute", SubnetId=first, MapPublicIpOnLaunch={"Value": True})
    ec2("DescribeSubnets", SubnetIds=[first])
    ec2.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    ec2("DeleteSubnet", SubnetId=second)
    ec2.refused("InvalidSubnetID.NotFound", "DescribeSubnets", SubnetIds=[first, second])
    ec2.refused("InvalidSubnetID.NotFound", "DeleteSubnet", SubnetId=second)
    ec2("DeleteSubnet", SubnetId=first)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def a_subnet_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.63.0.0/16")
    make_subnet(ec2, vpc, "10.63.1.0/24")
    ec2.refused("InvalidSubnet.Conflict", "CreateSubnet", VpcId=vpc, CidrBlock="10.63.1.128/25")
    ec2.refused("InvalidSubnet.Range", "CreateSubnet", VpcId=vpc, CidrBlock="10.64.1.0/24")
    ec2.refused("InvalidSubnet.Range", "CreateSubnet", VpcId=vpc, CidrBlock="10.63.2.0/29")
    ec2.refused("InvalidParameterValue", "CreateSubnet", VpcId=vpc, CidrBlock="subnet")
    ec2.refused("InvalidVpcID.NotFound", "CreateSubnet", VpcId="vpc-0123456789abcdef0", CidrBlock="10.63.3.0/24")
    unknown = {"VpcId": vpc, "CidrBlock": "10.63.3.0/24", "AvailabilityZone": "us-east-1q"}
    ec2.refused("InvalidParameterValue", "CreateSubnet", **unknown)
    ec2.refused("DryRunOperation", "CreateSubnet", VpcId=vpc, CidrBlock="10.63.4.0/24", DryRun=True)
    ec2.refused("InvalidSubnetID.NotFound", "DeleteSubnet", SubnetId="subnet-0123456789abcdef0")
    ec2.refused("InvalidSubnetID.NotFound", "DescribeSubnets", SubnetIds=["subnet-0123456789abcdef0"])
    change = {"SubnetId": "subnet-0123456789abcdef0", "MapPublicIpOnLaunch": {"Value": True}}
    ec2.refused("InvalidSubnetID.NotFound", "ModifySubnetAttribute", **change)


@scenario
def an_internet_gateway_is_attached_and_let_go(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.65.0.0/16")
    answer = ec2("CreateInternetGateway", TagSpecifications=tagged("internet-gateway", Name="way out"))
    gateway = answer["InternetGateway"]["InternetGatewayId"]
    ec2("DescribeInternetGateways", InternetGatewayIds=[gateway])
    ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    ec2("DescribeInternetGateways", InternetGatewayIds=[gateway])
    ec2("DescribeInternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])
    ec2("DescribeInternetGateways", Filters=[{"Name": "tag:Name", "Values": ["way out"]}])
    other = make_vpc(ec2, "10.66.0.0/16")
    ec2.refused("Resource.AlreadyAssociated", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=other)
    ec2.refused("DependencyViolation", "DeleteInternetGateway", InternetGatewayId=gateway)
    ec2.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    ec2("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    ec2.refused("Gateway.NotAttached", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    ec2("DeleteInternetGateway", InternetGatewayId=gateway)
    ec2.refused("InvalidInternetGatewayID.NotFound", "DescribeInternetGateways", InternetGatewayIds=[gateway])
    ec2.refused("InvalidInternetGatewayID.NotFound", "DeleteInternetGateway", InternetGatewayId=gateway)
    ec2.refused("InvalidInternetGatewayID.NotFound", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    ec2("DeleteVpc", VpcId=vpc)
    ec2("DeleteVpc", VpcId=other)


@scenario
def route_tables_send_traffic_on_its_way(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.67.0.0/16")
    subnet = make_subnet(ec2, vpc, "10.67.1.0/24")
    gateway = ec2("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    answer = ec2("CreateRouteTable", VpcId=vpc, TagSpecifications=tagged("route-table", Name="out"))
    table = answer["RouteTable"]["RouteTableId"]
    out = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    ec2("CreateRoute", **out, GatewayId=gateway)
    ec2.refused("RouteAlreadyExists", "CreateRoute", **out, GatewayId=gateway)
    association = ec2("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
    ec2("DescribeRouteTables", RouteTableIds=[table])
    ec2("DescribeRouteTables", Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])
    ec2("DescribeRouteTables", Filters=[{"Name": "association.route-table-association-id", "Values": [association]}])
    ec2("DescribeRouteTables", Filters=[{"Name": "route.gateway-id", "Values": [gateway]}])
    ec2("ReplaceRoute", **out, GatewayId=gateway)
    ec2.refused("DependencyViolation", "DeleteRouteTable", RouteTableId=table)
    other = ec2("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    answer = ec2("ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=other)
    ec2("DescribeRouteTables", RouteTableIds=[other])
    ec2("DisassociateRouteTable", AssociationId=answer["NewAssociationId"])
    ec2("DeleteRoute", **out)
    ec2("DescribeRouteTables", RouteTableIds=[table])
    ec2("DeleteRouteTable", RouteTableId=table)
    ec2("DeleteRouteTable", RouteTableId=other)
    ec2.refused("InvalidRouteTableID.NotFound", "DescribeRouteTables", RouteTableIds=[table])


@scenario
def a_route_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.68.0.0/16")
    table = ec2("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    main = ec2("DescribeRouteTables", Filters=filters(vpc_id=vpc))["RouteTables"]
    main = next(one for one in main if one["RouteTableId"] != table)
    out = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.refused("InvalidRoute.NotFound", "DeleteRoute", **out)
    ec2.refused("InvalidGatewayID.NotFound", "CreateRoute", **out, GatewayId="igw-0123456789abcdef0")
    ec2.refused("InvalidRouteTableID.NotFound", "DeleteRouteTable", RouteTableId="rtb-0123456789abcdef0")
    ec2.refused("DependencyViolation", "DeleteRouteTable", RouteTableId=main["RouteTableId"])
    ec2.refused("InvalidVpcID.NotFound", "CreateRouteTable", VpcId="vpc-0123456789abcdef0")
    ec2.refused("InvalidAssociationID.NotFound", "DisassociateRouteTable", AssociationId="rtbassoc-0123456789abcdef0")
    ec2.refused("InvalidSubnetID.NotFound", "AssociateRouteTable", RouteTableId=table, SubnetId="subnet-0123456789abcdef0")
    wrong = {"RouteTableId": table, "DestinationCidrBlock": "anywhere", "GatewayId": "local"}
    ec2.refused("InvalidParameterValue", "CreateRoute", **wrong)
    gateway = ec2("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    ec2.refused("InvalidParameterValue", "CreateRoute", **out, GatewayId=gateway)
    ec2("DeleteInternetGateway", InternetGatewayId=gateway)
    ec2("DeleteRouteTable", RouteTableId=table)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def network_acls_guard_subnets(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.69.0.0/16")
    subnet = make_subnet(ec2, vpc, "10.69.1.0/24")
    answer = ec2("CreateNetworkAcl", VpcId=vpc, TagSpecifications=tagged("network-acl", Name="guard"))
    acl = answer["NetworkAcl"]["NetworkAclId"]
    entry = {
        "NetworkAclId": acl,
        "RuleNumber": 100,
        "Protocol": "6",
        "RuleAction": "allow",
        "Egress": False,
        "CidrBlock": "10.0.0.0/8",
        "PortRange": {"From": 22, "To": 22},
    }
    ec2("CreateNetworkAclEntry", **entry)
    ec2.refused("NetworkAclEntryAlreadyExists", "CreateNetworkAclEntry", **entry)
    ec2("DescribeNetworkAcls", NetworkAclIds=[acl])
    ec2("ReplaceNetworkAclEntry", **entry | {"RuleAction": "deny"})
    ec2("DescribeNetworkAcls", Filters=filters(vpc_id=vpc, default="false"))
    found = ec2("DescribeNetworkAcls", Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
    ec2.refused("InvalidParameterValue", "DeleteNetworkAcl", NetworkAclId=found[0]["NetworkAclId"])
    association = next(one for one in found[0]["Associations"] if one["SubnetId"] == subnet)["NetworkAclAssociationId"]
    ec2("ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=acl)
    ec2("DescribeNetworkAcls", NetworkAclIds=[acl])
    ec2("DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=100, Egress=False)
    ec2.refused("InvalidNetworkAclEntry.NotFound", "DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=100, Egress=False)
    ec2("DeleteSubnet", SubnetId=subnet)
    ec2("DeleteNetworkAcl", NetworkAclId=acl)
    ec2.refused("InvalidNetworkAclID.NotFound", "DescribeNetworkAcls", NetworkAclIds=[acl])
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def vpcs_are_read_page_by_page(cloud):
    ec2 = ec2_of(cloud)
    made = [make_vpc(ec2, f"10.{number}.0.0/16") for number in range(70, 76)]
    ec2.pages("DescribeVpcs", "Vpcs", 5, Filters=filters(vpc_id=made))
    ec2.refused("InvalidParameterValue", "DescribeVpcs", MaxResults=3)
    ec2.refused("InvalidParameterValue", "DescribeVpcs", MaxResults=5, NextToken="token")
    for vpc in made:
        ec2("DeleteVpc", VpcId=vpc)

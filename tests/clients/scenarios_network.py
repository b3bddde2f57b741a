"""VPCs, subnets, gateways, routes, security groups, network ACLs, endpoints and NAT gateways."""

from kit import scenario
from things import ZONE, filters, launch, network, same_pages, tags, terminate

NOWHERE = {
    "vpc": "vpc-0123456789abcdef0",
    "subnet": "subnet-0123456789abcdef0",
    "igw": "igw-0123456789abcdef0",
    "rtb": "rtb-0123456789abcdef0",
    "rtbassoc": "rtbassoc-0123456789abcdef0",
    "sg": "sg-0123456789abcdef0",
    "sgr": "sgr-0123456789abcdef0",
    "acl": "acl-0123456789abcdef0",
    "nat": "nat-0123456789abcdef0",
    "vpce": "vpce-0123456789abcdef0",
    "eipalloc": "eipalloc-0123456789abcdef0",
}


@scenario
def a_vpc_is_made_described_changed_and_deleted(cloud):
    made = cloud.call("ec2", "CreateVpc", CidrBlock="10.1.0.0/16", TagSpecifications=tags("vpc", Name="first"))["Vpc"]
    vpc = made["VpcId"]
    assert made["CidrBlock"] == "10.1.0.0/16" and not made["IsDefault"]
    cloud.wait("ec2", "VpcExists", VpcIds=[vpc])
    cloud.wait("ec2", "VpcAvailable", VpcIds=[vpc])
    found = cloud.call("ec2", "DescribeVpcs", Filters=[{"Name": "tag:Name", "Values": ["first"]}])["Vpcs"]
    assert [it["VpcId"] for it in found] == [vpc]
    # Names of hosts are off in a VPC that is not the default one (ec2.md 6.6).
    attribute = cloud.call("ec2", "DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsHostnames")
    assert attribute["EnableDnsHostnames"] == {"Value": False}
    cloud.call("ec2", "ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    attribute = cloud.call("ec2", "DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsHostnames")
    assert attribute["EnableDnsHostnames"] == {"Value": True}
    support = cloud.call("ec2", "DescribeVpcAttribute", VpcId=vpc, Attribute="enableDnsSupport")
    assert support["EnableDnsSupport"] == {"Value": True}
    cloud.call("ec2", "DescribeVpcAttribute", VpcId=vpc, Attribute="enableNetworkAddressUsageMetrics")
    both = {"EnableDnsHostnames": {"Value": True}, "EnableDnsSupport": {"Value": True}}
    cloud.refused("InvalidParameterCombination", "ec2", "ModifyVpcAttribute", VpcId=vpc, **both)
    cloud.refused("DryRunOperation", "ec2", "DeleteVpc", VpcId=vpc, DryRun=True)
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)
    cloud.refused("InvalidVpcID.NotFound", "ec2", "DescribeVpcs", VpcIds=[vpc])
    cloud.refused("InvalidVpcID.NotFound", "ec2", "DeleteVpc", VpcId=vpc)


@scenario
def a_vpc_of_a_wrong_size_or_without_one_is_refused(cloud):
    cloud.refused("InvalidVpc.Range", "ec2", "CreateVpc", CidrBlock="10.0.0.0/8")
    cloud.refused("InvalidVpc.Range", "ec2", "CreateVpc", CidrBlock="10.0.0.0/29")
    cloud.refused("InvalidParameterValue", "ec2", "CreateVpc", CidrBlock="10.0.0.0/33")
    cloud.refused("MissingParameter", "ec2", "CreateVpc")


@scenario
def vpcs_and_subnets_come_in_pages(cloud):
    vpcs = [cloud.call("ec2", "CreateVpc", CidrBlock=f"10.{n}.0.0/24")["Vpc"]["VpcId"] for n in range(6)]
    same_pages(cloud, "ec2", "DescribeVpcs", "Vpcs")
    same_pages(cloud, "ec2", "DescribeRouteTables", "RouteTables")
    same_pages(cloud, "ec2", "DescribeNetworkAcls", "NetworkAcls")
    same_pages(cloud, "ec2", "DescribeSecurityGroups", "SecurityGroups")
    same_pages(cloud, "ec2", "DescribeSecurityGroupRules", "SecurityGroupRules")
    subnets = []
    for n in range(6):
        answer = cloud.call("ec2", "CreateSubnet", VpcId=vpcs[0], CidrBlock=f"10.0.0.{16 * n}/28")
        subnets.append(answer["Subnet"]["SubnetId"])
    same_pages(cloud, "ec2", "DescribeSubnets", "Subnets")
    gateways = [cloud.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"] for _ in range(6)]
    same_pages(cloud, "ec2", "DescribeInternetGateways", "InternetGateways")
    for gateway in gateways:
        cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.refused("InvalidParameterValue", "ec2", "DescribeVpcs", MaxResults=4)
    cloud.refused("InvalidParameterValue", "ec2", "DescribeVpcs", MaxResults=5, NextToken="nothing of ours")
    cloud.refused("InvalidParameterValue", "ec2", "DescribeVpcs", Filters=filters(colour="red"))
    many = [{"Name": "vpc-id", "Values": [f"vpc-{n:017x}" for n in range(201)]}]
    cloud.refused("FilterLimitExceeded", "ec2", "DescribeVpcs", Filters=many)
    for subnet in subnets:
        cloud.call("ec2", "DeleteSubnet", SubnetId=subnet)
    for vpc in vpcs:
        cloud.call("ec2", "DeleteVpc", VpcId=vpc)


@scenario
def a_subnet_lies_within_its_vpc_and_beside_its_neighbours(cloud):
    with network(cloud) as (vpc, subnet):
        cloud.wait("ec2", "SubnetAvailable", SubnetIds=[subnet])
        found = cloud.call("ec2", "DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]
        # The first four addresses and the last one are EC2's own (ec2.md 6.6).
        assert found["AvailableIpAddressCount"] == 251 and found["AvailabilityZone"] == ZONE
        cloud.refused("InvalidSubnet.Conflict", "ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.20.0.0/28")
        cloud.refused("InvalidSubnet.Range", "ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.21.0.0/28")
        cloud.refused("InvalidSubnet.Range", "ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.20.9.0/29")
        cloud.refused("InvalidVpcID.NotFound", "ec2", "CreateSubnet", VpcId=NOWHERE["vpc"], CidrBlock="10.20.0.0/28")
        cloud.refused(
            "InvalidParameterValue",
            "ec2",
            "CreateSubnet",
            VpcId=vpc,
            CidrBlock="10.20.9.0/28",
            AvailabilityZone="us-east-1q",
        )
        cloud.call("ec2", "ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        assert cloud.call("ec2", "DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]["MapPublicIpOnLaunch"]
        cloud.call("ec2", "ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})
        two = {"MapPublicIpOnLaunch": {"Value": True}, "AssignIpv6AddressOnCreation": {"Value": True}}
        cloud.refused("InvalidParameterCombination", "ec2", "ModifySubnetAttribute", SubnetId=subnet, **two)
        cloud.refused("DependencyViolation", "ec2", "DeleteVpc", VpcId=vpc)
        cloud.refused("InvalidSubnetID.NotFound", "ec2", "DeleteSubnet", SubnetId=NOWHERE["subnet"])
        cloud.refused("InvalidSubnetID.NotFound", "ec2", "DescribeSubnets", SubnetIds=[NOWHERE["subnet"]])


@scenario
def an_internet_gateway_is_attached_to_one_vpc_and_kept_while_attached(cloud):
    gateway = cloud.call("ec2", "CreateInternetGateway", TagSpecifications=tags("internet-gateway", Name="door"))
    gateway = gateway["InternetGateway"]["InternetGatewayId"]
    cloud.wait("ec2", "InternetGatewayExists", InternetGatewayIds=[gateway])
    with network(cloud) as (vpc, _):
        cloud.refused("Gateway.NotAttached", "ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        cloud.call("ec2", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        found = cloud.call("ec2", "DescribeInternetGateways", Filters=filters(attachment__vpc_id=vpc))["InternetGateways"]
        assert found[0]["Attachments"] == [{"State": "available", "VpcId": vpc}]
        cloud.refused("Resource.AlreadyAssociated", "ec2", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        second = cloud.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        cloud.refused("InvalidParameterValue", "ec2", "AttachInternetGateway", InternetGatewayId=second, VpcId=vpc)
        cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=second)
        cloud.refused("DependencyViolation", "ec2", "DeleteInternetGateway", InternetGatewayId=gateway)
        cloud.refused("DependencyViolation", "ec2", "DeleteVpc", VpcId=vpc)
        cloud.call("ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.refused("InvalidInternetGatewayID.NotFound", "ec2", "DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.refused("InvalidInternetGatewayID.NotFound", "ec2", "DescribeInternetGateways", InternetGatewayIds=[gateway])


@scenario
def routes_are_made_replaced_and_deleted(cloud):
    gateway = cloud.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    with network(cloud) as (vpc, subnet):
        cloud.call("ec2", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        table = cloud.call("ec2", "CreateRouteTable", VpcId=vpc, TagSpecifications=tags("route-table", Name="way"))
        table = table["RouteTable"]["RouteTableId"]
        way = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
        cloud.call("ec2", "CreateRoute", GatewayId=gateway, **way)
        # The same again is no error, another target is one.
        interface = cloud.call("ec2", "CreateNetworkInterface", SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        cloud.refused("RouteAlreadyExists", "ec2", "CreateRoute", NetworkInterfaceId=interface, **way)
        cloud.call("ec2", "ReplaceRoute", NetworkInterfaceId=interface, **way)
        cloud.call("ec2", "ReplaceRoute", GatewayId=gateway, **way)
        association = cloud.call("ec2", "AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
        cloud.refused("DependencyViolation", "ec2", "DeleteRouteTable", RouteTableId=table)
        other = cloud.call("ec2", "CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
        cloud.refused("Resource.AlreadyAssociated", "ec2", "AssociateRouteTable", RouteTableId=other, SubnetId=subnet)
        answer = cloud.call("ec2", "ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=other)
        association = answer["NewAssociationId"]
        tables = cloud.call("ec2", "DescribeRouteTables", RouteTableIds=[table, other])["RouteTables"]
        routes = {route["DestinationCidrBlock"]: route for it in tables for route in it["Routes"]}
        assert routes["0.0.0.0/0"]["GatewayId"] == gateway and routes["10.20.0.0/16"]["GatewayId"] == "local"
        cloud.call("ec2", "DisassociateRouteTable", AssociationId=association)
        cloud.refused("InvalidAssociationID.NotFound", "ec2", "DisassociateRouteTable", AssociationId=association)
        cloud.refused("InvalidGatewayID.NotFound", "ec2", "ReplaceRoute", GatewayId=NOWHERE["igw"], **way)
        cloud.call("ec2", "DeleteRoute", **way)
        cloud.refused("InvalidRoute.NotFound", "ec2", "DeleteRoute", **way)
        cloud.refused("InvalidRoute.NotFound", "ec2", "ReplaceRoute", GatewayId=gateway, **way)
        main = cloud.call("ec2", "DescribeRouteTables", Filters=filters(vpc_id=vpc, association__main="true"))
        main = main["RouteTables"][0]["RouteTableId"]
        cloud.refused("DependencyViolation", "ec2", "DeleteRouteTable", RouteTableId=main)
        for id in (table, other):
            cloud.call("ec2", "DeleteRouteTable", RouteTableId=id)
        cloud.refused("InvalidRouteTableID.NotFound", "ec2", "DescribeRouteTables", RouteTableIds=[table])
        cloud.call("ec2", "DeleteNetworkInterface", NetworkInterfaceId=interface)
        cloud.call("ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=gateway)


@scenario
def security_group_rules_are_added_changed_and_revoked(cloud):
    with network(cloud) as (vpc, _):
        group = {"GroupName": "judged", "Description": "of the judge", "VpcId": vpc}
        made = cloud.call("ec2", "CreateSecurityGroup", TagSpecifications=tags("security-group", Name="judged"), **group)
        id = made["GroupId"]
        cloud.wait("ec2", "SecurityGroupExists", GroupIds=[id])
        cloud.refused("InvalidGroup.Duplicate", "ec2", "CreateSecurityGroup", **group)
        found = cloud.call("ec2", "DescribeSecurityGroups", GroupIds=[id])["SecurityGroups"][0]
        # A new group lets everything out (ec2.md 6.5).
        assert [rule["IpProtocol"] for rule in found["IpPermissionsEgress"]] == ["-1"] and found["IpPermissions"] == []
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "100.68.0.18/18"}]}
        rules = cloud.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=id, IpPermissions=[ssh])["SecurityGroupRules"]
        # EC2 stores the network address (ec2.md 6.5).
        assert rules[0]["CidrIpv4"] == "100.68.0.0/18"
        cloud.refused("InvalidPermission.Duplicate", "ec2", "AuthorizeSecurityGroupIngress", GroupId=id, IpPermissions=[ssh])
        own = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id}]}
        cloud.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=id, IpPermissions=[own])
        cloud.call("ec2", "AuthorizeSecurityGroupEgress", GroupId=id, IpPermissions=[own])
        described = dict(ssh, IpRanges=[{"CidrIp": "100.68.0.0/18", "Description": "the office"}])
        cloud.call("ec2", "UpdateSecurityGroupRuleDescriptionsIngress", GroupId=id, IpPermissions=[described])
        away = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "anywhere"}]}
        cloud.call("ec2", "UpdateSecurityGroupRuleDescriptionsEgress", GroupId=id, IpPermissions=[away])
        rule = rules[0]["SecurityGroupRuleId"]
        found = cloud.call("ec2", "DescribeSecurityGroupRules", SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
        assert found[0]["Description"] == "the office"
        change = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 23, "CidrIpv4": "10.0.0.0/8", "Description": "changed"}
        changes = [{"SecurityGroupRuleId": rule, "SecurityGroupRule": change}]
        cloud.call("ec2", "ModifySecurityGroupRules", GroupId=id, SecurityGroupRules=changes)
        found = cloud.call("ec2", "DescribeSecurityGroupRules", Filters=filters(group_id=id))["SecurityGroupRules"]
        assert len(found) == 4 and change["CidrIpv4"] in [it.get("CidrIpv4") for it in found]
        changes[0]["SecurityGroupRuleId"] = NOWHERE["sgr"]
        cloud.refused(
            "InvalidSecurityGroupRuleId.NotFound", "ec2", "ModifySecurityGroupRules", GroupId=id, SecurityGroupRules=changes
        )
        cloud.call("ec2", "RevokeSecurityGroupIngress", GroupId=id, SecurityGroupRuleIds=[rule])
        cloud.refused("InvalidPermission.NotFound", "ec2", "RevokeSecurityGroupIngress", GroupId=id, IpPermissions=[ssh])
        cloud.call("ec2", "RevokeSecurityGroupIngress", GroupId=id, IpPermissions=[own])
        cloud.call("ec2", "RevokeSecurityGroupEgress", GroupId=id, IpPermissions=[own])
        cloud.call("ec2", "DeleteSecurityGroup", GroupId=id)
        cloud.refused("InvalidGroup.NotFound", "ec2", "DeleteSecurityGroup", GroupId=id)
        cloud.refused("InvalidGroup.NotFound", "ec2", "DescribeSecurityGroups", GroupIds=[id])
        default = cloud.call("ec2", "DescribeSecurityGroups", Filters=filters(vpc_id=vpc, group_name="default"))
        default = default["SecurityGroups"][0]["GroupId"]
        cloud.refused("CannotDelete", "ec2", "DeleteSecurityGroup", GroupId=default)


@scenario
def security_groups_that_name_each_other_are_kept_until_their_rules_are_revoked(cloud):
    with network(cloud) as (vpc, _):
        ids = []
        for name in ("one", "other"):
            group = {"GroupName": name, "Description": name, "VpcId": vpc}
            ids.append(cloud.call("ec2", "CreateSecurityGroup", **group)["GroupId"])
        rules = [[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id}]}] for id in reversed(ids)]
        for id, rule in zip(ids, rules):
            cloud.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=id, IpPermissions=rule)
        for id in ids:
            cloud.refused("DependencyViolation", "ec2", "DeleteSecurityGroup", GroupId=id)
        for id, rule in zip(ids, rules):
            cloud.call("ec2", "RevokeSecurityGroupIngress", GroupId=id, IpPermissions=rule)
        for id in ids:
            cloud.call("ec2", "DeleteSecurityGroup", GroupId=id)


@scenario
def network_acls_and_their_entries_are_made_replaced_and_deleted(cloud):
    with network(cloud) as (vpc, subnet):
        acl = cloud.call("ec2", "CreateNetworkAcl", VpcId=vpc, TagSpecifications=tags("network-acl", Name="list"))
        acl = acl["NetworkAcl"]["NetworkAclId"]
        entry = {"NetworkAclId": acl, "RuleNumber": 100, "Egress": False}
        rule = entry | {
            "Protocol": "6",
            "RuleAction": "allow",
            "CidrBlock": "0.0.0.0/0",
            "PortRange": {"From": 22, "To": 22},
        }
        cloud.call("ec2", "CreateNetworkAclEntry", **rule)
        cloud.refused("NetworkAclEntryAlreadyExists", "ec2", "CreateNetworkAclEntry", **rule)
        cloud.call("ec2", "ReplaceNetworkAclEntry", **(rule | {"RuleAction": "deny"}))
        found = cloud.call("ec2", "DescribeNetworkAcls", Filters=filters(association__subnet_id=subnet))["NetworkAcls"][0]
        association, default = found["Associations"][0]["NetworkAclAssociationId"], found["NetworkAclId"]
        answer = cloud.call("ec2", "ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=acl)
        cloud.refused("DependencyViolation", "ec2", "DeleteNetworkAcl", NetworkAclId=acl)
        back = {"AssociationId": answer["NewAssociationId"], "NetworkAclId": default}
        cloud.call("ec2", "ReplaceNetworkAclAssociation", **back)
        cloud.call("ec2", "DeleteNetworkAclEntry", **entry)
        cloud.refused("InvalidNetworkAclEntry.NotFound", "ec2", "DeleteNetworkAclEntry", **entry)
        cloud.call("ec2", "DeleteNetworkAcl", NetworkAclId=acl)
        cloud.refused("InvalidNetworkAclID.NotFound", "ec2", "DescribeNetworkAcls", NetworkAclIds=[acl])


@scenario
def the_default_vpc_is_made_again_with_its_subnets(cloud):
    default = cloud.call("ec2", "DescribeVpcs", Filters=filters(is_default="true"))["Vpcs"][0]
    vpc = default["VpcId"]
    cloud.refused("DefaultVpcAlreadyExists", "ec2", "CreateDefaultVpc")
    options = cloud.call("ec2", "DescribeDhcpOptions")["DhcpOptions"]
    assert default["DhcpOptionsId"] in [it["DhcpOptionsId"] for it in options]
    cloud.pages("ec2", "DescribeDhcpOptions", "DhcpOptions", 5)
    cloud.refused("DefaultSubnetAlreadyExistsInAvailabilityZone", "ec2", "CreateDefaultSubnet", AvailabilityZone=ZONE)
    subnets = cloud.call("ec2", "DescribeSubnets", Filters=filters(vpc_id=vpc))["Subnets"]
    for subnet in subnets:
        cloud.call("ec2", "DeleteSubnet", SubnetId=subnet["SubnetId"])
    made = cloud.call("ec2", "CreateDefaultSubnet", AvailabilityZone=ZONE)["Subnet"]
    assert made["DefaultForAz"] and made["MapPublicIpOnLaunch"]
    cloud.call("ec2", "DeleteSubnet", SubnetId=made["SubnetId"])
    for gateway in cloud.call("ec2", "DescribeInternetGateways", Filters=filters(attachment__vpc_id=vpc))[
        "InternetGateways"
    ]:
        id = gateway["InternetGatewayId"]
        cloud.call("ec2", "DetachInternetGateway", InternetGatewayId=id, VpcId=vpc)
        cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=id)
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)
    cloud.refused("DefaultVpcDoesNotExist", "ec2", "CreateDefaultSubnet", AvailabilityZone=ZONE)
    cloud.refused("VPCIdNotSpecified", "ec2", "CreateSecurityGroup", GroupName="nowhere", Description="nowhere")
    again = cloud.call("ec2", "CreateDefaultVpc")["Vpc"]
    assert again["IsDefault"] and again["CidrBlock"] == "172.31.0.0/16"
    # A subnet in every zone, as before.
    found = cloud.call("ec2", "DescribeSubnets", Filters=filters(vpc_id=again["VpcId"]))["Subnets"]
    assert len(found) == len(subnets)


@scenario
def endpoints_lead_to_services_and_go_with_their_routes(cloud):
    with network(cloud) as (vpc, subnet):
        services = cloud.call("ec2", "DescribeVpcEndpointServices")
        assert "com.amazonaws.us-east-1.s3" in services["ServiceNames"]
        paged = cloud.pages("ec2", "DescribeVpcEndpointServices", "ServiceNames", 5)
        assert sorted(paged) == sorted(services["ServiceNames"])
        lists = cloud.call("ec2", "DescribePrefixLists")["PrefixLists"]
        cloud.pages("ec2", "DescribePrefixLists", "PrefixLists", 5)
        assert lists[0]["PrefixListId"].startswith("pl-")
        cloud.refused("InvalidPrefixListID.NotFound", "ec2", "DescribePrefixLists", PrefixListIds=["pl-01234567"])
        s3 = {"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "VpcEndpointType": "Gateway"}
        made = cloud.call("ec2", "CreateVpcEndpoint", ClientToken="s3", TagSpecifications=tags("vpc-endpoint", a="b"), **s3)
        gateway = made["VpcEndpoint"]["VpcEndpointId"]
        again = cloud.call("ec2", "CreateVpcEndpoint", ClientToken="s3", TagSpecifications=tags("vpc-endpoint", a="b"), **s3)
        assert again["VpcEndpoint"]["VpcEndpointId"] == gateway
        table = cloud.call("ec2", "DescribeRouteTables", Filters=filters(vpc_id=vpc))["RouteTables"][0]["RouteTableId"]
        cloud.call("ec2", "ModifyVpcEndpoint", VpcEndpointId=gateway, AddRouteTableIds=[table])
        ssm = {"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.ssm", "VpcEndpointType": "Interface"}
        made = cloud.call("ec2", "CreateVpcEndpoint", SubnetIds=[subnet], **ssm)["VpcEndpoint"]
        interface = made["VpcEndpointId"]
        found = cloud.call("ec2", "DescribeVpcEndpoints", VpcEndpointIds=[gateway, interface])["VpcEndpoints"]
        assert {it["VpcEndpointType"] for it in found} == {"Gateway", "Interface"}
        others = [cloud.call("ec2", "CreateVpcEndpoint", **ssm)["VpcEndpoint"]["VpcEndpointId"] for _ in range(4)]
        same_pages(cloud, "ec2", "DescribeVpcEndpoints", "VpcEndpoints")
        cloud.refused("InvalidServiceName", "ec2", "CreateVpcEndpoint", VpcId=vpc, ServiceName="com.amazonaws.us-east-1.tea")
        answer = cloud.call("ec2", "DeleteVpcEndpoints", VpcEndpointIds=[gateway, interface, *others, NOWHERE["vpce"]])
        assert [it["Error"]["Code"] for it in answer["Unsuccessful"]] == ["InvalidVpcEndpointId.NotFound"]
        left = {"Filters": filters(vpc_id=vpc)}

        def states():
            return {it["State"] for it in cloud.call("ec2", "DescribeVpcEndpoints", **left)["VpcEndpoints"]}

        cloud.until(lambda: states() <= {"deleted"}, "the end of the endpoints")
        cloud.refused("InvalidVpcEndpointId.NotFound", "ec2", "DescribeVpcEndpoints", VpcEndpointIds=[NOWHERE["vpce"]])


@scenario
def nat_gateways_hold_their_address_until_they_are_deleted(cloud):
    gateway = cloud.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    with network(cloud) as (vpc, subnet):
        cloud.call("ec2", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        address = cloud.call("ec2", "AllocateAddress", Domain="vpc")["AllocationId"]
        made = cloud.call("ec2", "CreateNatGateway", SubnetId=subnet, AllocationId=address)["NatGateway"]
        nat = made["NatGatewayId"]
        cloud.wait("ec2", "NatGatewayAvailable", NatGatewayIds=[nat])
        # Five in a zone; one more in another makes two pages.
        request = {"VpcId": vpc, "CidrBlock": "10.20.1.0/24", "AvailabilityZone": "us-east-1b"}
        other = cloud.call("ec2", "CreateSubnet", **request)["Subnet"]["SubnetId"]
        private = []
        for place in [subnet] * 4 + [other]:
            made = cloud.call("ec2", "CreateNatGateway", SubnetId=place, ConnectivityType="private")
            private.append(made["NatGateway"]["NatGatewayId"])
        more = {"SubnetId": subnet, "ConnectivityType": "private"}
        cloud.refused("NatGatewayLimitExceeded", "ec2", "CreateNatGateway", **more)
        cloud.wait("ec2", "NatGatewayAvailable", NatGatewayIds=private)
        same_pages(cloud, "ec2", "DescribeNatGateways", "NatGateways")
        cloud.refused("MissingParameter", "ec2", "CreateNatGateway", SubnetId=subnet)
        cloud.refused(
            "InvalidAllocationID.NotFound", "ec2", "CreateNatGateway", SubnetId=subnet, AllocationId=NOWHERE["eipalloc"]
        )
        cloud.refused("NatGatewayNotFound", "ec2", "DescribeNatGateways", NatGatewayIds=[NOWHERE["nat"]])
        cloud.refused("DependencyViolation", "ec2", "DeleteSubnet", SubnetId=subnet)
        for id in [nat, *private]:
            cloud.call("ec2", "DeleteNatGateway", NatGatewayId=id)
        cloud.wait("ec2", "NatGatewayDeleted", NatGatewayIds=[nat, *private])
        cloud.call("ec2", "DeleteSubnet", SubnetId=other)
        cloud.call("ec2", "ReleaseAddress", AllocationId=address)
        cloud.call("ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=gateway)


@scenario
def what_instances_use_is_kept_from_deletion(cloud):
    with network(cloud) as (vpc, subnet):
        group = {"GroupName": "used", "Description": "used", "VpcId": vpc}
        group = cloud.call("ec2", "CreateSecurityGroup", **group)["GroupId"]
        ids = launch(cloud, SubnetId=subnet, SecurityGroupIds=[group])
        cloud.refused("DependencyViolation", "ec2", "DeleteSecurityGroup", GroupId=group)
        cloud.refused("DependencyViolation", "ec2", "DeleteSubnet", SubnetId=subnet)
        cloud.refused("DependencyViolation", "ec2", "DeleteVpc", VpcId=vpc)
        terminate(cloud, ids)
        cloud.call("ec2", "DeleteSecurityGroup", GroupId=group)

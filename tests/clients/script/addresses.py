"""Elastic addresses, network interfaces, NAT gateways, VPC endpoints."""

from kit import scenario
from script.ground import ec2_of, filters, launch, make_group, make_network, tagged, terminate


@scenario
def an_elastic_address_is_given_to_an_instance(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.120.0.0/16")
    gateway = ec2("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    [node] = launch(ec2, subnet)
    made = ec2("AllocateAddress", Domain="vpc", TagSpecifications=tagged("elastic-ip", Name="door"))
    address = made["AllocationId"]
    ec2("DescribeAddresses", AllocationIds=[address])
    association = ec2("AssociateAddress", AllocationId=address, InstanceId=node)["AssociationId"]
    ec2("DescribeAddresses", Filters=filters(allocation_id=address))
    ec2("DescribeAddresses", Filters=filters(instance_id=node))
    ec2("DescribeAddresses", PublicIps=[made["PublicIp"]])
    ec2("DescribeInstances", InstanceIds=[node])
    ec2("DescribeNetworkInterfaces", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    ec2.refused("InvalidIPAddress.InUse", "ReleaseAddress", AllocationId=address)
    ec2.refused("DependencyViolation", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    ec2("DisassociateAddress", AssociationId=association)
    ec2("DescribeAddresses", AllocationIds=[address])
    ec2("ReleaseAddress", AllocationId=address)
    ec2.refused("InvalidAllocationID.NotFound", "DescribeAddresses", AllocationIds=[address])
    ec2.refused("InvalidAllocationID.NotFound", "ReleaseAddress", AllocationId=address)
    ec2.refused("InvalidAllocationID.NotFound", "AssociateAddress", AllocationId=address, InstanceId=node)
    ec2.refused("InvalidAssociationID.NotFound", "DisassociateAddress", AssociationId=association)
    terminate(ec2, [node])


@scenario
def a_network_interface_is_made_and_deleted(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.121.0.0/16")
    group = make_group(ec2, vpc, "nodes")
    ask = {"SubnetId": subnet, "PrivateIpAddress": "10.121.0.20", "Groups": [group], "Description": "of the master"}
    answer = ec2("CreateNetworkInterface", **ask, TagSpecifications=tagged("network-interface", Name="master"))
    interface = answer["NetworkInterface"]["NetworkInterfaceId"]
    ec2.wait("NetworkInterfaceAvailable", NetworkInterfaceIds=[interface])
    ec2("DescribeNetworkInterfaces", Filters=filters(subnet_id=subnet))
    ec2("DescribeNetworkInterfaces", Filters=filters(group_id=group, private_ip_address="10.121.0.20"))
    ec2("DescribeNetworkInterfaces", Filters=filters(description="of the master", vpc_id=vpc, status="available"))
    ec2("DescribeNetworkInterfaces", Filters=[{"Name": "tag:Name", "Values": ["master"]}, *filters(vpc_id=vpc)])
    ec2.refused("InvalidIPAddress.InUse", "CreateNetworkInterface", **ask)
    ec2.refused("InvalidSubnetID.NotFound", "CreateNetworkInterface", SubnetId="subnet-0123456789abcdef0")
    wrong = {"SubnetId": subnet, "Groups": ["sg-0123456789abcdef0"]}
    ec2.refused("InvalidGroup.NotFound", "CreateNetworkInterface", **wrong)
    ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, Description={"Value": "of nobody"})
    default = ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc, group_name="default"))["SecurityGroups"][0]["GroupId"]
    ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, Groups=[default])
    ec2("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
    more = {"NetworkInterfaceId": interface, "PrivateIpAddresses": ["10.121.0.21"]}
    ec2("AssignPrivateIpAddresses", **more)
    ec2("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
    ec2("UnassignPrivateIpAddresses", **more)
    ec2.refused("DependencyViolation", "DeleteSubnet", SubnetId=subnet)
    ec2("DeleteNetworkInterface", NetworkInterfaceId=interface)
    ec2.refused("InvalidNetworkInterfaceID.NotFound", "DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
    ec2.refused("InvalidNetworkInterfaceID.NotFound", "DeleteNetworkInterface", NetworkInterfaceId=interface)
    ec2("DeleteSecurityGroup", GroupId=group)
    ec2("DeleteSubnet", SubnetId=subnet)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def a_network_interface_is_attached_and_detached(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.122.0.0/16")
    [node] = launch(ec2, subnet)
    interface = ec2("CreateNetworkInterface", SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.wait("NetworkInterfaceAvailable", NetworkInterfaceIds=[interface])
    ask = {"NetworkInterfaceId": interface, "InstanceId": node}
    attachment = ec2("AttachNetworkInterface", **ask, DeviceIndex=1)["AttachmentId"]
    ec2("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
    ec2("DescribeInstances", InstanceIds=[node])
    ec2.refused("InvalidNetworkInterface.InUse", "DeleteNetworkInterface", NetworkInterfaceId=interface)
    ec2.refused("InvalidNetworkInterface.InUse", "AttachNetworkInterface", **ask, DeviceIndex=2)
    ec2("DetachNetworkInterface", AttachmentId=attachment, Force=True)
    ec2.wait("NetworkInterfaceAvailable", NetworkInterfaceIds=[interface])
    ec2.refused("InvalidAttachmentID.NotFound", "DetachNetworkInterface", AttachmentId="eni-attach-0123456789abcdef0")
    ec2("DeleteNetworkInterface", NetworkInterfaceId=interface)
    terminate(ec2, [node])


@scenario
def a_nat_gateway_lets_private_subnets_out(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.123.0.0/16")
    gateway = ec2("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    address = ec2("AllocateAddress", Domain="vpc")["AllocationId"]
    ask = {"SubnetId": subnet, "AllocationId": address}
    answer = ec2("CreateNatGateway", **ask, TagSpecifications=tagged("natgateway", Name="out"))
    nat = answer["NatGateway"]["NatGatewayId"]
    ec2.wait("NatGatewayAvailable", NatGatewayIds=[nat])
    ec2("DescribeNatGateways", Filters=filters(vpc_id=vpc, state="available"))
    ec2("DescribeNatGateways", Filter=filters(subnet_id=subnet))
    table = ec2("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    ec2("DescribeRouteTables", RouteTableIds=[table])
    ec2("DeleteNatGateway", NatGatewayId=nat)
    ec2.wait("NatGatewayDeleted", NatGatewayIds=[nat])
    ec2.refused("NatGatewayNotFound", "DescribeNatGateways", NatGatewayIds=["nat-0123456789abcdef0"])
    ec2.refused("InvalidSubnetID.NotFound", "CreateNatGateway", **ask | {"SubnetId": "subnet-0123456789abcdef0"})
    ec2("ReleaseAddress", AllocationId=address)


@scenario
def endpoints_reach_services_from_inside(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.124.0.0/16")
    table = ec2("DescribeRouteTables", Filters=filters(vpc_id=vpc))["RouteTables"][0]["RouteTableId"]
    storage = {"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "VpcEndpointType": "Gateway"}
    tags = tagged("vpc-endpoint", Name="storage")
    answer = ec2("CreateVpcEndpoint", **storage, RouteTableIds=[table], TagSpecifications=tags)
    gateway = answer["VpcEndpoint"]["VpcEndpointId"]
    ec2("DescribeVpcEndpoints", VpcEndpointIds=[gateway])
    ec2("DescribeRouteTables", RouteTableIds=[table])
    agent = {"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.ssm", "VpcEndpointType": "Interface"}
    answer = ec2("CreateVpcEndpoint", **agent, SubnetIds=[subnet], PrivateDnsEnabled=False)
    interface = answer["VpcEndpoint"]["VpcEndpointId"]
    ec2("DescribeVpcEndpoints", Filters=filters(vpc_id=vpc, vpc_endpoint_type="Gateway"))
    ec2("DescribeVpcEndpoints", Filters=filters(service_name="com.amazonaws.us-east-1.ssm", vpc_id=vpc))
    ec2("DescribeVpcEndpointServices", ServiceNames=["com.amazonaws.us-east-1.s3"], Filters=filters(service_type="Gateway"))
    ec2("DeleteVpcEndpoints", VpcEndpointIds=[gateway, interface])
    ec2.refused("InvalidVpcEndpointId.NotFound", "DescribeVpcEndpoints", VpcEndpointIds=["vpce-0123456789abcdef0"])

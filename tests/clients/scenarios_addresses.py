"""Elastic addresses and network interfaces."""

from kit import scenario
from things import ZONE, filters, instance, instances, network, same_pages, tags

NOWHERE = "eni-0123456789abcdef0"
NO_ADDRESS = "eipalloc-0123456789abcdef0"


@scenario
def an_address_is_allocated_associated_and_released(cloud):
    made = cloud.call("ec2", "AllocateAddress", Domain="vpc", TagSpecifications=tags("elastic-ip", Name="door"))
    allocation = made["AllocationId"]
    with instances(cloud, 2, Placement={"AvailabilityZone": ZONE}) as (one, other):
        associated = cloud.call("ec2", "AssociateAddress", AllocationId=allocation, InstanceId=one)["AssociationId"]
        # The same again is the same association (ec2.md 2.5).
        assert cloud.call("ec2", "AssociateAddress", AllocationId=allocation, InstanceId=one)["AssociationId"] == associated
        assert instance(cloud, one)["PublicIpAddress"] == made["PublicIp"]
        again = {"AllocationId": allocation, "InstanceId": other}
        cloud.refused("Resource.AlreadyAssociated", "ec2", "AssociateAddress", AllowReassociation=False, **again)
        moved = cloud.call("ec2", "AssociateAddress", AllowReassociation=True, **again)["AssociationId"]
        found = cloud.call("ec2", "DescribeAddresses", AllocationIds=[allocation])["Addresses"][0]
        assert found["InstanceId"] == other and found["AssociationId"] == moved
        cloud.call("ec2", "DisassociateAddress", AssociationId=moved)
        # Once more is no error (ec2.md 2.5).
        cloud.call("ec2", "DisassociateAddress", AssociationId=moved)
    cloud.call("ec2", "DescribeAddressesAttribute", AllocationIds=[allocation], Attribute="domain-name")
    cloud.call("ec2", "ReleaseAddress", AllocationId=allocation)
    # Outside of the default VPC an address is taken off before it is released.
    with network(cloud) as (vpc, subnet):
        gateway = cloud.call("ec2", "CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        cloud.call("ec2", "AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        interface = cloud.call("ec2", "CreateNetworkInterface", SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        allocation = cloud.call("ec2", "AllocateAddress", Domain="vpc")["AllocationId"]
        given = cloud.call("ec2", "AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)
        cloud.refused("InvalidIPAddress.InUse", "ec2", "ReleaseAddress", AllocationId=allocation)
        cloud.refused("DependencyViolation", "ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        cloud.call("ec2", "DisassociateAddress", AssociationId=given["AssociationId"])
        cloud.call("ec2", "ReleaseAddress", AllocationId=allocation)
        cloud.call("ec2", "DeleteNetworkInterface", NetworkInterfaceId=interface)
        cloud.call("ec2", "DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        cloud.call("ec2", "DeleteInternetGateway", InternetGatewayId=gateway)
    cloud.refused("InvalidAllocationID.NotFound", "ec2", "ReleaseAddress", AllocationId=NO_ADDRESS)
    cloud.refused("InvalidAllocationID.NotFound", "ec2", "DescribeAddresses", AllocationIds=[NO_ADDRESS])
    cloud.refused("InvalidAddress.NotFound", "ec2", "DescribeAddresses", PublicIps=["192.0.2.1"])


@scenario
def a_region_has_five_addresses(cloud):
    ids = [cloud.call("ec2", "AllocateAddress", Domain="vpc")["AllocationId"] for _ in range(5)]
    # ec2.md 6.6
    cloud.refused("AddressLimitExceeded", "ec2", "AllocateAddress", Domain="vpc")
    assert len(cloud.call("ec2", "DescribeAddresses")["Addresses"]) == 5
    whole = cloud.call("ec2", "DescribeAddressesAttribute", Attribute="domain-name")["Addresses"]
    assert cloud.pages("ec2", "DescribeAddressesAttribute", "Addresses", 2, Attribute="domain-name") == whole
    assert cloud.page_count == 3
    for id in ids:
        cloud.call("ec2", "ReleaseAddress", AllocationId=id)


@scenario
def an_interface_is_made_attached_changed_and_deleted(cloud):
    with network(cloud) as (vpc, subnet):
        group = {"GroupName": "interfaces", "Description": "interfaces", "VpcId": vpc}
        group = cloud.call("ec2", "CreateSecurityGroup", **group)["GroupId"]
        request = {"SubnetId": subnet, "ClientToken": "one interface", "PrivateIpAddress": "10.20.0.50"}
        made = cloud.call("ec2", "CreateNetworkInterface", TagSpecifications=tags("network-interface", a="b"), **request)
        id = made["NetworkInterface"]["NetworkInterfaceId"]
        cloud.wait("ec2", "NetworkInterfaceAvailable", NetworkInterfaceIds=[id])
        cloud.refused("IdempotentParameterMismatch", "ec2", "CreateNetworkInterface", **(request | {"Description": "x"}))
        taken = {"SubnetId": subnet, "PrivateIpAddress": "10.20.0.50"}
        cloud.refused("InvalidIPAddress.InUse", "ec2", "CreateNetworkInterface", **taken)
        cloud.call("ec2", "AssignPrivateIpAddresses", NetworkInterfaceId=id, PrivateIpAddresses=["10.20.0.60"])
        cloud.call("ec2", "AssignPrivateIpAddresses", NetworkInterfaceId=id, SecondaryPrivateIpAddressCount=2)
        cloud.call("ec2", "UnassignPrivateIpAddresses", NetworkInterfaceId=id, PrivateIpAddresses=["10.20.0.60"])
        found = cloud.call("ec2", "DescribeNetworkInterfaces", NetworkInterfaceIds=[id])["NetworkInterfaces"][0]
        assert len(found["PrivateIpAddresses"]) == 3 and found["Status"] == "available"
        change = {"NetworkInterfaceId": id}
        cloud.call("ec2", "ModifyNetworkInterfaceAttribute", Description={"Value": "changed"}, **change)
        cloud.call("ec2", "ModifyNetworkInterfaceAttribute", Groups=[group], **change)
        cloud.call("ec2", "ModifyNetworkInterfaceAttribute", SourceDestCheck={"Value": False}, **change)
        for name in ("description", "groupSet", "sourceDestCheck", "attachment", "associatePublicIpAddress"):
            cloud.call("ec2", "DescribeNetworkInterfaceAttribute", Attribute=name, **change)
        cloud.call("ec2", "ResetNetworkInterfaceAttribute", SourceDestCheck="true", **change)
        both = {"Description": {"Value": "x"}, "SourceDestCheck": {"Value": True}}
        cloud.refused("InvalidParameterCombination", "ec2", "ModifyNetworkInterfaceAttribute", **both, **change)
        with instances(cloud, SubnetId=subnet) as (node,):
            attach = {"NetworkInterfaceId": id, "InstanceId": node, "DeviceIndex": 1}
            attachment = cloud.call("ec2", "AttachNetworkInterface", **attach)["AttachmentId"]
            cloud.refused("InvalidNetworkInterface.InUse", "ec2", "AttachNetworkInterface", **attach)
            cloud.refused("InvalidNetworkInterface.InUse", "ec2", "DeleteNetworkInterface", NetworkInterfaceId=id)
            # With more than one interface, groups are changed at each (ec2.md 6.1).
            cloud.refused("InvalidInstanceID", "ec2", "ModifyInstanceAttribute", InstanceId=node, Groups=[group])
            end = {"AttachmentId": attachment, "DeleteOnTermination": True}
            cloud.call("ec2", "ModifyNetworkInterfaceAttribute", Attachment=end, **change)
            cloud.call("ec2", "DetachNetworkInterface", AttachmentId=attachment)
            cloud.wait("ec2", "NetworkInterfaceAvailable", NetworkInterfaceIds=[id])
            cloud.refused("InvalidAttachmentID.NotFound", "ec2", "DetachNetworkInterface", AttachmentId=attachment)
            primary = instance(cloud, node)["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
            cloud.refused("OperationNotPermitted", "ec2", "DetachNetworkInterface", AttachmentId=primary)
        others = [
            cloud.call("ec2", "CreateNetworkInterface", SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
            for _ in range(5)
        ]
        same_pages(cloud, "ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=filters(subnet_id=subnet))
        cloud.refused("DependencyViolation", "ec2", "DeleteSubnet", SubnetId=subnet)
        for it in [id, *others]:
            cloud.call("ec2", "DeleteNetworkInterface", NetworkInterfaceId=it)
        cloud.refused("InvalidNetworkInterfaceID.NotFound", "ec2", "DeleteNetworkInterface", NetworkInterfaceId=NOWHERE)
        cloud.refused(
            "InvalidNetworkInterfaceID.NotFound", "ec2", "DescribeNetworkInterfaces", NetworkInterfaceIds=[NOWHERE]
        )
        cloud.call("ec2", "DeleteSecurityGroup", GroupId=group)

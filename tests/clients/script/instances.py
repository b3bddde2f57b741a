"""Instances: launched, described, changed, stopped, started, terminated."""

import base64

from kit import scenario
from script.ground import ec2_of, filters, launch, make_group, make_network, make_subnet, make_vpc, tagged, terminate


@scenario
def an_instance_is_launched_and_described(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.110.0.0/16")
    group = make_group(ec2, vpc, "nodes")
    tags = [*tagged("instance", Name="master", role="master"), *tagged("volume", Name="root")]
    data = base64.b64encode(b"#cloud-config\n").decode()
    asked = {
        "PrivateIpAddress": "10.110.0.10",
        "SecurityGroupIds": [group],
        "TagSpecifications": tags,
        "UserData": data,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    [node] = launch(ec2, subnet, **asked)
    ec2("DescribeInstances", Filters=filters(instance_id=node, instance_state_name="running"))
    ec2("DescribeInstances", Filters=[{"Name": "tag:role", "Values": ["master"]}, *filters(vpc_id=vpc)])
    ec2("DescribeInstances", Filters=[*filters(tag_key="role"), *filters(subnet_id=subnet)])
    ec2("DescribeInstances", Filters=filters(private_ip_address="10.110.0.10", vpc_id=vpc))
    ec2("DescribeInstances", Filters=[{"Name": "instance.group-id", "Values": [group]}])
    ec2("DescribeInstances", Filters=filters(instance_id=node, instance_type="c5.xlarge"))
    ec2("DescribeInstances", Filters=filters(instance_id=node, image_id=cloud.image, availability_zone="us-east-1a"))
    ec2("DescribeInstanceStatus", InstanceIds=[node])
    ec2("DescribeVolumes", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    ec2("DescribeNetworkInterfaces", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    for attribute in (
        "userData",
        "instanceType",
        "instanceInitiatedShutdownBehavior",
        "disableApiTermination",
        "rootDeviceName",
        "groupSet",
        "sourceDestCheck",
        "ebsOptimized",
    ):
        ec2("DescribeInstanceAttribute", InstanceId=node, Attribute=attribute)
    ec2("DescribeTags", Filters=filters(resource_id=node))
    ec2("DescribeTags", Filters=filters(resource_type="instance", key="role", value="master"))
    ec2.refused("DependencyViolation", "DeleteSubnet", SubnetId=subnet)
    ec2.refused("DependencyViolation", "DeleteSecurityGroup", GroupId=group)
    ec2("TerminateInstances", InstanceIds=[node])
    ec2.wait("InstanceTerminated", InstanceIds=[node])
    ec2("DescribeVolumes", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    ec2("TerminateInstances", InstanceIds=[node])
    ec2("DeleteSecurityGroup", GroupId=group)
    ec2("DeleteSubnet", SubnetId=subnet)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def an_instance_stops_and_starts(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.111.0.0/16")
    [node] = launch(ec2, subnet)
    ec2.refused("DryRunOperation", "StopInstances", InstanceIds=[node], DryRun=True)
    ec2("StartInstances", InstanceIds=[node])
    ec2("StopInstances", InstanceIds=[node])
    ec2.wait("InstanceStopped", InstanceIds=[node])
    ec2("DescribeInstanceStatus", InstanceIds=[node])
    ec2("DescribeInstanceStatus", InstanceIds=[node], IncludeAllInstances=True)
    ec2("StopInstances", InstanceIds=[node])
    ec2("ModifyInstanceAttribute", InstanceId=node, InstanceType={"Value": "c5.xlarge"})
    ec2("ModifyInstanceAttribute", InstanceId=node, UserData={"Value": b"#!/bin/sh\n"})
    ec2("DescribeInstanceAttribute", InstanceId=node, Attribute="userData")
    ec2("StartInstances", InstanceIds=[node])
    ec2.wait("InstanceRunning", InstanceIds=[node])
    ec2("RebootInstances", InstanceIds=[node])
    ec2.refused("IncorrectInstanceState", "ModifyInstanceAttribute", InstanceId=node, InstanceType={"Value": "c5.large"})
    terminate(ec2, [node])
    ec2.refused("IncorrectInstanceState", "StartInstances", InstanceIds=[node])
    ec2.refused("IncorrectInstanceState", "StopInstances", InstanceIds=[node])


@scenario
def a_running_instance_is_changed(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.112.0.0/16")
    [node] = launch(ec2, subnet)
    first, second = make_group(ec2, vpc, "first"), make_group(ec2, vpc, "second")
    ec2("ModifyInstanceAttribute", InstanceId=node, Groups=[first, second])
    ec2("DescribeInstanceAttribute", InstanceId=node, Attribute="groupSet")
    ec2("ModifyInstanceAttribute", InstanceId=node, DisableApiTermination={"Value": True})
    ec2.refused("OperationNotPermitted", "TerminateInstances", InstanceIds=[node])
    ec2("DescribeInstanceAttribute", InstanceId=node, Attribute="disableApiTermination")
    ec2("ModifyInstanceAttribute", InstanceId=node, DisableApiTermination={"Value": False})
    ec2("ModifyInstanceAttribute", InstanceId=node, SourceDestCheck={"Value": False})
    ec2("ModifyInstanceAttribute", InstanceId=node, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    keep = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    ec2("ModifyInstanceAttribute", InstanceId=node, BlockDeviceMappings=keep)
    ec2("ModifyInstanceMetadataOptions", InstanceId=node, HttpTokens="required", HttpPutResponseHopLimit=2)
    ec2("MonitorInstances", InstanceIds=[node])
    ec2("UnmonitorInstances", InstanceIds=[node])
    ec2("DescribeInstances", InstanceIds=[node])
    two = {"InstanceId": node, "SourceDestCheck": {"Value": True}, "DisableApiTermination": {"Value": True}}
    ec2.refused("InvalidParameterCombination", "ModifyInstanceAttribute", **two)
    terminate(ec2, [node])
    # The root was told to stay.
    ec2("DescribeVolumes", Filters=filters(status="available", volume_type="gp2", size="8"))


@scenario
def a_launch_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.113.0.0/16")
    ask = {"ImageId": cloud.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    ec2.refused("DryRunOperation", "RunInstances", **ask, DryRun=True)
    ec2.refused("InvalidAMIID.NotFound", "RunInstances", **ask | {"ImageId": "ami-0123456789abcdef0"})
    ec2.refused("InvalidAMIID.Malformed", "RunInstances", **ask | {"ImageId": "debian"})
    ec2.refused("InvalidParameterValue", "RunInstances", **ask | {"InstanceType": "c5.huge"})
    ec2.refused("InvalidSubnetID.NotFound", "RunInstances", **ask | {"SubnetId": "subnet-0123456789abcdef0"})
    ec2.refused("InvalidGroup.NotFound", "RunInstances", **ask, SecurityGroupIds=["sg-0123456789abcdef0"])
    ec2.refused("InvalidKeyPair.NotFound", "RunInstances", **ask, KeyName="no such key")
    ec2.refused("InvalidParameterCombination", "RunInstances", **ask | {"MinCount": 2})
    ec2.refused("InvalidParameterValue", "RunInstances", **ask | {"MinCount": 0, "MaxCount": 0})
    ec2.refused("InvalidParameterValue", "RunInstances", **ask, PrivateIpAddress="10.9.9.9")
    ec2.refused("InvalidParameterValue", "RunInstances", **ask, PrivateIpAddress="10.113.0.1")
    pinned = ask | {"MaxCount": 2, "PrivateIpAddress": "10.113.0.20"}
    ec2.refused("InvalidParameterCombination", "RunInstances", **pinned)
    ec2.refused("InvalidPlacementGroup.Unknown", "RunInstances", **ask, Placement={"GroupName": "no such group"})
    ec2.refused("MissingParameter", "RunInstances", ImageId=cloud.image, InstanceType="c5.large")
    ec2.refused("InvalidParameterValue", "RunInstances", **ask, UserData=base64.b64encode(b"x" * 16385).decode())
    ec2.refused("InvalidLaunchTemplateName.NotFoundException", "RunInstances", **ask, LaunchTemplate={"LaunchTemplateName": "none"})


@scenario
def unknown_instances_are_named(cloud):
    ec2 = ec2_of(cloud)
    unknown = ["i-0123456789abcdef0"]
    for action in ("DescribeInstances", "StartInstances", "StopInstances", "RebootInstances", "TerminateInstances"):
        ec2.refused("InvalidInstanceID.NotFound", action, InstanceIds=unknown)
    ec2.refused("InvalidInstanceID.NotFound", "DescribeInstanceStatus", InstanceIds=unknown)
    ec2.refused("InvalidInstanceID.NotFound", "DescribeInstanceAttribute", InstanceId=unknown[0], Attribute="userData")
    ec2.refused("InvalidInstanceID.NotFound", "GetConsoleOutput", InstanceId=unknown[0])
    ec2.refused("InvalidInstanceID.Malformed", "DescribeInstances", InstanceIds=["node"])
    ec2.refused("InvalidInstanceID.Malformed", "TerminateInstances", InstanceIds=["node"])
    ec2("DescribeInstances", Filters=filters(instance_id=unknown[0]))
    ec2.refused("InvalidParameterValue", "DescribeInstances", Filters=filters(colour="red"))
    ec2.refused("InvalidParameterValue", "DescribeInstances", MaxResults=3)
    ec2.refused("InvalidParameterCombination", "DescribeInstances", MaxResults=5, InstanceIds=unknown)


@scenario
def one_of_two_instances_being_unknown_spares_the_other(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.114.0.0/16")
    [node] = launch(ec2, subnet)
    both = [node, "i-0123456789abcdef0"]
    ec2.refused("InvalidInstanceID.NotFound", "TerminateInstances", InstanceIds=both)
    ec2("DescribeInstances", Filters=filters(instance_id=both, instance_state_name="running"))
    terminate(ec2, [node])


@scenario
def instances_are_read_page_by_page(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.115.0.0/16")
    # Nobody else launches into this zone, and DescribeInstanceStatus has no filter for subnets.
    subnet = make_subnet(ec2, vpc, "10.115.0.0/24", zone="us-east-1c")
    for _ in range(7):
        ec2("RunInstances", ImageId=cloud.image, InstanceType="c5.large", MinCount=1, MaxCount=1, SubnetId=subnet)
    running = filters(subnet_id=subnet)
    ec2.wait("InstanceRunning", Filters=running)
    ec2.pages("DescribeInstances", "Reservations", 5, Filters=running)
    found = ec2("DescribeInstances", Filters=running)["Reservations"]
    ids = [one["InstanceId"] for reservation in found for one in reservation["Instances"]]
    ec2.pages("DescribeInstanceStatus", "InstanceStatuses", 5, Filters=filters(availability_zone="us-east-1c"))
    terminate(ec2, ids)


@scenario
def several_instances_are_launched_at_once(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.116.0.0/16")
    ids = launch(ec2, subnet, MinCount=3, MaxCount=3, ClientToken="three at once", TagSpecifications=tagged("instance", role="worker"))
    ec2("DescribeInstances", Filters=[{"Name": "tag:role", "Values": ["worker"]}, *filters(subnet_id=subnet)])
    ec2("DescribeInstances", Filters=filters(client_token="three at once"))
    ec2("DescribeInstanceStatus", InstanceIds=ids[:2])
    ec2("DescribeSubnets", SubnetIds=[subnet])
    terminate(ec2, ids)
    ec2("DescribeInstances", Filters=filters(subnet_id=subnet))


@scenario
def a_token_launches_once(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.117.0.0/16")
    ask = {"ImageId": cloud.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    ec2("RunInstances", **ask, ClientToken="once")
    ec2("RunInstances", **ask, ClientToken="once")
    ec2.refused("IdempotentParameterMismatch", "RunInstances", **ask | {"InstanceType": "c5.xlarge"}, ClientToken="once")
    found = ec2("DescribeInstances", Filters=filters(subnet_id=subnet))["Reservations"]
    terminate(ec2, [one["InstanceId"] for reservation in found for one in reservation["Instances"]])


@scenario
def volumes_and_interfaces_are_asked_for_at_launch(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.118.0.0/16")
    group = make_group(ec2, vpc, "nodes")
    devices = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "DeleteOnTermination": False}},
    ]
    interface = {
        "DeviceIndex": 0,
        "SubnetId": subnet,
        "Groups": [group],
        "AssociatePublicIpAddress": True,
        "PrivateIpAddress": "10.118.0.50",
        "DeleteOnTermination": True,
    }
    ask = {"ImageId": cloud.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}
    options = {"BlockDeviceMappings": devices, "NetworkInterfaces": [interface], "EbsOptimized": True}
    options |= {"MetadataOptions": {"HttpTokens": "required"}, "Monitoring": {"Enabled": True}}
    answer = ec2("RunInstances", **ask, **options)
    node = answer["Instances"][0]["InstanceId"]
    ec2.wait("InstanceRunning", InstanceIds=[node])
    ec2("DescribeVolumes", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    ec2("DescribeNetworkInterfaces", Filters=[{"Name": "attachment.instance-id", "Values": [node]}])
    ec2.refused("InvalidParameterCombination", "RunInstances", **ask, **options, SubnetId=subnet)
    terminate(ec2, [node])
    ec2("DescribeVolumes", Filters=filters(status="available", size="30"))


@scenario
def tags_come_and_go(cloud):
    ec2 = ec2_of(cloud)
    vpc, subnet = make_network(ec2, "10.119.0.0/16")
    tags = [{"Key": "team", "Value": "recsys"}, {"Key": "stage", "Value": "test"}]
    ec2("CreateTags", Resources=[vpc, subnet], Tags=tags)
    ec2("DescribeTags", Filters=filters(resource_id=[vpc, subnet]))
    ec2("CreateTags", Resources=[vpc], Tags=[{"Key": "team", "Value": "search"}])
    ec2("DescribeTags", Filters=filters(resource_id=vpc, key="team"))
    # A value that is not the tag's leaves it alone.
    ec2("DeleteTags", Resources=[vpc], Tags=[{"Key": "team", "Value": "recsys"}])
    ec2("DescribeTags", Filters=filters(resource_id=vpc, key="team"))
    ec2("DeleteTags", Resources=[vpc, subnet], Tags=[{"Key": "team"}])
    ec2("DescribeTags", Filters=filters(resource_id=[vpc, subnet]))
    ec2.refused("InvalidParameterValue", "CreateTags", Resources=[vpc], Tags=[{"Key": "aws:team", "Value": "x"}])
    ec2.refused("InvalidParameterValue", "CreateTags", Resources=[vpc], Tags=[{"Key": "k" * 128 + "k", "Value": "x"}])
    ec2.refused("InvalidVpcID.NotFound", "CreateTags", Resources=["vpc-0123456789abcdef0"], Tags=tags)
    ec2.refused("InvalidID", "CreateTags", Resources=["what"], Tags=tags)
    many = [{"Key": f"key{number}", "Value": "x"} for number in range(51)]
    ec2.refused("TagLimitExceeded", "CreateTags", Resources=[vpc], Tags=many)
    ec2("DeleteSubnet", SubnetId=subnet)
    ec2("DeleteVpc", VpcId=vpc)

"""Instances: launch, states, attributes, options, keys, placement, console, tags."""

from kit import scenario
from things import TYPE, ZONE, filters, image, instance, instances, launch, network, same_pages, tags, terminate, text

NOWHERE = "i-0123456789abcdef0"


@scenario
def an_instance_goes_through_its_states(cloud):
    both = [*tags("instance", Name="node"), *tags("volume", Name="disk")]
    made = cloud.call(
        "ec2",
        "RunInstances",
        ImageId=image(cloud),
        InstanceType=TYPE,
        MinCount=1,
        MaxCount=1,
        UserData="#!/bin/sh\n",
        TagSpecifications=both,
    )
    assert made["Instances"][0]["State"]["Name"] == "pending"
    id = made["Instances"][0]["InstanceId"]
    cloud.wait("ec2", "InstanceExists", InstanceIds=[id])
    cloud.wait("ec2", "InstanceRunning", InstanceIds=[id])
    cloud.wait("ec2", "InstanceStatusOk", InstanceIds=[id])
    cloud.wait("ec2", "SystemStatusOk", InstanceIds=[id])
    cloud.call("ec2", "RebootInstances", InstanceIds=[id])
    cloud.call("ec2", "GetConsoleOutput", InstanceId=id)
    cloud.call("ec2", "GetConsoleOutput", InstanceId=id, Latest=True)
    change = cloud.call("ec2", "StopInstances", InstanceIds=[id])["StoppingInstances"][0]
    assert change["PreviousState"]["Name"] == "running"
    cloud.wait("ec2", "InstanceStopped", InstanceIds=[id])
    found = instance(cloud, id)
    assert found["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    # Those that do not run are told only when they are asked for (ec2.md 3.10).
    assert cloud.call("ec2", "DescribeInstanceStatus", InstanceIds=[id])["InstanceStatuses"] == []
    assert (
        len(cloud.call("ec2", "DescribeInstanceStatus", InstanceIds=[id], IncludeAllInstances=True)["InstanceStatuses"]) == 1
    )
    cloud.refused("IncorrectInstanceState", "ec2", "RebootInstances", InstanceIds=[id])
    cloud.call("ec2", "StartInstances", InstanceIds=[id])
    cloud.wait("ec2", "InstanceRunning", InstanceIds=[id])
    again = instance(cloud, id)
    assert again["PrivateIpAddress"] == found["PrivateIpAddress"]
    cloud.refused("DryRunOperation", "ec2", "TerminateInstances", InstanceIds=[id], DryRun=True)
    terminate(cloud, [id])
    # Terminated instances stay in view for a while (ec2.md 1.14), and terminating them again is no error (2.5).
    assert instance(cloud, id)["State"]["Name"] == "terminated"
    cloud.call("ec2", "TerminateInstances", InstanceIds=[id])
    cloud.refused("IncorrectInstanceState", "ec2", "StartInstances", InstanceIds=[id])
    cloud.refused("IncorrectInstanceState", "ec2", "StopInstances", InstanceIds=[id])


@scenario
def instances_come_in_pages_and_by_filters(cloud):
    # A reservation each, since pages count reservations.
    ids = [launch(cloud, TagSpecifications=tags("instance", Name=f"page-{n}"))[0] for n in range(6)]
    asked = [{"Name": "tag:Name", "Values": ["page-*"]}]
    same_pages(cloud, "ec2", "DescribeInstances", "Reservations", Filters=asked)
    same_pages(cloud, "ec2", "DescribeInstanceStatus", "InstanceStatuses")
    same_pages(cloud, "ec2", "DescribeTags", "Tags")
    same_pages(cloud, "ec2", "DescribeVolumes", "Volumes")
    same_pages(cloud, "ec2", "DescribeVolumeStatus", "VolumeStatuses")
    same_pages(cloud, "ec2", "DescribeNetworkInterfaces", "NetworkInterfaces")
    found = cloud.call("ec2", "DescribeInstances", Filters=[{"Name": "tag:Name", "Values": ["page-?"]}])
    assert sum(len(it["Instances"]) for it in found["Reservations"]) == 6
    found = cloud.call("ec2", "DescribeInstances", Filters=filters(instance_id=ids[0], instance_state_name="running"))
    assert len(found["Reservations"]) == 1
    cloud.refused("InvalidParameterCombination", "ec2", "DescribeInstances", InstanceIds=ids[:1], MaxResults=5)
    cloud.refused("InvalidParameterValue", "ec2", "DescribeInstances", Filters=filters(colour="red"))
    cloud.refused("InvalidInstanceID.NotFound", "ec2", "DescribeInstances", InstanceIds=[ids[0], NOWHERE])
    cloud.refused("InvalidInstanceID.Malformed", "ec2", "DescribeInstances", InstanceIds=["i-xyz"])
    # A bad id fails the whole call (ec2.md 3.10).
    cloud.refused("InvalidInstanceID.NotFound", "ec2", "TerminateInstances", InstanceIds=[*ids, NOWHERE])
    terminate(cloud, ids)


@scenario
def a_launch_token_stands_for_one_launch(cloud):
    request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "ClientToken": "launch-once"}
    first = cloud.call("ec2", "RunInstances", **request)["Instances"][0]["InstanceId"]
    again = cloud.call("ec2", "RunInstances", **request)["Instances"][0]["InstanceId"]
    assert first == again
    cloud.refused("IdempotentParameterMismatch", "ec2", "RunInstances", **(request | {"MaxCount": 2}))
    cloud.wait("ec2", "InstanceRunning", InstanceIds=[first])
    terminate(cloud, [first])
    cloud.refused("IdempotentInstanceTerminated", "ec2", "RunInstances", **request)


@scenario
def a_launch_that_makes_no_sense_is_refused(cloud):
    request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}

    def refused(code, **changes):
        asked = {name: value for name, value in (request | changes).items() if value is not None}
        cloud.refused(code, "ec2", "RunInstances", **asked)

    refused("MissingParameter", ImageId=None)
    refused("MissingParameter", MinCount=None)
    refused("InvalidAMIID.NotFound", ImageId="ami-0123456789abcdef0")
    refused("InvalidAMIID.Malformed", ImageId="debian")
    refused("InvalidParameterValue", InstanceType="c7a.tiny")
    refused("InvalidParameterCombination", MinCount=2)
    refused("InvalidParameterValue", MinCount=0, MaxCount=0)
    refused("InvalidKeyPair.NotFound", KeyName="nobody's")
    refused("InvalidSubnetID.NotFound", SubnetId="subnet-0123456789abcdef0")
    refused("InvalidGroup.NotFound", SecurityGroupIds=["sg-0123456789abcdef0"])
    refused("InvalidPlacementGroup.Unknown", Placement={"GroupName": "nowhere"})
    refused("InvalidParameterValue", Placement={"AvailabilityZone": "us-east-1q"})
    # More than 16 KiB before base64 (ec2.md 9.3).
    refused("InvalidParameterValue", UserData="x" * 16385)
    refused("InvalidUserData.Malformed", form={"UserData": "no base64!"})
    # With interfaces, subnet and groups belong into them (ec2.md 6.7).
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": True}
    refused("InvalidParameterCombination", NetworkInterfaces=[interface], SecurityGroupIds=["sg-0123456789abcdef0"])
    subnet = cloud.call("ec2", "DescribeSubnets", Filters=filters(availability_zone=ZONE))["Subnets"][0]
    # A fixed address is for one instance, and the first four are EC2's own (ec2.md 6.7).
    network_part = subnet["CidrBlock"].rsplit(".", 1)[0]
    fixed = {"SubnetId": subnet["SubnetId"]}
    refused("InvalidParameterCombination", MaxCount=2, PrivateIpAddress=f"{network_part}.77", **fixed)
    refused("InvalidParameterValue", PrivateIpAddress=f"{network_part}.2", **fixed)
    refused("InvalidParameterCombination", CpuOptions={"CoreCount": 1})
    refused("InvalidLaunchTemplateId.NotFound", LaunchTemplate={"LaunchTemplateId": "lt-0123456789abcdef0"})
    refused("UnknownParameter", form={"Colour": "red"})
    refused("InvalidParameterValue", TagSpecifications=tags("instance", **{"aws:x": "y"}))
    refused("TagLimitExceeded", TagSpecifications=tags("instance", **{f"k{n}": "v" for n in range(51)}))
    burstable = {"InstanceType": "t3.micro", "Placement": {"GroupName": "close"}}
    cloud.call("ec2", "CreatePlacementGroup", GroupName="close", Strategy="cluster")
    refused("InvalidParameterCombination", **burstable)
    cloud.call("ec2", "DeletePlacementGroup", GroupName="close")


@scenario
def a_fixed_address_is_given_to_one_instance(cloud):
    with network(cloud) as (_, subnet):
        ids = launch(cloud, SubnetId=subnet, PrivateIpAddress="10.20.0.44")
        request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
        taken = {"SubnetId": subnet, "PrivateIpAddress": "10.20.0.44"}
        cloud.refused("InvalidIPAddress.InUse", "ec2", "RunInstances", **request, **taken)
        terminate(cloud, ids)


@scenario
def a_subnet_that_is_full_takes_no_more(cloud):
    with network(cloud, "10.30.0.0/28") as (_, subnet):
        request = {"ImageId": image(cloud), "InstanceType": TYPE, "SubnetId": subnet}
        # Eleven addresses are for use.
        cloud.refused("InsufficientFreeAddressesInSubnet", "ec2", "RunInstances", MinCount=12, MaxCount=12, **request)
        made = cloud.call("ec2", "RunInstances", MinCount=1, MaxCount=12, **request)["Instances"]
        assert len(made) == 11
        ids = [it["InstanceId"] for it in made]
        cloud.wait("ec2", "InstanceRunning", InstanceIds=ids)
        terminate(cloud, ids)


@scenario
def instance_attributes_change_one_at_a_time_and_some_only_while_stopped(cloud):
    with instances(cloud, InstanceInitiatedShutdownBehavior="terminate") as (id,):
        names = [
            "instanceType",
            "kernel",
            "ramdisk",
            "userData",
            "disableApiTermination",
            "disableApiStop",
            "instanceInitiatedShutdownBehavior",
            "rootDeviceName",
            "blockDeviceMapping",
            "productCodes",
            "sourceDestCheck",
            "groupSet",
            "ebsOptimized",
            "sriovNetSupport",
            "enaSupport",
            "enclaveOptions",
        ]
        for name in names:
            cloud.call("ec2", "DescribeInstanceAttribute", InstanceId=id, Attribute=name)
        modify = {"InstanceId": id}
        cloud.refused(
            "IncorrectInstanceState", "ec2", "ModifyInstanceAttribute", InstanceType={"Value": "c7a.xlarge"}, **modify
        )
        cloud.refused("IncorrectInstanceState", "ec2", "ModifyInstanceAttribute", UserData={"Value": b"x"}, **modify)
        two = {"EbsOptimized": {"Value": True}, "SourceDestCheck": {"Value": False}}
        cloud.refused("InvalidParameterCombination", "ec2", "ModifyInstanceAttribute", **two, **modify)
        cloud.call("ec2", "ModifyInstanceAttribute", SourceDestCheck={"Value": False}, **modify)
        cloud.call("ec2", "ResetInstanceAttribute", InstanceId=id, Attribute="sourceDestCheck")
        cloud.call("ec2", "ModifyInstanceAttribute", InstanceInitiatedShutdownBehavior={"Value": "stop"}, **modify)
        cloud.call("ec2", "ModifyInstanceAttribute", DisableApiTermination={"Value": True}, **modify)
        cloud.refused("OperationNotPermitted", "ec2", "TerminateInstances", InstanceIds=[id])
        cloud.call("ec2", "ModifyInstanceAttribute", DisableApiTermination={"Value": False}, **modify)
        root = instance(cloud, id)["RootDeviceName"]
        keep = [{"DeviceName": root, "Ebs": {"DeleteOnTermination": False}}]
        cloud.call("ec2", "ModifyInstanceAttribute", BlockDeviceMappings=keep, **modify)
        keep[0]["Ebs"]["DeleteOnTermination"] = True
        cloud.call("ec2", "ModifyInstanceAttribute", BlockDeviceMappings=keep, **modify)
        cloud.call("ec2", "MonitorInstances", InstanceIds=[id])
        assert instance(cloud, id)["Monitoring"]["State"] in ("enabled", "pending")
        cloud.call("ec2", "UnmonitorInstances", InstanceIds=[id])
        options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"}
        cloud.call("ec2", "ModifyInstanceMetadataOptions", InstanceId=id, **options)
        assert instance(cloud, id)["MetadataOptions"].items() >= options.items()
        cloud.refused("IncorrectInstanceState", "ec2", "ModifyInstancePlacement", InstanceId=id, GroupName="")
        cloud.call("ec2", "StopInstances", InstanceIds=[id])
        cloud.wait("ec2", "InstanceStopped", InstanceIds=[id])
        cloud.call("ec2", "ModifyInstanceAttribute", InstanceType={"Value": "c7a.xlarge"}, **modify)
        cloud.call("ec2", "ModifyInstanceAttribute", UserData={"Value": b"#!/bin/sh\n"}, **modify)
        attribute = cloud.call("ec2", "DescribeInstanceAttribute", InstanceId=id, Attribute="userData")
        assert attribute["UserData"]["Value"] == text("#!/bin/sh\n")
        cloud.call("ec2", "ModifyInstanceCpuOptions", InstanceId=id, CoreCount=2, ThreadsPerCore=1)
        cloud.call("ec2", "CreatePlacementGroup", GroupName="placed", Strategy="cluster")
        cloud.call("ec2", "ModifyInstancePlacement", InstanceId=id, GroupName="placed")
        cloud.refused("InvalidPlacementGroup.InUse", "ec2", "DeletePlacementGroup", GroupName="placed")
        cloud.call("ec2", "ModifyInstancePlacement", InstanceId=id, GroupName="")
        cloud.call("ec2", "DeletePlacementGroup", GroupName="placed")
        cloud.call("ec2", "StartInstances", InstanceIds=[id])
        cloud.wait("ec2", "InstanceRunning", InstanceIds=[id])
        assert instance(cloud, id)["InstanceType"] == "c7a.xlarge"


@scenario
def burstable_instances_have_credits(cloud):
    ids = launch(cloud, 6, InstanceType="t3.micro", CreditSpecification={"CpuCredits": "standard"})
    found = cloud.call("ec2", "DescribeInstanceCreditSpecifications", InstanceIds=ids)["InstanceCreditSpecifications"]
    assert {it["CpuCredits"] for it in found} == {"standard"}
    change = [
        {"InstanceId": ids[0], "CpuCredits": "unlimited"},
        {"InstanceId": NOWHERE, "CpuCredits": "unlimited"},
    ]
    answer = cloud.call("ec2", "ModifyInstanceCreditSpecification", InstanceCreditSpecifications=change)
    assert [it["InstanceId"] for it in answer["SuccessfulInstanceCreditSpecifications"]] == [ids[0]]
    assert [it["Error"]["Code"] for it in answer["UnsuccessfulInstanceCreditSpecifications"]] == [
        "InvalidInstanceID.NotFound"
    ]
    # Without ids, those with unlimited credits are told.
    change = [{"InstanceId": id, "CpuCredits": "unlimited"} for id in ids]
    cloud.call("ec2", "ModifyInstanceCreditSpecification", InstanceCreditSpecifications=change)
    same_pages(cloud, "ec2", "DescribeInstanceCreditSpecifications", "InstanceCreditSpecifications")
    terminate(cloud, ids)


@scenario
def a_profile_is_associated_replaced_and_disassociated(cloud):
    profile = {"Name": "ewulf-node"}
    with instances(cloud, 6) as ids:
        made = cloud.call("ec2", "AssociateIamInstanceProfile", InstanceId=ids[0], IamInstanceProfile=profile)
        association = made["IamInstanceProfileAssociation"]["AssociationId"]
        cloud.refused("IncorrectState", "ec2", "AssociateIamInstanceProfile", InstanceId=ids[0], IamInstanceProfile=profile)
        answer = cloud.call(
            "ec2", "ReplaceIamInstanceProfileAssociation", AssociationId=association, IamInstanceProfile={"Name": "other"}
        )
        association = answer["IamInstanceProfileAssociation"]["AssociationId"]
        for id in ids[1:]:
            cloud.call("ec2", "AssociateIamInstanceProfile", InstanceId=id, IamInstanceProfile=profile)
        same_pages(cloud, "ec2", "DescribeIamInstanceProfileAssociations", "IamInstanceProfileAssociations")
        cloud.call("ec2", "DisassociateIamInstanceProfile", AssociationId=association)
        found = cloud.call("ec2", "DescribeIamInstanceProfileAssociations", Filters=filters(instance_id=ids[0]))
        assert all(it["State"] == "disassociated" for it in found["IamInstanceProfileAssociations"])
        gone = "iip-assoc-0123456789abcdef0"
        cloud.refused("InvalidAssociationID.NotFound", "ec2", "DisassociateIamInstanceProfile", AssociationId=gone)


@scenario
def instances_lie_near_each_other_in_a_topology(cloud):
    with instances(cloud, 2, InstanceType="hpc7a.12xlarge") as ids:
        found = cloud.call("ec2", "DescribeInstanceTopology", InstanceIds=ids)["Instances"]
        assert {it["InstanceId"] for it in found} == set(ids)
        assert len(cloud.pages("ec2", "DescribeInstanceTopology", "Instances", 1)) >= 2 and cloud.page_count > 1


@scenario
def key_pairs_are_made_imported_and_deleted(cloud):
    made = cloud.call("ec2", "CreateKeyPair", KeyName="made", KeyType="ed25519", TagSpecifications=tags("key-pair", a="b"))
    assert "PRIVATE KEY" in made["KeyMaterial"]
    cloud.wait("ec2", "KeyPairExists", KeyNames=["made"])
    rsa = cloud.call("ec2", "CreateKeyPair", KeyName="made-rsa")
    assert "RSA PRIVATE KEY" in rsa["KeyMaterial"]
    public = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUPhFmT9yPpF0cgmnN2Hj3J0sZqWb9zVw1zQqJ4v0aB somebody"
    imported = cloud.call("ec2", "ImportKeyPair", KeyName="imported", PublicKeyMaterial=public)
    found = cloud.call("ec2", "DescribeKeyPairs", KeyNames=["imported"], IncludePublicKey=True)["KeyPairs"][0]
    assert found["PublicKey"].startswith(public.decode()[:60]) and found["KeyFingerprint"] == imported["KeyFingerprint"]
    cloud.refused("InvalidKeyPair.Duplicate", "ec2", "CreateKeyPair", KeyName="made")
    cloud.refused("InvalidKeyPair.Duplicate", "ec2", "ImportKeyPair", KeyName="imported", PublicKeyMaterial=public)
    cloud.refused("InvalidKey.Format", "ec2", "ImportKeyPair", KeyName="broken", PublicKeyMaterial=b"ssh-ed25519 nothing")
    cloud.refused("DryRunOperation", "ec2", "CreateKeyPair", KeyName="rehearsed", DryRun=True)
    with instances(cloud, KeyName="made") as (id,):
        assert instance(cloud, id)["KeyName"] == "made"
    cloud.call("ec2", "DeleteKeyPair", KeyPairId=made["KeyPairId"])
    for name in ("made-rsa", "imported"):
        cloud.call("ec2", "DeleteKeyPair", KeyName=name)
    cloud.refused("InvalidKeyPair.NotFound", "ec2", "DescribeKeyPairs", KeyNames=["made"])
    # One that is gone already is no error.
    cloud.call("ec2", "DeleteKeyPair", KeyName="made")


@scenario
def placement_groups_have_names_of_their_own(cloud):
    made = cloud.call(
        "ec2", "CreatePlacementGroup", GroupName="near", Strategy="cluster", TagSpecifications=tags("placement-group", a="b")
    )
    assert made["PlacementGroup"]["State"] in ("pending", "available")
    cloud.call("ec2", "CreatePlacementGroup", GroupName="parts", Strategy="partition", PartitionCount=3)
    cloud.call("ec2", "CreatePlacementGroup", GroupName="far", Strategy="spread", SpreadLevel="rack")
    cloud.refused("InvalidPlacementGroup.Duplicate", "ec2", "CreatePlacementGroup", GroupName="near", Strategy="cluster")
    cloud.call("ec2", "DescribePlacementGroups", GroupNames=["near", "parts", "far"])
    with instances(cloud, 2, Placement={"GroupName": "near"}):
        cloud.refused("InvalidPlacementGroup.InUse", "ec2", "DeletePlacementGroup", GroupName="near")
    # Seven in a zone (ec2.md 4.5).
    request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 8, "MaxCount": 8}
    spread = {"Placement": {"GroupName": "far", "AvailabilityZone": ZONE}}
    cloud.refused("InsufficientInstanceCapacity", "ec2", "RunInstances", **request, **spread)
    for name in ("near", "parts", "far"):
        cloud.call("ec2", "DeletePlacementGroup", GroupName=name)
    cloud.refused("InvalidPlacementGroup.Unknown", "ec2", "DeletePlacementGroup", GroupName="near")
    cloud.refused("InvalidPlacementGroup.Unknown", "ec2", "DescribePlacementGroups", GroupNames=["near"])


@scenario
def tags_come_and_go(cloud):
    vpc = cloud.call("ec2", "CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    cloud.call("ec2", "CreateTags", Resources=[vpc], Tags=[{"Key": "a", "Value": "b"}, {"Key": "c", "Value": ""}])
    found = cloud.call("ec2", "DescribeTags", Filters=filters(resource_id=vpc))["Tags"]
    assert {it["Key"]: it["Value"] for it in found} == {"a": "b", "c": ""}
    # A key with another value stays.
    cloud.call("ec2", "DeleteTags", Resources=[vpc], Tags=[{"Key": "a", "Value": "other"}, {"Key": "c"}])
    found = cloud.call("ec2", "DescribeTags", Filters=filters(resource_id=vpc))["Tags"]
    assert [it["Key"] for it in found] == ["a"]
    cloud.refused("InvalidParameterValue", "ec2", "CreateTags", Resources=[vpc], Tags=[{"Key": "aws:x", "Value": "y"}])
    cloud.refused("InvalidParameterValue", "ec2", "CreateTags", Resources=[vpc], Tags=[{"Key": "k" * 129, "Value": ""}])
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    cloud.refused("TagLimitExceeded", "ec2", "CreateTags", Resources=[vpc], Tags=many)
    cloud.refused("InvalidID", "ec2", "CreateTags", Resources=["no id"], Tags=[{"Key": "a", "Value": "b"}])
    cloud.refused("InvalidInstanceID.NotFound", "ec2", "CreateTags", Resources=[NOWHERE], Tags=[{"Key": "a", "Value": "b"}])
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)

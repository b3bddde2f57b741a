"""Images: made of instances and snapshots, copied, shared, deprecated, deregistered."""

from kit import scenario
from script.ground import ec2_of, filters, launch, make_network, make_volume, tagged, terminate


@scenario
def an_image_is_made_of_an_instance(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.100.0.0/16")
    [node] = launch(ec2, subnet)
    ask = {"InstanceId": node, "Name": "baked", "Description": "baked here"}
    tags = tagged("image", Name="baked")
    image = ec2("CreateImage", **ask, TagSpecifications=tags)["ImageId"]
    ec2.wait("ImageAvailable", ImageIds=[image])
    ec2.refused("InvalidAMIName.Duplicate", "CreateImage", **ask)
    ec2("DescribeImages", Owners=["self"], Filters=filters(name="bak*"))
    ec2("DescribeImages", Filters=[{"Name": "tag:Name", "Values": ["baked"]}])
    ec2("DescribeImages", Filters=filters(image_id=image, state="available", architecture="x86_64"))
    ec2("DescribeImages", Filters=filters(image_id=image, is_public="true"))
    ec2("DescribeImageAttribute", ImageId=image, Attribute="description")
    ec2("DescribeImageAttribute", ImageId=image, Attribute="launchPermission")
    share = [{"UserId": "111122223333"}]
    ec2("ModifyImageAttribute", ImageId=image, LaunchPermission={"Add": share})
    ec2("DescribeImageAttribute", ImageId=image, Attribute="launchPermission")
    ec2("ModifyImageAttribute", ImageId=image, LaunchPermission={"Remove": share})
    ec2("DescribeImageAttribute", ImageId=image, Attribute="launchPermission")
    ec2("ModifyImageAttribute", ImageId=image, Description={"Value": "baked and changed"})
    found = ec2("DescribeImages", ImageIds=[image])["Images"][0]
    snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    ec2.refused("InvalidSnapshot.InUse", "DeleteSnapshot", SnapshotId=snapshot)
    ec2("DeregisterImage", ImageId=image)
    ec2.refused("InvalidAMIID.NotFound", "DeregisterImage", ImageId=image)
    terminate(ec2, [node])


@scenario
def an_image_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    ec2.refused("InvalidInstanceID.NotFound", "CreateImage", InstanceId="i-0123456789abcdef0", Name="nothing")
    ec2.refused("InvalidInstanceID.Malformed", "CreateImage", InstanceId="node", Name="nothing")
    ec2.refused("InvalidAMIID.NotFound", "DescribeImages", ImageIds=["ami-0123456789abcdef0"])
    ec2.refused("InvalidAMIID.Malformed", "DescribeImages", ImageIds=["image"])
    ec2.refused("InvalidAMIID.NotFound", "DeregisterImage", ImageId="ami-0123456789abcdef0")
    copy = {"SourceImageId": "ami-0123456789abcdef0", "SourceRegion": "us-east-1", "Name": "copy"}
    ec2.refused("InvalidAMIID.NotFound", "CopyImage", **copy)
    ec2.refused("InvalidParameterValue", "DescribeImages", Owners=["self"], Filters=filters(colour="red"))
    change = {"ImageId": "ami-0123456789abcdef0", "LaunchPermission": {"Add": [{"Group": "all"}]}}
    ec2.refused("InvalidAMIID.NotFound", "ModifyImageAttribute", **change)


@scenario
def an_image_is_registered_from_a_snapshot(cloud):
    ec2 = ec2_of(cloud)
    volume = make_volume(ec2, 3)
    snapshot = ec2("CreateSnapshot", VolumeId=volume)["SnapshotId"]
    ec2.wait("SnapshotCompleted", SnapshotIds=[snapshot])
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}]
    ask = {
        "Name": "registered",
        "Description": "from a snapshot",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "EnaSupport": True,
        "BootMode": "uefi-preferred",
        "BlockDeviceMappings": devices,
    }
    image = ec2("RegisterImage", **ask)["ImageId"]
    ec2("DescribeImages", Filters=filters(image_id=image))
    ec2.refused("InvalidAMIName.Duplicate", "RegisterImage", **ask)
    unknown = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]
    ec2.refused("InvalidSnapshot.NotFound", "RegisterImage", **ask | {"Name": "other", "BlockDeviceMappings": unknown})
    answer = ec2("CopyImage", SourceImageId=image, SourceRegion="us-east-1", Name="copied", Description="a copy")
    ec2.wait("ImageAvailable", ImageIds=[answer["ImageId"]])
    ec2("DeregisterImage", ImageId=answer["ImageId"])
    ec2("DeregisterImage", ImageId=image)


@scenario
def an_image_is_deprecated(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.101.0.0/16")
    [node] = launch(ec2, subnet)
    image = ec2("CreateImage", InstanceId=node, Name="old one")["ImageId"]
    ec2.wait("ImageAvailable", ImageIds=[image])
    ec2("EnableImageDeprecation", ImageId=image, DeprecateAt="2028-01-01T00:00:00Z")
    ec2("DescribeImages", ImageIds=[image])
    ec2("DisableImageDeprecation", ImageId=image)
    terminate(ec2, [node])


@scenario
def images_are_read_page_by_page(cloud):
    ec2 = ec2_of(cloud)
    volume = make_volume(ec2, 1)
    snapshot = ec2("CreateSnapshot", VolumeId=volume)["SnapshotId"]
    ec2.wait("SnapshotCompleted", SnapshotIds=[snapshot])
    for number in range(6):
        devices = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}]
        ask = {"RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm", "Architecture": "x86_64"}
        ec2("RegisterImage", Name=f"page {number}", BlockDeviceMappings=devices, **ask)
    ec2.pages("DescribeImages", "Images", 5, Owners=["self"], Filters=filters(name="page *"))

"""Images: taken, registered, copied, shared, deprecated, disabled, deregistered."""

import datetime

from kit import scenario
from things import TYPE, filters, image, instance, instances, launch, same_pages, snapshot, tags, terminate, volume

NOWHERE = "ami-0123456789abcdef0"


def take(cloud, node, name, **params):
    """An image of an instance, once it can be used; its id."""
    id = cloud.call("ec2", "CreateImage", InstanceId=node, Name=name, **params)["ImageId"]
    cloud.wait("ec2", "ImageExists", ImageIds=[id])
    cloud.wait("ec2", "ImageAvailable", ImageIds=[id])
    return id


def remove(cloud, id):
    """Deregisters an image and deletes its snapshots."""
    cloud.call("ec2", "DeregisterImage", ImageId=id, DeleteAssociatedSnapshots=True)


@scenario
def an_image_is_taken_launched_and_deregistered(cloud):
    with instances(cloud) as (node,):
        cloud.refused("DryRunOperation", "ec2", "CreateImage", InstanceId=node, Name="rehearsed", DryRun=True)
        both = [*tags("image", Name="taken"), *tags("snapshot", Name="taken")]
        id = take(cloud, node, "taken", Description="of the judge", NoReboot=True, TagSpecifications=both)
        cloud.refused("InvalidAMIName.Duplicate", "ec2", "CreateImage", InstanceId=node, Name="taken")
        cloud.refused("InvalidAMIName.Malformed", "ec2", "CreateImage", InstanceId=node, Name="a{}b")
        # A volume is imaged once in 15 s (ec2.md 8.1).
        cloud.refused("SnapshotCreationPerVolumeRateExceeded", "ec2", "CreateImage", InstanceId=node, Name="again")
    found = cloud.call("ec2", "DescribeImages", Owners=["self"], Filters=filters(name="taken"))["Images"][0]
    assert found["State"] == "available" and found["RootDeviceType"] == "ebs"
    disk = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    cloud.refused("InvalidSnapshot.InUse", "ec2", "DeleteSnapshot", SnapshotId=disk)
    ids = launch(cloud, ImageId=id)
    assert instance(cloud, ids[0])["ImageId"] == id
    cloud.call("ec2", "DeregisterImage", ImageId=id)
    cloud.refused("InvalidAMIID.NotFound", "ec2", "DescribeImages", ImageIds=[NOWHERE])
    request = {"ImageId": id, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    cloud.refused("InvalidAMIID.NotFound", "ec2", "RunInstances", **request)
    cloud.refused("InvalidAMIID.NotFound", "ec2", "DeregisterImage", ImageId=id)
    # Those that run are unaffected (ec2.md 8.10).
    assert instance(cloud, ids[0])["State"]["Name"] == "running"
    terminate(cloud, ids)
    cloud.call("ec2", "DeleteSnapshot", SnapshotId=disk)
    cloud.refused("InvalidInstanceID.NotFound", "ec2", "CreateImage", InstanceId="i-0123456789abcdef0", Name="none")


@scenario
def an_image_is_registered_of_a_snapshot(cloud):
    disk = volume(cloud)
    first = snapshot(cloud, disk)
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": first, "VolumeType": "gp3", "DeleteOnTermination": True}}
    request = {"RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [root]}
    modern = {"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True, "BootMode": "uefi-preferred"}
    modern |= {"SriovNetSupport": "simple", "ImdsSupport": "v2.0"}
    id = cloud.call("ec2", "RegisterImage", Name="registered", **modern, **request)["ImageId"]
    cloud.wait("ec2", "ImageAvailable", ImageIds=[id])
    cloud.refused("InvalidAMIName.Duplicate", "ec2", "RegisterImage", Name="registered", **modern, **request)
    # Without a word about it, an image is an old one (ec2.md 8.3).
    old = cloud.call("ec2", "RegisterImage", Name="old", **request)["ImageId"]
    found = cloud.call("ec2", "DescribeImages", ImageIds=[old])["Images"][0]
    assert (found["Architecture"], found["VirtualizationType"]) == ("i386", "paravirtual") and not found.get("EnaSupport")
    # An image that wants version 2 of the metadata service gives it to its instances.
    with instances(cloud, ImageId=id) as (node,):
        assert instance(cloud, node)["MetadataOptions"]["HttpTokens"] == "required"
    missing = dict(root, Ebs={"SnapshotId": "snap-0123456789abcdef0"})
    cloud.refused(
        "InvalidSnapshot.NotFound", "ec2", "RegisterImage", Name="none", **(request | {"BlockDeviceMappings": [missing]})
    )
    secret = dict(root, Ebs={"SnapshotId": first, "Encrypted": True})
    cloud.refused(
        "InvalidBlockDeviceMapping", "ec2", "RegisterImage", Name="none", **(request | {"BlockDeviceMappings": [secret]})
    )
    cloud.refused("InvalidSnapshot.InUse", "ec2", "DeleteSnapshot", SnapshotId=first)
    for it in (id, old):
        cloud.call("ec2", "DeregisterImage", ImageId=it)
    cloud.call("ec2", "DeleteSnapshot", SnapshotId=first)
    cloud.call("ec2", "DeleteVolume", VolumeId=disk)


@scenario
def images_are_copied_and_come_in_pages(cloud):
    with instances(cloud) as (node,):
        id = take(cloud, node, "original", TagSpecifications=tags("image", team="a"))
    copy = {"SourceRegion": "us-east-1", "SourceImageId": id, "Name": "copy", "CopyImageTags": True, "ClientToken": "copy"}
    copied = cloud.call("ec2", "CopyImage", **copy)["ImageId"]
    assert cloud.call("ec2", "CopyImage", **copy)["ImageId"] == copied
    cloud.refused("IdempotentParameterMismatch", "ec2", "CopyImage", **(copy | {"Description": "another"}))
    cloud.wait("ec2", "ImageAvailable", ImageIds=[copied])
    assert cloud.call("ec2", "DescribeImages", ImageIds=[copied])["Images"][0]["Tags"] == [{"Key": "team", "Value": "a"}]
    others = []
    for n in range(4):
        more = copy | {"Name": f"copy-{n}", "ClientToken": f"copy-{n}"}
        others.append(cloud.call("ec2", "CopyImage", **more)["ImageId"])
    cloud.wait("ec2", "ImageAvailable", ImageIds=others)
    same_pages(cloud, "ec2", "DescribeImages", "Images", Owners=["self"])
    for it in [id, copied, *others]:
        remove(cloud, it)
    cloud.refused("InvalidAMIID.NotFound", "ec2", "CopyImage", SourceRegion="us-east-1", SourceImageId=NOWHERE, Name="none")


@scenario
def image_attributes_are_changed_and_reset(cloud):
    with instances(cloud) as (node,):
        id = take(cloud, node, "attributes")
    for name in (
        "description",
        "launchPermission",
        "blockDeviceMapping",
        "bootMode",
        "imdsSupport",
        "lastLaunchedTime",
        "sriovNetSupport",
        "kernel",
        "ramdisk",
        "productCodes",
        "deregistrationProtection",
    ):
        cloud.call("ec2", "DescribeImageAttribute", ImageId=id, Attribute=name)
    cloud.call("ec2", "ModifyImageAttribute", ImageId=id, Description={"Value": "changed"})
    found = cloud.call("ec2", "DescribeImageAttribute", ImageId=id, Attribute="description")
    assert found["Description"] == {"Value": "changed"}
    share = {"Add": [{"UserId": "111122223333"}, {"Group": "all"}]}
    cloud.call("ec2", "ModifyImageAttribute", ImageId=id, LaunchPermission=share)
    found = cloud.call("ec2", "DescribeImageAttribute", ImageId=id, Attribute="launchPermission")["LaunchPermissions"]
    assert len(found) == 2 and cloud.call("ec2", "DescribeImages", ImageIds=[id])["Images"][0]["Public"]
    cloud.call("ec2", "ResetImageAttribute", ImageId=id, Attribute="launchPermission")
    found = cloud.call("ec2", "DescribeImageAttribute", ImageId=id, Attribute="launchPermission")["LaunchPermissions"]
    assert found == []
    # Irreversible (ec2.md 8.3).
    cloud.call("ec2", "ModifyImageAttribute", ImageId=id, ImdsSupport={"Value": "v2.0"})
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    later = later.replace(second=0, microsecond=0)
    cloud.call("ec2", "EnableImageDeprecation", ImageId=id, DeprecateAt=later)
    assert "DeprecationTime" in cloud.call("ec2", "DescribeImages", ImageIds=[id])["Images"][0]
    far = later + datetime.timedelta(days=4000)
    # Ten years at most (ec2.md 8.11).
    cloud.refused("InvalidParameterValue", "ec2", "EnableImageDeprecation", ImageId=id, DeprecateAt=far)
    cloud.call("ec2", "DisableImageDeprecation", ImageId=id)
    cloud.call("ec2", "DisableImage", ImageId=id)
    request = {"ImageId": id, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    cloud.refused("InvalidAMIID.Unavailable", "ec2", "RunInstances", **request)
    cloud.call("ec2", "EnableImage", ImageId=id)
    cloud.call("ec2", "EnableImageDeregistrationProtection", ImageId=id)
    cloud.refused("OperationNotPermitted", "ec2", "DeregisterImage", ImageId=id)
    cloud.call("ec2", "DisableImageDeregistrationProtection", ImageId=id)
    remove(cloud, id)
    cloud.refused("InvalidAMIID.NotFound", "ec2", "ModifyImageAttribute", ImageId=NOWHERE, Description={"Value": "x"})


@scenario
def public_images_are_found_by_owner_and_name(cloud):
    id = image(cloud)
    found = cloud.call("ec2", "DescribeImages", ImageIds=[id])["Images"][0]
    assert found["Public"] and found["Architecture"] == "x86_64"
    again = cloud.call("ec2", "DescribeImages", Owners=[found["OwnerId"]], Filters=filters(name=found["Name"]))["Images"]
    assert [it["ImageId"] for it in again] == [id]
    assert cloud.call("ec2", "DescribeImages", Owners=["self"], Filters=filters(image_id=id))["Images"] == []
    cloud.refused("AuthFailure", "ec2", "DeregisterImage", ImageId=id)
    disk = found["BlockDeviceMappings"][0]["Ebs"]
    assert disk["VolumeSize"] >= 1

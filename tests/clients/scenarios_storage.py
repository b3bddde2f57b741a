"""Volumes and snapshots."""

from kit import scenario
from things import ZONE, instance, instances, launch, same_pages, snapshot, tags, terminate, volume

NOWHERE = "vol-0123456789abcdef0"
NO_SNAPSHOT = "snap-0123456789abcdef0"


def settle(cloud, id):
    """Waits until a volume's modification has ended, as no waiter of botocore's does."""
    asked = {"VolumeIds": [id]}

    def state():
        return cloud.call("ec2", "DescribeVolumesModifications", **asked)["VolumesModifications"][0]["ModificationState"]

    cloud.until(lambda: state() == "completed", "the end of the modification")


@scenario
def a_volume_is_made_attached_grown_and_deleted(cloud):
    request = {"AvailabilityZone": ZONE, "Size": 8, "VolumeType": "gp3", "ClientToken": "one volume"}
    id = cloud.call("ec2", "CreateVolume", TagSpecifications=tags("volume", Name="disk"), **request)["VolumeId"]
    assert cloud.call("ec2", "CreateVolume", TagSpecifications=tags("volume", Name="disk"), **request)["VolumeId"] == id
    cloud.refused("IdempotentParameterMismatch", "ec2", "CreateVolume", **(request | {"Size": 9}))
    cloud.wait("ec2", "VolumeAvailable", VolumeIds=[id])
    with instances(cloud, Placement={"AvailabilityZone": ZONE}) as (node,):
        attached = cloud.call("ec2", "AttachVolume", VolumeId=id, InstanceId=node, Device="/dev/sdf")
        assert attached["State"] in ("attaching", "attached")
        cloud.wait("ec2", "VolumeInUse", VolumeIds=[id])
        cloud.refused("VolumeInUse", "ec2", "AttachVolume", VolumeId=id, InstanceId=node, Device="/dev/sdg")
        cloud.refused("VolumeInUse", "ec2", "DeleteVolume", VolumeId=id)
        other = volume(cloud)
        cloud.refused("InvalidParameterValue", "ec2", "AttachVolume", VolumeId=other, InstanceId=node, Device="/dev/sdf")
        # What is attached later outlives its instance unless it is told otherwise (ec2.md 5.5).
        mapping = {it["DeviceName"]: it["Ebs"] for it in instance(cloud, node)["BlockDeviceMappings"]}
        assert not mapping["/dev/sdf"]["DeleteOnTermination"]
        cloud.call("ec2", "DetachVolume", VolumeId=id)
        cloud.wait("ec2", "VolumeAvailable", VolumeIds=[id])
        cloud.refused("IncorrectState", "ec2", "DetachVolume", VolumeId=id)
        cloud.call("ec2", "DeleteVolume", VolumeId=other)
    cloud.refused("DryRunOperation", "ec2", "ModifyVolume", VolumeId=id, Size=16, DryRun=True)
    changed = cloud.call("ec2", "ModifyVolume", VolumeId=id, Size=16, Iops=4000, Throughput=250)["VolumeModification"]
    assert changed["OriginalSize"] == 8 and changed["TargetSize"] == 16
    # The next change waits for the end of this one (ec2.md 6.3).
    cloud.refused("IncorrectModificationState", "ec2", "ModifyVolume", VolumeId=id, Size=32)
    settle(cloud, id)
    cloud.refused("InvalidParameterValue", "ec2", "ModifyVolume", VolumeId=id, Size=8)
    cloud.call("ec2", "DescribeVolumesModifications", VolumeIds=[id])
    cloud.call("ec2", "ModifyVolumeAttribute", VolumeId=id, AutoEnableIO={"Value": True})
    for name in ("autoEnableIO", "productCodes"):
        cloud.call("ec2", "DescribeVolumeAttribute", VolumeId=id, Attribute=name)
    cloud.call("ec2", "DescribeVolumeStatus", VolumeIds=[id])
    cloud.call("ec2", "DeleteVolume", VolumeId=id)
    cloud.wait("ec2", "VolumeDeleted", VolumeIds=[id])
    cloud.refused("InvalidVolume.NotFound", "ec2", "DescribeVolumes", VolumeIds=[id])
    cloud.refused("InvalidVolume.NotFound", "ec2", "DeleteVolume", VolumeId=id)


@scenario
def a_volume_that_makes_no_sense_is_refused(cloud):
    cloud.refused("MissingParameter", "ec2", "CreateVolume", AvailabilityZone=ZONE)
    cloud.refused("InvalidParameterValue", "ec2", "CreateVolume", AvailabilityZone=ZONE, Size=70000, VolumeType="gp3")
    cloud.refused("InvalidZone.NotFound", "ec2", "CreateVolume", AvailabilityZone="us-east-1q", Size=1)
    cloud.refused(
        "InvalidParameterValue", "ec2", "CreateVolume", AvailabilityZone=ZONE, Size=1, VolumeType="gp3", Iops=90000
    )
    cloud.refused("InvalidSnapshot.NotFound", "ec2", "CreateVolume", AvailabilityZone=ZONE, SnapshotId=NO_SNAPSHOT)
    cloud.refused("InvalidVolumeID.Malformed", "ec2", "DescribeVolumes", VolumeIds=["disk"])
    with instances(cloud, Placement={"AvailabilityZone": "us-east-1b"}) as (node,):
        id = volume(cloud)
        cloud.refused("InvalidVolume.ZoneMismatch", "ec2", "AttachVolume", VolumeId=id, InstanceId=node, Device="/dev/sdf")
        cloud.call("ec2", "DeleteVolume", VolumeId=id)
    cloud.refused("InvalidVolume.NotFound", "ec2", "AttachVolume", VolumeId=NOWHERE, InstanceId=node, Device="/dev/sdf")


@scenario
def a_volume_is_changed_four_times_a_day_at_most(cloud):
    ids = [volume(cloud) for _ in range(6)]
    for id in ids:
        cloud.call("ec2", "ModifyVolume", VolumeId=id, Size=2)
    same_pages(cloud, "ec2", "DescribeVolumesModifications", "VolumesModifications")
    same_pages(cloud, "ec2", "DescribeVolumes", "Volumes")
    same_pages(cloud, "ec2", "DescribeVolumeStatus", "VolumeStatuses")

    for size in (3, 4, 5):
        settle(cloud, ids[0])
        cloud.call("ec2", "ModifyVolume", VolumeId=ids[0], Size=size)
    settle(cloud, ids[0])
    cloud.refused("VolumeModificationRateExceeded", "ec2", "ModifyVolume", VolumeId=ids[0], Size=6)
    for id in ids:
        cloud.call("ec2", "DeleteVolume", VolumeId=id)


@scenario
def snapshots_are_made_copied_shared_and_deleted(cloud):
    disk = volume(cloud)
    made = cloud.call("ec2", "CreateSnapshot", VolumeId=disk, Description="first", TagSpecifications=tags("snapshot", a="b"))
    id = made["SnapshotId"]
    cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=[id])
    copy = cloud.call("ec2", "CopySnapshot", SourceRegion="us-east-1", SourceSnapshotId=id, Description="copy")["SnapshotId"]
    cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=[copy])
    for name in ("createVolumePermission", "productCodes"):
        cloud.call("ec2", "DescribeSnapshotAttribute", SnapshotId=id, Attribute=name)
    share = {"SnapshotId": id, "Attribute": "createVolumePermission"}
    cloud.call("ec2", "ModifySnapshotAttribute", OperationType="add", UserIds=["111122223333"], **share)
    found = cloud.call("ec2", "DescribeSnapshotAttribute", **share)["CreateVolumePermissions"]
    assert found == [{"UserId": "111122223333"}]
    cloud.call("ec2", "ModifySnapshotAttribute", CreateVolumePermission={"Remove": [{"UserId": "111122223333"}]}, **share)
    cloud.call("ec2", "ModifySnapshotAttribute", OperationType="add", GroupNames=["all"], **share)
    cloud.call("ec2", "ResetSnapshotAttribute", **share)
    assert cloud.call("ec2", "DescribeSnapshotAttribute", **share)["CreateVolumePermissions"] == []
    restored = volume(cloud, SnapshotId=id, Size=4)
    more = [volume(cloud) for _ in range(3)]
    cloud.refused("InvalidParameterValue", "ec2", "CreateVolume", AvailabilityZone=ZONE, SnapshotId=id, Size=0)
    # A volume is copied once in 15 s (ec2.md 8.1).
    cloud.refused("SnapshotCreationPerVolumeRateExceeded", "ec2", "CreateSnapshot", VolumeId=disk)
    others = [snapshot(cloud, it) for it in [restored, *more]]
    same_pages(cloud, "ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"])
    for it in [disk, restored, *more]:
        cloud.call("ec2", "DeleteVolume", VolumeId=it)
    for it in [id, copy, *others]:
        cloud.call("ec2", "DeleteSnapshot", SnapshotId=it)
    cloud.refused("InvalidSnapshot.NotFound", "ec2", "DeleteSnapshot", SnapshotId=id)
    cloud.refused("InvalidSnapshot.NotFound", "ec2", "DescribeSnapshots", SnapshotIds=[id])
    cloud.refused("InvalidVolume.NotFound", "ec2", "CreateSnapshot", VolumeId=NOWHERE)


@scenario
def snapshots_of_a_whole_instance_are_made_at_once(cloud):
    extra = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}]
    with instances(cloud, BlockDeviceMappings=extra) as (node,):
        made = cloud.call("ec2", "CreateSnapshots", InstanceSpecification={"InstanceId": node}, CopyTagsFromSource="volume")
        ids = [it["SnapshotId"] for it in made["Snapshots"]]
        assert len(ids) == 2
        cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=ids)
        for id in ids:
            cloud.call("ec2", "DeleteSnapshot", SnapshotId=id)


@scenario
def a_root_volume_is_replaced_in_its_instance(cloud):
    with instances(cloud, 6) as ids:
        before = instance(cloud, ids[0])["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        for id in ids:
            made = cloud.call("ec2", "CreateReplaceRootVolumeTask", InstanceId=id, DeleteReplacedRootVolume=True)
            assert made["ReplaceRootVolumeTask"]["InstanceId"] == id

        def states():
            found = cloud.call("ec2", "DescribeReplaceRootVolumeTasks")["ReplaceRootVolumeTasks"]
            return {it["TaskState"] for it in found}

        cloud.until(lambda: states() == {"succeeded"}, "the end of the tasks")
        same_pages(cloud, "ec2", "DescribeReplaceRootVolumeTasks", "ReplaceRootVolumeTasks")
        assert instance(cloud, ids[0])["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] != before
        gone = "replacevol-0123456789abcdef0"
        cloud.refused(
            "InvalidReplaceRootVolumeTaskId.NotFound",
            "ec2",
            "DescribeReplaceRootVolumeTasks",
            ReplaceRootVolumeTaskIds=[gone],
        )


@scenario
def volumes_of_an_instance_go_with_it_or_stay(cloud):
    kept = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}
    gone = {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
    (id,) = launch(cloud, BlockDeviceMappings=[kept, gone])
    volumes = {it["DeviceName"]: it["Ebs"]["VolumeId"] for it in instance(cloud, id)["BlockDeviceMappings"]}
    terminate(cloud, [id])
    cloud.wait("ec2", "VolumeDeleted", VolumeIds=[volumes["/dev/sdg"]])
    cloud.wait("ec2", "VolumeAvailable", VolumeIds=[volumes["/dev/sdf"]])
    cloud.call("ec2", "DeleteVolume", VolumeId=volumes["/dev/sdf"])


@scenario
def encryption_by_default_is_switched_on_and_off(cloud):
    assert not cloud.call("ec2", "GetEbsEncryptionByDefault")["EbsEncryptionByDefault"]
    assert cloud.call("ec2", "EnableEbsEncryptionByDefault")["EbsEncryptionByDefault"]
    assert cloud.call("ec2", "GetEbsEncryptionByDefault")["EbsEncryptionByDefault"]
    id = volume(cloud)
    assert cloud.call("ec2", "DescribeVolumes", VolumeIds=[id])["Volumes"][0]["Encrypted"]
    cloud.call("ec2", "DeleteVolume", VolumeId=id)
    assert not cloud.call("ec2", "DisableEbsEncryptionByDefault")["EbsEncryptionByDefault"]
    assert "KmsKeyId" in cloud.call("ec2", "GetEbsDefaultKmsKeyId")

"""Volumes and snapshots."""

from kit import scenario
from script.ground import ec2_of, filters, launch, make_network, make_volume, tagged, terminate


@scenario
def a_volume_is_made_tagged_and_deleted(cloud):
    ec2 = ec2_of(cloud)
    ask = {"AvailabilityZone": "us-east-1a", "Size": 10, "VolumeType": "gp3"}
    volume = ec2("CreateVolume", **ask, TagSpecifications=tagged("volume", Name="shared"))["VolumeId"]
    ec2.wait("VolumeAvailable", VolumeIds=[volume])
    ec2("DescribeVolumes", Filters=filters(volume_id=volume, status="available"))
    ec2("DescribeVolumes", Filters=[{"Name": "tag:Name", "Values": ["shared"]}])
    ec2("DescribeVolumes", Filters=filters(volume_id=volume, size="10", availability_zone="us-east-1a"))
    ec2("DescribeVolumes", Filters=filters(volume_id=volume, volume_type="gp2"))
    ec2("DescribeVolumeStatus", VolumeIds=[volume])
    ec2("DescribeVolumeAttribute", VolumeId=volume, Attribute="autoEnableIO")
    ec2("DeleteVolume", VolumeId=volume)
    ec2.refused("InvalidVolume.NotFound", "DescribeVolumes", VolumeIds=[volume])
    ec2.refused("InvalidVolume.NotFound", "DeleteVolume", VolumeId=volume)


@scenario
def volumes_have_the_performance_that_they_were_made_with(cloud):
    ec2 = ec2_of(cloud)
    make_volume(ec2, 100, VolumeType="gp3", Iops=4000, Throughput=250)
    make_volume(ec2, 100, VolumeType="io2", Iops=1000)
    make_volume(ec2, 100, VolumeType="gp2")
    make_volume(ec2, 125, VolumeType="st1")
    # gp2 is what a volume is made of when nothing is said.
    make_volume(ec2, 4)
    make_volume(ec2, 4, VolumeType="gp3", Encrypted=True)


@scenario
def a_volume_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    ask = {"AvailabilityZone": "us-east-1a", "Size": 10}
    ec2.refused("DryRunOperation", "CreateVolume", **ask, DryRun=True)
    ec2.refused("InvalidZone.NotFound", "CreateVolume", AvailabilityZone="us-east-1q", Size=10)
    ec2.refused("MissingParameter", "CreateVolume", AvailabilityZone="us-east-1a")
    ec2.refused("InvalidParameterValue", "CreateVolume", **ask, VolumeType="gp9")
    ec2.refused("InvalidParameterCombination", "CreateVolume", **ask, VolumeType="gp2", Iops=4000)
    ec2.refused("MissingParameter", "CreateVolume", **ask, VolumeType="io1")
    ec2.refused("InvalidParameterValue", "CreateVolume", **ask, VolumeType="gp3", Throughput=5000)
    ec2.refused("InvalidSnapshot.NotFound", "CreateVolume", **ask, SnapshotId="snap-0123456789abcdef0")
    ec2.refused("InvalidVolume.NotFound", "DescribeVolumes", VolumeIds=["vol-0123456789abcdef0"])
    ec2.refused("InvalidVolumeID.Malformed", "DescribeVolumes", VolumeIds=["volume"])
    ec2.refused("InvalidParameterValue", "DescribeVolumes", Filters=filters(colour="red"))


@scenario
def a_volume_is_attached_and_detached(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.90.0.0/16")
    [node] = launch(ec2, subnet)
    volume = make_volume(ec2)
    ec2("AttachVolume", VolumeId=volume, InstanceId=node, Device="/dev/sdf")
    ec2.wait("VolumeInUse", VolumeIds=[volume])
    ec2("DescribeVolumes", Filters=[{"Name": "attachment.instance-id", "Values": [node]}, *filters(size="4")])
    ec2("DescribeVolumes", Filters=[{"Name": "attachment.device", "Values": ["/dev/sdf"]}, *filters(volume_id=volume)])
    ec2("DescribeInstances", InstanceIds=[node])
    ec2.refused("VolumeInUse", "AttachVolume", VolumeId=volume, InstanceId=node, Device="/dev/sdg")
    ec2.refused("VolumeInUse", "DeleteVolume", VolumeId=volume)
    far = make_volume(ec2, zone="us-east-1b")
    ec2.refused("InvalidVolume.ZoneMismatch", "AttachVolume", VolumeId=far, InstanceId=node, Device="/dev/sdg")
    second = make_volume(ec2)
    ec2.refused("InvalidParameterValue", "AttachVolume", VolumeId=second, InstanceId=node, Device="/dev/sdf")
    unknown = {"VolumeId": "vol-0123456789abcdef0", "InstanceId": node, "Device": "/dev/sdg"}
    ec2.refused("InvalidVolume.NotFound", "AttachVolume", **unknown)
    unknown = {"VolumeId": second, "InstanceId": "i-0123456789abcdef0", "Device": "/dev/sdg"}
    ec2.refused("InvalidInstanceID.NotFound", "AttachVolume", **unknown)
    ec2.refused("IncorrectState", "DetachVolume", VolumeId=second)
    ec2("DetachVolume", VolumeId=volume)
    ec2.wait("VolumeAvailable", VolumeIds=[volume])
    ec2("AttachVolume", VolumeId=second, InstanceId=node, Device="/dev/sdf")
    ec2.wait("VolumeInUse", VolumeIds=[second])
    terminate(ec2, [node])
    # What was attached after the launch outlives the instance; the root does not.
    ec2.wait("VolumeAvailable", VolumeIds=[second])
    for one in (volume, second, far):
        ec2("DeleteVolume", VolumeId=one)


@scenario
def a_volume_grows(cloud):
    ec2 = ec2_of(cloud)
    volume = make_volume(ec2, 10, VolumeType="gp3")
    ec2.refused("InvalidParameterValue", "ModifyVolume", VolumeId=volume, Size=5)
    ec2.refused("InvalidVolume.NotFound", "ModifyVolume", VolumeId="vol-0123456789abcdef0", Size=20)
    ec2("ModifyVolume", VolumeId=volume, Size=20)
    ec2("DescribeVolumes", VolumeIds=[volume])
    ec2("DescribeVolumesModifications", VolumeIds=[volume])


@scenario
def a_snapshot_keeps_a_volume(cloud):
    ec2 = ec2_of(cloud)
    volume = make_volume(ec2, 6)
    ask = {"VolumeId": volume, "Description": "before the change"}
    snapshot = ec2("CreateSnapshot", **ask, TagSpecifications=tagged("snapshot", Name="kept"))["SnapshotId"]
    ec2.wait("SnapshotCompleted", SnapshotIds=[snapshot])
    ec2("DescribeSnapshots", OwnerIds=["self"], Filters=filters(volume_id=volume))
    ec2("DescribeSnapshots", Filters=filters(snapshot_id=snapshot, status="completed"))
    ec2("DescribeSnapshots", Filters=[{"Name": "tag:Name", "Values": ["kept"]}])
    ec2("DescribeSnapshots", Filters=filters(snapshot_id=snapshot, description="before the change"))
    ec2("DescribeSnapshotAttribute", SnapshotId=snapshot, Attribute="createVolumePermission")
    share = {"SnapshotId": snapshot, "Attribute": "createVolumePermission", "UserIds": ["111122223333"]}
    ec2("ModifySnapshotAttribute", **share, OperationType="add")
    ec2("DescribeSnapshotAttribute", SnapshotId=snapshot, Attribute="createVolumePermission")
    ec2("ModifySnapshotAttribute", **share, OperationType="remove")
    restored = ec2("CreateVolume", AvailabilityZone="us-east-1b", SnapshotId=snapshot)["VolumeId"]
    ec2.wait("VolumeAvailable", VolumeIds=[restored])
    larger = ec2("CreateVolume", AvailabilityZone="us-east-1b", SnapshotId=snapshot, Size=8)["VolumeId"]
    ec2.wait("VolumeAvailable", VolumeIds=[larger])
    small = {"AvailabilityZone": "us-east-1b", "SnapshotId": snapshot, "Size": 2}
    ec2.refused("InvalidParameterValue", "CreateVolume", **small)
    copy = ec2("CopySnapshot", SourceRegion="us-east-1", SourceSnapshotId=snapshot, Description="a copy")["SnapshotId"]
    ec2.wait("SnapshotCompleted", SnapshotIds=[copy])
    ec2("DeleteSnapshot", SnapshotId=snapshot)
    ec2.refused("InvalidSnapshot.NotFound", "DescribeSnapshots", SnapshotIds=[snapshot])
    ec2.refused("InvalidSnapshot.NotFound", "DeleteSnapshot", SnapshotId=snapshot)
    ec2("DeleteSnapshot", SnapshotId=copy)
    ec2.refused("InvalidVolume.NotFound", "CreateSnapshot", VolumeId="vol-0123456789abcdef0")
    ec2.refused("DryRunOperation", "CreateSnapshot", VolumeId=volume, DryRun=True)


@scenario
def volumes_and_snapshots_are_read_page_by_page(cloud):
    ec2 = ec2_of(cloud)
    volumes = [make_volume(ec2, 1) for _ in range(6)]
    ec2.pages("DescribeVolumes", "Volumes", 5, Filters=filters(volume_id=volumes))
    snapshots = [ec2("CreateSnapshot", VolumeId=volume)["SnapshotId"] for volume in volumes]
    ec2.wait("SnapshotCompleted", SnapshotIds=snapshots)
    ec2.pages("DescribeSnapshots", "Snapshots", 5, OwnerIds=["self"], Filters=filters(snapshot_id=snapshots))

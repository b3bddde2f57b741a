"""What a client sees only when things go wrong: the cloud's own control actions make them go wrong."""

import contextlib
import json

from kit import scenario
from scenarios_ssm import await_online
from things import TYPE, image, instance, instances, launch, make_network, network, snapshot, terminate, volume

# Codes that EC2 has for trouble of its own, which no rule of the model leads to: here they come by name.
BY_NAME = [
    ("InsufficientHostCapacity", 500),
    ("InsufficientReservedInstanceCapacity", 500),
    ("ReservationCapacityExceeded", 400),
    ("UnfulfillableCapacity", 400),
    ("Unsupported", 400),
    ("MaxSpotInstanceCountExceeded", 400),
    ("MaxIOPSLimitExceeded", 400),
    ("NetworkInterfaceLimitExceeded", 400),
    ("PrivateIpAddressLimitExceeded", 400),
    ("PlacementGroupLimitExceeded", 400),
    ("ResourceCountExceeded", 400),
    ("PendingVerification", 400),
    ("OptInRequired", 401),
    ("Blocked", 403),
    ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403),
    ("ServerInternal", 500),
    ("ServiceUnavailable", 503),
    ("InsufficientAddressCapacity", 500),
    ("InsufficientVolumeCapacity", 500),
    ("ConcurrentTagAccess", 400),
    ("SnapshotCreationPerVolumeRateExceeded", 400),
    ("ConcurrentCreateImageNoRebootLimitExceeded", 400),
]


def control(cloud, action, **input):
    """One of the cloud's own actions."""
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"LocalCloud.{action}"}
    status, answer = cloud.post("local", headers, json.dumps(input))
    assert status == 200, answer
    return json.loads(answer)


@contextlib.contextmanager
def faults(cloud, *rules):
    """Rules for as long as a scenario lasts."""
    control(cloud, "SetFaults", rules=list(rules))
    try:
        yield
    finally:
        control(cloud, "ClearFaults")


def request(cloud, **more):
    return {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1} | more


@scenario
def a_busy_or_broken_cloud_says_so(cloud):
    for fault, ec2, ssm, ebs in [
        # ec2.md 3.2 and 4.1
        ("throttled", "RequestLimitExceeded", "ThrottlingException", "RequestThrottledException"),
        ("internal-error", "InternalError", "InternalServerError", "InternalServerException"),
        ("unavailable", "Unavailable", "ServiceUnavailable", "ServiceUnavailable"),
        ("deny", "UnauthorizedOperation", "AccessDeniedException", "AccessDeniedException"),
    ]:
        with faults(cloud, {"fault": fault, "count": 3}):
            cloud.refused(ec2, "ec2", "DescribeVpcs")
            cloud.refused(ssm, "ssm", "DescribeParameters")
            cloud.refused(ebs, "ebs", "ListSnapshotBlocks", SnapshotId="snap-0123456789abcdef0")
    for code, status in BY_NAME:
        with faults(cloud, {"service": "ec2", "fault": {"error": {"code": code, "status": status}}}):
            cloud.refused(code, "ec2", "DescribeVpcs")
            assert cloud.transcript[-1]["error"]["status"] == status


@scenario
def capacity_and_quotas_are_named(cloud):
    # ec2.md 4.1
    with faults(cloud, {"action": "RunInstances", "fault": "capacity"}):
        cloud.refused("InsufficientInstanceCapacity", "ec2", "RunInstances", **request(cloud))
    with faults(cloud, {"fault": {"quota": {"vcpus": 0}}}):
        cloud.refused("VcpuLimitExceeded", "ec2", "RunInstances", **request(cloud))
    with faults(cloud, {"fault": {"quota": {"instances": 0, "vpcs": 0, "internet_gateways": 0, "volumes": 0}}}):
        cloud.refused("InstanceLimitExceeded", "ec2", "RunInstances", **request(cloud))
        cloud.refused("VpcLimitExceeded", "ec2", "CreateVpc", CidrBlock="10.1.0.0/16")
        cloud.refused("InternetGatewayLimitExceeded", "ec2", "CreateInternetGateway")
        cloud.refused("VolumeLimitExceeded", "ec2", "CreateVolume", AvailabilityZone="us-east-1a", Size=1)
    # An instant fleet answers with what it got and why it got no more (ec2.md 4.3).
    data = {"ImageId": image(cloud), "InstanceType": TYPE}
    made = cloud.call("ec2", "CreateLaunchTemplate", LaunchTemplateName="scarce", LaunchTemplateData=data)
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    config = {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}}
    target = {"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "on-demand"}
    with faults(cloud, {"fault": {"capacity": {"left": 1}}}):
        made = cloud.call(
            "ec2", "CreateFleet", Type="instant", LaunchTemplateConfigs=[config], TargetCapacitySpecification=target
        )
    assert made["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    ids = [id for it in made["Instances"] for id in it["InstanceIds"]]
    assert len(ids) == 1
    cloud.call("ec2", "DeleteFleets", FleetIds=[made["FleetId"]], TerminateInstances=True)
    cloud.wait("ec2", "InstanceTerminated", InstanceIds=ids)
    cloud.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=template)


@scenario
def a_launch_that_was_accepted_may_fail(cloud):
    # ec2.md 4.4
    for code in [
        "Server.InternalError",
        "Server.InsufficientInstanceCapacity",
        "Client.VolumeLimitExceeded",
        "Client.InternalError",
        "Client.InvalidSnapshot.NotFound",
        "Client.InstanceTerminated",
    ]:
        with faults(cloud, {"fault": {"launch-failure": {"code": code}}}):
            id = cloud.call("ec2", "RunInstances", **request(cloud))["Instances"][0]["InstanceId"]
            cloud.wait("ec2", "InstanceTerminated", InstanceIds=[id])
            found = cloud.call("ec2", "DescribeInstances", InstanceIds=[id])["Reservations"][0]["Instances"][0]
            assert found["StateReason"]["Code"] == code


@scenario
def what_was_just_made_is_not_known_at_once(cloud):
    # ec2.md 1.1 to 1.3 and 1.10
    with faults(cloud, {"service": "ec2", "fault": {"lag": {"seconds": 0.5}}}):
        vpc = cloud.call("ec2", "CreateVpc", CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        cloud.refused("InvalidVpcID.NotFound", "ec2", "DescribeVpcs", VpcIds=[vpc])
        cloud.wait("ec2", "VpcExists", VpcIds=[vpc])
        id = cloud.call("ec2", "RunInstances", **request(cloud))["Instances"][0]["InstanceId"]
        cloud.refused("InvalidInstanceID.NotFound", "ec2", "TerminateInstances", InstanceIds=[id])
        cloud.wait("ec2", "InstanceRunning", InstanceIds=[id])
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)
    terminate(cloud, [id])
    with faults(cloud, {"fault": {"profile-lag": {"seconds": 60}}}):
        profile = {"IamInstanceProfile": {"Name": "new"}}
        cloud.refused("InvalidParameterValue", "ec2", "RunInstances", **request(cloud, **profile))
        assert "Invalid IAM Instance Profile" in cloud.transcript[-1]["error"]["message"]


@scenario
def what_was_just_deleted_lingers(cloud):
    # ec2.md 5.2 and 1.15
    with faults(cloud, {"fault": {"lingering-interfaces": {"seconds": 1}}}):
        vpc, subnet = make_network(cloud)
        (id,) = launch(cloud, SubnetId=subnet)
        terminate(cloud, [id])
        cloud.refused("DependencyViolation", "ec2", "DeleteSubnet", SubnetId=subnet)
        left = [{"Name": "subnet-id", "Values": [subnet]}]
        asked = {"Filters": left}
        cloud.until(lambda: not cloud.call("ec2", "DescribeNetworkInterfaces", **asked)["NetworkInterfaces"], "the end")
    cloud.call("ec2", "DeleteSubnet", SubnetId=subnet)
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)
    disk = volume(cloud)
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot(cloud, disk)}}
    image_of = {"Name": "taken for a while", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [root]}
    with faults(cloud, {"fault": {"name-taken": {"seconds": 60}}}):
        id = cloud.call("ec2", "RegisterImage", **image_of)["ImageId"]
        cloud.call("ec2", "DeregisterImage", ImageId=id)
        cloud.refused("InvalidAMIName.Duplicate", "ec2", "RegisterImage", **image_of)
    cloud.call("ec2", "DeleteSnapshot", SnapshotId=root["Ebs"]["SnapshotId"])
    cloud.call("ec2", "DeleteVolume", VolumeId=disk)


@scenario
def an_instance_that_powers_off_is_stopped(cloud):
    # ec2.md 4.4 and 5.6
    (id,) = launch(cloud)
    control(cloud, "DisturbNode", node=id, trouble="power-off")
    cloud.wait("ec2", "InstanceStopped", InstanceIds=[id])
    assert instance(cloud, id)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    terminate(cloud, [id])


@scenario
def a_spot_instance_is_told_and_taken(cloud):
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    with faults(cloud, {"fault": {"spot-interruption": {"seconds": 0.2, "notice": 0.2}}}):
        (id,) = launch(cloud, **spot)
        cloud.wait("ec2", "InstanceTerminated", InstanceIds=[id])
    found = cloud.call("ec2", "DescribeInstances", InstanceIds=[id])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    asked = [found["SpotInstanceRequestId"]]
    cloud.call("ec2", "DescribeSpotInstanceRequests", SpotInstanceRequestIds=asked)


@scenario
def a_command_may_be_unknown_late_or_lost(cloud):
    # ec2.md 1.16 and 7.11
    script = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    with network(cloud) as (_, subnet), instances(cloud, SubnetId=subnet) as (id,):
        await_online(cloud, [id])
        with faults(cloud, {"fault": {"invocation-lag": {"seconds": 60}}}):
            sent = cloud.call("ssm", "SendCommand", InstanceIds=[id], **script)["Command"]["CommandId"]
            cloud.refused("InvocationDoesNotExist", "ssm", "GetCommandInvocation", CommandId=sent, InstanceId=id)
            assert cloud.call("ssm", "ListCommandInvocations", CommandId=sent)["CommandInvocations"] == []
        for fault, details in [("delivery-timed-out", "DeliveryTimedOut"), ("undeliverable", "Undeliverable")]:
            with faults(cloud, {"fault": fault}):
                sent = cloud.call("ssm", "SendCommand", InstanceIds=[id], **script)["Command"]["CommandId"]
                asked = {"CommandId": sent, "InstanceId": id}
                cloud.until(lambda: cloud.call("ssm", "GetCommandInvocation", **asked)["StatusDetails"] == details, details)

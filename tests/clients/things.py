"""What most scenarios need before they come to their point, and how they clean up after it."""

import base64
import contextlib

TYPE = "c7a.large"
ZONE = "us-east-1a"


def image(cloud):
    """A public image that anybody may launch."""
    parameter = cloud.call("ssm", "GetParameter", Name="/aws/service/debian/release/13/latest/amd64")
    return parameter["Parameter"]["Value"]


def tags(kind, **values):
    """A list of one tag specification."""
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in values.items()]}]


def filters(**values):
    """Filters by name, with dashes for underscores and dots for two of them."""
    names = {name: name.replace("__", ".").replace("_", "-") for name in values}
    return [{"Name": names[name], "Values": [value]} for name, value in values.items()]


def text(value):
    return base64.b64encode(value.encode()).decode()


def make_network(cloud, cidr="10.20.0.0/24"):
    """A VPC with one subnet in it; their ids. The VPC has the /16 around the subnet."""
    around = cidr.rsplit(".", 2)[0] + ".0.0/16"
    vpc = cloud.call("ec2", "CreateVpc", CidrBlock=around)["Vpc"]["VpcId"]
    subnet = cloud.call("ec2", "CreateSubnet", VpcId=vpc, CidrBlock=cidr, AvailabilityZone=ZONE)
    return vpc, subnet["Subnet"]["SubnetId"]


@contextlib.contextmanager
def network(cloud, cidr="10.20.0.0/24"):
    """A VPC and a subnet for as long as a scenario lasts."""
    vpc, subnet = make_network(cloud, cidr)
    yield vpc, subnet
    cloud.call("ec2", "DeleteSubnet", SubnetId=subnet)
    cloud.call("ec2", "DeleteVpc", VpcId=vpc)


def launch(cloud, count=1, **params):
    """Instances that run; their ids. A parameter that is None is left out."""
    params = {"ImageId": image(cloud), "InstanceType": TYPE} | params
    params = {name: value for name, value in params.items() if value is not None}
    answer = cloud.call("ec2", "RunInstances", MinCount=count, MaxCount=count, **params)
    ids = [instance["InstanceId"] for instance in answer["Instances"]]
    cloud.wait("ec2", "InstanceRunning", InstanceIds=ids)
    return ids


def terminate(cloud, ids):
    """Ends instances and waits until they are gone."""
    cloud.call("ec2", "TerminateInstances", InstanceIds=ids)
    cloud.wait("ec2", "InstanceTerminated", InstanceIds=ids)


@contextlib.contextmanager
def instances(cloud, count=1, **params):
    """Instances for as long as a scenario lasts."""
    ids = launch(cloud, count, **params)
    yield ids
    terminate(cloud, ids)


def instance(cloud, id):
    """All that is said of an instance."""
    return cloud.call("ec2", "DescribeInstances", InstanceIds=[id])["Reservations"][0]["Instances"][0]


def volume(cloud, **params):
    """A volume that is available; its id."""
    params = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3"} | params
    id = cloud.call("ec2", "CreateVolume", **params)["VolumeId"]
    cloud.wait("ec2", "VolumeAvailable", VolumeIds=[id])
    return id


def snapshot(cloud, volume_id, **params):
    """A snapshot that is complete; its id."""
    id = cloud.call("ec2", "CreateSnapshot", VolumeId=volume_id, **params)["SnapshotId"]
    cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=[id])
    return id


def same_pages(cloud, service, action, key, size=5, **params):
    """Holds the pages of an action, joined, to its answer in one piece; there must be more than one page."""
    answer = cloud.call(service, action, **params)
    # Some actions page by themselves; then the largest pages that all of them have stand for the whole.
    whole = cloud.pages(service, action, key, 50, **params) if answer.get("NextToken") else answer[key]
    paged = cloud.pages(service, action, key, size, **params)
    # EC2 promises no order.
    alone = [one for one in paged if one not in whole] + [one for one in whole if one not in paged]
    assert not alone, f"the pages of {action} joined are not the whole: {alone[0]} is only in one of them"
    assert len(paged) == len(whole), f"{action} tells {len(whole)} results in {len(paged)}"
    assert cloud.page_count > 1, f"{action} has only {cloud.page_count} page of {len(paged)}"
    return whole

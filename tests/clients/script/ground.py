"""What scenarios stand on: shorter calls, and the few resources that most of them need first."""


class Service:
    """One service of a cloud: `service("CreateVpc", …)` calls, `service.refused(code, "CreateVpc", …)` must fail."""

    def __init__(self, cloud, name):
        self.cloud, self.name = cloud, name

    def __call__(self, action, **params):
        return self.cloud.call(self.name, action, **params)

    def refused(self, code, action, **params):
        self.cloud.refused(code, self.name, action, **params)

    def pages(self, action, result_key, size, **params):
        return self.cloud.pages(self.name, action, result_key, size, **params)

    def wait(self, waiter, **params):
        return self.cloud.wait(self.name, waiter, **params)


def ec2_of(cloud):
    return Service(cloud, "ec2")


def filters(**values):
    """Filters by name, with `_` for `-`; a value is one string or several."""
    return [
        {"Name": name.replace("_", "-"), "Values": value if isinstance(value, list) else [value]}
        for name, value in values.items()
    ]


def tagged(kind, **tags):
    """The parameter that tags what a call creates."""
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def make_vpc(ec2, cidr):
    vpc = ec2("CreateVpc", CidrBlock=cidr)["Vpc"]["VpcId"]
    ec2.wait("VpcAvailable", VpcIds=[vpc])
    return vpc


def make_subnet(ec2, vpc, cidr, zone="us-east-1a"):
    subnet = ec2("CreateSubnet", VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
    ec2.wait("SubnetAvailable", SubnetIds=[subnet])
    return subnet


def make_group(ec2, vpc, name):
    return ec2("CreateSecurityGroup", GroupName=name, Description=f"group {name}", VpcId=vpc)["GroupId"]


def make_network(ec2, cidr):
    """A VPC with one subnet in it, which is all that a launch needs."""
    vpc = make_vpc(ec2, cidr)
    return vpc, make_subnet(ec2, vpc, cidr.replace("/16", "/24"))


def launch(ec2, subnet, **params):
    """Launches instances and waits until they run; answers with their ids."""
    asked = {
        "ImageId": ec2.cloud.image,
        "InstanceType": "c5.large",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": subnet,
    }
    answer = ec2("RunInstances", **asked | params)
    ids = [instance["InstanceId"] for instance in answer["Instances"]]
    ec2.wait("InstanceRunning", InstanceIds=ids)
    return ids


def terminate(ec2, ids):
    ec2("TerminateInstances", InstanceIds=ids)
    ec2.wait("InstanceTerminated", InstanceIds=ids)


def make_volume(ec2, size=4, zone="us-east-1a", **params):
    volume = ec2("CreateVolume", AvailabilityZone=zone, Size=size, **params)["VolumeId"]
    ec2.wait("VolumeAvailable", VolumeIds=[volume])
    return volume

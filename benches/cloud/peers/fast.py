"""A cluster by a script that was written for speed and for nothing else: the lower bound that ewulf is measured against.

It makes what ewulf makes (VPC, subnet, gateway, routes, security group, placement group, two launch templates, a master
and N workers), looks up what exists first, sends side by side whatever does not wait for something else, and launches each
role by one RunInstances. It renders nothing, locks nothing, checks nothing and says nothing.

Usage: fast.py create|nothing|destroy WORKERS
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

NAME = "fast"
IMAGE = "ami-0deb13a64d0000001"
TYPE = "c7a.large"
ZONE = "us-east-1a"
TAGS = [{"Key": "cluster", "Value": NAME}]
OURS = [{"Name": "tag:cluster", "Values": [NAME]}]

ec2 = boto3.client("ec2", config=Config(max_pool_connections=32, retries={"mode": "standard"}))
pool = ThreadPoolExecutor(32)


def tags(*kinds):
    return [{"ResourceType": kind, "Tags": TAGS} for kind in kinds]


def together(*calls):
    return [future.result() for future in [pool.submit(call) for call in calls]]


def instances():
    pages = ec2.get_paginator("describe_instances").paginate(Filters=OURS)
    found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return [one for one in found if one["State"]["Name"] not in ("shutting-down", "terminated")]


def read():
    """Everything there is of the cluster, and what its making needs to know."""
    names = ("vpcs", "subnets", "gateways", "tables", "groups", "placements", "templates", "instances")
    found = together(
        lambda: ec2.describe_vpcs(Filters=OURS)["Vpcs"],
        lambda: ec2.describe_subnets(Filters=OURS)["Subnets"],
        lambda: ec2.describe_internet_gateways(Filters=OURS)["InternetGateways"],
        lambda: ec2.describe_route_tables(Filters=OURS)["RouteTables"],
        lambda: ec2.describe_security_groups(Filters=OURS)["SecurityGroups"],
        lambda: ec2.describe_placement_groups(Filters=OURS)["PlacementGroups"],
        lambda: ec2.describe_launch_templates(Filters=OURS)["LaunchTemplates"],
        instances,
        lambda: ec2.describe_images(ImageIds=[IMAGE]),
        lambda: ec2.describe_availability_zones(),
    )
    return dict(zip(names, found))


def create_template(role, placement):
    data = {"ImageId": IMAGE, "InstanceType": TYPE, "Placement": placement}
    ec2.create_launch_template(
        LaunchTemplateName=f"{NAME}-{role}", LaunchTemplateData=data, TagSpecifications=tags("launch-template")
    )


def launch(role, count, subnet, group):
    ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": f"{NAME}-{role}"},
        MinCount=count,
        MaxCount=count,
        SubnetId=subnet,
        SecurityGroupIds=[group],
        TagSpecifications=tags("instance", "volume"),
    )


def create(workers):
    assert not any(read().values()), "something exists"
    vpc, gateway, *_ = together(
        lambda: ec2.create_vpc(CidrBlock="10.43.0.0/16", TagSpecifications=tags("vpc"))["Vpc"]["VpcId"],
        lambda: ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway"))["InternetGateway"]["InternetGatewayId"],
        lambda: ec2.create_placement_group(GroupName=NAME, Strategy="cluster", TagSpecifications=tags("placement-group")),
        lambda: create_template("master", {}),
    )
    subnet, table, group, *_ = together(
        lambda: ec2.create_subnet(
            VpcId=vpc, CidrBlock="10.43.0.0/16", AvailabilityZone=ZONE, TagSpecifications=tags("subnet")
        )["Subnet"]["SubnetId"],
        lambda: ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table"))["RouteTable"]["RouteTableId"],
        lambda: ec2.create_security_group(
            GroupName=NAME, Description=NAME, VpcId=vpc, TagSpecifications=tags("security-group")
        )["GroupId"],
        lambda: ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc),
        lambda: create_template("worker", {"GroupName": NAME}),
    )
    itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    together(
        lambda: ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True}),
        lambda: ec2.associate_route_table(RouteTableId=table, SubnetId=subnet),
        lambda: ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway),
        lambda: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=itself),
        lambda: launch("master", 1, subnet, group),
        lambda: launch("worker", workers, subnet, group),
    )
    while not is_whole(instances(), workers):
        time.sleep(0.15)


def is_whole(nodes, workers):
    return len(nodes) == workers + 1 and all(node["State"]["Name"] == "running" for node in nodes)


def nothing(workers):
    assert is_whole(read()["instances"], workers), "the cluster is not whole"


def destroy(_):
    found = read()
    ids = [node["InstanceId"] for node in found["instances"]]
    vpc = found["vpcs"][0]["VpcId"]
    gateway = found["gateways"][0]["InternetGatewayId"]
    subnet = found["subnets"][0]["SubnetId"]
    table = found["tables"][0]
    own = [one["RouteTableAssociationId"] for one in table["Associations"] if not one.get("Main")]
    group = found["groups"][0]["GroupId"]
    together(
        # EC2 takes 1,000 ids in one call.
        *[lambda part=ids[first : first + 1000]: ec2.terminate_instances(InstanceIds=part) for first in range(0, len(ids), 1000)],
        *[lambda id=one: ec2.disassociate_route_table(AssociationId=id) for one in own],
        *[lambda id=one["LaunchTemplateId"]: ec2.delete_launch_template(LaunchTemplateId=id) for one in found["templates"]],
    )
    while instances_left(ids):
        time.sleep(0.15)
    together(
        lambda: ec2.delete_subnet(SubnetId=subnet),
        lambda: ec2.delete_route_table(RouteTableId=table["RouteTableId"]),
        lambda: ec2.delete_security_group(GroupId=group),
        lambda: ec2.delete_placement_group(GroupName=NAME),
        lambda: ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc),
    )
    together(lambda: ec2.delete_vpc(VpcId=vpc), lambda: ec2.delete_internet_gateway(InternetGatewayId=gateway))


def instances_left(ids):
    pages = ec2.get_paginator("describe_instances").paginate(Filters=OURS)
    states = [one["State"]["Name"] for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return any(state != "terminated" for state in states)


if __name__ == "__main__":
    {"create": create, "nothing": nothing, "destroy": destroy}[sys.argv[1]](int(sys.argv[2]))

"""Launch templates, fleets and spot instances."""

import base64

from kit import scenario
from script.ground import ec2_of, filters, make_network, tagged, terminate


@scenario
def a_launch_template_has_versions(cloud):
    ec2 = ec2_of(cloud)
    data = {
        "ImageId": cloud.image,
        "InstanceType": "c5.large",
        "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
        "TagSpecifications": tagged("instance", role="worker"),
        "MetadataOptions": {"HttpTokens": "required"},
    }
    ask = {"LaunchTemplateName": "worker", "LaunchTemplateData": data, "VersionDescription": "first"}
    answer = ec2("CreateLaunchTemplate", **ask, TagSpecifications=tagged("launch-template", Name="worker"))
    template = answer["LaunchTemplate"]["LaunchTemplateId"]
    ec2.refused("InvalidLaunchTemplateName.AlreadyExistsException", "CreateLaunchTemplate", **ask)
    larger = {"InstanceType": "c5.xlarge"}
    ec2("CreateLaunchTemplateVersion", LaunchTemplateId=template, LaunchTemplateData=larger, VersionDescription="larger")
    based = {"LaunchTemplateName": "worker", "SourceVersion": "1", "LaunchTemplateData": larger}
    ec2("CreateLaunchTemplateVersion", **based)
    ec2("DescribeLaunchTemplates", LaunchTemplateIds=[template])
    ec2("DescribeLaunchTemplates", LaunchTemplateNames=["worker"])
    ec2("DescribeLaunchTemplates", Filters=[{"Name": "tag:Name", "Values": ["worker"]}])
    ec2("DescribeLaunchTemplateVersions", LaunchTemplateId=template)
    ec2("DescribeLaunchTemplateVersions", LaunchTemplateId=template, Versions=["$Latest"])
    ec2("DescribeLaunchTemplateVersions", LaunchTemplateName="worker", Versions=["$Default", "2"])
    ec2("DescribeLaunchTemplateVersions", LaunchTemplateName="worker", MinVersion="2", MaxVersion="3")
    ec2("ModifyLaunchTemplate", LaunchTemplateId=template, DefaultVersion="3")
    ec2("DescribeLaunchTemplateVersions", LaunchTemplateId=template, Versions=["$Default"])
    ec2.refused("InvalidInstanceID.NotFound", "GetLaunchTemplateData", InstanceId="i-0123456789abcdef0")
    ec2("DeleteLaunchTemplateVersions", LaunchTemplateId=template, Versions=["2"])
    ec2("DeleteLaunchTemplate", LaunchTemplateId=template)
    ec2.refused("InvalidLaunchTemplateId.NotFound", "DescribeLaunchTemplates", LaunchTemplateIds=[template])


@scenario
def a_launch_template_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    data = {"InstanceType": "c5.large"}
    missing = "lt-0123456789abcdef0"
    ec2.refused("InvalidLaunchTemplateName.NotFoundException", "DescribeLaunchTemplates", LaunchTemplateNames=["none"])
    ec2.refused("InvalidLaunchTemplateId.NotFound", "DescribeLaunchTemplates", LaunchTemplateIds=[missing])
    ec2.refused("InvalidLaunchTemplateId.NotFound", "DeleteLaunchTemplate", LaunchTemplateId=missing)
    ec2.refused("InvalidLaunchTemplateName.NotFoundException", "DeleteLaunchTemplate", LaunchTemplateName="none")
    new = {"LaunchTemplateId": missing, "LaunchTemplateData": data}
    ec2.refused("InvalidLaunchTemplateId.NotFound", "CreateLaunchTemplateVersion", **new)
    ec2.refused("DryRunOperation", "CreateLaunchTemplate", LaunchTemplateName="dry", LaunchTemplateData=data, DryRun=True)
    ec2.refused("MissingParameter", "CreateLaunchTemplate", LaunchTemplateName="bare")
    made = ec2("CreateLaunchTemplate", LaunchTemplateName="short", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    version = {"LaunchTemplateId": made, "Versions": ["7"]}
    ec2.refused("InvalidLaunchTemplateId.VersionNotFound", "DescribeLaunchTemplateVersions", **version)
    ec2("DeleteLaunchTemplateVersions", **version)
    ec2("DeleteLaunchTemplate", LaunchTemplateName="short")


@scenario
def an_instance_is_launched_from_a_template(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.130.0.0/16")
    data = {"ImageId": cloud.image, "InstanceType": "c5.large", "TagSpecifications": tagged("instance", role="worker")}
    ec2("CreateLaunchTemplate", LaunchTemplateName="launched", LaunchTemplateData=data)
    ask = {"LaunchTemplate": {"LaunchTemplateName": "launched", "Version": "1"}, "SubnetId": subnet}
    answer = ec2("RunInstances", **ask, MinCount=1, MaxCount=1)
    nodes = [answer["Instances"][0]["InstanceId"]]
    answer = ec2("RunInstances", **ask, InstanceType="c5.xlarge", MinCount=1, MaxCount=1)
    nodes.append(answer["Instances"][0]["InstanceId"])
    ec2.wait("InstanceRunning", InstanceIds=nodes)
    ec2("DescribeInstances", Filters=[*filters(subnet_id=subnet), {"Name": "tag:role", "Values": ["worker"]}])
    wrong = {"LaunchTemplateName": "launched", "Version": "9"}
    ec2.refused("InvalidLaunchTemplateId.VersionNotFound", "RunInstances", **ask | {"LaunchTemplate": wrong}, MinCount=1, MaxCount=1)
    terminate(ec2, nodes)
    ec2("DeleteLaunchTemplate", LaunchTemplateName="launched")


@scenario
def a_fleet_is_instant(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.131.0.0/16")
    data = {"ImageId": cloud.image, "InstanceType": "c5.large"}
    template = ec2("CreateLaunchTemplate", LaunchTemplateName="fleet", LaunchTemplateData=data)["LaunchTemplate"]
    specification = {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"}
    configs = [{"LaunchTemplateSpecification": specification, "Overrides": [{"SubnetId": subnet, "InstanceType": "c5.large"}]}]
    target = {"TotalTargetCapacity": 2, "OnDemandTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"}
    ask = {"Type": "instant", "LaunchTemplateConfigs": configs, "TargetCapacitySpecification": target}
    answer = ec2("CreateFleet", **ask, TagSpecifications=tagged("instance", role="worker"))
    fleet = answer["FleetId"]
    ids = [node for one in answer.get("Instances", []) for node in one["InstanceIds"]]
    ec2.wait("InstanceRunning", InstanceIds=ids)
    ec2("DescribeInstances", InstanceIds=ids)
    ec2("DescribeFleets", FleetIds=[fleet])
    ec2.refused("UnsupportedOperation", "DescribeFleetInstances", FleetId=fleet)
    ec2("DeleteFleets", FleetIds=[fleet], TerminateInstances=True)
    ec2.wait("InstanceTerminated", InstanceIds=ids)
    ec2("DescribeFleets", FleetIds=[fleet])
    ec2("DeleteLaunchTemplate", LaunchTemplateName="fleet")


@scenario
def a_fleet_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    target = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    specification = {"LaunchTemplateId": "lt-0123456789abcdef0", "Version": "1"}
    configs = [{"LaunchTemplateSpecification": specification}]
    ec2.refused("MissingParameter", "CreateFleet", Type="instant", LaunchTemplateConfigs=configs)
    ask = {"Type": "instant", "LaunchTemplateConfigs": configs, "TargetCapacitySpecification": target}
    # A dry run looks at what is named all the same.
    ec2.refused("InvalidLaunchTemplateId.NotFound", "CreateFleet", **ask, DryRun=True)
    ec2.refused("InvalidFleetId.NotFound", "DescribeFleets", FleetIds=["fleet-01234567-89ab-cdef-0123-456789abcdef"])


@scenario
def a_spot_instance_has_a_request(cloud):
    ec2 = ec2_of(cloud)
    _, subnet = make_network(ec2, "10.132.0.0/16")
    ask = {"ImageId": cloud.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    answer = ec2("RunInstances", **ask, InstanceMarketOptions=market)
    node = answer["Instances"][0]["InstanceId"]
    ec2.wait("InstanceRunning", InstanceIds=[node])
    ec2("DescribeInstances", Filters=filters(instance_id=node, instance_lifecycle="spot"))
    ec2("DescribeSpotInstanceRequests", Filters=filters(instance_id=node))
    ec2.refused("UnsupportedOperation", "StopInstances", InstanceIds=[node])
    terminate(ec2, [node])
    unknown = ["sir-01234567"]
    ec2.refused("InvalidSpotInstanceRequestID.NotFound", "DescribeSpotInstanceRequests", SpotInstanceRequestIds=unknown)
    ec2.refused("InvalidSpotInstanceRequestID.NotFound", "CancelSpotInstanceRequests", SpotInstanceRequestIds=unknown)

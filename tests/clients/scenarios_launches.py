"""Launch templates, fleets and spot requests."""

from kit import scenario
from things import TYPE, filters, image, instances, launch, same_pages, tags, terminate, text

NOWHERE = "lt-0123456789abcdef0"
# Well formed, and nobody's.
GONE = "fleet-01234567-89ab-cdef-0123-456789abcdef"
SPOT = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


def template(cloud, name, **data):
    """A launch template; its id."""
    data = {"ImageId": image(cloud), "InstanceType": TYPE} | data
    made = cloud.call("ec2", "CreateLaunchTemplate", LaunchTemplateName=name, LaunchTemplateData=data)
    return made["LaunchTemplate"]["LaunchTemplateId"]


@scenario
def a_launch_template_gets_versions_and_is_launched(cloud):
    data = {
        "ImageId": image(cloud),
        "InstanceType": TYPE,
        "UserData": "IyEvYmluL3NoCg==",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3"}}],
        "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": tags("instance", Name="of a template"),
    }
    request = {"LaunchTemplateName": "shape", "LaunchTemplateData": data, "ClientToken": "one template"}
    made = cloud.call("ec2", "CreateLaunchTemplate", TagSpecifications=tags("launch-template", a="b"), **request)
    id = made["LaunchTemplate"]["LaunchTemplateId"]
    again = cloud.call("ec2", "CreateLaunchTemplate", TagSpecifications=tags("launch-template", a="b"), **request)
    assert again["LaunchTemplate"]["LaunchTemplateId"] == id
    taken = {"LaunchTemplateName": "shape", "LaunchTemplateData": data}
    cloud.refused("InvalidLaunchTemplateName.AlreadyExistsException", "ec2", "CreateLaunchTemplate", **taken)
    for n in range(5):
        change = {"LaunchTemplateData": {"InstanceType": "c7a.xlarge"}, "SourceVersion": "1", "VersionDescription": f"{n}"}
        cloud.call("ec2", "CreateLaunchTemplateVersion", LaunchTemplateId=id, **change)
    found = cloud.call("ec2", "DescribeLaunchTemplateVersions", LaunchTemplateId=id, Versions=["$Latest", "$Default", "2"])
    numbers = sorted(it["VersionNumber"] for it in found["LaunchTemplateVersions"])
    assert numbers == [1, 2, 6]
    same_pages(cloud, "ec2", "DescribeLaunchTemplateVersions", "LaunchTemplateVersions", LaunchTemplateId=id)
    cloud.call("ec2", "ModifyLaunchTemplate", LaunchTemplateId=id, DefaultVersion="2")
    of_template = {"LaunchTemplateName": "shape", "Version": "$Default"}
    # Image and type are the template's.
    with instances(cloud, ImageId=None, InstanceType=None, LaunchTemplate=of_template) as (node,):
        found = cloud.call("ec2", "DescribeInstances", InstanceIds=[node])["Reservations"][0]["Instances"][0]
        assert found["InstanceType"] == "c7a.xlarge" and {"Key": "Name", "Value": "of a template"} in found["Tags"]
        cloud.call("ec2", "GetLaunchTemplateData", InstanceId=node)
    missing = {"LaunchTemplateId": id, "Version": "99"}
    launch_it = {"MinCount": 1, "MaxCount": 1}
    cloud.refused("InvalidLaunchTemplateId.VersionNotFound", "ec2", "RunInstances", LaunchTemplate=missing, **launch_it)
    answer = cloud.call("ec2", "DeleteLaunchTemplateVersions", LaunchTemplateId=id, Versions=["3", "99"])
    assert [it["VersionNumber"] for it in answer["SuccessfullyDeletedLaunchTemplateVersions"]] == [3]
    errors = [it["ResponseError"]["Code"] for it in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]]
    assert errors == ["launchTemplateVersionDoesNotExist"]
    cloud.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=id)
    cloud.refused("InvalidLaunchTemplateId.NotFound", "ec2", "DeleteLaunchTemplate", LaunchTemplateId=id)
    cloud.refused("InvalidLaunchTemplateId.Malformed", "ec2", "DescribeLaunchTemplates", LaunchTemplateIds=["shape"])
    cloud.refused(
        "InvalidLaunchTemplateName.NotFoundException", "ec2", "DescribeLaunchTemplates", LaunchTemplateNames=["shape"]
    )


@scenario
def launch_templates_come_in_pages(cloud):
    large = {"LaunchTemplateName": "large", "LaunchTemplateData": {"UserData": text("x" * 16385)}}
    cloud.refused("InvalidUserData.Malformed", "ec2", "CreateLaunchTemplate", **large)
    ids = [template(cloud, f"page-{n}") for n in range(6)]
    same_pages(cloud, "ec2", "DescribeLaunchTemplates", "LaunchTemplates")
    for id in ids:
        cloud.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=id)


@scenario
def an_instant_fleet_answers_with_instances_and_errors(cloud):
    id = template(cloud, "fleet")
    overrides = [{"InstanceType": TYPE, "AvailabilityZone": "us-east-1a"}]
    configs = [
        {"LaunchTemplateSpecification": {"LaunchTemplateId": id, "Version": "$Latest"}, "Overrides": overrides},
        {"LaunchTemplateSpecification": {"LaunchTemplateId": NOWHERE, "Version": "1"}},
    ]
    target = {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"}
    request = {"Type": "instant", "LaunchTemplateConfigs": configs[:1], "TargetCapacitySpecification": target}
    made = cloud.call("ec2", "CreateFleet", TagSpecifications=tags("fleet", a="b"), ClientToken="one fleet", **request)
    nodes = [node for it in made["Instances"] for node in it["InstanceIds"]]
    assert len(nodes) == 2 and made["Errors"] == []
    fleets = [made["FleetId"]]
    for _ in range(5):
        more = cloud.call("ec2", "CreateFleet", **request)
        fleets.append(more["FleetId"])
        nodes += [node for it in more["Instances"] for node in it["InstanceIds"]]
    same_pages(cloud, "ec2", "DescribeFleets", "Fleets", FleetIds=fleets)
    # The instances of an instant fleet are told by DescribeFleets alone.
    cloud.refused("UnsupportedOperation", "ec2", "DescribeFleetInstances", FleetId=fleets[0])
    # Only `instant` answers at once, and it must be asked for (ec2.md 4.3).
    cloud.refused("UnsupportedOperation", "ec2", "CreateFleet", **{k: v for k, v in request.items() if k != "Type"})
    cloud.refused("MissingParameter", "ec2", "CreateFleet", Type="instant", TargetCapacitySpecification=target)
    answer = cloud.call("ec2", "DeleteFleets", FleetIds=[*fleets, GONE], TerminateInstances=True)
    assert len(answer["SuccessfulFleetDeletions"]) == 6
    assert [it["Error"]["Code"] for it in answer["UnsuccessfulFleetDeletions"]] == ["fleetIdDoesNotExist"]
    cloud.wait("ec2", "InstanceTerminated", InstanceIds=nodes)
    cloud.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=id)


@scenario
def spot_instances_have_requests_that_are_cancelled(cloud):
    ids = launch(cloud, 6, InstanceMarketOptions=SPOT)
    found = cloud.call("ec2", "DescribeInstances", InstanceIds=ids)["Reservations"][0]["Instances"]
    requests = [it["SpotInstanceRequestId"] for it in found]
    cloud.wait("ec2", "SpotInstanceRequestFulfilled", SpotInstanceRequestIds=requests)
    same_pages(cloud, "ec2", "DescribeSpotInstanceRequests", "SpotInstanceRequests")
    # Cancelling ends no instance (ec2.md 5.7).
    answer = cloud.call("ec2", "CancelSpotInstanceRequests", SpotInstanceRequestIds=requests)
    assert {it["State"] for it in answer["CancelledSpotInstanceRequests"]} == {"cancelled"}
    gone = "sir-01234567"
    cloud.refused(
        "InvalidSpotInstanceRequestID.NotFound", "ec2", "DescribeSpotInstanceRequests", SpotInstanceRequestIds=[gone]
    )
    # A spot instance has no protection, nor another type (ec2.md 5.8 and 6.1).
    protect = {"InstanceId": ids[0], "DisableApiTermination": {"Value": True}}
    cloud.refused("UnsupportedOperation", "ec2", "ModifyInstanceAttribute", **protect)
    low = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}
    request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    cloud.refused("SpotMaxPriceTooLow", "ec2", "RunInstances", InstanceMarketOptions=low, **request)
    terminate(cloud, ids)


@scenario
def types_zones_and_prices_are_told(cloud):
    types = same_pages(cloud, "ec2", "DescribeInstanceTypes", "InstanceTypes")
    assert TYPE in [it["InstanceType"] for it in types]
    cloud.refused("InvalidInstanceType", "ec2", "DescribeInstanceTypes", InstanceTypes=["c7a.tiny"])
    cloud.call("ec2", "DescribeInstanceTypes", Filters=[{"Name": "network-info.efa-supported", "Values": ["true"]}])
    offered = same_pages(
        cloud, "ec2", "DescribeInstanceTypeOfferings", "InstanceTypeOfferings", LocationType="availability-zone"
    )
    assert (TYPE, "us-east-1a") in [(it["InstanceType"], it["Location"]) for it in offered]
    zones = cloud.call("ec2", "DescribeAvailabilityZones", ZoneNames=["us-east-1a"])["AvailabilityZones"]
    assert zones[0]["State"] == "available" and zones[0]["ZoneId"].startswith("use1-az")
    cloud.call("ec2", "DescribeAvailabilityZones", AllAvailabilityZones=True)
    cloud.refused("InvalidParameterValue", "ec2", "DescribeAvailabilityZones", ZoneNames=["us-east-1q"])
    regions = cloud.call("ec2", "DescribeRegions", RegionNames=["us-east-1"])["Regions"]
    assert regions[0]["RegionName"] == "us-east-1"
    cloud.refused("InvalidParameterValue", "ec2", "DescribeRegions", RegionNames=["us-nowhere-1"])
    attributes = cloud.call("ec2", "DescribeAccountAttributes")["AccountAttributes"]
    assert "default-vpc" in [it["AttributeName"] for it in attributes]
    prices = {"InstanceTypes": [TYPE, "c7a.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}
    same_pages(cloud, "ec2", "DescribeSpotPriceHistory", "SpotPriceHistory", size=5, **prices)
    found = cloud.call("ec2", "DescribeSpotPriceHistory", Filters=filters(instance_type=TYPE))["SpotPriceHistory"]
    assert all(float(it["SpotPrice"]) > 0 for it in found)

"""What a region offers and who asks: zones, regions, instance types, account attributes, STS."""

from kit import scenario
from script.ground import Service, ec2_of, filters


@scenario
def zones_and_regions_are_told(cloud):
    ec2 = ec2_of(cloud)
    ec2("DescribeAvailabilityZones", ZoneNames=["us-east-1a"])
    ec2("DescribeAvailabilityZones", Filters=filters(zone_name="us-east-1b", state="available"))
    ec2("DescribeAvailabilityZones", Filters=filters(zone_type="local-zone"))
    ec2.refused("InvalidParameterValue", "DescribeAvailabilityZones", ZoneNames=["us-east-1q"])
    ec2("DescribeRegions", RegionNames=["us-east-1"])
    ec2("DescribeRegions", Filters=filters(region_name="us-east-1"))
    ec2.refused("InvalidParameterValue", "DescribeRegions", RegionNames=["moon-1"])


@scenario
def instance_types_are_told(cloud):
    ec2 = ec2_of(cloud)
    for kind in ("c5.large", "m5.xlarge", "t3.medium", "c6i.4xlarge", "hpc7a.96xlarge", "c5n.18xlarge"):
        ec2("DescribeInstanceTypes", InstanceTypes=[kind])
    ec2("DescribeInstanceTypes", Filters=filters(instance_type="c5.9xlarge"))
    ec2.refused("InvalidInstanceType", "DescribeInstanceTypes", InstanceTypes=["c5.huge"])
    ec2.refused("InvalidParameterValue", "DescribeInstanceTypes", Filters=filters(colour="red"))
    one = filters(instance_type="c5.large")
    ec2("DescribeInstanceTypeOfferings", Filters=one)
    ec2("DescribeInstanceTypeOfferings", LocationType="availability-zone", Filters=filters(instance_type="c5.large", location="us-east-1a"))
    ec2("DescribeInstanceTypeOfferings", LocationType="region", Filters=filters(instance_type="c5.huge"))
    ec2("DescribeSpotPriceHistory", InstanceTypes=["c5.large"], AvailabilityZone="us-east-1a", ProductDescriptions=["Linux/UNIX"])


@scenario
def the_account_tells_its_attributes(cloud):
    ec2 = ec2_of(cloud)
    for name in ("default-vpc", "supported-platforms", "max-instances", "vpc-max-elastic-ips"):
        ec2("DescribeAccountAttributes", AttributeNames=[name])
    ec2("GetEbsEncryptionByDefault")


@scenario
def the_caller_is_known(cloud):
    sts = Service(cloud, "sts")
    sts("GetCallerIdentity")

"""Security groups and their rules, key pairs, placement groups."""

from kit import scenario
from script.ground import ec2_of, filters, make_group, make_vpc, tagged

# A public key that was made for this file; its private half was thrown away.
PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdsHHn1uQwe/DXMtrv9r7rB0fZXNcdZv4+pgU3rpbRz differential"


def rule(protocol, first=None, last=None, **sources):
    """One permission; -1 has no ports."""
    ports = {} if first is None else {"FromPort": first, "ToPort": first if last is None else last}
    return {"IpProtocol": protocol, **ports, **sources}


def cidrs(*blocks):
    return {"IpRanges": [{"CidrIp": block} for block in blocks]}


@scenario
def a_security_group_begins_with_all_traffic_out(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.80.0.0/16")
    ask = {"GroupName": "nodes", "Description": "nodes of a cluster", "VpcId": vpc}
    group = ec2("CreateSecurityGroup", **ask, TagSpecifications=tagged("security-group", Name="nodes"))["GroupId"]
    ec2.refused("InvalidGroup.Duplicate", "CreateSecurityGroup", **ask)
    ec2("DescribeSecurityGroups", GroupIds=[group])
    ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc, group_name="nodes"))
    ec2("DescribeSecurityGroups", Filters=[{"Name": "tag:Name", "Values": ["nodes"]}, {"Name": "vpc-id", "Values": [vpc]}])
    ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc, description="nodes of a cluster"))
    ec2("DescribeSecurityGroupRules", Filters=filters(group_id=group))
    ec2.refused("DependencyViolation", "DeleteVpc", VpcId=vpc)
    ec2("DeleteSecurityGroup", GroupId=group)
    ec2.refused("InvalidGroup.NotFound", "DescribeSecurityGroups", GroupIds=[group])
    ec2.refused("InvalidGroup.NotFound", "DeleteSecurityGroup", GroupId=group)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def a_security_group_is_refused_for_what_is_wrong_with_it(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.81.0.0/16")
    ask = {"GroupName": "nodes", "Description": "nodes", "VpcId": vpc}
    ec2.refused("InvalidParameterValue", "CreateSecurityGroup", **ask | {"GroupName": "sg-nodes"})
    ec2.refused("InvalidParameterValue", "CreateSecurityGroup", **ask | {"GroupName": "n" * 256})
    ec2.refused("InvalidParameterValue", "CreateSecurityGroup", **ask | {"GroupName": "default"})
    ec2.refused("MissingParameter", "CreateSecurityGroup", GroupName="nodes", VpcId=vpc)
    ec2.refused("InvalidVpcID.NotFound", "CreateSecurityGroup", **ask | {"VpcId": "vpc-0123456789abcdef0"})
    ec2.refused("DryRunOperation", "CreateSecurityGroup", **ask, DryRun=True)
    ec2.refused("InvalidGroup.NotFound", "DescribeSecurityGroups", GroupIds=["sg-0123456789abcdef0"])
    ec2.refused("InvalidGroup.NotFound", "DeleteSecurityGroup", GroupId="sg-0123456789abcdef0")
    default = ec2("DescribeSecurityGroups", Filters=filters(vpc_id=vpc))["SecurityGroups"][0]["GroupId"]
    ec2.refused("CannotDelete", "DeleteSecurityGroup", GroupId=default)
    ec2.refused("InvalidParameterValue", "DescribeSecurityGroups", Filters=filters(colour="red"))
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def rules_of_a_security_group_come_and_go(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.82.0.0/16")
    group = make_group(ec2, vpc, "nodes")
    ssh = rule("tcp", 22, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "from home"}])
    answer = ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[ssh])
    own = rule("-1", UserIdGroupPairs=[{"GroupId": group}])
    ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[own])
    ec2.refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[ssh])
    tags = tagged("security-group-rule", Name="jobs")
    ports = rule("udp", 1000, 2000, **cidrs("10.82.0.0/16"))
    ec2("AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=[ports], TagSpecifications=tags)
    ec2("DescribeSecurityGroups", GroupIds=[group])
    ec2("DescribeSecurityGroupRules", Filters=filters(group_id=group))
    [made] = answer["SecurityGroupRules"]
    ec2("DescribeSecurityGroupRules", SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    ec2("DescribeSecurityGroups", Filters=[{"Name": "ip-permission.cidr", "Values": ["10.0.0.0/8"]}, *filters(vpc_id=vpc)])
    ec2("DescribeSecurityGroups", Filters=[{"Name": "ip-permission.from-port", "Values": ["22"]}, *filters(vpc_id=vpc)])
    ec2("DescribeSecurityGroups", Filters=[{"Name": "ip-permission.group-id", "Values": [group]}])
    told = rule("tcp", 22, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "from anywhere inside"}])
    ec2("UpdateSecurityGroupRuleDescriptionsIngress", GroupId=group, IpPermissions=[told])
    change = {"IpProtocol": "tcp", "FromPort": 2222, "ToPort": 2222, "CidrIpv4": "10.0.0.0/8"}
    rules = [{"SecurityGroupRuleId": made["SecurityGroupRuleId"], "SecurityGroupRule": change}]
    ec2("ModifySecurityGroupRules", GroupId=group, SecurityGroupRules=rules)
    ec2("DescribeSecurityGroupRules", SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    ec2("RevokeSecurityGroupIngress", GroupId=group, SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    ec2("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[own])
    ec2.refused("InvalidPermission.NotFound", "RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[own])
    ec2("RevokeSecurityGroupEgress", GroupId=group, IpPermissions=[rule("-1", **cidrs("0.0.0.0/0"))])
    ec2("DescribeSecurityGroups", GroupIds=[group])
    ec2("DeleteSecurityGroup", GroupId=group)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def a_rule_is_refused_or_put_right(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.83.0.0/16")
    group = make_group(ec2, vpc, "nodes")
    # Host bits are dropped, so that the second is the first again.
    loose = rule("tcp", 443, **cidrs("10.1.2.3/24"))
    ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[loose])
    strict = rule("tcp", 443, **cidrs("10.1.2.0/24"))
    ec2.refused("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[strict])
    ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[rule("-1", 22, 23, **cidrs("10.5.0.0/16"))])
    ec2("DescribeSecurityGroups", GroupIds=[group])
    wrong = rule("tcp", 22, **cidrs("anywhere"))
    ec2.refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[wrong])
    wrong = rule("tcp", 70000, **cidrs("10.0.0.0/8"))
    ec2.refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[wrong])
    wrong = rule("tcp", 30, 20, **cidrs("10.0.0.0/8"))
    ec2.refused("InvalidParameterValue", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[wrong])
    wrong = rule("tcp", 22, UserIdGroupPairs=[{"GroupId": "sg-0123456789abcdef0"}])
    ec2.refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[wrong])
    unknown = {"GroupId": "sg-0123456789abcdef0", "IpPermissions": [strict]}
    ec2.refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", **unknown)
    ec2.refused("InvalidSecurityGroupRuleId.NotFound", "DescribeSecurityGroupRules", SecurityGroupRuleIds=["sgr-0123456789abcdef0"])
    ec2("DeleteSecurityGroup", GroupId=group)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def groups_that_name_one_another_hold_one_another(cloud):
    ec2 = ec2_of(cloud)
    vpc = make_vpc(ec2, "10.84.0.0/16")
    first, second = make_group(ec2, vpc, "first"), make_group(ec2, vpc, "second")
    of_second = rule("tcp", 22, UserIdGroupPairs=[{"GroupId": second}])
    ec2("AuthorizeSecurityGroupIngress", GroupId=first, IpPermissions=[of_second])
    ec2.refused("DependencyViolation", "DeleteSecurityGroup", GroupId=second)
    ec2("RevokeSecurityGroupIngress", GroupId=first, IpPermissions=[of_second])
    ec2("DeleteSecurityGroup", GroupId=second)
    ec2("DeleteSecurityGroup", GroupId=first)
    ec2("DeleteVpc", VpcId=vpc)


@scenario
def a_key_pair_is_imported(cloud):
    ec2 = ec2_of(cloud)
    ask = {"KeyName": "imported", "PublicKeyMaterial": PUBLIC_KEY}
    ec2("ImportKeyPair", **ask, TagSpecifications=tagged("key-pair", team="recsys"))
    ec2.refused("InvalidKeyPair.Duplicate", "ImportKeyPair", **ask)
    ec2("DescribeKeyPairs", KeyNames=["imported"])
    ec2("DescribeKeyPairs", KeyNames=["imported"], IncludePublicKey=True)
    ec2("DescribeKeyPairs", Filters=filters(key_name="import*"))
    ec2("DescribeKeyPairs", Filters=[{"Name": "tag:team", "Values": ["recsys"]}])
    ec2.refused("InvalidKey.Format", "ImportKeyPair", KeyName="broken", PublicKeyMaterial=b"not a key")
    ec2("DeleteKeyPair", KeyName="imported")
    ec2.refused("InvalidKeyPair.NotFound", "DescribeKeyPairs", KeyNames=["imported"])
    # Deleting what is not there is no error.
    ec2("DeleteKeyPair", KeyName="imported")


@scenario
def a_key_pair_is_made(cloud):
    ec2 = ec2_of(cloud)
    made = ec2("CreateKeyPair", KeyName="made", KeyType="ed25519")
    ec2.refused("InvalidKeyPair.Duplicate", "CreateKeyPair", KeyName="made")
    ec2.refused("DryRunOperation", "CreateKeyPair", KeyName="rehearsed", DryRun=True)
    ec2("DescribeKeyPairs", KeyPairIds=[made["KeyPairId"]])
    ec2("DescribeKeyPairs", Filters=filters(key_pair_id=made["KeyPairId"]))
    ec2("DeleteKeyPair", KeyPairId=made["KeyPairId"])
    ec2.refused("InvalidKeyPair.NotFound", "DescribeKeyPairs", KeyNames=["made"])
    ec2("CreateKeyPair", KeyName="old")
    ec2("DescribeKeyPairs", KeyNames=["old"])
    ec2("DeleteKeyPair", KeyName="old")


@scenario
def a_placement_group_keeps_nodes_together(cloud):
    ec2 = ec2_of(cloud)
    ec2("CreatePlacementGroup", GroupName="near", Strategy="cluster", TagSpecifications=tagged("placement-group", Name="near"))
    ec2.refused("InvalidPlacementGroup.Duplicate", "CreatePlacementGroup", GroupName="near", Strategy="cluster")
    ec2("DescribePlacementGroups", GroupNames=["near"])
    ec2("DescribePlacementGroups", Filters=filters(strategy="cluster", group_name="near"))
    ec2("DeletePlacementGroup", GroupName="near")
    ec2.refused("InvalidPlacementGroup.Unknown", "DescribePlacementGroups", GroupNames=["near"])
    ec2.refused("InvalidPlacementGroup.Unknown", "DeletePlacementGroup", GroupName="near")

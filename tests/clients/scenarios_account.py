"""Who one is, and what every call has in common."""

from kit import scenario
from things import TYPE, image


@scenario
def the_caller_is_the_owner_of_the_account(cloud):
    found = cloud.call("sts", "GetCallerIdentity")
    assert found["Arn"] == f"arn:aws:iam::{found['Account']}:root"
    cloud.refused("InvalidAuthorizationMessageException", "sts", "DecodeAuthorizationMessage", EncodedMessage="nothing")
    # There are no other credentials to hand out.
    role = {"RoleArn": f"arn:aws:iam::{found['Account']}:role/other", "RoleSessionName": "judge"}
    cloud.refused("UnsupportedOperation", "sts", "AssumeRole", **role)
    cloud.refused("UnsupportedOperation", "sts", "GetSessionToken")


@scenario
def an_action_or_a_parameter_that_nobody_knows_is_refused(cloud):
    cloud.refused("InvalidAction", "ec2", "DescribeBundleTasks")
    cloud.refused("UnknownOperationException", "ssm", "DescribeOpsItems")
    cloud.refused("UnknownParameter", "ec2", "DescribeVpcs", form={"Colour": "red"})
    cloud.refused("NoSuchVersion", "ec2", "DescribeVpcs", form={"Version": "2014-10-01"})
    # Nothing of a call with a wrong parameter is done.
    request = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    cloud.refused("UnknownParameter", "ec2", "RunInstances", form={"Colour": "red"}, **request)

"""Commands, managed instances, documents, sessions and Parameter Store."""

import botocore.exceptions

from kit import scenario
from things import instance, instances, same_pages

SCRIPT = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
NOWHERE = "i-0123456789abcdef0"


def await_online(cloud, ids):
    """Waits until instances have registered, as no waiter of botocore's does."""
    asked = {"Filters": [{"Key": "InstanceIds", "Values": ids}]}

    def online():
        found = cloud.call("ssm", "DescribeInstanceInformation", **asked)["InstanceInformationList"]
        return len(found) == len(ids) and all(it["PingStatus"] == "Online" for it in found)

    cloud.until(online, "registration")


@scenario
def commands_go_to_instances_and_are_listed(cloud):
    with instances(cloud, 6) as ids:
        await_online(cloud, ids)
        same_pages(cloud, "ssm", "DescribeInstanceInformation", "InstanceInformationList", size=5)
        assert cloud.call("ssm", "GetConnectionStatus", Target=ids[0])["Status"] == "connected"
        sent = cloud.call("ssm", "SendCommand", InstanceIds=ids, Comment="of the judge", **SCRIPT)["Command"]
        # A record has no inside: what was sent is never delivered, and the waiter takes that for the failure it is.
        command = {"CommandId": sent["CommandId"], "InstanceId": ids[0]}
        try:
            cloud.wait("ssm", "CommandExecuted", **command)
            raise AssertionError("a record has run a command")
        except botocore.exceptions.WaiterError as error:
            assert error.last_response["Status"] == "Failed", error
        found = cloud.call("ssm", "GetCommandInvocation", PluginName="aws:runShellScript", **command)
        assert found["StatusDetails"] == "Undeliverable" and found["ResponseCode"] == -1
        whole = cloud.call("ssm", "ListCommandInvocations", CommandId=sent["CommandId"], Details=True)["CommandInvocations"]
        assert {it["InstanceId"] for it in whole} == set(ids)
        for _ in range(5):
            cloud.call("ssm", "SendCommand", Targets=[{"Key": "InstanceIds", "Values": ids[:1]}], **SCRIPT)
        same_pages(cloud, "ssm", "ListCommands", "Commands", size=2)
        pages = cloud.pages(
            "ssm", "ListCommandInvocations", "CommandInvocations", 2, CommandId=sent["CommandId"], Details=True
        )
        assert sorted(it["InstanceId"] for it in pages) == sorted(ids) and cloud.page_count == 3
        cloud.call("ssm", "CancelCommand", CommandId=sent["CommandId"])
        cloud.call("ssm", "CancelCommand", CommandId=sent["CommandId"], InstanceIds=ids[:1])
        cloud.refused(
            "InvocationDoesNotExist", "ssm", "GetCommandInvocation", CommandId=sent["CommandId"], InstanceId=NOWHERE
        )
        cloud.refused("InvalidPluginName", "ssm", "GetCommandInvocation", PluginName="aws:none", **command)
        cloud.refused("UnsupportedOperationException", "ssm", "StartSession", Target=ids[0])


@scenario
def a_command_that_makes_no_sense_is_refused(cloud):
    with instances(cloud) as (id,):
        await_online(cloud, [id])

        def refused(code, **changes):
            asked = {"InstanceIds": [id], **SCRIPT} | changes
            cloud.refused(code, "ssm", "SendCommand", **asked)

        # ec2.md 7.6 and 7.7
        refused("InvalidInstanceId", InstanceIds=[NOWHERE])
        refused("DuplicateInstanceId", InstanceIds=[id, id])
        refused("ValidationException", InstanceIds=[f"i-{n:017x}" for n in range(51)])
        refused("ValidationException", Targets=[{"Key": "tag:a", "Values": ["b"]}])
        refused("ValidationException", Comment="c" * 101)
        refused("ValidationException", TimeoutSeconds=29)
        refused("InvalidDocument", DocumentName="AWS-Nothing")
        refused("InvalidDocumentVersion", DocumentVersion="7")
        refused("InvalidParameters", Parameters={"orders": ["true"]})
        refused("InvalidParameters", Parameters={})
        refused("MaxDocumentSizeExceeded", Parameters={"commands": ["x" * 65537]})
        cloud.call("ec2", "StopInstances", InstanceIds=[id])
        cloud.wait("ec2", "InstanceStopped", InstanceIds=[id])
        refused("InvalidInstanceId")
        assert instance(cloud, id)["State"]["Name"] == "stopped"
    cloud.refused("InvalidCommandId", "ssm", "CancelCommand", CommandId="01234567-0123-0123-0123-0123456789ab")
    odd = [{"key": "Colour", "value": "red"}]
    cloud.refused("InvalidFilterKey", "ssm", "ListCommands", Filters=odd)
    cloud.refused("InvalidFilterKey", "ssm", "ListCommandInvocations", Filters=odd)
    cloud.refused("InvalidFilterKey", "ssm", "DescribeInstanceInformation", Filters=[{"Key": "Colour", "Values": ["red"]}])
    cloud.refused("ValidationException", "ssm", "DescribeInstanceInformation", MaxResults=4)


@scenario
def the_document_of_scripts_is_described(cloud):
    cloud.call("ssm", "DescribeDocument", Name="AWS-RunShellScript")
    content = cloud.call("ssm", "GetDocument", Name="AWS-RunShellScript", DocumentFormat="JSON")
    assert "aws:runShellScript" in content["Content"]
    whole = cloud.call("ssm", "ListDocuments", Filters=[{"Key": "Owner", "Values": ["Amazon"]}])["DocumentIdentifiers"]
    assert cloud.pages("ssm", "ListDocuments", "DocumentIdentifiers", 1) == whole
    cloud.refused("InvalidDocument", "ssm", "DescribeDocument", Name="AWS-Nothing")
    cloud.refused("InvalidDocument", "ssm", "GetDocument", Name="AWS-Nothing")
    cloud.refused("InvalidDocumentVersion", "ssm", "GetDocument", Name="AWS-RunShellScript", DocumentVersion="7")
    cloud.refused("InvalidFilterKey", "ssm", "ListDocuments", Filters=[{"Key": "Colour", "Values": ["red"]}])


@scenario
def no_session_is_ever_open(cloud):
    assert cloud.call("ssm", "DescribeSessions", State="Active")["Sessions"] == []
    assert cloud.pages("ssm", "DescribeSessions", "Sessions", 5, State="History") == []
    cloud.refused("TargetNotConnected", "ssm", "StartSession", Target=NOWHERE)
    # This ends any session, whether there is one or not.
    ended = cloud.call("ssm", "TerminateSession", SessionId="nobody-0123456789abcdef0")
    assert ended["SessionId"] == "nobody-0123456789abcdef0"
    assert cloud.call("ssm", "GetConnectionStatus", Target=NOWHERE)["Status"] == "notconnected"
    setting = "/ssm/managed-instance/default-ec2-instance-management-role"
    cloud.call("ssm", "GetServiceSetting", SettingId=setting)
    cloud.refused("ServiceSettingNotFound", "ssm", "GetServiceSetting", SettingId="/ssm/nothing")


@scenario
def a_parameter_is_put_read_labelled_and_deleted(cloud):
    put = {"Name": "/judge/one", "Value": "first", "Type": "String"}
    made = cloud.call("ssm", "PutParameter", Tags=[{"Key": "a", "Value": "b"}], Description="of the judge", **put)
    assert made["Version"] == 1 and made["Tier"] == "Standard"
    # ec2.md 7.18
    cloud.refused("ParameterAlreadyExists", "ssm", "PutParameter", **put)
    again = cloud.call("ssm", "PutParameter", Overwrite=True, **(put | {"Value": "second"}))
    assert again["Version"] == 2
    found = cloud.call("ssm", "GetParameter", Name="/judge/one")["Parameter"]
    assert (found["Value"], found["Version"]) == ("second", 2)
    assert cloud.call("ssm", "GetParameter", Name="/judge/one:1")["Parameter"]["Value"] == "first"
    cloud.call("ssm", "LabelParameterVersion", Name="/judge/one", ParameterVersion=1, Labels=["old"])
    assert cloud.call("ssm", "GetParameter", Name="/judge/one:old")["Parameter"]["Value"] == "first"
    same_pages(cloud, "ssm", "GetParameterHistory", "Parameters", size=1, Name="/judge/one")
    cloud.call("ssm", "UnlabelParameterVersion", Name="/judge/one", ParameterVersion=1, Labels=["old"])
    cloud.refused("ParameterVersionNotFound", "ssm", "GetParameter", Name="/judge/one:old")
    secret = {"Name": "/judge/secret", "Value": "hidden", "Type": "SecureString"}
    cloud.call("ssm", "PutParameter", **secret)
    assert cloud.call("ssm", "GetParameter", Name="/judge/secret")["Parameter"]["Value"] != "hidden"
    shown = cloud.call("ssm", "GetParameter", Name="/judge/secret", WithDecryption=True)
    assert shown["Parameter"]["Value"] == "hidden"
    several = cloud.call("ssm", "GetParameters", Names=["/judge/one", "/judge/secret", "/judge/none"])
    assert len(several["Parameters"]) == 2 and several["InvalidParameters"] == ["/judge/none"]
    resource = {"ResourceType": "Parameter", "ResourceId": "/judge/one"}
    cloud.call("ssm", "AddTagsToResource", Tags=[{"Key": "c", "Value": "d"}], **resource)
    found = cloud.call("ssm", "ListTagsForResource", **resource)["TagList"]
    assert {it["Key"]: it["Value"] for it in found} == {"a": "b", "c": "d"}
    cloud.call("ssm", "RemoveTagsFromResource", TagKeys=["a"], **resource)
    cloud.refused("InvalidResourceId", "ssm", "ListTagsForResource", ResourceType="Parameter", ResourceId="/judge/none")
    cloud.refused("InvalidResourceType", "ssm", "ListTagsForResource", ResourceType="Document", ResourceId="x")
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    cloud.refused("TooManyTagsError", "ssm", "AddTagsToResource", Tags=many, **resource)
    cloud.call("ssm", "DeleteParameter", Name="/judge/one")
    answer = cloud.call("ssm", "DeleteParameters", Names=["/judge/secret", "/judge/none"])
    assert answer == {"DeletedParameters": ["/judge/secret"], "InvalidParameters": ["/judge/none"]}
    cloud.refused("ParameterNotFound", "ssm", "GetParameter", Name="/judge/one")
    cloud.refused("ParameterNotFound", "ssm", "DeleteParameter", Name="/judge/one")
    cloud.refused("ParameterNotFound", "ssm", "GetParameterHistory", Name="/judge/one")


@scenario
def parameters_come_in_pages_and_below_paths(cloud):
    names = [f"/judge/many/{n}" for n in range(12)] + ["/judge/many/deep/er"]
    for name in names:
        cloud.call("ssm", "PutParameter", Name=name, Value="v", Type="StringList")
    whole = cloud.pages("ssm", "GetParametersByPath", "Parameters", 5, Path="/judge/many", Recursive=True)
    assert sorted(it["Name"] for it in whole) == sorted(names) and cloud.page_count == 3
    flat = cloud.pages("ssm", "GetParametersByPath", "Parameters", 10, Path="/judge/many")
    assert len(flat) == 12
    below = [{"Key": "Path", "Option": "Recursive", "Values": ["/judge/many"]}]
    described = cloud.pages("ssm", "DescribeParameters", "Parameters", 5, ParameterFilters=below)
    assert sorted(it["Name"] for it in described) == sorted(names) and cloud.page_count == 3
    cloud.refused("ValidationException", "ssm", "GetParametersByPath", Path="/judge/many", MaxResults=11)
    cloud.refused("InvalidFilterKey", "ssm", "DescribeParameters", ParameterFilters=[{"Key": "Colour", "Values": ["red"]}])
    cloud.refused("InvalidNextToken", "ssm", "DescribeParameters", NextToken="nothing of ours")
    for start in (0, 10):
        cloud.call("ssm", "DeleteParameters", Names=names[start : start + 10])


@scenario
def a_parameter_that_makes_no_sense_is_refused(cloud):
    def refused(code, **changes):
        cloud.refused(code, "ssm", "PutParameter", **({"Name": "/judge/wrong", "Value": "v", "Type": "String"} | changes))

    # ec2.md 7.18
    refused("AccessDeniedException", Name="/aws/own")
    refused("ValidationException", Name="ssm-own")
    refused("ValidationException", Value="{{ other }}")
    refused("ValidationException", Value="x" * 4097)
    refused("ValidationException", Type="Number")
    refused("HierarchyLevelLimitExceededException", Name="/a" * 16)
    cloud.refused("ParameterVersionNotFound", "ssm", "GetParameter", Name="/aws/service/debian/release/13/latest/amd64:99")

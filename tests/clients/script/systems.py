"""SSM: Parameter Store, documents, commands."""

from kit import scenario
from script.ground import Service, ec2_of, launch, make_network, terminate


@scenario
def a_parameter_is_put_read_and_deleted(cloud):
    ssm = Service(cloud, "ssm")
    tags = [{"Key": "team", "Value": "recsys"}]
    ssm("PutParameter", Name="/differential/one", Value="1", Type="String", Description="first", Tags=tags)
    ssm.refused("ParameterAlreadyExists", "PutParameter", Name="/differential/one", Value="2", Type="String")
    ssm("GetParameter", Name="/differential/one")
    ssm("PutParameter", Name="/differential/one", Value="2", Type="String", Overwrite=True)
    ssm("GetParameter", Name="/differential/one:1")
    ssm("GetParameter", Name="/differential/one")
    ssm("GetParameterHistory", Name="/differential/one")
    ssm("DescribeParameters", ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": ["/differential/one"]}])
    ssm("ListTagsForResource", ResourceType="Parameter", ResourceId="/differential/one")
    more = [{"Key": "stage", "Value": "test"}]
    ssm("AddTagsToResource", ResourceType="Parameter", ResourceId="/differential/one", Tags=more)
    ssm("RemoveTagsFromResource", ResourceType="Parameter", ResourceId="/differential/one", TagKeys=["team"])
    ssm("ListTagsForResource", ResourceType="Parameter", ResourceId="/differential/one")
    ssm("LabelParameterVersion", Name="/differential/one", ParameterVersion=1, Labels=["blessed"])
    ssm("GetParameter", Name="/differential/one:blessed")
    ssm("GetParameterHistory", Name="/differential/one")
    ssm("UnlabelParameterVersion", Name="/differential/one", ParameterVersion=1, Labels=["blessed"])
    ssm("DeleteParameter", Name="/differential/one")
    ssm.refused("ParameterNotFound", "GetParameter", Name="/differential/one")
    ssm.refused("ParameterNotFound", "DeleteParameter", Name="/differential/one")


@scenario
def parameters_of_every_type_are_read_together(cloud):
    ssm = Service(cloud, "ssm")
    ssm("PutParameter", Name="/together/text", Value="one", Type="String")
    ssm("PutParameter", Name="/together/list", Value="one,two", Type="StringList")
    ssm("PutParameter", Name="/together/deep/secret", Value="hidden", Type="SecureString")
    ssm("GetParameters", Names=["/together/text", "/together/list", "/together/none"])
    ssm("GetParameters", Names=["/together/deep/secret"], WithDecryption=True)
    ssm("GetParameter", Name="/together/deep/secret", WithDecryption=True)
    ssm("GetParametersByPath", Path="/together")
    ssm("GetParametersByPath", Path="/together", Recursive=True, WithDecryption=True)
    ssm("GetParametersByPath", Path="/together/none", Recursive=True)
    ssm("DescribeParameters", ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/together"]}])
    ssm("DescribeParameters", ParameterFilters=[{"Key": "Type", "Values": ["StringList"]}])
    ssm("DeleteParameters", Names=["/together/text", "/together/list", "/together/deep/secret", "/together/none"])


@scenario
def a_parameter_is_refused_for_what_is_wrong_with_it(cloud):
    ssm = Service(cloud, "ssm")
    ask = {"Value": "x", "Type": "String"}
    ssm.refused("ParameterNotFound", "GetParameter", Name="/nothing/here")
    ssm.refused("ParameterNotFound", "GetParameterHistory", Name="/nothing/here")
    ssm.refused("ValidationException", "PutParameter", Name="awsome", **ask)
    ssm.refused("ValidationException", "PutParameter", Name="/ssm/one", **ask)
    ssm.refused("ValidationException", "PutParameter", Name="spaces in it", **ask)
    ssm.refused("ValidationException", "PutParameter", Name="/limits/large", Value="x" * 4097, Type="String")
    ssm.refused("ValidationException", "PutParameter", Name="/limits/empty", Value="", Type="String")
    ssm.refused("ValidationException", "GetParametersByPath", Path="no slash")
    ssm("PutParameter", Name="/limits/typed", **ask)
    ssm.refused("ParameterVersionNotFound", "GetParameter", Name="/limits/typed:7")
    ssm.refused("ParameterVersionNotFound", "LabelParameterVersion", Name="/limits/typed", ParameterVersion=7, Labels=["old"])
    ssm("DeleteParameter", Name="/limits/typed")
    ssm.refused("InvalidResourceId", "ListTagsForResource", ResourceType="Parameter", ResourceId="/nothing/here")


@scenario
def parameters_are_read_page_by_page(cloud):
    ssm = Service(cloud, "ssm")
    names = [f"/pages/{number:02}" for number in range(12)]
    for name in names:
        ssm("PutParameter", Name=name, Value=name, Type="String")
    ssm.pages("GetParametersByPath", "Parameters", 5, Path="/pages")
    own = [{"Key": "Name", "Option": "BeginsWith", "Values": ["/pages/"]}]
    ssm.pages("DescribeParameters", "Parameters", 5, ParameterFilters=own)
    ssm("DeleteParameters", Names=names[:10])
    ssm("DeleteParameters", Names=names[10:])


@scenario
def public_parameters_name_images(cloud):
    ssm = Service(cloud, "ssm")
    ssm("GetParameter", Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")
    ssm.refused("ParameterNotFound", "GetParameter", Name="/aws/service/nothing/here")


@scenario
def documents_are_told(cloud):
    ssm = Service(cloud, "ssm")
    ssm.refused("InvalidDocument", "DescribeDocument", Name="No-Such-Document")
    ssm.refused("InvalidDocument", "GetDocument", Name="No-Such-Document")
    ssm("DescribeDocument", Name="AWS-RunShellScript")
    ssm("GetDocument", Name="AWS-RunShellScript")


@scenario
def a_command_runs_on_an_instance(cloud):
    ec2, ssm = ec2_of(cloud), Service(cloud, "ssm")
    ask = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    ssm.refused("InvalidInstanceId", "SendCommand", **ask, InstanceIds=["i-0123456789abcdef0"])
    ssm.refused("InvalidDocument", "SendCommand", DocumentName="No-Such-Document", InstanceIds=["i-0123456789abcdef0"])
    _, subnet = make_network(ec2, "10.140.0.0/16")
    [node] = launch(ec2, subnet)
    command = ssm("SendCommand", **ask, InstanceIds=[node], Comment="nothing")["Command"]["CommandId"]
    ssm.wait("CommandExecuted", CommandId=command, InstanceId=node)
    ssm("ListCommands", CommandId=command)
    ssm("ListCommandInvocations", CommandId=command)
    ssm("ListCommandInvocations", CommandId=command, Details=True)
    ssm("ListCommands", CommandId="01234567-89ab-cdef-0123-456789abcdef")
    nowhere = {"CommandId": "01234567-89ab-cdef-0123-456789abcdef", "InstanceId": node}
    ssm.refused("InvocationDoesNotExist", "GetCommandInvocation", **nowhere)
    terminate(ec2, [node])

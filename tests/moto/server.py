"""A cloud that ewulf's authors did not write: moto, with the few actions that it lacks and ewulf needs.

moto has no placement groups, takes neither them nor metadata options from launch templates, CreateImage of it cannot tag snapshots, and no instance of it has an agent that runs commands.
All are added here as records: placement groups are kept, tagged and described; snapshots are tagged once they are made; every
running instance is a managed node, and commands succeed with the output that a node of ewulf's images would give.
Everything else, all of EC2 that a cluster and a bake are made of, is moto's own.

Usage: server.py FOLDER [plain]; serves on a free port of 127.0.0.1 and writes its URL to FOLDER/endpoint. With `plain`,
moto is as its authors made it.
"""

import base64
import hashlib
import os
import sys
from pathlib import Path

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.instances import InstanceBackend, MetadataOptions
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.responses import EC2Response
from moto.ssm.responses import SimpleSystemManagerResponse

groups = {}


def create_placement_group(self):
    name = self._get_param("GroupName")
    if name in groups:
        raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    tags = self._parse_tag_specification("placement-group").get("placement-group", {})
    groups[name] = {
        "GroupName": name,
        "GroupId": "pg-" + hashlib.sha256(name.encode()).hexdigest()[:17],
        "State": "available",
        "Strategy": self._get_param("Strategy", "cluster"),
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    return ActionResult({"PlacementGroup": groups[name]})


def describe_placement_groups(self):
    filters = self._filters_from_querystring()

    def suits(group):
        tags = {f"tag:{tag['Key']}": tag["Value"] for tag in group["Tags"]}
        facts = {"group-name": group["GroupName"], **tags}
        return all(facts.get(name) in values for name, values in filters.items())

    return ActionResult({"PlacementGroups": [group for group in groups.values() if suits(group)]})


def delete_placement_group(self):
    name = self._get_param("GroupName")
    if groups.pop(name, None) is None:
        raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The placement group '{name}' is unknown.")
    return EmptyResult()


def create_tags(self):
    ids = self._get_param("Resources", [])
    ours = [group for group in groups.values() if group["GroupId"] in ids]
    if not ours:
        return create_tags_of_others(self)
    new = {tag["Key"]: tag["Value"] for tag in self._get_param("Tags", [])}
    for group in ours:
        tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]} | new
        group["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    return EmptyResult()


create_tags_of_others = EC2Response.create_tags
create_image_without_snapshot_tags = AmiBackend.create_image


def create_image(self, instance_id, name, description, tag_specifications):
    others = [one for one in tag_specifications if one["ResourceType"] != "snapshot"]
    image = create_image_without_snapshot_tags(self, instance_id, name, description, others)
    for one in tag_specifications:
        for tag in one["Tags"] if one["ResourceType"] == "snapshot" else []:
            image.ebs_snapshot.add_tag(tag["Key"], tag["Value"])
    return image


run_instances_without_options = InstanceBackend.run_instances


def run_instances(self, *args, **kwargs):
    named = kwargs.get("launch_template")
    reservation = run_instances_without_options(self, *args, **kwargs)
    template = self._get_template_from_args(named).data if named else {}
    for instance in reservation.instances:
        instance.placement.group_name = template.get("Placement", {}).get("GroupName", "")
        if "MetadataOptions" in template:
            instance.metadata_options = MetadataOptions(template["MetadataOptions"])
    return reservation


def describe_instance_information(self):
    wanted = {value for one in self._get_param("Filters", []) for value in one.get("Values", [])}
    backend = ec2_backends[self.current_account][self.region]
    running = [one for one in backend.all_instances() if one.state == "running" and (not wanted or one.id in wanted)]
    online = [{"InstanceId": one.id, "PingStatus": "Online", "PlatformType": "Linux"} for one in running]
    return ActionResult({"InstanceInformationList": online})


def public_key(words):
    kind, digest = b"ssh-ed25519", hashlib.sha256(words.encode()).digest()
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, digest))
    return "ssh-ed25519 " + base64.b64encode(wire).decode()


def output(command, instance_id):
    """What a node of ewulf's images says to a command, as far as a caller reads it."""
    if "show public keys" in command.comment:
        return f"hostname {instance_id}\nhostkey {public_key(instance_id)}\nuserkey {public_key('ewulf')}\n"
    if ": follow " in command.comment:
        return "0 no\n"
    return ""


def list_command_invocations(self):
    command = self.ssm_backend.get_command_by_id(self._get_param("CommandId"))
    answers = []
    for one in command.invocations:
        plugin = {
            "Name": "aws:runShellScript",
            "Status": one["Status"],
            "StatusDetails": one["StatusDetails"],
            "ResponseCode": one["ResponseCode"],
            "Output": output(command, one["InstanceId"]),
        }
        answers.append({**one, "CommandPlugins": [plugin]})
    return ActionResult({"CommandInvocations": answers})


def complete():
    """Gives moto the actions that it lacks."""
    AmiBackend.create_image = create_image
    InstanceBackend.run_instances = run_instances
    # moto describes a launch template with the tags of its creation for ever; this shows those that it has.
    LaunchTemplate.tags = property(LaunchTemplate.get_tags, lambda self, tags: None)
    for action in (create_placement_group, describe_placement_groups, delete_placement_group, create_tags):
        setattr(EC2Response, action.__name__, action)
    for action in (describe_instance_information, list_command_invocations):
        setattr(SimpleSystemManagerResponse, action.__name__, action)


if __name__ == "__main__":
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    if sys.argv[2:] != ["plain"]:
        complete()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    folder = Path(sys.argv[1])
    new = folder / "endpoint.new"
    new.write_text(f"http://127.0.0.1:{server.server_port}")
    os.replace(new, folder / "endpoint")
    server.serve_forever()

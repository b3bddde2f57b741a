"""Holds the parameters and the filters that a cloud takes to the service model.

What the cloud accepts must be a member of the shape; a member that it does not accept must be refused by its name, and
nothing be done. A filter that the model documents must be taken, or refused by its name as one that is not built.
"""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree

# How deep a shape may name itself (an EC2 filter does not, but a rule of security groups could).
DEPTH = 12


def leaves(shape, ec2, path=(), above=()):
    """The scalars below a shape: (names on the way without list numbers, names as they go over the wire, shape)."""
    if shape.type_name == "structure":
        if shape.name in above or len(above) > DEPTH:
            return
        for name, member in shape.members.items():
            on_wire = wire_name(name, member) if ec2 else member.serialization.get("name", name)
            yield from leaves(member, ec2, (*path, on_wire), (*above, shape.name))
    elif shape.type_name == "list":
        yield from leaves(shape.member, ec2, (*path, "1"), above)
    elif shape.type_name == "map":
        yield from leaves(shape.value, ec2, (*path, "*"), above)
    else:
        yield path, shape


def wire_name(name, member):
    """The name of a member in EC2's query protocol."""
    if "queryName" in member.serialization:
        return member.serialization["queryName"]
    name = member.serialization.get("name", name)
    return name[:1].upper() + name[1:]


def plain(path):
    """A path without list numbers."""
    return ".".join(part for part in path if not part.isdigit())


def values_of(shape):
    """Texts of the shape's type."""
    if shape.type_name in ("integer", "long", "float", "double"):
        return ["7"]
    if shape.type_name == "boolean":
        return ["true", "false"]
    if shape.type_name == "timestamp":
        return ["2030-01-01T00:00:00Z"]
    return shape.metadata.get("enum") or ["x"]


def error_of(cloud, action, form):
    """Code and message of the error that a call of nothing but these fields comes to."""
    body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15"} | form)
    status, answer = cloud.post("ec2", {"content-type": "application/x-www-form-urlencoded"}, body)
    if status < 300:
        return {"code": "no error", "message": ""}
    error = ElementTree.fromstring(answer).find("./Errors/Error")
    return {"code": error.findtext("Code"), "message": error.findtext("Message")}


def covers(accepted, name):
    """Whether an accepted name stands for this one; a star stands for all below it."""
    return accepted == name or (accepted.endswith(".*") and name.startswith(accepted[:-1]))


def wrong_parameters(cloud, plan):
    """What is wrong with the parameters of EC2's and SSM's actions, a sentence each."""
    wrong = []
    for service, action in plan["actions"]:
        operation = cloud.session.get_service_model(service).operation_model(action)
        if service == "ec2":
            accepted = [path for of, path in plan["accepted"] if of == action]
            wrong += compared(cloud, operation, accepted)
            wrong += unknown_filters(cloud, operation)
        elif service == "ssm":
            wrong += passed_over(cloud, operation)
    for service, action, path, _ in plan["ignored"]:
        operation = cloud.session.get_service_model(service).operation_model(action)
        known = {plain(path) for path, _ in leaves(operation.input_shape, ec2=service == "ec2")}
        if not any(one == path or one.startswith(f"{path}.") for one in known):
            wrong.append(f"{service} {action} ignores {path}, which the service model does not have")
    return wrong


def compared(cloud, operation, accepted):
    """What is wrong with the parameters of one action."""
    action = operation.name
    known = {}
    for path, shape in leaves(operation.input_shape, ec2=True) if operation.input_shape else []:
        known[plain(path)] = (".".join(path), shape)
    for name in accepted:
        if not any(covers(name, one) for one in known):
            yield f"ec2 {action} accepts {name}, which the service model does not have"
    for name, (path, shape) in known.items():
        if any(covers(one, name) for one in accepted):
            continue
        errors = [error_of(cloud, action, {path: value}) for value in values_of(shape)]
        by_name = [error["code"] == "UnsupportedOperation" and name.split(".")[0] in error["message"] for error in errors]
        # A value that asks for what happens anyway may pass.
        if not any(by_name):
            said = f"{errors[0]['code']}: {errors[0]['message']}"
            yield f"ec2 {action} {name} is neither read nor ignored nor refused by name: {said}"


STRANGER = "Stranger"


def passed_over(cloud, operation):
    """Which structures of an action's JSON input take a member that nobody knows."""
    for path, document in strangers(operation.input_shape):
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"AmazonSSM.{operation.name}"}
        status, answer = cloud.post("ssm", headers, json.dumps(document))
        message = json.loads(answer).get("message", "") if status >= 400 else "no error"
        # A structure that is refused as a whole is refused by its own name.
        if not any(f"`{name}`" in message for name in [*path, STRANGER]):
            yield f"ssm {operation.name} takes {'.'.join([*path, STRANGER])}: {message}"


def strangers(shape, path=()):
    """Each structure below a shape: the names that lead to it, and a document with a stranger in it."""
    if shape.type_name == "structure":
        if len(path) > DEPTH:
            return
        yield path, {STRANGER: "x"}
        for name, member in shape.members.items():
            on_wire = member.serialization.get("name", name)
            for below, document in strangers(member, (*path, on_wire)):
                yield below, {on_wire: document}
    elif shape.type_name == "list":
        yield from ((below, [document]) for below, document in strangers(shape.member, path))
    elif shape.type_name == "map":
        yield from ((below, {"x": document}) for below, document in strangers(shape.value, path))


def documented_filters(operation):
    """The names of filters that the model's own words list for an action, without the values that they list as well."""
    members = operation.input_shape.members if operation.input_shape else {}
    text = next((members[name].documentation for name in ("Filters", "Filter") if name in members), "")
    depth = 0
    for part in re.findall(r"<ul>|</ul>|<li> ?<p> ?<code>[^<]+</code>", text):
        if part.startswith("<li>") and depth == 1:
            yield re.search(r"<code>([^<]+)</code>", part)[1].replace("&lt;key&gt;", "some").strip()
        depth += {"<ul>": 1, "</ul>": -1}.get(part, 0)


def unknown_filters(cloud, operation):
    """Which filters that EC2 documents a cloud calls none."""
    for name in documented_filters(operation):
        # Where tags are documented as `tag`, the key is a part of the name.
        form = {"Filter.1.Name": "tag:some" if name == "tag" else name, "Filter.1.Value.1": "x"}
        error = error_of(cloud, operation.name, form)
        refused_by_name = error["code"] == "UnsupportedOperation" and name in error["message"]
        if "filter" in error["message"] and not refused_by_name:
            yield f"ec2 {operation.name} does not know the filter {name}: {error['message']}"

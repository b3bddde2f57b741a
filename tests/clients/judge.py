"""Holds every answer of a cloud to botocore's service model.

The raw body is read here, not by botocore, whose parsers pass over what they do not know: each member must be one of
the output shape, under the name that the shape gives it on the wire, once, and of its type. Texts of an enumeration are
among its values, timestamps are in the protocol's form, and what a shape requires is there.
"""

import base64
import binascii
import json
import re
import xml.etree.ElementTree as ElementTree

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

ISO_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
INTEGER = re.compile(r"-?\d+")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")

# What AWS answers although its model has no such value, with the place that says so.
KNOWN_VALUES = {
    # The state of an attachment in DescribeInternetGateways, as the model's own words for InternetGatewayAttachment say.
    ("AttachmentStatus", "available"),
    # The answer of CreateNetworkInterface in examples-1.json, which comes with the model.
    ("NetworkInterfaceStatus", "pending"),
    # The model has capitals here that EC2 does not write: the examples of CreateVpcEndpoint in its API reference.
    ("State", "available"),
    ("State", "deleted"),
    ("State", "deleting"),
    ("State", "pending"),
}

# Patterns that AWS does not keep itself: its examples have lengths of time and milliseconds, which this one has not.
UNKEPT_PATTERNS = {"StringDateTime"}

# Errors that any action of a service may answer with, beside those that the model lists for it.
COMMON_ERRORS = {
    "ssm": {
        "AccessDeniedException",
        "InternalServerError",
        "ServiceUnavailable",
        "ThrottlingException",
        "UnknownOperationException",
        "UnsupportedOperationException",
        "ValidationException",
    },
    "ebs": {"ServiceUnavailable", "UnknownOperationException"},
}


class Judge:
    """Finds what is wrong with answers; each fault is told once, however often it comes."""

    def __init__(self):
        self.faults = {}
        self.answers = 0
        self.members = set()

    def __call__(self, operation, status, headers, body):
        self.answers += 1
        self.operation = operation
        self.where = f"{operation.service_model.service_name} {operation.name}"
        protocol = operation.service_model.protocol
        try:
            if protocol in ("ec2", "query"):
                root = ElementTree.fromstring(body)
                read = self._xml_answer if status < 300 else self._xml_error
                read(root, protocol, status)
            elif status < 300:
                self._json_answer(status, headers, body)
            else:
                self._json_error(protocol, status, headers, body)
        except (ElementTree.ParseError, UnicodeDecodeError, json.JSONDecodeError) as error:
            self._fault("", f"the body cannot be read: {error}")

    def _fault(self, path, words):
        text = f"{self.where} {path}: {words}" if path else f"{self.where}: {words}"
        self.faults[text] = self.faults.get(text, 0) + 1

    # Answers in XML

    def _xml_answer(self, root, protocol, status):
        if status != 200:
            self._fault("", f"the status is {status}")
        namespace = EC2_NAMESPACE if protocol == "ec2" else STS_NAMESPACE
        expected = f"{{{namespace}}}{self.operation.name}Response"
        if root.tag != expected:
            self._fault("", f"the root element is {root.tag}, not {expected}")
        children = list(root)
        shape = self.operation.output_shape
        if protocol == "query":
            result, metadata = self._parts(children, [f"{self.operation.name}Result", "ResponseMetadata"])
            self._parts(list(metadata), ["RequestId"])
            self._xml_structure(shape, list(result), "", namespace)
            return
        ids = [child for child in children if local(child) == "requestId"]
        if len(ids) != 1 or not ids[0].text:
            self._fault("", f"{len(ids)} request ids")
        children = [child for child in children if local(child) != "requestId"]
        if shape is None:
            if [(local(child), child.text) for child in children] != [("return", "true")]:
                self._fault("", f"{[local(child) for child in children]} instead of a plain return")
            return
        self._xml_structure(shape, children, "", namespace)

    def _parts(self, children, names):
        """Children that must be exactly these."""
        if [local(child) for child in children] != names:
            self._fault("", f"{[local(child) for child in children]} instead of {names}")
        return [next((child for child in children if local(child) == name), ElementTree.Element(name)) for name in names]

    def _xml_structure(self, shape, children, path, namespace):
        members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        seen = set()
        for child in children:
            name = local(child)
            below = f"{path}.{name}" if path else name
            if child.tag != f"{{{namespace}}}{name}":
                self._fault(below, "it is in another namespace")
            if child.attrib:
                self._fault(below, f"it has attributes: {child.attrib}")
            if name in seen:
                self._fault(below, "it comes twice")
            seen.add(name)
            if name not in members:
                self._fault(below, f"{shape.name} has no such member")
                continue
            self.members.add((self.where, below))
            self._xml_value(members[name][1], child, below, namespace)

    def _xml_value(self, shape, element, path, namespace):
        text = element.text or ""
        if shape.type_name in ("structure", "list") and text.strip():
            self._fault(path, f"a {shape.type_name} with the text {text!r}")
        if shape.type_name == "structure":
            self._xml_structure(shape, list(element), path, namespace)
        elif shape.type_name == "list":
            name = shape.member.serialization.get("name", "member")
            for child in element:
                if local(child) != name:
                    self._fault(path, f"an element {local(child)} in a list of {name}")
                self._xml_value(shape.member, child, f"{path}[]", namespace)
        elif len(element):
            self._fault(path, f"a {shape.type_name} with elements in it")
        else:
            self._xml_scalar(shape, text, path)

    def _xml_scalar(self, shape, text, path):
        kind = shape.type_name
        if kind in ("integer", "long") and not INTEGER.fullmatch(text):
            self._fault(path, f"{text!r} is no {kind}")
        elif kind in ("float", "double") and not NUMBER.fullmatch(text):
            self._fault(path, f"{text!r} is no {kind}")
        elif kind == "boolean" and text not in ("true", "false"):
            self._fault(path, f"{text!r} is no boolean")
        elif kind == "timestamp" and not ISO_TIMESTAMP.fullmatch(text):
            self._fault(path, f"{text!r} is no timestamp")
        elif kind == "blob":
            self._base64(text, path)
        elif kind == "string":
            self._string(shape, text, path)

    def _xml_error(self, root, protocol, status):
        if protocol == "ec2":
            errors, request_id = self._parts(list(root), ["Errors", "RequestID"])
            (error,) = self._parts(list(errors), ["Error"])
            code, message = self._parts(list(error), ["Code", "Message"])
        else:
            error, request_id = self._parts(list(root), ["Error", "RequestId"])
            kind, code, message = self._parts(list(error), ["Type", "Code", "Message"])
            if kind.text != ("Sender" if status < 500 else "Receiver"):
                self._fault("", f"status {status} is said to be of the {kind.text}")
        for part in (code, message, request_id):
            if not part.text:
                self._fault("", f"an error without {part.tag}")

    # Answers in JSON

    def _json_answer(self, status, headers, body):
        expected = self.operation.http.get("responseCode", 200)
        if status != expected:
            self._fault("", f"the status is {status}, not {expected}")
        shape = self.operation.output_shape
        members = shape.members if shape else {}
        payload = shape.serialization.get("payload") if shape else None
        for name, member in members.items():
            if member.serialization.get("location") == "header":
                self._header(shape, name, member, headers)
        if payload:
            return
        value = json.loads(body) if body or self.operation.service_model.protocol == "json" else {}
        inside = {name: member for name, member in members.items() if "location" not in member.serialization}
        self._json_structure(shape, inside, value, "")

    def _header(self, shape, name, member, headers):
        value = headers.get(member.serialization["name"])
        if value is None:
            if name in shape.required_members:
                self._fault(name, "it is required and not there")
        else:
            self._xml_scalar(member, value, name)
            self.members.add((self.where, name))

    def _json_structure(self, shape, members, value, path):
        if not isinstance(value, dict):
            self._fault(path, f"{value!r} is no structure")
            return
        by_name = {member.serialization.get("name", name): member for name, member in members.items()}
        for name, found in value.items():
            below = f"{path}.{name}" if path else name
            if name not in by_name:
                self._fault(below, f"{shape.name if shape else 'the answer'} has no such member")
                continue
            self.members.add((self.where, below))
            self._json_value(by_name[name], found, below)
        for name in shape.required_members if shape else []:
            if name in members and members[name].serialization.get("name", name) not in value:
                self._fault(f"{path}.{name}" if path else name, "it is required and not there")

    def _json_value(self, shape, value, path):
        kind = shape.type_name
        if kind == "structure":
            self._json_structure(shape, shape.members, value, path)
        elif kind == "list":
            if not isinstance(value, list):
                self._fault(path, f"{value!r} is no list")
                return
            if value:
                self._size(shape, len(value), path)
            for item in value:
                self._json_value(shape.member, item, f"{path}[]")
        elif kind == "map":
            if not isinstance(value, dict):
                self._fault(path, f"{value!r} is no map")
                return
            for key, item in value.items():
                self._string(shape.key, key, path)
                self._json_value(shape.value, item, f"{path}{{}}")
        elif not self._is_scalar(kind, value):
            self._fault(path, f"{value!r} is no {kind}")
        elif kind == "string":
            self._string(shape, value, path)
        elif kind in ("integer", "long"):
            self._size(shape, value, path)
        elif kind == "blob":
            self._base64(value, path)

    @staticmethod
    def _is_scalar(kind, value):
        if kind in ("string", "blob"):
            return isinstance(value, str)
        if kind == "boolean":
            return isinstance(value, bool)
        if kind in ("integer", "long"):
            return isinstance(value, int) and not isinstance(value, bool)
        # Both JSON protocols write times as seconds.
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def _json_error(self, protocol, status, headers, body):
        value = json.loads(body)
        code = headers.get("x-amzn-errortype") if protocol == "rest-json" else value.pop("__type", None)
        code = (code or "").split(":")[0].rsplit("#")[-1]
        if not code:
            self._fault("", f"an error without a type: {value}")
            return
        service = self.operation.service_model.service_name
        shape = next((shape for shape in self.operation.error_shapes if shape.error_code == code), None)
        if shape is None:
            if code not in COMMON_ERRORS[service]:
                self._fault("", f"{code} is none of its errors")
            return
        expected = shape.metadata.get("error", {}).get("httpStatusCode", status)
        if status != expected:
            self._fault("", f"{code} has the status {status}, not {expected}")
        # Every protocol of AWS writes the message in either case.
        members = {name: member for name, member in shape.members.items() if name.lower() != "message"}
        self._json_structure(shape, members, {name: it for name, it in value.items() if name.lower() != "message"}, code)
        if not any(name.lower() == "message" and text for name, text in value.items()):
            self._fault("", f"{code} has no message")

    # Scalars

    def _base64(self, text, path):
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error as error:
            self._fault(path, f"it is no base64: {error}")

    def _string(self, shape, text, path):
        if not text and self.operation.service_model.service_name == "ssm":
            # SSM writes what is not set as an empty text, whatever the shape of a text that is set.
            return
        values = shape.metadata.get("enum")
        if values and text not in values and (shape.name, text) not in KNOWN_VALUES:
            self._fault(path, f"{text!r} is none of {shape.name}")
        self._size(shape, len(text), path)
        # Python has no classes of Unicode's; the few patterns that name them pass.
        pattern = shape.metadata.get("pattern") if shape.name not in UNKEPT_PATTERNS else None
        if pattern and r"\p{" not in pattern and not re.search(pattern, text):
            self._fault(path, f"{text!r} does not match {pattern}")

    def _size(self, shape, size, path):
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if (least is not None and size < least) or (most is not None and size > most):
            self._fault(path, f"{size} is not between {least} and {most}")


def local(element):
    """The name of an element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]

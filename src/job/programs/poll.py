"""Prints what is new of a run: FOLDER OUTPUT EVENTS PATIENCE, offsets in bytes and a time in seconds to wait for news.

Answers one line of JSON; `output` and `events` are new bytes, compressed by zlib, in base64. SSM keeps 24,000 characters
of an answer, so fewer bytes are taken where they do not compress well.
"""

import base64
import json
import os
import subprocess
import sys
import time
import zlib

folder, unit = sys.argv[1], sys.argv[2]
offsets = {"output.log": int(sys.argv[3]), "events.jsonl": int(sys.argv[4])}
until = time.monotonic() + float(sys.argv[5])


def path(name):
    return os.path.join(folder, ".ewulf", name)


def size(name):
    try:
        return os.stat(path(name)).st_size
    except OSError:
        return 0


def status():
    try:
        with open(path("status.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def active():
    command = ["systemctl", "show", "--property=ActiveState", "--value", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def packed(name, room):
    """New bytes of a file in at most `room` characters."""
    offset, most = offsets[name], 1 << 18
    try:
        with open(path(name), "rb") as file:
            file.seek(offset)
            data = file.read(most)
    except OSError:
        return ""
    while True:
        text = base64.b64encode(zlib.compress(data, 6)).decode()
        if len(text) <= room:
            return text
        data = data[: len(data) * room // len(text) * 9 // 10]


if not os.path.isdir(path("")):
    print(json.dumps({"unit": "missing"}))
    sys.exit()
while all(size(name) <= offset for name, offset in offsets.items()):
    if status().get("state") == "ended" or time.monotonic() >= until:
        break
    time.sleep(0.03)
# The state of the unit first: a run that ended in between then shows as running with all of its status.
unit_state = active()
answer = {"unit": unit_state, "status": status()}
answer["events"] = packed("events.jsonl", 6000)
answer["output"] = packed("output.log", 15000)
answer["sizes"] = [size("output.log"), size("events.jsonl")]
print(json.dumps(answer))

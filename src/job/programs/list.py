"""Prints the runs of a cluster: RUNS MOST, the folder of all runs and how many of the newest to tell of.

Answers JSON compressed by zlib in base64.
"""

import base64
import json
import os
import subprocess
import sys
import zlib

runs, most = sys.argv[1], int(sys.argv[2])
prefix, suffix = "ewulf-run-", ".service"


def read(run, name):
    try:
        with open(os.path.join(runs, run, ".ewulf", name), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


command = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=active,activating,deactivating", prefix + "*"]
listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
active = {word[len(prefix) : -len(suffix)] for word in listed if word.startswith(prefix) and word.endswith(suffix)}
found = []
for run in os.listdir(runs) if os.path.isdir(runs) else []:
    plan = read(run, "plan.json")
    if plan:
        facts = {key: plan[key] for key in ("run", "job", "ranks", "prepared", "attempts", "timeout")}
        facts["nodes"] = len(plan["nodes"])
        found.append({**facts, "active": run in active, "status": read(run, "status.json") or {}})
found.sort(key=lambda facts: facts["prepared"], reverse=True)
answer = {"runs": found[:most], "more": max(0, len(found) - most)}
print(base64.b64encode(zlib.compress(json.dumps(answer).encode(), 9)).decode())

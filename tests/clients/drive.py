"""Runs every scenario against one cloud, with the service model as judge.

Usage: drive.py ASKED REPORT. ASKED is a JSON file with the endpoint, the keys, the region, the actions that are served
and the parameters that are accepted; REPORT is written as JSON: what scenarios came to, the judge's faults, what was
called with success, which error codes were seen, and what is wrong with parameters.
"""

import json
import sys
import time

import scenarios_account
import scenarios_addresses
import scenarios_ebs
import scenarios_faults
import scenarios_images
import scenarios_instances
import scenarios_launches
import scenarios_network
import scenarios_ssm
import scenarios_storage
from judge import Judge
from kit import Cloud, run
from parameters import wrong_parameters

# Imported for the scenarios that they register.
AREAS = [
    scenarios_account,
    scenarios_addresses,
    scenarios_ebs,
    scenarios_images,
    scenarios_instances,
    scenarios_launches,
    scenarios_network,
    scenarios_ssm,
    scenarios_storage,
    scenarios_faults,
]


def codes(value):
    """Every error code inside an answer: those of parts that failed, and of what befell an instance."""
    if isinstance(value, dict):
        if isinstance(value.get("Code"), str):
            yield value["Code"]
        for member in value.values():
            yield from codes(member)
    elif isinstance(value, list):
        for member in value:
            yield from codes(member)


def report(cloud, judge, results):
    """What came of the scenarios."""
    succeeded = {(step["service"], step["action"]) for step in cloud.transcript if "answer" in step}
    refused = {(step["service"], step["action"], step["error"]["code"]) for step in cloud.transcript if "error" in step}
    seen = {code for _, _, code in refused}
    for step in cloud.transcript:
        seen.update(codes(step.get("answer")))
    paged = {(step["service"], step["action"]) for step in cloud.transcript if step["kind"] == "page"}
    return {
        "calls": len(cloud.transcript),
        "answers": judge.answers,
        "scenarios": results,
        "faults": sorted(judge.faults),
        "succeeded": sorted(succeeded),
        "refused": sorted(refused),
        "paged": sorted(paged),
        "waited": sorted({(step["service"], step["waiter"]) for step in cloud.transcript if "waiter" in step}),
        "codes": sorted(seen),
    }


def model_of(cloud, actions):
    """Which of these actions botocore can page through, and which of its waiters ask them."""
    pageable, waiters = [], []
    for service in sorted({service for service, _ in actions}):
        served = {action for of, action in actions if of == service}
        pages = cloud.paginators(service)
        pageable += [(service, action) for action in sorted(served) if action in pages]
        asked = cloud.waiters(service)
        waiters += [(service, name) for name, action in sorted(asked.items()) if action in served]
    return {"pageable": pageable, "waiters": waiters}


def main(asked, told):
    with open(asked) as file:
        plan = json.load(file)
    judge = Judge()
    place = [plan["endpoint"], plan["access_key"], plan["secret_key"], plan["region"]]
    cloud = Cloud(*place, judge=judge)
    begun = time.monotonic()
    results = run(cloud)
    outcome = report(cloud, judge, results) | model_of(cloud, plan["actions"])
    outcome["parameters"] = wrong_parameters(Cloud(*place, strict=False), plan)
    outcome["seconds"] = round(time.monotonic() - begun, 1)
    with open(told, "w") as file:
        json.dump(outcome, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])

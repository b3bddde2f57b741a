"""Runs one script of calls against moto and against the local cloud, and compares the answers step by step.

Every difference must be a line of divergences.md, and every line of it a difference that still occurs.

Usage: differential.py MOTO HERE; each is a folder with a cloud's `endpoint` and `credentials`. Prints what was compared;
ends with 1 if a difference is not listed, a listed one is gone, or the local cloud answers otherwise than the script says.
"""

import configparser
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.parsers
import kit
from compare import Comparison, joined_pages
from script import addresses, catalog, fleets, images, instances, network, security, storage, systems  # noqa: F401

TABLE = Path(__file__).with_name("divergences.md")
# An x86-64 machine image with one root device that each of them has had from the start.
IMAGES = {"moto": "ami-04681a1dbd79675a5", "here": "ami-0deb13a64d0000001"}
# Fewer would say little about clouds that share some 150 actions.
FEWEST_COMPARED = 150


class Cloud(kit.Cloud):
    """A cloud that need not be the one that was written for these scenarios, nor always answer what can be read."""

    def __init__(self, folder, image):
        credentials = configparser.ConfigParser()
        credentials.read(folder / "credentials")
        keys = credentials["default"]
        endpoint = (folder / "endpoint").read_text().strip()
        super().__init__(endpoint, keys["aws_access_key_id"], keys["aws_secret_access_key"], "us-east-1", strict=False)
        self.image = image

    def _send(self, service, action, params, *rest, **how):
        try:
            return super()._send(service, action, params, *rest, **how)
        except botocore.parsers.ResponseParserError:
            step = {"label": f"{self.scenario}: {self.count}", "scenario": self.scenario, "service": service}
            step |= {"action": action, "params": params}
            step["error"] = {"code": "not an answer", "status": 500, "message": "what came is not of the protocol"}
            self.transcript.append(step)
            return step


class Row:
    """One known divergence: where it is, what moto answers, what EC2 does and so does the local cloud, and why.

    Actions and members are patterns or lists of them; every one of a list has to be met.
    """

    def __init__(self, line):
        cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        if len(cells) != 5:
            raise ValueError(f"a row of {TABLE.name} has {len(cells)} cells, not 5: {line}")
        actions, members, *values, self.why = cells
        self.line = " | ".join(cells[:4])
        self.values = [matcher(value) for value in values]
        # What of the lists was never met.
        self.actions, self.members = ({each: matcher(each) for each in cell.split(", ")} for cell in (actions, members))
        self.idle = {*self.actions, *self.members}

    def explains(self, difference):
        actions = [each for each, pattern in self.actions.items() if pattern(difference.action)]
        members = [each for each, pattern in self.members.items() if pattern(difference.member)]
        values = zip(self.values, (difference.moto, difference.here), strict=True)
        if not (actions and members and all(pattern(value) for pattern, value in values)):
            return False
        self.idle -= {*actions, *members}
        return True


def matcher(cell):
    """What tells whether a text is as a cell says, where `*` stands for anything."""
    return re.compile(re.escape(cell).replace(r"\*", ".*"), re.DOTALL).fullmatch


def rows():
    """The rows of the tables, without their heads."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    return [Row(line) for line in lines if not line.startswith(("| action ", "|--"))]


def run(folder, image):
    """Runs the script against one cloud; answers with its account, its steps by scenario, and how the scenarios ended."""
    cloud = Cloud(folder, image)
    account = cloud.call("sts", "GetCallerIdentity")["Account"]
    results = {result["scenario"]: result for result in kit.run(cloud)}
    steps = {name: [] for name in results}
    for step in cloud.transcript:
        if step["scenario"]:
            steps[step["scenario"]].append(step)
    return account, {name: joined_pages(own) for name, own in steps.items()}, results


def broken_words(steps, results):
    """Where the local cloud did not do what the script says, which is written in the words of EC2."""
    for name, result in results.items():
        if not result["passed"]:
            yield f"{name} did not go to its end here:\n{result['trouble']}"
        for step in steps[name]:
            code, due = step.get("error", {}).get("code", "success"), step.get("expected", "success")
            # A waiter may wait for a refusal.
            if code != due and "waiter" not in step:
                yield f"{step['label']}, {step['action']}: {code} here, where {due} is due"


def compare(moto, here, account_of_moto, account_here):
    """Compares all scenarios; answers with the comparison and how many steps were compared and not."""
    comparison = Comparison((account_of_moto, account_here))
    comparison.pairs.bind(IMAGES["moto"], IMAGES["here"])
    counts = Counter()
    for name, steps in here.items():
        compared = 0
        for step, other in zip(moto[name], steps, strict=False):
            if step["action"] != other["action"]:
                break
            comparison.steps(step, other)
            compared += 1
        counts["compared"] += compared
        counts["not compared"] += len(steps) - compared
    return comparison, counts


def main():
    moto, here = (Path(folder) for folder in sys.argv[1:3])
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(run, moto, IMAGES["moto"]), both.submit(run, here, IMAGES["here"])]
        (account_of_moto, of_moto, _), (account_here, of_here, results) = (one.result() for one in runs)
    troubles = list(broken_words(of_here, results))
    comparison, counts = compare(of_moto, of_here, account_of_moto, account_here)
    listed = rows()
    explained = 0
    for difference in comparison.differences:
        is_listed = any([row.explains(difference) for row in listed])
        explained += is_listed
        if not is_listed:
            parts = (difference.action, difference.member, difference.moto, difference.here)
            troubles.append(f"not listed: | {' | '.join(parts)} | ({difference.step})")
    troubles += [f"no longer so: {', '.join(sorted(row.idle))} of the row | {row.line} |" for row in listed if row.idle]
    if counts["compared"] < FEWEST_COMPARED:
        troubles.append(f"{counts['compared']} steps were compared, not {FEWEST_COMPARED} at least")
    for trouble in troubles:
        print(trouble)
    print(
        f"{counts['compared']} steps in {len(of_here)} scenarios were compared, {counts['not compared']} could not be; "
        f"{len(comparison.differences)} differences, {explained} of them by the {len(listed)} listed divergences"
    )
    sys.exit(bool(troubles))


if __name__ == "__main__":
    main()

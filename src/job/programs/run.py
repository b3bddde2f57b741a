#!/usr/bin/env python3
"""Carries out one run on the master: steps, attempts or members, output, status.

Lies in the run's .ewulf folder beside plan.json; systemd starts it as user ewulf, and once more as `run.py stopped` when
the unit has ended, however it ended. Nothing of the plan ever becomes part of shell text.

Leaves in its folder: output.log, each line with its source; status.json, a few facts, replaced atomically; after a failure
failure.json with last lines; and of a run with members members.jsonl, a line for each that has ended.
"""

import json
import os
import signal
import sys
import time
import traceback

import processes
from launch import Launch
from streams import Log, Splitter

CONTROL = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.dirname(CONTROL)


def path(name):
    return os.path.join(CONTROL, name)


def replace(name, facts):
    """Writes a file of JSON as a whole, so that nobody ever reads half of it."""
    with open(path(name + ".new"), "w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path(name + ".new"), path(name))


class Status:
    """What a follower reads: replaced as a whole, never half written."""

    def __init__(self):
        self.facts = {}
        try:
            with open(path("status.json"), encoding="utf-8") as file:
                self.facts = json.load(file)
        except (OSError, ValueError):
            pass

    def set(self, **facts):
        self.facts.update(facts)
        replace("status.json", self.facts)


class Run:
    """One run, from its first step to its end."""

    def __init__(self):
        with open(path("plan.json"), encoding="utf-8") as file:
            self.plan = json.load(file)
        self.log, self.status, self.request = Log(path("output.log")), Status(), processes.Request()
        self.limit = processes.Limit(self.request, self.plan["timeout"])
        signal.signal(signal.SIGTERM, lambda *_: self.end_early("cancelled" if cancelled() else "stopped"))

    def end_early(self, why):
        self.request.why = self.request.why or why

    def carry_out(self):
        attempts = self.plan["attempts"]
        self.status.set(state="running", started=time.time(), attempts=attempts, steps=len(self.plan["steps"]))
        outcome = self.steps()
        if outcome is None:
            self.status.set(phase="run", step=None, step_name=None)
            outcome = self.members() if self.plan.get("groups") else self.ranks()
        self.status.set(state="ended", outcome=outcome, ended=time.time())

    def steps(self):
        """Runs what comes before the ranks; answers an outcome if the run ends there."""
        steps = self.plan["steps"]
        for number, step in enumerate(steps, 1):
            self.status.set(phase="prepare", step=number, step_name=step["name"])
            self.log.say(f"step {number} of {len(steps)}")
            environment = {**self.plan["environment"], "EWULF_RUN": self.plan["run"]}
            splitter = Splitter(self.log, "prepare")
            status, tail = processes.run(step["program"], FOLDER, environment, splitter, self.limit)
            if self.limit.why:
                sweep(self.plan)
                return self.limit.why
            if status != 0:
                replace("failure.json", {"step": step["name"], "exit": status, "lines": tail, "ranks": []})
                self.status.set(exit=status)
                sweep(self.plan)
                return "failed"
        return None

    def ranks(self):
        """Runs all ranks as one program."""
        plan, attempts = self.plan, self.plan["attempts"]
        extent = f"{count(plan['ranks'], 'rank')} on {count(len(plan['nodes']), 'node')}"

        def tell(**facts):
            self.status.set(**facts)
            if "attempt" in facts:
                of = f" of {attempts}" if attempts > 1 else ""
                self.log.say(f"attempt {facts['attempt']}{of}: {extent}")

        launch = Launch(plan, self.log, self.limit, CONTROL, FOLDER, plan["nodes"], plan["mpirun"])
        outcome, facts = launch.carry_out(tell, lambda facts: True)
        if outcome != "succeeded":
            replace("failure.json", facts)
            self.status.set(unswept=facts["unswept"])
        return outcome

    def members(self):
        """Runs the members on their groups of ranks."""
        # Lies here just if there are any: what every run is sent has to fit one command.
        from members import Members

        with open(path("members.json"), encoding="utf-8") as file:
            members = Members(self.plan, json.load(file), self.log, self.request, self.status)
        outcome = members.carry_out()
        if outcome != "succeeded":
            self.status.set(unswept=sweep(self.plan))
        return outcome


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cancelled():
    return os.path.exists(path("cancelled"))


def sweep(plan):
    """Kills what is left of the run on every node; answers the addresses of nodes that could not be reached."""
    return processes.sweep(f"EWULF_RUN={plan['run']}", plan["nodes"], plan["master"])


def stopped():
    """Writes how the run ended if the run itself could not: killed, or the unit's last time limit."""
    status = Status()
    if status.facts.get("state") == "ended":
        return
    with open(path("plan.json"), encoding="utf-8") as file:
        left = sweep(json.load(file))
    result = os.environ.get("SERVICE_RESULT", "")
    outcome = "cancelled" if cancelled() else "timed-out" if result == "timeout" else "stopped"
    status.set(state="ended", outcome=outcome, ended=time.time(), unswept=left, service=result)


if __name__ == "__main__":
    if sys.argv[1:] == ["stopped"]:
        stopped()
    else:
        run = Run()
        try:
            run.carry_out()
        except Exception:  # Whatever it is, a follower must learn of it.
            run.log.lines("ewulf", traceback.format_exc().encode().splitlines())
            run.status.set(state="ended", outcome="failed", ended=time.time())

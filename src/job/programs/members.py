"""Runs the members of a sweep or cross-validation, each on a group of ranks of its own.

Every member is an mpirun of its own, not a part of one MPI world: a member that crashes or calls MPI_Abort takes no other
with it. Groups take members from a queue, in order.

A member works in members/NNN of the run's folder, where it finds everything that lies in the run's folder as links, so
that relative paths mean the same as in any other job. What is shared so is read-only: a program that opens a file of that
name for writing is refused, instead of writing into what the others read.
"""

import collections
import json
import math
import os
import shutil
import stat
import threading
import time
import traceback

import processes
from launch import Launch

# Pause between two starts of an mpirun: a node's sshd begins to refuse at 10 logins that are not through (its
# MaxStartups), and one takes less than this.
START_SECONDS = 0.1
# Members whose last lines are kept as a whole, and lines kept of each of the others: they mostly fail for one reason.
TOLD_MEMBERS = 20
SHORT_TAIL = 5
# Bounds of what is taken over from a summary, so that a table of 10,000 members stays one.
SUMMARY_BYTES = 1 << 20
SUMMARY_FIELDS = 200
SUMMARY_LETTERS = 200


class Members:
    """The queue of members, and the groups that take from it."""

    def __init__(self, plan, members, log, request, status):
        self.plan, self.members, self.log, self.request, self.status = plan, members, log, request, status
        self.control = os.path.join(plan["folder"], ".ewulf")
        self.waiting = collections.deque(range(1, len(members) + 1))
        self.changed, self.starting = threading.Condition(), threading.Lock()
        self.running, self.ended, self.failed = set(), 0, 0
        self.groups = min(len(plan["groups"]), len(members))

    def carry_out(self):
        """Runs all members; answers `succeeded` if all of them did."""
        protect(self.plan["folder"])
        self.event(event="phase", phase="members")
        self.tell()
        threads = [threading.Thread(target=self.work, args=(group,)) for group in range(self.groups)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.ended == len(self.members) and not self.failed:
            return "succeeded"
        return self.request.why or "failed"

    def work(self, group):
        """Takes member after member, until all have ended or one of the group's nodes is gone."""
        while (number := self.take()) is not None:
            started, facts = time.time(), {}
            try:
                outcome, facts = self.member(number, group)
            except Exception:  # Whatever it is, the other members go on.
                self.log.lines("ewulf", traceback.format_exc().encode().splitlines())
                outcome = "failed"
            try:
                if self.leave(number, group, outcome, facts):
                    return
                self.record(number, group, outcome, started, facts)
            finally:
                with self.changed:
                    self.running.discard(number)
                    self.changed.notify_all()

    def take(self):
        """Answers the next member, or nothing when there will be none; waits while one might come back."""
        with self.changed:
            while not self.waiting and self.running and not self.request.why:
                self.changed.wait(0.5)
            if not self.waiting or self.request.why:
                return None
            number = self.waiting.popleft()
            self.running.add(number)
            return number

    def leave(self, number, group, outcome, facts):
        """Gives a member back if it failed on a node that is gone, and answers whether the group ends for that.

        Such a group would fail all members that are left, and faster than others complete them. The last one stays.
        """
        lost = facts.get("unswept")
        with self.changed:
            if outcome != "failed" or not lost or self.groups == 1:
                return False
            self.groups -= 1
            self.waiting.appendleft(number)
        self.log.say(f"lost {' and '.join(lost)}: member {number} goes to another group")
        return True

    def member(self, number, group):
        """Runs one member; answers its outcome and what there is to say of a failure."""
        name, planned = self.name(number), self.plan["groups"][group]
        folder, control = os.path.join(self.plan["folder"], "members", name), os.path.join(self.control, "members", name)
        os.makedirs(folder, exist_ok=True)
        link(self.plan["folder"], folder)
        os.makedirs(control, exist_ok=True)
        environment = {**self.plan["environment"], "EWULF_EVENTS": os.path.join(control, "events.jsonl")}
        write_words(os.path.join(control, "environment"), [f"{key}={value}" for key, value in environment.items()])
        write_words(os.path.join(control, "program"), self.members[number - 1]["program"])
        places = ", ".join(node["address"] for node in planned["nodes"])
        self.log.say(f"member {number} of {len(self.members)} on {places}: {self.members[number - 1]['title']}".rstrip(": "))
        mark = {"EWULF_MEMBER": f"{self.plan['run']}.{number}"}
        limit = processes.Limit(self.request, self.plan["timeout"])
        launch = Launch(
            self.plan, self.log, limit, control, folder, planned["nodes"], planned["mpirun"], f"m{number}", mark
        )
        with self.starting:
            time.sleep(START_SECONDS)
        outcome, facts = launch.carry_out(lambda **_: None, lambda facts: not facts["unswept"] or self.groups == 1)
        shutil.rmtree(control, ignore_errors=True)
        return outcome, facts

    def record(self, number, group, outcome, started, facts):
        """Keeps how a member ended, and tells of it."""
        seconds, succeeded = time.time() - started, outcome == "succeeded"
        line = {"member": number, "group": group, "outcome": outcome, "started": started, "seconds": seconds}
        line["attempts"] = facts.get("attempts", 0)
        if succeeded:
            line["summary"] = summary(os.path.join(self.plan["folder"], "members", self.name(number), "summary.json"))
        with self.changed:
            self.ended += 1
            self.failed += not succeeded
            if not succeeded:
                line["failure"] = facts if self.failed <= TOLD_MEMBERS else shortened(facts)
            append(os.path.join(self.control, "members.jsonl"), line)
            self.running.discard(number)
            self.tell()
        self.log.say(f"member {number} {outcome.replace('-', ' ')} after {seconds:.1f} s")

    def tell(self):
        """Tells a follower how far the members are."""
        total = len(self.members)
        self.status.set(members={"ended": self.ended, "failed": self.failed, "total": total, "running": sorted(self.running)})
        self.event(event="progress", phase="members", done=self.ended, total=total)

    def event(self, **event):
        append(os.path.join(self.control, "events.jsonl"), event)

    def name(self, number):
        return str(number).zfill(max(3, len(str(len(self.members)))))


def append(file, facts):
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(facts) + "\n")


def write_words(file, words):
    with open(file, "wb") as opened:
        opened.write(b"".join(word.encode() + b"\0" for word in words))


def shared(folder):
    """What members find of the run's folder."""
    return [entry for entry in os.scandir(folder) if entry.name not in (".ewulf", "members")]


def protect(folder):
    """Takes the right to write from files that all members see under a name of their own."""
    for entry in shared(folder):
        if entry.is_file(follow_symlinks=False):
            os.chmod(entry.path, stat.S_IMODE(entry.stat().st_mode) & ~0o222)


def link(folder, target):
    for entry in shared(folder):
        try:
            os.symlink(os.path.join("..", "..", entry.name), os.path.join(target, entry.name))
        except FileExistsError:
            # An earlier attempt on another group made it, or has put its own there.
            pass


def shortened(facts):
    """Facts of a failure with a few lines each."""
    ranks = [{**rank, "lines": rank["lines"][-SHORT_TAIL:]} for rank in facts.get("ranks", [])[:1]]
    return {**facts, "lines": facts.get("lines", [])[-SHORT_TAIL:], "ranks": ranks}


def summary(file):
    """The single values of a program's summary.json, inner ones by their path with dots."""
    try:
        if os.path.getsize(file) > SUMMARY_BYTES:
            return {}
        with open(file, encoding="utf-8") as opened:
            return dict(list(leaves("", json.load(opened)))[:SUMMARY_FIELDS])
    except (OSError, ValueError, RecursionError):
        # It is fetched as a file all the same, if the job says so.
        return {}


def leaves(name, value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, str):
        yield name, value[:SUMMARY_LETTERS]
    elif isinstance(value, (bool, int)) or isinstance(value, float) and math.isfinite(value):
        yield name, value

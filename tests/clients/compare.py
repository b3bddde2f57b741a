"""Compares what two clouds answered to the same calls, whatever each of them chose by itself.

Ids, addresses, names made of them and secrets are paired as they come up: the first time that two stand at the same
place they belong together, and from then on each must stand where the other does. Times are only times, sets have no
order, and an empty list is as good as none.
"""

import datetime
import json
import re
from dataclasses import dataclass

# What a service chooses, by kind; the order is that of the attempts.
CHOSEN = re.compile(
    "|".join(
        f"(?P<{kind.replace(' ', '_')}>{pattern})"
        for kind, pattern in {
            "time": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?",
            "uuid": r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "fleet uuid": r"\bfleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
            "host": r"\bvpce-[0-9a-f]{17}-[0-9a-z]{8}\b",
            "name": r"\b(ip|ec2)-\d+-\d+-\d+-\d+\b",
            "id": r"\b[a-z][a-z-]*-[0-9a-f]{8,17}\b|\bsir-[0-9a-z]{8}\b",
            "mac": r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b(?!:)",
            "address": r"\b\d{1,3}(\.\d{1,3}){3}\b(?!/)",
        }.items()
    )
)
# Members whose values mean nothing beside that they are there.
OPAQUE = {"NextToken", "HostedZoneId"}
# Members that are secrets of the service, or derived from one; they are known wherever they come up again.
SECRETS = {("CreateKeyPair", "KeyFingerprint"), ("CreateKeyPair", "KeyMaterial")}
ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One member of one step that is not alike; values are told as `told` tells them."""

    step: str
    action: str
    member: str
    moto: str
    here: str


class Pairs:
    """Which of one cloud's names belongs to which of the other's."""

    def __init__(self):
        self.there, self.back = {}, {}

    def agree(self, one, other):
        """True or False if that is known, and else None."""
        if one in self.there or other in self.back:
            return self.there.get(one) == other
        return None

    def bind(self, one, other):
        self.there[one], self.back[other] = other, one

    def forget_addresses(self):
        """Another scenario may be given the same ones: moto rolls them, and the local cloud takes free ones in order."""
        for names in (self.there, self.back):
            for name in [name for name in names if (found := CHOSEN.fullmatch(name)) and found.lastgroup in ("address", "name")]:
                del names[name]


class Comparison:
    """All steps of two transcripts. `accounts` are the two accounts' ids."""

    def __init__(self, accounts):
        self.accounts, self.pairs = accounts, Pairs()
        # Addresses that the script itself asked for: they are nobody's choice.
        self.asked = set()
        self.secrets = {}
        self.scenario = None
        self.differences = []

    def steps(self, step, other):
        """Compares two steps that did the same; the first is moto's."""
        if step["scenario"] != self.scenario:
            self.scenario = step["scenario"]
            self.pairs.forget_addresses()
        text = json.dumps(step["params"], default=str)
        named = {found[0] for found in CHOSEN.finditer(text) if found.lastgroup == "address"}
        self.asked |= named - self.pairs.there.keys()
        for key, one, two in zip(("code", "status"), outcome(step), outcome(other), strict=True):
            # The status of a failure says nothing where the other did not fail.
            if one != two and (key == "code" or "error" in step and "error" in other):
                self._differ(step, f"({key})", one, two)
        if "error" in step or "error" in other:
            return
        if step["pages"] != other["pages"]:
            self._differ(step, "(pages)", step["pages"], other["pages"])
        for action, member in SECRETS:
            if step["action"] == action:
                for one in (step, other):
                    self.secrets[one["answer"].get(member)] = member
        self._values(step, "", step["answer"], other["answer"])

    def _differ(self, step, member, one, other):
        self.differences.append(Difference(step["label"], step["action"], member, self.told(one), self.told(other)))

    def _values(self, step, path, one, other):
        """Compares two values at a place and binds what stands there for the first time."""
        if is_empty(one) and is_empty(other):
            return
        if isinstance(one, dict) and isinstance(other, dict):
            for key in sorted(one.keys() | other.keys()):
                place = f"{path}.{key}" if path else key
                self._values(step, place, one.get(key, ABSENT), other.get(key, ABSENT))
        elif isinstance(one, list) and isinstance(other, list):
            self._sets(step, f"{path}[]", one, other)
        elif path.rpartition(".")[2] in OPAQUE and one is not ABSENT and other is not ABSENT:
            return
        elif not self._alike(one, other, bind=True):
            self._differ(step, path, one, other)

    def _sets(self, step, path, ones, others):
        """Pairs the most alike first, so that one missing element is told as that."""
        scores = sorted(
            ((-self._score(one, other), i, j) for i, one in enumerate(ones) for j, other in enumerate(others)),
            # Of equals the ones at the same place.
            key=lambda score: (score[0], abs(score[1] - score[2]), score[1]),
        )
        left, right = dict(enumerate(ones)), dict(enumerate(others))
        for score, i, j in scores:
            if i in left and j in right and (score < 0 or len(left) == len(right) == 1):
                self._values(step, path, left.pop(i), right.pop(j))
        for one in left.values():
            self._differ(step, path, one, ABSENT)
        for other in right.values():
            self._differ(step, path, ABSENT, other)

    def _score(self, one, other):
        """How much two elements have in common; what is known to belong together counts most, what may belong together least."""
        if isinstance(one, dict) and isinstance(other, dict):
            return sum(self._score(one[key], other[key]) for key in one.keys() & other.keys())
        if isinstance(one, list) and isinstance(other, list):
            return sum(max((self._score(a, b) for b in other), default=0) for a in one)
        if not self._alike(one, other, bind=False):
            return 0
        (_, mine), (_, theirs) = self._template(one), self._template(other)
        known = [self.pairs.agree(a, b) for a, b in zip(mine, theirs, strict=True)]
        return 10 if known and all(known) else 0.1 if known else 1

    def _alike(self, one, other, bind):
        """Whether two scalars say the same."""
        if not isinstance(one, str | datetime.datetime) or not isinstance(other, str | datetime.datetime):
            return type(one) is type(other) and one == other
        (template, mine), (pattern, theirs) = self._template(one), self._template(other)
        if template != pattern or any(self.pairs.agree(a, b) is False for a, b in zip(mine, theirs, strict=True)):
            return False
        for a, b in zip(mine, theirs, strict=True) if bind else ():
            self.pairs.bind(a, b)
        return True

    def _template(self, value):
        """What a text says beside what its service chose, and what that is, in order."""
        if isinstance(value, datetime.datetime):
            return "<time>", []
        if not isinstance(value, str):
            return value, []
        if value in self.secrets:
            return f"<{self.secrets[value]}>", [value]
        chosen = []

        def hide(found):
            kind, text = found.lastgroup, found[0]
            if text in self.asked:
                return text
            if kind == "id":
                # Kinds of resources are told apart, and the old short ids from those of 17 digits.
                kind, _, digits = text.rpartition("-")
                kind += "" if len(digits) == 17 else f" of {len(digits)}"
            if kind != "time":
                chosen.append(text)
            return f"<{kind}>"

        for account in self.accounts:
            value = value.replace(account, "<account>")
        return CHOSEN.sub(hide, value), chosen

    def told(self, value):
        """A value in the words of the table of divergences."""
        if value is ABSENT:
            return "absent"
        if isinstance(value, dict | list):
            inside = json.dumps(self._plain(value), sort_keys=True)
            return inside if len(inside) <= 300 else inside[:300] + "…"
        if isinstance(value, bool) or value is None:
            return str(value).lower()
        # An empty text would not be seen in a table.
        return str(self._template(value)[0]) or '""'

    def _plain(self, value):
        if isinstance(value, dict):
            return {key: self._plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._plain(inner) for inner in value]
        return self._template(value)[0]


def outcome(step):
    error = step.get("error")
    return (error["code"], error["status"]) if error else ("success", 200)


def is_empty(value):
    return value is ABSENT or value is None or value == [] or value == {}


def joined_pages(steps):
    """Makes one step of the pages of a listing: how many there are is a member, what is on them is one list."""
    joined = []
    for step in steps:
        step = {"pages": 1} | step
        last = joined[-1] if joined else None
        if last and "NextToken" in step["params"] and "answer" in last and last["action"] == step["action"]:
            if last["answer"].get("NextToken") == step["params"]["NextToken"]:
                last["pages"] += 1
                join(last, step)
                continue
        joined.append(step)
    return joined


def join(first, page):
    if "error" in page:
        first["error"] = page["error"]
        return
    answer = {key: value for key, value in first["answer"].items() if key != "NextToken"}
    for key, value in page["answer"].items():
        answer[key] = answer.get(key, []) + value if isinstance(value, list) else value
    first["answer"] = answer

#!/usr/bin/env python3
"""Carries out one run on the master: steps, attempts, output, status.

Lies in the run's .ewulf folder beside plan.json; systemd starts it as user ewulf, and once more as `run.py stopped` when
the unit has ended, however it ended. Nothing of the plan ever becomes part of shell text.

Leaves in its folder: output.log, each line with its source (`[3] ` is rank 3, `[3!] ` its stderr, `[mpirun] `,
`[prepare] `, `[ewulf] `); status.json, a few facts, replaced atomically; and after a failure failure.json with last lines.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

CONTROL = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.dirname(CONTROL)

# Open MPI takes about a second to end all ranks after SIGTERM; whatever is left after this is killed.
GRACE_SECONDS = 6.0
# ssh to a node that is gone would wait for minutes.
SWEEP_SECONDS = 8.0
# A follower polls at least this often, so looking more often shows nothing sooner.
DRAIN_SECONDS = 0.05
# A line longer than this is passed on in parts, so that a stream without line ends needs no memory.
LONGEST_LINE = 1 << 20
# Last lines kept for the report of a failure, of a rank and of mpirun, which has much to say before it names the culprit;
# and ranks told of in it.
RANK_LINES = 20
TAIL_LINES = 60
FAILED_RANKS = 8
# Harmless race of mpirun's ssh launcher with its own child.
NOISE = re.compile(rb"plm:ssh: Warning: setpgid\(")


def path(name):
    return os.path.join(CONTROL, name)


def replace(name, facts):
    """Writes a file of JSON as a whole, so that nobody ever reads half of it."""
    with open(path(name + ".new"), "w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path(name + ".new"), path(name))


class Log:
    """The output of everything, line by line."""

    def __init__(self):
        self.file = os.open(path("output.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.lock = threading.Lock()

    def lines(self, tag, lines):
        if lines:
            data = b"".join(b"[%s] %s\n" % (tag.encode(), line) for line in lines)
            with self.lock:
                while data:
                    data = data[os.write(self.file, data):]

    def say(self, text):
        self.lines("ewulf", [text.encode()])


class Splitter:
    """Cuts one stream into lines; remembers the last ones."""

    def __init__(self, log, tag):
        self.log, self.tag, self.rest, self.tail = log, tag, b"", []

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        # A progress bar rewrites its line: what stands there last counts.
        # mpirun 5.0.7 begins some lines of its own with NUL.
        lines = [line.strip(b"\r\0").rpartition(b"\r")[2] for line in lines if not NOISE.search(line)]
        if len(self.rest) > LONGEST_LINE:
            lines.append(self.rest)
            self.rest = b""
        self.log.lines(self.tag, lines)
        self.tail = (self.tail + lines)[-TAIL_LINES:]

    def end(self):
        if self.rest:
            self.feed(b"\n")

    def last(self):
        return [line[:1000].decode(errors="replace") for line in self.tail]


class Ranks:
    """The files that the ranks write, followed into the log."""

    def __init__(self, log, folder):
        self.log, self.folder, self.files, self.over = log, folder, {}, threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while not self.over.wait(DRAIN_SECONDS):
            self.drain()

    def drain(self):
        moved = True
        while moved:
            moved = False
            for entry in os.scandir(self.folder):
                rank, _, kind = entry.name.partition(".")
                if kind in ("out", "err"):
                    moved |= self.read(entry, rank if kind == "out" else rank + "!")

    def read(self, entry, tag):
        if entry.name not in self.files:
            self.files[entry.name] = [0, Splitter(self.log, tag)]
        state = self.files[entry.name]
        if entry.stat().st_size <= state[0]:
            return False
        with open(entry.path, "rb") as file:
            file.seek(state[0])
            data = file.read(1 << 20)
        state[0] += len(data)
        state[1].feed(data)
        return True

    def end(self):
        """Takes what is left and answers how each rank ended, in order of time, with its last lines."""
        self.over.set()
        self.thread.join()
        self.drain()
        ends = []
        for entry in os.scandir(self.folder):
            rank, _, kind = entry.name.partition(".")
            if kind == "exit":
                with open(entry.path, encoding="utf-8", errors="replace") as file:
                    status, _, host = file.read().strip().partition(" ")
                if status.isdigit():
                    ends.append((entry.stat().st_mtime_ns, int(rank), int(status), host))
        for _, splitter in self.files.values():
            splitter.end()
        return [
            {"rank": rank, "status": status, "host": host, "lines": self.last(rank) if status else []}
            for _, rank, status, host in sorted(ends)
        ]

    def last(self, rank):
        lines = []
        for kind in ("out", "err"):
            if f"{rank}.{kind}" in self.files:
                lines += self.files[f"{rank}.{kind}"][1].last()
        return lines[-RANK_LINES:]


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
        self.log, self.status = Log(), Status()
        self.child, self.ended_by = None, None
        self.deadline = time.monotonic() + self.plan["timeout"]
        signal.signal(signal.SIGTERM, lambda *_: self.end_early("cancelled" if cancelled() else "stopped"))

    def end_early(self, why):
        self.ended_by = self.ended_by or why
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def carry_out(self):
        attempts = self.plan["attempts"]
        self.status.set(state="running", started=time.time(), attempts=attempts, steps=len(self.plan["steps"]))
        outcome = self.steps()
        attempt = 0
        while outcome is None and attempt < attempts:
            attempt += 1
            outcome = self.attempt(attempt, attempts)
            if outcome != "succeeded":
                left = sweep(self.plan)
                self.status.set(unswept=left)
            if outcome == "failed" and attempt < attempts:
                outcome = None
        self.status.set(state="ended", outcome=outcome, ended=time.time())

    def steps(self):
        """Runs what comes before the ranks; answers an outcome if the run ends there."""
        steps = self.plan["steps"]
        for number, step in enumerate(steps, 1):
            self.status.set(phase="prepare", step=number, step_name=step["name"])
            self.log.say(f"step {number} of {len(steps)}")
            status, tail = self.program("prepare", step["program"], {**self.plan["environment"], **mark(self.plan)})
            if self.ended_by:
                sweep(self.plan)
                return self.ended_by
            if status != 0:
                replace("failure.json", {"step": step["name"], "exit": status, "lines": tail, "ranks": []})
                self.status.set(exit=status)
                sweep(self.plan)
                return "failed"
        return None

    def attempt(self, attempt, attempts):
        """Runs all ranks once."""
        of = f" of {attempts}" if attempts > 1 else ""
        self.log.say(f"attempt {attempt}{of}: {count(self.plan['ranks'], 'rank')} on {count(len(self.plan['nodes']), 'node')}")
        folder = path(f"ranks-{attempt}")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        self.status.set(phase="run", attempt=attempt, step=None, step_name=None)
        ranks = Ranks(self.log, folder)
        argv = [*self.plan["mpirun"], path("rank.sh"), CONTROL, str(attempt)]
        environment = {**self.plan["mpirun_environment"], **mark(self.plan)}
        status, tail = self.program("mpirun", argv, environment)
        ends = ranks.end()
        failed = [end for end in ends if end["status"] != 0]
        self.status.set(exit=status)
        shutil.rmtree(folder, ignore_errors=True)
        if status == 0 and not failed and len(ends) == self.plan["ranks"]:
            # What was asked for is there, even if a request to stop came in the last moment.
            return "succeeded"
        facts = {"step": None, "exit": status, "lines": tail, "ranks": failed[:FAILED_RANKS], "ended_ranks": len(ends)}
        replace("failure.json", facts)
        return self.ended_by or "failed"

    def program(self, tag, argv, environment):
        """Runs one program to its end; answers its exit status, negative for a signal, and its last lines."""
        if self.ended_by:
            return 0, []
        splitter = Splitter(self.log, tag)
        try:
            self.child = subprocess.Popen(
                argv,
                cwd=FOLDER,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            splitter.feed(f"{argv[0]}: {error.strerror}\n".encode())
            return 127, splitter.last()
        if self.ended_by:
            # SIGTERM came before there was anything to pass it on to.
            self.child.send_signal(signal.SIGTERM)
        reader = threading.Thread(target=self.pipe, args=(splitter, self.child.stdout.fileno()), daemon=True)
        reader.start()
        status = self.wait()
        # Something that was left behind may hold the pipe open.
        reader.join(2.0)
        splitter.end()
        return status, splitter.last()

    @staticmethod
    def pipe(splitter, file):
        while data := os.read(file, 1 << 16):
            splitter.feed(data)

    def wait(self):
        """Waits for the child, ends it when the time is over, and kills its group if it does not go."""
        kill_at = None
        while True:
            try:
                status = self.child.wait(0.02 if kill_at is None else 0.1)
                break
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if self.ended_by is None and now >= self.deadline:
                    self.end_early("timed-out")
                if self.ended_by and kill_at is None:
                    kill_at = now + GRACE_SECONDS
                if kill_at and now >= kill_at:
                    kill_group(self.child.pid)
        if self.ended_by:
            kill_group(self.child.pid)
        return status


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cancelled():
    return os.path.exists(path("cancelled"))


def kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def mark(plan):
    return {"EWULF_RUN": plan["run"]}


def sweep(plan):
    """Kills what is left of the run on every node; answers the addresses of nodes that could not be reached."""
    wanted = f"EWULF_RUN={plan['run']}"
    # grep's status says nothing here: files of other users count as errors.
    remote = (
        "for _ in 1 2 3 4 5; do "
        f"found=$(grep -lzxF {wanted} /proc/[0-9]*/environ 2>/dev/null); [ -n \"$found\" ] || break; "
        "for file in $found; do pid=${file#/proc/}; kill -KILL \"${pid%/environ}\" 2>/dev/null; done; sleep 0.1; done; :"
    )
    others = [node for node in plan["nodes"] if node["host"] != plan["master"]]
    ssh = ["ssh", "-n", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Our own ssh must not be taken for a leftover, so it does not inherit the mark.
    environment = {key: value for key, value in os.environ.items() if key != "EWULF_RUN"}
    started = [(node, subprocess.Popen([*ssh, node["host"], remote], env=environment, **quiet)) for node in others]
    for _ in range(20):
        if not kill_marked(wanted.encode()):
            break
        time.sleep(0.05)
    until, left = time.monotonic() + SWEEP_SECONDS, []
    for node, child in started:
        try:
            reached = child.wait(max(0.0, until - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            child.kill()
            reached = False
        if not reached:
            left.append(node["address"])
    return left


def kill_marked(wanted):
    """Kills the processes of this node that carry the mark; answers whether there were any."""
    found = False
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        os.kill(int(entry), signal.SIGKILL)
                        found = True
            except OSError:
                pass
    return found


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

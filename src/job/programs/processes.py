"""Processes of a run: started, waited for, ended with all that they started, on every node.

Every process of a run carries marks in its environment: EWULF_RUN, and of a member EWULF_MEMBER as well.
"""

import os
import select
import signal
import subprocess
import threading
import time

# Open MPI takes about a second to end all ranks after SIGTERM; whatever is left after this is killed.
GRACE_SECONDS = 6.0
# ssh to a node that is gone would wait for minutes.
SWEEP_SECONDS = 8.0
# How often a program is looked after while nothing happens; its end is noticed at once.
LOOK_SECONDS = 0.1


class Request:
    """A request to end the whole run, from outside."""

    def __init__(self):
        self.why = None


class Limit:
    """When something has to end: after some seconds, or by a request; the first reason stays."""

    def __init__(self, request, seconds):
        self.request, self.deadline, self.why = request, time.monotonic() + seconds, None

    def reached(self):
        if self.why is None:
            self.why = self.request.why or ("timed-out" if time.monotonic() >= self.deadline else None)
        return self.why


class Start:
    """The limit of a program that also has to show within some seconds that it has begun.

    `begun` is asked until it says so; `why` is "hung" if it did not.
    """

    def __init__(self, limit, begun, seconds):
        self.limit, self.begun, self.seconds, self.deadline, self.hung = limit, begun, seconds, None, False

    @property
    def why(self):
        return self.limit.why or ("hung" if self.hung else None)

    def reached(self):
        if self.begun is not None:
            self.deadline = self.deadline or time.monotonic() + self.seconds
            if self.begun():
                self.begun = None
            elif time.monotonic() >= self.deadline:
                self.hung = True
        return self.limit.reached() or self.why


def run(argv, folder, environment, splitter, limit):
    """Runs one program to its end or limit; answers its exit status, negative for a signal, and its last lines."""
    if limit.reached():
        return 0, []
    try:
        child = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        splitter.feed(f"{argv[0]}: {error.strerror}\n".encode())
        return 127, splitter.last()
    reader = threading.Thread(target=pipe, args=(splitter, child.stdout), daemon=True)
    reader.start()
    status = wait(child, limit)
    # Something that was left behind may hold the pipe open.
    reader.join(2.0)
    splitter.end()
    return status, splitter.last()


def pipe(splitter, stream):
    """Reads a pipe to its end; nobody else may close it, since its number could then be another's."""
    with stream:
        while data := os.read(stream.fileno(), 1 << 16):
            splitter.feed(data)


def wait(child, limit):
    """Waits for a child, ends it at its limit, and kills its group if it does not go."""
    end, kill_at = select.poll(), None
    handle = os.pidfd_open(child.pid)
    end.register(handle, select.POLLIN)
    while not end.poll(LOOK_SECONDS * 1000):
        now = time.monotonic()
        if kill_at is None and limit.reached():
            child.send_signal(signal.SIGTERM)
            kill_at = now + GRACE_SECONDS
        if kill_at and now >= kill_at:
            kill_group(child.pid)
    os.close(handle)
    status = child.wait()
    if limit.why:
        kill_group(child.pid)
    return status


def kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def sweep(mark, nodes, master):
    """Kills what carries a mark on some nodes and on this one, the master; answers the addresses of unreachable nodes.

    A mark has letters, digits and `-._=` alone.
    """
    # grep's status says nothing here: files of other users count as errors.
    remote = (
        "for _ in 1 2 3 4 5; do "
        f"found=$(grep -lzxF {mark} /proc/[0-9]*/environ 2>/dev/null); [ -n \"$found\" ] || break; "
        "for file in $found; do pid=${file#/proc/}; kill -KILL \"${pid%/environ}\" 2>/dev/null; done; sleep 0.1; done; :"
    )
    others = [node for node in nodes if node["host"] != master]
    ssh = ["ssh", "-n", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Our own ssh must not be taken for a leftover, so it does not inherit the mark.
    environment = {key: value for key, value in os.environ.items() if key not in ("EWULF_RUN", "EWULF_MEMBER")}
    started = [(node, subprocess.Popen([*ssh, node["host"], remote], env=environment, **quiet)) for node in others]
    for _ in range(20):
        if not kill_marked(mark.encode()):
            break
        time.sleep(0.05)
    until, left = time.monotonic() + SWEEP_SECONDS, []
    for node, child in started:
        try:
            reached = child.wait(max(0.0, until - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            reached = False
        if not reached:
            left.append(node["address"])
    return left


def kill_marked(mark):
    """Kills the processes of this node that carry a mark; answers whether there were any."""
    found = False
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        os.kill(int(entry), signal.SIGKILL)
                        found = True
            except OSError:
                pass
    return found

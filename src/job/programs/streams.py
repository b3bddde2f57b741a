"""The output of a run's programs, line by line, in one log.

Each line of output.log begins with its source: `[3] ` is rank 3, `[3!] ` its stderr, `[mpirun] `, `[prepare] `, `[ewulf] `;
of member 7, `[m7 r3] `, `[m7 r3!] ` and `[m7 mpirun] `.
"""

import os
import re
import threading

# A line longer than this is passed on in parts, so that a stream without line ends needs no memory.
LONGEST_LINE = 1 << 20
# Last lines kept for the report of a failure, of a rank and of mpirun, which has much to say before it names the culprit.
RANK_LINES = 20
TAIL_LINES = 60
# Harmless race of mpirun's ssh launcher with its own child.
NOISE = re.compile(rb"plm:ssh: Warning: setpgid\(")


class Log:
    """The output of everything, line by line."""

    def __init__(self, file):
        self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.lock = threading.Lock()

    def lines(self, tag, lines):
        if lines:
            data = b"".join(b"[%s] %s\n" % (tag.encode(), line) for line in lines)
            with self.lock:
                while data:
                    data = data[os.write(self.file, data):]

    def say(self, text):
        self.lines("ewulf", [" ".join(text.splitlines()).encode()])


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
    """The files that the ranks write, followed into the log; tags begin with `prefix`, and `pause` is between two looks."""

    def __init__(self, log, folder, prefix, pause):
        self.log, self.folder, self.prefix, self.pause = log, folder, prefix, pause
        self.files, self.over = {}, threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while not self.over.wait(self.pause):
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
            self.files[entry.name] = [0, Splitter(self.log, self.prefix + tag)]
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

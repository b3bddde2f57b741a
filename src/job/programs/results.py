"""Packs the results of a run into one archive on the master: FOLDER LIMIT CHUNK, sizes in bytes.

Takes what the plan's output patterns match inside the run's folder and nowhere else, or inside the folder of each member if
it has members, and what the runner left. Files that
would make the compressed archive larger than the limit are named instead. Answers one line of JSON and, on a second, the
first chunk of the archive in base64.
"""

import base64
import fnmatch
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import time
import zlib

folder, limit, chunk = os.path.realpath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
control = os.path.join(folder, ".ewulf")
with open(os.path.join(control, "plan.json"), encoding="utf-8") as opened:
    plan = json.load(opened)

# Files beyond this are not even tried: compressing them takes longer than a user waits for a refusal.
TRIED_BYTES = 1 << 30
# Last bytes of a log that is too long to take as a whole.
LOG_BYTES = 4 << 20
# Names that an answer has room for.
NAMED = 10
NAME_LENGTH = 200


def expression(segment):
    """One segment of a pattern as a regular expression: `*` and `?` alone are special."""
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in segment), re.DOTALL)


def places():
    """Folders that patterns are relative to: the run's, or its members'."""
    if not plan.get("groups"):
        return [""]
    members = os.path.join(folder, "members")
    return [os.path.join("members", name) for name in sorted(os.listdir(members))] if os.path.isdir(members) else []


def matches(place, pattern):
    """Paths relative to the run's folder that a pattern matches inside a place."""
    found = [place]
    for segment in [] if pattern == "." else pattern.split("/"):
        special, next_found = re.search(r"[*?]", segment), []
        for parent in found:
            names = sorted(os.listdir(os.path.join(folder, parent))) if os.path.isdir(os.path.join(folder, parent)) else []
            for name in names:
                hidden = name.startswith(".") and not segment.startswith(".")
                if name == segment or special and not hidden and expression(segment).fullmatch(name):
                    next_found.append(os.path.join(parent, name))
        found = next_found
    return [path for path in found if not is_shared(path)]


def is_shared(path):
    """Whether a path is a member's link to what all of them have."""
    whole, parts = os.path.join(folder, path), path.split("/")
    is_own = bool(plan.get("groups")) and parts[0] == "members" and len(parts) == 3
    return is_own and os.path.islink(whole) and os.readlink(whole) == f"../../{parts[2]}"


def files(path, left):
    """Regular files at or below a path, if they are inside the run's folder."""
    whole = os.path.join(folder, path)
    real = os.path.realpath(whole)
    if os.path.commonpath([real, folder]) != folder or os.path.commonpath([real, control]) == control:
        if path and path != ".ewulf":
            left.append({"path": path, "bytes": 0, "why": "it is a link that leaves the run's folder"})
        return []
    if os.path.isfile(real):
        return [path]
    if not os.path.isdir(whole) or (path and os.path.islink(whole)):
        return []
    paths = [os.path.join(path, name) for name in sorted(os.listdir(whole))]
    return [file for path in paths if not is_shared(path) for file in files(path, left)]


def compressed_bytes(path, enough):
    """Size of a file once compressed, or at least `enough`."""
    packer, total = zlib.compressobj(1), 0
    with open(path, "rb") as file:
        while total < enough and (data := file.read(1 << 20)):
            total += len(packer.compress(data))
    return total + len(packer.flush())


def add(archive, name, data):
    facts = tarfile.TarInfo(name)
    facts.size = len(data)
    archive.addfile(facts, io.BytesIO(data))


def own(archive):
    """What the runner left."""
    for name in ("status.json", "failure.json", "members.jsonl", "output.log"):
        path = os.path.join(control, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - LOG_BYTES) if name == "output.log" else 0)
                add(archive, f"run/{name}", file.read())


def pack(target, paths, left):
    taken = 0
    with open(target, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
        own(archive)
        for path in paths:
            whole = os.path.join(folder, path)
            size, room = os.path.getsize(whole), limit - raw.tell()
            if size > room and (size > TRIED_BYTES or compressed_bytes(whole, room) >= room):
                left.append({"path": path, "bytes": size, "why": "too large"})
                continue
            archive.add(os.path.realpath(whole), f"files/{path}", recursive=False)
            taken += 1
    return taken


def main():
    left, missing, paths = [], [], {}
    for pattern in plan["manifest"]["outputs"]:
        found = [file for place in places() for match in matches(place, pattern) for file in files(match, left)]
        if not found:
            missing.append(pattern)
        paths.update(dict.fromkeys(found))
    for name in fnmatch.filter(os.listdir(control), "results-*"):
        # Another fetch may still be reading a fresh one.
        if os.path.getmtime(os.path.join(control, name)) < time.time() - 3600:
            os.remove(os.path.join(control, name))
    target = os.path.join(control, f"results-{os.getpid()}-{time.time_ns()}.tar.gz")
    # Small ones first: a large one that does not fit must not keep others from being taken.
    taken = pack(target, sorted(paths, key=lambda path: os.path.getsize(os.path.join(folder, path))), left)
    with open(target, "rb") as file:
        content = file.read()
    log = os.path.join(control, "output.log")
    answer = {
        "archive": os.path.basename(target),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "files": taken,
        "left": [{**file, "path": file["path"][:NAME_LENGTH]} for file in left[:NAMED]],
        "more_left": max(0, len(left) - NAMED),
        "missing": [pattern[:NAME_LENGTH] for pattern in missing[:NAMED]],
        "log_bytes": os.path.getsize(log) if os.path.exists(log) else 0,
    }
    print(json.dumps(answer))
    print(base64.b64encode(content[:chunk]).decode())


main()

"""What peers share: a loop that answers each line on stdin with one line of JSON on stdout."""

import json
import sys
import time

# Libraries print; the answers must stay alone on stdout.
_answers, sys.stdout = sys.stdout, sys.stderr


def serve(work):
    """Runs `work` once for each line on stdin and tells the CPU seconds of this thread, beside the facts it returns."""
    for _ in sys.stdin:
        begin = time.thread_time()
        facts = work() or {}
        seconds = time.thread_time() - begin
        print(json.dumps({"seconds": seconds, **facts}), file=_answers, flush=True)

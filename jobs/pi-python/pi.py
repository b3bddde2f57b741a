"""Monte Carlo pi over MPI: each rank draws points in the unit square and counts those inside the quarter circle."""

import argparse
import json
import math
import os
import sys

import numpy
from mpi4py import MPI

# Points drawn at a time: 16 MB of random numbers, whatever the number of samples.
BATCH = 1_000_000


def count_inside(generator, samples, tell):
    """Returns how many of `samples` random points lie inside the quarter circle."""
    inside = 0
    for start in range(0, samples, BATCH):
        x, y = generator.random((2, min(BATCH, samples - start)))
        inside += int(numpy.count_nonzero(x * x + y * y < 1.0))
        tell(min(start + BATCH, samples))
    return inside


def open_events():
    """Opens the file that ewulf reads progress from; none if the program runs by itself."""
    path = os.environ.get("EWULF_EVENTS")
    return open(path, "a", encoding="utf-8") if path else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000_000, help="points over all ranks")
    parser.add_argument("--seed", type=int, default=2008)
    arguments = parser.parse_args()
    world = MPI.COMM_WORLD
    rank, ranks = world.Get_rank(), world.Get_size()

    # The ranks share the samples; the first ones take what is left over.
    share = arguments.samples // ranks + (1 if rank < arguments.samples % ranks else 0)
    # Independent streams from one seed.
    stream = numpy.random.SeedSequence(arguments.seed).spawn(ranks)[rank]
    events = open_events() if rank == 0 else None

    def tell(done):
        if events:
            print(json.dumps({"event": "progress", "phase": "sample", "done": done, "total": share}), file=events, flush=True)

    inside = count_inside(numpy.random.Generator(numpy.random.PCG64(stream)), share, tell)
    print(f"rank {rank} of {ranks} on {MPI.Get_processor_name()}: {inside} of {share} inside", flush=True)

    total = world.reduce(inside, op=MPI.SUM, root=0)
    if rank == 0:
        fraction = total / arguments.samples
        estimate = 4.0 * fraction
        error = 4.0 * math.sqrt(fraction * (1.0 - fraction) / arguments.samples)
        summary = {
            "kernel": "pi-python",
            "ranks": ranks,
            "samples": arguments.samples,
            "seed": arguments.seed,
            "estimate": estimate,
            "standard_error": error,
        }
        with open("summary.json", "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
            file.write("\n")
        print(f"pi = {estimate:.8f}, standard error {error:.1e}", flush=True)


def abort_on_error():
    """Runs `main`; a rank that fails says why and ends all others, which would wait for it forever."""
    try:
        main()
    except Exception as error:  # Whatever it is, the other ranks must not hang.
        print(f"rank {MPI.COMM_WORLD.Get_rank()} failed: {error}", file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    abort_on_error()

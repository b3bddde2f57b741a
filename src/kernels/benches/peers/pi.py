"""Monte Carlo pi with NumPy: points in blocks that stay in the cache, and no array made twice."""

import sys

import numpy

import kit

# 2^12 points are 32 KiB a coordinate: the fastest of 2^10 to 2^24 where it was tried.
BLOCK = 1 << 12

samples = int(sys.argv[1])
generator = numpy.random.default_rng(42)
x, y = numpy.empty(BLOCK), numpy.empty(BLOCK)


def work():
    hits = 0
    for _ in range(samples // BLOCK):
        generator.random(out=x)
        generator.random(out=y)
        numpy.multiply(x, x, out=x)
        numpy.multiply(y, y, out=y)
        numpy.add(x, y, out=x)
        hits += int(numpy.count_nonzero(x < 1.0))
    return {"estimate": 4 * hits / (samples // BLOCK * BLOCK)}


kit.serve(work)

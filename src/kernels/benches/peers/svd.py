"""CPU seconds of one epoch of matrix factorisation by SGD: Surprise or LIBMF, on one thread.

Both are asked for a few epochs and for one, so that neither their preparation nor their first factors are counted.
"""

import pathlib
import sys
import time

import numpy

import kit

library, folder, factors = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
users = numpy.fromfile(folder / "users.u32", numpy.uint32)
movies = numpy.fromfile(folder / "movies.u32", numpy.uint32)
stars = numpy.fromfile(folder / "stars.u8", numpy.uint8) / 2.0


def surprise():
    from surprise import SVD, Trainset

    by_user, by_movie = {}, {}
    for user, movie, rating in zip(users.tolist(), movies.tolist(), stars.tolist()):
        by_user.setdefault(user, []).append((movie, rating))
        by_movie.setdefault(movie, []).append((user, rating))
    identity = {index: index for index in range(max(len(by_user), len(by_movie)))}
    ratings = Trainset(by_user, by_movie, len(by_user), len(by_movie), len(stars), (1, 5), identity, identity)

    def seconds(epochs):
        model = SVD(n_factors=factors, n_epochs=epochs, random_state=1)
        begin = time.process_time()
        model.fit(ratings)
        return time.process_time() - begin

    return lambda: (seconds(3) - seconds(1)) / 2


def libmf():
    from libmf import mf

    ratings = numpy.column_stack([users, movies, stars])
    # Its default is an L1 penalty, which costs more than the squares that we and Surprise take.
    penalty = {"lambda_p1": 0.0, "lambda_q1": 0.0, "lambda_p2": 0.05, "lambda_q2": 0.05}

    def seconds(epochs):
        # Its workers are threads of their own, so the whole process is counted.
        model = mf.MF(k=factors, nr_iters=epochs, nr_threads=1, quiet=True, eta=0.1, **penalty)
        begin = time.process_time()
        model.fit(ratings)
        return time.process_time() - begin

    return lambda: (seconds(11) - seconds(1)) / 10


epoch = {"surprise": surprise, "libmf": libmf}[library]()
kit.serve(lambda: {"epoch": epoch()})

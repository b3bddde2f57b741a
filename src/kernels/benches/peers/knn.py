"""Item-based neighbours with Surprise: similarities of all pairs, or predictions of held-out ratings.

knn.py SIMILARITY FOLDER                 fits, and compares every similarity with those in FOLDER
knn.py SIMILARITY FOLDER means|baseline  predicts what FOLDER holds out, and compares with predictions.npy
FOLDER has the training set as raw columns, little-endian: offsets.u64, raters.u32, stars.u8 (half stars).
"""

import pathlib
import sys

import numpy
from surprise import KNNBaseline, KNNBasic, KNNWithMeans, Trainset

import kit

similarity, folder = sys.argv[1], pathlib.Path(sys.argv[2])
predict = sys.argv[3] if len(sys.argv) > 3 else None

offsets = numpy.fromfile(folder / "offsets.u64", "<u8").astype(int)
raters = numpy.fromfile(folder / "raters.u32", "<u4")
stars = numpy.fromfile(folder / "stars.u8", "u1") / 2
movies = len(offsets) - 1
users = int((folder / "users").read_text())

by_movie = {movie: [] for movie in range(movies)}
by_user = {user: [] for user in range(users)}
for movie in range(movies):
    part = slice(offsets[movie], offsets[movie + 1])
    by_movie[movie] = list(zip(raters[part].tolist(), stars[part].tolist()))
    for user, value in by_movie[movie]:
        by_user[user].append((movie, value))
# Surprise knows nobody without ratings.
raw_users = {user: user for user in range(users) if by_user[user]}
raw_movies = {movie: movie for movie in range(movies) if by_movie[movie]}
least = 1 if (stars % 1 == 0).all() else 0.5


class Training(Trainset):
    def knows_user(self, user):
        return bool(by_user.get(user))

    def knows_item(self, movie):
        return bool(by_movie.get(movie))


training = Training(by_user, by_movie, users, movies, len(stars), (least, 5), raw_users, raw_movies)
options = {"name": similarity, "user_based": False, "min_support": 1}
kinds = {"means": KNNWithMeans, "baseline": KNNBaseline, None: KNNBaseline if similarity == "pearson_baseline" else KNNBasic}


def fitted():
    return kinds[predict](k=40, sim_options=options, verbose=False).fit(training)


def differences(matrix):
    """How many of all similarities differ in any bit, and by how much at most."""
    ids = numpy.load(folder / "ids.npy")
    neighbours = numpy.load(folder / "neighbours.npy")
    ours = numpy.zeros((movies, movies))
    rows, columns = numpy.nonzero(neighbours >= 0)
    ours[rows, numpy.searchsorted(ids, neighbours[rows, columns])] = numpy.load(folder / "similarities.npy")[rows, columns]
    theirs = numpy.array(matrix)
    numpy.fill_diagonal(theirs, 0)
    return {"bits": int((ours.view("u8") != theirs.view("u8")).sum()), "largest": float(abs(ours - theirs).max())}


def fit():
    model = fitted()
    fit.model = model


def predictions():
    model = fitted()
    held_out = numpy.load(folder / "pairs.npy").astype(int)
    theirs = numpy.array([model.predict(user, movie).est for movie, user in held_out])
    ours = numpy.load(folder / "predictions.npy")
    return {"largest": float(abs(ours - theirs).max()), "count": len(theirs)}


if predict:
    kit.serve(predictions)
else:
    # The first round compares; it is not one to measure.
    rounds = iter([lambda: differences(fitted().sim)])
    kit.serve(lambda: next(rounds, fit)())

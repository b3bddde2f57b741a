//! Ratings kept out of training, to be scored: those a file names, or one fold of a cross-validation.
//!
//! Owns which rating is held out; the answer depends on ids alone, never on the order of the input or the number of ranks.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Ratings;
use super::load::{Input, load_pairs};
use super::read::ReadError;
use super::store::Store;
use crate::communicator::Communicator;
use crate::random::{derive, mix};
use crate::startup::Run;

/// Arguments that say which ratings are held out.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Holdout {
    /// Ratings to keep out of training and to score: the Netflix Prize's probe.txt, or a file or folder of ratings, in any
    /// format; CSV columns are called as those of the input
    #[arg(long = "holdout", value_name = "PATH", conflicts_with = "fold")]
    pub file: Option<PathBuf>,
    /// Fold to keep out of training and to score, such as 1/5 for the first of five
    #[arg(long, value_name = "K/N")]
    pub fold: Option<Fold>,
    /// Seed of the assignment of ratings to folds
    #[arg(long, default_value_t = 0)]
    pub fold_seed: u64,
}

/// One of several folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Which, from 1.
    pub number: u32,
    /// Of how many, at least 2.
    pub of: u32,
}

/// Text that names no fold.
#[derive(Debug, thiserror::Error)]
#[error("a fold is two numbers K/N with 1 <= K <= N and N of at least 2, such as 1/5")]
pub struct FoldError;

impl FromStr for Fold {
    type Err = FoldError;

    fn from_str(text: &str) -> Result<Self, FoldError> {
        let (number, of) = text.split_once('/').ok_or(FoldError)?;
        let fold = Self { number: number.parse().map_err(|_| FoldError)?, of: of.parse().map_err(|_| FoldError)? };
        if fold.of >= 2 && (1..=fold.of).contains(&fold.number) { Ok(fold) } else { Err(FoldError) }
    }
}

impl std::fmt::Display for Fold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

/// Whether a rating is in a fold: a hash of seed, user and movie.
pub fn is_in_fold(fold: Fold, seed: u64, user_id: u32, movie_id: u32) -> bool {
    let pair = u64::from(user_id) << 32 | u64::from(movie_id);
    // Two rounds: pairs differ in few bits, and folds of neighbouring seeds must not be related.
    let hash = derive(seed, mix(pair));
    (u128::from(hash) * u128::from(fold.of)) >> 64 == u128::from(fold.number - 1)
}

/// Ratings that are not in the training set, ordered by movie and then by user.
///
/// Movies and users are indexes into the ids of the training set, which has those of every held-out rating too: a movie
/// or user may therefore be without any rating to learn from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldOut {
    /// Movie indexes, ascending.
    pub movies: Vec<u32>,
    /// User indexes, ascending inside a movie.
    pub users: Vec<u32>,
    /// Twice the stars, 1 to 10.
    pub stars: Vec<u8>,
}

impl HeldOut {
    /// The number of ratings.
    pub fn len(&self) -> usize {
        self.stars.len()
    }

    /// Whether there are no ratings.
    pub fn is_empty(&self) -> bool {
        self.stars.is_empty()
    }

    fn push(&mut self, movie: u32, user: u32, stars: u8) {
        self.movies.push(movie);
        self.users.push(user);
        self.stars.push(stars);
    }
}

/// Why ratings could not be held out.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A pair without stars in either place.
    #[error("{}: movie {movie} has no rating by user {user} in the input, and none is given here", path.display())]
    Unknown {
        /// The file of pairs.
        path: PathBuf,
        /// The movie's id.
        movie: u32,
        /// The user's id.
        user: u32,
    },
}

/// Splits a set into what is trained on and what is held out: collective, and the same on every rank.
///
/// Without a file and a fold, the whole set is trained on. Stars come from the file where it has any. The file is read as
/// `input`, where `all` came from, but in a format of its own: pairs may be held out of ratings.
pub fn split<C: Communicator>(
    run: &mut Run<'_, C>,
    all: Store,
    holdout: &Holdout,
    input: &Input,
) -> Result<(Store, HeldOut), SplitError> {
    match (&holdout.file, holdout.fold) {
        (None, None) => Ok((all, HeldOut::default())),
        (None, Some(fold)) => Ok(by_fold(&all, fold, holdout.fold_seed)),
        (Some(path), _) => {
            let named = load_pairs(run, &Input { path: path.clone(), format: None, ..input.clone() })?;
            by_file(&all, &named, path)
        }
    }
}

/// Splits off one fold.
pub fn by_fold(all: &Store, fold: Fold, seed: u64) -> (Store, HeldOut) {
    let mut training = Training::new(all.movie_ids().to_vec(), all.user_ids().to_vec(), all.len());
    let mut held_out = HeldOut::default();
    for (movie, id) in all.movie_ids().iter().enumerate() {
        let (raters, stars) = all.of_movie(movie);
        for (user, stars) in raters.iter().zip(stars) {
            match is_in_fold(fold, seed, all.user_ids()[*user as usize], *id) {
                true => held_out.push(movie as u32, *user, *stars),
                false => training.push(*user, *stars),
            }
        }
        training.end_movie();
    }
    (training.finish(), held_out)
}

/// Splits off what another set names; where that has no stars, they are those of `all`.
fn by_file(all: &Store, named: &Store, path: &Path) -> Result<(Store, HeldOut), SplitError> {
    let movie_ids = union(all.movie_ids(), named.movie_ids());
    let user_ids = union(all.user_ids(), named.user_ids());
    let (all_users, named_users) = (places(all.user_ids(), &user_ids), places(named.user_ids(), &user_ids));
    let mut training = Training::new(movie_ids, user_ids, all.len());
    let mut held_out = HeldOut::default();
    let (mut in_all, mut in_named) = (0, 0);
    for movie in 0..training.0.movie_ids.len() {
        let id = training.0.movie_ids[movie];
        let (raters, stars) = rows_of(all, &mut in_all, id);
        let (wanted, given) = rows_of(named, &mut in_named, id);
        let mut next = 0;
        for (user, given) in wanted.iter().map(|user| named_users[*user as usize]).zip(given) {
            while next < raters.len() && all_users[raters[next] as usize] < user {
                training.push(all_users[raters[next] as usize], stars[next]);
                next += 1;
            }
            let known = raters.get(next).is_some_and(|rater| all_users[*rater as usize] == user);
            let found = if known { stars[next] } else { 0 };
            next += usize::from(known);
            match if *given > 0 { *given } else { found } {
                0 => {
                    let user = training.0.user_ids[user as usize];
                    return Err(SplitError::Unknown { path: path.to_owned(), movie: id, user });
                }
                stars => held_out.push(movie as u32, user, stars),
            }
        }
        for (user, stars) in raters[next..].iter().zip(&stars[next..]) {
            training.push(all_users[*user as usize], *stars);
        }
        training.end_movie();
    }
    Ok((training.finish(), held_out))
}

/// The ratings of the movie with this id, if it is the next of the set; then it is passed.
fn rows_of<'a>(store: &'a Store, next: &mut usize, id: u32) -> (&'a [u32], &'a [u8]) {
    if store.movie_ids().get(*next) != Some(&id) {
        return (&[], &[]);
    }
    *next += 1;
    store.of_movie(*next - 1)
}

/// The ids of both, ascending.
fn union(one: &[u32], other: &[u32]) -> Vec<u32> {
    let mut ids = Vec::with_capacity(one.len().max(other.len()));
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let Some(id) = match (one.peek(), other.peek()) {
        (Some(left), Some(right)) => Some(**left.min(right)),
        (left, right) => left.or(right).map(|id| **id),
    } {
        one.next_if_eq(&&id);
        other.next_if_eq(&&id);
        ids.push(id);
    }
    ids
}

/// Where each of some ids is among all of them.
fn places(some: &[u32], all: &[u32]) -> Vec<u32> {
    let mut place = 0;
    let next = |id: &u32| {
        while all[place] != *id {
            place += 1;
        }
        place as u32
    };
    some.iter().map(next).collect()
}

/// A training set under way, movie by movie.
struct Training(Ratings);

impl Training {
    fn new(movie_ids: Vec<u32>, user_ids: Vec<u32>, most: usize) -> Self {
        let mut offsets = Vec::with_capacity(movie_ids.len() + 1);
        offsets.push(0);
        Self(Ratings { movie_ids, user_ids, offsets, raters: Vec::with_capacity(most), stars: Vec::with_capacity(most) })
    }

    #[inline]
    fn push(&mut self, user: u32, stars: u8) {
        self.0.raters.push(user);
        self.0.stars.push(stars);
    }

    fn end_movie(&mut self) {
        self.0.offsets.push(self.0.stars.len() as u64);
    }

    fn finish(mut self) -> Store {
        self.0.raters.shrink_to_fit();
        self.0.stars.shrink_to_fit();
        self.0.into()
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;

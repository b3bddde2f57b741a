//! A set of ratings as every kernel sees it: slices, wherever they are kept.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::Ratings;
use super::cache::{CacheError, Mapped};

/// Sorted columns of ratings that are shared and never change: copies are cheap.
///
/// Movies and users are named by index, their places in the ascending `movie_ids` and `user_ids`. A set as it was loaded
/// has ratings of every movie and every user; a part of it that [`split`](super::split) made may lack some.
#[derive(Clone, Debug)]
pub struct Store(Arc<Columns>);

#[derive(Debug)]
enum Columns {
    Memory(Ratings),
    Mapped(Mapped),
}

impl From<Ratings> for Store {
    fn from(ratings: Ratings) -> Self {
        Self(Arc::new(Columns::Memory(ratings)))
    }
}

impl From<Mapped> for Store {
    fn from(mapped: Mapped) -> Self {
        Self(Arc::new(Columns::Mapped(mapped)))
    }
}

impl Store {
    /// The movies' ids, ascending.
    pub fn movie_ids(&self) -> &[u32] {
        match &*self.0 {
            Columns::Memory(ratings) => &ratings.movie_ids,
            Columns::Mapped(mapped) => mapped.movie_ids(),
        }
    }

    /// The users' ids, ascending.
    pub fn user_ids(&self) -> &[u32] {
        match &*self.0 {
            Columns::Memory(ratings) => &ratings.user_ids,
            Columns::Mapped(mapped) => mapped.user_ids(),
        }
    }

    /// Where each movie's ratings begin in `raters` and `stars`, and after the last where they end.
    pub fn offsets(&self) -> &[u64] {
        match &*self.0 {
            Columns::Memory(ratings) => &ratings.offsets,
            Columns::Mapped(mapped) => mapped.offsets(),
        }
    }

    /// User indexes, ascending inside a movie.
    pub fn raters(&self) -> &[u32] {
        match &*self.0 {
            Columns::Memory(ratings) => &ratings.raters,
            Columns::Mapped(mapped) => mapped.raters(),
        }
    }

    /// Twice the stars, 1 to 10.
    pub fn stars(&self) -> &[u8] {
        match &*self.0 {
            Columns::Memory(ratings) => &ratings.stars,
            Columns::Mapped(mapped) => mapped.stars(),
        }
    }

    /// The number of movies.
    pub fn movies(&self) -> usize {
        self.movie_ids().len()
    }

    /// The number of users.
    pub fn users(&self) -> usize {
        self.user_ids().len()
    }

    /// The number of ratings.
    pub fn len(&self) -> usize {
        self.stars().len()
    }

    /// Whether there are no ratings.
    pub fn is_empty(&self) -> bool {
        self.stars().is_empty()
    }

    /// The file that holds the columns, if they are mapped.
    pub fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Columns::Memory(_) => None,
            Columns::Mapped(mapped) => Some(mapped.path()),
        }
    }

    /// Compares this rank's share of mapped columns with their hashes.
    pub fn check(&self, rank: usize, ranks: usize) -> Result<(), CacheError> {
        match &*self.0 {
            Columns::Memory(_) => Ok(()),
            Columns::Mapped(mapped) => mapped.check(rank, ranks),
        }
    }

    /// A copy of the columns in memory.
    pub fn to_ratings(&self) -> Ratings {
        Ratings {
            movie_ids: self.movie_ids().to_vec(),
            user_ids: self.user_ids().to_vec(),
            offsets: self.offsets().to_vec(),
            raters: self.raters().to_vec(),
            stars: self.stars().to_vec(),
        }
    }

    /// The places of a movie's ratings in `raters` and `stars`.
    pub fn places(&self, movie: usize) -> Range<usize> {
        self.offsets()[movie] as usize..self.offsets()[movie + 1] as usize
    }

    /// The users who rated a movie, and how.
    pub fn of_movie(&self, movie: usize) -> (&[u32], &[u8]) {
        let places = self.places(movie);
        (&self.raters()[places.clone()], &self.stars()[places])
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.movie_ids() == other.movie_ids()
            && self.user_ids() == other.user_ids()
            && self.offsets() == other.offsets()
            && self.raters() == other.raters()
            && self.stars() == other.stars()
    }
}

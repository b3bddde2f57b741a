//! Ratings as sorted columns: by movie, and inside a movie by user.
//!
//! Text becomes rows ([`scan`], [`text`], [`parse`]), rows become columns ([`columns`]), columns are kept for the next run
//! ([`cache`]), and every rank gets them ([`load`]()) as a [`Store`]. May not know any kernel.

pub mod cache;
pub mod columns;
pub mod dialect;
pub mod format;
mod ids;
pub mod load;
pub mod parse;
pub mod read;
pub mod scan;
pub mod split;
mod stamp;
pub mod store;
pub mod text;
pub mod workers;
mod zstd;

pub use load::{Input, load};
pub use store::Store;

/// Rows as they come from files, one column a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Movie ids.
    pub movies: Vec<u32>,
    /// User ids.
    pub users: Vec<u32>,
    /// Twice the stars, so that half stars are whole numbers: 1 to 10, or 0 where a file names pairs without stars.
    pub stars: Vec<u8>,
}

impl Rows {
    /// Adds one rating of `stars` half stars.
    pub fn push(&mut self, movie: u32, user: u32, stars: u8) {
        self.movies.push(movie);
        self.users.push(user);
        self.stars.push(stars);
    }

    /// The number of ratings.
    pub fn len(&self) -> usize {
        self.stars.len()
    }

    /// Whether there are no ratings.
    pub fn is_empty(&self) -> bool {
        self.stars.is_empty()
    }
}

/// Rows that are no set of ratings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatingsError {
    /// The same user rated the same movie more than once.
    #[error("movie {movie} has more than one rating by user {user}")]
    Duplicate {
        /// The movie's id.
        movie: u32,
        /// The user's id.
        user: u32,
    },
}

/// A set of ratings: at most one of each user for each movie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ratings {
    /// The ids of the movies with at least one rating, ascending; a movie's index is its place here.
    pub movie_ids: Vec<u32>,
    /// The ids of the users with at least one rating, ascending; a user's index is their place here.
    pub user_ids: Vec<u32>,
    /// Where each movie's ratings begin in `raters` and `stars`, and after the last where they end.
    pub offsets: Vec<u64>,
    /// User indexes, ascending inside a movie.
    pub raters: Vec<u32>,
    /// Twice the stars, 1 to 10; 0 where only pairs are known.
    pub stars: Vec<u8>,
}

impl Ratings {
    /// Sorts rows in any order into columns.
    pub fn from_rows(rows: Rows) -> Result<Self, RatingsError> {
        columns::build(vec![rows], workers::Workers::ONE)
    }

    /// The number of movies with at least one rating.
    pub fn movies(&self) -> usize {
        self.movie_ids.len()
    }

    /// The number of users with at least one rating.
    pub fn users(&self) -> usize {
        self.user_ids.len()
    }

    /// The number of ratings.
    pub fn len(&self) -> usize {
        self.stars.len()
    }

    /// Whether there are no ratings.
    pub fn is_empty(&self) -> bool {
        self.stars.is_empty()
    }
}

/// Where the rows of each key begin once sorted, and after the last key where they end.
pub(crate) fn offsets(keys: &[u32], count: usize) -> Vec<u64> {
    let mut offsets = vec![0; count + 1];
    for key in keys {
        offsets[*key as usize + 1] += 1;
    }
    for position in 1..=count {
        offsets[position] += offsets[position - 1];
    }
    offsets
}

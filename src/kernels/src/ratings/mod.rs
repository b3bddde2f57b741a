//! Ratings as sorted columns: by movie, and inside a movie by user.
//!
//! Owns the in-memory form and how it is made from rows in any order. May not know files ([`read`] does) or kernels.

pub mod format;
pub mod load;
pub mod parse;
pub mod read;
pub mod split;
pub mod store;

pub use load::{Input, load};
pub use store::Store;

/// Rows as they come from files, one column a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Movie ids.
    pub movies: Vec<u32>,
    /// User ids.
    pub users: Vec<u32>,
    /// Twice the stars, so that half stars are whole numbers: 1 to 10.
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
    /// Twice the stars, 1 to 10.
    pub stars: Vec<u8>,
}

impl Ratings {
    /// Sorts rows into columns by two counting sorts, in time linear in rows, movies and users.
    pub fn from_rows(rows: Rows) -> Result<Self, RatingsError> {
        let movie_ids = Ids::of(&rows.movies);
        let user_ids = Ids::of(&rows.users);
        let Rows { mut movies, mut users, stars } = rows;
        movies.iter_mut().for_each(|id| *id = movie_ids.index(*id));
        users.iter_mut().for_each(|id| *id = user_ids.index(*id));

        let by_user = order(&users, user_ids.sorted.len(), 0..users.len());
        let offsets = offsets(&movies, movie_ids.sorted.len());
        let by_movie = order(&movies, movie_ids.sorted.len(), by_user.into_iter());
        let ratings = Self {
            offsets,
            raters: by_movie.iter().map(|row| users[*row]).collect(),
            stars: by_movie.iter().map(|row| stars[*row]).collect(),
            movie_ids: movie_ids.sorted,
            user_ids: user_ids.sorted,
        };
        match ratings.duplicate() {
            Some((movie, user)) => Err(RatingsError::Duplicate { movie: ratings.movie_ids[movie], user: ratings.user_ids[user] }),
            None => Ok(ratings),
        }
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

    /// The indexes of a movie and a user that come together twice.
    fn duplicate(&self) -> Option<(usize, usize)> {
        (0..self.movies()).find_map(|movie| {
            let raters = &self.raters[self.offsets[movie] as usize..self.offsets[movie + 1] as usize];
            let pair = raters.windows(2).find(|pair| pair[0] == pair[1])?;
            Some((movie, pair[0] as usize))
        })
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

/// The given rows in the order of their keys; rows of one key keep their order.
fn order(keys: &[u32], count: usize, rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut next = offsets(keys, count);
    let mut sorted = vec![0; keys.len()];
    for row in rows {
        let slot = &mut next[keys[row] as usize];
        sorted[*slot as usize] = row;
        *slot += 1;
    }
    sorted
}

/// Sparse ids and their dense indexes.
struct Ids {
    sorted: Vec<u32>,
    /// Index by id, when the ids are dense enough for a table.
    table: Option<Vec<u32>>,
}

impl Ids {
    fn of(ids: &[u32]) -> Self {
        let largest = ids.iter().copied().max().unwrap_or(0) as usize;
        // A table costs 5 bytes an id; beyond a few times the input itself, sorting is the smaller evil.
        if largest > 4 * ids.len() + (1 << 20) {
            let mut sorted = ids.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            return Self { sorted, table: None };
        }
        let mut present = vec![false; largest + 1];
        ids.iter().for_each(|id| present[*id as usize] = true);
        let mut sorted = Vec::new();
        let mut table = vec![0; largest + 1];
        for id in (0..=largest).filter(|id| !ids.is_empty() && present[*id]) {
            table[id] = sorted.len() as u32;
            sorted.push(id as u32);
        }
        Self { sorted, table: Some(table) }
    }

    fn index(&self, id: u32) -> u32 {
        match &self.table {
            Some(table) => table[id as usize],
            None => self.sorted.partition_point(|other| *other < id) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(entries: &[(u32, u32, u8)]) -> Rows {
        let mut rows = Rows::default();
        entries.iter().for_each(|(movie, user, stars)| rows.push(*movie, *user, *stars));
        rows
    }

    #[test]
    fn rows_in_any_order_become_columns_sorted_by_movie_and_user() {
        for far in [40, u32::MAX] {
            let ratings = Ratings::from_rows(rows(&[(9, far, 4), (2, 7, 10), (9, 1, 2), (2, far, 6), (9, 7, 8)])).unwrap();
            assert_eq!(ratings.movie_ids, [2, 9]);
            assert_eq!(ratings.user_ids, [1, 7, far]);
            assert_eq!(ratings.offsets, [0, 2, 5]);
            assert_eq!(ratings.raters, [1, 2, 0, 1, 2]);
            assert_eq!(ratings.stars, [10, 6, 2, 8, 4]);
        }
    }

    #[test]
    fn a_second_rating_of_the_same_movie_by_the_same_user_is_named() {
        let error = Ratings::from_rows(rows(&[(9, 40, 4), (9, 7, 10), (9, 40, 2)])).unwrap_err();
        assert_eq!(error, RatingsError::Duplicate { movie: 9, user: 40 });
    }

    #[test]
    fn no_rows_are_a_set_without_movies() {
        let ratings = Ratings::from_rows(Rows::default()).unwrap();
        assert_eq!((ratings.movies(), ratings.users(), ratings.offsets), (0, 0, vec![0]));
    }
}

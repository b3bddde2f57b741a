//! Blocks of rating vectors: which rank owns which movies, and how the vectors get there.

use std::ops::Range;

use crate::communicator::Communicator;
use crate::ratings::{Store, offsets};

/// The most ratings of one movie: with ratings up to 10 half stars, Σ x² ≤ 100 n still fits into 32 bits.
pub const MOST_RATERS: u64 = (u32::MAX / 100) as u64;

/// What every rank knows of the whole set: its shape, and who owns what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The number of users.
    pub users: u64,
    /// Where each movie's ratings begin, and after the last where they end.
    offsets: Vec<u64>,
    /// The first movie of each rank, and after the last rank the number of movies.
    bounds: Vec<usize>,
}

impl Layout {
    /// Tells every rank the shape of the ratings that rank 0 has.
    pub fn bcast<C: Communicator>(communicator: &C, ratings: &Store) -> Self {
        let mut users = [ratings.users() as u64];
        let mut offsets = ratings.offsets().to_vec();
        communicator.bcast(0, &mut users);
        communicator.bcast_vector(0, &mut offsets);
        let bounds = bounds(&offsets, communicator.size());
        Self { users: users[0], offsets, bounds }
    }

    /// The number of movies.
    pub fn movies(&self) -> usize {
        *self.bounds.last().expect("bounds hold one more entry than there are ranks")
    }

    /// The movies of a rank.
    pub fn movies_of(&self, rank: usize) -> Range<usize> {
        self.bounds[rank]..self.bounds[rank + 1]
    }

    /// The ratings of a rank's movies.
    fn ratings_of(&self, rank: usize) -> Range<usize> {
        self.offsets[self.bounds[rank]] as usize..self.offsets[self.bounds[rank + 1]] as usize
    }

    /// Hands each rank its block of rank 0's ratings.
    pub fn scatter<C: Communicator>(&self, communicator: &C, ratings: &Store) -> Block {
        let counts: Vec<usize> = (0..communicator.size()).map(|rank| self.ratings_of(rank).len()).collect();
        let mut block = self.blank(communicator.rank());
        communicator.scatter(0, ratings.raters(), &counts, &mut block.raters);
        communicator.scatter(0, ratings.stars(), &counts, &mut block.stars);
        block
    }

    /// A rank's block, its ratings not yet filled in.
    pub fn blank(&self, rank: usize) -> Block {
        let movies = self.movies_of(rank);
        let ratings = self.ratings_of(rank);
        Block {
            offsets: self.offsets[movies.start..=movies.end].iter().map(|at| *at as usize - ratings.start).collect(),
            movies,
            raters: vec![0; ratings.len()],
            stars: vec![0; ratings.len()],
        }
    }
}

/// Cuts the movies into one run a rank, with about equal numbers of ratings.
fn bounds(offsets: &[u64], ranks: usize) -> Vec<usize> {
    let movies = offsets.len() - 1;
    let ratings = u128::from(offsets[movies]);
    let start = |rank: usize| {
        let share = (ratings * rank as u128 / ranks as u128) as u64;
        offsets.partition_point(|offset| *offset < share)
    };
    (0..ranks).map(start).chain([movies]).collect()
}

/// The rating vectors of a run of movies.
#[derive(Clone, Debug)]
pub struct Block {
    /// The movies' indexes in the whole set.
    pub movies: Range<usize>,
    /// Where each movie's ratings begin in `raters` and `stars`, and after the last where they end.
    offsets: Vec<usize>,
    /// User indexes, ascending inside a movie.
    pub raters: Vec<u32>,
    /// Twice the stars.
    pub stars: Vec<u8>,
}

impl Block {
    /// The number of movies.
    pub fn len(&self) -> usize {
        self.movies.len()
    }

    /// Whether there are no movies.
    pub fn is_empty(&self) -> bool {
        self.movies.is_empty()
    }

    /// The users who rated a movie of the block, counted from its first, with their half stars.
    pub fn vector(&self, movie: usize) -> impl Iterator<Item = (u32, u8)> {
        let range = self.offsets[movie]..self.offsets[movie + 1];
        self.raters[range.clone()].iter().copied().zip(self.stars[range].iter().copied())
    }

    /// The same ratings by user, of a part of the block's movies.
    pub fn by_user(&self, movies: Range<usize>, users: usize) -> ByUser {
        let raters = &self.raters[self.offsets[movies.start]..self.offsets[movies.end]];
        let offsets = offsets(raters, users);
        let mut next = offsets.clone();
        let mut entries = vec![(0, 0); raters.len()];
        for movie in movies {
            for (user, stars) in self.vector(movie) {
                entries[next[user as usize] as usize] = (movie as u32, stars);
                next[user as usize] += 1;
            }
        }
        ByUser { offsets, entries }
    }
}

/// Ratings by user, and by movie inside a user.
pub struct ByUser {
    /// Where each user's ratings begin, and after the last where they end.
    offsets: Vec<u64>,
    /// Movies, counted from the block's first, and half stars.
    entries: Vec<(u32, u8)>,
}

impl ByUser {
    /// What a user rated.
    #[inline]
    pub fn of(&self, user: u32) -> &[(u32, u8)] {
        &self.entries[self.offsets[user as usize] as usize..self.offsets[user as usize + 1] as usize]
    }

    /// Takes the first rating from what a user rated.
    #[inline]
    pub fn drop_first(&mut self, user: u32) {
        self.offsets[user as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_movie_has_one_owner_and_shares_are_about_equal() {
        let offsets = [0, 10, 12, 14, 20, 29, 30];
        assert_eq!(bounds(&offsets, 1), [0, 6]);
        assert_eq!(bounds(&offsets, 2), [0, 4, 6]);
        assert_eq!(bounds(&offsets, 3), [0, 1, 4, 6]);
        assert_eq!(bounds(&[0, 5], 3), [0, 1, 1, 1]);
        assert_eq!(bounds(&[0], 3), [0, 0, 0, 0]);
    }
}

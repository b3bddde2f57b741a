//! A rank's ratings, cut into the cells of the grid, and cells into blocks that fit the second-level cache.
//!
//! Owns the order of the gradient steps: it follows from the ratings, the grid and a seed, never from the ranks.

use std::ops::Range;

use super::grid::Groups;
use super::step::{QUAD, rows};
use crate::random::{SplitMix64, derive};

/// Users of a block. With 1,024 users and 64 values a row, their rows take 256 KiB, and those of a Netflix-sized group of
/// movies 0.6 MiB: both stay in a second-level cache of 1 to 2 MiB.
const BLOCK_USERS: usize = 1 << 10;
/// Movies of a block.
const BLOCK_MOVIES: usize = 1 << 12;
/// Places inside a block are 16 bits.
const MOST: usize = 1 << 16;
/// Blocks of one cell beyond which they are made larger: each costs some counters, and small ones are empty anyway.
const MOST_BLOCKS: usize = 1 << 14;
/// Users that take turns: with the users of two quads in flight there are as many again to choose from, and their rows of
/// 256 to 448 bytes leave most of a first-level cache of 32 KiB to those of movies.
const TURNS: usize = 64;
/// A user's ratings among which one is sought whose movie is free.
const LOOK_AHEAD: usize = 8;

/// Training ratings as columns: by movie, and inside a movie by user.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Where each movie's ratings begin, and after the last where they end.
    pub offsets: &'a [u64],
    /// User indexes.
    pub raters: &'a [u32],
    /// Twice the stars.
    pub stars: &'a [u8],
}

impl Columns<'_> {
    /// The number of ratings of each movie and of each of `users`.
    pub fn counts(&self, users: usize) -> (Vec<u32>, Vec<u32>) {
        let movies = self.offsets.windows(2).map(|bounds| (bounds[1] - bounds[0]) as u32).collect();
        let mut by_user = vec![0; users];
        self.raters.iter().for_each(|user| by_user[*user as usize] += 1);
        (movies, by_user)
    }

    /// The mean of all ratings in stars; 0 if there are none.
    pub fn mean(&self) -> f64 {
        // At most 10 a rating: the sum is exact, and the same whatever the order.
        let sum: u64 = self.stars.iter().map(|stars| u64::from(*stars)).sum();
        if sum == 0 { 0.0 } else { 0.5 * sum as f64 / self.stars.len() as f64 }
    }
}

/// How groups are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Users of a block.
    pub users: usize,
    /// Movies of a block.
    pub movies: usize,
}

impl Cut {
    /// The blocks of groups of these sizes: as they fit the cache, or larger where there would be too many.
    pub fn of(users: &Groups, movies: &Groups) -> Self {
        let mut cut = Self { users: BLOCK_USERS, movies: BLOCK_MOVIES };
        let blocks = |cut: Self| users.longest().div_ceil(cut.users) * movies.longest().div_ceil(cut.movies);
        while blocks(cut) > MOST_BLOCKS && (cut.users < MOST || cut.movies < MOST) {
            cut = Self { users: (2 * cut.users).min(MOST), movies: (2 * cut.movies).min(MOST) };
        }
        cut
    }
}

/// Consecutive ratings of a cell that lie in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The block's first user, by place in the group.
    pub user: usize,
    /// The block's first movie, by place in the group.
    pub movie: usize,
    /// The first rating.
    pub begin: usize,
    /// Behind the last rating that is in a quad.
    pub quads: usize,
    /// Behind the last rating.
    pub end: usize,
}

/// The ratings of some groups of users, cell by cell, in the order of the steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    /// Users, by place in their block.
    pub users: Vec<u16>,
    /// Movies, by place in their block.
    pub movies: Vec<u16>,
    /// Twice the stars.
    pub stars: Vec<u8>,
    /// The blocks that hold any ratings: by group of users, then by group of movies, then movies first.
    pub blocks: Vec<Block>,
    /// Where each cell's blocks begin, and after the last where they end.
    starts: Vec<usize>,
    /// Groups of movies.
    groups: usize,
}

impl Cells {
    /// The blocks of a cell; `user_group` counts from the first own group.
    pub fn blocks(&self, user_group: usize, movie_group: usize) -> &[Block] {
        let cell = user_group * self.groups + movie_group;
        &self.blocks[self.starts[cell]..self.starts[cell + 1]]
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

/// Cuts the ratings of the groups `own` of users into cells and blocks, and orders each block by `seed`.
pub fn cut(columns: Columns<'_>, users: &Groups, movies: &Groups, own: Range<usize>, seed: u64) -> Cells {
    let shape = Shape::new(users, movies, own.clone());
    let slots = shape.slots(users);
    let mut next = vec![0usize; own.len() * shape.row() + 1];
    for (movie, bounds) in columns.offsets.windows(2).enumerate() {
        let row = shape.of_movie(movies.of(movie)).0;
        for user in &columns.raters[bounds[0] as usize..bounds[1] as usize] {
            let slot = slots[*user as usize].0;
            if slot != ELSEWHERE {
                next[slot as usize + row + 1] += 1;
            }
        }
    }
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let mut cells = shape.cells(&next);
    let total = next[next.len() - 1];
    (cells.users, cells.movies, cells.stars) = (vec![0; total], vec![0; total], vec![0; total]);
    for (movie, bounds) in columns.offsets.windows(2).enumerate() {
        let (row, place) = shape.of_movie(movies.of(movie));
        for at in bounds[0] as usize..bounds[1] as usize {
            let (slot, user) = slots[columns.raters[at] as usize];
            if slot != ELSEWHERE {
                let to = &mut next[slot as usize + row];
                (cells.users[*to], cells.movies[*to], cells.stars[*to]) = (user, place, columns.stars[at]);
                *to += 1;
            }
        }
    }
    let mut order = Order::default();
    for cell in 0..cells.starts.len() - 1 {
        let seed = derive(seed, (own.start * movies.count() + cell) as u64);
        for (index, block) in cells.blocks[cells.starts[cell]..cells.starts[cell + 1]].iter_mut().enumerate() {
            let range = block.begin..block.end;
            let columns = (&mut cells.users[range.clone()], &mut cells.movies[range.clone()], &mut cells.stars[range]);
            block.quads = block.begin + order.arrange(columns, &mut SplitMix64::new(derive(seed, index as u64)));
        }
    }
    cells
}

/// The slot of users of other ranks.
const ELSEWHERE: u32 = u32::MAX;

/// Where blocks lie in a table of all blocks of some groups of users.
struct Shape {
    cut: Cut,
    own: Range<usize>,
    /// Blocks of a cell side by side, one row for each block of movies.
    across: usize,
    /// Blocks of a cell.
    blocks: usize,
    groups: usize,
}

impl Shape {
    fn new(users: &Groups, movies: &Groups, own: Range<usize>) -> Self {
        let cut = Cut::of(users, movies);
        let across = users.longest().div_ceil(cut.users).max(1);
        let blocks = across * movies.longest().div_ceil(cut.movies).max(1);
        Self { cut, own, across, blocks, groups: movies.count() }
    }

    /// Blocks of one group of users.
    fn row(&self) -> usize {
        self.groups * self.blocks
    }

    /// What each user adds to the number of a block, and the user's place in it.
    fn slots(&self, users: &Groups) -> Vec<(u32, u16)> {
        let slot = |user: usize| {
            let (group, place) = users.of(user);
            match self.own.contains(&group) {
                true => {
                    (((group - self.own.start) * self.row() + place / self.cut.users) as u32, (place % self.cut.users) as u16)
                }
                false => (ELSEWHERE, 0),
            }
        };
        (0..users.members()).map(slot).collect()
    }

    /// What a movie adds to the number of a block, and the movie's place in it.
    fn of_movie(&self, (group, place): (usize, usize)) -> (usize, u16) {
        (group * self.blocks + place / self.cut.movies * self.across, (place % self.cut.movies) as u16)
    }

    /// The blocks between these bounds, still without ratings.
    fn cells(&self, bounds: &[usize]) -> Cells {
        let mut cells = Cells { groups: self.groups, starts: vec![0], ..Cells::default() };
        for (number, bounds) in bounds.windows(2).enumerate() {
            let inside = number % self.blocks;
            let (movie, user) = (inside / self.across * self.cut.movies, inside % self.across * self.cut.users);
            if bounds[0] < bounds[1] {
                cells.blocks.push(Block { user, movie, begin: bounds[0], quads: bounds[0], end: bounds[1] });
            }
            if inside + 1 == self.blocks {
                cells.starts.push(cells.blocks.len());
            }
        }
        cells
    }
}

/// Room for the work on one block.
#[derive(Default)]
struct Order {
    /// The block's ratings, user by user.
    ratings: Vec<Rating>,
    /// Where each user's ratings begin, and after the last where they end.
    starts: Vec<u32>,
    /// The ratings of the users whose turn it is that are still to be taken.
    turns: Vec<Range<usize>>,
    done: Vec<Rating>,
}

/// User, movie and half stars.
type Rating = (u16, u16, u8);

impl Order {
    /// Orders a block: some users at a time, each with all ratings in random order, so that their rows stay in the
    /// first-level cache and a user's row comes once from far away. Users take turns in quads: neither a quad nor two
    /// quads in a row have a common user or movie. Returns how many ratings are in quads; the others follow.
    fn arrange(&mut self, columns: (&mut [u16], &mut [u16], &mut [u8]), random: &mut SplitMix64) -> usize {
        let (users, movies, stars) = columns;
        self.by_user(users, movies, stars);
        for bounds in self.starts.windows(2) {
            let ratings = &mut self.ratings[bounds[0] as usize..bounds[1] as usize];
            for last in (1..ratings.len()).rev() {
                ratings.swap(last, random.below(last as u64 + 1) as usize);
            }
        }
        self.turns.clear();
        self.done.clear();
        let users_ratings = self.starts.windows(2).map(|bounds| bounds[0] as usize..bounds[1] as usize);
        let mut coming = users_ratings.filter(|ratings| !ratings.is_empty());
        self.turns.extend(coming.by_ref().take(TURNS));
        let mut turn = 0;
        let in_quads = loop {
            let begin = self.done.len();
            let mut passed = 0;
            while self.done.len() < begin + QUAD && passed < self.turns.len() {
                turn = if turn < self.turns.len() { turn } else { 0 };
                let near = &self.done[begin.saturating_sub(QUAD)..];
                let Some(rating) = draw(&mut self.ratings, &mut self.turns[turn], near) else {
                    (passed, turn) = (passed + 1, turn + 1);
                    continue;
                };
                self.done.push(rating);
                passed = 0;
                if !self.turns[turn].is_empty() {
                    turn += 1;
                } else if let Some(next) = coming.next() {
                    self.turns[turn] = next;
                    turn += 1;
                } else {
                    self.turns.remove(turn);
                }
            }
            if self.done.len() < begin + QUAD {
                break begin;
            }
        };
        self.turns.drain(..).for_each(|rest| self.done.extend_from_slice(&self.ratings[rest]));
        for (at, rating) in self.done.iter().enumerate() {
            (users[at], movies[at], stars[at]) = *rating;
        }
        in_quads
    }

    /// Sorts the ratings of a block by user; those of one user stay in order.
    fn by_user(&mut self, users: &[u16], movies: &[u16], stars: &[u8]) {
        let Self { ratings, starts, .. } = self;
        starts.clear();
        starts.resize(rows(users) + 2, 0);
        users.iter().for_each(|user| starts[usize::from(*user) + 2] += 1);
        for at in 2..starts.len() {
            starts[at] += starts[at - 1];
        }
        ratings.clear();
        ratings.resize(users.len(), (0, 0, 0));
        for ((user, movie), stars) in users.iter().zip(movies).zip(stars) {
            let next = &mut starts[usize::from(*user) + 1];
            ratings[*next as usize] = (*user, *movie, *stars);
            *next += 1;
        }
        // Each user's place is now where the next one begins.
        starts.pop();
    }
}

/// Takes a rating of one user that has neither user nor movie in common with any of `near`, if there is one among the next.
fn draw(ratings: &mut [Rating], rest: &mut Range<usize>, near: &[Rating]) -> Option<Rating> {
    let is_free = |one: &Rating| near.iter().all(|other| other.0 != one.0 && other.1 != one.1);
    let found = (rest.start..rest.end.min(rest.start + LOOK_AHEAD)).find(|at| is_free(&ratings[*at]))?;
    ratings.swap(rest.start, found);
    rest.start += 1;
    Some(ratings[rest.start - 1])
}

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;

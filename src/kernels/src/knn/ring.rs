//! Every pair of movies once: blocks of rating vectors go round a ring of ranks.
//!
//! At step `s`, rank `r` correlates its own block with that of rank `r + s`. After half a round every two blocks have
//! met; on an even number of ranks two ranks hold each pair of opposite blocks, so each takes half of the work.

use std::ops::Range;

use super::block::{Block, Layout};
use super::neighbours::Nearest;
use super::pearson::Sums;
use crate::communicator::Communicator;
use crate::events::Events;

/// What was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs of movies.
    pub pairs: u64,
    /// Pairs with enough common raters.
    pub supported: u64,
    /// Common raters, summed over all pairs.
    pub corated: u64,
}

/// Finds the neighbours of the movies in this rank's own block, and counts the pairs this rank computed.
pub fn correlate<C: Communicator>(
    communicator: &C,
    layout: &Layout,
    own: Block,
    neighbours: u32,
    min_support: u32,
    events: &mut Events,
) -> (Nearest, Counts) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let capacity = (neighbours as usize).min(layout.movies().saturating_sub(1));
    let users = layout.users as usize;
    let mut nearest = Nearest::new(own.len(), capacity);
    let mut pass = Pass { min_support, users, counts: Counts::default(), done: 0, total: 0 };
    let last = size / 2;
    pass.total = own.len() as u64 * (last as u64 + 1);
    pass.within(&own, &mut nearest, events);

    let mut visitor = own.clone();
    for step in 1..=last {
        visitor = pass_on(communicator, layout, visitor, (rank + step) % size);
        let halves = 2 * step == size;
        let (rows, columns) = if halves { half(&own, &visitor) } else { (0..own.len(), 0..visitor.len()) };
        let mut found = Nearest::new(visitor.len(), capacity);
        pass.between(&own, rows, &visitor, columns, &mut nearest, &mut found, events);
        let mut returned = Nearest::new(own.len(), capacity);
        found.exchange(communicator, (rank + step) % size, (rank + size - step) % size, &mut returned);
        nearest.merge(&returned);
    }
    events.progress(pass.total, pass.total);
    (nearest, pass.counts)
}

/// Hands the visiting block to the left neighbour and takes the next from the right one, that of rank `owner`.
fn pass_on<C: Communicator>(communicator: &C, layout: &Layout, visitor: Block, owner: usize) -> Block {
    let (rank, size) = (communicator.rank(), communicator.size());
    let (left, right) = ((rank + size - 1) % size, (rank + 1) % size);
    let mut next = layout.blank(owner);
    communicator.exchange(left, &visitor.raters, right, &mut next.raters);
    communicator.exchange(left, &visitor.stars, right, &mut next.stars);
    next
}

/// This rank's half of the pairs of two opposite blocks: the movies of the first block are cut in two.
///
/// Blocks that start at the same movie are one behind an empty other, so nobody misses their pairs.
fn half(own: &Block, visitor: &Block) -> (Range<usize>, Range<usize>) {
    if own.movies.start < visitor.movies.start {
        (0..own.len() / 2, 0..visitor.len())
    } else {
        (0..own.len(), visitor.len() / 2..visitor.len())
    }
}

/// The state of one rank's way through its pairs.
struct Pass {
    min_support: u32,
    users: usize,
    counts: Counts,
    done: u64,
    total: u64,
}

impl Pass {
    /// Correlates the movies of a block with each other.
    fn within(&mut self, block: &Block, nearest: &mut Nearest, events: &mut Events) {
        let mut by_user = block.by_user(0..block.len(), self.users);
        let mut sums = vec![Sums::default(); block.len()];
        let first = block.movies.start;
        for row in 0..block.len() {
            for (user, stars) in block.vector(row) {
                // Movies up to this one have met it already; it is the first that is left of this user.
                by_user.drop_first(user);
                add(&mut sums, by_user.of(user), stars);
            }
            for (column, sums) in sums.iter_mut().enumerate().skip(row + 1) {
                if let Some(similarity) = self.take(sums) {
                    nearest.offer(row, (first + column) as u32, similarity);
                    nearest.offer(column, (first + row) as u32, similarity);
                }
            }
            self.step(events);
        }
    }

    /// Correlates some movies of this rank's block with some of the visitor's.
    #[expect(clippy::too_many_arguments, reason = "two blocks, a part of each, and where to keep what is found")]
    fn between(
        &mut self,
        own: &Block,
        rows: Range<usize>,
        visitor: &Block,
        columns: Range<usize>,
        nearest: &mut Nearest,
        found: &mut Nearest,
        events: &mut Events,
    ) {
        let by_user = visitor.by_user(columns.clone(), self.users);
        let mut sums = vec![Sums::default(); visitor.len()];
        for row in rows {
            for (user, stars) in own.vector(row) {
                add(&mut sums, by_user.of(user), stars);
            }
            for column in columns.clone() {
                if let Some(similarity) = self.take(&mut sums[column]) {
                    nearest.offer(row, (visitor.movies.start + column) as u32, similarity);
                    found.offer(column, (own.movies.start + row) as u32, similarity);
                }
            }
            self.step(events);
        }
    }

    /// Ends a pair: its similarity if enough users rated both, and sums of 0 for the next row.
    #[inline]
    fn take(&mut self, sums: &mut Sums) -> Option<f64> {
        let pair = std::mem::take(sums);
        self.counts.pairs += 1;
        self.counts.corated += u64::from(pair.n);
        if pair.n < self.min_support {
            return None;
        }
        self.counts.supported += 1;
        Some(pair.correlation())
    }

    fn step(&mut self, events: &mut Events) {
        self.done += 1;
        events.progress(self.done, self.total);
    }
}

/// Adds one user's rating of a row's movie to the sums of every other movie that user rated.
#[inline]
fn add(sums: &mut [Sums], rated: &[(u32, u8)], stars: u8) {
    for (column, other) in rated {
        sums[*column as usize].add(u32::from(stars), u32::from(*other));
    }
}

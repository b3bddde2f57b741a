//! All that a user rated, in one run of memory a user: bit planes of the popular columns, and a list of the others.
//!
//! Owns the layout of a record, and how records are made: each rank makes those of a share of the users, then all ranks
//! get all of them. A column is a movie's row in the order of popularity. A record begins with `width` blocks of
//! [`COLUMNS`] columns, each of as many lines as a code has bits; then come the other columns as a list, ascending, with
//! an end mark, up to the next whole line. Codes of unrated columns are 0.

use std::ops::Range;

use super::lanes::Line;
use super::memory::Lines;
use super::order::{Order, slices, user_shares};
use super::scale::{MOST_LEVELS, Scale};
use crate::communicator::{Communicator, Operation};
use crate::ratings::Store;

/// Columns of a block: one bit of a line each.
pub const COLUMNS: usize = 512;
/// The bits of a list's entry that hold the level; the column is above.
pub const LEVEL_BITS: u32 = 4;
/// What ends a list: no column.
pub const END: u32 = u32::MAX;
/// The most blocks of a record: 130,560 columns.
pub const MOST_WIDTH: usize = 255;
/// Users whose ratings are gathered at a time: their records of 1 KB or so stay in the second cache.
const CHUNK: usize = 2048;

const _: () = assert!(MOST_LEVELS < 1 << LEVEL_BITS);

/// When a block is worth its place in a record, in nanoseconds a rater.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// Of counting a block of columns.
    pub block: f64,
    /// Of adding one entry of a list.
    pub entry: f64,
    /// The most blocks.
    pub most: usize,
}

impl Widths {
    /// The number of blocks that costs least for a user with so many ratings in each block of columns; the last count is
    /// of all columns beyond.
    fn choose(&self, counts: &[u32]) -> usize {
        let (mut best, mut least, mut dense) = (0, f64::INFINITY, 0.0);
        let mut rest: u32 = counts.iter().sum();
        for (width, count) in counts.iter().enumerate() {
            // To get at a list costs a rater about half as much as a block.
            let pairs = 0.5 * f64::from(rest) * f64::from(rest);
            let cost = dense + self.entry * pairs + 0.5 * self.block * f64::from(rest);
            if cost < least {
                (best, least) = (width, cost);
            }
            // Every rating at or after a block needs this block's columns.
            dense += self.block * f64::from(rest);
            rest -= count;
        }
        best.min(self.most)
    }
}

/// The records of all users.
pub struct Records {
    /// How levels are coded.
    pub scale: Scale,
    /// Every record, users in ascending order.
    pub lines: Lines,
    /// The first line of each user's record.
    pub starts: Vec<u32>,
    /// The blocks of each user's record.
    pub widths: Vec<u8>,
    /// Ratings by users with records of at least so many blocks; the first is of all.
    pub ratings: Vec<u64>,
}

/// Records would need more lines than a start can tell.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ratings need {lines} lines of 64 bytes in memory, more than the {} that are supported", u32::MAX)]
pub struct TooLarge {
    lines: u64,
}

impl Records {
    /// Makes the records of all users: collective, and the same on every rank.
    pub fn of<C: Communicator>(
        communicator: &C,
        store: &Store,
        order: &Order,
        scale: Scale,
        widths: Widths,
    ) -> Result<Self, TooLarge> {
        let shares = user_shares(store, communicator.size());
        let share = Maker::new(store, order, scale, widths, shares[communicator.rank()].clone()).make();
        share.gathered(communicator)
    }

    /// The part of one rank becomes the whole.
    fn gathered<C: Communicator>(mut self, communicator: &C) -> Result<Self, TooLarge> {
        let lengths: Vec<usize> =
            communicator.allgather_one(self.lines.len() as u64).into_iter().map(|lines| lines as usize).collect();
        let total = lengths.iter().sum::<usize>() as u64;
        if total >= u64::from(u32::MAX) {
            return Err(TooLarge { lines: total });
        }
        if communicator.size() == 1 {
            return Ok(self);
        }
        let base = lengths[..communicator.rank()].iter().sum::<usize>() as u32;
        self.starts.iter_mut().for_each(|start| *start += base);
        let starts = communicator.allgather_vector(&self.starts);
        let widths = communicator.allgather_vector(&self.widths);
        let mut ratings = vec![0; self.ratings.len()];
        communicator.allreduce(Operation::Sum, &self.ratings, &mut ratings);
        let mut lines = Lines::zeroed(total as usize);
        let words: Vec<usize> = lengths.iter().map(|length| 8 * length).collect();
        communicator.allgather(self.lines.words(), &words, lines.words_mut());
        Ok(Self { scale: self.scale, lines, starts, widths, ratings })
    }

    /// The entries of a user's list, and all after it.
    #[inline]
    pub fn list(&self, user: usize) -> *const u32 {
        let start = self.starts[user] as usize + usize::from(self.widths[user]) * self.scale.planes();
        self.lines.at(start).cast()
    }

    /// Whether a user has no ratings.
    pub fn is_empty(&self, user: usize) -> bool {
        // SAFETY: every list has an end mark at least.
        self.widths[user] == 0 && unsafe { *self.list(user) } == END
    }

    /// Calls `each` with column and level of all that a user rated, in no particular order.
    pub fn each(&self, user: usize, mut each: impl FnMut(u32, u8)) {
        let planes = self.scale.planes();
        let start = self.starts[user] as usize;
        for block in 0..usize::from(self.widths[user]) {
            let lines = &self.lines.words()[8 * (start + block * planes)..][..8 * planes];
            for word in 0..8 {
                let mut rated = (0..planes).fold(0, |rated, plane| rated | lines[8 * plane + word]);
                while rated != 0 {
                    let bit = rated.trailing_zeros() as usize;
                    rated &= rated - 1;
                    let code = (0..planes).fold(0, |code, plane| code | (lines[8 * plane + word] >> bit & 1) << plane);
                    // Bytes are columns, and bits of a byte are 64 columns apart.
                    let column = block * COLUMNS + bit % 8 * 64 + 8 * word + bit / 8;
                    each(column as u32, self.scale.level(code as u8));
                }
            }
        }
        let list = self.list(user);
        // SAFETY: every list ends with its mark, within the record.
        let entries = (0..).map(|at| unsafe { *list.add(at) });
        entries.take_while(|entry| *entry != END).for_each(|entry| each(entry >> LEVEL_BITS, (entry & 15) as u8));
    }
}

/// Makes the records of one run of users, chunk by chunk.
struct Maker<'a> {
    store: &'a Store,
    order: &'a Order,
    widths: Widths,
    users: Range<u32>,
    /// What is left of each row's ratings by these users.
    slices: Vec<Range<usize>>,
    /// Ratings of the chunk: user counted from its first, column, level.
    entries: Vec<u32>,
    /// Of an entry, where the user begins.
    user_shift: u32,
    /// Ratings in each block of each user of the chunk.
    counts: Vec<u32>,
    blocks: usize,
    made: Records,
}

impl<'a> Maker<'a> {
    fn new(store: &'a Store, order: &'a Order, scale: Scale, widths: Widths, users: Range<u32>) -> Self {
        let slices = slices(store, order, &users);
        let ratings: usize = slices.iter().map(|slice| slice.len()).sum();
        let blocks = store.movies().div_ceil(COLUMNS).min(widths.most).min(MOST_WIDTH) + 1;
        // Netflix-like sets take 6 bytes a rating; memory that is not written costs nothing.
        let lines = Lines::with_capacity(ratings / 6 + 2 * users.len() + 64);
        let made = Records { scale, lines, starts: Vec::new(), widths: Vec::new(), ratings: vec![0; MOST_WIDTH + 1] };
        let user_shift = LEVEL_BITS + usize::BITS - store.movies().leading_zeros();
        Self { store, order, widths, users, slices, entries: Vec::new(), user_shift, counts: Vec::new(), blocks, made }
    }

    fn make(mut self) -> Records {
        let chunk = CHUNK.min(1 << (u32::BITS - self.user_shift));
        let mut first = self.users.start;
        while first < self.users.end {
            let end = self.users.end.min(first + chunk as u32);
            self.collect(first, end);
            let start = self.made.starts.len();
            self.lay_out((end - first) as usize);
            self.fill(start);
            first = end;
        }
        self.made
    }

    /// Takes the ratings of the chunk's users from every row.
    fn collect(&mut self, first: u32, end: u32) {
        self.entries.clear();
        self.counts.clear();
        self.counts.resize((end - first) as usize * self.blocks, 0);
        let (raters, stars) = (self.store.raters(), self.store.stars());
        let step = self.made.scale.step();
        let last = self.blocks - 1;
        for row in 0..self.order.movies.len() {
            // Each row continues where the chunk before left off, too short a run for the machine to foresee.
            if let Some(slice) = self.slices.get(row + 16) {
                prefetch_slice(raters, stars, slice.start);
            }
            let slice = &mut self.slices[row];
            let block = (row / COLUMNS).min(last);
            let column = (row as u32) << LEVEL_BITS;
            while slice.start < slice.end && raters[slice.start] < end {
                let user = raters[slice.start] - first;
                self.entries.push(user << self.user_shift | column | u32::from(stars[slice.start] / step));
                self.counts[user as usize * self.blocks + block] += 1;
                slice.start += 1;
            }
        }
    }

    /// Chooses widths and makes room.
    fn lay_out(&mut self, users: usize) {
        let planes = self.made.scale.planes();
        for counts in self.counts.chunks_exact(self.blocks).take(users) {
            let width = self.widths.choose(counts);
            let listed = counts[width..].iter().sum::<u32>() as usize;
            let all = counts.iter().map(|count| u64::from(*count)).sum::<u64>();
            self.made.ratings[..=width].iter_mut().for_each(|ratings| *ratings += all);
            self.made.starts.push(self.made.lines.len() as u32);
            self.made.widths.push(width as u8);
            let list = ((listed + 1) * size_of::<u32>()).div_ceil(size_of::<Line>());
            self.made.lines.extend(width * planes + list);
        }
    }

    /// Writes the chunk's ratings into their records.
    fn fill(&mut self, first: usize) {
        let Self { entries, counts, blocks, user_shift, made, .. } = self;
        let (scale, planes) = (made.scale, made.scale.planes());
        let codes: [u8; 16] = std::array::from_fn(|level| match level {
            0 => 0,
            level if level <= scale.levels() => scale.code(level as u8),
            _ => 0,
        });
        // From here on, where each user's next entry goes, and how many columns are in planes.
        let places = counts;
        for (index, place) in places.chunks_exact_mut(*blocks).enumerate() {
            let (start, width) = (made.starts[first + index], usize::from(made.widths[first + index]));
            let list = start as usize + width * planes;
            let end = made.starts.get(first + index + 1).map_or(made.lines.len(), |start| *start as usize);
            made.lines.entries_mut(list..end).fill(END);
            place[0] = 0;
        }
        let mask = (1u32 << *user_shift) - 1;
        for entry in entries {
            let index = (*entry >> *user_shift) as usize;
            let entry = *entry & mask;
            let column = (entry >> LEVEL_BITS) as usize;
            let (start, width) = (made.starts[first + index] as usize, usize::from(made.widths[first + index]));
            let block = column / COLUMNS;
            if block < width {
                let code = codes[entry as usize & 15];
                let (byte, group) = (column % 64, column % COLUMNS / 64);
                for (plane, line) in made.lines.as_mut_slice()[start + block * planes..][..planes].iter_mut().enumerate() {
                    line.0[byte] |= (code >> plane & 1) << group;
                }
            } else {
                let next = &mut places[index * *blocks];
                let list = start + width * planes;
                made.lines.entries_mut(list..made.lines.len())[*next as usize] = entry;
                *next += 1;
            }
        }
    }
}

#[inline(always)]
fn prefetch_slice(raters: &[u32], stars: &[u8], at: usize) {
    use super::lanes::prefetch;
    prefetch(raters.as_ptr().wrapping_add(at).cast());
    prefetch(raters.as_ptr().wrapping_add(at + 16).cast());
    prefetch(stars.as_ptr().wrapping_add(at).cast());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::Threads;
    use crate::datagen::generate::{Shape, generate};
    use crate::ratings::Ratings;

    #[test]
    fn records_hold_every_rating_at_any_width_and_on_any_number_of_ranks() {
        for half_stars in [false, true] {
            let shape = Shape { movies: 1300, users: 300, ratings: 40_000, seed: 3, half_stars };
            let store = Store::from(Ratings::from_rows(generate(&shape, |_, _| {}).rows).unwrap());
            let order = Order::of(&store);
            let scale = Scale::of(store.stars());
            let mut expected = vec![Vec::new(); store.users()];
            for (row, movie) in order.movies.iter().enumerate() {
                let (raters, stars) = store.of_movie(*movie as usize);
                for (user, stars) in raters.iter().zip(stars) {
                    expected[*user as usize].push((row as u32, stars / scale.step()));
                }
            }
            for (ranks, block, most) in
                [(1, 8.0, MOST_WIDTH), (3, 8.0, MOST_WIDTH), (2, 0.0, MOST_WIDTH), (1, 8.0, 0), (2, 8.0, 1)]
            {
                let widths = Widths { block, entry: 1.0, most };
                let found = Threads::run(ranks, |communicator| {
                    let records = Records::of(communicator, &store, &order, scale, widths).unwrap();
                    let mut found = vec![Vec::new(); store.users()];
                    for (user, found) in found.iter_mut().enumerate() {
                        records.each(user, |column, level| found.push((column, level)));
                        found.sort_unstable();
                    }
                    found
                });
                assert!(found.iter().all(|found| *found == expected), "{ranks} ranks, at most {most} blocks");
            }
        }
    }

    #[test]
    fn blocks_are_chosen_where_their_columns_are_dense() {
        let widths = Widths { block: 8.0, entry: 1.0, most: MOST_WIDTH };
        assert_eq!(widths.choose(&[0, 0]), 0);
        assert_eq!(widths.choose(&[3, 0]), 0);
        assert_eq!(widths.choose(&[90, 0, 0]), 1);
        assert_eq!(widths.choose(&[90, 40, 1]), 2);
        assert_eq!(Widths { most: 0, ..widths }.choose(&[90, 40, 1]), 0);
    }
}

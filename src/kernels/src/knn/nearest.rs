//! The nearest neighbours found so far, and all of them at rank 0.

use std::cmp::Ordering;

use ndarray::Array2;

use super::lanes::{Lanes, on_path};
use super::records::COLUMNS;
use super::similarity::Similarities;
use crate::communicator::Communicator;
use crate::simd::Simd;

/// A neighbour: similarity and movie index.
type Neighbour = (f64, u32);

/// The order of neighbours: by falling similarity, then by rising movie index. Total, so that the nearest do not depend
/// on the order in which they were offered.
fn nearer(one: &Neighbour, other: &Neighbour) -> Ordering {
    other.0.partial_cmp(&one.0).unwrap_or(Ordering::Equal).then(one.1.cmp(&other.1))
}

/// Candidates for the nearest of every movie, by row.
///
/// A list grows to twice its capacity or so, then all but the nearest go, and the last of those is the bar for others:
/// a few instructions a candidate, where an ordered list would move half of itself. Lists lie in one run of memory, since
/// candidates come for all rows in turn: to add one must not wait for where its list is.
pub struct Nearest {
    capacity: usize,
    /// Places of each list.
    room: usize,
    lengths: Vec<u32>,
    /// `[rows, room]`; the part beyond a list's length has no meaning.
    lists: Vec<Neighbour>,
    /// What to be nearer than, by row: similarity and movie index.
    bars: Vec<f64>,
    bar_movies: Vec<u32>,
}

impl Nearest {
    /// No candidates yet.
    pub fn new(rows: usize, capacity: usize) -> Self {
        let padded = rows.next_multiple_of(COLUMNS);
        // Nothing is nearer than infinity: no capacity keeps nothing.
        let bar = if capacity == 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        // A list has one candidate at most for each other movie.
        let room = if capacity == 0 { 0 } else { (2 * capacity + 48).min(rows) };
        // Zeros are not written before they are needed.
        let lists = vec![(0.0, 0); rows * room];
        Self { capacity, room, lengths: vec![0; rows], lists, bars: vec![bar; padded], bar_movies: vec![0; padded] }
    }

    /// Offers the pairs of a row with a block of columns: each to both movies. `movies` are the movie indexes by row.
    pub fn offer(&mut self, simd: Simd, movies: &[u32], row: usize, block: usize, found: &Similarities) {
        let base = block * COLUMNS;
        let columns = COLUMNS.min(row.saturating_sub(base));
        let mut hits = [0u8; COLUMNS / 8];
        let (own, movie) = (self.bars[row], movies[row]);
        let (bars, bar_movies) = (&self.bars[base..][..COLUMNS], &self.bar_movies[base..][..COLUMNS]);
        on_path!(simd, compare::<_>(
            found: &[f64; COLUMNS] = &found.0, own: f64 = own, movie: u32 = movie, bars: &[f64] = bars,
            bar_movies: &[u32] = bar_movies, hits: &mut [u8; COLUMNS / 8] = &mut hits));
        for (eight, _) in hits.iter().enumerate().take(columns.div_ceil(8)).filter(|(_, hit)| **hit != 0) {
            for column in 8 * eight..columns.min(8 * eight + 8) {
                let similarity = found.0[column];
                self.keep(row, (similarity, movies[base + column]));
                self.keep(base + column, (similarity, movie));
            }
        }
    }

    /// Keeps a candidate if it is nearer than the bar.
    #[inline]
    fn keep(&mut self, row: usize, neighbour: Neighbour) {
        let bar = self.bars[row];
        if neighbour.0 < bar || (neighbour.0 == bar && neighbour.1 >= self.bar_movies[row]) {
            return;
        }
        let length = self.lengths[row] as usize;
        self.lists[row * self.room + length] = neighbour;
        self.lengths[row] += 1;
        if length + 1 == self.room && self.room > self.capacity {
            self.shorten(row);
        }
    }

    /// Leaves the nearest of a full list, and sets its bar.
    #[cold]
    fn shorten(&mut self, row: usize) {
        let list = &mut self.lists[row * self.room..][..self.room];
        list.select_nth_unstable_by(self.capacity - 1, nearer);
        (self.bars[row], self.bar_movies[row]) = list[self.capacity - 1];
        self.lengths[row] = self.capacity as u32;
    }

    /// The nearest of each row, in any order.
    fn into_lists(mut self) -> Vec<Vec<Neighbour>> {
        let lists = self.lengths.iter().enumerate().map(|(row, length)| {
            let list = &mut self.lists[row * self.room..][..*length as usize];
            if list.len() > self.capacity {
                list.select_nth_unstable_by(self.capacity - 1, nearer);
            }
            list[..list.len().min(self.capacity)].to_vec()
        });
        lists.collect()
    }

    /// Collects the nearest of all movies at rank 0: each rank decides on a share of the rows, of which all ranks sent it
    /// their candidates.
    pub fn gathered<C: Communicator>(
        self,
        communicator: &C,
        movies: &[u32],
        movie_ids: &[u32],
        columns: usize,
    ) -> Option<Neighbours> {
        let (rank, size) = (communicator.rank(), communicator.size());
        let capacity = self.capacity;
        let mut lists = self.into_lists();
        let rows = lists.len();
        let share = |rank: usize| rows * rank / size..rows * (rank + 1) / size;
        for step in 1..size {
            let (to, from) = ((rank + step) % size, (rank + size - step) % size);
            let outgoing = Packed::of(&lists[share(to)]);
            let incoming = outgoing.exchange(communicator, to, from, share(rank).len());
            incoming.unpack(&mut lists[share(rank)]);
        }
        let own = &mut lists[share(rank)];
        for list in own.iter_mut() {
            list.sort_unstable_by(nearer);
            list.truncate(capacity);
        }
        let own = Packed::of(own);
        let count = |values: usize| -> Vec<usize> {
            communicator.allgather_one(values as u64).into_iter().map(|count| count as usize).collect()
        };
        let (rows_of, values_of) = (count(own.lengths.len()), count(own.movies.len()));
        let total = |counts: &[usize]| if rank == 0 { counts.iter().sum() } else { 0 };
        let mut all = Packed::blank(total(&rows_of), total(&values_of));
        communicator.gather(0, &own.lengths, &rows_of, &mut all.lengths);
        communicator.gather(0, &own.movies, &values_of, &mut all.movies);
        communicator.gather(0, &own.similarities, &values_of, &mut all.similarities);
        (rank == 0).then(|| all.named(movies, movie_ids, columns))
    }
}

/// Finds the eights of columns in which any pair may pass a bar.
#[inline(always)]
unsafe fn compare<L: Lanes>(
    found: &[f64; COLUMNS],
    own: f64,
    movie: u32,
    bars: &[f64],
    bar_movies: &[u32],
    hits: &mut [u8; COLUMNS / 8],
) {
    for (eight, hit) in hits.iter_mut().enumerate() {
        let mut any = false;
        for column in 8 * eight..8 * eight + 8 {
            let (similarity, bar) = (found[column], bars[column]);
            any |= (similarity > bar)
                | (similarity == bar) & (movie < bar_movies[column])
                | (similarity >= own) & (similarity > f64::NEG_INFINITY);
        }
        *hit = u8::from(any);
    }
}

/// Lists end to end.
struct Packed {
    lengths: Vec<u32>,
    movies: Vec<u32>,
    similarities: Vec<f64>,
}

impl Packed {
    fn of(lists: &[Vec<Neighbour>]) -> Self {
        Self {
            lengths: lists.iter().map(|list| list.len() as u32).collect(),
            movies: lists.iter().flatten().map(|neighbour| neighbour.1).collect(),
            similarities: lists.iter().flatten().map(|neighbour| neighbour.0).collect(),
        }
    }

    fn blank(lists: usize, values: usize) -> Self {
        Self { lengths: vec![0; lists], movies: vec![0; values], similarities: vec![0.0; values] }
    }

    /// Sends these to one rank while as many lists as `lists` come from another.
    fn exchange<C: Communicator>(&self, communicator: &C, to: usize, from: usize, lists: usize) -> Self {
        let mut lengths = vec![0; lists];
        communicator.exchange(to, &self.lengths, from, &mut lengths);
        let mut incoming = Self::blank(0, lengths.iter().map(|length| *length as usize).sum());
        communicator.exchange(to, &self.movies, from, &mut incoming.movies);
        communicator.exchange(to, &self.similarities, from, &mut incoming.similarities);
        Self { lengths, ..incoming }
    }

    fn unpack(&self, lists: &mut [Vec<Neighbour>]) {
        let mut values = self.similarities.iter().copied().zip(self.movies.iter().copied());
        for (list, length) in lists.iter_mut().zip(&self.lengths) {
            list.extend(values.by_ref().take(*length as usize));
        }
    }

    /// The lists of rows as arrays by movie, with movie ids instead of indexes.
    fn named(&self, movies: &[u32], movie_ids: &[u32], columns: usize) -> Neighbours {
        let mut ids = Array2::from_elem((movie_ids.len(), columns), -1);
        let mut similarities = Array2::from_elem((movie_ids.len(), columns), f64::NAN);
        let mut values = self.similarities.iter().zip(&self.movies);
        for (movie, length) in movies.iter().zip(&self.lengths) {
            for (column, (similarity, index)) in values.by_ref().take(*length as usize).enumerate() {
                ids[[*movie as usize, column]] = i64::from(movie_ids[*index as usize]);
                similarities[[*movie as usize, column]] = *similarity;
            }
        }
        Neighbours { ids, similarities }
    }
}

/// The neighbours of all movies, in the order of their ids.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// `[movies, neighbours]`: movie ids, nearest first, -1 where there are fewer.
    pub ids: Array2<i64>,
    /// Their similarities, NaN where there are fewer.
    pub similarities: Array2<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::Solo;

    #[test]
    fn the_nearest_are_kept_in_order_whatever_the_order_of_offers() {
        let offers: Vec<Neighbour> = (0..1000u32).map(|index| (f64::from(index * 7919 % 101) / 101.0, index)).collect();
        let mut expected = offers.clone();
        expected.sort_by(nearer);
        let movies: Vec<u32> = (0..1000).collect();
        for shift in [0, 1, 500, 999] {
            let mut nearest = Nearest::new(1000, 40);
            (0..1000).for_each(|at| nearest.keep(3, offers[(at + shift) % 1000]));
            let found = nearest.gathered(&Solo, &movies, &movies, 40).unwrap();
            let row: Vec<Neighbour> =
                found.similarities.row(3).iter().copied().zip(found.ids.row(3).iter().map(|id| *id as u32)).collect();
            assert_eq!(row, expected[..40]);
            assert!(found.ids.row(4).iter().all(|id| *id == -1));
        }
    }

    #[test]
    fn no_capacity_keeps_nothing() {
        let mut nearest = Nearest::new(1, 0);
        nearest.keep(0, (1.0, 3));
        assert_eq!(nearest.into_lists(), [[]]);
    }
}

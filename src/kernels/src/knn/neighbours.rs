//! The nearest neighbours found so far, and all of them at rank 0.

use ndarray::Array2;

use super::block::Layout;
use crate::communicator::Communicator;

/// Up to `capacity` neighbours of each of a run of movies, nearest first.
///
/// Order is by falling similarity, then by rising index: total, so the neighbours do not depend on the order in which
/// they were offered.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    capacity: usize,
    lengths: Vec<u32>,
    /// `[movies, capacity]`; the part beyond a row's length has no meaning.
    indexes: Vec<u32>,
    similarities: Vec<f64>,
}

impl Nearest {
    /// No neighbours yet.
    pub fn new(movies: usize, capacity: usize) -> Self {
        let (indexes, similarities) = (vec![0; movies * capacity], vec![0.0; movies * capacity]);
        Self { capacity, lengths: vec![0; movies], indexes, similarities }
    }

    /// Keeps a neighbour if it is among the nearest of the movie in this row.
    #[inline]
    pub fn offer(&mut self, row: usize, index: u32, similarity: f64) {
        let length = self.lengths[row] as usize;
        let start = row * self.capacity;
        if length == self.capacity && (length == 0 || !self.is_behind(start + length - 1, index, similarity)) {
            return;
        }
        let kept = length.min(self.capacity - 1);
        let (mut low, mut high) = (start, start + kept);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.is_behind(middle, index, similarity) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.indexes.copy_within(low..start + kept, low + 1);
        self.similarities.copy_within(low..start + kept, low + 1);
        self.indexes[low] = index;
        self.similarities[low] = similarity;
        self.lengths[row] = kept as u32 + 1;
    }

    /// Whether the neighbour at a place comes after another.
    #[inline]
    fn is_behind(&self, place: usize, index: u32, similarity: f64) -> bool {
        let other = self.similarities[place];
        other < similarity || (other == similarity && self.indexes[place] > index)
    }

    /// Offers all that `other` has for the same movies.
    pub fn merge(&mut self, other: &Nearest) {
        for (row, length) in other.lengths.iter().enumerate() {
            for place in row * other.capacity..row * other.capacity + *length as usize {
                self.offer(row, other.indexes[place], other.similarities[place]);
            }
        }
    }

    /// Sends these to `destination` while those of as many movies as `incoming` has come from `source`.
    pub fn exchange<C: Communicator>(&self, communicator: &C, destination: usize, source: usize, incoming: &mut Self) {
        communicator.exchange(destination, &self.lengths, source, &mut incoming.lengths);
        communicator.exchange(destination, &self.indexes, source, &mut incoming.indexes);
        communicator.exchange(destination, &self.similarities, source, &mut incoming.similarities);
    }

    /// Collects the neighbours of every rank's movies at rank 0, with `columns` columns; None elsewhere.
    pub fn gathered<C: Communicator>(
        &self,
        communicator: &C,
        layout: &Layout,
        movie_ids: &[u32],
        columns: usize,
    ) -> Option<Neighbours> {
        let movies: Vec<usize> = (0..communicator.size()).map(|rank| layout.movies_of(rank).len()).collect();
        let places: Vec<usize> = movies.iter().map(|count| count * self.capacity).collect();
        let total = if communicator.rank() == 0 { layout.movies() } else { 0 };
        let mut all = Self::new(total, self.capacity);
        communicator.gather(0, &self.lengths, &movies, &mut all.lengths);
        communicator.gather(0, &self.indexes, &places, &mut all.indexes);
        communicator.gather(0, &self.similarities, &places, &mut all.similarities);
        (communicator.rank() == 0).then(|| all.named(movie_ids, columns))
    }

    /// The same with movie ids instead of indexes.
    fn named(&self, movie_ids: &[u32], columns: usize) -> Neighbours {
        let mut ids = Array2::from_elem((self.lengths.len(), columns), -1);
        let mut similarities = Array2::from_elem((self.lengths.len(), columns), f64::NAN);
        for (row, length) in self.lengths.iter().enumerate() {
            for column in 0..*length as usize {
                let place = row * self.capacity + column;
                ids[[row, column]] = i64::from(movie_ids[self.indexes[place] as usize]);
                similarities[[row, column]] = self.similarities[place];
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

    #[test]
    fn the_nearest_are_kept_in_order_whatever_the_order_of_offers() {
        let offers = [(4, 0.5), (1, 0.5), (3, 1.0), (2, -1.0), (0, 0.5), (5, 0.0)];
        let expected = [(3, 1.0), (0, 0.5), (1, 0.5), (4, 0.5)];
        for shift in 0..offers.len() {
            let mut nearest = Nearest::new(2, 4);
            for position in 0..offers.len() {
                let (index, similarity) = offers[(position + shift) % offers.len()];
                nearest.offer(1, index, similarity);
            }
            let found: Vec<(u32, f64)> = (4..8).map(|at| (nearest.indexes[at], nearest.similarities[at])).collect();
            assert_eq!(found, expected);
            assert_eq!(nearest.lengths, [0, 4]);
        }
    }

    #[test]
    fn no_capacity_keeps_nothing() {
        let mut nearest = Nearest::new(1, 0);
        nearest.offer(0, 3, 1.0);
        assert_eq!(nearest.lengths, [0]);
    }
}

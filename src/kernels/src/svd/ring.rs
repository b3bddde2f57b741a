//! Once round the ring: every group of users meets every group of movies.
//!
//! In stratum `s`, group `b` of users works on group `b + s` of movies. The cells of one stratum share no user and no
//! movie, so the outcome is that of any number of ranks. User groups stay on their rank; after a rank's first cell of a
//! stratum, that cell's movies go to the left neighbour, which needs them for its last cell of the next stratum: the
//! transfer has all cells in between to hide behind.

use std::collections::VecDeque;
use std::ops::Range;

use super::grid::{active, owned};
use crate::communicator::{Communicator, Pending};

/// One rank's place in the ring.
pub struct Ring<'a, C: Communicator> {
    communicator: &'a C,
    groups: usize,
    own: Range<usize>,
    /// Values of each group of movies.
    lengths: Vec<usize>,
}

impl<'a, C: Communicator> Ring<'a, C> {
    /// The ring of all ranks of a communicator; `lengths` gives the values of each group of movies.
    pub fn new(communicator: &'a C, lengths: Vec<usize>) -> Self {
        let groups = lengths.len();
        Self { communicator, groups, own: owned(communicator.rank(), communicator.size(), groups), lengths }
    }

    /// The groups of users that stay on this rank, and of movies that it starts with.
    pub fn own(&self) -> Range<usize> {
        self.own.clone()
    }

    /// Calls `cell` for every own group of users with every group of movies, in the order of strata: collective.
    ///
    /// `held` are the movies of the own groups, and are so again afterwards. `cell` gets both group numbers, the movies'
    /// values, and a function to be called now and then, which moves messages on.
    pub fn turn(&self, held: Vec<Vec<f32>>, mut cell: impl FnMut(usize, usize, &mut [f32], &mut dyn FnMut())) -> Vec<Vec<f32>> {
        assert!(held.iter().map(Vec::len).eq(self.lengths[self.own.clone()].iter().copied()), "every own group is held");
        let mut ring: Turn<C::Pending<f32>> = Turn { held: VecDeque::from(held), under_way: None, spare: Vec::new() };
        for stratum in 0..self.groups {
            for user_group in self.own.clone() {
                if ring.held.is_empty() {
                    ring.receive();
                }
                // The movies of the first cell are passed on before the second begins.
                let slot = (user_group - self.own.start).saturating_sub(1);
                let Turn { held, under_way, .. } = &mut ring;
                cell(user_group, (user_group + stratum) % self.groups, &mut held[slot], &mut || {
                    if let Some(exchange) = under_way {
                        exchange.poll();
                    }
                });
                if user_group == self.own.start {
                    ring.receive();
                    self.pass_on(&mut ring, stratum);
                }
            }
        }
        ring.receive();
        ring.held.into()
    }

    /// Sends the first movies to the left, where they are needed next, and begins to receive those that follow the last.
    fn pass_on(&self, turn: &mut Turn<C::Pending<f32>>, stratum: usize) {
        let movies = turn.held.pop_front().expect("the movies of the first cell are held");
        let (rank, active) = (self.communicator.rank(), active(self.communicator.size(), self.groups));
        if active == 1 {
            return turn.held.push_back(movies);
        }
        let (left, right) = ((rank + active - 1) % active, (rank + 1) % active);
        turn.spare.resize(self.lengths[(self.own.end + stratum) % self.groups], 0.0);
        turn.under_way = Some(self.communicator.start_exchange(left, movies, right, std::mem::take(&mut turn.spare)));
    }
}

/// A turn under way.
struct Turn<P> {
    held: VecDeque<Vec<f32>>,
    under_way: Option<P>,
    /// A buffer that was sent, for what comes next.
    spare: Vec<f32>,
}

impl<P: Pending<f32>> Turn<P> {
    /// Waits for what is under way, if anything.
    fn receive(&mut self) {
        if let Some(exchange) = self.under_way.take() {
            let (sent, received) = exchange.finish();
            self.spare = sent;
            self.held.push_back(received);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::Threads;

    /// Every cell notes its user group in the movies' values; what comes home is the order in which users were met.
    fn meetings(ranks: usize, groups: usize) -> Vec<Vec<f32>> {
        let lengths: Vec<usize> = (0..groups).map(|group| groups + group).collect();
        let homes = Threads::run(ranks, |communicator| {
            let ring = Ring::new(communicator, lengths.clone());
            let held = ring.own().map(|group| vec![-1.0; lengths[group]]).collect();
            ring.turn(held, |user_group, movie_group, movies, poll| {
                assert_eq!(movies.len(), lengths[movie_group]);
                let free = movies.iter().position(|value| *value < 0.0).unwrap();
                movies[free] = user_group as f32;
                poll();
            })
        });
        homes.concat()
    }

    #[test]
    fn every_movie_group_meets_all_users_in_one_order_and_comes_home() {
        for groups in [1, 2, 3, 5, 8] {
            for ranks in [1, 2, 3, 4, 7, 8, 11] {
                let met = meetings(ranks, groups);
                assert_eq!(met.len(), groups);
                for (group, met) in met.iter().enumerate() {
                    let expected: Vec<f32> = (0..groups).map(|stratum| ((group + groups - stratum) % groups) as f32).collect();
                    assert_eq!(met[..groups], expected, "group {group} of {groups} on {ranks} ranks");
                }
            }
        }
    }
}

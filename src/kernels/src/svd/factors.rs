//! The factors that are learnt: rows of users and movies in the groups of the grid.

use std::ops::{Deref, Range};

use super::grid::{Groups, owned};
use super::lines::Lines;
use super::step::row_length;
use crate::communicator::Communicator;
use crate::random::{SplitMix64, derive};

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A user.
    User,
    /// A movie.
    Movie,
}

/// Rows of a rank's own groups, each group's end to end by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// By own group of users.
    pub users: Vec<Lines>,
    /// By own group of movies.
    pub movies: Vec<Vec<f32>>,
}

/// How factors begin.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Factors of a row.
    pub factors: usize,
    /// Standard deviation of the normal distribution they are drawn from.
    pub deviation: f64,
    /// Seed of all draws: every row has a stream of its own.
    pub seed: u64,
}

impl Start {
    /// The first rows of some groups; members without ratings learn nothing, so their rows have no factors and no bias.
    pub fn rows(&self, side: Side, groups: &Groups, counts: &[u32], own: Range<usize>) -> Vec<Lines> {
        let length = row_length(self.factors);
        let seed = derive(self.seed, side as u64);
        let mut all: Vec<Lines> = own.clone().map(|group| Lines::zeros(groups.len(group) * length)).collect();
        for (member, count) in counts.iter().enumerate() {
            let (group, place) = groups.of(member);
            if own.contains(&group) {
                let row = &mut all[group - own.start][place * length..][..length];
                self.fill(side, row, *count > 0, derive(seed, member as u64));
            }
        }
        all
    }

    fn fill(&self, side: Side, row: &mut [f32], learns: bool, seed: u64) {
        if learns {
            let mut random = SplitMix64::new(seed);
            for pair in row[..self.factors].chunks_mut(2) {
                let draws = random.normals();
                pair.iter_mut().zip(draws).for_each(|(value, draw)| *value = (self.deviation * draw) as f32);
            }
        }
        let constant = match side {
            Side::User => row.len() - 1,
            Side::Movie => row.len() - 2,
        };
        row[constant] = 1.0;
    }
}

/// The bias in a row.
pub fn bias(side: Side, row: &[f32]) -> f32 {
    match side {
        Side::User => row[row.len() - 2],
        Side::Movie => row[row.len() - 1],
    }
}

/// The values of all groups end to end on every rank: collective.
pub fn on_all<C: Communicator>(communicator: &C, lengths: &[usize], own: &[Vec<f32>]) -> Vec<f32> {
    let ranks = communicator.size();
    let of_rank = |rank| lengths[owned(rank, ranks, lengths.len())].iter().sum();
    let counts: Vec<usize> = (0..ranks).map(of_rank).collect();
    let mut all = vec![0.0; lengths.iter().sum()];
    communicator.allgather(&own.concat(), &counts, &mut all);
    all
}

/// Hands the values of one group after the other to `take` at rank 0: collective.
pub fn at_first<C: Communicator, E>(
    communicator: &C,
    lengths: &[usize],
    own: &[impl Deref<Target = [f32]>],
    mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    let (rank, ranks) = (communicator.rank(), communicator.size());
    let mut buffer = Vec::new();
    for owner in 0..ranks {
        let groups = owned(owner, ranks, lengths.len());
        for (slot, group) in groups.enumerate() {
            match (rank, owner) {
                (0, 0) => take(group, &own[slot])?,
                (0, _) => {
                    buffer.resize(lengths[group], 0.0);
                    communicator.receive(owner, &mut buffer);
                    take(group, &buffer)?;
                }
                _ if rank == owner => communicator.send(0, &own[slot]),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Hands the values of one group after the other from rank 0, where `read` fills them, to their owners: collective.
pub fn from_first<C: Communicator, E>(
    communicator: &C,
    lengths: &[usize],
    mut read: impl FnMut(&mut [f32]) -> Result<(), E>,
) -> Result<Vec<Vec<f32>>, E> {
    let (rank, ranks) = (communicator.rank(), communicator.size());
    let mut own = Vec::new();
    for owner in 0..ranks {
        for group in owned(owner, ranks, lengths.len()) {
            let mut values = vec![0.0; if rank == 0 || rank == owner { lengths[group] } else { 0 }];
            if rank == 0 {
                read(&mut values)?;
            }
            match (rank, owner) {
                (0, 0) => own.push(values),
                (0, _) => communicator.send(owner, &values),
                _ if rank == owner => {
                    communicator.receive(0, &mut values);
                    own.push(values);
                }
                _ => {}
            }
        }
    }
    Ok(own)
}

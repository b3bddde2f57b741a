//! Biased matrix factorisation by stochastic gradient descent: all factors of a rating at once.

use super::cells::{Cells, cut};
use super::factors::{Factors, Side, Start, on_all};
use super::holdout::{Own, total};
use super::lines::Lines;
use super::ring::Ring;
use super::step::{Rates, Ratings, row_length, train};
use super::train::Learner;
use super::{Problem, grid};
use crate::communicator::Communicator;
use crate::simd::Simd;

/// What determines a training, apart from the ratings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How factors begin, and how many there are.
    pub start: Start,
    /// The learning rate.
    pub learning_rate: f64,
    /// The weight of the squared factors and biases.
    pub regularization: f64,
}

/// One rank's part of a training.
pub struct Training<'a, C: Communicator> {
    communicator: &'a C,
    ring: Ring<'a, C>,
    cells: Cells,
    rates: Rates,
    simd: Simd,
    length: usize,
    /// Values of each group of users and of movies.
    lengths: (Vec<usize>, Vec<usize>),
    ratings: usize,
    factors: Factors,
}

impl<'a, C: Communicator> Training<'a, C> {
    /// Cuts the ratings and draws the first factors: collective.
    pub fn new(communicator: &'a C, problem: &Problem<'_>, settings: &Settings, simd: Simd) -> Self {
        let length = row_length(settings.start.factors);
        let lengths_of = |groups: &grid::Groups| (0..groups.count()).map(|group| groups.len(group) * length).collect::<Vec<_>>();
        let lengths = (lengths_of(&problem.users), lengths_of(&problem.movies));
        let ring = Ring::new(communicator, lengths.1.clone());
        let own = ring.own();
        let movies = settings.start.rows(Side::Movie, &problem.movies, &problem.movie_counts, own.clone());
        let factors = Factors {
            users: settings.start.rows(Side::User, &problem.users, &problem.user_counts, own.clone()),
            movies: movies.iter().map(|rows| rows.to_vec()).collect(),
        };
        let rates = Rates {
            learning: settings.learning_rate as f32,
            decay: (1.0 - settings.learning_rate * settings.regularization) as f32,
            mean: problem.mean as f32,
        };
        let cells = cut(problem.columns, &problem.users, &problem.movies, own, settings.start.seed);
        Self { communicator, ring, cells, rates, simd, length, lengths, ratings: problem.columns.stars.len(), factors }
    }

    /// One step for every rating: collective. Returns the root of the mean squared error, each rating's before its step.
    pub fn epoch(&mut self) -> f64 {
        let own = self.ring.own();
        let groups = self.lengths.0.len();
        let mut sums = vec![0.0; own.len() * groups];
        let (cells, users, length) = (&self.cells, &mut self.factors.users, self.length);
        let mut scratch = Lines::default();
        let held = std::mem::take(&mut self.factors.movies);
        self.factors.movies = self.ring.turn(held, |user_group, movie_group, movies, poll| {
            let slot = user_group - own.start;
            let users = &mut users[slot];
            scratch.resize(movies.len());
            scratch.copy_from_slice(movies);
            for block in cells.blocks(slot, movie_group) {
                let range = block.begin..block.end;
                let ratings = Ratings {
                    users: &cells.users[range.clone()],
                    movies: &cells.movies[range.clone()],
                    stars: &cells.stars[range],
                    in_quads: block.quads - block.begin,
                };
                let rows = (&mut users[block.user * length..], &mut scratch[block.movie * length..]);
                sums[slot * groups + movie_group] += train(self.simd, length, &ratings, rows.0, rows.1, &self.rates);
                poll();
            }
            movies.copy_from_slice(&scratch);
        });
        (total(self.communicator, groups, &sums) / self.ratings.max(1) as f64).sqrt()
    }
}

impl<C: Communicator> Learner<C> for Training<'_, C> {
    fn round(&mut self, _number: usize, _told: &mut dyn FnMut(u64, u64)) -> f64 {
        self.epoch()
    }

    fn predictions(&self, own: &Own) -> Vec<Vec<f32>> {
        let movies = on_all(self.communicator, &self.lengths.1, &self.factors.movies);
        own.predictions(self.simd, self.length, self.rates.mean, &self.factors.users, &movies)
    }

    fn factors(&self) -> &Factors {
        &self.factors
    }

    fn restore(&mut self, factors: Factors, _rounds: usize) {
        self.factors = factors;
    }

    fn lengths(&self) -> (&[usize], &[usize]) {
        (&self.lengths.0, &self.lengths.1)
    }

    fn mean(&self) -> f32 {
        self.rates.mean
    }
}

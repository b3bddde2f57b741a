//! Matrix factorisation as Simon Funk first did it: one factor after the other, on what the others left over.
//!
//! The residual of every rating is kept, so that a step touches two numbers. Predictions are not clipped while factors are
//! learnt, as they were originally: so what is learnt is a sum of products, and the order of factors does not matter to
//! those who use it.

use super::Problem;
use super::cells::{Cells, Columns, cut};
use super::factors::{Factors, on_all};
use super::grid::Groups;
use super::holdout::{Own, total};
use super::lines::Lines;
use super::ring::Ring;
use super::step::{row_length, rows};
use super::train::Learner;
use crate::communicator::Communicator;
use crate::simd::Simd;

/// Ratings of the mean that a bias is averaged with; Funk's choice.
const DAMPING: f64 = 25.0;

/// What determines a training, apart from the ratings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of factors.
    pub factors: usize,
    /// Passes over the ratings for each factor.
    pub passes: usize,
    /// The learning rate.
    pub learning_rate: f64,
    /// The weight of the squared factors.
    pub regularization: f64,
    /// The first value of every factor.
    pub start: f64,
    /// Whether damped means of movies and users are taken off first, or not even the mean of all ratings.
    pub has_baseline: bool,
    /// Seed of the order of the steps.
    pub seed: u64,
}

/// One rank's part of a training.
pub struct Training<'a, C: Communicator> {
    communicator: &'a C,
    ring: Ring<'a, C>,
    cells: Cells,
    /// By rating, in the order of the cells.
    residuals: Vec<f32>,
    rates: Rates,
    simd: Simd,
    settings: Settings,
    baseline: Baseline,
    groups: (&'a Groups, &'a Groups),
    counts: (&'a [u32], &'a [u32]),
    /// Values of each group of users and of movies.
    lengths: (Vec<usize>, Vec<usize>),
    factors: Factors,
}

/// The numbers of one pass.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// The learning rate.
    pub learning: f32,
    /// What is left of a value after a step without error.
    pub decay: f32,
}

/// What is predicted without factors, in stars.
#[derive(Clone, Debug, PartialEq)]
struct Baseline {
    mean: f32,
    users: Vec<f32>,
    movies: Vec<f32>,
}

impl Baseline {
    /// How far each movie's ratings are from the mean, and each user's from the movies', both damped.
    ///
    /// Every rank computes all of it in the order of the columns.
    fn new(columns: Columns<'_>, users: usize, mean: f64) -> Self {
        let damped = |sum: f64, count: f64| sum / (DAMPING + count);
        let mut movies = Vec::with_capacity(columns.offsets.len());
        let (mut sums, mut counts) = (vec![0.0; users], vec![0.0; users]);
        for bounds in columns.offsets.windows(2) {
            let range = bounds[0] as usize..bounds[1] as usize;
            let (raters, stars) = (&columns.raters[range.clone()], &columns.stars[range]);
            let sum: u64 = stars.iter().map(|stars| u64::from(*stars)).sum();
            let count = stars.len() as f64;
            let bias = damped(0.5 * sum as f64 - mean * count, count);
            for (user, stars) in raters.iter().zip(stars) {
                sums[*user as usize] += 0.5 * f64::from(*stars) - mean - bias;
                counts[*user as usize] += 1.0;
            }
            movies.push(bias as f32);
        }
        let users = sums.into_iter().zip(counts).map(|(sum, count)| damped(sum, count) as f32).collect();
        Self { mean: mean as f32, users, movies }
    }

    /// Nothing at all.
    fn none(users: usize, movies: usize) -> Self {
        Self { mean: 0.0, users: vec![0.0; users], movies: vec![0.0; movies] }
    }
}

impl<'a, C: Communicator> Training<'a, C> {
    /// Cuts the ratings and takes the baseline off: collective.
    pub fn new(communicator: &'a C, problem: &'a Problem<'_>, settings: &Settings, simd: Simd) -> Self {
        let (users, movies) = (&problem.users, &problem.movies);
        let sizes = |groups: &Groups| (0..groups.count()).map(|group| groups.len(group)).collect::<Vec<_>>();
        let ring = Ring::new(communicator, sizes(movies));
        let own = ring.own();
        let baseline = match settings.has_baseline {
            true => Baseline::new(problem.columns, users.members(), problem.mean),
            false => Baseline::none(users.members(), movies.members()),
        };
        let rates = Rates {
            learning: settings.learning_rate as f32,
            decay: (1.0 - settings.learning_rate * settings.regularization) as f32,
        };
        let length = row_length(settings.factors);
        let lengths_of = |groups: &Groups| sizes(groups).into_iter().map(|size| size * length).collect::<Vec<_>>();
        let cells = cut(problem.columns, users, movies, own, settings.seed);
        let mut training = Self {
            communicator,
            ring,
            residuals: Vec::new(),
            cells,
            rates,
            simd,
            settings: *settings,
            baseline,
            groups: (users, movies),
            counts: (&problem.user_counts, &problem.movie_counts),
            lengths: (lengths_of(users), lengths_of(movies)),
            factors: Factors::default(),
        };
        training.factors = training.without_factors();
        training.take_baseline();
        training
    }

    /// Rows with biases and the two ones, but no factors yet.
    fn without_factors(&self) -> Factors {
        let length = row_length(self.settings.factors);
        let all = |groups: &Groups, biases: &[f32], bias: usize| -> Vec<Lines> {
            let mut all: Vec<Lines> = self.ring.own().map(|group| Lines::zeros(groups.len(group) * length)).collect();
            self.each_own(groups, |slot, place, member| {
                let row = &mut all[slot][place * length..][..length];
                row[length - 2..].fill(1.0);
                row[bias] = biases[member];
            });
            all
        };
        let movies = all(self.groups.1, &self.baseline.movies, length - 1);
        Factors {
            users: all(self.groups.0, &self.baseline.users, length - 2),
            movies: movies.iter().map(|rows| rows.to_vec()).collect(),
        }
    }

    /// Calls `visit` with own group, place and number of every member of the own groups.
    fn each_own(&self, groups: &Groups, mut visit: impl FnMut(usize, usize, usize)) {
        let own = self.ring.own();
        for member in 0..groups.members() {
            let (group, place) = groups.of(member);
            if own.contains(&group) {
                visit(group - own.start, place, member);
            }
        }
    }

    /// Residuals of the baseline alone.
    fn take_baseline(&mut self) {
        let lists = (self.groups.0.member_lists(), self.groups.1.member_lists());
        let mut residuals = vec![0.0; self.cells.len()];
        for (slot, user_group) in self.ring.own().enumerate() {
            for (movie_group, movies) in lists.1.iter().enumerate() {
                for block in self.cells.blocks(slot, movie_group) {
                    for at in block.begin..block.end {
                        let user = lists.0[user_group][block.user + usize::from(self.cells.users[at])];
                        let movie = movies[block.movie + usize::from(self.cells.movies[at])];
                        let bias = self.baseline.users[user as usize] + self.baseline.movies[movie as usize];
                        residuals[at] = 0.5 * f32::from(self.cells.stars[at]) - self.baseline.mean - bias;
                    }
                }
            }
        }
        self.residuals = residuals;
    }

    /// Learns one factor: its values for the own groups of users and movies.
    fn learn(&mut self, told: &mut dyn FnMut(u64, u64)) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let mut users = self.first(self.groups.0, self.counts.0);
        let mut movies = self.first(self.groups.1, self.counts.1);
        let own = self.ring.own();
        for pass in 0..self.settings.passes {
            movies = self.ring.turn(movies, |user_group, movie_group, movies, poll| {
                let slot = user_group - own.start;
                for block in self.cells.blocks(slot, movie_group) {
                    let (users, movies) = (&mut users[slot][block.user..], &mut movies[block.movie..]);
                    descend(self.simd, &self.ratings(block), users, movies, &self.rates);
                    poll();
                }
            });
            told(pass as u64 + 1, self.settings.passes as u64);
        }
        (users, movies)
    }

    fn ratings(&self, block: &super::cells::Block) -> Ratings<'_> {
        let range = block.begin..block.end;
        Ratings {
            users: &self.cells.users[range.clone()],
            movies: &self.cells.movies[range.clone()],
            residuals: &self.residuals[range],
        }
    }

    /// The first values of a factor; members without ratings have none.
    fn first(&self, groups: &Groups, counts: &[u32]) -> Vec<Vec<f32>> {
        let mut all: Vec<Vec<f32>> = self.ring.own().map(|group| vec![0.0; groups.len(group)]).collect();
        self.each_own(groups, |slot, place, member| {
            if counts[member] > 0 {
                all[slot][place] = self.settings.start as f32;
            }
        });
        all
    }

    /// Takes a factor off the residuals, and returns the root of the mean of their squares: collective.
    fn take_off(&mut self, users: &[Vec<f32>], movies: &[Vec<f32>]) -> f64 {
        let groups = self.groups.1;
        let sizes: Vec<usize> = (0..groups.count()).map(|group| groups.len(group)).collect();
        let all = on_all(self.communicator, &sizes, movies);
        let mut sums = Vec::new();
        for (slot, users) in users.iter().enumerate() {
            let mut begin = 0;
            for (movie_group, size) in sizes.iter().enumerate() {
                let movies = &all[begin..][..*size];
                let mut sum = 0.0;
                for block in self.cells.blocks(slot, movie_group) {
                    for at in block.begin..block.end {
                        let user = users[block.user + usize::from(self.cells.users[at])];
                        let movie = movies[block.movie + usize::from(self.cells.movies[at])];
                        self.residuals[at] -= user * movie;
                        sum += f64::from(self.residuals[at]).powi(2);
                    }
                }
                sums.push(sum);
                begin += size;
            }
        }
        let ratings: u64 = self.counts.1.iter().map(|count| u64::from(*count)).sum();
        (total(self.communicator, sizes.len(), &sums) / ratings.max(1) as f64).sqrt()
    }

    /// The values of one factor in rows.
    fn column<R: std::ops::Deref<Target = [f32]>>(&self, rows: &[R], factor: usize) -> Vec<Vec<f32>> {
        let length = row_length(self.settings.factors);
        rows.iter().map(|rows| rows.chunks(length).map(|row| row[factor]).collect()).collect()
    }
}

impl<C: Communicator> Learner<C> for Training<'_, C> {
    fn round(&mut self, number: usize, told: &mut dyn FnMut(u64, u64)) -> f64 {
        let (users, movies) = self.learn(told);
        let length = row_length(self.settings.factors);
        let put = |rows: &mut [f32], column: &[f32]| {
            rows.chunks_mut(length).zip(column).for_each(|(row, value)| row[number] = *value);
        };
        self.factors.users.iter_mut().zip(&users).for_each(|(rows, column)| put(rows, column));
        self.factors.movies.iter_mut().zip(&movies).for_each(|(rows, column)| put(rows, column));
        self.take_off(&users, &movies)
    }

    fn predictions(&self, own: &Own) -> Vec<Vec<f32>> {
        let movies = on_all(self.communicator, &self.lengths.1, &self.factors.movies);
        own.predictions(self.simd, row_length(self.settings.factors), self.baseline.mean, &self.factors.users, &movies)
    }

    fn factors(&self) -> &Factors {
        &self.factors
    }

    fn restore(&mut self, factors: Factors, rounds: usize) {
        self.factors = factors;
        self.take_baseline();
        for factor in 0..rounds {
            let (users, movies) = (self.column(&self.factors.users, factor), self.column(&self.factors.movies, factor));
            self.take_off(&users, &movies);
        }
    }

    fn lengths(&self) -> (&[usize], &[usize]) {
        (&self.lengths.0, &self.lengths.1)
    }

    fn mean(&self) -> f32 {
        self.baseline.mean
    }
}

/// Ratings of one block, and what is left of them, in the order of the steps.
#[derive(Clone, Copy, Debug)]
pub struct Ratings<'a> {
    /// Users, by place in the block.
    pub users: &'a [u16],
    /// Movies, by place in the block.
    pub movies: &'a [u16],
    /// What earlier factors left over, in stars.
    pub residuals: &'a [f32],
}

/// One step for each rating of a block; `users` and `movies` are the factor's values by place in the block.
pub fn descend(simd: Simd, ratings: &Ratings<'_>, users: &mut [f32], movies: &mut [f32], rates: &Rates) {
    assert!(ratings.users.len() == ratings.residuals.len() && ratings.movies.len() == ratings.residuals.len());
    assert!(rows(ratings.users) <= users.len() && rows(ratings.movies) <= movies.len());
    assert!(simd <= Simd::widest(), "this machine has no {simd}");
    // SAFETY: every place has just been found to have a value, and the machine to have the instructions.
    unsafe {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 | Simd::Avx512 => steps_fused(ratings, users, movies, rates),
            _ => steps(ratings, users, movies, rates),
        }
    }
}

/// The same steps, compiled for FMA.
///
/// # Safety
/// As for [`steps`], on a machine with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn steps_fused(ratings: &Ratings<'_>, users: &mut [f32], movies: &mut [f32], rates: &Rates) {
    // SAFETY: as promised by the caller.
    unsafe { steps(ratings, users, movies, rates) }
}

/// # Safety
/// Every place has a value, and the three columns are of one length.
#[inline(always)]
unsafe fn steps(ratings: &Ratings<'_>, users: &mut [f32], movies: &mut [f32], rates: &Rates) {
    for ((user, movie), residual) in ratings.users.iter().zip(ratings.movies).zip(ratings.residuals) {
        // SAFETY: as promised by the caller.
        let (user, movie) =
            unsafe { (users.get_unchecked_mut(usize::from(*user)), movies.get_unchecked_mut(usize::from(*movie))) };
        let (p, q) = (*user, *movie);
        let gain = rates.learning * (-p).mul_add(q, *residual);
        *user = gain.mul_add(q, rates.decay * p);
        *movie = gain.mul_add(p, rates.decay * q);
    }
}

#[cfg(test)]
#[path = "funk_tests.rs"]
mod tests;

//! Matrix factorisation: ratings as a mean, a bias of each user and movie, and a product of their factors.
//!
//! Users and movies are dealt out to a fixed grid of groups, and all steps are in an order that follows from the ratings,
//! the grid and the seed. So the factors are the same bytes for any number of ranks: ranks beyond the number of groups
//! are idle.

pub mod cells;
pub mod checkpoint;
pub mod factors;
pub mod funk;
pub mod grid;
pub mod holdout;
pub mod lines;
pub mod model;
pub mod ring;
pub mod sgd;
pub mod step;
#[cfg(target_arch = "x86_64")]
mod step_avx512;
pub mod train;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::communicator::Communicator;
use crate::events::Timings;
use crate::output::{OutputError, write_json};
use crate::plot::PlotError;
use crate::ratings::load::{Input, load};
use crate::ratings::read::ReadError;
use crate::ratings::split::{HeldOut, Holdout, SplitError, split};
use crate::ratings::store::Store;
use crate::scores::Scores;
use crate::simd::{Simd, SimdError};
use crate::startup::{Kernel, Run, not_negative};
use cells::Columns;
use checkpoint::{CheckpointError, Checksum, Identity};
use factors::Start;
use grid::Groups;
use holdout::Own;
use train::{History, Learner, Plan};

/// Groups of users and movies unless --groups says otherwise: a constant, for the result depends on it.
const GROUPS: u32 = 8;

/// Learns factors of users and movies that predict ratings.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "svd",
    version,
    after_help = "Example:\n  mpirun -n 4 svd --input ratings --holdout probe.txt --factors 50 --epochs 20 --patience 2\n\n\
        Writes user_factors.npy and movie_factors.npy (float32 [users, factors] and [movies, factors]), user_bias.npy,\n\
        movie_bias.npy (float32), user_ids.npy, movie_ids.npy (int64), rmse.csv, rmse.svg, rmse.png and summary.json; with held-out\n\
        ratings also predictions.npy (float32) and holdout.npy (float64 [n, 3]: movie, user, stars).\n\
        A prediction is mean + user bias + movie bias + product of factors, kept between the smallest and the largest\n\
        rating of the training set; the mean is in summary.json. The files are the same bytes for any number of ranks;\n\
        ranks beyond --groups have nothing to do."
)]
pub struct Svd {
    /// Where ratings come from.
    #[command(flatten)]
    pub input: Input,
    /// Which ratings are held out.
    #[command(flatten)]
    pub holdout: Holdout,
    /// How factors are learnt
    #[arg(long, value_enum, default_value_t = Method::Sgd)]
    pub method: Method,
    /// Number of factors of each user and movie
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub factors: u32,
    /// Passes over the ratings; with funk, those for each factor [default: 20; funk: 120]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..))]
    pub epochs: Option<u32>,
    /// Part of the gradient that a step follows [default: 0.005; funk: 0.001]
    #[arg(long, value_parser = not_negative)]
    pub learning_rate: Option<f64>,
    /// Weight of the squares of factors and biases [default: 0.02; funk: 0.015]
    #[arg(long, value_parser = not_negative)]
    pub regularization: Option<f64>,
    /// Standard deviation of the first factors, which are normal around 0; with funk, the first value of all
    #[arg(long, default_value_t = 0.1, value_parser = not_negative)]
    pub start: f64,
    /// With funk, what is taken off the ratings first
    #[arg(long, value_enum, default_value_t = Baseline::Damped)]
    pub baseline: Baseline,
    /// Seed of the first factors and of the order of the steps
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Stop when held-out ratings have not been predicted better for this many epochs (with funk: factors), and keep the best
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub patience: Option<u32>,
    /// Groups of users, and of movies, that ranks share: at least as many as ranks; another number gives another result
    #[arg(long, default_value_t = GROUPS, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub groups: u32,
    /// Write a checkpoint after every so many epochs (with funk: factors)
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub checkpoint_every: Option<u32>,
    /// Go on from the checkpoint, if there is one
    #[arg(long)]
    pub resume: bool,
    /// Folder for the results, made if it is missing [default: the working folder]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// File of the checkpoint [default: checkpoint.svd among the results]
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
}

/// A way to learn factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Biases and all factors at once, by stochastic gradient descent
    Sgd,
    /// One factor after the other, on what a baseline and the earlier ones left over
    Funk,
}

/// What is predicted without factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Baseline {
    /// The mean, and biases of movies and users that are averaged with 25 ratings without any
    Damped,
    /// Nothing, not even the mean
    None,
}

/// Why there are no factors.
#[derive(Debug, thiserror::Error)]
pub enum SvdError {
    /// The input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Ratings could not be held out.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The errors could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The environment names instructions that are missing.
    #[error(transparent)]
    Simd(#[from] SimdError),
    /// Patience needs something to be measured by.
    #[error("--patience needs held-out ratings: name them by --holdout or --fold")]
    NothingHeldOut,
    /// Steps that lead away from any minimum.
    #[error("errors grew beyond all bounds in round {round}: a smaller --learning-rate is needed")]
    Diverged {
        /// The round, from 1.
        round: usize,
    },
}

/// Training ratings on the grid, as every rank knows them.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// The ratings.
    pub columns: Columns<'a>,
    /// Groups of users.
    pub users: Groups,
    /// Groups of movies.
    pub movies: Groups,
    /// Ratings of each user.
    pub user_counts: Vec<u32>,
    /// Ratings of each movie.
    pub movie_counts: Vec<u32>,
    /// The mean rating, in stars.
    pub mean: f64,
}

impl<'a> Problem<'a> {
    /// Counts the ratings and deals out users and movies.
    pub fn new(columns: Columns<'a>, users: usize, groups: usize) -> Self {
        let (movie_counts, user_counts) = columns.counts(users);
        let (users, movies) = (Groups::new(groups, &user_counts), Groups::new(groups, &movie_counts));
        Self { columns, users, movies, user_counts, movie_counts, mean: columns.mean() }
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.columns.stars.is_empty()
    }
}

/// What `summary.json` holds; times in seconds, those of rank 0.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    method: Method,
    ranks: usize,
    simd: &'static str,
    input: String,
    movies: usize,
    users: usize,
    ratings: usize,
    factors: u32,
    learning_rate: f64,
    regularization: f64,
    seed: u64,
    groups: u32,
    mean: f32,
    /// Epochs, or factors with funk, that were learnt, those before a restart among them.
    rounds: usize,
    resumed: usize,
    /// The round whose factors were kept, from 1.
    kept: usize,
    train_rmse: Option<f64>,
    holdout: Option<Scores>,
    /// Seconds of each round of this run, without predictions and checkpoints.
    round_seconds: Vec<f64>,
    /// Ratings learnt from in a second, in the fastest round.
    ratings_per_second: Option<f64>,
    seconds: f64,
    timings: Timings,
}

impl Kernel for Svd {
    const NAME: &'static str = "svd";
    type Error = SvdError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), SvdError> {
        let simd = Simd::from_environment()?;
        run.leave_in(self.output.as_deref())?;
        run.events.phase("load");
        let all = load(run, &self.input)?;
        let (training, held_out) = split(run, all, &self.holdout, &self.input)?;
        // Rank 0 speaks for all, which know the same and then wait for it.
        if run.is_first() && self.patience.is_some() && held_out.is_empty() {
            return Err(SvdError::NothingHeldOut);
        }
        run.events.phase("prepare");
        let columns = Columns { offsets: training.offsets(), raters: training.raters(), stars: training.stars() };
        let problem = Problem::new(columns, training.users(), self.groups as usize);
        match self.method {
            Method::Sgd => {
                let learner = sgd::Training::new(run.communicator, &problem, &self.settings(), simd);
                self.learn(run, learner, &training, &held_out, &problem, simd)
            }
            Method::Funk => {
                let learner = funk::Training::new(run.communicator, &problem, &self.funk_settings(), simd);
                self.learn(run, learner, &training, &held_out, &problem, simd)
            }
        }
    }
}

impl Svd {
    fn settings(&self) -> sgd::Settings {
        let start = Start { factors: self.factors as usize, deviation: self.start, seed: self.seed };
        sgd::Settings { start, learning_rate: self.learning_rate(), regularization: self.regularization() }
    }

    fn funk_settings(&self) -> funk::Settings {
        funk::Settings {
            factors: self.factors as usize,
            passes: self.epochs() as usize,
            learning_rate: self.learning_rate(),
            regularization: self.regularization(),
            start: self.start,
            has_baseline: self.baseline == Baseline::Damped,
            seed: self.seed,
        }
    }

    fn epochs(&self) -> u32 {
        self.epochs.unwrap_or(match self.method {
            Method::Sgd => 20,
            Method::Funk => 120,
        })
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match self.method {
            Method::Sgd => 0.005,
            Method::Funk => 0.001,
        })
    }

    fn regularization(&self) -> f64 {
        self.regularization.unwrap_or(match self.method {
            Method::Sgd => 0.02,
            Method::Funk => 0.015,
        })
    }

    fn plan<C: Communicator>(&self, run: &Run<'_, C>) -> Plan {
        Plan {
            rounds: match self.method {
                Method::Sgd => self.epochs() as usize,
                Method::Funk => self.factors as usize,
            },
            patience: self.patience.map(|rounds| rounds as usize),
            checkpoint_every: self.checkpoint_every.map(|rounds| rounds as usize),
            resume: self.resume,
            checkpoint: self.checkpoint.clone().unwrap_or_else(|| run.folder.join("checkpoint.svd")),
        }
    }

    fn identity(&self, training: &Store, held_out: &HeldOut) -> Identity {
        let mut checksum = Checksum::default();
        let words = |checksum: &mut Checksum, words: &[u32]| words.iter().for_each(|word| checksum.word((*word).into()));
        words(&mut checksum, training.movie_ids());
        words(&mut checksum, training.user_ids());
        training.offsets().iter().for_each(|offset| checksum.word(*offset));
        words(&mut checksum, training.raters());
        checksum.add(training.stars());
        words(&mut checksum, &held_out.movies);
        words(&mut checksum, &held_out.users);
        checksum.add(&held_out.stars);
        Identity {
            method: format!("{:?}", self.method),
            ratings: checksum.value(),
            factors: self.factors as usize,
            learning_rate: self.learning_rate().to_bits(),
            regularization: self.regularization().to_bits(),
            start: self.start.to_bits(),
            seed: self.seed,
            groups: self.groups as usize,
            other: match self.method {
                Method::Sgd => String::new(),
                Method::Funk => format!("{} epochs a factor, {:?} baseline", self.epochs(), self.baseline),
            },
        }
    }

    /// Trains, predicts and writes.
    fn learn<C: Communicator, L: Learner<C>>(
        &self,
        run: &mut Run<'_, C>,
        mut learner: L,
        training: &Store,
        held_out: &HeldOut,
        problem: &Problem<'_>,
        simd: Simd,
    ) -> Result<(), SvdError> {
        let communicator = run.communicator;
        let groups = self.groups as usize;
        let own_groups = grid::owned(communicator.rank(), communicator.size(), groups);
        let range = holdout::range(training.stars());
        let own = Own::new(held_out, &problem.users, &problem.movies, own_groups, range);
        let plan = self.plan(run);
        let history = train::train(run, &mut learner, problem, &own, &plan, || self.identity(training, held_out))?;
        run.events.phase("predict");
        let mut sorter = holdout::Sorter::new(held_out, &problem.users);
        let taken: Result<(), OutputError> =
            factors::at_first(communicator, own.counts(), &learner.predictions(&own), |group, values| {
                sorter.take(group, values);
                Ok(())
            });
        taken?;
        run.events.phase("write");
        model::write(run, training, problem, &learner, self.factors as usize)?;
        if !run.is_first() {
            return Ok(());
        }
        model::write_history(&run.folder, &history.errors)?;
        model::plot_history(&run.folder, &history.errors, self.method)?;
        let (predictions, scores) = sorter.finish();
        if !held_out.is_empty() {
            let ids = |at: usize| {
                let (movie, user) = (held_out.movies[at] as usize, held_out.users[at] as usize);
                (training.movie_ids()[movie], training.user_ids()[user], held_out.stars[at])
            };
            crate::scores::write(&run.folder, &predictions, (0..held_out.len()).map(ids))?;
        }
        let summary = self.summary(run, training, learner.mean(), simd, &history, scores);
        println!("{}", summary.line());
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }

    fn summary<C: Communicator>(
        &self,
        run: &Run<'_, C>,
        training: &Store,
        mean: f32,
        simd: Simd,
        history: &History,
        holdout: Option<Scores>,
    ) -> Summary {
        let timings = run.events.timings();
        let rounds = history.errors.len();
        let kept = history.best().filter(|_| self.patience.is_some()).map_or(rounds, |best| best + 1);
        let fastest = history.seconds.iter().copied().min_by(f64::total_cmp);
        Summary {
            kernel: Self::NAME,
            method: self.method,
            ranks: run.communicator.size(),
            simd: simd.name(),
            input: self.input.path.display().to_string(),
            movies: training.movies(),
            users: training.users(),
            ratings: training.len(),
            factors: self.factors,
            learning_rate: self.learning_rate(),
            regularization: self.regularization(),
            seed: self.seed,
            groups: self.groups,
            mean,
            rounds,
            resumed: history.resumed,
            kept,
            train_rmse: kept.checked_sub(1).map(|last| history.errors[last].training),
            holdout,
            round_seconds: history.seconds.clone(),
            ratings_per_second: fastest.map(|seconds| training.len() as f64 / seconds),
            seconds: timings.total(),
            timings,
        }
    }
}

impl Summary {
    /// What a person wants to know first.
    fn line(&self) -> String {
        let error = match (&self.holdout, self.train_rmse) {
            (Some(scores), _) => format!("RMSE {:.4} of {} held-out ratings", scores.rmse, scores.count),
            (None, Some(rmse)) => format!("training RMSE {rmse:.4}"),
            (None, None) => "nothing learnt".into(),
        };
        let Self { movies, users, ratings, factors, rounds, ranks, seconds, .. } = self;
        format!(
            "{movies} movies, {users} users, {ratings} ratings: {factors} factors in {rounds} rounds on {ranks} ranks, {error}, \
             {seconds:.3} s"
        )
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! The nearest neighbours of every movie, by similarity over the users who rated both.
//!
//! Every rank sees all ratings. Each makes the records of a share of the users (see [`records`]), which all ranks then get,
//! and computes a share of the rows: every pair of movies once, at the less popular one. Candidates go to the ranks
//! that decide on them; rank 0 alone writes. The answer is the same bytes for any number of ranks and on every path
//! of instructions: sums are integers, and the order of neighbours is total.

pub mod baseline;
pub mod dense;
mod lanes;
pub mod listed;
mod memory;
pub mod nearest;
pub mod order;
pub mod predict;
pub mod records;
pub mod rows;
pub mod scale;
pub mod search;
pub mod similarity;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use ndarray::Array1;
use serde::Serialize;

use crate::communicator::Communicator;
use crate::events::Timings;
use crate::output::{OutputError, write_atomically, write_json, write_npy};
use crate::ratings::read::ReadError;
use crate::ratings::split::{HeldOut, Holdout, SplitError, split};
use crate::ratings::{Input, Store, load};
use crate::scores::{self, Scores};
use crate::simd::{Simd, SimdError};
use crate::startup::{Kernel, Run, not_negative};
use baseline::SHRINKAGE;
use nearest::Neighbours;
use predict::Prediction;
use records::TooLarge;
use search::{Search, WIDTHS};
use similarity::{MOST_RATERS, Similarity};

/// Finds the nearest neighbours of every movie by similarity over the users who rated both.
#[derive(Debug, Parser)]
#[command(
    name = "knn",
    version,
    after_help = "Example:\n  mpirun -n 4 knn --input training_set --neighbours 40 --min-support 20\n\n\
        Writes neighbours.npy (int64 [movies, neighbours], movie ids, -1 where there are fewer), similarities.npy\n\
        (float64 of that shape, NaN where there are fewer), ids.npy (int64 [movies]), neighbours.csv and summary.json.\n\
        Neighbours are ordered by falling similarity, then by rising id. Pairs of movies that fewer than --min-support\n\
        users rated both are no neighbours; where a correlation is undefined (constant ratings), it is 0.\n\n\
        With --holdout or --fold, also predictions.npy (float32 [ratings], stars) and holdout.npy (float64\n\
        [ratings, 3]: movie id, user id, stars), by movie and user, and their RMSE and MAE."
)]
pub struct Knn {
    /// Where the ratings are.
    #[command(flatten)]
    pub input: Input,
    /// What makes movies alike
    #[arg(long, value_enum, default_value = "pearson")]
    pub similarity: Similarity,
    /// Number of neighbours of each movie
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub neighbours: u32,
    /// Least number of users who rated both movies of a pair
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub min_support: u32,
    /// With pearson_baseline, how strongly few common raters pull a correlation to 0: it is multiplied by
    /// (common - 1) / (common - 1 + SHRINKAGE)
    #[arg(long, default_value_t = SHRINKAGE, value_parser = not_negative)]
    pub shrinkage: f64,
    /// What to keep out of training and to predict.
    #[command(flatten)]
    pub holdout: Holdout,
    /// How held-out ratings are predicted from a user's --neighbours movies most similar to the one in question
    #[arg(long, value_enum, default_value = "means")]
    pub predict: Prediction,
    /// Folder for the results, made if it is missing [default: the working folder]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// Why there are no neighbours.
#[derive(Debug, thiserror::Error)]
pub enum KnnError {
    /// The input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing could be held out.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The environment names instructions that cannot be had.
    #[error(transparent)]
    Simd(#[from] SimdError),
    /// Records would be too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Products of a movie's sums would not be exact.
    #[error("movie {movie} has {ratings} ratings, more than the {MOST_RATERS} that are supported")]
    TooManyRaters {
        /// The movie's id.
        movie: u32,
        /// How many.
        ratings: u64,
    },
    /// More movies than a list's entry can tell.
    #[error("{movies} movies are more than the {MOST_MOVIES} that are supported")]
    TooManyMovies {
        /// How many.
        movies: usize,
    },
}

/// The most movies: their number has to fit beside a level into 32 bits, with a user or more.
pub const MOST_MOVIES: usize = 1 << 26;

/// What `summary.json` holds; times in seconds, those of rank 0 but for `rows_by_rank`.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    input: String,
    similarity: Similarity,
    simd: &'static str,
    movies: usize,
    users: usize,
    ratings: usize,
    neighbours: u32,
    min_support: u32,
    /// With pearson_baseline.
    shrinkage: Option<f64>,
    /// Pairs of movies, each computed once.
    pairs: u64,
    /// Pairs that at least `min_support` users rated both.
    supported_pairs: u64,
    /// Common raters, summed over all pairs.
    corated: u64,
    /// How held-out ratings were predicted, if there were any.
    predict: Option<Prediction>,
    holdout: Option<Scores>,
    seconds: f64,
    timings: Timings,
    rows_by_rank: Vec<f64>,
}

impl Kernel for Knn {
    const NAME: &'static str = "knn";
    type Error = KnnError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), KnnError> {
        let communicator = run.communicator;
        let simd = Simd::from_environment()?;
        run.leave_in(self.output.as_deref())?;
        run.events.phase("load");
        let all = load(run, &self.input)?;
        let (store, held_out) = split(run, all, &self.holdout, &self.input)?;
        let Self { similarity, neighbours, min_support, shrinkage, predict, .. } = *self;
        let search = Search { simd, similarity, neighbours, min_support, shrinkage, predict, widths: WIDTHS };
        let outcome = search.run(communicator, &store, &held_out, &mut run.events)?;
        let Some(neighbours) = outcome.neighbours else { return Ok(()) };
        run.events.phase("write");
        write(&run.folder, store.movie_ids(), &neighbours)?;
        let holdout = predicted(&run.folder, &store, &held_out, &outcome.predictions)?;
        let counts = outcome.counts;
        let timings = run.events.timings();
        let summary = Summary {
            kernel: Self::NAME,
            ranks: communicator.size(),
            input: self.input.path.display().to_string(),
            similarity: self.similarity,
            simd: simd.name(),
            movies: store.movies(),
            users: store.users(),
            ratings: store.len(),
            neighbours: self.neighbours,
            min_support: self.min_support,
            shrinkage: (self.similarity == Similarity::PearsonBaseline).then_some(self.shrinkage),
            pairs: counts.pairs,
            supported_pairs: counts.supported,
            corated: counts.corated,
            predict: holdout.map(|_| self.predict),
            holdout,
            seconds: timings.total(),
            timings,
            rows_by_rank: outcome.rows_by_rank,
        };
        println!(
            "{} movies, {} users, {} ratings: {} pairs on {} ranks in {:.3} s",
            summary.movies, summary.users, summary.ratings, summary.pairs, summary.ranks, summary.seconds
        );
        if let Some(scores) = &summary.holdout {
            println!("{} ratings held out: RMSE {:.4}, MAE {:.4}", scores.count, scores.rmse, scores.mae);
        }
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

/// Writes predictions, if there are any, and scores them.
fn predicted(folder: &Path, store: &Store, held_out: &HeldOut, predictions: &[f32]) -> Result<Option<Scores>, OutputError> {
    if held_out.is_empty() {
        return Ok(None);
    }
    let ids = held_out.movies.iter().zip(&held_out.users).zip(&held_out.stars);
    let ids = ids.map(|((movie, user), stars)| (store.movie_ids()[*movie as usize], store.user_ids()[*user as usize], *stars));
    scores::write(folder, predictions, ids)?;
    Ok(Scores::of_half_stars(predictions, &held_out.stars))
}

/// Writes the arrays and the table.
fn write(folder: &Path, movie_ids: &[u32], neighbours: &Neighbours) -> Result<(), OutputError> {
    let ids: Array1<i64> = movie_ids.iter().map(|id| i64::from(*id)).collect();
    write_npy(&folder.join("ids.npy"), &ids)?;
    write_npy(&folder.join("neighbours.npy"), &neighbours.ids)?;
    write_npy(&folder.join("similarities.npy"), &neighbours.similarities)?;
    write_atomically(&folder.join("neighbours.csv"), |writer| {
        writeln!(writer, "movie,rank,neighbour,similarity")?;
        for ((row, similarities), movie) in neighbours.ids.outer_iter().zip(neighbours.similarities.outer_iter()).zip(movie_ids) {
            let known = row.iter().zip(similarities).take_while(|(id, _)| **id >= 0);
            for (rank, (id, similarity)) in known.enumerate() {
                writeln!(writer, "{movie},{},{id},{similarity}", rank + 1)?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod predict_tests;

//! The nearest neighbours of every movie by exact Pearson correlation over the users who rated both.
//!
//! As in ElasticWulf, rating vectors are scattered over the ranks, and every pair of movies is computed once: the blocks
//! of vectors go round a ring, and what a rank finds for a visiting block goes home to the block's owner. Rank 0 alone
//! reads and writes. The answer is the same bytes for any number of ranks: sums are integers, and the order of
//! neighbours is total.

pub mod block;
pub mod neighbours;
pub mod pearson;
pub mod ring;

use std::io::Write;
use std::path::Path;

use clap::Parser;
use ndarray::Array1;
use serde::Serialize;

use crate::communicator::{Communicator, Operation};
use crate::events::Timings;
use crate::output::{OutputError, write_atomically, write_json, write_npy};
use crate::ratings::read::ReadError;
use crate::ratings::{Input, Store, load};
use crate::startup::{Kernel, Run};
use block::{Layout, MOST_RATERS};
use neighbours::Neighbours;
use ring::Counts;

/// Finds the nearest neighbours of every movie by exact Pearson correlation over the users who rated both.
#[derive(Debug, Parser)]
#[command(
    name = "knn",
    version,
    after_help = "Example:\n  mpirun -n 4 knn --input training_set --neighbours 40 --min-support 20\n\n\
        Writes neighbours.npy (int64 [movies, neighbours], movie ids, -1 where there are fewer), similarities.npy\n\
        (float64 of that shape, NaN where there are fewer), ids.npy (int64 [movies]), neighbours.csv and summary.json.\n\
        Neighbours are ordered by falling similarity, then by rising id. Pairs of movies that fewer than --min-support\n\
        users rated both are no neighbours; where a correlation is undefined (constant ratings), it is 0."
)]
pub struct Knn {
    /// The ratings.
    #[command(flatten)]
    pub input: Input,
    /// Number of neighbours of each movie
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub neighbours: u32,
    /// Least number of users who rated both movies of a pair
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub min_support: u32,
}

/// Why there are no neighbours.
#[derive(Debug, thiserror::Error)]
pub enum KnnError {
    /// The input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Sums over a movie's raters would not fit their 32 bits.
    #[error("movie {movie} has {ratings} ratings, more than the {MOST_RATERS} that are supported")]
    TooManyRaters {
        /// The movie's id.
        movie: u32,
        /// How many.
        ratings: u64,
    },
}

/// What `summary.json` holds; times in seconds, those of rank 0 but for `correlate_by_rank`.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    input: String,
    movies: usize,
    users: u64,
    ratings: usize,
    neighbours: u32,
    min_support: u32,
    /// Pairs of movies, each computed once.
    pairs: u64,
    /// Pairs that at least `min_support` users rated both.
    supported_pairs: u64,
    /// Common raters, summed over all pairs.
    corated: u64,
    seconds: f64,
    timings: Timings,
    correlate_by_rank: Vec<f64>,
}

impl Kernel for Knn {
    const NAME: &'static str = "knn";
    type Error = KnnError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), KnnError> {
        let communicator = run.communicator;
        run.events.phase("load");
        let ratings = checked(load(run, &self.input)?)?;
        run.events.phase("scatter");
        let layout = Layout::bcast(communicator, &ratings);
        let own = layout.scatter(communicator, &ratings);
        run.events.phase("correlate");
        let begin = std::time::Instant::now();
        let (kept, counts) = ring::correlate(communicator, &layout, own, self.neighbours, self.min_support, &mut run.events);
        let correlate_by_rank = communicator.gather_one(0, begin.elapsed().as_secs_f64());
        run.events.phase("gather");
        let counts = counts.reduced(communicator);
        let Some(neighbours) = kept.gathered(communicator, &layout, ratings.movie_ids(), self.neighbours as usize) else {
            return Ok(());
        };
        run.events.phase("write");
        write(&run.folder, ratings.movie_ids(), &neighbours)?;
        let timings = run.events.timings();
        let summary = Summary {
            kernel: Self::NAME,
            ranks: communicator.size(),
            input: self.input.path.display().to_string(),
            movies: ratings.movies(),
            users: layout.users,
            ratings: ratings.len(),
            neighbours: self.neighbours,
            min_support: self.min_support,
            pairs: counts.pairs,
            supported_pairs: counts.supported,
            corated: counts.corated,
            seconds: timings.total(),
            timings,
            correlate_by_rank,
        };
        println!(
            "{} movies, {} users, {} ratings: {} pairs on {} ranks in {:.3} s",
            summary.movies, summary.users, summary.ratings, summary.pairs, summary.ranks, summary.seconds
        );
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

impl Counts {
    /// The sums over all ranks, at rank 0.
    fn reduced<C: Communicator>(self, communicator: &C) -> Self {
        let mut sums = [0; 3];
        communicator.reduce(0, Operation::Sum, &[self.pairs, self.supported, self.corated], &mut sums);
        Self { pairs: sums[0], supported: sums[1], corated: sums[2] }
    }
}

/// The ratings, if every sum over a movie's raters fits.
fn checked(ratings: Store) -> Result<Store, KnnError> {
    for (bounds, movie) in ratings.offsets().windows(2).zip(ratings.movie_ids()) {
        if bounds[1] - bounds[0] > MOST_RATERS {
            return Err(KnnError::TooManyRaters { movie: *movie, ratings: bounds[1] - bounds[0] });
        }
    }
    Ok(ratings)
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

//! The nearest neighbours of every movie, by similarity over the users who rated both.
//!
//! Every rank sees all ratings. Each makes the records of a share of the users (see [`records`]), which all ranks then get,
//! and computes a share of the rows: every pair of movies once, at the less popular one. Candidates go to the ranks
//! that decide on them; rank 0 alone writes. The answer is the same bytes for any number of ranks and on every path
//! of instructions: sums are integers, and the order of neighbours is total.

pub mod dense;
pub mod lanes;
pub mod listed;
pub mod memory;
pub mod nearest;
pub mod order;
pub mod records;
pub mod rows;
pub mod scale;
pub mod similarity;

use std::io::Write;
use std::path::Path;

use clap::Parser;
use ndarray::Array1;
use serde::Serialize;

use crate::communicator::{Communicator, Operation};
use crate::events::{Events, Timings};
use crate::output::{OutputError, write_atomically, write_json, write_npy};
use crate::ratings::read::ReadError;
use crate::ratings::{Input, Store, load};
use crate::simd::{Simd, SimdError};
use crate::startup::{Kernel, Run};
use nearest::{Nearest, Neighbours};
use order::Order;
use records::{COLUMNS, MOST_WIDTH, Records, TooLarge, Widths};
use rows::Rows;
use scale::Scale;
use similarity::{MOST_RATERS, Similarities, Similarity, Terms, finish};

/// Finds the nearest neighbours of every movie by similarity over the users who rated both.
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
    /// Pairs of movies, each computed once.
    pairs: u64,
    /// Pairs that at least `min_support` users rated both.
    supported_pairs: u64,
    /// Common raters, summed over all pairs.
    corated: u64,
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
        run.events.phase("load");
        let store = load(run, &self.input)?;
        let (similarity, neighbours, min_support) = (self.similarity, self.neighbours, self.min_support);
        let search = Search { simd, similarity, neighbours, min_support, widths: WIDTHS };
        let (nearest, counts, rows_by_rank) = search.run(communicator, &store, &mut run.events)?;
        let Some(neighbours) = nearest else { return Ok(()) };
        run.events.phase("write");
        write(&run.folder, store.movie_ids(), &neighbours)?;
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
            pairs: counts.pairs,
            supported_pairs: counts.supported,
            corated: counts.corated,
            seconds: timings.total(),
            timings,
            rows_by_rank,
        };
        println!(
            "{} movies, {} users, {} ratings: {} pairs on {} ranks in {:.3} s",
            summary.movies, summary.users, summary.ratings, summary.pairs, summary.ranks, summary.seconds
        );
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

/// What was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs of movies.
    pub pairs: u64,
    /// Pairs with enough common raters.
    pub supported: u64,
    /// Common raters, summed over all pairs.
    pub corated: u64,
}

impl Counts {
    /// Adds the pairs of a row with the columns of a block.
    fn add(&mut self, sums: &dense::Sums, columns: usize, min_support: u32) {
        self.pairs += columns as u64;
        let common = &sums.n[..columns];
        self.supported += common.iter().map(|n| u64::from(*n >= min_support)).sum::<u64>();
        self.corated += common.iter().map(|n| u64::from(*n)).sum::<u64>();
    }

    /// The sums over all ranks, at rank 0.
    fn reduced<C: Communicator>(self, communicator: &C) -> Self {
        let mut sums = [0; 3];
        communicator.reduce(0, Operation::Sum, &[self.pairs, self.supported, self.corated], &mut sums);
        Self { pairs: sums[0], supported: sums[1], corated: sums[2] }
    }
}

/// A search for neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Instructions to use.
    pub simd: Simd,
    /// What makes movies alike.
    pub similarity: Similarity,
    /// Neighbours of each movie.
    pub neighbours: u32,
    /// The least common raters of a pair.
    pub min_support: u32,
    /// How records are laid out; the answer does not depend on it.
    pub widths: Widths,
}

impl Search {
    /// Finds the neighbours of all movies: collective. They are at rank 0, with the seconds each rank spent on its rows.
    pub fn run<C: Communicator>(
        &self,
        communicator: &C,
        store: &Store,
        events: &mut Events,
    ) -> Result<(Option<Neighbours>, Counts, Vec<f64>), KnnError> {
        events.phase("prepare");
        let scale = scale_of(communicator, store)?;
        let order = Order::of(store);
        let records = Records::of(communicator, store, &order, scale, self.widths)?;
        events.phase("rows");
        let begin = std::time::Instant::now();
        let costs = costs(store, &order, &records);
        let (own, total) = order::dealt(&costs, communicator.size(), communicator.rank());
        let mut rows = Rows::new(self.simd, store, &order, &records);
        let capacity = (self.neighbours as usize).min(store.movies().saturating_sub(1));
        let mut nearest = Nearest::new(store.movies(), capacity);
        let terms = Terms { min_support: self.min_support, scale };
        let mut found = Box::new(Similarities([0.0; COLUMNS]));
        let (mut counts, mut done) = (Counts::default(), 0.0);
        for row in own {
            let row = row as usize;
            rows.compute(row, row, |block, sums| {
                finish(self.simd, self.similarity, terms, sums, &mut found);
                counts.add(sums, COLUMNS.min(row - block * COLUMNS), self.min_support);
                nearest.offer(self.simd, &order.movies, row, block, &found);
            });
            done += costs[row];
            events.progress((1000.0 * done / total) as u64, 1000);
        }
        events.progress(1000, 1000);
        let rows_by_rank = communicator.gather_one(0, begin.elapsed().as_secs_f64());
        events.phase("gather");
        let counts = counts.reduced(communicator);
        let nearest = nearest.gathered(communicator, &order.movies, store.movie_ids(), self.neighbours as usize);
        Ok((nearest, counts, rows_by_rank))
    }
}

/// Measured on set N with AVX-512: a rater's block from memory takes 8 ns, an entry of a list 1 ns.
pub const WIDTHS: Widths = Widths { block: 8.0, entry: 1.0, most: MOST_WIDTH };

/// The scale of a set that can be computed: collective.
fn scale_of<C: Communicator>(communicator: &C, store: &Store) -> Result<Scale, KnnError> {
    if store.movies() > MOST_MOVIES {
        return Err(KnnError::TooManyMovies { movies: store.movies() });
    }
    for (bounds, movie) in store.offsets().windows(2).zip(store.movie_ids()) {
        if bounds[1] - bounds[0] > MOST_RATERS {
            return Err(KnnError::TooManyRaters { movie: *movie, ratings: bounds[1] - bounds[0] });
        }
    }
    let share = |rank: usize| store.len() * rank / communicator.size();
    let stars = &store.stars()[share(communicator.rank())..share(communicator.rank() + 1)];
    let mut found = [0u64];
    communicator.allreduce(Operation::Max, &[(Scale::of(stars) == Scale::Half).into()], &mut found);
    Ok(if found == [1] { Scale::Half } else { Scale::Whole })
}

/// What each row is expected to cost, in nanoseconds: its raters' blocks, and similarities of its pairs.
fn costs(store: &Store, order: &Order, records: &Records) -> Vec<f64> {
    let all = records.ratings[0].max(1) as f64;
    // The part of ratings by users whose records have a block.
    let parts = records.ratings[1..].iter().map(|ratings| *ratings as f64 / all);
    let mut blocks = vec![0.0];
    for part in parts {
        blocks.push(blocks[blocks.len() - 1] + part);
    }
    let cost = |(row, movie): (usize, &u32)| {
        let raters = store.places(*movie as usize).len() as f64;
        raters * (20.0 + WIDTHS.block * blocks[row.div_ceil(COLUMNS).min(MOST_WIDTH)]) + 4.0 * row as f64
    };
    order.movies.iter().enumerate().map(cost).collect()
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

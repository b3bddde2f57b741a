//! Monte Carlo pi: the share of random points of the unit square that lie in the quarter circle, times 4.
//!
//! Point `c` belongs to chunk `c / 2^20`, and each chunk has a random stream of its own, derived from the seed: whoever
//! draws a chunk counts the same hits, so the count is one integer for any number of ranks.

use std::time::Instant;

use clap::Parser;
use serde::Serialize;

use crate::communicator::{Communicator, Operation};
use crate::output::{OutputError, write_json};
use crate::random::{Xoshiro256, derive};
use crate::startup::{Kernel, Run};

/// Points of one chunk.
const CHUNK: u64 = 1 << 20;

/// Estimates pi from random points, on any number of ranks.
#[derive(Debug, Parser)]
#[command(
    name = "pi",
    version,
    after_help = "Example:\n  mpirun -n 4 pi --samples 1000000000 --seed 42\n\n\
        Prints the estimate with its standard error and writes summary.json.\n\
        The same seed and number of samples give the same count on any number of ranks."
)]
pub struct Pi {
    /// Number of random points
    #[arg(long, default_value_t = 100_000_000)]
    pub samples: u64,
    /// Seed of the random streams
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

/// What `summary.json` holds.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    samples: u64,
    seed: u64,
    hits: u64,
    /// None without samples.
    estimate: Option<f64>,
    standard_error: Option<f64>,
    /// Of the slowest rank, from the first point to the last.
    seconds: f64,
    samples_per_second: f64,
    seconds_by_rank: Vec<f64>,
}

impl Kernel for Pi {
    const NAME: &'static str = "pi";
    type Error = OutputError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), OutputError> {
        let communicator = run.communicator;
        run.events.phase("sample");
        let begin = Instant::now();
        let own = self.hits_of_rank(run);
        let seconds_by_rank = communicator.gather_one(0, begin.elapsed().as_secs_f64());
        let mut hits = [0];
        communicator.reduce(0, Operation::Sum, &[own], &mut hits);
        if !run.is_first() {
            return Ok(());
        }
        let seconds = seconds_by_rank.iter().copied().fold(0.0, f64::max);
        let estimate = estimate(hits[0], self.samples);
        let summary = Summary {
            kernel: Self::NAME,
            ranks: communicator.size(),
            samples: self.samples,
            seed: self.seed,
            hits: hits[0],
            estimate: estimate.map(|(pi, _)| pi),
            standard_error: estimate.map(|(_, error)| error),
            seconds,
            samples_per_second: if seconds > 0.0 { self.samples as f64 / seconds } else { 0.0 },
            seconds_by_rank,
        };
        match estimate {
            Some((pi, error)) => println!("pi {pi:.9} ± {error:.9} (one standard error)"),
            None => println!("pi unknown: no samples"),
        }
        println!("hits {} of {} on {} ranks in {seconds:.3} s", hits[0], self.samples, summary.ranks);
        write_json(&run.folder.join("summary.json"), &summary)
    }
}

impl Pi {
    /// The hits in this rank's chunks: every `size`-th, from its own number on.
    fn hits_of_rank<C: Communicator>(&self, run: &mut Run<'_, C>) -> u64 {
        let (rank, size) = (run.communicator.rank() as u64, run.communicator.size() as u64);
        let chunks = self.samples.div_ceil(CHUNK);
        let own = (chunks + size - 1 - rank) / size;
        let mut hits = 0;
        for step in 0..own {
            run.events.progress(step, own);
            let chunk = rank + step * size;
            hits += hits_of_chunk(self.seed, chunk, CHUNK.min(self.samples - chunk * CHUNK));
        }
        run.events.progress(own, own);
        hits
    }
}

/// The hits among the first `points` points of a chunk.
///
/// A coordinate is a 31-bit integer, so the test `x² + y² < 2^62` is exact; the lattice shifts the estimate by less than
/// 2^-29, far below any standard error that fits into a day of work.
fn hits_of_chunk(seed: u64, chunk: u64, points: u64) -> u64 {
    let mut stream = Xoshiro256::new(derive(seed, chunk));
    let mut hits = 0;
    for _ in 0..points {
        let bits = stream.bits();
        let (x, y) = (bits >> 33, (bits >> 2) & 0x7fff_ffff);
        hits += u64::from(x * x + y * y < 1 << 62);
    }
    hits
}

/// Pi and its standard error, `4 sqrt(p (1 - p) / n)`.
fn estimate(hits: u64, samples: u64) -> Option<(f64, f64)> {
    let share = (samples > 0).then(|| hits as f64 / samples as f64)?;
    Some((4.0 * share, 4.0 * (share * (1.0 - share) / samples as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::Threads;

    fn summary(samples: u64, ranks: usize) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        Threads::run(ranks, |communicator| {
            Pi { samples, seed: 7 }.run(&mut Run::silent(communicator, folder.path())).unwrap();
        });
        serde_json::from_slice(&std::fs::read(folder.path().join("summary.json")).unwrap()).unwrap()
    }

    #[test]
    fn the_count_is_the_same_integer_on_any_number_of_ranks() {
        for samples in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 17] {
            let alone = summary(samples, 1)["hits"].clone();
            assert!(alone.as_u64().unwrap() <= samples);
            for ranks in [2, 3, 5] {
                assert_eq!(summary(samples, ranks)["hits"], alone, "{samples} samples on {ranks} ranks");
            }
        }
    }

    #[test]
    fn the_estimate_lies_within_four_standard_errors() {
        let summary = summary(8 * CHUNK, 3);
        let (estimate, error) = (summary["estimate"].as_f64().unwrap(), summary["standard_error"].as_f64().unwrap());
        assert!((error - 4.0 * (0.785_f64 * 0.215 / (8.0 * CHUNK as f64)).sqrt()).abs() < 1e-5);
        assert!((estimate - std::f64::consts::PI).abs() < 4.0 * error, "{estimate} ± {error}");
    }

    #[test]
    fn chunks_and_seeds_draw_different_points() {
        let counts = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(seed, chunk)| hits_of_chunk(seed, chunk, CHUNK));
        for (position, count) in counts.iter().enumerate() {
            assert!(!counts[..position].contains(count), "{counts:?}");
        }
    }

    #[test]
    fn no_samples_have_no_estimate() {
        let summary = summary(0, 2);
        assert!(summary["estimate"].is_null() && summary["standard_error"].is_null());
    }
}

//! Monte Carlo pi: the share of random points of the unit square that lie in the quarter circle, times 4.
//!
//! Point `c` belongs to chunk `c / 2^20`, and each chunk has random streams of its own, derived from the seed: whoever
//! draws a chunk counts the same hits, so the count is one integer for any number of ranks.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod points;
mod speedup;
#[cfg(test)]
mod tests;

use std::time::Instant;

use clap::Parser;
use serde::Serialize;

use crate::communicator::{Communicator, Operation};
use crate::events::{Events, Timings};
use crate::output::{OutputError, write_json};
use crate::plot::PlotError;
use crate::simd::{Simd, SimdError};
use crate::startup::{Kernel, Run};
use points::CHUNK;
use speedup::Measured;

/// Estimates pi from random points, on any number of ranks.
#[derive(Debug, Parser)]
#[command(
    name = "pi",
    version,
    after_help = "Example:\n  mpirun -n 4 pi --samples 1000000000 --seed 42 --speedup\n\n\
        Prints the estimate with its standard error and writes summary.json; --speedup prints a table over\n\
        1..N ranks and writes speedup.csv, speedup.svg and speedup.png.\n\
        The same seed and number of samples give the same count on any number of ranks.\n\
        EWULF_SIMD=portable|avx2|avx512 chooses the instructions; the count does not depend on them."
)]
pub struct Pi {
    /// Number of random points
    #[arg(long, default_value_t = 100_000_000)]
    pub samples: u64,
    /// Seed of the random streams
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Draw every point on rank 0 alone, while the others wait
    #[arg(long, conflicts_with = "speedup")]
    pub serial: bool,
    /// Draw all points on 1 rank, on 2, and so on to all of them, and compare the times
    #[arg(long)]
    pub speedup: bool,
    /// How often each number of ranks is timed; the fastest time counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum PiError {
    /// The environment asks for instructions that are not there.
    #[error(transparent)]
    Simd(#[from] SimdError),
    /// Two numbers of ranks disagree: a wrong machine or a wrong program.
    #[error("{ranks} ranks count {hits} hits where 1 rank counts {alone}")]
    Count {
        /// How many ranks took part.
        ranks: usize,
        /// What they counted.
        hits: u64,
        /// What one rank counted.
        alone: u64,
    },
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

/// What `summary.json` holds.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    /// Those that drew points in the last measurement.
    ranks: usize,
    samples: u64,
    seed: u64,
    simd: &'static str,
    hits: u64,
    /// None without samples.
    estimate: Option<f64>,
    standard_error: Option<f64>,
    /// From the first point to the last, on all ranks.
    seconds: f64,
    samples_per_second: f64,
    seconds_by_rank: Vec<f64>,
    speedup: Vec<speedup::Line>,
    timings: Timings,
}

impl Kernel for Pi {
    const NAME: &'static str = "pi";
    type Error = PiError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), PiError> {
        let simd = Simd::from_environment()?;
        let world = run.communicator.size();
        let sizes = match (self.speedup, self.serial) {
            (true, _) => 1..=world,
            (_, true) => 1..=1,
            _ => world..=world,
        };
        run.events.phase("sample");
        let measured = speedup::measure(self, simd, run, sizes);
        if !run.is_first() {
            return Ok(());
        }
        run.events.phase("write");
        self.write(run, simd, &measured)
    }
}

impl Pi {
    /// Prints and keeps what rank 0 knows.
    fn write<C: Communicator>(&self, run: &Run<'_, C>, simd: Simd, measured: &[Measured]) -> Result<(), PiError> {
        let Some(last) = measured.last() else { return Ok(()) };
        if let Some(other) = measured.iter().find(|other| other.hits != measured[0].hits) {
            return Err(PiError::Count { ranks: other.ranks, hits: other.hits, alone: measured[0].hits });
        }
        let estimate = estimate(last.hits, self.samples);
        match estimate {
            Some((pi, error)) => println!("pi {pi:.9} ± {error:.9} (one standard error)"),
            None => println!("pi unknown: no samples"),
        }
        println!("hits {} of {} on {} ranks in {:.3} s", last.hits, self.samples, last.ranks, last.seconds);
        let lines = speedup::lines(measured, self.samples);
        if self.speedup {
            speedup::write(&run.folder, &lines)?;
        }
        let summary = Summary {
            kernel: Self::NAME,
            ranks: last.ranks,
            samples: self.samples,
            seed: self.seed,
            simd: simd.name(),
            hits: last.hits,
            estimate: estimate.map(|(pi, _)| pi),
            standard_error: estimate.map(|(_, error)| error),
            seconds: last.seconds,
            samples_per_second: if last.seconds > 0.0 { self.samples as f64 / last.seconds } else { 0.0 },
            seconds_by_rank: last.seconds_by_rank.clone(),
            speedup: if self.speedup { lines } else { Vec::new() },
            timings: run.events.timings(),
        };
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }

    /// All hits, at rank 0 of `communicator`, with the seconds of each rank.
    fn hits<C: Communicator>(&self, simd: Simd, communicator: &C, progress: &mut dyn FnMut(u64, u64)) -> (u64, Vec<f64>) {
        let begin = Instant::now();
        let own = self.hits_of_rank(simd, communicator, progress);
        let seconds = communicator.gather_one(0, begin.elapsed().as_secs_f64());
        let mut hits = [0];
        communicator.reduce(0, Operation::Sum, &[own], &mut hits);
        (hits[0], seconds)
    }

    /// The hits in this rank's chunks: every `size`-th, from its own number on.
    fn hits_of_rank<C: Communicator>(&self, simd: Simd, communicator: &C, progress: &mut dyn FnMut(u64, u64)) -> u64 {
        let (rank, size) = (communicator.rank() as u64, communicator.size() as u64);
        let chunks = self.samples.div_ceil(CHUNK);
        let own = (chunks + size - 1 - rank) / size;
        let mut hits = 0;
        for step in 0..own {
            progress(step, own);
            let chunk = rank + step * size;
            hits += points::hits(simd, self.seed, chunk, CHUNK.min(self.samples - chunk * CHUNK));
        }
        progress(own, own);
        hits
    }
}

/// Tells how far a measurement is, out of several.
fn tell(events: &mut Events, measurement: u64, measurements: u64) -> impl FnMut(u64, u64) {
    move |done, total| events.progress(measurement * total + done, measurements * total)
}

/// Pi and its standard error, `4 sqrt(p (1 - p) / n)`.
fn estimate(hits: u64, samples: u64) -> Option<(f64, f64)> {
    let share = (samples > 0).then(|| hits as f64 / samples as f64)?;
    Some((4.0 * share, 4.0 * (share * (1.0 - share) / samples as f64).sqrt()))
}

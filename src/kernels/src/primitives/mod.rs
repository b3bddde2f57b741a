//! MPI's primitives, each run with data that shows misplacement and checked on every rank.
//!
//! Every element is a hash of the rank it comes from and its position there, so that a wrong, missing, swapped or stale
//! element cannot go unnoticed; the root changes from one repeat to the next.

mod steps;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

use crate::communicator::{Communicator, Operation};
use crate::events::Timings;
use crate::output::{OutputError, write_json};
use crate::startup::{Kernel, Run};
use steps::{Bench, Step};

/// Runs each MPI primitive on all ranks, checks every element and times it.
#[derive(Debug, Parser)]
#[command(
    name = "primitives",
    version,
    after_help = "Example:\n  mpirun -n 3 primitives --elements 1,1000,1000000\n\n\
        Prints a table and writes summary.json; ends with a non-zero status on the first wrong element."
)]
pub struct Primitives {
    /// Numbers of 8-byte elements a rank, each of which is checked and timed
    #[arg(long, value_delimiter = ',', default_value = "1,1000,100000")]
    pub elements: Vec<usize>,
    /// How often each primitive is run with each number of elements
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
}

/// Why the check fails.
#[derive(Debug, thiserror::Error)]
pub enum PrimitivesError {
    /// A primitive delivered the wrong element.
    #[error("{primitive}, root {root}: element {position} is {found}, expected {expected}")]
    Mismatch {
        /// Its name.
        primitive: &'static str,
        /// The root, or 0 where there is none.
        root: usize,
        /// Where in this rank's result.
        position: usize,
        /// What came.
        found: String,
        /// What should have come.
        expected: String,
    },
    /// A rank passed the barrier before the last one reached it.
    #[error("barrier: passed after {passed:?}, although rank {late} reached it {LATE:?} later", LATE = steps::LATE)]
    Barrier {
        /// How long this rank waited.
        passed: Duration,
        /// The rank that came late.
        late: usize,
    },
    /// The summary could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// One line of the table: times of the slowest rank.
#[derive(Debug, Serialize)]
struct Timing {
    name: &'static str,
    /// A rank; 0 for what carries none.
    elements: usize,
    ok: bool,
    microseconds_min: f64,
    microseconds_median: f64,
}

#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    repeats: u32,
    seconds: f64,
    primitives: Vec<Timing>,
    timings: Timings,
}

impl Kernel for Primitives {
    const NAME: &'static str = "primitives";
    const HAS_THREADS: bool = false;
    type Error = PrimitivesError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), PrimitivesError> {
        let begin = Instant::now();
        run.events.phase("check");
        if run.is_first() {
            println!("{:<14} {:>9} {:<4} {:>12} {:>12}", "primitive", "elements", "", "min", "median");
        }
        let mut primitives: Vec<Timing> = Vec::new();
        let works = self.works::<C>();
        for (done, (name, elements, step)) in works.iter().enumerate() {
            run.events.progress(done as u64, works.len() as u64);
            let timing = self.time(&Bench::new(run.communicator, *elements), name, *step)?;
            if run.is_first() {
                let (min, median) = (timing.microseconds_min, timing.microseconds_median);
                println!("{name:<14} {elements:>9} ok   {min:>9.1} µs {median:>9.1} µs");
            }
            primitives.push(timing);
        }
        run.events.progress(works.len() as u64, works.len() as u64);
        if !run.is_first() {
            return Ok(());
        }
        let (ranks, repeats) = (run.communicator.size(), self.repeats);
        println!("{} primitives ok on {ranks} ranks", primitives.len());
        let (seconds, timings) = (begin.elapsed().as_secs_f64(), run.events.timings());
        let summary = Summary { kernel: Self::NAME, ranks, repeats, seconds, primitives, timings };
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

impl Primitives {
    /// What is checked: primitives without elements once, the others with each number of elements.
    fn works<'a, C: Communicator>(&self) -> Vec<(&'static str, usize, Step<'a, C>)> {
        let empty = steps::without_elements().map(|(name, step)| (name, 0, step));
        let sized = steps::with_elements();
        let sized = sized.iter().flat_map(|(name, step)| self.elements.iter().map(|elements| (*name, *elements, *step)));
        empty.into_iter().chain(sized).collect()
    }

    /// Repeats a step; returns only when it was right on every rank.
    fn time<'a, C: Communicator>(
        &self,
        bench: &Bench<'a, C>,
        name: &'static str,
        step: Step<'a, C>,
    ) -> Result<Timing, PrimitivesError> {
        let mut times = Vec::with_capacity(self.repeats as usize);
        for repeat in 0..self.repeats as usize {
            times.push(step(bench, repeat % bench.communicator.size())?.as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let mut slowest = [0.0; 2];
        bench.communicator.allreduce(Operation::Max, &[times[0], times[times.len() / 2]], &mut slowest);
        let elements = bench.elements;
        Ok(Timing { name, elements, ok: true, microseconds_min: slowest[0], microseconds_median: slowest[1] })
    }
}

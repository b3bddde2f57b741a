//! MPI's primitives, each run with data that shows misplacement and checked on every rank.
//!
//! Every element is a hash of the rank it comes from and its position there, so that a wrong, missing, swapped or stale
//! element cannot go unnoticed; the root changes from one repeat to the next.

use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

use crate::communicator::{Communicator, Element, Operation, spans};
use crate::output::{OutputError, write_json};
use crate::random::derive;
use crate::startup::{Kernel, Run};

/// How long a late rank keeps the others waiting in the test of the barrier: well above a barrier itself (0.2 µs in
/// memory, some 100 µs over a network), short enough to go unnoticed.
const LATE: Duration = Duration::from_millis(10);

/// Runs each MPI primitive on all ranks, checks every element and times it.
#[derive(Debug, Parser)]
#[command(
    name = "primitives",
    version,
    after_help = "Example:\n  mpirun -n 3 primitives --elements 100000\n\n\
        Prints a table and writes summary.json; ends with a non-zero status on the first wrong element."
)]
pub struct Primitives {
    /// Number of 8-byte elements a rank
    #[arg(long, default_value_t = 1000)]
    pub elements: usize,
    /// How often each primitive is run
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
    #[error("barrier: passed after {passed:?}, although rank {late} reached it {LATE:?} later")]
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
    ok: bool,
    microseconds_min: f64,
    microseconds_median: f64,
}

#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    elements: usize,
    repeats: u32,
    seconds: f64,
    primitives: Vec<Timing>,
}

/// One repeat of one primitive: the time it took, after its result was checked.
type Step<'a, C> = fn(&Bench<'a, C>, root: usize) -> Result<Duration, PrimitivesError>;

struct Bench<'a, C> {
    communicator: &'a C,
    elements: usize,
}

impl Kernel for Primitives {
    const NAME: &'static str = "primitives";
    type Error = PrimitivesError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), PrimitivesError> {
        let begin = Instant::now();
        let bench = Bench { communicator: run.communicator, elements: self.elements };
        let steps = Bench::<C>::steps();
        let mut primitives = Vec::new();
        run.events.phase("check");
        if run.is_first() {
            println!("{:<14} {:<4} {:>12} {:>12}", "primitive", "", "min", "median");
        }
        for (done, (name, step)) in steps.iter().enumerate() {
            run.events.progress(done as u64, steps.len() as u64);
            let timing = self.time(&bench, name, *step)?;
            if run.is_first() {
                println!("{name:<14} ok   {:>9.1} µs {:>9.1} µs", timing.microseconds_min, timing.microseconds_median);
            }
            primitives.push(timing);
        }
        run.events.progress(steps.len() as u64, steps.len() as u64);
        if !run.is_first() {
            return Ok(());
        }
        let ranks = run.communicator.size();
        println!("{} primitives ok on {ranks} ranks, {} elements a rank", steps.len(), self.elements);
        let seconds = begin.elapsed().as_secs_f64();
        let (elements, repeats) = (self.elements, self.repeats);
        let summary = Summary { kernel: Self::NAME, ranks, elements, repeats, seconds, primitives };
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

impl Primitives {
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
        Ok(Timing { name, ok: true, microseconds_min: slowest[0], microseconds_median: slowest[1] })
    }
}

/// The element that `rank` contributes at `position`: below 2^40, so that sums of 2^23 ranks fit.
fn value(rank: usize, position: usize) -> u64 {
    derive(rank as u64, position as u64) >> 24
}

/// All elements of a rank.
fn values(rank: usize, count: usize) -> Vec<u64> {
    (0..count).map(|position| value(rank, position)).collect()
}

/// Fails on the first element that is not as expected.
fn compare<T: Element>(
    primitive: &'static str,
    root: usize,
    found: &[T],
    expected: impl Fn(usize) -> T,
) -> Result<(), PrimitivesError> {
    for (position, element) in found.iter().enumerate() {
        let right = expected(position);
        if *element != right {
            let (found, expected) = (element.to_string(), right.to_string());
            return Err(PrimitivesError::Mismatch { primitive, root, position, found, expected });
        }
    }
    Ok(())
}

impl<'a, C: Communicator> Bench<'a, C> {
    fn steps() -> [(&'static str, Step<'a, C>); 13] {
        [
            ("barrier", Self::barrier),
            ("bcast", Self::bcast),
            ("scatter", |bench, root| bench.scatter("scatter", root, bench.equal())),
            ("scatterv", |bench, root| bench.scatter("scatterv", root, bench.unequal())),
            ("gather", |bench, root| bench.gather("gather", root, bench.equal())),
            ("gatherv", |bench, root| bench.gather("gatherv", root, bench.unequal())),
            ("reduce sum", Self::reduce),
            ("allreduce sum", |bench, _| bench.allreduce("allreduce sum", Operation::Sum)),
            ("allreduce min", |bench, _| bench.allreduce("allreduce min", Operation::Min)),
            ("allreduce max", |bench, _| bench.allreduce("allreduce max", Operation::Max)),
            ("allreduce f64", |bench, _| bench.allreduce_floats()),
            ("scan sum", |bench, _| bench.scan()),
            ("ring", |bench, _| bench.ring()),
        ]
    }

    fn rank(&self) -> usize {
        self.communicator.rank()
    }

    fn size(&self) -> usize {
        self.communicator.size()
    }

    fn equal(&self) -> Vec<usize> {
        vec![self.elements; self.size()]
    }

    /// Counts that differ from rank to rank, nothing at all among them.
    fn unequal(&self) -> Vec<usize> {
        (0..self.size()).map(|rank| self.elements * ((rank + 1) % 3) / 2 + (rank + 1) % 3).collect()
    }

    /// Times one call that all ranks begin together.
    fn timed(&self, call: impl FnOnce(&C)) -> Duration {
        self.communicator.barrier();
        let begin = Instant::now();
        call(self.communicator);
        begin.elapsed()
    }

    /// The sum of `ranks` ranks' elements at a position, or the smallest or largest of them.
    fn combined(operation: Operation, ranks: usize, position: usize) -> u64 {
        let all = (0..ranks).map(|rank| value(rank, position));
        match operation {
            Operation::Sum => all.sum(),
            Operation::Min => all.min().unwrap_or(0),
            Operation::Max => all.max().unwrap_or(0),
        }
    }

    /// One rank comes late; its clock starts after everyone else's, so that nobody can pass sooner by accident.
    fn barrier(&self, late: usize) -> Result<Duration, PrimitivesError> {
        let begin = Instant::now();
        self.communicator.allreduce(Operation::Max, &[0u64], &mut [0]);
        if self.rank() == late {
            std::thread::sleep(LATE);
        }
        self.communicator.barrier();
        let passed = begin.elapsed();
        if passed < LATE {
            return Err(PrimitivesError::Barrier { passed, late });
        }
        Ok(self.timed(|communicator| communicator.barrier()))
    }

    fn bcast(&self, root: usize) -> Result<Duration, PrimitivesError> {
        let mut data = if self.rank() == root { values(root, self.elements) } else { vec![0; self.elements] };
        let time = self.timed(|communicator| communicator.bcast(root, &mut data));
        compare("bcast", root, &data, |position| value(root, position))?;
        Ok(time)
    }

    fn scatter(&self, name: &'static str, root: usize, counts: Vec<usize>) -> Result<Duration, PrimitivesError> {
        let rank = self.rank();
        let data: Vec<u64> = match rank == root {
            true => counts.iter().enumerate().flat_map(|(rank, count)| values(rank + root, *count)).collect(),
            false => Vec::new(),
        };
        let mut part = vec![0; counts[rank]];
        let time = self.timed(|communicator| communicator.scatter(root, &data, &counts, &mut part));
        compare(name, root, &part, |position| value(rank + root, position))?;
        Ok(time)
    }

    fn gather(&self, name: &'static str, root: usize, counts: Vec<usize>) -> Result<Duration, PrimitivesError> {
        let rank = self.rank();
        let part = values(rank + root, counts[rank]);
        let mut data = if rank == root { vec![0; counts.iter().sum()] } else { Vec::new() };
        let time = self.timed(|communicator| communicator.gather(root, &part, &counts, &mut data));
        if rank == root {
            for (source, range) in spans(&counts).enumerate() {
                let start = range.start;
                compare(name, root, &data[range], |position| value(source + root, position))
                    .map_err(|error| shifted(error, start))?;
            }
        }
        Ok(time)
    }

    fn reduce(&self, root: usize) -> Result<Duration, PrimitivesError> {
        let own = values(self.rank(), self.elements);
        let mut sums = if self.rank() == root { vec![0; self.elements] } else { Vec::new() };
        let time = self.timed(|communicator| communicator.reduce(root, Operation::Sum, &own, &mut sums));
        compare("reduce sum", root, &sums, |position| Self::combined(Operation::Sum, self.size(), position))?;
        Ok(time)
    }

    fn allreduce(&self, name: &'static str, operation: Operation) -> Result<Duration, PrimitivesError> {
        let own = values(self.rank(), self.elements);
        let mut result = vec![0; self.elements];
        let time = self.timed(|communicator| communicator.allreduce(operation, &own, &mut result));
        compare(name, 0, &result, |position| Self::combined(operation, self.size(), position))?;
        Ok(time)
    }

    /// Whole numbers below 2^53 add exactly in any order.
    fn allreduce_floats(&self) -> Result<Duration, PrimitivesError> {
        let small = |value: u64| (value >> 16) as f64;
        let own: Vec<f64> = values(self.rank(), self.elements).into_iter().map(small).collect();
        let mut result = vec![0.0; self.elements];
        let time = self.timed(|communicator| communicator.allreduce(Operation::Sum, &own, &mut result));
        compare("allreduce f64", 0, &result, |position| (0..self.size()).map(|rank| small(value(rank, position))).sum::<f64>())?;
        Ok(time)
    }

    fn scan(&self) -> Result<Duration, PrimitivesError> {
        let own = values(self.rank(), self.elements);
        let mut sums = vec![0; self.elements];
        let time = self.timed(|communicator| communicator.scan(Operation::Sum, &own, &mut sums));
        compare("scan sum", 0, &sums, |position| Self::combined(Operation::Sum, self.rank() + 1, position))?;
        Ok(time)
    }

    /// Everyone sends to the left and receives from the right.
    fn ring(&self) -> Result<Duration, PrimitivesError> {
        let (left, right) = ((self.rank() + self.size() - 1) % self.size(), (self.rank() + 1) % self.size());
        let outgoing = values(self.rank(), self.elements);
        let mut incoming = vec![0; self.elements];
        let time = self.timed(|communicator| communicator.exchange(left, &outgoing, right, &mut incoming));
        compare("ring", 0, &incoming, |position| value(right, position))?;
        Ok(time)
    }
}

/// The same mismatch, seen from the start of the whole array.
fn shifted(error: PrimitivesError, start: usize) -> PrimitivesError {
    match error {
        PrimitivesError::Mismatch { primitive, root, position, found, expected } => {
            PrimitivesError::Mismatch { primitive, root, position: position + start, found, expected }
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "primitives_tests.rs"]
mod tests;

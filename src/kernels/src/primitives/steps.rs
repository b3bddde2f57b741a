//! The primitives themselves, a step each: run, timed, and every element compared.

use std::time::{Duration, Instant};

use super::PrimitivesError;
use crate::communicator::{Communicator, Element, Operation, Pending, spans};
use crate::random::derive;

/// How long a late rank keeps the others waiting in the test of the barrier: well above a barrier itself (0.2 µs in
/// memory, some 100 µs over a network), short enough to go unnoticed.
pub const LATE: Duration = Duration::from_millis(10);

/// One repeat of one primitive: the time it took, after its result was checked.
pub type Step<'a, C> = fn(&Bench<'a, C>, root: usize) -> Result<Duration, PrimitivesError>;

/// The ranks, and how many elements each of them contributes.
pub struct Bench<'a, C> {
    /// The ranks.
    pub communicator: &'a C,
    /// 8-byte elements a rank.
    pub elements: usize,
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

/// The primitives that carry no elements.
pub fn without_elements<'a, C: Communicator>() -> [(&'static str, Step<'a, C>); 2] {
    [("barrier", Bench::barrier), ("split", |bench, _| bench.split())]
}

/// The primitives that carry any number of elements.
pub fn with_elements<'a, C: Communicator>() -> [(&'static str, Step<'a, C>); 16] {
    [
        ("bcast", Bench::bcast),
        ("scatter", |bench, root| bench.scatter("scatter", root, bench.equal())),
        ("scatterv", |bench, root| bench.scatter("scatterv", root, bench.unequal())),
        ("gather", |bench, root| bench.gather("gather", root, bench.equal())),
        ("gatherv", |bench, root| bench.gather("gatherv", root, bench.unequal())),
        ("allgather", |bench, _| bench.allgather("allgather", bench.equal())),
        ("allgatherv", |bench, _| bench.allgather("allgatherv", bench.unequal())),
        ("reduce sum", Bench::reduce),
        ("allreduce sum", |bench, _| bench.allreduce("allreduce sum", Operation::Sum)),
        ("allreduce min", |bench, _| bench.allreduce("allreduce min", Operation::Min)),
        ("allreduce max", |bench, _| bench.allreduce("allreduce max", Operation::Max)),
        ("allreduce f64", |bench, _| bench.allreduce_floats()),
        ("scan sum", |bench, _| bench.scan()),
        ("ring", |bench, _| bench.ring()),
        ("ring u16", |bench, _| bench.background::<u16>("ring u16", |value| value as u16)),
        ("ring f32", |bench, _| bench.background::<f32>("ring f32", |value| (value >> 20) as f32)),
    ]
}

impl<'a, C: Communicator> Bench<'a, C> {
    /// Steps on the ranks of `communicator`, each with so many elements.
    pub fn new(communicator: &'a C, elements: usize) -> Self {
        Self { communicator, elements }
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

    fn allgather(&self, name: &'static str, counts: Vec<usize>) -> Result<Duration, PrimitivesError> {
        let rank = self.rank();
        let part = values(rank, counts[rank]);
        let mut data = vec![0; counts.iter().sum()];
        let time = self.timed(|communicator| communicator.allgather(&part, &counts, &mut data));
        for (source, range) in spans(&counts).enumerate() {
            let start = range.start;
            compare(name, 0, &data[range], |position| value(source, position)).map_err(|error| shifted(error, start))?;
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

    /// The same in the background, two at once, while a message goes the other way.
    fn background<T: Element>(&self, name: &'static str, element: fn(u64) -> T) -> Result<Duration, PrimitivesError> {
        let (left, right) = ((self.rank() + self.size() - 1) % self.size(), (self.rank() + 1) % self.size());
        let part = |rank: usize, turn: usize| (0..self.elements).map(move |position| element(value(rank + turn, position)));
        let [first, second] = [0, 1].map(|turn| part(self.rank(), turn).collect::<Vec<T>>());
        let (mut incoming, mut other) = ([Vec::new(), Vec::new()], [0]);
        let empty = || vec![T::default(); self.elements];
        let time = self.timed(|communicator| {
            let mut first = communicator.start_exchange(left, first, right, empty());
            let second = communicator.start_exchange(left, second, right, empty());
            communicator.exchange(right, &[self.rank() as u64], left, &mut other);
            while !first.poll() {
                std::hint::spin_loop();
            }
            incoming = [first.finish().1, second.finish().1];
        });
        compare(name, 0, &other, |_| left as u64)?;
        for (turn, incoming) in incoming.iter().enumerate() {
            let expected: Vec<T> = part(right, turn).collect();
            compare(name, turn, incoming, |position| expected[position])?;
        }
        Ok(time)
    }

    /// Odd and even ranks apart, each in reversed order.
    fn split(&self) -> Result<Duration, PrimitivesError> {
        let mut members = Vec::new();
        let time = self.timed(|communicator| {
            let group = communicator.split(self.rank() % 2, self.size() - self.rank());
            members = group.allgather_one(self.rank() as u64);
        });
        let expected: Vec<u64> =
            (0..self.size()).rev().filter(|rank| rank % 2 == self.rank() % 2).map(|rank| rank as u64).collect();
        compare("split", 0, &[members.len() as u64], |_| expected.len() as u64)?;
        compare("split", 0, &members, |position| expected[position])?;
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

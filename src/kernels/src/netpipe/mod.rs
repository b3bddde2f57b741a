//! NetPIPE: messages of growing sizes between two ranks, between all pairs at once, and around a ring.
//!
//! Latency is half a round trip of at most 8 bytes; the peak is the highest bandwidth of any size; the half-bandwidth
//! size is where half the peak is reached first. The fastest trial says what the network can do, the median what it does.

pub mod measure;
mod report;
pub mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::communicator::{Communicator, wake};
use crate::events::Events;
use crate::output::OutputError;
use crate::plot::PlotError;
use crate::startup::{Kernel, Run};
use measure::Point;
use report::{Curve, Report};

/// Measures messages of growing sizes between ranks.
#[derive(Debug, Parser)]
#[command(
    name = "netpipe",
    version,
    after_help = "Example:\n  mpirun -n 4 --map-by node netpipe --to 8388608\n\n\
        Prints latency, half-bandwidth size and peak bandwidth of each pattern, and writes summary.json, netpipe.csv,\n\
        netpipe.svg, netpipe.png, and an array of [size, (bytes, fastest seconds, median seconds)] for each pattern:\n\
        two.npy, ring.npy, and pairs.npy of [from, to, size, (bytes, fastest, median)]."
)]
pub struct Netpipe {
    /// Who talks: two = the first rank and the last, pairs = every pair, in rounds of all at once, ring = everyone to the
    /// right at once
    #[arg(long, value_enum, value_delimiter = ',', default_value = "two,pairs,ring")]
    pub patterns: Vec<Pattern>,
    /// Smallest message in bytes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub from: u64,
    /// Largest message in bytes
    #[arg(long, default_value_t = 8 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub to: u64,
    /// Bytes by which each size is also made smaller and larger, where that does not reach the next; 0 for none
    #[arg(long, default_value_t = 3)]
    pub perturbation: u64,
    /// Milliseconds for each size
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub milliseconds: u64,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// The first rank and the last, which lie on different nodes where there are several.
    Two,
    /// Every pair, in rounds of all at once.
    Pairs,
    /// Everyone to the right at once.
    Ring,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum NetpipeError {
    /// Nobody to talk to.
    #[error("netpipe has 1 rank, and messages need 2: start it by mpirun -n 2 or more")]
    Alone,
    /// No size lies between the smallest and the largest.
    #[error("no size between {from} and {to} bytes: sizes are powers of two and the means between them")]
    Sizes {
        /// The smallest.
        from: u64,
        /// The largest.
        to: u64,
    },
    /// A message did not arrive as it was sent.
    #[error("message of {bytes} bytes from rank {sender} is damaged at byte {position}")]
    Damaged {
        /// Who made it.
        sender: usize,
        /// Its length.
        bytes: usize,
        /// The first wrong byte.
        position: usize,
    },
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

impl Kernel for Netpipe {
    const NAME: &'static str = "netpipe";
    const HAS_THREADS: bool = false;
    type Error = NetpipeError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), NetpipeError> {
        let ranks = run.communicator.size();
        if ranks < 2 {
            return Err(NetpipeError::Alone);
        }
        let mut report = Report::new(ranks);
        for pattern in &self.patterns {
            match pattern {
                Pattern::Two => {
                    run.events.phase("two");
                    report.curves.extend(self.two(run)?);
                }
                Pattern::Pairs => {
                    run.events.phase("pairs");
                    report.curves.extend(self.pairs(run)?);
                }
                Pattern::Ring => {
                    run.events.phase("ring");
                    report.curves.extend(self.ring(run)?);
                }
            }
        }
        run.events.phase("write");
        if run.is_first() { report.write(&run.folder, &run.events) } else { Ok(()) }
    }
}

impl Netpipe {
    fn budget(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    /// The sizes of every pattern, of which there is at least one.
    fn sizes(&self) -> Result<Vec<u64>, NetpipeError> {
        let sizes = schedule::sizes(self.from, self.to, self.perturbation);
        if sizes.is_empty() { Err(NetpipeError::Sizes { from: self.from, to: self.to }) } else { Ok(sizes) }
    }

    /// The first rank and the last, while the others wait; the curve is rank 0's.
    fn two<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<Option<Curve>, NetpipeError> {
        let communicator = run.communicator;
        let (rank, last) = (communicator.rank(), communicator.size() - 1);
        let sizes = self.sizes()?;
        let mut points = Vec::new();
        if rank == 0 || rank == last {
            points = each_size(&mut run.events, &sizes, 0, sizes.len(), |bytes| {
                measure::ping_pong(communicator, last - rank, bytes, self.budget())
            })?;
        }
        wake(communicator, 1..last);
        Ok((rank == 0).then_some(Curve { pattern: Pattern::Two, from: 0, to: last, points }))
    }

    /// All pairs, in rounds; the curves, in order, at rank 0.
    fn pairs<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<Vec<Curve>, NetpipeError> {
        let communicator = run.communicator;
        let (rank, ranks) = (communicator.rank(), communicator.size());
        let sizes = self.sizes()?;
        let partners = schedule::partners(rank, ranks);
        // The curves that this rank begins: the partner, then each point's numbers.
        let mut own: Vec<f64> = Vec::new();
        for (round, partner) in partners.iter().enumerate() {
            let done = round * sizes.len();
            communicator.barrier();
            let Some(partner) = *partner else { continue };
            let points = each_size(&mut run.events, &sizes, done, partners.len() * sizes.len(), |bytes| {
                measure::ping_pong(communicator, partner, bytes, self.budget())
            })?;
            if rank < partner {
                own.push(partner as f64);
                own.extend(points.iter().flat_map(|point| [point.repeats as f64, point.min, point.median]));
            }
        }
        let lengths = communicator.gather_one(0, own.len() as u64);
        let counts: Vec<usize> = communicator.allgather_one(own.len() as u64).into_iter().map(|count| count as usize).collect();
        let mut all = vec![0.0; lengths.iter().sum::<u64>() as usize];
        communicator.gather(0, &own, &counts, &mut all);
        let mut rest = all.as_slice();
        let mut curves = Vec::new();
        for (from, length) in lengths.into_iter().enumerate() {
            let (part, behind) = rest.split_at(length as usize);
            rest = behind;
            curves.extend(part.chunks(1 + 3 * sizes.len()).map(|curve| unpack(from, curve, &sizes)));
        }
        curves.sort_by_key(|curve| (curve.from, curve.to));
        Ok(curves)
    }

    /// Everyone at once; the curve at rank 0.
    fn ring<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<Option<Curve>, NetpipeError> {
        let communicator = run.communicator;
        let sizes = self.sizes()?;
        let points =
            each_size(&mut run.events, &sizes, 0, sizes.len(), |bytes| measure::ring(communicator, bytes, self.budget()))?;
        Ok((communicator.rank() == 0).then_some(Curve { pattern: Pattern::Ring, from: 0, to: 1, points }))
    }
}

/// Measures each size and tells how far that is.
fn each_size(
    events: &mut Events,
    sizes: &[u64],
    done: usize,
    total: usize,
    mut measure: impl FnMut(u64) -> Result<Point, NetpipeError>,
) -> Result<Vec<Point>, NetpipeError> {
    let mut points = Vec::with_capacity(sizes.len());
    for (position, bytes) in sizes.iter().enumerate() {
        points.push(measure(*bytes)?);
        events.progress((done + position + 1) as u64, total as u64);
    }
    Ok(points)
}

/// A curve from the numbers that travelled.
fn unpack(from: usize, numbers: &[f64], sizes: &[u64]) -> Curve {
    let point = |(bytes, numbers): (&u64, &[f64])| Point {
        bytes: *bytes,
        repeats: numbers[0] as u64,
        min: numbers[1],
        median: numbers[2],
    };
    let points = sizes.iter().zip(numbers[1..].chunks(3)).map(point).collect();
    Curve { pattern: Pattern::Pairs, from, to: numbers[0] as usize, points }
}

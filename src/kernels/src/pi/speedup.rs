//! The same points on 1 rank, on 2, and so on: what the talk showed of a cluster.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::{Pi, PiError, tell};
use crate::communicator::{Communicator, wake};
use crate::output::write_atomically;
use crate::plot::{self, Axis, Chart, Series};
use crate::simd::Simd;
use crate::startup::Run;

/// One number of ranks, at rank 0.
pub struct Measured {
    pub ranks: usize,
    pub hits: u64,
    /// From the first point to the sum of all hits; the fastest of the repeats.
    pub seconds: f64,
    pub seconds_by_rank: Vec<f64>,
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    ranks: usize,
    seconds: f64,
    samples_per_second: f64,
    speedup: f64,
    efficiency: f64,
}

/// Draws all points with the first `n` ranks, for each `n` of `sizes`; empty but for rank 0.
pub fn measure<C: Communicator>(pi: &Pi, simd: Simd, run: &mut Run<'_, C>, sizes: RangeInclusive<usize>) -> Vec<Measured> {
    let (rank, world) = (run.communicator.rank(), run.communicator.size());
    let measurements = sizes.clone().count() as u64 * u64::from(pi.repeats);
    let mut measured = Vec::new();
    let mut measurement = 0;
    for ranks in sizes {
        let group = run.communicator.split(usize::from(rank >= ranks), rank);
        let mut best: Option<Measured> = None;
        for _ in 0..pi.repeats {
            run.communicator.barrier();
            if rank < ranks {
                let begin = Instant::now();
                let (hits, seconds_by_rank) = pi.hits(simd, &group, &mut tell(&mut run.events, measurement, measurements));
                let seconds = begin.elapsed().as_secs_f64();
                if best.as_ref().is_none_or(|best| seconds < best.seconds) {
                    best = Some(Measured { ranks, hits, seconds, seconds_by_rank });
                }
            }
            wake(run.communicator, ranks..world);
            measurement += 1;
        }
        measured.extend(best.filter(|_| rank == 0));
    }
    measured
}

/// Compares every measurement with the first.
pub fn lines(measured: &[Measured], samples: u64) -> Vec<Line> {
    let line = |one: &Measured| {
        let speedup = measured[0].seconds / one.seconds;
        Line {
            ranks: one.ranks,
            seconds: one.seconds,
            samples_per_second: samples as f64 / one.seconds,
            speedup,
            efficiency: speedup / one.ranks as f64,
        }
    };
    measured.iter().map(line).collect()
}

/// Prints the table and leaves it in `folder`, with a plot.
pub fn write(folder: &Path, lines: &[Line]) -> Result<(), PiError> {
    let mut csv = String::from("ranks,seconds,samples_per_second,speedup,efficiency\n");
    println!("{:>5} {:>10} {:>14} {:>9} {:>11}", "ranks", "seconds", "M points/s", "speed-up", "efficiency");
    for line in lines {
        let Line { ranks, seconds, samples_per_second, speedup, efficiency } = line;
        println!("{ranks:>5} {seconds:>10.4} {:>14.1} {speedup:>9.2} {efficiency:>11.3}", samples_per_second / 1e6);
        writeln!(csv, "{ranks},{seconds},{samples_per_second},{speedup},{efficiency}").expect("a string takes every line");
    }
    write_atomically(&folder.join("speedup.csv"), |writer| writer.write_all(csv.as_bytes()))?;
    let measured = lines.iter().map(|line| (line.ranks as f64, line.speedup)).collect();
    let ideal = lines.iter().map(|line| (line.ranks as f64, line.ranks as f64)).collect();
    let chart = Chart {
        title: "Monte Carlo pi: speed-up over one rank".into(),
        x: Axis::count("ranks"),
        y: Axis::linear("speed-up"),
        series: vec![Series::line("measured", measured), Series::reference("ideal", ideal)],
    };
    Ok(plot::lines(folder, "speedup", &chart)?)
}

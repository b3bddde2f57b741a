//! Curves of sizes and seconds, and what people want to know of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use ndarray::{Array2, Array4};
use serde::Serialize;

use super::measure::Point;
use super::{NetpipeError, Pattern};
use crate::events::{Events, Timings};
use crate::output::{write_atomically, write_json, write_npy};
use crate::plot::{self, Axis, Chart, Series};

/// Latency is that of sizes up to so many bytes: one cache line holds them with any header.
const LATENCY_BYTES: u64 = 8;
/// More pairs than these are too many to read; the files have them all.
const PAIRS_SHOWN: usize = 28;

/// All sizes between two ranks, or around the ring.
#[derive(Clone, Debug)]
pub struct Curve {
    pub pattern: Pattern,
    pub from: usize,
    pub to: usize,
    /// By size; at least one.
    pub points: Vec<Point>,
}

/// Which of the trials counts.
type Choice = fn(&Point) -> f64;

/// What a curve says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// One way, of the fastest size of at most 8 bytes; None where all sizes are larger.
    pub latency_microseconds: Option<f64>,
    /// Where half the peak is reached first, interpolated between sizes.
    pub half_bandwidth_bytes: f64,
    /// Of 10^6 bytes.
    pub peak_megabytes_per_second: f64,
}

impl Facts {
    pub fn of(points: &[Point], choice: Choice) -> Self {
        let small = points.iter().filter(|point| point.bytes <= LATENCY_BYTES);
        let latency = small.map(|point| choice(point) * 1e6).min_by(f64::total_cmp);
        let rates: Vec<(f64, f64)> = points.iter().map(|point| (point.bytes as f64, megabytes(point, choice))).collect();
        let peak = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let above = rates.iter().position(|(_, rate)| *rate >= peak / 2.0).unwrap_or(0);
        let half = match above {
            0 => rates[0].0,
            _ => crossing(rates[above - 1], rates[above], peak / 2.0),
        };
        Self { latency_microseconds: latency, half_bandwidth_bytes: half, peak_megabytes_per_second: peak }
    }
}

/// The size at which the line between two points reaches `rate`.
fn crossing(below: (f64, f64), above: (f64, f64), rate: f64) -> f64 {
    below.0 + (above.0 - below.0) * (rate - below.1) / (above.1 - below.1)
}

fn megabytes(point: &Point, choice: Choice) -> f64 {
    point.bytes as f64 / choice(point) / 1e6
}

/// Everything that rank 0 leaves.
#[derive(Debug)]
pub struct Report {
    ranks: usize,
    pub curves: Vec<Curve>,
}

#[derive(Serialize)]
struct Line {
    pattern: &'static str,
    from: usize,
    to: usize,
    fastest: Facts,
    median: Facts,
}

#[derive(Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    curves: Vec<Line>,
    timings: Timings,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Pattern::Two => "two",
            Pattern::Pairs => "pairs",
            Pattern::Ring => "ring",
        }
    }
}

impl Report {
    pub fn new(ranks: usize) -> Self {
        Self { ranks, curves: Vec::new() }
    }

    /// Prints the table and writes every file into `folder`.
    pub fn write(&self, folder: &Path, events: &Events) -> Result<(), NetpipeError> {
        let lines: Vec<Line> = self.curves.iter().map(line).collect();
        print(&lines);
        write_atomically(&folder.join("netpipe.csv"), |writer| writer.write_all(self.csv().as_bytes()))?;
        for pattern in [Pattern::Two, Pattern::Ring] {
            for curve in self.of(pattern) {
                write_npy(&folder.join(format!("{}.npy", pattern.name())), &matrix(curve))?;
            }
        }
        if let Some(first) = self.of(Pattern::Pairs).next() {
            write_npy(&folder.join("pairs.npy"), &self.pairs(first.points.len()))?;
        }
        let bandwidth = self.chart("bandwidth", Axis::logarithmic("MB/s"), megabytes);
        plot::lines(folder, "netpipe", &bandwidth)?;
        let time = self.chart("time one way", Axis::logarithmic("µs"), |point, choice| choice(point) * 1e6);
        plot::lines(folder, "netpipe-time", &time)?;
        let summary = Summary { kernel: "netpipe", ranks: self.ranks, curves: lines, timings: events.timings() };
        Ok(write_json(&folder.join("summary.json"), &summary)?)
    }

    fn of(&self, pattern: Pattern) -> impl Iterator<Item = &Curve> {
        self.curves.iter().filter(move |curve| curve.pattern == pattern)
    }

    fn csv(&self) -> String {
        let mut csv = String::from("pattern,from,to,bytes,repeats,seconds_min,seconds_median,megabytes_per_second\n");
        for curve in &self.curves {
            let Curve { pattern, from, to, points } = curve;
            for point in points {
                let Point { bytes, repeats, min, median } = point;
                let rate = megabytes(point, |point| point.min);
                writeln!(csv, "{},{from},{to},{bytes},{repeats},{min:e},{median:e},{rate}", pattern.name())
                    .expect("a string takes every line");
            }
        }
        csv
    }

    /// Bytes, fastest and median seconds of each size between each two ranks, the same both ways; no number on the diagonal.
    fn pairs(&self, sizes: usize) -> Array4<f64> {
        let mut array = Array4::from_elem((self.ranks, self.ranks, sizes, 3), f64::NAN);
        for curve in self.of(Pattern::Pairs) {
            for (size, point) in curve.points.iter().enumerate() {
                for (column, value) in columns(point).into_iter().enumerate() {
                    array[[curve.from, curve.to, size, column]] = value;
                    array[[curve.to, curve.from, size, column]] = value;
                }
            }
        }
        array
    }

    /// The two ranks and the ring, fastest and median, and of the pairs the slowest at the largest size.
    fn chart(&self, what: &str, y: Axis, value: fn(&Point, Choice) -> f64) -> Chart {
        let points = |curve: &Curve, choice: Choice| -> Vec<(f64, f64)> {
            curve.points.iter().map(|point| (point.bytes as f64, value(point, choice))).collect()
        };
        let mut series = Vec::new();
        for curve in self.of(Pattern::Two) {
            let name = format!("ranks {} and {}", curve.from, curve.to);
            series.push(Series::line(format!("{name}, fastest"), points(curve, |point| point.min)));
            series.push(Series::line(format!("{name}, median"), points(curve, |point| point.median)));
        }
        let last = |curve: &&Curve| curve.points.last().map_or(0.0, |point| point.min);
        if let Some(slowest) = self.of(Pattern::Pairs).max_by(|left, right| last(left).total_cmp(&last(right))) {
            let name = format!("slowest pair, {} and {}, all at once", slowest.from, slowest.to);
            series.push(Series::line(name, points(slowest, |point| point.min)));
        }
        for curve in self.of(Pattern::Ring) {
            series.push(Series::line("ring, slowest rank", points(curve, |point| point.min)));
        }
        let title = format!("NetPIPE on {} ranks: {what}", self.ranks);
        Chart { title, x: Axis::bytes("message size"), y, series }
    }
}

fn line(curve: &Curve) -> Line {
    let Curve { pattern, from, to, points } = curve;
    let (fastest, median) = (Facts::of(points, |point| point.min), Facts::of(points, |point| point.median));
    Line { pattern: pattern.name(), from: *from, to: *to, fastest, median }
}

fn columns(point: &Point) -> [f64; 3] {
    [point.bytes as f64, point.min, point.median]
}

fn matrix(curve: &Curve) -> Array2<f64> {
    Array2::from_shape_fn((curve.points.len(), 3), |(size, column)| columns(&curve.points[size])[column])
}

/// The table; of very many pairs, those with the lowest peaks.
fn print(lines: &[Line]) {
    println!("{:<7} {:>5} {:>5} {:>19} {:>12} {:>21}", "pattern", "from", "to", "latency (median)", "half at", "peak (median)");
    let (mut pairs, others): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| line.pattern == Pattern::Pairs.name());
    let hidden = pairs.len().saturating_sub(PAIRS_SHOWN);
    if hidden > 0 {
        let peak = |line: &&Line| line.fastest.peak_megabytes_per_second;
        pairs.sort_by(|left, right| peak(left).total_cmp(&peak(right)));
        pairs.truncate(PAIRS_SHOWN);
    }
    for Line { pattern, from, to, fastest, median } in others.into_iter().chain(pairs) {
        let latency = |facts: &Facts| facts.latency_microseconds.map_or("–".to_owned(), |latency| format!("{latency:.2}"));
        let latencies = format!("{} ({}) µs", latency(fastest), latency(median));
        let peaks = format!("{:.0} ({:.0}) MB/s", fastest.peak_megabytes_per_second, median.peak_megabytes_per_second);
        println!("{pattern:<7} {from:>5} {to:>5} {latencies:>19} {:>10.0} B {peaks:>21}", fastest.half_bandwidth_bytes);
    }
    if hidden > 0 {
        println!("{hidden} faster pairs are in netpipe.csv");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes: u64, min: f64) -> Point {
        Point { bytes, repeats: 1, min, median: min * 2.0 }
    }

    #[test]
    fn facts_are_the_latency_the_half_and_the_peak_of_a_curve() {
        // 1, 100, 400 and 200 MB/s: half the peak lies a third of the way from 100 to 400.
        let points = [point(1, 1e-6), point(1000, 1e-5), point(4000, 1e-5), point(8000, 4e-5)];
        let facts = Facts::of(&points, |point| point.min);
        assert_eq!(facts.latency_microseconds, Some(1.0));
        assert!((facts.peak_megabytes_per_second - 400.0).abs() < 1e-9);
        assert!((facts.half_bandwidth_bytes - 2000.0).abs() < 1e-6, "{facts:?}");
        assert_eq!(Facts::of(&points, |point| point.median).latency_microseconds, Some(2.0));
    }

    #[test]
    fn a_single_large_size_has_no_latency() {
        let facts = Facts::of(&[point(1 << 20, 1e-3)], |point| point.min);
        assert_eq!((facts.latency_microseconds, facts.half_bandwidth_bytes), (None, 1048576.0));
    }
}

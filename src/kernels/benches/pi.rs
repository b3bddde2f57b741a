//! Points a second on one core against NumPy.

use ewulf_kernels::pi::points::{CHUNK, hits};
use ewulf_kernels::simd::Simd;

use crate::kit::peer::Peer;
use crate::kit::table::Row;
use crate::kit::{Failure, alternate, timed};

/// Points of one round of ours and of NumPy: a tenth of a second each.
const CHUNKS: u64 = 256;
const PEER_POINTS: u64 = 1 << 24;
const ROUNDS: usize = 9;

pub fn rows() -> Result<Vec<Row>, Failure> {
    let mut numpy = Peer::start("pi", &[&PEER_POINTS.to_string()])?;
    numpy.round()?;
    let (ours, peers) = alternate(ROUNDS, || Ok(seconds(Simd::widest())), || numpy.seconds())?;
    let points = (CHUNKS * CHUNK) as f64;
    let narrower = Simd::available().filter(|simd| *simd < Simd::widest());
    let narrower: Vec<String> = narrower.map(|simd| format!("{simd} {:.2}", points / seconds(simd) / 1e9)).collect();
    let note = format!("{}, {} G/s; spread {:.0} %", Simd::widest(), narrower.join(", "), ours.spread_percent());
    let (own, other) = (points / ours.min() / 1e9, PEER_POINTS as f64 / peers.min() / 1e9);
    Ok(vec![Row::rate("pi, 1 core", "G points/s", own, "NumPy", other, 20.0, 25.0).noted(note)])
}

/// The CPU seconds of one round; the sum of the hits keeps the compiler from leaving anything out.
fn seconds(simd: Simd) -> f64 {
    let (seconds, hits) = timed(|| (0..CHUNKS).map(|chunk| hits(simd, 42, chunk, CHUNK)).sum::<u64>());
    let share = hits as f64 / (CHUNKS * CHUNK) as f64;
    assert!((share * 4.0 - std::f64::consts::PI).abs() < 1e-3, "{simd} counts {hits} hits");
    seconds
}

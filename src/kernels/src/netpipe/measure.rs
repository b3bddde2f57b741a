//! Messages back and forth, checked and timed.
//!
//! As in NetPIPE, one buffer is sent and received into; a trial is the mean over many round trips, and there are several
//! trials a size, of which the fastest and the median are kept.

use std::time::{Duration, Instant};

use super::NetpipeError;
use crate::communicator::{Communicator, Operation};
use crate::random::mix;

/// Trials of each size, as in NetPIPE.
pub const TRIALS: usize = 7;
/// Round trips before the first trial of a size: they bring the buffer into the caches, are checked, and their fastest
/// tells how many round trips make a trial.
const WARM: u64 = 4;
/// At most so many round trips a trial, whatever the clock says.
const MOST: f64 = 1e6;

/// One size between two ranks, or around a ring: seconds of one message, one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Bytes of the message.
    pub bytes: u64,
    /// Messages of one trial, there and back.
    pub repeats: u64,
    /// The fastest trial.
    pub min: f64,
    /// The trial in the middle.
    pub median: f64,
}

impl Point {
    fn of(bytes: u64, repeats: u64, mut trials: Vec<f64>) -> Self {
        trials.sort_by(f64::total_cmp);
        Self { bytes, repeats, min: trials[0], median: trials[trials.len() / 2] }
    }
}

/// What a message holds: depends on its size, its sender and every position, so that nothing stale passes for it.
fn fill(buffer: &mut [u8], sender: usize) {
    let seed = mix(buffer.len() as u64 ^ (sender as u64) << 48);
    for (block, bytes) in buffer.chunks_mut(8).enumerate() {
        let value = mix(seed.wrapping_add(block as u64)).to_le_bytes();
        bytes.copy_from_slice(&value[..bytes.len()]);
    }
}

/// Fails on the first byte that `sender` did not send.
fn check(buffer: &[u8], sender: usize) -> Result<(), NetpipeError> {
    let mut expected = vec![0; buffer.len()];
    fill(&mut expected, sender);
    match buffer.iter().zip(&expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(position) => Err(NetpipeError::Damaged { sender, bytes: buffer.len(), position }),
    }
}

/// How many round trips fill `slice`.
fn repeats(slice: Duration, round_trip: f64) -> u64 {
    (slice.as_secs_f64() / round_trip.max(1e-9)).clamp(1.0, MOST) as u64
}

/// Messages of `bytes` back and forth between this rank and `partner`, the lower of which begins and keeps the time.
///
/// Both get the same answer.
pub fn ping_pong<C: Communicator>(communicator: &C, partner: usize, bytes: u64, budget: Duration) -> Result<Point, NetpipeError> {
    let rank = communicator.rank();
    let first = rank < partner;
    let mut buffer = vec![0u8; bytes as usize];
    // Each side checks what the other made.
    fill(&mut buffer, rank);
    let mut incoming = vec![0u8; bytes as usize];
    communicator.exchange(partner, &buffer, partner, &mut incoming);
    check(&incoming, partner)?;

    let slice = budget / TRIALS as u32;
    let warm = (0..WARM).map(|_| round_trips(communicator, first, partner, &mut buffer, 1)).fold(f64::INFINITY, f64::min);
    let mut count = [repeats(slice, warm)];
    if first {
        communicator.send(partner, &count);
    } else {
        communicator.receive(partner, &mut count);
    }
    let trial = |buffer: &mut Vec<u8>| round_trips(communicator, first, partner, buffer, count[0]) / (2.0 * count[0] as f64);
    let mut times: Vec<f64> = (0..TRIALS).map(|_| trial(&mut buffer)).collect();
    // What came last is what the beginner sent first.
    check(&buffer, rank.min(partner))?;
    if first {
        communicator.send(partner, &times);
    } else {
        communicator.receive(partner, &mut times);
    }
    Ok(Point::of(bytes, count[0], times))
}

/// The seconds of `count` messages there and back.
fn round_trips<C: Communicator>(communicator: &C, first: bool, partner: usize, buffer: &mut [u8], count: u64) -> f64 {
    // Both sides are here before the clock starts.
    communicator.exchange(partner, &[0u8], partner, &mut [0u8]);
    let begin = Instant::now();
    for _ in 0..count {
        if first {
            communicator.send(partner, buffer);
            communicator.receive(partner, buffer);
        } else {
            communicator.receive(partner, buffer);
            communicator.send(partner, buffer);
        }
    }
    begin.elapsed().as_secs_f64()
}

/// Messages of `bytes` from everyone to the right at once: the time of the slowest rank, known to all.
pub fn ring<C: Communicator>(communicator: &C, bytes: u64, budget: Duration) -> Result<Point, NetpipeError> {
    let (rank, size) = (communicator.rank(), communicator.size());
    let (left, right) = ((rank + size - 1) % size, (rank + 1) % size);
    let mut outgoing = vec![0u8; bytes as usize];
    fill(&mut outgoing, rank);
    let mut incoming = vec![0u8; bytes as usize];
    let mut trial = |count: u64| {
        communicator.barrier();
        let begin = Instant::now();
        for _ in 0..count {
            communicator.exchange(right, &outgoing, left, &mut incoming);
        }
        let mut slowest = [0.0];
        communicator.allreduce(Operation::Max, &[begin.elapsed().as_secs_f64() / count as f64], &mut slowest);
        slowest[0]
    };
    let warm = (0..WARM).map(|_| trial(1)).fold(f64::INFINITY, f64::min);
    let count = repeats(budget / TRIALS as u32, warm);
    let times = (0..TRIALS).map(|_| trial(count)).collect();
    check(&incoming, left)?;
    Ok(Point::of(bytes, count, times))
}

//! Waiting without work.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use super::{Communicator, Pending};

/// How long an idle rank sleeps between two looks.
const NAP: Duration = Duration::from_millis(1);

/// Rank 0 wakes the `idle` ranks, who sleep in this call until then; nobody else waits.
///
/// A rank in a barrier spins, and takes the core of a busy one where there are more ranks than cores.
pub fn wake<C: Communicator>(communicator: &C, idle: Range<usize>) {
    if communicator.rank() == 0 {
        for other in idle {
            communicator.start_exchange(other, vec![1u8], other, vec![0]).finish();
        }
    } else if idle.contains(&communicator.rank()) {
        let mut call = communicator.start_exchange(0, vec![1u8], 0, vec![0]);
        while !call.poll() {
            thread::sleep(NAP);
        }
    }
}

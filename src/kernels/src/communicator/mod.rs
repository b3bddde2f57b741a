//! What kernels ask of message passing, and the pieces every implementation has to provide.
//!
//! Owns the rule that no single message or collective is larger than an implementation's limit: MPI counts are C `int`,
//! so larger transfers go in pieces here, once, for every implementation. May not know any kernel.

use std::ops::Range;

mod idle;
#[cfg(feature = "mpi")]
pub mod open_mpi;
#[cfg(feature = "mpi")]
pub mod pending;
pub mod solo;
pub mod threads;

pub use idle::wake;
pub use solo::Solo;
pub use threads::Threads;

/// What an element needs to travel by MPI; nothing without the feature `mpi`.
#[cfg(feature = "mpi")]
pub trait Wire: mpi::traits::Equivalence {}
/// What an element needs to travel by MPI; nothing without the feature `mpi`.
#[cfg(not(feature = "mpi"))]
pub trait Wire {}

/// A value that can be sent from one rank to another.
pub trait Element: Wire + Copy + Default + Send + PartialEq + std::fmt::Display + 'static {}

/// How [`Number`]s of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Their sum; integers must not overflow, and sums of floats depend on the order the implementation adds in.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// An element that can be reduced.
pub trait Number: Element {
    /// Combines two values as `operation` says.
    fn combine(operation: Operation, left: Self, right: Self) -> Self;
}

macro_rules! elements {
    ($($element:ty),*) => { $(
        impl Wire for $element {}
        impl Element for $element {}
    )* };
}
elements!(u8, u16, u32, u64, i32, i64, f32, f64);

macro_rules! numbers {
    ($($number:ty => $min:path, $max:path);*) => { $(
        impl Number for $number {
            fn combine(operation: Operation, left: Self, right: Self) -> Self {
                match operation {
                    Operation::Sum => left + right,
                    Operation::Min => $min(left, right),
                    Operation::Max => $max(left, right),
                }
            }
        }
    )* };
}
numbers!(
    u32 => Ord::min, Ord::max;
    u64 => Ord::min, Ord::max;
    i32 => Ord::min, Ord::max;
    i64 => Ord::min, Ord::max;
    f32 => f32::min, f32::max;
    f64 => f64::min, f64::max
);

/// An exchange under way, with its buffers: what [`Communicator::start_exchange`] began.
///
/// Messages move while the library is called, so a kernel that works meanwhile polls now and then. Dropping an exchange
/// waits for its end; it must not outlive the run.
pub trait Pending<T> {
    /// Moves the messages on and says, without waiting, whether both have arrived.
    fn poll(&mut self) -> bool;
    /// Waits until both have arrived and returns the outgoing and the incoming buffer.
    fn finish(self) -> (Vec<T>, Vec<T>);
}

/// A group of ranks that exchange messages.
///
/// Every method but `rank`, `size`, `piece_bytes`, `send`, `receive` and `start_exchange` is collective: all ranks call
/// it, in the same order, with the same `root`, `operation` and `counts`, and with slices of matching lengths. An
/// implementation provides the `*_piece` methods and may rely on getting at most [`Communicator::piece_elements`]
/// elements in one call; kernels call the others. Failed communication does not return: it ends all ranks.
pub trait Communicator {
    /// A part of the ranks, as [`Communicator::split`] makes it.
    type Group: Communicator;
    /// An exchange under way.
    type Pending<T: Element>: Pending<T>;

    /// This rank's number, from 0.
    fn rank(&self) -> usize;
    /// The number of ranks, at least 1.
    fn size(&self) -> usize;
    /// The largest number of bytes passed to one `*_piece` call.
    fn piece_bytes(&self) -> usize;
    /// Returns only after every rank has called it.
    fn barrier(&self);

    /// Joins the ranks that give the same `color` into a communicator of their own, in the order of `key`, then of rank.
    fn split(&self, color: usize, key: usize) -> Self::Group;
    /// Begins to send `outgoing` to `destination` and to fill `incoming` from `source`, both of which may be this rank.
    ///
    /// The other ends do the same, with equal lengths; `send`, `receive` and `exchange` do not match it. Between two ranks,
    /// exchanges match in the order in which they were started.
    fn start_exchange<T: Element>(
        &self,
        destination: usize,
        outgoing: Vec<T>,
        source: usize,
        incoming: Vec<T>,
    ) -> Self::Pending<T>;

    /// Sends one piece to `destination`; may wait until it is received.
    fn send_piece<T: Element>(&self, destination: usize, data: &[T]);
    /// Receives one piece that `source` sent with an equal length.
    fn receive_piece<T: Element>(&self, source: usize, data: &mut [T]);
    /// Sends one piece and receives another at the same time; neither is empty, and both ends may be this rank.
    fn exchange_piece<T: Element>(&self, destination: usize, outgoing: &[T], source: usize, incoming: &mut [T]);
    /// Makes `data` on every rank equal to that of `root`.
    fn bcast_piece<T: Element>(&self, root: usize, data: &mut [T]);
    /// Hands `counts[rank]` elements of the root's `data` to each rank, in rank order.
    fn scatter_piece<T: Element>(&self, root: usize, data: &[T], counts: &[usize], part: &mut [T]);
    /// Lays the parts of all ranks end to end in the root's `data`, in rank order.
    fn gather_piece<T: Element>(&self, root: usize, part: &[T], counts: &[usize], data: &mut [T]);
    /// Lays the parts of all ranks end to end in everyone's `data`, in rank order.
    fn allgather_piece<T: Element>(&self, part: &[T], counts: &[usize], data: &mut [T]);
    /// Combines the values of all ranks, position by position, into the root's `result`.
    fn reduce_piece<T: Number>(&self, root: usize, operation: Operation, values: &[T], result: &mut [T]);
    /// Combines the values of all ranks, position by position, into everyone's `result`.
    fn allreduce_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]);
    /// Combines the values of ranks `0..=rank`, position by position, into `result`.
    fn scan_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]);

    /// The largest number of elements passed to one `*_piece` call.
    fn piece_elements<T: Element>(&self) -> usize {
        (self.piece_bytes() / size_of::<T>()).max(1)
    }

    /// Sends `data` to `destination`, which must be another rank that receives an equal length.
    fn send<T: Element>(&self, destination: usize, data: &[T]) {
        for piece in data.chunks(self.piece_elements::<T>()) {
            self.send_piece(destination, piece);
        }
    }

    /// Receives what `source`, another rank, sends with an equal length.
    fn receive<T: Element>(&self, source: usize, data: &mut [T]) {
        for piece in data.chunks_mut(self.piece_elements::<T>()) {
            self.receive_piece(source, piece);
        }
    }

    /// Sends `outgoing` and receives `incoming` at the same time; every rank calls it, as in a ring.
    fn exchange<T: Element>(&self, destination: usize, outgoing: &[T], source: usize, incoming: &mut [T]) {
        let limit = self.piece_elements::<T>();
        let mut sending = outgoing.chunks(limit);
        let mut receiving = incoming.chunks_mut(limit);
        loop {
            match (sending.next(), receiving.next()) {
                (Some(out), Some(into)) => self.exchange_piece(destination, out, source, into),
                (Some(out), None) => self.send_piece(destination, out),
                (None, Some(into)) => self.receive_piece(source, into),
                (None, None) => break,
            }
        }
    }

    /// Makes `data` on every rank equal to that of `root`; lengths agree already.
    fn bcast<T: Element>(&self, root: usize, data: &mut [T]) {
        for piece in data.chunks_mut(self.piece_elements::<T>()) {
            self.bcast_piece(root, piece);
        }
    }

    /// Makes `data` on every rank equal to that of `root`, whatever its length there.
    fn bcast_vector<T: Element>(&self, root: usize, data: &mut Vec<T>) {
        let mut length = [data.len() as u64];
        self.bcast(root, &mut length);
        data.resize(length[0] as usize, T::default());
        self.bcast(root, data);
    }

    /// Hands `counts[rank]` elements of the root's `data` to each rank's `part`, in rank order (MPI's scatterv).
    ///
    /// `data` is read at the root alone and may be empty elsewhere.
    fn scatter<T: Element>(&self, root: usize, data: &[T], counts: &[usize], part: &mut [T]) {
        assert_eq!(counts.len(), self.size(), "scatter needs one count a rank");
        assert_eq!(counts[self.rank()], part.len(), "scatter needs a part as long as its count");
        if counts.iter().sum::<usize>() <= self.piece_elements::<T>() {
            return self.scatter_piece(root, data, counts, part);
        }
        if self.rank() != root {
            return self.receive(root, part);
        }
        for (rank, range) in spans(counts).enumerate() {
            if rank == root {
                part.copy_from_slice(&data[range]);
            } else {
                self.send(rank, &data[range]);
            }
        }
    }

    /// Lays the parts of all ranks, `counts[rank]` elements each, end to end in the root's `data` (MPI's gatherv).
    ///
    /// `data` is written at the root alone and may be empty elsewhere.
    fn gather<T: Element>(&self, root: usize, part: &[T], counts: &[usize], data: &mut [T]) {
        assert_eq!(counts.len(), self.size(), "gather needs one count a rank");
        assert_eq!(counts[self.rank()], part.len(), "gather needs a part as long as its count");
        if counts.iter().sum::<usize>() <= self.piece_elements::<T>() {
            return self.gather_piece(root, part, counts, data);
        }
        if self.rank() != root {
            return self.send(root, part);
        }
        for (rank, range) in spans(counts).enumerate() {
            if rank == root {
                data[range].copy_from_slice(part);
            } else {
                self.receive(rank, &mut data[range]);
            }
        }
    }

    /// Lays the parts of all ranks, `counts[rank]` elements each, end to end in everyone's `data` (MPI's allgatherv).
    fn allgather<T: Element>(&self, part: &[T], counts: &[usize], data: &mut [T]) {
        assert_eq!(counts.len(), self.size(), "allgather needs one count a rank");
        assert_eq!(counts[self.rank()], part.len(), "allgather needs a part as long as its count");
        assert_eq!(counts.iter().sum::<usize>(), data.len(), "allgather needs room for every part");
        if data.len() <= self.piece_elements::<T>() {
            return self.allgather_piece(part, counts, data);
        }
        for (rank, range) in spans(counts).enumerate() {
            if rank == self.rank() {
                data[range.clone()].copy_from_slice(part);
            }
            self.bcast(rank, &mut data[range]);
        }
    }

    /// Collects one value of every rank on all of them, in rank order.
    fn allgather_one<T: Element>(&self, value: T) -> Vec<T> {
        let mut all = vec![T::default(); self.size()];
        self.allgather(&[value], &vec![1; self.size()], &mut all);
        all
    }

    /// Collects the parts of all ranks, of whatever lengths, end to end in rank order, on all of them.
    fn allgather_vector<T: Element>(&self, part: &[T]) -> Vec<T> {
        let counts: Vec<usize> = self.allgather_one(part.len() as u64).into_iter().map(|count| count as usize).collect();
        let mut all = vec![T::default(); counts.iter().sum()];
        self.allgather(part, &counts, &mut all);
        all
    }

    /// Collects one value of every rank at `root`, in rank order; elsewhere the answer is empty.
    fn gather_one<T: Element>(&self, root: usize, value: T) -> Vec<T> {
        let mut all = if self.rank() == root { vec![T::default(); self.size()] } else { Vec::new() };
        self.gather(root, &[value], &vec![1; self.size()], &mut all);
        all
    }

    /// Combines the values of all ranks, position by position, into the root's `result`, which may be empty elsewhere.
    fn reduce<T: Number>(&self, root: usize, operation: Operation, values: &[T], result: &mut [T]) {
        for range in pieces(values.len(), self.piece_elements::<T>()) {
            let into = if self.rank() == root { &mut result[range.clone()] } else { &mut [] };
            self.reduce_piece(root, operation, &values[range], into);
        }
    }

    /// Combines the values of all ranks, position by position, into everyone's `result`.
    fn allreduce<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        for range in pieces(values.len(), self.piece_elements::<T>()) {
            self.allreduce_piece(operation, &values[range.clone()], &mut result[range]);
        }
    }

    /// Combines the values of ranks `0..=rank`, position by position, into `result`.
    fn scan<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        for range in pieces(values.len(), self.piece_elements::<T>()) {
            self.scan_piece(operation, &values[range.clone()], &mut result[range]);
        }
    }
}

/// The consecutive ranges of at most `limit` that make up `0..length`.
fn pieces(length: usize, limit: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(limit).map(move |start| start..length.min(start.saturating_add(limit)))
}

/// The range of each rank in an array that holds `counts[rank]` elements of each, end to end.
pub fn spans(counts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    counts.iter().map(move |count| {
        let range = start..start + count;
        start = range.end;
        range
    })
}

//! Ranks as threads of one process that pass messages through channels: tests run every kernel on it.
//!
//! Channels never block a sender, so a kernel that relies on buffered sends passes here and hangs under MPI; the tests
//! under `mpirun` are there for that.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::{Communicator, Element, Number, Operation, spans};

type Message = Box<dyn Any + Send>;

/// One rank of a group of threads.
pub struct Threads {
    rank: usize,
    piece_bytes: usize,
    /// By destination.
    outboxes: Vec<Sender<Message>>,
    /// By source.
    inboxes: Vec<Receiver<Message>>,
}

impl Threads {
    /// Runs `body` once a rank on `size` threads and returns the answers in rank order.
    ///
    /// A panic of any rank is passed on, after all have ended.
    pub fn run<R: Send>(size: usize, body: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        Self::run_in_pieces(size, usize::MAX, body)
    }

    /// The same, with no message larger than `piece_bytes`, to show what MPI does with data beyond its limit.
    pub fn run_in_pieces<R: Send>(size: usize, piece_bytes: usize, body: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        let outcomes = Self::outcomes(size, piece_bytes, body);
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|payload| resume_unwind(payload))).collect()
    }

    /// The same, with each rank's panic as an error: when one rank ends early, those waiting for it panic.
    pub fn outcomes<R: Send>(size: usize, piece_bytes: usize, body: impl Fn(&Threads) -> R + Sync) -> Vec<thread::Result<R>> {
        let body = &body;
        thread::scope(|scope| {
            let ranks: Vec<_> =
                group(size, piece_bytes).into_iter().map(|communicator| scope.spawn(move || body(&communicator))).collect();
            ranks.into_iter().map(|rank| rank.join()).collect()
        })
    }

    fn post<T: Element>(&self, destination: usize, data: &[T]) {
        if self.outboxes[destination].send(Box::new(data.to_vec())).is_err() {
            panic!("rank {destination} ended before rank {} could send to it", self.rank);
        }
    }

    fn take<T: Element>(&self, source: usize, length: usize) -> Vec<T> {
        let Ok(message) = self.inboxes[source].recv() else {
            panic!("rank {source} ended before rank {} could receive from it", self.rank);
        };
        match message.downcast::<Vec<T>>() {
            Ok(data) if data.len() == length => *data,
            Ok(data) => panic!("rank {} expected {length} elements from rank {source}, got {}", self.rank, data.len()),
            Err(_) => panic!("rank {} got another type of element from rank {source}", self.rank),
        }
    }

    /// Combines the values of `ranks`, in rank order, at the calling rank.
    fn combined<T: Number>(&self, ranks: usize, operation: Operation, values: &[T]) -> Vec<T> {
        let mut result: Vec<T> = Vec::new();
        for rank in 0..ranks {
            let other = if rank == self.rank { values.to_vec() } else { self.take(rank, values.len()) };
            if rank == 0 {
                result = other;
            } else {
                for (sum, value) in result.iter_mut().zip(other) {
                    *sum = T::combine(operation, *sum, value);
                }
            }
        }
        result
    }
}

/// One connected communicator a rank.
fn group(size: usize, piece_bytes: usize) -> Vec<Threads> {
    assert!(size > 0, "a group needs at least one rank");
    let mut ranks: Vec<Threads> =
        (0..size).map(|rank| Threads { rank, piece_bytes, outboxes: Vec::new(), inboxes: Vec::new() }).collect();
    for source in 0..size {
        for destination in 0..size {
            let (sender, receiver) = channel();
            ranks[source].outboxes.push(sender);
            ranks[destination].inboxes.push(receiver);
        }
    }
    ranks
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.outboxes.len()
    }

    fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    fn barrier(&self) {
        self.allreduce_piece(Operation::Max, &[0u64], &mut [0]);
    }

    fn send_piece<T: Element>(&self, destination: usize, data: &[T]) {
        self.post(destination, data);
    }

    fn receive_piece<T: Element>(&self, source: usize, data: &mut [T]) {
        let message = self.take(source, data.len());
        data.copy_from_slice(&message);
    }

    fn exchange_piece<T: Element>(&self, destination: usize, outgoing: &[T], source: usize, incoming: &mut [T]) {
        self.post(destination, outgoing);
        self.receive_piece(source, incoming);
    }

    fn bcast_piece<T: Element>(&self, root: usize, data: &mut [T]) {
        if self.rank != root {
            return self.receive_piece(root, data);
        }
        for rank in (0..self.size()).filter(|rank| *rank != root) {
            self.post(rank, data);
        }
    }

    fn scatter_piece<T: Element>(&self, root: usize, data: &[T], counts: &[usize], part: &mut [T]) {
        if self.rank == root {
            for (rank, range) in spans(counts).enumerate() {
                self.post(rank, &data[range]);
            }
        }
        self.receive_piece(root, part);
    }

    fn gather_piece<T: Element>(&self, root: usize, part: &[T], counts: &[usize], data: &mut [T]) {
        self.post(root, part);
        if self.rank == root {
            for (rank, range) in spans(counts).enumerate() {
                self.receive_piece(rank, &mut data[range]);
            }
        }
    }

    fn reduce_piece<T: Number>(&self, root: usize, operation: Operation, values: &[T], result: &mut [T]) {
        if self.rank == root {
            result.copy_from_slice(&self.combined(self.size(), operation, values));
        } else {
            self.post(root, values);
        }
    }

    fn allreduce_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        self.reduce_piece(0, operation, values, result);
        self.bcast_piece(0, result);
    }

    fn scan_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        for rank in self.rank + 1..self.size() {
            self.post(rank, values);
        }
        result.copy_from_slice(&self.combined(self.rank + 1, operation, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and a piece limit at which every transfer needs several pieces, and one at which none does.
    const SHAPES: [(usize, usize); 6] = [(1, 16), (2, 16), (3, 16), (5, 16), (3, usize::MAX), (5, usize::MAX)];

    fn value(rank: usize, position: usize) -> u64 {
        (rank * 1000 + position) as u64
    }

    #[test]
    fn scatter_then_gather_returns_the_roots_data_in_any_number_of_pieces() {
        for (size, piece_bytes) in SHAPES {
            let counts: Vec<usize> = (0..size).map(|rank| (rank * 7) % 11).collect();
            let total: usize = counts.iter().sum();
            for root in 0..size {
                let answers = Threads::run_in_pieces(size, piece_bytes, |communicator| {
                    let rank = communicator.rank();
                    let data: Vec<u64> = if rank == root { (0..total as u64).collect() } else { Vec::new() };
                    let mut part = vec![0; counts[rank]];
                    communicator.scatter(root, &data, &counts, &mut part);
                    let mut back = if rank == root { vec![0; total] } else { Vec::new() };
                    communicator.gather(root, &part, &counts, &mut back);
                    (part, back)
                });
                for (rank, range) in spans(&counts).enumerate() {
                    let expected: Vec<u64> = (range.start as u64..range.end as u64).collect();
                    assert_eq!(answers[rank].0, expected, "rank {rank} of {size}, root {root}");
                }
                assert_eq!(answers[root].1, (0..total as u64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn reductions_combine_every_rank_once_in_any_number_of_pieces() {
        for (size, piece_bytes) in SHAPES {
            let answers = Threads::run_in_pieces(size, piece_bytes, |communicator| {
                let values: Vec<u64> = (0..9).map(|position| value(communicator.rank(), position)).collect();
                let mut results = [vec![0; 9], vec![0; 9], vec![0; 9]];
                communicator.allreduce(Operation::Sum, &values, &mut results[0]);
                communicator.allreduce(Operation::Min, &values, &mut results[1]);
                communicator.scan(Operation::Sum, &values, &mut results[2]);
                results
            });
            for (rank, results) in answers.iter().enumerate() {
                let sums = |ranks: usize| -> Vec<u64> {
                    (0..9).map(|position| (0..ranks).map(|rank| value(rank, position)).sum()).collect()
                };
                let smallest = (0..9).map(|position| value(0, position)).collect();
                assert_eq!(*results, [sums(size), smallest, sums(rank + 1)]);
            }
        }
    }

    #[test]
    fn a_ring_of_unequal_exchanges_delivers_each_neighbours_data() {
        for (size, piece_bytes) in SHAPES {
            let answers = Threads::run_in_pieces(size, piece_bytes, |communicator| {
                let rank = communicator.rank();
                let (left, right) = ((rank + size - 1) % size, (rank + 1) % size);
                let outgoing: Vec<u64> = (0..rank * 5).map(|position| value(rank, position)).collect();
                let mut incoming = vec![0; right * 5];
                communicator.exchange(left, &outgoing, right, &mut incoming);
                incoming
            });
            for (rank, incoming) in answers.iter().enumerate() {
                let right = (rank + 1) % size;
                let expected: Vec<u64> = (0..right * 5).map(|position| value(right, position)).collect();
                assert_eq!(*incoming, expected);
            }
        }
    }

    #[test]
    fn bcast_vector_carries_length_and_data() {
        let answers = Threads::run_in_pieces(3, 8, |communicator| {
            let mut data: Vec<u32> = if communicator.rank() == 1 { (0..7).collect() } else { vec![9] };
            communicator.bcast_vector(1, &mut data);
            data
        });
        assert!(answers.iter().all(|data| *data == (0..7).collect::<Vec<u32>>()));
    }

    #[test]
    fn a_rank_that_ends_early_fails_those_that_wait_for_it() {
        let outcomes = Threads::outcomes(2, usize::MAX, |communicator| {
            if communicator.rank() == 1 {
                communicator.receive(0, &mut [0u64]);
            }
        });
        assert!(outcomes[0].is_ok() && outcomes[1].is_err());
    }
}

//! Ranks as threads of one process that pass messages through channels: tests run every kernel on it.
//!
//! Channels never block a sender, so a kernel that relies on buffered sends passes here and hangs under MPI; the tests
//! under `mpirun` are there for that.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Communicator, Element, Number, Operation, Pending, spans};

type Message = Box<dyn Any + Send>;

/// What one source sends by exchanges in the background, apart from its other messages, as MPI does by a tag.
struct Background {
    inbox: Receiver<Message>,
    /// Messages taken from the inbox so far.
    taken: u64,
    /// Those that no exchange has asked for yet, by their number.
    arrived: BTreeMap<u64, Message>,
}

impl Background {
    /// Message number `ticket`, if it is there, or once it is there.
    fn message(&mut self, ticket: u64, wait: bool) -> Option<Message> {
        while !self.arrived.contains_key(&ticket) {
            let message = match wait {
                true => self.inbox.recv().map_err(|_| TryRecvError::Disconnected),
                false => self.inbox.try_recv(),
            };
            match message {
                Ok(message) => self.arrived.insert(self.taken, message),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => panic!("a rank ended in the middle of an exchange"),
            };
            self.taken += 1;
        }
        self.arrived.remove(&ticket)
    }
}

/// One rank of a group of threads.
pub struct Threads {
    rank: usize,
    piece_bytes: usize,
    /// By destination.
    outboxes: Vec<Sender<Message>>,
    /// By source.
    inboxes: Vec<Receiver<Message>>,
    /// By destination.
    background_outboxes: Vec<Sender<Message>>,
    /// By source.
    backgrounds: Vec<Arc<Mutex<Background>>>,
    /// By source: messages that exchanges have been started for.
    tickets: Vec<Cell<u64>>,
}

/// An exchange under way: the outgoing pieces have left, the incoming ones are taken as they come.
pub struct Exchange<T> {
    outgoing: Vec<T>,
    incoming: Vec<T>,
    /// Elements of `incoming` that are there.
    filled: usize,
    limit: usize,
    ticket: u64,
    background: Arc<Mutex<Background>>,
}

impl<T: Element> Exchange<T> {
    fn advance(&mut self, wait: bool) -> bool {
        while self.filled < self.incoming.len() {
            let end = self.incoming.len().min(self.filled.saturating_add(self.limit));
            // A rank that panicked with the lock held has ended; what it left is still in order.
            let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(message) = background.message(self.ticket, wait) else { return false };
            drop(background);
            let data = message.downcast::<Vec<T>>().expect("both ends of an exchange name the same type of element");
            self.incoming[self.filled..end].copy_from_slice(&data);
            self.filled = end;
            self.ticket += 1;
        }
        true
    }
}

impl<T: Element> Pending<T> for Exchange<T> {
    fn poll(&mut self) -> bool {
        self.advance(false)
    }

    fn finish(mut self) -> (Vec<T>, Vec<T>) {
        self.advance(true);
        (self.outgoing, self.incoming)
    }
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

    fn deliver(&self, destination: usize, message: Message) {
        if self.outboxes[destination].send(message).is_err() {
            panic!("rank {destination} ended before rank {} could send to it", self.rank);
        }
    }

    fn accept(&self, source: usize) -> Message {
        let Ok(message) = self.inboxes[source].recv() else {
            panic!("rank {source} ended before rank {} could receive from it", self.rank);
        };
        message
    }

    fn post<T: Element>(&self, destination: usize, data: &[T]) {
        self.deliver(destination, Box::new(data.to_vec()));
    }

    fn take<T: Element>(&self, source: usize, length: usize) -> Vec<T> {
        match self.accept(source).downcast::<Vec<T>>() {
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
    let alone = |rank| Threads {
        rank,
        piece_bytes,
        outboxes: Vec::new(),
        inboxes: Vec::new(),
        background_outboxes: Vec::new(),
        backgrounds: Vec::new(),
        tickets: vec![Cell::new(0); size],
    };
    let mut ranks: Vec<Threads> = (0..size).map(alone).collect();
    for source in 0..size {
        for destination in 0..size {
            let (sender, receiver) = channel();
            ranks[source].outboxes.push(sender);
            ranks[destination].inboxes.push(receiver);
            let (sender, inbox) = channel();
            ranks[source].background_outboxes.push(sender);
            let background = Background { inbox, taken: 0, arrived: BTreeMap::new() };
            ranks[destination].backgrounds.push(Arc::new(Mutex::new(background)));
        }
    }
    ranks
}

impl Communicator for Threads {
    type Group = Threads;
    type Pending<T: Element> = Exchange<T>;

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

    fn split(&self, color: usize, key: usize) -> Threads {
        let (colors, keys) = (self.allgather_one(color as u64), self.allgather_one(key as u64));
        let mut members: Vec<usize> = (0..self.size()).filter(|rank| colors[*rank] == color as u64).collect();
        members.sort_by_key(|rank| keys[*rank]);
        // The first member connects all of them and hands everyone their end.
        if members[0] == self.rank {
            for (member, communicator) in members.iter().zip(group(members.len(), self.piece_bytes)) {
                self.deliver(*member, Box::new(communicator));
            }
        }
        *self.accept(members[0]).downcast::<Threads>().expect("every member splits at the same time")
    }

    fn start_exchange<T: Element>(&self, destination: usize, outgoing: Vec<T>, source: usize, incoming: Vec<T>) -> Exchange<T> {
        let limit = self.piece_elements::<T>();
        for piece in outgoing.chunks(limit) {
            // A destination that has ended fails those that wait for it.
            let _ = self.background_outboxes[destination].send(Box::new(piece.to_vec()));
        }
        let ticket = self.tickets[source].get();
        self.tickets[source].set(ticket + incoming.len().div_ceil(limit) as u64);
        Exchange { outgoing, incoming, filled: 0, limit, ticket, background: self.backgrounds[source].clone() }
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

    fn allgather_piece<T: Element>(&self, part: &[T], counts: &[usize], data: &mut [T]) {
        for rank in 0..self.size() {
            self.post(rank, part);
        }
        for (rank, range) in spans(counts).enumerate() {
            self.receive_piece(rank, &mut data[range]);
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
    fn allgather_gives_every_rank_every_part_in_any_number_of_pieces() {
        for (size, piece_bytes) in SHAPES {
            let answers = Threads::run_in_pieces(size, piece_bytes, |communicator| {
                let part: Vec<u16> = (0..communicator.rank() * 3).map(|position| position as u16).collect();
                (communicator.allgather_vector(&part), communicator.allgather_one(communicator.rank() as i32))
            });
            let all: Vec<u16> = (0..size).flat_map(|rank| 0..rank as u16 * 3).collect();
            let ranks: Vec<i32> = (0..size as i32).collect();
            assert!(answers.iter().all(|answer| *answer == (all.clone(), ranks.clone())), "{answers:?}");
        }
    }

    #[test]
    fn split_groups_ranks_by_color_in_the_order_of_their_keys() {
        let answers = Threads::run_in_pieces(5, 16, |communicator| {
            let rank = communicator.rank();
            let group = communicator.split(rank % 2, 10 - rank);
            (group.rank(), group.allgather_one(rank as u64))
        });
        let expected = [(2, vec![4, 2, 0]), (1, vec![3, 1]), (1, vec![4, 2, 0]), (0, vec![3, 1]), (0, vec![4, 2, 0])];
        assert_eq!(answers, expected);
    }

    #[test]
    fn exchanges_in_the_background_mix_with_other_messages_and_finish_in_any_order() {
        for (size, piece_bytes) in SHAPES {
            let answers = Threads::run_in_pieces(size, piece_bytes, |communicator| {
                let rank = communicator.rank();
                let (left, right) = ((rank + size - 1) % size, (rank + 1) % size);
                let start = |offset: usize| {
                    let outgoing: Vec<f32> = (0..9).map(|position| value(rank, offset + position) as f32).collect();
                    communicator.start_exchange(left, outgoing, right, vec![0.0; 9])
                };
                let (first, mut second) = (start(0), start(100));
                let mut meanwhile = [0u64];
                communicator.exchange(left, &[rank as u64], right, &mut meanwhile);
                while !second.poll() {
                    thread::yield_now();
                }
                (second.finish().1, first.finish().1, meanwhile[0])
            });
            for (rank, answer) in answers.into_iter().enumerate() {
                let right = (rank + 1) % size;
                let sent = |offset: usize| (0..9).map(|position| value(right, offset + position) as f32).collect::<Vec<_>>();
                assert_eq!(answer, (sent(100), sent(0), right as u64));
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

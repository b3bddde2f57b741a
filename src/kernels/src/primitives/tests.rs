//! Primitives pass on every number of ranks, and a communicator that misplaces anything does not.

use super::*;
use crate::communicator::{Element, Number, Threads};

fn check<C: Communicator>(communicator: &C, folder: &std::path::Path) -> Result<(), PrimitivesError> {
    Primitives { elements: vec![7, 3], repeats: 3 }.run(&mut Run::silent(communicator, folder))
}

#[test]
fn every_primitive_is_right_on_any_number_of_ranks_whole_or_in_pieces() {
    for ranks in [1, 2, 3, 5] {
        for piece_bytes in [24, usize::MAX] {
            let folder = tempfile::tempdir().unwrap();
            Threads::run_in_pieces(ranks, piece_bytes, |communicator| check(communicator, folder.path()).unwrap());
            let text = std::fs::read(folder.path().join("summary.json")).unwrap();
            let summary: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(summary["ranks"], ranks);
            assert_eq!(summary["primitives"].as_array().unwrap().len(), 2 + 2 * 16);
        }
    }
}

#[test]
fn no_elements_are_no_error() {
    let folder = tempfile::tempdir().unwrap();
    Threads::run(3, |communicator| {
        Primitives { elements: vec![0], repeats: 1 }.run(&mut Run::silent(communicator, folder.path())).unwrap();
    });
}

/// What a faulty network does to rank 1, and to it alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Barrier,
    Bcast,
    Scatter,
    Gather,
    Allgather,
    Reduce,
    Allreduce,
    Scan,
    Exchange,
}

/// A communicator whose results have two elements swapped by one fault.
struct Faulty<'a> {
    inner: &'a Threads,
    fault: Fault,
}

impl Faulty<'_> {
    fn spoil<T: Element>(&self, fault: Fault, data: &mut [T]) {
        if self.fault == fault && self.inner.rank() == 1 && data.len() > 2 {
            data.swap(1, 2);
        }
    }
}

impl Communicator for Faulty<'_> {
    type Group = Threads;
    type Pending<T: Element> = <Threads as Communicator>::Pending<T>;

    fn split(&self, color: usize, key: usize) -> Threads {
        self.inner.split(color, key)
    }
    fn start_exchange<T: Element>(&self, to: usize, outgoing: Vec<T>, from: usize, incoming: Vec<T>) -> Self::Pending<T> {
        self.inner.start_exchange(to, outgoing, from, incoming)
    }
    fn allgather_piece<T: Element>(&self, part: &[T], counts: &[usize], data: &mut [T]) {
        self.inner.allgather_piece(part, counts, data);
        self.spoil(Fault::Allgather, data);
    }
    fn rank(&self) -> usize {
        self.inner.rank()
    }
    fn size(&self) -> usize {
        self.inner.size()
    }
    fn piece_bytes(&self) -> usize {
        self.inner.piece_bytes()
    }
    fn barrier(&self) {
        if self.fault != Fault::Barrier {
            self.inner.barrier();
        }
    }
    fn send_piece<T: Element>(&self, destination: usize, data: &[T]) {
        self.inner.send_piece(destination, data);
    }
    fn receive_piece<T: Element>(&self, source: usize, data: &mut [T]) {
        self.inner.receive_piece(source, data);
    }
    fn exchange_piece<T: Element>(&self, destination: usize, outgoing: &[T], source: usize, incoming: &mut [T]) {
        self.inner.exchange_piece(destination, outgoing, source, incoming);
        self.spoil(Fault::Exchange, incoming);
    }
    fn bcast_piece<T: Element>(&self, root: usize, data: &mut [T]) {
        self.inner.bcast_piece(root, data);
        self.spoil(Fault::Bcast, data);
    }
    fn scatter_piece<T: Element>(&self, root: usize, data: &[T], counts: &[usize], part: &mut [T]) {
        self.inner.scatter_piece(root, data, counts, part);
        self.spoil(Fault::Scatter, part);
    }
    fn gather_piece<T: Element>(&self, root: usize, part: &[T], counts: &[usize], data: &mut [T]) {
        self.inner.gather_piece(root, part, counts, data);
        self.spoil(Fault::Gather, data);
    }
    fn reduce_piece<T: Number>(&self, root: usize, operation: Operation, values: &[T], result: &mut [T]) {
        self.inner.reduce_piece(root, operation, values, result);
        self.spoil(Fault::Reduce, result);
    }
    fn allreduce_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        self.inner.allreduce_piece(operation, values, result);
        self.spoil(Fault::Allreduce, result);
    }
    fn scan_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        self.inner.scan_piece(operation, values, result);
        self.spoil(Fault::Scan, result);
    }
}

#[test]
fn a_swapped_pair_of_elements_is_named_by_the_rank_that_got_it() {
    use Fault::*;
    let faults = [Bcast, Scatter, Gather, Allgather, Reduce, Allreduce, Scan, Exchange];
    for (fault, name) in
        faults.into_iter().zip(["bcast", "scatter", "gather", "allgather", "reduce", "allreduce", "scan", "ring"])
    {
        let folder = tempfile::tempdir().unwrap();
        let outcomes =
            Threads::outcomes(3, usize::MAX, |inner| check(&Faulty { inner, fault }, folder.path()).map_err(|e| e.to_string()));
        let Ok(Err(line)) = &outcomes[1] else { panic!("{fault:?} went unnoticed") };
        assert!(line.starts_with(name), "{line}");
        assert!(line.contains("element 1 is "), "{line}");
        assert!(!folder.path().join("summary.json").exists(), "{fault:?} left a summary");
    }
}

#[test]
fn a_barrier_that_lets_everyone_pass_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = Threads::outcomes(2, usize::MAX, |inner| {
        check(&Faulty { inner, fault: Fault::Barrier }, folder.path()).map_err(|error| error.to_string())
    });
    let noticed = outcomes.iter().any(|outcome| matches!(outcome, Ok(Err(line)) if line.starts_with("barrier")));
    assert!(noticed, "{outcomes:?}");
}

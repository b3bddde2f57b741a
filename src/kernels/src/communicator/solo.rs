//! A communicator of one rank: every kernel runs with it where there is no MPI.

use super::{Communicator, Element, Number, Operation};

/// The only rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn piece_bytes(&self) -> usize {
        usize::MAX
    }

    fn barrier(&self) {}

    fn send_piece<T: Element>(&self, destination: usize, _data: &[T]) {
        panic!("the only rank cannot send to rank {destination}");
    }

    fn receive_piece<T: Element>(&self, source: usize, _data: &mut [T]) {
        panic!("the only rank cannot receive from rank {source}");
    }

    fn exchange_piece<T: Element>(&self, _destination: usize, outgoing: &[T], _source: usize, incoming: &mut [T]) {
        incoming.copy_from_slice(outgoing);
    }

    fn bcast_piece<T: Element>(&self, _root: usize, _data: &mut [T]) {}

    fn scatter_piece<T: Element>(&self, _root: usize, data: &[T], _counts: &[usize], part: &mut [T]) {
        part.copy_from_slice(data);
    }

    fn gather_piece<T: Element>(&self, _root: usize, part: &[T], _counts: &[usize], data: &mut [T]) {
        data.copy_from_slice(part);
    }

    fn reduce_piece<T: Number>(&self, _root: usize, _operation: Operation, values: &[T], result: &mut [T]) {
        result.copy_from_slice(values);
    }

    fn allreduce_piece<T: Number>(&self, _operation: Operation, values: &[T], result: &mut [T]) {
        result.copy_from_slice(values);
    }

    fn scan_piece<T: Number>(&self, _operation: Operation, values: &[T], result: &mut [T]) {
        result.copy_from_slice(values);
    }
}

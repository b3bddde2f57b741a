//! A communicator of one rank: every kernel runs with it where there is no MPI.

use super::{Communicator, Element, Number, Operation, Pending};

/// The only rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

/// An exchange of the only rank with itself, which ends where it begins.
#[derive(Debug)]
pub struct Exchanged<T> {
    outgoing: Vec<T>,
    incoming: Vec<T>,
}

impl<T: Element> Pending<T> for Exchanged<T> {
    fn poll(&mut self) -> bool {
        true
    }

    fn finish(self) -> (Vec<T>, Vec<T>) {
        (self.outgoing, self.incoming)
    }
}

impl Communicator for Solo {
    type Group = Solo;
    type Pending<T: Element> = Exchanged<T>;

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

    fn split(&self, _color: usize, _key: usize) -> Solo {
        Solo
    }

    fn start_exchange<T: Element>(
        &self,
        destination: usize,
        outgoing: Vec<T>,
        source: usize,
        mut incoming: Vec<T>,
    ) -> Exchanged<T> {
        assert_eq!((destination, source), (0, 0), "the only rank cannot exchange with another");
        incoming.copy_from_slice(&outgoing);
        Exchanged { outgoing, incoming }
    }

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

    fn allgather_piece<T: Element>(&self, part: &[T], _counts: &[usize], data: &mut [T]) {
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

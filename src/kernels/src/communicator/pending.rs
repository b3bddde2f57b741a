//! Exchanges that Open MPI carries on in the background.
//!
//! Owns the raw requests: rsmpi binds a request to a scope and borrows its buffers, which does not fit a ring that hands
//! buffers on from step to step. Here the buffers move into the exchange and come back when it ends.

use mpi::datatype::{AsDatatype, Collection, Pointer, PointerMut};
use mpi::ffi;
use mpi::traits::{AsCommunicator, AsRaw, Destination, Source};
use mpi::{Count, Tag};

use super::open_mpi::Process;
use super::{Element, Pending};

/// The tag of everything that runs in the background.
const BACKGROUND: Tag = 1;

/// Both directions of an exchange, and the buffers that MPI reads and writes until it ends.
pub struct Exchange<T> {
    requests: Vec<ffi::MPI_Request>,
    outgoing: Vec<T>,
    incoming: Vec<T>,
}

impl<T: Element> Exchange<T> {
    /// Begins both directions, in messages of at most `limit` elements.
    pub(super) fn start(
        destination: &Process<'_>,
        outgoing: Vec<T>,
        source: &Process<'_>,
        incoming: Vec<T>,
        limit: usize,
    ) -> Self {
        let mut exchange = Self { requests: Vec::new(), outgoing, incoming };
        for piece in exchange.incoming.chunks_mut(limit) {
            exchange.requests.push(receive(source, piece));
        }
        for piece in exchange.outgoing.chunks(limit) {
            exchange.requests.push(send(destination, piece));
        }
        exchange
    }
}

/// Begins to receive; the caller keeps `piece` in place until the request is complete.
fn receive<T: Element>(source: &Process<'_>, piece: &mut [T]) -> ffi::MPI_Request {
    // SAFETY: pointer, count and type describe `piece`, which lives in an `Exchange` that waits before it lets go of it.
    unsafe {
        let mut request = ffi::RSMPI_REQUEST_NULL;
        let kind = piece.as_datatype().as_raw();
        let communicator = source.as_communicator().as_raw();
        ffi::MPI_Irecv(piece.pointer_mut(), piece.count(), kind, source.source_rank(), BACKGROUND, communicator, &mut request);
        request
    }
}

/// Begins to send; the caller keeps `piece` in place and unchanged until the request is complete.
fn send<T: Element>(destination: &Process<'_>, piece: &[T]) -> ffi::MPI_Request {
    // SAFETY: as in `receive`.
    unsafe {
        let mut request = ffi::RSMPI_REQUEST_NULL;
        let (kind, rank) = (piece.as_datatype().as_raw(), destination.destination_rank());
        let communicator = destination.as_communicator().as_raw();
        ffi::MPI_Isend(piece.pointer(), piece.count(), kind, rank, BACKGROUND, communicator, &mut request);
        request
    }
}

impl<T> Exchange<T> {
    fn count(&self) -> Count {
        Count::try_from(self.requests.len()).expect("2^31 pieces of 1 GiB fit into no memory")
    }

    fn wait(&mut self) {
        let count = self.count();
        // SAFETY: the requests are this exchange's own; complete ones become null, which MPI passes over.
        unsafe { ffi::MPI_Waitall(count, self.requests.as_mut_ptr(), ffi::RSMPI_STATUSES_IGNORE) };
        self.requests.clear();
    }
}

impl<T> Pending<T> for Exchange<T> {
    fn poll(&mut self) -> bool {
        let (count, mut done) = (self.count(), 0);
        // SAFETY: as in `wait`.
        unsafe { ffi::MPI_Testall(count, self.requests.as_mut_ptr(), &mut done, ffi::RSMPI_STATUSES_IGNORE) };
        done != 0
    }

    fn finish(mut self) -> (Vec<T>, Vec<T>) {
        self.wait();
        (std::mem::take(&mut self.outgoing), std::mem::take(&mut self.incoming))
    }
}

impl<T> Drop for Exchange<T> {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            self.wait();
        }
    }
}

//! The ranks that `mpirun` started, through rsmpi.

use mpi::collective::SystemOperation;
use mpi::datatype::{Partition, PartitionMut};
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{AsCommunicator, Communicator as _, CommunicatorCollectives, Destination, Root, Source};
use mpi::{Rank, Tag};

use super::pending::Exchange;
use super::{Communicator, Element, Number, Operation, spans};

/// MPI counts are C `int`, and Open MPI 4.1 has no large-count calls: 1 GiB a call keeps every count and every byte
/// offset inside an implementation below `i32::MAX`, for elements of any size.
const PIECE_BYTES: usize = 1 << 30;

/// The tag of what is sent and received at once; exchanges that run in the background have another.
const FOREGROUND: Tag = 0;

/// The world communicator, or a part of it.
pub struct OpenMpi {
    world: SimpleCommunicator,
}

impl OpenMpi {
    /// Wraps the world of an initialized MPI; it must be dropped before MPI is finalized.
    pub fn new(world: SimpleCommunicator) -> Self {
        Self { world }
    }

    fn process(&self, rank: usize) -> Process<'_> {
        Process { world: &self.world, rank: count(rank) }
    }
}

/// A rank of a communicator, to send to and to receive from.
///
/// rsmpi's own asks MPI for the number of ranks each time it is made, a call that MPI repeats when it checks the rank
/// itself: a tenth of the time of a small message in shared memory.
pub(super) struct Process<'a> {
    world: &'a SimpleCommunicator,
    rank: Rank,
}

impl AsCommunicator for Process<'_> {
    type Out = SimpleCommunicator;

    fn as_communicator(&self) -> &SimpleCommunicator {
        self.world
    }
}

impl Destination for Process<'_> {
    fn destination_rank(&self) -> Rank {
        self.rank
    }
}

// SAFETY: names a single rank, so a probe's message can only come from it.
unsafe impl Source for Process<'_> {
    fn source_rank(&self) -> Rank {
        self.rank
    }
}

impl Root for Process<'_> {
    fn root_rank(&self) -> Rank {
        self.rank
    }
}

/// A count, displacement or rank as MPI takes it.
fn count(value: usize) -> i32 {
    i32::try_from(value).expect("pieces are at most 2^30 elements, and MPI numbers ranks by int itself")
}

/// Counts and displacements of parts that lie end to end.
fn layout(counts: &[usize]) -> (Vec<i32>, Vec<i32>) {
    (counts.iter().map(|part| count(*part)).collect(), spans(counts).map(|range| count(range.start)).collect())
}

/// A slice whose address MPI cannot mistake: an empty slice of bytes may lie at address 1, which is Open MPI's
/// `MPI_IN_PLACE` (seen as `MPI_ERR_ARG` of `MPI_Scatterv`), so an empty one is moved onto `spare`.
fn placed<'a, T>(data: &'a [T], spare: &'a [T; 1]) -> &'a [T] {
    if data.is_empty() { &spare[..0] } else { data }
}

/// The same for a slice to be written.
fn placed_mut<'a, T>(data: &'a mut [T], spare: &'a mut [T; 1]) -> &'a mut [T] {
    if data.is_empty() { &mut spare[..0] } else { data }
}

fn system(operation: Operation) -> SystemOperation {
    match operation {
        Operation::Sum => SystemOperation::sum(),
        Operation::Min => SystemOperation::min(),
        Operation::Max => SystemOperation::max(),
    }
}

impl Communicator for OpenMpi {
    type Group = OpenMpi;
    type Pending<T: Element> = Exchange<T>;

    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn piece_bytes(&self) -> usize {
        PIECE_BYTES
    }

    fn barrier(&self) {
        self.world.barrier();
    }

    fn split(&self, color: usize, key: usize) -> OpenMpi {
        let group = self.world.split_by_color_with_key(Color::with_value(count(color)), count(key));
        OpenMpi { world: group.expect("MPI leaves out only ranks without a color") }
    }

    fn start_exchange<T: Element>(&self, destination: usize, outgoing: Vec<T>, source: usize, incoming: Vec<T>) -> Exchange<T> {
        let (destination, source) = (self.process(destination), self.process(source));
        Exchange::start(&destination, outgoing, &source, incoming, self.piece_elements::<T>())
    }

    fn send_piece<T: Element>(&self, destination: usize, data: &[T]) {
        self.process(destination).send_with_tag(data, FOREGROUND);
    }

    fn receive_piece<T: Element>(&self, source: usize, data: &mut [T]) {
        self.process(source).receive_into_with_tag(data, FOREGROUND);
    }

    fn exchange_piece<T: Element>(&self, destination: usize, outgoing: &[T], source: usize, incoming: &mut [T]) {
        let (destination, source) = (self.process(destination), self.process(source));
        mpi::point_to_point::send_receive_into_with_tags(outgoing, &destination, FOREGROUND, incoming, &source, FOREGROUND);
    }

    fn bcast_piece<T: Element>(&self, root: usize, data: &mut [T]) {
        self.process(root).broadcast_into(data);
    }

    fn scatter_piece<T: Element>(&self, root: usize, data: &[T], counts: &[usize], part: &mut [T]) {
        let process = self.process(root);
        let mut spares = [[T::default()], [T::default()]];
        let [first, second] = &mut spares;
        let data = placed(data, first);
        let part = placed_mut(part, second);
        if self.rank() == root {
            let (counts, displacements) = layout(counts);
            process.scatter_varcount_into_root(&Partition::new(data, counts, displacements), part);
        } else {
            process.scatter_varcount_into(part);
        }
    }

    fn gather_piece<T: Element>(&self, root: usize, part: &[T], counts: &[usize], data: &mut [T]) {
        let process = self.process(root);
        let mut spares = [[T::default()], [T::default()]];
        let [first, second] = &mut spares;
        let part = placed(part, first);
        let data = placed_mut(data, second);
        if self.rank() == root {
            let (counts, displacements) = layout(counts);
            process.gather_varcount_into_root(part, &mut PartitionMut::new(data, counts, displacements));
        } else {
            process.gather_varcount_into(part);
        }
    }

    fn allgather_piece<T: Element>(&self, part: &[T], counts: &[usize], data: &mut [T]) {
        let mut spares = [[T::default()], [T::default()]];
        let [first, second] = &mut spares;
        let (counts, displacements) = layout(counts);
        let mut data = PartitionMut::new(placed_mut(data, second), counts, displacements);
        self.world.all_gather_varcount_into(placed(part, first), &mut data);
    }

    fn reduce_piece<T: Number>(&self, root: usize, operation: Operation, values: &[T], result: &mut [T]) {
        let process = self.process(root);
        if self.rank() == root {
            process.reduce_into_root(values, result, system(operation));
        } else {
            process.reduce_into(values, system(operation));
        }
    }

    fn allreduce_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        self.world.all_reduce_into(values, result, system(operation));
    }

    fn scan_piece<T: Number>(&self, operation: Operation, values: &[T], result: &mut [T]) {
        self.world.scan_into(values, result, system(operation));
    }
}

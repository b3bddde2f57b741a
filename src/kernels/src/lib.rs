//! The MPI kernels of ewulf: programs that `mpirun` starts on every slot of a cluster.
//!
//! Each kernel is a function over a [`communicator::Communicator`], so that one text runs under Open MPI, on one rank
//! alone, and on threads in tests. The crate is compiled inside the images, away from its workspace; it knows nothing of
//! clouds, clusters or manifests. What a job sees of it is a command line, files in the working folder, and events.

pub mod blend;
pub mod communicator;
pub mod datagen;
pub mod events;
pub mod knn;
pub mod netpipe;
pub mod npy;
pub mod output;
pub mod pi;
pub mod plot;
pub mod primitives;
pub mod random;
pub mod ratings;
pub mod scores;
pub mod simd;
pub mod startup;
pub mod svd;

//! Everything that is tested from outside, in one binary: the command line, the local cloud in the eyes of others' clients,
//! the whole of ewulf on records, on real nodes, and on clouds that go wrong.

mod cli;
mod clients;
mod life;
mod nodes;
mod records;
mod sweep;
mod wire;
mod world;

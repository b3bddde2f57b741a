//! Everything that is tested from outside, in one binary: the command line, the whole of ewulf on records, and on real nodes.

mod cli;
mod nodes;
mod records;

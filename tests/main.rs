//! Everything that is tested from outside, in one binary: the command line, and the whole of ewulf on real nodes.

mod cli;
mod nodes;

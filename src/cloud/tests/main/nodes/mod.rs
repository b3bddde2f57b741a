//! Real nodes: containers that boot a Debian, driven as the model drives them.
//!
//! They need root and the programs that `Containers::new` checks for. Where that is missing the tests fail and say so;
//! `EWULF_WITHOUT_NODES=1` skips them, with a line for each.

mod boots;
mod commands;
pub mod ground;
mod networks;
mod storage;

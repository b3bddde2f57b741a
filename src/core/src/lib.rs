//! Specs, worlds and plans as values.
//!
//! This crate does no I/O: no files, network, environment or clock. Whoever calls it reads texts and the state of the
//! cloud, and hands both over as values.

pub mod address;
pub mod capacity;
pub mod diagnostics;
pub mod events;
pub mod fingerprint;
pub mod instance_types;
pub mod names;
pub mod orphans;
pub mod pacing;
pub mod plan;
pub mod quantity;
pub mod schema;
pub mod simulator;
pub mod spec;
pub mod user_data;
pub mod world;
pub mod yaml;

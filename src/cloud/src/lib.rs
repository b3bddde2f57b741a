//! The local cloud: EC2, SSM and instance metadata on one machine, with real nodes.
//!
//! A request passes `server` (HTTP, signature) and `wire` (query and XML, JSON) to `operations` (one function an
//! action), which read and change `model` (plain data, rules) and ask `node` (the driver) for deeds. On the way `faults` may ask for
//! trouble. Nothing here may
//! know a word of the program that uses this cloud.
pub mod cloud;
pub mod config;
pub mod control;
pub mod faults;
pub mod imds;
pub mod lifecycle;
pub mod model;
pub mod node;
pub mod operations;
pub mod server;
pub mod store;
pub mod wire;

pub use cloud::{Cloud, State};
pub use config::Config;
pub use server::serve;

//! The local cloud from outside: its API, its process, and its nodes.

mod blocks;
mod client;
mod commands;
mod faults;
mod documents;
mod lifecycle;
mod nodes;
mod parameters;
mod robustness;
mod server;
mod signatures;
mod whole;

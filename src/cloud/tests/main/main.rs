//! The local cloud from outside: its API, its process, and its nodes.

mod blocks;
mod client;
mod commands;
mod documents;
mod faults;
mod lifecycle;
mod nodes;
mod parameters;
mod protocols;
mod robustness;
mod server;
mod signatures;
mod whole;

//! EC2's actions from the caller's side, over a driver whose nodes are records.

mod bench;
mod images;
mod instances;
mod launches;
mod networks;
mod recovery;
mod rules;
mod volumes;

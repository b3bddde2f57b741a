//! EC2's actions from the caller's side, over a driver whose nodes are records.

mod acls;
mod addresses;
mod bench;
mod endpoints;
mod fleets;
mod images;
mod instances;
mod interfaces;
mod keys;
mod launches;
mod networks;
mod options;
mod properties;
mod recovery;
mod registered;
mod root_volumes;
mod routes;
mod rules;
mod snapshots;
mod spot;
mod volumes;
mod whole;

//! MPI clusters on EC2 as code: specs reconciled, images baked, jobs run.
//!
//! ```text
//!  clusters/*.yaml     EC2, SSM (AWS or the local cloud: the same SDK calls)
//!        |                  |
//!      spec (pure)     observe (reads only)
//!        |                  |
//!       Spec ---> plan <--- World        plan: pure, synchronous, deterministic (crate ewulf-core)
//!                  |
//!                apply (the only writer) ---events---> ui
//! ```
//!
//! `bake` makes the images that nodes boot, `job` runs MPI programs on a cluster that stands; `cli` has one file a
//! verb; `aws` is the only way to a cloud.

pub mod apply;
pub mod aws;
pub mod bake;
pub mod cli;
pub mod events;
pub mod interrupt;
pub mod job;
pub mod observe;
pub mod sources;
pub mod ui;

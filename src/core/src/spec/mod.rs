//! Specs: cluster specs, image recipes and job manifests.
//!
//! Owns their types, their loading and their checks. Reads nothing itself: texts and the names of what else exists are
//! handed in. A loaded spec is valid by construction.

mod capacity;
mod check_addresses;
mod check_capacity;
mod check_cluster;
mod check_image;
mod check_job;
mod check_sweep;
mod cluster;
mod command;
mod context;
mod image;
mod job;
mod load;
mod scalar;
mod sweep;
mod written;

pub use capacity::Rung;
pub use cluster::{
    Cloud, ClusterSpec, ExistingNetwork, ImageReference, Market, Master, Network, OwnNetwork, Placement, Ready, Shared,
    WorkerGroup,
};
pub use command::{KERNEL_FOLDER, Launch};
pub use context::{ClusterContext, JobContext, RecipeContext};
pub use image::{AmiReference, Base, Builder, ImageRecipe, ParameterReference};
pub use job::{Argument, Arguments, Bind, Input, InputSource, JobManifest, Program, Ranks, Step};
pub use load::{Loaded, load_cluster, load_image, load_job};
pub use scalar::Scalar;
pub use sweep::{Fold, MEMBERS_MAX, Member, Sweep};

#[cfg(test)]
mod tests;

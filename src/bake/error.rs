//! Why a bake failed.

use std::path::PathBuf;

use super::render::RenderError;
use super::undo::Leftover;
use crate::aws::CallError;
use crate::sources::SourcesError;

/// One thing that went wrong while baking.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("base image: parameter {name} gives none")]
    Base {
        name: String,
        #[source]
        source: CallError,
    },
    #[error("image {image}: its log cannot be written to {folder}")]
    Log {
        image: String,
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("image {image}: the templates have no script bake/{script}.sh")]
    NoScript { image: String, script: String },
    #[error("image {image}: another bake of it is under way, with {what}")]
    UnderWay { image: String, what: String },
    #[error("image {image}: region {region} has no default VPC with a subnet for the builder")]
    NoSubnet { image: String, region: String },
    #[error("image {image}: builder {id} ended: {reason}")]
    BuilderEnded { image: String, id: String, code: Option<String>, reason: String },
    #[error("image {image}: builder {id} was not {state} after {minutes} minutes")]
    BuilderState { image: String, id: String, state: String, minutes: u64 },
    #[error("image {image}: SSM does not reach builder {id} after {minutes} minutes; its console ends in\n{console}")]
    Offline { image: String, id: String, minutes: u64, console: String },
    #[error("image {image}: step `{step}` failed with status {status}; its last lines are\n{tail}")]
    Step { image: String, step: &'static str, status: i32, tail: String, log: PathBuf },
    #[error("image {image}: step `{step}` did not end within {minutes} minutes; its last lines are\n{tail}")]
    Slow { image: String, step: &'static str, minutes: u64, tail: String },
    #[error("image {image}: step `{step}` runs on a builder that does not answer any more")]
    Lost {
        image: String,
        step: &'static str,
        #[source]
        source: CallError,
    },
    #[error("image {image}: AMI {id} failed: {reason}")]
    ImageFailed { image: String, id: String, reason: String },
    #[error("image {image}: AMI {id} was not available after {minutes} minutes")]
    ImageSlow { image: String, id: String, minutes: u64 },
    #[error("image {image}: the bake was interrupted")]
    Interrupted { image: String },
    #[error("image {image}: its bake ended unexpectedly: {reason}")]
    Panicked { image: String, reason: String },
}

impl From<SourcesError> for BakeError {
    fn from(error: SourcesError) -> Self {
        Self::Render(error.into())
    }
}

impl BakeError {
    /// What to do about it, as sentences for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Step { log, .. } => Some(format!("the whole output is in {}", log.display())),
            Self::NoSubnet { .. } => Some("give the recipe's builder a subnet: `builder: {subnet: subnet-…}`".to_owned()),
            Self::Offline { .. } => Some(
                "give the builder an instance profile with AmazonSSMManagedInstanceCore: `builder: {instance_profile: …}`, and a subnet with a way to the internet"
                    .to_owned(),
            ),
            Self::UnderWay { .. } => Some("wait for it, or terminate its builder if nobody works on it any more".to_owned()),
            Self::ImageSlow { id, .. } => Some(format!("EC2 goes on with {id}; bake again later, and it is taken as it is")),
            _ => None,
        }
    }

    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }
}

/// A bake that failed, and what became of all that it had made.
#[derive(Debug)]
pub struct BakeFailed {
    pub error: BakeError,
    /// What should have been removed and could not be.
    pub left: Vec<Leftover>,
    /// The builder that was kept, as asked; it ends itself 4 hours after its launch, or by the next bake of the image.
    pub kept_builder: Option<String>,
    /// The log, if the bake came so far.
    pub log: Option<PathBuf>,
}

impl std::fmt::Display for BakeFailed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for BakeFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

//! Machine images, the public base images among them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;

/// A machine image: a root snapshot, perhaps further volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    pub name: String,
    pub description: String,
    pub owner: String,
    pub public: bool,
    pub created: Timestamp,
    pub state: ImageState,
    pub failure: Option<String>,
    pub root_device: String,
    pub devices: Vec<ImageDevice>,
    /// Layers of its root, lowest first; empty while the image is pending.
    pub layers: Vec<String>,
    pub source_instance_id: Option<String>,
    pub tags: Tags,
}

/// A volume that a launch makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDevice {
    pub device: String,
    pub snapshot_id: Option<String>,
    pub gibibytes: u64,
    pub volume_type: String,
    pub iops: Option<u64>,
    pub throughput: Option<u64>,
    pub delete_on_termination: bool,
    pub encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageState {
    Pending,
    Available,
    Failed,
}

impl ImageState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
        }
    }
}

/// A base image that exists from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicImage {
    pub id: &'static str,
    /// The driver's base, which is the image's only layer.
    pub base: &'static str,
    pub name: &'static str,
    pub description: &'static str,
    pub owner: &'static str,
    /// The public parameter that names it.
    pub parameter: &'static str,
    pub snapshot_id: &'static str,
    pub gibibytes: u64,
    pub created: &'static str,
}

/// The base images of this cloud. Ids are fixed, so that a new cloud has the same.
pub const PUBLIC_IMAGES: &[PublicImage] = &[PublicImage {
    id: "ami-0deb13a64d0000001",
    base: "debian-13",
    name: "debian-13-amd64-20250911-2232",
    description: "Debian 13 (20250911-2232)",
    // The account that Debian publishes from.
    owner: "136693071363",
    parameter: "/aws/service/debian/release/13/latest/amd64",
    snapshot_id: "snap-0deb13a64d0000001",
    gibibytes: 8,
    created: "2025-09-11T22:36:05Z",
}];

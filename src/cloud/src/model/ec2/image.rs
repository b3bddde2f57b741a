//! Machine images, the public base images among them.

use std::collections::BTreeSet;

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
    /// The image that it is a copy of.
    #[serde(default)]
    pub source_image_id: Option<String>,
    #[serde(default)]
    pub traits: ImageTraits,
    /// Accounts that may launch it, beside everyone if it is public.
    #[serde(default)]
    pub launch_permissions: BTreeSet<String>,
    /// When it is hidden from others.
    #[serde(default)]
    pub deprecation: Option<Timestamp>,
    #[serde(default)]
    pub protection: Protection,
    #[serde(default)]
    pub last_launched: Option<Timestamp>,
    /// Whether it is taken of a running instance as it is.
    #[serde(default)]
    pub without_reboot: bool,
    pub tags: Tags,
}

/// What an image says of the machines that it boots on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTraits {
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    pub ena_support: bool,
    pub sriov: Option<String>,
    pub boot_mode: Option<String>,
    pub imds_support: Option<String>,
    pub tpm_support: Option<String>,
    pub uefi_data: Option<String>,
}

impl Default for ImageTraits {
    /// Those of the public images and of all that is made of their instances.
    fn default() -> Self {
        Self {
            architecture: "x86_64".to_owned(),
            virtualization: "hvm".to_owned(),
            ena_support: true,
            sriov: Some("simple".to_owned()),
            boot_mode: Some("uefi-preferred".to_owned()),
            imds_support: None,
            tpm_support: None,
            uefi_data: None,
        }
    }
}

/// Whether an image may be deregistered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    #[default]
    Off,
    On {
        with_cooldown: bool,
    },
    /// Switched off, and in force until then.
    Until(Timestamp),
}

impl Protection {
    /// Whether it holds at this time.
    pub fn holds(self, now: Timestamp) -> bool {
        match self {
            Self::Off => false,
            Self::On { .. } => true,
            Self::Until(end) => now < end,
        }
    }

    pub fn wire(self, now: Timestamp) -> &'static str {
        match self {
            Self::On { with_cooldown: false } => "enabled-without-cooldown",
            Self::On { with_cooldown: true } => "enabled-with-cooldown",
            Self::Until(end) if now < end => "enabled-with-cooldown",
            Self::Off | Self::Until(_) => "disabled",
        }
    }
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
    Disabled,
}

impl ImageState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
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
    pub root_device: &'static str,
    pub gibibytes: u64,
    pub created: &'static str,
    /// Whether nodes can be made of it; others are known by name alone, for those who look images up.
    pub has_base: bool,
}

/// The base images of this cloud. Ids are fixed, so that a new cloud has the same. Parameters are those of ec2.md 7.17;
/// the accounts are those that the images are published from.
pub const PUBLIC_IMAGES: &[PublicImage] = &[
    PublicImage {
        id: "ami-0deb13a64d0000001",
        base: "debian-13",
        name: "debian-13-amd64-20250911-2232",
        description: "Debian 13 (20250911-2232)",
        // The account that Debian publishes from.
        owner: "136693071363",
        parameter: "/aws/service/debian/release/13/latest/amd64",
        snapshot_id: "snap-0deb13a64d0000001",
        root_device: "/dev/xvda",
        gibibytes: 8,
        created: "2025-09-11T22:36:05Z",
        has_base: true,
    },
    PublicImage {
        id: "ami-0deb12a64d0000001",
        base: "debian-12",
        name: "debian-12-amd64-20250814-2204",
        description: "Debian 12 (20250814-2204)",
        owner: "136693071363",
        parameter: "/aws/service/debian/release/12/latest/amd64",
        snapshot_id: "snap-0deb12a64d0000001",
        root_device: "/dev/xvda",
        gibibytes: 8,
        created: "2025-08-14T22:08:11Z",
        has_base: false,
    },
    PublicImage {
        id: "ami-0a12023a64d000001",
        base: "amazon-linux-2023",
        name: "al2023-ami-2023.8.20250908.0-kernel-6.1-x86_64",
        description: "Amazon Linux 2023 AMI 2023.8.20250908.0 x86_64 HVM kernel-6.1",
        owner: "137112412989",
        parameter: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        snapshot_id: "snap-0a12023a64d000001",
        root_device: "/dev/xvda",
        gibibytes: 8,
        created: "2025-09-08T17:21:40Z",
        has_base: false,
    },
    PublicImage {
        id: "ami-0ab2404a64d000001",
        base: "ubuntu-24.04",
        name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250821",
        description: "Canonical, Ubuntu, 24.04, amd64 noble image",
        owner: "099720109477",
        parameter: "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        snapshot_id: "snap-0ab2404a64d000001",
        root_device: "/dev/sda1",
        gibibytes: 8,
        created: "2025-08-21T06:41:27Z",
        has_base: false,
    },
    PublicImage {
        id: "ami-0ab2204a64d000001",
        base: "ubuntu-22.04",
        name: "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20250822",
        description: "Canonical, Ubuntu, 22.04, amd64 jammy image",
        owner: "099720109477",
        parameter: "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
        snapshot_id: "snap-0ab2204a64d000001",
        root_device: "/dev/sda1",
        gibibytes: 8,
        created: "2025-08-22T04:12:55Z",
        has_base: false,
    },
];

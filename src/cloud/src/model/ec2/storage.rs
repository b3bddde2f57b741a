//! Volumes and snapshots.

use std::collections::BTreeSet;

use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{Ec2, Tags};

/// The volume id that EC2 shows for snapshots without a volume: copies, and those written block by block.
pub const NO_VOLUME: &str = "vol-ffffffff";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub id: String,
    pub gibibytes: u64,
    pub zone: String,
    /// `gp3` and so on.
    pub volume_type: String,
    pub iops: Option<u64>,
    pub throughput: Option<u64>,
    pub encrypted: bool,
    pub snapshot_id: Option<String>,
    pub state: VolumeState,
    pub created: Timestamp,
    /// The instance that it is attached to.
    pub instance_id: Option<String>,
    /// Whether it is an instance's root: a record only, for a root is a stack of layers.
    pub is_root: bool,
    /// Whether input and output go on by themselves after a fault.
    #[serde(default)]
    pub auto_enable_io: bool,
    /// When it was modified within the last day.
    #[serde(default)]
    pub modified: Vec<Timestamp>,
    pub tags: Tags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeState {
    Creating,
    Available,
    InUse,
    Deleting,
    Error,
}

impl VolumeState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::Deleting => "deleting",
            Self::Error => "error",
        }
    }
}

/// How often a volume may be modified in 24 hours (ec2.md 6.3).
pub const MODIFICATIONS_A_DAY: usize = 4;

/// How long a modified volume is optimized, in seconds. EC2 takes minutes to hours; a client sees the state either way.
const OPTIMIZING_SECONDS: i64 = 2;

/// A volume's last modification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    pub volume_id: String,
    /// Size, type, IOPS and throughput before.
    pub original: VolumeShape,
    pub target: VolumeShape,
    pub start: Timestamp,
    /// When the new size was there, or could not be had.
    pub end: Option<Timestamp>,
    pub failure: Option<String>,
}

/// How far a modification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModificationState {
    Modifying,
    /// The new size is there already.
    Optimizing,
    Completed(Timestamp),
    Failed(Timestamp),
}

impl Modification {
    pub fn state(&self, now: Timestamp) -> ModificationState {
        let Some(end) = self.end else { return ModificationState::Modifying };
        if self.failure.is_some() {
            return ModificationState::Failed(end);
        }
        match end.saturating_add(OPTIMIZING_SECONDS.seconds()) {
            Ok(done) if done > now => ModificationState::Optimizing,
            Ok(done) => ModificationState::Completed(done),
            Err(_) => ModificationState::Completed(end),
        }
    }
}

/// What ModifyVolume can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeShape {
    pub gibibytes: u64,
    pub volume_type: String,
    pub iops: Option<u64>,
    pub throughput: Option<u64>,
}

impl Volume {
    pub fn shape(&self) -> VolumeShape {
        VolumeShape {
            gibibytes: self.gibibytes,
            volume_type: self.volume_type.clone(),
            iops: self.iops,
            throughput: self.throughput,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: String,
    pub volume_id: String,
    pub gibibytes: u64,
    pub description: String,
    pub state: SnapshotState,
    pub state_message: Option<String>,
    pub started: Timestamp,
    pub encrypted: bool,
    pub owner: String,
    pub source: SnapshotSource,
    /// The snapshot that it was written or copied on top of.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// The snapshot that it is a copy of, until it is made.
    #[serde(default)]
    pub copy_of: Option<String>,
    /// How it stands with being written block by block.
    #[serde(default)]
    pub upload: Option<Upload>,
    /// Accounts that may make volumes of it; `all` is everyone.
    #[serde(default)]
    pub volume_permissions: BTreeSet<String>,
    pub tags: Tags,
}

/// A snapshot that is written block by block, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// After as many minutes without a write it is given up.
    pub timeout_minutes: i64,
    /// When it was begun or last written to.
    pub last_write: Timestamp,
    /// When and with how many blocks it was declared complete.
    pub completed: Option<(Timestamp, u64)>,
}

/// How long a snapshot that was declared complete is still pending: EC2 answers `pending` to the completing call itself.
const COMPLETION_SECONDS: i64 = 1;

impl Ec2 {
    /// Brings storage to where it is by now without anyone's doing; answers whether anything changed.
    pub fn pass_storage_time(&mut self, now: Timestamp) -> bool {
        let mut has_changed = false;
        for snapshot in self.snapshots.values_mut().filter(|snapshot| snapshot.state == SnapshotState::Pending) {
            let Some(upload) = &snapshot.upload else { continue };
            let passed = |since: Timestamp, span: jiff::Span| since.saturating_add(span).is_ok_and(|end| end <= now);
            match upload.completed {
                Some((at, _)) if passed(at, COMPLETION_SECONDS.seconds()) => snapshot.state = SnapshotState::Completed,
                None if passed(upload.last_write, upload.timeout_minutes.minutes()) => {
                    snapshot.state = SnapshotState::Error;
                    snapshot.state_message = Some("The snapshot was not completed within its timeout.".to_owned());
                }
                _ => continue,
            }
            has_changed = true;
        }
        has_changed
    }
}

impl Snapshot {
    /// The layers that a root made from it stands on, lowest first; none for a data volume.
    pub fn layers(&self) -> &[String] {
        match &self.source {
            SnapshotSource::Root { layers } => layers,
            SnapshotSource::Volume => &[],
        }
    }
}

/// Where a snapshot's contents are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotSource {
    /// A root: layers, lowest first; the last is this snapshot's own.
    Root { layers: Vec<String> },
    /// A copy of a data volume, under the snapshot's id.
    Volume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotState {
    Pending,
    Completed,
    Error,
}

impl SnapshotState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

//! Instances: what was asked at launch, what state they are in.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fate, FirstInterface, Tags};
use crate::node::NodeShare;

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub reservation_id: String,
    /// Its place in its RunInstances call, from 0.
    pub ami_launch_index: u32,
    pub image_id: String,
    pub instance_type: String,
    pub state: InstanceState,
    /// Why it is in this state, once something ended it.
    pub state_reason: Option<StateReason>,
    /// The same in one line, such as `User initiated (2026-01-02 03:04:05 GMT)`.
    pub transition_reason: String,
    /// When it was last started.
    pub launch_time: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// When it became terminated; it is forgotten some time later.
    pub terminated_at: Option<Timestamp>,
    /// Counts starts: 1 at launch.
    pub generation: u64,
    pub vpc_id: String,
    pub subnet_id: String,
    pub zone: String,
    pub private_address: Ipv4Addr,
    pub mac: String,
    /// Whether EC2 gives it a public address. Nothing is routed to those here; nodes reach out by masquerading.
    pub wants_public_address: bool,
    pub interface_id: String,
    pub interface_attachment_id: String,
    pub interface_description: String,
    /// `interface` or `efa`.
    pub interface_type: String,
    pub interface_tags: Tags,
    /// What more there is to its first interface.
    #[serde(default)]
    pub first: FirstInterface,
    /// Ids.
    pub security_groups: Vec<String>,
    pub source_dest_check: bool,
    pub key_name: Option<String>,
    /// The key as it was at launch: a line of `authorized_keys`, which the node reads from its metadata.
    #[serde(default)]
    pub public_key: Option<String>,
    #[serde(with = "base64_bytes")]
    pub user_data: Vec<u8>,
    pub iam_instance_profile: Option<InstanceProfile>,
    pub metadata_options: MetadataOptions,
    /// Name of its placement group.
    pub placement_group: Option<String>,
    /// Its partition, in a group of that strategy.
    #[serde(default)]
    pub partition_number: Option<u32>,
    pub tenancy: String,
    pub cpu_options: CpuOptions,
    pub root_device: String,
    /// Its root's layers, lowest first.
    pub layers: Vec<String>,
    /// Whether the driver holds a root for it.
    pub has_root: bool,
    /// All devices, the root's first.
    pub devices: Vec<InstanceDevice>,
    pub shares: Vec<NodeShare>,
    pub shutdown_behavior: ShutdownBehavior,
    /// Whether a stop under way is to end the node at once.
    pub stop_at_once: bool,
    pub disable_api_termination: bool,
    pub disable_api_stop: bool,
    pub ebs_optimized: bool,
    pub monitoring: bool,
    /// `standard` or `unlimited`, of a burstable type.
    #[serde(default)]
    pub cpu_credits: Option<String>,
    /// Request id of a spot instance.
    pub spot_request_id: Option<String>,
    pub client_token: String,
    pub tags: Tags,
    #[serde(default, skip_serializing_if = "Fate::is_fair")]
    pub fate: Fate,
}

impl Instance {
    /// Whether it is not terminated: it holds its address, groups and devices.
    pub fn is_alive(&self) -> bool {
        self.state != InstanceState::Terminated
    }

    /// The name EC2 derives from the address, without domain.
    pub fn hostname(&self) -> String {
        let [a, b, c, d] = self.private_address.octets();
        format!("ip-{a}-{b}-{c}-{d}")
    }

    /// The private DNS name in the given region.
    pub fn private_dns_name(&self, region: &str) -> String {
        // us-east-1 is the region that does not stand in its names.
        match region {
            "us-east-1" => format!("{}.ec2.internal", self.hostname()),
            _ => format!("{}.{region}.compute.internal", self.hostname()),
        }
    }

    /// The device that this volume is attached as.
    pub fn device_of(&self, volume_id: &str) -> Option<&InstanceDevice> {
        self.devices.iter().find(|device| device.volume_id == volume_id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    /// The number and the name on the wire.
    pub fn wire(self) -> (u32, &'static str) {
        match self {
            Self::Pending => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown => (32, "shutting-down"),
            Self::Terminated => (48, "terminated"),
            Self::Stopping => (64, "stopping"),
            Self::Stopped => (80, "stopped"),
        }
    }
}

/// Why an instance is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

impl StateReason {
    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: format!("{code}: {message}") }
    }

    /// Stopped or terminated by an API call.
    pub fn user() -> Self {
        Self::new("Client.UserInitiatedShutdown", "User initiated shutdown")
    }

    /// Powered off from inside.
    pub fn powered_off() -> Self {
        Self::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
    }

    /// A spot instance that EC2 took back.
    pub fn interrupted() -> Self {
        Self::new("Server.SpotInstanceTermination", "Spot instance termination")
    }

    /// The machine below failed it.
    pub fn machine(message: &str) -> Self {
        Self::new("Server.InternalError", message)
    }
}

/// What a power-off from inside means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShutdownBehavior {
    Stop,
    Terminate,
}

impl ShutdownBehavior {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }
}

/// An instance profile as given at launch; this cloud has no IAM and believes the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    pub arn: String,
    pub id: String,
    pub association_id: String,
    /// When it was associated; None for one that came with the launch.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

impl InstanceProfile {
    /// The last part of the ARN.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    pub http_endpoint: bool,
    /// Whether a session token is required. The local service requires one whatever this says.
    pub tokens_required: bool,
    pub hop_limit: u32,
    pub instance_tags: bool,
    /// When they were last changed; for a while after that they are pending.
    #[serde(default)]
    pub changed: Option<Timestamp>,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { http_endpoint: true, tokens_required: true, hop_limit: 2, instance_tags: false, changed: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuOptions {
    pub cores: u32,
    pub threads_per_core: u32,
}

/// A volume as an instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDevice {
    pub device: String,
    pub volume_id: String,
    pub delete_on_termination: bool,
    pub attach_time: Timestamp,
    pub state: DeviceState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    Attaching,
    Attached,
    Detaching,
}

impl DeviceState {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

/// Bytes as base64 text.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

//! The node driver: what the model asks of the machine below it.
//!
//! The model decides (states, rules, ids); a driver carries out. A driver never sees an API word: it gets values
//! below and answers with facts. [`Driver`] has two implementations: containers (real nodes) and records (none).

pub mod blocks;
pub mod containers;
pub mod records;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A future that a driver returns; drivers are used as trait objects.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// A failure below the model: what was tried, on what, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A program of the host failed; `program` is its whole command line, `output` its last lines.
    #[error("{program} failed ({status}): {output}")]
    Program { program: String, status: String, output: String },
    /// An operating system call failed.
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The request makes no sense in the present state (an unknown node, a running node's layer …).
    #[error("{0}")]
    State(String),
}

/// An IPv4 network: address of the network and prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// A VPC as the driver sees it: one network namespace with a bridge for every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcNetwork {
    pub vpc_id: String,
    pub cidr: Network,
    pub subnets: Vec<SubnetNetwork>,
    /// Whether a route to an attached internet gateway exists: nodes reach the world by masquerading.
    pub internet: bool,
}

/// A subnet: one bridge that holds the subnet's first address (the router) and 169.254.169.254.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetNetwork {
    pub subnet_id: String,
    pub cidr: Network,
}

/// Whom a rule admits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Cidr(Network),
    /// Every member of a security group, as addresses at this moment.
    Addresses(Vec<Ipv4Addr>),
}

/// One allowed flow. `protocol` is an IP protocol number; None means all, and ports are then ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRule {
    pub protocol: Option<u8>,
    /// Ports for TCP and UDP, inclusive; for ICMP (type, code) with -1 for any.
    pub ports: Option<(i32, i32)>,
    pub peer: Peer,
}

/// Everything allowed into and out of one node; established flows and the metadata address are always allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFirewall {
    pub address: Ipv4Addr,
    pub ingress: Vec<FlowRule>,
    pub egress: Vec<FlowRule>,
}

/// A block device of a node beyond its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDevice {
    pub volume_id: String,
    /// The name the node asked for, such as `/dev/sdf`.
    pub device: String,
}

/// A host folder bound into a node before its init starts (the shared path where the kernel has no NFS client).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeShare {
    /// Names the host folder: nodes with equal keys see one folder. Any string; the driver makes it a safe file name.
    pub key: String,
    /// Absolute path inside the node.
    pub path: String,
}

/// All that is needed to boot a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBoot {
    pub instance_id: String,
    pub hostname: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub address: Ipv4Addr,
    /// Locally administered, such as `02:ab:…`.
    pub mac: String,
    pub subnet: Network,
    /// Logical cores the node may use; the driver caps it at what the machine has.
    pub cores: u32,
    pub devices: Vec<NodeDevice>,
    pub shares: Vec<NodeShare>,
}

/// A program to run in a node as root, with the node's namespaces and control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCommand {
    pub argv: Vec<String>,
    pub stdin: Vec<u8>,
    pub environment: BTreeMap<String, String>,
    pub working_directory: String,
    /// After it the whole process group gets SIGKILL.
    pub timeout: Duration,
}

/// Trouble for one node, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Disturbance {
    /// Ends it at once, as a machine that fails.
    Kill,
    /// Powers it off from inside.
    PowerOff,
    /// Stops all its processes where they are.
    Freeze,
    /// Lets frozen processes go on.
    Thaw,
    /// Pulls its network cable.
    Cut,
    /// Plugs its network cable in again.
    Join,
    /// Drops so many of a hundred packets, in and out; 0 drops none any more.
    Lossy { percent: u8 },
    /// Delays what it sends by so much; 0 delays nothing any more.
    Slow { milliseconds: u32 },
    /// Fills the disk that is mounted at this path until so many MiB are left.
    Fill { path: String, leave_mib: u64 },
}

impl std::fmt::Display for Disturbance {
    /// What is done, as in "it cannot be …".
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "killed",
            Self::PowerOff => "powered off",
            Self::Freeze => "frozen",
            Self::Thaw => "thawed",
            Self::Cut => "cut off",
            Self::Join => "joined to its network",
            Self::Lossy { .. } => "given a lossy network",
            Self::Slow { .. } => "given a slow network",
            Self::Fill { .. } => "given a full disk",
        })
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCommandResult {
    /// Exit status; 128 + signal when killed.
    pub status: i32,
    pub timed_out: bool,
    pub cancelled: bool,
    /// The first bytes of each stream, cut at the limits given to [`Driver::run`]; `true` = more was dropped.
    pub stdout: (Vec<u8>, bool),
    pub stderr: (Vec<u8>, bool),
}

/// What a driver says unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// The node's init has ended without [`Driver::stop`]: powered off from inside (true) or killed (false).
    Ended { instance_id: String, powered_off: bool },
}

/// The machine below the model. All calls are idempotent: repeating one that succeeded succeeds.
pub trait Driver: Send + Sync + 'static {
    /// Makes the base image of this name (`debian-13`) present; reports progress sentences. Cached for the machine.
    fn ensure_base<'a>(&'a self, name: &'a str, progress: mpsc::UnboundedSender<String>) -> Answer<'a, ()>;

    /// Makes the namespace, bridges, metadata address and masquerading of this VPC exactly so.
    fn set_network<'a>(&'a self, network: &'a VpcNetwork) -> Answer<'a, ()>;

    /// Removes the VPC's namespace; its nodes are gone already.
    fn remove_network<'a>(&'a self, vpc_id: &'a str) -> Answer<'a, ()>;

    /// Replaces all rules of the VPC by these, atomically. Traffic to a node not named is refused.
    fn set_firewall<'a>(&'a self, vpc_id: &'a str, nodes: &'a [NodeFirewall]) -> Answer<'a, ()>;

    /// Binds a listening TCP socket at `address:port` inside the VPC's namespace (the metadata service).
    fn listen<'a>(&'a self, vpc_id: &'a str, address: Ipv4Addr, port: u16) -> Answer<'a, std::net::TcpListener>;

    /// Makes an empty root for the node on top of these layers, lowest first; the lowest is a base's name.
    fn create_root<'a>(&'a self, instance_id: &'a str, layers: &'a [String]) -> Answer<'a, ()>;

    /// Freezes the stopped node's own changes as a new layer of this id; the node's root goes on on top of it.
    fn freeze_layer<'a>(&'a self, instance_id: &'a str, layer: &'a str) -> Answer<'a, ()>;

    /// Deletes a layer that no root stands on. Bases are never deleted.
    fn delete_layer<'a>(&'a self, layer: &'a str) -> Answer<'a, ()>;

    /// Boots the node; answers when its init runs (not when it is up).
    fn boot<'a>(&'a self, node: &'a NodeBoot) -> Answer<'a, ()>;

    /// Shuts the node down (SIGRTMIN+4 to its init, SIGKILL after a grace time; at once with `force`) and waits for its end.
    fn stop<'a>(&'a self, instance_id: &'a str, force: bool) -> Answer<'a, ()>;

    /// Restarts the node in place: same root, address and devices.
    fn reboot<'a>(&'a self, instance_id: &'a str) -> Answer<'a, ()>;

    /// Ends the node at once and deletes its root.
    fn destroy<'a>(&'a self, instance_id: &'a str) -> Answer<'a, ()>;

    /// Deletes a shared folder that no node uses any more.
    fn delete_share<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// Creates a volume of this many GiB: sparse, blank unless made from a snapshot's volume copy.
    fn create_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64, from_snapshot: Option<&'a str>) -> Answer<'a, ()>;

    /// Grows a volume to this many GiB, live.
    fn grow_volume<'a>(&'a self, volume_id: &'a str, gibibytes: u64) -> Answer<'a, ()>;

    /// Copies a volume's contents as a snapshot of this id.
    fn snapshot_volume<'a>(&'a self, volume_id: &'a str, snapshot_id: &'a str) -> Answer<'a, ()>;

    /// The contents of volume snapshots.
    fn blocks(&self) -> blocks::Blocks;

    fn delete_volume<'a>(&'a self, volume_id: &'a str) -> Answer<'a, ()>;

    fn delete_volume_snapshot<'a>(&'a self, snapshot_id: &'a str) -> Answer<'a, ()>;

    /// Makes the volume appear in the running node as `device` (and by NVMe-like id link), or go away.
    fn attach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()>;

    fn detach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()>;

    /// Whether the node's init answers: commands can be run in it.
    fn is_up<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool>;

    /// Runs a command in the node. `cancel` resolving kills its process group. Streams are cut at these byte limits.
    fn run<'a>(
        &'a self,
        instance_id: &'a str,
        command: &'a NodeCommand,
        limits: (usize, usize),
        cancel: tokio::sync::oneshot::Receiver<()>,
    ) -> Answer<'a, NodeCommandResult>;

    /// Makes trouble for a running node; a driver that cannot refuses it by name. It ends with the node's boot.
    fn disturb<'a>(&'a self, instance_id: &'a str, disturbance: &'a Disturbance) -> Answer<'a, ()>;

    /// The last bytes of the node's console, at most `limit`; kept after the node's end until it is destroyed.
    fn console<'a>(&'a self, instance_id: &'a str, limit: usize) -> Answer<'a, Vec<u8>>;

    /// Takes up again the nodes that a former server left; answers which of them still run.
    /// Every node with a root is named, stopped ones too: nodes and networks not named are remnants and are removed.
    fn adopt<'a>(&'a self, nodes: &'a [NodeBoot], networks: &'a [VpcNetwork]) -> Answer<'a, Vec<String>>;

    /// Ends every node and removes every mount, namespace and link; state on disk stays.
    fn shut_down<'a>(&'a self) -> Answer<'a, ()>;
}

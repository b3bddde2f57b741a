//! Real nodes: systemd-nspawn containers with their own root, address, devices and firewall.
//!
//! Owns everything the local cloud makes on the host outside of its HTTP port: namespaces, links, nftables tables,
//! mounts, loop devices, control groups, node processes. All names carry the cloud's name, so two clouds run side by
//! side. It decides nothing: states, ids and rules come from the model.
//!
//! - `network` namespaces, bridges and ports; `uplink` the one link to the host; `firewall` the rules
//! - `base` the base image; `roots` layers and overlay mounts
//! - `boot` start, watch and end of a node by `nspawn`; `command` programs in a node; `volumes` block devices
//! - `disturb` trouble for one node on request
//! - `adopt` taking up what a former server left, and leaving nothing behind

mod adopt;
mod base;
mod boot;
mod command;
mod control_group;
mod disturb;
mod driver;
mod firewall;
mod inside;
mod namespace;
mod network;
mod nspawn;
mod process;
mod program;
mod roots;
mod uplink;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use super::{DriverError, NodeEvent};

/// What a container driver is made from.
#[derive(Debug, Clone)]
pub struct ContainersConfig {
    /// Short name of this local cloud, unique on the machine; letters and digits. Longer than 8 characters, it is cut:
    /// link names of Linux hold 15.
    pub name: String,
    /// Folder of nodes, layers, volumes and shares.
    pub state_dir: PathBuf,
    /// Folder of base images, shared by every local cloud of the machine.
    pub cache_dir: PathBuf,
}

/// The driver whose nodes are containers. Dropping it leaves them running.
pub struct Containers {
    ground: Arc<Ground>,
}

/// State of the driver; its methods block and run on threads of their own.
struct Ground {
    name: String,
    state: PathBuf,
    cache: PathBuf,
    events: mpsc::UnboundedSender<NodeEvent>,
    nodes: Mutex<HashMap<String, Arc<boot::Node>>>,
    /// Networks as they were last made; the lock is held while they change.
    networks: Mutex<BTreeMap<String, network::Made>>,
    /// Cores that running nodes are bound to.
    cores: Mutex<HashMap<String, Vec<usize>>>,
    /// Held while a volume or its loop device changes.
    volumes: Mutex<()>,
}

impl Containers {
    /// Prepares the folders and checks that the machine has what nodes need.
    ///
    /// Nothing is made on the host before the first network. The receiver gets what nodes do unasked.
    pub fn new(config: ContainersConfig) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<NodeEvent>), DriverError> {
        if !rustix::process::geteuid().is_root() {
            return Err(DriverError::State("nodes need root: start the local cloud with sudo".to_owned()));
        }
        program::check_all()?;
        let name: String = config.name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        if name.is_empty() {
            return Err(DriverError::State(format!("cloud name {:?} has no letter or digit", config.name)));
        }
        let (events, receiver) = mpsc::unbounded_channel();
        let ground = Ground {
            name,
            state: absolute(&config.state_dir)?,
            cache: absolute(&config.cache_dir)?,
            events,
            nodes: Mutex::default(),
            networks: Mutex::default(),
            cores: Mutex::default(),
            volumes: Mutex::default(),
        };
        ground.prepare_folders()?;
        Ok((Arc::new(Containers { ground: Arc::new(ground) }), receiver))
    }
}

impl Ground {
    fn prepare_folders(&self) -> Result<(), DriverError> {
        for folder in ["nodes", "layers", "volumes", "snapshots", "shares", "networks", "trash"] {
            create_private_folder(&self.state.join(folder))?;
        }
        create_folder(&self.cache)?;
        // What a former server was deleting when it ended.
        let trash = self.state.join("trash");
        std::thread::spawn(move || empty_folder(&trash));
        Ok(())
    }

    /// Moves a folder out of the way at once and deletes it in the background: a big root takes seconds to delete.
    fn discard(&self, folder: &Path) -> Result<(), DriverError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = self.state.join("trash").join(format!("{name}.{:016x}", rand::random::<u64>()));
        match std::fs::rename(folder, &target) {
            Ok(()) => {
                std::thread::spawn(move || std::fs::remove_dir_all(target));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error(format!("{} cannot be deleted", folder.display()))(error)),
        }
    }
}

/// Locks, also after a panic elsewhere: every value behind these locks is whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes an I/O failure an error that says what was tried.
fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DriverError {
    let what = what.into();
    move |source| DriverError::Io { what, source }
}

/// Says something for the server's log that no answer carries.
fn note(what: impl std::fmt::Display) {
    eprintln!("nodes: {what}");
}

fn absolute(path: &Path) -> Result<PathBuf, DriverError> {
    create_folder(path)?;
    path.canonicalize().map_err(io_error(format!("{} cannot be opened", path.display())))
}

fn create_folder(path: &Path) -> Result<(), DriverError> {
    std::fs::create_dir_all(path).map_err(io_error(format!("folder {} cannot be made", path.display())))
}

/// Makes a folder that only root may enter, or shuts one that an older server left open. The state folder itself has to
/// let its owner through, and what nodes hold is as private as what a machine's disks hold; below this folder modes are
/// those that nodes see.
fn create_private_folder(path: &Path) -> Result<(), DriverError> {
    use std::os::unix::fs::PermissionsExt;
    create_folder(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(io_error(format!("folder {} cannot be shut", path.display())))
}

/// Opens a file that only root may read: for writing, made if there is none.
fn private_file() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Makes a folder that everyone may read whatever the server's umask: nodes see it as theirs.
fn create_public_folder(path: &Path) -> Result<(), DriverError> {
    use std::os::unix::fs::PermissionsExt;
    create_folder(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .map_err(io_error(format!("folder {} cannot be opened to all", path.display())))
}

fn empty_folder(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// Checks that an id can be a file name and a part of a namespace's name.
fn check_id(id: &str) -> Result<&str, DriverError> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if id.is_empty() || id.len() > 64 || id.starts_with('.') || !id.chars().all(plain) {
        return Err(DriverError::State(format!("id {id:?} is no plain name")));
    }
    Ok(id)
}

/// A link name: the prefix and the last 12 letters and digits of an id, which are random; links hold 15 characters.
fn link_name(prefix: &str, id: &str) -> String {
    let plain: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail: String = plain[plain.len().saturating_sub(12)..].iter().collect();
    format!("{prefix}{tail}")
}

/// Reads a value that the driver keeps on disk; None when there is none or it cannot be read any more.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a value to disk so that a reader sees the old or the new one, whole.
fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), DriverError> {
    let what = || format!("{} cannot be written", path.display());
    let text = serde_json::to_vec(value).map_err(|error| io_error(what())(error.into()))?;
    let fresh = path.with_extension("new");
    let mut file = private_file().write(true).truncate(true).open(&fresh).map_err(io_error(what()))?;
    std::io::Write::write_all(&mut file, &text).and_then(|()| std::fs::rename(&fresh, path)).map_err(io_error(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_linux_and_keep_the_random_part() {
        assert_eq!(link_name("p-", "i-0123456789abcdef0"), "p-56789abcdef0");
        assert_eq!(link_name("br-", "subnet-12"), "br-subnet12");
        assert!(link_name("br-", "subnet-0123456789abcdef0").len() <= 15);
    }

    #[test]
    fn what_nodes_hold_is_shut_to_other_users() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mode = |path: &str| std::fs::metadata(state.join(path)).unwrap().permissions().mode() & 0o777;
        std::fs::create_dir_all(state.join("volumes")).unwrap();
        // As an older server left it.
        std::fs::set_permissions(state.join("volumes"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let ground = Ground {
            name: "t".to_owned(),
            state: state.clone(),
            cache: folder.path().join("cache"),
            events: mpsc::unbounded_channel().0,
            nodes: Mutex::default(),
            networks: Mutex::default(),
            cores: Mutex::default(),
            volumes: Mutex::default(),
        };
        ground.prepare_folders().unwrap();
        for part in ["nodes", "layers", "volumes", "snapshots", "shares", "networks", "trash"] {
            assert_eq!(mode(part), 0o700, "{part}");
        }
        ground.create_volume("vol-1", 1, None).unwrap();
        // A disk that an older server made: its copies are shut, and its own folder is.
        std::fs::set_permissions(state.join("volumes/vol-1.img"), std::fs::Permissions::from_mode(0o644)).unwrap();
        ground.snapshot_volume("vol-1", "snap-1").unwrap();
        ground.create_volume("vol-2", 1, Some("snap-1")).unwrap();
        ground.create_volume("vol-3", 1, None).unwrap();
        for image in ["snapshots/snap-1.img", "volumes/vol-2.img", "volumes/vol-3.img"] {
            assert_eq!(mode(image), 0o600, "{image}");
        }
        // The root of a node is the node's; what the driver notes beside it is not for others.
        std::fs::create_dir_all(ground.cache.join(base::folder_name("debian-13"))).unwrap();
        ground.create_root("i-1", &["debian-13".to_owned()]).unwrap();
        assert_eq!([mode("nodes/i-1/upper"), mode("nodes/i-1/layers.json")], [0o755, 0o600]);
        drop(ground.open_console("i-1").unwrap());
        assert_eq!(std::fs::metadata(ground.console_file("i-1")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn ids_that_are_paths_are_refused() {
        assert!(check_id("i-0123").is_ok());
        for id in ["", "..", "a/b", "a b", ".hidden"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }
}

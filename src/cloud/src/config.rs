//! What one local cloud is told at its start, and the names of the files in its state folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that tells one local cloud from another; two with different state folders run side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Absolute path of the folder that holds all state of this cloud.
    pub state_dir: PathBuf,
    /// Absolute path of the folder with base images, shared by every local cloud of the machine.
    pub cache_dir: PathBuf,
    /// Port on 127.0.0.1; 0 chooses a free one at the first start, which later starts keep.
    pub port: u16,
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Tag key whose value is an absolute path that the nodes of one group share.
    pub share_path_tag: Option<String>,
    /// Tag key whose value names the group of nodes that share a folder.
    pub share_group_tag: Option<String>,
    /// The user who may read the credentials.
    pub owner_uid: u32,
    /// Keeps instances as records, without containers.
    pub records: bool,
}

impl Config {
    /// Makes the configuration of a cloud in `us-east-1` with real nodes, owned by the invoking user
    /// (the one behind `sudo`, if any).
    pub fn new(state_dir: impl Into<PathBuf>, cache_dir: impl Into<PathBuf>) -> Self {
        // Without a current folder there is nothing to be relative to.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self {
            state_dir: absolute(state_dir.into()),
            cache_dir: absolute(cache_dir.into()),
            port: 0,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            share_path_tag: None,
            share_group_tag: None,
            owner_uid: invoking_uid(),
            records: false,
        }
    }

    /// The files of this cloud's state folder.
    pub fn files(&self) -> Files<'_> {
        Files { state_dir: &self.state_dir }
    }
}

/// The user id behind `sudo`, or this process's own.
fn invoking_uid() -> u32 {
    std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).unwrap_or_else(|| rustix::process::getuid().as_raw())
}

/// Names inside a state folder.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    pub state_dir: &'a Path,
}

impl Files<'_> {
    /// AWS shared-credentials file, readable by the owner alone.
    pub fn credentials(&self) -> PathBuf {
        self.state_dir.join("credentials")
    }

    /// URL of the API; exists while a server is ready.
    pub fn endpoint(&self) -> PathBuf {
        self.state_dir.join("endpoint")
    }

    /// Process id of the server that has the folder, or had it last.
    pub fn pid(&self) -> PathBuf {
        self.state_dir.join("pid")
    }

    /// Log lines, each with its time.
    pub fn log(&self) -> PathBuf {
        self.state_dir.join("log")
    }

    /// Locked by the one server of this folder for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.state_dir.join("lock")
    }

    /// The port chosen at the first start.
    pub fn port(&self) -> PathBuf {
        self.state_dir.join("port")
    }

    /// What this cloud's links and namespaces are called on the machine.
    pub fn name(&self) -> PathBuf {
        self.state_dir.join("name")
    }

    /// The configuration of the last start, for tearing down without a server.
    pub fn config(&self) -> PathBuf {
        self.state_dir.join("config.json")
    }

    /// Rules of the faults on request; absent when there are none.
    pub fn faults(&self) -> PathBuf {
        self.state_dir.join("faults.json")
    }

    /// The model.
    pub fn state(&self) -> PathBuf {
        self.state_dir.join("state.json")
    }

    /// One file for every SSM command.
    pub fn commands(&self) -> PathBuf {
        self.state_dir.join("commands")
    }
}

//! Control groups: each node has one in the unified hierarchy, so that all of it can be ended at once.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::{Ground, io_error, note};
use crate::node::DriverError;

impl Ground {
    fn cloud_group(&self) -> Result<PathBuf, DriverError> {
        Ok(hierarchy()?.join(format!("ewulf-{}", self.name)))
    }

    pub(super) fn node_group(&self, instance_id: &str) -> Result<PathBuf, DriverError> {
        Ok(self.cloud_group()?.join(instance_id))
    }

    /// Makes the node's group and answers the file by which a process joins it.
    pub(super) fn make_group(&self, instance_id: &str) -> Result<File, DriverError> {
        let group = self.node_group(instance_id)?;
        open_group(&group)
    }

    /// Makes a group beside the services of the node, for commands run in it; it ends with the node.
    pub(super) fn command_group(&self, instance_id: &str) -> Result<File, DriverError> {
        // `payload` is the node's root group, made by systemd-nspawn.
        open_group(&self.node_group(instance_id)?.join("payload").join("ewulf-commands"))
    }

    /// Ends every process of the node at once.
    pub(super) fn kill_group(&self, instance_id: &str) {
        if let Ok(group) = self.node_group(instance_id) {
            let _ = std::fs::write(group.join("cgroup.kill"), "1");
        }
    }

    /// Removes the node's groups once their processes are gone.
    pub(super) fn remove_group(&self, instance_id: &str) -> Result<(), DriverError> {
        remove_tree(&self.node_group(instance_id)?)
    }

    /// Removes the cloud's group; nodes are gone already.
    pub(super) fn remove_cloud_group(&self) -> Result<(), DriverError> {
        remove_tree(&self.cloud_group()?)
    }

    /// Nodes that have a group, running or half gone.
    pub(super) fn grouped_nodes(&self) -> Result<Vec<String>, DriverError> {
        let entries = std::fs::read_dir(self.cloud_group()?).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        Ok(folders.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

/// Where the unified (version 2) hierarchy is mounted: /sys/fs/cgroup, or a folder of it on older systems.
fn hierarchy() -> Result<PathBuf, DriverError> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(io_error("mounts cannot be listed"))?;
    find_hierarchy(&mounts).ok_or_else(|| {
        DriverError::State(
            "no unified control group hierarchy is mounted; hint: sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
                .to_owned(),
        )
    })
}

fn find_hierarchy(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

fn open_group(group: &Path) -> Result<File, DriverError> {
    let what = || format!("control group {} cannot be made", group.display());
    std::fs::create_dir_all(group).map_err(io_error(what()))?;
    OpenOptions::new().write(true).open(group.join("cgroup.procs")).map_err(io_error(what()))
}

/// Removes a group and those below it, deepest first.
fn remove_tree(group: &Path) -> Result<(), DriverError> {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // A group stays busy until its last process is reaped: milliseconds for one that was killed.
    for _ in 0..100 {
        match std::fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => return Err(io_error(format!("control group {} cannot be removed", group.display()))(error)),
        }
    }
    note(format!("control group {} stays busy", group.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_on_old_and_new_systems() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(find_hierarchy(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find_hierarchy(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(find_hierarchy("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}

//! Files in a node's root, reached so that the node's own links cannot lead out of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

use super::io_error;
use crate::node::DriverError;

/// The root folder of a node: its mounted overlay, or `/proc/LEADER/root` while it runs.
pub(super) struct Root {
    folder: OwnedFd,
    shown: String,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self, DriverError> {
        let shown = path.display().to_string();
        let folder = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| io_error(format!("root {shown} cannot be opened"))(error.into()))?;
        Ok(Root { folder, shown })
    }

    /// Replaces a file, whatever was there, by one with this text (mode 0644).
    pub fn write(&self, path: &str, text: &str) -> Result<(), DriverError> {
        let (parent, name) = self.parent(path)?;
        let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).write_all(text.as_bytes()))
            .map_err(self.failed(path, "written"))
    }

    /// Makes a block device node (mode 0660), replacing what was there.
    pub fn make_block_device(&self, path: &str, device: u64) -> Result<(), DriverError> {
        let (parent, name) = self.parent(path)?;
        let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
        rustix::fs::mknodat(&parent, name, FileType::BlockDevice, Mode::from_raw_mode(0o660), device)
            .map_err(|error| self.failed(path, "made")(error.into()))
    }

    /// Makes a symbolic link, replacing what was there.
    pub fn make_link(&self, path: &str, target: &str) -> Result<(), DriverError> {
        let (parent, name) = self.parent(path)?;
        let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
        rustix::fs::symlinkat(target, &parent, name).map_err(|error| self.failed(path, "made")(error.into()))
    }

    /// Removes a file if it is there.
    pub fn remove(&self, path: &str) -> Result<(), DriverError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed(path, "removed")(error.into())),
        }
    }

    /// The folder that holds this path, made if it is missing, and the path's last part.
    fn parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), DriverError> {
        let (folder, name) = path.trim_start_matches('/').rsplit_once('/').unwrap_or((".", path));
        if name.is_empty() || name == "." || name == ".." {
            return Err(DriverError::State(format!("{path:?} names no file")));
        }
        let mut made = String::new();
        for part in folder.split('/') {
            made = if made.is_empty() { part.to_owned() } else { format!("{made}/{part}") };
            if self.open_folder(&made).is_err() {
                let above = match made.rsplit_once('/') {
                    Some((above, _)) => self.open_folder(above),
                    None => self.open_folder("."),
                };
                above
                    .and_then(|above| rustix::fs::mkdirat(&above, part, Mode::from_raw_mode(0o755)))
                    .map_err(|error| self.failed(&made, "made")(error.into()))?;
            }
        }
        let parent = self.open_folder(folder).map_err(|error| self.failed(folder, "opened")(error.into()))?;
        Ok((parent, name))
    }

    fn open_folder(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    fn failed(&self, path: &str, verb: &str) -> impl FnOnce(std::io::Error) -> DriverError + use<> {
        io_error(format!("{path} cannot be {verb} in root {}", self.shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that goes with the test.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("ewulf-inside-{:016x}", rand::random::<u64>()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_link_of_the_node_leads_to_no_file_of_the_host() {
        let folder = Folder::new();
        let (root, outside) = (folder.0.join("root"), folder.0.join("outside"));
        std::fs::create_dir_all(root.join("run")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("etc")).unwrap();
        let answer = Root::open(&root).unwrap().write("/etc/hostname", "node\n");
        assert!(answer.is_err(), "the link's target does not exist below the root");
        assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
    }

    #[test]
    fn a_linked_file_is_replaced_and_not_written_through() {
        let folder = Folder::new();
        let (root, target) = (folder.0.join("root"), folder.0.join("target"));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, root.join("etc/resolv.conf")).unwrap();
        Root::open(&root).unwrap().write("/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap(), "nameserver 192.0.2.53\n");
    }

    #[test]
    fn missing_folders_are_made() {
        let folder = Folder::new();
        Root::open(&folder.0).unwrap().make_link("/dev/disk/by-id/volume", "../../sdf").unwrap();
        assert!(folder.0.join("dev/disk/by-id/volume").is_symlink());
    }
}

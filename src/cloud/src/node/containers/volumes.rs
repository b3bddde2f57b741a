//! Volumes: sparse files, seen in nodes as block devices through the host's loop devices; and shared folders.
//!
//! Where the host has no loop devices an attached volume is a record without a device, and the log says so. Devices of
//! a booting node are made by its own systemd-tmpfiles, which reads a file bound into /run: they are there before any
//! service, after a reboot from inside too.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::inside::Root;
use super::nspawn::{self, Bind};
use super::{Ground, check_id, create_public_folder, io_error, lock, note, private_file, program, read_json, write_json};
use crate::node::blocks::Blocks;
use crate::node::{DriverError, NodeBoot, NodeDevice};

const GIBIBYTE: u64 = 1 << 30;

/// Where systemd-tmpfiles of the node finds its devices; /run is empty at every boot.
const DEVICES_INSIDE: &str = "/run/tmpfiles.d/ewulf-devices.conf";

impl Ground {
    fn volume_file(&self, volume_id: &str) -> Result<PathBuf, DriverError> {
        Ok(self.state.join("volumes").join(format!("{}.img", check_id(volume_id)?)))
    }

    fn snapshot_file(&self, snapshot_id: &str) -> Result<PathBuf, DriverError> {
        Ok(self.blocks().image(check_id(snapshot_id)?))
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks::new(self.state.join("snapshots"))
    }

    fn devices_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("devices.conf")
    }

    pub(super) fn create_volume(&self, volume_id: &str, gibibytes: u64, from_snapshot: Option<&str>) -> Result<(), DriverError> {
        let file = self.volume_file(volume_id)?;
        let _volumes = lock(&self.volumes);
        if file.exists() {
            return Ok(());
        }
        let fresh = file.with_extension("new");
        match from_snapshot.map(|snapshot| self.snapshot_file(snapshot)).transpose()? {
            Some(snapshot) if snapshot.exists() => copy(&snapshot, &fresh)?,
            Some(_) => return Err(DriverError::State(format!("snapshot of volume {volume_id} does not exist"))),
            None => {
                let made = private_file().write(true).truncate(true).open(&fresh);
                drop(made.map_err(io_error(format!("volume {volume_id} cannot be made")))?);
            }
        }
        resize(&fresh, gibibytes)?;
        std::fs::rename(&fresh, &file).map_err(io_error(format!("volume {volume_id} cannot be made")))
    }

    pub(super) fn grow_volume(&self, volume_id: &str, gibibytes: u64) -> Result<(), DriverError> {
        let file = self.volume_file(volume_id)?;
        let _volumes = lock(&self.volumes);
        if !file.exists() {
            return Err(DriverError::State(format!("volume {volume_id} does not exist")));
        }
        resize(&file, gibibytes)?;
        match loop_device(&file) {
            Some(device) => program::run("losetup", ["--set-capacity".as_ref(), device.as_os_str()], "").map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn snapshot_volume(&self, volume_id: &str, snapshot_id: &str) -> Result<(), DriverError> {
        let (file, snapshot) = (self.volume_file(volume_id)?, self.snapshot_file(snapshot_id)?);
        if snapshot.exists() {
            return Ok(());
        }
        if let Some(device) = loop_device(&file) {
            // What the node wrote without a flush is still in the device's cache, not in the file.
            let flushed = File::open(&device).and_then(|device| device.sync_all());
            flushed.map_err(io_error(format!("volume {volume_id} cannot be flushed")))?;
        }
        let fresh = snapshot.with_extension("new");
        copy(&file, &fresh)?;
        std::fs::rename(&fresh, &snapshot).map_err(io_error(format!("snapshot {snapshot_id} cannot be made")))
    }

    pub(super) fn delete_volume(&self, volume_id: &str) -> Result<(), DriverError> {
        let file = self.volume_file(volume_id)?;
        let _volumes = lock(&self.volumes);
        detach(&file);
        remove(&file)
    }

    pub(super) fn delete_volume_snapshot(&self, snapshot_id: &str) -> Result<(), DriverError> {
        let deleted = self.blocks().delete(check_id(snapshot_id)?);
        deleted.map_err(io_error(format!("snapshot {snapshot_id} cannot be deleted")))
    }

    /// Attaches to a node that may run or not; it is there after every later boot.
    pub(super) fn attach_volume(&self, instance_id: &str, device: &NodeDevice) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let _operation = lock(&node.operation);
        let Some(mut boot) = read_json::<NodeBoot>(&self.boot_file(instance_id)) else {
            return Err(DriverError::State(format!("node {instance_id} was never booted")));
        };
        if !boot.devices.contains(device) {
            boot.devices.push(device.clone());
            write_json(&self.boot_file(instance_id), &boot)?;
        }
        let Ok(leader) = self.leader(instance_id) else { return Ok(()) };
        self.prepare_devices(&boot)?;
        let Some(number) = self.device_number(device)? else { return Ok(()) };
        let root = Root::open(&proc_root(leader))?;
        root.make_block_device(&device_path(device)?, number)?;
        root.make_link(&link_path(&device.volume_id), &link_target(device)?)
    }

    pub(super) fn detach_volume(&self, instance_id: &str, device: &NodeDevice) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let _operation = lock(&node.operation);
        if let Some(mut boot) = read_json::<NodeBoot>(&self.boot_file(instance_id)) {
            boot.devices.retain(|attached| attached.volume_id != device.volume_id);
            write_json(&self.boot_file(instance_id), &boot)?;
            if let Ok(leader) = self.leader(instance_id) {
                self.prepare_devices(&boot)?;
                let root = Root::open(&proc_root(leader))?;
                root.remove(&link_path(&device.volume_id))?;
                root.remove(&device_path(device)?)?;
            }
        }
        let _volumes = lock(&self.volumes);
        detach(&self.volume_file(&device.volume_id)?);
        Ok(())
    }

    /// Makes loop devices for the node's volumes and lists them for its systemd-tmpfiles.
    pub(super) fn prepare_devices(&self, boot: &NodeBoot) -> Result<(), DriverError> {
        let mut text = String::new();
        for device in &boot.devices {
            if let Some(number) = self.device_number(device)? {
                text += &tmpfiles(device, number)?;
            }
        }
        let file = self.devices_file(&boot.instance_id);
        // Written in place: the running node sees this very file.
        std::fs::write(&file, text).map_err(io_error(format!("{} cannot be written", file.display())))
    }

    /// Gives the node's loop devices back; errors have no one to tell and are logged.
    pub(super) fn release_devices(&self, boot: &NodeBoot) {
        let _volumes = lock(&self.volumes);
        for device in &boot.devices {
            if let Ok(file) = self.volume_file(&device.volume_id) {
                detach(&file);
            }
        }
    }

    /// Gives back every loop device of this cloud.
    pub(super) fn release_all_devices(&self) {
        let _volumes = lock(&self.volumes);
        for entry in std::fs::read_dir(self.state.join("volumes")).into_iter().flatten().flatten() {
            detach(&entry.path());
        }
    }

    /// The number of the volume's loop device, attached if need be; None where there are no loop devices.
    fn device_number(&self, device: &NodeDevice) -> Result<Option<u64>, DriverError> {
        let file = self.volume_file(&device.volume_id)?;
        let _volumes = lock(&self.volumes);
        if !file.exists() {
            return Err(DriverError::State(format!("volume {} does not exist", device.volume_id)));
        }
        if loop_device(&file).is_none() {
            let attached = program::run("losetup", ["--find".as_ref(), file.as_os_str()], "");
            if let Err(error) = attached {
                note(format!("volume {} has no device in its node: {error}", device.volume_id));
                return Ok(None);
            }
        }
        let number = loop_device(&file).and_then(|path| std::fs::metadata(path).ok()).map(|found| found.rdev());
        Ok(number)
    }

    /// What the node sees of the host: its list of devices and its shared folders.
    pub(super) fn binds(&self, boot: &NodeBoot) -> Result<Vec<Bind>, DriverError> {
        let read_only = |source, target: &str| Bind { source, target: target.to_owned(), writable: false };
        let platform = self.node_folder(&boot.instance_id).join("platform");
        std::fs::write(&platform, nspawn::platform_uuid(&boot.instance_id))
            .map_err(io_error(format!("{} cannot be written", platform.display())))?;
        let mut binds =
            vec![read_only(self.devices_file(&boot.instance_id), DEVICES_INSIDE), read_only(platform, nspawn::PLATFORM_INSIDE)];
        for share in &boot.shares {
            if !share.path.starts_with('/') {
                return Err(DriverError::State(format!("shared path {:?} is not absolute", share.path)));
            }
            let source = self.share_folder(&share.key);
            if !source.exists() {
                create_public_folder(&source)?;
            }
            binds.push(Bind { source, target: share.path.clone(), writable: true });
        }
        Ok(binds)
    }

    fn share_folder(&self, key: &str) -> PathBuf {
        self.state.join("shares").join(file_name(key))
    }

    pub(super) fn delete_share(&self, key: &str) -> Result<(), DriverError> {
        self.discard(&self.share_folder(key))
    }
}

/// A file name for any text: what is readable in it, and a digest that tells texts apart.
fn file_name(text: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let readable: String = text.chars().take(40).map(plain).collect();
    let digest: String = Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{readable}-{digest}")
}

/// The loop device whose backing file this is.
fn loop_device(file: &Path) -> Option<PathBuf> {
    let wanted = file.canonicalize().ok()?;
    std::fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end_matches('\n')) == wanted).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

fn detach(file: &Path) {
    if let Some(device) = loop_device(file)
        && let Err(error) = program::run("losetup", ["--detach".as_ref(), device.as_os_str()], "")
    {
        note(error);
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), DriverError> {
    let arguments = ["--reflink=auto".as_ref(), "--sparse=always".as_ref(), "--".as_ref(), from.as_os_str(), to.as_os_str()];
    program::run("cp", arguments, "")?;
    // cp gives the copy the mode of what it copies.
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))
        .map_err(io_error(format!("{} cannot be shut", to.display())))
}

/// Grows a file to this many GiB; never cuts one.
fn resize(file: &Path, gibibytes: u64) -> Result<(), DriverError> {
    let what = format!("{} cannot be resized", file.display());
    let length = gibibytes.saturating_mul(GIBIBYTE);
    let grown = OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|open| if open.metadata()?.len() < length { open.set_len(length) } else { Ok(()) });
    grown.map_err(io_error(what))
}

fn remove(file: &Path) -> Result<(), DriverError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error(format!("{} cannot be deleted", file.display()))(error))
        }
        _ => Ok(()),
    }
}

fn proc_root(leader: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{leader}/root"))
}

/// The device's path, `sdf` meaning `/dev/sdf` as in EC2.
fn device_path(device: &NodeDevice) -> Result<String, DriverError> {
    let name = device.device.strip_prefix("/dev/").unwrap_or(&device.device);
    if name.is_empty() || !name.chars().all(|character| character.is_ascii_alphanumeric()) {
        return Err(DriverError::State(format!("device name {:?} is not like /dev/sdf", device.device)));
    }
    Ok(format!("/dev/{name}"))
}

/// The link that EBS volumes have on Nitro instances.
fn link_path(volume_id: &str) -> String {
    format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}", volume_id.replace('-', ""))
}

fn link_target(device: &NodeDevice) -> Result<String, DriverError> {
    Ok(device_path(device)?.replacen("/dev/", "../../", 1))
}

/// Lines of tmpfiles.d(5) for one device.
fn tmpfiles(device: &NodeDevice, number: u64) -> Result<String, DriverError> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let (path, link, target) = (device_path(device)?, link_path(&device.volume_id), link_target(device)?);
    Ok(format!("b+ {path} 0660 root disk - {major}:{minor}\nL+ {link} - - - - {target}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> NodeDevice {
        NodeDevice { volume_id: "vol-0123456789abcdef0".to_owned(), device: name.to_owned() }
    }

    #[test]
    fn a_volume_has_its_name_and_the_link_of_nitro_instances() {
        let number = rustix::fs::makedev(7, 3);
        let expected = "b+ /dev/sdf 0660 root disk - 7:3\n\
            L+ /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0 - - - - ../../sdf\n";
        assert_eq!(tmpfiles(&device("/dev/sdf"), number).unwrap(), expected);
        assert_eq!(tmpfiles(&device("sdf"), number).unwrap(), expected);
    }

    #[test]
    fn device_names_that_are_paths_are_refused() {
        for name in ["/dev/../etc/passwd", "", "/dev/sd f"] {
            assert!(device_path(&device(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn share_keys_that_look_alike_are_different_folders() {
        assert_ne!(file_name("demo:/shared"), file_name("demo /shared"));
        assert!(!file_name("../../etc").contains(['/', '.']));
    }
}

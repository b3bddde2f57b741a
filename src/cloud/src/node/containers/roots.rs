//! Roots of nodes: layers below, the node's own changes above, joined by an overlay mount while the node runs.
//!
//! On disk: `nodes/ID/{upper,work,root}` and `nodes/ID/layers.json` (lowest first); a frozen layer is `layers/LAYER/tree`
//! with `layers/LAYER/base`, the folder of the base it was made on. A base made anew later is another folder.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::{Ground, base, check_id, create_folder, create_public_folder, io_error, note, read_json, write_json};
use crate::node::DriverError;

impl Ground {
    pub(super) fn node_folder(&self, instance_id: &str) -> PathBuf {
        self.state.join("nodes").join(instance_id)
    }

    fn layer_folder(&self, layer: &str) -> PathBuf {
        self.state.join("layers").join(layer)
    }

    fn layers_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("layers.json")
    }

    pub(super) fn create_root(&self, instance_id: &str, layers: &[String]) -> Result<(), DriverError> {
        check_id(instance_id)?;
        if layers.is_empty() {
            return Err(DriverError::State(format!("root of {instance_id} has no layer")));
        }
        self.resolve(layers)?;
        let folder = self.node_folder(instance_id);
        if read_json::<Vec<String>>(&self.layers_file(instance_id)).is_some_and(|known| known.starts_with(layers)) {
            return Ok(());
        }
        self.unmount_root(instance_id)?;
        self.discard(&folder)?;
        for part in ["upper", "work", "root"] {
            create_public_folder(&folder.join(part))?;
        }
        write_json(&self.layers_file(instance_id), &layers)
    }

    /// Folders of these layers, lowest first.
    fn resolve(&self, layers: &[String]) -> Result<Vec<PathBuf>, DriverError> {
        let mut folders = Vec::new();
        let mut base_folder = None;
        for layer in layers.iter().skip(1) {
            let folder = self.layer_folder(check_id(layer)?);
            if !folder.join("tree").is_dir() {
                return Err(DriverError::State(format!("layer {layer} does not exist")));
            }
            base_folder = base_folder.or_else(|| std::fs::read_to_string(folder.join("base")).ok());
            folders.push(folder.join("tree"));
        }
        let name = base_folder.unwrap_or_else(|| base::folder_name(&layers[0]));
        let lowest = self.cache.join(name.trim());
        if !lowest.is_dir() {
            return Err(DriverError::State(format!("base image {} is not present", layers[0])));
        }
        folders.insert(0, lowest);
        Ok(folders)
    }

    fn read_layers(&self, instance_id: &str) -> Result<Vec<String>, DriverError> {
        read_json(&self.layers_file(instance_id)).ok_or_else(|| DriverError::State(format!("node {instance_id} has no root")))
    }

    /// Mounts the node's root and answers where.
    pub(super) fn mount_root(&self, instance_id: &str) -> Result<PathBuf, DriverError> {
        let folder = self.node_folder(instance_id);
        let layers = self.resolve(&self.read_layers(instance_id)?)?;
        let (root, work) = (folder.join("root"), folder.join("work"));
        self.unmount_root(instance_id)?;
        // The work folder of a volatile mount refuses to be used again; nothing in it outlives a mount.
        std::fs::remove_dir_all(&work).map_err(io_error(format!("{} cannot be emptied", work.display())))?;
        create_folder(&work)?;
        let lower: Vec<String> = layers.iter().rev().map(|layer| escape(layer)).collect();
        // `volatile` leaves out every fsync: package installation is several times as fast, and what a crash of the
        // machine may cost is a node that can be launched again. Renames of folders must work as on a disk.
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,xino=off,redirect_dir=on,volatile",
            lower.join(":"),
            escape(&folder.join("upper")),
            escape(&work)
        );
        let options = std::ffi::CString::new(options)
            .map_err(|error| io_error(format!("root of {instance_id} cannot be named"))(error.into()))?;
        rustix::mount::mount("ewulf", &root, "overlay", MountFlags::empty(), options.as_c_str()).map_err(|error| {
            io_error(format!(
                "root of {instance_id} cannot be mounted at {} (overlay needs a local file system such as ext4 below)",
                root.display()
            ))(error.into())
        })?;
        Ok(root)
    }

    /// Unmounts the node's root if it is mounted.
    pub(super) fn unmount_root(&self, instance_id: &str) -> Result<(), DriverError> {
        unmount(&self.node_folder(instance_id).join("root"))
    }

    /// Turns the node's own changes into a layer; the caller has made sure that the node does not run.
    pub(super) fn freeze_root(&self, instance_id: &str, layer: &str) -> Result<(), DriverError> {
        check_id(layer)?;
        let mut layers = self.read_layers(instance_id)?;
        let frozen = self.layer_folder(layer);
        if layers.iter().any(|known| known == layer) && frozen.join("tree").is_dir() {
            return Ok(());
        }
        if frozen.join("tree").exists() {
            return Err(DriverError::State(format!("layer {layer} exists already")));
        }
        let upper = self.node_folder(instance_id).join("upper");
        let lowest = self.resolve(&layers)?.swap_remove(0);
        let base_name = lowest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        create_folder(&frozen)?;
        std::fs::write(frozen.join("base"), base_name).map_err(io_error(format!("layer {layer} cannot be written")))?;
        layers.push(layer.to_owned());
        std::fs::rename(&upper, frozen.join("tree")).map_err(io_error(format!("layer {layer} cannot be frozen")))?;
        write_json(&self.layers_file(instance_id), &layers)?;
        create_public_folder(&upper)
    }

    pub(super) fn delete_layer(&self, layer: &str) -> Result<(), DriverError> {
        let folder = self.layer_folder(check_id(layer)?);
        for entry in std::fs::read_dir(self.state.join("nodes")).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if self.read_layers(&id).unwrap_or_default().iter().any(|known| known == layer) {
                return Err(DriverError::State(format!("layer {layer} is used by {id}")));
            }
        }
        self.discard(&folder)
    }
}

/// Whether something is mounted at this folder.
pub(super) fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let above = path.parent().and_then(device);
    device(path).is_some_and(|own| Some(own) != above)
}

fn unmount(path: &Path) -> Result<(), DriverError> {
    // Processes that ended a moment ago may hold the mount until the kernel has taken them apart.
    for attempt in 0.. {
        if !is_mounted(path) {
            return Ok(());
        }
        match rustix::mount::unmount(path, UnmountFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(rustix::io::Errno::BUSY) if attempt < 50 => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(rustix::io::Errno::BUSY) => {
                note(format!("{} is busy: detaching it", path.display()));
                let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
            }
            Err(error) => return Err(io_error(format!("{} cannot be unmounted", path.display()))(error.into())),
        }
        if attempt > 60 {
            break;
        }
    }
    Err(DriverError::State(format!("{} stays mounted", path.display())))
}

/// Quotes what separates in the overlay's options.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '\\' | ':' | ',') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_quoted() {
        assert_eq!(escape(Path::new("/a:b,c\\d")), "/a\\:b\\,c\\\\d");
    }
}

//! Network namespaces: named ones under /run/netns, and work done inside them.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{io_error, program};
use crate::node::DriverError;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A named network namespace; the value may exist before and after the namespace does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(name: String) -> Self {
        Namespace { name }
    }

    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// Whether the name stands for a living namespace; after a restart of the machine only the file may be left.
    pub fn exists(&self) -> bool {
        // NSFS_MAGIC of linux/magic.h.
        rustix::fs::statfs(self.path()).is_ok_and(|found| found.f_type as u64 == 0x6e73_6673)
    }

    /// Makes the namespace unless it exists; answers whether it was made.
    pub fn create(&self) -> Result<bool, DriverError> {
        if self.exists() {
            return Ok(false);
        }
        let _ = std::fs::remove_file(self.path());
        program::run("ip", ["netns", "add", &self.name], "")?;
        Ok(true)
    }

    /// Removes the name; the namespace itself ends with its last process.
    pub fn delete(&self) -> Result<(), DriverError> {
        let path = self.path();
        if !path.exists() {
            return Ok(());
        }
        let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        std::fs::remove_file(&path).map_err(io_error(format!("network namespace {} cannot be removed", self.name)))
    }

    /// Does some work in a thread of its own whose network is this namespace; programs it starts are in it too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T, DriverError> + Send) -> Result<T, DriverError> {
        let what = || format!("network namespace {} cannot be entered", self.name);
        let namespace = File::open(self.path()).map_err(io_error(what()))?;
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
                        .map_err(|error| io_error(what())(error.into()))?;
                    work()
                })
                .join()
                .unwrap_or_else(|_| Err(DriverError::State(format!("network namespace {}: the work panicked", self.name))))
        })
    }

    /// Runs lines of `ip` commands in the namespace, stopping at the first that fails.
    pub fn ip(&self, lines: &[String]) -> Result<(), DriverError> {
        self.enter(|| ip(lines))
    }
}

/// Every named namespace of the machine that begins with this prefix.
pub(super) fn named(prefix: &str) -> Vec<Namespace> {
    let Ok(entries) = std::fs::read_dir(NAMES) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).map(Namespace::new).collect()
}

/// Runs lines of `ip` commands in the calling thread's namespace, stopping at the first that fails.
pub(super) fn ip(lines: &[String]) -> Result<(), DriverError> {
    if lines.is_empty() {
        return Ok(());
    }
    let text = lines.join("\n") + "\n";
    program::run("ip", ["-batch", "-"], &text).map(drop).map_err(|error| with_batch(error, lines))
}

/// Names the failing line in the error: `ip` says only its number.
fn with_batch(error: DriverError, lines: &[String]) -> DriverError {
    match error {
        DriverError::Program { program, status, output } => {
            let number = output.rsplit(':').next().and_then(|number| number.trim().parse::<usize>().ok());
            let line = number.and_then(|number| lines.get(number.wrapping_sub(1))).cloned().unwrap_or(program);
            DriverError::Program { program: format!("ip {}", line.trim_start_matches("ip ")), status, output }
        }
        other => other,
    }
}

/// Sets kernel parameters below /proc/sys/net in the calling thread's namespace; each is (path, value).
///
/// Parameters under `bridge/` exist only where the bridge filter is loaded and are skipped elsewhere.
pub(super) fn set_parameters(parameters: &[(String, &str)]) -> Result<(), DriverError> {
    for (path, value) in parameters {
        let file = Path::new("/proc/sys/net").join(path);
        if path.starts_with("bridge/") && !file.exists() {
            continue;
        }
        std::fs::write(&file, value).map_err(io_error(format!("kernel parameter net/{path} cannot be set to {value}")))?;
    }
    Ok(())
}

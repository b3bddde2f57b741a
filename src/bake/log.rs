//! The full log of one bake, every line with its time.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A log file; lines that cannot be written are lost, since a full disk here must not end a bake there.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Creates `FOLDER/IMAGE-TIME.log` and the folders above it.
    pub fn create(folder: &Path, image: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S");
        let path = folder.join(format!("{image}-{time}.log"));
        Ok(Self { file: Mutex::new(File::create(&path)?), path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn line(&self, line: &str) {
        let time = jiff::Zoned::now().strftime("%H:%M:%S");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(file, "{time} {line}");
    }
}

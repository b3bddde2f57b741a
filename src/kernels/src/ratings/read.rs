//! Text to columns, without a cache; and why it fails.

use std::io;
use std::path::{Path, PathBuf};

use super::cache::CacheError;
use super::dialect::Names;
use super::format::{DetectError, Format, detect};
use super::scan::{scan, sources};
use super::workers::Workers;
use super::{Ratings, RatingsError, columns};

/// Ratings that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No files, or in no known format.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// A file could not be read.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that makes no sense.
    #[error("{}:{line}: expected {expected}, found {found:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What should have been there.
        expected: String,
        /// The beginning of what was there.
        found: String,
    },
    /// The rows are no set of ratings.
    #[error("{}: {reason}", path.display())]
    Rows {
        /// The input.
        path: PathBuf,
        /// Which rows.
        reason: RatingsError,
    },
    /// Pairs where ratings are needed.
    #[error("{} names pairs of movies and users without stars: it can be held out, but not be trained on", path.display())]
    NoStars {
        /// The input.
        path: PathBuf,
    },
    /// The input itself is a file of columns, and not a good one.
    #[error("{} cannot be used; make it again", path.display())]
    Columns {
        /// The input.
        path: PathBuf,
        /// Why.
        source: CacheError,
    },
}

impl ReadError {
    /// A malformed line, told by the text that begins with it.
    pub fn malformed(path: &Path, line: u64, expected: &str, text: &[u8]) -> Self {
        // No character takes more than four bytes, so 80 of them are complete.
        let end = text.iter().take(320).position(|byte| *byte == b'\n').unwrap_or(text.len().min(320));
        let text = String::from_utf8_lossy(&text[..end]);
        let found = text.trim_end().chars().take(80).collect();
        Self::Malformed { path: path.to_owned(), line, expected: expected.into(), found }
    }
}

/// Reads a file or folder of ratings on this thread; `progress` is told bytes done and in total.
pub fn read(path: &Path, format: Option<Format>, progress: impl FnMut(u64, u64)) -> Result<Ratings, ReadError> {
    let found = detect(path, format)?;
    let scanned = scan(&sources(&found, &Names::default())?, true, Workers::ONE, progress)?;
    columns::build(scanned.rows, Workers::ONE).map_err(|reason| ReadError::Rows { path: path.to_owned(), reason })
}

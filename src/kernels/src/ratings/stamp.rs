//! What is known of an input's content without reading it again.
//!
//! A stamp says: files of these sizes, times and inodes had the content that this key stands for. It is believed as long
//! as nothing of that has changed, so that 2 GB of text need not be read to find out that they are cached.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::cache::{Key, VERSION};
use super::dialect::Names;
use super::format::Format;
use super::scan::Source;
use crate::output::write_json;

/// A file that was changed less than this before it was read may be changed again without a new time: file systems keep
/// times in steps of up to 2 s, and a server's clock may differ a little.
const SETTLED: Duration = Duration::from_secs(4);

#[derive(Serialize, Deserialize)]
struct Stamp {
    version: u32,
    /// A hash of what is known of the files without reading them.
    files: String,
    /// The key of their content.
    key: String,
}

/// The key of an input's content, read in a certain way.
pub fn key(content: &[u8; 32], format: Format, names: &Names) -> Key {
    let way = format!("{VERSION} {format:?} {names:?}");
    *blake3::Hasher::new().update(content).update(way.as_bytes()).finalize().as_bytes()
}

/// Where the stamp of an input that is read in a certain way is.
pub fn path(folder: &Path, name: &str, format: Format, names: &Names) -> PathBuf {
    let way = blake3::hash(format!("{format:?} {names:?}").as_bytes()).to_hex();
    folder.join(format!(".{name}.{}.stamp", &way[..8]))
}

/// The key that the stamp promises for these files.
pub fn read(path: &Path, sources: &[Source]) -> Option<Key> {
    let stamp: Stamp = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let is_current = stamp.version == VERSION && stamp.files == files(sources);
    blake3::Hash::from_hex(stamp.key).ok().filter(|_| is_current).map(Into::into)
}

/// Leaves a stamp, unless a file is so new that it could still change unnoticed.
pub fn write(path: &Path, sources: &[Source], key: &Key) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_settled = |seconds: i64| Duration::from_secs(seconds.max(0) as u64) + SETTLED < now;
    if sources.iter().all(|source| is_settled(source.state.changes[0]) && is_settled(source.state.changes[2])) {
        let key = blake3::Hash::from_bytes(*key).to_hex().to_string();
        // Without a stamp the content is read again: slower, and as right.
        let _ = write_json(path, &Stamp { version: VERSION, files: files(sources), key });
    }
}

fn files(sources: &[Source]) -> String {
    let mut hasher = blake3::Hasher::new();
    for source in sources {
        hasher.update(format!("{:?} {:?} {:?}\n", source.path, source.compression, source.state).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

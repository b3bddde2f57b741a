//! The contents of volume snapshots, block by block.
//!
//! A snapshot is a sparse file in the state folder, `ID.img`: what the container driver copies from volumes has the
//! same form. Beside one that is written block by block stands `ID.sums`, the SHA-256 of each block that was written,
//! 32 bytes at 32 times its index and zeros for the others: it tells which blocks were written, survives a restart, and
//! a gigabyte of blocks costs 64 KiB of it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::DriverError;

/// Bytes in a block, as EBS has it.
pub const BLOCK: usize = 524_288;

/// Bytes in a block's checksum.
const SUM: usize = 32;

/// How many pairs of blocks one comparison looks at: a page that reads more than a gigabyte would keep its caller
/// waiting, and may be short instead.
const PAIRS: usize = 1024;

/// The SHA-256 of a block.
pub type Sum = [u8; SUM];

/// A block that two snapshots do not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedBlock {
    pub index: u64,
    pub in_first: bool,
    pub in_second: bool,
}

/// A part of a listing, and the index to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    pub blocks: Vec<T>,
    pub next: Option<u64>,
}

/// The snapshots of one cloud. Every answer comes from the disk; nothing is kept between calls.
#[derive(Debug, Clone)]
pub struct Blocks {
    folder: PathBuf,
}

impl Blocks {
    /// The snapshots in this folder, which is made with the first of them.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Begins a snapshot that is written block by block: empty, or as its parent was.
    pub async fn begin(&self, snapshot_id: &str, parent: Option<&str>) -> Result<(), DriverError> {
        let (image, sums) = (self.image(snapshot_id), self.sums(snapshot_id));
        let parent = parent.map(|parent| self.image(parent));
        let folder = self.folder.clone();
        self.work(format!("snapshot {snapshot_id} cannot be begun"), move || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            create(&sums)?;
            match parent.map(File::open).transpose() {
                Ok(Some(parent)) => copy_sparse(&parent, &create(&image)?),
                // A parent without a file has no blocks.
                Ok(None) => create(&image).map(drop),
                Err(error) if error.kind() == ErrorKind::NotFound => create(&image).map(drop),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Writes one block of a snapshot that was begun; the last write of an index counts.
    pub async fn write(&self, snapshot_id: &str, index: u64, data: Bytes, sum: Sum) -> Result<(), DriverError> {
        let (image, sums) = (self.image(snapshot_id), self.sums(snapshot_id));
        self.work(format!("block {index} of {snapshot_id} cannot be written"), move || {
            // Never made here: a snapshot that was deleted meanwhile must not come back.
            OpenOptions::new().write(true).open(image)?.write_all_at(&data, offset(index))?;
            OpenOptions::new().write(true).open(sums)?.write_all_at(&sum, index * SUM as u64)
        })
        .await
    }

    /// How many blocks were written, and the SHA-256 over their checksums in the order of their indexes.
    pub async fn written(&self, snapshot_id: &str) -> Result<(u64, Sum), DriverError> {
        let sums = self.sums(snapshot_id);
        self.work(format!("checksums of {snapshot_id} cannot be read"), move || {
            let mut digest = Sha256::new();
            let mut count = 0;
            each_sum(&File::open(sums)?, 0, |_, sum| {
                digest.update(sum);
                count += 1;
                true
            })?;
            Ok((count, digest.finalize().into()))
        })
        .await
    }

    /// Reads one block; what was never written reads as zeros.
    pub async fn read(&self, snapshot_id: &str, index: u64) -> Result<(Vec<u8>, Sum), DriverError> {
        let image = self.image(snapshot_id);
        self.work(format!("block {index} of {snapshot_id} cannot be read"), move || {
            let data = read_block(open(&image)?.as_ref(), index)?;
            let sum = Sha256::digest(&data).into();
            Ok((data, sum))
        })
        .await
    }

    /// The blocks from this index on that hold something, at most `limit`.
    pub async fn list(&self, snapshot_id: &str, from: u64, limit: usize) -> Result<Part<u64>, DriverError> {
        let (image, sums) = (self.image(snapshot_id), self.sums(snapshot_id));
        self.work(format!("blocks of {snapshot_id} cannot be listed"), move || {
            let mut blocks = present(open(&image)?.as_ref(), open(&sums)?.as_ref(), from, limit + 1)?;
            let next = blocks.get(limit).copied();
            blocks.truncate(limit);
            Ok(Part { blocks, next })
        })
        .await
    }

    /// The blocks from this index on that are not the same in both, at most `limit`; fewer where looking takes long.
    pub async fn changed(&self, first: &str, second: &str, from: u64, limit: usize) -> Result<Part<ChangedBlock>, DriverError> {
        let files = [first, second].map(|id| (self.image(id), self.sums(id)));
        self.work(format!("blocks of {first} and {second} cannot be compared"), move || {
            let [first, second] = files.map(|(image, sums)| Ok::<_, io::Error>((open(&image)?, open(&sums)?)));
            let (first, second) = (first?, second?);
            let list = |(image, sums): &(Option<File>, Option<File>)| present(image.as_ref(), sums.as_ref(), from, PAIRS + 1);
            let (in_first, in_second) = (list(&first)?, list(&second)?);
            let mut all: Vec<u64> = in_first.iter().chain(&in_second).copied().collect();
            all.sort_unstable();
            all.dedup();
            let mut part = Part { blocks: Vec::new(), next: all.get(PAIRS).copied() };
            for index in all.into_iter().take(PAIRS) {
                let [has_first, has_second] = [&in_first, &in_second].map(|list| list.binary_search(&index).is_ok());
                if has_first && has_second && same(&first, &second, index)? {
                    continue;
                }
                if part.blocks.len() == limit {
                    part.next = Some(index);
                    break;
                }
                part.blocks.push(ChangedBlock { index, in_first: has_first, in_second: has_second });
            }
            Ok(part)
        })
        .await
    }

    /// Makes a snapshot with the same contents; one without a file has none.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), DriverError> {
        let (source, target) = (self.image(from), self.image(to));
        self.work(format!("{from} cannot be copied to {to}"), move || match open(&source)? {
            None => Ok(()),
            Some(source) => {
                let fresh = target.with_extension("new");
                copy_sparse(&source, &create(&fresh)?)?;
                std::fs::rename(fresh, target)
            }
        })
        .await
    }

    /// Deletes what there is of a snapshot.
    pub(super) fn delete(&self, snapshot_id: &str) -> io::Result<()> {
        for file in [self.image(snapshot_id), self.sums(snapshot_id)] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The file of a snapshot's contents.
    pub(super) fn image(&self, snapshot_id: &str) -> PathBuf {
        self.folder.join(format!("{snapshot_id}.img"))
    }

    fn sums(&self, snapshot_id: &str) -> PathBuf {
        self.folder.join(format!("{snapshot_id}.sums"))
    }

    /// Does blocking work on a thread where it may block; names it when it fails.
    async fn work<T: Send + 'static>(
        &self,
        what: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|source| DriverError::Io { what, source }),
            Err(error) => Err(DriverError::State(format!("{what}: {error}"))),
        }
    }
}

fn offset(index: u64) -> u64 {
    index.saturating_mul(BLOCK as u64)
}

fn create(path: &Path) -> io::Result<File> {
    // Contents of disks may be secrets.
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Opens a file for reading, if there is one.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_block(image: Option<&File>, index: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; BLOCK];
    let Some(image) = image else { return Ok(data) };
    let mut filled = 0;
    while filled < BLOCK {
        match image.read_at(&mut data[filled..], offset(index) + filled as u64) {
            // A file ends with its last block that holds something.
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(data)
}

/// The first stretch at or after this place that is not a hole.
fn data_after(file: &File, place: u64) -> io::Result<Option<(u64, u64)>> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(place)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((begin, rustix::fs::seek(file, SeekFrom::Hole(begin))?)))
}

/// Calls with the index and the checksum of each block that was written, from this index on, until told to stop.
fn each_sum(sums: &File, from: u64, mut found: impl FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let mut place = from * SUM as u64;
    while let Some((begin, end)) = data_after(sums, place)? {
        // Holes begin and end at file system blocks, which hold whole checksums.
        place = begin - begin % SUM as u64;
        let mut data = vec![0; 64 << 10];
        while place < end {
            let count = sums.read_at(&mut data, place)?;
            let whole = count - count % SUM;
            if whole == 0 {
                return Ok(());
            }
            for (index, sum) in (place / SUM as u64..).zip(data[..whole].chunks_exact(SUM)) {
                if sum != [0; SUM] && !found(index, sum) {
                    return Ok(());
                }
            }
            place += whole as u64;
        }
    }
    Ok(())
}

/// The indexes from `from` on of blocks with data or a checksum, ascending, at most `limit`.
fn present(image: Option<&File>, sums: Option<&File>, from: u64, limit: usize) -> io::Result<Vec<u64>> {
    let mut indexes = Vec::new();
    if let Some(image) = image {
        let mut place = offset(from);
        while indexes.len() < limit
            && let Some((begin, end)) = data_after(image, place)?
        {
            let last = end.saturating_sub(1) / BLOCK as u64;
            let first = begin / BLOCK as u64;
            let room = limit - indexes.len();
            indexes.extend((first..=last).take(room));
            place = offset(last + 1);
        }
    }
    if let Some(sums) = sums {
        let mut written = Vec::new();
        each_sum(sums, from, |index, _| {
            written.push(index);
            written.len() < limit
        })?;
        indexes.extend(written);
        indexes.sort_unstable();
        indexes.dedup();
        indexes.truncate(limit);
    }
    Ok(indexes)
}

/// Whether a block is the same in two snapshots, each given by its contents and its checksums.
fn same(first: &(Option<File>, Option<File>), second: &(Option<File>, Option<File>), index: u64) -> io::Result<bool> {
    let known = |sums: Option<&File>| -> io::Result<Option<Sum>> {
        let mut sum = [0; SUM];
        match sums.map(|sums| sums.read_exact_at(&mut sum, index * SUM as u64)) {
            Some(Ok(())) if sum != [0; SUM] => Ok(Some(sum)),
            Some(Err(error)) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(None),
        }
    };
    if let (Some(one), Some(other)) = (known(first.1.as_ref())?, known(second.1.as_ref())?) {
        return Ok(one == other);
    }
    Ok(read_block(first.0.as_ref(), index)? == read_block(second.0.as_ref(), index)?)
}

/// Copies what is not a hole; the target is empty.
fn copy_sparse(source: &File, target: &File) -> io::Result<()> {
    let mut place = 0;
    let mut data = vec![0; BLOCK];
    while let Some((begin, end)) = data_after(source, place)? {
        place = begin;
        while place < end {
            let most = usize::try_from(end - place).unwrap_or(BLOCK).min(BLOCK);
            match source.read_at(&mut data[..most], place)? {
                0 => break,
                count => {
                    target.write_all_at(&data[..count], place)?;
                    place += count as u64;
                }
            }
        }
        place = end;
    }
    target.set_len(source.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> (Bytes, Sum) {
        let data = vec![byte; BLOCK];
        let sum = Sha256::digest(&data).into();
        (data.into(), sum)
    }

    async fn put(blocks: &Blocks, id: &str, index: u64, byte: u8) {
        let (data, sum) = block(byte);
        blocks.write(id, index, data, sum).await.unwrap();
    }

    fn blocks() -> (tempfile::TempDir, Blocks) {
        let folder = tempfile::tempdir().unwrap();
        let blocks = Blocks::new(folder.path().join("snapshots"));
        (folder, blocks)
    }

    #[tokio::test]
    async fn blocks_read_back_and_others_are_zeros_without_room_on_disk() {
        use std::os::unix::fs::MetadataExt as _;
        let (folder, blocks) = blocks();
        blocks.begin("a", None).await.unwrap();
        put(&blocks, "a", 4000, 7).await;
        put(&blocks, "a", 2, 9).await;
        // A block of zeros is one that was written, too.
        put(&blocks, "a", 3, 0).await;
        assert_eq!(blocks.read("a", 4000).await.unwrap().0, block(7).0);
        assert_eq!(blocks.read("a", 1).await.unwrap(), (vec![0; BLOCK], block(0).1));
        assert_eq!(blocks.read("a", 5000).await.unwrap().0, vec![0; BLOCK]);
        assert_eq!(blocks.list("a", 0, 100).await.unwrap(), Part { blocks: vec![2, 3, 4000], next: None });
        assert_eq!(blocks.list("a", 3, 1).await.unwrap(), Part { blocks: vec![3], next: Some(4000) });
        let file = std::fs::metadata(folder.path().join("snapshots/a.img")).unwrap();
        assert!(file.blocks() * 512 < 4 * BLOCK as u64 && file.len() == offset(4001));
    }

    #[tokio::test]
    async fn the_sum_of_all_is_over_raw_sums_in_the_order_of_indexes() {
        let (_folder, blocks) = blocks();
        blocks.begin("a", None).await.unwrap();
        put(&blocks, "a", 70_000, 1).await;
        put(&blocks, "a", 5, 2).await;
        put(&blocks, "a", 5, 3).await;
        let sum: Sum = Sha256::digest([block(3).1, block(1).1].concat()).into();
        assert_eq!(blocks.written("a").await.unwrap(), (2, sum));
    }

    #[tokio::test]
    async fn a_child_has_its_parents_blocks_and_differs_where_it_was_written() {
        let (_folder, blocks) = blocks();
        blocks.begin("a", None).await.unwrap();
        for index in 0..3 {
            put(&blocks, "a", index, 1).await;
        }
        blocks.begin("b", Some("a")).await.unwrap();
        put(&blocks, "b", 1, 2).await;
        put(&blocks, "b", 2, 1).await;
        put(&blocks, "b", 9, 3).await;
        assert_eq!(blocks.written("b").await.unwrap().0, 3);
        assert_eq!(blocks.read("b", 0).await.unwrap().0, block(1).0);
        let changed = [
            ChangedBlock { index: 1, in_first: true, in_second: true },
            ChangedBlock { index: 9, in_first: false, in_second: true },
        ];
        assert_eq!(blocks.changed("a", "b", 0, 100).await.unwrap(), Part { blocks: changed.to_vec(), next: None });
        let part = blocks.changed("a", "b", 0, 1).await.unwrap();
        assert_eq!(part, Part { blocks: vec![changed[0]], next: Some(9) });
    }

    #[tokio::test]
    async fn a_deleted_snapshot_is_not_written_to() {
        let (folder, blocks) = blocks();
        blocks.begin("a", None).await.unwrap();
        blocks.delete("a").unwrap();
        let (data, sum) = block(1);
        assert!(blocks.write("a", 0, data, sum).await.is_err());
        assert_eq!(std::fs::read_dir(folder.path().join("snapshots")).unwrap().count(), 0);
    }
}

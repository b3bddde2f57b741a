//! Ratings as a file of columns that is mapped and used as it is.
//!
//! A page of header, the columns `movie_ids`, `user_ids`, `offsets`, `raters` and `stars`, each at the beginning of a page,
//! little-endian, and a table with a BLAKE3 hash of each 4 MiB of columns, so that ranks can check a share each. The
//! header has a hash of itself and the table. A file gets its name when it is complete and on the disk, and never changes
//! afterwards: whoever has mapped it keeps what was mapped.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::Ratings;
use crate::output::OutputError;

/// What such a file begins with.
pub const MAGIC: &[u8; 8] = b"EWULFRAT";
/// The name of such a file where it is no cache but the input itself.
pub const FILE: &str = "ratings.ewulf";
/// Changes whenever files that were written before cannot be read any more, or would be read wrongly.
pub const VERSION: u32 = 1;
/// Columns begin at pages.
const PAGE: usize = 4096;
/// Twice the stars of the best rating.
const MOST_STARS: u8 = 10;
/// Bytes that have one hash in the table.
const BLOCK: usize = 4 << 20;
/// Where the header's own hash is.
const HEADER_HASH: Range<usize> = 72..104;

#[cfg(target_endian = "big")]
compile_error!("cached ratings are little-endian and used as they are mapped");

/// Which input, read how, a file was made from.
pub type Key = [u8; 32];

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It is not there, or may not be read.
    #[error("cached ratings {} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("cached ratings {} are damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where the columns of a file are, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    movie_ids: Range<usize>,
    user_ids: Range<usize>,
    offsets: Range<usize>,
    raters: Range<usize>,
    stars: Range<usize>,
    table: Range<usize>,
}

impl Layout {
    /// The layout for some numbers of movies, users and ratings; nothing if they fit no file.
    fn of(movies: u64, users: u64, ratings: u64) -> Option<Self> {
        let mut next = PAGE;
        let mut column = |count: u64, size: usize| {
            let begin = next;
            let end = begin.checked_add(usize::try_from(count).ok()?.checked_mul(size)?)?;
            next = end.checked_next_multiple_of(PAGE)?;
            Some(begin..end)
        };
        let movie_ids = column(movies, 4)?;
        let user_ids = column(users, 4)?;
        let offsets = column(movies.checked_add(1)?, 8)?;
        let (raters, stars) = (column(ratings, 4)?, column(ratings, 1)?);
        let table = column(((stars.end - PAGE).div_ceil(BLOCK)) as u64, blake3::OUT_LEN)?;
        Some(Self { movie_ids, user_ids, offsets, raters, stars, table })
    }

    /// The bytes that are hashed block by block.
    fn columns(&self) -> Range<usize> {
        PAGE..self.stars.end
    }
}

/// Numbers that the map's columns hold.
trait Plain {}
impl Plain for u32 {}
impl Plain for u64 {}

/// A file of ratings in memory, as far as it was touched.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    map: Mmap,
    layout: Layout,
}

impl Mapped {
    /// Maps a file; header, table and length are checked, the columns are not.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let unreadable = |source| CacheError::Unreadable { path: path.to_owned(), source };
        let damaged = |what| CacheError::Damaged { path: path.to_owned(), what };
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: nobody changes such a file once it has its name; see the module's first lines.
        let map = unsafe { MmapOptions::new().map(&file) }.map_err(unreadable)?;
        if map.len() < PAGE || map[..MAGIC.len()] != MAGIC[..] {
            return Err(damaged("it does not begin like one"));
        }
        let number = |at: usize| u64::from_le_bytes(map[at..at + 8].try_into().expect("eight bytes are eight bytes"));
        if map[8..12] != VERSION.to_le_bytes() {
            return Err(damaged("another version of ewulf wrote it"));
        }
        let layout = Layout::of(number(48), number(56), number(64)).filter(|layout| layout.table.end == map.len());
        let layout = layout.ok_or(damaged("it is not as long as its header says"))?;
        if map[HEADER_HASH] != header_hash(&map[..HEADER_HASH.start], &map[layout.table.clone()])[..] {
            return Err(damaged("its header or its table of hashes was changed"));
        }
        Ok(Self { path: path.to_owned(), map, layout })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which input, read how, it was made from.
    pub fn key(&self) -> Key {
        self.map[16..48].try_into().expect("32 bytes are 32 bytes")
    }

    /// Compares this rank's share of the columns with the table of hashes, and looks whether they are ratings: nobody who
    /// uses them looks again.
    pub fn check(&self, rank: usize, ranks: usize) -> Result<(), CacheError> {
        let damaged = |what| CacheError::Damaged { path: self.path.clone(), what };
        if !self.names_rise() {
            return Err(damaged("its ids or offsets do not rise"));
        }
        let columns = self.layout.columns();
        let table = self.map[self.layout.table.clone()].chunks(blake3::OUT_LEN);
        let begins = columns.clone().step_by(BLOCK);
        for (begin, hash) in begins.zip(table).skip(rank).step_by(ranks) {
            let block = begin..columns.end.min(begin + BLOCK);
            if blake3::hash(&self.map[block.clone()]).as_bytes() != hash {
                return Err(damaged("its columns were changed"));
            }
            // Now that they are in the caches, the numbers cost little more.
            if !self.are_raters(within(&self.layout.raters, &block, size_of::<u32>())) {
                return Err(damaged("a movie's users do not rise, or are none"));
            }
            if !self.are_stars(within(&self.layout.stars, &block, 1)) {
                return Err(damaged("it has more stars than 5"));
            }
        }
        Ok(())
    }

    /// Whether ids ascend, and offsets from 0 to the number of ratings.
    fn names_rise(&self) -> bool {
        let offsets = self.offsets();
        let ends = (offsets.first(), offsets.last().copied()) == (Some(&0), Some(self.stars().len() as u64));
        ends && falls(offsets, |one, next| one > next) == 0
            && falls(self.movie_ids(), |one, next| one >= next) == 0
            && falls(self.user_ids(), |one, next| one >= next) == 0
    }

    /// Whether the raters in some places are users, and ascend but where a movie begins.
    fn are_raters(&self, places: Range<usize>) -> bool {
        let (raters, users) = (self.raters(), self.user_ids().len());
        let first = self.offsets().partition_point(|offset| *offset <= places.start as u64);
        let ends = self.offsets()[first..].iter().map(|offset| *offset as usize).take_while(|end| *end <= places.end);
        let (mut last, mut allowed) = (0, 0);
        for end in ends {
            // Where they ascend, a movie's last rater is its largest.
            if raters[end - 1] as usize >= users {
                return false;
            }
            // Movies without ratings end where the one before does.
            allowed += usize::from(end != last && end < raters.len() && raters[end - 1] >= raters[end]);
            last = end;
        }
        // The pair with the first place of the next block belongs to this one.
        let pairs = &raters[places.start..raters.len().min(places.end + 1)];
        falls(pairs, |one, next| one >= next) == allowed
    }

    /// Whether the stars in some places can be: 0 where only pairs are known.
    fn are_stars(&self, places: Range<usize>) -> bool {
        self.stars()[places].iter().copied().fold(0, u8::max) <= MOST_STARS
    }

    /// The movies' ids.
    pub fn movie_ids(&self) -> &[u32] {
        self.numbers(&self.layout.movie_ids)
    }

    /// The users' ids.
    pub fn user_ids(&self) -> &[u32] {
        self.numbers(&self.layout.user_ids)
    }

    /// Where each movie's ratings begin, and after the last where they end.
    pub fn offsets(&self) -> &[u64] {
        self.numbers(&self.layout.offsets)
    }

    /// User indexes.
    pub fn raters(&self) -> &[u32] {
        self.numbers(&self.layout.raters)
    }

    /// Twice the stars.
    pub fn stars(&self) -> &[u8] {
        &self.map[self.layout.stars.clone()]
    }

    fn numbers<T: Plain>(&self, range: &Range<usize>) -> &[T] {
        let bytes = &self.map[range.clone()];
        // SAFETY: the columns begin at pages of a map, which begins at a page, so they are aligned; any bits are a number.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}

/// The places of a column's numbers of `size` bytes that a block of the file has: blocks end between numbers.
fn within(column: &Range<usize>, block: &Range<usize>, size: usize) -> Range<usize> {
    let place = |byte: usize| (byte.clamp(column.start, column.end) - column.start) / size;
    place(block.start)..place(block.end)
}

/// How many neighbours are in this relation.
fn falls<T: Copy>(numbers: &[T], relation: impl Fn(T, T) -> bool) -> usize {
    // Counted in 32 bits, the numbers' own width in most columns, so that many are compared at once; a block is far below.
    let pairs = numbers.iter().zip(numbers.get(1..).unwrap_or_default());
    pairs.map(|(one, next)| u32::from(relation(*one, *next))).sum::<u32>() as usize
}

/// The bytes of numbers, as they are in a file.
fn bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: plain numbers have no padding, and a byte needs no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

fn header_hash(header: &[u8], table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(table).finalize().into()
}

/// Writes ratings to `path`. A complete file that is there already stays, unless it is to be replaced.
///
/// Any number of processes may do so at once.
pub fn write(path: &Path, key: &Key, ratings: &Ratings, replace: bool) -> Result<(), OutputError> {
    let random = RandomState::new().hash_one((std::process::id(), path));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{}{name}.{random:016x}.partial", if name.starts_with('.') { "" } else { "." }));
    let attempt = || {
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        write_columns(&file, key, ratings)?;
        file.sync_all()?;
        // A link does not replace: others may have mapped the file that is there through a network, and would lose it.
        match if replace { Err(io::ErrorKind::Unsupported.into()) } else { fs::hard_link(&partial, path) } {
            Ok(()) => fs::remove_file(&partial),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&partial),
            // To be replaced, or on a file system without links.
            Err(_) => fs::rename(&partial, path),
        }
    };
    attempt().map_err(|error| {
        // The first error is the one worth telling; a leftover is named after its file and harmless.
        let _ = fs::remove_file(&partial);
        OutputError::new(path, error)
    })
}

fn write_columns(mut file: &File, key: &Key, ratings: &Ratings) -> io::Result<()> {
    let (movies, users, count) = (ratings.movies() as u64, ratings.users() as u64, ratings.len() as u64);
    let layout = Layout::of(movies, users, count).expect("columns that are in memory fit a file");
    let mut header = vec![0; PAGE];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..48].copy_from_slice(key);
    header[48..56].copy_from_slice(&movies.to_le_bytes());
    header[56..64].copy_from_slice(&users.to_le_bytes());
    header[64..72].copy_from_slice(&count.to_le_bytes());
    file.write_all(&header)?;

    // Ratings without movies have offsets all the same.
    let offsets: &[u64] = if ratings.offsets.is_empty() { &[0] } else { &ratings.offsets };
    let columns = [
        (&layout.movie_ids, bytes(&ratings.movie_ids)),
        (&layout.user_ids, bytes(&ratings.user_ids)),
        (&layout.offsets, bytes(offsets)),
        (&layout.raters, bytes(&ratings.raters)),
        (&layout.stars, &ratings.stars),
    ];
    let mut blocks = Blocks { file, block: Vec::with_capacity(BLOCK), table: Vec::new() };
    let mut place = PAGE;
    for (range, bytes) in columns {
        blocks.add(&[0; PAGE][..range.start - place])?;
        blocks.add(bytes)?;
        place = range.end;
    }
    blocks.flush()?;
    let table = blocks.table;
    file.write_all(&[0; PAGE][..layout.table.start - place])?;
    file.write_all(&table)?;
    let hash = header_hash(&header[..HEADER_HASH.start], &table);
    header[HEADER_HASH].copy_from_slice(&hash);
    std::os::unix::fs::FileExt::write_all_at(file, &header, 0)
}

/// Columns on their way into a file, hashed block by block.
struct Blocks<'a> {
    file: &'a File,
    block: Vec<u8>,
    table: Vec<u8>,
}

impl Blocks<'_> {
    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.table.extend_from_slice(blake3::hash(&self.block).as_bytes());
            self.file.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

//! Ratings on every rank of a run.
//!
//! Rank 0 reads the input, or finds that it was read before, and all ranks map the cached columns. What is cached is
//! beside the input, or in the working folder where that cannot be written to, under hidden names that begin with the
//! input's; it may be deleted whenever no job runs.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::cache::{self, CacheError, Key, Mapped};
use super::dialect::Names;
use super::format::{Format, detect};
use super::read::ReadError;
use super::scan::{Scanned, Source, scan, sources};
use super::store::Store;
use super::workers::Workers;
use super::{Ratings, columns, stamp};
use crate::communicator::{Communicator, Operation, wake};
use crate::startup::{Run, one_line};

/// Arguments that say where ratings come from.
#[derive(Clone, Debug, clap::Args)]
pub struct Input {
    /// Folder or file of ratings: Netflix Prize mv_*.txt or combined_data_*.txt, MovieLens ratings.csv, ratings.dat or
    /// u.data, any CSV with a header, plain or compressed by gzip or zstd; or columns that datagen wrote
    #[arg(long = "input", value_name = "PATH")]
    pub path: PathBuf,
    /// Format of the input, if it is not to be guessed from names and first lines
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// CSV columns.
    #[command(flatten)]
    pub names: Names,
    /// Read the text, and neither look for cached columns beside it nor leave them there
    #[arg(long)]
    pub no_cache: bool,
}

impl Input {
    /// The ratings at a path, in whatever format they are.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, names: Names::default(), no_cache: false }
    }
}

/// Loads ratings on every rank: collective. Rank 0 alone reads the input, and alone gets the error if it cannot.
pub fn load<C: Communicator>(run: &mut Run<'_, C>, input: &Input) -> Result<Store, ReadError> {
    let store = load_pairs(run, input)?;
    match store.stars().contains(&0) {
        true => Err(ReadError::NoStars { path: input.path.clone() }),
        false => Ok(store),
    }
}

/// The same for an input that may name pairs of movies and users without stars: these are 0.
pub fn load_pairs<C: Communicator>(run: &mut Run<'_, C>, input: &Input) -> Result<Store, ReadError> {
    let mut way = if input.no_cache { Way::Memory } else { Way::Cached };
    loop {
        let mut own = None;
        let mut path = Vec::new();
        if run.is_first() {
            let mut notes = Vec::new();
            let workers = Workers::of_run(run.communicator.size());
            let progress = |done, total| run.events.progress(done, total);
            let obtained = obtain(input, &run.folder, way, workers, progress, &mut notes);
            notes.iter().for_each(|note| run.events.note(note));
            let store = obtained?;
            path =
                store.path().filter(|_| way != Way::Memory).map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default();
            own = Some(store);
        }
        wake(run.communicator, 1..run.communicator.size());
        run.communicator.bcast_vector(0, &mut path);
        if path.is_empty() {
            return Ok(broadcast(run.communicator, own));
        }
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        let (store, state) = opened(run.communicator, own, &path);
        let mut worst = [0];
        run.communicator.allreduce(Operation::Min, &[state], &mut worst);
        match (store, worst[0]) {
            (Some(store), GOOD) => return Ok(store),
            (_, UNREACHABLE) => {
                run.events.note(&format!("{} is not seen by every rank: ratings are sent to them", path.display()));
                way = Way::Memory;
            }
            _ => {
                run.events.note(&format!("cached ratings {} are damaged: they are made again", path.display()));
                way = if way == Way::Cached { Way::Rebuilt } else { Way::Memory };
            }
        }
    }
}

/// How far ranks came with a file, from bad to good.
const UNREACHABLE: u64 = 0;
const DAMAGED: u64 = 1;
const GOOD: u64 = 2;

/// This rank's map of a file, and whether its share of the content is what was written.
fn opened<C: Communicator>(communicator: &C, own: Option<Store>, path: &Path) -> (Option<Store>, u64) {
    let store = match own.map_or_else(|| Mapped::open(path).map(Store::from), Ok) {
        Ok(store) => store,
        Err(CacheError::Unreadable { .. }) => return (None, UNREACHABLE),
        Err(CacheError::Damaged { .. }) => return (None, DAMAGED),
    };
    match store.check(communicator.rank(), communicator.size()) {
        Ok(()) => (Some(store), GOOD),
        Err(_) => (None, DAMAGED),
    }
}

/// Makes the ratings of every rank those of rank 0, which has them.
fn broadcast<C: Communicator>(communicator: &C, own: Option<Store>) -> Store {
    if let (Some(store), 1) = (&own, communicator.size()) {
        return store.clone();
    }
    let mut ratings = own.map_or_else(Ratings::default, |store| store.to_ratings());
    communicator.bcast_vector(0, &mut ratings.movie_ids);
    communicator.bcast_vector(0, &mut ratings.user_ids);
    communicator.bcast_vector(0, &mut ratings.offsets);
    communicator.bcast_vector(0, &mut ratings.raters);
    communicator.bcast_vector(0, &mut ratings.stars);
    ratings.into()
}

/// What rank 0 does to get ratings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Takes cached columns where there are any, and leaves some where there are none.
    Cached,
    /// Reads the text, and replaces the cached columns.
    Rebuilt,
    /// Reads the text.
    Memory,
}

/// Gets ratings in some way: the path is that of a file with them, if there is one.
fn obtain(
    input: &Input,
    working: &Path,
    way: Way,
    workers: Workers,
    mut progress: impl FnMut(u64, u64),
    notes: &mut Vec<String>,
) -> Result<Store, ReadError> {
    if let Some(path) = columns_in(&input.path) {
        // Nothing can be made again from it, so it has to be good here and now.
        let unusable = |source| ReadError::Columns { path: path.clone(), source };
        let mapped = Mapped::open(&path).map_err(unusable)?;
        mapped.check(0, 1).map_err(unusable)?;
        return Ok(mapped.into());
    }
    let found = detect(&input.path, input.format)?;
    let sources = sources(&found, &input.names)?;
    let places = Places::of(input, found.format, working);
    if way == Way::Cached
        && let Some(mapped) = places.find(input, &sources, workers, &mut progress, notes)?
    {
        return Ok(mapped.into());
    }
    let Scanned { content, rows } = scan(&sources, true, workers, progress)?;
    let ratings = columns::build(rows, workers).map_err(|reason| ReadError::Rows { path: input.path.clone(), reason })?;
    match way {
        Way::Memory => Ok(ratings.into()),
        Way::Cached | Way::Rebuilt => Ok(places.keep(ratings, &sources, &content, way == Way::Rebuilt, notes)),
    }
}

/// The file of columns that an input is, or has in it; anything else is for others to complain of.
fn columns_in(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let path = if path.is_dir() { path.join(cache::FILE) } else { path.to_owned() };
    let mut magic = [0; cache::MAGIC.len()];
    let read = std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
    (read.is_ok() && magic == *cache::MAGIC).then_some(path)
}

/// Where columns of an input may be.
struct Places<'a> {
    /// The folders, best first.
    folders: Vec<PathBuf>,
    /// The input's own name.
    name: String,
    format: Format,
    names: &'a Names,
}

impl<'a> Places<'a> {
    fn of(input: &'a Input, format: Format, working: &Path) -> Self {
        // `.`, `..` and such have no name of their own until they are looked up.
        let path = match input.path.file_name() {
            Some(_) => input.path.clone(),
            None => input.path.canonicalize().unwrap_or_else(|_| input.path.clone()),
        };
        let name = path.file_name().unwrap_or(OsStr::new("ratings")).to_string_lossy().into_owned();
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut folders = vec![beside.to_owned(), working.to_owned()];
        folders.dedup();
        Self { folders, name, format, names: &input.names }
    }

    fn columns(&self, folder: &Path, key: &Key) -> PathBuf {
        folder.join(format!(".{}.{}.ewulf", self.name, &blake3::Hash::from_bytes(*key).to_hex()[..32]))
    }

    fn stamp(&self, folder: &Path) -> PathBuf {
        stamp::path(folder, &self.name, self.format, self.names)
    }

    /// The columns that were made of this content, read in this way, if they are in any of the folders.
    fn find(
        &self,
        input: &Input,
        sources: &[Source],
        workers: Workers,
        progress: impl FnMut(u64, u64),
        notes: &mut Vec<String>,
    ) -> Result<Option<Mapped>, ReadError> {
        for folder in &self.folders {
            let stamped = stamp::read(&self.stamp(folder), sources);
            if let Some(mapped) = stamped.and_then(|key| self.open(&key, notes)) {
                return Ok(Some(mapped));
            }
        }
        if !self.folders.iter().any(|folder| self.has_columns(folder)) {
            return Ok(None);
        }
        let content = scan(sources, false, workers, progress)?.content;
        let key = stamp::key(&content, self.format, &input.names);
        let mapped = self.open(&key, notes);
        if let Some(folder) = mapped.as_ref().and_then(|mapped| mapped.path().parent()) {
            stamp::write(&self.stamp(folder), sources, &key);
        }
        Ok(mapped)
    }

    /// Whether a folder has columns of this input, of whatever content.
    fn has_columns(&self, folder: &Path) -> bool {
        let beginning = format!(".{}.", self.name);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with(&beginning) && name.ends_with(".ewulf"))
    }

    fn open(&self, key: &Key, notes: &mut Vec<String>) -> Option<Mapped> {
        self.folders.iter().find_map(|folder| match Mapped::open(&self.columns(folder, key)) {
            Ok(mapped) if mapped.key() == *key => Some(mapped),
            Ok(_) | Err(CacheError::Unreadable { .. }) => None,
            Err(error) => {
                notes.push(format!("{}: they are made again", one_line(&error)));
                // Whoever makes them anew must not take the name for that of a good file.
                let _ = std::fs::remove_file(self.columns(folder, key));
                None
            }
        })
    }

    /// Writes columns into the first folder that takes them; without any, they stay in memory.
    fn keep(&self, ratings: Ratings, sources: &[Source], content: &[u8; 32], replace: bool, notes: &mut Vec<String>) -> Store {
        let key = stamp::key(content, self.format, self.names);
        let mut reason = String::new();
        for folder in &self.folders {
            let path = self.columns(folder, &key);
            match cache::write(&path, &key, &ratings, replace) {
                Ok(()) => {
                    stamp::write(&self.stamp(folder), sources, &key);
                    return Mapped::open(&path).map_or_else(|_| Store::from(ratings), Store::from);
                }
                Err(error) => reason = one_line(&error),
            }
        }
        notes.push(format!("ratings are not cached: {reason}"));
        ratings.into()
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

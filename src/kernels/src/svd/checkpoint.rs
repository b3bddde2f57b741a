//! A training's state in one file, from which it goes on as if it had never stopped.
//!
//! A line that names the format, a line of JSON, the factors group by group as little-endian float32, and a checksum over
//! all of it. Rank 0 alone writes and reads; the file is replaced as a whole, so that there is always a complete one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::factors::{Factors, at_first, from_first};
use super::lines::Lines;
use crate::communicator::Communicator;
use crate::output::{OutputError, write_atomically};
use crate::random::mix;

/// The first line; another format has another number.
const FORMAT: &str = "ewulf svd checkpoint 1\n";

/// What a training must have in common with the one that wrote a checkpoint.
///
/// Numbers with a fraction are kept as bits, for JSON does not promise to return them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The method.
    pub method: String,
    /// Checksum of the training ratings and of the held-out ones.
    pub ratings: u64,
    /// Factors of a row.
    pub factors: usize,
    /// Bits of the learning rate.
    pub learning_rate: u64,
    /// Bits of the regularization.
    pub regularization: u64,
    /// Bits of the standard deviation, or of the first value, that factors begin with.
    pub start: u64,
    /// The seed.
    pub seed: u64,
    /// The number of groups.
    pub groups: usize,
    /// What else changes the result.
    pub other: String,
}

/// The header of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of which training.
    pub identity: Identity,
    /// Bits of the errors after each epoch, of the training ratings and of the held-out ones if there are any.
    pub history: Vec<(u64, Option<u64>)>,
    /// Whether the factors of the best epoch follow those of the last.
    pub has_best: bool,
}

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file could not be read.
    #[error("checkpoint {} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else, or not all of it.
    #[error("{} is no complete checkpoint: remove it to start anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another training.
    #[error("checkpoint {} is of another training, with another {what}: remove it to start anew", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

impl Identity {
    /// What differs first between two trainings.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let pairs = [
            ("method", self.method != other.method),
            ("set of ratings", self.ratings != other.ratings),
            ("number of factors", self.factors != other.factors),
            ("learning rate", self.learning_rate != other.learning_rate),
            ("regularization", self.regularization != other.regularization),
            ("start of factors", self.start != other.start),
            ("seed", self.seed != other.seed),
            ("number of groups", self.groups != other.groups),
            ("setting", self.other != other.other),
        ];
        pairs.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what)
    }
}

/// A checksum of 64 bits that finds what went wrong by accident, not by intent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds bytes; where one call ends and the next begins makes a difference.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// Adds one number.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(17) ^ word);
    }

    /// The sum so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// A writer or reader that sums up what passes.
struct Summed<'a, T> {
    inner: &'a mut T,
    checksum: Checksum,
}

impl<T: Write> Summed<'_, T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.add(bytes);
        self.inner.write_all(bytes)
    }

    fn put_values(&mut self, values: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.put(&bytes)
    }
}

impl<T: Read> Summed<'_, T> {
    fn take_values(&mut self, values: &mut [f32]) -> io::Result<()> {
        let mut bytes = vec![0; size_of_val(values)];
        self.inner.read_exact(&mut bytes)?;
        self.checksum.add(&bytes);
        values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        Ok(())
    }
}

/// Writes a checkpoint: collective. `lengths` are the values of each group of users and of movies.
pub fn write<C: Communicator>(
    communicator: &C,
    path: &Path,
    header: &Header,
    lengths: (&[usize], &[usize]),
    states: &[&Factors],
) -> Result<(), OutputError> {
    if communicator.rank() != 0 {
        // Nothing is taken here, so nothing can fail.
        return gather(communicator, lengths, states, &mut |_| Ok(())).map_err(|source| OutputError::new(path, source));
    }
    write_atomically(path, |writer| {
        let mut writer = Summed { inner: writer, checksum: Checksum::default() };
        writer.put(FORMAT.as_bytes())?;
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        writer.put(&line)?;
        gather(communicator, lengths, states, &mut |values| writer.put_values(values))?;
        let checksum = writer.checksum.value();
        writer.inner.write_all(&checksum.to_le_bytes())
    })
}

fn gather<C: Communicator>(
    communicator: &C,
    (users, movies): (&[usize], &[usize]),
    states: &[&Factors],
    take: &mut impl FnMut(&[f32]) -> io::Result<()>,
) -> io::Result<()> {
    for state in states {
        at_first(communicator, users, &state.users, |_, values| take(values))?;
        at_first(communicator, movies, &state.movies, |_, values| take(values))?;
    }
    Ok(())
}

/// Reads a checkpoint, if there is one: collective. The factors are those of the last epoch and, if it is another, of the
/// best.
pub fn read<C: Communicator>(
    communicator: &C,
    path: &Path,
    identity: &Identity,
    (users, movies): (&[usize], &[usize]),
) -> Result<Option<(Header, Vec<Factors>)>, CheckpointError> {
    let mut opened = if communicator.rank() == 0 { open(path, identity)? } else { None };
    let mut line = opened.as_ref().map_or(Vec::new(), |(_, header, _)| serde_json::to_vec(header).expect("a header is JSON"));
    communicator.bcast_vector(0, &mut line);
    if line.is_empty() {
        return Ok(None);
    }
    let header: Header = serde_json::from_slice(&line).expect("rank 0 made it of a header");
    let mut states = Vec::new();
    let mut fill = |values: &mut [f32]| {
        let (reader, _, checksum) = opened.as_mut().expect("only rank 0 reads");
        let mut reader = Summed { inner: reader, checksum: *checksum };
        reader.take_values(values).map_err(|source| unusable(path, source))?;
        *checksum = reader.checksum;
        Ok(())
    };
    for _ in 0..1 + usize::from(header.has_best) {
        let lines = |values: Vec<f32>| {
            let mut lines = Lines::zeros(values.len());
            lines.copy_from_slice(&values);
            lines
        };
        let users = from_first(communicator, users, &mut fill)?.into_iter().map(lines).collect();
        states.push(Factors { users, movies: from_first(communicator, movies, &mut fill)? });
    }
    if let Some((reader, _, checksum)) = &mut opened {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).map_err(|source| unusable(path, source))?;
        if rest != checksum.value().to_le_bytes() {
            return Err(CheckpointError::Damaged { path: path.to_owned() });
        }
    }
    Ok(Some((header, states)))
}

/// The file behind its header, the header, and the checksum so far; nothing if there is no file.
fn open(path: &Path, identity: &Identity) -> Result<Option<(BufReader<File>, Header, Checksum)>, CheckpointError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|source| unusable(path, source))?,
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut checksum = Checksum::default();
    let mut line = || {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(|source| unusable(path, source))?;
        checksum.add(&line);
        Ok(line)
    };
    let damaged = || CheckpointError::Damaged { path: path.to_owned() };
    if line()? != FORMAT.as_bytes() {
        return Err(damaged());
    }
    let header: Header = serde_json::from_slice(&line()?).map_err(|_| damaged())?;
    match header.identity.difference(identity) {
        Some(what) => Err(CheckpointError::Other { path: path.to_owned(), what }),
        None => Ok(Some((reader, header, checksum))),
    }
}

/// A file that ends early is damaged; any other failure is the file system's.
fn unusable(path: &Path, source: io::Error) -> CheckpointError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => CheckpointError::Damaged { path: path.to_owned() },
        _ => CheckpointError::Unreadable { path: path.to_owned(), source },
    }
}

//! Files to rows and a hash of their content, in parallel.
//!
//! Files are cut into blocks that threads take in order. A line belongs to the block that it begins in. The answer, the
//! error included, is that of reading all lines one after the other.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::Rows;
use super::dialect::{Dialect, Header, MARK, Names};
use super::format::{Compression, Found, beginning};
use super::parse::LineParser;
use super::read::ReadError;
use super::text::{LONGEST_LINE, Malformed, count_lines, parse};
use super::workers::Workers;

/// Bytes of a block: with the rows made of it, half of a core's second-level cache.
#[cfg(not(test))]
pub const BLOCK: u64 = 1 << 20;
/// In tests, small files have many blocks.
#[cfg(test)]
pub const BLOCK: u64 = 1 << 8;
/// A header is a line.
const HEADER: u64 = LONGEST_LINE as u64;

/// A file as it was when the reading began.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: Option<Compression>,
    /// Its size, and what changes when anybody writes to it.
    pub state: State,
    header: Header,
}

/// What tells that a file has not changed since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Bytes.
    pub length: u64,
    /// Seconds and nanoseconds of the last change of content, and of anything.
    pub changes: [i64; 4],
    /// Which file it is.
    pub inode: [u64; 2],
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            changes: [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()],
            inode: [metadata.dev(), metadata.ino()],
        }
    }
}

/// Looks at the files of an input; headers are read, nothing else is.
pub fn sources(found: &Found, names: &Names) -> Result<Vec<Source>, ReadError> {
    let source = |(path, compression): &(PathBuf, Option<Compression>)| {
        let unreadable = |source| ReadError::Unreadable { path: path.clone(), source };
        let state = State::of(&std::fs::metadata(path).map_err(unreadable)?);
        // Opening 17,770 files to find no header in any of them would cost as much as reading them.
        let is_small_netflix = found.files.len() > 1 && compression.is_none() && Dialect::has_no_header(found.format);
        let start = if is_small_netflix { Vec::new() } else { beginning(path, HEADER).map_err(unreadable)?.1 };
        let header = Dialect::of(found.format, names, &start).map_err(|expected| {
            let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
            ReadError::malformed(path, 1, &expected, line)
        })?;
        Ok(Source { path: path.clone(), compression: *compression, state, header })
    };
    found.files.iter().map(source).collect()
}

/// What was found in files.
#[derive(Debug, Default)]
pub struct Scanned {
    /// A hash of the files' contents, in order.
    pub content: [u8; 32],
    /// Their rows in order, in parts; none if they were not asked for.
    pub rows: Vec<Rows>,
}

/// A part of a file; a compressed one is a single block.
#[derive(Clone, Copy)]
struct Block {
    file: usize,
    begin: u64,
    end: u64,
}

/// What is in a block.
struct Piece {
    hash: blake3::Hash,
    rows: Rows,
    /// The number of first rows whose movie is named in an earlier block.
    before: usize,
    /// The last movie that the block names.
    movie: Option<u32>,
}

/// Reads all files; `progress` is told bytes done and in total.
pub fn scan(
    sources: &[Source],
    with_rows: bool,
    workers: Workers,
    mut progress: impl FnMut(u64, u64),
) -> Result<Scanned, ReadError> {
    let blocks = blocks(sources);
    let total = sources.iter().map(|source| source.state.length).sum();
    let mut done = 0;
    let mut pieces: Vec<Option<Piece>> = blocks.iter().map(|_| None).collect();
    let mut first_error: Option<(usize, ReadError)> = None;
    let mut accept = |place: usize, piece: Result<Piece, ReadError>| {
        match piece {
            Ok(piece) => pieces[place] = Some(piece),
            Err(error) if first_error.as_ref().is_none_or(|(first, _)| place < *first) => first_error = Some((place, error)),
            Err(_) => {}
        }
        done += blocks[place].end - blocks[place].begin;
        progress(done, total);
    };
    in_order(blocks.len(), workers, |place, buffer| scan_block(sources, blocks[place], with_rows, buffer), &mut accept);
    match first_error {
        Some((_, error)) => Err(error),
        None => joined(sources, &blocks, pieces),
    }
}

fn blocks(sources: &[Source]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        let length = source.state.length;
        let step = if source.compression.is_some() { length.max(1) } else { BLOCK };
        // An empty file is a block too: its hash counts.
        for index in 0..length.div_ceil(step).max(1) {
            blocks.push(Block { file, begin: index * step, end: length.min((index + 1) * step) });
        }
    }
    blocks
}

/// Does all places on some threads, each thread with a buffer of its own, and hands answers to `accept` as they come.
///
/// Places are begun in order, and none after an error: all before the first error are done.
fn in_order<T: Send>(
    count: usize,
    workers: Workers,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<T, ReadError> + Sync,
    accept: &mut impl FnMut(usize, Result<T, ReadError>),
) {
    let next = AtomicUsize::new(0);
    let one_after_another = |mut answer: Box<dyn FnMut(usize, Result<T, ReadError>) + '_>| {
        let mut buffer = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                break;
            }
            let outcome = work(place, &mut buffer);
            if outcome.is_err() {
                // Above every place, and far from an overflow.
                next.store(usize::MAX / 2, Ordering::Relaxed);
            }
            answer(place, outcome);
        }
    };
    if workers.count.min(count) <= 1 {
        return one_after_another(Box::new(accept));
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers.count.min(count) {
            let sender = sender.clone();
            let one_after_another = &one_after_another;
            scope.spawn(move || {
                workers.settle();
                // The receiver lives until all senders are gone.
                one_after_another(Box::new(move |place, outcome| drop(sender.send((place, outcome)))));
            });
        }
        drop(sender);
        receiver.into_iter().for_each(|(place, outcome)| accept(place, outcome));
    });
}

fn scan_block(sources: &[Source], block: Block, with_rows: bool, buffer: &mut Vec<u8>) -> Result<Piece, ReadError> {
    let source = &sources[block.file];
    let unreadable = |error| ReadError::Unreadable { path: source.path.clone(), source: error };
    let file = File::open(&source.path).map_err(unreadable)?;
    if State::of(&file.metadata().map_err(unreadable)?) != source.state {
        return Err(unreadable(io::Error::other("it was changed while it was read")));
    }
    let mut parser = LineParser::new(source.header.dialect.clone());
    let mut rows = Rows::default();
    let hash = match source.compression {
        None => scan_plain(source, &file, block, with_rows.then_some((&mut parser, &mut rows)), buffer)?,
        Some(compression) => scan_compressed(source, &file, compression, with_rows.then_some((&mut parser, &mut rows)), buffer)?,
    };
    let movie = parser.before.and(parser.movie);
    Ok(Piece { hash, before: parser.before.unwrap_or(rows.len()), movie, rows })
}

type Target<'a> = Option<(&'a mut LineParser, &'a mut Rows)>;

fn scan_plain(
    source: &Source,
    file: &File,
    block: Block,
    target: Target<'_>,
    buffer: &mut Vec<u8>,
) -> Result<blake3::Hash, ReadError> {
    // One byte before tells whether a line begins here, and the last line may end behind.
    let from = block.begin.saturating_sub(1);
    let to = source.state.length.min(block.end + LONGEST_LINE as u64);
    buffer.resize(buffer.len().max((to - from) as usize), 0);
    let text = &mut buffer[..(to - from) as usize];
    file.read_exact_at(text, from).map_err(|error| ReadError::Unreadable { path: source.path.clone(), source: error })?;
    let (begin, end) = ((block.begin - from) as usize, (block.end - from) as usize);
    let hash = blake3::hash(&text[begin..end]);
    let Some((parser, rows)) = target else { return Ok(hash) };
    let first = if block.begin == 0 {
        let is_marked = source.header.length == 0 && text.starts_with(MARK);
        if is_marked { MARK.len() } else { source.header.length.min(end) }
    } else {
        if matches!(source.header.dialect, Dialect::Netflix { .. }) {
            // Whose ratings these are is known once all blocks are read.
            parser.movie = Some(0);
        }
        // No line begins inside the header.
        let search = (source.header.length as u64).saturating_sub(block.begin).min(block.end - block.begin) as usize;
        text[search..end].iter().position(|byte| *byte == b'\n').map_or(end, |at| search + at + 1)
    };
    parse(text, first, end, parser, rows)
        .map_err(|malformed| located(source, file, &text[malformed.at..], from + malformed.at as u64, malformed))?;
    Ok(hash)
}

/// A malformed line of a plain file, its number counted from the file's beginning.
fn located(source: &Source, file: &File, line: &[u8], at: u64, malformed: Malformed) -> ReadError {
    let mut buffer = vec![0; 1 << 16];
    let (mut lines, mut place) = (1, 0);
    while place < at {
        let length = (at - place).min(buffer.len() as u64) as usize;
        if let Err(error) = file.read_exact_at(&mut buffer[..length], place) {
            return ReadError::Unreadable { path: source.path.clone(), source: error };
        }
        lines += count_lines(&buffer[..length]) as u64;
        place += length as u64;
    }
    ReadError::malformed(&source.path, lines, malformed.expected, line)
}

fn scan_compressed(
    source: &Source,
    file: &File,
    compression: Compression,
    target: Target<'_>,
    buffer: &mut Vec<u8>,
) -> Result<blake3::Hash, ReadError> {
    let unreadable = |error| ReadError::Unreadable { path: source.path.clone(), source: error };
    let mut hashed = Hashed { file, hasher: blake3::Hasher::new() };
    if let Some((parser, rows)) = target {
        let mut text = compression.reader(&mut hashed);
        parse_stream(source, &mut text, parser, rows, buffer)?;
    }
    // What the decoder did not want counts too.
    io::copy(&mut hashed, &mut io::sink()).map_err(unreadable)?;
    Ok(hashed.hasher.finalize())
}

/// Parses text from beginning to end, a block at a time.
fn parse_stream(
    source: &Source,
    text: &mut dyn Read,
    parser: &mut LineParser,
    rows: &mut Rows,
    buffer: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let capacity = BLOCK as usize + LONGEST_LINE;
    buffer.resize(buffer.len().max(capacity), 0);
    let (mut kept, mut lines, mut header, mut over) = (0, 0, source.header.length, false);
    while !over {
        let mut filled = kept;
        while filled < capacity && !over {
            let length = text
                .read(&mut buffer[filled..capacity])
                .map_err(|error| ReadError::Unreadable { path: source.path.clone(), source: error })?;
            filled += length;
            over = length == 0;
        }
        let end = if over { filled } else { filled - LONGEST_LINE };
        let begin = header.min(end);
        let part = &buffer[..filled];
        parse(part, begin, end, parser, rows).map_err(|malformed| {
            let line = lines + count_lines(&part[..malformed.at]) as u64 + 1;
            ReadError::malformed(&source.path, line, malformed.expected, &part[malformed.at..])
        })?;
        // The last line may have ended behind `end`; what follows it is still to be read.
        let rest = match part[..end].last() {
            Some(b'\n') | None => end,
            _ => part[end..].iter().position(|byte| *byte == b'\n').map_or(filled, |at| end + at + 1),
        };
        lines += count_lines(&part[..rest]) as u64;
        header = header.saturating_sub(rest);
        buffer.copy_within(rest..filled, 0);
        kept = filled - rest;
    }
    Ok(())
}

/// A file whose bytes are hashed as they are read.
struct Hashed<'a> {
    file: &'a File,
    hasher: blake3::Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(into)?;
        self.hasher.update(&into[..length]);
        Ok(length)
    }
}

/// Puts pieces together: rows at the beginning of a block belong to the last movie named before.
fn joined(sources: &[Source], blocks: &[Block], pieces: Vec<Option<Piece>>) -> Result<Scanned, ReadError> {
    let mut hasher = blake3::Hasher::new();
    let mut rows = Vec::with_capacity(pieces.len());
    let mut movie = None;
    for (block, piece) in blocks.iter().zip(pieces) {
        let mut piece = piece.expect("every block was read, or there was an error");
        if block.begin == 0 {
            movie = None;
            hasher.update(&sources[block.file].state.length.to_le_bytes());
        }
        hasher.update(piece.hash.as_bytes());
        let is_netflix = matches!(sources[block.file].header.dialect, Dialect::Netflix { .. });
        if is_netflix && block.begin > 0 && piece.before > 0 {
            let Some(movie) = movie else { return Err(nameless(&sources[block.file].path)) };
            piece.rows.movies[..piece.before].fill(movie);
        }
        movie = piece.movie.or(movie);
        if !piece.rows.is_empty() {
            rows.push(piece.rows);
        }
    }
    Ok(Scanned { content: hasher.finalize().into(), rows })
}

/// A file whose first blocks are blank, and which then goes on with ratings of no movie.
fn nameless(path: &Path) -> ReadError {
    let lines = std::fs::read(path).unwrap_or_default();
    let mut lines = lines.split(|byte| *byte == b'\n').zip(1..);
    let (line, number) = lines.find(|(line, _)| !line.trim_ascii().is_empty()).unwrap_or((b"", 1));
    ReadError::malformed(path, number, super::parse::NO_MOVIE, line)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;

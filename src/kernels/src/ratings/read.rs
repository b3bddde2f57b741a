//! Rating files from disk: which files, line by line, with file and line number when one is malformed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{DetectError, Format, detect};
use super::parse::LineParser;
use super::{Ratings, RatingsError, Rows};

/// Lines of every format are far shorter; a file without line breaks must not fill the memory.
const LONGEST_LINE: u64 = 4096;
/// Rows between two reports of progress.
const PROGRESS_ROWS: usize = 1 << 16;

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
}

/// Reads a file or folder of ratings; `progress` is told bytes done and in total.
pub fn read(path: &Path, format: Option<Format>, mut progress: impl FnMut(u64, u64)) -> Result<Ratings, ReadError> {
    let (format, files) = detect(path, format)?;
    let total = files.iter().map(|file| std::fs::metadata(file).map_or(0, |metadata| metadata.len())).sum();
    let mut rows = Rows::default();
    let mut done = 0;
    for file in &files {
        done = read_file(file, format, &mut rows, done, &mut |done| progress(done, total))?;
    }
    progress(total, total);
    Ratings::from_rows(rows).map_err(|reason| ReadError::Rows { path: path.to_owned(), reason })
}

/// Adds the rows of one file; returns the bytes read so far, `done` included.
fn read_file(
    path: &Path,
    format: Format,
    rows: &mut Rows,
    mut done: u64,
    progress: &mut impl FnMut(u64),
) -> Result<u64, ReadError> {
    let unreadable = |source| ReadError::Unreadable { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let mut parser = LineParser::new(format);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = take_line(&mut reader, &mut line).map_err(unreadable)?;
        if length == 0 {
            break;
        }
        done += length;
        let whole = line.ends_with(b"\n") || length < LONGEST_LINE;
        let answer = if whole { parser.line(&line, rows) } else { Err("a line of at most 4096 bytes") };
        if let Err(expected) = answer {
            let text = String::from_utf8_lossy(&line);
            let found = text.trim_end().chars().take(80).collect();
            return Err(ReadError::Malformed { path: path.to_owned(), line: number, expected: expected.into(), found });
        }
        if rows.len() % PROGRESS_ROWS == 0 {
            progress(done);
        }
    }
    Ok(done)
}

/// Appends the next line with its end, or its first [`LONGEST_LINE`] bytes; returns their number, 0 at the end.
fn take_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    reader.take(LONGEST_LINE).read_until(b'\n', line).map(|length| length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_netflix_folder_reads_all_its_movies() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mv_0000001.txt"), "1:\n7,4,2005-01-01\n9,5,2004-02-03\n").unwrap();
        fs::write(folder.path().join("mv_0000003.txt"), "3:\n9,1,2005-01-01").unwrap();
        fs::write(folder.path().join("movie_titles.txt"), "1,2003,Dinosaur Planet\n").unwrap();
        let mut told = Vec::new();
        let ratings = read(folder.path(), None, |done, total| told.push((done, total))).unwrap();
        assert_eq!(ratings.movie_ids, [1, 3]);
        assert_eq!((ratings.users(), ratings.len()), (2, 3));
        assert_eq!(told.last(), Some(&(50, 50)));
    }

    #[test]
    fn a_malformed_line_is_named_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratings.csv");
        fs::write(&path, "userId,movieId,rating,timestamp\n1,2,3.5,4\n1,x,3.5,4\n").unwrap();
        let error = read(&path, None, |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("ratings.csv:3: expected `userId,movieId,rating,timestamp`"), "{error}");
        assert!(error.ends_with("found \"1,x,3.5,4\""), "{error}");
    }

    #[test]
    fn binary_junk_and_endless_lines_are_errors_of_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("u.data");
        for junk in [vec![0xff; 10_000], vec![b'1'; 10_000], b"1\t2\t3\xfe\t4".to_vec()] {
            fs::write(&path, junk).unwrap();
            let error = read(&path, None, |_, _| {}).unwrap_err().to_string();
            assert!(error.contains("u.data:1: expected"), "{error}");
            assert!(!error.contains('\n') && error.len() < 800, "{error}");
        }
    }

    #[test]
    fn a_file_of_nothing_but_a_header_has_no_ratings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratings.csv");
        fs::write(&path, "userId,movieId,rating,timestamp\n").unwrap();
        assert!(read(&path, None, |_, _| {}).unwrap().is_empty());
    }
}

//! The formats that ratings come in, and how to tell them apart.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A format of rating files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Netflix Prize: `MOVIE:` lines, each followed by `USER,STARS,YYYY-MM-DD` lines; a folder of mv_*.txt, or one file
    Netflix,
    /// Netflix Prize probe.txt: `MOVIE:` lines, each followed by `USER` lines; the stars are those of another input
    NetflixProbe,
    /// MovieLens ratings.csv: `userId,movieId,rating,timestamp` with half stars
    MovielensCsv,
    /// MovieLens ratings.dat: `user::movie::rating::timestamp` with half stars
    MovielensDat,
    /// MovieLens 100k u.data: user, movie, whole stars, timestamp, separated by tabs
    #[value(name = "movielens-100k")]
    Movielens100k,
}

/// An input that is not recognised.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// It could not be read at all.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder without any known file in it.
    #[error("{} holds no ratings: expected {expected} in it", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// Names of the files looked for.
        expected: &'static str,
    },
    /// A file that looks like no format.
    #[error("{} is in no known format: {reason}; --format names one of them", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
}

impl Format {
    /// All formats, in the order in which a folder is searched for their files.
    const ALL: [Self; 5] = [Self::Netflix, Self::MovielensCsv, Self::MovielensDat, Self::Movielens100k, Self::NetflixProbe];

    /// What a folder of this format holds.
    fn names(self) -> &'static str {
        match self {
            Self::Netflix => "mv_*.txt",
            Self::NetflixProbe => "probe.txt",
            Self::MovielensCsv => "ratings.csv",
            Self::MovielensDat => "ratings.dat",
            Self::Movielens100k => "u.data",
        }
    }

    /// Whether a file of this name is of this format.
    fn owns(self, name: &str) -> bool {
        match self {
            // Kaggle hands the same lines out as four files.
            Self::Netflix => (name.starts_with("mv_") || name.starts_with("combined_data_")) && name.ends_with(".txt"),
            other => name == other.names(),
        }
    }

    /// The format whose first lines these are.
    fn of_lines(line: &str, second: Option<&str>) -> Option<Self> {
        let line = line.trim_start_matches('\u{feff}').trim_end();
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match line {
            _ if line.strip_suffix(':').is_some_and(number) => match second.map(str::trim_end) {
                Some(second) if number(second) => Some(Self::NetflixProbe),
                _ => Some(Self::Netflix),
            },
            _ if line.contains("::") => Some(Self::MovielensDat),
            _ if line.contains('\t') => Some(Self::Movielens100k),
            _ if line.starts_with("userId,") || line.split(',').take(2).all(number) && line.contains(',') => {
                Some(Self::MovielensCsv)
            }
            _ => None,
        }
    }
}

/// The format of an input and its files in reading order.
///
/// A folder is searched for known names, here and in `training_set`; a file is told by its first line, or by its name if
/// it is empty. `format` overrides the guess.
pub fn detect(path: &Path, format: Option<Format>) -> Result<(Format, Vec<PathBuf>), DetectError> {
    let unreadable = |source| DetectError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return in_folder(path, format);
    }
    let format = match format {
        Some(format) => format,
        None => of_file(path)?,
    };
    Ok((format, vec![path.to_owned()]))
}

fn in_folder(path: &Path, format: Option<Format>) -> Result<(Format, Vec<PathBuf>), DetectError> {
    for folder in [path.to_owned(), path.join("training_set")] {
        if folder.as_path() != path && !folder.is_dir() {
            continue;
        }
        let entries = std::fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>());
        let mut entries = entries.map_err(|source| DetectError::Unreadable { path: folder.clone(), source })?;
        entries.sort();
        let candidates = Format::ALL.into_iter().filter(|candidate| format.is_none_or(|format| format == *candidate));
        for candidate in candidates {
            let named = |path: &&PathBuf| path.file_name().is_some_and(|name| candidate.owns(&name.to_string_lossy()));
            let files: Vec<PathBuf> = entries.iter().filter(named).cloned().collect();
            if !files.is_empty() {
                return Ok((candidate, files));
            }
        }
    }
    let expected = format.map_or("mv_*.txt, ratings.csv, ratings.dat or u.data", Format::names);
    Err(DetectError::EmptyFolder { path: path.to_owned(), expected })
}

fn of_file(path: &Path) -> Result<Format, DetectError> {
    use std::io::Read;
    // The first line of every format fits several times.
    const BEGINNING: u64 = 4096;
    let mut beginning = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning))
        .map_err(|source| DetectError::Unreadable { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&beginning);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let by_name = || Format::ALL.into_iter().find(|format| format.owns(&name));
    Format::of_lines(line, lines.next()).or_else(by_name).ok_or_else(|| {
        let shown: String = line.chars().take(60).collect();
        let reason = if beginning.is_empty() { "it is empty".into() } else { format!("its first line is {shown:?}") };
        DetectError::Unknown { path: path.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_told_by_its_first_line_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        for (line, format) in [
            ("17:\n3,4,2005-01-01\n", Format::Netflix),
            ("17:\r\n3\r\n", Format::NetflixProbe),
            ("\u{feff}userId,movieId,rating,timestamp\r\n", Format::MovielensCsv),
            ("1,2,3.5,964982703\n", Format::MovielensCsv),
            ("1::122::5::838985046\n", Format::MovielensDat),
            ("196\t242\t3\t881250949\n", Format::Movielens100k),
        ] {
            fs::write(&path, line).unwrap();
            assert_eq!(detect(&path, None).unwrap().0, format, "{line}");
        }
    }

    #[test]
    fn an_unknown_or_empty_file_says_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, "hello\n").unwrap();
        assert!(detect(&path, None).unwrap_err().to_string().contains("its first line is \"hello\""));
        fs::write(&path, "").unwrap();
        assert!(detect(&path, None).unwrap_err().to_string().contains("it is empty"));
        assert_eq!(detect(&path, Some(Format::Netflix)).unwrap().0, Format::Netflix);
        fs::write(folder.path().join("ratings.csv"), "").unwrap();
        assert_eq!(detect(&folder.path().join("ratings.csv"), None).unwrap().0, Format::MovielensCsv);
    }

    #[test]
    fn a_folder_is_searched_for_known_names_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let training = folder.path().join("training_set");
        assert!(detect(folder.path(), None).unwrap_err().to_string().contains("expected mv_*.txt, ratings.csv"));
        fs::create_dir(&training).unwrap();
        fs::write(training.join("mv_0000002.txt"), "").unwrap();
        fs::write(training.join("mv_0000001.txt"), "").unwrap();
        let (format, files) = detect(folder.path(), None).unwrap();
        assert_eq!(format, Format::Netflix);
        assert_eq!(files, [training.join("mv_0000001.txt"), training.join("mv_0000002.txt")]);
        fs::write(folder.path().join("u.data"), "").unwrap();
        assert_eq!(detect(folder.path(), None).unwrap().0, Format::Movielens100k);
        assert_eq!(detect(folder.path(), Some(Format::Netflix)).unwrap().0, Format::Netflix);
    }
}

//! The formats that ratings come in, and how to tell them apart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A format of rating files; each of them may be compressed by gzip or zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Netflix Prize: `MOVIE:` lines, each followed by `USER,STARS,YYYY-MM-DD` lines; a folder of mv_*.txt or
    /// combined_data_*.txt, or one file
    Netflix,
    /// Netflix Prize probe.txt: `MOVIE:` lines, each followed by `USER` lines; the stars are those of another input
    NetflixProbe,
    /// Values separated by commas, with half stars; without a header, or in MovieLens ratings.csv, they are user, movie,
    /// rating and time
    #[value(alias = "movielens-csv")]
    Csv,
    /// MovieLens ratings.dat: `user::movie::rating::timestamp` with half stars
    #[value(name = "movielens-dat")]
    Dat,
    /// MovieLens 100k u.data: user, movie, whole stars, timestamp, separated by tabs
    #[value(name = "movielens-100k")]
    Tabs,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878).
    Zstd,
}

impl Compression {
    /// Told by the first bytes of a file.
    fn of_bytes(beginning: &[u8]) -> Option<Self> {
        match beginning {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A skippable frame may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Told by the end of a file's name, which is cut off.
    fn of_name(name: &str) -> (Option<Self>, &str) {
        match (name.strip_suffix(".gz"), name.strip_suffix(".zst")) {
            (Some(plain), _) => (Some(Self::Gzip), plain),
            (_, Some(plain)) => (Some(Self::Zstd), plain),
            _ => (None, name),
        }
    }

    /// The plain text of a compressed stream.
    pub fn reader<'a>(self, compressed: impl Read + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(compressed)),
            Self::Zstd => Box::new(super::zstd::Frames::new(compressed)),
        }
    }
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
    const ALL: [Self; 5] = [Self::Netflix, Self::Csv, Self::Dat, Self::Tabs, Self::NetflixProbe];

    /// What a folder of this format holds.
    fn names(self) -> &'static str {
        match self {
            Self::Netflix => "mv_*.txt or combined_data_*.txt",
            Self::NetflixProbe => "probe.txt",
            Self::Csv => "ratings.csv",
            Self::Dat => "ratings.dat",
            Self::Tabs => "u.data",
        }
    }

    /// Whether a file of this name, without the end that tells its compression, is of this format.
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
            _ if line.contains("::") => Some(Self::Dat),
            _ if line.contains('\t') => Some(Self::Tabs),
            _ if line.matches(',').count() >= 2 => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Files of one format, in reading order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their format.
    pub format: Format,
    /// The files, and how they are compressed.
    pub files: Vec<(PathBuf, Option<Compression>)>,
}

/// The format of an input and its files.
///
/// A folder is searched for known names, here and in `training_set`, for pairs without stars last; a file is told by its
/// first lines, or by its name if it is empty. `format` overrides the guess.
pub fn detect(path: &Path, format: Option<Format>) -> Result<Found, DetectError> {
    let unreadable = |source| DetectError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return in_folder(path, format);
    }
    // The first lines of every format fit several times.
    let (compression, beginning) = beginning(path, 4096).map_err(unreadable)?;
    let format = match format {
        Some(format) => format,
        None => of_file(path, &beginning)?,
    };
    Ok(Found { format, files: vec![(path.to_owned(), compression)] })
}

/// How a file is compressed, and at most `length` bytes of its text.
pub fn beginning(path: &Path, length: u64) -> io::Result<(Option<Compression>, Vec<u8>)> {
    let mut text = Vec::new();
    File::open(path)?.take(length).read_to_end(&mut text)?;
    let Some(compression) = Compression::of_bytes(&text) else { return Ok((None, text)) };
    text.clear();
    compression.reader(File::open(path)?).take(length).read_to_end(&mut text)?;
    Ok((Some(compression), text))
}

fn in_folder(path: &Path, format: Option<Format>) -> Result<Found, DetectError> {
    // The Netflix Prize came as probe.txt beside the folder of the ratings: pairs are what is meant only where there are none.
    for pairs in [false, true] {
        let is_wanted = |candidate: &Format| {
            (*candidate == Format::NetflixProbe) == pairs && format.is_none_or(|format| format == *candidate)
        };
        for folder in [path.to_owned(), path.join("training_set")] {
            if folder.as_path() != path && !folder.is_dir() {
                continue;
            }
            let entries = std::fs::read_dir(&folder)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>());
            let mut entries = entries.map_err(|source| DetectError::Unreadable { path: folder.clone(), source })?;
            entries.sort();
            for candidate in Format::ALL.into_iter().filter(is_wanted) {
                let files = files_of(candidate, &entries);
                if !files.is_empty() {
                    return Ok(Found { format: candidate, files });
                }
            }
        }
    }
    let expected = format.map_or("mv_*.txt, combined_data_*.txt, ratings.csv, ratings.dat or u.data", Format::names);
    Err(DetectError::EmptyFolder { path: path.to_owned(), expected })
}

/// The files of a format among sorted paths; a compressed one is left out where its plain text is there too.
fn files_of(format: Format, entries: &[PathBuf]) -> Vec<(PathBuf, Option<Compression>)> {
    let mut files: Vec<(PathBuf, Option<Compression>)> = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (compression, plain) = Compression::of_name(&name);
        // Sorted, a plain name comes just before the same with an end.
        let is_twin = files.last().is_some_and(|(other, _)| compression.is_some() && *other == path.with_file_name(plain));
        if format.owns(plain) && !is_twin {
            files.push((path.clone(), compression));
        }
    }
    files
}

fn of_file(path: &Path, beginning: &[u8]) -> Result<Format, DetectError> {
    let text = String::from_utf8_lossy(beginning);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (_, name) = Compression::of_name(&name);
    let by_name = || Format::ALL.into_iter().find(|format| format.owns(name));
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

    fn format_of(path: &Path) -> Format {
        detect(path, None).unwrap().format
    }

    #[test]
    fn a_file_is_told_by_its_first_lines_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        for (line, format) in [
            ("17:\n3,4,2005-01-01\n", Format::Netflix),
            ("17:\r\n3\r\n", Format::NetflixProbe),
            ("\u{feff}userId,movieId,rating,timestamp\r\n", Format::Csv),
            ("1,2,3.5,964982703\n", Format::Csv),
            ("stars,user,item\n", Format::Csv),
            ("1::122::5::838985046\n", Format::Dat),
            ("196\t242\t3\t881250949\n", Format::Tabs),
        ] {
            fs::write(&path, line).unwrap();
            assert_eq!(format_of(&path), format, "{line}");
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
        assert_eq!(detect(&path, Some(Format::Netflix)).unwrap().format, Format::Netflix);
        fs::write(folder.path().join("ratings.csv"), "").unwrap();
        assert_eq!(format_of(&folder.path().join("ratings.csv")), Format::Csv);
    }

    #[test]
    fn a_folder_is_searched_for_known_names_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let training = folder.path().join("training_set");
        assert!(
            detect(folder.path(), None).unwrap_err().to_string().contains("expected mv_*.txt, combined_data_*.txt, ratings.csv")
        );
        fs::create_dir(&training).unwrap();
        let names = ["mv_0000001.txt", "mv_0000002.txt", "mv_0000002.txt.gz", "mv_0000003.txt.zst"];
        names.iter().for_each(|name| fs::write(training.join(name), "").unwrap());
        let found = detect(folder.path(), None).unwrap();
        let expected = [(names[0], None), (names[1], None), (names[3], Some(Compression::Zstd))];
        assert_eq!(found.format, Format::Netflix);
        assert_eq!(found.files, expected.map(|(name, compression)| (training.join(name), compression)));
        fs::write(folder.path().join("u.data"), "").unwrap();
        assert_eq!(format_of(folder.path()), Format::Tabs);
        assert_eq!(detect(folder.path(), Some(Format::Netflix)).unwrap().format, Format::Netflix);
    }

    #[test]
    fn a_probe_beside_the_folder_of_its_ratings_is_not_taken_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let training = folder.path().join("training_set");
        fs::create_dir(&training).unwrap();
        let probe = folder.path().join("probe.txt");
        fs::write(&probe, "1:\n7\n").unwrap();
        assert_eq!(format_of(folder.path()), Format::NetflixProbe);
        fs::write(training.join("mv_0000001.txt"), "1:\n7,4,2005-01-01\n").unwrap();
        assert_eq!(detect(folder.path(), None).unwrap().files, [(training.join("mv_0000001.txt"), None)]);
        let named = detect(folder.path(), Some(Format::NetflixProbe)).unwrap();
        assert_eq!((named.format, named.files), (Format::NetflixProbe, vec![(probe, None)]));
    }
}

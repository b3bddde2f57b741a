//! A realistic set of ratings of any size: the same bytes for the same arguments, on every machine.

pub mod generate;
pub mod sample;
pub mod write;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::communicator::Communicator;
use crate::events::Timings;
use crate::output::{OutputError, write_json};
use crate::startup::{Kernel, Run};
use generate::{Shape, generate};

/// Changes whenever the same arguments would give another set.
pub const GENERATION: u32 = 3;
/// The file in the output folder that says what was generated.
const RECEIPT: &str = "dataset.json";

/// Generates a realistic set of ratings: the same arguments give the same files.
#[derive(Debug, Parser)]
#[command(
    name = "datagen",
    version,
    after_help = "Example:\n  datagen --movies 500 --users 5000 --ratings 100000 --seed 42 --format netflix --output ratings\n\n\
        The output folder appears when it is complete, with a dataset.json that names the arguments; if it is there\n\
        already with the same arguments, nothing is done. Writes summary.json into the working folder.\n\
        Runs without MPI; under mpirun the first rank does the work."
)]
pub struct Datagen {
    /// Number of movies
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub movies: u32,
    /// Number of users
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=500_000_000))]
    pub users: u32,
    /// Number of ratings, at most movies times users
    #[arg(long, default_value_t = 100_000)]
    pub ratings: u64,
    /// Seed of the random streams
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Format of the files
    #[arg(long, value_enum, default_value = "netflix")]
    pub format: Format,
    /// Folder to create
    #[arg(long)]
    pub output: PathBuf,
}

/// A format that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Netflix Prize: one mv_*.txt a movie, whole stars
    Netflix,
    /// MovieLens ratings.csv, half stars
    MovielensCsv,
    /// MovieLens 100k u.data, whole stars
    #[value(name = "movielens-100k")]
    #[serde(rename = "movielens-100k")]
    Movielens100k,
    /// The columns that kernels make of the Netflix Prize text, ready to be mapped: ratings.ewulf
    Columns,
}

/// Why there is no data set.
#[derive(Debug, thiserror::Error)]
pub enum DatagenError {
    /// More ratings than there are pairs.
    #[error("{ratings} ratings do not fit {movies} movies and {users} users: at most {} do", u64::from(*movies) * u64::from(*users))]
    TooMany {
        /// How many were asked for.
        ratings: u64,
        /// Of how many movies.
        movies: u32,
        /// By how many users.
        users: u32,
    },
    /// The output folder holds something else.
    #[error("output folder {} is there already and holds something else: name another one, or remove it", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What `dataset.json` holds: the arguments that determine the set.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    generator: String,
    generation: u32,
    movies: u32,
    users: u32,
    ratings: u64,
    seed: u64,
    format: Format,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    kernel: &'static str,
    ranks: usize,
    output: String,
    /// False if the same set was there already.
    generated: bool,
    seconds: f64,
    /// Empty if the same set was there already.
    timings: Timings,
    #[serde(flatten)]
    receipt: &'a Receipt,
}

impl Kernel for Datagen {
    const NAME: &'static str = "datagen";
    type Error = DatagenError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), DatagenError> {
        if !run.is_first() {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let (movies, users, ratings) = (self.movies, self.users, self.ratings);
        if ratings > u64::from(movies) * u64::from(users) {
            return Err(DatagenError::TooMany { ratings, movies, users });
        }
        let receipt = self.receipt();
        let generated = !self.is_there(&receipt)?;
        if generated {
            self.generate(run, &receipt)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let output = self.output.display().to_string();
        let what = if generated { "generated" } else { "already there" };
        println!("{output}: {movies} movies, {users} users, {ratings} ratings {what} in {seconds:.2} s");
        let timings = run.events.timings();
        let summary = Summary { kernel: Self::NAME, ranks: 1, output, generated, seconds, timings, receipt: &receipt };
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

impl Datagen {
    fn receipt(&self) -> Receipt {
        Receipt {
            generator: "ewulf datagen".into(),
            generation: GENERATION,
            movies: self.movies,
            users: self.users,
            ratings: self.ratings,
            seed: self.seed,
            format: self.format,
        }
    }

    /// Whether this very set is in the output folder; an error if anything else is.
    fn is_there(&self, receipt: &Receipt) -> Result<bool, DatagenError> {
        let is_empty = match fs::read_dir(&self.output) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(OutputError::new(&self.output, error).into()),
        };
        if is_empty {
            return Ok(false);
        }
        let found = fs::read(self.output.join(RECEIPT)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if found.as_ref() == Some(receipt) {
            return Ok(true);
        }
        Err(DatagenError::Occupied { path: self.output.clone() })
    }

    /// Fills a folder beside the output and gives it its name once it is complete.
    fn generate<C>(&self, run: &mut Run<'_, C>, receipt: &Receipt) -> Result<(), DatagenError> {
        let failed = |error| OutputError::new(&self.output, error);
        let partial = partial_folder(&self.output).map_err(failed)?;
        let shape = Shape {
            movies: self.movies,
            users: self.users,
            ratings: self.ratings,
            seed: self.seed,
            half_stars: self.format == Format::MovielensCsv,
        };
        run.events.phase("generate");
        let set = generate(&shape, |done, total| run.events.progress(done, total));
        run.events.phase("write");
        let written = write::write(&partial, self.format, &shape, set, |done, total| run.events.progress(done, total))
            .and_then(|()| write_json(&partial.join(RECEIPT), receipt))
            .and_then(|()| fs::rename(&partial, &self.output).map_err(failed));
        if written.is_err() {
            // The first error is the one worth telling; a leftover is named after its folder and harmless.
            let _ = fs::remove_dir_all(&partial);
        }
        Ok(written?)
    }
}

/// Makes a new folder beside the output. What an earlier run left there, with the same process number perhaps, stays what
/// it is: nothing of it comes into this set, and nothing is taken away from one that still runs.
fn partial_folder(output: &Path) -> io::Result<PathBuf> {
    let Some(name) = output.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no name of its own"));
    };
    let random = RandomState::new().hash_one((std::process::id(), output));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{random:016x}.partial"));
    let partial = output.with_file_name(hidden);
    if let Some(parent) = partial.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(&partial)?;
    Ok(partial)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Ratings on every rank of a run.

use std::path::PathBuf;

use super::Ratings;
use super::format::Format;
use super::read::{ReadError, read};
use super::store::Store;
use crate::communicator::Communicator;
use crate::startup::Run;

/// Arguments that say where ratings come from.
#[derive(Clone, Debug, clap::Args)]
pub struct Input {
    /// Folder or file of ratings: Netflix Prize mv_*.txt, MovieLens ratings.csv, ratings.dat or u.data
    #[arg(long = "input", value_name = "PATH")]
    pub path: PathBuf,
    /// Format of the input, if it is not to be guessed from names and first lines
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

impl Input {
    /// The ratings at a path, in whatever format they are.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None }
    }
}

/// Loads ratings on every rank: collective. Rank 0 alone reads the input, and alone gets the error if it cannot.
pub fn load<C: Communicator>(run: &mut Run<'_, C>, input: &Input) -> Result<Store, ReadError> {
    let ratings = match run.is_first() {
        true => read(&input.path, input.format, |done, total| run.events.progress(done, total))?,
        false => Ratings::default(),
    };
    Ok(broadcast(run.communicator, ratings).into())
}

/// Makes the ratings of every rank those of rank 0.
fn broadcast<C: Communicator>(communicator: &C, mut ratings: Ratings) -> Ratings {
    communicator.bcast_vector(0, &mut ratings.movie_ids);
    communicator.bcast_vector(0, &mut ratings.user_ids);
    communicator.bcast_vector(0, &mut ratings.offsets);
    communicator.bcast_vector(0, &mut ratings.raters);
    communicator.bcast_vector(0, &mut ratings.stars);
    ratings
}

//! Predictions of held-out ratings: how far off they are, and the two files that they travel in.
//!
//! Every kernel that predicts writes `predictions.npy` (float32 \[n\], in stars) and `holdout.npy` (float64 \[n, 3\]: movie
//! id, user id, stars), in one order: by movie, then by user. Models of one held-out set can be blended therefore.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use crate::npy::{self, NpyError};
use crate::output::{OutputError, write_npy};

/// The name of a run's predictions.
pub const PREDICTIONS: &str = "predictions.npy";
/// The name of what was to be predicted.
pub const HOLDOUT: &str = "holdout.npy";

/// How far predictions are from ratings, in stars.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Number of predictions.
    pub count: u64,
}

impl Scores {
    /// The scores of predictions against stars; none without any. Errors are added in the order given, in `f64`.
    pub fn of(errors: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut squares, mut sizes, mut count) = (0.0, 0.0, 0u64);
        for error in errors {
            squares += error * error;
            sizes += error.abs();
            count += 1;
        }
        let mean = |sum: f64| sum / count as f64;
        (count > 0).then(|| Self { rmse: mean(squares).sqrt(), mae: mean(sizes), count })
    }

    /// The scores of a kernel's predictions against held-out ratings, given as half stars.
    pub fn of_half_stars(predictions: &[f32], half_stars: &[u8]) -> Option<Self> {
        let pairs = predictions.iter().zip(half_stars);
        Self::of(pairs.map(|(prediction, stars)| f64::from(*prediction) - 0.5 * f64::from(*stars)))
    }
}

/// Writes both files; `holdout` gives movie id, user id and half stars of each prediction.
pub fn write(folder: &Path, predictions: &[f32], holdout: impl Iterator<Item = (u32, u32, u8)>) -> Result<(), OutputError> {
    let mut truth = Array2::zeros((predictions.len(), 3));
    for (mut row, (movie, user, stars)) in truth.outer_iter_mut().zip(holdout) {
        row.assign(&ndarray::array![f64::from(movie), f64::from(user), 0.5 * f64::from(stars)]);
    }
    write_npy(&folder.join(PREDICTIONS), &ArrayView1::from(predictions))?;
    write_npy(&folder.join(HOLDOUT), &truth)
}

/// A file that does not hold what its name says.
#[derive(Debug, thiserror::Error)]
pub enum ScoresError {
    /// The array could not be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// The array has another shape.
    #[error("{}: expected {expected} columns, found {found}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}

/// Reads predictions, in stars.
pub fn read_predictions(path: &Path) -> Result<Vec<f64>, ScoresError> {
    Ok(of_columns(path, 1)?.into_raw_vec_and_offset().0)
}

/// Reads what was to be predicted: rows of movie id, user id and stars.
pub fn read_holdout(path: &Path) -> Result<Array2<f64>, ScoresError> {
    of_columns(path, 3)
}

fn of_columns(path: &Path, expected: usize) -> Result<Array2<f64>, ScoresError> {
    let array = npy::read(path)?;
    match array.ncols() {
        found if found == expected => Ok(array),
        found => Err(ScoresError::Columns { path: path.to_owned(), expected, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_definition() {
        let scores = Scores::of_half_stars(&[3.0, 4.5, 1.0], &[8, 9, 2]).unwrap();
        assert_eq!(scores, Scores { rmse: (1.0f64 / 3.0).sqrt(), mae: 1.0 / 3.0, count: 3 });
        assert_eq!(Scores::of_half_stars(&[], &[]), None);
    }

    #[test]
    fn both_files_come_back_in_order_and_mixing_them_up_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [(3, u32::MAX, 7), (9, 1, 10)];
        write(folder.path(), &[3.25, 4.75], rows.into_iter()).unwrap();
        assert_eq!(read_predictions(&folder.path().join(PREDICTIONS)).unwrap(), [3.25, 4.75]);
        let truth = read_holdout(&folder.path().join(HOLDOUT)).unwrap();
        assert_eq!(truth, ndarray::array![[3.0, 4_294_967_295.0, 3.5], [9.0, 1.0, 5.0]]);
        let error = read_predictions(&folder.path().join(HOLDOUT)).unwrap_err().to_string();
        assert!(error.ends_with("expected 1 columns, found 3"), "{error}");
    }
}

//! One prediction out of many: the models' predictions of the same held-out ratings, combined by ridge regression.
//!
//! Rows are cut into a fixed number of parts, ranks take parts, and sums are added in the order of parts: so everything is
//! the same bytes for any number of ranks. The blend is scored by cross-validation, for weights fit the rows they were made
//! from better than any others.

pub mod ridge;

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Parser;
use ndarray::{Array2, ArrayView1};
use serde::Serialize;

use crate::communicator::Communicator;
use crate::events::Timings;
use crate::npy::{Npy, NpyError};
use crate::output::{OutputError, write_atomically, write_json, write_npy};
use crate::random::derive;
use crate::ratings::split::{Fold, is_in_fold};
use crate::scores::{HOLDOUT, PREDICTIONS, Scores};
use crate::startup::{Kernel, Run, not_negative};
use ridge::{Moments, Weights};

/// Parts of the rows, and so the most ranks that have anything to do.
const PARTS: usize = 64;
/// Sets the folds of blends apart from those by which ratings were held out, of which the rows are one as a rule: with the
/// same random numbers all of it would lie in a fold or two.
const FOLDS: u64 = u64::from_be_bytes(*b"blending");

/// Combines the predictions of many models by ridge regression.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "blend",
    version,
    after_help = "Example:\n  blend --predictions runs/svd runs/knn other/predictions.npy --holdout runs/svd/holdout.npy\n\n\
        Predictions are float32 or float64 [n] in one order, that of holdout.npy (float64 [n, 3]: movie, user, stars) as svd\n\
        and knn write both. Where a holdout.npy lies beside predictions, it must be equal to that of --holdout.\n\
        Writes weights.csv, blended.npy (float32 [n], by the weights of all rows) and summary.json. The blended RMSE and MAE\n\
        are those of cross-validation: each fold is predicted by weights that were fit to the others."
)]
pub struct Blend {
    /// Predictions of the models: files, or folders with a predictions.npy
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub predictions: Vec<PathBuf>,
    /// What was to be predicted: a file, or a folder with a holdout.npy [default: beside the first predictions]
    #[arg(long, value_name = "PATH")]
    pub holdout: Option<PathBuf>,
    /// Weight of the squared weights against the mean squared error
    #[arg(long, default_value_t = 1e-5, value_parser = not_negative)]
    pub regularization: f64,
    /// Folds of the cross-validation
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub folds: u32,
    /// Seed of the assignment to folds
    #[arg(long, default_value_t = 0)]
    pub fold_seed: u64,
}

/// Why there is no blend.
#[derive(Debug, thiserror::Error)]
pub enum BlendError {
    /// An array could not be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An array of another shape.
    #[error("{} has {found}, but {expected} are expected, as many ratings as in {}", path.display(), holdout.display())]
    Shape {
        /// The array.
        path: PathBuf,
        /// Its shape in words.
        found: String,
        /// What it should be.
        expected: String,
        /// What was to be predicted.
        holdout: PathBuf,
    },
    /// Predictions of other ratings.
    #[error("{} is not that of --holdout: the models must predict the same ratings", path.display())]
    OtherHoldout {
        /// The file beside the predictions.
        path: PathBuf,
    },
    /// A prediction or a rating that is no number.
    #[error("{} holds what is no finite number in row {row}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
    },
    /// Weights that nothing determines.
    #[error("the predictions depend on each other too closely to be weighted: raise --regularization or leave one out")]
    Dependent,
}

/// One model's share.
#[derive(Clone, Debug, Serialize)]
struct Model {
    path: String,
    weight: f64,
    scores: Option<Scores>,
}

/// What `summary.json` holds; times in seconds, those of rank 0.
#[derive(Debug, Serialize)]
struct Summary {
    kernel: &'static str,
    ranks: usize,
    ratings: usize,
    regularization: f64,
    folds: u32,
    fold_seed: u64,
    models: Vec<Model>,
    intercept: f64,
    /// Of each fold, by weights that were fit to the others.
    blended: Option<Scores>,
    /// By weights that were fit to these very ratings.
    fitted: Option<Scores>,
    seconds: f64,
    timings: Timings,
}

/// This rank's rows.
struct Rows {
    /// The ranges of this rank's parts.
    parts: Vec<Range<usize>>,
    /// Movie, user and stars.
    truth: Array2<f64>,
    /// A column a model.
    predictions: Array2<f64>,
    /// The fold of each row, from 0.
    folds: Vec<usize>,
}

impl Kernel for Blend {
    const NAME: &'static str = "blend";
    type Error = BlendError;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), BlendError> {
        let communicator = run.communicator;
        run.events.phase("load");
        let (rows, count, models) = self.load(run)?;
        run.events.phase("fit");
        let (weights, of_folds) = self.weights(communicator, &rows, models)?;
        run.events.phase("predict");
        let errors = Errors::new(communicator, &rows, &weights, &of_folds);
        let fitted = rows.blended(&errors.range, |_| &weights);
        let counts: Vec<usize> = (0..communicator.size()).map(|rank| span(rank, communicator.size(), count).len()).collect();
        let mut blended = vec![0.0f32; if run.is_first() { count } else { 0 }];
        communicator.gather(0, &fitted, &counts, &mut blended);
        if !run.is_first() {
            return Ok(());
        }
        run.events.phase("write");
        write_npy(&run.folder.join("blended.npy"), &ArrayView1::from(&blended))?;
        let models = self.predictions.iter().enumerate().map(|(at, path)| Model {
            path: path.display().to_string(),
            weight: weights.weights[at],
            scores: errors.scores(at, count),
        });
        let models: Vec<Model> = models.collect();
        write_weights(&run.folder, &models, weights.intercept)?;
        let timings = run.events.timings();
        let summary = Summary {
            kernel: Self::NAME,
            ranks: communicator.size(),
            ratings: count,
            regularization: self.regularization,
            folds: self.folds,
            fold_seed: self.fold_seed,
            intercept: weights.intercept,
            blended: errors.scores(models.len(), count),
            fitted: errors.scores(models.len() + 1, count),
            models,
            seconds: timings.total(),
            timings,
        };
        println!("{}", summary.line());
        Ok(write_json(&run.folder.join("summary.json"), &summary)?)
    }
}

/// The rows of a part.
fn part(number: usize, count: usize) -> Range<usize> {
    number * count / PARTS..(number + 1) * count / PARTS
}

/// The parts of a rank.
fn parts(rank: usize, ranks: usize) -> Range<usize> {
    rank * PARTS / ranks..(rank + 1) * PARTS / ranks
}

/// The rows of a rank.
fn span(rank: usize, ranks: usize, count: usize) -> Range<usize> {
    let parts = parts(rank, ranks);
    part(parts.start, count).start..part(parts.end, count).start
}

impl Blend {
    /// This rank's rows, and the number of all rows and of models: collective. Rank 0 looks at every file first, so that
    /// one rank alone finds a fault.
    fn load<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(Rows, usize, usize), BlendError> {
        let communicator = run.communicator;
        let files: Vec<PathBuf> = self.predictions.iter().map(|path| named(path, PREDICTIONS)).collect();
        let holdout = match &self.holdout {
            Some(path) => named(path, HOLDOUT),
            None => files[0].with_file_name(HOLDOUT),
        };
        let mut count = [0];
        if communicator.rank() == 0 {
            count = [check(&holdout, &files)? as u64];
        }
        communicator.bcast(0, &mut count);
        let count = count[0] as usize;
        let (rank, ranks) = (communicator.rank(), communicator.size());
        let own = span(rank, ranks, count);
        let truth = Npy::open(&holdout)?.read(own.clone())?;
        let mut predictions = Array2::zeros((own.len(), files.len()));
        for (model, (path, mut column)) in files.iter().zip(predictions.columns_mut()).enumerate() {
            let values = Npy::open(path)?.read(own.clone())?;
            finite(path, &values, own.start)?;
            column.assign(&values.column(0));
            run.events.progress(model as u64 + 1, files.len() as u64);
        }
        let folds = truth.outer_iter().map(|row| self.fold(row[1] as u32, row[0] as u32)).collect();
        let parts = parts(rank, ranks).map(|number| part(number, count));
        let parts = parts.map(|range| range.start - own.start..range.end - own.start).collect();
        Ok((Rows { parts, truth, predictions, folds }, count, files.len()))
    }

    /// The fold of a rating, from 0.
    fn fold(&self, user_id: u32, movie_id: u32) -> usize {
        let seed = derive(self.fold_seed, FOLDS);
        let number =
            (1..=self.folds).find(|number| is_in_fold(Fold { number: *number, of: self.folds }, seed, user_id, movie_id));
        number.expect("the folds have every rating") as usize - 1
    }

    /// The weights by all rows, and by all rows but those of each fold: collective; rank 0 solves.
    fn weights<C: Communicator>(
        &self,
        communicator: &C,
        rows: &Rows,
        models: usize,
    ) -> Result<(Weights, Vec<Weights>), BlendError> {
        let folds = self.folds as usize;
        let length = Moments::length(models);
        let sums = in_order(communicator, &self.moments(rows, models), folds * length);
        let mut solved = Vec::new();
        if communicator.rank() == 0 {
            let of_fold: Vec<Moments> = sums.chunks(length).map(|sums| Moments::from_sums(models, sums)).collect();
            for without in (0..folds).map(Some).chain([None]) {
                let mut sum = Moments::new(models);
                of_fold.iter().enumerate().filter(|(fold, _)| without != Some(*fold)).for_each(|(_, moments)| sum += moments);
                let Weights { intercept, weights } = sum.solve(self.regularization).ok_or(BlendError::Dependent)?;
                solved.push(intercept);
                solved.extend(weights);
            }
        }
        communicator.bcast_vector(0, &mut solved);
        let one = |values: &[f64]| Weights { intercept: values[0], weights: values[1..].to_vec() };
        let mut solved: Vec<Weights> = solved.chunks(models + 1).map(one).collect();
        let all = solved.pop().expect("the weights by all rows come last");
        Ok((all, solved))
    }

    /// The moments of each fold in each of this rank's parts, end to end.
    fn moments(&self, rows: &Rows, models: usize) -> Vec<f64> {
        let mut own = Vec::new();
        let (mut values, mut room) = (Vec::new(), Vec::new());
        for part in &rows.parts {
            let mut of_fold = vec![Moments::new(models); self.folds as usize];
            for row in part.clone() {
                rows.values(row, &mut values);
                of_fold[rows.folds[row]].add(&values, rows.truth[[row, 2]], &mut room);
            }
            of_fold.iter().for_each(|moments| own.extend_from_slice(moments.sums()));
        }
        own
    }
}

/// The sums of `each` values a part over all parts, added in the order of parts, at rank 0 (elsewhere zeros): collective.
fn in_order<C: Communicator>(communicator: &C, own: &[f64], each: usize) -> Vec<f64> {
    let ranks = communicator.size();
    let counts: Vec<usize> = (0..ranks).map(|rank| parts(rank, ranks).len() * each).collect();
    let mut all = vec![0.0; if communicator.rank() == 0 { PARTS * each } else { 0 }];
    communicator.gather(0, own, &counts, &mut all);
    let mut sums = vec![0.0; each];
    for part in all.chunks(each) {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// Makes sure that the predictions are those of the ratings held out, and returns how many there are.
fn check(holdout: &Path, files: &[PathBuf]) -> Result<usize, BlendError> {
    let count = Npy::open(holdout)?.rows();
    let shaped = |path: &Path, columns: usize| {
        let array = Npy::open(path)?;
        match (array.rows(), array.columns()) == (count, columns) {
            true => Ok(array),
            false => Err(BlendError::Shape {
                path: path.to_owned(),
                found: format!("{} rows of {}", array.rows(), array.columns()),
                expected: format!("{count} rows of {columns}"),
                holdout: holdout.to_owned(),
            }),
        }
    };
    let truth = shaped(holdout, 3)?.read(0..count)?;
    // What is no number equals nothing, not even itself in a copy of the file.
    finite(holdout, &truth, 0)?;
    for file in files {
        shaped(file, 1)?;
        let beside = file.with_file_name(HOLDOUT);
        if beside != holdout && beside.exists() && shaped(&beside, 3)?.read(0..count)? != truth {
            return Err(BlendError::OtherHoldout { path: beside });
        }
    }
    Ok(count)
}

/// Fails on the first row, counted from `first`, with anything but finite numbers.
fn finite(path: &Path, rows: &Array2<f64>, first: usize) -> Result<(), BlendError> {
    match rows.outer_iter().position(|row| !row.iter().all(|value| value.is_finite())) {
        Some(row) => Err(BlendError::NotFinite { path: path.to_owned(), row: first + row }),
        None => Ok(()),
    }
}

/// The file itself, or the one of this name in the folder.
fn named(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() { path.join(name) } else { path.to_owned() }
}

impl Rows {
    fn values(&self, row: usize, into: &mut Vec<f64>) {
        into.clear();
        into.extend(self.predictions.row(row).iter());
    }

    /// Blended predictions, kept in the range of ratings.
    fn blended<'a>(&self, range: &(f64, f64), weights: impl Fn(usize) -> &'a Weights) -> Vec<f32> {
        let mut values = Vec::new();
        let one = |row: usize| {
            self.values(row, &mut values);
            weights(row).of(&values).clamp(range.0, range.1) as f32
        };
        (0..self.folds.len()).map(one).collect()
    }
}

/// Errors of every model, of the cross-validated blend, and of the fitted one: squares and sizes, summed in order at rank 0.
struct Errors {
    range: (f64, f64),
    sums: Vec<f64>,
}

impl Errors {
    /// Sums up the errors of all ranks: collective.
    fn new<C: Communicator>(communicator: &C, rows: &Rows, weights: &Weights, of_folds: &[Weights]) -> Self {
        let range = range(communicator, rows);
        let models = rows.predictions.ncols();
        let validated = rows.blended(&range, |row| &of_folds[rows.folds[row]]);
        let fitted = rows.blended(&range, |_| weights);
        let mut own = Vec::new();
        for part in &rows.parts {
            let mut sums = vec![0.0; 2 * (models + 2)];
            for row in part.clone() {
                let stars = rows.truth[[row, 2]];
                let blends = [f64::from(validated[row]), f64::from(fitted[row])];
                for (at, prediction) in rows.predictions.row(row).iter().chain(&blends).enumerate() {
                    sums[2 * at] += (prediction - stars).powi(2);
                    sums[2 * at + 1] += (prediction - stars).abs();
                }
            }
            own.extend(sums);
        }
        Self { range, sums: in_order(communicator, &own, 2 * (models + 2)) }
    }

    fn scores(&self, at: usize, count: usize) -> Option<Scores> {
        let mean = |sum: f64| sum / count as f64;
        let (squares, sizes) = (self.sums[2 * at], self.sums[2 * at + 1]);
        (count > 0).then(|| Scores { rmse: mean(squares).sqrt(), mae: mean(sizes), count: count as u64 })
    }
}

/// The smallest and the largest rating of all ranks: collective.
fn range<C: Communicator>(communicator: &C, rows: &Rows) -> (f64, f64) {
    use crate::communicator::Operation::{Max, Min};
    let stars = rows.truth.column(2);
    let least = stars.iter().copied().fold(f64::INFINITY, f64::min);
    let most = stars.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut bounds = [[0.0], [0.0]];
    communicator.allreduce(Min, &[least], &mut bounds[0]);
    communicator.allreduce(Max, &[most], &mut bounds[1]);
    // Without any ratings there is nothing to keep in a range.
    if bounds[0][0] <= bounds[1][0] { (bounds[0][0], bounds[1][0]) } else { (0.5, 5.0) }
}

fn write_weights(folder: &Path, models: &[Model], intercept: f64) -> Result<(), OutputError> {
    write_atomically(&folder.join("weights.csv"), |writer| {
        writeln!(writer, "model,weight,rmse,mae")?;
        for Model { path, weight, scores } in models {
            let scores = scores.map_or(",".into(), |scores| format!("{},{}", scores.rmse, scores.mae));
            writeln!(writer, "{},{weight},{scores}", quoted(path))?;
        }
        writeln!(writer, "intercept,{intercept},,")
    })
}

/// A field of a CSV table.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

impl Summary {
    /// What a person wants to know first.
    fn line(&self) -> String {
        let best = self.models.iter().filter_map(|model| Some((model.scores?.rmse, &model.path)));
        let best = best.min_by(|one, other| one.0.total_cmp(&other.0));
        match (self.blended, best) {
            (Some(blended), Some((rmse, path))) => format!(
                "{} models, {} ratings: blended RMSE {:.4}, the best model alone {rmse:.4} ({path}), {:.3} s",
                self.models.len(),
                self.ratings,
                blended.rmse,
                self.seconds
            ),
            _ => format!("{} models, no ratings", self.models.len()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

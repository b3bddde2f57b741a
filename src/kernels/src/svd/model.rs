//! What was learnt, as files: rows in the order of ids.

use std::io::Write;
use std::path::Path;

use ndarray::{Array1, Array2};

use super::factors::{Side, at_first, bias};
use super::step::row_length;
use super::train::{Errors, Learner};
use super::{Method, Problem};
use crate::communicator::Communicator;
use crate::output::{OutputError, write_atomically, write_npy};
use crate::plot::{self, Axis, Chart, PlotError, Series};
use crate::ratings::store::Store;
use crate::startup::Run;

/// Writes factors, biases and ids at rank 0: collective.
pub fn write<C: Communicator, L: Learner<C>>(
    run: &Run<'_, C>,
    training: &Store,
    problem: &Problem<'_>,
    learner: &L,
    factors: usize,
) -> Result<(), OutputError> {
    let (user_lengths, movie_lengths) = learner.lengths();
    let length = row_length(factors);
    let learnt = learner.factors();
    let mut users = Table::new(run, problem.users.members(), factors);
    let lists = if run.is_first() { problem.users.member_lists() } else { Vec::new() };
    at_first(run.communicator, user_lengths, &learnt.users, |group, values| {
        users.take(Side::User, &lists[group], values, length)
    })?;
    users.write(run, "user", training.user_ids())?;
    drop(users);
    let mut movies = Table::new(run, problem.movies.members(), factors);
    let lists = if run.is_first() { problem.movies.member_lists() } else { Vec::new() };
    at_first(run.communicator, movie_lengths, &learnt.movies, |group, values| {
        movies.take(Side::Movie, &lists[group], values, length)
    })?;
    movies.write(run, "movie", training.movie_ids())
}

/// Factors and biases by index; empty beyond rank 0.
struct Table {
    factors: Array2<f32>,
    bias: Array1<f32>,
}

impl Table {
    fn new<C: Communicator>(run: &Run<'_, C>, members: usize, factors: usize) -> Self {
        let members = if run.is_first() { members } else { 0 };
        Self { factors: Array2::zeros((members, factors)), bias: Array1::zeros(members) }
    }

    fn take(&mut self, side: Side, members: &[u32], rows: &[f32], length: usize) -> Result<(), OutputError> {
        for (member, row) in members.iter().zip(rows.chunks(length)) {
            let mut into = self.factors.row_mut(*member as usize);
            into.iter_mut().zip(row).for_each(|(to, value)| *to = *value);
            self.bias[*member as usize] = bias(side, row);
        }
        Ok(())
    }

    fn write<C: Communicator>(&self, run: &Run<'_, C>, name: &str, ids: &[u32]) -> Result<(), OutputError> {
        if !run.is_first() {
            return Ok(());
        }
        let ids: Array1<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        write_npy(&run.folder.join(format!("{name}_ids.npy")), &ids)?;
        write_npy(&run.folder.join(format!("{name}_factors.npy")), &self.factors)?;
        write_npy(&run.folder.join(format!("{name}_bias.npy")), &self.bias)
    }
}

/// Writes the errors after each round as a table; a field is empty where nothing was held out.
pub fn write_history(folder: &Path, errors: &[Errors]) -> Result<(), OutputError> {
    write_atomically(&folder.join("rmse.csv"), |writer| {
        writeln!(writer, "round,train_rmse,holdout_rmse")?;
        for (round, errors) in errors.iter().enumerate() {
            let holdout = errors.holdout.map_or(String::new(), |error| error.to_string());
            writeln!(writer, "{},{},{holdout}", round + 1, errors.training)?;
        }
        Ok(())
    })
}

/// Draws the errors after each round as `rmse.svg` and `rmse.png`; nothing without any round.
pub fn plot_history(folder: &Path, errors: &[Errors], method: Method) -> Result<(), PlotError> {
    if errors.is_empty() {
        return Ok(());
    }
    let points = |of: &dyn Fn(&Errors) -> Option<f64>| -> Vec<(f64, f64)> {
        errors.iter().enumerate().filter_map(|(round, errors)| Some((round as f64 + 1.0, of(errors)?))).collect()
    };
    let mut series = vec![Series::line("training", points(&|errors| Some(errors.training)))];
    let held_out = points(&|errors| errors.holdout);
    if !held_out.is_empty() {
        series.push(Series::line("held out", held_out));
    }
    let round = match method {
        Method::Sgd => "epoch",
        Method::Funk => "factor",
    };
    let (x, y) = (Axis::count(round), Axis::linear("RMSE (stars)"));
    plot::lines(folder, "rmse", &Chart { title: format!("RMSE by {round}"), x, y, series })
}

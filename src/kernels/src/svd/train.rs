//! Round after round until there are enough, or until held-out ratings are predicted no better.

use std::path::PathBuf;
use std::time::Instant;

use super::checkpoint::{self, CheckpointError, Header, Identity};
use super::factors::Factors;
use super::holdout::Own;
use super::{Problem, SvdError};
use crate::communicator::Communicator;
use crate::startup::Run;

/// A method that learns in rounds: epochs over all factors, or one factor after the other.
pub trait Learner<C: Communicator> {
    /// Learns round `number`, from 0: collective. Returns the root of the mean squared error of the training ratings.
    fn round(&mut self, number: usize, told: &mut dyn FnMut(u64, u64)) -> f64;
    /// Predictions of this rank's held-out ratings: collective.
    fn predictions(&self, own: &Own) -> Vec<Vec<f32>>;
    /// What is learnt.
    fn factors(&self) -> &Factors;
    /// Takes what was learnt in `rounds` rounds: collective.
    fn restore(&mut self, factors: Factors, rounds: usize);
    /// Values of each group of users and of movies.
    fn lengths(&self) -> (&[usize], &[usize]);
    /// What every prediction begins with, in stars.
    fn mean(&self) -> f32;
}

/// When to stop, and what to keep.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds at most.
    pub rounds: usize,
    /// Rounds without a better prediction of held-out ratings after which training ends; then the best round counts.
    pub patience: Option<usize>,
    /// Rounds between checkpoints.
    pub checkpoint_every: Option<usize>,
    /// Whether to go on from a checkpoint.
    pub resume: bool,
    /// The file of the checkpoint.
    pub checkpoint: PathBuf,
}

/// Errors after one round: of the training ratings, each before its last step, and of held-out ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Root of the mean squared error of the training ratings.
    pub training: f64,
    /// The same of held-out ratings, if there are any.
    pub holdout: Option<f64>,
}

/// What happened in training.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Errors after each round.
    pub errors: Vec<Errors>,
    /// Rounds that a checkpoint had done already.
    pub resumed: usize,
    /// Seconds of each round of this run, without predictions.
    pub seconds: Vec<f64>,
}

impl History {
    /// The round with the smallest error of held-out ratings, from 0; the first of equals.
    pub fn best(&self) -> Option<usize> {
        best(&self.errors)
    }

    /// Whether there has been nothing better for long enough.
    fn is_stuck(&self, patience: Option<usize>) -> bool {
        is_stuck(&self.errors, patience)
    }

    /// Whether training with this patience would have ended before the last of these rounds.
    fn goes_beyond(&self, patience: Option<usize>) -> bool {
        (1..self.errors.len()).any(|rounds| is_stuck(&self.errors[..rounds], patience))
    }
}

fn best(errors: &[Errors]) -> Option<usize> {
    let known = errors.iter().enumerate().filter_map(|(round, errors)| Some((round, errors.holdout?)));
    known.min_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0))).map(|(round, _)| round)
}

fn is_stuck(errors: &[Errors], patience: Option<usize>) -> bool {
    patience.zip(best(errors)).is_some_and(|(patience, best)| errors.len() > best + patience)
}

/// Trains: collective. Afterwards the learner has the factors of the last round or, with patience, of the best.
pub fn train<C: Communicator, L: Learner<C>>(
    run: &mut Run<'_, C>,
    learner: &mut L,
    problem: &Problem<'_>,
    own: &Own,
    plan: &Plan,
    identity: impl Fn() -> Identity,
) -> Result<History, SvdError> {
    let communicator = run.communicator;
    let mut history = History::default();
    let mut best = None;
    let identity = (plan.resume || plan.checkpoint_every.is_some()).then(identity);
    if let (true, Some(identity)) = (plan.resume, &identity) {
        run.events.phase("resume");
        if let Some((header, states)) = checkpoint::read(communicator, &plan.checkpoint, identity, learner.lengths())? {
            history = of_header(&header);
            let is_lost = history.best().is_some_and(|best| best + 1 < history.errors.len()) && !header.has_best;
            // Rank 0 speaks for all, which know the same and then wait for it.
            if run.is_first() && plan.patience.is_some() && (is_lost || history.goes_beyond(plan.patience)) {
                return Err(CheckpointError::Other { path: plan.checkpoint.clone(), what: "patience" }.into());
            }
            let mut states = states.into_iter();
            learner.restore(states.next().unwrap_or_default(), history.errors.len());
            // Where no other factors follow, the last round was the best; without patience, the last round counts.
            best = plan.patience.map(|_| states.next().unwrap_or_else(|| learner.factors().clone()));
        }
    }
    run.events.phase("train");
    while history.errors.len() < plan.rounds && !history.is_stuck(plan.patience) {
        let round = history.errors.len();
        let begin = Instant::now();
        let training = learner.round(round, &mut |done, total| {
            run.events.progress(round as u64 * total + done, plan.rounds as u64 * total);
        });
        history.seconds.push(begin.elapsed().as_secs_f64());
        let holdout = match own.count() {
            0 => None,
            _ => own.rmse(communicator, &learner.predictions(own)),
        };
        // Rank 0 speaks for all, which know the same and then wait for it.
        let is_finite = holdout.is_none_or(f64::is_finite) && (problem.is_empty() || training.is_finite());
        if run.is_first() && !is_finite {
            return Err(SvdError::Diverged { round: round + 1 });
        }
        history.errors.push(Errors { training, holdout });
        tell(run, &history, plan);
        if plan.patience.is_some() && history.best() == Some(round) {
            best = Some(learner.factors().clone());
        }
        if let (Some(every), Some(identity)) = (plan.checkpoint_every, &identity)
            && (round + 1).is_multiple_of(every)
        {
            save(run, learner, plan, identity, &history, best.as_ref())?;
        }
    }
    let rounds = history.errors.len();
    if let (Some(best), Some(round)) = (best, history.best())
        && round + 1 < rounds
    {
        learner.restore(best, round + 1);
    }
    Ok(history)
}

fn tell<C: Communicator>(run: &mut Run<'_, C>, history: &History, plan: &Plan) {
    let Some(errors) = history.errors.last() else { return };
    let mut values = vec![("train_rmse", errors.training)];
    values.extend(errors.holdout.map(|error| ("holdout_rmse", error)));
    run.events.measured(history.errors.len() as u64, plan.rounds as u64, &values);
}

fn save<C: Communicator, L: Learner<C>>(
    run: &Run<'_, C>,
    learner: &L,
    plan: &Plan,
    identity: &Identity,
    history: &History,
    best: Option<&Factors>,
) -> Result<(), SvdError> {
    let is_best = history.best() == Some(history.errors.len() - 1);
    let best = best.filter(|_| !is_best);
    let bits = |errors: &Errors| (errors.training.to_bits(), errors.holdout.map(f64::to_bits));
    let header =
        Header { identity: identity.clone(), history: history.errors.iter().map(bits).collect(), has_best: best.is_some() };
    let states: Vec<&Factors> = [learner.factors()].into_iter().chain(best).collect();
    Ok(checkpoint::write(run.communicator, &plan.checkpoint, &header, learner.lengths(), &states)?)
}

fn of_header(header: &Header) -> History {
    let errors = |(training, holdout): &(u64, Option<u64>)| Errors {
        training: f64::from_bits(*training),
        holdout: holdout.map(f64::from_bits),
    };
    History { errors: header.history.iter().map(errors).collect(), resumed: header.history.len(), seconds: Vec::new() }
}

//! Predictions of held-out ratings from the nearest movies that a user rated, by Surprise's definitions.

use clap::ValueEnum;
use serde::Serialize;

use super::baseline::Baselines;
use super::order::Order;
use super::records::Records;
use super::scale::Scale;
use crate::communicator::Communicator;
use crate::ratings::Store;
use crate::ratings::split::HeldOut;

/// A way to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The movie's mean, and how much the user likes its neighbours more than others do
    Means,
    /// The baseline of movie and user, and how much the user likes its neighbours more than their baselines
    Baseline,
}

/// What to predict, and from what.
pub struct Predictor<'a> {
    prediction: Prediction,
    /// The most movies of a user that count.
    neighbours: usize,
    held_out: &'a HeldOut,
    order: &'a Order,
    records: &'a Records,
    baselines: &'a Baselines,
    /// The mean stars of each movie; 0 without any.
    means: Vec<f64>,
    /// Of the row: similarity, movie index, and how far the user's rating is from what was expected.
    candidates: Vec<(f64, u32, f64)>,
    /// Places in the held-out set, and what was predicted.
    places: Vec<u32>,
    values: Vec<f32>,
}

impl<'a> Predictor<'a> {
    /// Ready for any row.
    pub fn new(
        prediction: Prediction,
        neighbours: usize,
        store: &Store,
        held_out: &'a HeldOut,
        order: &'a Order,
        records: &'a Records,
        baselines: &'a Baselines,
    ) -> Self {
        let mean = |movie: usize| {
            let stars = store.of_movie(movie).1;
            let sum = stars.iter().map(|stars| u64::from(*stars)).sum::<u64>();
            if stars.is_empty() { 0.0 } else { 0.5 * sum as f64 / stars.len() as f64 }
        };
        let means = (0..store.movies()).map(mean).collect();
        let (candidates, places, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { prediction, neighbours, held_out, order, records, baselines, means, candidates, places, values }
    }

    /// Whether any rating of a row's movie is held out.
    pub fn wants(&self, row: usize) -> bool {
        !self.places_of(self.order.movies[row]).is_empty()
    }

    fn places_of(&self, movie: u32) -> std::ops::Range<usize> {
        let first = self.held_out.movies.partition_point(|other| *other < movie);
        first..first + self.held_out.movies[first..].partition_point(|other| *other == movie)
    }

    /// Predicts the held-out ratings of a row's movie, from its similarities with all columns.
    pub fn predict(&mut self, row: usize, rated: bool, similarities: &[f64]) {
        let movie = self.order.movies[row];
        for place in self.places_of(movie) {
            let user = self.held_out.users[place] as usize;
            let scale = self.records.scale;
            let least = scale.unit();
            let value = self.value(movie as usize, rated, user, similarities).clamp(least, 5.0);
            self.places.push(place as u32);
            self.values.push(value as f32);
        }
    }

    fn value(&mut self, movie: usize, rated: bool, user: usize, similarities: &[f64]) -> f64 {
        let baselines = self.baselines;
        let known = rated && !self.records.is_empty(user);
        let start = match self.prediction {
            Prediction::Means if known => self.means[movie],
            Prediction::Means => baselines.mean,
            Prediction::Baseline => baselines.of_rating(movie, user),
        };
        if !known {
            return start;
        }
        let Self { prediction, order, means, candidates, records, .. } = self;
        candidates.clear();
        let scale: Scale = records.scale;
        records.each(user, |column, level| {
            let similarity = similarities[column as usize];
            // Movies that are unlike count for nothing.
            if similarity > 0.0 {
                let other = order.movies[column as usize];
                let expected = match prediction {
                    Prediction::Means => means[other as usize],
                    Prediction::Baseline => baselines.of_rating(other as usize, user),
                };
                candidates.push((similarity, other, scale.unit() * f64::from(level) - expected));
            }
        });
        let nearer = |one: &(f64, u32, f64), other: &(f64, u32, f64)| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1));
        if candidates.len() > self.neighbours {
            candidates.select_nth_unstable_by(self.neighbours, nearer);
            candidates.truncate(self.neighbours);
        }
        candidates.sort_unstable_by(nearer);
        let (mut weights, mut sum) = (0.0, 0.0);
        for (similarity, _, difference) in candidates.iter() {
            weights += similarity;
            sum += similarity * difference;
        }
        if weights > 0.0 { start + sum / weights } else { start }
    }

    /// Collects the predictions of all ranks at rank 0, in the order of the held-out set; empty elsewhere.
    pub fn gathered<C: Communicator>(self, communicator: &C) -> Vec<f32> {
        let counts: Vec<usize> =
            communicator.allgather_one(self.places.len() as u64).into_iter().map(|count| count as usize).collect();
        let total = if communicator.rank() == 0 { counts.iter().sum() } else { 0 };
        let (mut places, mut values) = (vec![0; total], vec![0.0; total]);
        communicator.gather(0, &self.places, &counts, &mut places);
        communicator.gather(0, &self.values, &counts, &mut values);
        let mut predictions = vec![0.0; total];
        for (place, value) in places.iter().zip(values) {
            predictions[*place as usize] = value;
        }
        predictions
    }
}

//! Held-out ratings, predicted by the ranks that own their users.

use std::ops::Range;

use super::grid::{Groups, owned};
use super::lines::Lines;
use super::step::products;
use crate::communicator::Communicator;
use crate::ratings::split::HeldOut;
use crate::scores::Scores;
use crate::simd::Simd;

/// The held-out ratings of a rank's own groups of users, each group's in the order of the whole.
pub struct Own {
    groups: Vec<Group>,
    /// Held-out ratings of each group, on every rank.
    counts: Vec<usize>,
    range: (f32, f32),
}

/// The held-out ratings of one group of users.
#[derive(Clone, Default)]
struct Group {
    /// The user's place in the group, and the movie's among all groups of movies end to end.
    pairs: Vec<(u32, u32)>,
    /// Twice the stars.
    stars: Vec<u8>,
}

/// Smallest and largest of the training's ratings in stars: predictions are kept between them.
pub fn range(stars: &[u8]) -> (f32, f32) {
    let bounds = (stars.iter().min(), stars.iter().max());
    let (Some(least), Some(most)) = bounds else { return (0.5, 5.0) };
    (0.5 * f32::from(*least), 0.5 * f32::from(*most))
}

impl Own {
    /// Deals out held-out ratings.
    pub fn new(held_out: &HeldOut, users: &Groups, movies: &Groups, own: Range<usize>, range: (f32, f32)) -> Self {
        let begins: Vec<usize> =
            (0..movies.count()).scan(0, |next, group| Some(std::mem::replace(next, *next + movies.len(group)))).collect();
        let mut groups = vec![Group::default(); own.len()];
        let mut counts = vec![0; users.count()];
        for ((user, movie), stars) in held_out.users.iter().zip(&held_out.movies).zip(&held_out.stars) {
            let (group, place) = users.of(*user as usize);
            counts[group] += 1;
            if own.contains(&group) {
                let (movie_group, movie_place) = movies.of(*movie as usize);
                let into = &mut groups[group - own.start];
                into.pairs.push((place as u32, (begins[movie_group] + movie_place) as u32));
                into.stars.push(*stars);
            }
        }
        Self { groups, counts, range }
    }

    /// The number of held-out ratings of all ranks.
    pub fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The held-out ratings of each group of users.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Predictions of the own groups: the mean and the product of two rows, kept in the range of ratings.
    ///
    /// `users` has the rows of the own groups, `movies` those of all movies, in groups.
    pub fn predictions(&self, simd: Simd, length: usize, mean: f32, users: &[Lines], movies: &[f32]) -> Vec<Vec<f32>> {
        let (least, most) = self.range;
        let of_group = |(group, users): (&Group, &Lines)| {
            let mut predictions = Vec::new();
            products(simd, length, &group.pairs, users, movies, &mut predictions);
            predictions.iter_mut().for_each(|value| *value = (mean + *value).clamp(least, most));
            predictions
        };
        self.groups.iter().zip(users).map(of_group).collect()
    }

    /// The root of the mean squared error of all ranks' predictions, on every rank: collective. None without any.
    pub fn rmse<C: Communicator>(&self, communicator: &C, predictions: &[Vec<f32>]) -> Option<f64> {
        let sums: Vec<f64> = self.groups.iter().zip(predictions).map(|(group, predictions)| group.squares(predictions)).collect();
        let total = total(communicator, self.counts.len(), &sums);
        (self.count() > 0).then(|| (total / self.count() as f64).sqrt())
    }
}

impl Group {
    fn squares(&self, predictions: &[f32]) -> f64 {
        let pairs = predictions.iter().zip(&self.stars);
        pairs.map(|(prediction, stars)| (f64::from(*prediction) - 0.5 * f64::from(*stars)).powi(2)).sum()
    }
}

/// The sum of values that belong to groups, an equal number to each, added in the order of groups on every rank: collective.
pub fn total<C: Communicator>(communicator: &C, groups: usize, own: &[f64]) -> f64 {
    let ranks = communicator.size();
    let own_groups = owned(communicator.rank(), ranks, groups).len();
    let each = communicator.allgather_one(own.len().checked_div(own_groups).unwrap_or(0) as u64)[0] as usize;
    let counts: Vec<usize> = (0..ranks).map(|rank| owned(rank, ranks, groups).len() * each).collect();
    let mut all = vec![0.0; groups * each];
    communicator.allgather(own, &counts, &mut all);
    all.iter().sum()
}

/// Puts predictions that come group by group into the order of the whole.
pub struct Sorter<'a> {
    held_out: &'a HeldOut,
    /// Which held-out ratings each group of users has.
    places: Vec<Vec<u32>>,
    predictions: Vec<f32>,
}

impl<'a> Sorter<'a> {
    /// Room for all predictions.
    pub fn new(held_out: &'a HeldOut, users: &Groups) -> Self {
        let mut places = vec![Vec::new(); users.count()];
        held_out.users.iter().enumerate().for_each(|(at, user)| places[users.of(*user as usize).0].push(at as u32));
        Self { held_out, places, predictions: vec![0.0; held_out.len()] }
    }

    /// Takes the predictions of one group.
    pub fn take(&mut self, group: usize, predictions: &[f32]) {
        for (at, prediction) in self.places[group].iter().zip(predictions) {
            self.predictions[*at as usize] = *prediction;
        }
    }

    /// All predictions in order, and how good they are.
    pub fn finish(self) -> (Vec<f32>, Option<Scores>) {
        let scores = Scores::of_half_stars(&self.predictions, &self.held_out.stars);
        (self.predictions, scores)
    }
}

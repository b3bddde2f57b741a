//! The search itself, on every rank: records, rows, candidates, predictions.

use super::baseline::{Baselines, RealSums, mean};
use super::dense::Sums;
use super::nearest::{Nearest, Neighbours};
use super::order::{self, Order};
use super::predict::{Prediction, Predictor};
use super::records::{COLUMNS, MOST_WIDTH, Records, Widths};
use super::rows::Rows;
use super::scale::Scale;
use super::similarity::{MOST_RATERS, Similarities, Similarity, Terms, finish};
use super::{KnnError, MOST_MOVIES};
use crate::communicator::{Communicator, Operation};
use crate::events::Events;
use crate::ratings::Store;
use crate::ratings::split::HeldOut;
use crate::simd::Simd;

/// Estimates for AVX-512 and sets larger than the caches: a rater's block from memory takes 8 ns, an entry of a list 1 ns.
pub const WIDTHS: Widths = Widths { block: 8.0, entry: 1.0, most: MOST_WIDTH };

/// What was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs of movies.
    pub pairs: u64,
    /// Pairs with enough common raters.
    pub supported: u64,
    /// Common raters, summed over all pairs.
    pub corated: u64,
}

impl Counts {
    /// Adds the pairs of a row with the columns of a block.
    fn add(&mut self, sums: &Sums, columns: usize, min_support: u32) {
        self.pairs += columns as u64;
        let common = &sums.n[..columns];
        self.supported += common.iter().map(|n| u64::from(*n >= min_support)).sum::<u64>();
        self.corated += common.iter().map(|n| u64::from(*n)).sum::<u64>();
    }

    /// The sums over all ranks, at rank 0.
    fn reduced<C: Communicator>(self, communicator: &C) -> Self {
        let mut sums = [0; 3];
        communicator.reduce(0, Operation::Sum, &[self.pairs, self.supported, self.corated], &mut sums);
        Self { pairs: sums[0], supported: sums[1], corated: sums[2] }
    }
}

/// What a search found; but for rank 0, nothing.
pub struct Outcome {
    /// The neighbours of all movies.
    pub neighbours: Option<Neighbours>,
    /// Of held-out ratings, in their order.
    pub predictions: Vec<f32>,
    /// What was computed.
    pub counts: Counts,
    /// The seconds each rank spent on its rows.
    pub rows_by_rank: Vec<f64>,
}

/// A search for neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Instructions to use.
    pub simd: Simd,
    /// What makes movies alike.
    pub similarity: Similarity,
    /// Neighbours of each movie, and of a user's movies the most that a prediction takes.
    pub neighbours: u32,
    /// The least common raters of a pair.
    pub min_support: u32,
    /// How strongly few common raters pull pearson_baseline to 0.
    pub shrinkage: f64,
    /// How to predict what is held out.
    pub predict: Prediction,
    /// How records are laid out; the answer does not depend on it.
    pub widths: Widths,
}

impl Search {
    /// Finds the neighbours of all movies, and predicts what is held out: collective.
    pub fn run<C: Communicator>(
        &self,
        communicator: &C,
        store: &Store,
        held_out: &HeldOut,
        events: &mut Events,
    ) -> Result<Outcome, KnnError> {
        events.phase("prepare");
        let scale = scale_of(communicator, store)?;
        let order = Order::of(store);
        let records = Records::of(communicator, store, &order, scale, self.widths)?;
        let (with_baseline, predicts) = (self.similarity == Similarity::PearsonBaseline, !held_out.is_empty());
        let baselines = if with_baseline || (predicts && self.predict == Prediction::Baseline) {
            events.phase("baselines");
            Baselines::of(communicator, store, &order)
        } else {
            Baselines { mean: mean(communicator, store), ..Baselines::default() }
        };
        let lists = match with_baseline {
            true => Some(Records::of(communicator, store, &order, scale, Widths { most: 0, ..self.widths })?),
            false => None,
        };
        events.phase("rows");
        let begin = std::time::Instant::now();
        let real = lists.as_ref().map(|lists| RealSums::new(self.simd, lists, &baselines, &order));
        let neighbours = self.neighbours as usize;
        let predictor = predicts.then(|| Predictor::new(self.predict, neighbours, store, held_out, &order, &records, &baselines));
        let work = Work {
            search: self,
            store,
            order: &order,
            terms: Terms { min_support: self.min_support, shrinkage: self.shrinkage, scale },
            rows: Rows::new(self.simd, store, &order, &records),
            real,
            nearest: Nearest::new(store.movies(), neighbours.min(store.movies().saturating_sub(1))),
            predictor,
            counts: Counts::default(),
        };
        let costs = work.costs(&records);
        let work = work.through(&costs, communicator, events);
        let rows_by_rank = communicator.gather_one(0, begin.elapsed().as_secs_f64());
        events.phase("gather");
        let counts = work.counts.reduced(communicator);
        let predictions = work.predictor.map_or_else(Vec::new, |predictor| predictor.gathered(communicator));
        let neighbours = work.nearest.gathered(communicator, &order.movies, store.movie_ids(), neighbours);
        Ok(Outcome { neighbours, predictions, counts, rows_by_rank })
    }
}

/// What a rank needs for its rows, and what it found.
struct Work<'a> {
    search: &'a Search,
    store: &'a Store,
    order: &'a Order,
    terms: Terms,
    rows: Rows<'a>,
    real: Option<RealSums<'a>>,
    nearest: Nearest,
    predictor: Option<Predictor<'a>>,
    counts: Counts,
}

impl Work<'_> {
    /// The columns that a row needs: those before it, or all, where ratings of its movie are to be predicted.
    fn end(&self, row: usize) -> usize {
        let all = self.predictor.as_ref().is_some_and(|predictor| predictor.wants(row));
        if all { self.store.movies() } else { row }
    }

    /// What each row is expected to cost, in nanoseconds: its raters' blocks, and similarities of its pairs.
    fn costs(&self, records: &Records) -> Vec<f64> {
        let all = records.ratings[0].max(1) as f64;
        // Blocks of a rater up to each, by the part of ratings whose users' records have them.
        let mut blocks = vec![0.0];
        for ratings in &records.ratings[1..] {
            blocks.push(blocks[blocks.len() - 1] + *ratings as f64 / all);
        }
        // Real sums are added for every common rating, of which a rater has more the later the row.
        let real = |row: usize| if self.real.is_some() { 0.05 * row as f64 } else { 0.0 };
        let cost = |(row, movie): (usize, &u32)| {
            let raters = self.store.places(*movie as usize).len() as f64;
            let end = self.end(row);
            let blocks = blocks[end.div_ceil(COLUMNS).min(MOST_WIDTH)];
            raters * (20.0 + WIDTHS.block * blocks + real(end)) + 4.0 * end as f64
        };
        self.order.movies.iter().enumerate().map(cost).collect()
    }

    /// Computes this rank's rows.
    fn through<C: Communicator>(mut self, costs: &[f64], communicator: &C, events: &mut Events) -> Self {
        let (own, total) = order::dealt(costs, communicator.size(), communicator.rank());
        let mut found = Box::new(Similarities([0.0; COLUMNS]));
        let mut all = Vec::new();
        // Popular rows are computed together; what is left of them is little.
        let popular = self.rows.popular(own.iter().map(|row| (*row as usize, self.end(*row as usize))));
        let (together, mut done) = (popular.len(), popular.iter().map(|popular| costs[popular.row]).sum::<f64>());
        self.rows.take(popular, |part| events.progress((1000.0 * part * done / total) as u64, 1000));
        for (at, row) in own.into_iter().enumerate() {
            self.row(row as usize, &mut found, &mut all);
            if at >= together {
                done += costs[row as usize];
            }
            events.progress((1000.0 * done / total) as u64, 1000);
        }
        events.progress(1000, 1000);
        self
    }

    /// Computes one row; `all` is room for its similarities with every column.
    fn row(&mut self, row: usize, found: &mut Similarities, all: &mut Vec<f64>) {
        let end = self.end(row);
        let Self { search, store, order, terms, rows, real, nearest, counts, .. } = self;
        let ratings = store.of_movie(order.movies[row] as usize);
        if let Some(real) = real {
            real.compute(ratings, end);
        }
        all.clear();
        rows.compute(row, end, |block, sums| {
            match real {
                Some(real) => real.finish(*terms, row, block, sums, found),
                None => finish(search.simd, search.similarity, *terms, sums, found),
            }
            counts.add(sums, COLUMNS.min(row.saturating_sub(block * COLUMNS)), search.min_support);
            nearest.offer(search.simd, &order.movies, row, block, found);
            if end > row {
                all.extend_from_slice(&found.0);
            }
        });
        if let Some(predictor) = &mut self.predictor {
            predictor.predict(row, !ratings.0.is_empty(), all);
        }
    }
}

/// The scale of a set that can be computed: collective.
fn scale_of<C: Communicator>(communicator: &C, store: &Store) -> Result<Scale, KnnError> {
    if store.movies() > MOST_MOVIES {
        return Err(KnnError::TooManyMovies { movies: store.movies() });
    }
    for (bounds, movie) in store.offsets().windows(2).zip(store.movie_ids()) {
        if bounds[1] - bounds[0] > MOST_RATERS {
            return Err(KnnError::TooManyRaters { movie: *movie, ratings: bounds[1] - bounds[0] });
        }
    }
    let share = |rank: usize| store.len() * rank / communicator.size();
    let stars = &store.stars()[share(communicator.rank())..share(communicator.rank() + 1)];
    let mut found = [0u64];
    communicator.allreduce(Operation::Max, &[(Scale::of(stars) == Scale::Half).into()], &mut found);
    Ok(if found == [1] { Scale::Half } else { Scale::Whole })
}

//! Baselines, their correlation, and predictions are those of the definitions, on any number of ranks and any path.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::baseline::{Baselines, SHRINKAGE};
use super::order::Order;
use super::predict::Prediction;
use super::records::Widths;
use super::search::{Search, WIDTHS};
use super::similarity::Similarity;
use crate::communicator::{Solo, Threads};
use crate::events::Events;
use crate::ratings::split::{Fold, HeldOut, by_fold};
use crate::ratings::{Ratings, Rows, Store};
use crate::simd::Simd;

/// Stars by user and movie index.
type Table = BTreeMap<(u32, u32), f64>;

fn table(store: &Store) -> Table {
    let of_movie = |movie: usize| {
        let (raters, stars) = store.of_movie(movie);
        raters.iter().zip(stars).map(move |(user, stars)| ((*user, movie as u32), 0.5 * f64::from(*stars)))
    };
    (0..store.movies()).flat_map(of_movie).collect()
}

/// Alternating least squares, word for word.
fn plain_baselines(table: &Table, movies: usize, users: usize) -> Baselines {
    let mean = if table.is_empty() { 0.0 } else { table.values().sum::<f64>() / table.len() as f64 };
    let mut fitted = Baselines { mean, movies: vec![0.0; movies], users: vec![0.0; users] };
    for _ in 0..10 {
        for movie in 0..movies {
            let own: Vec<f64> = table
                .iter()
                .filter(|((_, other), _)| *other as usize == movie)
                .map(|((user, _), stars)| stars - mean - fitted.users[*user as usize])
                .collect();
            fitted.movies[movie] = own.iter().sum::<f64>() / (10.0 + own.len() as f64);
        }
        for user in 0..users {
            let own: Vec<f64> = table
                .iter()
                .filter(|((other, _), _)| *other as usize == user)
                .map(|((_, movie), stars)| stars - mean - fitted.movies[*movie as usize])
                .collect();
            fitted.users[user] = own.iter().sum::<f64>() / (15.0 + own.len() as f64);
        }
    }
    fitted
}

/// The definition of pearson_baseline, word for word; `None` for too few common raters.
fn plain_similarity(table: &Table, fitted: &Baselines, users: usize, (one, other): (u32, u32), search: &Search) -> Option<f64> {
    let (mut product, mut own, mut others, mut n) = (0.0, 0.0, 0.0, 0usize);
    for user in 0..users as u32 {
        if let (Some(x), Some(y)) = (table.get(&(user, one)), table.get(&(user, other))) {
            let x = x - fitted.of_rating(one as usize, user as usize);
            let y = y - fitted.of_rating(other as usize, user as usize);
            (product, own, others, n) = (product + x * y, own + x * x, others + y * y, n + 1);
        }
    }
    let root = (own * others).sqrt();
    let shrinkage = (n as f64 - 1.0) / (n as f64 - 1.0 + search.shrinkage);
    (n >= search.min_support.max(2) as usize).then(|| if root == 0.0 { 0.0 } else { product / root * shrinkage })
}

/// KNNWithMeans and KNNBaseline, word for word.
fn plain_prediction(
    table: &Table,
    fitted: &Baselines,
    search: &Search,
    users: usize,
    (user, movie): (u32, u32),
    least: f64,
) -> f64 {
    let of_movie = |movie: u32| {
        let own: Vec<f64> = table.iter().filter(|((_, other), _)| *other == movie).map(|(_, stars)| *stars).collect();
        own.iter().sum::<f64>() / own.len() as f64
    };
    let known = table.keys().any(|(other, _)| *other == user) && table.keys().any(|(_, other)| *other == movie);
    let expected = |movie: u32| match search.predict {
        Prediction::Means => of_movie(movie),
        Prediction::Baseline => fitted.of_rating(movie as usize, user as usize),
    };
    let mut prediction = match search.predict {
        Prediction::Means if !known => fitted.mean,
        _ => expected(movie),
    };
    if known {
        let rated = table.iter().filter(|((other, _), _)| *other == user);
        let mut nearest: Vec<(f64, u32, f64)> = rated
            .filter_map(|((_, other), stars)| {
                Some((plain_similarity(table, fitted, users, (movie, *other), search)?, *other, stars - expected(*other)))
            })
            .collect();
        nearest.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        nearest.truncate(search.neighbours as usize);
        let weights: f64 = nearest.iter().map(|near| near.0.max(0.0)).sum();
        let sum: f64 = nearest.iter().map(|near| near.0.max(0.0) * near.2).sum();
        if weights > 0.0 {
            prediction += sum / weights;
        }
    }
    prediction.clamp(least, 5.0)
}

fn check(training: &Store, held_out: &HeldOut, predict: Prediction, neighbours: u32, min_support: u32, shrinkage: f64) {
    let (table, movies, users) = (table(training), training.movies(), training.users());
    let fitted = plain_baselines(&table, movies, users);
    let least = if training.stars().iter().all(|stars| stars % 2 == 0) { 1.0 } else { 0.5 };
    let mut first = None;
    for simd in Simd::available() {
        for (ranks, most) in [(1, 255), (2, 0), (3, 1), (7, 255)] {
            let widths = Widths { most, ..WIDTHS };
            let similarity = Similarity::PearsonBaseline;
            let search = Search { simd, similarity, neighbours, min_support, shrinkage, predict, widths };
            let mut outcomes = Threads::run(ranks, |communicator| {
                search.run(communicator, training, held_out, &mut Events::silent("knn")).unwrap()
            });
            let outcome = outcomes.swap_remove(0);
            let found = outcome.neighbours.unwrap();
            let bits: Vec<u64> = found.similarities.iter().map(|similarity| similarity.to_bits()).collect();
            let answer = (found.ids.clone(), bits, outcome.predictions.clone());
            assert!(*first.get_or_insert_with(|| answer.clone()) == answer, "{ranks} ranks, {simd}");
            for ((movie, column), id) in found.ids.indexed_iter().filter(|(_, id)| **id >= 0) {
                let other = training.movie_ids().iter().position(|other| i64::from(*other) == *id).unwrap() as u32;
                let expected = plain_similarity(&table, &fitted, users, (movie as u32, other), &search).unwrap();
                let similarity = found.similarities[[movie, column]];
                // Shrinking makes rounding errors small too.
                assert!((similarity - expected).abs() < 1e-7 / (1.0 + shrinkage), "{similarity} instead of {expected}");
            }
            assert_eq!(outcome.predictions.len(), held_out.len());
            for (place, prediction) in outcome.predictions.iter().enumerate() {
                let pair = (held_out.users[place], held_out.movies[place]);
                let expected = plain_prediction(&table, &fitted, &search, users, pair, least);
                assert!((f64::from(*prediction) - expected).abs() < 1e-5, "{prediction} instead of {expected} for {pair:?}");
            }
        }
    }
}

/// Random stars of up to 14 movies and 18 users; residuals of equal size would make ties, which rounding then decides.
fn random_set() -> impl Strategy<Value = Store> {
    (1u32..14, 1u32..18, any::<bool>()).prop_flat_map(|(movies, users, halves)| {
        let cell = proptest::option::weighted(0.7, 1u8..=10);
        proptest::collection::vec(cell, (movies * users) as usize).prop_map(move |cells| {
            let mut rows = Rows::default();
            for (at, stars) in cells.into_iter().enumerate() {
                if let Some(stars) = stars {
                    let stars = if halves { stars } else { stars.div_ceil(2) * 2 };
                    rows.push(at as u32 / users * 3 + 1, at as u32 % users + 7, stars);
                }
            }
            Ratings::from_rows(rows).unwrap().into()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sets_have_the_predictions_of_the_definitions(
        all in random_set(),
        means in any::<bool>(),
        min_support in 1u32..4,
        shrinkage in prop_oneof![Just(SHRINKAGE), Just(0.0), 0.5f64..9.0],
        seed in 0u64..100,
    ) {
        let (training, held_out) = by_fold(&all, Fold { number: 1, of: 4 }, seed);
        let predict = if means { Prediction::Means } else { Prediction::Baseline };
        // All of a user's movies, so that nearly equal similarities cannot change places at the end of a list.
        check(&training, &held_out, predict, 20, min_support, shrinkage);
    }
}

#[test]
fn nothing_held_out_and_nothing_to_learn_from_are_no_errors() {
    let none = Store::from(Ratings::from_rows(Rows::default()).unwrap());
    check(&none, &HeldOut::default(), Prediction::Baseline, 3, 1, SHRINKAGE);
    let mut rows = Rows::default();
    rows.push(5, 9, 7);
    let one = Store::from(Ratings::from_rows(rows).unwrap());
    check(&one, &HeldOut::default(), Prediction::Means, 3, 1, SHRINKAGE);
    let (training, held_out) =
        (1..20).map(|seed| by_fold(&one, Fold { number: 1, of: 2 }, seed)).find(|split| split.0.is_empty()).unwrap();
    for predict in [Prediction::Means, Prediction::Baseline] {
        check(&training, &held_out, predict, 3, 1, SHRINKAGE);
    }
}

#[test]
fn movies_beyond_the_first_blocks_of_columns_correlate_as_defined() {
    for half_stars in [false, true] {
        let shape = crate::datagen::generate::Shape { movies: 1_200, users: 8_000, ratings: 160_000, seed: 7, half_stars };
        let store = Store::from(Ratings::from_rows(crate::datagen::generate::generate(&shape, |_, _| {}).rows).unwrap());
        let (movies, order) = (store.movies(), Order::of(&store));
        let fitted = Baselines::of(&Solo, &store, &order);
        let mut by_user = vec![Vec::new(); store.users()];
        for movie in 0..movies {
            let (raters, stars) = store.of_movie(movie);
            for (user, stars) in raters.iter().zip(stars) {
                let residual = 0.5 * f64::from(*stars) - fitted.of_rating(movie, *user as usize);
                by_user[*user as usize].push((movie, residual));
            }
        }
        // n, and the sums of products and of the squares of either.
        let mut sums = vec![[0.0; 4]; movies * movies];
        for (one, x, other, y) in by_user.iter().flat_map(|ratings| {
            ratings.iter().flat_map(move |(one, x)| ratings.iter().map(move |(other, y)| (*one, *x, *other, *y)))
        }) {
            sums[one * movies + other].iter_mut().zip([1.0, x * y, x * x, y * y]).for_each(|(sum, term)| *sum += term);
        }
        let places: BTreeMap<i64, usize> = store.movie_ids().iter().map(|id| i64::from(*id)).zip(0..).collect();
        let mut first = None;
        for simd in Simd::available() {
            for (ranks, most) in [(1, 255), (2, 0), (3, 1)] {
                let (similarity, predict) = (Similarity::PearsonBaseline, Prediction::Means);
                let widths = Widths { most, ..WIDTHS };
                let search = Search { simd, similarity, neighbours: 20, min_support: 5, shrinkage: SHRINKAGE, predict, widths };
                let mut outcomes = Threads::run(ranks, |communicator| {
                    search.run(communicator, &store, &HeldOut::default(), &mut Events::silent("knn")).unwrap()
                });
                let found = outcomes.swap_remove(0).neighbours.unwrap();
                for ((movie, column), id) in found.ids.indexed_iter().filter(|(_, id)| **id >= 0) {
                    let [n, both, own, others] = sums[movie * movies + places[id]];
                    let expected = both / (own * others).sqrt() * (n - 1.0) / (n - 1.0 + SHRINKAGE);
                    let similarity = found.similarities[[movie, column]];
                    assert!(n >= 5.0 && (similarity - expected).abs() < 1e-9, "{similarity} instead of {expected}");
                }
                let bits: Vec<u64> = found.similarities.iter().map(|similarity| similarity.to_bits()).collect();
                let answer = (found.ids, bits);
                assert!(*first.get_or_insert_with(|| answer.clone()) == answer, "{ranks} ranks, {simd}");
            }
        }
    }
}

#[test]
fn baselines_are_the_same_bits_on_any_number_of_ranks() {
    let shape = crate::datagen::generate::Shape { movies: 40, users: 90, ratings: 1500, seed: 8, half_stars: true };
    let store = Store::from(Ratings::from_rows(crate::datagen::generate::generate(&shape, |_, _| {}).rows).unwrap());
    let order = Order::of(&store);
    let alone = Baselines::of(&Solo, &store, &order);
    for ranks in [2, 3, 5, 100] {
        let found = Threads::run(ranks, |communicator| Baselines::of(communicator, &store, &order));
        assert!(found.iter().all(|found| *found == alone), "{ranks} ranks");
    }
}

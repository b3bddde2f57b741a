//! Funk's factors are those of his definition, on any number of ranks.

use proptest::prelude::*;

use super::*;
use crate::communicator::{Solo, Threads};
use crate::ratings::{Ratings as Set, Rows};

const SETTINGS: Settings =
    Settings { factors: 3, passes: 6, learning_rate: 0.02, regularization: 0.015, start: 0.1, has_baseline: true, seed: 4 };

fn set(cells: &[Option<u8>], users: u32) -> Set {
    let mut rows = Rows::default();
    let rated = cells.iter().enumerate().filter_map(|(at, stars)| Some((at as u32, (*stars)?)));
    rated.for_each(|(at, stars)| rows.push(at / users, at % users, stars));
    Set::from_rows(rows).unwrap()
}

fn problem(set: &Set, groups: usize) -> Problem<'_> {
    let columns = Columns { offsets: &set.offsets, raters: &set.raters, stars: &set.stars };
    Problem::new(columns, set.users(), groups)
}

/// Errors of each round and the bits of all rows.
type Learnt = (Vec<u64>, Vec<u32>, Vec<u32>);

fn learnt(problem: &Problem<'_>, settings: &Settings, ranks: usize, simd: Simd, restore_at: Option<usize>) -> Learnt {
    let parts = Threads::run(ranks, |communicator| {
        let mut learner = Training::new(communicator, problem, settings, simd);
        let mut errors = Vec::new();
        for round in 0..settings.factors {
            if restore_at == Some(round) {
                let factors = learner.factors.clone();
                learner = Training::new(communicator, problem, settings, simd);
                learner.restore(factors, round);
            }
            errors.push(learner.round(round, &mut |_, _| {}).to_bits());
        }
        (errors, learner.factors)
    });
    let users = parts.iter().flat_map(|part| part.1.users.iter().flat_map(|rows| rows.iter().map(|value| value.to_bits())));
    let movies = parts.iter().flat_map(|part| part.1.movies.iter().flatten().map(|value| value.to_bits()));
    (parts[0].0.clone(), users.collect(), movies.collect())
}

/// Funk's loop in `f64` over the ratings in the order of the cells: the error after each factor.
fn by_definition(set: &Set, problem: &Problem<'_>, settings: &Settings) -> Vec<f64> {
    let learner = Training::new(&Solo, problem, settings, Simd::Portable);
    let lists = (problem.users.member_lists(), problem.movies.member_lists());
    let groups = lists.0.len();
    let mut order = Vec::new();
    for stratum in 0..groups {
        for user_group in 0..groups {
            let movie_group = (user_group + stratum) % groups;
            for block in learner.cells.blocks(user_group, movie_group) {
                order.extend((block.begin..block.end).map(|at| {
                    let user = lists.0[user_group][block.user + usize::from(learner.cells.users[at])] as usize;
                    let movie = lists.1[movie_group][block.movie + usize::from(learner.cells.movies[at])] as usize;
                    (user, movie, f64::from(learner.cells.stars[at]) / 2.0)
                }));
            }
        }
    }
    assert_eq!(order.len(), set.len());
    let mean = order.iter().map(|rating| rating.2).sum::<f64>() / order.len() as f64;
    let damped = |sum: f64, count: f64| sum / (25.0 + count);
    let bias = |of: &dyn Fn(&(usize, usize, f64)) -> bool, left: &dyn Fn(&(usize, usize, f64)) -> f64| {
        let ratings: Vec<f64> = order.iter().filter(|rating| of(rating)).map(left).collect();
        damped(ratings.iter().sum(), ratings.len() as f64)
    };
    let movies: Vec<f64> = (0..set.movies()).map(|movie| bias(&|rating| rating.1 == movie, &|rating| rating.2 - mean)).collect();
    let users: Vec<f64> =
        (0..set.users()).map(|user| bias(&|rating| rating.0 == user, &|rating| rating.2 - mean - movies[rating.1])).collect();
    let mut left: Vec<f64> = order.iter().map(|(user, movie, stars)| stars - mean - users[*user] - movies[*movie]).collect();
    let mut errors = Vec::new();
    for _ in 0..settings.factors {
        let (mut p, mut q) = (vec![settings.start; users.len()], vec![settings.start; movies.len()]);
        for _ in 0..settings.passes {
            for ((user, movie, _), left) in order.iter().zip(&left) {
                let error = left - p[*user] * q[*movie];
                let old = p[*user];
                p[*user] += settings.learning_rate * (error * q[*movie] - settings.regularization * p[*user]);
                q[*movie] += settings.learning_rate * (error * old - settings.regularization * q[*movie]);
            }
        }
        for ((user, movie, _), left) in order.iter().zip(&mut left) {
            *left -= p[*user] * q[*movie];
        }
        errors.push((left.iter().map(|left| left * left).sum::<f64>() / left.len() as f64).sqrt());
    }
    errors
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sets_have_the_factors_of_the_definition_on_any_ranks_and_any_path(
        cells in proptest::collection::vec(proptest::option::weighted(0.5, 1u8..=10), 1..150),
        users in 1u32..16,
        groups in 1usize..7,
        ranks in 2usize..9,
    ) {
        let set = set(&cells, users);
        let problem = problem(&set, groups);
        let alone = learnt(&problem, &SETTINGS, 1, Simd::Portable, None);
        for simd in Simd::available() {
            prop_assert!(learnt(&problem, &SETTINGS, ranks, simd, None) == alone, "{ranks} ranks, {simd}");
        }
        prop_assert!(learnt(&problem, &SETTINGS, ranks, Simd::widest(), Some(2)) == alone, "restored");
        if !set.is_empty() {
            for (found, expected) in alone.0.iter().zip(by_definition(&set, &problem, &SETTINGS)) {
                let found = f64::from_bits(*found);
                prop_assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
            }
        }
    }
}

#[test]
fn without_a_baseline_the_first_factor_learns_the_mean() {
    let cells: Vec<Option<u8>> = (0..400).map(|at| (at % 7 != 0).then_some(7 + (at % 2) as u8)).collect();
    let set = set(&cells, 20);
    let settings = Settings { factors: 1, passes: 200, regularization: 0.0, has_baseline: false, ..SETTINGS };
    let problem = problem(&set, 2);
    let mut learner = Training::new(&Solo, &problem, &settings, Simd::widest());
    let error = learner.round(0, &mut |_, _| {});
    assert_eq!(learner.mean(), 0.0);
    assert!(error < 0.3, "{error}");
}

//! Every path gives the bits of the plain loop, and the plain loop follows the definition.

use proptest::prelude::*;

use super::*;
use crate::random::SplitMix64;

/// Rows of a few users and movies, and ratings in random order, some of them in quads.
#[derive(Clone, Debug)]
struct Case {
    length: usize,
    users: Vec<f32>,
    movies: Vec<f32>,
    ratings: Vec<(u16, u16, u8)>,
    in_quads: usize,
}

const RATES: Rates = Rates { learning: 0.005, decay: 1.0 - 0.005 * 0.02, mean: 3.6 };

fn case(factors: usize, users: u16, movies: u16, quads: usize, others: usize, seed: u64) -> Case {
    let mut random = SplitMix64::new(seed);
    let length = row_length(factors);
    let mut rows = |count: u16, constant: usize| {
        let mut rows: Vec<f32> = (0..usize::from(count) * length).map(|_| 0.3 * random.normal() as f32).collect();
        rows.chunks_mut(length).for_each(|row| {
            row[factors..length - 2].fill(0.0);
            row[constant] = 1.0;
        });
        rows
    };
    let (user_rows, movie_rows) = (rows(users, length - 1), rows(movies, length - 2));
    let mut ratings = Vec::new();
    for _ in 0..quads {
        let (user, movie) = (random.below(users.into()) as u16, random.below(movies.into()) as u16);
        // The first users and movies that follow, around the corner, and are not in the last quad.
        let last: Vec<(u16, u16, u8)> = ratings[ratings.len().saturating_sub(QUAD)..].to_vec();
        let free = |first: u16, count: u16, taken: &dyn Fn(u16) -> bool| -> Vec<u16> {
            (0..count).map(|at| (first + at) % count).filter(|at| !taken(*at)).take(QUAD).collect()
        };
        let users = free(user, users, &|user| last.iter().any(|rating| rating.0 == user));
        let movies = free(movie, movies, &|movie| last.iter().any(|rating| rating.1 == movie));
        ratings.extend(users.into_iter().zip(movies).map(|(user, movie)| (user, movie, random.below(10) as u8 + 1)));
    }
    for _ in 0..others {
        let (user, movie) = (random.below(users.into()) as u16, random.below(movies.into()) as u16);
        ratings.push((user, movie, random.below(10) as u8 + 1));
    }
    Case { length, users: user_rows, movies: movie_rows, ratings, in_quads: quads * QUAD }
}

impl Case {
    /// The sum and the bits of all rows after all steps.
    fn trained(&self, simd: Simd) -> (f64, Vec<u32>) {
        let (mut users, mut movies) = (self.users.clone(), self.movies.clone());
        let column = |of: fn(&(u16, u16, u8)) -> u16| self.ratings.iter().map(of).collect::<Vec<u16>>();
        let stars: Vec<u8> = self.ratings.iter().map(|rating| rating.2).collect();
        let (user, movie) = (column(|rating| rating.0), column(|rating| rating.1));
        let ratings = Ratings { users: &user, movies: &movie, stars: &stars, in_quads: self.in_quads };
        let sum = train(simd, self.length, &ratings, &mut users, &mut movies, &RATES);
        (sum, users.iter().chain(&movies).map(|value| value.to_bits()).collect())
    }

    /// The definition in `f64`: error, biases and factors, rating after rating.
    fn by_definition(&self) -> (f64, Vec<f64>) {
        let (mut users, mut movies): (Vec<f64>, Vec<f64>) =
            (self.users.iter().map(|value| (*value).into()).collect(), self.movies.iter().map(|value| (*value).into()).collect());
        let (learning, regularization) = (0.005, 0.02);
        let mut sum = 0.0;
        for (user, movie, stars) in &self.ratings {
            let (p, q) = (
                &mut users[usize::from(*user) * self.length..][..self.length],
                &mut movies[usize::from(*movie) * self.length..][..self.length],
            );
            let factors = self.length - 2;
            let dot: f64 = p[..factors].iter().zip(&q[..factors]).map(|(p, q)| p * q).sum();
            let error = f64::from(*stars) / 2.0 - (f64::from(RATES.mean) + p[factors] + q[factors + 1] + dot);
            p[factors] += learning * (error - regularization * p[factors]);
            q[factors + 1] += learning * (error - regularization * q[factors + 1]);
            for (p, q) in p[..factors].iter_mut().zip(&mut q[..factors]) {
                let old = *p;
                *p += learning * (error * *q - regularization * *p);
                *q += learning * (error * old - regularization * *q);
            }
            sum += error * error;
        }
        (sum, users.into_iter().chain(movies).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_path_gives_the_same_bits_close_to_the_definition(
        factors in 1usize..150,
        users in 8u16..20,
        movies in 8u16..20,
        quads in 0usize..40,
        others in 0usize..20,
        seed: u64,
    ) {
        let case = case(factors, users, movies, quads, others, seed);
        let portable = case.trained(Simd::Portable);
        for simd in Simd::available() {
            prop_assert!(case.trained(simd) == portable, "{simd}");
        }
        let (sum, values) = case.by_definition();
        prop_assert!((sum - portable.0).abs() <= 1e-4 * (1.0 + sum), "{} instead of {sum}", portable.0);
        for (at, (bits, value)) in portable.1.iter().zip(values).enumerate() {
            let found = f64::from(f32::from_bits(*bits));
            prop_assert!((found - value).abs() < 1e-4, "{found} instead of {value} at {at}");
        }
    }
}

#[test]
fn products_are_the_same_bits_on_every_path_and_those_of_the_definition() {
    let case = case(37, 9, 11, 0, 0, 3);
    let pairs: Vec<(u32, u32)> = (0..9).flat_map(|user| (0..11).map(move |movie| (user, movie))).collect();
    let found: Vec<Vec<f32>> = Simd::available()
        .map(|simd| {
            let mut into = Vec::new();
            products(simd, case.length, &pairs, &case.users, &case.movies, &mut into);
            into
        })
        .collect();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    for ((user, movie), found) in pairs.iter().zip(&found[0]) {
        let row = |rows: &[f32], at: u32| rows[at as usize * case.length..][..case.length].to_vec();
        let (user, movie) = (row(&case.users, *user), row(&case.movies, *movie));
        let expected: f64 = user.iter().zip(&movie).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum();
        assert!((f64::from(*found) - expected).abs() < 1e-5);
    }
}

#[test]
fn rows_have_room_for_both_biases() {
    assert_eq!([1, 14, 15, 50, 100, 110, 111].map(row_length), [16, 16, 32, 64, 112, 112, 128]);
}

#[test]
#[should_panic(expected = "rows(self.users)")]
fn a_place_without_a_row_is_never_touched() {
    let mut rows = vec![0.0; 16];
    let ratings = Ratings { users: &[1], movies: &[0], stars: &[4], in_quads: 0 };
    train(Simd::widest(), 16, &ratings, &mut rows.clone(), &mut rows, &RATES);
}

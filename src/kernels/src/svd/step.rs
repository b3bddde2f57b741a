//! Gradient steps over one block of ratings: the inner loop of biased matrix factorisation.
//!
//! Owns what a step computes, to the last bit, and its forms for each set of instructions. The definition is `step`; the
//! others give the same bits, because they do the same operations in the same order:
//!
//! * products are summed in 16 lanes by fused multiply-add, chunk of 16 after chunk of 16;
//! * the lanes are added by halves: eight to eight, four to four, two to two, one to one;
//! * each new value is one fused multiply-add onto one rounded product.
//!
//! Where a machine has no fused multiply-add, Rust's `mul_add` computes it in software: the same bits, slowly.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::step_avx512;
use crate::simd::Simd;

/// Values added at once; a row is a whole number of these.
pub const LANES: usize = 16;
/// Ratings that are taken at once: neither they nor the next as many have a common user or movie.
pub const QUAD: usize = 4;

/// The length of a row: factors, zeros, and two last values that hold the biases.
///
/// The last but one is the user's bias in a user's row and 1 in a movie's; the last is 1 in a user's row and the movie's
/// bias in a movie's. So the product of two rows has both biases in it, and one rule updates all.
pub fn row_length(factors: usize) -> usize {
    (factors + 2).next_multiple_of(LANES)
}

/// The numbers of one training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The learning rate.
    pub learning: f32,
    /// What is left of a value after a step without error: 1 - learning rate · regularization.
    pub decay: f32,
    /// The mean of all ratings, in stars.
    pub mean: f32,
}

/// Ratings of one block of users and movies, in the order of the steps.
#[derive(Clone, Copy, Debug)]
pub struct Ratings<'a> {
    /// Users, by place in the block.
    pub users: &'a [u16],
    /// Movies, by place in the block.
    pub movies: &'a [u16],
    /// Twice the stars.
    pub stars: &'a [u8],
    /// How many ratings at the beginning are in quads, a multiple of [`QUAD`]: no two of a quad, or of two quads in a row,
    /// have a common user or movie.
    pub in_quads: usize,
}

impl Ratings<'_> {
    /// Panics unless every rating's rows are there: the inner loops rely on it.
    fn check(&self, users: &[f32], movies: &[f32], length: usize) {
        assert!(self.users.len() == self.stars.len() && self.movies.len() == self.stars.len());
        assert!(self.in_quads <= self.stars.len() && self.in_quads.is_multiple_of(QUAD));
        assert!(rows(self.users) * length <= users.len() && rows(self.movies) * length <= movies.len());
    }
}

/// How many rows there must be for these places to have one.
///
/// Folded over values: the maximum of references is not vectorised, and would cost as much as a step of one factor.
pub fn rows(places: &[u16]) -> usize {
    if places.is_empty() { 0 } else { usize::from(places.iter().fold(0, |most: u16, place| most.max(*place))) + 1 }
}

/// Takes one step for each rating, and returns the sum of the squared errors before each step.
///
/// `users` and `movies` are the block's rows of `length` values. Errors are squared and added in `f64`, in four sums by
/// place in the block modulo 4, added last as `(s0 + s2) + (s1 + s3)`.
pub fn train(simd: Simd, length: usize, ratings: &Ratings<'_>, users: &mut [f32], movies: &mut [f32], rates: &Rates) -> f64 {
    assert!(length > 0 && length.is_multiple_of(LANES), "rows are whole numbers of {LANES} lanes");
    assert!(simd <= Simd::widest(), "this machine has no {simd}");
    ratings.check(users, movies, length);
    let mut sums = [0.0; QUAD];
    match simd {
        Simd::Portable => one_by_one(0..ratings.stars.len(), length, ratings, users, movies, rates, &mut sums),
        // SAFETY: the machine has it, as was just made sure of.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { avx2(0..ratings.stars.len(), length, ratings, users, movies, rates, &mut sums) },
        // SAFETY: the same, and `check` made sure of every place.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe {
            step_avx512::quads(length, ratings, users, movies, rates, &mut sums);
            avx2(ratings.in_quads..ratings.stars.len(), length, ratings, users, movies, rates, &mut sums);
        },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("{simd} is never detected here"),
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// The plain loop, compiled for AVX2 and FMA.
///
/// # Safety
/// The machine has both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(
    range: Range<usize>,
    length: usize,
    ratings: &Ratings<'_>,
    users: &mut [f32],
    movies: &mut [f32],
    rates: &Rates,
    sums: &mut [f64; QUAD],
) {
    one_by_one(range, length, ratings, users, movies, rates, sums);
}

#[inline(always)]
fn one_by_one(
    range: Range<usize>,
    length: usize,
    ratings: &Ratings<'_>,
    users: &mut [f32],
    movies: &mut [f32],
    rates: &Rates,
    sums: &mut [f64; QUAD],
) {
    for at in range {
        let user = &mut users[usize::from(ratings.users[at]) * length..][..length];
        let movie = &mut movies[usize::from(ratings.movies[at]) * length..][..length];
        let error = f64::from(step(ratings.stars[at], user, movie, rates));
        sums[at % QUAD] = error.mul_add(error, sums[at % QUAD]);
    }
}

/// One step: moves both rows down the gradient of the squared error, and returns the error before.
#[inline(always)]
fn step(stars: u8, user: &mut [f32], movie: &mut [f32], rates: &Rates) -> f32 {
    let wanted = f32::from(stars).mul_add(0.5, -rates.mean);
    let error = wanted - product(user, movie);
    let gain = rates.learning * error;
    let length = user.len();
    let (one_of_user, one_of_movie) = (user[length - 1], movie[length - 2]);
    for (user, movie) in user.as_chunks_mut::<LANES>().0.iter_mut().zip(movie.as_chunks_mut::<LANES>().0) {
        for (p, q) in user.iter_mut().zip(movie) {
            let (old_p, old_q) = (*p, *q);
            *p = gain.mul_add(old_q, rates.decay * old_p);
            *q = gain.mul_add(old_p, rates.decay * old_q);
        }
    }
    (user[length - 1], movie[length - 2]) = (one_of_user, one_of_movie);
    error
}

/// The product of two rows of equal length, a multiple of [`LANES`].
#[inline(always)]
fn product(user: &[f32], movie: &[f32]) -> f32 {
    let (users, movies) = (user.as_chunks::<LANES>().0, movie.as_chunks::<LANES>().0);
    let mut lanes: [f32; LANES] = std::array::from_fn(|lane| users[0][lane] * movies[0][lane]);
    for (user, movie) in users.iter().zip(movies).skip(1) {
        for (lane, (p, q)) in lanes.iter_mut().zip(user.iter().zip(movie)) {
            *lane = p.mul_add(*q, *lane);
        }
    }
    let eight: [f32; 8] = std::array::from_fn(|lane| lanes[lane] + lanes[lane + 8]);
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The products of pairs of rows: what is predicted beyond the mean.
pub fn products(simd: Simd, length: usize, pairs: &[(u32, u32)], users: &[f32], movies: &[f32], into: &mut Vec<f32>) {
    assert!(simd <= Simd::widest(), "this machine has no {simd}");
    into.clear();
    into.reserve(pairs.len());
    match simd {
        Simd::Portable => products_of(length, pairs, users, movies, into),
        // SAFETY: the machine has it, as was just made sure of.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 | Simd::Avx512 => unsafe { products_avx2(length, pairs, users, movies, into) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("{simd} is never detected here"),
    }
}

/// The same loop, compiled for AVX2 and FMA.
///
/// # Safety
/// The machine has both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn products_avx2(length: usize, pairs: &[(u32, u32)], users: &[f32], movies: &[f32], into: &mut Vec<f32>) {
    products_of(length, pairs, users, movies, into);
}

#[inline(always)]
fn products_of(length: usize, pairs: &[(u32, u32)], users: &[f32], movies: &[f32], into: &mut Vec<f32>) {
    into.extend(pairs.iter().map(|(user, movie)| {
        product(&users[*user as usize * length..][..length], &movies[*movie as usize * length..][..length])
    }));
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;

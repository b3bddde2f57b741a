//! How alike two movies are, from sums over the users who rated both.

use clap::ValueEnum;
use serde::Serialize;

use super::dense::Sums;
use super::lanes::{Lanes, on_path};
use super::records::COLUMNS;
use super::scale::Scale;
use crate::simd::Simd;

/// The most ratings of one movie: n Σ x² of as many half-star ratings is below 2^53, so that all products of two sums
/// are exact in f64.
pub const MOST_RATERS: u64 = 9_000_000;

const _: () = assert!(MOST_RATERS * MOST_RATERS <= (1 << 53) / 100);

/// A similarity of movies over their common raters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Similarity {
    /// Pearson's correlation
    Pearson,
    /// Correlation of what is left beside the user's and the movie's baselines, shrunk where common raters are few
    PearsonBaseline,
    /// Cosine of the angle between the ratings
    Cosine,
    /// 1 / (1 + mean squared difference)
    Msd,
}

/// A pair's similarity by its sums; of too few common raters it is negative infinity.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Similarities(pub [f64; COLUMNS]);

/// The least common raters of a pair, what pulls it to 0, and the scale of its sums.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The least number of common raters.
    pub min_support: u32,
    /// How strongly few common raters pull pearson_baseline to 0.
    pub shrinkage: f64,
    /// What a level is worth.
    pub scale: Scale,
}

/// Pearson's correlation, `(n Σxy − Σx Σy) / sqrt((n Σxx − Σx²) (n Σyy − Σy²))`; 0 where the root is 0.
///
/// The three differences are exact integers; then one rounding each for product, root and quotient, in this order, so
/// that it is the same bits as any f64 evaluation of the same formula.
#[inline(always)]
pub fn pearson([n, x, y, xx, yy, xy]: [f64; 6], _unit: f64) -> f64 {
    let root = ((n * xx - x * x) * (n * yy - y * y)).sqrt();
    if root == 0.0 { 0.0 } else { (n * xy - x * y) / root }
}

/// The cosine, `Σxy / sqrt(Σxx Σyy)`; 0 where the root is 0.
#[inline(always)]
pub fn cosine([_, _, _, xx, yy, xy]: [f64; 6], _unit: f64) -> f64 {
    let root = (xx * yy).sqrt();
    if root == 0.0 { 0.0 } else { xy / root }
}

/// `1 / (Σ(x − y)² / n + 1)`, in stars; 0 without common raters.
#[inline(always)]
pub fn msd([n, _, _, xx, yy, xy]: [f64; 6], unit: f64) -> f64 {
    if n == 0.0 { 0.0 } else { 1.0 / ((xx - 2.0 * xy + yy) * (unit * unit) / n + 1.0) }
}

/// Computes the similarities of a block of columns.
///
/// `PearsonBaseline` has real sums of its own: see [`super::baseline`].
pub fn finish(simd: Simd, similarity: Similarity, terms: Terms, sums: &Sums, found: &mut Similarities) {
    let (least, unit) = (terms.min_support, terms.scale.unit());
    match similarity {
        Similarity::Pearson | Similarity::PearsonBaseline => on_path!(simd, all_pearson::<_>(
            least: u32 = least, unit: f64 = unit, sums: &Sums = sums, found: &mut Similarities = found)),
        Similarity::Cosine => on_path!(simd, all_cosine::<_>(
            least: u32 = least, unit: f64 = unit, sums: &Sums = sums, found: &mut Similarities = found)),
        Similarity::Msd => on_path!(simd, all_msd::<_>(
            least: u32 = least, unit: f64 = unit, sums: &Sums = sums, found: &mut Similarities = found)),
    }
}

macro_rules! for_all {
    ($($all:ident => $one:ident),*) => { $(
        #[inline(always)]
        unsafe fn $all<L: Lanes>(least: u32, unit: f64, sums: &Sums, found: &mut Similarities) {
            for column in 0..COLUMNS {
                let of = |sums: &[u32; COLUMNS]| f64::from(sums[column]);
                let similarity = $one([of(&sums.n), of(&sums.x), of(&sums.y), of(&sums.xx), of(&sums.yy), of(&sums.xy)], unit);
                found.0[column] = if sums.n[column] < least { f64::NEG_INFINITY } else { similarity };
            }
        }
    )* };
}
for_all!(all_pearson => pearson, all_cosine => cosine, all_msd => msd);

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(pairs: &[(u32, u32)]) -> [f64; 6] {
        let sum = |term: fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| term(f64::from(*x), f64::from(*y))).sum();
        [sum(|_, _| 1.0), sum(|x, _| x), sum(|_, y| y), sum(|x, _| x * x), sum(|_, y| y * y), sum(|x, y| x * y)]
    }

    #[test]
    fn similarities_of_a_known_pair_are_known() {
        // Ratings 1, 2, 4 and 2, 3, 3 stars: means 7/3 and 8/3, r = (4/3) / sqrt(14/3 · 2/3) = 2 / sqrt(7).
        let pair = sums(&[(1, 2), (2, 3), (4, 3)]);
        assert!((pearson(pair, 1.0) - 2.0 / 7f64.sqrt()).abs() < 1e-15);
        assert!((cosine(pair, 1.0) - 20.0 / (21.0f64 * 22.0).sqrt()).abs() < 1e-15);
        assert_eq!(msd(pair, 1.0), 0.5);
        assert_eq!(pearson(sums(&[(2, 4), (4, 8)]), 1.0), 1.0);
        assert_eq!(pearson(sums(&[(2, 8), (4, 4)]), 1.0), -1.0);
    }

    #[test]
    fn constant_ratings_and_single_raters_correlate_with_nothing() {
        assert_eq!(pearson(sums(&[]), 1.0), 0.0);
        assert_eq!(pearson(sums(&[(2, 4)]), 1.0), 0.0);
        assert_eq!(pearson(sums(&[(6, 4), (6, 8), (6, 2)]), 1.0), 0.0);
    }

    #[test]
    fn half_stars_and_stars_give_the_same_bits() {
        let pairs = [(1, 5), (2, 2), (5, 3), (4, 4), (3, 1), (5, 5), (1, 2)];
        let doubled: Vec<(u32, u32)> = pairs.iter().map(|(x, y)| (2 * x, 2 * y)).collect();
        for similarity in [pearson, cosine, msd] {
            assert_eq!(similarity(sums(&pairs), 1.0).to_bits(), similarity(sums(&doubled), 0.5).to_bits());
        }
    }
}

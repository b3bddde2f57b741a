//! Baselines of movies and users, and what of pearson_baseline's sums is real.
//!
//! A rating's residual is d = r - (μ + b_user + b_movie). With e = μ + b_user, the sums of residuals over common raters
//! follow from the integer sums that the bit-sliced kernel has, and from four real ones, Σ e, Σ e², Σ x e and Σ y e: one
//! addition of four numbers a common rating, instead of three products.

use super::dense::Sums;
use super::lanes::{Lanes, on_path, prefetch};
use super::order::{Order, slices, user_shares};
use super::records::{COLUMNS, LEVEL_BITS, Records};
use super::similarity::{Similarities, Terms};
use crate::communicator::{Communicator, Operation};
use crate::ratings::Store;
use crate::simd::Simd;

/// Rounds of alternating least squares, and the damping of movies and of users, as in Surprise.
const EPOCHS: usize = 10;
const DAMPING_MOVIE: f64 = 10.0;
const DAMPING_USER: f64 = 15.0;
/// How strongly few common raters pull a similarity to 0, as in Surprise.
pub const SHRINKAGE: f64 = 100.0;

/// μ, b_movie and b_user, in stars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines {
    /// The mean of all ratings; 0 without any.
    pub mean: f64,
    /// By movie index.
    pub movies: Vec<f64>,
    /// By user index.
    pub users: Vec<f64>,
}

/// The mean of all ratings, in stars; 0 without any: collective.
pub fn mean<C: Communicator>(communicator: &C, store: &Store) -> f64 {
    let share = |rank: usize| store.len() * rank / communicator.size();
    let own = &store.stars()[share(communicator.rank())..share(communicator.rank() + 1)];
    let mut sum = [0];
    communicator.allreduce(Operation::Sum, &[own.iter().map(|stars| u64::from(*stars)).sum::<u64>()], &mut sum);
    if store.is_empty() { 0.0 } else { 0.5 * sum[0] as f64 / store.len() as f64 }
}

impl Baselines {
    /// Fits baselines by alternating least squares, movies first: collective, and the same on every rank.
    ///
    /// Each rank sums over whole movies and over whole users, always in the same order: results do not depend on the
    /// number of ranks.
    pub fn of<C: Communicator>(communicator: &C, store: &Store, order: &Order) -> Self {
        let (rank, size) = (communicator.rank(), communicator.size());
        let mean = mean(communicator, store);
        let movies =
            |rank: usize| store.offsets().partition_point(|at| *at < (store.len() * rank / size) as u64).min(store.movies());
        let own_movies = movies(rank)..if rank + 1 == size { store.movies() } else { movies(rank + 1) };
        let own_users = user_shares(store, size)[rank].clone();
        let slices = slices(store, order, &own_users);
        let (raters, stars) = (store.raters(), store.stars());
        let first = own_users.start as usize;
        let mut user_counts = vec![0u32; own_users.len()];
        let mut user_stars = vec![0u64; own_users.len()];
        for slice in &slices {
            for (user, stars) in raters[slice.clone()].iter().zip(&stars[slice.clone()]) {
                user_counts[*user as usize - first] += 1;
                user_stars[*user as usize - first] += u64::from(*stars);
            }
        }
        let movie_stars: Vec<u64> =
            own_movies.clone().map(|movie| store.of_movie(movie).1.iter().map(|stars| u64::from(*stars)).sum()).collect();
        let offset = |half_stars: u64, count: f64| 0.5 * half_stars as f64 - count * mean;
        let mut fitted = Self { mean, movies: vec![0.0; store.movies()], users: vec![0.0; store.users()] };
        let mut sums = vec![0.0; own_users.len()];
        for _ in 0..EPOCHS {
            let of_movie = |(movie, half_stars): (usize, &u64)| {
                let raters = store.of_movie(movie).0;
                let count = raters.len() as f64;
                (offset(*half_stars, count) - sum_at(&fitted.users, raters)) / (DAMPING_MOVIE + count)
            };
            let own: Vec<f64> = own_movies.clone().zip(&movie_stars).map(of_movie).collect();
            fitted.movies = communicator.allgather_vector(&own);
            sums.fill(0.0);
            for (slice, movie) in slices.iter().zip(&order.movies) {
                let bias = fitted.movies[*movie as usize];
                for user in &raters[slice.clone()] {
                    sums[*user as usize - first] += bias;
                }
            }
            let counted = user_stars.iter().zip(&user_counts).zip(&sums);
            let own: Vec<f64> = counted
                .map(|((half_stars, count), sum)| {
                    let count = f64::from(*count);
                    (offset(*half_stars, count) - sum) / (DAMPING_USER + count)
                })
                .collect();
            fitted.users = communicator.allgather_vector(&own);
        }
        fitted
    }

    /// The baseline of a rating.
    pub fn of_rating(&self, movie: usize, user: usize) -> f64 {
        self.mean + self.users[user] + self.movies[movie]
    }
}

/// The sum of some values, in four strands that do not wait for each other.
fn sum_at(values: &[f64], places: &[u32]) -> f64 {
    let mut sums = [0.0; 4];
    let fours = places.chunks_exact(4);
    let rest = fours.remainder();
    for four in fours {
        for (sum, place) in sums.iter_mut().zip(four) {
            *sum += values[*place as usize];
        }
    }
    rest.iter().map(|place| values[*place as usize]).sum::<f64>() + (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Σ e, Σ e², Σ x e and Σ y e of a column.
type Real = [f64; 4];

/// Real sums of one row at a time.
pub struct RealSums<'a> {
    simd: Simd,
    /// Records of lists alone.
    records: &'a Records,
    baselines: &'a Baselines,
    /// By row, and 0 up to the end of the last block.
    columns: Vec<f64>,
    sums: Vec<Real>,
    raters: Vec<Rater>,
}

/// A rater of the row's movie.
#[derive(Clone, Copy)]
struct Rater {
    list: *const u32,
    /// The user's part of the baseline.
    e: f64,
    /// The stars given to the row's movie.
    x: f64,
}

impl<'a> RealSums<'a> {
    /// Ready for any row.
    pub fn new(simd: Simd, records: &'a Records, baselines: &'a Baselines, order: &Order) -> Self {
        let padded = order.movies.len().next_multiple_of(COLUMNS);
        let mut columns: Vec<f64> = order.movies.iter().map(|movie| baselines.movies[*movie as usize]).collect();
        columns.resize(padded, 0.0);
        Self { simd, records, baselines, columns, sums: vec![[0.0; 4]; padded], raters: Vec::new() }
    }

    /// Computes the sums of a movie's row with the columns before `end`, in the order of its raters.
    pub fn compute(&mut self, (raters, stars): (&[u32], &[u8]), end: usize) {
        self.sums[..end].fill([0.0; 4]);
        let (records, baselines) = (self.records, self.baselines);
        self.raters.clear();
        self.raters.extend(raters.iter().zip(stars).map(|(user, stars)| Rater {
            list: records.list(*user as usize),
            e: baselines.mean + baselines.users[*user as usize],
            x: 0.5 * f64::from(*stars),
        }));
        let unit = records.scale.unit();
        on_path!(self.simd, add_raters::<_>(
            sums: *mut Real = self.sums.as_mut_ptr(), raters: &[Rater] = &self.raters,
            end: u32 = (end as u32) << LEVEL_BITS, unit: f64 = unit));
    }

    /// Computes the similarities of a block of a row's columns, from these and the integer sums.
    pub fn finish(&self, terms: Terms, row: usize, block: usize, sums: &Sums, found: &mut Similarities) {
        let own = self.columns[row];
        let (columns, real) = (&self.columns[block * COLUMNS..][..COLUMNS], &self.sums[block * COLUMNS..][..COLUMNS]);
        on_path!(self.simd, all_baseline::<_>(
            terms: Terms = terms, own: f64 = own, columns: &[f64] = columns, real: &[Real] = real, sums: &Sums = sums,
            found: &mut Similarities = found));
    }
}

#[inline(always)]
unsafe fn add_raters<L: Lanes>(sums: *mut Real, raters: &[Rater], end: u32, unit: f64) {
    const AHEAD: usize = 8;
    for (at, rater) in raters.iter().enumerate() {
        if let Some(rater) = raters.get(at + AHEAD) {
            for line in 0..4 {
                prefetch(rater.list.wrapping_add(16 * line).cast());
            }
        }
        let (e, x) = (rater.e, rater.x);
        let mut addends = [[0.0; 4]; 16];
        let mut y = 0.0;
        for addend in &mut addends[..11] {
            *addend = [e, e * e, x * e, y * e];
            y += unit;
        }
        let mut entry = rater.list;
        // SAFETY: lists end with a mark above any `end`, and their columns are below the number of sums.
        unsafe {
            while *entry < end {
                let sum = &mut *sums.add((*entry >> LEVEL_BITS) as usize);
                let addend = &addends[(*entry & 15) as usize];
                for part in 0..4 {
                    sum[part] += addend[part];
                }
                entry = entry.add(1);
            }
        }
    }
}

#[inline(always)]
unsafe fn all_baseline<L: Lanes>(terms: Terms, own: f64, columns: &[f64], real: &[Real], sums: &Sums, found: &mut Similarities) {
    // One common rater tells nothing: shrinking leaves 0, or no number.
    let (least, unit) = (terms.min_support.max(2), terms.scale.unit());
    for column in 0..COLUMNS {
        let (n, [e, ee, xe, ye]) = (f64::from(sums.n[column]), real[column]);
        let (x, y) = (unit * f64::from(sums.x[column]), unit * f64::from(sums.y[column]));
        let square = unit * unit;
        let (xx, yy, xy) =
            (square * f64::from(sums.xx[column]), square * f64::from(sums.yy[column]), square * f64::from(sums.xy[column]));
        let other = columns[column];
        let both = xy - other * x - own * y + n * own * other - xe - ye + (own + other) * e + ee;
        let rows = xx - 2.0 * own * x + n * own * own - 2.0 * xe + 2.0 * own * e + ee;
        let others = yy - 2.0 * other * y + n * other * other - 2.0 * ye + 2.0 * other * e + ee;
        let shrunk = correlation(both, rows, others) * ((n - 1.0) / (n - 1.0 + terms.shrinkage));
        found.0[column] = if sums.n[column] < least { f64::NEG_INFINITY } else { shrunk };
    }
}

/// The correlation of two movies' residuals by the sums of their products and of each one's squares; 0 without any.
#[inline(always)]
fn correlation(both: f64, rows: f64, others: f64) -> f64 {
    // Residuals of exactly 0 leave a rounding error, which may be below it on both sides.
    if (rows > 0.0) & (others > 0.0) { (both / (rows * others).sqrt()).clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_errors_below_0_are_no_correlation() {
        assert_eq!(correlation(3.0, 4.0, 9.0), 0.5);
        assert_eq!(correlation(3.0, 4.0, 1.0), 1.0);
        for (rows, others) in [(-4e-16, -9e-16), (-4e-16, 9.0), (4.0, -9e-16), (0.0, 4.0), (0.0, 0.0)] {
            assert_eq!(correlation(3e-16, rows, others), 0.0, "{rows} {others}");
        }
    }
}

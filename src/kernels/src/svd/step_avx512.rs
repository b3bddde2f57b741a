//! The gradient steps of `step` in 512-bit registers: both rows of a rating stay there from their product to their update.
//!
//! Ratings in quads have no user or movie in common with their neighbours, so that a processor that looks ahead computes
//! the products of the next ones while it moves the rows of this one.

use std::arch::x86_64::*;

use super::step::{LANES, QUAD, Rates, Ratings};

/// The longest rows that fit the 32 registers: two rows of as many, and some constants.
const MOST: usize = 7;

/// Takes the steps of all quads.
///
/// # Safety
/// The machine has AVX-512 F, DQ and VL, and FMA; every place in `ratings` has a row of `length` values.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn quads(
    length: usize,
    ratings: &Ratings<'_>,
    users: &mut [f32],
    movies: &mut [f32],
    rates: &Rates,
    sums: &mut [f64; QUAD],
) {
    let rows = Rows { ratings, users: users.as_mut_ptr(), movies: movies.as_mut_ptr(), chunks: length / LANES };
    // SAFETY: as promised by the caller.
    unsafe {
        match rows.chunks {
            1 => of_chunks::<1>(&rows, rates, sums),
            2 => of_chunks::<2>(&rows, rates, sums),
            3 => of_chunks::<3>(&rows, rates, sums),
            4 => of_chunks::<4>(&rows, rates, sums),
            5 => of_chunks::<5>(&rows, rates, sums),
            6 => of_chunks::<6>(&rows, rates, sums),
            MOST => of_chunks::<MOST>(&rows, rates, sums),
            _ => of_many_chunks(&rows, rates, sums),
        }
    }
}

/// The rows of a block, by rating.
struct Rows<'a> {
    ratings: &'a Ratings<'a>,
    users: *mut f32,
    movies: *mut f32,
    chunks: usize,
}

impl Rows<'_> {
    /// The rows of a rating.
    #[inline(always)]
    unsafe fn of(&self, at: usize, chunks: usize) -> (*mut f32, *mut f32) {
        // SAFETY: there is such a rating, and every place has its row.
        unsafe {
            let user = usize::from(*self.ratings.users.get_unchecked(at));
            let movie = usize::from(*self.ratings.movies.get_unchecked(at));
            (self.users.add(user * chunks * LANES), self.movies.add(movie * chunks * LANES))
        }
    }

    /// The stars of a rating less the mean.
    #[inline(always)]
    unsafe fn wanted(&self, at: usize, rates: &Rates) -> f32 {
        // SAFETY: there is such a rating.
        f32::from(unsafe { *self.ratings.stars.get_unchecked(at) }).mul_add(0.5, -rates.mean)
    }
}

/// Rows of `CHUNKS` registers.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
#[inline]
unsafe fn of_chunks<const CHUNKS: usize>(rows: &Rows<'_>, rates: &Rates, sums: &mut [f64; QUAD]) {
    let mut squares = *sums;
    for first in (0..rows.ratings.in_quads).step_by(QUAD) {
        for (at, square) in (first..).zip(&mut squares) {
            // SAFETY: quads are whole, and every place has its rows.
            unsafe {
                let (user, movie) = rows.of(at, CHUNKS);
                let (mut p, mut q) = ([_mm512_setzero_ps(); CHUNKS], [_mm512_setzero_ps(); CHUNKS]);
                for chunk in 0..CHUNKS {
                    p[chunk] = _mm512_loadu_ps(user.add(chunk * LANES));
                    q[chunk] = _mm512_loadu_ps(movie.add(chunk * LANES));
                }
                let mut lanes = _mm512_mul_ps(p[0], q[0]);
                for chunk in 1..CHUNKS {
                    lanes = _mm512_fmadd_ps(p[chunk], q[chunk], lanes);
                }
                let error = rows.wanted(at, rates) - added(lanes);
                *square = f64::from(error).mul_add(f64::from(error), *square);
                let (inner, last) = (Move::inner(rates, error), Move::last(rates, error));
                for chunk in 0..CHUNKS {
                    let (p, q) = if chunk + 1 == CHUNKS { last } else { inner }.of(p[chunk], q[chunk]);
                    _mm512_storeu_ps(user.add(chunk * LANES), p);
                    _mm512_storeu_ps(movie.add(chunk * LANES), q);
                }
            }
        }
    }
    *sums = squares;
}

/// Rows of any length, read once for the product and once for the update.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
unsafe fn of_many_chunks(rows: &Rows<'_>, rates: &Rates, sums: &mut [f64; QUAD]) {
    for at in 0..rows.ratings.in_quads {
        // SAFETY: every place has its rows.
        unsafe {
            let (user, movie) = rows.of(at, rows.chunks);
            let mut lanes = _mm512_mul_ps(_mm512_loadu_ps(user), _mm512_loadu_ps(movie));
            for chunk in 1..rows.chunks {
                let (user, movie) = (user.add(chunk * LANES), movie.add(chunk * LANES));
                lanes = _mm512_fmadd_ps(_mm512_loadu_ps(user), _mm512_loadu_ps(movie), lanes);
            }
            let error = rows.wanted(at, rates) - added(lanes);
            sums[at % QUAD] = f64::from(error).mul_add(f64::from(error), sums[at % QUAD]);
            let (inner, last) = (Move::inner(rates, error), Move::last(rates, error));
            for chunk in 0..rows.chunks {
                let (user, movie) = (user.add(chunk * LANES), movie.add(chunk * LANES));
                let old = (_mm512_loadu_ps(user), _mm512_loadu_ps(movie));
                let (p, q) = if chunk + 1 == rows.chunks { last } else { inner }.of(old.0, old.1);
                _mm512_storeu_ps(user, p);
                _mm512_storeu_ps(movie, q);
            }
        }
    }
}

/// What a step does to a chunk of both rows.
#[derive(Clone, Copy)]
struct Move {
    decay: (__m512, __m512),
    gain: (__m512, __m512),
}

impl Move {
    /// For any chunk but the last.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn inner(rates: &Rates, error: f32) -> Self {
        let (decay, gain) = (_mm512_set1_ps(rates.decay), _mm512_set1_ps(rates.learning * error));
        Self { decay: (decay, decay), gain: (gain, gain) }
    }

    /// For the last chunk, whose constant ones stay: they decay to themselves and gain nothing. Masked stores would do as
    /// well, but cost some processors (Zen 4) as much as all else of a short row.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn last(rates: &Rates, error: f32) -> Self {
        let (ones, decay) = (_mm512_set1_ps(1.0), _mm512_set1_ps(rates.decay));
        let gain = _mm_set_ss(rates.learning * error);
        Self {
            decay: (_mm512_mask_mov_ps(ones, 0x7fff, decay), _mm512_mask_mov_ps(ones, 0xbfff, decay)),
            gain: (_mm512_maskz_broadcastss_ps(0x7fff, gain), _mm512_maskz_broadcastss_ps(0xbfff, gain)),
        }
    }

    /// The chunk of the user's row and that of the movie's after the step.
    #[target_feature(enable = "avx512f,fma")]
    #[inline]
    fn of(self, p: __m512, q: __m512) -> (__m512, __m512) {
        let (kept_p, kept_q) = (_mm512_mul_ps(self.decay.0, p), _mm512_mul_ps(self.decay.1, q));
        (_mm512_fmadd_ps(self.gain.0, q, kept_p), _mm512_fmadd_ps(self.gain.1, p, kept_q))
    }
}

/// The sum of the 16 lanes, in the order that `step` defines.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
#[inline]
fn added(lanes: __m512) -> f32 {
    let eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

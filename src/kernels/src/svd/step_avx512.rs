//! The gradient steps of `step`, four ratings at a time in 512-bit registers.
//!
//! The four have no common user or movie, so taking them together is the same as one after the other; nor have they any
//! with the next four, whose errors are therefore computed before these four rows are moved: the long chain from rows to
//! an error is off the critical path. The four sums of 16 lanes are transposed while they are added, which costs 8 shuffles
//! where four separate sums cost 16.

use std::arch::x86_64::*;

use super::step::{LANES, QUAD, Rates, Ratings};

/// Ratings between the prefetch of their rows and their step: rows lie in the second-level cache.
const AHEAD: usize = 2 * QUAD;

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
    // SAFETY: as promised by the caller.
    unsafe {
        match length / LANES {
            1 => of_chunks::<1>(1, ratings, users, movies, rates, sums),
            2 => of_chunks::<2>(2, ratings, users, movies, rates, sums),
            3 => of_chunks::<3>(3, ratings, users, movies, rates, sums),
            4 => of_chunks::<4>(4, ratings, users, movies, rates, sums),
            5 => of_chunks::<5>(5, ratings, users, movies, rates, sums),
            6 => of_chunks::<6>(6, ratings, users, movies, rates, sums),
            7 => of_chunks::<7>(7, ratings, users, movies, rates, sums),
            chunks => of_chunks::<0>(chunks, ratings, users, movies, rates, sums),
        }
    }
}

/// Rows of `CHUNKS` registers, or of `any` if that is 0.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
#[inline]
unsafe fn of_chunks<const CHUNKS: usize>(
    any: usize,
    ratings: &Ratings<'_>,
    users: &mut [f32],
    movies: &mut [f32],
    rates: &Rates,
    sums: &mut [f64; QUAD],
) {
    let chunks = if CHUNKS == 0 { any } else { CHUNKS };
    let rows = Rows { ratings, users: users.as_mut_ptr(), movies: movies.as_mut_ptr(), chunks };
    let decay = _mm512_set1_ps(rates.decay);
    let learning = _mm_set1_ps(rates.learning);
    let last = ratings.in_quads.saturating_sub(QUAD);
    // SAFETY: quads are whole, no place behind the last is used, and every place has its rows.
    unsafe {
        let mut squares = _mm256_loadu_pd(sums.as_ptr());
        if ratings.in_quads > 0 {
            let mut errors = rows.errors(0, rates);
            for first in (0..last).step_by(QUAD) {
                rows.prefetch((first + AHEAD).min(last));
                // The next errors come first: their sums take long, and these updates do not have to wait for them.
                let next = rows.errors(first + QUAD, rates);
                let wide = _mm256_cvtps_pd(errors);
                squares = _mm256_fmadd_pd(wide, wide, squares);
                rows.update(first, decay, _mm_mul_ps(learning, errors));
                errors = next;
            }
            let wide = _mm256_cvtps_pd(errors);
            squares = _mm256_fmadd_pd(wide, wide, squares);
            rows.update(last, decay, _mm_mul_ps(learning, errors));
        }
        _mm256_storeu_pd(sums.as_mut_ptr(), squares);
    }
}

/// The rows of a block, by rating.
struct Rows<'a> {
    ratings: &'a Ratings<'a>,
    users: *mut f32,
    movies: *mut f32,
    chunks: usize,
}

/// The rows of four ratings.
type Four = [*mut f32; QUAD];

impl Rows<'_> {
    /// The rows of users and movies of the quad at `first`.
    #[inline(always)]
    unsafe fn of(&self, first: usize) -> (Four, Four) {
        let length = self.chunks * LANES;
        // SAFETY: the quad is whole, and every place has its row.
        unsafe {
            let places = |column: &[u16]| column.as_ptr().add(first).cast::<u64>().read_unaligned();
            let row = |rows: *mut f32, places: u64, at: usize| rows.add((places >> (16 * at) & 0xffff) as usize * length);
            let (users, movies) = (places(self.ratings.users), places(self.ratings.movies));
            (std::array::from_fn(|at| row(self.users, users, at)), std::array::from_fn(|at| row(self.movies, movies, at)))
        }
    }

    /// Brings the rows of a quad near.
    #[inline(always)]
    unsafe fn prefetch(&self, first: usize) {
        // SAFETY: as in `of`.
        unsafe {
            let (users, movies) = self.of(first);
            for row in users.into_iter().chain(movies) {
                for chunk in 0..self.chunks {
                    _mm_prefetch::<_MM_HINT_T0>(row.add(chunk * LANES).cast());
                }
            }
        }
    }

    /// The errors of a quad.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
    #[inline]
    unsafe fn errors(&self, first: usize, rates: &Rates) -> __m128 {
        // SAFETY: as in `of`; a quad has four stars.
        unsafe {
            let (users, movies) = self.of(first);
            let mut lanes = [_mm512_setzero_ps(); QUAD];
            for at in 0..QUAD {
                lanes[at] = _mm512_mul_ps(_mm512_loadu_ps(users[at]), _mm512_loadu_ps(movies[at]));
            }
            for chunk in 1..self.chunks {
                for at in 0..QUAD {
                    let (user, movie) = (users[at].add(chunk * LANES), movies[at].add(chunk * LANES));
                    lanes[at] = _mm512_fmadd_ps(_mm512_loadu_ps(user), _mm512_loadu_ps(movie), lanes[at]);
                }
            }
            let stars = self.ratings.stars.as_ptr().add(first).cast::<i32>().read_unaligned();
            let stars = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(stars)));
            _mm_sub_ps(_mm_fmsub_ps(stars, _mm_set1_ps(0.5), _mm_set1_ps(rates.mean)), added(lanes))
        }
    }

    /// Moves the rows of a quad.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
    #[inline]
    unsafe fn update(&self, first: usize, decay: __m512, gains: __m128) {
        // SAFETY: as in `of`.
        unsafe {
            let (users, movies) = self.of(first);
            let gains = in_all_lanes(gains);
            for at in 0..QUAD {
                for chunk in 0..self.chunks {
                    let (user, movie) = (users[at].add(chunk * LANES), movies[at].add(chunk * LANES));
                    let (old_p, old_q) = (_mm512_loadu_ps(user), _mm512_loadu_ps(movie));
                    // The constant ones stay: a masked lane keeps what it was.
                    let is_last = chunk + 1 == self.chunks;
                    let (of_user, of_movie) = if is_last { (0x7fff, 0xbfff) } else { (0xffff, 0xffff) };
                    let kept_p = _mm512_mask_mul_ps(old_p, of_user, decay, old_p);
                    let kept_q = _mm512_mask_mul_ps(old_q, of_movie, decay, old_q);
                    _mm512_storeu_ps(user, _mm512_mask3_fmadd_ps(gains[at], old_q, kept_p, of_user));
                    _mm512_storeu_ps(movie, _mm512_mask3_fmadd_ps(gains[at], old_p, kept_q, of_movie));
                }
            }
        }
    }
}

/// The sum of the 16 lanes of each register, in the order that `step` defines.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
#[inline]
fn added([a, b, c, d]: [__m512; QUAD]) -> __m128 {
    // In each quarter: a0 + a2, b0 + b2, a1 + a3, b1 + b3.
    let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    let even = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
    let odd = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
    let quarters = _mm512_add_ps(even, odd);
    let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
    _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
}

/// Each of four values in all lanes of a register.
#[target_feature(enable = "avx512f")]
#[inline]
fn in_all_lanes(values: __m128) -> [__m512; QUAD] {
    let wide = _mm512_castps128_ps512(values);
    [
        _mm512_broadcastss_ps(values),
        _mm512_permutexvar_ps(_mm512_set1_epi32(1), wide),
        _mm512_permutexvar_ps(_mm512_set1_epi32(2), wide),
        _mm512_permutexvar_ps(_mm512_set1_epi32(3), wide),
    ]
}

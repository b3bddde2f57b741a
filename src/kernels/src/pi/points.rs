//! Random points of the square around the unit circle, counted a chunk at a time on every set of instructions.
//!
//! A chunk has 32 streams of xoshiro256+, seeded from the seed and the chunk's number; point `p` of a chunk is the next
//! one of stream `p % 32`. A point is one output: its upper and its lower half, as signed integers, are `x` and `y` in
//! units of 2^-31, so that `x² + y² < 2^62` is an exact test of integers, and every path counts the same hits.
//!
//! Of xoshiro256+, which its authors made for numbers with a fraction, only the three lowest bits are weak: here they
//! move `y` by 2^-29. The lattice shifts the estimate by less than that, far below any standard error that fits into a
//! day of work.

use crate::random::{Xoshiro256, derive};
use crate::simd::Simd;

/// Points of one chunk.
pub const CHUNK: u64 = 1 << 20;

/// Streams of one chunk: four vectors of 512 bits hide each other's latencies, and their state fits into registers.
pub(super) const STREAMS: usize = 32;

/// The states of all streams: word `w` of stream `s` is `words[w][s]`.
#[repr(align(64))]
#[derive(Clone)]
pub(super) struct Streams {
    pub words: [[u64; STREAMS]; 4],
}

impl Streams {
    fn new(seed: u64, chunk: u64) -> Self {
        let seed = derive(seed, chunk);
        let mut words = [[0; STREAMS]; 4];
        for stream in 0..STREAMS {
            let state = Xoshiro256::new(derive(seed, stream as u64)).0;
            for (word, value) in words.iter_mut().zip(state) {
                word[stream] = value;
            }
        }
        Self { words }
    }

    fn state(&self, stream: usize) -> [u64; 4] {
        self.words.map(|word| word[stream])
    }
}

/// The hits among the first `points` points of a chunk.
pub fn hits(simd: Simd, seed: u64, chunk: u64, points: u64) -> u64 {
    let mut streams = Streams::new(seed, chunk);
    let steps = points / STREAMS as u64;
    let misses = match simd {
        // SAFETY: a path is only ever chosen on a machine that has its instructions.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 if super::avx512::is_available() => unsafe { super::avx512::misses(&mut streams, steps) },
        // SAFETY: as above, and the wider path implies the narrower.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 | Simd::Avx512 => unsafe { super::avx2::misses(&mut streams, steps) },
        _ => misses(&mut streams, steps),
    };
    let last = (0..(points % STREAMS as u64) as usize).map(|stream| is_outside(output(&streams.state(stream))));
    points - misses - last.sum::<u64>()
}

/// The output of xoshiro256+.
#[inline(always)]
fn output(state: &[u64; 4]) -> u64 {
    state[0].wrapping_add(state[3])
}

/// 1 for a point outside the circle, or else 0.
#[inline(always)]
fn is_outside(bits: u64) -> u64 {
    let (x, y) = (i64::from((bits >> 32) as i32), i64::from(bits as i32));
    // The squares are at most 2^62 each, and only both together reach 2^63.
    u64::from((x * x) as u64 + (y * y) as u64 >= 1 << 62)
}

/// Draws `steps` points of every stream and returns how many lie outside; two streams at a time hide each other's latencies.
fn misses(streams: &mut Streams, steps: u64) -> u64 {
    let mut outside = 0;
    for first in (0..STREAMS).step_by(2) {
        let (mut left, mut right) = (streams.state(first), streams.state(first + 1));
        for _ in 0..steps {
            outside += is_outside(output(&left)) + is_outside(output(&right));
            advance(&mut left);
            advance(&mut right);
        }
        for word in 0..4 {
            (streams.words[word][first], streams.words[word][first + 1]) = (left[word], right[word]);
        }
    }
    outside
}

/// The step that all generators named xoshiro256 share.
#[inline(always)]
fn advance(state: &mut [u64; 4]) {
    let shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = state[3].rotate_left(45);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in the words of the generator's authors: one point after the other, each from its own stream.
    fn plain(seed: u64, chunk: u64, points: u64) -> u64 {
        let own = derive(seed, chunk);
        let mut streams: Vec<[u64; 4]> = (0..32).map(|stream| Xoshiro256::new(derive(own, stream)).0).collect();
        let mut hits = 0;
        for point in 0..points {
            let s = &mut streams[(point % 32) as usize];
            let result = s[0].wrapping_add(s[3]);
            let t = s[1] << 17;
            s[2] ^= s[0];
            s[3] ^= s[1];
            s[1] ^= s[2];
            s[0] ^= s[3];
            s[2] ^= t;
            s[3] = s[3].rotate_left(45);
            let (x, y) = (i128::from((result >> 32) as u32 as i32), i128::from(result as u32 as i32));
            hits += u64::from(x * x + y * y < 1 << 62);
        }
        hits
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_path_counts_what_the_definition_counts(seed: u64, chunk: u64, points in 0..5000u64) {
            let expected = plain(seed, chunk, points);
            for simd in Simd::available() {
                prop_assert_eq!(hits(simd, seed, chunk, points), expected, "{}", simd);
            }
        }
    }

    #[test]
    fn points_on_the_edge_of_the_lattice_are_told_apart() {
        let point = |x: i32, y: i32| (u64::from(x as u32) << 32) | u64::from(y as u32);
        // 2^31 - 1 squared leaves 2^32 - 2 below 2^62: more than 65535 squared, less than 65536 squared.
        let edges = [(0, 0, 0), (i32::MAX, 65_535, 0), (i32::MAX, 65_536, 1), (-65_535, -i32::MAX, 0), (i32::MIN, 0, 1)];
        for (x, y, outside) in edges {
            assert_eq!(is_outside(point(x, y)), outside, "{x} {y}");
        }
        assert_eq!(is_outside(point(i32::MIN, i32::MIN)), 1);
    }

    #[test]
    fn a_whole_chunk_is_the_same_on_every_path() {
        let counts: Vec<u64> = Simd::available().map(|simd| hits(simd, 42, 3, CHUNK)).collect();
        assert!(counts.iter().all(|count| *count == plain(42, 3, CHUNK)), "{counts:?}");
    }

    #[test]
    fn chunks_and_seeds_draw_different_points() {
        let counts = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(seed, chunk)| hits(Simd::widest(), seed, chunk, CHUNK));
        for (position, count) in counts.iter().enumerate() {
            assert!(!counts[..position].contains(count), "{counts:?}");
        }
    }
}

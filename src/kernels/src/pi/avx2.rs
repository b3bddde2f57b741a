//! Four streams a vector, two vectors at a time, which is what sixteen registers hold.

use std::arch::x86_64::*;

use super::points::{STREAMS, Streams};

const LANES: usize = 4;
const VECTORS: usize = 2;

/// Draws `steps` points of every stream and returns how many lie outside.
#[target_feature(enable = "avx2")]
pub fn misses(streams: &mut Streams, steps: u64) -> u64 {
    let zero = [_mm256_setzero_si256(); VECTORS];
    let largest = _mm256_set1_epi64x((1 << 62) - 1);
    let mut outside = zero;
    for first in (0..STREAMS).step_by(LANES * VECTORS) {
        let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
        for vector in 0..VECTORS {
            let lanes = first + vector * LANES;
            s0[vector] = load(&streams.words[0], lanes);
            s1[vector] = load(&streams.words[1], lanes);
            s2[vector] = load(&streams.words[2], lanes);
            s3[vector] = load(&streams.words[3], lanes);
        }
        for _ in 0..steps {
            for vector in 0..VECTORS {
                let (a, b) = (s0[vector], s1[vector]);
                let bits = _mm256_add_epi64(a, s3[vector]);
                let c = _mm256_xor_si256(s2[vector], a);
                let d = _mm256_xor_si256(s3[vector], b);
                s0[vector] = _mm256_xor_si256(a, d);
                s1[vector] = _mm256_xor_si256(b, c);
                s2[vector] = _mm256_xor_si256(c, _mm256_slli_epi64::<17>(b));
                s3[vector] = _mm256_or_si256(_mm256_slli_epi64::<45>(d), _mm256_srli_epi64::<19>(d));
                // The multiplication looks at the lower half of each lane alone.
                let x = _mm256_srli_epi64::<32>(bits);
                let (xx, yy) = (_mm256_mul_epi32(x, x), _mm256_mul_epi32(bits, bits));
                // What is left of 2^62 - 1 is negative outside, and never below -2^62 - 1: its sign is the answer.
                let rest = _mm256_sub_epi64(_mm256_sub_epi64(largest, xx), yy);
                outside[vector] = _mm256_add_epi64(outside[vector], _mm256_srli_epi64::<63>(rest));
            }
        }
        for vector in 0..VECTORS {
            let lanes = first + vector * LANES;
            for (word, state) in streams.words.iter_mut().zip([&s0, &s1, &s2, &s3]) {
                word[lanes..lanes + LANES].copy_from_slice(&lanes_of(state[vector]));
            }
        }
    }
    outside.into_iter().flat_map(|vector| lanes_of(vector)).sum()
}

#[target_feature(enable = "avx2")]
fn load(word: &[u64; STREAMS], first: usize) -> __m256i {
    let lanes = &word[first..first + LANES];
    // SAFETY: the slice holds the 32 bytes that are read; no alignment is asked for.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn lanes_of(vector: __m256i) -> [u64; LANES] {
    let mut lanes = [0; LANES];
    // SAFETY: the array holds the 32 bytes that are written; no alignment is asked for.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), vector) };
    lanes
}

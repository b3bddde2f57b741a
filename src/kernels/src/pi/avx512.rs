//! Eight streams a vector: 12 instructions for 8 points, 7 of them xoshiro256+, and no branch, mask or memory.

use std::arch::x86_64::*;

use super::points::{STREAMS, Streams};

const LANES: usize = 8;
const VECTORS: usize = STREAMS / LANES;

/// Steps after which the noted bits fill their 64.
const BLOCK: u64 = 32;

/// `a ^ b ^ c` as the truth table of `vpternlogq`.
const XOR3: i32 = 0x96;

/// Whether the machine has what came after the first AVX-512: VBMI2 and VPOPCNTDQ (Ice Lake, Zen 4).
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512vbmi2") && is_x86_feature_detected!("avx512vpopcntdq")
}

/// Draws `steps` points of every stream and returns how many lie outside.
#[target_feature(enable = "avx512f,avx512vbmi2,avx512vpopcntdq")]
pub fn misses(streams: &mut Streams, steps: u64) -> u64 {
    let zero = [_mm512_setzero_si512(); VECTORS];
    let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
    for vector in 0..VECTORS {
        s0[vector] = load(&streams.words[0], vector);
        s1[vector] = load(&streams.words[1], vector);
        s2[vector] = load(&streams.words[2], vector);
        s3[vector] = load(&streams.words[3], vector);
    }
    let mut outside = zero;
    let mut done = 0;
    while done < steps {
        let block = BLOCK.min(steps - done);
        let mut noted = zero;
        for _ in 0..block {
            for vector in 0..VECTORS {
                let (a, b, c, d) = (s0[vector], s1[vector], s2[vector], s3[vector]);
                let bits = _mm512_add_epi64(a, d);
                s0[vector] = _mm512_ternarylogic_epi64::<XOR3>(a, b, d);
                s1[vector] = _mm512_ternarylogic_epi64::<XOR3>(a, b, c);
                s2[vector] = _mm512_ternarylogic_epi64::<XOR3>(a, c, _mm512_slli_epi64::<17>(b));
                s3[vector] = _mm512_rol_epi64::<45>(_mm512_xor_si512(b, d));
                // The multiplication looks at the lower half of each lane alone.
                let x = _mm512_srli_epi64::<32>(bits);
                let sum = _mm512_add_epi64(_mm512_mul_epi32(x, x), _mm512_mul_epi32(bits, bits));
                // The two upper bits are 01 or, for both coordinates at -1, 10 outside, and 00 inside: one bit a miss.
                noted[vector] = _mm512_shldi_epi64::<2>(noted[vector], sum);
            }
        }
        for vector in 0..VECTORS {
            outside[vector] = _mm512_add_epi64(outside[vector], _mm512_popcnt_epi64(noted[vector]));
        }
        done += block;
    }
    for vector in 0..VECTORS {
        store(&mut streams.words[0], vector, s0[vector]);
        store(&mut streams.words[1], vector, s1[vector]);
        store(&mut streams.words[2], vector, s2[vector]);
        store(&mut streams.words[3], vector, s3[vector]);
    }
    outside.into_iter().map(|vector| _mm512_reduce_add_epi64(vector) as u64).sum()
}

#[target_feature(enable = "avx512f")]
fn load(word: &[u64; STREAMS], vector: usize) -> __m512i {
    let lanes = &word[vector * LANES..][..LANES];
    // SAFETY: the slice holds the 64 bytes that are read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(word: &mut [u64; STREAMS], vector: usize, value: __m512i) {
    let lanes = &mut word[vector * LANES..][..LANES];
    // SAFETY: the slice holds the 64 bytes that are written; no alignment is asked for.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), value) };
}

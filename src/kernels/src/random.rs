//! Deterministic random numbers: the same seed gives the same stream on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood 2014) and xoshiro256++ (Blackman, Vigna 2019), written from their published
//! definitions. Not for secrets.

/// Mixes a 64-bit value: the finalizer of SplitMix64, a bijection.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed for part `index` of whatever `seed` stands for.
pub fn derive(seed: u64, index: u64) -> u64 {
    mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(index.wrapping_mul(GOLDEN)).wrapping_add(GOLDEN))
}

/// A stream of SplitMix64.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in (0, 1]: never 0, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`, for a `bound` of at least 1; biased by less than `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Standard normal (Box and Muller 1958, cosine half).
    pub fn normal(&mut self) -> f64 {
        self.normals()[0]
    }

    /// Two independent standard normals: both halves of what [`SplitMix64::normal`] computes.
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.unit()).sin_cos();
        [radius * cosine, radius * sine]
    }
}

/// A stream of xoshiro256++.
#[derive(Clone, Debug)]
pub struct Xoshiro256(pub [u64; 4]);

impl Xoshiro256 {
    /// Starts the stream of `seed`, expanded by SplitMix64 as its authors advise.
    pub fn new(seed: u64) -> Self {
        let mut expand = SplitMix64::new(seed);
        Self(std::array::from_fn(|_| expand.bits()))
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_stream_of_seed_1234567() {
        let mut stream = SplitMix64::new(1_234_567);
        assert_eq!(stream.bits(), 6_457_827_717_110_365_317);
        assert_eq!(stream.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn xoshiro256_gives_the_published_stream_of_state_1_2_3_4() {
        let mut stream = Xoshiro256([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| stream.bits()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut stream = SplitMix64::new(1);
        let draws: Vec<f64> = (0..100_000).flat_map(|_| stream.normals()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
    }
}

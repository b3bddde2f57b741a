//! Ratings as small numbers and as bit planes.
//!
//! A set of whole stars has 5 levels, one with half stars 10; similarities are the same bits on either scale, since half
//! stars instead of stars only scale sums by powers of two. A level is stored as a code of 3 or 4 bits. Sums over raters
//! of 1, y and y² are linear in the numbers of raters with certain code bits or pairs of bits set, the streams of a scale:
//! those are what the bit-sliced kernel counts.

/// The most streams of any scale.
pub const MOST_STREAMS: usize = 9;
/// The most levels of any scale.
pub const MOST_LEVELS: usize = 10;

/// The levels that ratings of a set have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// 1 to 5 stars.
    Whole,
    /// 0.5 to 5 stars in halves, as levels 1 to 10.
    Half,
}

impl Scale {
    /// The scale of ratings given as half stars.
    pub fn of(half_stars: &[u8]) -> Self {
        if half_stars.iter().fold(0, |bits, stars| bits | stars) & 1 == 0 { Self::Whole } else { Self::Half }
    }

    /// The number of levels; they count from 1.
    pub fn levels(self) -> usize {
        match self {
            Self::Whole => 5,
            Self::Half => 10,
        }
    }

    /// Half stars a level.
    pub fn step(self) -> u8 {
        match self {
            Self::Whole => 2,
            Self::Half => 1,
        }
    }

    /// Stars a level.
    pub fn unit(self) -> f64 {
        0.5 * f64::from(self.step())
    }

    /// The number of bits of a code.
    pub fn planes(self) -> usize {
        match self {
            Self::Whole => 3,
            Self::Half => 4,
        }
    }

    /// The code of a level, not 0, which stands for no rating.
    ///
    /// Whole stars are their own code. Half stars are at distance 2q - 1 from 5.5, q from 1 to 5, on the side that bit 3
    /// tells: so that both scales have a number of 1 to 5 in their lower bits, whose square needs two pairs of bits only.
    pub fn code(self, level: u8) -> u8 {
        match self {
            Self::Whole => level,
            Self::Half if level > 5 => 8 | (level - 5),
            Self::Half => 6 - level,
        }
    }

    /// The level of a code.
    pub fn level(self, code: u8) -> u8 {
        match self {
            Self::Whole => code,
            Self::Half if code & 8 != 0 => (code & 7) + 5,
            Self::Half => 6 - code,
        }
    }
}

/// One thing to count: raters with two code bits set, or one where both are the same, and what a count adds to the sums.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The bits.
    pub bits: (usize, usize),
    /// Added to the number of raters.
    pub n: i16,
    /// Added to Σ y.
    pub y: i16,
    /// Added to Σ y².
    pub yy: i16,
}

const fn stream(bits: (usize, usize), n: i16, y: i16, yy: i16) -> Stream {
    Stream { bits, n, y, yy }
}

/// With q = b0 + 2 b1 + 4 b2 between 1 and 5: n = b0 + b1 + b2 - b0 b1 - b0 b2, and q² by squaring the sum.
const WHOLE: [Stream; 5] = [
    stream((0, 0), 1, 1, 1),
    stream((1, 1), 1, 2, 4),
    stream((2, 2), 1, 4, 16),
    stream((0, 1), -1, 0, 4),
    stream((0, 2), -1, 0, 8),
];

/// With s the side: y = 6 - q + s (2 q - 1) and y² = q² - 12 q + 36 + s (22 q - 11).
const HALF: [Stream; 9] = [
    stream((0, 0), 1, 5, 25),
    stream((1, 1), 1, 4, 16),
    stream((2, 2), 1, 2, 4),
    stream((0, 1), -1, -6, -32),
    stream((0, 2), -1, -6, -28),
    stream((3, 3), 0, -1, -11),
    stream((0, 3), 0, 2, 22),
    stream((1, 3), 0, 4, 44),
    stream((2, 3), 0, 8, 88),
];

/// The streams of a scale by their number, which tells the two scales apart at compile time.
pub const fn streams<const STREAMS: usize>() -> [Stream; STREAMS] {
    let all: &[Stream] = if STREAMS == WHOLE.len() { &WHOLE } else { &HALF };
    let mut streams = [WHOLE[0]; STREAMS];
    let mut at = 0;
    while at < STREAMS {
        streams[at] = all[at];
        at += 1;
    }
    streams
}

/// The number of planes of the scale with so many streams.
pub const fn planes_of(streams: usize) -> usize {
    if streams == WHOLE.len() { 3 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const STREAMS: usize>(scale: Scale) {
        assert_eq!(planes_of(STREAMS), scale.planes());
        for level in 1..=scale.levels() as u8 {
            let code = scale.code(level);
            assert!(code != 0 && u32::from(code) < 1 << scale.planes());
            assert_eq!(scale.level(code), level);
            let bit = |at: usize| i16::from(code >> at & 1);
            let sum = |weight: fn(&Stream) -> i16| -> i16 {
                streams::<STREAMS>().iter().map(|stream| weight(stream) * bit(stream.bits.0) * bit(stream.bits.1)).sum()
            };
            let y = i16::from(level);
            assert_eq!([sum(|stream| stream.n), sum(|stream| stream.y), sum(|stream| stream.yy)], [1, y, y * y]);
        }
    }

    #[test]
    fn streams_add_up_to_one_the_level_and_its_square() {
        check::<5>(Scale::Whole);
        check::<9>(Scale::Half);
    }

    #[test]
    fn one_half_star_makes_a_set_of_half_stars() {
        assert_eq!(Scale::of(&[2, 10, 4]), Scale::Whole);
        assert_eq!(Scale::of(&[2, 9, 4]), Scale::Half);
        assert_eq!(Scale::of(&[]), Scale::Whole);
    }
}

//! The bit-sliced kernel: sums over raters for 512 columns at a time, a few instructions a rater.
//!
//! Raters come in classes of one level x of the row's movie. For the columns of a block, each of the scale's streams is a
//! bit a column and rater; carry-save adders count 512 of them at once, first into counters of eight bits sliced over
//! eight lines, then, every `FLUSH` raters, into sums. All are integers: every path has the same.

use super::lanes::{EMPTY, Lanes, Line, on_path, prefetch};
use super::records::COLUMNS;
use super::scale::{MOST_STREAMS, Scale, planes_of, streams};
use crate::simd::Simd;

/// Raters that are added at a time.
const BATCH: usize = 16;
/// Raters between two flushes: as many batches as counters of eight bits hold. Their weighted sums, at most 100 a rater,
/// fit 16 bits.
const FLUSH: usize = 240;
/// How many raters ahead their lines are asked for: from memory a line takes as long as 20 raters of work.
const AHEAD: usize = 32;
/// No rater: lines without bits, as many as any code has.
static NOBODY: [Line; 4] = [EMPTY; 4];

const _: () = assert!(FLUSH < 256 && FLUSH.is_multiple_of(BATCH) && FLUSH * 100 <= i16::MAX as usize);

/// Sums over common raters for each column of a block, x of the row and y of the column, in levels.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Sums {
    /// The number of common raters.
    pub n: [u32; COLUMNS],
    /// Σ x
    pub x: [u32; COLUMNS],
    /// Σ y
    pub y: [u32; COLUMNS],
    /// Σ x²
    pub xx: [u32; COLUMNS],
    /// Σ y²
    pub yy: [u32; COLUMNS],
    /// Σ x y
    pub xy: [u32; COLUMNS],
}

impl Sums {
    /// Nothing added yet.
    pub const ZERO: Self = {
        let none = [0; COLUMNS];
        Self { n: none, x: none, y: none, xx: none, yy: none, xy: none }
    };
}

/// Adds raters who gave the row's movie the level `x`; `raters` are the first lines of their planes of the block.
///
/// # Safety
///
/// Every rater's line is followed by as many as the scale has planes, within `lines`.
pub unsafe fn add(simd: Simd, scale: Scale, lines: *const Line, raters: &[u32], block: usize, x: u8, sums: &mut Sums) {
    let x = i16::from(x);
    match scale {
        Scale::Whole => on_path!(simd, add_class::<_, 5>(
            lines: *const Line = lines, raters: &[u32] = raters, block: usize = block, x: i16 = x, sums: &mut Sums = sums)),
        Scale::Half => on_path!(simd, add_class::<_, 9>(
            lines: *const Line = lines, raters: &[u32] = raters, block: usize = block, x: i16 = x, sums: &mut Sums = sums)),
    }
}

#[inline(always)]
unsafe fn add_class<L: Lanes, const STREAMS: usize>(lines: *const Line, raters: &[u32], block: usize, x: i16, sums: &mut Sums) {
    let planes = planes_of(STREAMS);
    let lines = lines.wrapping_add(block * planes);
    for rater in raters.iter().take(AHEAD) {
        prefetch_planes(lines.wrapping_add(*rater as usize), planes);
    }
    let mut done = 0;
    for group in raters.chunks(FLUSH) {
        let mut counters = unsafe { [[L::zero(); 8]; STREAMS] };
        for pair in group.chunks(2 * BATCH) {
            let ahead = raters.get(done + AHEAD..raters.len().min(done + AHEAD + pair.len())).unwrap_or(&[]);
            done += pair.len();
            for rater in ahead {
                prefetch_planes(lines.wrapping_add(*rater as usize), planes);
            }
            let (first, second) = pair.split_at(pair.len().min(BATCH));
            unsafe {
                let carries = add_batch::<L, STREAMS>(&addresses(lines, first), &mut counters);
                if second.is_empty() {
                    for stream in 0..STREAMS {
                        ripple(&mut counters[stream], 4, carries[stream]);
                    }
                    continue;
                }
                let others = add_batch::<L, STREAMS>(&addresses(lines, second), &mut counters);
                for stream in 0..STREAMS {
                    let carry = full_add(&mut counters[stream][4], carries[stream], others[stream]);
                    ripple(&mut counters[stream], 5, carry);
                }
            }
        }
        unsafe { flush::<L, STREAMS>(&counters, x, sums) };
    }
}

/// The planes of a batch of raters, and of nobody where it is short.
#[inline(always)]
fn addresses(lines: *const Line, raters: &[u32]) -> [*const Line; BATCH] {
    let mut addresses = [NOBODY.as_ptr(); BATCH];
    for (address, rater) in addresses.iter_mut().zip(raters) {
        *address = lines.wrapping_add(*rater as usize);
    }
    addresses
}

#[inline(always)]
fn prefetch_planes(lines: *const Line, planes: usize) {
    for plane in 0..planes {
        prefetch(lines.wrapping_add(plane));
    }
}

/// Adds the streams of 16 raters to the counters' four lower bits; returns the carries out of them.
#[inline(always)]
unsafe fn add_batch<L: Lanes, const STREAMS: usize>(
    addresses: &[*const Line; BATCH],
    counters: &mut [[L; 8]; STREAMS],
) -> [L; STREAMS] {
    let mut carries = unsafe { [L::zero(); STREAMS] };
    // Loops and functions, no closures: those would be compiled without the path's instructions.
    for (stream, carry) in carries.iter_mut().enumerate() {
        let counter = &mut counters[stream];
        let [mut ones, mut twos, mut fours, mut eights] = [counter[0], counter[1], counter[2], counter[3]];
        unsafe {
            let first = add_four::<L, STREAMS>(addresses, 0, stream, &mut ones, &mut twos);
            let second = add_four::<L, STREAMS>(addresses, 4, stream, &mut ones, &mut twos);
            let low = full_add(&mut fours, first, second);
            let third = add_four::<L, STREAMS>(addresses, 8, stream, &mut ones, &mut twos);
            let fourth = add_four::<L, STREAMS>(addresses, 12, stream, &mut ones, &mut twos);
            let high = full_add(&mut fours, third, fourth);
            *carry = full_add(&mut eights, low, high);
        }
        [counter[0], counter[1], counter[2], counter[3]] = [ones, twos, fours, eights];
    }
    carries
}

/// Adds a stream of four raters; returns the carry, of weight 4.
#[inline(always)]
unsafe fn add_four<L: Lanes, const STREAMS: usize>(
    addresses: &[*const Line; BATCH],
    first: usize,
    stream: usize,
    ones: &mut L,
    twos: &mut L,
) -> L {
    unsafe {
        let one = bits::<L, STREAMS>(addresses[first], stream);
        let other = bits::<L, STREAMS>(addresses[first + 1], stream);
        let low = full_add(ones, one, other);
        let one = bits::<L, STREAMS>(addresses[first + 2], stream);
        let other = bits::<L, STREAMS>(addresses[first + 3], stream);
        let high = full_add(ones, one, other);
        full_add(twos, low, high)
    }
}

/// A stream of one rater.
#[inline(always)]
unsafe fn bits<L: Lanes, const STREAMS: usize>(lines: *const Line, stream: usize) -> L {
    let (one, other) = const { streams::<STREAMS>() }[stream].bits;
    unsafe {
        let bits = L::load(lines.add(one));
        if one == other { bits } else { bits.and(L::load(lines.add(other))) }
    }
}

/// Adds two bits of one weight to the counter's; returns the carry.
#[inline(always)]
unsafe fn full_add<L: Lanes>(sum: &mut L, one: L, other: L) -> L {
    unsafe {
        let carry = sum.high(one, other);
        *sum = sum.low(one, other);
        carry
    }
}

/// Adds one bit at a place of a counter.
#[inline(always)]
unsafe fn ripple<L: Lanes>(counter: &mut [L; 8], place: usize, mut carry: L) {
    for bit in &mut counter[place..] {
        unsafe {
            let next = bit.and(carry);
            *bit = bit.xor(carry);
            carry = next;
        }
    }
}

/// Adds what the counters have to the sums.
#[expect(clippy::needless_range_loop, reason = "four arrays by one index, without closures")]
#[inline(always)]
unsafe fn flush<L: Lanes, const STREAMS: usize>(counters: &[[L; 8]; STREAMS], x: i16, sums: &mut Sums) {
    let mut counts = [[EMPTY; 8]; MOST_STREAMS];
    for (counter, counts) in counters.iter().zip(&mut counts) {
        let mut rows = *counter;
        unsafe {
            swap::<L, 4>(&mut rows, 0x0f);
            swap::<L, 2>(&mut rows, 0x33);
            swap::<L, 1>(&mut rows, 0x55);
            for (row, line) in rows.iter().zip(counts) {
                row.store(line);
            }
        }
    }
    let weights = const { streams::<STREAMS>() };
    for group in 0..8 {
        for byte in 0..64 {
            let (mut n, mut y, mut yy) = (0i16, 0i16, 0i16);
            for stream in 0..STREAMS {
                let count = i16::from(counts[stream][group].0[byte]);
                // Partial sums may wrap; whole ones fit.
                n = n.wrapping_add(count.wrapping_mul(weights[stream].n));
                y = y.wrapping_add(count.wrapping_mul(weights[stream].y));
                yy = yy.wrapping_add(count.wrapping_mul(weights[stream].yy));
            }
            let column = 64 * group + byte;
            sums.n[column] += n as u32;
            sums.x[column] += n.wrapping_mul(x) as u32;
            sums.xx[column] += n.wrapping_mul(x.wrapping_mul(x)) as u32;
            sums.y[column] += y as u32;
            sums.yy[column] += yy as u32;
            sums.xy[column] += y.wrapping_mul(x) as u32;
        }
    }
}

/// One step of the transposition of 8 x 8 bits in every byte: rows at a distance exchange bits at that distance.
///
/// After steps 4, 2 and 1, row r holds bit r of each byte of all rows, row 0 lowest: the counts of columns 64 r onwards.
#[inline(always)]
unsafe fn swap<L: Lanes, const DISTANCE: u32>(rows: &mut [L; 8], mask: u8) {
    let distance = DISTANCE as usize;
    for row in 0..8 {
        if row & distance != 0 {
            continue;
        }
        unsafe {
            let (upper, lower) = (rows[row], rows[row + distance]);
            let difference = upper.down::<DISTANCE>().xor(lower).and(L::splat(mask));
            rows[row + distance] = lower.xor(difference);
            rows[row] = upper.xor(difference.up::<DISTANCE>());
        }
    }
}

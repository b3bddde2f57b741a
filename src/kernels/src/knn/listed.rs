//! Sums over the columns that users have in lists: one addition of eight numbers a common rating.

use super::lanes::{Lanes, on_path, prefetch};
use super::records::{COLUMNS, LEVEL_BITS};
use crate::simd::Simd;

use super::dense::Sums;

/// Sums of a column in the order of [`Sums`], and two unused.
pub type Addend = [u32; 8];

/// Sums of every column, of what was listed.
pub struct Listed {
    sums: Vec<Addend>,
    /// The first column that has sums; those before are zero.
    first: usize,
}

/// One more common rater for levels x and y.
fn addend(x: u32, y: u32) -> Addend {
    [1, x, y, x * x, y * y, x * y, 0, 0]
}

impl Listed {
    /// No sums of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { sums: vec![[0; 8]; columns.next_multiple_of(COLUMNS)], first: usize::MAX }
    }

    /// Adds the columns before `end` in the lists of raters of one level `x`.
    ///
    /// # Safety
    ///
    /// Every list is of ascending columns below those of these sums, and ends with its mark.
    pub unsafe fn add(&mut self, simd: Simd, lists: &[*const u32], end: u32, x: u8) {
        let addends: [Addend; 16] = std::array::from_fn(|y| addend(x.into(), y as u32));
        let sums = self.sums.as_mut_ptr();
        let first = &mut self.first;
        on_path!(simd, add_lists::<_>(
            sums: *mut Addend = sums, first: &mut usize = first, lists: &[*const u32] = lists,
            end: u32 = end << LEVEL_BITS, addends: &[Addend; 16] = &addends));
    }

    /// Moves the sums of a block of columns; they are zero afterwards.
    pub fn take(&mut self, simd: Simd, block: usize, sums: &mut Sums) {
        if (block + 1) * COLUMNS <= self.first {
            return;
        }
        let from = &mut self.sums[block * COLUMNS..][..COLUMNS];
        on_path!(simd, move_sums::<_>(from: &mut [Addend] = from, sums: &mut Sums = sums));
    }

    /// Says that all blocks with sums were taken.
    pub fn finish(&mut self) {
        self.first = usize::MAX;
    }
}

#[inline(always)]
unsafe fn add_lists<L: Lanes>(sums: *mut Addend, first: &mut usize, lists: &[*const u32], end: u32, addends: &[Addend; 16]) {
    const AHEAD: usize = 16;
    for (at, list) in lists.iter().enumerate() {
        if let Some(list) = lists.get(at + AHEAD) {
            prefetch(list.cast());
            prefetch(list.wrapping_add(16).cast());
        }
        let mut entry = *list;
        // SAFETY: lists end with a mark above any `end`, and their columns are below those of `sums`.
        unsafe {
            *first = (*first).min((*entry >> LEVEL_BITS) as usize);
            while *entry < end {
                let sum = &mut *sums.add((*entry >> LEVEL_BITS) as usize);
                let addend = &addends[(*entry & 15) as usize];
                for part in 0..8 {
                    sum[part] += addend[part];
                }
                entry = entry.add(1);
            }
        }
    }
}

#[inline(always)]
unsafe fn move_sums<L: Lanes>(from: &mut [Addend], sums: &mut Sums) {
    for (column, sum) in from.iter_mut().enumerate() {
        sums.n[column] += sum[0];
        sums.x[column] += sum[1];
        sums.y[column] += sum[2];
        sums.xx[column] += sum[3];
        sums.yy[column] += sum[4];
        sums.xy[column] += sum[5];
        *sum = [0; 8];
    }
}

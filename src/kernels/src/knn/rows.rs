//! One movie against all more popular ones: sums of every pair of a row.

use super::dense::{self, Sums};
use super::lanes::Line;
use super::listed::Listed;
use super::order::Order;
use super::records::{COLUMNS, Records};
use crate::ratings::Store;
use crate::simd::Simd;

/// Computes the sums of rows, one at a time.
pub struct Rows<'a> {
    simd: Simd,
    store: &'a Store,
    order: &'a Order,
    records: &'a Records,
    /// The most blocks that a record has.
    widest: usize,
    /// The row's raters by level, and inside a level by falling width: their first lines.
    raters: Vec<u32>,
    /// Each rater's class: level and width.
    keys: Vec<u16>,
    /// Where each class begins in `raters`.
    bounds: Vec<u32>,
    lists: Vec<*const u32>,
    listed: Listed,
    sums: Box<Sums>,
}

impl<'a> Rows<'a> {
    /// Ready for any row.
    pub fn new(simd: Simd, store: &'a Store, order: &'a Order, records: &'a Records) -> Self {
        let widest = records.widths.iter().copied().max().unwrap_or(0).into();
        Self {
            simd,
            store,
            order,
            records,
            widest,
            raters: Vec::new(),
            keys: Vec::new(),
            bounds: Vec::new(),
            lists: Vec::new(),
            listed: Listed::new(order.movies.len()),
            sums: Box::new(Sums::ZERO),
        }
    }

    /// Computes the sums of a row with the columns before `end`; `each` gets them block by block. Columns of the last
    /// block from `end` on have no meaning.
    pub fn compute(&mut self, row: usize, end: usize, mut each: impl FnMut(usize, &Sums)) {
        self.group(self.order.movies[row] as usize);
        let classes = self.widest + 1;
        let scale = self.records.scale;
        let lines: *const Line = self.records.lines.at(0);
        for level in 0..scale.levels() {
            self.lists.clear();
            // Lists begin where the planes end.
            for width in (0..classes).take_while(|width| width * COLUMNS < end) {
                let class = level * classes + self.widest - width;
                let raters = &self.raters[self.bounds[class] as usize..self.bounds[class + 1] as usize];
                let skip = width * scale.planes();
                self.lists.extend(raters.iter().map(|start| lines.wrapping_add(*start as usize + skip).cast::<u32>()));
            }
            // SAFETY: these are the lists of records, whose columns are rows of the order.
            unsafe { self.listed.add(self.simd, &self.lists, end as u32, level as u8 + 1) };
        }
        for block in 0..end.div_ceil(COLUMNS) {
            *self.sums = Sums::ZERO;
            if block < self.widest {
                for level in 0..scale.levels() {
                    let class = level * classes;
                    let (from, to) = (self.bounds[class] as usize, self.bounds[class + self.widest - block] as usize);
                    // SAFETY: these raters' records are wider than `block`.
                    unsafe {
                        let raters = &self.raters[from..to];
                        dense::add(self.simd, scale, lines, raters, block, level as u8 + 1, &mut self.sums);
                    }
                }
            }
            self.listed.take(self.simd, block, &mut self.sums);
            each(block, &self.sums);
        }
        self.listed.finish();
    }

    /// Sorts a movie's raters into classes.
    fn group(&mut self, movie: usize) {
        let (raters, stars) = self.store.of_movie(movie);
        let scale = self.records.scale;
        let (step, classes) = (scale.step(), self.widest + 1);
        // Half stars 0 do not occur; the table has a place for every byte all the same.
        let first: [u16; 16] = std::array::from_fn(|stars| {
            let level = (stars / usize::from(step)).clamp(1, scale.levels());
            ((level - 1) * classes + self.widest) as u16
        });
        self.bounds.clear();
        self.bounds.resize(scale.levels() * classes + 1, 0);
        self.keys.clear();
        self.keys.extend(
            raters
                .iter()
                .zip(stars)
                .map(|(rater, stars)| first[usize::from(*stars & 15)] - u16::from(self.records.widths[*rater as usize])),
        );
        for key in &self.keys {
            self.bounds[usize::from(*key)] += 1;
        }
        let mut at = 0;
        for bound in &mut self.bounds {
            at += std::mem::replace(bound, at);
        }
        self.raters.resize(raters.len(), 0);
        for (rater, key) in raters.iter().zip(&self.keys) {
            let place = &mut self.bounds[usize::from(*key)];
            self.raters[*place as usize] = self.records.starts[*rater as usize];
            *place += 1;
        }
        // Each class now begins where the one before ends.
        self.bounds.rotate_right(1);
        self.bounds[0] = 0;
    }
}

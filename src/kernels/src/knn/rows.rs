//! One movie against all more popular ones: sums of every pair of a row.
//!
//! Rows of many raters would read the planes of nearly all users from memory, once a row. They are computed together
//! beforehand, a run of users and a block of columns at a time, whose planes stay in the second cache meanwhile. All sums
//! are integers, so that nothing depends on it.

use std::ops::Range;

use super::dense::{self, Sums};
use super::lanes::Line;
use super::listed::Listed;
use super::order::Order;
use super::records::{COLUMNS, Records};
use crate::ratings::Store;
use crate::simd::Simd;

/// Bytes of one block's planes of a run of users: half of a second cache of 2 MB, all of one of 1 MB.
const RUN_BYTES: usize = 1 << 20;
/// Raters of a row in a run, on average, from which it is worth to load and store the row's sums once a run.
const RUN_RATERS: usize = 192;
/// The most blocks of sums that are kept for popular rows: 100 MB.
const MOST_KEPT: usize = 8192;

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
    /// Sums of popular rows from planes, block by block, and where those of each row begin.
    kept: Vec<Sums>,
    kept_from: Vec<Option<usize>>,
}

/// A popular row: its ratings that are still to be added, and the blocks it needs.
pub struct Popular {
    /// The row.
    pub row: usize,
    places: Range<usize>,
    blocks: usize,
    kept_from: usize,
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
            kept: Vec::new(),
            kept_from: vec![None; order.movies.len()],
        }
    }

    /// The popular ones of some rows with their ends, which come in order.
    pub fn popular(&self, rows: impl Iterator<Item = (usize, usize)>) -> Vec<Popular> {
        let runs = self.store.users().div_ceil(self.run());
        let (mut popular, mut kept) = (Vec::new(), 0);
        for (row, end) in rows {
            let places = self.store.places(self.order.movies[row] as usize);
            let blocks = end.div_ceil(COLUMNS).min(self.widest);
            if runs < 2 || places.len() < RUN_RATERS * runs || kept + blocks > MOST_KEPT {
                break;
            }
            popular.push(Popular { row, places, blocks, kept_from: kept });
            kept += blocks;
        }
        popular
    }

    /// The users of a run.
    fn run(&self) -> usize {
        RUN_BYTES / (self.records.scale.planes() * size_of::<Line>())
    }

    /// Computes what of popular rows is dense, for `compute` to finish; `progress` gets the part done.
    pub fn take(&mut self, mut popular: Vec<Popular>, mut progress: impl FnMut(f64)) {
        let (run, users) = (self.run(), self.store.users());
        let Some(last) = popular.last() else { return };
        self.kept.resize(last.kept_from + last.blocks, Sums::ZERO);
        for row in &popular {
            self.kept_from[row.row] = Some(row.kept_from);
        }
        for first in (0..users).step_by(run) {
            let end = users.min(first + run);
            self.add_run(&mut popular, end as u32);
            progress(end as f64 / users as f64);
        }
    }

    /// Adds the raters before `end` to the sums of popular rows.
    fn add_run(&mut self, popular: &mut [Popular], end: u32) {
        let (classes, scale) = (self.widest + 1, self.records.scale);
        let (mut raters, mut bounds) = (Vec::new(), Vec::new());
        for row in popular.iter_mut() {
            let rest = &self.store.raters()[row.places.clone()];
            let count = rest.partition_point(|rater| *rater < end);
            self.group(row.places.start..row.places.start + count);
            row.places.start += count;
            let from = raters.len() as u32;
            raters.extend_from_slice(&self.raters);
            bounds.extend(self.bounds.iter().map(|bound| from + bound));
        }
        let lines: *const Line = self.records.lines.at(0);
        for block in 0..self.widest {
            for (row, bounds) in popular.iter().zip(bounds.chunks_exact(scale.levels() * classes + 1)) {
                if block >= row.blocks {
                    continue;
                }
                for level in 0..scale.levels() {
                    let (from, to) = (bounds[level * classes], bounds[(level + 1) * classes - 1 - block]);
                    let raters = &raters[from as usize..to as usize];
                    // SAFETY: these raters' records are wider than `block`.
                    unsafe {
                        let sums = &mut self.kept[row.kept_from + block];
                        dense::add(self.simd, scale, lines, raters, block, level as u8 + 1, sums);
                    }
                }
            }
        }
    }

    /// Computes the sums of a row with the columns before `end`; `each` gets them block by block. Columns of the last
    /// block from `end` on have no meaning.
    pub fn compute(&mut self, row: usize, end: usize, mut each: impl FnMut(usize, &Sums)) {
        self.group(self.store.places(self.order.movies[row] as usize));
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
            *self.sums = match self.kept_from[row] {
                Some(from) if block < self.widest => self.kept[from + block].clone(),
                _ => Sums::ZERO,
            };
            if block < self.widest && self.kept_from[row].is_none() {
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

    /// Sorts raters of one movie into classes; inside a class they stay in order.
    fn group(&mut self, places: Range<usize>) {
        let (raters, stars) = (&self.store.raters()[places.clone()], &self.store.stars()[places]);
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

//! Large arrays of lines that are read at random: in large pages where the system has them.

use std::ops::Range;

use memmap2::MmapMut;

use super::lanes::Line;

/// Lines in memory of their own; not yet written ones are zero and take no room.
pub struct Lines {
    map: Option<MmapMut>,
    length: usize,
}

impl Lines {
    /// No lines, with room for some.
    pub fn with_capacity(capacity: usize) -> Self {
        let bytes = capacity * size_of::<Line>();
        if bytes == 0 {
            return Self { map: None, length: 0 };
        }
        let map = match MmapMut::map_anon(bytes) {
            Ok(map) => map,
            Err(error) => panic!("{bytes} bytes of memory could not be had: {error}"),
        };
        // With pages of 4 KB, most accesses to hundreds of megabytes wait for the page table first. Only advice.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Self { map: Some(map), length: 0 }
    }

    /// Lines of zeros.
    pub fn zeroed(length: usize) -> Self {
        Self { length, ..Self::with_capacity(length) }
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.length
    }

    fn capacity(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len() / size_of::<Line>())
    }

    /// Adds lines of zeros.
    pub fn extend(&mut self, more: usize) {
        let length = self.length + more;
        if length > self.capacity() {
            let mut grown = Self::with_capacity(length + length / 2 + 64);
            grown.length = self.length;
            grown.as_mut_slice().copy_from_slice(self.as_slice());
            *self = grown;
        }
        self.length = length;
    }

    /// All lines.
    pub fn as_slice(&self) -> &[Line] {
        match &self.map {
            None => &[],
            // SAFETY: the map starts at a page, has room for `length` lines, and any bytes are a line.
            Some(map) => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), self.length) },
        }
    }

    /// All lines.
    pub fn as_mut_slice(&mut self) -> &mut [Line] {
        match &mut self.map {
            None => &mut [],
            // SAFETY: as in `as_slice`, and the map is borrowed as exclusively as its lines.
            Some(map) => unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), self.length) },
        }
    }

    /// The address of a line, or of the end.
    #[inline]
    pub fn at(&self, line: usize) -> *const Line {
        debug_assert!(line <= self.length);
        self.as_slice().as_ptr().wrapping_add(line)
    }

    /// Some lines as 32-bit numbers.
    pub fn entries_mut(&mut self, lines: Range<usize>) -> &mut [u32] {
        let lines = &mut self.as_mut_slice()[lines];
        let count = size_of_val(lines) / size_of::<u32>();
        // SAFETY: a line is 16 numbers, aligned to more than theirs.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), count) }
    }

    /// All lines as 64-bit numbers.
    pub fn words(&self) -> &[u64] {
        let lines = self.as_slice();
        // SAFETY: a line is 8 numbers, aligned to more than theirs.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines) / size_of::<u64>()) }
    }

    /// All lines as 64-bit numbers.
    pub fn words_mut(&mut self) -> &mut [u64] {
        let lines = self.as_mut_slice();
        // SAFETY: a line is 8 numbers, aligned to more than theirs.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines) / size_of::<u64>()) }
    }
}

//! Values that begin at a cache line, so that no register of 16 lies across two.

use std::ops::{Deref, DerefMut};

use super::step::LANES;

/// A cache line of values.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A whole number of cache lines of values; a slice otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// As many zeros, a multiple of 16.
    pub fn zeros(length: usize) -> Self {
        let mut lines = Self::default();
        lines.resize(length);
        lines
    }

    /// Makes room for as many values, a multiple of 16; what is new is 0.
    pub fn resize(&mut self, length: usize) {
        assert!(length.is_multiple_of(LANES), "{length} values are no whole number of lines");
        self.0.resize(length / LANES, Line([0.0; LANES]));
    }
}

impl Deref for Lines {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 values without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LANES) }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 values without padding, and any values are a line.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LANES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_values_from_a_cache_line_on() {
        let mut lines = Lines::zeros(32);
        lines[17] = 2.5;
        lines.resize(48);
        assert_eq!((lines.len(), lines[17], lines[47]), (48, 2.5, 0.0));
        assert!(lines.as_ptr().addr().is_multiple_of(64) && lines.clone().as_ptr().addr().is_multiple_of(64));
        assert_eq!(Lines::default().len(), 0);
    }
}

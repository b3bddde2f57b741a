//! Sparse 32-bit ids and their places in ascending order.

/// Ids of one page: 64 words of 64 bits.
const PAGE: usize = 4096;
const WORDS: usize = PAGE / 64;

/// A set of ids that knows how many are below each: a bit an id, in pages that are there only where ids are.
pub struct Ids {
    /// Where the words of each 4,096 ids begin, counted in pages from 1; 0 where there are none.
    pages: Vec<u32>,
    /// Which pages are there, in the order of their words.
    present: Vec<u32>,
    /// A bit an id, and how many ids are below the word's.
    words: Vec<(u64, u32)>,
}

impl Ids {
    /// No ids.
    pub fn new() -> Self {
        Self { pages: vec![0; 1 << 20], present: Vec::new(), words: Vec::new() }
    }

    /// Adds ids.
    pub fn add(&mut self, ids: &[u32]) {
        let mut last = None;
        for id in ids {
            // Movies come in long runs of the same.
            if last.replace(*id) == Some(*id) {
                continue;
            }
            let page = &mut self.pages[*id as usize / PAGE];
            if *page == 0 {
                self.words.resize(self.words.len() + WORDS, (0, 0));
                *page = (self.words.len() / WORDS) as u32;
                self.present.push(*id / PAGE as u32);
            }
            self.words[(*page as usize - 1) * WORDS + *id as usize % PAGE / 64].0 |= 1 << (id % 64);
        }
    }

    /// Adds the ids of another set.
    pub fn merge(&mut self, other: &Self) {
        for (number, from) in other.present.iter().zip(other.words.chunks(WORDS)) {
            let page = &mut self.pages[*number as usize];
            if *page == 0 {
                self.words.extend_from_slice(from);
                *page = (self.words.len() / WORDS) as u32;
                self.present.push(*number);
            } else {
                let into = &mut self.words[(*page as usize - 1) * WORDS..];
                into.iter_mut().zip(from).for_each(|(into, from)| into.0 |= from.0);
            }
        }
    }

    /// Counts, so that [`Ids::place`] can tell; returns all ids, ascending.
    pub fn count(&mut self) -> Vec<u32> {
        let mut sorted = Vec::new();
        let mut pages = self.present.clone();
        pages.sort_unstable();
        for page in pages.into_iter().map(|page| page as usize) {
            let begin = (self.pages[page] as usize - 1) * WORDS;
            let words = &mut self.words[begin..begin + WORDS];
            for (number, word) in words.iter_mut().enumerate() {
                word.1 = sorted.len() as u32;
                let mut bits = word.0;
                while bits != 0 {
                    sorted.push((page * PAGE + number * 64) as u32 + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }
        }
        sorted
    }

    /// The place of an id that is in the set.
    #[inline(always)]
    pub fn place(&self, id: u32) -> u32 {
        let page = self.pages[id as usize / PAGE] as usize - 1;
        let (bits, below) = self.words[page * WORDS + id as usize % PAGE / 64];
        below + (bits & ((1 << (id % 64)) - 1)).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn places_are_those_of_the_sorted_ids(
            one in proptest::collection::vec(prop_oneof![0u32..9000, any::<u32>(), Just(u32::MAX)], 0..300),
            other in proptest::collection::vec(prop_oneof![0u32..9000, any::<u32>()], 0..300),
        ) {
            let (mut ids, mut others) = (Ids::new(), Ids::new());
            ids.add(&one);
            others.add(&other);
            ids.merge(&others);
            let mut expected = [one, other].concat();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(&ids.count(), &expected);
            for (place, id) in expected.iter().enumerate() {
                prop_assert_eq!(ids.place(*id), place as u32);
            }
        }
    }
}

//! The last calls that changed something or met a fault, in the order of their arrival.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Entries that are kept: a cluster of a thousand nodes makes some hundreds.
const KEPT: usize = 10_000;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number among the calls that change something, from 1; None for one that only reads.
    pub ordinal: Option<u64>,
    pub time: Timestamp,
    pub service: String,
    pub action: String,
    /// How the call itself ended: None while it is under way or never began, `OK`, or an error's code.
    pub code: Option<String>,
    /// Ids of the rules that struck, and the names of their faults.
    pub rules: Vec<String>,
    pub faults: Vec<String>,
}

/// The entries by number.
#[derive(Debug, Default)]
pub struct Journal {
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

impl Journal {
    /// Adds an entry and answers its number, which no other entry ever gets.
    pub fn add(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, entry);
        if self.entries.len() > KEPT {
            self.entries.pop_first();
        }
        number
    }

    /// The entry of this number, unless it is forgotten.
    pub fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    pub fn forget(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    /// The newest `most`, the oldest of them first.
    pub fn last(&self, most: usize) -> impl Iterator<Item = &Entry> {
        self.entries.values().skip(self.entries.len().saturating_sub(most))
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str) -> Entry {
        Entry {
            ordinal: None,
            time: Timestamp::UNIX_EPOCH,
            service: "ec2".to_owned(),
            action: action.to_owned(),
            code: None,
            rules: Vec::new(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_entries_are_forgotten_and_numbers_stay_true() {
        let mut journal = Journal::default();
        let numbers: Vec<u64> = (0..=KEPT).map(|number| journal.add(entry(&number.to_string()))).collect();
        assert!(journal.entry(numbers[0]).is_none());
        assert_eq!(journal.entry(numbers[1]).unwrap().action, "1");
        assert_eq!(journal.last(1).next().unwrap().action, KEPT.to_string());
        journal.clear();
        assert!(journal.entry(numbers[KEPT]).is_none());
        let fresh = journal.add(entry("fresh"));
        assert!(fresh > numbers[KEPT] && journal.entry(fresh).unwrap().action == "fresh");
    }
}

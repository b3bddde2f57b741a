//! What is said of those who are turned away: a line for the first of a kind, then a count a minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Log;

/// How long more of a kind are only counted: a flood costs a line a minute and kind.
const QUIET: Duration = Duration::from_secs(60);

/// Characters of one line; a refusal may quote a header of 32 KiB.
const LINE: usize = 240;

/// Refusals so far, by kind. Kinds are words of this program, so there are few.
#[derive(Default)]
pub(super) struct Refusals {
    kinds: Mutex<BTreeMap<&'static str, Spoken>>,
}

/// When a kind was last spoken of, and how many came since.
struct Spoken {
    at: Instant,
    unsaid: u64,
}

impl Refusals {
    /// Logs a refusal, unless one of its kind was logged a moment ago.
    pub fn note(&self, log: &Log, kind: &'static str, event: impl std::fmt::Display) {
        if let Some(line) = self.line(kind, event, Instant::now()) {
            log.line(line);
        }
    }

    fn line(&self, kind: &'static str, event: impl std::fmt::Display, now: Instant) -> Option<String> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match kinds.get_mut(kind) {
            Some(spoken) if now.saturating_duration_since(spoken.at) < QUIET => {
                spoken.unsaid += 1;
                return None;
            }
            known => known.map_or(0, |spoken| spoken.unsaid),
        };
        kinds.insert(kind, Spoken { at: now, unsaid: 0 });
        let mut line: String = event.to_string().chars().take(LINE).collect();
        if unsaid > 0 {
            line.push_str(&format!(" (after {unsaid} more of this kind)"));
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_a_line_a_minute() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let lines: Vec<String> = (0..1000u64)
            .filter_map(|step| refusals.line("mismatch", format_args!("no {step}"), start + Duration::from_millis(step * 100)))
            .collect();
        assert_eq!(lines, ["no 0", "no 600 (after 599 more of this kind)"]);
        // Another kind is heard meanwhile.
        assert_eq!(refusals.line("missing", "unsigned", start).as_deref(), Some("unsigned"));
    }

    #[test]
    fn a_line_has_an_end() {
        let line = Refusals::default().line("malformed", "é".repeat(40_000), Instant::now()).unwrap();
        assert_eq!(line.chars().count(), LINE);
    }
}

//! Events without a terminal: one line for each, in the order they came, after the time since the start.
//!
//! What a piece of work itself prints is left out, unless everything is to be seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ewulf_core::events::{Event, Level};

use super::terminal::eprint_line;
use super::text;

/// Between two lines about the progress of one task: a log of an hour stays readable.
const PROGRESS_PAUSE: Duration = Duration::from_secs(10);

/// Writes events as lines to stderr.
pub struct Plain {
    begun: Instant,
    verbose: bool,
    /// Tasks under way, and when each one's progress was last told.
    told: Mutex<HashMap<String, Instant>>,
}

impl Plain {
    /// `verbose` keeps the lines that are printed by pieces of work.
    pub fn new(verbose: bool) -> Self {
        Self { begun: Instant::now(), verbose, told: Mutex::default() }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        let now = Instant::now();
        if self.is_worth_a_line(event, now) {
            let time = text::seconds(now.duration_since(self.begun).as_secs_f64());
            for line in lines(event) {
                eprint_line(&format!("{time:>9}  {line}"));
            }
        }
    }

    fn is_worth_a_line(&self, event: &Event, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begun { task, .. } => {
                told.insert(task.clone(), now);
            }
            Event::Progress { task, .. } => {
                let last = told.entry(task.clone()).or_insert(self.begun);
                if now.duration_since(*last) < PROGRESS_PAUSE {
                    return false;
                }
                *last = now;
            }
            Event::Done { task, .. } | Event::Failed { task, .. } | Event::Skipped { task, .. } => {
                told.remove(task);
            }
            Event::Output { source, .. } => return self.verbose || !told.contains_key(source),
            Event::Waiting { .. } | Event::Notice { .. } => {}
        }
        true
    }
}

/// Says what happened, without colours.
fn lines(event: &Event) -> Vec<String> {
    match event {
        Event::Begun { task, sentence } | Event::Waiting { task, sentence } => vec![format!("{task}: {sentence}")],
        Event::Progress { task, done, total, unit } => vec![format!("{task}: {}", text::amount(*done, *total, unit))],
        Event::Done { task, sentence, seconds } => {
            let mut lines: Vec<String> = sentence.lines().map(|line| format!("{task}: {line}")).collect();
            if let Some(last) = lines.last_mut() {
                last.push_str(&format!(" ({})", text::seconds(*seconds)));
            }
            lines
        }
        Event::Failed { task, causes } => causes
            .iter()
            .flat_map(|cause| cause.lines())
            .enumerate()
            .map(|(index, cause)| format!("{task}: {}{cause}", if index == 0 { "failed: " } else { "  " }))
            .collect(),
        Event::Skipped { task, sentence } => vec![format!("{task}: skipped: {sentence}")],
        Event::Output { source, line, .. } => vec![format!("{} | {}", text::printable(source), text::printable(line))],
        Event::Notice { level: Level::Info, sentence } => vec![sentence.clone()],
        Event::Notice { level: Level::Warning, sentence } => vec![format!("warning: {sentence}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_causes_below_it() {
        let event = Event::Failed {
            task: "vpc".to_owned(),
            causes: vec!["vpc: CreateVpc answered VpcLimitExceeded".to_owned(), "five are there".to_owned()],
        };
        assert_eq!(lines(&event), ["vpc: failed: vpc: CreateVpc answered VpcLimitExceeded", "vpc:   five are there"]);
    }

    #[test]
    fn a_finished_task_says_how_long_it_took() {
        let event = Event::Done { task: "vpc".to_owned(), sentence: "Created VPC.".to_owned(), seconds: 0.31 };
        assert_eq!(lines(&event), ["vpc: Created VPC. (0.3 s)"]);
    }

    #[test]
    fn what_a_piece_of_work_prints_is_left_out_and_what_others_print_is_not() {
        let now = Instant::now();
        let output = |source: &str| Event::Output { source: source.to_owned(), line: "x".to_owned(), error: false };
        let plain = Plain::new(false);
        assert!(
            plain.is_worth_a_line(&Event::Begun { task: "worker: packages".to_owned(), sentence: "installing".to_owned() }, now)
        );
        assert!(!plain.is_worth_a_line(&output("worker: packages"), now));
        assert!(plain.is_worth_a_line(&output("rank 0"), now));
        assert!(Plain::new(true).is_worth_a_line(&output("worker: packages"), now));
    }

    #[test]
    fn progress_is_told_at_most_every_ten_seconds() {
        let (plain, now) = (Plain::new(false), Instant::now());
        let progress = Event::Progress { task: "knn".to_owned(), done: 1, total: 2, unit: "pairs".to_owned() };
        plain.is_worth_a_line(&Event::Begun { task: "knn".to_owned(), sentence: "running".to_owned() }, now);
        assert!(!plain.is_worth_a_line(&progress, now + Duration::from_secs(9)));
        assert!(plain.is_worth_a_line(&progress, now + Duration::from_secs(10)));
        assert!(!plain.is_worth_a_line(&progress, now + Duration::from_secs(11)));
    }

    #[test]
    fn output_keeps_its_source_and_loses_escape_sequences() {
        let event = Event::Output { source: "rank 3".to_owned(), line: "\x1b[31mx".to_owned(), error: true };
        assert_eq!(lines(&event), ["rank 3 | x"]);
    }
}

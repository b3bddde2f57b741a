//! What a kernel tells while it runs.
//!
//! Rank 0 speaks, the others are silent. With `EWULF_EVENTS=FILE` each event is one JSON object on a line of its own,
//! appended and flushed at once, for a program that follows the file; without it, short lines on stderr.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The environment variable that names the file of events.
pub const VARIABLE: &str = "EWULF_EVENTS";

/// Progress is told at most this often: a follower redraws a bar a few times a second, and reads through a shared folder.
const FILE_INTERVAL: Duration = Duration::from_millis(200);
/// A person reads lines, so fewer.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The file of events could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("events file {} could not be opened for appending", path.display())]
pub struct EventsError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Phase {
        phase: &'static str,
    },
    Progress {
        phase: &'static str,
        done: u64,
        total: u64,
        #[serde(flatten)]
        values: Values<'a>,
    },
}

/// What was measured, by name.
struct Values<'a>(&'a [(&'static str, f64)]);

impl Serialize for Values<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

enum Destination {
    Silent,
    File(File),
    Lines,
}

/// The speaker of one rank.
pub struct Events {
    destination: Destination,
    kernel: &'static str,
    phase: &'static str,
    /// When progress was told last.
    told: Option<Instant>,
    /// Whether the last step of the phase was told.
    finished: bool,
    phases: Vec<(&'static str, Instant)>,
}

impl Events {
    /// Events of `kernel` to where the environment says, for rank 0; silence for the others.
    pub fn from_environment(kernel: &'static str, rank: usize) -> Result<Self, EventsError> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let destination = match path {
            _ if rank != 0 => Destination::Silent,
            None => Destination::Lines,
            Some(path) => match OpenOptions::new().create(true).append(true).open(&path) {
                Ok(file) => Destination::File(file),
                Err(source) => return Err(EventsError { path, source }),
            },
        };
        Ok(Self { destination, ..Self::silent(kernel) })
    }

    /// Tells nothing; phases are timed all the same.
    pub fn silent(kernel: &'static str) -> Self {
        Self { destination: Destination::Silent, kernel, phase: "", told: None, finished: false, phases: Vec::new() }
    }

    /// Begins a phase, and thereby ends the one before.
    pub fn phase(&mut self, phase: &'static str) {
        let now = Instant::now();
        self.phase = phase;
        self.finished = false;
        self.phases.push((phase, now));
        match &mut self.destination {
            Destination::Silent => {}
            Destination::File(file) => {
                self.told = None;
                append(file, &Event::Phase { phase });
            }
            Destination::Lines => {
                self.told = Some(now);
                say(&format!("{}: {phase}\n", self.kernel));
            }
        }
    }

    /// Tells how far the phase is, not too often; its last step is always told, once, if there is any work at all.
    pub fn progress(&mut self, done: u64, total: u64) {
        let interval = match self.destination {
            Destination::Silent => return,
            Destination::File(_) => FILE_INTERVAL,
            Destination::Lines => LINE_INTERVAL,
        };
        let now = Instant::now();
        let recent = self.told.is_some_and(|told| now.duration_since(told) < interval);
        if total == 0 || self.finished || (done < total && recent) {
            return;
        }
        self.finished = done >= total;
        self.tell(now, done, total, &[]);
    }

    /// Tells how far the phase is and what was measured there, such as an error after an epoch: always told.
    pub fn measured(&mut self, done: u64, total: u64, values: &[(&'static str, f64)]) {
        self.tell(Instant::now(), done, total, values);
    }

    fn tell(&mut self, now: Instant, done: u64, total: u64, values: &[(&'static str, f64)]) {
        self.told = Some(now);
        let phase = self.phase;
        match &mut self.destination {
            Destination::Silent => {}
            Destination::File(file) => append(file, &Event::Progress { phase, done, total, values: Values(values) }),
            Destination::Lines => {
                let values: String = values.iter().map(|(name, value)| format!(" {name} {value:.5}")).collect();
                say(&format!("{}: {phase} {done}/{total}{values}\n", self.kernel));
            }
        }
    }

    /// Says something on stderr that is no failure, but worth knowing.
    pub fn note(&self, text: &str) {
        match &self.destination {
            Destination::Silent => {}
            Destination::File(_) | Destination::Lines => say(&format!("{}: {text}\n", self.kernel)),
        }
    }

    /// The phases so far with their seconds on this rank, in order; the running one counts until now.
    pub fn timings(&self) -> Timings {
        let ends = self.phases.iter().skip(1).map(|(_, begin)| *begin).chain([Instant::now()]);
        let phases = self.phases.iter().zip(ends);
        Timings(phases.map(|((phase, begin), end)| (*phase, (end - *begin).as_secs_f64())).collect())
    }
}

/// Phases and their seconds, in order; a JSON object.
#[derive(Clone, Debug)]
pub struct Timings(pub Vec<(&'static str, f64)>);

impl Timings {
    /// The seconds of all phases.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, seconds)| seconds).sum()
    }
}

impl Serialize for Timings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Writes a line to stderr in one piece, so that it does not mix with another rank's.
fn say(line: &str) {
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Appends one line in one write, so that a follower never reads half an event.
///
/// Telling is never worth failing a job for: an error is ignored.
fn append(file: &mut File, event: &Event<'_>) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let _ = file.write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_json_line_and_frequent_progress_is_thinned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut events = Events { destination: Destination::File(file), ..Events::silent("pi") };
        events.phase("sample");
        (0..=1000).for_each(|done| events.progress(done, 1000));
        events.progress(1000, 1000);
        let lines = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], r#"{"event":"phase","phase":"sample"}"#);
        assert_eq!(lines[1], r#"{"event":"progress","phase":"sample","done":0,"total":1000}"#);
        assert_eq!(lines.iter().filter(|line| line.contains(r#""done":1000"#)).count(), 1);
        assert!(lines.len() < 20, "{} lines", lines.len());
    }

    #[test]
    fn what_is_measured_is_always_told_with_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut events = Events { destination: Destination::File(file), ..Events::silent("svd") };
        events.phase("train");
        (1..=3).for_each(|epoch| events.measured(epoch, 3, &[("train_rmse", 1.0 / epoch as f64)]));
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 4);
        let last = r#"{"event":"progress","phase":"train","done":2,"total":3,"train_rmse":0.5}"#;
        assert_eq!(lines.lines().nth(2), Some(last));
    }

    #[test]
    fn timings_name_every_phase_in_order() {
        let mut events = Events::silent("knn");
        events.phase("load");
        std::thread::sleep(Duration::from_millis(5));
        events.phase("write");
        let timings = events.timings().0;
        assert_eq!((timings[0].0, timings[1].0), ("load", "write"));
        assert!(timings[0].1 >= 0.005);
    }
}

//! What the programs on the master answer, as values.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{GzDecoder, ZlibDecoder};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::failure::FailureFacts;
use super::{Plan, RunId};

/// Why an answer makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the answer is no JSON of the expected form")]
    Json(#[from] serde_json::Error),
    #[error("the answer has a part that is not base64")]
    Base64(#[from] base64::DecodeError),
    #[error("the answer has a part that cannot be decompressed")]
    Compression(#[from] std::io::Error),
    #[error("the answer lacks {0}")]
    Missing(&'static str),
}

/// How far a run is, as the runner wrote it: `status.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `running` or `ended`; empty before the runner has begun.
    #[serde(default)]
    pub state: String,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// `prepare` or `run`.
    pub phase: Option<String>,
    pub step_name: Option<String>,
    #[serde(default)]
    pub attempt: u32,
    /// Seconds since 1970, by the master's clock.
    pub started: Option<f64>,
    pub ended: Option<f64>,
    /// Exit status of the last program, negative for a signal.
    pub exit: Option<i32>,
    /// Addresses of nodes that could not be searched for leftovers.
    #[serde(default)]
    pub unswept: Vec<String>,
}

impl Status {
    /// Seconds from start to end, if it has ended.
    pub fn seconds(&self) -> Option<f64> {
        Some((self.ended? - self.started?).max(0.0))
    }

    /// When it started.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started.and_then(moment)
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended.and_then(moment)
    }
}

fn moment(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    /// The master went down, or something else ended the runner.
    Stopped,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        })
    }
}

/// What a start answers before it answers as a poll does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Started {
    Yes,
    /// Runs that are active, which the new one was not to disturb.
    Busy(Vec<String>),
    /// The master has not finished its boot, or failed in it.
    NotReady(String),
}

/// Splits the answer of a start.
pub(super) fn started(answer: &str) -> Result<(Started, &str), AnswerError> {
    let (first, rest) = answer.split_once('\n').unwrap_or((answer, ""));
    let words = first.strip_prefix("ewulf-start ").ok_or(AnswerError::Missing("its first line"))?;
    let started = match words.split_once(' ').unwrap_or((words, "")) {
        ("ok", _) => Started::Yes,
        ("busy", runs) => Started::Busy(runs.split_whitespace().map(str::to_owned).collect()),
        (_, reason) => Started::NotReady(reason.trim().to_owned()),
    };
    Ok((started, rest))
}

/// What is new of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct News {
    /// State of the run's unit, `missing` if there is no such run.
    pub unit: String,
    pub status: Status,
    pub output: Vec<u8>,
    pub events: Vec<u8>,
    /// Bytes that both files have now.
    pub sizes: (u64, u64),
}

#[derive(Deserialize)]
struct WrittenNews {
    unit: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    output: String,
    #[serde(default)]
    events: String,
    #[serde(default)]
    sizes: (u64, u64),
}

impl News {
    pub fn read(answer: &str) -> Result<Self, AnswerError> {
        let written: WrittenNews = serde_json::from_str(answer.trim())?;
        Ok(Self {
            output: inflate(&written.output)?,
            events: inflate(&written.events)?,
            unit: written.unit,
            status: written.status,
            sizes: written.sizes,
        })
    }

    /// Whether the unit is still there, and may yet write.
    pub fn is_active(&self) -> bool {
        matches!(self.unit.as_str(), "active" | "activating" | "deactivating" | "reloading")
    }
}

fn inflate(text: &str) -> Result<Vec<u8>, AnswerError> {
    let mut content = Vec::new();
    if !text.is_empty() {
        ZlibDecoder::new(STANDARD.decode(text)?.as_slice()).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// Reads a plan; none if there is no such run.
pub(super) fn plan(answer: &str) -> Result<Option<Plan>, AnswerError> {
    let text = answer.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut json = Vec::new();
    GzDecoder::new(STANDARD.decode(text)?.as_slice()).read_to_end(&mut json)?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// One run in a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedRun {
    pub run: RunId,
    pub job: String,
    pub ranks: u32,
    /// Number of nodes with ranks.
    pub nodes: u32,
    pub prepared: Timestamp,
    /// Most attempts.
    pub attempts: u32,
    /// Time limit in seconds.
    pub timeout: u64,
    /// Whether its unit is active on the master.
    pub active: bool,
    pub status: Status,
}

impl ListedRun {
    /// One word for how it is.
    pub fn state(&self) -> &'static str {
        match (self.status.outcome, self.active) {
            (Some(Outcome::Succeeded), _) => "succeeded",
            (Some(Outcome::Failed), _) => "failed",
            (Some(Outcome::TimedOut), _) => "timed-out",
            (Some(Outcome::Cancelled), _) => "cancelled",
            (Some(Outcome::Stopped), _) => "stopped",
            (None, true) if self.status.phase.as_deref() == Some("prepare") => "preparing",
            (None, true) => "running",
            // Its unit is gone, and nobody wrote how it ended.
            (None, false) => "lost",
        }
    }
}

/// The runs of a cluster, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    pub runs: Vec<ListedRun>,
    /// Older ones that are not listed.
    pub more: u64,
}

impl RunList {
    pub(super) fn read(answer: &str) -> Result<Self, AnswerError> {
        Ok(serde_json::from_slice(&inflate(answer.trim())?)?)
    }
}

/// What was packed of a run's results.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Packed {
    /// Name of the archive in the run's control folder.
    pub archive: String,
    pub bytes: usize,
    pub sha256: String,
    #[serde(default)]
    pub left: Vec<LeftFile>,
    #[serde(default)]
    pub more_left: u64,
    /// Output patterns that nothing matched.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Bytes of the whole log on the cluster.
    #[serde(default)]
    pub log_bytes: u64,
}

/// A result that stays on the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftFile {
    /// Relative to the run's folder.
    pub path: String,
    pub bytes: u64,
    /// Why it was left.
    pub why: String,
}

/// Reads the report of packed results and their first chunk.
pub(super) fn packed(answer: &str) -> Result<(Packed, Vec<u8>), AnswerError> {
    let (report, chunk) = answer.trim().split_once('\n').ok_or(AnswerError::Missing("its second line"))?;
    let packed: Packed = serde_json::from_str(report)?;
    // It becomes part of a path on the master.
    if !packed.archive.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err(AnswerError::Missing("a plain name of the archive"));
    }
    Ok((packed, STANDARD.decode(chunk.trim())?))
}

/// Reads one more chunk.
pub(super) fn chunk(answer: &str) -> Result<Vec<u8>, AnswerError> {
    Ok(STANDARD.decode(answer.trim())?)
}

/// Reads what the runner kept of a failure.
pub(super) fn failure_facts(json: &[u8]) -> Result<FailureFacts, AnswerError> {
    Ok(serde_json::from_slice(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_whether_it_may_be_followed() {
        let read = |text| started(text).map_err(|error| error.to_string());
        assert_eq!(read("ewulf-start ok\n{}"), Ok((Started::Yes, "{}")));
        let busy = Started::Busy(vec!["a-1".to_owned(), "b-2".to_owned()]);
        assert_eq!(read("ewulf-start busy a-1 b-2\n"), Ok((busy, "")));
        assert_eq!(read("ewulf-start not-ready mounting /shared \n"), Ok((Started::NotReady("mounting /shared".to_owned()), "")));
        assert!(read("Segmentation fault").is_err());
    }

    #[test]
    fn news_hold_bytes_as_they_were_written() {
        let packed = |bytes: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, bytes).unwrap();
            STANDARD.encode(encoder.finish().unwrap())
        };
        let status = r#"{"state":"ended","outcome":"timed-out","phase":"run","attempt":2,"attempts":2,"started":1.5,"ended":4.0,"exit":-15}"#;
        let text = format!(
            r#"{{"unit":"active","status":{status},"output":"{}","events":"{}","sizes":[9,0]}}"#,
            packed(b"[0] \xff\n"),
            packed(b"")
        );
        let news = News::read(&text).unwrap();
        assert_eq!(
            (news.output.as_slice(), news.events.as_slice(), news.sizes),
            (b"[0] \xff\n".as_slice(), b"".as_slice(), (9, 0))
        );
        assert_eq!((news.status.outcome, news.status.seconds(), news.is_active()), (Some(Outcome::TimedOut), Some(2.5), true));
        assert_eq!(News::read(r#"{"unit":"missing"}"#).unwrap().unit, "missing");
        assert!(News::read("{").is_err());
    }

    #[test]
    fn a_run_without_unit_and_end_is_lost() {
        let run = |active, status: Status| ListedRun {
            run: "pi-20260131-174502-3f9a".parse().unwrap(),
            job: "pi".to_owned(),
            ranks: 6,
            nodes: 3,
            prepared: Timestamp::UNIX_EPOCH,
            attempts: 1,
            timeout: 60,
            active,
            status,
        };
        assert_eq!(run(false, Status::default()).state(), "lost");
        assert_eq!(run(true, Status::default()).state(), "running");
        assert_eq!(run(true, Status { phase: Some("prepare".to_owned()), ..Status::default() }).state(), "preparing");
        assert_eq!(run(true, Status { outcome: Some(Outcome::Succeeded), ..Status::default() }).state(), "succeeded");
    }

    #[test]
    fn the_name_of_an_archive_cannot_leave_its_folder() {
        let answer = |name: &str| format!("{{\"archive\":\"{name}\",\"bytes\":1,\"sha256\":\"\"}}\nYQ==");
        assert_eq!(packed(&answer("results-1.tar.gz")).unwrap().1, b"a");
        assert!(packed(&answer("../../etc/passwd")).is_err());
    }
}

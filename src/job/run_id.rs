//! Ids of runs: `JOB-YYYYMMDD-HHMMSS-xxxx`.

use std::str::FromStr;

use ewulf_core::names::JobName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Name of one run: the job, when it was prepared (UTC), and four digits against a second one in the same second.
///
/// Has letters, digits and `-` alone, so it can stand in paths, unit names and shell text as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that is no id of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id of a run, which looks like `knn-20260131-174502-3f9a`")]
pub struct NotARunId(String);

impl RunId {
    /// Makes the id of a run of `job` at `now`; `salt` tells runs of one second apart.
    pub fn new(job: &JobName, now: Timestamp, salt: u16) -> Self {
        let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
        Self(format!("{job}-{time}-{salt:04x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The systemd unit of the run on the master.
    pub(super) fn unit(&self) -> String {
        format!("{UNIT_PREFIX}{}.service", self.0)
    }
}

/// How the units of all runs begin.
pub(super) const UNIT_PREFIX: &str = "ewulf-run-";

impl std::fmt::Display for RunId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let invalid = || NotARunId(text.to_owned());
        let digits = |part: Option<&str>, length: usize| {
            part.is_some_and(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let mut parts = text.rsplitn(4, '-');
        let tail = digits(parts.next(), 4) && digits(parts.next(), 6) && digits(parts.next(), 8);
        let job = parts.next().ok_or_else(invalid)?;
        if tail && job.parse::<JobName>().is_ok() { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for RunId {
    type Error = NotARunId;

    fn try_from(text: String) -> Result<Self, NotARunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_job_and_time_and_reads_back() {
        let job: JobName = "all-pairs".parse().unwrap();
        let now: Timestamp = "2026-01-31T18:45:02+01:00".parse().unwrap();
        let run = RunId::new(&job, now, 0x3f9a);
        assert_eq!(run.as_str(), "all-pairs-20260131-174502-3f9a");
        assert_eq!(run.as_str().parse(), Ok(run));
    }

    #[test]
    fn texts_that_could_leave_a_path_or_a_word_are_no_ids() {
        for text in [
            "",
            "knn",
            "../x-20260131-174502-3f9a",
            "a b-20260131-174502-3f9a",
            "knn-20260131-174502-$(i)",
            "-20260131-174502-3f9a",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}

//! What is to befall an instance: trouble that was asked for when it started.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::StateReason;

/// The trouble ahead of one instance; none unless someone asked for it. Times count from its last start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fate {
    /// It ends instead of running, for this reason.
    pub failure: Option<StateReason>,
    /// How much longer it is pending.
    pub launch_delay: Duration,
    /// When SSM may know it.
    pub registration: Onset,
    /// When its checks pass.
    pub checks: Onset,
    /// How long its interface stays after its end.
    pub lingering: Duration,
    pub interruption: Option<Interruption>,
}

/// From when on something is as it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Onset {
    #[default]
    AtOnce,
    After(Duration),
    Never,
}

impl Onset {
    /// Whether the time has come, counted from this start.
    pub fn has_come(self, start: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::AtOnce => true,
            Self::After(delay) => SignedDuration::try_from(delay).is_ok_and(|delay| now.duration_since(start) >= delay),
            Self::Never => false,
        }
    }

    /// The later of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::AtOnce, other) | (other, Self::AtOnce) => other,
            (Self::After(one), Self::After(other)) => Self::After(one.max(other)),
        }
    }
}

/// The end of a spot instance that is wanted back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// From when on instance metadata says so.
    pub noticed: Timestamp,
    /// When it is terminated.
    pub at: Timestamp,
}

impl Fate {
    /// Whether nothing lies ahead.
    pub fn is_fair(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_onset_wins_and_never_is_the_latest() {
        let (short, long) = (Onset::After(Duration::from_secs(1)), Onset::After(Duration::from_secs(9)));
        assert_eq!([short.and(long), Onset::AtOnce.and(short), short.and(Onset::Never)], [long, short, Onset::Never]);
        let start = Timestamp::UNIX_EPOCH;
        let later = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(!long.has_come(start, later(8)) && long.has_come(start, later(9)));
        assert!(!Onset::Never.has_come(start, Timestamp::MAX));
    }
}

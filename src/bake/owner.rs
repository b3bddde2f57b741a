//! Whose a bake is: so that a later one can tell what a killed bake left from what another is working on.

use std::fmt;
use std::str::FromStr;

/// Tag on a builder and its group: the name of the image.
pub const BAKE_TAG: &str = "ewulf:bake";
/// Tag on a builder and its group: the [`Owner`].
pub const OWNER_TAG: &str = "ewulf:bake-owner";
/// A bake takes minutes; one of another machine that began so long ago is dead.
const LONGEST_BAKE_SECONDS: i64 = 4 * 3600;

/// One bake in one process of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    machine: String,
    process: u32,
    /// Start of the process in the kernel's ticks: process ids come again.
    started: u64,
    /// Seconds since 1970.
    since: i64,
}

impl Owner {
    pub fn here() -> Self {
        let process = std::process::id();
        Self {
            machine: machine(),
            process,
            started: started(process).unwrap_or_default(),
            since: jiff::Timestamp::now().as_second(),
        }
    }

    /// A text unique to this bake, of letters, digits and `-`.
    pub fn token(&self) -> String {
        format!("{:x}-{:x}-{:x}", self.since, self.process, self.started)
    }

    /// Who and since when, for a message: `process 4711 of host since 2026-11-24 00:18`.
    pub fn describe(&self) -> String {
        let host = self.machine.split('/').next().unwrap_or_default();
        let since = jiff::Timestamp::from_second(self.since).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
        format!("process {} of {host} since {}", self.process, since.unwrap_or_default())
    }

    /// Whether the bake may still be at work.
    pub fn is_alive(&self) -> bool {
        if self.machine == machine() {
            return started(self.process) == Some(self.started);
        }
        jiff::Timestamp::now().as_second() - self.since < LONGEST_BAKE_SECONDS
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {} {}", self.machine, self.process, self.started, self.since)
    }
}

/// A tag that no bake wrote.
#[derive(Debug)]
pub struct NotAnOwner;

impl FromStr for Owner {
    type Err = NotAnOwner;

    fn from_str(text: &str) -> Result<Self, NotAnOwner> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(NotAnOwner);
        Ok(Self {
            machine: word()?.to_owned(),
            process: word()?.parse().map_err(|_| NotAnOwner)?,
            started: word()?.parse().map_err(|_| NotAnOwner)?,
            since: word()?.parse().map_err(|_| NotAnOwner)?,
        })
    }
}

/// A name of this machine that changes with every boot, after which no process of before is alive.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let host: String = read("/proc/sys/kernel/hostname").chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let boot: String = read("/proc/sys/kernel/random/boot_id").chars().take(8).collect();
    format!("{host}/{boot}")
}

/// When a process started, in ticks since boot; None if there is no such process.
fn started(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; the start is the 20th word after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_owner_survives_a_tag() {
        let owner = Owner::here();
        let read: Owner = owner.to_string().parse().unwrap_or_else(|_| panic!("{owner} can be read"));
        assert_eq!(read, owner);
        assert!(read.is_alive());
        assert!(owner.to_string().len() <= 256);
    }

    #[test]
    fn a_process_of_the_same_number_that_started_at_another_time_is_another() {
        let owner = Owner { started: 1, ..Owner::here() };
        assert!(!owner.is_alive());
    }

    #[test]
    fn a_bake_on_another_machine_counts_as_alive_for_some_hours() {
        let owner = Owner { machine: "other/1".to_owned(), ..Owner::here() };
        assert!(owner.is_alive());
        assert!(!Owner { since: owner.since - LONGEST_BAKE_SECONDS, ..owner }.is_alive());
    }
}

//! Processes of the host: told apart by id and start time, waited for by handle.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// systemd's order to power off, SIGRTMIN+4; the C library's SIGRTMIN is 34 on Linux.
const POWER_OFF: i32 = 38;

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub id: i32,
    /// Clock ticks since the machine's start.
    pub started: u64,
}

impl Identity {
    /// The identity of a living process.
    pub fn of(id: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may hold anything; the start time is the 20th field after it (proc(5)).
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let dead = matches!(*fields.first()?, "Z" | "X");
        let started = fields.get(19)?.parse().ok()?;
        (!dead).then_some(Identity { id, started })
    }

    pub fn is_alive(self) -> bool {
        Identity::of(self.id) == Some(self)
    }

    /// A handle that becomes readable when the process ends; None when it has ended.
    pub fn handle(self) -> Option<OwnedFd> {
        let handle = rustix::process::pidfd_open(Pid::from_raw(self.id)?, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(handle)
    }
}

/// Waits until the process behind this handle has ended, at most this long; None waits for ever.
pub(super) fn wait_for_end(handle: &OwnedFd, limit: Option<Duration>) -> bool {
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    loop {
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], limit.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            // A handle that cannot be polled tells nothing more; the caller looks at the process itself.
            Err(_) => return true,
        }
    }
}

/// The init of the container that this supervisor (the shell around systemd-nspawn) runs.
///
/// It is the grandchild that is process 1 of a namespace of its own. None before it exists and after it has ended.
pub(super) fn leader(supervisor: i32) -> Option<i32> {
    children(supervisor).into_iter().flat_map(children).find(|id| is_first_of_namespace(*id) && !is_setting_up(*id))
}

fn children(id: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_first_of_namespace(id: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let ids: Vec<&str> = line.split_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

/// Whether the process still is systemd-nspawn's own, before it becomes the init.
fn is_setting_up(id: i32) -> bool {
    std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.ends_with("systemd-nspawn"))
}

/// Orders an init to power its system off.
pub(super) fn power_off(leader: i32) {
    if let Some(leader) = Pid::from_raw(leader) {
        // SAFETY: the kernel takes every number up to 64; this one is not reserved by the C library.
        let signal = unsafe { Signal::from_raw_unchecked(POWER_OFF) };
        let _ = rustix::process::kill_process(leader, signal);
    }
}

/// Kills a process, if it is still there.
pub(super) fn kill(id: i32) {
    if let Some(id) = Pid::from_raw(id) {
        let _ = rustix::process::kill_process(id, Signal::KILL);
    }
}

/// The cores that this process may use.
pub(super) fn own_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_does_not_outlive_its_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        let handle = identity.handle().unwrap();
        assert!(identity.is_alive() && !wait_for_end(&handle, Some(Duration::ZERO)));
        child.kill().unwrap();
        assert!(wait_for_end(&handle, Some(Duration::from_secs(5))));
        child.wait().unwrap();
        assert!(!identity.is_alive() && identity.handle().is_none());
        assert!(!Identity { started: 0, ..identity }.is_alive());
    }
}

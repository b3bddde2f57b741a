//! The most memory that a process ever had.
//!
//! `wait4` would tell it, but its `ru_maxrss` starts at the size of the process that forked: a bench that has held a
//! large world would be counted as its child. `VmHWM` starts anew with the program, and ends with it, so it is read for
//! as long as the process lives.

use std::process::Child;

/// Asks whether a child has ended, and answers its exit code if it has, None if a signal ended it. `most` grows to the
/// bytes that the child had at most until now.
pub fn watch(child: &mut Child, most: &mut f64) -> Option<Option<i32>> {
    if let Some(bytes) = high_water(child.id()) {
        *most = most.max(bytes);
    }
    child.try_wait().expect("a child can be waited for").map(|status| status.code())
}

/// None once the process has given its memory back.
fn high_water(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

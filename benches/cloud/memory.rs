//! The most memory that a process ever had: the kernel tells it to whoever waits for the process, and to nobody else.

use std::process::Child;

/// Asks whether a child has ended; answers its exit code, None if a signal ended it, and the bytes it had at most.
///
/// The child is reaped here: nobody may wait for it or signal it afterwards.
pub fn ended(child: &mut Child) -> Option<(Option<i32>, f64)> {
    let mut status = 0;
    // SAFETY: all zeros are a valid rusage, which holds numbers alone.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let process = libc::pid_t::try_from(child.id()).ok()?;
    // SAFETY: both pointers are to live values of the types that wait4 writes.
    let waited = unsafe { libc::wait4(process, &mut status, libc::WNOHANG, &mut usage) };
    // Linux counts kibibytes.
    let bytes = usage.ru_maxrss as f64 * 1024.0;
    (waited == process).then(|| (libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)), bytes))
}

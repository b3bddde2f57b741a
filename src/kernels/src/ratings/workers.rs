//! The threads that help rank 0 while the other ranks wait for it.

/// How many threads work, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Their number, at least 1; one works on the calling thread.
    pub count: usize,
    /// Whether they may leave the cores that this process is bound to.
    anywhere: bool,
}

impl Workers {
    /// One thread: the calling one.
    pub const ONE: Self = Self { count: 1, anywhere: false };

    /// As many as help a run of some ranks.
    ///
    /// One rank takes the cores it was given. Of several, `mpirun` binds each to a core of its own, and all but the first
    /// have nothing to do: it takes every core of its node.
    pub fn of_run(ranks: usize) -> Self {
        let given = std::thread::available_parallelism().map_or(1, usize::from);
        if ranks == 1 {
            return Self { count: given, anywhere: false };
        }
        // SAFETY: sysconf only reads its argument; -1 for what it does not know is below `given`.
        let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        Self { count: given.max(usize::try_from(online).unwrap_or(1)), anywhere: true }
    }

    /// Some threads on the cores that this process is bound to.
    pub fn of_number(count: usize) -> Self {
        Self { count: count.max(1), anywhere: false }
    }

    /// Lets the calling thread, which is one of several, run where it may.
    pub fn settle(self) {
        if !self.anywhere {
            return;
        }
        // SAFETY: a set of processors is plain bits, all of which are written inside its size; 0 means this thread.
        unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            (0..libc::CPU_SETSIZE as usize).for_each(|core| libc::CPU_SET(core, &mut all));
            // Where that is not allowed, the thread stays where it is, and all is well but slower.
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &all);
        }
    }

    /// Does `work` on every part, each thread taking the next one when it is done with another.
    pub fn each<T: Send>(self, parts: Vec<T>, work: impl Fn(T) + Sync) {
        if self.count == 1 || parts.len() < 2 {
            return parts.into_iter().for_each(work);
        }
        let count = self.count.min(parts.len());
        let parts = std::sync::Mutex::new(parts.into_iter());
        let next = || parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    self.settle();
                    while let Some(part) = next() {
                        work(part);
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_part_is_worked_on_once() {
        for workers in [Workers::ONE, Workers::of_number(3), Workers::of_run(1), Workers::of_run(2)] {
            let sum = AtomicU64::new(0);
            workers.each((1..=100).collect(), |part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 5050, "{workers:?}");
        }
    }
}

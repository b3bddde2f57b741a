//! The two-step Ctrl-C: the first asks the engine to start nothing new, the second ends the process at once.
//!
//! Owns the process's signals; decides nothing about what an interrupted verb leaves or undoes.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status of an interrupted process: 128 and the number of SIGINT, as shells count.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Tells whether the user asked to stop; clones share one answer.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on; needs a running tokio runtime, and is called once.
    ///
    /// A second SIGINT exits the process with 130. SIGTERM counts as a first Ctrl-C however often it comes: a service
    /// manager that repeats it follows with SIGKILL anyway.
    pub fn install() -> std::io::Result<Self> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminates = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    received = interrupts.recv() => match received {
                        Some(()) if *sender.borrow() => std::process::exit(EXIT_INTERRUPTED),
                        Some(()) => sender.send_replace(true),
                        None => break,
                    },
                    received = terminates.recv() => match received {
                        Some(()) => sender.send_replace(true),
                        None => break,
                    },
                };
            }
        });
        Ok(Self(receiver))
    }

    /// An interrupt that never comes, for work that must run to its end.
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Whether the user asked to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the user asks to stop; at once if they did already.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| *requested).await.is_err() {
            // No sender is left, so nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_that_never_comes_is_never_requested() {
        let interrupt = Interrupt::never();
        assert!(!interrupt.is_requested());
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), interrupt.requested()).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn whoever_waits_and_whoever_asks_later_both_learn_of_the_request() {
        let (sender, receiver) = watch::channel(false);
        let interrupt = Interrupt(receiver);
        let waiting = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.requested().await }
        });
        sender.send_replace(true);
        waiting.await.expect("the task does not panic");
        assert!(interrupt.is_requested());
        interrupt.requested().await;
    }
}

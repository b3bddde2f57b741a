//! The line of one connection, and how it ends.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::net::TcpStream;

/// A second hold on a connection's socket. Dropped after the first, it decides how the connection ends.
pub(super) struct Line {
    socket: Mutex<Option<OwnedFd>>,
}

impl Line {
    /// Of a stream whose socket cannot be held twice, an end is an end.
    pub fn of(stream: &TcpStream) -> Self {
        Self { socket: Mutex::new(stream.as_fd().try_clone_to_owned().ok()) }
    }

    /// Makes the connection end with a reset: what is on its way is thrown away, as when a machine in between fails.
    pub fn reset_at_end(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket {
            // A client that gets an orderly end instead is not answered either.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

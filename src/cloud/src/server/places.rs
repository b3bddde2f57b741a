//! Places for connections: how long each may keep one, and who has to go when all are taken.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Connections at once; each costs a task and at most a request head before its request is known.
pub(super) const CONNECTIONS: usize = 512;

/// How long a request head may take from its first byte to its last: it comes over the loopback interface.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may do nothing. Above the 90 s for which the SDKs' HTTP client keeps idle connections, so that
/// the client, not the server, closes them and no request meets a closing connection.
const IDLE_LIMIT: Duration = Duration::from_secs(100);

/// What a connection is left even when its place is needed: the time to send what it just came with, and to take in the
/// answer it was just given.
const GRACE: Duration = Duration::from_secs(1);

/// How often connections are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// All places, taken and free.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    places: BTreeMap<u64, Arc<Line>>,
}

/// One connection, as far as its place goes.
struct Line {
    phase: Mutex<(Phase, Instant)>,
    end: Notify,
}

/// What a connection does, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: it waits for a request, or takes in an answer.
    Idle,
    /// Some of a request's head has come.
    Head,
    /// A request is read or carried out.
    Busy,
}

impl Line {
    fn phase(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken; free again when this is dropped.
pub(super) struct Place {
    all: Arc<Places>,
    number: u64,
    line: Arc<Line>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. When there is none, the connection that has done nothing for longest has to go; those with a
    /// request under way never have.
    pub async fn take(self: Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.make_room(Instant::now());
            // A place may come free in another way, or a connection have had its grace by then.
            let soon = tokio::time::timeout(GRACE / 10, Arc::clone(&self.free).acquire_owned());
            if let Ok(Ok(permit)) = soon.await {
                break permit;
            }
        };
        let line = Arc::new(Line { phase: Mutex::new((Phase::Idle, Instant::now())), end: Notify::new() });
        let number = {
            let mut taken = self.taken();
            taken.next += 1;
            let number = taken.next;
            taken.places.insert(number, Arc::clone(&line));
            number
        };
        Place { all: self, number, line, _permit: permit }
    }

    fn make_room(&self, now: Instant) {
        let taken = self.taken();
        let waiting = taken.places.values().filter_map(|line| {
            let (phase, since) = *line.phase();
            (phase != Phase::Busy && now.saturating_duration_since(since) >= GRACE).then_some((since, line))
        });
        if let Some((_, line)) = waiting.min_by_key(|(since, _)| *since) {
            line.end.notify_one();
        }
    }

    /// Ends connections that are slower than they may be, for as long as it is polled.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.end_overdue(Instant::now());
        }
    }

    fn end_overdue(&self, now: Instant) {
        for line in self.taken().places.values() {
            let (phase, since) = *line.phase();
            let limit = match phase {
                Phase::Idle => IDLE_LIMIT,
                Phase::Head => HEAD_LIMIT,
                // Its own limits see to it.
                Phase::Busy => continue,
            };
            if now.saturating_duration_since(since) >= limit {
                line.end.notify_one();
            }
        }
    }
}

impl Place {
    /// The stream, watched for the beginnings of requests.
    pub fn watched(&self, stream: TcpStream) -> Watched {
        Watched { stream, line: Arc::clone(&self.line) }
    }

    /// What tells that a request is under way.
    pub fn marker(&self) -> Marker {
        Marker(Arc::clone(&self.line))
    }

    /// Comes when the connection has to go.
    pub async fn end(&self) {
        self.line.end.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.taken().places.remove(&self.number);
    }
}

/// Marks a connection as busy.
#[derive(Clone)]
pub(super) struct Marker(Arc<Line>);

impl Marker {
    /// Busy until the answer is dropped.
    pub fn busy(&self) -> Busy {
        *self.0.phase() = (Phase::Busy, Instant::now());
        Busy(Arc::clone(&self.0))
    }
}

/// A request is under way.
pub(super) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.phase() = (Phase::Idle, Instant::now());
    }
}

/// A stream that notes when the first byte of a request comes.
pub(super) struct Watched {
    stream: TcpStream,
    line: Arc<Line>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let mut phase = self.line.phase();
            if phase.0 == Phase::Idle {
                *phase = (Phase::Head, Instant::now());
            }
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the connection was told to go.
    async fn is_ended(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(10), place.end()).await.is_ok()
    }

    fn set(place: &Place, phase: Phase, ago: Duration) {
        *place.line.phase() = (phase, Instant::now() - ago);
    }

    #[tokio::test]
    async fn the_longest_idle_connection_makes_room_and_a_busy_one_never() {
        let places = Places::new(3);
        let [busy, idle, idler] =
            [Arc::clone(&places).take().await, Arc::clone(&places).take().await, Arc::clone(&places).take().await];
        set(&busy, Phase::Busy, Duration::from_secs(60));
        set(&idle, Phase::Head, Duration::from_secs(3));
        set(&idler, Phase::Idle, Duration::from_secs(5));
        let next = tokio::spawn(Arc::clone(&places).take());
        tokio::time::timeout(Duration::from_secs(5), idler.end()).await.unwrap();
        assert!(!is_ended(&busy).await);
        drop(idler);
        let next = tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap();
        assert_eq!(places.taken().places.len(), 3);
        drop((next, idle, busy));
        assert_eq!(places.taken().places.len(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_just_came_is_left_its_moment() {
        let places = Places::new(1);
        let fresh = Arc::clone(&places).take().await;
        places.make_room(Instant::now());
        assert!(!is_ended(&fresh).await);
        places.make_room(Instant::now() + GRACE);
        assert!(is_ended(&fresh).await);
    }

    #[tokio::test]
    async fn slow_heads_end_soon_and_idle_connections_late() {
        let places = Places::new(3);
        let [slow, idle, busy] =
            [Arc::clone(&places).take().await, Arc::clone(&places).take().await, Arc::clone(&places).take().await];
        for (seconds, expected) in [(9, [false, false, false]), (11, [true, false, false]), (101, [true, true, false])] {
            let ago = Duration::from_secs(seconds);
            set(&slow, Phase::Head, ago);
            set(&idle, Phase::Idle, ago);
            set(&busy, Phase::Busy, ago);
            places.end_overdue(Instant::now());
            assert_eq!([is_ended(&slow).await, is_ended(&idle).await, is_ended(&busy).await], expected, "{seconds} s");
        }
    }
}

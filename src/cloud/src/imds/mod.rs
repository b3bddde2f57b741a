//! Instance metadata (IMDSv2) on 169.254.169.254, told apart by the asking node's address.
//!
//! One listener for each VPC, inside the VPC's own network; only nodes reach it. It reads the model and changes nothing.

mod service;
mod tree;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::node::DriverError;

pub use service::answer;

/// Where every instance finds its metadata.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

const PORT: u16 = 80;

/// Connections at once in one VPC: a boot uses one or two for each node.
const CONNECTIONS: usize = 256;

/// How long a connection may sit without a whole request head; a reader asks at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Open listeners by VPC.
#[derive(Default)]
pub struct Listeners {
    open: Mutex<BTreeMap<String, JoinHandle<()>>>,
    /// Held while a listener is opened, so that two boots do not both open one.
    opening: tokio::sync::Mutex<()>,
    key: service::Key,
}

impl Listeners {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, JoinHandle<()>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that the metadata service listens inside the VPC's network. Call it when the network exists, before a
/// node boots there.
pub async fn ensure(cloud: &Arc<Cloud>, vpc_id: &str) -> Result<(), DriverError> {
    let _one_at_a_time = cloud.metadata.opening.lock().await;
    if cloud.metadata.open().get(vpc_id).is_some_and(|task| !task.is_finished()) {
        return Ok(());
    }
    let listener = cloud.driver.listen(vpc_id, ADDRESS, PORT).await?;
    let failed = |source| DriverError::Io { what: format!("metadata listener of {vpc_id} cannot be used"), source };
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let task = tokio::spawn(accept(Arc::clone(cloud), vpc_id.to_owned(), listener));
    cloud.metadata.open().insert(vpc_id.to_owned(), task);
    Ok(())
}

/// Closes the VPC's listener. Call it before the VPC's network is removed.
pub fn remove(cloud: &Arc<Cloud>, vpc_id: &str) {
    if let Some(task) = cloud.metadata.open().remove(vpc_id) {
        task.abort();
    }
}

async fn accept(cloud: Arc<Cloud>, vpc_id: String, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let vpc_id: Arc<str> = vpc_id.into();
    loop {
        let place = Arc::clone(&connections).acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok((stream, std::net::SocketAddr::V4(peer))) => (stream, *peer.ip()),
            Ok(_) => continue,
            Err(error) => {
                cloud.log.line(format_args!("metadata connection in {vpc_id} not accepted: {error}"));
                // Out of file descriptors: they come back when connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Answers are small and whole; waiting for more to send would cost 40 ms each.
        let _ = stream.set_nodelay(true);
        let (cloud, vpc_id) = (Arc::clone(&cloud), Arc::clone(&vpc_id));
        tokio::spawn(async move {
            let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let (head, _) = request.into_parts();
                std::future::ready(Ok::<_, std::convert::Infallible>(service::answer(&cloud, &vpc_id, peer, &head)))
            });
            // A broken connection is the node's affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(place);
        });
    }
}

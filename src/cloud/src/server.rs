//! The server process of one state folder: start, connections, stop. It may not know any action.
//!
//! Files say where it stands: `pid` who has the folder, `endpoint` that it is ready. They may be left over from a server
//! that was killed; whoever reads them therefore also asks `GET /`, which names the process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::config::{Config, Files};
use crate::faults::Plan;
use crate::imds;
use crate::model::ec2::Instance;
use crate::node::containers::{Containers, ContainersConfig};
use crate::node::records::Records;
use crate::node::{Driver, DriverError, NodeEvent};
use crate::operations;
use crate::store::{self, Lock, Log, StoreError};
use crate::wire::sigv4::Credentials;

mod blocks;
mod line;
mod peer;
mod places;
mod refusals;
mod requests;
mod seen;
mod trouble;

use line::Line;
use places::{CONNECTIONS, Places};
use refusals::Refusals;
use requests::{OPERATIONS, Service};
use seen::Seen;

/// What `GET /` says, followed by the process id.
pub(crate) const HEALTH: &str = "ewulf local cloud";

/// Stands before each sentence about the making of the base image in the log.
pub(crate) const BASE_PROGRESS: &str = " progress: ";

/// Largest request head, and how many headers it may have; SDKs send about 1 KiB and 12.
const HEADER_BYTES: usize = 32 << 10;
const HEADERS: usize = 64;

/// How long a stopping server waits for actions under way; the longest is a node's orderly shutdown.
const FINISH: Duration = Duration::from_secs(45);

/// Why a server did not start or run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("port {port} on 127.0.0.1 cannot be listened on")]
    Listen {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("the base image cannot be made")]
    Base(#[source] DriverError),
    #[error("the node driver cannot start")]
    Driver(#[source] DriverError),
    /// The file of fault rules says something that no rule can say.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Faults { path: std::path::PathBuf, line: usize, column: usize, message: String },
    #[error("the process cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// Serves until SIGTERM or SIGINT; nodes stay running. It keeps the folder's lock until the process is gone, since the
/// driver may still be finishing something after the answer: end the process then.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut server = tokio::select! {
        server = Server::start(config) => server?,
        // The base image may be in the making. Its processes end with this one, and a half-made base is begun anew.
        _ = terminate.recv() => std::process::exit(0),
        _ = interrupt.recv() => std::process::exit(0),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let outcome = server.stop().await;
    std::mem::forget(server);
    outcome
}

/// A server at work.
pub struct Server {
    cloud: Arc<Cloud>,
    service: Arc<Service>,
    address: SocketAddr,
    ending: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl Server {
    /// Takes the state folder, loads or makes everything in it, and answers once requests are served.
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        store::create_state_folder(&config.state_dir)?;
        let files = config.files();
        let lock = Lock::take_patiently(files).await?;
        store::remove(&files.endpoint())?;
        let log = Log::open(files, config.owner_uid)?;
        let pid = std::process::id();
        log.line(format_args!("server {pid} starts"));
        store::write(&files.pid(), format!("{pid}\n").as_bytes(), 0o644, None)?;
        let pid_file = files.pid();
        let outcome = Self::start_locked(config, lock, log.clone()).await;
        if let Err(error) = &outcome {
            log.line(format_args!("server {pid} did not start: {}", store::chain(error)));
            store::remove(&pid_file)?;
        }
        outcome
    }

    async fn start_locked(config: Config, lock: Lock, log: Log) -> Result<Self, ServeError> {
        let start = Timestamp::now();
        let files = config.files();
        write_config(&config)?;
        let credentials = credentials(files, config.owner_uid)?;
        let mut state = store::load(files)?;
        state.ec2.seed(&config.region, &config.account);
        let plan = fault_plan(files)?;
        let (driver, events) = driver(&config)?;
        match make_base(&*driver, &log).await {
            // Nodes that exist can be looked after without it.
            Err(error) if state.ec2.instances().any(Instance::is_alive) => log.line(store::chain(&error)),
            made => made?,
        }
        let listener = listen(&config).await?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen { port: config.port, source })?;

        let owner = config.owner_uid;
        let endpoint = files.endpoint();
        let cloud = Cloud::new(config, driver, state, log);
        cloud.faults.set(plan);
        operations::ec2::resume(&cloud).await;
        operations::ssm::recover(&cloud);
        reopen_metadata(&cloud).await;
        let background = vec![
            tokio::spawn(store::keep(Arc::clone(&cloud))),
            tokio::spawn(feed(Arc::clone(&cloud), events)),
            tokio::spawn(operations::ssm::register(Arc::clone(&cloud))),
            tokio::spawn(operations::ec2::replicate(Arc::clone(&cloud))),
        ];
        let operations = Arc::new(Semaphore::new(OPERATIONS as usize));
        let (ending, ended) = watch::channel(false);
        let service = Arc::new(Service {
            cloud: Arc::clone(&cloud),
            credentials,
            operations,
            ended: ended.clone(),
            seen: Seen::since(start),
            refusals: Refusals::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&service), ended));
        cloud.changed();
        store::write(&endpoint, format!("http://{address}\n").as_bytes(), 0o644, Some(owner))?;
        cloud.log.line(format_args!("server {} is ready on {address}", std::process::id()));
        Ok(Self { cloud, service, address, ending, accepting: Some(accepting), background, _lock: lock })
    }

    /// Where the API is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The cloud behind the API.
    pub fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }

    /// Refuses new requests, finishes those under way, writes the state and lets go of the folder.
    pub async fn stop(&mut self) -> Result<(), ServeError> {
        let files = self.cloud.config.files();
        store::remove(&files.endpoint())?;
        self.ending.send_replace(true);
        operations::ssm::stop(&self.cloud).await;
        let unfinished = async {
            if let Some(accepting) = self.accepting.take() {
                // Ends when every connection has.
                let _ = accepting.await;
            }
            let _ = self.service.operations.acquire_many(OPERATIONS).await;
        };
        if tokio::time::timeout(FINISH, unfinished).await.is_err() {
            self.cloud.log.line("actions under way are cut short");
        }
        self.background.drain(..).for_each(|task| task.abort());
        store::save(&self.cloud)?;
        self.cloud.log.line(format_args!("server {} ends; nodes stay as they are", std::process::id()));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever reads a left-over file finds that its process has not the lock.
        let _ = store::remove(&self.cloud.config.files().pid());
    }
}

/// The driver that the configuration asks for, and what it says unasked.
pub(crate) fn driver(config: &Config) -> Result<(Arc<dyn Driver>, mpsc::UnboundedReceiver<NodeEvent>), ServeError> {
    if config.records {
        let (driver, events) = Records::new(&config.state_dir);
        return Ok((Arc::new(driver), events));
    }
    let containers = ContainersConfig {
        name: machine_name(config.files())?,
        state_dir: config.state_dir.clone(),
        cache_dir: config.cache_dir.clone(),
    };
    let (driver, events) = Containers::new(containers).map_err(ServeError::Driver)?;
    Ok((driver, events))
}

/// What this cloud's links and namespaces are called on the machine: chosen once, unlike any other's.
fn machine_name(files: Files<'_>) -> Result<String, StoreError> {
    let path = files.name();
    if let Some(name) = store::read(&path)? {
        return Ok(name.trim().to_owned());
    }
    // Eight characters are what the names of links leave room for.
    let name = format!("c{:07x}", rand::random_range(0..1u32 << 28));
    store::write(&path, format!("{name}\n").as_bytes(), 0o644, None)?;
    Ok(name)
}

/// Makes the base of public images present before the cloud counts as ready: without it nothing can boot.
async fn make_base(driver: &dyn Driver, log: &Log) -> Result<(), ServeError> {
    let (progress, mut sentences) = mpsc::unbounded_channel::<String>();
    let relay = async {
        while let Some(sentence) = sentences.recv().await {
            log.line(format_args!("{}{sentence}", BASE_PROGRESS.trim_start()));
        }
    };
    let (made, ()) = tokio::join!(driver.ensure_base("debian-13", progress), relay);
    made.map_err(ServeError::Base)
}

/// Opens the metadata service again in every network that has nodes.
async fn reopen_metadata(cloud: &Arc<Cloud>) {
    let networks: Vec<String> = {
        let state = cloud.state();
        state.ec2.vpcs.values().filter(|vpc| vpc.has_network).map(|vpc| vpc.id.clone()).collect()
    };
    for vpc_id in networks {
        if let Err(error) = imds::ensure(cloud, &vpc_id).await {
            cloud.log.line(format_args!("metadata service of {vpc_id} is not reachable: {}", store::chain(&error)));
        }
    }
}

/// Hands what the driver says to the model, in order.
async fn feed(cloud: Arc<Cloud>, mut events: mpsc::UnboundedReceiver<NodeEvent>) {
    while let Some(event) = events.recv().await {
        cloud.log.line(format_args!("node event: {event:?}"));
        operations::ec2::node_event(&cloud, event).await;
    }
}

/// Accepts connections until told to end, then waits for those open to finish their requests.
async fn accept(listener: TcpListener, service: Arc<Service>, mut ended: watch::Receiver<bool>) {
    let places = Places::new(CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let watching = {
        let places = Arc::clone(&places);
        tokio::spawn(async move { places.watch().await })
    };
    loop {
        let accepted = async {
            let (stream, peer) = listener.accept().await?;
            if !is_welcome(&service, &stream, peer) {
                return Ok(None);
            }
            Ok::<_, std::io::Error>(Some((stream, Arc::clone(&places).take().await)))
        };
        let (stream, place) = tokio::select! {
            accepted = accepted => match accepted {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err(error) => {
                    service.refusals.note(&service.cloud.log, "accept", format_args!("connection not accepted: {error}"));
                    // Out of file descriptors: they come back when connections end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = ended.changed() => break,
        };
        // Answers are small and whole; waiting for more to send would cost 40 ms each.
        let _ = stream.set_nodelay(true);
        let line = Arc::new(Line::of(&stream));
        let connection = {
            let (service, line, marker) = (Arc::clone(&service), Arc::clone(&line), place.marker());
            http1::Builder::new()
                // The place has its own limits, which also see a client that does not take its answer.
                .header_read_timeout(None)
                .max_buf_size(HEADER_BYTES)
                .max_headers(HEADERS)
                .serve_connection(
                    TokioIo::new(place.watched(stream)),
                    service_fn(move |request| {
                        let (service, line, busy) = (Arc::clone(&service), Arc::clone(&line), marker.busy());
                        async move {
                            let answer = requests::answer(service, line, request).await;
                            drop(busy);
                            answer
                        }
                    }),
                )
        };
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                // A broken connection is the client's affair.
                _ = connection => {}
                () = place.end() => {}
            }
            // It decides how the connection ends, and is the last to let go of it.
            drop(line);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    watching.abort();
}

/// Whether the connection comes from the owner, from root or from the server's own user; the signature decides alone
/// where the kernel does not say.
fn is_welcome(service: &Service, stream: &TcpStream, peer: SocketAddr) -> bool {
    let user = stream.local_addr().and_then(|own| peer::user(peer, own));
    let log = &service.cloud.log;
    match user {
        Ok(Some(user)) => {
            let own = rustix::process::geteuid().as_raw();
            let is_welcome = [0, own, service.cloud.config.owner_uid].contains(&user);
            if !is_welcome {
                service.refusals.note(log, "user", format_args!("connection of user {user} refused"));
            }
            is_welcome
        }
        // Closed again: nobody waits for an answer.
        Ok(None) => false,
        Err(error) => {
            service.refusals.note(log, "peer", format_args!("the user of a connection is unknown: {error}"));
            true
        }
    }
}

/// Binds the configured port, or the one chosen before; chooses and remembers one the first time.
async fn listen(config: &Config) -> Result<TcpListener, ServeError> {
    let path = config.files().port();
    let remembered = store::read(&path)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let port = if config.port == 0 { remembered } else { config.port };
    let failed = |source| ServeError::Listen { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let chosen = listener.local_addr().map_err(failed)?.port();
    if chosen != remembered {
        store::write(&path, format!("{chosen}\n").as_bytes(), 0o644, None)?;
    }
    Ok(listener)
}

/// The fault rules that a former server left.
fn fault_plan(files: Files<'_>) -> Result<Plan, ServeError> {
    let path = files.faults();
    let Some(text) = store::read(&path)? else { return Ok(Plan::default()) };
    let mut plan: Plan = serde_json::from_str(&text).map_err(|error| {
        let (line, column, message) = (error.line(), error.column(), error.to_string());
        // serde_json says the place at the end of its sentence as well.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ServeError::Faults { path: path.clone(), line, column, message }
    })?;
    let named = plan.name_rules();
    named.map_err(|error| ServeError::Faults { path, line: 1, column: 1, message: error.to_string() })?;
    Ok(plan)
}

fn write_config(config: &Config) -> Result<(), StoreError> {
    let path = config.files().config();
    let content = serde_json::to_vec_pretty(config).map_err(|source| StoreError::Content { path: path.clone(), source })?;
    store::write(&path, &content, 0o644, None)
}

/// Reads the key pair, or makes one when the folder has none.
fn credentials(files: Files<'_>, owner: u32) -> Result<Credentials, StoreError> {
    let path = files.credentials();
    if let Some(known) = store::read(&path)?.as_deref().and_then(Credentials::read) {
        return Ok(known);
    }
    let credentials = new_credentials();
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        credentials.access_key_id, credentials.secret_access_key
    );
    store::write(&path, text.as_bytes(), 0o600, Some(owner))?;
    Ok(credentials)
}

/// A key pair of AWS's lengths: 20 upper-case characters, 40 of 256 random bits and more.
fn new_credentials() -> Credentials {
    use base64::Engine as _;
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters: [u8; 15] = rand::random();
    let id: String = letters.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    let secret: [u8; 30] = rand::random();
    Credentials {
        access_key_id: format!("LOCAL{id}"),
        secret_access_key: base64::engine::general_purpose::STANDARD.encode(secret),
    }
}

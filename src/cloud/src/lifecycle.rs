//! Start, look at, end and erase a local cloud from outside its server. It may not change the model.
//!
//! Whether a server lives is told by the lock of its state folder, which the kernel frees however it ends; whether it
//! is ready by the `endpoint` file and an answer of the right process there.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Config, Files};
use crate::model::ec2::{InstanceState, StateReason};
use crate::node::DriverError;
use crate::server::{self, BASE_PROGRESS, HEALTH, ServeError};
use crate::store::{self, Lock, Log, StoreError};

/// How long a start may take; making the base image takes a minute on a fast line and most of this on a slow one.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How often a starting or ending server is looked at.
const POLL: Duration = Duration::from_millis(25);

/// How long a ready server may take to say so; it is on the same machine.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// How long a server may take to end: its own 45 s for actions and 10 s for scripts, and then some.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Log lines shown when a start failed.
const LAST_LINES: usize = 10;

/// Why a local cloud could not be started, ended or erased.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    #[error("the local cloud needs root, for containers, mounts and network namespaces")]
    NotRoot {
        /// The command line of this process with sudo before it, quoted for a shell.
        sudo: String,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} cannot be started", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the server ended before it was ready; {} says last:\n{last_lines}", log.display())]
    Ended { log: PathBuf, last_lines: String },
    #[error("the server was not ready after {} minutes; see {}", START_LIMIT.as_secs() / 60, log.display())]
    Slow { log: PathBuf },
    #[error("server {pid} cannot be ended")]
    End {
        pid: i32,
        #[source]
        source: io::Error,
    },
    #[error("{} is locked by a process that is not a server of the local cloud", .0.display())]
    Stranger(PathBuf),
    #[error("{} is not a state folder of a local cloud; nothing was removed", .0.display())]
    NotAState(PathBuf),
    #[error("{} is still mounted; nothing was removed", .0.display())]
    Mounted(PathBuf),
    #[error("the node driver cannot start")]
    Driver(#[source] Box<ServeError>),
    #[error("nodes cannot be ended")]
    ShutDown(#[source] DriverError),
}

/// A server that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub pid: i32,
    /// URL of the API.
    pub endpoint: String,
}

/// An instance as the state on disk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    pub instance_id: String,
    /// The `Name` tag.
    pub name: Option<String>,
    /// EC2's word, such as `running`.
    pub state: &'static str,
    pub address: std::net::Ipv4Addr,
}

/// Where a local cloud stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub running: Option<Running>,
    /// Instances that are not terminated; None when the caller may not read the state.
    pub nodes: Option<Vec<NodeStatus>>,
}

/// Starts a server of this state folder, unless one is ready, and waits until it is.
///
/// `exe args…` must end in [`crate::serve`] with the same configuration. It is started in `/` as the leader of a new
/// session, so it outlives the terminal; `args` name no relative path. `progress` gets sentences of what takes long.
pub async fn up(config: &Config, exe: &Path, args: &[String], progress: impl Fn(&str)) -> Result<Running, LifecycleError> {
    let files = config.files();
    if let Some(running) = running(files).await? {
        return Ok(running);
    }
    check_root(config.records)?;
    store::create_state_folder(&config.state_dir)?;
    let mut log = Tail::at_end(config)?;
    let mut child = Some(spawn(config, exe, args)?);
    let started = Instant::now();
    loop {
        if let Some(running) = running(files).await? {
            if let Some(mut surplus) = child.filter(|child| i32::try_from(child.id()) != Ok(running.pid)) {
                // Another's server was first, and this one would take its place when it ends. It may be gone already.
                let _ = surplus.kill();
                let _ = surplus.wait();
            }
            return Ok(running);
        }
        for line in log.new_lines() {
            if let Some((_, sentence)) = line.split_once(BASE_PROGRESS) {
                progress(sentence);
            }
        }
        // A server that ended because another has the folder: one that was started at once with it, and is as good, or
        // one that is ending, and makes room.
        match &mut child {
            Some(process) => {
                if matches!(process.try_wait(), Ok(Some(_))) {
                    if Lock::take(files).is_ok() {
                        return Err(LifecycleError::Ended { log: files.log(), last_lines: log.last_lines() });
                    }
                    child = None;
                }
            }
            None => {
                if Lock::take(files).is_ok() {
                    child = Some(spawn(config, exe, args)?);
                }
            }
        }
        if started.elapsed() > START_LIMIT {
            return Err(LifecycleError::Slow { log: files.log() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Looks at a cloud without changing anything.
pub async fn status(state_dir: &Path) -> Result<Status, LifecycleError> {
    let files = Files { state_dir };
    Ok(Status { running: running(files).await?, nodes: nodes(files)? })
}

/// Ends the server and every node, and removes their namespaces, links and mounts; state stays, and instances that ran
/// are stopped when the cloud comes up again. A cloud that is down already stays so.
pub async fn down(state_dir: &Path) -> Result<(), LifecycleError> {
    if state_dir.exists() {
        let _lock = end(Files { state_dir }).await?;
    }
    Ok(())
}

/// Does what [`down`] does, and erases the state folder. Base images, which other clouds use too, stay.
pub async fn reset(state_dir: &Path) -> Result<(), LifecycleError> {
    if !state_dir.exists() {
        return Ok(());
    }
    let files = Files { state_dir };
    if !files.config().exists() {
        return Err(LifecycleError::NotAState(state_dir.to_owned()));
    }
    let _lock = end(files).await?;
    // What is mounted here belongs to someone else, or to a node that did not end.
    if let Some(mount) = mounts_below(state_dir)? {
        return Err(LifecycleError::Mounted(mount));
    }
    std::fs::remove_dir_all(state_dir).map_err(StoreError::io("cannot remove", state_dir))?;
    Ok(())
}

/// The configuration that the folder's last server was started with; None before the first.
pub fn stored_config(state_dir: &Path) -> Result<Option<Config>, LifecycleError> {
    let path = Files { state_dir }.config();
    let Some(text) = store::read(&path)? else { return Ok(None) };
    let config = serde_json::from_str(&text).map_err(|source| StoreError::Content { path, source })?;
    Ok(Some(config))
}

/// Takes the folder from its server, if there is one, and ends all nodes. Nobody else has the folder until the answer
/// is dropped.
async fn end(files: Files<'_>) -> Result<Lock, LifecycleError> {
    let config = stored_config(files.state_dir)?;
    check_root(config.as_ref().is_none_or(|config| config.records))?;
    let lock = end_server(files).await?;
    if let Some(mut config) = config {
        // The folder may have been moved since; its nodes cannot have been.
        files.state_dir.clone_into(&mut config.state_dir);
        let (driver, _events) = server::driver(&config).map_err(|error| LifecycleError::Driver(Box::new(error)))?;
        driver.shut_down().await.map_err(LifecycleError::ShutDown)?;
        note_shut_down(files)?;
    }
    store::remove(&files.endpoint())?;
    store::remove(&files.pid())?;
    Ok(lock)
}

/// Records that no node runs any more. Whatever else was under way is taken up by the next server.
fn note_shut_down(files: Files<'_>) -> Result<(), LifecycleError> {
    let path = files.state();
    let mut state = store::load(files)?;
    let running = state.ec2.instances.values_mut().filter(|instance| instance.state == InstanceState::Running);
    let mut has_changed = false;
    for instance in running {
        instance.state = InstanceState::Stopped;
        instance.state_reason = Some(StateReason::user());
        instance.transition_reason = Timestamp::now().strftime("User initiated (%Y-%m-%d %H:%M:%S GMT)").to_string();
        has_changed = true;
    }
    if has_changed {
        let content = serde_json::to_vec(&state);
        let content = content.map_err(|source| StoreError::Content { path: path.clone(), source })?;
        store::write(&path, &content, 0o600, None)?;
    }
    Ok(())
}

/// Asks the server to end, then makes it; answers with its lock.
async fn end_server(files: Files<'_>) -> Result<Lock, LifecycleError> {
    let mut signal = Signal::TERM;
    let mut since = Instant::now();
    let mut asked = None;
    loop {
        match Lock::take(files) {
            Err(StoreError::Locked(_)) => {}
            taken => return Ok(taken?),
        }
        if since.elapsed() > END_LIMIT {
            if asked.is_none() {
                return Err(LifecycleError::Stranger(files.state_dir.to_owned()));
            }
            (signal, since, asked) = (Signal::KILL, Instant::now(), None);
        }
        let holder = holder(files)?;
        // Another server may have been waiting for the folder.
        if holder.is_some() && holder != asked && tell(files, holder, signal)? {
            (since, asked) = (Instant::now(), holder);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends a signal to the folder's server; false if it is gone, or has the folder no more.
fn tell(files: Files<'_>, server: Option<i32>, signal: Signal) -> Result<bool, LifecycleError> {
    let Some(pid) = server.and_then(Pid::from_raw) else { return Ok(false) };
    // The handle keeps naming the process that is looked at next, should its id be given anew.
    let told = pidfd_open(pid, PidfdFlags::empty()).and_then(|handle| match holder(files) {
        Ok(holder) if holder == server => pidfd_send_signal(&handle, signal),
        _ => Err(Errno::SRCH),
    });
    match told {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(LifecycleError::End { pid: pid.as_raw_nonzero().get(), source: error.into() }),
    }
}

/// The process that the pid file names, if it has the lock file open.
fn holder(files: Files<'_>) -> Result<Option<i32>, LifecycleError> {
    let Some(pid) = store::read(&files.pid())?.and_then(|text| text.trim().parse::<i32>().ok()) else {
        return Ok(None);
    };
    let lock = std::fs::canonicalize(files.lock()).map_err(StoreError::io("cannot find", &files.lock()))?;
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(None) };
    let mut links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    Ok(links.any(|link| link == lock).then_some(pid))
}

/// The ready server of the folder.
async fn running(files: Files<'_>) -> Result<Option<Running>, LifecycleError> {
    let (Some(endpoint), Some(pid)) = (store::read(&files.endpoint())?, store::read(&files.pid())?) else {
        return Ok(None);
    };
    let endpoint = endpoint.trim().to_owned();
    let Ok(pid) = pid.trim().parse::<i32>() else { return Ok(None) };
    let Some(address) = endpoint.strip_prefix("http://") else { return Ok(None) };
    let is_healthy = matches!(tokio::time::timeout(HEALTH_LIMIT, health(address)).await, Ok(Ok(answer)) if answer == format!("{HEALTH} {pid}"));
    Ok(is_healthy.then_some(Running { pid, endpoint }))
}

/// What `GET /` says at this address; unsigned, for there is no secret in it.
async fn health(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    // The answer of a server that is ours fits many times over.
    stream.take(4096).read_to_string(&mut answer).await?;
    let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n"));
    Ok(body.map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
}

/// The instances in the state on disk.
fn nodes(files: Files<'_>) -> Result<Option<Vec<NodeStatus>>, LifecycleError> {
    // All but the nodes is passed over, so that a large state is read quickly.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Stored {
        ec2: crate::model::ec2::Ec2,
    }
    let stored: Stored = match store::read(&files.state()) {
        Ok(Some(text)) => serde_json::from_str(&text).map_err(|source| StoreError::Content { path: files.state(), source })?,
        Ok(None) => Stored::default(),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let living = stored.ec2.instances().filter(|instance| instance.is_alive());
    let nodes = living.map(|instance| NodeStatus {
        instance_id: instance.id.clone(),
        name: instance.tags.get("Name").cloned(),
        state: instance.state.wire().1,
        address: instance.private_address,
    });
    Ok(Some(nodes.collect()))
}

/// Refuses to go on without root where root is needed, with what to type instead.
fn check_root(records: bool) -> Result<(), LifecycleError> {
    if records || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let exe = std::env::current_exe().map(|exe| exe.to_string_lossy().into_owned()).ok();
    let mut words: Vec<String> = std::env::args().collect();
    if let (Some(first), Some(exe)) = (words.first_mut(), exe) {
        // sudo may look for programs elsewhere.
        *first = exe;
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    Err(LifecycleError::NotRoot { sudo: format!("sudo {}", words.join(" ")) })
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn spawn(config: &Config, exe: &Path, args: &[String]) -> Result<Child, LifecycleError> {
    let path = config.files().log();
    let open = || std::fs::OpenOptions::new().append(true).open(&path).map_err(StoreError::io("cannot open", &path));
    let mut command = Command::new(exe);
    command.args(args).current_dir("/").stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
    command.spawn().map_err(|source| LifecycleError::Spawn { program: exe.to_owned(), source })
}

/// The first mount point at or below the folder.
fn mounts_below(folder: &Path) -> Result<Option<PathBuf>, LifecycleError> {
    let folder = std::fs::canonicalize(folder).map_err(StoreError::io("cannot find", folder))?;
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).map_err(StoreError::io("cannot read", table))?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(points.map(PathBuf::from).find(|point| point.starts_with(&folder) && *point != folder))
}

/// A mount point as the kernel writes it, with space, tab, line end and backslash in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// What is added to a log from some moment on.
struct Tail {
    file: std::fs::File,
    /// Everything read so far.
    text: String,
    /// How much of it was handed out.
    seen: usize,
}

impl Tail {
    fn at_end(config: &Config) -> Result<Self, LifecycleError> {
        let path = config.files().log();
        drop(Log::open(config.files(), config.owner_uid)?);
        let mut file = std::fs::File::open(&path).map_err(StoreError::io("cannot open", &path))?;
        file.seek(SeekFrom::End(0)).map_err(StoreError::io("cannot read", &path))?;
        Ok(Self { file, text: String::new(), seen: 0 })
    }

    /// Whole lines that came since the last call.
    fn new_lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        // The server may have begun its log anew.
        if let (Ok(found), Ok(at)) = (self.file.metadata(), self.file.stream_position())
            && found.len() < at
        {
            let _ = self.file.rewind();
        }
        // Progress is a courtesy: a log that cannot be read is no reason to fail.
        let _ = self.file.read_to_end(&mut bytes);
        self.text.push_str(&String::from_utf8_lossy(&bytes));
        let end = self.text.rfind('\n').map_or(self.seen, |end| end + 1).max(self.seen);
        let lines = self.text[self.seen..end].lines().map(str::to_owned).collect();
        self.seen = end;
        lines
    }

    fn last_lines(&mut self) -> String {
        self.new_lines();
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--state=/a/b"), "--state=/a/b");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}

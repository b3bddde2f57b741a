//! Files of the state folder: atomic writes, the log, the lock that lets one server in, and the task that writes the
//! model whenever it changed. It may not look into the model.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use crate::cloud::{Cloud, State};
use crate::config::Files;
use crate::model::ssm::Command;

/// How long changes are gathered before one write; a kill loses no more than this.
const GATHER: Duration = Duration::from_millis(50);

/// How often, and after which pause, a lock is tried again that someone may only be looking at. A look takes
/// microseconds; the pause lets a busy machine get to its end.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(20);

/// A file of the state folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not what this version of the local cloud writes", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} can be written by everyone, who could then become root", .0.display())]
    Open(PathBuf),
    #[error("another server already works on {}", .0.display())]
    Locked(PathBuf),
}

impl StoreError {
    /// Names what was done to which path when the operating system refused.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Makes the folder, unless it exists: open to all for passing through, as the credentials in it have an owner who is
/// not root. Folders above it that are missing belong to whoever has the one they are made in, so that a user's home
/// does not fill with folders of root.
pub fn create_state_folder(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for (depth, folder) in missing.iter().enumerate().rev() {
        std::fs::DirBuilder::new().mode(0o755).create(folder).map_err(StoreError::io("cannot create", folder))?;
        let parent = folder.parent().and_then(|parent| std::fs::metadata(parent).ok());
        if let Some(parent) = parent.filter(|_| depth > 0 && rustix::process::geteuid().is_root()) {
            lchown(folder, Some(parent.uid()), Some(parent.gid())).map_err(StoreError::io("cannot hand over", folder))?;
        }
    }
    let mode = std::fs::metadata(path).map_err(StoreError::io("cannot look at", path))?.mode();
    if mode & 0o002 == 0 { Ok(()) } else { Err(StoreError::Open(path.to_owned())) }
}

/// Replaces the file as a whole, or leaves it as it was. The new file has this mode and owner.
pub fn write(path: &Path, content: &[u8], mode: u32, owner: Option<u32>) -> Result<(), StoreError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let failed = || StoreError::io("cannot write", path);
    // A remnant of a killed server, or someone's link: never followed, always made anew.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed())?;
    if let Some(owner) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        fchown(&file, Some(owner), None).map_err(failed())?;
    }
    file.write_all(content).and_then(|()| file.sync_data()).map_err(failed())?;
    std::fs::rename(&temporary, path).map_err(failed())
}

/// The file's text; None when there is none.
pub fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("cannot read", path)(error)),
    }
}

/// Removes the file if it exists.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

/// The right to change a state folder; held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder's lock, or fails at once when another process holds it.
    pub fn take(files: Files<'_>) -> Result<Self, StoreError> {
        let path = files.lock();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(StoreError::io("cannot open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(files.state_dir.to_owned())),
            Err(error) => Err(StoreError::io("cannot lock", &path)(error.into())),
        }
    }

    /// Takes the folder's lock even if someone just looks whether it is free, which means having it for a moment.
    pub async fn take_patiently(files: Files<'_>) -> Result<Self, StoreError> {
        for _ in 0..LOOKS {
            match Self::take(files) {
                Err(StoreError::Locked(_)) => tokio::time::sleep(LOOK).await,
                taken => return taken,
            }
        }
        Self::take(files)
    }
}

/// Bytes after which the log begins anew; the one before is kept. A day of a busy cloud is some hundred KiB.
const LOG_LIMIT: u64 = 4 << 20;

/// The log file: one line an event, with its time. Nothing secret may be logged.
#[derive(Debug, Clone)]
pub struct Log {
    file: Arc<Mutex<File>>,
    path: Arc<Path>,
    owner: u32,
    limit: u64,
}

impl Log {
    /// Opens the folder's log for appending, readable by the owner.
    pub fn open(files: Files<'_>, owner: u32) -> Result<Self, StoreError> {
        Self::open_limited(files, owner, LOG_LIMIT)
    }

    fn open_limited(files: Files<'_>, owner: u32, limit: u64) -> Result<Self, StoreError> {
        let path = files.log();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(StoreError::io("cannot open", &path))?;
        if rustix::process::geteuid().is_root() {
            fchown(&file, Some(owner), None).map_err(StoreError::io("cannot hand over", &path))?;
        }
        Ok(Self { file: Arc::new(Mutex::new(file)), path: path.into(), owner, limit })
    }

    /// Appends one line; line ends inside it become spaces.
    pub fn line(&self, event: impl std::fmt::Display) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let line = format!("{now} {}\n", event.to_string().replace(['\n', '\r'], " "));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the cloud, and there is nowhere else to say so.
        let _ = file.write_all(line.as_bytes());
        if file.metadata().is_ok_and(|found| found.len() > self.limit) {
            let _ = self.begin_anew(&file);
        }
    }

    /// Puts what there is aside as `log.1`. The file itself stays, emptied: it is also the server's output and error
    /// stream, which cannot be opened again.
    fn begin_anew(&self, file: &File) -> Result<(), StoreError> {
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(".1");
        let content = std::fs::read(&self.path).map_err(StoreError::io("cannot read", &self.path))?;
        let kept = write(Path::new(&aside), &content, 0o600, Some(self.owner));
        // A log that cannot be put aside must not grow all the same.
        file.set_len(0).map_err(StoreError::io("cannot empty", &self.path))?;
        kept
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Reads the model, empty when the folder is new.
pub fn load(files: Files<'_>) -> Result<State, StoreError> {
    let path = files.state();
    let mut state = match read(&path)? {
        Some(text) => serde_json::from_str(&text).map_err(|source| StoreError::Content { path, source })?,
        None => State::default(),
    };
    let folder = files.commands();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state),
        Err(error) => return Err(StoreError::io("cannot read", &folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(StoreError::io("cannot read", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(text) = read(&path)?
        {
            let command = serde_json::from_str(&text).map_err(|source| StoreError::Content { path, source })?;
            state.ssm.commands.restore(command);
        }
    }
    Ok(state)
}

/// Writes the model now. Commands, which can be large, are files of their own, written only when they changed.
pub fn save(cloud: &Cloud) -> Result<(), StoreError> {
    let _one_at_a_time = cloud.writing.lock().unwrap_or_else(PoisonError::into_inner);
    let (content, commands) = {
        let mut state = cloud.state();
        let commands = state.ssm.commands.take_changed();
        (serde_json::to_vec(&*state), commands)
    };
    let files = cloud.config.files();
    let path = files.state();
    let content = content.map_err(|source| StoreError::Content { path: path.clone(), source })?;
    let outcome = save_commands(files, &commands).and_then(|()| write(&path, &content, 0o600, None));
    if outcome.is_err() {
        cloud.state().ssm.commands.mark_changed(commands.into_iter().map(|(id, _)| id));
    }
    outcome
}

fn save_commands(files: Files<'_>, commands: &[(String, Option<Command>)]) -> Result<(), StoreError> {
    let folder = files.commands();
    if !commands.is_empty() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder).map_err(StoreError::io("cannot create", &folder))?;
    }
    for (id, command) in commands {
        let path = folder.join(format!("{id}.json"));
        match command {
            Some(command) => {
                let content = serde_json::to_vec(command);
                let content = content.map_err(|source| StoreError::Content { path: path.clone(), source })?;
                write(&path, &content, 0o600, None)?;
            }
            None => remove(&path)?,
        }
    }
    Ok(())
}

/// Writes the model after each change, until the cloud is gone.
pub async fn keep(cloud: Arc<Cloud>) {
    let mut changes = cloud.changes();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        let writer = Arc::clone(&cloud);
        match tokio::task::spawn_blocking(move || save(&writer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => cloud.log.line(format_args!("state not written: {}", chain(&error))),
            Err(error) => cloud.log.line(format_args!("state not written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_large_begins_anew_and_keeps_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { state_dir: folder.path() };
        let log = Log::open_limited(files, rustix::process::geteuid().as_raw(), 10_000).unwrap();
        for number in 0..1000 {
            log.line(format_args!("event {number}"));
        }
        let aside = folder.path().join("log.1");
        let (current, before) = (std::fs::read_to_string(files.log()).unwrap(), std::fs::read_to_string(&aside).unwrap());
        assert!(current.len() <= 10_000 && before.len() < 10_100, "{} {}", current.len(), before.len());
        let numbers: Vec<u32> =
            before.lines().chain(current.lines()).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&999));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no line is lost in between");
        assert_eq!(std::fs::metadata(&aside).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_state_is_read_or_refused_by_its_name() {
        use proptest::prelude::*;
        let folder = tempfile::tempdir().unwrap();
        let files = Files { state_dir: folder.path() };
        let mut state = State::default();
        state.ec2.seed("us-east-1", "000000000000");
        let whole = serde_json::to_vec(&state).unwrap();
        let damage = (any::<prop::sample::Index>(), 0..40usize, prop::collection::vec(any::<u8>(), 0..8));
        proptest!(|((at, cut, put) in damage)| {
            let at = at.index(whole.len());
            let mut text = whole.clone();
            text.splice(at..whole.len().min(at + cut), put);
            std::fs::write(files.state(), &text).unwrap();
            if let Err(error) = load(files) {
                prop_assert!(chain(&error).contains("state.json"), "{}", chain(&error));
            }
        });
        for text in [&b""[..], b"{", b"null", b"\xff\xfe", b"{\"ec2\": 1}"] {
            std::fs::write(files.state(), text).unwrap();
            assert!(load(files).is_err(), "{text:?}");
        }
        std::fs::write(files.state(), &whole).unwrap();
        std::fs::create_dir(files.commands()).unwrap();
        std::fs::write(files.commands().join("damaged.json"), &whole[..whole.len() / 2]).unwrap();
        assert!(load(files).is_err_and(|error| chain(&error).contains("damaged.json")));
    }
}

//! What every subject needs: clocks, repeated rounds, peers in Python, programs under `mpirun`, and the table.

#![allow(dead_code, reason = "a tool box: not every subject uses every tool")]

pub mod peer;
pub mod table;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{fs, io};

/// Why a subject could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or a program of the bench itself.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that ended with an error, with what it said.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: String,
        /// The end of its standard error.
        said: String,
    },
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

/// Names what failed.
pub fn io_failure(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let what = what.into();
    move |source| Failure::Io { what, source }
}

/// `target/bench`, where everything lies that a bench makes.
pub fn folder() -> Result<PathBuf, Failure> {
    // Cargo names target/tmp; its parent is the target folder, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("."));
    let folder = target.join("bench");
    fs::create_dir_all(&folder).map_err(io_failure(format!("{} could not be made", folder.display())))?;
    Ok(folder)
}

/// The CPU seconds that this thread has used: what a busy machine changes least.
pub fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The CPU seconds of one call on this thread, and its answer.
pub fn timed<R>(call: impl FnOnce() -> R) -> (f64, R) {
    let begin = thread_seconds();
    let answer = call();
    (thread_seconds() - begin, answer)
}

/// Measurements of the same thing, in the order they were taken.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The smallest: what the machine does when nobody disturbs.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// By how much the median lies above the minimum, in percent.
    pub fn spread_percent(&self) -> f64 {
        (self.median() / self.min() - 1.0) * 100.0
    }
}

/// Measures ours and the peer in turn, so that both see the same moods of the machine.
pub fn alternate(
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64, Failure>,
    mut peer: impl FnMut() -> Result<f64, Failure>,
) -> Result<(Samples, Samples), Failure> {
    let (mut own, mut others) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        own.0.push(ours()?);
        others.0.push(peer()?);
    }
    Ok((own, others))
}

/// Runs a program to its end and returns its standard output.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(io_failure(format!("{program} could not be started")))?;
    succeeded(program, output.status, &output.stderr)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end and returns the most memory that it had, or any that it started, in bytes.
pub fn peak_memory(command: &mut Command) -> Result<u64, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut process = started.map_err(io_failure(format!("{program} could not be started")))?;
    let mut said = Vec::new();
    if let Some(pipe) = &mut process.stderr {
        pipe.read_to_end(&mut said).map_err(io_failure(format!("{program} could not be heard")))?;
    }
    let mut status = 0;
    // SAFETY: all bytes 0 are a valid `rusage`, and the call writes it and the status.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(process.id() as libc::pid_t, &mut status, 0, &mut usage), usage)
    };
    if waited < 0 {
        return Err(io_failure(format!("{program} could not be waited for"))(io::Error::last_os_error()));
    }
    succeeded(program, ExitStatus::from_raw(status), &said)?;
    // Linux counts in KiB.
    Ok(usage.ru_maxrss as u64 * 1024)
}

/// The end of what a program said, if it failed.
fn succeeded(program: String, status: ExitStatus, said: &[u8]) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(said);
    let tail: Vec<&str> = said.lines().rev().take(12).collect();
    Err(Failure::Program { program, said: tail.into_iter().rev().collect::<Vec<_>>().join("\n") })
}

/// A program under `mpirun`, a rank a core, in a folder of its own; `None` without the feature `mpi`.
pub fn mpirun(ranks: usize, program: Option<&str>, arguments: &[&str], folder: &Path) -> Result<Command, Failure> {
    let program = program.ok_or_else(|| Failure::Other("needs MPI: cargo bench --features mpi, or make bench".into()))?;
    let mut command = Command::new("mpirun");
    command.args(["--bind-to", "core", "-n", &ranks.to_string(), program]).args(arguments).current_dir(folder);
    // As root, in a container, Open MPI asks for both.
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]).env_remove("EWULF_EVENTS");
    Ok(command)
}

/// An empty folder of `target/bench` for the files of one run.
pub fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let path = folder()?.join("runs").join(name);
    let failed = || format!("{} could not be emptied", path.display());
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(failed())(error)),
        _ => {}
    }
    fs::create_dir_all(&path).map_err(io_failure(failed()))?;
    Ok(path)
}

/// The JSON file that a kernel left in `folder`.
pub fn summary(folder: &Path) -> Result<serde_json::Value, Failure> {
    let path = folder.join("summary.json");
    let text = fs::read(&path).map_err(io_failure(format!("{} could not be read", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| Failure::Other(format!("{} is no JSON: {error}", path.display())))
}

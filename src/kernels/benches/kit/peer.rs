//! Peers: Python programs in an environment of their own, which answer round by round.
//!
//! A peer prepares its data once, then waits; each round is one line to it and one line of JSON back, with the CPU
//! seconds of its thread, so that neither its start nor its imports are counted.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::{Failure, folder, io_failure, output};

/// The peers and this folder's `peers/kit.py`.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// Every numeric library of Python stays on one thread; and no compiled files appear among the sources, which are part of
/// every image's fingerprint.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("NUMBA_NUM_THREADS", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
];

/// LIBMF chooses its vector code when it is compiled, and is several times slower without.
const COMPILER: [(&str, &str); 2] = [("CFLAGS", "-O3 -march=native -DUSEAVX"), ("CXXFLAGS", "-O3 -march=native -DUSEAVX")];

/// A peer that waits for its next round.
pub struct Peer {
    name: &'static str,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `peers/NAME.py`, in the environment with everything that `peers/requirements.txt` lists.
    pub fn start(name: &'static str, arguments: &[&str]) -> Result<Self, Failure> {
        let python = python()?;
        let mut command = Command::new(python);
        command.arg(Path::new(PEERS).join(format!("{name}.py"))).args(arguments).envs(ENVIRONMENT);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(io_failure(format!("peer {name} could not be started")))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, answers) = pipes.ok_or_else(|| Failure::Other(format!("peer {name} has no pipes")))?;
        Ok(Self { name, process, questions, answers: BufReader::new(answers) })
    }

    /// One round: what the peer measured, `seconds` of its thread among it.
    pub fn round(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        let asked = self.questions.write_all(b"round\n").and_then(|()| self.questions.flush());
        let answered = asked.and_then(|()| self.answers.read_line(&mut line));
        answered.map_err(io_failure(format!("peer {} ended early", self.name)))?;
        serde_json::from_str(&line).map_err(|_| Failure::Other(format!("peer {} ended early; its reason is above", self.name)))
    }

    /// The CPU seconds of one round.
    pub fn seconds(&mut self) -> Result<f64, Failure> {
        number(&self.round()?, "seconds")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A peer that waits for its next round holds nothing worth an orderly end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A number of a peer's answer or of a summary.
pub fn number(answer: &Value, name: &str) -> Result<f64, Failure> {
    answer[name].as_f64().ok_or_else(|| Failure::Other(format!("{name} is missing in {answer}")))
}

/// The interpreter of `target/bench/venv`, made anew whenever the list of peers changes.
fn python() -> Result<PathBuf, Failure> {
    let venv = folder()?.join("venv");
    let interpreter = venv.join("bin/python");
    let list = Path::new(PEERS).join("requirements.txt");
    let wanted = fs::read(&list).map_err(io_failure(format!("{} could not be read", list.display())))?;
    let stamp = venv.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(interpreter);
    }
    eprintln!("installing the peers into {}", venv.display());
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-binary", "libmf", "--requirement"];
    output(Command::new(&interpreter).args(install).arg(&list).envs(COMPILER))?;
    fs::write(&stamp, wanted).map_err(io_failure(format!("{} could not be written", stamp.display())))?;
    Ok(interpreter)
}

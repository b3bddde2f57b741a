//! The whole of ewulf on real nodes: the binary, the local cloud, baked images, MPI jobs. Needs root.
//!
//! All tests share one local cloud of their own, whose images are baked once; they take turns.

mod changes;
mod cluster;
mod faults;
mod images;
mod jobs;
mod local;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The binary, a project folder and the local cloud that tests share.
pub struct Bench {
    pub project: PathBuf,
    state: PathBuf,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Fails the test, with everything the command said, unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Bench {
    /// A command of ewulf on the shared cloud, in the shared project.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ewulf(&self.state, arguments);
        command.current_dir(&self.project);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("the binary starts").into()
    }

    /// Writes a file of the project.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.project.join(file);
        std::fs::create_dir_all(path.parent().expect("files lie in folders")).expect("the project is writable");
        std::fs::write(path, text).expect("the project is writable");
    }

    /// Runs a script as root on one node and answers its stdout.
    pub fn on_node(&self, cluster: &str, node: &str, script: &str) -> String {
        self.run(&["exec", "--cluster", cluster, "--user", "root", node, "--", "bash", "-c", script]).expect(0).out
    }

    /// SDK clients of the shared cloud, as a program that is not ewulf would make them.
    pub fn clients(&self) -> (tokio::runtime::Runtime, ewulf::aws::Cloud) {
        let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
        let place = ewulf::aws::Place::Local { state: self.state.clone() };
        let cloud = runtime.block_on(ewulf::aws::Cloud::connect(place, "us-east-1")).expect("the cloud is up");
        (runtime, cloud)
    }
}

/// A command of the binary on a local cloud of one's own.
pub fn ewulf(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewulf"));
    command.env("EWULF_LOCAL_STATE", state).env("NO_COLOR", "1").args(arguments);
    command
}

/// The shared bench, images baked, for one test at a time.
pub fn bench() -> MutexGuard<'static, Bench> {
    static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();
    let bench = BENCH.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let bench = Bench { project: target.join("project"), state: target.join("cloud") };
        // What a killed run left.
        let _ = ewulf(&bench.state, &["local", "reset", "--yes"]).output();
        let _ = std::fs::remove_dir_all(&bench.project);
        let project = bench.project.to_str().expect("the target folder is UTF-8").to_owned();
        Ran::from(ewulf(&bench.state, &["init", &project]).output().expect("the binary starts")).expect(0);
        bench.run(&["bake-ami"]).expect(0);
        Mutex::new(bench)
    });
    // A test that failed says so itself; the others go on.
    bench.lock().unwrap_or_else(PoisonError::into_inner)
}

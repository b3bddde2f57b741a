//! moto as a server: a cloud that ewulf's authors did not write, with what tests/moto/server.py adds.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::world::{Ground, python};

/// Lists moto, and the client that it is driven by, at one version each.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/requirements.txt");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/server.py");

/// Checks of EC2's that moto makes only when it is told to.
const STRICT: [(&str, &str); 3] = [
    ("MOTO_ENABLE_AMI_VALIDATION", "true"),
    ("MOTO_ENABLE_KEYPAIR_VALIDATION", "true"),
    ("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true"),
];

/// A running server; it ends with this.
pub struct Moto {
    server: Child,
    pub endpoint: String,
    pub ground: Ground,
    _folder: TempDir,
}

impl Moto {
    /// With what ewulf needs beyond moto's own.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// As its authors made it.
    pub fn plain() -> Self {
        Self::with(&["plain"])
    }

    fn with(arguments: &[&str]) -> Self {
        let python = interpreter();
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let state = folder.path().join("cloud");
        let project = folder.path().join("project");
        std::fs::create_dir(&state).and_then(|()| std::fs::create_dir(&project)).expect("the folder is new");
        // moto takes any key pair.
        std::fs::write(state.join("credentials"), "[default]\naws_access_key_id = moto\naws_secret_access_key = moto\n")
            .expect("the folder is writable");
        let server = Command::new(python)
            .arg(SERVER)
            .arg(&state)
            .args(arguments)
            .envs(STRICT)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("the folder is writable"))
            .spawn()
            .expect("the interpreter starts");
        let mut moto = Self {
            server,
            endpoint: String::new(),
            ground: Ground { project, endpoint: String::new(), environment: Vec::new(), state },
            _folder: folder,
        };
        moto.endpoint = moto.await_endpoint();
        moto
    }

    /// Waits for the server to say where it listens; importing moto takes seconds on a busy machine.
    fn await_endpoint(&mut self) -> String {
        let begun = Instant::now();
        loop {
            if let Ok(endpoint) = std::fs::read_to_string(self.ground.state.join("endpoint")) {
                return endpoint;
            }
            let ended = self.server.try_wait().expect("a child can be waited for");
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(120), "moto did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of what the server said.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It holds nothing worth an orderly end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The interpreter of an environment with moto and botocore.
pub fn interpreter() -> PathBuf {
    python::interpreter("moto", REQUIREMENTS)
}

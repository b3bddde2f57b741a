//! A cloud of records in this process, a wire to it, a project, and the whole of what exists told through the API.

#![allow(dead_code, reason = "tests and benches each use a part of it")]

mod inventory;
pub mod python;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ewulf_cloud::Config;
use ewulf_cloud::server::Server;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::wire::{Ended, Rule, Wire};

pub use inventory::{Inventory, inventory};

/// Far beyond what any command here takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(600);

/// Servers and clients of all tests share its threads.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads can be started"))
}

/// A project whose clusters are on one cloud, whoever made that cloud.
pub struct Ground {
    pub project: PathBuf,
    /// How the binary reaches it.
    pub endpoint: String,
    /// What the binary finds in its environment.
    pub environment: Vec<(String, String)>,
    /// A folder with `endpoint` and `credentials`, by which this process reaches it without any wire.
    pub state: PathBuf,
}

impl Ground {
    /// A command of the binary, with nothing of the caller's set-up in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ewulf"));
        command.current_dir(&self.project).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.project).env("NO_COLOR", "1").env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_SHARED_CREDENTIALS_FILE", self.state.join("credentials"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["--endpoint-url", &self.endpoint]).args(arguments);
        command
    }

    /// SDK clients of the cloud, as a program that is not ewulf would make them.
    pub fn cloud(&self) -> ewulf::aws::Cloud {
        let place = ewulf::aws::Place::Local { state: self.state.clone() };
        runtime().block_on(ewulf::aws::Cloud::connect(place, "us-east-1")).expect("endpoint and credentials are there")
    }

    /// Lets the cloud follow one more rule, such as `["capacity", "--type", "c7a.large"]`; it must be a local one.
    pub fn add_fault(&self, rule: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ewulf"));
        command.current_dir(&self.project).args(["local", "faults", "add"]).args(rule).arg("--local-state").arg(&self.state);
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{rule:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a file of the project.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.project.join(file);
        std::fs::create_dir_all(path.parent().expect("files lie in folders")).expect("the project is writable");
        std::fs::write(path, text).expect("the project is writable");
    }
}

/// A cloud of one's own, with nothing in it but what every account has.
pub struct World {
    pub ground: Ground,
    pub wire: Wire,
    server: Server,
    _folder: TempDir,
}

impl World {
    /// An empty cloud, or one that goes on from the state that [`World::save`] left.
    pub fn new(saved: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let state = folder.path().join("cloud");
        std::fs::create_dir(&state).expect("the folder is new");
        if let Some(saved) = saved {
            for file in ["state.json", "credentials"] {
                std::fs::copy(saved.join(file), state.join(file)).expect("it was saved");
            }
        }
        let mut config = Config::new(&state, folder.path().join("cache"));
        config.records = true;
        let server = runtime().block_on(Server::start(config)).expect("a cloud of records needs nothing");
        let wire = Wire::with_agents(&format!("http://{}", server.address()));
        let project = folder.path().join("project");
        std::fs::create_dir(&project).expect("the folder is new");
        let ground = Ground { project, endpoint: wire.url(), environment: Vec::new(), state };
        Self { ground, wire, server, _folder: folder }
    }

    /// Runs the binary over the wire.
    pub fn run(&self, arguments: &[&str], rule: Option<Rule>) -> Ended {
        self.wire.run(self.ground.command(arguments), rule, LIMIT)
    }

    /// Runs the binary, which must end with `code`.
    pub fn expect(&self, arguments: &[&str], code: i32) -> Result<Ended, String> {
        expect(arguments, self.run(arguments, None), code)
    }

    /// All that exists.
    pub fn inventory(&self) -> Inventory {
        inventory(&self.ground.cloud())
    }

    /// Ends the cloud and keeps its state in a folder.
    pub fn save(mut self) -> TempDir {
        runtime().block_on(self.server.stop()).expect("the state can be written");
        let saved = tempfile::tempdir().expect("there is a temporary folder");
        for file in ["state.json", "credentials"] {
            std::fs::copy(self.ground.state.join(file), saved.path().join(file)).expect("the cloud wrote it");
        }
        saved
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its state goes with the folder; only its tasks have to end.
        let _ = runtime().block_on(self.server.stop());
    }
}

/// Answers what a command came to if it ended with `code`, and else everything that it said.
pub fn expect(arguments: &[&str], ended: Ended, code: i32) -> Result<Ended, String> {
    if ended.code == Some(code) {
        return Ok(ended);
    }
    let command = arguments.join(" ");
    let said = format!("{}{}", ended.out, ended.err);
    Err(format!("`ewulf {command}` ended with {:?} and not with {code}:\n{said}", ended.code))
}

/// A cluster of one master and one group, which ends an apply at EC2's `running`.
#[derive(Debug, Clone)]
pub struct Shape {
    pub workers: u32,
    pub master_type: &'static str,
    pub worker_type: &'static str,
    /// Size of the shared volume; 0 for none.
    pub gibibytes: u32,
    pub team: &'static str,
    pub image: String,
    /// What the master boots from, if not from the workers' image.
    pub master_image: Option<&'static str>,
    pub ready: &'static str,
    pub market: &'static str,
    /// Whether the master, and the workers, got type or image after their launch: nothing is launched from a template of it.
    pub is_resized: [bool; 2],
    /// The rungs on which workers are looked for; none but their type if empty.
    pub ladder: &'static str,
}

impl Shape {
    /// Name of every cluster of this form.
    pub const CLUSTER: &'static str = "shape";
    /// The file that it is written to.
    pub const FILE: &'static str = "clusters/shape.yaml";

    pub fn new(workers: u32) -> Self {
        Self {
            workers,
            master_type: "c7a.large",
            worker_type: "c7a.large",
            gibibytes: 1,
            team: "recsys",
            // Debian's, which every cloud of records has.
            image: "{ami: ami-0deb13a64d0000001}".to_owned(),
            master_image: None,
            ready: "running",
            market: "on-demand",
            is_resized: [false; 2],
            ladder: "",
        }
    }

    pub fn write(&self, ground: &Ground) {
        let Self { workers, master_type, worker_type, gibibytes, team, image, ready, market, ladder, .. } = self;
        let master_image = self.master_image.unwrap_or(image);
        let ladder = if ladder.is_empty() { String::new() } else { format!(", capacity: {ladder}") };
        let group = format!(
            "workers:\n- {{group: compute, count: {workers}, instance_type: {worker_type}, image: {image}, placement: cluster, \
             market: {market}{ladder}}}\n"
        );
        let shared = format!("shared: {{volume: {gibibytes}GiB, keep: false}}\n");
        let text = format!(
            "cluster: {}\ncloud: aws\nregion: us-east-1\nready: {ready}\nnetwork: {{cidr: 10.42.0.0/16}}\n\
             master: {{instance_type: {master_type}, image: {master_image}}}\n{}{}tags: {{team: {team}}}\n",
            Self::CLUSTER,
            if *workers > 0 { group } else { String::new() },
            if *gibibytes > 0 { shared } else { String::new() },
        );
        ground.write(Self::FILE, &text);
    }
}

//! What is measured beside ewulf, each in a Python environment of its own under `target/bench`: a script that was written
//! for speed alone, Ansible, and Terraform's core.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{Failure, folder, io_failure, output};
use crate::world::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cloud/peers");

/// Somebody else's way to a cluster, over the same API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// boto3, threads, one RunInstances for a role: the lower bound.
    Script,
    /// The modules of amazon.aws, all workers in one task.
    Ansible,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Script => "boto3 script",
            Self::Ansible => "Ansible",
        }
    }

    /// A command of the peer on a world's cloud, over its wire; `operation` is create, nothing or destroy.
    pub fn command(self, world: &World, operation: &str, workers: u32) -> Result<Command, Failure> {
        let mut command = match self {
            Self::Script => {
                let mut command = Command::new(environment("fast")?.join("python"));
                command.arg(Path::new(FOLDER).join("fast.py")).args([operation, &workers.to_string()]);
                command
            }
            Self::Ansible => {
                let bin = environment("ansible")?;
                let mut command = Command::new(bin.join("ansible-playbook"));
                let state = if operation == "destroy" { "absent" } else { "present" };
                command.arg(Path::new(FOLDER).join("ansible.yaml"));
                command.args(["-e", &format!("state={state} workers={workers}")]);
                // Its modules run by the interpreter that has boto3.
                command.arg("-e").arg(format!("ansible_python_interpreter={}", bin.join("python").display()));
                command.args(["-i", "localhost,"]).env("ANSIBLE_LOCALHOST_WARNING", "False").env("LC_ALL", "C.UTF-8");
                command.env("ANSIBLE_HOME", world.ground.state.join("ansible")).current_dir(FOLDER);
                command
            }
        };
        command.env("AWS_ENDPOINT_URL", world.wire.url()).env("AWS_DEFAULT_REGION", "us-east-1");
        command.env("AWS_REGION", "us-east-1");
        command.env("AWS_SHARED_CREDENTIALS_FILE", world.ground.state.join("credentials"));
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

/// Terraform's core, planning the graph of a cluster in a folder made ready for it.
pub fn terraform(workers: u32) -> Result<Command, Failure> {
    let program = terraform_program()?;
    let work = folder()?.join("terraform");
    fs::create_dir_all(&work).map_err(io_failure(format!("{} could not be made", work.display())))?;
    for file in ["terraform.tf", "known.tfstate"] {
        fs::copy(Path::new(FOLDER).join(file), work.join(file)).map_err(io_failure(format!("{file} could not be copied")))?;
    }
    let command = || {
        let mut command = Command::new(&program);
        command.current_dir(&work).env("CHECKPOINT_DISABLE", "1");
        command
    };
    output(command().args(["init", "-no-color", "-input=false"]))?;
    let mut plan = command();
    plan.args(["plan", "-no-color", "-input=false", "-lock=false", "-var", &format!("workers={workers}")]);
    Ok(plan)
}

/// Where the package put it, made executable.
fn terraform_program() -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let lib = environment("terraform")?.join("../lib/terraform_linux");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&lib, executable).map_err(io_failure(format!("{} is not in its package", lib.display())))?;
    Ok(lib)
}

/// `bin` of `target/bench/NAME-venv`, made anew whenever its list of packages changes.
fn environment(name: &str) -> Result<PathBuf, Failure> {
    let venv = folder()?.join(format!("{name}-venv"));
    let bin = venv.join("bin");
    let list = Path::new(FOLDER).join(format!("{name}.txt"));
    let wanted = fs::read(&list).map_err(io_failure(format!("{} could not be read", list.display())))?;
    let stamp = venv.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(bin);
    }
    eprintln!("installing what {name}.txt lists into {}", venv.display());
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    output(Command::new(bin.join("python")).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&list))?;
    fs::write(&stamp, wanted).map_err(io_failure(format!("{} could not be written", stamp.display())))?;
    Ok(bin)
}

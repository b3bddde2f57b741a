//! The script that is measured beside ewulf, in a Python environment of its own under `target/bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{Failure, folder, io_failure, output};
use crate::world::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cloud");

/// A command of the script on a world's cloud, over its wire.
pub fn command(world: &World, operation: &str, workers: u32) -> Result<Command, Failure> {
    let mut command = Command::new(python()?);
    command.arg(Path::new(FOLDER).join("fast.py")).args([operation, &workers.to_string()]);
    command.env("AWS_ENDPOINT_URL", world.wire.url()).env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_SHARED_CREDENTIALS_FILE", world.ground.state.join("credentials"));
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// The interpreter of `target/bench/cloud-venv`, made anew whenever the list of packages changes.
fn python() -> Result<PathBuf, Failure> {
    let venv = folder()?.join("cloud-venv");
    let interpreter = venv.join("bin/python");
    let list = Path::new(FOLDER).join("requirements.txt");
    let wanted = fs::read(&list).map_err(io_failure(format!("{} could not be read", list.display())))?;
    let stamp = venv.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(interpreter);
    }
    eprintln!("installing boto3 into {}", venv.display());
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    output(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&list))?;
    fs::write(&stamp, wanted).map_err(io_failure(format!("{} could not be written", stamp.display())))?;
    Ok(interpreter)
}

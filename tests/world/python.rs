//! Environments of Python, each with what one list of requirements names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The interpreter of the environment of this name, which has what `requirements` lists, each at one version; it is made
/// anew whenever the list changes.
pub fn interpreter(name: &str, requirements: &str) -> PathBuf {
    // Tests run side by side, and several may need the same one.
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let interpreter = venv.join("bin/python");
    let wanted = std::fs::read(requirements).expect("the list is there");
    let stamp = venv.join("installed.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return interpreter;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "--requirement", requirements]));
    std::fs::write(&stamp, wanted).expect("the environment is writable");
    interpreter
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

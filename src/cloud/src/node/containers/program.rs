//! Programs of the host: where they are, how they are run, and which package brings a missing one.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::node::DriverError;

/// Every program the driver runs on the host, with the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("chroot", "coreutils"),
    ("cp", "coreutils"),
    ("ip", "iproute2"),
    ("losetup", "mount"),
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("sh", "dash"),
    ("systemd-nspawn", "systemd-container"),
    ("tc", "iproute2"),
];

/// Where system programs live even if the caller's PATH (an unprivileged user's, through sudo) leaves it out.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds a program in the standard folders of the system, then in PATH.
///
/// A missing program is a [`DriverError::Program`] that names the package to install.
pub(super) fn find(name: &str) -> Result<PathBuf, DriverError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(SYSTEM_PATH)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            let package = PROGRAMS.iter().find(|(program, _)| *program == name).map_or(name, |(_, package)| package);
            DriverError::Program {
                program: name.to_owned(),
                status: "not installed".to_owned(),
                output: format!("hint: sudo apt-get install {package}"),
            }
        })
}

/// Checks that every program is there; the error names all packages to install at once.
pub(super) fn check_all() -> Result<(), DriverError> {
    let missing: Vec<&(&str, &str)> = PROGRAMS.iter().filter(|(name, _)| find(name).is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Err(DriverError::Program {
        program: names.join(", "),
        status: "not installed".to_owned(),
        output: format!("hint: sudo apt-get install {}", packages.join(" ")),
    })
}

/// A command of a host program with a clean environment: the host's locale and shell settings change no output.
pub(super) fn command(name: &str) -> Result<Command, DriverError> {
    let mut command = Command::new(find(name)?);
    command.env_clear().env("PATH", SYSTEM_PATH).env("LC_ALL", "C.UTF-8").current_dir("/");
    Ok(command)
}

/// Runs a program to its end with this text on its standard input; answers its standard output.
pub(super) fn run<I, S>(name: &str, arguments: I, input: &str) -> Result<String, DriverError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = command(name)?;
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = describe(&command);
    let failed = |source| DriverError::Io { what: format!("{line} cannot be run"), source };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stops reading says why on its own; a broken pipe would only hide that.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(DriverError::Program {
        program: line,
        status: output.status.to_string(),
        output: last_lines(&String::from_utf8_lossy(said), 8),
    })
}

/// The command line as a person would type it, for messages only: it is never parsed again.
pub(super) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last `count` lines of a text, joined by `; ` so that they fit one message.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("no-such-program").unwrap_err().to_string();
        assert!(error.contains("sudo apt-get install no-such-program"), "{error}");
    }

    #[test]
    fn a_failing_program_tells_its_command_line_and_last_lines() {
        let error = run("sh", ["-c", "echo first >&2; echo last >&2; exit 3"], "").unwrap_err().to_string();
        assert!(error.starts_with("sh -c") && error.contains("exit status: 3") && error.ends_with("first; last"), "{error}");
    }

    #[test]
    fn a_program_reads_the_given_text() {
        assert_eq!(run("sh", ["-c", "tr a-z A-Z"], "bridge").unwrap(), "BRIDGE");
    }
}

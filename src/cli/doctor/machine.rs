//! What the local cloud needs of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Check, State, first_line};
use crate::cli::user;
use crate::ui::text;

const AREA: &str = "machine";

/// Programs that the local cloud and its nodes' base image need, with the Debian packages that bring them.
const PROGRAMS: [(&str, &str, &str); 7] = [
    ("systemd-nspawn", "systemd-container", "boots nodes"),
    ("mmdebstrap", "mmdebstrap", "makes the Debian base image"),
    ("nft", "nftables", "enforces security groups"),
    ("ip", "iproute2", "makes bridges and links"),
    ("mount", "mount", "stacks image layers"),
    ("nsenter", "util-linux", "runs commands in nodes"),
    ("unshare", "util-linux", "keeps the cloud's network apart"),
];

/// Room that the base, two images and the layers of a few nodes take: about 4 GiB measured; twice that, to go on with.
const DISK_NEEDED: u64 = 8 << 30;

/// Looks at the machine; `state` is the state folder of the local cloud, which may not exist yet.
pub fn checks(state: &Path) -> Vec<Check> {
    let mut checks = vec![system(), root()];
    checks.extend(PROGRAMS.iter().map(|(program, package, purpose)| self::program(program, package, purpose)));
    checks.push(filesystem("overlay"));
    if user::is_root() {
        checks.push(overlay_mount(state));
        checks.push(network());
    }
    checks.push(disk("state folder", state));
    checks.push(disk("image cache", &user::cache_folder()));
    checks.push(nfs());
    checks
}

fn system() -> Check {
    let name = "Linux on x86-64";
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Check::new(AREA, name, State::Ok, kernel_release()),
        (system, architecture) => Check::new(AREA, name, State::Missing, format!("this is {system} on {architecture}"))
            .hint("nodes share this machine's kernel and processor: use a Linux machine"),
    }
}

fn kernel_release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("kernel {}", release.trim())
}

fn root() -> Check {
    if user::is_root() {
        return Check::new(AREA, "root", State::Ok, "this process is root");
    }
    let has_sudo = find_program("sudo").is_some();
    let detail = if has_sudo { "not root, but sudo is there" } else { "not root, and no sudo" };
    let state = if has_sudo { State::Optional } else { State::Missing };
    Check::new(AREA, "root", state, detail)
        .hint("run as root or with sudo what starts the local cloud; this check too, to try mounts and links")
}

fn program(program: &str, package: &'static str, purpose: &str) -> Check {
    match find_program(program) {
        Some(path) => Check::new(AREA, program, State::Ok, format!("{} {purpose}", path.display())),
        None => Check::new(AREA, program, State::Missing, format!("not found; it {purpose}")).package(package),
    }
}

/// Looks a program up in PATH and where programs for root are, which a user's PATH leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

fn has_filesystem(name: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(name))
}

fn filesystem(name: &'static str) -> Check {
    let check = format!("{name} in the kernel");
    if has_filesystem(name) {
        return Check::new(AREA, check, State::Ok, "stacks image layers");
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let module = format!("/lib/modules/{}/kernel/fs/{name}fs", release.trim());
    if Path::new(&module).exists() {
        return Check::new(AREA, check, State::Ok, "as a module, loaded on first use");
    }
    Check::new(AREA, check, State::Missing, "the kernel does not know it").hint(format!("sudo modprobe {name}"))
}

/// Mounts an overlay on the state folder's file system, in a mount namespace that ends with the check.
fn overlay_mount(state: &Path) -> Check {
    let name = "overlay on the state folder";
    let existing = existing_ancestor(state);
    let folder = existing.join(format!(".ewulf-doctor-{}", std::process::id()));
    let made = ["lower", "upper", "work", "merged"].iter().try_for_each(|part| std::fs::create_dir_all(folder.join(part)));
    if let Err(error) = made {
        return Check::new(AREA, name, State::Missing, format!("{}: {error}", existing.display()))
            .hint("choose another folder with `--local-state DIR`");
    }
    let script = "cd \"$1\" && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && touch merged/x";
    let outcome = run("unshare", &["--mount", "sh", "-c", script, "sh", &folder.to_string_lossy()]);
    // What is left behind is named by the doctor's own process id and empty.
    let _ = std::fs::remove_dir_all(&folder);
    match outcome {
        Ok(()) => Check::new(AREA, name, State::Ok, format!("works in {}", existing.display())),
        Err(error) => Check::new(AREA, name, State::Missing, error)
            .hint("choose a folder on another file system (ext4, xfs, btrfs, tmpfs) with `--local-state DIR`"),
    }
}

/// Makes a bridge, a veth pair and a masquerade rule in a network namespace that ends with the check.
fn network() -> Check {
    let name = "bridges and firewall";
    let script = "ip link add name ewulf0 type bridge && ip link add ewulf1 type veth peer name ewulf2 && ip link set ewulf1 master ewulf0 \
                  && nft 'table ip ewulf { chain out { type nat hook postrouting priority srcnat; policy accept; masquerade; }; }'";
    match run("unshare", &["--net", "sh", "-c", script]) {
        Ok(()) => Check::new(AREA, name, State::Ok, "tried in a network namespace"),
        Err(error) => Check::new(AREA, name, State::Missing, error)
            .hint("the kernel needs network namespaces, bridge, veth and nf_tables with NAT"),
    }
}

/// Runs a program quietly; the error is the first line it said.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = first_line(&String::from_utf8_lossy(&output.stderr));
    Err(if said.is_empty() { format!("{program}: {}", output.status) } else { said })
}

fn existing_ancestor(folder: &Path) -> &Path {
    folder.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"))
}

fn disk(name: &str, folder: &Path) -> Check {
    let name = format!("disk for the {name}");
    let existing = existing_ancestor(folder);
    let output = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(existing).output();
    let available = output.ok().and_then(|output| {
        String::from_utf8_lossy(&output.stdout).lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok())
    });
    let Some(available) = available else {
        return Check::new(AREA, name, State::Optional, format!("free space of {} is unknown", existing.display()));
    };
    let detail = format!("{} free at {}", text::bytes(available), existing.display());
    if available >= DISK_NEEDED {
        return Check::new(AREA, name, State::Ok, detail);
    }
    Check::new(AREA, name, State::Missing, detail)
        .hint(format!("{} are needed for base, images and nodes", text::bytes(DISK_NEEDED)))
}

fn nfs() -> Check {
    let detail = if has_filesystem("nfs4") || has_filesystem("nfs") {
        "nodes mount the shared path over NFS"
    } else {
        "no NFS client in the kernel: nodes share a folder of this machine instead"
    };
    Check::new(AREA, "shared path", State::Ok, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_nobody_has_is_missing_with_its_package() {
        let check = program("ewulf-no-such-program", "some-package", "does nothing");
        assert_eq!((check.state, check.package), (State::Missing, Some("some-package")));
        assert_eq!(program("sh", "dash", "runs").state, State::Ok);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_counts_as_its_nearest_ancestor() {
        assert_eq!(existing_ancestor(Path::new("/proc/no/such/folder")), Path::new("/proc"));
    }
}

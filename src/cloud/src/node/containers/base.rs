//! The base image: a Debian made by mmdebstrap, set up as a cloud image that boots fast in a container.
//!
//! Cached for every local cloud of the machine as `CACHE/NAME-DIGEST`, where the digest is that of the recipe below: a
//! changed recipe makes a new base beside the old one, on which frozen layers may stand.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{Ground, create_folder, io_error, network, program};
use crate::node::DriverError;

/// Image names and the Debian suites they are made from.
const SUITES: &[(&str, &str)] = &[("debian-13", "trixie")];

/// What an official cloud image has and nodes need; everything else comes by a recipe.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "cloud-init",
    "curl",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libnss-myhostname",
    "netbase",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "util-linux",
];

/// How packages are unpacked, here and in nodes: manuals are read elsewhere, and a node that lost its power is
/// launched anew, so nothing waits for the disk.
const UNPACKING: &[&str] = &[
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];

/// Units that do nothing in a container or cost its boot time: hardware, consoles, caches of the image, upkeep.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "cloud-init-hotplugd.socket",
    "console-getty.service",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "ldconfig.service",
    "modprobe@.service",
    // Host keys are made by cloud-init, once per instance.
    "sshd-keygen.service",
    "sys-kernel-debug.mount",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    // Sessions of a seat; a login by ssh is faster without.
    "systemd-logind.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-sysext.socket",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-done.service",
];

/// Files of the image that packages do not bring.
const FILES: &[(&str, &str)] = &[
    (
        "etc/cloud/cloud.cfg.d/90-ec2.cfg",
        "# Instances find their data as on EC2; the one address spares a look for IPv6.\n\
         datasource_list: [Ec2]\n\
         datasource: {Ec2: {strict_id: false, metadata_urls: [\"http://169.254.169.254\"]}}\n\
         # The address is there before init starts: nothing to configure, and no DHCP to ask (udhcpc is not installed).\n\
         network: {config: disabled}\n\
         system_info: {network: {dhcp_client_priority: [udhcpc]}}\n\
         # RSA keys cost a second; nobody needs them.\n\
         ssh_genkeytypes: [ed25519, ecdsa]\n\
         locale: false\n\
         growpart: {mode: \"off\"}\n\
         resize_rootfs: false\n",
    ),
    ("etc/cloud/ds-identify.cfg", "policy: enabled\n"),
    ("etc/systemd/journald.conf.d/10-volatile.conf", "[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\n"),
    ("etc/apt/apt.conf.d/10-lean", "APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n"),
    ("etc/machine-id", ""),
];

/// What must differ between nodes or belongs to the machine the base was made on.
const REMOVED: &[&str] = &[
    "etc/hostname",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_ecdsa_key",
    "etc/ssh/ssh_host_ecdsa_key.pub",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/ssh/ssh_host_rsa_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
];

/// Certificates that the host trusts beyond its distribution's, such as those of a proxy that inspects traffic.
const CERTIFICATES: &str = "usr/local/share/ca-certificates";

/// Between two progress sentences.
const BEAT: Duration = Duration::from_secs(4);

/// The folder of a base in the cache.
pub(super) fn folder_name(name: &str) -> String {
    let recipe = format!("{PACKAGES:?}{UNPACKING:?}{MASKED:?}{FILES:?}{REMOVED:?}");
    format!("{name}-{:08x}", network::digest(&recipe))
}

impl Ground {
    pub(super) fn ensure_base(&self, name: &str, progress: &mpsc::UnboundedSender<String>) -> Result<(), DriverError> {
        let Some((_, suite)) = SUITES.iter().find(|(known, _)| *known == name) else {
            return Err(DriverError::State(format!("base image {name} is unknown; there is debian-13")));
        };
        let folder = self.cache.join(folder_name(name));
        if folder.is_dir() {
            return Ok(());
        }
        let say = |sentence: String| drop(progress.send(sentence));
        let lock = self.lock_base(name, &say)?;
        if folder.is_dir() {
            return Ok(());
        }
        let fresh = self.cache.join(format!(".{}.new", folder_name(name)));
        remove_tree(&fresh)?;
        let started = Instant::now();
        bootstrap(suite, &fresh, &lock, &say)?;
        say("Setting up the base image.".to_owned());
        set_up(&fresh)?;
        std::fs::rename(&fresh, &folder).map_err(io_error(format!("base image {name} cannot be put in place")))?;
        say(format!("Made the base image {name} in {:.0} s.", started.elapsed().as_secs_f32()));
        Ok(())
    }

    /// Waits until no other local cloud makes this base.
    fn lock_base(&self, name: &str, say: &dyn Fn(String)) -> Result<File, DriverError> {
        let what = || format!("lock of base image {name} cannot be taken");
        let file = File::create(self.cache.join(format!(".{name}.lock"))).map_err(io_error(what()))?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    say(format!("Waiting for another local cloud that makes the base image {name}."));
                    std::thread::sleep(BEAT);
                }
                Err(error) => return Err(io_error(what())(error.into())),
            }
        }
    }
}

/// Runs mmdebstrap; it holds the lock too, so that a base left half made is not begun a second time beside it.
fn bootstrap(suite: &str, folder: &Path, lock: &File, say: &dyn Fn(String)) -> Result<(), DriverError> {
    let mut command = program::command("mmdebstrap")?;
    command.args(["--variant=minbase", "--mode=root"]).arg(format!("--include={}", PACKAGES.join(",")));
    command.args(UNPACKING.iter().map(|option| format!("--dpkgopt={option}")));
    command.arg(suite).arg(folder);
    pass_proxies(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let held = lock.try_clone().map_err(io_error("the lock of the base image cannot be shared"))?;
    // SAFETY: only system calls that are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty())?;
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            Ok(())
        });
    }
    let line = program::describe(&command);
    let failed = |source| DriverError::Io { what: format!("{line} cannot be run"), source };
    let mut child = command.spawn().map_err(failed)?;
    let (sender, lines) = std::sync::mpsc::channel();
    let errors = child.stderr.take();
    let reader = std::thread::spawn(move || {
        for text in errors.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let log = follow(&lines, say);
    let _ = reader.join();
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    remove_tree(folder)?;
    Err(DriverError::Program { program: line, status: status.to_string(), output: program::last_lines(&log, 8) })
}

/// Turns mmdebstrap's log into sentences until it ends; answers the whole log.
fn follow(lines: &std::sync::mpsc::Receiver<String>, say: &dyn Fn(String)) -> String {
    let started = Instant::now();
    let (mut log, mut phase) = (String::new(), "Starting".to_owned());
    loop {
        match lines.recv_timeout(BEAT) {
            Ok(line) => {
                if let Some(next) = phase_of(&line) {
                    phase = next;
                    say(format!("Base image: {phase} ({:.0} s).", started.elapsed().as_secs_f32()));
                }
                log.push_str(&line);
                log.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => say(format!("Base image: {phase} ({:.0} s).", started.elapsed().as_secs_f32())),
            Err(RecvTimeoutError::Disconnected) => return log,
        }
    }
}

/// mmdebstrap announces its steps as `I: running apt-get update...`.
fn phase_of(line: &str) -> Option<String> {
    let step = line.strip_prefix("I: ")?.strip_suffix("...")?;
    Some(step.trim().to_owned())
}

/// Proxies of the caller's environment, by which the host itself may reach its packages.
fn pass_proxies(command: &mut std::process::Command) {
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

fn set_up(root: &Path) -> Result<(), DriverError> {
    for path in REMOVED {
        let _ = std::fs::remove_file(root.join(path));
    }
    for (path, text) in FILES {
        let file = root.join(path);
        file.parent().map_or(Ok(()), create_folder)?;
        std::fs::write(&file, text).map_err(io_error(format!("{path} of the base image cannot be written")))?;
    }
    let units = root.join("etc/systemd/system");
    create_folder(&units)?;
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    link("/usr/lib/systemd/system/multi-user.target", &units.join("default.target"))?;
    trust_host_certificates(root)
}

fn trust_host_certificates(root: &Path) -> Result<(), DriverError> {
    let (host, inside) = (Path::new("/").join(CERTIFICATES), root.join(CERTIFICATES));
    create_folder(&inside)?;
    let mut added = false;
    for entry in std::fs::read_dir(&host).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            std::fs::copy(&path, inside.join(entry.file_name()))
                .map_err(io_error(format!("certificate {} cannot be copied", path.display())))?;
            added = true;
        }
    }
    if added {
        program::run("chroot", [root.as_os_str(), "update-ca-certificates".as_ref()], "")?;
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> Result<(), DriverError> {
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(target, path).map_err(io_error(format!("{} cannot be linked", path.display())))
}

fn remove_tree(path: &Path) -> Result<(), DriverError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error(format!("{} cannot be removed", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_mmdebstrap_are_phases() {
        assert_eq!(phase_of("I: running apt-get update...").as_deref(), Some("running apt-get update"));
        assert_eq!(phase_of("done"), None);
    }

    #[test]
    fn a_base_is_found_again_under_its_name() {
        assert!(folder_name("debian-13").starts_with("debian-13-"));
        assert_eq!(folder_name("debian-13"), folder_name("debian-13"));
    }
}

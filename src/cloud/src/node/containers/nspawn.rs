//! The command line of systemd-nspawn, as data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::node::NodeBoot;

/// Runs the container, again when it reboots itself (133: sysexits end at 78, systemd-nspawn(1) names this one), and
/// leaves its exit status in the file named first.
pub(super) const SUPERVISE: &str = r#"exit_file=$1
shift
while :; do
  "$@"
  status=$?
  [ "$status" -eq 133 ] || break
done
printf '%s\n' "$status" > "$exit_file.new" && mv "$exit_file.new" "$exit_file"
"#;

/// systemd 257 refuses to run on the old control groups, of which the host may still have some; network parameters are
/// the node's own; /tmp is what the image makes of it, not a tenth of the memory.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1"),
    ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network"),
    ("SYSTEMD_NSPAWN_TMPFS_TMP", "0"),
];

/// Where an instance on Xen finds its own number. One that begins with `ec2` is how cloud-init knows EC2, and only then
/// does it ask for metadata with a token.
pub(super) const PLATFORM_INSIDE: &str = "/sys/hypervisor/uuid";

/// The platform number of a node, stable over its life.
pub(super) fn platform_uuid(instance_id: &str) -> String {
    let digits: String = Sha256::digest(instance_id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ec2{}-{}-{}-{}-{}\n", &digits[..5], &digits[5..9], &digits[9..13], &digits[13..17], &digits[17..29])
}

/// What a container is started from.
pub(super) struct Container<'a> {
    pub boot: &'a NodeBoot,
    pub root: &'a Path,
    pub machine: String,
    /// Its network namespace, complete with address and route: the image need not configure anything.
    pub namespace: PathBuf,
    pub binds: &'a [Bind],
    /// Empty: all.
    pub cores: &'a [usize],
}

/// A file or folder of the host seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub source: PathBuf,
    pub target: String,
    pub writable: bool,
}

/// The arguments after the program's name.
pub(super) fn arguments(container: &Container<'_>) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        // What an instance may do with its own network, and locking memory for fast interconnects.
        "--capability=CAP_NET_ADMIN,CAP_IPC_LOCK",
        // Half the memory, as on any machine; systemd-nspawn would give a tenth, too little for ranks that share memory.
        "--tmpfs=/dev/shm:mode=1777,size=50%",
        "--setenv=TERM=dumb",
        "--setenv=SYSTEMD_COLORS=0",
    ]
    .map(OsString::from)
    .to_vec();
    words.push(format!("--machine={}", container.machine).into());
    words.push(format!("--hostname={}", container.boot.hostname).into());
    words.push(option("--network-namespace-path=", &container.namespace));
    words.push(option("--directory=", container.root));
    if !container.cores.is_empty() {
        let cores: Vec<String> = container.cores.iter().map(usize::to_string).collect();
        words.push(format!("--cpu-affinity={}", cores.join(",")).into());
    }
    for bind in container.binds {
        let name = if bind.writable { "--bind=" } else { "--bind-ro=" };
        words.push(format!("{name}{}:{}", escape(&bind.source.to_string_lossy()), escape(&bind.target)).into());
    }
    words.push("--boot".into());
    words
}

fn option(name: &str, path: &Path) -> OsString {
    let mut word = OsString::from(name);
    word.push(path);
    word
}

/// Quotes what separates source, target and options of a bind.
fn escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_in_shared_paths_do_not_split_the_bind() {
        assert_eq!(escape("/srv/a:b"), "/srv/a\\:b");
    }

    #[test]
    fn the_supervisor_boots_again_after_a_reboot_and_notes_the_last_status() {
        let folder = std::env::temp_dir().join(format!("ewulf-supervise-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        // The first run reboots (133), the second powers off.
        let container = "if [ -e again ]; then exit 7; else touch again; exit 133; fi";
        let status = std::process::Command::new("sh")
            .current_dir(&folder)
            .args(["-c", SUPERVISE, "ewulf-node", "exit", "sh", "-c", container])
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(folder.join("exit")).unwrap(), "7\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

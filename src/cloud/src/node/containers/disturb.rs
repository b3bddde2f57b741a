//! Trouble for one running node: its end, its processes, its network, its disk.
//!
//! Whatever is done ends with the node's boot: frozen groups, links and packet filters all go with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Ground, check_id, io_error, link_name, process, program, read_json};
use crate::node::{Disturbance, DriverError, NodeBoot, NodeCommand};

/// How long the kernel may take to freeze a node: its processes stop at their next way out of the kernel.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// Fills the file system at `$1` with one file until `$2` MiB are left, unless that file system is not a volume, which is a
/// loop device (major number 7). The source of a folder of the host is its disk with the folder in brackets.
/// Blocks are set aside and not written, so the volume's file on the host stays as small as it was.
const FILL: &str = "\
set -e
source=$(findmnt -nro SOURCE --mountpoint \"$1\" | tail -n 1)
[ -n \"$source\" ] || { echo \"nothing is mounted at $1\" >&2; exit 3; }
if [ ! -b \"$source\" ] || [ \"$(stat -Lc %t \"$source\")\" != 7 ]; then
  echo \"$1 is a folder of the host ($source), which must not be filled\" >&2; exit 3
fi
rm -f \"$1/.filled\"
free=$(($(stat -fc '%a * %S' \"$1\") / 1048576))
[ \"$free\" -gt \"$2\" ] || exit 0
fallocate -l $((free - $2))MiB \"$1/.filled\"";

/// Setting blocks aside takes well under a second for each TiB.
const FILL_LIMIT: Duration = Duration::from_secs(30);

impl Ground {
    /// Does all but filling, which is a program in the node.
    pub(super) fn disturb_node(&self, instance_id: &str, disturbance: &Disturbance) -> Result<(), DriverError> {
        let leader = self.leader(check_id(instance_id)?)?;
        match disturbance {
            Disturbance::Kill => set(&self.node_group(instance_id)?.join("cgroup.kill"), "1", instance_id, disturbance),
            Disturbance::PowerOff => {
                process::power_off(leader);
                Ok(())
            }
            Disturbance::Freeze => self.freeze(instance_id, disturbance, true),
            Disturbance::Thaw => self.freeze(instance_id, disturbance, false),
            Disturbance::Cut => self.set_port(instance_id, "down"),
            Disturbance::Join => self.set_port(instance_id, "up"),
            Disturbance::Lossy { percent } => {
                let rules = loss(*percent)?;
                self.node_namespace(instance_id).enter(|| program::run("nft", ["-f", "-"], &rules).map(drop))
            }
            Disturbance::Slow { milliseconds } => {
                let arguments = slowness(*milliseconds);
                let done = self.node_namespace(instance_id).enter(|| program::run("tc", arguments, "").map(drop));
                match done {
                    // Nothing delayed it.
                    Err(DriverError::Program { .. }) if *milliseconds == 0 => Ok(()),
                    Err(DriverError::Program { output, .. }) => Err(DriverError::State(format!(
                        "node {instance_id} cannot be {disturbance}: this kernel has no sch_netem ({output})"
                    ))),
                    done => done,
                }
            }
            Disturbance::Fill { .. } => Err(DriverError::State(format!("node {instance_id} is filled from inside"))),
        }
    }

    /// Freezes what runs in the container; systemd-nspawn around it goes on, so that it can clear away at the end.
    fn freeze(&self, instance_id: &str, disturbance: &Disturbance, frozen: bool) -> Result<(), DriverError> {
        let group = self.node_group(instance_id)?.join("payload");
        set(&group.join("cgroup.freeze"), if frozen { "1" } else { "0" }, instance_id, disturbance)?;
        let started = Instant::now();
        while is_frozen(&group) != frozen {
            if started.elapsed() > FREEZE_LIMIT {
                return Err(DriverError::State(format!("node {instance_id} could not be {disturbance} in time")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Pulls or plugs the cable: the end of the node's link that is not its own.
    fn set_port(&self, instance_id: &str, state: &str) -> Result<(), DriverError> {
        let boot: NodeBoot = read_json(&self.boot_file(instance_id))
            .ok_or_else(|| DriverError::State(format!("node {instance_id} was never booted")))?;
        self.vpc_namespace(&boot.vpc_id).ip(&[format!("link set {} {state}", link_name("p-", instance_id))])
    }

    /// Fills a volume of the node.
    pub(super) async fn fill_disk(&self, instance_id: &str, path: &str, leave_mib: u64) -> Result<(), DriverError> {
        let command = NodeCommand {
            argv: ["sh", "-c", FILL, "fill", path, &leave_mib.to_string()].map(str::to_owned).to_vec(),
            stdin: Vec::new(),
            environment: [].into(),
            working_directory: "/".to_owned(),
            timeout: FILL_LIMIT,
        };
        let (_cancel, cancelled) = oneshot::channel();
        let result = self.run_command(instance_id, &command, (0, 4096), cancelled).await?;
        if result.status == 0 {
            return Ok(());
        }
        let said = program::last_lines(&String::from_utf8_lossy(&result.stderr.0), 2);
        Err(DriverError::State(format!("disk {path} of node {instance_id} cannot be filled: {said}")))
    }
}

/// Writes a control group's file; one that is not there says that the kernel cannot do it.
fn set(file: &Path, value: &str, instance_id: &str, disturbance: &Disturbance) -> Result<(), DriverError> {
    if !file.exists() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        return Err(DriverError::State(format!("node {instance_id} cannot be {disturbance}: this kernel has no {name}")));
    }
    std::fs::write(file, value).map_err(io_error(format!("{} cannot be written", file.display())))
}

/// Whether all processes of the group have stopped.
fn is_frozen(group: &Path) -> bool {
    let events: PathBuf = group.join("cgroup.events");
    std::fs::read_to_string(events).is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}

/// A table of its own, in the node's namespace, that drops so many of a hundred packets in each direction; replaces the
/// one before. The loopback interface loses nothing.
fn loss(percent: u8) -> Result<String, DriverError> {
    if percent > 100 {
        return Err(DriverError::State(format!("loss of {percent} % is more than everything")));
    }
    let mut text = String::from("table inet loss {\n}\ndelete table inet loss\n");
    if percent > 0 {
        text.push_str("table inet loss {\n");
        for (hook, side) in [("input", "iifname"), ("output", "oifname")] {
            text.push_str(&format!(
                "\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy accept;\n\
                 \t\t{side} != \"lo\" numgen random mod 100 < {percent} drop\n\t}}\n"
            ));
        }
        text.push_str("}\n");
    }
    Ok(text)
}

/// What makes the node's link hold packets back for so long, or no longer.
fn slowness(milliseconds: u32) -> Vec<String> {
    let words = match milliseconds {
        0 => "qdisc del dev eth0 root".to_owned(),
        _ => format!("qdisc replace dev eth0 root netem delay {milliseconds}ms"),
    };
    words.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_a_table_of_its_own_that_replaces_the_one_before() {
        let text = loss(30).unwrap();
        assert!(text.starts_with("table inet loss {\n}\ndelete table inet loss\n"), "{text}");
        assert_eq!(text.matches("numgen random mod 100 < 30 drop").count(), 2, "{text}");
        assert!(!loss(0).unwrap().contains("chain"));
        assert!(loss(101).is_err());
    }

    #[test]
    fn the_kernel_takes_the_rules_of_a_lossy_network() {
        if !rustix::process::geteuid().is_root() || program::find("nft").is_err() {
            return;
        }
        // A namespace of its own, gone with the programs in it.
        let script = "nft -f - && nft list table inet loss";
        let run = |percent| {
            let rules = loss(percent).unwrap();
            program::run("unshare", ["--net", "sh", "-c", script], &rules)
        };
        let listed = run(25).unwrap();
        assert_eq!(listed.matches("< 25 drop").count(), 2, "{listed}");
        assert!(run(0).is_err(), "without loss there is no table");
    }

    #[test]
    fn a_group_that_cannot_be_frozen_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let refused = set(&folder.path().join("cgroup.freeze"), "1", "i-1", &Disturbance::Freeze).unwrap_err().to_string();
        assert_eq!(refused, "node i-1 cannot be frozen: this kernel has no cgroup.freeze");
        std::fs::write(folder.path().join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        assert!(is_frozen(folder.path()));
    }

    #[test]
    fn a_folder_of_the_host_is_never_filled() {
        if program::find("findmnt").is_err() {
            return;
        }
        // procfs is mounted everywhere and is no volume; a folder that is no mount point is not filled either.
        for (path, part) in [("/proc", "which must not be filled"), ("/proc/self", "nothing is mounted")] {
            let error = program::run("sh", ["-c", FILL, "fill", path, "1"], "").unwrap_err().to_string();
            assert!(error.contains("exit status: 3") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_folder_of_the_hosts_disk_that_is_mounted_into_a_node_is_never_filled() {
        if !rustix::process::geteuid().is_root() || program::find("findmnt").is_err() {
            return;
        }
        let (disk, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // In mounts of its own, gone with the program.
        let script = "mount --bind \"$1\" \"$2\" && exec sh -c \"$3\" fill \"$2\" 1";
        let [disk, inside] = [&disk, &node].map(|folder| folder.path().to_str().unwrap());
        let error =
            program::run("unshare", ["--mount", "sh", "-c", script, "sh", disk, inside, FILL], "").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("which must not be filled"), "{error}");
    }
}

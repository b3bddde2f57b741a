//! Start, watch and end of a node.
//!
//! A node is `systemd-nspawn` under a small shell, its supervisor, which boots the container again when it reboots
//! itself and leaves the exit status in a file. Neither has a pipe to this process: both outlive it. A thread waits for
//! the supervisor's end, clears away what the node had on the host and tells the model if nobody asked for that end.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::inside::Root;
use super::process::{self, Identity};
use super::{Ground, check_id, io_error, lock, note, nspawn, private_file, program, read_json, write_json};
use crate::node::{DriverError, NodeBoot, NodeEvent};

/// How long a node may take to power off: measured 1.3 s; services of an image may add what systemd gives them.
const POWER_OFF_GRACE: Duration = Duration::from_secs(20);

/// systemd-nspawn has an init running 0.1 s after its start; beyond this it hangs.
const INIT_GRACE: Duration = Duration::from_secs(15);

/// A console log longer than this begins anew at the next boot; EC2 shows 64 KiB.
const CONSOLE_LIMIT: u64 = 4 << 20;

/// A node that has been booted or adopted by this driver.
#[derive(Default)]
pub(super) struct Node {
    /// Held by whoever boots, stops or changes the node.
    pub operation: Mutex<()>,
    running: Mutex<Option<Running>>,
    ended: Condvar,
}

struct Running {
    supervisor: Identity,
    /// Someone asked for the end, so it is no news.
    end_wanted: bool,
}

/// What a later server needs to take the node up again.
#[derive(Serialize, Deserialize)]
pub(super) struct Supervised {
    pub supervisor: Identity,
    pub cores: Vec<usize>,
}

impl Node {
    /// The supervisor's process id while the node runs.
    pub fn supervisor(&self) -> Option<i32> {
        lock(&self.running).as_ref().map(|running| running.supervisor.id)
    }

    /// Waits until the node has ended and is cleared away.
    fn wait(&self, limit: Duration) -> bool {
        let running = lock(&self.running);
        let waited = self.ended.wait_timeout_while(running, limit, |running| running.is_some());
        waited.map_or_else(|poisoned| poisoned.into_inner().0.is_none(), |(running, _)| running.is_none())
    }
}

impl Ground {
    pub(super) fn node(&self, instance_id: &str) -> Arc<Node> {
        lock(&self.nodes).entry(instance_id.to_owned()).or_default().clone()
    }

    /// The init's process id on the host; an error when the node does not run.
    pub(super) fn leader(&self, instance_id: &str) -> Result<i32, DriverError> {
        let node = lock(&self.nodes).get(instance_id).cloned();
        node.and_then(|node| node.supervisor())
            .and_then(process::leader)
            .ok_or_else(|| DriverError::State(format!("node {instance_id} does not run")))
    }

    pub(super) fn boot_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("boot.json")
    }

    pub(super) fn supervisor_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("supervisor.json")
    }

    pub(super) fn console_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("console.log")
    }

    fn exit_file(&self, instance_id: &str) -> PathBuf {
        self.node_folder(instance_id).join("exit")
    }

    pub(super) fn boot_node(self: &Arc<Self>, boot: &NodeBoot) -> Result<(), DriverError> {
        check_id(&boot.instance_id)?;
        let node = self.node(&boot.instance_id);
        let _operation = lock(&node.operation);
        self.boot_locked(&node, boot)
    }

    fn boot_locked(self: &Arc<Self>, node: &Arc<Node>, boot: &NodeBoot) -> Result<(), DriverError> {
        let id = &boot.instance_id;
        let alive = lock(&node.running).as_ref().map(|running| running.supervisor.is_alive());
        match alive {
            Some(true) => return Ok(()),
            Some(false) if !node.wait(POWER_OFF_GRACE) => {
                return Err(DriverError::State(format!("node {id} ended and cannot be cleared away")));
            }
            _ => {}
        }
        write_json(&self.boot_file(id), boot)?;
        self.start(node, boot).inspect_err(|_| {
            if let Err(error) = self.clear_away(boot) {
                note(error);
            }
        })
    }

    fn start(self: &Arc<Self>, node: &Arc<Node>, boot: &NodeBoot) -> Result<(), DriverError> {
        let id = &boot.instance_id;
        let root = self.mount_root(id)?;
        self.configure(&root, boot)?;
        self.connect_node(boot)?;
        self.prepare_devices(boot)?;
        let cores = self.choose_cores(id, boot.cores);
        let mut command = self.supervisor_command(boot, &root, &cores)?;
        let group = self.make_group(id)?;
        // SAFETY: only system calls that are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                rustix::io::write(&group, b"0")?;
                Ok(())
            });
        }
        let _ = std::fs::remove_file(self.exit_file(id));
        let mut child = command.spawn().map_err(io_error(format!("node {id} cannot be started")))?;
        let supervisor = i32::try_from(child.id()).ok().and_then(Identity::of);
        let Some((supervisor, handle)) = supervisor.and_then(|found| Some((found, found.handle()?))) else {
            let _ = child.wait();
            return Err(self.failed_start(id));
        };
        write_json(&self.supervisor_file(id), &Supervised { supervisor, cores })?;
        self.wait_for_init(id, supervisor, &mut child)?;
        self.watch(id, node, supervisor, handle, Some(child));
        Ok(())
    }

    /// The shell around systemd-nspawn, with its console as the only open file.
    fn supervisor_command(&self, boot: &NodeBoot, root: &Path, cores: &[usize]) -> Result<Command, DriverError> {
        let id = &boot.instance_id;
        let console = self.open_console(id)?;
        let binds = self.binds(boot)?;
        let arguments = nspawn::arguments(&nspawn::Container {
            boot,
            root,
            machine: format!("{}-{id}", self.name),
            namespace: self.node_namespace(id).path(),
            binds: &binds,
            cores,
        });
        let shared = |file: &File| file.try_clone().map_err(io_error(format!("console of {id} cannot be shared")));
        let mut command = program::command("sh")?;
        command
            .envs(nspawn::ENVIRONMENT.iter().copied())
            .arg("-c")
            .arg(nspawn::SUPERVISE)
            .arg("ewulf-node")
            .arg(self.exit_file(id))
            .arg(program::find("systemd-nspawn")?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(shared(&console)?)
            .stderr(console);
        Ok(command)
    }

    pub(super) fn open_console(&self, instance_id: &str) -> Result<File, DriverError> {
        let path = self.console_file(instance_id);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > CONSOLE_LIMIT) {
            let _ = std::fs::remove_file(&path);
        }
        private_file().append(true).open(&path).map_err(io_error(format!("{} cannot be opened", path.display())))
    }

    /// Writes what the machine, not the image, says about the node.
    fn configure(&self, root: &Path, boot: &NodeBoot) -> Result<(), DriverError> {
        let uplink = {
            let _networks = lock(&self.networks);
            self.ensure_uplink()?
        };
        let root = Root::open(root)?;
        root.write("/etc/hostname", &format!("{}\n", boot.hostname))?;
        root.write("/etc/resolv.conf", &self.resolver_file(&uplink))
    }

    /// Answers when the container's init runs, ends the attempt when it does not come to that.
    fn wait_for_init(&self, id: &str, supervisor: Identity, child: &mut Child) -> Result<(), DriverError> {
        let started = Instant::now();
        while process::leader(supervisor.id).is_none() {
            let ended = !matches!(child.try_wait(), Ok(None));
            if ended || started.elapsed() > INIT_GRACE {
                self.kill_group(id);
                let _ = child.wait();
                return Err(self.failed_start(id));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn failed_start(&self, id: &str) -> DriverError {
        let console = std::fs::read(self.console_file(id)).unwrap_or_default();
        DriverError::Program {
            program: format!("systemd-nspawn --machine={}-{id}", self.name),
            status: "no init came up".to_owned(),
            output: program::last_lines(&String::from_utf8_lossy(&console), 6),
        }
    }

    /// Takes note of a running node and waits for its end in a thread; `child` is given when it is ours to reap.
    pub(super) fn watch(
        self: &Arc<Self>,
        id: &str,
        node: &Arc<Node>,
        supervisor: Identity,
        handle: OwnedFd,
        child: Option<Child>,
    ) {
        *lock(&node.running) = Some(Running { supervisor, end_wanted: false });
        let (ground, node, id) = (Arc::downgrade(self), node.clone(), id.to_owned());
        let watching = std::thread::Builder::new().name(format!("watch {id}")).spawn(move || {
            process::wait_for_end(&handle, None);
            if let Some(mut child) = child {
                let _ = child.wait();
            }
            Ground::ended(&ground, &id, &node);
        });
        if let Err(error) = watching {
            note(format!("a node's end will not be seen: {error}"));
        }
    }

    /// A node's end. Without a driver nothing is done: a later one finds the node gone.
    fn ended(ground: &Weak<Self>, id: &str, node: &Node) {
        let Some(ground) = ground.upgrade() else { return };
        let powered_off = std::fs::read_to_string(ground.exit_file(id)).is_ok_and(|status| status.trim() == "0");
        let boot: Option<NodeBoot> = read_json(&ground.boot_file(id));
        if let Some(Err(error)) = boot.map(|boot| ground.clear_away(&boot)) {
            note(error);
        }
        let running = lock(&node.running).take();
        node.ended.notify_all();
        if running.is_some_and(|running| !running.end_wanted) {
            let _ = ground.events.send(NodeEvent::Ended { instance_id: id.to_owned(), powered_off });
        }
    }

    /// Removes what a node that has ended leaves on the host: processes, groups, mount, port, namespace, loop devices.
    pub(super) fn clear_away(&self, boot: &NodeBoot) -> Result<(), DriverError> {
        let id = &boot.instance_id;
        self.kill_group(id);
        self.remove_group(id)?;
        self.unmount_root(id)?;
        self.disconnect_node(id, &boot.vpc_id)?;
        self.release_devices(boot);
        lock(&self.cores).remove(id);
        // systemd-nspawn removes it unless it was killed itself.
        let _ = std::fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(format!("{}-{id}", self.name)));
        let _ = std::fs::remove_file(self.supervisor_file(id));
        Ok(())
    }

    pub(super) fn stop_node(&self, instance_id: &str, force: bool) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let _operation = lock(&node.operation);
        self.stop_locked(instance_id, &node, force)
    }

    fn stop_locked(&self, instance_id: &str, node: &Node, force: bool) -> Result<(), DriverError> {
        let supervisor = {
            let mut running = lock(&node.running);
            let Some(running) = running.as_mut() else { return Ok(()) };
            running.end_wanted = true;
            running.supervisor
        };
        let started = Instant::now();
        while !force && started.elapsed() < POWER_OFF_GRACE {
            // Said again each second: an init that has just begun does not listen yet.
            process::leader(supervisor.id).into_iter().for_each(process::power_off);
            if node.wait(Duration::from_secs(1)) {
                return Ok(());
            }
        }
        // With its init the whole container dies, and systemd-nspawn tidies up; if it hangs itself, it goes too.
        process::leader(supervisor.id).into_iter().for_each(process::kill);
        if node.wait(Duration::from_secs(2)) {
            return Ok(());
        }
        self.kill_group(instance_id);
        if node.wait(Duration::from_secs(10)) {
            return Ok(());
        }
        Err(DriverError::State(format!("node {instance_id} cannot be ended")))
    }

    pub(super) fn reboot_node(self: &Arc<Self>, instance_id: &str) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let _operation = lock(&node.operation);
        self.stop_locked(instance_id, &node, false)?;
        let boot: NodeBoot = read_json(&self.boot_file(instance_id))
            .ok_or_else(|| DriverError::State(format!("node {instance_id} was never booted")))?;
        self.boot_locked(&node, &boot)
    }

    pub(super) fn freeze_layer(&self, instance_id: &str, layer: &str) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let _operation = lock(&node.operation);
        if node.supervisor().is_some() {
            return Err(DriverError::State(format!("node {instance_id} runs: its layer cannot be frozen")));
        }
        self.unmount_root(instance_id)?;
        self.freeze_root(instance_id, layer)
    }

    pub(super) fn destroy_node(&self, instance_id: &str) -> Result<(), DriverError> {
        let node = self.node(check_id(instance_id)?);
        let operation = lock(&node.operation);
        self.stop_locked(instance_id, &node, true)?;
        if let Some(boot) = read_json::<NodeBoot>(&self.boot_file(instance_id)) {
            self.clear_away(&boot)?;
        }
        self.unmount_root(instance_id)?;
        self.discard(&self.node_folder(instance_id))?;
        drop(operation);
        lock(&self.nodes).remove(instance_id);
        Ok(())
    }

    /// Chooses the least taken of the machine's cores; empty when the node may use all.
    fn choose_cores(&self, instance_id: &str, wanted: u32) -> Vec<usize> {
        let mut taken = lock(&self.cores);
        let chosen = least_taken(&process::own_cores(), &taken, wanted as usize);
        taken.insert(instance_id.to_owned(), chosen.clone());
        chosen
    }

    pub(super) fn console(&self, instance_id: &str, limit: usize) -> Result<Vec<u8>, DriverError> {
        let path = self.console_file(check_id(instance_id)?);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error(format!("{} cannot be read", path.display()))(error)),
        };
        Ok(text[text.len().saturating_sub(limit)..].to_vec())
    }

    /// Whether commands can be run: the message bus is there once the system is initialised, user data read included.
    pub(super) fn is_up(&self, instance_id: &str) -> bool {
        let Ok(leader) = self.leader(instance_id) else { return false };
        let socket = format!("/proc/{leader}/root/run/dbus/system_bus_socket");
        std::os::unix::net::UnixStream::connect(socket).is_ok_and(|mut stream| stream.flush().is_ok())
    }
}

/// The `wanted` cores that the fewest nodes have, in order; empty when that is all or more than all.
fn least_taken(all: &[usize], taken: &HashMap<String, Vec<usize>>, wanted: usize) -> Vec<usize> {
    if wanted == 0 || wanted >= all.len() {
        return Vec::new();
    }
    let mut ranked: Vec<usize> = all.to_vec();
    ranked.sort_by_key(|core| taken.values().filter(|cores| cores.contains(core)).count());
    ranked.truncate(wanted);
    ranked.sort_unstable();
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_cores_of_their_own_while_there_are_some() {
        let mut taken = HashMap::new();
        let all = [0, 1, 2, 3];
        for (id, expected) in [("a", vec![0, 1]), ("b", vec![2, 3]), ("c", vec![0, 1])] {
            let cores = least_taken(&all, &taken, 2);
            assert_eq!(cores, expected);
            taken.insert(id.to_owned(), cores);
        }
        assert!(least_taken(&all, &taken, 4).is_empty(), "a node as large as the machine is bound to nothing");
    }
}

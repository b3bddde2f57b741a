//! Programs run in a node as root, by entering the namespaces of its init.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::{Ground, io_error, lock, program};
use crate::node::{DriverError, NodeCommand, NodeCommandResult};

/// Environment of every command; the caller's own entries come on top.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("LANG", "C.UTF-8")];

/// How long output is awaited after the program has ended: a process it left behind may hold its streams for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// Ends a process group unless it is told that the group's leader has been reaped.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(leader) = self.0 {
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first bytes of a stream, and whether there were more.
type Output = Arc<Mutex<(Vec<u8>, bool)>>;

impl Ground {
    /// Starts a program in the node, in a session of its own.
    fn enter_node(&self, instance_id: &str, wanted: &NodeCommand) -> Result<Child, DriverError> {
        let leader = self.leader(instance_id)?;
        let mut command = program::command("nsenter")?;
        command.env_clear().envs(ENVIRONMENT.iter().copied()).envs(&wanted.environment);
        command.arg(format!("--target={leader}"));
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root"]);
        let directory = if wanted.working_directory.is_empty() { "/" } else { &wanted.working_directory };
        command.arg(format!("--wdns={directory}")).arg("--").args(&wanted.argv);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let group = self.command_group(instance_id)?;
        let cores = self.affinity(instance_id);
        let mut command = Command::from(command);
        // SAFETY: only system calls that are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                rustix::io::write(group.as_fd(), b"0")?;
                if let Some(cores) = &cores {
                    rustix::thread::sched_setaffinity(None, cores)?;
                }
                Ok(())
            });
        }
        command.spawn().map_err(io_error(format!("command cannot be started in {instance_id}")))
    }

    /// The node's cores, if it is bound to some.
    fn affinity(&self, instance_id: &str) -> Option<rustix::thread::CpuSet> {
        let taken = lock(&self.cores);
        let cores = taken.get(instance_id).filter(|cores| !cores.is_empty())?;
        let mut set = rustix::thread::CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        Some(set)
    }

    /// Runs a command to its end, its time limit, or `cancel`; dropping the future kills the group as well.
    pub(super) async fn run_command(
        &self,
        instance_id: &str,
        command: &NodeCommand,
        limits: (usize, usize),
        cancel: oneshot::Receiver<()>,
    ) -> Result<NodeCommandResult, DriverError> {
        if command.argv.is_empty() {
            return Err(DriverError::State("command has no program".to_owned()));
        }
        let mut child = self.enter_node(instance_id, command)?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        if let Some(mut stdin) = child.stdin.take() {
            let input = command.stdin.clone();
            // A command need not read its input; a broken pipe is no failure.
            tokio::spawn(async move { stdin.write_all(&input).await });
        }
        let (stdout, stdout_end) = collect(child.stdout.take(), limits.0);
        let (stderr, stderr_end) = collect(child.stderr.take(), limits.1);
        let (mut timed_out, mut cancelled) = (false, false);
        tokio::select! {
            biased;
            _ = child.wait() => {}
            () = asked(cancel) => cancelled = true,
            () = tokio::time::sleep(command.timeout) => timed_out = true,
        }
        if timed_out || cancelled {
            group.kill();
        }
        let status = child.wait().await.map_err(io_error(format!("command in {instance_id} cannot be awaited")))?;
        group.0 = None;
        let _ = tokio::time::timeout(OUTPUT_GRACE, async { (stdout_end.await, stderr_end.await) }).await;
        let taken = |output: &Output| std::mem::take(&mut *lock(output));
        Ok(NodeCommandResult {
            status: exit_status(status),
            timed_out,
            cancelled,
            stdout: taken(&stdout),
            stderr: taken(&stderr),
        })
    }
}

/// Resolves when the caller cancels; a caller that has gone away without a word does not.
async fn asked(cancel: oneshot::Receiver<()>) {
    if cancel.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Reads a stream to its end in the background, keeping the first bytes; the receiver resolves at the end.
fn collect<S: AsyncRead + Unpin + Send + 'static>(stream: Option<S>, limit: usize) -> (Output, oneshot::Receiver<()>) {
    let output = Output::default();
    let (ended, end) = oneshot::channel();
    let kept = output.clone();
    tokio::spawn(async move {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut kept = lock(&kept);
            let room = limit.saturating_sub(kept.0.len()).min(count);
            kept.0.extend_from_slice(&buffer[..room]);
            kept.1 |= room < count;
        }
        let _ = ended.send(());
    });
    (output, end)
}

/// The shell's way to write a status: 128 + signal for one that was killed.
fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

//! Carries commands to nodes: concurrency, error limits, delivery, the script itself, its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::commands::PLUGIN;
use crate::cloud::{Cloud, State};
use crate::faults::{Facts, Fault, Stage};
use crate::model::ec2::InstanceState;
use crate::model::ssm::{Outcome, STDERR_LIMIT, STDOUT_LIMIT, Status, content, rate};
use crate::node::{DriverError, NodeCommand, NodeCommandResult};
use crate::operations::ec2::facts_of;
use crate::store::chain;

/// Scripts at once on one instance (the agent's `CommandWorkersLimit`).
const WORKERS: usize = 5;

/// How often an instance that cannot be reached is tried.
const DELIVERY_POLL: Duration = Duration::from_millis(200);

/// How long a stopping server waits for the scripts it killed to be gone.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Exit statuses with which a script asks for a reboot and another run, or says that it succeeded and nothing is left.
const REBOOT: i32 = 194;
const SUCCESS_EARLY: i32 = 168;

/// What the agent reports for a script that it killed.
const KILLED: i32 = 137;

/// Puts the script from standard input into the folder `$1`, runs it in `$2`, and cleans up when it succeeded.
/// Like the agent it starts `sh -c PATH`, so that a first line `#!` is honoured, and has no HOME: scripts that need one
/// fail on AWS too.
const LAUNCHER: &str = "\
unset HOME
umask 077 && mkdir -p \"$1\" && cat > \"$1/_script.sh\" && chmod 700 \"$1/_script.sh\" && cd \"$2\" || exit 1
umask 022
sh -c \"$1/_script.sh\" </dev/null
status=$?
[ $status -ne 0 ] || rm -rf \"$3\"
exit $status";

/// Marks the processes of a command, by its id.
const MARK: &str = "LOCAL_CLOUD_COMMAND_ID";

/// Kills what a former server's command `$1` left, as that server would have at a time-out: processes that made a
/// session of their own live on. A session that began outside of the node has no number in it.
const SWEEPER: &str = "\
for process in /proc/[0-9]*; do
  grep -qzxF \"$2=$1\" \"$process/environ\" || continue
  [ \"$(sed 's/.*) //' \"$process/stat\" | cut -d' ' -f4)\" = 0 ] && kill -KILL \"${process#/proc/}\"
done 2>/dev/null
exit 0";

/// Enough for a look at every process of a node.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// What a command runs on each instance.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub text: String,
    /// Empty for the root folder.
    pub working_directory: String,
    pub timeout: Duration,
}

/// Invocations in flight, and how to end them.
#[derive(Debug, Default)]
pub struct Running {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By command and instance: the status that the invocation is asked to end with.
    ends: BTreeMap<(String, String), watch::Sender<Option<Status>>>,
    /// Free workers by instance.
    workers: BTreeMap<String, Arc<Semaphore>>,
}

impl Running {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: &str, instance_id: &str) -> watch::Receiver<Option<Status>> {
        let (sender, receiver) = watch::channel(None);
        self.inner().ends.insert((id.to_owned(), instance_id.to_owned()), sender);
        receiver
    }

    fn remove(&self, id: &str, instance_id: &str) {
        self.inner().ends.remove(&(id.to_owned(), instance_id.to_owned()));
    }

    fn workers(&self, instance_id: &str) -> Arc<Semaphore> {
        let mut inner = self.inner();
        let workers = inner.workers.entry(instance_id.to_owned());
        Arc::clone(workers.or_insert_with(|| Arc::new(Semaphore::new(WORKERS))))
    }

    /// Forgets the workers of instances that are gone.
    pub(super) fn keep_workers(&self, is_alive: impl Fn(&str) -> bool) {
        self.inner().workers.retain(|id, workers| is_alive(id) || workers.available_permits() < WORKERS);
    }

    /// Asks an invocation to end with this status; one that is not in flight is left alone.
    pub(super) fn end(&self, id: &str, instance_id: &str, status: Status) {
        if let Some(sender) = self.inner().ends.get(&(id.to_owned(), instance_id.to_owned())) {
            sender.send_replace(Some(status));
        }
    }
}

/// Ends what a former server left unfinished: nobody listens to those scripts any more, and those that still run are
/// killed. Call it once the driver has taken up the nodes.
pub fn recover(cloud: &Arc<Cloud>) {
    let mut started = Vec::new();
    {
        let mut state = cloud.state();
        let now = Timestamp::now();
        for (id, instance_id) in state.ssm.commands.unfinished() {
            let had_started = state.ssm.commands.get(&id).and_then(|it| it.invocation(&instance_id)?.started).is_some();
            let reason = if had_started {
                "the cloud's server ended while this command ran; it may have run in part"
            } else {
                "the cloud's server ended before this command ran"
            };
            let outcome = Outcome::without_output(Status::Terminated, reason);
            state.ssm.commands.end(&id, &instance_id, outcome, now);
            if had_started {
                started.push((id, instance_id));
            }
        }
    }
    cloud.changed();
    for (id, instance_id) in started {
        tokio::spawn(sweep(Arc::clone(cloud), id, instance_id));
    }
}

/// Kills the processes of a command whose server is gone; a node that is not up has none.
async fn sweep(cloud: Arc<Cloud>, id: String, instance_id: String) {
    let command = NodeCommand {
        argv: ["sh", "-c", SWEEPER, PLUGIN, &id, MARK].map(str::to_owned).to_vec(),
        stdin: Vec::new(),
        environment: BTreeMap::new(),
        working_directory: "/".to_owned(),
        timeout: SWEEP_LIMIT,
    };
    let (_cancel, cancelled) = oneshot::channel();
    if let Err(error) = cloud.driver.run(&instance_id, &command, (0, 0), cancelled).await {
        cloud.log.line(format_args!("command {id} may still run in {instance_id}: {}", chain(&error)));
    }
}

/// Kills every script in flight and waits until each is recorded.
pub async fn stop(cloud: &Cloud) {
    for sender in cloud.running.inner().ends.values() {
        sender.send_replace(Some(Status::Terminated));
    }
    let mut changes = cloud.changes();
    let all_ended = async {
        while !cloud.running.inner().ends.is_empty() {
            let _ = tokio::time::timeout(DELIVERY_POLL, changes.changed()).await;
        }
    };
    if tokio::time::timeout(STOP_LIMIT, all_ended).await.is_err() {
        cloud.log.line("commands in flight did not end in time");
    }
}

/// Begins a command that is in the model.
pub(super) fn start(cloud: &Arc<Cloud>, id: &str, script: Script) {
    let work = {
        let state = cloud.state();
        let Some(command) = state.ssm.commands.get(id) else { return };
        let targets: Vec<String> = command.invocations.iter().map(|it| it.instance_id.clone()).collect();
        Work {
            cloud: Arc::clone(cloud),
            id: id.to_owned(),
            // A percentage of few targets still means one.
            at_once: rate(&command.max_concurrency, targets.len()).unwrap_or(1).max(1),
            errors: rate(&command.max_errors, targets.len()).unwrap_or(0),
            delivery: Duration::from_secs(command.timeout_seconds.unsigned_abs()),
            doomed: targets.iter().filter_map(|target| Some((target.clone(), doom(cloud, &state, target)?))).collect(),
            targets,
            script,
        }
    };
    // Listening before the caller has the command's id: a cancellation is never missed.
    let ends = work.targets.iter().map(|target| (target.clone(), cloud.running.add(id, target))).collect();
    tokio::spawn(Arc::new(work).send(ends));
}

/// The end that a command is to have on an instance that it never reaches, if that was asked for.
fn doom(cloud: &Cloud, state: &State, target: &str) -> Option<Status> {
    let facts = Facts { service: "ssm", ..facts_of(state.ec2.instance(target)?, "SendCommand") };
    match cloud.faults.strike(Stage::Delivery, &facts)? {
        Fault::Undeliverable => Some(Status::Undeliverable),
        Fault::DeliveryTimedOut => Some(Status::DeliveryTimedOut),
        _ => None,
    }
}

/// One command being carried out.
struct Work {
    cloud: Arc<Cloud>,
    id: String,
    targets: Vec<String>,
    script: Script,
    at_once: usize,
    errors: usize,
    delivery: Duration,
    /// Instances that the command is not to reach, and how it ends there.
    doomed: BTreeMap<String, Status>,
}

type End = watch::Receiver<Option<Status>>;

impl Work {
    /// Sends to one target after the other, `at_once` at a time, until there were more than `errors` errors.
    async fn send(self: Arc<Self>, targets: Vec<(String, End)>) {
        let mut sent = JoinSet::new();
        for (target, end) in targets {
            while sent.len() >= self.at_once {
                let _ = sent.join_next().await;
            }
            let failures = self.cloud.state().ssm.commands.get(&self.id).map_or(0, |command| command.errors());
            if failures > self.errors {
                self.finish(&target, Outcome::without_output(Status::Terminated, ""));
                continue;
            }
            let work = Arc::clone(&self);
            sent.spawn(async move {
                let outcome = work.invoke(&target, end).await;
                work.finish(&target, outcome);
            });
        }
        while sent.join_next().await.is_some() {}
    }

    fn finish(&self, target: &str, outcome: Outcome) {
        self.cloud.state().ssm.commands.end(&self.id, target, outcome, Timestamp::now());
        self.cloud.running.remove(&self.id, target);
        self.cloud.changed();
    }

    fn set(&self, target: &str, status: Status) {
        self.cloud.state().ssm.commands.change(&self.id, target, |invocation| {
            invocation.status = status;
            if status == Status::InProgress {
                invocation.started.get_or_insert_with(Timestamp::now);
            }
        });
        self.cloud.changed();
    }

    async fn invoke(&self, target: &str, mut end: End) -> Outcome {
        if let Some(status) = self.doomed.get(target) {
            return Outcome::without_output(*status, "");
        }
        let workers = self.cloud.running.workers(target);
        let delivery = async {
            // Closed never: the semaphore lives as long as this command holds it.
            let permit = workers.acquire().await;
            self.reach(target).await.map(|()| permit)
        };
        let _permit = tokio::select! {
            biased;
            status = asked(&mut end) => return Outcome::without_output(status, ""),
            delivered = tokio::time::timeout(self.delivery, delivery) => match delivered {
                Err(_) => return Outcome::without_output(Status::DeliveryTimedOut, ""),
                Ok(Err(outcome)) => return outcome,
                Ok(Ok(permit)) => permit,
            },
        };
        loop {
            self.set(target, Status::InProgress);
            match self.run(target, &mut end).await {
                Ok(result) if result.status == REBOOT && !result.timed_out && !result.cancelled => {
                    if let Err(outcome) = self.reboot(target, &mut end).await {
                        return outcome;
                    }
                }
                Ok(result) => return ended(&result, *end.borrow()),
                Err(error) => return broken(&error),
            }
        }
    }

    /// Waits until commands can be run in the node; an instance that will not come back is Undeliverable.
    async fn reach(&self, target: &str) -> Result<(), Outcome> {
        loop {
            let state = self.cloud.state().ec2.instance(target).map(|instance| instance.state);
            match state {
                Some(InstanceState::Running) if matches!(self.cloud.driver.is_up(target).await, Ok(true)) => {
                    return Ok(());
                }
                None | Some(InstanceState::ShuttingDown | InstanceState::Terminated) => {
                    return Err(Outcome::without_output(Status::Undeliverable, "the instance is terminated"));
                }
                _ => self.set(target, Status::Delayed),
            }
            tokio::time::sleep(DELIVERY_POLL).await;
        }
    }

    async fn run(&self, target: &str, end: &mut End) -> Result<NodeCommandResult, DriverError> {
        let (cancel, cancelled) = oneshot::channel();
        let command = self.command(target);
        let running = self.cloud.driver.run(target, &command, (STDOUT_LIMIT + 1, STDERR_LIMIT + 1), cancelled);
        tokio::pin!(running);
        tokio::select! {
            result = &mut running => return result,
            _ = asked(end) => self.set(target, Status::Cancelling),
        }
        // The driver may have finished this moment.
        let _ = cancel.send(());
        running.await
    }

    fn command(&self, target: &str) -> NodeCommand {
        let top = format!("/var/lib/amazon/ssm/{target}/document/orchestration/{}", self.id);
        let folder = format!("{top}/awsrunShellScript/0.awsrunShellScript");
        let working_directory = match self.script.working_directory.as_str() {
            "" => "/",
            path => path,
        };
        let argv = ["sh", "-c", LAUNCHER, PLUGIN, &folder, working_directory, &top];
        let environment = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("AWS_SSM_INSTANCE_ID", target),
            ("AWS_SSM_REGION_NAME", &self.cloud.config.region),
            (MARK, &self.id),
        ];
        NodeCommand {
            argv: argv.map(str::to_owned).to_vec(),
            stdin: self.script.text.clone().into_bytes(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            working_directory: "/".to_owned(),
            timeout: self.script.timeout,
        }
    }

    async fn reboot(&self, target: &str, end: &mut End) -> Result<(), Outcome> {
        self.cloud.driver.reboot(target).await.map_err(|error| broken(&error))?;
        tokio::select! {
            status = asked(end) => Err(Outcome::without_output(status, "")),
            back = tokio::time::timeout(self.delivery, self.reach(target)) => {
                back.unwrap_or_else(|_| Err(Outcome::without_output(Status::DeliveryTimedOut, "")))
            }
        }
    }
}

/// Waits until the invocation is asked to end, and says with which status.
async fn asked(end: &mut End) -> Status {
    let status = end.wait_for(Option::is_some).await.map(|status| *status);
    match status {
        Ok(Some(status)) => status,
        // The sender goes only after the invocation ended.
        _ => std::future::pending().await,
    }
}

/// The outcome of a script that came to an end, by itself or not.
fn ended(result: &NodeCommandResult, asked: Option<Status>) -> Outcome {
    let (status, response_code) = if result.timed_out {
        (Status::ExecutionTimedOut, KILLED)
    } else if result.cancelled {
        (asked.unwrap_or(Status::Cancelled), KILLED)
    } else if result.status == 0 || result.status == SUCCESS_EARLY {
        (Status::Success, result.status)
    } else {
        (Status::Failed, result.status)
    };
    let (stdout, more_stdout) = &result.stdout;
    let (stderr, more_stderr) = &result.stderr;
    let mut stderr = stderr.clone();
    if status == Status::Failed {
        // The agent's own last line.
        stderr.extend_from_slice(format!("failed to run commands: exit status {response_code}").as_bytes());
    }
    Outcome {
        status,
        response_code,
        stdout: content(stdout, *more_stdout, STDOUT_LIMIT),
        stderr: content(&stderr, *more_stderr, STDERR_LIMIT),
    }
}

/// The outcome of a script that the driver could not start, or lost.
fn broken(error: &DriverError) -> Outcome {
    match error {
        DriverError::State(_) => Outcome::without_output(Status::Undeliverable, chain(error)),
        _ => Outcome::without_output(Status::Failed, chain(error)),
    }
}

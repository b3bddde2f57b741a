//! What is kept of a failed step before anything of it is removed: console, boot log, SSM's results, EC2's reasons and the
//! API history, in one folder.
//!
//! Collecting never fails and never takes long: it has its own deadline, and what cannot be had is left out. The error that
//! led here stays the first one told.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_ec2::types::Instance;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ewulf_core::address::{Address, JOINED_TAG};
use ewulf_core::plan::{Action, Launch, Step, StoppedAttribute, StoppedChange};
use ewulf_core::spec::Market;
use serde_json::json;

use super::{Run, StepError};
use crate::aws::{CallRecord, Script, failure};
use crate::observe::filter;

/// Longest time for all of it: each source below has 25 s, and they are asked side by side.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longest time for one source; a node that does not answer a command by then is part of the finding.
const EACH: Duration = Duration::from_secs(25);

/// What is done about a failed step.
#[derive(Debug, Clone, Default)]
pub struct OnFailure {
    /// Folder that gets a folder for each failure; None collects nothing.
    pub folder: Option<PathBuf>,
    /// Terminates nodes that failed before they were ever part of the cluster.
    pub unwind: bool,
}

/// What was found out about a failed step, and what was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aftermath {
    /// What a launch asked for.
    pub tried: Option<Tried>,
    /// Findings, each a sentence without a period: the state reason, the boot stage, what SSM says.
    pub facts: Vec<String>,
    /// Where everything is.
    pub folder: Option<PathBuf>,
    /// New nodes that failed and were terminated.
    pub terminated: Vec<String>,
    /// New nodes that failed and still run.
    pub left: Vec<String>,
    /// How many rungs of ladders were tried in vain.
    pub rungs: usize,
}

/// What a failed launch asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    pub nodes: usize,
    pub instance_type: Option<String>,
    pub zone: Option<String>,
    pub market: Option<Market>,
    pub instance_profile: Option<String>,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} × {}", self.nodes, self.instance_type.as_deref().unwrap_or("unknown type"))?;
        if let Some(market) = self.market {
            formatter.write_str(if market == Market::Spot { ", spot" } else { ", on-demand" })?;
        }
        match &self.zone {
            Some(zone) => write!(formatter, ", in {zone}"),
            None => Ok(()),
        }
    }
}

/// Collects what there is about a failed step, then ends the new nodes that failed if that is wanted.
pub(super) async fn after(run: &Run, step: &Step, error: &StepError, wanted: &OnFailure) -> Aftermath {
    let mut aftermath = Aftermath { tried: tried(run, step).await, ..Aftermath::default() };
    let id = instance_of(error);
    if wanted.folder.is_none() && !(wanted.unwind && id.is_some()) {
        return aftermath;
    }
    let work = run.events.begin(format!("{}: evidence", step.address), "collecting what there is about the failure");
    // A source that hangs must not hide the rest: what was found by then is written.
    let mut found = Found::default();
    if let Some(id) = &id {
        let _ = tokio::time::timeout(DEADLINE, found.ask(run, id)).await;
    }
    aftermath.facts = found.facts();
    if let Some(folder) = &wanted.folder {
        let calls = history(run, id.as_deref(), error);
        match write(folder, run, step, error, &found, &aftermath, &calls) {
            Ok(folder) => aftermath.folder = Some(folder),
            Err(source) => aftermath.facts.push(format!("the evidence could not be written to {}: {source}", folder.display())),
        }
    }
    if let Some(id) = id.filter(|id| found.is_alive() && found.is_new(run, step, id)) {
        let is_ended = wanted.unwind && end(run, &id).await.is_ok();
        if is_ended { aftermath.terminated.push(id) } else { aftermath.left.push(id) }
    }
    work.done(match &aftermath.folder {
        Some(folder) => format!("kept in {}", folder.display()),
        None => "looked at the failure".to_owned(),
    });
    aftermath
}

/// The instance that an error names: its object is `ADDRESS ID`.
fn instance_of(error: &StepError) -> Option<String> {
    let object = match error {
        StepError::Ended { object, .. } | StepError::Slow { object, .. } => object,
        StepError::Boot { node, .. } | StepError::Node { node, .. } => node,
        StepError::Call(call) | StepError::PutBack { source: call, .. } => &call.object,
        StepError::Displaced { .. }
        | StepError::Unknown(_)
        | StepError::LockLost
        | StepError::Interrupted
        | StepError::GivenUp
        | StepError::Fewer { .. } => return None,
    };
    let is_id = |word: &&str| {
        word.strip_prefix("i-").is_some_and(|digits| digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    object.split([' ', ',']).find(is_id).map(str::to_owned)
}

/// What the launch of a failed step asked for: from the plan, else from the launch template that it names.
async fn tried(run: &Run, step: &Step) -> Option<Tried> {
    if let Action::ChangeStopped { nodes } = &step.action {
        return Some(tried_to_start(run, nodes).await);
    }
    let Action::Launch(launch) = &step.action else { return None };
    let mut tried = Tried { nodes: launch.indexes.len(), ..Tried::default() };
    for step in &run.plan.steps {
        match &step.action {
            Action::CreateTemplate { name, template } if *name == launch.template => {
                tried.instance_type = Some(template.instance_type.clone());
                tried.market = Some(template.market);
                tried.instance_profile = template.instance_profile.clone();
            }
            Action::CreateSubnet { zone, .. } => tried.zone = Some(zone.clone()),
            _ => {}
        }
    }
    let template = async {
        if tried.instance_type.is_none() {
            tokio::time::timeout(EACH, template_of(run, launch)).await.ok().flatten()
        } else {
            None
        }
    };
    let zone = async { if tried.zone.is_none() { zone(run).await } else { None } };
    let (template, zone) = tokio::join!(template, zone);
    if let Some((instance_type, market, instance_profile)) = template {
        (tried.instance_type, tried.market, tried.instance_profile) = (instance_type, Some(market), instance_profile);
    }
    tried.zone = tried.zone.or(zone);
    Some(tried)
}

/// Zone of the cluster's subnet.
async fn zone(run: &Run) -> Option<String> {
    let subnet = run.id(&Address::Subnet).ok()?;
    let answer = run.cloud.ec2.describe_subnets().filters(filter("subnet-id", subnet)).send();
    let answer = tokio::time::timeout(EACH, answer).await.ok()?.ok()?;
    answer.subnets().first()?.availability_zone.clone()
}

/// What stopped nodes were to be started as; only on-demand ones are ever stopped.
async fn tried_to_start(run: &Run, nodes: &[StoppedChange]) -> Tried {
    let kind = nodes.iter().flat_map(|node| &node.changes).find_map(|change| match change {
        StoppedAttribute::InstanceType { to, .. } => Some(to.clone()),
        _ => None,
    });
    let zone = zone(run).await;
    Tried { nodes: nodes.len(), instance_type: kind, zone, market: Some(Market::OnDemand), ..Tried::default() }
}

/// Type, market and profile of a launch template that an earlier apply made.
async fn template_of(run: &Run, launch: &Launch) -> Option<(Option<String>, Market, Option<String>)> {
    let request = run.cloud.ec2.describe_launch_template_versions().launch_template_name(&launch.template).versions("1");
    let answer = request.send().await.ok()?;
    let data = answer.launch_template_versions().first()?.launch_template_data.clone()?;
    let market = if data.instance_market_options.is_some() { Market::Spot } else { Market::OnDemand };
    let profile = data.iam_instance_profile.and_then(|profile| profile.name);
    Some((data.instance_type.map(|kind| kind.as_str().to_owned()), market, profile))
}

/// What EC2, SSM and the node itself say about a failed instance.
#[derive(Debug, Default)]
struct Found {
    instance: Option<Instance>,
    console: Option<String>,
    /// Boot stage, the cause that the boot unit wrote, and its log.
    boot: Option<String>,
    /// The last commands of SSM on it.
    commands: Vec<serde_json::Value>,
    /// Code and message of its spot request.
    spot: Option<(String, String)>,
}

impl Found {
    /// Asks every source, side by side.
    async fn ask(&mut self, run: &Run, id: &str) {
        let answer = run.cloud.ec2.describe_instances().filters(filter("instance-id", id)).send();
        if let Ok(Ok(answer)) = tokio::time::timeout(EACH, answer).await {
            let reservations = answer.reservations.unwrap_or_default();
            self.instance = reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).next();
        }
        let runs = self.state() == "running";
        let (console, boot, commands, spot) = tokio::join!(
            tokio::time::timeout(EACH, console(run, id)),
            tokio::time::timeout(EACH, async { if runs { boot(run, id).await } else { None } }),
            tokio::time::timeout(EACH, commands(run, id)),
            tokio::time::timeout(EACH, spot(run, self.instance.as_ref().and_then(|i| i.spot_instance_request_id()))),
        );
        self.console = console.ok().flatten();
        self.boot = boot.ok().flatten();
        self.commands = commands.unwrap_or_default();
        self.spot = spot.ok().flatten();
    }

    fn state(&self) -> String {
        let state = self.instance.as_ref().and_then(|instance| instance.state()).and_then(|state| state.name());
        state.map_or_else(|| "not visible".to_owned(), |state| state.as_str().to_owned())
    }

    /// Whether it may still run; one that is not visible may.
    fn is_alive(&self) -> bool {
        !matches!(self.state().as_str(), "shutting-down" | "terminated")
    }

    fn state_reason(&self) -> Option<(String, String)> {
        let reason = self.instance.as_ref()?.state_reason.as_ref()?;
        Some((reason.code.clone().unwrap_or_default(), reason.message.clone().unwrap_or_default()))
    }

    /// Whether it was never part of the cluster: made by this run, or found unfit to join by it, and without the mark of
    /// having joined. A node that stood before is none, whatever change of it failed.
    fn is_new(&self, run: &Run, step: &Step, id: &str) -> bool {
        let may_be = run.made(id) || matches!(step.action, Action::Join { .. });
        match &self.instance {
            Some(instance) => may_be && !instance.tags().iter().any(|tag| tag.key() == Some(JOINED_TAG)),
            None => run.made(id),
        }
    }

    /// The findings as sentences, from the outermost to the innermost.
    fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        if let Some((code, message)) = self.state_reason() {
            let message = message.strip_prefix(&format!("{code}: ")).map(str::to_owned).unwrap_or(message);
            facts.push(format!("EC2's state reason is {code}: {message}"));
        }
        if let Some((code, message)) = &self.spot {
            facts.push(format!("its spot request is {code}: {message}"));
        }
        if let Some(stage) = self.boot.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("stage: "))) {
            facts.push(format!("its boot stands at stage {stage}"));
        }
        facts
    }
}

async fn console(run: &Run, id: &str) -> Option<String> {
    let answer = run.cloud.ec2.get_console_output().instance_id(id).send().await.ok()?;
    let text = STANDARD.decode(answer.output?.split_whitespace().collect::<String>()).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.trim().is_empty())
}

/// The boot unit's own files, of a node that answers commands.
async fn boot(run: &Run, id: &str) -> Option<String> {
    let body = "echo \"stage: $(cat /run/ewulf/stage 2>/dev/null || echo none)\"\n\
                if [ -e /run/ewulf/failed ]; then echo 'failed:'; cat /run/ewulf/failed; fi\n\
                echo 'log:'; tail -c 18000 /var/log/ewulf-node.log 2>/dev/null || true\n";
    let script = Script::new("evidence of a failure", body).timeout(Duration::from_secs(15));
    let outcome = run.cloud.run_on_one(id, &script).await.ok()?;
    Some(if outcome.is_success() { outcome.stdout } else { outcome.tail(40) }).filter(|text| !text.trim().is_empty())
}

/// Status, details and output of the last commands on the node.
async fn commands(run: &Run, id: &str) -> Vec<serde_json::Value> {
    let request = run.cloud.ssm.list_command_invocations().instance_id(id).details(true).max_results(10);
    let Ok(answer) = request.send().await else { return Vec::new() };
    let told = |invocation: aws_sdk_ssm::types::CommandInvocation| {
        let plugin = invocation.command_plugins().first();
        json!({
            "command": invocation.command_id(),
            "comment": invocation.comment(),
            "status": invocation.status().map(|status| status.as_str()),
            "status_details": invocation.status_details(),
            "exit": plugin.map(|plugin| plugin.response_code()),
            "output": plugin.and_then(|plugin| plugin.output()),
        })
    };
    answer.command_invocations.unwrap_or_default().into_iter().map(told).collect()
}

async fn spot(run: &Run, request: Option<&str>) -> Option<(String, String)> {
    let by_id = filter("spot-instance-request-id", request?);
    let answer = run.cloud.ec2.describe_spot_instance_requests().filters(by_id).send().await.ok()?;
    let status = answer.spot_instance_requests().first()?.status()?.clone();
    Some((status.code.unwrap_or_default(), status.message.unwrap_or_default()))
}

/// The calls that touched the failed resource; without an instance, those of the action that failed and of its objects.
fn history(run: &Run, id: Option<&str>, error: &StepError) -> Vec<CallRecord> {
    let (mut ids, mut action) = (BTreeSet::new(), None);
    ids.extend(id.map(str::to_owned));
    if let StepError::Call(call) | StepError::PutBack { source: call, .. } = error {
        action = Some(call.call);
        ids.extend(call.object.split([' ', ',']).filter(|word| word.contains('-')).map(str::to_owned));
    }
    run.cloud.calls.history(&ids.into_iter().collect::<Vec<_>>(), action)
}

/// Ends a node that failed; whoever applies again launches another.
async fn end(run: &Run, id: &str) -> Result<(), crate::aws::CallError> {
    let answer = run.cloud.ec2.terminate_instances().instance_ids(id).send().await;
    answer.map(drop).map_err(|error| failure("TerminateInstances", id, error))
}

/// Writes everything into a new folder; files that only their owner may read, since a console may show anything.
fn write(
    folder: &Path,
    run: &Run,
    step: &Step,
    error: &StepError,
    found: &Found,
    aftermath: &Aftermath,
    calls: &[CallRecord],
) -> std::io::Result<PathBuf> {
    let folder = create_folder(folder, run.plan.cluster.as_str(), &step.address)?;
    let mut causes = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let state_reason = found.state_reason().map(|(code, message)| json!({ "code": code, "message": message }));
    let spot = found.spot.as_ref().map(|(code, message)| json!({ "code": code, "message": message }));
    let instance = instance_of(error).map(|id| json!({ "id": id, "state": found.state(), "state_reason": state_reason }));
    let call = match error {
        StepError::Call(call) | StepError::PutBack { source: call, .. } => {
            Some(json!({ "action": call.call, "code": call.code, "class": format!("{:?}", call.class) }))
        }
        _ => None,
    };
    let cause = json!({
        "time": jiff::Timestamp::now().to_string(),
        "cluster": run.plan.cluster,
        "address": step.address,
        "doing": super::actions::sentence(&step.action),
        "causes": causes,
        "facts": aftermath.facts,
        "call": call,
        "tried": aftermath.tried,
        "instance": instance,
        "spot_request": spot,
        "commands": found.commands,
    });
    put(&folder.join("cause.json"), format!("{cause:#}\n").as_bytes())?;
    if let Some(console) = &found.console {
        put(&folder.join("console.txt"), console.as_bytes())?;
    }
    if let Some(boot) = &found.boot {
        put(&folder.join("boot.log"), boot.as_bytes())?;
    }
    let mut lines = String::new();
    for call in calls {
        lines.push_str(&serde_json::to_string(call)?);
        lines.push('\n');
    }
    put(&folder.join("calls.jsonl"), lines.as_bytes())?;
    Ok(folder)
}

/// Makes `TIME-CLUSTER-ADDRESS`, with a number behind it if two failures of one second have the same name.
fn create_folder(above: &Path, cluster: &str, address: &Address) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(above)?;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let name = format!("{time}-{cluster}-{}", address.to_string().replace(['/', ','], "-"));
    for number in 1.. {
        let folder = above.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 100 => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

fn put(path: &Path, content: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_failed_instance_is_read_from_the_objects_name() {
        let boot = StepError::Boot { node: "node/compute/3 i-0123456789abcdef0".to_owned(), cause: String::new() };
        assert_eq!(instance_of(&boot).as_deref(), Some("i-0123456789abcdef0"));
        let master = StepError::Boot { node: "node/master".to_owned(), cause: String::new() };
        assert_eq!(instance_of(&master), None);
    }

    #[test]
    fn two_failures_of_one_second_get_two_folders_that_only_their_owner_reads() {
        let above = tempfile::tempdir().unwrap();
        let address: Address = "node/compute/0-3,7".parse().unwrap();
        let folders = [(); 3].map(|()| create_folder(above.path(), "demo", &address).unwrap());
        let distinct: BTreeSet<&PathBuf> = folders.iter().collect();
        assert_eq!(distinct.len(), 3);
        assert!(folders[0].to_string_lossy().contains("-demo-node-compute-0-3-7"), "{folders:?}");
        put(&folders[0].join("cause.json"), b"{}").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folders[0]), mode(&folders[0].join("cause.json"))), (0o700, 0o600));
    }

    #[test]
    fn what_was_tried_is_one_line() {
        let tried = Tried {
            nodes: 4,
            instance_type: Some("c7i.large".to_owned()),
            zone: Some("us-east-1a".to_owned()),
            market: Some(Market::Spot),
            instance_profile: None,
        };
        assert_eq!(tried.to_string(), "4 × c7i.large, spot, in us-east-1a");
    }
}

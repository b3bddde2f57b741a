//! SendCommand, CancelCommand and the three ways to look at commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::execute::{self, Script};
use super::{Page, compact, documents, invalid};
use crate::cloud::{Cloud, State};
use crate::faults::{Facts, Fault, Hold, Stage};
use crate::model::ec2::InstanceState;
use crate::model::ssm::{Command, Invocation, Status, Target, plugin_output, rate};
use crate::wire::error::ApiError;
use crate::wire::json::{input, seconds};
use crate::wire::xml::uuid;

/// The one document of this cloud.
pub(super) const DOCUMENT: &str = "AWS-RunShellScript";

/// The one plugin of that document.
pub(super) const PLUGIN: &str = "aws:runShellScript";

/// Largest sum of a command's parameters: what a document may have.
const MAXIMUM_PARAMETERS: usize = 64 << 10;

const MAXIMUM_INSTANCES: usize = 50;
const MAXIMUM_TARGETS: usize = 5;

/// The agent's default for scripts, and the range outside which it falls back to it.
const EXECUTION_TIMEOUT: u64 = 3600;
const EXECUTION_TIMEOUTS: std::ops::RangeInclusive<u64> = 5..=172_800;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Send {
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    document_name: String,
    document_version: Option<String>,
    timeout_seconds: Option<i64>,
    comment: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    max_concurrency: Option<String>,
    max_errors: Option<String>,
}

pub(super) fn send(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Send = input(body)?;
    documents::check(&call.document_name, call.document_version.as_deref())?;
    let script = script(&call.parameters)?;
    let timeout_seconds = call.timeout_seconds.unwrap_or(3600);
    if !(30..=2_592_000).contains(&timeout_seconds) {
        return Err(invalid("timeoutSeconds is not between 30 and 2592000"));
    }
    if call.comment.as_ref().is_some_and(|comment| comment.chars().count() > 100) {
        return Err(invalid("comment has more than 100 characters"));
    }
    let now = Timestamp::now();
    let lifetime = Duration::from_secs(timeout_seconds.unsigned_abs()) + script.timeout;
    let (answer, id) = {
        let mut state = cloud.state();
        let instances = chosen(&state, &call, &cloud.config.account)?;
        let max_concurrency = call.max_concurrency.unwrap_or_else(|| "50".to_owned());
        let max_errors = call.max_errors.unwrap_or_else(|| "0".to_owned());
        if rate(&max_concurrency, 100).is_none_or(|most| most == 0) {
            return Err(invalid(format!("maxConcurrency {max_concurrency} is not a number from 1 or a percentage")));
        }
        if rate(&max_errors, 100).is_none() {
            return Err(invalid(format!("maxErrors {max_errors} is not a number or a percentage")));
        }
        let command = Command {
            id: uuid(),
            document: DOCUMENT.to_owned(),
            comment: call.comment.unwrap_or_default(),
            parameters: call.parameters,
            instance_ids: call.instance_ids,
            targets: call.targets,
            requested: now,
            expires: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            timeout_seconds,
            max_concurrency,
            max_errors,
            invocations: instances.into_iter().map(|(id, name)| new_invocation(id, name)).collect(),
        };
        let answer = json!({ "Command": shown(&command) });
        let id = command.id.clone();
        state.ssm.commands.add(command);
        (answer, id)
    };
    cloud.changed();
    let facts = Facts { service: "ssm", action: "SendCommand".to_owned(), ..Facts::default() };
    if let Some(Fault::InvocationLag { seconds }) = cloud.faults.strike(Stage::Sent, &facts) {
        cloud.faults.hold(Hold::Command, &id, cloud.uptime() + seconds.duration());
    }
    execute::start(cloud, &id, script);
    Ok(answer)
}

fn new_invocation(instance_id: String, instance_name: String) -> Invocation {
    Invocation {
        instance_id,
        instance_name,
        status: Status::Pending,
        started: None,
        ended: None,
        response_code: -1,
        stdout: String::new(),
        stderr: String::new(),
    }
}

/// What the document's parameters say.
fn script(parameters: &BTreeMap<String, Vec<String>>) -> Result<Script, ApiError> {
    let wrong = |message: String| ApiError::new("InvalidParameters", message);
    let known = ["commands", "workingDirectory", "executionTimeout"];
    if let Some(unknown) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(wrong(format!("Parameter \"{unknown}\" is not in document {DOCUMENT}")));
    }
    let bytes: usize = parameters.values().flatten().map(String::len).sum();
    if bytes > MAXIMUM_PARAMETERS {
        let message = format!("The parameters have {bytes} bytes; at most {MAXIMUM_PARAMETERS} are possible.");
        return Err(ApiError::new("MaxDocumentSizeExceeded", message));
    }
    let single = |name: &str| match parameters.get(name).map(Vec::as_slice) {
        None | Some([]) => Ok(""),
        Some([value]) => Ok(value.as_str()),
        Some(_) => Err(wrong(format!("Parameter \"{name}\" takes one value"))),
    };
    let Some(commands) = parameters.get("commands").filter(|commands| !commands.is_empty()) else {
        return Err(wrong(format!("Document {DOCUMENT} requires parameter \"commands\"")));
    };
    let timeout: Option<u64> = match single("executionTimeout")? {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            wrong(format!("Parameter \"executionTimeout\" has value \"{text}\", which is not a number of seconds"))
        })?),
    };
    let timeout = timeout.filter(|seconds| EXECUTION_TIMEOUTS.contains(seconds)).unwrap_or(EXECUTION_TIMEOUT);
    Ok(Script {
        text: format!("{}\n", commands.join("\n")),
        working_directory: single("workingDirectory")?.to_owned(),
        timeout: Duration::from_secs(timeout),
    })
}

/// The instances that the call is for, each with its name: all that were listed, or those of the targets that can take
/// commands now.
fn chosen(state: &State, call: &Send, account: &str) -> Result<Vec<(String, String)>, ApiError> {
    let name = |id: &str| state.ec2.instance(id).and_then(|it| it.tags.get("Name")).cloned().unwrap_or_default();
    match (call.instance_ids.as_slice(), call.targets.as_slice()) {
        ([], []) => Err(invalid("instanceIds or targets must be given")),
        (ids, []) => {
            if ids.len() > MAXIMUM_INSTANCES {
                return Err(invalid(format!("instanceIds has more than {MAXIMUM_INSTANCES} members")));
            }
            if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
                return Err(ApiError::new("DuplicateInstanceId", "An instance id is listed twice."));
            }
            let absent: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !takes_commands(state, id)).collect();
            if !absent.is_empty() {
                let message = format!("Instances [[{}]] not in a valid state for account {account}", absent.join(", "));
                return Err(ApiError::new("InvalidInstanceId", message));
            }
            Ok(ids.iter().map(|id| (id.clone(), name(id))).collect())
        }
        ([], targets) => {
            if targets.len() > MAXIMUM_TARGETS {
                return Err(invalid(format!("targets has more than {MAXIMUM_TARGETS} members")));
            }
            if let Some(target) = targets.iter().find(|it| it.key != "InstanceIds" && !it.key.starts_with("tag:")) {
                return Err(invalid(format!("the target key {} is not supported", target.key)));
            }
            let instances = state.ec2.instances().filter(|instance| {
                takes_commands(state, &instance.id)
                    && targets.iter().all(|target| match target.key.strip_prefix("tag:") {
                        Some(key) => instance.tags.get(key).is_some_and(|value| target.values.contains(value)),
                        None => target.values.contains(&instance.id),
                    })
            });
            Ok(instances.map(|instance| (instance.id.clone(), name(&instance.id))).collect())
        }
        _ => Err(invalid("instanceIds and targets can't be given together")),
    }
}

/// Whether the instance runs and has registered since its start.
pub(super) fn takes_commands(state: &State, id: &str) -> bool {
    state.ec2.instance(id).is_some_and(|instance| instance.state == InstanceState::Running)
        && state.ssm.registrations.get(id).is_some_and(|registration| registration.online)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Cancel {
    command_id: String,
    #[serde(default)]
    instance_ids: Vec<String>,
}

/// Asks for the end of a command's invocations; those that ended stay as they are.
pub(super) fn cancel(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Cancel = input(body)?;
    let instances: Vec<String> = {
        let state = cloud.state();
        let command = state.ssm.commands.get(&call.command_id).ok_or_else(|| unknown_command(&call.command_id))?;
        if let Some(id) = call.instance_ids.iter().find(|id| command.invocation(id).is_none()) {
            return Err(ApiError::new("InvalidInstanceId", format!("{id} is not an instance of this command")));
        }
        let all = command.invocations.iter().map(|invocation| invocation.instance_id.clone());
        if call.instance_ids.is_empty() { all.collect() } else { call.instance_ids }
    };
    for instance in instances {
        cloud.running.end(&call.command_id, &instance, Status::Cancelled);
    }
    Ok(json!({}))
}

fn unknown_command(id: &str) -> ApiError {
    ApiError::new("InvalidCommandId", format!("The command id {id} does not exist."))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    details: bool,
}

impl List {
    fn page(&self) -> Page<'_> {
        Page { token: self.next_token.as_deref(), asked: self.max_results, bounds: 1..=50, default: 50 }
    }

    fn admits_command(&self, command: &Command) -> bool {
        self.command_id.as_ref().is_none_or(|id| *id == command.id)
            && self.instance_id.as_ref().is_none_or(|id| command.invocation(id).is_some())
    }
}

/// A filter, read: a moment, or words to be equal to.
enum Wanted<'a> {
    After(Timestamp),
    Before(Timestamp),
    Status(&'a str),
    Document(&'a str),
}

impl Wanted<'_> {
    fn read(filters: &[Filter]) -> Result<Vec<Wanted<'_>>, ApiError> {
        let mut wanted = Vec::new();
        for Filter { key, value } in filters {
            let moment = || value.parse().map_err(|_| invalid(format!("{value} is not a time")));
            wanted.push(match key.as_str() {
                "InvokedAfter" => Wanted::After(moment()?),
                "InvokedBefore" => Wanted::Before(moment()?),
                "Status" => Wanted::Status(value),
                "DocumentName" => Wanted::Document(value),
                _ => return Err(ApiError::new("InvalidFilterKey", format!("The filter key {key} is not supported."))),
            });
        }
        Ok(wanted)
    }

    fn admits(&self, command: &Command, status: (&str, &str)) -> bool {
        match self {
            Self::After(time) => command.requested >= *time,
            Self::Before(time) => command.requested < *time,
            Self::Status(word) => *word == status.0 || *word == status.1,
            Self::Document(name) => *name == command.document,
        }
    }
}

pub(super) fn list(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: List = input(body)?;
    let wanted = Wanted::read(&call.filters)?;
    let state = cloud.state();
    let commands = state
        .ssm
        .commands
        .newest_first()
        .filter(|command| call.admits_command(command) && wanted.iter().all(|it| it.admits(command, command.status())));
    let (page, next) = call.page().cut(commands, |command| command.id.clone())?;
    let commands: Vec<Value> = page.into_iter().map(shown).collect();
    Ok(compact(json!({ "Commands": commands, "NextToken": next })))
}

pub(super) fn list_invocations(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: List = input(body)?;
    let wanted = Wanted::read(&call.filters)?;
    let state = cloud.state();
    let commands = state.ssm.commands.newest_first().filter(|command| call.admits_command(command));
    let commands = commands.filter(|command| !is_hidden(cloud, command));
    let invocations = commands
        .flat_map(|command| command.invocations.iter().map(move |invocation| (command, invocation)))
        .filter(|(_, invocation)| call.instance_id.as_ref().is_none_or(|id| *id == invocation.instance_id))
        .filter(|(command, invocation)| {
            let status = (invocation.status.wire(), invocation.status.details());
            wanted.iter().all(|it| it.admits(command, status))
        });
    let key = |(command, invocation): &(&Command, &Invocation)| format!("{}/{}", command.id, invocation.instance_id);
    let (page, next) = call.page().cut(invocations, key)?;
    let shown = |(command, invocation)| shown_invocation(command, invocation, call.details);
    let invocations: Vec<Value> = page.into_iter().map(shown).collect();
    Ok(compact(json!({ "CommandInvocations": invocations, "NextToken": next })))
}

/// Whether nobody knows of the command's invocations yet, because lag was asked for.
fn is_hidden(cloud: &Cloud, command: &Command) -> bool {
    cloud.faults.holds(Hold::Command, &command.id, cloud.uptime())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetInvocation {
    command_id: String,
    instance_id: String,
    plugin_name: Option<String>,
}

pub(super) fn get_invocation(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: GetInvocation = input(body)?;
    if let Some(name) = call.plugin_name.filter(|name| name != PLUGIN) {
        return Err(ApiError::new("InvalidPluginName", format!("The plugin {name} is not in document {DOCUMENT}.")));
    }
    let state = cloud.state();
    let command = state.ssm.commands.get(&call.command_id).filter(|command| !is_hidden(cloud, command));
    let Some((command, invocation)) = command.and_then(|it| Some((it, it.invocation(&call.instance_id)?))) else {
        let message = "The command ID and managed node ID you specified didn't match any invocations.";
        return Err(ApiError::new("InvocationDoesNotExist", message));
    };
    let time = |time: Option<Timestamp>| time.map(|it| it.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default();
    let elapsed = match (invocation.started, invocation.ended) {
        (Some(started), Some(ended)) => {
            let milliseconds = (ended.as_millisecond() - started.as_millisecond()).max(0);
            format!("PT{}.{:03}S", milliseconds / 1000, milliseconds % 1000).replace(".000S", "S")
        }
        _ => String::new(),
    };
    Ok(json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance_id,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "PluginName": PLUGIN,
        "ResponseCode": invocation.response_code,
        "ExecutionStartDateTime": time(invocation.started),
        "ExecutionElapsedTime": elapsed,
        "ExecutionEndDateTime": time(invocation.started.and(invocation.ended)),
        "Status": invocation.status.wire(),
        "StatusDetails": invocation.status.details(),
        "StandardOutputContent": invocation.stdout,
        "StandardOutputUrl": "",
        "StandardErrorContent": invocation.stderr,
        "StandardErrorUrl": "",
        "CloudWatchOutputConfig": { "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false },
    }))
}

/// A command as SendCommand and ListCommands answer it.
fn shown(command: &Command) -> Value {
    let (status, details) = command.status();
    json!({
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "Comment": command.comment,
        "ExpiresAfter": seconds(command.expires),
        "Parameters": command.parameters,
        "InstanceIds": command.instance_ids,
        "Targets": command.targets,
        "RequestedDateTime": seconds(command.requested),
        "Status": status,
        "StatusDetails": details,
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
        "MaxConcurrency": command.max_concurrency,
        "MaxErrors": command.max_errors,
        "TargetCount": command.invocations.len(),
        "CompletedCount": command.completed(),
        "ErrorCount": command.errors(),
        "DeliveryTimedOutCount": command.delivery_timed_out(),
        "ServiceRole": "",
        "NotificationConfig": { "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" },
        "CloudWatchOutputConfig": { "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false },
        "TimeoutSeconds": command.timeout_seconds,
    })
}

fn shown_invocation(command: &Command, invocation: &Invocation, details: bool) -> Value {
    let plugin = || {
        compact(json!({
            "Name": PLUGIN,
            "Status": invocation.status.wire(),
            "StatusDetails": invocation.status.details(),
            "ResponseCode": invocation.response_code,
            "ResponseStartDateTime": invocation.started.map(seconds),
            "ResponseFinishDateTime": invocation.started.and(invocation.ended).map(seconds),
            "Output": plugin_output(&invocation.stdout, &invocation.stderr),
            "StandardOutputUrl": "",
            "StandardErrorUrl": "",
            "OutputS3BucketName": "",
            "OutputS3KeyPrefix": "",
        }))
    };
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance_id,
        "InstanceName": invocation.instance_name,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "RequestedDateTime": seconds(command.requested),
        "Status": invocation.status.wire(),
        "StatusDetails": invocation.status.details(),
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": if details { vec![plugin()] } else { Vec::new() },
        "ServiceRole": "",
        "NotificationConfig": { "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" },
        "CloudWatchOutputConfig": { "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false },
    })
}

//! Which instances take commands: registration after boot, and DescribeInstanceInformation.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Page, compact, invalid};
use crate::cloud::{Cloud, State};
use crate::model::ec2::{Instance, InstanceState, Onset};
use crate::model::ssm::Registration;
use crate::node::NodeCommand;
use crate::wire::error::ApiError;
use crate::wire::json::{input, seconds};

/// How often a booting node is asked whether it is up. The agent takes minutes on AWS; here nothing is gained by that.
const POLL: Duration = Duration::from_millis(200);

/// How often an agent pings (`HealthFrequencyMinutes`).
const PING: i64 = 5 * 60;

/// Registers instances as they come up and notes those that went away, for as long as the cloud lives.
pub async fn register(cloud: Arc<Cloud>) {
    let mut changes = cloud.changes();
    loop {
        changes.mark_unchanged();
        let (waiting, held_back) = waiting(&cloud);
        if waiting.is_empty() && held_back {
            tokio::time::sleep(POLL).await;
            continue;
        }
        if waiting.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut probes = JoinSet::new();
        for (id, generation) in waiting {
            let cloud = Arc::clone(&cloud);
            probes.spawn(async move {
                if matches!(cloud.driver.is_up(&id).await, Ok(true)) {
                    note(&cloud, &id, generation).await;
                }
            });
        }
        // Reading a node's platform may take a moment; the others need not wait for it.
        let _ = tokio::time::timeout(POLL, async { while probes.join_next().await.is_some() {} }).await;
        probes.detach_all();
        tokio::time::sleep(POLL).await;
    }
}

/// Brings registrations in line with the instances' states; answers who runs but has not registered since its start,
/// and whether anyone may not register yet.
fn waiting(cloud: &Cloud) -> (Vec<(String, u64)>, bool) {
    let now = Timestamp::now();
    let mut state = cloud.state();
    let State { ec2, ssm } = &mut *state;
    let runs = |id: &str| ec2.instance(id).filter(|instance| instance.state == InstanceState::Running);
    ssm.registrations.retain(|id, _| ec2.instance(id).is_some_and(Instance::is_alive));
    for (id, registration) in &mut ssm.registrations {
        registration.online &= runs(id).is_some_and(|instance| instance.generation == registration.generation);
    }
    cloud.running.keep_workers(|id| ec2.instance(id).is_some_and(Instance::is_alive));
    let running = ec2.instances().filter(|instance| instance.state == InstanceState::Running);
    let absent = running.filter(|instance| !ssm.registrations.get(&instance.id).is_some_and(|it| it.online));
    let (due, early): (Vec<&Instance>, Vec<&Instance>) =
        absent.partition(|instance| instance.fate.registration.has_come(instance.launch_time, now));
    let held_back = early.iter().any(|instance| instance.fate.registration != Onset::Never);
    (due.into_iter().map(|instance| (instance.id.clone(), instance.generation)).collect(), held_back)
}

/// Records that the instance answers, then what system it says it is.
async fn note(cloud: &Cloud, id: &str, generation: u64) {
    let now = Timestamp::now();
    let is_known = {
        let mut state = cloud.state();
        let registration = state.ssm.registrations.entry(id.to_owned()).or_insert_with(|| Registration {
            registered: now,
            last_ping: now,
            online: false,
            generation,
            platform: None,
        });
        *registration = Registration { last_ping: now, online: true, generation, ..registration.clone() };
        registration.platform.is_some()
    };
    cloud.changed();
    if is_known {
        return;
    }
    if let Some(platform) = platform(cloud, id).await {
        if let Some(registration) = cloud.state().ssm.registrations.get_mut(id) {
            registration.platform = Some(platform);
        }
        cloud.changed();
    }
}

/// `NAME` and `VERSION_ID` from the node's `os-release`.
async fn platform(cloud: &Cloud, id: &str) -> Option<(String, String)> {
    let command = NodeCommand {
        argv: ["cat", "/etc/os-release"].map(str::to_owned).to_vec(),
        stdin: Vec::new(),
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        working_directory: "/".to_owned(),
        // A file of a few hundred bytes.
        timeout: Duration::from_secs(5),
    };
    let (_cancel, cancelled) = oneshot::channel();
    let result = cloud.driver.run(id, &command, (4096, 0), cancelled).await.ok()?;
    let text = String::from_utf8_lossy(&result.stdout.0);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    Some((value("NAME")?, value("VERSION_ID").unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Describe {
    #[serde(default)]
    filters: Vec<Filter>,
    /// The older form of the same.
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

pub(super) fn describe(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Describe = input(body)?;
    let mut filters = call.filters;
    filters.extend(call.instance_information_filter_list.into_iter().map(|it| Filter { key: it.key, values: it.value_set }));
    check(&filters)?;
    let now = Timestamp::now();
    let state = cloud.state();
    let registered = state.ssm.registrations.iter().filter_map(|(id, registration)| {
        let instance = state.ec2.instance(id).filter(|instance| instance.is_alive())?;
        filters.iter().all(|filter| filter.admits(instance, registration)).then_some((instance, registration))
    });
    // AWS's own default is this small.
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 5..=50, default: 10 };
    let (page, next) = page.cut(registered, |(instance, _)| instance.id.clone())?;
    let region = &cloud.config.region;
    let list: Vec<Value> = page.into_iter().map(|(instance, it)| shown(instance, it, region, now)).collect();
    Ok(compact(json!({ "InstanceInformationList": list, "NextToken": next })))
}

fn check(filters: &[Filter]) -> Result<(), ApiError> {
    let known = ["InstanceIds", "PingStatus", "PlatformTypes", "ResourceType"];
    for filter in filters {
        let is_tag = filter.key.starts_with("tag:");
        if !is_tag && !known.contains(&filter.key.as_str()) {
            return Err(ApiError::new("InvalidFilterKey", format!("The filter key {} is not supported.", filter.key)));
        }
        if is_tag && filters.len() > 1 {
            return Err(invalid("a tag filter can't be combined with other filters"));
        }
        if filter.values.is_empty() || filter.values.len() > 100 {
            let message = format!("The filter {} needs 1 to 100 values.", filter.key);
            return Err(ApiError::new("InvalidInstanceInformationFilterValue", message));
        }
    }
    Ok(())
}

impl Filter {
    fn admits(&self, instance: &Instance, registration: &Registration) -> bool {
        let is = |value: &str| self.values.iter().any(|wanted| wanted == value);
        match self.key.as_str() {
            "InstanceIds" => is(&instance.id),
            "PingStatus" => is(ping_status(instance, registration)),
            "PlatformTypes" => is("Linux"),
            "ResourceType" => is("EC2Instance"),
            key => key.strip_prefix("tag:").and_then(|key| instance.tags.get(key)).is_some_and(|value| is(value)),
        }
    }
}

fn ping_status(instance: &Instance, registration: &Registration) -> &'static str {
    let is_online = registration.online && instance.state == InstanceState::Running;
    if is_online { "Online" } else { "ConnectionLost" }
}

fn shown(instance: &Instance, registration: &Registration, region: &str, now: Timestamp) -> Value {
    let status = ping_status(instance, registration);
    // An agent that is connected pings on, every five minutes since it came up.
    let pings = (now.as_second() - registration.last_ping.as_second()).max(0) / PING;
    let last_ping = match status {
        "Online" => registration.last_ping.checked_add(SignedDuration::from_secs(pings * PING)).unwrap_or(now),
        _ => registration.last_ping,
    };
    compact(json!({
        "InstanceId": instance.id,
        "PingStatus": status,
        "LastPingDateTime": seconds(last_ping),
        // This crate does the agent's work.
        "AgentVersion": env!("CARGO_PKG_VERSION"),
        "IsLatestVersion": true,
        "PlatformType": "Linux",
        "PlatformName": registration.platform.as_ref().map(|(name, _)| name),
        "PlatformVersion": registration.platform.as_ref().map(|(_, version)| version),
        "ResourceType": "EC2Instance",
        "IPAddress": instance.private_address,
        "ComputerName": instance.private_dns_name(region),
        "RegistrationDate": seconds(registration.registered),
        "SourceId": instance.id,
        "SourceType": "AWS::EC2::Instance",
    }))
}

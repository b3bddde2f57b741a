//! Nodes: one RunInstances for a group, one tagged DescribeInstances at a time to watch all of them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types as sdk;
use ewulf_core::address::{Address, SHARED_TAG};
use ewulf_core::pacing::Deed;
use ewulf_core::plan::{IDS_PER_CALL, Launch};
use ewulf_core::spec::Market;
use ewulf_core::world::Tags;

use super::actions::{count, shortened};
use super::create::{SETTLE, UNCERTAIN, tag_specification, token};
use super::ladder::{Patience, is_out_of_room};
use super::pace::pace;
use super::{Run, StepError};
use crate::aws::{Backoff, CallError, Class, failure, retry};
use crate::events::Work;
use crate::observe::{self, filter};

/// Longest time from a launch or start to `running`; Terraform allows the same (ec2.md 1.7).
const RUNNING_BUDGET: Duration = Duration::from_secs(600);
/// Longest time for nodes to stop or to end.
const ENDED_BUDGET: Duration = Duration::from_secs(600);
/// First pause before states are asked for, since nothing starts or ends faster; EC2 takes seconds, so that few polls
/// follow.
const FIRST_POLL: Duration = Duration::from_millis(400);
/// More nodes than these are watched by asking, after the first time, for those alone that do not run yet.
const ASKED_FOR_ALL: usize = 100;
/// How long instances that a token stands for are looked for: they show up within seconds (ec2.md 1.1).
const LOOK_UP: Duration = Duration::from_secs(20);

/// Launches all nodes of a launch, or at least as many as will do, or none; with fewer than all it has failed, for the next
/// plan to say what becomes of them.
pub async fn launch(run: &Run, launch: &Launch, work: &Work) -> Result<String, StepError> {
    let number = launch.indexes.len();
    let (subnet, group) = (run.id(&Address::Subnet)?, run.id(&Address::SecurityGroup)?);
    let (indexes, least) = (launch.indexes.to_string(), launch.least.to_string());
    pace(run, Deed::Launch, number, Some(&launch.role), work).await?;
    run.is_over(Some(&launch.role))?;
    let mut patience = Patience::new(launch);
    let mut attempt = 0_u32;
    let mut instances = loop {
        // Another rung has another template or subnet, and so another token (ec2.md 2.3).
        let parts = [&launch.template, &indexes, &least, &subnet, &group, &launch.generation, &attempt.to_string()];
        let token = token(run, &parts.map(String::as_str));
        match run_instances(run, launch, number, &subnet, &group, &token).await {
            Err(error) if is_out_of_room(&error) => {
                // A refused call used nothing up, so its token is as good as new.
                if patience.lasts(run, launch, &error, work).await? {
                    pace(run, Deed::Launch, 0, Some(&launch.role), work).await?;
                    continue;
                }
                run.give_up(&launch.role);
                run.cloud.budget.give_back(Deed::Launch, number);
                return Err(error.into());
            }
            // The token belongs to a launch of the past, and nothing of it is left.
            Err(error) if error.is("IdempotentInstanceTerminated") => {}
            // It belongs to one with other tags, say, whose nodes were not visible when the plan was made.
            Err(error) if error.is("IdempotentParameterMismatch") => {
                let alive = launched_with(run, &token).await?;
                if alive.len() >= launch.least {
                    break alive;
                }
                if !alive.is_empty() {
                    let reason = format!("{} of {number} that were launched together are left", alive.len());
                    let object = format!("node/{}/{indexes}", launch.role);
                    return Err(StepError::Ended { object, code: None, reason });
                }
            }
            answer => break answer??,
        }
        attempt += 1;
        if attempt > 100 {
            let error = CallError::unexpected("RunInstances", format!("node/{}", launch.role), "its tokens are all used up");
            return Err(error.into());
        }
    };
    instances.sort_by_key(|instance| instance.ami_launch_index);
    let ids: Vec<String> = instances.iter().filter_map(|instance| instance.instance_id.clone()).collect();
    for (address, id) in launch.addresses().into_iter().zip(&ids) {
        run.learn(address, id);
    }
    if ids.len() < number {
        run.give_up(&launch.role);
        run.cloud.budget.give_back(Deed::Launch, number - ids.len());
        let object = format!("node/{}/{indexes}", launch.role);
        return Err(StepError::Fewer { object, had: ids.len(), wanted: number });
    }
    Ok(format!("launched {}: {}", count(ids.len(), "node"), shortened(&ids)))
}

async fn run_instances(
    run: &Run,
    launch: &Launch,
    number: usize,
    subnet: &str,
    group: &str,
    token: &str,
) -> Result<Result<Vec<sdk::Instance>, StepError>, CallError> {
    let template = sdk::LaunchTemplateSpecification::builder().launch_template_name(&launch.template).version("1").build();
    let address = launch.addresses().into_iter().next().unwrap_or(Address::Master);
    let mut tags: Tags = launch.tags();
    tags.insert(SHARED_TAG.to_owned(), launch.shared_path.clone());
    if number > 1 {
        tags.insert("Name".to_owned(), format!("{} node/{}", run.plan.cluster, launch.role));
    }
    // With an interface, everything about the network goes inside it (ec2.md 6.7).
    let mut interface = sdk::InstanceNetworkInterfaceSpecification::builder().device_index(0).subnet_id(subnet).groups(group);
    if launch.public_address {
        interface = interface.associate_public_ip_address(true);
    }
    if let Some(address) = launch.private_address {
        interface = interface.private_ip_address(address.to_string());
    }
    let interface = interface.build();
    let (least, most) = [launch.least, number].map(|number| i32::try_from(number).unwrap_or(i32::MAX)).into();
    let mut of_roots = tags.clone();
    of_roots.extend(launch.root_tags());
    let mut specifications = vec![
        tag_specification(run, &address, sdk::ResourceType::Volume, of_roots),
        tag_specification(run, &address, sdk::ResourceType::NetworkInterface, tags.clone()),
    ];
    if launch.market == Market::Spot {
        specifications.push(tag_specification(run, &address, sdk::ResourceType::SpotInstancesRequest, tags.clone()));
    }
    specifications.push(tag_specification(run, &address, sdk::ResourceType::Instance, tags));
    // What it stands on was made moments ago and may be invisible yet. The token makes a repetition harmless.
    let answer = retry(SETTLE, &UNCERTAIN, || async {
        let request = run
            .cloud
            .ec2_once
            .run_instances()
            .launch_template(template.clone())
            .min_count(least)
            .max_count(most)
            .network_interfaces(interface.clone())
            .client_token(token)
            .set_tag_specifications(Some(specifications.clone()));
        let error = match request.send().await {
            Ok(answer) => return Ok(Ok(answer.instances.unwrap_or_default())),
            Err(error) => failure("RunInstances", address.to_string(), error),
        };
        // An address that one of the cluster's own nodes has does not become free by waiting.
        match launch.private_address {
            Some(private_address) if error.is("InvalidIPAddress.InUse") => match holder(run, private_address).await? {
                Some(holder) => Ok(Err(StepError::Displaced { address: address.clone(), private_address, holder })),
                None => Err(error),
            },
            _ => Err(error),
        }
    });
    answer.await
}

/// Id of the living node of the cluster that has an address.
async fn holder(run: &Run, address: Ipv4Addr) -> Result<Option<String>, CallError> {
    let found =
        observe::instances(&run.cloud, &run.plan.cluster, Some(filter("private-ip-address", address.to_string()))).await?;
    let alive = found.into_iter().find(|instance| !has_ended(&state_of(instance)));
    Ok(alive.and_then(|instance| instance.instance_id))
}

/// The instances of a token that are not on their way out; none only after they were looked for in vain.
async fn launched_with(run: &Run, token: &str) -> Result<Vec<sdk::Instance>, CallError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5), LOOK_UP);
    loop {
        let found = observe::instances(&run.cloud, &run.plan.cluster, Some(filter("client-token", token))).await?;
        let (alive, ended): (Vec<_>, Vec<_>) = found.into_iter().partition(|instance| !has_ended(&state_of(instance)));
        if !alive.is_empty() || !ended.is_empty() || !backoff.pause().await {
            return Ok(alive);
        }
    }
}

fn state_of(instance: &sdk::Instance) -> String {
    instance.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned()).unwrap_or_default()
}

fn has_ended(state: &str) -> bool {
    state == "terminated" || state == "shutting-down"
}

pub async fn start(run: &Run, ids: &[String], work: &Work) -> Result<String, StepError> {
    wait_for(run, ids, "stopped", |state| ["stopped", "running", "pending"].contains(&state)).await?;
    pace(run, Deed::Start, ids.len(), None, work).await?;
    send_start(run, ids).await?;
    Ok(format!("started {}", shortened(ids)))
}

/// Starts nodes, by calls that the SDK does not repeat: missing capacity looks to it like a fault of the server.
pub(super) async fn send_start(run: &Run, ids: &[String]) -> Result<(), CallError> {
    retry(SETTLE, &[Class::Conflict, Class::Ambiguous, Class::Unreachable], || async {
        let request = run.cloud.ec2_once.start_instances().set_instance_ids(Some(ids.to_vec()));
        request.send().await.map(drop).map_err(|error| failure("StartInstances", shortened(ids), error))
    })
    .await
}

pub(super) async fn stop(run: &Run, ids: &[String]) -> Result<(), CallError> {
    retry(SETTLE, &[Class::Conflict, Class::Ambiguous, Class::Unreachable], || async {
        let answer = run.cloud.ec2.stop_instances().set_instance_ids(Some(ids.to_vec())).send().await;
        answer.map(drop).map_err(|error| failure("StopInstances", shortened(ids), error))
    })
    .await
}

/// Waits until every node runs; one that ends on the way is an error with EC2's reason.
pub async fn await_running(run: &Run, nodes: &[Address], work: &Work) -> Result<String, StepError> {
    let begun = Instant::now();
    let wanted: BTreeMap<String, &Address> =
        nodes.iter().map(|address| Ok((run.id(address)?, address))).collect::<Result<_, StepError>>()?;
    let mut backoff = Backoff::new(FIRST_POLL, Duration::from_secs(5), RUNNING_BUDGET);
    let mut has_budget = backoff.pause().await;
    // Whether all are asked for, or only those that do not run: nodes that are not listed then run or are not visible yet.
    let mut asks_for_all = true;
    loop {
        let only = (!asks_for_all).then(not_running);
        let states = states(run, only).await?;
        let mut late = None;
        let mut running = 0;
        for (id, address) in &wanted {
            match states.get(id) {
                Some((state, _)) if state == "running" => running += 1,
                Some((state, (code, reason))) if has_ended(state) => {
                    let object = format!("{address} {id}");
                    return Err(StepError::Ended { object, code: code.clone(), reason: reason.clone() });
                }
                None if !asks_for_all => running += 1,
                _ => late = Some((id, *address)),
            }
        }
        work.progress(running as u64, wanted.len() as u64, "nodes");
        let Some((id, address)) = late else {
            if asks_for_all {
                return Ok(format!("{} running", count(running, "node")));
            }
            // The last word has a list of all, and is worth no pause.
            asks_for_all = true;
            continue;
        };
        if !has_budget {
            let state = states.get(id).map_or("not visible".to_owned(), |(state, _)| state.clone());
            let seconds = begun.elapsed().as_secs();
            return Err(StepError::Slow { object: format!("{address} {id}"), wanted: "running", state, seconds });
        }
        asks_for_all = wanted.len() <= ASKED_FOR_ALL;
        has_budget = backoff.pause().await;
    }
}

/// Admits instances that do not run.
fn not_running() -> sdk::Filter {
    let states = ["pending", "stopping", "stopped", "shutting-down", "terminated"].map(str::to_owned).to_vec();
    sdk::Filter::builder().name("instance-state-name").set_values(Some(states)).build()
}

/// Ends nodes and waits until EC2 says so: what they used can be deleted only then (ec2.md 5.1).
pub async fn terminate(run: &Run, ids: &[String], work: &Work) -> Result<String, StepError> {
    for ids in ids.chunks(IDS_PER_CALL) {
        run.is_over(None)?;
        pace(run, Deed::End, ids.len(), None, work).await?;
        send_terminate(run, ids).await?;
    }
    work.waiting("waiting until EC2 calls them terminated");
    wait_for(run, ids, "terminated", |state| state == "terminated").await?;
    Ok(format!("terminated {}: {}", count(ids.len(), "node"), shortened(ids)))
}

/// Sends the end of nodes until EC2 has taken it for each that it knows.
async fn send_terminate(run: &Run, ids: &[String]) -> Result<(), StepError> {
    let mut backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(10), SETTLE);
    let mut left = ids.to_vec();
    while !left.is_empty() {
        let answer = retry(SETTLE, &[Class::Ambiguous, Class::Unreachable], || async {
            let request = run.cloud.ec2.terminate_instances().set_instance_ids(Some(left.clone()));
            request.send().await.map(drop).map_err(|error| failure("TerminateInstances", shortened(&left), error))
        });
        match answer.await {
            Ok(()) => break,
            // One id that is not visible fails the call for all, and does not prove that the node is gone (ec2.md 1.2,
            // 3.10): those that are visible go by themselves, the others are asked for again.
            Err(error) if error.class == Class::NotFound => {
                let states = states(run, None).await?;
                left.retain(|id| !states.get(id).is_some_and(|(state, _)| has_ended(state)));
                let (visible, hidden): (Vec<String>, Vec<String>) = left.iter().cloned().partition(|id| states.contains_key(id));
                if !visible.is_empty() && !hidden.is_empty() {
                    let request = run.cloud.ec2.terminate_instances().set_instance_ids(Some(visible.clone()));
                    let answer = request.send().await.map_err(|error| failure("TerminateInstances", shortened(&visible), error));
                    if answer.is_ok() {
                        left = hidden;
                    }
                }
                if !backoff.pause().await {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until every one of `ids` is in a wanted state. One that is not listed counts as terminated only when it has not
/// been for as long as a young one may stay invisible (ec2.md 1.2).
pub(super) async fn wait_for(
    run: &Run,
    ids: &[String],
    wanted: &'static str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), StepError> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(FIRST_POLL, Duration::from_secs(5), ENDED_BUDGET);
    loop {
        let has_budget = backoff.pause().await;
        let states = states(run, None).await?;
        let absent = if begun.elapsed() >= SETTLE { "terminated" } else { "not visible" };
        let state_of = |id: &String| states.get(id).map_or(absent, |(state, _)| state.as_str()).to_owned();
        let Some(late) = ids.iter().find(|id| !is_wanted(&state_of(id))) else { return Ok(()) };
        if !has_budget {
            let seconds = begun.elapsed().as_secs();
            return Err(StepError::Slow { object: late.clone(), wanted, state: state_of(late), seconds });
        }
    }
}

/// Code and message of EC2's StateReason.
type StateReason = (Option<String>, String);

/// State and reason of every instance of the cluster, or of those that a filter admits, by id.
async fn states(run: &Run, only: Option<sdk::Filter>) -> Result<HashMap<String, (String, StateReason)>, StepError> {
    let instances = observe::instances(&run.cloud, &run.plan.cluster, only).await?;
    let state = |instance: sdk::Instance| {
        let state = state_of(&instance);
        let reason = instance.state_reason.map_or((None, String::new()), |reason| {
            let message = reason.message.or_else(|| reason.code.clone()).unwrap_or_default();
            (reason.code, message)
        });
        Some((instance.instance_id?, (state, reason)))
    };
    Ok(instances.into_iter().filter_map(state).collect())
}

//! Nodes: one RunInstances for a group, one tagged DescribeInstances at a time to watch all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types as sdk;
use ewulf_core::address::{Address, SHARED_TAG};
use ewulf_core::plan::{Action, Launch};
use ewulf_core::world::Tags;

use super::actions::count;
use super::create::{SETTLE, tag_specification, token};
use super::{Run, StepError};
use crate::aws::{Backoff, CallError, Class, failure, retry};
use crate::events::Work;
use crate::observe;

/// Longest time from a launch or start to `running`; Terraform allows the same (ec2.md 1.7).
const RUNNING_BUDGET: Duration = Duration::from_secs(600);
/// Longest time for nodes to stop or to end.
const ENDED_BUDGET: Duration = Duration::from_secs(600);

/// Launches all nodes of a launch or none.
pub async fn launch(run: &Run, launch: &Launch) -> Result<String, StepError> {
    let number = i32::try_from(launch.indexes.len()).unwrap_or(i32::MAX);
    let (subnet, group) = (run.id(&Address::Subnet)?, run.id(&Address::SecurityGroup)?);
    let mut attempt = 0_u32;
    let answer = loop {
        let indexes = launch.indexes.to_string();
        let token = token(run, &[&launch.template, &indexes, &subnet, &group, &launch.generation, &attempt.to_string()]);
        match run_instances(run, launch, number, &subnet, &group, &token).await {
            // The token belongs to a launch of the past; the tags told that nothing of it is left.
            Err(error) if error.is("IdempotentInstanceTerminated") || error.is("IdempotentParameterMismatch") => {
                attempt += 1;
                if attempt > 100 {
                    return Err(error.into());
                }
            }
            answer => break answer?,
        }
    };
    let mut instances = answer.instances.unwrap_or_default();
    instances.sort_by_key(|instance| instance.ami_launch_index);
    let ids: Vec<String> = instances.iter().filter_map(|instance| instance.instance_id.clone()).collect();
    for (address, id) in launch.addresses().into_iter().zip(&ids) {
        run.learn(address, id);
    }
    Ok(format!("launched {}: {}", count(ids.len(), "node"), shortened(&ids)))
}

async fn run_instances(
    run: &Run,
    launch: &Launch,
    number: i32,
    subnet: &str,
    group: &str,
    token: &str,
) -> Result<aws_sdk_ec2::operation::run_instances::RunInstancesOutput, CallError> {
    let template = sdk::LaunchTemplateSpecification::builder().launch_template_name(&launch.template).version("1").build();
    let address = launch.addresses().into_iter().next().unwrap_or(Address::Master);
    let mut tags: Tags = launch.tags();
    tags.insert(SHARED_TAG.to_owned(), shared_path(run).to_owned());
    if number > 1 {
        tags.insert("Name".to_owned(), format!("{} node/{}", run.plan.cluster, launch.role));
    }
    // What it stands on was made moments ago and may be invisible yet; profiles take up to 2 minutes (ec2.md 1.10).
    retry(SETTLE, &[Class::NotFound, Class::Ambiguous], || async {
        let mut request = run
            .cloud
            .ec2_once
            .run_instances()
            .launch_template(template.clone())
            .min_count(number)
            .max_count(number)
            .subnet_id(subnet)
            .security_group_ids(group)
            .client_token(token)
            .tag_specifications(tag_specification(run, &address, sdk::ResourceType::Instance, tags.clone()))
            .tag_specifications(tag_specification(run, &address, sdk::ResourceType::Volume, tags.clone()));
        if let Some(address) = launch.private_address {
            request = request.private_ip_address(address.to_string());
        }
        request.send().await.map_err(|error| failure("RunInstances", address.to_string(), error))
    })
    .await
}

/// The shared path of the cluster, as the plan's join step has it.
fn shared_path(run: &Run) -> &str {
    let path = run.plan.steps.iter().find_map(|step| match &step.action {
        Action::Join { shared_path, .. } => Some(shared_path.as_str()),
        _ => None,
    });
    path.unwrap_or("/shared")
}

pub async fn start(run: &Run, ids: &[String]) -> Result<String, StepError> {
    wait_for(run, ids, "stopped", ENDED_BUDGET, |state| state == "stopped" || state == "running" || state == "pending").await?;
    retry(SETTLE, &[Class::Conflict, Class::Ambiguous], || async {
        let request = run.cloud.ec2.start_instances().set_instance_ids(Some(ids.to_vec()));
        request.send().await.map_err(|error| failure("StartInstances", ids.join(", "), error))
    })
    .await?;
    Ok(format!("started {}", shortened(ids)))
}

/// Stops a node, changes its type, starts it.
pub async fn resize(run: &Run, id: &str, instance_type: &str, work: &Work) -> Result<String, StepError> {
    let ids = vec![id.to_owned()];
    let request = run.cloud.ec2.stop_instances().instance_ids(id);
    request.send().await.map_err(|error| failure("StopInstances", id, error))?;
    work.waiting(format!("waiting until {id} is stopped"));
    wait_for(run, &ids, "stopped", ENDED_BUDGET, |state| state == "stopped").await?;
    let value = sdk::AttributeValue::builder().value(instance_type).build();
    let request = run.cloud.ec2.modify_instance_attribute().instance_id(id).instance_type(value);
    request.send().await.map_err(|error| failure("ModifyInstanceAttribute", id, error))?;
    retry(Duration::from_secs(60), &[Class::Conflict, Class::Ambiguous], || async {
        let answer = run.cloud.ec2.start_instances().instance_ids(id).send().await;
        answer.map_err(|error| failure("StartInstances", id, error))
    })
    .await?;
    Ok(format!("{id} is {instance_type} now"))
}

/// Waits until every node runs; one that ends on the way is an error with EC2's reason.
pub async fn await_running(run: &Run, nodes: &[Address], work: &Work) -> Result<String, StepError> {
    let begun = Instant::now();
    let wanted: BTreeMap<String, &Address> =
        nodes.iter().map(|address| Ok((run.id(address)?, address))).collect::<Result<_, StepError>>()?;
    let mut backoff = Backoff::new(Duration::from_millis(150), Duration::from_secs(5), RUNNING_BUDGET);
    loop {
        let states = states(run).await?;
        let mut running = 0;
        for (id, address) in &wanted {
            match states.get(id) {
                Some((state, _)) if state == "running" => running += 1,
                Some((state, (code, reason))) if state == "terminated" || state == "shutting-down" => {
                    let object = format!("{address} {id}");
                    return Err(StepError::Ended { object, code: code.clone(), reason: reason.clone() });
                }
                _ => {}
            }
        }
        work.progress(running as u64, wanted.len() as u64, "nodes");
        if running == wanted.len() {
            return Ok(format!("{} running", count(running, "node")));
        }
        if !backoff.pause().await {
            let late = wanted.iter().find(|(id, _)| states.get(*id).is_none_or(|(state, _)| state != "running"));
            let (id, address) = late.expect("fewer run than wanted");
            let state = states.get(id).map_or("not visible".to_owned(), |(state, _)| state.clone());
            let seconds = begun.elapsed().as_secs();
            return Err(StepError::Slow { object: format!("{address} {id}"), wanted: "running", state, seconds });
        }
    }
}

/// Ends nodes and waits until EC2 says so: what they used can be deleted only then (ec2.md 5.1).
pub async fn terminate(run: &Run, ids: &[String], work: &Work) -> Result<String, StepError> {
    // NotFound does not prove that a young instance is gone (ec2.md 1.2).
    let answer = retry(Duration::from_secs(30), &[Class::NotFound, Class::Ambiguous], || async {
        let request = run.cloud.ec2.terminate_instances().set_instance_ids(Some(ids.to_vec()));
        request.send().await.map(drop).map_err(|error| failure("TerminateInstances", shortened(ids), error))
    })
    .await;
    match answer {
        Err(error) if error.class == Class::NotFound => {}
        answer => answer?,
    }
    work.waiting("waiting until EC2 calls them terminated");
    wait_for(run, ids, "terminated", ENDED_BUDGET, |state| state == "terminated").await?;
    Ok(format!("terminated {}: {}", count(ids.len(), "node"), shortened(ids)))
}

/// Waits until every one of `ids` is in a wanted state; one that is no longer listed counts as terminated.
async fn wait_for(
    run: &Run,
    ids: &[String],
    wanted: &'static str,
    budget: Duration,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), StepError> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(150), Duration::from_secs(5), budget);
    loop {
        let states = states(run).await?;
        let state_of = |id: &String| states.get(id).map_or("terminated", |(state, _)| state.as_str()).to_owned();
        let Some(late) = ids.iter().find(|id| !is_wanted(&state_of(id))) else { return Ok(()) };
        if !backoff.pause().await {
            let seconds = begun.elapsed().as_secs();
            return Err(StepError::Slow { object: late.clone(), wanted, state: state_of(late), seconds });
        }
    }
}

/// Code and message of EC2's StateReason.
type StateReason = (Option<String>, String);

/// State and reason of every instance of the cluster, by id.
async fn states(run: &Run) -> Result<BTreeMap<String, (String, StateReason)>, StepError> {
    let instances = observe::instances(&run.cloud, &run.plan.cluster).await?;
    let state = |instance: sdk::Instance| {
        let reason = instance.state_reason.map_or((None, String::new()), |reason| {
            let message = reason.message.or_else(|| reason.code.clone()).unwrap_or_default();
            (reason.code, message)
        });
        let state = instance.state?.name?.as_str().to_owned();
        Some((instance.instance_id?, (state, reason)))
    };
    Ok(instances.into_iter().filter_map(state).collect())
}

/// The first few of many ids.
fn shortened(ids: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown} and {} more", ids.len() - SHOWN) } else { shown }
}

//! The cloud's own actions: faults on request, and trouble for one node at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::{Cloud, State};
use crate::faults::{Plan, PlanError, Rule, Seconds};
use crate::model::ec2::{Instance, InstanceState};
use crate::node::{Disturbance, DriverError};
use crate::operations::ec2;
use crate::store;
use crate::wire::error::ApiError;
use crate::wire::json::input;

/// Journal entries that are told unless more are asked for.
const TOLD: usize = 1000;

/// Carries out one action; input and answer are JSON texts.
pub async fn call(cloud: &Arc<Cloud>, action: &str, body: &[u8]) -> Result<String, ApiError> {
    let answer = match action {
        "ListFaults" => told(cloud),
        "SetFaults" => set(cloud, body)?,
        "AddFault" => add(cloud, body)?,
        "RemoveFault" => remove(cloud, body)?,
        "ClearFaults" => {
            cloud.faults.set(Plan::default());
            keep(cloud)?;
            told(cloud)
        }
        "GetJournal" => journal(cloud, body)?,
        "DisturbNode" => disturb(cloud, body).await?,
        _ => return Err(ApiError::invalid_action(action)),
    };
    Ok(answer.to_string())
}

fn told(cloud: &Cloud) -> Value {
    json!({ "seed": cloud.faults.plan().seed, "rules": cloud.faults.told() })
}

/// Replaces all rules.
fn set(cloud: &Cloud, body: &[u8]) -> Result<Value, ApiError> {
    let mut plan: Plan = input(body)?;
    plan.name_rules().map_err(refused)?;
    cloud.faults.set(plan);
    keep(cloud)?;
    Ok(told(cloud))
}

fn add(cloud: &Cloud, body: &[u8]) -> Result<Value, ApiError> {
    let rule: Rule = input(body)?;
    let id = cloud.faults.add(rule).map_err(refused)?;
    keep(cloud)?;
    Ok(json!({ "id": id }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    id: String,
}

fn remove(cloud: &Cloud, body: &[u8]) -> Result<Value, ApiError> {
    let call: Remove = input(body)?;
    cloud.faults.remove(&call.id).map_err(refused)?;
    keep(cloud)?;
    Ok(told(cloud))
}

fn refused(error: PlanError) -> ApiError {
    ApiError::new("ValidationException", error.to_string())
}

/// Writes the rules where the next server finds them.
fn keep(cloud: &Cloud) -> Result<(), ApiError> {
    let path = cloud.config.files().faults();
    let plan = cloud.faults.plan();
    let outcome = if plan == Plan::default() {
        store::remove(&path)
    } else {
        let content = serde_json::to_vec_pretty(&plan).map_err(|error| ApiError::internal(error.to_string()))?;
        store::write(&path, &content, 0o600, None)
    };
    outcome.map_err(|error| ApiError::internal(store::chain(&error)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    last: Option<usize>,
}

fn journal(cloud: &Cloud, body: &[u8]) -> Result<Value, ApiError> {
    let call: Journal = input(body)?;
    let (entries, changes) = cloud.faults.journal(call.last.unwrap_or(TOLD));
    Ok(json!({ "calls": entries, "changing_calls": changes }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disturb {
    /// Its id, its `Name` tag or its address.
    node: String,
    trouble: Trouble,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Trouble {
    /// A spot instance is told that it ends so many seconds later, and does.
    Interrupt { notice: Seconds },
    #[serde(untagged)]
    Below(Disturbance),
}

async fn disturb(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Disturb = input(body)?;
    let (id, is_spot) = {
        let state = cloud.state();
        let instance = find(&state, &call.node)?;
        (instance.id.clone(), instance.spot_request_id.is_some())
    };
    match call.trouble {
        Trouble::Interrupt { .. } if !is_spot => {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!("node {id} is no spot instance: only those are interrupted"),
            ));
        }
        Trouble::Interrupt { notice } => {
            let due = ec2::interruption(Timestamp::now(), Duration::ZERO, notice.duration());
            let due = due.ok_or_else(|| ApiError::invalid_value("the notice ends after the end of time"))?;
            ec2::interrupt(cloud, &id, due);
        }
        Trouble::Below(disturbance) => {
            cloud.log.line(format_args!("node {id} is disturbed: {disturbance:?}"));
            cloud.driver.disturb(&id, &disturbance).await.map_err(|error| match error {
                DriverError::State(reason) => ApiError::new("UnsupportedOperation", reason),
                other => ApiError::internal(store::chain(&other)),
            })?;
        }
    }
    Ok(json!({ "node": id }))
}

/// The one running instance of this id, name or address.
fn find<'a>(state: &'a State, node: &str) -> Result<&'a Instance, ApiError> {
    let is_meant = |instance: &&Instance| {
        instance.id == node
            || instance.tags.get("Name").is_some_and(|name| name == node)
            || instance.private_address.to_string() == node
    };
    let mut running = state.ec2.instances().filter(|instance| instance.state == InstanceState::Running).filter(is_meant);
    match (running.next(), running.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ApiError::new("InvalidNode.NotFound", format!("node {node} does not run"))),
        (Some(_), Some(_)) => {
            Err(ApiError::new("InvalidNode.Ambiguous", format!("several nodes are called {node}: name one by its id")))
        }
    }
}

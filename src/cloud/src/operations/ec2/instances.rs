//! Starting, stopping, restarting and terminating instances.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::deeds::Deed;
use super::describe_instances::put_state;
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::{DeviceState, Fate, Instance, InstanceState, StateReason};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("StartInstances", start, &["InstanceId"]).ignoring(&[("AdditionalInfo", "reserved by EC2")]),
    Operation::write("StopInstances", stop, &["InstanceId", "Force", "Hibernate", "SkipOsShutdown"]),
    Operation::write("RebootInstances", reboot, &["InstanceId"]),
    Operation::write("TerminateInstances", terminate, &["InstanceId"])
        .ignoring(&[("Force", "a node is ended at once anyway"), ("SkipOsShutdown", "a node is ended at once anyway")]),
];

/// The instances that a call names: at least one, at most 1000, all known.
fn named<'a>(turn: &Turn<'_>, query: &'a Query) -> Result<Vec<&'a str>, ApiError> {
    let mut ids = query.list("InstanceId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("InstanceId"));
    }
    if ids.len() > 1000 {
        return Err(ApiError::invalid_value("At most 1000 instance ids may be named"));
    }
    turn::INSTANCE.asked(&turn.ec2.instances, &ids)?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Refuses an instance in the wrong state.
fn incorrect_state(instance: &Instance, deed: &str) -> ApiError {
    ApiError::new(
        "IncorrectInstanceState",
        format!("The instance '{}' is not in a state from which it can be {deed}.", instance.id),
    )
}

/// Changes each instance and writes its former and its present state.
fn change(turn: &mut Turn<'_>, ids: &[&str], change: impl Fn(&mut Instance, Timestamp) -> bool) -> Xml {
    let mut xml = Xml::new();
    let (ec2, now, deeds) = (&mut *turn.ec2, turn.now, &mut turn.deeds);
    xml.list("instancesSet", ids, |xml, id| {
        let Some(instance) = ec2.instances.get_mut(*id) else { return };
        let before = instance.state;
        if change(instance, now) {
            deeds.push(Deed::Instance((*id).to_owned()));
        }
        xml.put("instanceId", id);
        put_state(xml, "currentState", instance.state);
        put_state(xml, "previousState", before);
    });
    xml
}

fn instance<'a>(turn: &'a Turn<'_>, id: &str) -> Result<&'a Instance, ApiError> {
    turn::INSTANCE.find(&turn.ec2.instances, id)
}

fn start(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    for id in &ids {
        let instance = instance(turn, id)?;
        match instance.state {
            InstanceState::Stopped | InstanceState::Pending | InstanceState::Running => {}
            _ => return Err(incorrect_state(instance, "started")),
        }
    }
    let xml = change(turn, &ids, |instance, now| {
        if instance.state != InstanceState::Stopped {
            return false;
        }
        instance.state = InstanceState::Pending;
        instance.state_reason = None;
        instance.transition_reason.clear();
        instance.launch_time = now;
        instance.generation += 1;
        instance.fate = Fate::default();
        // Devices are given to the node anew.
        for device in instance.devices.iter_mut().filter(|device| device.state == DeviceState::Attached) {
            device.state = DeviceState::Attaching;
        }
        // The public address went with the stop; another one comes (ec2.md 6.4).
        instance.first.public_address = None;
        true
    });
    for id in ids {
        turn.ec2.give_public_address(id);
    }
    Ok(xml)
}

/// `User initiated (2026-01-02 03:04:05 GMT)`.
fn by_user(now: Timestamp) -> String {
    format!("User initiated ({})", now.strftime("%Y-%m-%d %H:%M:%S GMT"))
}

fn stop(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    if query.boolean("Hibernate")? == Some(true) {
        return Err(ApiError::new("UnsupportedHibernationConfiguration", "No instance here was launched with hibernation."));
    }
    let force = query.boolean("Force")?.unwrap_or(false) || query.boolean("SkipOsShutdown")?.unwrap_or(false);
    for id in &ids {
        let instance = instance(turn, id)?;
        if instance.spot_request_id.is_some() {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!(
                    "You can't stop the Spot Instance '{id}' because it is associated with a one-time Spot Instance request."
                ),
            ));
        }
        if instance.disable_api_stop {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!("The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."),
            ));
        }
        match instance.state {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
            _ => return Err(incorrect_state(instance, "stopped")),
        }
    }
    Ok(change(turn, &ids, |instance, now| {
        if instance.state != InstanceState::Running {
            return false;
        }
        instance.state = InstanceState::Stopping;
        instance.state_reason = Some(StateReason::user());
        instance.transition_reason = by_user(now);
        instance.stop_at_once = force;
        true
    }))
}

fn reboot(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    for id in &ids {
        let instance = instance(turn, id)?;
        if instance.state != InstanceState::Running {
            return Err(incorrect_state(instance, "rebooted"));
        }
    }
    turn.deeds.extend(ids.iter().map(|id| Deed::Reboot((*id).to_owned())));
    Ok(done())
}

/// Terminates instances, zone by zone: where one is protected none of its zone goes, and the others do (ec2.md 5.8).
fn terminate(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    let mut zones: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut refusal = None;
    let mut held: BTreeSet<&str> = BTreeSet::new();
    for id in &ids {
        let instance = instance(turn, id)?;
        zones.entry(&instance.zone).or_default().push(id);
        if instance.disable_api_termination && instance.is_alive() {
            held.insert(&instance.zone);
            refusal.get_or_insert_with(|| {
                ApiError::new(
                    "OperationNotPermitted",
                    format!(
                        "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                    ),
                )
            });
        }
    }
    let free: Vec<&str> = zones.iter().filter(|(zone, _)| !held.contains(*zone)).flat_map(|(_, ids)| ids.clone()).collect();
    let answer = change(turn, &free, shut_down);
    turn.refusal = refusal;
    Ok(answer)
}

/// Puts an instance on its way to terminated; answers whether it was not on it.
fn shut_down(instance: &mut Instance, now: Timestamp) -> bool {
    if [InstanceState::ShuttingDown, InstanceState::Terminated].contains(&instance.state) {
        return false;
    }
    instance.state = InstanceState::ShuttingDown;
    instance.state_reason = Some(StateReason::user());
    instance.transition_reason = by_user(now);
    true
}

/// Terminates the instances of these ids that are known and not protected.
pub(super) fn end(turn: &mut Turn<'_>, ids: &[String]) {
    let is_free = |id: &&str| turn.ec2.instance(id).is_some_and(|instance| !instance.disable_api_termination);
    let free: Vec<&str> = ids.iter().map(String::as_str).filter(is_free).collect();
    change(turn, &free, shut_down);
}

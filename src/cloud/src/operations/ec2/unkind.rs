//! Where EC2 can be unkind on request: capacity, quotas, what is not known yet, what lingers, what becomes of instances.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::deeds::Deed;
use super::launch_request::effective;
use super::turn::{Operation, Turn};
use crate::faults::{Facts, Fault, Faults, Hold, Market, Quota, Stage, When, fits};
use crate::model::ec2::instance_types::{self, InstanceType};
use crate::model::ec2::{Ec2, Fate, Instance, InstanceState, Interruption, Onset, StateReason};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// How long before its end a spot instance is told (ec2.md 10.11).
const NOTICE: Duration = Duration::from_secs(120);

/// What a call may meet.
#[derive(Clone, Copy)]
pub(super) struct Unkind<'a> {
    pub faults: &'a Faults,
    pub uptime: Duration,
}

/// What rules may know of a call: of a launch what its template adds as well.
pub(crate) fn facts(ec2: &Ec2, action: &str, query: &Query) -> Facts {
    let mut facts = Facts { service: "ec2", action: action.to_owned(), ..Facts::default() };
    let values = query.leaves().into_iter().filter(|(path, _)| path != "Action" && path != "Version");
    facts.resources = values.map(|(_, value)| value.to_owned()).collect();
    let of_instances: Vec<&Instance> = query.list("InstanceId").iter().filter_map(|id| ec2.instance(id)).collect();
    facts.resources.extend(of_instances.iter().filter_map(|instance| instance.tags.get("Name")).cloned());
    let launch = (action == "RunInstances").then(|| effective(ec2, query).ok()).flatten();
    if let Some(launch) = launch {
        let asked = &launch.query;
        let interface = asked.structures("NetworkInterface").first().and_then(|one| one.text("SubnetId"));
        let subnet = asked.text("SubnetId").or(interface).and_then(|id| ec2.subnets.get(id));
        let zone = subnet.map(|subnet| subnet.zone.as_str()).or(asked.text("Placement.AvailabilityZone"));
        facts.zone = zone.map(str::to_owned);
        facts.instance_type = asked.text("InstanceType").map(str::to_owned);
        facts.market = Some(Market::of(asked.text("InstanceMarketOptions.MarketType") == Some("spot")));
    } else if let Some(first) = of_instances.first() {
        facts.zone = Some(first.zone.clone());
        facts.instance_type = Some(first.instance_type.clone());
        facts.market = Some(Market::of(first.spot_request_id.is_some()));
    } else {
        facts.zone = query.text("AvailabilityZone").map(str::to_owned);
    }
    facts
}

/// What rules may know of an instance.
pub(crate) fn facts_of(instance: &Instance, action: &str) -> Facts {
    Facts {
        service: "ec2",
        action: action.to_owned(),
        instance_type: Some(instance.instance_type.clone()),
        zone: Some(instance.zone.clone()),
        market: Some(Market::of(instance.spot_request_id.is_some())),
        resources: [Some(&instance.id), instance.tags.get("Name")].into_iter().flatten().cloned().collect(),
    }
}

/// Carries out an action, unless something stands against it that the action itself knows nothing of.
pub(super) fn run(turn: &mut Turn<'_>, operation: &Operation, query: &Query) -> Result<Xml, ApiError> {
    let Some(unkind) = turn.unkind else { return (operation.run)(turn, query) };
    let action = operation.name;
    refuse(turn, unkind, action, query)?;
    let image_name = match action {
        "DeregisterImage" => query.text("ImageId").and_then(|id| turn.ec2.images.get(id)).map(|image| image.name.clone()),
        _ => None,
    };
    let body = (operation.run)(turn, query)?;
    if let Some(name) = image_name
        && let Some(Fault::NameTaken { seconds }) = unkind.faults.strike(Stage::Deregistration, &facts(turn.ec2, action, query))
    {
        unkind.faults.hold(Hold::ImageName, &name, unkind.uptime + seconds.duration());
    }
    match action {
        "StartInstances" => decide_starts(turn),
        "TerminateInstances" => decide_ends(turn, unkind),
        _ => {}
    }
    Ok(body)
}

/// Refuses what quotas, lingering interfaces, taken names or missing capacity do not allow.
fn refuse(turn: &Turn<'_>, unkind: Unkind<'_>, action: &str, query: &Query) -> Result<(), ApiError> {
    let ec2 = &*turn.ec2;
    match action {
        "CreateVpc" | "CreateDefaultVpc" => {
            limit(turn, unkind, action, query, |quota| quota.vpcs, ec2.vpcs.len(), "VpcLimitExceeded", "VPCs")?;
        }
        "CreateInternetGateway" => {
            let (code, what) = ("InternetGatewayLimitExceeded", "internet gateways");
            limit(turn, unkind, action, query, |quota| quota.internet_gateways, ec2.internet_gateways.len(), code, what)?;
        }
        "CreateVolume" => {
            limit(turn, unkind, action, query, |quota| quota.volumes, ec2.volumes.len(), "VolumeLimitExceeded", "volumes")?;
        }
        "CreateImage" | "RegisterImage" | "CopyImage" => {
            let name = query.text("Name").unwrap_or_default();
            if unkind.faults.holds(Hold::ImageName, name, unkind.uptime) {
                let message = format!("AMI name {name} is already in use");
                return Err(ApiError::new("InvalidAMIName.Duplicate", message));
            }
        }
        "DeleteSubnet" => lingers(turn, unkind, "subnet", query.text("SubnetId"), |one| vec![&one.subnet_id])?,
        "DeleteVpc" | "DetachInternetGateway" => {
            lingers(turn, unkind, "vpc", query.text("VpcId"), |one| vec![&one.vpc_id])?;
        }
        "DeleteSecurityGroup" => {
            lingers(turn, unkind, "security group", query.text("GroupId"), |one| one.security_groups.iter().collect())?;
        }
        "StartInstances" => {
            let stopped = query.list("InstanceId").into_iter().filter_map(|id| ec2.instance(id));
            for instance in stopped.filter(|instance| instance.state == InstanceState::Stopped) {
                let facts = facts_of(instance, action);
                if let Some(kind) = instance_types::find(&instance.instance_type) {
                    granted(turn, &facts, kind, 1, 1)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses one more of what there is a limit for.
#[allow(clippy::too_many_arguments, reason = "one sentence with eight nouns; a structure would only name them twice")]
fn limit(
    turn: &Turn<'_>,
    unkind: Unkind<'_>,
    action: &str,
    query: &Query,
    of: fn(&Quota) -> Option<u64>,
    existing: usize,
    code: &'static str,
    what: &str,
) -> Result<(), ApiError> {
    for (rule, _, quota) in unkind.faults.quotas(&facts(turn.ec2, action, query)) {
        if of(&quota).is_some_and(|limit| existing as u64 >= limit) {
            unkind.faults.exceeded(rule);
            return Err(ApiError::new(code, format!("The maximum number of {what} has been reached.")));
        }
    }
    Ok(())
}

/// Refuses a deletion while the interface of an instance that is gone still stands on it.
fn lingers(
    turn: &Turn<'_>,
    unkind: Unkind<'_>,
    noun: &str,
    id: Option<&str>,
    stands_on: fn(&Instance) -> Vec<&String>,
) -> Result<(), ApiError> {
    let Some(id) = id else { return Ok(()) };
    let gone = turn.ec2.instances().filter(|instance| !instance.is_alive());
    let mut lingering = gone
        .filter(|instance| stands_on(instance).into_iter().any(|other| other == id))
        .filter(|instance| unkind.faults.holds(Hold::Interface, &instance.id, unkind.uptime));
    match lingering.next() {
        None => Ok(()),
        Some(_) => Err(ApiError::dependency(format!("The {noun} '{id}' has dependencies and cannot be deleted."))),
    }
}

/// How many of `most` instances may start: as many as quotas and capacity allow, or a refusal if that is less than
/// `least`.
pub(super) fn granted(turn: &Turn<'_>, facts: &Facts, kind: &InstanceType, least: usize, most: usize) -> Result<usize, ApiError> {
    let Some(unkind) = turn.unkind else { return Ok(most) };
    let (least, mut granted) = (least as u64, most as u64);
    for (rule, when, quota) in unkind.faults.quotas(facts) {
        let (instances, vcpus) = counted(turn, &when, &quota);
        let by_instances = quota.instances.map(|limit| limit.saturating_sub(instances));
        let by_vcpus = quota.vcpus.map(|limit| limit.saturating_sub(vcpus) / u64::from(kind.vcpus.max(1)));
        let room = [by_instances, by_vcpus].into_iter().flatten().min().unwrap_or(granted);
        if room < granted {
            unkind.faults.exceeded(rule);
            granted = room;
        }
        if granted < least {
            return Err(match by_instances.is_some_and(|room| room < least) {
                true => ApiError::new(
                    "InstanceLimitExceeded",
                    format!(
                        "You have requested more instances ({most}) than your current instance limit of {} allows for the \
                         specified instance type.",
                        quota.instances.unwrap_or(0)
                    ),
                ),
                false => ApiError::new(
                    "VcpuLimitExceeded",
                    format!(
                        "You have requested more vCPU capacity than your current vCPU limit of {} allows for the instance \
                         bucket that the specified instance type belongs to.",
                        quota.vcpus.unwrap_or(0)
                    ),
                ),
            });
        }
    }
    let Some(granted) = unkind.faults.capacity(facts, least, granted) else {
        let zone = facts.zone.as_deref().unwrap_or_default();
        // A server-class error, which AWS's SDKs therefore repeat (ec2.md 3.5).
        return Err(ApiError::new(
            "InsufficientInstanceCapacity",
            format!(
                "We currently do not have sufficient {} capacity in the Availability Zone you requested ({zone}). Our system \
                 will be working on provisioning additional capacity.",
                kind.name
            ),
        )
        .with_status(500));
    };
    Ok(usize::try_from(granted).unwrap_or(most))
}

/// Instances and vCPUs that count against a quota: what runs or is on its way, of the types, zone and market it is for.
fn counted(turn: &Turn<'_>, when: &When, quota: &Quota) -> (u64, u64) {
    let still = quota.terminated_seconds.map(|seconds| seconds.duration());
    let counts = |instance: &&Instance| match instance.state {
        InstanceState::Pending | InstanceState::Running | InstanceState::ShuttingDown | InstanceState::Stopping => true,
        InstanceState::Stopped => false,
        InstanceState::Terminated => still.is_some_and(|still| {
            let since = instance.terminated_at.map(|at| turn.now.duration_since(at));
            since.is_some_and(|since| SignedDuration::try_from(still).is_ok_and(|still| since < still))
        }),
    };
    let concerns = |instance: &&Instance| {
        when.instance_type.as_ref().is_none_or(|wanted| fits(wanted, &instance.instance_type))
            && when.zone.as_ref().is_none_or(|wanted| fits(wanted, &instance.zone))
            && when.market.is_none_or(|wanted| wanted == Market::of(instance.spot_request_id.is_some()))
    };
    let counted = turn.ec2.instances().filter(counts).filter(concerns);
    counted.fold((0, 0), |(instances, vcpus), instance| {
        let more = instance_types::find(&instance.instance_type).map_or(0, |kind| u64::from(kind.vcpus));
        (instances + 1, vcpus + more)
    })
}

/// Refuses an instance profile that is too new to be known.
pub(super) fn check_profile(turn: &Turn<'_>, facts: &Facts, name: &str) -> Result<(), ApiError> {
    let Some(unkind) = turn.unkind else { return Ok(()) };
    if unkind.faults.is_too_new(facts, name, unkind.uptime) {
        return Err(ApiError::invalid_value(format!(
            "Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
        )));
    }
    Ok(())
}

/// What is to befall an instance that starts now.
pub(super) fn fate(turn: &Turn<'_>, facts: &Facts) -> Fate {
    let mut fate = Fate::default();
    let Some(unkind) = turn.unkind else { return fate };
    for fault in unkind.faults.strikes(Stage::Start, facts) {
        match fault {
            Fault::LaunchFailure { code, message } => {
                let message = message.as_deref().unwrap_or("Instance failed to launch");
                fate.failure = Some(StateReason::new(&code, message));
            }
            Fault::SlowLaunch { seconds } => fate.launch_delay += seconds.duration(),
            Fault::SlowBoot { seconds } => {
                fate.registration = fate.registration.and(Onset::After(seconds.duration()));
                fate.checks = fate.checks.and(Onset::After(seconds.duration()));
            }
            Fault::FailedBoot => (fate.registration, fate.checks) = (Onset::Never, Onset::Never),
            Fault::LateRegistration { seconds } => {
                fate.registration = fate.registration.and(Onset::After(seconds.duration()));
            }
            Fault::Impaired => fate.checks = Onset::Never,
            Fault::SpotInterruption { seconds, notice } if facts.market == Some(Market::Spot) => {
                let notice = notice.map_or(NOTICE, |notice| notice.duration());
                fate.interruption = interruption(turn.now, seconds.duration(), notice);
            }
            _ => {}
        }
    }
    fate
}

/// An interruption that is noticed after `delay` and carried out `notice` later; None past the end of time.
pub(crate) fn interruption(now: Timestamp, delay: Duration, notice: Duration) -> Option<Interruption> {
    let after = |time: Timestamp, delay| time.checked_add(SignedDuration::try_from(delay).ok()?).ok();
    let noticed = after(now, delay)?;
    Some(Interruption { noticed, at: after(noticed, notice)? })
}

/// Instances that the call set on their way.
fn moved(turn: &Turn<'_>) -> Vec<String> {
    let ids = turn.deeds.iter().filter_map(|deed| match deed {
        Deed::Instance(id) => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

/// Decides what befalls the instances that a call starts again.
fn decide_starts(turn: &mut Turn<'_>) {
    for id in moved(turn) {
        let Some(facts) = turn.ec2.instance(&id).map(|instance| facts_of(instance, "StartInstances")) else { continue };
        let fate = fate(turn, &facts);
        if let Some(instance) = turn.ec2.instances.get_mut(&id) {
            instance.fate = fate;
        }
    }
}

/// Decides what the instances leave behind that a call terminates.
fn decide_ends(turn: &mut Turn<'_>, unkind: Unkind<'_>) {
    for id in moved(turn) {
        let Some(facts) = turn.ec2.instance(&id).map(|instance| facts_of(instance, "TerminateInstances")) else { continue };
        if let Some(Fault::LingeringInterfaces { seconds }) = unkind.faults.strike(Stage::Termination, &facts)
            && let Some(instance) = turn.ec2.instances.get_mut(&id)
        {
            instance.fate.lingering = seconds.duration();
        }
    }
}

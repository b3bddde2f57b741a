//! EC2's actions: the call comes in as a parameter tree, the answer goes out as XML.
//!
//! An action changes the model in one step under the cloud's lock and leaves deeds (`deeds`), which bring the machine
//! after it. Only `GetConsoleOutput` and `CreateKeyPair` have to ask the machine for their answers.

mod address;
mod admission;
mod catalog;
mod catalog_type;
mod console;
mod deeds;
mod default_vpc;
mod describe_instances;
mod endpoint;
mod endpoint_service;
mod filter;
mod fleet;
mod fleet_launch;
mod gateway;
mod image;
mod image_attribute;
mod image_register;
mod instance_attribute;
mod instance_filters;
mod instance_options;
mod instance_profile;
mod instances;
mod key_pair;
mod launch;
mod launch_devices;
mod launch_network;
mod launch_options;
mod launch_placement;
mod launch_request;
mod launch_template;
mod launch_template_data;
mod nat_gateway;
mod network_acl;
mod network_interface;
mod network_interface_change;
mod permission;
mod placement_group;
mod replicas;
mod resume;
mod root_volume;
mod route;
mod route_table;
mod security_group;
mod security_group_rule;
mod snapshot;
mod snapshot_attribute;
mod snapshot_copy;
mod spot;
mod tags;
mod turn;
mod unbuilt;
mod uniform;
mod unkind;
mod volume;
mod volume_status;
mod vpc;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};

use crate::cloud::{Cloud, State};
use crate::model::ec2::Ec2;
use crate::model::ssm::Ssm;
use crate::node::NodeEvent;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

use deeds::Deed;
pub(crate) use deeds::{Settling, interrupt};
pub(crate) use replicas::Replicas;
pub use replicas::replicate;
pub use resume::resume;
use turn::{Operation, Turn};
use unkind::Unkind;
pub(crate) use unkind::{facts, facts_of, interruption};

/// Every action but those that ask the machine.
const OPERATIONS: &[&[Operation]] = &[
    address::OPERATIONS,
    catalog::OPERATIONS,
    default_vpc::OPERATIONS,
    describe_instances::OPERATIONS,
    endpoint::OPERATIONS,
    endpoint_service::OPERATIONS,
    fleet::OPERATIONS,
    gateway::OPERATIONS,
    image::OPERATIONS,
    image_attribute::OPERATIONS,
    image_register::OPERATIONS,
    instance_attribute::OPERATIONS,
    instance_options::OPERATIONS,
    instance_profile::OPERATIONS,
    instances::OPERATIONS,
    key_pair::OPERATIONS,
    launch::OPERATIONS,
    launch_template::OPERATIONS,
    launch_template_data::OPERATIONS,
    nat_gateway::OPERATIONS,
    network_acl::OPERATIONS,
    network_interface::OPERATIONS,
    network_interface_change::OPERATIONS,
    placement_group::OPERATIONS,
    route::OPERATIONS,
    route_table::OPERATIONS,
    root_volume::OPERATIONS,
    security_group::OPERATIONS,
    security_group_rule::OPERATIONS,
    snapshot::OPERATIONS,
    snapshot_attribute::OPERATIONS,
    snapshot_copy::OPERATIONS,
    spot::OPERATIONS,
    tags::OPERATIONS,
    volume::OPERATIONS,
    volume_status::OPERATIONS,
    vpc::OPERATIONS,
];

/// Actions that ask the machine.
const ASKING: [&str; 2] = ["CreateKeyPair", "GetConsoleOutput"];

/// The one version of the API that is spoken here.
const VERSION: &str = "2016-11-15";

/// The actions of networks that have no `DryRun` (ec2.md 2.6, and the service model).
const WITHOUT_DRY_RUN: [&str; 4] =
    ["ModifyVpcAttribute", "ModifySubnetAttribute", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"];

/// The names of all actions.
pub fn actions() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().copied().flatten().map(|operation| operation.name).chain(ASKING)
}

/// What actions accept and ignore: action, parameter, reason.
pub fn ignored_parameters() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_action =
        |operation: &'static Operation| operation.ignored.iter().map(|(parameter, why)| (operation.name, *parameter, *why));
    OPERATIONS.iter().copied().flatten().flat_map(of_action).chain(console::IGNORED)
}

/// What actions accept, read or ignored: action, and the path of a scalar without list numbers, or a path with `.*` at its
/// end for whatever is below it.
pub fn accepted_parameters() -> impl Iterator<Item = (&'static str, String)> {
    let of_action = |operation: &'static Operation| {
        let dry_run = (operation.has_dry_run && !WITHOUT_DRY_RUN.contains(&operation.name)).then_some("DryRun");
        let ignored = operation.ignored.iter().map(|(parameter, _)| *parameter);
        operation.parameters.iter().copied().chain(ignored).chain(dry_run).map(|listed| (operation.name, listed))
    };
    let asking = [("CreateKeyPair", key_pair::PARAMETERS.as_slice()), ("GetConsoleOutput", &console::PARAMETERS)];
    let of_asking = asking.into_iter().flat_map(|(action, listed)| listed.iter().map(move |listed| (action, *listed)));
    OPERATIONS
        .iter()
        .copied()
        .flatten()
        .flat_map(of_action)
        .chain(of_asking.filter(|(_, listed)| !admission::COMMON.contains(listed)))
        .flat_map(|(action, listed)| admission::spelled_out(listed).into_iter().map(move |path| (action, path)))
}

/// Carries out one action; answers with what its XML document says.
pub async fn call(cloud: &Arc<Cloud>, action: &str, query: &Query) -> Result<Xml, ApiError> {
    // Clients of other versions expect other shapes.
    if let Some(version) = query.text("Version").filter(|version| *version != VERSION) {
        return Err(ApiError::new(
            "NoSuchVersion",
            format!("The requested version ({version}) of service AmazonEC2 does not exist"),
        ));
    }
    match action {
        "GetConsoleOutput" => return console::get_output(cloud, query).await,
        "CreateKeyPair" => return key_pair::create(cloud, query).await,
        _ => {}
    }
    let operation = OPERATIONS
        .iter()
        .copied()
        .flatten()
        .find(|operation| operation.name == action)
        .ok_or_else(|| ApiError::invalid_action(action))?;
    admission::admit(operation, query)?;
    if WITHOUT_DRY_RUN.contains(&action) && query.text("DryRun").is_some() {
        return Err(ApiError::unknown_parameter("DryRun"));
    }
    let dry_run = query.boolean("DryRun")?.unwrap_or(false);
    let (answer, deeds) = {
        let mut state = cloud.state();
        if prepare(cloud, &mut state.ec2) {
            cloud.changed();
        }
        let State { ec2, ssm } = &mut *state;
        if dry_run {
            on_copy(ec2, true, |copy| carry_out(cloud, copy, ssm, operation, query, false))?
        } else if let Some(outcome) = replicas::answer(cloud, ec2, ssm, operation, query)? {
            outcome
        } else if operation.writes {
            on_copy(ec2, false, |copy| carry_out(cloud, copy, ssm, operation, query, true))?
        } else {
            carry_out(cloud, ec2, ssm, operation, query, true)?
        }
    };
    if dry_run {
        return answer.and_then(|_| Err(ApiError::dry_run()));
    }
    if operation.writes {
        cloud.changed();
    }
    deeds::begin(cloud, deeds).await;
    answer
}

/// The answer of a call that changed the model, which may be a refusal of a part, and what it leaves to be done.
type Outcome = (Result<Xml, ApiError>, Vec<Deed>);

/// Carries out an action on this model; `for_real` unless it is a rehearsal, at which nothing goes wrong by itself.
fn carry_out(
    cloud: &Cloud,
    ec2: &mut Ec2,
    ssm: &Ssm,
    operation: &Operation,
    query: &Query,
    for_real: bool,
) -> Result<Outcome, ApiError> {
    let unkind = (for_real && !cloud.faults.is_empty()).then(|| Unkind { faults: &cloud.faults, uptime: cloud.uptime() });
    let mut turn = Turn { ec2, ssm, config: &cloud.config, now: Timestamp::now(), unkind, deeds: Vec::new(), refusal: None };
    let body = unkind::run(&mut turn, operation, query)?;
    Ok((turn.refusal.map_or(Ok(body), Err), turn.deeds))
}

/// Runs what changes the model on a copy of it, which takes the model's place when all went well: neither a refusal nor
/// a panic half-way leaves its traces. A dry run is a real one whose copy is thrown away.
fn on_copy<T>(ec2: &mut Ec2, dry_run: bool, run: impl FnOnce(&mut Ec2) -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut copy = ec2.clone();
    let outcome = run(&mut copy)?;
    if !dry_run {
        *ec2 = copy;
    }
    Ok(outcome)
}

/// Makes what exists from the start, and forgets instances that were terminated long ago; answers whether it did any.
pub(super) fn prepare(cloud: &Cloud, ec2: &mut Ec2) -> bool {
    // EC2 shows terminated instances for about an hour; ten minutes serve as well and keep listings short.
    const REMEMBERED_MINUTES: i64 = 10;
    let fresh = !ec2.seeded;
    ec2.seed(&cloud.config.region, &cloud.config.account);
    let oldest = Timestamp::now().saturating_sub(REMEMBERED_MINUTES.minutes()).unwrap_or(Timestamp::MIN);
    let now = Timestamp::now();
    let passed = ec2.pass_storage_time(now) | ec2.pass_time(now);
    let before = ec2.instances.len();
    ec2.instances.retain(|_, instance| instance.terminated_at.is_none_or(|at| at > oldest));
    ec2.add_default_acls();
    let instances = &ec2.instances;
    ec2.spot_requests.retain(|_, request| instances.contains_key(&request.instance_id));
    ec2.fleets.retain(|_, fleet| fleet.deleted.is_none_or(|at| at > oldest));
    fresh || passed || ec2.instances.len() != before
}

/// Takes notice of what the driver says unasked.
pub async fn node_event(cloud: &Arc<Cloud>, event: NodeEvent) {
    match event {
        NodeEvent::Ended { instance_id, powered_off } => deeds::ended(cloud, &instance_id, powered_off),
    }
}

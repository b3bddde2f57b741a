//! What can be changed of an instance beside its attributes: placement, processors, metadata, monitoring, credits.

use std::collections::BTreeMap;

use super::filter::{Filters, Page, put_next_token};
use super::launch_options::{change_metadata_options, check_metadata_tags, cpu_credits, find_type, read_cpu_options};
use super::turn::{self, Operation, Reasoned, Turn, done};
use super::vpc::zone_id;
use super::{describe_instances, launch_placement};
use crate::model::ec2::{Instance, InstanceState, instance_types};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

const METRICS: &[Reasoned] = &[("MetricCategoryId", "there are no metrics")];

pub(super) const OPERATIONS: &[Operation] = &[
    // It has no DryRun (ec2.md 2.6).
    Operation::write(
        "ModifyInstancePlacement",
        modify_placement,
        &["InstanceId", "GroupName", "GroupId", "PartitionNumber", "Tenancy"],
    )
    .without_dry_run()
    .refusing(&[
        ("Affinity", "there are no dedicated hosts"),
        ("HostId", "there are no dedicated hosts"),
        ("HostResourceGroupArn", "there are no dedicated hosts"),
    ]),
    Operation::write("ModifyInstanceCpuOptions", modify_cpu, &["InstanceId", "CoreCount", "ThreadsPerCore"])
        .refusing(&[("NestedVirtualization", "nodes share the machine's kernel")]),
    Operation::write(
        "ModifyInstanceMetadataOptions",
        modify_metadata,
        &["InstanceId", "HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags", "HttpProtocolIpv6"],
    ),
    Operation::write("MonitorInstances", monitor, &["InstanceId"]).refusing(METRICS),
    Operation::write("UnmonitorInstances", unmonitor, &["InstanceId"]).refusing(METRICS),
    Operation::read(
        "DescribeInstanceCreditSpecifications",
        describe_credits,
        &["InstanceId", "Filter", "MaxResults", "NextToken"],
    ),
    Operation::write(
        "ModifyInstanceCreditSpecification",
        modify_credits,
        &["InstanceCreditSpecification.InstanceId", "InstanceCreditSpecification.CpuCredits"],
    )
    .ignoring(&[("ClientToken", "setting the same twice is setting it once")]),
    Operation::write("ResetInstanceAttribute", reset, &["InstanceId", "Attribute"]),
    Operation::read(
        "DescribeInstanceTopology",
        describe_topology,
        &["InstanceId", "GroupName", "Filter", "MaxResults", "NextToken"],
    ),
];

/// Refuses an instance that is not stopped.
fn check_stopped(instance: &Instance) -> Result<(), ApiError> {
    if instance.state == InstanceState::Stopped {
        return Ok(());
    }
    Err(ApiError::new("IncorrectInstanceState", format!("The instance '{}' is not in the 'stopped' state.", instance.id)))
}

/// Refuses an instance that is on its way out.
fn check_alive(instance: &Instance) -> Result<(), ApiError> {
    if ![InstanceState::ShuttingDown, InstanceState::Terminated].contains(&instance.state) {
        return Ok(());
    }
    Err(ApiError::new(
        "IncorrectInstanceState",
        format!("The instance '{}' is not in a state in which it can be modified.", instance.id),
    ))
}

fn modify_placement(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    let (group_id, group_name) = (query.text("GroupId"), query.text("GroupName"));
    let (partition, tenancy) = (query.integer("PartitionNumber")?, query.text("Tenancy"));
    if group_id.is_none() && group_name.is_none() && partition.is_none() && tenancy.is_none() {
        return Err(ApiError::missing_parameter("GroupName, GroupId, PartitionNumber or Tenancy"));
    }
    if tenancy.is_some_and(|tenancy| tenancy != "default") {
        return Err(ApiError::unsupported_parameter("Tenancy"));
    }
    let instance = turn::INSTANCE.find(&turn.ec2.instances, id)?;
    check_stopped(instance)?;
    let named = group_name.filter(|name| !name.is_empty());
    // An empty name takes the instance out of its group; no name leaves it in.
    let (group, number) = match (group_id, group_name) {
        (None, Some("")) => (None, None),
        (None, None) if partition.is_none() => (instance.placement_group.clone(), instance.partition_number),
        _ => {
            let kept = instance.placement_group.as_deref().filter(|_| group_id.is_none());
            let kind = find_type(&instance.instance_type)?;
            match launch_placement::choose(turn.ec2, kind, group_id, named.or(kept), partition)? {
                None => (None, None),
                Some(group) if instance.placement_group.as_ref() == Some(&group.name) && partition.is_none() => {
                    (Some(group.name), instance.partition_number)
                }
                Some(group) => {
                    if instance.placement_group.as_ref() != Some(&group.name) {
                        launch_placement::room(turn.ec2, &group, &instance.zone, 1, 1)?;
                    }
                    let number = launch_placement::partitions(turn.ec2, &group, 1).into_iter().next().flatten();
                    (Some(group.name), number)
                }
            }
        }
    };
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    instance.placement_group = group;
    instance.partition_number = number;
    Ok(done())
}

fn modify_cpu(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    let options = read_cpu_options(find_type(&instance.instance_type)?, query)?;
    check_stopped(instance)?;
    instance.cpu_options = options;
    let mut xml = Xml::new();
    xml.put("instanceId", id).put("coreCount", options.cores).put("threadsPerCore", options.threads_per_core);
    Ok(xml)
}

/// Changes metadata options, which are pending for a moment before they are applied.
fn modify_metadata(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    if query.text("HttpProtocolIpv6").is_some_and(|given| given != "disabled") {
        return Err(ApiError::unsupported_parameter("HttpProtocolIpv6"));
    }
    let now = turn.now;
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    let mut options = instance.metadata_options.clone();
    change_metadata_options(&mut options, query)?;
    check_alive(instance)?;
    if options.instance_tags {
        check_metadata_tags(&instance.tags)?;
    }
    options.changed = Some(now);
    instance.metadata_options = options;
    let mut xml = Xml::new();
    xml.put("instanceId", id).element("instanceMetadataOptions", |xml| {
        describe_instances::put_metadata_options(xml, &instance.metadata_options, now);
    });
    Ok(xml)
}

fn monitor(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    set_monitoring(turn, query, true)
}

fn unmonitor(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    set_monitoring(turn, query, false)
}

fn set_monitoring(turn: &mut Turn<'_>, query: &Query, on: bool) -> Result<Xml, ApiError> {
    let ids = query.list("InstanceId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("InstanceId"));
    }
    for id in &ids {
        check_alive(turn::INSTANCE.find(&turn.ec2.instances, id)?)?;
    }
    let mut xml = Xml::new();
    xml.list("instancesSet", ids, |xml, id| {
        let Some(instance) = turn.ec2.instances.get_mut(id) else { return };
        // The answer tells where the instance is going; the next look tells that it is there.
        let state = match (instance.monitoring, on) {
            (true, true) => "enabled",
            (false, true) => "pending",
            (true, false) => "disabling",
            (false, false) => "disabled",
        };
        instance.monitoring = on;
        xml.put("instanceId", id).element("monitoring", |xml| {
            xml.put("state", state);
        });
    });
    Ok(xml)
}

fn describe_credits(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["instance-id"])?;
    let page = Page::read_without_ids(query, "InstanceId")?;
    let ids = query.list("InstanceId");
    let ec2 = &*turn.ec2;
    for id in &ids {
        let instance = turn::INSTANCE.find(&ec2.instances, id)?;
        if instance.cpu_credits.is_none() {
            return Err(not_burstable(id));
        }
    }
    // Without ids EC2 lists those that are unlimited.
    let found = ec2
        .living()
        .filter_map(|instance| Some((instance, instance.cpu_credits.as_deref()?)))
        .filter(|(instance, credits)| match ids.is_empty() {
            true => *credits == "unlimited",
            false => ids.contains(&instance.id.as_str()),
        })
        .filter(|(instance, _)| filters.admit(&instance.tags, |_| vec![instance.id.clone()]));
    let (found, token) = page.cut(found, |(instance, _)| instance.id.clone());
    let mut xml = Xml::new();
    xml.list("instanceCreditSpecificationSet", found, |xml, (instance, credits)| {
        xml.put("instanceId", &instance.id).put("cpuCredits", credits);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn not_burstable(id: &str) -> ApiError {
    ApiError::new("InstanceCreditSpecification.NotSupported", format!("The instance '{id}' does not support CPU credits."))
}

/// Sets the credit option of instances, each for itself: what cannot be set is listed beside what was.
fn modify_credits(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let asked = query.structures("InstanceCreditSpecification");
    if asked.is_empty() {
        return Err(ApiError::missing_parameter("InstanceCreditSpecification"));
    }
    let mut specifications: Vec<(&str, &str)> = Vec::new();
    for specification in asked {
        let credits = specification.required("CpuCredits")?;
        if !["standard", "unlimited"].contains(&credits) {
            return Err(ApiError::invalid_value(format!("Invalid value '{credits}' for CpuCredits.")));
        }
        specifications.push((specification.required("InstanceId")?, credits));
    }
    let (mut set, mut refused) = (Vec::new(), Vec::new());
    for (id, credits) in specifications {
        match set_credits(turn, id, credits) {
            Ok(()) => set.push(id),
            Err(error) => refused.push((id, error)),
        }
    }
    let mut xml = Xml::new();
    xml.list("successfulInstanceCreditSpecificationSet", set, |xml, id| {
        xml.put("instanceId", id);
    });
    xml.list("unsuccessfulInstanceCreditSpecificationSet", refused, |xml, (id, error)| {
        xml.put("instanceId", id).element("error", |xml| {
            xml.put("code", &error.code).put("message", &error.message);
        });
    });
    Ok(xml)
}

fn set_credits(turn: &mut Turn<'_>, id: &str, credits: &str) -> Result<(), ApiError> {
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    if ![InstanceState::Running, InstanceState::Stopped].contains(&instance.state) {
        return Err(ApiError::new("IncorrectInstanceState", format!("The instance '{id}' is not 'running' or 'stopped'.")));
    }
    instance.cpu_credits = cpu_credits(find_type(&instance.instance_type)?, Some(credits))?;
    Ok(())
}

fn reset(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    let attribute = query.required("Attribute")?;
    match attribute {
        "sourceDestCheck" => {}
        "kernel" | "ramdisk" => return Err(ApiError::unsupported_parameter(&format!("Attribute={attribute}"))),
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    }
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    check_alive(instance)?;
    instance.source_dest_check = true;
    Ok(done())
}

/// The network nodes above an instance: all share this machine, so all of a zone stand under the same three.
fn describe_topology(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["availability-zone", "instance-type", "zone-id"])?;
    let page = Page::within(query, 1..=100, 20)?;
    let (ids, groups) = (query.list("InstanceId"), query.list("GroupName"));
    let ec2 = &*turn.ec2;
    turn::INSTANCE.asked(&ec2.instances, &ids)?;
    if let Some(unknown) = groups.iter().find(|name| !ec2.placement_groups.values().any(|group| group.name == **name)) {
        return Err(turn::PLACEMENT_GROUP.missing(unknown));
    }
    let in_group = |instance: &Instance| {
        groups.is_empty() || instance.placement_group.as_deref().is_some_and(|group| groups.contains(&group))
    };
    // As on EC2, the types that clusters are made of: those that EFA supports.
    let supported =
        |instance: &Instance| instance_types::find(&instance.instance_type).is_some_and(|kind| kind.efa_interfaces > 0);
    let found = ec2
        .living()
        .filter(|instance| instance.state == InstanceState::Running && supported(instance))
        .filter(|instance| (ids.is_empty() || ids.contains(&instance.id.as_str())) && in_group(instance))
        .filter(|instance| {
            filters.admit(&instance.tags, |name| {
                vec![match name {
                    "availability-zone" => instance.zone.clone(),
                    "instance-type" => instance.instance_type.clone(),
                    _ => zone_id(&instance.zone),
                }]
            })
        });
    let (found, token) = page.cut(found, |instance| instance.id.clone());
    let nodes = network_nodes(ec2.zones());
    let mut xml = Xml::new();
    xml.list("instanceSet", found, |xml, instance| {
        xml.put("instanceId", &instance.id)
            .put("instanceType", &instance.instance_type)
            .maybe("groupName", instance.placement_group.as_ref())
            .texts("networkNodeSet", nodes.get(&instance.zone).into_iter().flatten())
            .put("availabilityZone", &instance.zone)
            .put("zoneId", zone_id(&instance.zone));
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// Three network nodes for each zone, topmost first.
fn network_nodes(zones: impl Iterator<Item = String>) -> BTreeMap<String, [String; 3]> {
    let nodes = |zone: &str| {
        ["1", "2", "3"].map(|layer| {
            let digits: u64 =
                zone.bytes().chain(layer.bytes()).fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            format!("nn-0{digits:016x}")
        })
    };
    zones.map(|zone| (zone.clone(), nodes(&zone))).collect()
}

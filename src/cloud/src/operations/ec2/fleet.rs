//! Fleets of type instant: one attempt over launch templates and overrides, whose outcome is kept.

use super::filter::{Filters, Page, put_next_token};
use super::launch_request::{find_template, version_number};
use super::launch_template::put_data;
use super::turn::{self, Operation, Turn, put_tags, tag_specifications, wire_time};
use super::vpc::zone_id;
use super::{fleet_launch, instances};
use crate::model::ec2::{Capacity, Ec2, Fleet, FleetError, Pool, Tags};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::{Xml, uuid};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateFleet",
        create,
        &[
            "ClientToken",
            "Type",
            "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateId",
            "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateName",
            "LaunchTemplateConfigs.LaunchTemplateSpecification.Version",
            "LaunchTemplateConfigs.Overrides.AvailabilityZone",
            "LaunchTemplateConfigs.Overrides.AvailabilityZoneId",
            "LaunchTemplateConfigs.Overrides.BlockDeviceMapping",
            "LaunchTemplateConfigs.Overrides.ImageId",
            "LaunchTemplateConfigs.Overrides.InstanceType",
            "LaunchTemplateConfigs.Overrides.MaxPrice",
            "LaunchTemplateConfigs.Overrides.Placement.AvailabilityZone",
            "LaunchTemplateConfigs.Overrides.Placement.AvailabilityZoneId",
            "LaunchTemplateConfigs.Overrides.Placement.GroupId",
            "LaunchTemplateConfigs.Overrides.Placement.GroupName",
            "LaunchTemplateConfigs.Overrides.Placement.PartitionNumber",
            "LaunchTemplateConfigs.Overrides.Placement.Tenancy",
            "LaunchTemplateConfigs.Overrides.Priority",
            "LaunchTemplateConfigs.Overrides.SubnetId",
            "LaunchTemplateConfigs.Overrides.WeightedCapacity",
            "OnDemandOptions.AllocationStrategy",
            "OnDemandOptions.MinTargetCapacity",
            "OnDemandOptions.SingleAvailabilityZone",
            "OnDemandOptions.SingleInstanceType",
            "SpotOptions.AllocationStrategy",
            "SpotOptions.InstanceInterruptionBehavior",
            "SpotOptions.MinTargetCapacity",
            "SpotOptions.SingleAvailabilityZone",
            "SpotOptions.SingleInstanceType",
            "TagSpecification",
            "TargetCapacitySpecification.DefaultTargetCapacityType",
            "TargetCapacitySpecification.OnDemandTargetCapacity",
            "TargetCapacitySpecification.SpotTargetCapacity",
            "TargetCapacitySpecification.TotalTargetCapacity",
        ],
    )
    .ignoring(&[
        ("ExcessCapacityTerminationPolicy", "an instant fleet is never changed"),
        ("ReplaceUnhealthyInstances", "an instant fleet is never maintained"),
        ("TerminateInstancesWithExpiration", "an instant fleet does not expire"),
        ("SpotOptions.InstancePoolsToUseCount", "all pools share one machine and cost in proportion"),
    ])
    .refusing(&[
        ("Context", "reserved by EC2"),
        ("LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateSpecificationUserData", "reserved by EC2"),
        ("LaunchTemplateConfigs.Overrides.BlockDeviceMapping.Ebs.KmsKeyId", "there is no key service"),
        ("LaunchTemplateConfigs.Overrides.IamInstanceProfile", "set it in the launch template"),
        ("LaunchTemplateConfigs.Overrides.InstanceRequirements.*", "types are named, not described"),
        ("LaunchTemplateConfigs.Overrides.KeyName", "set it in the launch template"),
        ("LaunchTemplateConfigs.Overrides.MetadataOptions", "set them in the launch template"),
        ("LaunchTemplateConfigs.Overrides.Placement.Affinity", "there are no dedicated hosts"),
        ("LaunchTemplateConfigs.Overrides.Placement.HostId", "there are no dedicated hosts"),
        ("LaunchTemplateConfigs.Overrides.Placement.HostResourceGroupArn", "there are no dedicated hosts"),
        ("LaunchTemplateConfigs.Overrides.Placement.SpreadDomain", "there are no dedicated hosts"),
        ("OnDemandOptions.CapacityReservationOptions.*", "there are no capacity reservations"),
        ("OnDemandOptions.MaxTotalPrice", "nothing costs anything here"),
        ("ReservedCapacityOptions.*", "there are no capacity reservations"),
        ("SpotOptions.MaintenanceStrategies.*", "an instant fleet is never maintained"),
        ("SpotOptions.MaxTotalPrice", "nothing costs anything here"),
        ("TargetCapacitySpecification.TargetCapacityUnitType", "types are named, not described"),
        ("ValidFrom", "an instant fleet is launched at once"),
        ("ValidUntil", "an instant fleet does not expire"),
    ]),
    Operation::read("DescribeFleets", describe, &["FleetId", "Filter", "MaxResults", "NextToken"]),
    Operation::read("DescribeFleetInstances", describe_instances, &["FleetId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("DeleteFleets", delete, &["FleetId", "TerminateInstances"]),
];

/// Most launch template configurations of one fleet (ec2.md 4.3).
const CONFIGS: usize = 50;

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let configs = query.structures("LaunchTemplateConfigs");
    if configs.is_empty() {
        return Err(ApiError::missing_parameter("LaunchTemplateConfigs"));
    }
    if configs.len() > CONFIGS {
        return Err(ApiError::invalid_value(format!("At most {CONFIGS} launch template configurations may be specified")));
    }
    // The default is the one that people forget about (ec2.md 4.3).
    match query.text("Type") {
        Some("instant") => {}
        None => {
            return Err(ApiError::unsupported_parameter("Type=maintain (which is the default; set Type to instant)"));
        }
        Some(kind @ ("maintain" | "request")) => return Err(ApiError::unsupported_parameter(&format!("Type={kind}"))),
        Some(other) => return Err(ApiError::invalid_value(format!("Invalid value '{other}' for fleet type."))),
    }
    let capacity = capacity(query)?;
    let least = [minimum(query, "OnDemandOptions", capacity.on_demand)?, minimum(query, "SpotOptions", capacity.spot)?];
    check_strategies(query)?;
    if let Some(id) = turn.replayed("CreateFleet", query)? {
        return Ok(answer(turn.ec2, turn::FLEET.find(&turn.ec2.fleets, &id)?));
    }
    let pools = pools(turn.ec2, &configs)?;
    let mut tags = tag_specifications(query, &["fleet", "instance", "volume", "network-interface", "spot-instances-request"])?;
    let mut fleet = Fleet {
        id: format!("fleet-{}", uuid()),
        created: turn.now,
        client_token: query.text("ClientToken").unwrap_or_default().to_owned(),
        request: query.clone(),
        capacity,
        launches: Vec::new(),
        errors: Vec::new(),
        deleted: None,
        tags: tags.remove("fleet").unwrap_or_default(),
    };
    turn.remember("CreateFleet", query, &fleet.id);
    for (spot, target, least) in [(false, capacity.on_demand, least[0]), (true, capacity.spot, least[1])] {
        fleet_launch::fulfil(turn, query, &pools, &mut fleet, fleet_launch::Market { spot, target, least });
    }
    let xml = answer(turn.ec2, &fleet);
    turn.ec2.fleets.insert(fleet.id.clone(), fleet);
    Ok(xml)
}

/// Reads how much is wanted of which market.
fn capacity(query: &Query) -> Result<Capacity, ApiError> {
    let number = |name: &str| -> Result<Option<u32>, ApiError> {
        let path = format!("TargetCapacitySpecification.{name}");
        let Some(number) = query.integer(&path)? else { return Ok(None) };
        // EC2's own limit for one fleet.
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= 10_000)
            .map(Some)
            .ok_or_else(|| ApiError::invalid_value(format!("Invalid value '{number}' for {name}.")))
    };
    let total = number("TotalTargetCapacity")?
        .ok_or_else(|| ApiError::missing_parameter("TargetCapacitySpecification.TotalTargetCapacity"))?;
    let (on_demand, spot) = (number("OnDemandTargetCapacity")?.unwrap_or(0), number("SpotTargetCapacity")?.unwrap_or(0));
    let spot_by_default = match query.text("TargetCapacitySpecification.DefaultTargetCapacityType") {
        None | Some("on-demand") => false,
        Some("spot") => true,
        Some(other) => {
            return Err(ApiError::invalid_value(format!("Invalid value '{other}' for DefaultTargetCapacityType.")));
        }
    };
    let Some(rest) = total.checked_sub(on_demand + spot) else {
        return Err(ApiError::invalid_combination(
            "OnDemandTargetCapacity and SpotTargetCapacity may not be more than TotalTargetCapacity",
        ));
    };
    let (more_on_demand, more_spot) = if spot_by_default { (0, rest) } else { (rest, 0) };
    Ok(Capacity { total, on_demand: on_demand + more_on_demand, spot: spot + more_spot, spot_by_default })
}

/// The capacity below which a market launches nothing; it needs one type or one zone to be meant.
fn minimum(query: &Query, options: &str, target: u32) -> Result<u32, ApiError> {
    let Some(least) = query.integer(&format!("{options}.MinTargetCapacity"))? else { return Ok(0) };
    let single = |name: &str| query.boolean(&format!("{options}.{name}"));
    if single("SingleInstanceType")? != Some(true) && single("SingleAvailabilityZone")? != Some(true) {
        return Err(ApiError::invalid_combination(format!(
            "{options}.MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone"
        )));
    }
    // At most 1000, as the service model says.
    u32::try_from(least).ok().filter(|least| *least <= 1000 && *least <= target).ok_or_else(|| {
        ApiError::invalid_value(format!("Invalid value '{least}' for {options}.MinTargetCapacity: at most 1000, and the target"))
    })
}

fn check_strategies(query: &Query) -> Result<(), ApiError> {
    let known: [(&str, &[&str]); 3] = [
        ("OnDemandOptions.AllocationStrategy", &["lowest-price", "lowestPrice", "prioritized"]),
        (
            "SpotOptions.AllocationStrategy",
            &[
                "lowest-price",
                "lowestPrice",
                "diversified",
                "capacity-optimized",
                "capacityOptimized",
                "capacity-optimized-prioritized",
                "price-capacity-optimized",
            ],
        ),
        ("SpotOptions.InstanceInterruptionBehavior", &["terminate"]),
    ];
    for (name, words) in known {
        if let Some(given) = query.text(name).filter(|given| !words.contains(given)) {
            return Err(ApiError::invalid_value(format!("Invalid value '{given}' for {name}.")));
        }
    }
    Ok(())
}

/// What the fleet may be launched from: each configuration's template with each of its overrides, in the call's order.
fn pools(ec2: &Ec2, configs: &[&Query]) -> Result<Vec<Pool>, ApiError> {
    let mut pools = Vec::new();
    for config in configs {
        let Some(named) = config.structure("LaunchTemplateSpecification") else {
            return Err(ApiError::missing_parameter("LaunchTemplateConfigs.LaunchTemplateSpecification"));
        };
        let template = find_template(ec2, named.text("LaunchTemplateId"), named.text("LaunchTemplateName"))?;
        let version = version_number(template, named.required("Version")?)?;
        let pool =
            |overrides: Query| Pool { template_id: template.id.clone(), version: version.to_string(), overrides, spot: false };
        let overrides = config.structures("Overrides");
        if overrides.is_empty() {
            pools.push(pool(Query::default()));
        }
        for each in overrides {
            fleet_launch::weight(each)?;
            if each.text("SubnetId").is_some_and(|subnets| subnets.contains(',')) {
                return Err(ApiError::invalid_value("A fleet of type instant can have one subnet in each override"));
            }
            pools.push(pool(each.clone()));
        }
    }
    // 300 are what EC2 takes.
    if pools.len() > 300 {
        return Err(ApiError::invalid_value("At most 300 overrides may be specified in one fleet"));
    }
    Ok(pools)
}

fn answer(ec2: &Ec2, fleet: &Fleet) -> Xml {
    let mut xml = Xml::new();
    xml.put("fleetId", &fleet.id);
    put_outcome(&mut xml, ec2, fleet, true);
    xml
}

/// Writes what was launched and what was not; `places` are told by CreateFleet alone.
fn put_outcome(xml: &mut Xml, ec2: &Ec2, fleet: &Fleet, places: bool) {
    xml.list("errorSet", &fleet.errors, |xml, error: &FleetError| {
        put_pool(xml, ec2, &error.pool);
        xml.put("errorCode", &error.code).put("errorMessage", &error.message);
    });
    xml.list("fleetInstanceSet", &fleet.launches, |xml, launch| {
        put_pool(xml, ec2, &launch.pool);
        xml.texts("instanceIds", &launch.instance_ids).put("instanceType", &launch.instance_type);
        if places {
            xml.put("availabilityZone", &launch.zone)
                .put("availabilityZoneId", zone_id(&launch.zone))
                .put("subnetId", &launch.subnet_id);
        }
    });
}

fn put_pool(xml: &mut Xml, ec2: &Ec2, pool: &Pool) {
    xml.element("launchTemplateAndOverrides", |xml| {
        xml.element("launchTemplateSpecification", |xml| {
            xml.put("launchTemplateId", &pool.template_id)
                .maybe("launchTemplateName", ec2.launch_templates.get(&pool.template_id).map(|template| &template.name))
                .put("version", &pool.version);
        });
        if !pool.overrides.leaves().is_empty() {
            xml.element("overrides", |xml| put_data(xml, &pool.overrides, false));
        }
    })
    .put("lifecycle", if pool.spot { "spot" } else { "on-demand" });
}

/// A fleet's state: active, or deleted with its instances on their way or gone.
fn state(ec2: &Ec2, fleet: &Fleet) -> &'static str {
    let alive = fleet.instance_ids().any(|id| ec2.instance(id).is_some_and(|instance| instance.is_alive()));
    match (fleet.deleted, alive) {
        (None, _) => "active",
        (Some(_), true) => "deleted_terminating",
        (Some(_), false) => "deleted",
    }
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let known = ["activity-status", "excess-capacity-termination-policy", "fleet-state", "replace-unhealthy-instances", "type"];
    let filters = Filters::read(query, &known)?;
    let page = Page::within(query, 1..=1000, 1000)?;
    let ids = query.list("FleetId");
    let ec2 = &*turn.ec2;
    turn::FLEET.asked(&ec2.fleets, &ids)?;
    // An instant fleet is shown only when it is asked for by id.
    let found = ec2.fleets.values().filter(|fleet| ids.contains(&fleet.id.as_str())).filter(|fleet| {
        filters.admit(&Tags::new(), |name| {
            vec![match name {
                "activity-status" => activity(fleet).to_owned(),
                "excess-capacity-termination-policy" => "termination".to_owned(),
                "fleet-state" => state(ec2, fleet).to_owned(),
                "replace-unhealthy-instances" => "false".to_owned(),
                _ => "instant".to_owned(),
            }]
        })
    });
    let (found, token) = page.cut(found, |fleet| fleet.id.clone());
    let mut xml = Xml::new();
    xml.list("fleetSet", found, |xml, fleet| put_fleet(xml, ec2, fleet));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn activity(fleet: &Fleet) -> &'static str {
    let is_whole = fleet.fulfilled(false) >= fleet.capacity.on_demand && fleet.fulfilled(true) >= fleet.capacity.spot;
    if is_whole { "fulfilled" } else { "error" }
}

fn put_fleet(xml: &mut Xml, ec2: &Ec2, fleet: &Fleet) {
    let (on_demand, spot) = (fleet.fulfilled(false), fleet.fulfilled(true));
    xml.put("fleetId", &fleet.id)
        .put("createTime", wire_time(fleet.created))
        .put("fleetState", state(ec2, fleet))
        .put("activityStatus", activity(fleet))
        .put("clientToken", &fleet.client_token)
        .put("excessCapacityTerminationPolicy", "termination")
        .put("fulfilledCapacity", format!("{}.0", on_demand + spot))
        .put("fulfilledOnDemandCapacity", format!("{on_demand}.0"));
    xml.list("launchTemplateConfigs", fleet.request.structures("LaunchTemplateConfigs"), |xml, config| {
        xml.element("launchTemplateSpecification", |xml| {
            if let Some(named) = config.structure("LaunchTemplateSpecification") {
                put_data(xml, named, false);
            }
        });
        xml.list("overrides", config.structures("Overrides"), |xml, overrides| put_data(xml, overrides, false));
    });
    xml.element("targetCapacitySpecification", |xml| {
        xml.put("totalTargetCapacity", fleet.capacity.total)
            .put("onDemandTargetCapacity", fleet.capacity.on_demand)
            .put("spotTargetCapacity", fleet.capacity.spot)
            .put("defaultTargetCapacityType", if fleet.capacity.spot_by_default { "spot" } else { "on-demand" });
    })
    .put("terminateInstancesWithExpiration", false)
    .put("type", "instant")
    .put("replaceUnhealthyInstances", false);
    for (given, shown) in [("SpotOptions", "spotOptions"), ("OnDemandOptions", "onDemandOptions")] {
        if let Some(options) = fleet.request.structure(given) {
            xml.element(shown, |xml| put_data(xml, options, false));
        }
    }
    put_tags(xml, &fleet.tags);
    put_outcome(xml, ec2, fleet, false);
}

/// Instances of a fleet; EC2 has them for the other types alone.
fn describe_instances(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    Filters::read(query, &["instance-type"])?;
    Page::within(query, 1..=1000, 1000)?;
    let id = query.required("FleetId")?;
    turn::FLEET.find(&turn.ec2.fleets, id)?;
    Err(ApiError::new(
        "UnsupportedOperation",
        format!("The fleet '{id}' is of type instant; DescribeFleets with its id shows its instances."),
    ))
}

/// Deletes fleets with their instances, which an instant fleet does not leave behind.
fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = query.list("FleetId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("FleetId"));
    }
    let terminates = query.boolean("TerminateInstances")?.ok_or_else(|| ApiError::missing_parameter("TerminateInstances"))?;
    // As the service model documents it.
    if ids.len() > 25 {
        return Err(ApiError::invalid_value("At most 25 fleets of type instant can be deleted in one request"));
    }
    let (mut deleted, mut kept) = (Vec::new(), Vec::new());
    for id in ids {
        match turn::FLEET.find(&turn.ec2.fleets, id) {
            Err(error) => {
                let code = if error.code.ends_with("Malformed") { "fleetIdMalformed" } else { "fleetIdDoesNotExist" };
                kept.push((id, code, error.message));
            }
            Ok(_) if !terminates => kept.push((
                id,
                "fleetNotInDeletableState",
                "A fleet of type instant is deleted with its instances; set TerminateInstances to true".to_owned(),
            )),
            Ok(fleet) => {
                let before = state(turn.ec2, fleet);
                let members: Vec<String> = fleet.instance_ids().map(str::to_owned).collect();
                instances::end(turn, &members);
                let now = turn.now;
                if let Some(fleet) = turn.ec2.fleets.get_mut(id) {
                    fleet.deleted.get_or_insert(now);
                }
                let after = turn.ec2.fleets.get(id).map_or("deleted", |fleet| state(turn.ec2, fleet));
                deleted.push((id, before, after));
            }
        }
    }
    let mut xml = Xml::new();
    xml.list("successfulFleetDeletionSet", deleted, |xml, (id, before, after)| {
        xml.put("currentFleetState", after).put("previousFleetState", before).put("fleetId", id);
    });
    xml.list("unsuccessfulFleetDeletionSet", kept, |xml, (id, code, message)| {
        xml.element("error", |xml| {
            xml.put("code", code).put("message", message);
        })
        .put("fleetId", id);
    });
    Ok(xml)
}

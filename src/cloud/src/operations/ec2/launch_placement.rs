//! Placement groups as launches meet them: one zone, seven a zone, partitions.

use super::turn;
use crate::model::ec2::instance_types::InstanceType;
use crate::model::ec2::{Ec2, PlacementGroup};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// Most instances of a spread group in one zone (ec2.md 4.5).
const SPREAD: usize = 7;

/// The group that a launch names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChosenGroup {
    pub name: String,
    strategy: String,
    partitions: u32,
    /// The one partition that was asked for.
    partition: Option<u32>,
}

/// Reads `Placement.GroupName` or `GroupId`, and `PartitionNumber`.
pub(super) fn read(ec2: &Ec2, kind: &InstanceType, query: &Query) -> Result<Option<ChosenGroup>, ApiError> {
    let (id, name) = (query.text("Placement.GroupId"), query.text("Placement.GroupName").filter(|name| !name.is_empty()));
    let partition = query.integer("Placement.PartitionNumber")?;
    choose(ec2, kind, id, name, partition)
}

/// The group of this id or name, if the type may go into it.
pub(super) fn choose(
    ec2: &Ec2,
    kind: &InstanceType,
    id: Option<&str>,
    name: Option<&str>,
    partition: Option<i64>,
) -> Result<Option<ChosenGroup>, ApiError> {
    let Some(asked) = id.or(name) else {
        return match partition {
            None => Ok(None),
            Some(_) => Err(ApiError::invalid_combination("PartitionNumber needs a placement group of the partition strategy")),
        };
    };
    let group = ec2
        .placement_groups
        .values()
        .find(|group| id.is_none_or(|id| id == group.id) && name.is_none_or(|name| name == group.name))
        .ok_or_else(|| turn::PLACEMENT_GROUP.missing(asked))?;
    if !kind.strategies.contains(&group.strategy.as_str()) {
        return Err(ApiError::invalid_combination(format!(
            "{} placement groups are not supported by the '{}' instance type. Specify a supported instance type or change the placement group strategy, and try again.",
            group.strategy, kind.name
        )));
    }
    Ok(Some(ChosenGroup {
        name: group.name.clone(),
        strategy: group.strategy.clone(),
        partitions: group.partition_count.unwrap_or(0),
        partition: partition.map(|number| partition_of(group, number)).transpose()?,
    }))
}

fn partition_of(group: &PlacementGroup, number: i64) -> Result<u32, ApiError> {
    let Some(count) = group.partition_count else {
        return Err(ApiError::invalid_combination("PartitionNumber is for placement groups of the partition strategy alone"));
    };
    u32::try_from(number).ok().filter(|number| (1..=count).contains(number)).ok_or_else(|| {
        ApiError::invalid_value(format!(
            "The partition number {number} is not between 1 and {count}, the partitions of the group"
        ))
    })
}

/// How many instances may be added to the group in this zone; refuses fewer than `least`.
pub(super) fn room(ec2: &Ec2, group: &ChosenGroup, zone: &str, least: usize, most: usize) -> Result<usize, ApiError> {
    let mut members = ec2.living().filter(|instance| instance.placement_group.as_ref() == Some(&group.name));
    match group.strategy.as_str() {
        "cluster" => match members.find(|member| member.zone != zone) {
            None => Ok(most),
            Some(member) => Err(ApiError::new(
                "InvalidPlacementGroup.InUse",
                format!("The placement group '{}' is in use in another availability zone: {}", group.name, member.zone),
            )),
        },
        "spread" => {
            let free = SPREAD.saturating_sub(members.filter(|member| member.zone == zone).count());
            if free >= least {
                return Ok(most.min(free));
            }
            Err(ApiError::new(
                "InsufficientInstanceCapacity",
                format!(
                    "We currently do not have sufficient capacity: the spread placement group '{}' holds at most {SPREAD} running instances per Availability Zone.",
                    group.name
                ),
            )
            .with_status(500))
        }
        _ => Ok(most),
    }
}

/// The partitions that `count` new instances go to: the one asked for, or always the emptiest.
pub(super) fn partitions(ec2: &Ec2, group: &ChosenGroup, count: usize) -> Vec<Option<u32>> {
    if group.partitions == 0 {
        return vec![None; count];
    }
    let members = ec2.living().filter(|instance| instance.placement_group.as_ref() == Some(&group.name));
    let mut sizes = vec![0usize; usize::try_from(group.partitions).unwrap_or(0)];
    for number in members.filter_map(|member| member.partition_number) {
        if let Some(size) = usize::try_from(number).ok().and_then(|number| sizes.get_mut(number.saturating_sub(1))) {
            *size += 1;
        }
    }
    let mut emptiest = || {
        let (place, size) = sizes.iter_mut().enumerate().min_by_key(|(_, size)| **size)?;
        *size += 1;
        u32::try_from(place + 1).ok()
    };
    (0..count).map(|_| group.partition.or_else(&mut emptiest)).collect()
}

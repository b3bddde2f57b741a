//! Placement groups. All nodes share a machine, so they are records with rules.

use super::filter::Filters;
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Ec2, PlacementGroup, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreatePlacementGroup",
        create,
        &["GroupName", "Strategy", "PartitionCount", "SpreadLevel", "TagSpecification"],
    )
    .refusing(&[
        ("LinkedGroupId", "groups are not linked"),
        ("Operator.Principal", "there are no managed resources"),
        ("ParentGroupId", "groups are not nested"),
    ]),
    Operation::read("DescribePlacementGroups", describe, &["GroupName", "GroupId", "Filter"]),
    Operation::write("DeletePlacementGroup", delete, &["GroupName"]),
];

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("GroupName")?;
    let strategy = query.text("Strategy").unwrap_or("cluster");
    if !["cluster", "spread", "partition"].contains(&strategy) {
        return Err(ApiError::invalid_value(format!("Value ({strategy}) for parameter strategy is invalid.")));
    }
    if name.len() > 255 || !name.is_ascii() {
        return Err(ApiError::invalid_value("A placement group's name has at most 255 ASCII characters"));
    }
    if turn.ec2.placement_groups.values().any(|group| group.name == name) {
        return Err(ApiError::new("InvalidPlacementGroup.Duplicate", format!("The placement group '{name}' already exists.")));
    }
    let partition_count = match (query.integer("PartitionCount")?, strategy) {
        // Two unless said otherwise; at most seven a zone.
        (count, "partition") => Some(
            u32::try_from(count.unwrap_or(2))
                .ok()
                .filter(|count| (1..=7).contains(count))
                .ok_or_else(|| ApiError::invalid_value("PartitionCount must be between 1 and 7"))?,
        ),
        (None, _) => None,
        (Some(_), _) => {
            return Err(ApiError::invalid_combination("PartitionCount is for the partition strategy alone"));
        }
    };
    let spread_level = match (query.text("SpreadLevel"), strategy) {
        (Some("host"), "spread") => return Err(ApiError::unsupported_parameter("SpreadLevel")),
        (level, "spread") => Some(level.unwrap_or("rack").to_owned()),
        (None, _) => None,
        (Some(_), _) => return Err(ApiError::invalid_combination("SpreadLevel is for the spread strategy alone")),
    };
    let group = PlacementGroup {
        id: new_id("pg"),
        name: name.to_owned(),
        strategy: strategy.to_owned(),
        partition_count,
        spread_level,
        tags: tags_for(query, "placement-group")?,
    };
    let mut xml = Xml::new();
    xml.element("placementGroup", |xml| put_group(xml, turn.ec2, &group));
    turn.ec2.placement_groups.insert(group.id.clone(), group);
    Ok(xml)
}

fn arn(ec2: &Ec2, group: &PlacementGroup) -> String {
    format!("arn:aws:ec2:{}:{}:placement-group/{}", ec2.region, ec2.account, group.name)
}

fn put_group(xml: &mut Xml, ec2: &Ec2, group: &PlacementGroup) {
    xml.put("groupName", &group.name)
        .put("groupId", &group.id)
        .put("groupArn", arn(ec2, group))
        .put("state", "available")
        .put("strategy", &group.strategy)
        .maybe("partitionCount", group.partition_count)
        .maybe("spreadLevel", group.spread_level.as_ref());
    put_tags(xml, &group.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "group-name", "group-id", "group-arn", "state", "strategy", "spread-level"])?;
    let (names, ids) = (query.list("GroupName"), query.list("GroupId"));
    let ec2 = &*turn.ec2;
    for name in &names {
        if !ec2.placement_groups.values().any(|group| group.name == *name) {
            return Err(turn::PLACEMENT_GROUP.missing(name));
        }
    }
    turn::PLACEMENT_GROUP.asked(&ec2.placement_groups, &ids)?;
    let found = ec2
        .placement_groups
        .values()
        .filter(|group| {
            (names.is_empty() && ids.is_empty()) || names.contains(&group.name.as_str()) || ids.contains(&group.id.as_str())
        })
        .filter(|group| {
            filters.admit(&group.tags, |name| {
                vec![match name {
                    "group-name" => group.name.clone(),
                    "group-id" => group.id.clone(),
                    "group-arn" => arn(ec2, group),
                    "state" => "available".to_owned(),
                    "strategy" => group.strategy.clone(),
                    _ => return group.spread_level.iter().cloned().collect(),
                }]
            })
        });
    let mut xml = Xml::new();
    xml.list("placementGroupSet", found, |xml, group| put_group(xml, ec2, group));
    Ok(xml)
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("GroupName")?;
    let found = turn.ec2.placement_groups.values().find(|group| group.name == name || group.id == name);
    let (id, name) =
        found.map(|group| (group.id.clone(), group.name.clone())).ok_or_else(|| turn::PLACEMENT_GROUP.missing(name))?;
    if turn.ec2.living().any(|instance| instance.placement_group.as_ref() == Some(&name)) {
        return Err(ApiError::new(
            "InvalidPlacementGroup.InUse",
            format!("The placement group '{name}' is in use and may not be deleted."),
        ));
    }
    turn.ec2.placement_groups.remove(&id);
    Ok(done())
}

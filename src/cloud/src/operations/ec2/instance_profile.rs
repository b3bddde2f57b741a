//! Associations of instances with instance profiles. This cloud has no IAM and believes every well-formed name.

use super::filter::{Filters, Page, put_next_token};
use super::launch_options::{associate, instance_profile};
use super::turn::{self, Operation, Turn, wire_time};
use crate::model::ec2::{Instance, InstanceProfile, InstanceState};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    // None of the three has a DryRun (ec2.md 2.6 and the service model).
    Operation::write("AssociateIamInstanceProfile", attach, &["IamInstanceProfile", "InstanceId"]).without_dry_run(),
    Operation::write("DisassociateIamInstanceProfile", detach, &["AssociationId"]).without_dry_run(),
    Operation::write("ReplaceIamInstanceProfileAssociation", replace, &["IamInstanceProfile", "AssociationId"]).without_dry_run(),
    Operation::read("DescribeIamInstanceProfileAssociations", describe, &["AssociationId", "Filter", "MaxResults", "NextToken"])
        .without_dry_run(),
];

/// The profile that a call names; it must name one.
fn named(turn: &Turn<'_>, query: &Query) -> Result<InstanceProfile, ApiError> {
    let profile = instance_profile(&turn.ec2.account, query)?;
    associate(profile.as_ref())
        .map(|profile| InstanceProfile { since: Some(turn.now), ..profile })
        .ok_or_else(|| ApiError::missing_parameter("IamInstanceProfile"))
}

fn attach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    let profile = named(turn, query)?;
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    if ![InstanceState::Running, InstanceState::Stopped, InstanceState::Pending].contains(&instance.state) {
        return Err(wrong_state(instance, "'running' or 'stopped'"));
    }
    if instance.iam_instance_profile.is_some() {
        return Err(ApiError::new("IncorrectState", format!("There is an existing association for instance {id}")));
    }
    instance.iam_instance_profile = Some(profile.clone());
    Ok(answer(id, &profile, "associating", turn))
}

fn wrong_state(instance: &Instance, wanted: &str) -> ApiError {
    ApiError::new("IncorrectInstanceState", format!("The instance '{}' is not in the {wanted} state.", instance.id))
}

/// The instance that has this association.
fn associated(turn: &Turn<'_>, id: &str) -> Result<String, ApiError> {
    turn::ASSOCIATION.check(id)?;
    turn.ec2
        .living()
        .find(|instance| instance.iam_instance_profile.as_ref().is_some_and(|profile| profile.association_id == id))
        .map(|instance| instance.id.clone())
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::new("InvalidAssociationID.NotFound", format!("An invalid association-id of '{id}' was given"))
}

fn detach(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let association = query.required("AssociationId")?;
    let id = associated(turn, association)?;
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, &id)?;
    let profile = instance.iam_instance_profile.take().ok_or_else(|| unknown(association))?;
    Ok(answer(&id, &profile, "disassociating", turn))
}

/// Puts another profile in the place of one; the association that this makes is a new one.
fn replace(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let association = query.required("AssociationId")?;
    let profile = named(turn, query)?;
    let id = associated(turn, association)?;
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, &id)?;
    if instance.state != InstanceState::Running {
        return Err(wrong_state(instance, "'running'"));
    }
    instance.iam_instance_profile = Some(profile.clone());
    Ok(answer(&id, &profile, "associating", turn))
}

fn answer(instance_id: &str, profile: &InstanceProfile, state: &str, turn: &Turn<'_>) -> Xml {
    let mut xml = Xml::new();
    xml.element("iamInstanceProfileAssociation", |xml| {
        put_association(xml, instance_id, profile, state);
        xml.put("timestamp", wire_time(turn.now));
    });
    xml
}

fn put_association(xml: &mut Xml, instance_id: &str, profile: &InstanceProfile, state: &str) {
    xml.put("associationId", &profile.association_id)
        .put("instanceId", instance_id)
        .element("iamInstanceProfile", |xml| {
            xml.put("arn", &profile.arn).put("id", &profile.id);
        })
        .put("state", state);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["instance-id", "state"])?;
    let page = Page::read(query)?;
    let ids = query.list("AssociationId");
    let ec2 = &*turn.ec2;
    let mut all: Vec<_> = ec2
        .living()
        .filter_map(|instance| Some((instance, instance.iam_instance_profile.as_ref()?)))
        .filter(|(_, profile)| ids.is_empty() || ids.contains(&profile.association_id.as_str()))
        .collect();
    if let Some(absent) = ids.iter().find(|id| !all.iter().any(|(_, profile)| profile.association_id == **id)) {
        return Err(unknown(absent));
    }
    all.sort_by(|(_, one), (_, other)| one.association_id.cmp(&other.association_id));
    let found = all.into_iter().filter(|(instance, _)| {
        filters.admit(&instance.tags, |name| match name {
            "instance-id" => vec![instance.id.clone()],
            _ => vec!["associated".to_owned()],
        })
    });
    let (found, token) = page.cut(found, |(_, profile)| profile.association_id.clone());
    let mut xml = Xml::new();
    xml.list("iamInstanceProfileAssociationSet", found, |xml, (instance, profile)| {
        put_association(xml, &instance.id, profile, "associated");
        xml.put("timestamp", wire_time(profile.since.unwrap_or(instance.created)));
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

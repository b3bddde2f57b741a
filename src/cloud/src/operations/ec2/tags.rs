//! Tags on what exists.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::launch_options::check_metadata_tags;
use super::turn::{self, Operation, Turn, check_tag_count, done, is_reserved, read_tags};
use crate::model::ec2::{Tags, id_prefix};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateTags", create, &["ResourceId", "Tag"]),
    Operation::write("DeleteTags", delete, &["ResourceId", "Tag"]),
    Operation::read("DescribeTags", describe, &["Filter", "MaxResults", "NextToken"]),
];

/// The resources that a call names, all of which must exist.
fn named<'a>(turn: &mut Turn<'_>, query: &'a Query) -> Result<Vec<&'a str>, ApiError> {
    let ids = query.list("ResourceId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("ResourceId"));
    }
    if ids.len() > 1000 {
        return Err(ApiError::invalid_value("At most 1000 resources may be named"));
    }
    for id in &ids {
        if turn.ec2.tags_mut(id).is_none() {
            return Err(unknown(id));
        }
    }
    Ok(ids)
}

/// The refusal of an id, in the words of its kind.
fn unknown(id: &str) -> ApiError {
    let kind = match id_prefix(id) {
        Some("vpc") => turn::VPC,
        Some("subnet") => turn::SUBNET,
        Some("igw") => turn::GATEWAY,
        Some("rtb") => turn::ROUTE_TABLE,
        Some("sg") => turn::SECURITY_GROUP,
        Some("sgr") => turn::RULE,
        Some("pg") => turn::PLACEMENT_GROUP,
        Some("lt") => turn::TEMPLATE,
        Some("sir") => turn::SPOT_REQUEST,
        Some("fleet") => turn::FLEET,
        Some("i") => turn::INSTANCE,
        Some("eni") => turn::INTERFACE,
        Some("acl") => turn::NETWORK_ACL,
        Some("nat") => turn::NAT_GATEWAY,
        Some("vpce") => turn::ENDPOINT,
        Some("eipalloc") => turn::ADDRESS,
        Some("key") => turn::KEY_PAIR,
        Some("vol") => turn::VOLUME,
        Some("snap") => turn::SNAPSHOT,
        Some("ami") => turn::IMAGE,
        Some("replacevol") => turn::ROOT_REPLACEMENT,
        _ => return ApiError::new("InvalidID", format!("The ID '{id}' is not valid")),
    };
    kind.check(id).err().unwrap_or_else(|| kind.missing(id))
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    let tags = read_tags(query)?;
    if tags.is_empty() {
        return Err(ApiError::missing_parameter("Tag"));
    }
    for id in &ids {
        if turn.ec2.instance(id).is_some_and(|instance| instance.metadata_options.instance_tags) {
            check_metadata_tags(&tags)?;
        }
        if let Some(present) = turn.ec2.tags_mut(id) {
            let mut merged: Tags = present.clone();
            merged.extend(tags.clone());
            check_tag_count(&merged)?;
        }
    }
    for id in ids {
        if let Some(present) = turn.ec2.tags_mut(id) {
            present.extend(tags.clone());
        }
    }
    turn.deeds.push(Deed::Sweep);
    Ok(done())
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = named(turn, query)?;
    let wanted: Vec<(&str, Option<&str>)> = query
        .structures("Tag")
        .into_iter()
        .map(|tag| Ok((tag.required("Key")?, tag.text("Value"))))
        .collect::<Result<_, ApiError>>()?;
    if wanted.iter().any(|(key, _)| is_reserved(key)) {
        return Err(ApiError::invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    for id in ids {
        let Some(tags) = turn.ec2.tags_mut(id) else { continue };
        // A key without value goes whatever its value; no key at all means every tag.
        let goes = |key: &str, value: &str| {
            wanted.is_empty() || wanted.iter().any(|(name, given)| *name == key && given.is_none_or(|given| given == value))
        };
        tags.retain(|key, value| is_reserved(key) || !goes(key, value));
    }
    turn.deeds.push(Deed::Sweep);
    Ok(done())
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "key", "value", "resource-id", "resource-type"])?;
    let page = Page::read(query)?;
    let mut all: Vec<(&str, &str, &str, &str)> = turn
        .ec2
        .tagged()
        .flat_map(|(id, kind, tags)| tags.iter().map(move |(key, value)| (id, key.as_str(), kind, value.as_str())))
        .collect();
    all.sort_unstable();
    let found = all.into_iter().filter(|(id, key, kind, value)| {
        let own = Tags::from([((*key).to_owned(), (*value).to_owned())]);
        filters.admit(&own, |name| {
            vec![
                match name {
                    "key" => *key,
                    "value" => *value,
                    "resource-id" => *id,
                    _ => *kind,
                }
                .to_owned(),
            ]
        })
    });
    let (found, token) = page.cut(found, |(id, key, ..)| format!("{id} {key}"));
    let mut xml = Xml::new();
    xml.list("tagSet", found, |xml, (id, key, kind, value)| {
        xml.put("resourceId", id).put("resourceType", kind).put("key", key).put("value", value);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

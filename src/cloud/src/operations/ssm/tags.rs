//! Tags of SSM resources; parameters are the only ones here.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::model::ec2::Tags;
use crate::model::ssm::Ssm;
use crate::wire::error::ApiError;
use crate::wire::json::input;

/// A tag as it stands in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    pub key: String,
    pub value: String,
}

/// Makes a map of the list; a key that comes twice is refused.
pub(super) fn gathered(list: Vec<Tag>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for Tag { key, value } in list {
        if tags.insert(key.clone(), value).is_some() {
            return Err(super::invalid(format!("the tag key {key} comes twice")));
        }
    }
    Ssm::check_tags(&tags)?;
    Ok(tags)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Call {
    resource_type: String,
    resource_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl Call {
    /// Does something with the tags of the parameter that the call names.
    fn on_tags<T>(&self, cloud: &Cloud, work: impl FnOnce(&mut Tags) -> Result<T, ApiError>) -> Result<T, ApiError> {
        if self.resource_type != "Parameter" {
            let message = format!("Resources of type {} do not exist in this cloud.", self.resource_type);
            return Err(ApiError::new("InvalidResourceType", message));
        }
        let mut state = cloud.state();
        match state.ssm.parameters.tags_mut(&self.resource_id) {
            Some(tags) => work(tags),
            None => Err(ApiError::new("InvalidResourceId", format!("There is no parameter {}.", self.resource_id))),
        }
    }
}

pub(super) fn add(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let mut call: Call = input(body)?;
    let new = gathered(std::mem::take(&mut call.tags))?;
    call.on_tags(cloud, |tags| {
        let mut merged = tags.clone();
        merged.extend(new);
        Ssm::check_tags(&merged)?;
        *tags = merged;
        Ok(())
    })?;
    cloud.changed();
    Ok(json!({}))
}

pub(super) fn remove(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Call = input(body)?;
    call.on_tags(cloud, |tags| {
        tags.retain(|key, _| !call.tag_keys.contains(key));
        Ok(())
    })?;
    cloud.changed();
    Ok(json!({}))
}

pub(super) fn list(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Call = input(body)?;
    let tags = call.on_tags(cloud, |tags| Ok(tags.clone()))?;
    let list: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "TagList": list }))
}

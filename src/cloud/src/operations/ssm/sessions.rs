//! Sessions: a shell through the service needs a plugin that this cloud does not speak with, so none is ever opened.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::takes_commands;
use super::{Page, compact, invalid};
use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::json::input;

/// Documents that open sessions.
const DOCUMENTS: [&str; 6] = [
    "SSM-SessionManagerRunShell",
    "AWS-StartInteractiveCommand",
    "AWS-StartNonInteractiveCommand",
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
    "AWS-StartSSHSession",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Start {
    target: String,
    document_name: Option<String>,
    reason: Option<String>,
    /// Whatever the document takes; none is ever started.
    #[serde(rename = "Parameters")]
    _parameters: Option<Value>,
}

pub(super) fn start(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Start = input(body)?;
    if call.reason.is_some_and(|reason| reason.chars().count() > 256) {
        return Err(invalid("reason has more than 256 characters"));
    }
    if let Some(name) = call.document_name.filter(|name| !DOCUMENTS.contains(&name.as_str())) {
        return Err(ApiError::new("InvalidDocument", format!("Document with name {name} does not exist.")));
    }
    if !takes_commands(&cloud.state(), &call.target) {
        return Err(ApiError::new("TargetNotConnected", format!("{} is not connected.", call.target)));
    }
    Err(ApiError::new(
        "UnsupportedOperationException",
        "StartSession is not supported by this cloud, whose nodes are reached by ssh and by SendCommand.",
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Terminate {
    session_id: String,
}

/// Ends a session: one that is not there has ended, and SSM has no error for it.
pub(super) fn terminate(_cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Terminate = input(body)?;
    if call.session_id.is_empty() || call.session_id.chars().count() > 96 {
        return Err(invalid("sessionId has not 1 to 96 characters"));
    }
    Ok(json!({ "SessionId": call.session_id }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    #[serde(rename = "value")]
    _value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Describe {
    state: String,
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

/// Lists sessions, of which there are none; the call is checked all the same.
pub(super) fn describe(_cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Describe = input(body)?;
    if !["Active", "History"].contains(&call.state.as_str()) {
        return Err(invalid(format!("state {} is neither Active nor History", call.state)));
    }
    let known = ["InvokedAfter", "InvokedBefore", "Target", "Owner", "Status", "SessionId", "AccessType"];
    if let Some(filter) = call.filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
        return Err(ApiError::new("InvalidFilterKey", format!("The filter key {} is not supported.", filter.key)));
    }
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 1..=200, default: 200 };
    let (sessions, next) = page.cut(std::iter::empty::<Value>(), Value::to_string)?;
    Ok(compact(json!({ "Sessions": sessions, "NextToken": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Connection {
    target: String,
}

pub(super) fn connection(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Connection = input(body)?;
    let status = if takes_commands(&cloud.state(), &call.target) { "connected" } else { "notconnected" };
    Ok(json!({ "Target": call.target, "Status": status }))
}

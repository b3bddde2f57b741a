//! STS's actions, as far as a cloud with one account and one user has them.

use std::sync::Arc;

use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::query::{Query, plain};
use crate::wire::xml::Xml;

const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

type Run = fn(&Cloud, &Query) -> Result<Xml, ApiError>;

/// Each action with what it accepts.
const ACTIONS: [(&str, Run, &[&str]); 2] = [
    ("GetCallerIdentity", caller_identity, &[]),
    ("DecodeAuthorizationMessage", decode_authorization_message, &["EncodedMessage"]),
];

/// Actions that would hand out other credentials; the one key of this cloud is all there is.
const REFUSED: [&str; 6] =
    ["AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot", "GetFederationToken", "GetSessionToken"];

/// The names of all actions.
pub fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, ..)| *name)
}

/// Carries out one action; answers with the members of its result.
pub fn call(cloud: &Arc<Cloud>, action: &str, query: &Query) -> Result<Xml, ApiError> {
    let version = query.text("Version").unwrap_or("NO_VERSION_SPECIFIED");
    if version != VERSION {
        return Err(ApiError::new("InvalidAction", format!("Could not find operation {action} for version {version}")));
    }
    if REFUSED.contains(&action) {
        let message = format!("The action {action} is not supported by this cloud: it has no credentials but its owner's.");
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let known = ACTIONS.iter().find(|(name, ..)| *name == action);
    let (_, run, parameters) = known
        .ok_or_else(|| ApiError::new("InvalidAction", format!("Could not find operation {action} for version {VERSION}")))?;
    for (path, _) in query.leaves() {
        if !["Action", "Version"].contains(&path.as_str()) && !parameters.contains(&plain(&path).as_str()) {
            return Err(ApiError::unknown_parameter(&path));
        }
    }
    run(cloud, query)
}

fn caller_identity(cloud: &Cloud, _query: &Query) -> Result<Xml, ApiError> {
    let account = &cloud.config.account;
    let mut xml = Xml::new();
    xml.put("Arn", format!("arn:aws:iam::{account}:root")).put("UserId", account).put("Account", account);
    Ok(xml)
}

/// No refusal of this cloud carries an encoded message, so none that is sent here can be one.
fn decode_authorization_message(_cloud: &Cloud, query: &Query) -> Result<Xml, ApiError> {
    query.required("EncodedMessage")?;
    Err(ApiError::new(
        "InvalidAuthorizationMessageException",
        "The message was not encoded by this cloud, which has no policies that could refuse a call.",
    ))
}

/// The whole answer to a call that succeeded.
pub fn response(action: &str, result: &Xml, request_id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{}</{action}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>",
        result.as_str()
    )
}

/// The whole answer to a call that failed.
pub fn error(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::new();
    xml.element("Error", |xml| {
        xml.put("Type", if error.status < 500 { "Sender" } else { "Receiver" })
            .put("Code", &error.code)
            .put("Message", &error.message);
    })
    .put("RequestId", request_id);
    format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{}</ErrorResponse>", xml.as_str())
}

//! Documents: the one that this cloud carries out.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::commands::{DOCUMENT, PLUGIN};
use super::{Page, compact, invalid};
use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::json::{input, seconds};

/// Its parameters: name, type, default, description.
const PARAMETERS: [(&str, &str, Option<&str>, &str); 3] = [
    ("commands", "StringList", None, "Lines of a script, or commands, to be run."),
    ("workingDirectory", "String", Some(""), "The folder to run them in."),
    ("executionTimeout", "String", Some("3600"), "Seconds after which they are ended, at most 172800."),
];

const DESCRIPTION: &str = "Runs a shell script or commands.";
const PLATFORMS: [&str; 2] = ["Linux", "MacOS"];

/// Refuses a document that is not the one, by name or ARN, and a version that it does not have.
pub(super) fn check(name: &str, version: Option<&str>) -> Result<(), ApiError> {
    let plain = name.rsplit_once(":document/").map_or(name, |(_, name)| name);
    if plain != DOCUMENT {
        return Err(ApiError::new("InvalidDocument", format!("Document with name {plain} does not exist.")));
    }
    match version {
        None | Some("$DEFAULT" | "$LATEST" | "1") => Ok(()),
        Some(version) => {
            let message = format!("The document version {version} does not exist.");
            Err(ApiError::new("InvalidDocumentVersion", message))
        }
    }
}

fn content() -> String {
    let parameters: serde_json::Map<String, Value> = PARAMETERS
        .iter()
        .map(|(name, kind, default, description)| {
            let parameter = json!({ "type": kind, "description": description, "default": default });
            ((*name).to_owned(), compact(parameter))
        })
        .collect();
    let step = json!({
        "id": format!("0.{PLUGIN}"),
        "runCommand": "{{ commands }}",
        "workingDirectory": "{{ workingDirectory }}",
        "timeoutSeconds": "{{ executionTimeout }}",
    });
    json!({
        "schemaVersion": "1.2",
        "description": DESCRIPTION,
        "parameters": parameters,
        "runtimeConfig": { PLUGIN: { "properties": [step] } },
    })
    .to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct One {
    name: String,
    document_version: Option<String>,
    version_name: Option<String>,
    document_format: Option<String>,
}

impl One {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let call: Self = input(body)?;
        check(&call.name, call.document_version.as_deref())?;
        if let Some(name) = &call.version_name {
            let message = format!("The document has no version named {name}.");
            return Err(ApiError::new("InvalidDocumentVersion", message));
        }
        Ok(call)
    }
}

pub(super) fn get(_cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = One::read(body)?;
    match call.document_format.as_deref() {
        None | Some("JSON") => {}
        Some(format @ ("YAML" | "TEXT")) => {
            return Err(invalid(format!("DocumentFormat {format} is not supported by this cloud; JSON is")));
        }
        Some(other) => return Err(invalid(format!("documentFormat {other} is none of JSON, YAML and TEXT"))),
    }
    Ok(json!({
        "Name": DOCUMENT,
        "CreatedDate": seconds(Timestamp::UNIX_EPOCH),
        "DocumentVersion": "1",
        "Status": "Active",
        "Content": content(),
        "DocumentType": "Command",
        "DocumentFormat": "JSON",
    }))
}

pub(super) fn describe(_cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = One::read(body)?;
    if call.document_format.is_some() {
        return Err(invalid("unknown field `DocumentFormat`"));
    }
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|(name, kind, default, description)| {
            compact(json!({ "Name": name, "Type": kind, "Description": description, "DefaultValue": default }))
        })
        .collect();
    let digest: String = Sha256::digest(content()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({
        "Document": {
            "Hash": digest,
            "HashType": "Sha256",
            "Name": DOCUMENT,
            "Owner": "Amazon",
            "CreatedDate": seconds(Timestamp::UNIX_EPOCH),
            "Status": "Active",
            "DocumentVersion": "1",
            "Description": DESCRIPTION,
            "Parameters": parameters,
            "PlatformTypes": PLATFORMS,
            "DocumentType": "Command",
            "SchemaVersion": "1.2",
            "LatestVersion": "1",
            "DefaultVersion": "1",
            "DocumentFormat": "JSON",
            "Tags": [],
        }
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldFilter {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    #[serde(default)]
    filters: Vec<Filter>,
    /// The older form of the same.
    #[serde(default)]
    document_filter_list: Vec<OldFilter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn list(_cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: List = input(body)?;
    if !call.filters.is_empty() && !call.document_filter_list.is_empty() {
        return Err(invalid("Filters and DocumentFilterList can't be used together"));
    }
    let old = call.document_filter_list.into_iter();
    let filters: Vec<(String, Vec<String>)> =
        old.map(|it| (it.key, vec![it.value])).chain(call.filters.into_iter().map(|it| (it.key, it.values))).collect();
    let mut admitted = true;
    for (key, values) in &filters {
        let is = |known: &[&str]| values.iter().any(|value| known.contains(&value.as_str()));
        admitted &= match key.as_str() {
            "Name" => values.iter().any(|value| DOCUMENT.starts_with(value.as_str())),
            "Owner" => is(&["Amazon", "All", "Public"]),
            "PlatformTypes" => is(&PLATFORMS),
            "DocumentType" => is(&["Command"]),
            "SearchKeyword" => values.iter().any(|value| DOCUMENT.to_ascii_lowercase().contains(&value.to_ascii_lowercase())),
            // The document has no tags and names no kind of target.
            "TargetType" => false,
            key if key.starts_with("tag:") => false,
            _ => return Err(ApiError::new("InvalidFilterKey", format!("The filter key {key} is not supported."))),
        };
    }
    let identifier = json!({
        "Name": DOCUMENT,
        "CreatedDate": seconds(Timestamp::UNIX_EPOCH),
        "Owner": "Amazon",
        "PlatformTypes": PLATFORMS,
        "DocumentVersion": "1",
        "DocumentType": "Command",
        "SchemaVersion": "1.2",
        "DocumentFormat": "JSON",
        "Tags": [],
    });
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 1..=50, default: 10 };
    let (page, next) = page.cut(admitted.then_some(identifier).into_iter(), |one| one["Name"].to_string())?;
    Ok(compact(json!({ "DocumentIdentifiers": page, "NextToken": next })))
}

//! What a JSON Schema without alternatives says: its keys, types and constants.

use serde_json::{Map, Value as Json};

use crate::yaml::{Entry, Node, Value};

/// Returns the alternative that a map was meant to be: the one that knows most of its keys.
pub(super) fn best_fit<'schema>(schemas: &[&'schema Json], entries: &[Entry]) -> Option<&'schema Json> {
    let known = |schema: &Json| entries.iter().filter(|entry| keys(schema).contains(&entry.key.as_str())).count();
    let missing = |schema: &Json| required(schema).iter().filter(|key| entries.iter().all(|entry| entry.key != **key)).count();
    // The first of equals wins; max_by_key would take the last.
    schemas.iter().copied().min_by_key(|schema| (std::cmp::Reverse(known(schema)), missing(schema)))
}

pub(super) fn properties(schema: &Json) -> Option<&Map<String, Json>> {
    schema.get("properties")?.as_object()
}

pub(super) fn keys(schema: &Json) -> Vec<&str> {
    properties(schema).map(|known| known.keys().map(String::as_str).collect()).unwrap_or_default()
}

pub(super) fn required(schema: &Json) -> Vec<&str> {
    let names = schema.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Json::as_str).collect()
}

/// Returns the schema of values whose keys the user chooses, with the pattern of those keys.
pub(super) fn value_schema(schema: &Json) -> Option<(Option<&str>, &Json)> {
    if let Some((pattern, value)) = schema.get("patternProperties").and_then(Json::as_object).and_then(|map| map.iter().next()) {
        return Some((Some(pattern), value));
    }
    schema.get("additionalProperties").filter(|value| value.is_object()).map(|value| (None, value))
}

pub(super) fn literals(schema: &Json) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    listed.iter().chain(schema.get("const")).filter_map(Json::as_str).collect()
}

/// Returns the JSON type of a value.
pub(super) fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Number(_) => "number",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

/// Tells whether a schema without alternatives accepts a JSON type.
pub(super) fn accepts(schema: &Json, kind: &str) -> bool {
    let matches = |accepted: &str| accepted == kind || (accepted == "number" && kind == "integer");
    match schema.get("type") {
        Some(Json::String(accepted)) => matches(accepted),
        Some(Json::Array(accepted)) => accepted.iter().filter_map(Json::as_str).any(matches),
        _ => true,
    }
}

pub(super) fn is_only_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

/// Tells whether a schema takes any text, so that its form is not worth a mention.
pub(super) fn is_bare_text(schema: &Json) -> bool {
    schema.get("x-ewulf-form").and_then(Json::as_str) == Some("word")
}

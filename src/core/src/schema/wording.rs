//! How values and what was expected of them are called in messages.

use serde_json::Value as Json;

use super::shape::{accepts, is_bare_text, required};
use crate::names::{Form, form};
use crate::yaml::{Node, Value};

/// Longest text quoted in a message.
const QUOTE_MAX: usize = 60;

/// Returns a text short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Says what stands there: ``the number 5``.
pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Integer(value) => format!("the number {value}"),
        Value::Number(value) => format!("the number {value:?}"),
        Value::Text(text) => format!("the text `{}`", quoted(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

/// Returns the form that a schema asks for.
pub(super) fn form_of(schema: &Json) -> Option<Form> {
    form(schema.get("x-ewulf-form")?.as_str()?)
}

/// Says what a schema without alternatives expects.
pub(super) fn expected(schema: &Json) -> String {
    if let Some(literal) = schema.get("const").and_then(Json::as_str) {
        return format!("`{literal}`");
    }
    if let Some(form) = form_of(schema).filter(|_| !is_bare_text(schema)) {
        return format!("{} such as `{}`", form.noun, form.example);
    }
    let kind = match schema.get("type") {
        Some(Json::Array(kinds)) => kinds.first().and_then(Json::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("string") => "a text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "`true` or `false`",
        Some("array") => "a list",
        Some("object") => {
            let needed = required(schema);
            return match needed.is_empty() {
                true => "a map".to_owned(),
                false => format!("a map with {}", all_of(&needed)),
            };
        }
        Some("null") => "nothing",
        _ => "a value",
    }
    .to_owned()
}

/// Joins alternatives: `a, b or c`.
pub(super) fn any_of(mut words: Vec<String>) -> String {
    words.dedup();
    // Any number may be whole.
    if words.iter().any(|word| word == "a number") {
        words.retain(|word| word != "a whole number");
    }
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        Some(last) => last,
        None => "a value".to_owned(),
    }
}

/// Joins names that are all needed: `` `a`, `b` and `c` ``.
pub(super) fn all_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// Lists names: `` `a`, `b`, `c` ``.
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Says what to write instead of a value of the wrong type.
pub(super) fn hint_for_type(alternatives: &[&Json], node: &Node) -> Option<String> {
    let accepts = |kind: &str| alternatives.iter().any(|schema| accepts(schema, kind));
    let form = alternatives.iter().find_map(|schema| form_of(schema).filter(|_| !is_bare_text(schema)));
    let instead = |number: String| match &form {
        Some(form) => (form.instead_of_number)(&number),
        None if accepts("string") && alternatives.iter().all(|schema| schema.get("const").is_none()) => {
            Some(format!("write it in quotes to make it a text: `\"{number}\"`"))
        }
        None => None,
    };
    match &node.value {
        Value::Null => Some("write a value after the key, or remove the key".to_owned()),
        Value::Integer(value) if accepts("boolean") => match value {
            0 => Some("write `false`".to_owned()),
            1 => Some("write `true`".to_owned()),
            _ => None,
        },
        Value::Integer(_) if accepts("array") => Some("write a list: `[…]`".to_owned()),
        Value::Integer(value) => instead(value.to_string()),
        Value::Number(_) if accepts("integer") => Some("write it without a fraction".to_owned()),
        Value::Number(value) => instead(value.to_string()),
        Value::Bool(value) => instead(value.to_string()).filter(|_| form.is_none()),
        Value::Text(text) if accepts("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        },
        Value::Text(text) if accepts("integer") && text.parse::<i64>().is_ok() => {
            Some(format!("write it without quotes or leading zeros: `{}`", text.parse::<i64>().unwrap_or_default()))
        }
        Value::Text(text) if accepts("array") => Some(format!("write a list: `[{}]`", quoted(text))),
        Value::Map(_) if accepts("array") && alternatives.len() == 1 => Some("begin each entry of the list with `- `".to_owned()),
        _ => None,
    }
}

//! YAML as a tree that remembers where everything stands.
//!
//! Reads one document of at most [`TEXT_MAX`] bytes into [`Node`]s. Knows the core schema of YAML 1.2 (so `no` is a
//! text) and refuses what makes a spec say something other than it shows: tags, merge keys, duplicate keys, further
//! documents. Its work is bounded whatever the text: see the limits below.

use crate::diagnostics::{Diagnostic, Span};

mod reader;
mod scalar;

pub use reader::read;

/// Longest text in bytes: specs are written by hand, and the largest of the repository has 2 KiB.
pub const TEXT_MAX: usize = 1 << 20;

/// Most values that aliases may stand for: 16 groups sharing everything by alias have some hundreds.
const ALIAS_MAX: usize = 10_000;

/// Most values of a document: TEXT_MAX would allow half a million, and no spec needs a tenth of that.
const NODE_MAX: usize = 50_000;

/// Deepest nesting; specs need 6, and trees are walked recursively.
const DEPTH_MAX: usize = 64;

/// Most errors told of one document: whoever made more will not read them all.
const PROBLEM_MAX: usize = 50;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands: its first line, if it has several.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value of YAML.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number with a fraction or an exponent.
    Number(f64),
    /// Anything else that is one value.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in order; no key twice.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as a text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Returns the value of a key, or `None` if this is no map or has no such key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns a key with its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns the entries of a map; none for other values.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list; none for other values.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the text of a text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value at a path such as `/workers/0/count`; the empty path is the node itself.
    pub fn at(&self, path: &str) -> Option<&Self> {
        segments(path).try_fold(self, |node, segment| match &node.value {
            Value::List(items) => items.get(segment.parse::<usize>().ok()?),
            _ => node.get(segment),
        })
    }

    /// Returns where to point for a path: at its value, or at the nearest thing above it that is there.
    ///
    /// A list or map is pointed at by its key, since its own place is all of its lines.
    pub fn span_at(&self, path: &str) -> Span {
        let mut node = self;
        let mut span = self.span;
        for segment in segments(path) {
            let next = match &node.value {
                Value::List(items) => {
                    segment.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item.span, item))
                }
                _ => node.entry(segment).map(|entry| match entry.value.value {
                    Value::List(_) | Value::Map(_) | Value::Null => (entry.key_span, &entry.value),
                    _ => (entry.value.span, &entry.value),
                }),
            };
            let Some((next_span, next_node)) = next else {
                break;
            };
            (span, node) = (next_span, next_node);
        }
        span
    }

    /// Converts to JSON, losing places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        }
    }
}

/// Splits a path at its slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Something wrong at a place of the text at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` for the file as a whole.
    pub span: Option<Span>,
    /// What, as a lowercase fragment.
    pub message: String,
    /// What stands there.
    pub label: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
    /// Further facts.
    pub notes: Vec<String>,
}

impl Problem {
    /// Makes a problem at a place.
    pub fn new(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self { span: span.into(), message: message.into(), label: None, hint: None, notes: Vec::new() }
    }

    /// Says what stands there.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to write instead, if there is something.
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds a fact.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Turns the problem into an error about a file.
    pub fn into_error(self, file: &str) -> Diagnostic {
        Diagnostic { label: self.label, notes: self.notes, ..Diagnostic::error(file, self.span, self.message).hint(self.hint) }
    }
}

#[cfg(test)]
mod tests;

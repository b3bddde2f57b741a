//! From a text to a spec, or to everything that is wrong with it.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{ClusterSpec, ImageRecipe, JobManifest};
use super::{check_cluster, check_image, check_job};
use crate::diagnostics::{Diagnostic, Diagnostics, Span};
use crate::schema;
use crate::yaml::{self, Node, Problem, TEXT_MAX, Value};

/// A spec with the text it was read from, so that later checks can point into it.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The spec.
    pub spec: T,
    /// Name of its file, as the user gave it.
    pub file: String,
    /// Its text, without a byte order mark.
    pub source: String,
    /// What the text says and where.
    pub tree: Node,
}

impl<T> Loaded<T> {
    /// Returns where a path such as `/workers/0/image` stands, or the nearest thing above it.
    pub fn span_at(&self, path: &str) -> Span {
        self.tree.span_at(path)
    }

    /// Makes an error that points at a path.
    pub fn error(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.file, self.span_at(path), message)
    }

    /// Makes a warning that points at a path.
    pub fn warning(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(&self.file, self.span_at(path), message)
    }

    /// Collects diagnostics about the spec; no diagnostics are no error.
    ///
    /// # Errors
    /// The diagnostics, if there are any.
    pub fn report(&self, list: Vec<Diagnostic>) -> Result<(), Diagnostics> {
        match list.is_empty() {
            true => Ok(()),
            false => Err(Diagnostics::new(&self.file, &self.source, list)),
        }
    }
}

/// Loads a cluster spec.
///
/// # Errors
/// Everything that is wrong with the text, in order of place.
pub fn load_cluster(file: &str, text: &[u8]) -> Result<Loaded<ClusterSpec>, Diagnostics> {
    load(file, text, &schema::cluster(), |_| Vec::new(), check_cluster::check)
}

/// Loads an image recipe.
///
/// # Errors
/// Everything that is wrong with the text, in order of place.
pub fn load_image(file: &str, text: &[u8]) -> Result<Loaded<ImageRecipe>, Diagnostics> {
    load(file, text, &schema::image(), |_| Vec::new(), check_image::check)
}

/// Loads a job manifest.
///
/// # Errors
/// Everything that is wrong with the text, in order of place.
pub fn load_job(file: &str, text: &[u8]) -> Result<Loaded<JobManifest>, Diagnostics> {
    load(file, text, &schema::job(), check_job::check_tree, check_job::check)
}

/// Runs the stages of loading. Each tells all it finds, and the next runs only on what the one before accepted.
fn load<T: DeserializeOwned>(
    file: &str,
    text: &[u8],
    schema: &Json,
    check_tree: fn(&Node) -> Vec<Problem>,
    check_spec: fn(&T, &Node) -> Vec<Problem>,
) -> Result<Loaded<T>, Diagnostics> {
    let source = match decode(text) {
        Ok(source) => source,
        // The line is shown all the same, with a mark for each byte that is no text.
        Err(problem) if problem.span.is_some() => {
            return Err(diagnostics(file, &String::from_utf8_lossy(text), vec![*problem]));
        }
        Err(problem) => return Err(diagnostics(file, "", vec![*problem])),
    };
    let refuse = |problems: Vec<Problem>| match problems.is_empty() {
        true => Ok(()),
        false => Err(diagnostics(file, source, problems)),
    };
    let tree = yaml::read(source).map_err(|problems| diagnostics(file, source, problems))?;
    if tree.value == Value::Null {
        return Err(diagnostics(file, source, vec![no_content()]));
    }
    refuse(schema::check(schema, &tree))?;
    refuse(check_tree(&tree))?;
    // What the schema accepts, the types accept; should they ever differ, the message is still the type's own.
    let spec: T = serde_json::from_value(tree.to_json())
        .map_err(|error| diagnostics(file, source, vec![Problem::new(None, error.to_string())]))?;
    refuse(check_spec(&spec, &tree))?;
    Ok(Loaded { spec, file: file.to_owned(), source: source.to_owned(), tree })
}

fn diagnostics(file: &str, source: &str, problems: Vec<Problem>) -> Diagnostics {
    Diagnostics::new(file, source, problems.into_iter().map(|problem| problem.into_error(file)).collect())
}

/// Turns bytes into a text that is short enough to parse.
fn decode(bytes: &[u8]) -> Result<&str, Box<Problem>> {
    if bytes.len() > TEXT_MAX {
        return Err(Box::new(
            Problem::new(None, format!("file is {} bytes long; a spec has at most {TEXT_MAX}", bytes.len()))
                .hint("is this the right file?".to_owned()),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Box::new(not_utf8(bytes, error.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim().is_empty() {
        true => Err(Box::new(no_content())),
        false => Ok(text),
    }
}

fn no_content() -> Problem {
    Problem::new(None, "file has no content").hint("see the examples in clusters/, images/ and jobs/".to_owned())
}

fn not_utf8(bytes: &[u8], offset: usize) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..offset]);
    let lines: Vec<&str> = crate::diagnostics::lines(&before).collect();
    let fresh_line = before.is_empty() || before.ends_with(['\n', '\r']);
    let (line, column) = match (lines.last(), fresh_line) {
        (Some(last), false) => (lines.len(), last.chars().count() + 1),
        _ => (lines.len() + 1, 1),
    };
    let span = Span { line, column, length: 1 };
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let hint = if is_utf16 { "it looks like UTF-16: save it as UTF-8" } else { "save it as UTF-8" };
    Problem::new(span, format!("file is not UTF-8: byte {offset} is 0x{:02x}", bytes.get(offset).copied().unwrap_or_default()))
        .hint(hint.to_owned())
}

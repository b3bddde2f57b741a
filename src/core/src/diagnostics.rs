//! Errors and warnings about texts that a user wrote, with the place they are about.
//!
//! Makes and renders them; never prints. Positions count from 1 and in characters, as editors show them.

use std::fmt;

use serde::Serialize;

mod render;

pub use render::render;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text can be used, but likely says something other than was meant.
    Warning,
}

/// A run of characters in one line of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; 0 points between two.
    pub length: usize,
}

impl Span {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1, length: 0 };
}

/// One thing to say about a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong: a lowercase fragment that names the object first.
    pub message: String,
    /// Name of the file, as the user gave it.
    pub file: String,
    /// Where it is wrong; `None` if the file as a whole is.
    #[serde(flatten)]
    pub span: Option<Span>,
    /// What stands at the marked place, said under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to write or do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Further facts, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// Makes an error about a file.
    pub fn error(file: impl Into<String>, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            file: file.into(),
            span: span.into(),
            label: None,
            hint: None,
            notes: Vec::new(),
        }
    }

    /// Makes a warning about a file.
    pub fn warning(file: impl Into<String>, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, span, message) }
    }

    /// Says what stands at the marked place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to write or do instead, if there is something.
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds a fact.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// Writes one line: `file:line:column: error: message`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file)?;
        if let Some(span) = self.span {
            write!(formatter, "{}:{}:", span.line, span.column)?;
        }
        write!(formatter, " {}: {}", self.severity, self.message)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Everything there is to say about one file, with the text that the places are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// Name of the file, as the user gave it.
    pub file: String,
    /// The text; empty if it could not be read as text.
    pub source: String,
    /// What there is to say, in order of place.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Collects diagnostics of a file in order of place; those of the whole file come first.
    pub fn new(file: impl Into<String>, source: impl Into<String>, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.span.map(|span| (span.line, span.column)));
        list.dedup();
        Self { file: file.into(), source: source.into(), list }
    }

    /// Tells whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Renders all of them for a terminal, with an empty line between two.
    pub fn render(&self, colour: bool) -> String {
        let rendered: Vec<String> = self.list.iter().map(|diagnostic| render(diagnostic, &self.source, colour)).collect();
        rendered.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    /// Writes one line for each.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Returns the candidates that a misspelt word may have meant, nearest first, at most three.
///
/// A candidate counts if at most a third of its letters differ; of those only the nearest are returned, with all of the
/// same distance.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // Longer words are no misspellings of anything here, and distance costs the product of both lengths.
    if word.len() > 128 {
        return Vec::new();
    }
    let lower = word.to_lowercase();
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(lower.chars().count()) / 3).max(1))
        .collect();
    scored.sort();
    let best = scored.first().map(|(distance, _)| *distance);
    scored.into_iter().take_while(|(distance, _)| Some(*distance) == best).map(|(_, candidate)| candidate).take(3).collect()
}

/// Says which of the candidates a word may have meant: ``did you mean `a` or `b`?``.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let nearest = nearest(word, candidates);
    let quoted: Vec<String> = nearest.iter().map(|candidate| format!("`{candidate}`")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

/// Splits a text at its line breaks as YAML does: `\n`, `\r\n` and `\r`. The text after the last break is no line if it
/// is empty.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let break_length = if after.starts_with("\r\n") { 2 } else { after.len().min(1) };
        rest = &after[break_length..];
        Some(line)
    })
}

#[cfg(test)]
mod tests;

//! Builds the tree from the parser's events.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::{ALIAS_MAX, DEPTH_MAX, Entry, NODE_MAX, Node, PROBLEM_MAX, Problem, Value, scalar};
use crate::diagnostics::{Span, lines};

/// Reads the one document of a text.
///
/// # Errors
/// All that is wrong with it as YAML, never an empty list; nothing after a syntax error. A text without content is
/// [`Value::Null`].
pub fn read(text: &str) -> Result<Node, Vec<Problem>> {
    let mut reader = Reader {
        lines: lines(text).collect(),
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        nodes: 0,
        aliased: 0,
        anchored: 0,
        problems: Vec::new(),
    };
    if let Some(problem) = control_character(&reader.lines) {
        return Err(vec![problem]);
    }
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => reader.take(event, span),
            Err(error) => stop(reader.syntax_problem(&error)),
        };
        if let Err(problem) = step {
            reader.problems.push(*problem);
            break;
        }
    }
    match reader.root {
        _ if !reader.problems.is_empty() => {
            reader.problems.truncate(PROBLEM_MAX);
            Err(reader.problems)
        }
        Some(root) => Ok(root),
        None => Ok(Node { span: Span::START, value: Value::Null }),
    }
}

/// Finds a character that YAML does not allow and that an editor does not show.
fn control_character(lines: &[&str]) -> Option<Problem> {
    lines.iter().enumerate().find_map(|(index, line)| {
        let column = line.chars().position(|letter| letter.is_control() && letter != '\t')?;
        let letter = line.chars().nth(column)?;
        let span = Span { line: index + 1, column: column + 1, length: 1 };
        Some(
            Problem::new(span, format!("control character U+{:04X} is not allowed", u32::from(letter)))
                .hint("remove it".to_owned()),
        )
    })
}

/// A list or map that is not complete.
struct Open {
    span: Span,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Every key with its line.
        seen: HashMap<String, usize>,
        /// The key whose value comes next.
        key: Option<(String, Span)>,
    },
    /// A list or map in a key's place: read over, since the document is refused.
    Key,
}

struct Reader<'text> {
    lines: Vec<&'text str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    aliased: usize,
    anchored: usize,
    problems: Vec<Problem>,
}

/// Whether reading goes on; the problem that ends it otherwise.
type Step = Result<(), Box<Problem>>;

fn stop(problem: Problem) -> Step {
    Err(Box::new(problem))
}

impl Reader<'_> {
    fn take(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Step {
        let at = self.span(span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return stop(Problem::new(at, "file has a second document").hint("keep one document a file".to_owned()));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                return self.scalar(&text, style, anchor, at);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                return self.start(anchor, at, OpenKind::List(Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                let kind = OpenKind::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                return self.start(anchor, at, kind);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Span) {
        if let Some(tag) = tag {
            let tag = match tag.is_yaml_core_schema() {
                true => format!("!!{}", tag.suffix),
                false => tag.to_string(),
            };
            let hint = "remove it; to make a text of a number, write quotes".to_owned();
            self.problem(Problem::new(at, format!("tag `{tag}` is not supported")).hint(hint));
        }
    }

    fn problem(&mut self, problem: Problem) {
        // The text's end is still parsed for syntax; the memory for problems stays bounded.
        if self.problems.len() < PROBLEM_MAX {
            self.problems.push(problem);
        }
    }

    fn start(&mut self, anchor: usize, at: Span, kind: OpenKind) -> Step {
        if self.open.len() == DEPTH_MAX {
            return stop(Problem::new(at, format!("nesting is deeper than {DEPTH_MAX} levels")));
        }
        let kind = match self.open.last().map(|open| &open.kind) {
            Some(OpenKind::Map { key: None, .. }) => {
                self.problem(
                    Problem::new(at, "key is a list or map")
                        .hint("write a text as key; quote it if it starts with `[` or `{`".to_owned()),
                );
                OpenKind::Key
            }
            Some(OpenKind::Key) => OpenKind::Key,
            _ => kind,
        };
        self.open.push(Open { span: at, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Step {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, .. } => Value::Map(entries),
            OpenKind::Key => Value::Text(String::new()),
        };
        let node = Node { span: open.span, value };
        self.finish(node, open.anchor)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, at: Span) -> Step {
        let is_key = matches!(self.open.last().map(|open| &open.kind), Some(OpenKind::Map { key: None, .. }));
        if is_key {
            if text == "<<" && style == ScalarStyle::Plain {
                self.problem(
                    Problem::new(at, "merge key `<<` is not supported")
                        .hint("write the keys out, or give whole values by alias: `tags: *common`".to_owned()),
                );
            }
            let key = Value::Text(text.to_owned());
            return self.finish(Node { span: at, value: key }, anchor);
        }
        let value = match style {
            ScalarStyle::Plain => scalar::resolve(text).unwrap_or_else(|number| {
                let hint = format!("the largest is {}; write it in quotes to have a text", i64::MAX);
                self.problem(Problem::new(at, format!("number {number:.30} is too large")).hint(hint));
                Value::Null
            }),
            _ => Value::Text(text.to_owned()),
        };
        self.finish(Node { span: at, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, at: Span) -> Step {
        let Some(node) = self.anchors.get(&anchor) else {
            return stop(Problem::new(at, "alias stands inside of what it stands for"));
        };
        let size = size(node);
        self.aliased += size;
        if self.aliased > ALIAS_MAX {
            return stop(
                Problem::new(at, format!("aliases expand to too much: over {ALIAS_MAX} values"))
                    .hint("write less by alias".to_owned()),
            );
        }
        if depth(node) + self.open.len() > DEPTH_MAX {
            return stop(Problem::new(at, format!("nesting is deeper than {DEPTH_MAX} levels")));
        }
        self.nodes += size;
        // What an alias stands for is pointed at where it is used: that is the place to change.
        let node = Node { span: at, value: node.value.clone() };
        self.finish(node, 0)
    }

    /// Puts a complete value where it belongs, and remembers it if it has an anchor (0 is none).
    fn finish(&mut self, node: Node, anchor: usize) -> Step {
        self.nodes += 1;
        if self.nodes > NODE_MAX {
            return stop(Problem::new(node.span, format!("file has more than {NODE_MAX} values")));
        }
        if anchor > 0 {
            // Anchors inside of anchors are copied once a level.
            self.anchored += size(&node);
            if self.anchored > NODE_MAX {
                return stop(Problem::new(node.span, format!("anchors stand for more than {NODE_MAX} values")));
            }
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let mut problem = None;
        match &mut open.kind {
            OpenKind::Key => {}
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, seen, key } => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let span = node.span;
                    let text = match node.value {
                        Value::Text(text) => text,
                        _ => {
                            problem = Some(Problem::new(span, "key is not a text").hint("write the key out".to_owned()));
                            String::new()
                        }
                    };
                    if let Some(line) = seen.insert(text.clone(), span.line)
                        && problem.is_none()
                    {
                        problem = Some(
                            Problem::new(span, format!("key `{text:.80}` is given twice"))
                                .hint("keep one of them".to_owned())
                                .note(format!("it is first given in line {line}")),
                        );
                    }
                    *key = Some((text, span));
                }
            },
        }
        if let Some(problem) = problem {
            self.problem(problem);
        }
        Ok(())
    }

    /// Converts the parser's place, which may reach over several lines, to its part in the first line.
    fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.position(span.start.line(), span.start.col());
        let line_length = self.lines.get(start.line - 1).map_or(0, |line| line.trim_end().chars().count());
        let rest = (line_length + 1).saturating_sub(start.column);
        let length = match span.end.line() == span.start.line() {
            true => span.end.col().saturating_sub(span.start.col()).min(rest),
            false => rest,
        };
        Span { length, ..start }
    }

    /// Converts a position of the parser, columns of which count from 0, and brings it into the text.
    fn position(&self, line: usize, column: usize) -> Span {
        // The end of a text that closes with a line break is in a line that nobody sees.
        let line = line.clamp(1, self.lines.len().max(1));
        let length = self.lines.get(line - 1).map_or(0, |text| text.chars().count());
        Span { line, column: column.min(length) + 1, length: 0 }
    }

    fn syntax_problem(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let span = self.position(marker.line(), marker.col());
        let info = error.info();
        let hint = SYNTAX_HINTS.iter().find(|(part, _)| info.contains(part)).map(|(_, hint)| (*hint).to_owned());
        Problem::new(span, format!("not valid YAML: {info}")).hint(hint)
    }
}

/// What to do about messages of the parser, by a part of them.
const SYNTAX_HINTS: [(&str, &str); 6] = [
    ("tab", "indent with spaces"),
    ("mapping values are not allowed", "quote the value if it holds `: `, or check the indentation"),
    ("simple key", "write `: ` after the key, or check the indentation"),
    ("unexpected end", "close the quote or bracket"),
    ("quoted scalar", "close the quote"),
    ("block mapping", "check the indentation"),
];

/// Counts a value and everything in it.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
        _ => 0,
    }
}

/// Counts the levels of a value: none for a single one.
fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}

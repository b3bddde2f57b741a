//! Checks a tree against a JSON Schema and tells everything that is wrong with its structure.
//!
//! Knows the part of JSON Schema that the types of this crate make: references, alternatives, types, constants,
//! properties, items and bounds. A schema with a form (`x-ewulf-form`) has its text parsed by that form.

use serde_json::Value as Json;

use super::shape::{accepts, best_fit, is_only_null, keys, kind, literals, properties, required, value_schema};
use super::wording::{all_of, any_of, expected, form_of, found, hint_for_type, list, quoted};
use crate::diagnostics::{Span, did_you_mean, nearest};
use crate::names::form_of_keys;
use crate::yaml::{Entry, Node, Problem, Value};

/// Most problems told of one file.
const PROBLEM_MAX: usize = 50;

/// Returns all structural problems of a tree; none means that it can be deserialised, but for what the types
/// themselves check.
pub(crate) fn check(schema: &Json, tree: &Node) -> Vec<Problem> {
    let mut checker = Checker { root: schema, problems: Vec::new() };
    let place = Place { name: "file".to_owned(), span: tree.span };
    checker.node(schema, tree, &place);
    checker.problems
}

/// What a value is called in messages, and where to point if it has many lines.
struct Place {
    name: String,
    span: Span,
}

struct Checker<'schema> {
    root: &'schema Json,
    problems: Vec<Problem>,
}

impl<'schema> Checker<'schema> {
    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEM_MAX {
            self.problems.push(problem);
        }
    }

    /// Follows references until there is a schema.
    fn resolve(&self, schema: &'schema Json) -> &'schema Json {
        let mut schema = schema;
        loop {
            let reference = schema.get("$ref").and_then(Json::as_str).and_then(|reference| reference.strip_prefix('#'));
            let next = match (reference, schema.get("allOf").and_then(Json::as_array).map(Vec::as_slice)) {
                (Some(pointer), _) => self.root.pointer(pointer),
                // A reference with a description of its own is wrapped.
                (None, Some([only])) => Some(only),
                _ => None,
            };
            match next {
                Some(next) => schema = next,
                None => return schema,
            }
        }
    }

    /// Returns the alternatives of a schema, itself if it has none.
    fn alternatives(&self, schema: &'schema Json) -> Vec<&'schema Json> {
        let schema = self.resolve(schema);
        let branches = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
        match branches {
            Some(branches) if schema.get("properties").is_none() => {
                branches.iter().flat_map(|branch| self.alternatives(branch)).collect()
            }
            _ => vec![schema],
        }
    }

    fn node(&mut self, schema: &'schema Json, node: &Node, place: &Place) {
        if self.problems.len() >= PROBLEM_MAX {
            return;
        }
        let alternatives = self.alternatives(schema);
        let kind = kind(node);
        let matching: Vec<&Json> = alternatives.iter().copied().filter(|schema| accepts(schema, kind)).collect();
        match (matching.as_slice(), &node.value) {
            ([], _) => self.wrong_type(&alternatives, node, place),
            (schemas, Value::Text(text)) => self.text(&alternatives, schemas, text, node, place),
            (schemas, Value::Map(entries)) => self.map(schemas, entries, place),
            ([schema, ..], Value::List(items)) => self.list(schema, items, place),
            ([schema, ..], Value::Integer(number)) => self.number(schema, *number, node, place),
            _ => {}
        }
    }

    fn wrong_type(&mut self, alternatives: &[&'schema Json], node: &Node, place: &Place) {
        let alternatives: Vec<&Json> = alternatives.iter().copied().filter(|schema| !is_only_null(schema)).collect();
        let expected = any_of(alternatives.iter().map(|schema| expected(schema)).collect());
        let span = match node.value {
            Value::List(_) | Value::Map(_) | Value::Null => place.span,
            _ => node.span,
        };
        let message = format!("{}: expected {expected}, found {}", place.name, found(node));
        self.problem(Problem::new(span, message).hint(hint_for_type(&alternatives, node)));
    }

    /// Checks a text against the alternatives that are texts.
    fn text(&mut self, alternatives: &[&Json], schemas: &[&'schema Json], text: &str, node: &Node, place: &Place) {
        let literals: Vec<&str> = schemas.iter().flat_map(|schema| literals(schema)).collect();
        if literals.contains(&text) {
            return;
        }
        let free = schemas.iter().find(|schema| self::literals(schema).is_empty());
        let Some(free) = free else {
            let hint = did_you_mean(text, literals.iter().copied());
            let known = list(&literals);
            let problem = Problem::new(node.span, format!("{} cannot be `{}`", place.name, quoted(text)));
            self.problem(match hint {
                Some(hint) => problem.hint(hint).note(format!("known values: {known}")),
                None if alternatives.len() > schemas.len() || literals.len() == 1 => {
                    let expected = alternatives.iter().filter(|schema| !is_only_null(schema)).map(|schema| expected(schema));
                    problem.hint(format!("write {}", any_of(expected.collect())))
                }
                None => problem.hint(format!("write one of {known}")),
            });
            return;
        };
        if let Some(Err(invalid)) = form_of(free).map(|form| (form.check)(text)) {
            let near = did_you_mean(text, literals.iter().copied());
            self.problem(Problem::new(node.span, invalid.message).hint(near.or(invalid.hint)));
        }
    }

    fn number(&mut self, schema: &Json, number: i64, node: &Node, place: &Place) {
        let own_hint = schema.get("x-ewulf-hint").and_then(Json::as_str).map(str::to_owned);
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        if let Some(minimum) = bound("minimum").filter(|minimum| (number as f64) < *minimum) {
            let message = format!("{} must be at least {minimum}, but is {number}", place.name);
            self.problem(Problem::new(node.span, message).hint(own_hint));
        } else if let Some(maximum) = bound("maximum").filter(|maximum| (number as f64) > *maximum) {
            let message = format!("{} must be at most {maximum}, but is {number}", place.name);
            self.problem(Problem::new(node.span, message).hint(own_hint));
        }
    }

    fn list(&mut self, schema: &'schema Json, items: &[Node], place: &Place) {
        let minimum = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < minimum {
            self.problem(
                Problem::new(place.span, format!("{} has no entry", place.name)).hint(format!("write at least {minimum}")),
            );
        }
        let Some(item_schema) = schema.get("items") else {
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let first_key = item.entries().first().map(|entry| entry.key_span);
            let place = Place { name: format!("entry {} of {}", index + 1, place.name), span: first_key.unwrap_or(item.span) };
            self.node(item_schema, item, &place);
        }
    }

    fn map(&mut self, schemas: &[&'schema Json], entries: &[Entry], place: &Place) {
        let Some(schema) = best_fit(schemas, entries) else {
            return;
        };
        let known = properties(schema);
        for entry in entries {
            match known.and_then(|known| known.get(&entry.key)) {
                Some(property) => self.node(property, &entry.value, &Place::of(entry)),
                None => match value_schema(schema) {
                    Some((pattern, value)) => {
                        self.key(pattern, entry);
                        self.node(value, &entry.value, &Place::of(entry));
                    }
                    None => self.unknown_key(schema, schemas, entries, entry, place),
                },
            }
        }
        self.missing_keys(schema, schemas, entries, place);
        self.exclusive_keys(schema, entries, place);
    }

    /// Checks a key that the user chose.
    fn key(&mut self, pattern: Option<&str>, entry: &Entry) {
        if let Some(Err(invalid)) = pattern.and_then(form_of_keys).map(|form| (form.check)(&entry.key)) {
            self.problem(Problem::new(entry.key_span, invalid.message).hint(invalid.hint));
        }
    }

    fn unknown_key(&mut self, schema: &'schema Json, schemas: &[&'schema Json], entries: &[Entry], entry: &Entry, place: &Place) {
        let key = entry.key.as_str();
        let known: Vec<&str> = keys(schema);
        let others = schemas.iter().flat_map(|schema| keys(schema));
        if others.clone().any(|other| other == key) {
            // One of a form was written, and one of another form beside it.
            let theirs = entries.iter().map(|entry| entry.key.as_str()).find(|key| known.contains(key)).unwrap_or_default();
            let forms: Vec<String> = schemas.iter().map(|schema| list(&keys(schema))).collect();
            self.problem(
                Problem::new(entry.key_span, format!("key `{key}` does not go with `{theirs}`"))
                    .hint("remove one of them".to_owned())
                    .note(format!("{} takes either {}", place.name, forms.join(", or "))),
            );
            return;
        }
        let mut all: Vec<&str> = others.collect();
        all.sort_unstable();
        all.dedup();
        let problem = Problem::new(entry.key_span, format!("unknown key `{}`", quoted(key)));
        let missing: Vec<&str> = all.iter().copied().filter(|known| entries.iter().all(|entry| entry.key != *known)).collect();
        let suggestion =
            did_you_mean(key, missing).or_else(|| self.owner(key).map(|owner| format!("`{key}` belongs to `{owner}`")));
        let order: Vec<&str> = if schemas.len() == 1 { known } else { all };
        self.problem(match suggestion {
            Some(hint) => problem.hint(hint).note(format!("known keys here: {}", list(&order))),
            None => problem.hint(format!("known keys here: {}", list(&order))),
        });
    }

    /// Returns the top-level key under which a key is known.
    fn owner(&self, key: &str) -> Option<&'schema str> {
        let knows = |schema: &'schema Json| {
            let alternatives = self.alternatives(schema).into_iter();
            let items = self.alternatives(schema).into_iter().filter_map(|schema| schema.get("items"));
            alternatives.chain(items.flat_map(|items| self.alternatives(items))).any(|schema| keys(schema).contains(&key))
        };
        properties(self.root)?.iter().find(|(_, schema)| knows(schema)).map(|(name, _)| name.as_str())
    }

    fn missing_keys(&mut self, schema: &'schema Json, schemas: &[&'schema Json], entries: &[Entry], place: &Place) {
        let given = |key: &&str| entries.iter().any(|entry| entry.key == **key);
        let nothing_fits = schemas.len() > 1 && !keys(schema).iter().any(given);
        if nothing_fits {
            let forms: Vec<String> = schemas.iter().map(|schema| all_of(&required(schema))).collect();
            self.problem(Problem::new(place.span, format!("{} needs either {}", place.name, forms.join(", or "))));
            return;
        }
        let missing: Vec<&str> = required(schema).into_iter().filter(|key| !given(key)).collect();
        // A misspelt key has been told of already.
        let misspelt: Vec<&str> = entries
            .iter()
            .filter(|entry| !schemas.iter().any(|schema| keys(schema).contains(&entry.key.as_str())))
            .flat_map(|entry| nearest(&entry.key, missing.iter().copied()))
            .collect();
        for key in missing.iter().filter(|key| !misspelt.contains(key)) {
            let example = properties(schema).and_then(|known| known.get(*key)).and_then(|schema| self.example(schema));
            let hint = example.map(|example| format!("write `{key}: {example}`, with your value"));
            self.problem(Problem::new(place.span, format!("{} has no key `{key}`", place.name)).hint(hint));
        }
    }

    /// Returns a value that a schema accepts, for hints.
    fn example(&self, schema: &'schema Json) -> Option<String> {
        self.alternatives(schema).into_iter().find_map(|schema| {
            if let Some(form) = form_of(schema) {
                return Some(form.example.to_owned());
            }
            if let Some(literal) = schema.get("const").and_then(Json::as_str) {
                return Some(literal.to_owned());
            }
            if let Some(minimum) = schema.get("minimum") {
                return Some(minimum.to_string());
            }
            let key = required(schema).first().copied()?;
            let value = self.example(properties(schema)?.get(key)?)?;
            Some(format!("{{{key}: {value}}}"))
        })
    }

    /// Checks that exactly one of some keys is there, where a schema says so.
    fn exclusive_keys(&mut self, schema: &'schema Json, entries: &[Entry], place: &Place) {
        let Some(branches) = schema.get("oneOf").and_then(Json::as_array) else {
            return;
        };
        let keys: Vec<&str> = branches.iter().flat_map(|branch| required(branch)).collect();
        let given: Vec<&Entry> = entries.iter().filter(|entry| keys.contains(&entry.key.as_str())).collect();
        match given.as_slice() {
            [_] => {}
            [] => {
                let either: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                self.problem(Problem::new(place.span, format!("{} needs either {}", place.name, either.join(" or "))));
            }
            [first, others @ ..] => {
                for other in others {
                    let message = format!("key `{}` does not go with `{}`", other.key, first.key);
                    self.problem(Problem::new(other.key_span, message).hint("remove one of them".to_owned()));
                }
            }
        }
    }
}

impl Place {
    fn of(entry: &Entry) -> Self {
        Self { name: format!("`{}`", quoted(&entry.key)), span: entry.key_span }
    }
}

//! What a job manifest must keep beyond its structure.

use std::collections::BTreeMap;

use super::check_sweep;
use super::job::JobManifest;
use super::written::WrittenInput;
use crate::yaml::{Node, Problem, Value};

/// Returns what is wrong with a manifest as written: what its typed form could not hold.
pub(super) fn check_tree(tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    command(tree, &mut problems);
    options(tree.get("args"), &mut problems);
    check_sweep::check_tree(tree, &mut problems);
    for step in tree.get("prepare").map(Node::items).unwrap_or_default() {
        command(step, &mut problems);
        options(step.get("args"), &mut problems);
    }
    for input in tree.get("inputs").map(Node::items).unwrap_or_default() {
        let written = serde_json::from_value::<WrittenInput>(input.to_json());
        if let Some(Err(invalid)) = written.ok().map(super::job::Input::try_from) {
            let span = input.entries().first().map_or(input.span, |entry| entry.value.span);
            problems.push(Problem::new(span, invalid.message).hint(invalid.hint));
        }
    }
    problems
}

fn command(program: &Node, problems: &mut Vec<Problem>) {
    let words = program.get("command").map(Node::items).unwrap_or_default();
    if let Some(first) = words.first() {
        let text = first.text().unwrap_or_default();
        if text.is_empty() || text.starts_with('-') {
            problems.push(
                Problem::new(first.span, "`command` does not start with a program")
                    .hint("write the program first: `command: [python3, my.py]`".to_owned()),
            );
        }
    }
    for word in words.iter().filter(|word| word.text() == Some(":")) {
        problems.push(
            Problem::new(word.span, "`command` has the word `:`, at which mpirun starts another program")
                .hint("give it as part of another word, or by a script of yours".to_owned()),
        );
    }
}

/// Finds options that are the same once written with dashes.
pub(super) fn options(arguments: Option<&Node>, problems: &mut Vec<Problem>) {
    let mut keys: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for entry in arguments.map(Node::entries).unwrap_or_default() {
        let option = entry.key.replace('_', "-");
        match keys.get(&option) {
            Some((first, line)) => problems.push(
                Problem::new(entry.key_span, format!("options `{first}` and `{}` are both `--{option}`", entry.key))
                    .hint("keep one of them; to repeat an option, give it a list".to_owned())
                    .note(format!("the first is in line {line}")),
            ),
            None => {
                keys.insert(option, (&entry.key, entry.key_span.line));
            }
        }
    }
}

/// Returns everything that is wrong with a manifest.
pub(super) fn check(manifest: &JobManifest, tree: &Node) -> Vec<Problem> {
    let mut problems = check_sweep::check(manifest, tree);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, input) in manifest.inputs.iter().enumerate() {
        let at = match tree.at(&format!("/inputs/{index}/to")) {
            Some(to) => to.span,
            None => tree
                .at(&format!("/inputs/{index}"))
                .and_then(|input| input.entries().first())
                .map_or(tree.span, |entry| entry.value.span),
        };
        let name = input.to.as_str();
        let own = |folder: &str| name == folder || name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if name == "." || own(".ewulf") || (manifest.has_members() && own("members")) {
            problems.push(
                Problem::new(at, format!("input cannot be named `{name}` in the run's folder"))
                    .hint("write another name".to_owned()),
            );
        }
        match names.get(name) {
            Some(line) => problems.push(
                Problem::new(at, format!("two inputs are named `{name}` in the run's folder"))
                    .hint("name one of them otherwise: `to: other`".to_owned())
                    .note(format!("the first is in line {line}")),
            ),
            None => {
                names.insert(name, at.line);
            }
        }
    }
    for entry in tree.get("environment").map(Node::entries).unwrap_or_default() {
        if entry.key.starts_with("EWULF_") {
            problems.push(
                Problem::new(entry.key_span, format!("environment variable `{}` is set by ewulf", entry.key))
                    .hint("choose a name that does not start with `EWULF_`".to_owned()),
            );
        }
        if let Value::Text(text) = &entry.value.value
            && text.contains(['\n', '\r'])
        {
            problems.push(
                Problem::new(entry.value.span, format!("environment variable `{}` has a line break", entry.key))
                    .hint("put long values into a file of `source`".to_owned()),
            );
        }
    }
    problems
}

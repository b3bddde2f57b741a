//! What the members of a job must keep beyond its structure.

use std::collections::BTreeMap;

use super::check_job::options;
use super::job::{JobManifest, Ranks};
use super::scalar::Scalar;
use super::sweep::{FOLD, MEMBERS_MAX, Sweep};
use crate::yaml::{Node, Problem};

/// Finds what the typed form of a sweep could not hold, and options that are told twice.
pub(super) fn check_tree(tree: &Node, problems: &mut Vec<Problem>) {
    let grid = tree.at("/sweep/grid");
    let entries = tree.at("/sweep/list").map(Node::items).unwrap_or_default();
    options(grid, problems);
    entries.iter().for_each(|entry| options(Some(entry), problems));
    if grid.is_some_and(|grid| grid.entries().is_empty()) {
        problems.push(
            Problem::new(tree.span_at("/sweep/grid"), "`grid` has no option")
                .hint("write the values to try: `grid: {factors: [20, 50]}`".to_owned()),
        );
    }
    for option in grid.map(Node::entries).unwrap_or_default().iter().filter(|option| option.value.items().is_empty()) {
        problems.push(
            Problem::new(option.key_span, format!("option `{}` of `grid` has no value", option.key))
                .hint("write at least one, or remove the option".to_owned()),
        );
    }
    if tree.get("folds").is_some() {
        let all = tree.get("args").into_iter().chain(grid).chain(entries).flat_map(Node::entries);
        for option in all.filter(|option| option.key == FOLD) {
            problems.push(
                Problem::new(option.key_span, format!("option `{FOLD}` is set by `folds`"))
                    .hint("remove one of them; `fold-seed` may be given, to deal the folds otherwise".to_owned()),
            );
        }
    }
}

/// Returns what is wrong with the members of a manifest.
pub(super) fn check(manifest: &JobManifest, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    if manifest.member_count() > MEMBERS_MAX {
        let sets = manifest.sweep.as_ref().map_or(1, Sweep::len);
        let count = match manifest.folds {
            Some(folds) => format!("{sets} sets of arguments with {folds} folds each"),
            None => format!("{sets} sets of arguments"),
        };
        let at = if manifest.sweep.is_some() { "/sweep" } else { "/folds" };
        problems.push(
            Problem::new(tree.span_at(at), format!("{count} are more than {MEMBERS_MAX} members"))
                .hint("try fewer values, or cut the sweep into several jobs".to_owned()),
        );
        return problems;
    }
    match &manifest.sweep {
        Some(Sweep::Grid(_)) => equal_values(tree, &mut problems),
        Some(Sweep::List(_)) => equal_entries(manifest, tree, &mut problems),
        None => {}
    }
    split(manifest, tree, &mut problems);
    problems
}

/// Finds values of an option that a program could not tell apart.
fn equal_values(tree: &Node, problems: &mut Vec<Problem>) {
    for option in tree.at("/sweep/grid").map(Node::entries).unwrap_or_default() {
        let mut seen: BTreeMap<(bool, String), usize> = BTreeMap::new();
        for value in option.value.items() {
            let Ok(scalar) = serde_json::from_value::<Scalar>(value.to_json()) else { continue };
            // `true` is an option without a value, and the text `true` is one with it.
            let shown = (matches!(scalar, Scalar::Bool(_)), scalar.to_string());
            let text = shown.1.clone();
            if let Some(line) = seen.insert(shown, value.span.line) {
                problems.push(
                    Problem::new(value.span, format!("option `{}` of `grid` has the value `{text}` twice", option.key))
                        .hint("remove one of them".to_owned())
                        .note(format!("the first is in line {line}")),
                );
            }
        }
    }
}

/// Finds entries of a list that start the same program with the same words.
fn equal_entries(manifest: &JobManifest, tree: &Node, problems: &mut Vec<Problem>) {
    let folds = manifest.folds.unwrap_or(1) as usize;
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (index, member) in manifest.members().iter().step_by(folds).enumerate() {
        let Some(first) = seen.insert(manifest.member_argv(member), index + 1) else { continue };
        let entry = tree.at(&format!("/sweep/list/{index}"));
        let span = entry.map(|entry| entry.entries().first().map_or(entry.span, |option| option.key_span));
        problems.push(
            Problem::new(span, format!("entries {first} and {} of `list` start the same program", index + 1))
                .hint("remove one of them, or let them differ in an argument".to_owned())
                .note("what `args` has counts for every entry"),
        );
    }
}

fn split(manifest: &JobManifest, tree: &Node, problems: &mut Vec<Problem>) {
    let Some(split) = manifest.split else { return };
    if !manifest.has_members() {
        problems.push(
            Problem::new(tree.span_at("/split"), "`split` needs members to give ranks to")
                .hint("write `sweep` or `folds` with it; a single run takes `ranks` alone".to_owned()),
        );
    }
    if let Ranks::Count(ranks) = manifest.ranks
        && split > ranks
    {
        problems.push(
            Problem::new(tree.span_at("/split"), format!("`split` gives each member {split} ranks, and the job has {ranks}"))
                .hint(format!("write `split: {ranks}` or less, or raise `ranks`")),
        );
    }
}

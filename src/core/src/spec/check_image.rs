//! What an image recipe must keep beyond its structure.

use std::collections::BTreeMap;

use super::image::ImageRecipe;
use crate::yaml::{Node, Problem};

/// Returns everything that is wrong with a recipe.
pub(super) fn check(recipe: &ImageRecipe, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for list in ["packages", "build_packages", "kernels", "templates", "enable"] {
        repeated(list, tree, &mut problems);
    }
    for (index, package) in recipe.build_packages.iter().enumerate() {
        if recipe.packages.contains(package) {
            problems.push(
                Problem::new(
                    tree.span_at(&format!("/build_packages/{index}")),
                    format!("package `{package}` is to stay and to be removed"),
                )
                .hint("keep it in `packages` or in `build_packages`".to_owned()),
            );
        }
    }
    problems
}

fn repeated(list: &str, tree: &Node, problems: &mut Vec<Problem>) {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for item in tree.get(list).map(Node::items).unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        if let Some(line) = lines.insert(text, item.span.line) {
            problems.push(
                Problem::new(item.span, format!("`{list}` has `{text}` twice"))
                    .hint("keep one of them".to_owned())
                    .note(format!("it is first given in line {line}")),
            );
        }
    }
}

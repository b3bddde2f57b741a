//! Finds the variables that a template uses and nobody gives.
//!
//! Tera takes an undefined variable in a condition for false, and names no line for one in an expression; so the tags are
//! read here first. Only names are looked at: whether an expression makes sense is Tera's business.

use std::collections::BTreeSet;

/// Words of Tera's expressions that are no variables.
const WORDS: [&str; 20] = [
    "if",
    "elif",
    "else",
    "endif",
    "for",
    "endfor",
    "in",
    "and",
    "or",
    "not",
    "is",
    "true",
    "false",
    "True",
    "False",
    "loop",
    "set",
    "set_global",
    "continue",
    "break",
];

/// Tags whose words are names of other things.
const TAGS_WITHOUT_VARIABLES: [&str; 6] = ["filter", "endfilter", "block", "endblock", "macro", "endmacro"];

/// Lists the variables of a template that are not `known`, with the line of each use, in order.
pub(super) fn undefined(template: &str, known: &BTreeSet<String>) -> Vec<(usize, String)> {
    let mut bound: BTreeSet<String> = known.clone();
    let mut found = Vec::new();
    for (line, tag) in tags(template) {
        let tokens = tokens(tag);
        let names: Vec<&str> = tokens.iter().map(|(name, _)| *name).collect();
        if names.first().is_some_and(|first| TAGS_WITHOUT_VARIABLES.contains(first)) {
            continue;
        }
        let bindings = match names.as_slice() {
            ["for", rest @ ..] => rest.iter().take_while(|name| **name != "in").copied().collect(),
            ["set" | "set_global", name, ..] => vec![*name],
            _ => Vec::new(),
        };
        bound.extend(bindings.into_iter().map(str::to_owned));
        for (name, is_variable) in tokens {
            if is_variable && !WORDS.contains(&name) && !bound.contains(name) {
                found.push((line, name.to_owned()));
            }
        }
    }
    found
}

/// The inside of every `{{ }}` and `{% %}` with the line it starts on; comments and raw blocks are left out.
fn tags(template: &str) -> Vec<(usize, &str)> {
    let mut tags = Vec::new();
    let (mut rest, mut line, mut is_raw) = (template, 1, false);
    while let Some(start) = rest.find('{') {
        line += rest[..start].matches('\n').count();
        rest = &rest[start..];
        let close = match rest.get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            Some("{#") => "#}",
            _ => {
                rest = &rest[1..];
                continue;
            }
        };
        let Some(end) = rest.find(close) else { break };
        let inside = rest[2..end].trim_matches('-').trim();
        match (close, inside) {
            ("%}", "raw") => is_raw = true,
            ("%}", "endraw") => is_raw = false,
            ("#}", _) => {}
            _ if is_raw => {}
            _ => tags.push((line, inside)),
        }
        line += rest[..end].matches('\n').count();
        rest = &rest[end + 2..];
    }
    tags
}

/// The names in an expression, each with whether it stands where a variable stands: not after `.`, `|` or `is`, not before
/// `(` or `=`, and not in a text.
fn tokens(expression: &str) -> Vec<(&str, bool)> {
    let mut tokens: Vec<(&str, bool)> = Vec::new();
    let mut before = ' ';
    let mut rest = expression;
    while let Some(letter) = rest.chars().next() {
        if let '"' | '\'' | '`' = letter {
            let end = rest[1..].find(letter).map_or(rest.len(), |end| end + 2);
            (rest, before) = (&rest[end..], letter);
        } else if letter.is_alphabetic() || letter == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let next = after.trim_start();
            let is_argument =
                next.starts_with('=') && !next.starts_with("==") && !matches!(tokens.first(), Some(("set" | "set_global", _)));
            let is_test =
                tokens.last().is_some_and(|(word, _)| *word == "is") || matches!(tokens.as_slice(), [.., ("is", _), ("not", _)]);
            let is_variable = !matches!(before, '.' | '|') && !next.starts_with('(') && !is_argument && !is_test;
            tokens.push((name, is_variable));
            (rest, before) = (after, 'a');
        } else if letter.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '.').unwrap_or(rest.len());
            (rest, before) = (&rest[end..], '0');
        } else {
            if !letter.is_whitespace() {
                before = letter;
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(template: &str) -> Vec<(usize, String)> {
        undefined(template, &BTreeSet::from(["image".to_owned(), "kernels".to_owned()]))
    }

    #[test]
    fn known_variables_loops_filters_and_texts_are_not_undefined() {
        for template in [
            "{{ image }} {{ image | upper }} {{ image ~ \"other\" }}",
            "{% for kernel in kernels %}{{ kernel }}{{ loop.index }}{% endfor %}",
            "{{ kernels | join(sep=\", \") }} {{ kernels.0 }} {{ range(end=3) }}",
            "{% set name = image %}{{ name }}",
            "{% if image is defined and not kernels is starting_with(\"x\") %}{% endif %}",
            "{# {{ comment }} #}{% raw %}{{ raw }}{% endraw %}",
            "plain { braces } and ${shell}",
        ] {
            assert_eq!(names(template), [], "{template}");
        }
    }

    #[test]
    fn unknown_variables_are_found_wherever_they_stand() {
        assert_eq!(names("a\nb {{ missing }}\n"), [(2, "missing".to_owned())]);
        assert_eq!(
            names("{% if missing == 1 %}\n{{ other.field }}{% endif %}"),
            [(1, "missing".to_owned()), (2, "other".to_owned())]
        );
        assert_eq!(names("{{ kernels | join(sep=separator) }}"), [(1, "separator".to_owned())]);
        assert_eq!(names("{% for x in things %}{% endfor %}"), [(1, "things".to_owned())]);
    }
}

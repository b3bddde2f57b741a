use proptest::prelude::*;

use super::*;

fn at(line: usize, column: usize, length: usize) -> Span {
    Span { line, column, length }
}

#[test]
fn a_diagnostic_shows_its_line_a_mark_a_label_and_a_hint() {
    let source = "cluster: demo\nwokers:\n";
    let diagnostic = Diagnostic::error("clusters/demo.yaml", at(2, 1, 6), "unknown key `wokers`")
        .label("no such key")
        .note("known keys are many")
        .hint("did you mean `workers`?".to_owned());
    let expected = "error: unknown key `wokers`\n --> clusters/demo.yaml:2:1\n  |\n2 | wokers:\n  | ^^^^^^ no such key\n  \
                    = note: known keys are many\n  = hint: did you mean `workers`?\n";
    assert_eq!(render(&diagnostic, source, false), expected);
    assert_eq!(diagnostic.to_string(), "clusters/demo.yaml:2:1: error: unknown key `wokers`");
}

#[test]
fn a_mark_stands_under_its_place_after_tabs_and_wide_characters() {
    let diagnostic = Diagnostic::warning("x", at(1, 4, 2), "odd");
    let rendered = render(&diagnostic, "\t中e\u{301}fg", false);
    assert_eq!(rendered, "warning: odd\n --> x:1:4\n  |\n1 |     中e\u{301}fg\n  |        ^\n");
}

#[test]
fn a_long_line_is_cut_around_its_mark() {
    let source = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
    let rendered = render(&Diagnostic::error("x", at(1, 501, 4), "long"), &source, false);
    let lines: Vec<&str> = rendered.lines().collect();
    assert!(lines[3].starts_with("1 | …aaaa") && lines[3].ends_with("bbb…"), "{}", lines[3]);
    assert!(lines.iter().all(|line| line.chars().count() <= 81));
    let column = lines[4].find('^').unwrap();
    let marked: String = lines[3].chars().skip(column).take(4).collect();
    assert_eq!(marked, "HERE");
}

#[test]
fn escape_sequences_of_a_text_do_not_reach_the_terminal() {
    let diagnostic = Diagnostic::error("x\u{1b}[2J", at(1, 1, 1), "bad \u{1b}]0;title\u{7} \u{202e}text\nmore");
    let rendered = render(&diagnostic, "a\u{1b}[31mb", false);
    assert!(rendered.chars().all(|letter| letter == '\n' || !letter.is_control()), "{rendered:?}");
    assert!(!rendered.contains('\u{202e}'));
}

#[test]
fn colour_changes_nothing_but_escape_sequences() {
    let diagnostic = Diagnostic::error("x", at(1, 2, 1), "bad").hint("good".to_owned());
    let mut plain = String::new();
    let mut inside = false;
    for letter in render(&diagnostic, "abc", true).chars() {
        match letter {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if !inside => plain.push(letter),
            _ => {}
        }
    }
    assert_eq!(plain, render(&diagnostic, "abc", false));
}

#[test]
fn lines_break_as_they_do_in_yaml() {
    let split = |text| lines(text).collect::<Vec<&str>>();
    assert_eq!(split("a\r\nb\rc\n\nd"), ["a", "b", "c", "", "d"]);
    assert_eq!(split("a\n"), ["a"]);
    assert_eq!(split(""), Vec::<&str>::new());
}

#[test]
fn a_misspelt_word_meets_the_nearest_and_a_foreign_one_none() {
    assert_eq!(nearest("wokers", ["workers", "worker", "master"]), ["workers"]);
    assert_eq!(nearest("Master", ["master", "tags"]), ["master"]);
    assert_eq!(nearest("frobnicate", ["master", "tags"]), Vec::<&str>::new());
    assert_eq!(did_you_mean("knm", ["knn", "svd"]).unwrap(), "did you mean `knn`?");
}

proptest! {
    #[test]
    fn rendering_never_panics(source in "(\r\n|\t|\n|中|\\PC){0,150}", message in ".{0,20}", line in 0usize..12, column in 0usize..300, length in 0usize..400) {
        let span = at(line, column, length);
        for colour in [false, true] {
            let rendered = render(&Diagnostic::error("file", span, &*message).label(&*message), &source, colour);
            prop_assert!(rendered.ends_with('\n'));
        }
    }

    #[test]
    fn rendering_never_panics_on_huge_places(source in ".{0,20}", line in any::<usize>(), column in any::<usize>(), length in any::<usize>()) {
        render(&Diagnostic::error("file", at(line, column, length), "x"), &source, false);
        render(&Diagnostic::error("file", at(1, column, length), "x"), &source, false);
    }
}

use super::*;

fn problems(text: &str) -> Vec<String> {
    let problems = read(text).expect_err(text);
    problems
        .into_iter()
        .map(|problem| match problem.span {
            Some(span) => format!("{}:{}+{} {}", span.line, span.column, span.length, problem.message),
            None => problem.message,
        })
        .collect()
}

fn span(line: usize, column: usize, length: usize) -> Span {
    Span { line, column, length }
}

#[test]
fn every_key_and_value_knows_its_place() {
    let tree = read("a: 1\nlist:\n  - x: yes\n    y: \"q\"\n  - [5, six]\n").unwrap();
    assert_eq!(tree.at("/a").unwrap().span, span(1, 4, 1));
    assert_eq!(tree.entry("list").unwrap().key_span, span(2, 1, 4));
    assert_eq!(tree.at("/list/0/y").unwrap().span, span(4, 8, 3));
    assert_eq!(tree.at("/list/1/1").unwrap().span, span(5, 9, 3));
    assert_eq!(tree.at("/list/7"), None);
}

#[test]
fn a_path_that_leads_nowhere_points_at_what_is_above() {
    let tree = read("list:\n  - x: yes\n").unwrap();
    assert_eq!(tree.span_at("/list/0/x"), span(2, 8, 3));
    assert_eq!(tree.span_at("/list/3"), span(1, 1, 4));
    assert_eq!(tree.span_at("/other").line, 1);
}

#[test]
fn plain_words_mean_what_yaml_1_2_says() {
    let value = |text: &str| read(&format!("k: {text}\n")).unwrap().get("k").unwrap().value.clone();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!([value(""), value("~"), value("null")], [Value::Null, Value::Null, Value::Null]);
    assert_eq!([value("true"), value("False")], [Value::Bool(true), Value::Bool(false)]);
    assert_eq!([value("12"), value("-3"), value("0x1F"), value("0o17")], [12, -3, 31, 15].map(Value::Integer));
    assert_eq!([value("1.5"), value("1e3"), value(".5"), value("-2.")], [1.5, 1000.0, 0.5, -2.0].map(Value::Number));
    for word in ["yes", "no", "on", "010", "1_000", "1.2.3", ".inf", ".nan", "e3", ".", "1e", "12:30", "0x", "10.0.0.0/8"] {
        assert_eq!(value(word), text(word));
    }
    assert_eq!([value("'12'"), value("\"true\""), value("|\n  x\n")], [text("12"), text("true"), text("x\n")]);
}

#[test]
fn keys_given_twice_are_all_told() {
    let told = problems("a: 1\nb: {c: 1, c: 2}\na: 3\n");
    assert_eq!(told, ["2:11+1 key `c` is given twice", "3:1+1 key `a` is given twice"]);
}

#[test]
fn aliases_stand_for_values_and_are_pointed_at_where_they_are_used() {
    let tree = read("a: &x {b: 1}\nc: *x\n").unwrap();
    assert_eq!(tree.at("/c/b").unwrap().value, Value::Integer(1));
    assert_eq!(tree.get("c").unwrap().span, span(2, 4, 2));
}

#[test]
fn aliases_that_explode_are_refused_before_they_do() {
    let mut text = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = level - 1;
        text.push_str(&format!("l{level}: &l{level} [{}]\n", vec![format!("*l{before}"); 10].join(", ")));
    }
    assert_eq!(problems(&text), ["4:45+3 aliases expand to too much: over 10000 values"]);
    assert_eq!(problems("a: &a [*a]\n"), ["1:8+2 alias stands inside of what it stands for"]);
}

#[test]
fn anchors_within_anchors_are_bounded() {
    let text = format!("{}{}{}", "&a [".repeat(60), "x,".repeat(10_000), "]".repeat(60));
    let told = problems(&text);
    assert!(told[0].ends_with("anchors stand for more than 50000 values"), "{told:?}");
}

#[test]
fn deep_and_large_documents_are_refused() {
    assert_eq!(problems(&"[".repeat(100)), ["1:65+1 nesting is deeper than 64 levels"]);
    assert!(problems(&"- x\n".repeat(60_000))[0].ends_with("file has more than 50000 values"));
}

#[test]
fn what_hides_meaning_is_refused() {
    assert_eq!(problems("a: 1\n---\nb: 2\n"), ["2:1+3 file has a second document"]);
    assert_eq!(problems("a: !!int 5\n"), ["1:4+7 tag `!!int` is not supported"]);
    assert_eq!(problems("a: &x {b: 1}\nc: {<<: *x}\n"), ["2:5+2 merge key `<<` is not supported"]);
    assert_eq!(problems("? [a]\n: b\n")[0], "1:3+1 key is a list or map");
    assert_eq!(problems("a: \"\u{7}\"\n"), ["1:5+1 control character U+0007 is not allowed"]);
    assert_eq!(problems("a: 99999999999999999999\n"), ["1:4+20 number 99999999999999999999 is too large"]);
}

//! The fast way reads what the definition reads, and fails where it fails, whatever the text and wherever it is cut.

use proptest::prelude::*;

use super::*;
use crate::ratings::dialect::{Header, Names};
use crate::ratings::format::Format;

type Answer = Result<Rows, Malformed>;

/// Line by line, as the definition says.
fn plainly(parser: &mut LineParser, text: &[u8], begin: usize) -> Answer {
    let mut rows = Rows::default();
    let mut at = begin;
    for line in text[begin..].split_inclusive(|byte| *byte == b'\n') {
        parser.line(line, &mut rows).map_err(|expected| Malformed { at, expected })?;
        at += line.len();
    }
    Ok(rows)
}

/// The fast way, in two blocks that are cut at `cut`.
fn quickly(parser: &mut LineParser, text: &[u8], begin: usize, cut: usize) -> Answer {
    let mut rows = Rows::default();
    let cut = cut.clamp(begin, text.len());
    let second = match text[..cut].last() {
        Some(b'\n') => cut,
        _ if cut == begin => cut,
        _ => text[cut..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| cut + end + 1),
    };
    parse(text, begin, cut, parser, &mut rows)?;
    parse(text, second, text.len(), parser, &mut rows)?;
    Ok(rows)
}

fn check(format: Format, text: &[u8], cut: usize) {
    let Ok(Header { dialect, length }) = Dialect::of(format, &Names::default(), text) else { return };
    let mut parser = LineParser::new(dialect);
    let expected = plainly(&mut parser.clone(), text, length);
    assert_eq!(quickly(&mut parser, text, length, cut), expected, "{format:?}, cut at {cut}: {}", String::from_utf8_lossy(text));
}

const FORMATS: [Format; 5] = [Format::Netflix, Format::NetflixProbe, Format::Csv, Format::Dat, Format::Tabs];

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u32..3000).prop_map(|id| id.to_string()),
        any::<u32>().prop_map(|id| id.to_string()),
        "[0-9]{1,12}",
        "0{0,3}[0-9]{0,8}"
    ]
}

fn rating() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1u8..=5).prop_map(|stars| stars.to_string()),
        3 => (1u8..=10).prop_map(|stars| format!("{}.{}", stars / 2, stars % 2 * 5)),
        1 => "[0-9]{0,2}\\.?[0-9]{0,2}",
    ]
}

/// A line as it should be, or nearly.
fn line(format: Format) -> BoxedStrategy<String> {
    let end = prop_oneof![5 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\n\n"), 1 => Just(" \n")];
    let values = (id(), id(), rating(), "[0-9]{0,25}", any::<bool>(), end);
    values
        .prop_map(move |(user, movie, rating, time, short, end)| {
            let text = match format {
                Format::Netflix if short => format!("{movie}:"),
                Format::Netflix => format!("{user},{rating},20{:0>2}-01-3{}", time.len(), time.len() % 10),
                Format::NetflixProbe if short => format!("{movie}:"),
                Format::NetflixProbe => user,
                Format::Csv if short => format!("{user},{movie},{rating}"),
                Format::Csv => format!("{user},{movie},{rating},{time}"),
                Format::Dat => format!("{user}::{movie}::{rating}::{time}"),
                Format::Tabs => format!("{user}\t{movie}\t{rating}\t{time}"),
            };
            text + end
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nearly_right_lines_are_read_as_defined(
        (format, lines) in proptest::sample::select(&FORMATS[..])
            .prop_flat_map(|format| (Just(format), proptest::collection::vec(line(format), 0..12))),
        header in any::<bool>(),
        cut in 0usize..400,
    ) {
        let start = match (header, format) {
            (true, Format::Csv) => "user,movie,rating,timestamp\n",
            (true, Format::Netflix | Format::NetflixProbe) => "5:\n",
            _ => "",
        };
        check(format, format!("{start}{}", lines.concat()).as_bytes(), cut);
    }

    #[test]
    fn one_wrong_byte_anywhere_is_seen_as_defined(
        format in proptest::sample::select(&FORMATS[..]),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in 0usize..200,
    ) {
        let text = match format {
            Format::Netflix => "7:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n88,4,2005-10-19\n9:\n30878,4,2005-12-26\r\n",
            Format::NetflixProbe => "7:\n1488844\n822109\n88\n9:\n30878\n",
            Format::Csv => "1,31,2.5,1260759144\n4294967295,1029,3.0,1260759179\n12345678,7,5,1\n9,9,4.5\n1,2,3.0,1260759144\n",
            Format::Dat => "1::122::5::838985046\n71567::2107::0.5::912580553\n1::122::5::838985046\n71567::2107::1::912580553\n",
            Format::Tabs => "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n244\t51\t2\t880606923\n",
        };
        let mut text = text.as_bytes().to_vec();
        let place = place.index(text.len());
        text[place] = byte;
        check(format, &text, cut);
    }
}

#[test]
fn usual_lines_take_the_fast_way() {
    let mut rows = Rows { users: Vec::with_capacity(99), stars: Vec::with_capacity(99), ..Rows::default() };
    let text = "1488844,3,2005-09-06\n822109,5,2005-05-13\r\n88,1,2005-10-19\n".repeat(9);
    let end = netflix(text.as_bytes(), 0, text.len(), 8, &mut rows);
    assert!(end + 60 > text.len(), "{end} of {}", text.len());
    assert_eq!((&rows.users[..3], &rows.stars[..3], rows.movies[0]), (&[1_488_844, 822_109, 88][..], &[6, 10, 2][..], 8));
    let text = "1::122::5::838985046\n71567::4294967295::0.5::912580553\n".repeat(9);
    let end = delimited::<b':', 2, true>(text.as_bytes(), 0, text.len(), &mut rows);
    assert!(end + 100 > text.len(), "{end} of {}", text.len());
    assert_eq!((rows.users.last(), rows.stars.last()), (Some(&71_567), Some(&1)));
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let text = vec![b'1'; 3 * LONGEST_LINE];
    let mut parser = LineParser::new(Dialect::Tabs);
    let error = parse(&text, 0, text.len(), &mut parser, &mut Rows::default()).unwrap_err();
    assert_eq!(error, Malformed { at: 0, expected: TOO_LONG });
}

#[test]
fn line_breaks_are_counted() {
    for length in [0usize, 1, 254, 255, 256, 1000] {
        let text: Vec<u8> = (0..length).map(|at| if at % 3 == 0 { b'\n' } else { b'x' }).collect();
        assert_eq!(count_lines(&text), length.div_ceil(3));
        assert_eq!(count_lines(&vec![b'\n'; length]), length);
    }
}

//! One line of a rating file: bytes in, one row out, or what should have been there.
//!
//! Owns what every format means, word for word. [`super::text`] reads the usual lines faster and leaves the others to this.

use super::Rows;
use super::dialect::{Columns, Dialect};

/// What a rating lacks that no line `MOVIE:` is above.
pub const NO_MOVIE: &str = "the movie's line `MOVIE:`, such as `17:`, before the first rating";

/// Reads the lines of one file, one after the other.
#[derive(Clone, Debug)]
pub struct LineParser {
    /// How the file is written.
    pub dialect: Dialect,
    /// The movie of the last `MOVIE:` line, if one was seen.
    pub movie: Option<u32>,
    /// The number of rows before the first `MOVIE:` line, once it was seen.
    pub before: Option<usize>,
}

impl LineParser {
    /// Starts behind a file's header.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, movie: None, before: None }
    }

    /// Adds the line's rating to `rows`, if it has one; an error is what was expected instead.
    pub fn line(&mut self, line: &[u8], rows: &mut Rows) -> Result<(), &'static str> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Ok(());
        }
        match &self.dialect {
            Dialect::Netflix { probe } => {
                let probe = *probe;
                self.netflix(line, probe, rows)
            }
            Dialect::Csv(columns) => csv(line, columns, rows),
            Dialect::Dat => {
                let expected = "`user::movie::rating::timestamp`, such as `1::122::5::838985046`";
                movielens(line, b"::", half_stars, expected, rows)
            }
            Dialect::Tabs => {
                let expected = "user, movie, rating and timestamp separated by tabs, such as `196\\t242\\t3\\t881250949`";
                movielens(line, b"\t", whole_stars, expected, rows)
            }
        }
    }

    fn netflix(&mut self, line: &[u8], probe: bool, rows: &mut Rows) -> Result<(), &'static str> {
        if let Some(id) = line.strip_suffix(b":") {
            self.movie = Some(number(id).ok_or("a movie id below 4294967296 before the colon, such as `17:`")?);
            self.before.get_or_insert(rows.len());
            return Ok(());
        }
        let Some(movie) = self.movie else {
            return Err(NO_MOVIE);
        };
        if probe {
            rows.push(movie, number(line).ok_or("`USER`, such as `1488844`, or `MOVIE:`")?, 0);
            return Ok(());
        }
        let expected = "`USER,STARS,YYYY-MM-DD`, such as `1488844,3,2005-09-06`, or `MOVIE:`";
        let mut fields = line.split(|byte| *byte == b',');
        let (user, stars, date) = (fields.next(), fields.next(), fields.next());
        let user = user.and_then(number).ok_or(expected)?;
        let stars = stars.and_then(decimal).ok_or(expected)?;
        if !date.is_some_and(is_date) || fields.next().is_some() {
            return Err(expected);
        }
        rows.push(movie, user, whole_stars(stars)?);
        Ok(())
    }
}

/// A line of comma-separated values.
fn csv(line: &[u8], columns: &Columns, rows: &mut Rows) -> Result<(), &'static str> {
    if columns.are_usual() && !line.contains(&b'"') {
        let expected = "`userId,movieId,rating,timestamp` with numbers, such as `1,31,2.5,1260759144`";
        return movielens(line, b",", half_stars, expected, rows);
    }
    let expected = "as many comma-separated values as the header names, with user and movie ids below 4294967296 and a rating";
    let (mut user, mut movie, mut rating, mut count) = (None, None, None, 0);
    let mut rest = Some(line);
    while let Some(text) = rest {
        let (value, behind) = csv_field(text).ok_or("a quoted value to end on its line, before a comma or the line's end")?;
        let value = value.trim_ascii();
        match count {
            at if at == columns.user => user = number(value),
            at if at == columns.movie => movie = number(value),
            at if at == columns.rating => rating = decimal(value),
            _ => {}
        }
        rest = behind;
        count += 1;
    }
    if count != columns.count {
        return Err(expected);
    }
    rows.push(movie.ok_or(expected)?, user.ok_or(expected)?, half_stars(rating.ok_or(expected)?)?);
    Ok(())
}

/// The first value of a line, and what is behind its comma, if there is one; nothing if its quotes do not end.
///
/// Doubled quotes inside quotes are left as they are: no number has any, and names of columns only fail to match.
pub fn csv_field(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return Some(match text.iter().position(|byte| *byte == b',') {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        });
    };
    let mut end = 0;
    loop {
        end += quoted[end..].iter().position(|byte| *byte == b'"')?;
        match quoted.get(end + 1) {
            Some(b'"') => end += 2,
            Some(b',') => return Some((&quoted[..end], Some(&quoted[end + 2..]))),
            None => return Some((&quoted[..end], None)),
            Some(_) => return None,
        }
    }
}

/// A line of user, movie, rating and an optional timestamp.
fn movielens(
    line: &[u8],
    separator: &[u8],
    scale: fn(u32) -> Result<u8, &'static str>,
    expected: &'static str,
    rows: &mut Rows,
) -> Result<(), &'static str> {
    let mut fields = Fields { rest: Some(line), separator };
    let (user, movie, rating) = (fields.next(), fields.next(), fields.next());
    let user = user.and_then(number).ok_or(expected)?;
    let movie = movie.and_then(number).ok_or(expected)?;
    let rating = rating.and_then(decimal).ok_or(expected)?;
    let timestamp_is_whole = fields.next().is_none_or(|field| {
        let digits = field.strip_prefix(b"-").unwrap_or(field);
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    });
    if !timestamp_is_whole || fields.next().is_some() {
        return Err(expected);
    }
    rows.push(movie, user, scale(rating)?);
    Ok(())
}

/// The parts of a line between separators.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
    separator: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match rest.windows(self.separator.len()).position(|window| window == self.separator) {
            Some(end) => {
                self.rest = Some(&rest[end + self.separator.len()..]);
                Some(&rest[..end])
            }
            None => self.rest.take(),
        }
    }
}

/// A whole number below 2^32.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Ten times a number with at most one digit after the point that is not 0.
fn decimal(text: &[u8]) -> Option<u32> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = number(parts.next()?)?.checked_mul(10)?;
    match parts.next() {
        None => Some(whole),
        Some([digit, zeros @ ..]) if digit.is_ascii_digit() && zeros.iter().all(|zero| *zero == b'0') => {
            whole.checked_add(u32::from(digit - b'0'))
        }
        Some(_) => None,
    }
}

/// Half stars of ten times a rating.
fn half_stars(tenths: u32) -> Result<u8, &'static str> {
    match tenths {
        5..=50 if tenths.is_multiple_of(5) => Ok((tenths / 5) as u8),
        _ => Err("a rating from 0.5 to 5 in steps of 0.5"),
    }
}

/// Half stars of ten times a whole rating.
fn whole_stars(tenths: u32) -> Result<u8, &'static str> {
    match tenths {
        10..=50 if tenths.is_multiple_of(10) => Ok((tenths / 5) as u8),
        _ => Err("a whole rating from 1 to 5"),
    }
}

/// Whether the text has the form of `2005-09-06`.
fn is_date(text: &[u8]) -> bool {
    text.len() == 10
        && text.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::dialect::{Header, Names};
    use crate::ratings::format::Format;

    fn parse(format: Format, text: &str) -> Result<Vec<(u32, u32, u8)>, &'static str> {
        let Header { dialect, length } = Dialect::of(format, &Names::default(), text.as_bytes()).unwrap();
        let mut parser = LineParser::new(dialect);
        let mut rows = Rows::default();
        for line in text[length..].split('\n') {
            parser.line(line.as_bytes(), &mut rows)?;
        }
        Ok((0..rows.len()).map(|row| (rows.movies[row], rows.users[row], rows.stars[row])).collect())
    }

    #[test]
    fn every_format_reads_its_own_example() {
        assert_eq!(
            parse(Format::Netflix, "17:\r\n30878,4,2005-12-26\r\n8:\n5,1,2005-01-01\n").unwrap(),
            [(17, 30_878, 8), (8, 5, 2)]
        );
        assert_eq!(parse(Format::NetflixProbe, "17:\n30878\n8:\n5\n").unwrap(), [(17, 30_878, 0), (8, 5, 0)]);
        assert_eq!(parse(Format::Csv, "\u{feff}userId,movieId,rating,timestamp\n1,31,2.5,1260759144").unwrap(), [(31, 1, 5)]);
        assert_eq!(parse(Format::Csv, "1,31,0.5\n2,31,5.0,7").unwrap(), [(31, 1, 1), (31, 2, 10)]);
        assert_eq!(parse(Format::Dat, "1::122::3.5::838985046").unwrap(), [(122, 1, 7)]);
        assert_eq!(parse(Format::Tabs, "196\t242\t3\t881250949\n").unwrap(), [(242, 196, 6)]);
    }

    #[test]
    fn csv_columns_come_in_any_order_with_quotes_and_others_between_them() {
        let text = "Rating,title,item_id,\"user\"\r\n4.5,\"Alien, the \"\"first\"\"\",12,\"7\"\r\n\"3\",,9, 8 \r\n";
        assert_eq!(parse(Format::Csv, text).unwrap(), [(12, 7, 9), (9, 8, 6)]);
        for line in ["4,x,12", "4,x,12,7,8", "4,\"x,12,7", "4,\"x\"y,12,7", "4,x,,7", "4,x,12,4294967296", "4.2,x,1,1"] {
            assert!(parse(Format::Csv, &format!("rating,title,movie,user\n{line}\n")).is_err(), "{line}");
        }
    }

    #[test]
    fn ids_reach_to_the_last_32_bit_number_and_no_further() {
        assert_eq!(parse(Format::Csv, "4294967295,0,1").unwrap(), [(0, u32::MAX, 2)]);
        assert!(parse(Format::Csv, "4294967296,1,1").is_err());
        assert!(parse(Format::Netflix, "4294967296:").is_err());
    }

    #[test]
    fn malformed_lines_say_what_was_expected() {
        use Format::*;
        for (format, text, expected) in [
            (Netflix, "1,3,2005-01-01", "the movie's line"),
            (Netflix, "1:\n1,3", "`USER,STARS,YYYY-MM-DD`"),
            (Netflix, "1:\n1,3,01/02/2005", "`USER,STARS,YYYY-MM-DD`"),
            (Netflix, "1:\n1,3,2005-01-01,9", "`USER,STARS,YYYY-MM-DD`"),
            (Netflix, "1:\n1,6,2005-01-01", "a whole rating from 1 to 5"),
            (NetflixProbe, "1:\n1,3,2005-01-01", "`USER`"),
            (NetflixProbe, "1\n", "the movie's line"),
            (Csv, "1,2", "`userId,movieId,rating,timestamp`"),
            (Csv, "1,2,3,4,5", "`userId,movieId,rating,timestamp`"),
            (Csv, "1,2,x,4", "`userId,movieId,rating,timestamp`"),
            (Csv, "1,-2,3,4", "`userId,movieId,rating,timestamp`"),
            (Csv, "1,2,3.3,4", "in steps of 0.5"),
            (Csv, "1,2,5.5,4", "in steps of 0.5"),
            (Csv, "1,2,0,4", "in steps of 0.5"),
            (Dat, "1::2", "`user::movie::rating::timestamp`"),
            (Tabs, "1\t2\t3.5\t4", "a whole rating"),
            (Tabs, "1 2 3 4", "separated by tabs"),
        ] {
            let answer = parse(format, text).unwrap_err();
            assert!(answer.contains(expected), "{text:?}: {answer}");
        }
    }
}

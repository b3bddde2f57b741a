//! One line of a rating file: bytes in, one row out, or what should have been there.

use super::Rows;
use super::format::Format;

/// Reads the lines of one format, one after the other.
#[derive(Debug)]
pub struct LineParser {
    format: Format,
    /// The movie of the last `MOVIE:` line.
    movie: Option<u32>,
    first: bool,
}

impl LineParser {
    /// Starts at the first line of a file.
    pub fn new(format: Format) -> Self {
        Self { format, movie: None, first: true }
    }

    /// Adds the line's rating to `rows`, if it has one; an error is what was expected instead.
    pub fn line(&mut self, line: &[u8], rows: &mut Rows) -> Result<(), &'static str> {
        let first = std::mem::replace(&mut self.first, false);
        let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return Ok(());
        }
        match self.format {
            Format::Netflix | Format::NetflixProbe => self.netflix(line, rows),
            Format::MovielensCsv if first && !line[0].is_ascii_digit() => header(line),
            Format::MovielensCsv => {
                let expected = "`userId,movieId,rating,timestamp` with numbers, such as `1,31,2.5,1260759144`";
                movielens(line, b",", half_stars, expected, rows)
            }
            Format::MovielensDat => {
                let expected = "`user::movie::rating::timestamp`, such as `1::122::5::838985046`";
                movielens(line, b"::", half_stars, expected, rows)
            }
            Format::Movielens100k => {
                let expected = "user, movie, rating and timestamp separated by tabs, such as `196\\t242\\t3\\t881250949`";
                movielens(line, b"\t", whole_stars, expected, rows)
            }
        }
    }

    fn netflix(&mut self, line: &[u8], rows: &mut Rows) -> Result<(), &'static str> {
        if let Some(id) = line.strip_suffix(b":") {
            self.movie = Some(number(id).ok_or("a movie id below 4294967296 before the colon, such as `17:`")?);
            return Ok(());
        }
        let Some(movie) = self.movie else {
            return Err("the movie's line `MOVIE:`, such as `17:`, before the first rating");
        };
        if self.format == Format::NetflixProbe {
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

/// The header of `ratings.csv`; anything else at its place is a mistake.
fn header(line: &[u8]) -> Result<(), &'static str> {
    if line == b"userId,movieId,rating,timestamp" || line == b"userId,movieId,rating" {
        Ok(())
    } else {
        Err("the header `userId,movieId,rating,timestamp`")
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
        5..=50 if tenths % 5 == 0 => Ok((tenths / 5) as u8),
        _ => Err("a rating from 0.5 to 5 in steps of 0.5"),
    }
}

/// Half stars of ten times a whole rating.
fn whole_stars(tenths: u32) -> Result<u8, &'static str> {
    match tenths {
        10..=50 if tenths % 10 == 0 => Ok((tenths / 5) as u8),
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

    fn parse(format: Format, text: &str) -> Result<Vec<(u32, u32, u8)>, &'static str> {
        let mut parser = LineParser::new(format);
        let mut rows = Rows::default();
        for line in text.split('\n') {
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
        assert_eq!(
            parse(Format::MovielensCsv, "\u{feff}userId,movieId,rating,timestamp\n1,31,2.5,1260759144").unwrap(),
            [(31, 1, 5)]
        );
        assert_eq!(parse(Format::MovielensCsv, "1,31,0.5\n2,31,5.0,7").unwrap(), [(31, 1, 1), (31, 2, 10)]);
        assert_eq!(parse(Format::MovielensDat, "1::122::3.5::838985046").unwrap(), [(122, 1, 7)]);
        assert_eq!(parse(Format::Movielens100k, "196\t242\t3\t881250949\n").unwrap(), [(242, 196, 6)]);
    }

    #[test]
    fn ids_reach_to_the_last_32_bit_number_and_no_further() {
        assert_eq!(parse(Format::MovielensCsv, "4294967295,0,1").unwrap(), [(0, u32::MAX, 2)]);
        assert!(parse(Format::MovielensCsv, "4294967296,1,1").is_err());
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
            (MovielensCsv, "movie,user\n", "the header"),
            (MovielensCsv, "1,2", "`userId,movieId,rating,timestamp`"),
            (MovielensCsv, "1,2,3,4,5", "`userId,movieId,rating,timestamp`"),
            (MovielensCsv, "1,2,x,4", "`userId,movieId,rating,timestamp`"),
            (MovielensCsv, "1,-2,3,4", "`userId,movieId,rating,timestamp`"),
            (MovielensCsv, "1,2,3.3,4", "in steps of 0.5"),
            (MovielensCsv, "1,2,5.5,4", "in steps of 0.5"),
            (MovielensCsv, "1,2,0,4", "in steps of 0.5"),
            (MovielensDat, "1::2", "`user::movie::rating::timestamp`"),
            (Movielens100k, "1\t2\t3.5\t4", "a whole rating"),
            (Movielens100k, "1 2 3 4", "separated by tabs"),
        ] {
            let answer = parse(format, text).unwrap_err();
            assert!(answer.contains(expected), "{text:?}: {answer}");
        }
    }
}

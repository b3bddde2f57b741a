//! Blocks of text: the usual lines eight digits at a time, all others by [`LineParser`].
//!
//! Owns speed alone: whatever it accepts, [`LineParser`] reads the same. Digits are told and summed inside 64-bit words.

use super::Rows;
use super::dialect::Dialect;
use super::parse::LineParser;

/// Lines of every format are far shorter; a file without line breaks must not fill the memory.
pub const LONGEST_LINE: usize = 4096;
/// What [`LineParser`] cannot see, because lines are cut for it.
pub const TOO_LONG: &str = "a line of at most 4096 bytes";

/// The high bit of every byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Every byte a zero digit.
const ZEROS: u64 = 0x3030_3030_3030_3030;
/// Added to the value of a digit, the largest that leaves the high bit alone.
const DIGIT: u8 = 0x7f - 9;
/// Added to 0, for a byte that has to be the one expected.
const SAME: u8 = 0x7f;

/// A line that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it begins.
    pub at: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// Adds the rows of all lines that begin in `text[begin..end]` to `rows`; the last of them may reach beyond `end`.
///
/// `text` goes on for [`LONGEST_LINE`] bytes behind `end`, or ends where the file ends.
pub fn parse(text: &[u8], begin: usize, end: usize, parser: &mut LineParser, rows: &mut Rows) -> Result<(), Malformed> {
    let lines = count_lines(&text[begin..end]) + 1;
    rows.movies.reserve(lines);
    rows.users.reserve(lines);
    rows.stars.reserve(lines);
    let mut at = begin;
    while at < end {
        at = match &parser.dialect {
            Dialect::Netflix { probe: false } => match parser.movie {
                Some(movie) => netflix(text, at, end, movie, rows),
                None => at,
            },
            Dialect::Csv(columns) if columns.are_usual() => delimited::<b',', 1, true>(text, at, end, rows),
            Dialect::Dat => delimited::<b':', 2, true>(text, at, end, rows),
            Dialect::Tabs => delimited::<b'\t', 1, false>(text, at, end, rows),
            Dialect::Netflix { probe: true } | Dialect::Csv(_) => at,
        };
        if at < end {
            at = one_line(text, at, parser, rows)?;
        }
    }
    Ok(())
}

/// The number of line breaks.
pub fn count_lines(text: &[u8]) -> usize {
    // Sums of bytes, in runs that cannot overflow one: a form that compilers turn into vector instructions.
    let run = |run: &[u8]| usize::from(run.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>());
    text.chunks(255).map(run).sum()
}

/// Reads the line at `at` as it is defined; returns where the next one begins.
fn one_line(text: &[u8], at: usize, parser: &mut LineParser, rows: &mut Rows) -> Result<usize, Malformed> {
    let window = &text[at..text.len().min(at + LONGEST_LINE)];
    let (line, next) = match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&window[..end], at + end + 1),
        None if window.len() < LONGEST_LINE => (window, text.len()),
        None => return Err(Malformed { at, expected: TOO_LONG }),
    };
    parser.line(line, rows).map_err(|expected| Malformed { at, expected })?;
    Ok(next)
}

#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(text[at..at + 8].try_into().expect("a range of eight bytes is eight bytes"))
}

/// The high bits of the bytes of a word that are not as they should be; those behind the first such byte mean nothing.
///
/// A byte of `difference` is the difference to what is expected there, and that of `slack` is [`DIGIT`] or [`SAME`].
#[inline(always)]
fn wrong(difference: u64, slack: u64) -> u64 {
    (difference.wrapping_add(slack) | difference) & HIGH
}

/// A word of eight bytes, the first one lowest.
const fn bytes(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// The number in the first `count` bytes of a word, 1 to 8, given as differences to the zero digit.
#[inline(always)]
fn value(difference: u64, count: u32) -> u32 {
    // As if there were zeros in front: pairs, then fours, then all eight.
    let digits = difference << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) as u32
}

/// Reads lines `USER,STARS,YYYY-MM-DD` of one movie with users of at most 7 digits, up to the first line that is none.
fn netflix(text: &[u8], mut at: usize, end: usize, movie: u32, rows: &mut Rows) -> usize {
    const NUMBER: u64 = bytes([DIGIT; 8]);
    const HEAD: u64 = bytes(*b",0,0000-");
    const HEAD_SLACK: u64 = bytes([SAME, DIGIT, SAME, DIGIT, DIGIT, DIGIT, DIGIT, SAME]);
    const TAIL: u64 = bytes(*b"00-00\0\0\0");
    const TAIL_SLACK: u64 = bytes([DIGIT, DIGIT, SAME, DIGIT, DIGIT, 0, 0, 0]);
    const TAIL_BYTES: u64 = 0xff_ffff_ffff;
    /// Seven digits, head, tail and the end of the line.
    const REACH: usize = 7 + 16 + 8;
    let (users, stars_given) = (rows.users.spare_capacity_mut(), rows.stars.spare_capacity_mut());
    let room = users.len().min(stars_given.len());
    let mut count_read = 0;
    while at < end && at + REACH <= text.len() && count_read < room {
        let user = word(text, at) ^ ZEROS;
        let count = wrong(user, NUMBER).trailing_zeros() / 8;
        if count == 0 || count > 7 {
            break;
        }
        let behind = at + count as usize;
        let head = word(text, behind) ^ HEAD;
        let tail = word(text, behind + 8);
        let ending = (tail >> 40) as u16;
        let stars = (head >> 8) as u8;
        let bad = wrong(head, HEAD_SLACK) | wrong((tail ^ TAIL) & TAIL_BYTES, TAIL_SLACK);
        if bad != 0 || !(1..=5).contains(&stars) {
            break;
        }
        let next = match ending.to_le_bytes() {
            [b'\n', _] => behind + 14,
            [b'\r', b'\n'] => behind + 15,
            _ => break,
        };
        users[count_read].write(value(user, count));
        stars_given[count_read].write(2 * stars);
        count_read += 1;
        at = next;
    }
    let length = rows.users.len() + count_read;
    // SAFETY: the columns are equally long, and `count_read` more values of both were written just behind their ends.
    unsafe {
        rows.users.set_len(length);
        rows.stars.set_len(length);
    }
    rows.movies.resize(length, movie);
    at
}

/// Reads lines of user, movie, rating and perhaps a time, up to the first line that is written in another way.
fn delimited<const SEPARATOR: u8, const TIMES: usize, const HALVES: bool>(
    text: &[u8],
    mut at: usize,
    end: usize,
    rows: &mut Rows,
) -> usize {
    /// Two numbers of ten digits, a rating of three bytes, a time of 24, and what is between and behind them; the words
    /// that find their ends reach up to eight bytes further.
    const REACH: usize = 80;
    let separator = |at: usize| text[at] == SEPARATOR && (TIMES == 1 || text[at + 1] == SEPARATOR);
    while at < end && at + REACH <= text.len() {
        let Some((user, behind)) = number(text, at).filter(|(_, behind)| separator(*behind)) else { break };
        let Some((movie, behind)) = number(text, behind + TIMES).filter(|(_, behind)| separator(*behind)) else { break };
        let rating = behind + TIMES;
        let whole = text[rating].wrapping_sub(b'0');
        let (stars, mut behind) = match (HALVES, text[rating + 1], text[rating + 2]) {
            (true, b'.', b'0') => (whole.wrapping_mul(2), rating + 3),
            (true, b'.', b'5') => (whole.wrapping_mul(2).wrapping_add(1), rating + 3),
            _ => (whole.wrapping_mul(2), rating + 1),
        };
        if whole > 5 || !(1..=10).contains(&stars) {
            break;
        }
        if separator(behind) {
            match time(text, behind + TIMES) {
                Some(end) => behind = end,
                None => break,
            }
        }
        let next = match (text[behind], text[behind + 1]) {
            (b'\n', _) => behind + 1,
            (b'\r', b'\n') => behind + 2,
            _ => break,
        };
        rows.push(movie, user, stars);
        at = next;
    }
    at
}

/// A number below 2^32 of at most ten digits, and where it ends.
#[inline(always)]
fn number(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = word(text, at) ^ ZEROS;
    let count = wrong(first, bytes([DIGIT; 8])).trailing_zeros() / 8;
    if count == 0 {
        return None;
    }
    let (mut number, mut end) = (u64::from(value(first, count)), at + count as usize);
    if count == 8 {
        while end < at + 11 && text[end].is_ascii_digit() {
            number = number * 10 + u64::from(text[end] - b'0');
            end += 1;
        }
    }
    Some((u32::try_from(number).ok()?, end))
}

/// The end of a time of 1 to 23 digits.
#[inline(always)]
fn time(text: &[u8], begin: usize) -> Option<usize> {
    let mut end = begin;
    for _ in 0..3 {
        let count = wrong(word(text, end) ^ ZEROS, bytes([DIGIT; 8])).trailing_zeros() as usize / 8;
        end += count;
        if count < 8 {
            return (end > begin).then_some(end);
        }
    }
    None
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;

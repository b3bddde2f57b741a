//! Generated sets as files.

use std::io::{self, Write};
use std::path::Path;

use super::Format;
use super::generate::{Set, Shape};
use crate::output::{OutputError, write_atomically};
use crate::random::derive;
use crate::ratings::columns::build;
use crate::ratings::workers::Workers;
use crate::ratings::{cache, offsets};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Writes a set into an existing folder; `progress` is told files or ratings done and in total.
pub fn write(
    folder: &Path,
    format: Format,
    shape: &Shape,
    set: Set,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), OutputError> {
    match format {
        Format::Netflix => netflix(folder, shape, &set, &mut progress),
        Format::Columns => columns(folder, shape, set),
        Format::MovielensCsv => write_atomically(&folder.join("ratings.csv"), |writer| {
            writeln!(writer, "userId,movieId,rating,timestamp")?;
            rows(&set, &mut progress, |[user, movie, half_stars, second]| {
                writeln!(writer, "{user},{movie},{}.{},{second}", half_stars / 2, half_stars % 2 * 5)
            })
        }),
        Format::Movielens100k => write_atomically(&folder.join("u.data"), |writer| {
            rows(&set, &mut progress, |[user, movie, half_stars, second]| {
                writeln!(writer, "{user}\t{movie}\t{}\t{second}", half_stars / 2)
            })
        }),
    }
}

/// Every rating in order: user, movie, half stars and time in seconds since 1970.
fn rows(set: &Set, progress: &mut impl FnMut(u64, u64), mut line: impl FnMut([u64; 4]) -> io::Result<()>) -> io::Result<()> {
    let total = set.rows.len();
    for row in 0..total {
        let (user, movie) = (u64::from(set.rows.users[row]), u64::from(set.rows.movies[row]));
        let second = u64::from(set.days[row]) * DAY + derive(user, movie) % DAY;
        line([user, movie, u64::from(set.rows.stars[row]), second])?;
        if row % (1 << 16) == 0 {
            progress(row as u64, total as u64);
        }
    }
    progress(total as u64, total as u64);
    Ok(())
}

/// One file a movie, those without ratings too.
fn netflix(folder: &Path, shape: &Shape, set: &Set, progress: &mut impl FnMut(u64, u64)) -> Result<(), OutputError> {
    let starts = offsets(&set.rows.movies, shape.movies as usize + 1);
    let mut next = starts.clone();
    let mut by_movie = vec![(0, 0, 0); set.rows.len()];
    for (row, movie) in set.rows.movies.iter().enumerate() {
        by_movie[next[*movie as usize] as usize] = (set.rows.users[row], set.days[row], set.rows.stars[row] / 2);
        next[*movie as usize] += 1;
    }
    let dates: Vec<[u8; 12]> = (0..=set.days.iter().copied().max().unwrap_or(0)).map(dated_end).collect();
    for movie in 1..=shape.movies as usize {
        let path = folder.join(format!("mv_{movie:07}.txt"));
        let content = || {
            let mut text = format!("{movie}:\n").into_bytes();
            for (user, day, stars) in &by_movie[starts[movie] as usize..starts[movie + 1] as usize] {
                push_number(&mut text, customer(shape.seed, *user));
                text.extend_from_slice(&[b',', b'0' + stars]);
                text.extend_from_slice(&dates[*day as usize]);
            }
            // The folder gets its name when all files are in it, so that each of them needs no care of its own.
            std::fs::write(&path, text)
        };
        content().map_err(|source| OutputError::new(&path, source))?;
        progress(movie as u64, shape.movies.into());
    }
    Ok(())
}

/// Columns as the reader makes them of the text.
fn columns(folder: &Path, shape: &Shape, set: Set) -> Result<(), OutputError> {
    let mut rows = set.rows;
    rows.users.iter_mut().for_each(|user| *user = customer(shape.seed, *user) as u32);
    let path = folder.join(cache::FILE);
    let ratings = build(vec![rows], Workers::of_run(1)).map_err(|error| OutputError::new(&path, io::Error::other(error)))?;
    // No input stands behind them, so no key either.
    cache::write(&path, &[0; 32], &ratings, false)
}

/// What follows the stars on a line.
fn dated_end(day: u16) -> [u8; 12] {
    let (year, month, day) = date(day);
    let text = format!(",{year}-{month:02}-{day:02}\n");
    text.as_bytes().try_into().expect("a year has four digits, a month and a day have two")
}

/// Adds a number's digits.
fn push_number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

/// Netflix's customer ids rise with gaps: 480,189 of them reach up to 2,649,429. So each user has an id of their own 5 or 6;
/// those of 500 M users still fit 32 bits.
pub(super) fn customer(seed: u64, user: u32) -> u64 {
    const USERS: u64 = 480_189;
    const LARGEST: u64 = 2_649_429;
    let user = u64::from(user);
    let (before, last) = ((user - 1) * LARGEST / USERS, user * LARGEST / USERS);
    before + derive(seed, user) % (last - before) + 1
}

/// The date of a day since 1970, for the years that u16 reaches: until 2149.
fn date(day: u16) -> (u32, u32, u32) {
    let mut rest = u32::from(day);
    let is_leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while rest >= 365 + u32::from(is_leap(year)) {
        rest -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u32::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(10_906), (1999, 11, 11));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(13_148), (2005, 12, 31));
    }

    #[test]
    fn customer_ids_rise_with_gaps_up_to_the_largest_of_netflix() {
        assert!((1..480_189).all(|user| customer(9, user) < customer(9, user + 1)));
        let last: Vec<u64> = (0..64).map(|seed| customer(seed, 480_189)).collect();
        assert_eq!((last.iter().min(), last.iter().max()), (Some(&2_649_424), Some(&2_649_429)));
        assert!((1..=6).contains(&customer(9, 1)) && customer(9, 500_000_000) <= u32::MAX.into());
    }
}

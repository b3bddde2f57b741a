//! How the lines of one file are written: its format, and what its header says.

use super::format::Format;
use super::parse::csv_field;

/// Names of CSV columns to read; where none is given, the usual ones are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Names {
    /// CSV column of user ids, if it is not called user, userId, uid, customer or customerId
    #[arg(long, value_name = "NAME")]
    pub user_column: Option<String>,
    /// CSV column of movie ids, if it is not called movie, movieId, item, itemId, iid, product or productId
    #[arg(long, value_name = "NAME")]
    pub movie_column: Option<String>,
    /// CSV column of ratings from 0.5 to 5, if it is not called rating, stars or score
    #[arg(long, value_name = "NAME")]
    pub rating_column: Option<String>,
}

/// Usual names, as [`plain`] makes them.
const USER: &[&str] = &["user", "userid", "uid", "customer", "customerid"];
const MOVIE: &[&str] = &["movie", "movieid", "item", "itemid", "iid", "product", "productid"];
const RATING: &[&str] = &["rating", "stars", "score"];

/// Where the values of a CSV line are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of user ids, from 0.
    pub user: usize,
    /// The column of movie ids.
    pub movie: usize,
    /// The column of ratings.
    pub rating: usize,
    /// The number of columns; with the usual ones, the last of four may be missing.
    pub count: usize,
    /// Whether the columns are user, movie, rating and perhaps a timestamp.
    usual: bool,
}

impl Columns {
    /// User, movie, rating and perhaps a timestamp.
    const USUAL: Self = Self { user: 0, movie: 1, rating: 2, count: 4, usual: true };

    /// Whether the columns are user, movie, rating and perhaps a timestamp.
    pub fn are_usual(&self) -> bool {
        self.usual
    }

    /// The columns that a header names.
    fn named(header: &[u8], names: &Names) -> Option<Self> {
        let mut titles = Vec::new();
        let mut rest = Some(header);
        while let Some(text) = rest {
            let (title, behind) = csv_field(text)?;
            titles.push(String::from_utf8_lossy(title).trim().to_owned());
            rest = behind;
        }
        let place = |name: &Option<String>, usual: &[&str]| match name {
            Some(name) => titles.iter().position(|title| title == name),
            None => usual.iter().find_map(|name| titles.iter().position(|title| plain(title) == *name)),
        };
        let user = place(&names.user_column, USER)?;
        let movie = place(&names.movie_column, MOVIE)?;
        let rating = place(&names.rating_column, RATING)?;
        let count = titles.len();
        let is_time = |title: &String| matches!(plain(title).as_str(), "timestamp" | "time");
        let usual = (user, movie, rating) == (0, 1, 2) && (count == 3 || count == 4 && is_time(&titles[3]));
        Some(Self { user, movie, rating, count, usual })
    }
}

/// A name without case, spaces, underscores and hyphens.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The byte order mark of UTF-8, which some programs put at the beginning of a file.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// How the lines of a file are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Lines `MOVIE:`, each followed by lines of users with stars and date, or of users alone.
    Netflix {
        /// Whether there are users alone.
        probe: bool,
    },
    /// Comma-separated values, some of them quoted.
    Csv(Columns),
    /// `user::movie::rating::timestamp`.
    Dat,
    /// User, movie, rating and timestamp between tabs.
    Tabs,
}

/// What the beginning of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the lines are written.
    pub dialect: Dialect,
    /// Where the first of them begins.
    pub length: usize,
}

impl Dialect {
    /// How a file is written, told by its format and its beginning, which has the first line whole; an error is what was
    /// expected as its first line.
    pub fn of(format: Format, names: &Names, beginning: &[u8]) -> Result<Header, String> {
        let mark = if beginning.starts_with(MARK) { MARK.len() } else { 0 };
        let dialect = match format {
            Format::Netflix | Format::NetflixProbe => Self::Netflix { probe: format == Format::NetflixProbe },
            Format::Dat => Self::Dat,
            Format::Tabs => Self::Tabs,
            Format::Csv => return Self::of_csv(names, beginning, mark),
        };
        Ok(Header { dialect, length: mark })
    }

    /// Whether files of a format begin with ratings at once, but for a byte order mark.
    pub fn has_no_header(format: Format) -> bool {
        format != Format::Csv
    }

    fn of_csv(names: &Names, beginning: &[u8], mark: usize) -> Result<Header, String> {
        let text = &beginning[mark..];
        let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
        let line = text[..end].trim_ascii();
        let starts_with_number = line.strip_prefix(b"\"").unwrap_or(line).first().is_none_or(u8::is_ascii_digit);
        if starts_with_number && *names == Names::default() {
            return Ok(Header { dialect: Self::Csv(Columns::USUAL), length: mark });
        }
        let columns = Columns::named(line, names).ok_or_else(|| {
            let name =
                |name: &Option<String>, usual: &[&str]| name.clone().unwrap_or_else(|| usual[..2.min(usual.len())].join(" or "));
            format!(
                "a header with the columns {}, {} and {}, such as `userId,movieId,rating,timestamp` \
                 (--user-column, --movie-column and --rating-column name others)",
                name(&names.user_column, USER),
                name(&names.movie_column, MOVIE),
                name(&names.rating_column, RATING)
            )
        })?;
        Ok(Header { dialect: Self::Csv(columns), length: mark + end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str, names: &Names) -> Result<(usize, usize, usize, bool), String> {
        match Dialect::of(Format::Csv, names, text.as_bytes())?.dialect {
            Dialect::Csv(columns) => Ok((columns.user, columns.movie, columns.rating, columns.usual)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn usual_names_are_found_in_any_spelling_and_order() {
        let names = Names::default();
        assert_eq!(columns("userId,movieId,rating,timestamp\n", &names), Ok((0, 1, 2, true)));
        assert_eq!(columns("user,item,rating\n", &names), Ok((0, 1, 2, true)));
        assert_eq!(columns("userId,movieId,rating,review\n", &names), Ok((0, 1, 2, false)));
        assert_eq!(columns("STARS, Product-ID ,date,\"Customer ID\"\r\n", &names), Ok((3, 1, 0, false)));
        assert_eq!(columns("1,2,3,4\n", &names), Ok((0, 1, 2, true)));
        assert_eq!(columns("", &names), Ok((0, 1, 2, true)));
    }

    #[test]
    fn given_names_are_taken_to_the_letter() {
        let names = Names { user_column: Some("who".into()), ..Names::default() };
        assert_eq!(columns("user,movie,rating,who\n", &names), Ok((3, 1, 2, false)));
        for text in ["user,movie,rating,Who\n", "1,2,3\n", ""] {
            assert!(columns(text, &names).unwrap_err().contains("the columns who, movie or movieid and rating or stars"));
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let header = Dialect::of(Format::Netflix, &Names::default(), b"\xef\xbb\xbf1:\n").unwrap();
        assert_eq!(header, Header { dialect: Dialect::Netflix { probe: false }, length: 3 });
        let header = Dialect::of(Format::Csv, &Names::default(), b"\xef\xbb\xbfuser,movie,rating\r\n1,2,3\n").unwrap();
        assert_eq!(header.length, 22);
    }
}

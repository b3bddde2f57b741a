//! Values as people read them.

use std::time::Duration;

/// Writes a stretch of time that just passed: `0.3 s`, `41 s`, `2 min 5 s`, `3 h 20 min`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    // Saturates for what no clock measures.
    duration(Duration::from_secs(seconds.round() as u64))
}

/// Writes a duration by its two largest units: `41 s`, `2 min 5 s`, `3 h 20 min`, `4 d 1 h`.
pub fn duration(duration: Duration) -> String {
    let whole = duration.as_secs();
    let (large, small, large_unit, small_unit) = match whole {
        0..60 => return format!("{whole} s"),
        60..3_600 => (whole / 60, whole % 60, "min", "s"),
        3_600..86_400 => (whole / 3_600, whole % 3_600 / 60, "h", "min"),
        _ => (whole / 86_400, whole % 86_400 / 3_600, "d", "h"),
    };
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// Writes a count with its noun: `1 node`, `8 nodes`.
pub fn count(number: u64, singular: &str) -> String {
    let plural = match singular {
        word if word.ends_with('y') && !word.ends_with("ay") => format!("{}ies", &word[..word.len() - 1]),
        word => format!("{word}s"),
    };
    format!("{number} {}", if number == 1 { singular } else { &plural })
}

/// Writes a number of bytes in binary units: `512 B`, `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    // Precise enough for one digit after the point.
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Writes how much is done: `3 of 10 pairs`, `1.5 MiB of 8.0 MiB`, `12 lines`; total 0 is unknown.
pub fn amount(done: u64, total: u64, unit: &str) -> String {
    match (unit, total) {
        ("bytes", 0) => bytes(done),
        ("bytes", total) => format!("{} of {}", bytes(done), bytes(total)),
        (unit, 0) => format!("{done} {unit}").trim_end().to_owned(),
        (unit, total) => format!("{done} of {total} {unit}").trim_end().to_owned(),
    }
}

/// Removes what could move the cursor, recolour or retitle a terminal from a line that somebody else wrote.
///
/// Escape sequences go as a whole, tabs become spaces, and after a carriage return only the last text stays, as it
/// would on a terminal.
pub fn printable(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let plain = console::strip_ansi_codes(line);
    plain.replace('\t', "    ").chars().filter(|character| !character.is_control()).collect()
}

/// Joins names as a sentence does: `a`, `a and b`, `a, b and c`.
pub fn enumerate<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// Quotes a word for a command that a user may paste into a shell; plain words stay as they are.
pub fn shell_word(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./=:,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        assert_eq!(seconds(0.26), "0.3 s");
        assert_eq!(seconds(41.4), "41 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(3_600)), "1 h");
        assert_eq!(duration(Duration::from_secs(12_059)), "3 h 20 min");
        assert_eq!(duration(Duration::from_secs(4 * 86_400 + 3_700)), "4 d 1 h");
    }

    #[test]
    fn counts_take_the_right_noun() {
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(count(0, "error"), "0 errors");
        assert_eq!(count(2, "recipe"), "2 recipes");
        assert_eq!(count(2, "gateway"), "2 gateways");
        assert_eq!(count(2, "policy"), "2 policies");
    }

    #[test]
    fn foreign_lines_cannot_steer_the_terminal() {
        assert_eq!(printable("\x1b[2J\x1b[31mred\x1b[0m\tx\x07\r"), "red    x");
        assert_eq!(printable("10%\r20%\r30%"), "30%");
        assert_eq!(printable("\x1b]0;title\x07after"), "after");
    }

    #[test]
    fn bytes_keep_one_digit_after_the_point() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_610_612_736), "1.5 GiB");
    }

    #[test]
    fn pasted_words_are_quoted_only_if_a_shell_would_read_them() {
        assert_eq!(shell_word("clusters/demo.yaml"), "clusters/demo.yaml");
        assert_eq!(shell_word("my file"), "'my file'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$(id)"), "'$(id)'");
    }
}

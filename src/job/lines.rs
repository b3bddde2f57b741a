//! Lines of a run's log: who said what.

use super::Plan;

/// Where a line of the log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A rank, by number.
    Rank(u32),
    /// A step before the ranks start.
    Prepare,
    Mpirun,
    /// The runner itself.
    Ewulf,
    /// Nobody known: a line that was cut at the start of a log.
    Unknown,
}

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    pub source: Source,
    /// The member that it is of, if the run has members.
    pub member: Option<u32>,
    /// Whether it is from the stream for errors.
    pub error: bool,
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `[3] text`, `[3!] text`, `[mpirun] text`, `[m7 r3] text` and so on; the runner writes no others.
    pub fn parse(line: &'a str) -> Self {
        let unknown = Self { source: Source::Unknown, member: None, error: false, text: line };
        let Some((tag, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { return unknown };
        let (name, error) = match tag.strip_suffix('!') {
            Some(name) => (name, true),
            None => (tag, false),
        };
        let (member, source) = match name.split_once(' ') {
            Some((member, name)) => {
                let Some(member) = member.strip_prefix('m').and_then(number) else { return unknown };
                (Some(member), if name == "mpirun" { Some(Source::Mpirun) } else { name.strip_prefix('r').and_then(rank) })
            }
            None => (None, source(name)),
        };
        source.map_or(unknown, |source| Self { source, member, error, text })
    }

    /// Who said it, for a reader: `rank 3 (node/compute/1)`.
    pub fn speaker(&self, plan: &Plan) -> String {
        match (self.member, self.source) {
            // Which of the groups a member is on is known at its end.
            (Some(member), Source::Rank(rank)) => format!("member {member} rank {rank}"),
            (Some(member), _) => format!("member {member} mpirun"),
            (None, Source::Rank(rank)) => match plan.node_of(rank) {
                Some(node) => format!("rank {rank} ({})", node.address),
                None => format!("rank {rank}"),
            },
            (None, Source::Prepare) => "prepare".to_owned(),
            (None, Source::Mpirun) => "mpirun".to_owned(),
            (None, Source::Ewulf) => "ewulf".to_owned(),
            (None, Source::Unknown) => plan.run.to_string(),
        }
    }
}

/// The source of a tag that names no member.
fn source(name: &str) -> Option<Source> {
    match name {
        "prepare" => Some(Source::Prepare),
        "mpirun" => Some(Source::Mpirun),
        "ewulf" => Some(Source::Ewulf),
        digits => rank(digits),
    }
}

fn rank(digits: &str) -> Option<Source> {
    number(digits).map(Source::Rank)
}

/// A sign or a space would parse as a number or not; digits alone are one.
fn number(digits: &str) -> Option<u32> {
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Puts bytes that arrive in any pieces together to lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and answers the lines that they complete; what is no UTF-8 is replaced.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        whole[..end].split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// Forgets an unfinished line, for a jump to another place.
    pub fn forget(&mut self) {
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_the_source_and_everything_after_them_is_text() {
        let line = |text| {
            let line = Line::parse(text);
            (line.source, line.error, line.text)
        };
        assert_eq!(line("[3] [4!] hello"), (Source::Rank(3), false, "[4!] hello"));
        assert_eq!(line("[12!] "), (Source::Rank(12), true, ""));
        assert_eq!(line("[mpirun] prterun x"), (Source::Mpirun, false, "prterun x"));
        assert_eq!(line("[ewulf] step 1 of 2"), (Source::Ewulf, false, "step 1 of 2"));
        assert_eq!(line("[prepare] a] b"), (Source::Prepare, false, "a] b"));
        assert_eq!(Line::parse("[m7 r3!] x"), Line { source: Source::Rank(3), member: Some(7), error: true, text: "x" });
        assert_eq!(Line::parse("[m7 mpirun] x"), Line { source: Source::Mpirun, member: Some(7), error: false, text: "x" });
        for text in [
            "",
            "[",
            "[] x",
            "[m7] x",
            "[m7 3] x",
            "[7 r3] x",
            "[m r3] x",
            "[m7 ewulf] x",
            "[3]x",
            "[+3] x",
            "[99999999999] x",
            "[other] x",
            "plain",
        ] {
            assert_eq!(line(text), (Source::Unknown, false, text));
        }
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let text = "[0] ünïcode\n\n[1!] x\n[2] unfinished".as_bytes();
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let found: Vec<String> = text.chunks(size).flat_map(|piece| lines.take(piece)).collect();
            assert_eq!(found, ["[0] ünïcode", "", "[1!] x"]);
            assert_eq!(lines.take(b"\n"), ["[2] unfinished"]);
        }
    }
}

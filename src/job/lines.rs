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
    /// Whether it is from the stream for errors.
    pub error: bool,
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `[3] text`, `[3!] text`, `[mpirun] text` and so on; the runner writes no others.
    pub fn parse(line: &'a str) -> Self {
        let unknown = Self { source: Source::Unknown, error: false, text: line };
        let Some((tag, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { return unknown };
        let (name, error) = match tag.strip_suffix('!') {
            Some(name) => (name, true),
            None => (tag, false),
        };
        let source = match name {
            "prepare" => Source::Prepare,
            "mpirun" => Source::Mpirun,
            "ewulf" => Source::Ewulf,
            // A sign or a space would parse as a number or not; digits alone are a rank.
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
                Ok(rank) => Source::Rank(rank),
                Err(_) => return unknown,
            },
            _ => return unknown,
        };
        Self { source, error, text }
    }

    /// Who said it, for a reader: `rank 3 (node/compute/1)`.
    pub fn speaker(&self, plan: &Plan) -> String {
        match self.source {
            Source::Rank(rank) => match plan.node_of(rank) {
                Some(node) => format!("rank {rank} ({})", node.address),
                None => format!("rank {rank}"),
            },
            Source::Prepare => "prepare".to_owned(),
            Source::Mpirun => "mpirun".to_owned(),
            Source::Ewulf => "ewulf".to_owned(),
            Source::Unknown => plan.run.to_string(),
        }
    }
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
        for text in ["", "[", "[] x", "[3]x", "[+3] x", "[99999999999] x", "[other] x", "plain"] {
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

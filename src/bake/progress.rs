//! How far a step has got, read from what its programs print.
//!
//! Nothing is decided by it: a line that is not understood moves no bar.

/// Which program's output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// apt-get, which says how many packages there are, then names each one as it gets, unpacks and sets it up.
    Apt,
    /// Cargo with its bar: `Building [===>  ] 45/93: syn`.
    Cargo,
    /// The checks script: `check 1 of 3: …`.
    Checks,
    Plain,
}

/// Counts the work of one step.
#[derive(Debug)]
pub(super) struct Progress {
    voice: Voice,
    packages: u64,
    handled: u64,
}

/// So much of so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub done: u64,
    pub total: u64,
    pub unit: &'static str,
}

/// What a line of output is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub share: Option<Share>,
    /// Whether people want to read it: bars redrawn by the program are only counted.
    pub is_text: bool,
}

impl Progress {
    pub fn new(voice: Voice) -> Self {
        Self { voice, packages: 0, handled: 0 }
    }

    pub fn hear(&mut self, line: &str) -> Heard {
        match self.voice {
            Voice::Apt => Heard { share: self.apt(line), is_text: !line.starts_with("(Reading database") },
            Voice::Cargo => match cargo(line) {
                Some(share) => Heard { share: Some(share), is_text: false },
                None => Heard { share: None, is_text: true },
            },
            Voice::Checks => Heard { share: check(line), is_text: true },
            Voice::Plain => Heard { share: None, is_text: true },
        }
    }

    /// Each package counts three times: fetched, unpacked, set up.
    fn apt(&mut self, line: &str) -> Option<Share> {
        if line.contains(" newly installed, ") {
            // `2 upgraded, 156 newly installed, 0 to remove and 0 not upgraded.`
            let number = |part: &str| part.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
            self.packages = line.split(", ").take(2).map(number).sum();
        }
        let is_step = ["Get:", "Unpacking ", "Setting up "].iter().any(|start| line.starts_with(start));
        if self.packages == 0 || !is_step {
            return None;
        }
        self.handled = (self.handled + 1).min(3 * self.packages);
        Some(Share { done: self.handled / 3, total: self.packages, unit: "packages" })
    }
}

fn cargo(line: &str) -> Option<Share> {
    let rest = line.trim_start().strip_prefix("Building [")?;
    let (done, rest) = rest.split_once("] ")?.1.split_once('/')?;
    let (total, _) = rest.split_once(':').unwrap_or((rest, ""));
    Some(Share { done: done.trim().parse().ok()?, total: total.trim().parse().ok()?, unit: "crates" })
}

fn check(line: &str) -> Option<Share> {
    let (number, rest) = line.strip_prefix("check ")?.split_once(" of ")?;
    let (total, _) = rest.split_once(':')?;
    // A check that begins is not done yet.
    Some(Share { done: number.parse::<u64>().ok()?.saturating_sub(1), total: total.parse().ok()?, unit: "checks" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_as_apt_gets_unpacks_and_sets_them_up() {
        let mut progress = Progress::new(Voice::Apt);
        assert_eq!(progress.hear("Get:1 index").share, None);
        progress.hear("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.");
        let lines =
            ["Get:1 a", "Get:2 b", "Unpacking a (1) ...", "Unpacking b (1) ...", "Setting up a (1) ...", "Setting up b (1) ..."];
        let done: Vec<u64> = lines.iter().filter_map(|line| progress.hear(line).share).map(|share| share.done).collect();
        assert_eq!(done, [0, 0, 1, 1, 1, 2]);
    }

    #[test]
    fn crates_are_counted_by_cargos_own_bar_which_is_not_shown() {
        let mut progress = Progress::new(Voice::Cargo);
        let heard = progress.hear("    Building [=====>     ] 45/93: syn, serde      ");
        assert_eq!(heard, Heard { share: Some(Share { done: 45, total: 93, unit: "crates" }), is_text: false });
        assert_eq!(progress.hear("   Compiling syn v2.0.0"), Heard { share: None, is_text: true });
    }

    #[test]
    fn a_check_counts_once_the_next_begins() {
        let heard = Progress::new(Voice::Checks).hear("check 2 of 3: mpirun -n 2 primitives");
        assert_eq!(heard.share, Some(Share { done: 1, total: 3, unit: "checks" }));
    }
}

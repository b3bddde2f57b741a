//! Rows of results: judged by a bar and an aim, printed as one table, kept as JSON.

use std::fs;

use serde::Serialize;
use serde_json::json;

use super::{Failure, folder, io_failure};

/// A measured quantity.
#[derive(Clone, Debug, Serialize)]
pub struct Quantity {
    /// Its size.
    pub value: f64,
    /// Its unit, such as `s` or `G points/s`; empty for a count.
    pub unit: &'static str,
}

/// Which side of a bar is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// A ratio, an efficiency, a rate.
    AtLeast,
    /// Seconds, bytes, differences, overheads.
    AtMost,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// Ours.
    pub ours: Quantity,
    /// The peer's name and quantity, where there is one.
    pub peer: Option<(String, Quantity)>,
    /// What the bar judges: the ratio to the peer, or our quantity itself.
    pub judged: f64,
    /// The sign behind a judged number, such as `×`, `s` or `%`.
    pub sign: &'static str,
    /// Which side is good.
    pub better: Better,
    /// What must be reached.
    pub bar: f64,
    /// What is hoped for.
    pub aim: Option<f64>,
    /// Spread, conditions, what limits it.
    pub note: String,
}

impl Row {
    /// Seconds of ours and of a peer for the same work: judged by how many times faster ours is.
    pub fn speed_up(what: &str, ours: f64, peer: &str, peers: f64, bar: f64, aim: f64) -> Self {
        let seconds = |value| Quantity { value, unit: "s" };
        Self {
            what: what.to_owned(),
            ours: seconds(ours),
            peer: Some((peer.to_owned(), seconds(peers))),
            judged: peers / ours,
            sign: "×",
            better: Better::AtLeast,
            bar,
            aim: Some(aim),
            note: String::new(),
        }
    }

    /// Work per second of ours and of a peer: judged by how many times faster ours is.
    pub fn rate(what: &str, unit: &'static str, ours: f64, peer: &str, peers: f64, bar: f64, aim: f64) -> Self {
        let quantity = |value| Quantity { value, unit };
        let row = Self::speed_up(what, ours, peer, peers, bar, aim);
        Self { ours: quantity(ours), peer: Some((peer.to_owned(), quantity(peers))), judged: ours / peers, ..row }
    }

    /// A quantity that is judged by itself.
    pub fn absolute(what: &str, ours: Quantity, better: Better, bar: f64, aim: Option<f64>) -> Self {
        let (judged, sign) = (ours.value, ours.unit);
        Self { what: what.to_owned(), ours, peer: None, judged, sign, better, bar, aim, note: String::new() }
    }

    /// The same with a remark.
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn reaches(&self, limit: f64) -> bool {
        match self.better {
            Better::AtLeast => self.judged >= limit,
            Better::AtMost => self.judged <= limit,
        }
    }

    /// Whether it is as good as it must be; never for what is not a number.
    pub fn reaches_bar(&self) -> bool {
        self.reaches(self.bar)
    }

    fn verdict(&self) -> &'static str {
        match self.aim {
            _ if !self.reaches_bar() => "MISSED",
            Some(aim) if self.reaches(aim) => "aim",
            _ => "bar",
        }
    }

    fn cells(&self) -> [String; 8] {
        let sign = match self.better {
            Better::AtLeast => "≥",
            Better::AtMost => "≤",
        };
        let limit = |limit: f64| format!("{sign} {}{}", short(limit), spaced(self.sign));
        let quantity = |quantity: &Quantity| format!("{}{}", short(quantity.value), spaced(quantity.unit));
        [
            self.what.clone(),
            quantity(&self.ours),
            self.peer.as_ref().map(|(_, peer)| quantity(peer)).unwrap_or_default(),
            self.peer.as_ref().map(|_| format!("{}{}", short(self.judged), spaced(self.sign))).unwrap_or_default(),
            limit(self.bar),
            self.aim.map(limit).unwrap_or_default(),
            self.verdict().to_owned(),
            match (&self.peer, self.note.as_str()) {
                (Some((name, _)), "") => format!("peer: {name}"),
                (Some((name, _)), note) => format!("peer: {name}; {note}"),
                (None, note) => note.to_owned(),
            },
        ]
    }
}

fn spaced(unit: &str) -> String {
    if unit.is_empty() || unit == "×" || unit == "%" { unit.to_owned() } else { format!(" {unit}") }
}

/// Three significant digits, without a tail of zeros on counts.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// The table as text, a line a row.
pub fn render(rows: &[Row]) -> String {
    let header = ["what", "ours", "peer", "ratio", "bar", "aim", "reached", "notes"].map(str::to_owned);
    let lines: Vec<[String; 8]> = std::iter::once(header).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Keeps the rows of a subject as `target/bench/SUBJECT.json`, with what they were measured on.
pub fn save(subject: &str, rows: &[Row]) -> Result<(), Failure> {
    let path = folder()?.join(format!("{subject}.json"));
    let rows: Vec<_> = rows.iter().map(|row| json!({"row": row, "reached": row.verdict()})).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let document = json!({"subject": subject, "processor": processor(), "cores": cores, "rows": rows});
    let text = format!("{document:#}\n");
    fs::write(&path, text).map_err(io_failure(format!("{} could not be written", path.display())))
}

/// The processor's name as Linux tells it; empty elsewhere.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map(|(_, name)| name.to_owned()).unwrap_or_default()
}

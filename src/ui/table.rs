//! Aligned tables for people; programs read `--json`.

use console::measure_text_width;

use super::style::Style;

/// Space between two columns.
const GAP: usize = 2;

/// Rows of texts under headings, each column as wide as its widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table; a heading that begins with `>` makes its column flush right.
    pub fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self::of_columns(headings)
    }

    /// Starts a table with as many columns as there are headings.
    pub fn of_columns<S: AsRef<str>>(headings: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { headings: Vec::new(), right: Vec::new(), rows: Vec::new() };
        for heading in headings {
            table.headings.push(heading.as_ref().trim_start_matches('>').to_owned());
            table.right.push(heading.as_ref().starts_with('>'));
        }
        table
    }

    /// Adds a row; cells may hold colours. Missing cells are empty, surplus ones are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).take(self.headings.len()).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table, with a line break after each line; `width` cuts the last column to fit a terminal.
    pub fn render(&self, style: Style, width: Option<usize>) -> String {
        let headings: Vec<String> = self.headings.iter().map(|heading| style.dim(heading)).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| lines().map(|cells| measure_text_width(&cells[column])).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for cells in lines() {
            text.push_str(&self.line(cells, &widths, width));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize], limit: Option<usize>) -> String {
        let mut line = String::new();
        let mut used = 0;
        for (column, cell) in cells.iter().enumerate() {
            let is_last = column + 1 == cells.len();
            let cell = match limit {
                Some(limit) if is_last && used + measure_text_width(cell) > limit => {
                    // Never less than a word, however narrow the terminal.
                    console::truncate_str(cell, limit.saturating_sub(used).max(8), "…").into_owned()
                }
                _ => cell.clone(),
            };
            let padding = " ".repeat(widths[column].saturating_sub(measure_text_width(&cell)));
            if self.right[column] {
                line.push_str(&padding);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&padding);
            }
            if !is_last {
                line.push_str(&" ".repeat(GAP));
            }
            used += widths[column] + GAP;
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NODE", ">PRICE", "STATE"]);
        table.row(["master", "$0.17", "ready"]).row(["compute/10", "$12.24", "waiting for its shared path"]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = table().render(Style::new(false), None);
        assert_eq!(
            text,
            "NODE         PRICE  STATE\nmaster       $0.17  ready\ncompute/10  $12.24  waiting for its shared path\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_last_column_only() {
        let text = table().render(Style::new(false), Some(30));
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(last, "compute/10  $12.24  waiting f…");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(["A", "B"]);
        table.row([Style::new(true).red("long-name"), "x".to_owned()]).row(["short", "y"]);
        let text = table.render(Style::new(false), None);
        let columns: Vec<usize> =
            text.lines().skip(1).map(|line| measure_text_width(line.trim_end_matches(['x', 'y']))).collect();
        assert_eq!(columns, [11, 11]);
    }
}

//! What goes to standard output: text and tables for people, JSON for programs, never both.

use crate::loan::units::SATS_PER_BTC;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use hypothec_oracle::units::{Cents, Time};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Where a command says what it did.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
}

impl Out {
    /// With `json`, a command's answer is one JSON document and nothing else.
    pub fn new(json: bool) -> Out {
        Out { json }
    }

    /// Is it for a program?
    pub fn is_json(self) -> bool {
        self.json
    }

    /// The answer: `value` as JSON for a program, `text` of it for a person.
    pub fn say<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.json {
            true => print(&serde_json::to_string_pretty(value)?),
            false => print(&text(value)),
        }
    }

    /// One line of a stream: JSON on one line, or text.
    pub fn line<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.json {
            true => print(&serde_json::to_string(value)?),
            false => print(&text(value)),
        }
    }
}

/// Writes to standard output. A reader that has gone, as `head` does, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        done => Ok(done?),
    }
}

/// A plain table: columns by white space, numbers to the right.
pub struct Grid {
    table: Table,
}

impl Grid {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Grid {
        let mut table = Table::new();
        table.set_header(headings.map(str::to_uppercase));
        Grid::begin(table)
    }

    /// Without headings: names and values.
    pub fn plain() -> Grid {
        Grid::begin(Table::new())
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
    }

    fn begin(mut table: Table) -> Grid {
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        Grid { table }
    }

    /// Aligns these columns to the right.
    pub fn right(mut self, columns: &[usize]) -> Grid {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// The text, without trailing spaces.
    pub fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// `1,234,567 sat`.
pub fn sats(sats: u64) -> String {
    format!("{} sat", grouped(sats))
}

/// `1,234,567 sat (0.01234567 BTC)`.
pub fn both(number: u64) -> String {
    format!("{} ({}.{:08} BTC)", sats(number), number / SATS_PER_BTC, number % SATS_PER_BTC)
}

/// `$1,234.05`.
pub fn usd(cents: u64) -> String {
    Cents(cents).to_string()
}

/// `2020-03-12 10:00 UTC`; the seconds only where there are some.
pub fn moment(unix: u32) -> String {
    second(unix).replace(":00 UTC", " UTC")
}

/// `2020-03-12 10:00:00 UTC`.
pub fn second(unix: u32) -> String {
    format!("{} UTC", Time(unix).to_string().trim_end_matches('Z').replacen('T', " ", 1))
}

/// `text` as an item of a list, broken into lines of at most 100 characters where it has spaces.
pub fn item(text: &str) -> String {
    let mut lines = vec![String::from("  -")];
    for word in text.split_whitespace() {
        let long = lines.last().is_some_and(|line| line.chars().count().saturating_add(word.chars().count()) >= 100);
        if long {
            lines.push("   ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// `2020-03-12` of `20200312`.
pub fn date(day: &str) -> String {
    match (day.get(..4), day.get(4..6), day.get(6..)) {
        (Some(year), Some(month), Some(day)) if day.len() == 2 => format!("{year}-{month}-{day}"),
        _ => day.to_owned(),
    }
}

/// `1 day`, `2 days`.
pub fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_add(digits.len() / 3));
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(both(1_234_567), "1,234,567 sat (0.01234567 BTC)");
        assert_eq!((grouped(0), grouped(999), grouped(1_000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(moment(1_584_007_200), "2020-03-12 10:00 UTC");
        assert_eq!(moment(1_584_007_201), "2020-03-12 10:00:01 UTC");
        assert_eq!((date("20200312"), date("soon")), ("2020-03-12".into(), "soon".into()));
        assert_eq!((count(1, "peer"), count(2, "peer")), ("1 peer".into(), "2 peers".into()));
    }

    #[test]
    fn a_long_item_is_broken_between_words_and_loses_none() {
        let text = "word ".repeat(60);
        let broken = item(&text);
        assert!(broken.lines().count() == 4 && broken.lines().all(|line| line.len() <= 100), "{broken}");
        assert_eq!(broken.split_whitespace().count(), 61);
    }

    #[test]
    fn a_table_lines_its_columns_up_without_trailing_spaces() {
        let mut grid = Grid::new(["day", "level"]);
        grid.row(["2020-03-12".into(), "$9".into()]);
        grid.row(["2020-03-13".into(), "$10,000".into()]);
        let text = grid.right(&[1]).text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].len() == lines[2].len() && lines.iter().all(|line| line.trim_end() == *line), "{text}");
    }
}

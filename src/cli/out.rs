//! What goes to standard output: text and tables for people, JSON for programs, never both.

use crate::loan::units::SATS_PER_BTC;
use hypothec_oracle::screen;
use hypothec_oracle::units::{times_for_people, Cents, Time};
use serde::Serialize;
use std::io::{ErrorKind, Write};

pub(super) use super::table::{folded, Grid, Look, Tone};

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
            false => print_text(&text(value)),
        }
    }

    /// One line of a stream: JSON on one line, or text.
    pub fn line<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.json {
            true => print(&serde_json::to_string(value)?),
            false => print(&times_for_people(&text(value))),
        }
    }
}

/// A sentence on standard error, broken between words: also in a pipe or a file, which people read in the end.
pub fn tell(text: &str) {
    screen::tell(format_args!("{}", folded(&times_for_people(text.trim_end()), Look::of_stderr().width)));
}

/// Text for a person on standard output, broken between words.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    print(&for_people(text))
}

/// A text as it stands on standard output.
pub fn for_people(text: &str) -> String {
    folded(&times_for_people(text), Look::of_stdout().width)
}

/// Writes to standard output. A reader that has gone, as `head` does, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        done => Ok(done?),
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
    Time(unix).for_people()
}

/// `text` as an item of a list, broken between words where it is longer than a line.
pub fn item(text: &str) -> String {
    let words = times_for_people(text).split_whitespace().collect::<Vec<_>>().join(" ");
    folded(&format!("  - {words}"), Look::of_stdout().width) + "\n"
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

/// `1,234` or `−1,234`.
pub fn signed(number: i64) -> String {
    format!("{}{}", if number < 0 { "−" } else { "" }, grouped(number.unsigned_abs()))
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
}

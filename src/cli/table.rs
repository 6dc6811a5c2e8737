//! Tables and texts as wide as the screen: between words they are broken, inside a word never.
//!
//! A table that is too wide loses the columns it can spare, and says which; one that is too wide even so becomes a list,
//! row by row. A word longer than the screen, as a key is on a narrow one, stays whole: it is there to be copied.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use console::Term;
use hypothec_oracle::daemon::usage::{self, width_of};
use hypothec_oracle::units::times_for_people;

/// Between two columns.
const GAP: usize = 2;
/// A column of sentences is not made narrower than this.
const NARROWEST: usize = 20;

/// How a table is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Characters in a line.
    pub width: usize,
    /// May it have colours?
    pub colour: bool,
}

impl Look {
    /// Of standard output: as wide as the terminal; of a file or a pipe as `COLUMNS` says, else 80. In colour only on a
    /// terminal, and where `NO_COLOR` is not set.
    pub fn of_stdout() -> Look {
        Look::of(&Term::stdout())
    }

    /// The same of standard error.
    pub fn of_stderr() -> Look {
        Look::of(&Term::stderr())
    }

    fn of(term: &Term) -> Look {
        Look { width: width_of(term), colour: coloured(term.is_term()) }
    }
}

/// May what goes there have colours?
pub fn coloured(is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How much something asks to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Look at it.
    Warning,
    /// Look at it now.
    Urgent,
}

/// A plain table: columns by white space, numbers to the right.
#[derive(Debug, Default)]
pub struct Grid {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    tones: Vec<(usize, usize, Tone)>,
    right: Vec<usize>,
    spare: Vec<usize>,
}

impl Grid {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Grid {
        Grid { headings: headings.map(str::to_owned).to_vec(), ..Grid::default() }
    }

    /// Without headings: names and values.
    pub fn plain() -> Grid {
        Grid::default()
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| times_for_people(cell)).collect());
    }

    /// A cell of the row that was added last is to be looked at.
    pub fn tone(&mut self, column: usize, tone: Tone) {
        self.tones.push((self.rows.len().saturating_sub(1), column, tone));
    }

    /// Aligns these columns to the right.
    pub fn right(mut self, columns: &[usize]) -> Grid {
        self.right = columns.to_vec();
        self
    }

    /// These columns can be done without where it is too wide, the first of them first.
    pub fn spare(mut self, columns: &[usize]) -> Grid {
        self.spare = columns.to_vec();
        self
    }

    /// The text for standard output, without trailing spaces.
    pub fn text(self) -> String {
        self.text_as(Look::of_stdout())
    }

    /// The same, for tests of a width.
    pub fn text_as(self, look: Look) -> String {
        if self.headings.is_empty() {
            let names = self.rows.iter().filter_map(|row| row.first()).map(|name| chars(name)).max().unwrap_or(0);
            let room = look.width.saturating_sub(names.saturating_add(GAP));
            let columns: Vec<usize> = (0..self.rows.iter().map(Vec::len).max().unwrap_or(0)).collect();
            return self.drawn(&columns, room, look);
        }
        let mut columns: Vec<usize> = (0..self.headings.len()).collect();
        let mut spare = self.spare.iter();
        loop {
            if let Some(room) = self.room(&columns, look.width) {
                return self.drawn(&columns, room, look) + &self.left_out(&columns, look);
            }
            match spare.next() {
                Some(least) => columns.retain(|column| column != least),
                None => return self.listed(look),
            }
        }
    }

    /// How wide the last of these columns may be so that all fit; `None` where they do not.
    fn room(&self, columns: &[usize], width: usize) -> Option<usize> {
        let (last, others) = columns.split_last()?;
        let taken: usize = others.iter().map(|column| self.width(*column).saturating_add(GAP)).sum();
        let room = width.checked_sub(taken)?;
        let words = self.cells(*last).flat_map(str::split_whitespace).map(chars).max().unwrap_or(0);
        let least = words.max(NARROWEST).min(self.width(*last));
        (least <= room).then_some(room)
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        let heading = self.headings.get(column);
        self.rows.iter().filter_map(move |row| row.get(column)).chain(heading).map(String::as_str)
    }

    fn width(&self, column: usize) -> usize {
        self.cells(column).flat_map(str::lines).map(chars).max().unwrap_or(0)
    }

    /// These columns, the last of them broken to `room`.
    fn drawn(&self, columns: &[usize], room: usize, look: Look) -> String {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        match look.colour {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        if !self.headings.is_empty() {
            let named = columns.iter().map(|column| self.headings.get(*column).map(|text| text.to_uppercase()));
            table.set_header(named.map(Option::unwrap_or_default));
        }
        for (index, row) in self.rows.iter().enumerate() {
            table.add_row(columns.iter().map(|column| {
                let text = row.get(*column).map(String::as_str).unwrap_or_default();
                let is_last = columns.last() == Some(column);
                let cell = Cell::new(if is_last { folded(text, room) } else { text.to_owned() });
                match self.tones.iter().find(|(row, cell, _)| (*row, *cell) == (index, *column)) {
                    Some((_, _, Tone::Warning)) if look.colour => cell.fg(Color::Yellow),
                    Some((_, _, Tone::Urgent)) if look.colour => cell.fg(Color::Red),
                    _ => cell,
                }
            }));
        }
        for (place, column) in columns.iter().enumerate() {
            let Some(drawn) = table.column_mut(place) else { continue };
            drawn.set_padding((0, u16::try_from(GAP).unwrap_or(0)));
            if self.right.contains(column) {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Row by row, each a small table of names and values.
    fn listed(&self, look: Look) -> String {
        let each = |(index, row): (usize, &Vec<String>)| {
            let mut grid = Grid::plain();
            for (column, (name, value)) in self.headings.iter().zip(row).enumerate().filter(|(_, (_, v))| !v.is_empty())
            {
                grid.row([name.clone(), value.clone()]);
                let tone = self.tones.iter().find(|(row, cell, _)| (*row, *cell) == (index, column));
                if let Some((_, _, tone)) = tone {
                    grid.tone(1, *tone);
                }
            }
            grid.text_as(look)
        };
        self.rows.iter().enumerate().map(each).collect::<Vec<_>>().join("\n")
    }

    fn left_out(&self, columns: &[usize], look: Look) -> String {
        let missing = self.headings.iter().enumerate().filter(|(column, _)| !columns.contains(column));
        let missing: Vec<&str> = missing.map(|(_, name)| name.as_str()).collect();
        match missing.as_slice() {
            [] => String::new(),
            some => {
                let text = format!("Left out at this width: {}. --json has all.", some.join(", "));
                folded(&text, look.width) + "\n"
            }
        }
    }
}

/// Characters that take a place: not those of a colour.
fn chars(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().chars().count();
    let seen = |part: &str| part.split_once('m').map_or(0, |(_, rest)| rest.chars().count());
    parts.map(seen).fold(first, usize::saturating_add)
}

/// The same text with no line longer than `width`, where its words allow that. What is broken goes on as far in as the line
/// began, or beside the dash of an item. A line that is a command to type stays one line, so that it can be copied.
pub fn folded(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| folded_line(line, width)).collect();
    lines.join("\n") + if text.ends_with('\n') { "\n" } else { "" }
}

fn folded_line(line: &str, width: usize) -> String {
    let labelled = ["Next: ", "To wait: "].iter().find_map(|label| line.strip_prefix(label));
    let is_command = labelled.unwrap_or(line).trim_start().starts_with("hypothec ");
    if chars(line) <= width || is_command {
        return line.to_owned();
    }
    let text = line.trim_start();
    let begins = line.len().saturating_sub(text.len());
    let indent = begins.saturating_add(if text.starts_with("- ") { GAP } else { 0 });
    let mut folded = " ".repeat(begins);
    let mut at = begins;
    // A value stays beside its name, which programs look for in the same line.
    let mut is_value = false;
    for (index, word) in usage::words(text, width.saturating_sub(indent)).into_iter().enumerate() {
        let long = chars(word);
        let fits = at.saturating_add(1).saturating_add(long) <= width;
        // What is longer than a line stands alone: nothing beside it makes it wider still.
        match (index, fits || is_value || at <= indent) {
            (0, _) => {}
            (_, true) => {
                folded.push(' ');
                at = at.saturating_add(1);
            }
            (_, false) => {
                folded.truncate(folded.trim_end().len());
                folded.push('\n');
                folded.push_str(&" ".repeat(indent));
                at = indent;
            }
        }
        folded.push_str(word);
        at = at.saturating_add(long);
        is_value = word.is_empty();
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(width: usize) -> Look {
        Look { width, colour: false }
    }

    fn loans() -> Grid {
        let mut grid = Grid::new(["loan", "stands", "collateral", "margin"]);
        grid.row(["d01e2a31…f2d0".into(), "active".into(), "100,000,000 sat".into(), "call".into()]);
        grid.tone(3, Tone::Warning);
        grid.row(["1a2b3c4d…9f0e".into(), "ended".into(), "5 sat".into(), String::new()]);
        grid.right(&[2]).spare(&[2, 1])
    }

    #[test]
    fn a_table_lines_its_columns_up_without_trailing_spaces() {
        let mut grid = Grid::new(["day", "level"]);
        grid.row(["2020-03-12".into(), "$9".into()]);
        grid.row(["2020-03-13".into(), "$10,000".into()]);
        let text = grid.right(&[1]).text_as(wide(80));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].len() == lines[2].len() && lines.iter().all(|line| line.trim_end() == *line), "{text}");
    }

    #[test]
    fn a_table_loses_what_it_can_spare_says_so_and_becomes_a_list_at_last() {
        assert!(!loans().text_as(wide(60)).contains("Left out"));
        let narrower = loans().text_as(wide(35));
        assert!(
            narrower.contains("Left out at this width: collateral.") && !narrower.contains("COLLATERAL"),
            "{narrower}"
        );
        assert!(narrower.contains("STANDS"), "{narrower}");
        let list = loans().text_as(wide(20));
        assert!(list.contains("collateral  5 sat") && !list.contains("MARGIN"), "{list}");
        for width in [35, 60] {
            let text = loans().text_as(wide(width));
            assert!(text.lines().all(|line| chars(line) <= width), "{width}\n{text}");
        }
    }

    #[test]
    fn a_last_column_of_sentences_is_broken_between_words() {
        let mut grid = Grid::new(["exit", "when"]);
        grid.row(["repaid".into(), "now, if the lender's node answers and the chain is not full".into()]);
        let text = grid.text_as(wide(40));
        assert!(text.lines().count() > 2 && text.lines().all(|line| chars(line) <= 40), "{text}");
        assert_eq!(text.split_whitespace().count(), 15);
        assert!(text.lines().nth(2).unwrap().starts_with("        "), "{text}");
    }

    #[test]
    fn colours_are_there_only_where_somebody_sees_them() {
        let (plain, seen) = (loans().text_as(wide(80)), loans().text_as(Look { width: 80, colour: true }));
        assert!(!plain.contains('\u{1b}') && seen.contains("\u{1b}["), "{seen}");
        assert_eq!(seen.matches("call").count(), 1);
        let line = |text: &str| text.lines().next().map(chars);
        assert_eq!(line(&seen), line(&plain), "a colour takes no place");
        assert_eq!((chars("\u{1b}[38;5;9mcall\u{1b}[39m"), chars("call …")), (4, 6));
    }

    #[test]
    fn a_long_line_is_broken_between_words_and_loses_none() {
        let text = format!("  - {}", "word ".repeat(60));
        let broken = folded(text.trim_end(), 80);
        assert!(broken.lines().count() == 4 && broken.lines().all(|line| chars(line) <= 80), "{broken}");
        assert!(broken.lines().skip(1).all(|line| line.starts_with("    w")), "{broken}");
        assert_eq!(broken.split_whitespace().count(), 61);
        // What is longer than a line stands alone, so that the line is no wider than it must be.
        let url = format!("https://{}", "x".repeat(90));
        let broken = folded(&format!("  - the mirror {url} is dropped"), 80);
        assert_eq!(broken, format!("  - the mirror\n    {url}\n    is dropped"));
        assert_eq!(folded(&format!("  - {url}"), 80), format!("  - {url}"));
        // A value stays beside its name, also where it would fit a line of its own.
        let node = format!("node     {}@10.0.0.1:9735", "02".repeat(33));
        assert_eq!(folded(&node, 80), node);
        // A key is copied whole, and so is a command, also within a sentence.
        let sentence = "no node runs on /a: start it with `hypothec node --data /a`";
        let broken = "no node runs on /a: start it with\n`hypothec node --data /a`";
        assert_eq!(folded(sentence, 50), broken);
        let key = format!("node         {}@127.0.0.1:9810", "02".repeat(33));
        assert_eq!(folded(&key, 60), key);
        let command = format!("Next: hypothec --data /tmp/{} loan list", "x".repeat(60));
        assert_eq!(folded(&command, 60), command);
        assert_eq!(folded("short\n\nlines\n", 60), "short\n\nlines\n");
    }
}

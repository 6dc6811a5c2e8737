//! What a person is told of a command line, by both programs: help that fits the screen, and errors in plain words.

use crate::screen;
use crate::units::times_for_people;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};
use console::{measure_text_width, strip_ansi_codes, Term};
use std::ffi::OsString;
use std::ops::RangeInclusive;

/// Columns where nobody says how wide the screen is.
const WIDTH: usize = 80;
/// What is believed of a screen.
const WIDTHS: RangeInclusive<usize> = 40..=500;
/// Where what follows an option is continued, when it does not fit beside it.
const INDENT: usize = 10;
/// The least that is worth a column of its own.
const LEAST: usize = 30;

/// Reads a command line, the program's name first. A number below zero is a value like others, and refused as one.
///
/// # Errors
/// When it cannot be read, or asks for help: see [`said`].
pub fn read<C: CommandFactory + FromArgMatches>(words: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error> {
    let mut matches = plain(C::command()).try_get_matches_from(words)?;
    C::from_arg_matches_mut(&mut matches)
}

/// With numbers below zero as values everywhere.
fn plain(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(plain)
}

/// Tells it, on the output that it belongs on, and gives the program's exit code.
pub fn tell(error: &clap::Error) -> i32 {
    let is_error = error.use_stderr();
    let term = if is_error { Term::stderr() } else { Term::stdout() };
    let rendered = error.render();
    // https://no-color.org: set, and not empty.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|said| !said.is_empty());
    let text = if term.is_term() && !plain { rendered.ansi().to_string() } else { rendered.to_string() };
    let text = said(error, &text, width_of(&term));
    match is_error {
        true => screen::tell(format_args!("{}", text.trim_end())),
        // A reader that has gone, as `head` does, is no error.
        false => drop(screen::say(format_args!("{}", text.trim_end()))),
    }
    error.exit_code()
}

/// A sentence on standard error, broken between words wherever it goes: a pipe is read by people too.
pub fn hint(text: &str) {
    let (text, width) = (times_for_people(text), width_of(&Term::stderr()));
    let lines = text.trim_end().lines().flat_map(|line| {
        let begins = line.len().saturating_sub(line.trim_start().len());
        prose(line, begins, width)
    });
    screen::tell(format_args!("{}", lines.collect::<Vec<_>>().join("\n")));
}

/// How wide lines may be: as the terminal is, else as `COLUMNS` says, else 80 columns.
pub fn width_of(term: &Term) -> usize {
    let said = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let seen = term.size_checked().map(|(_, columns)| usize::from(columns)).filter(|_| term.is_term());
    seen.or_else(said).filter(|width| WIDTHS.contains(width)).unwrap_or(WIDTH)
}

/// `text` of `error`, in plain words and in lines of at most `width` columns.
pub fn said(error: &clap::Error, text: &str, width: usize) -> String {
    let mut text = text.to_owned();
    if error.kind() == ErrorKind::ValueValidation {
        if let Some(source) = std::error::Error::source(error) {
            let source = source.to_string();
            text = text.replacen(&format!(": {source}"), &format!(": {}", in_words(&source)), 1);
        }
    }
    folded(&text, width)
}

/// What a reader of values complains of, without the words of libraries.
pub fn in_words(complaint: &str) -> String {
    let whole = "write a whole number";
    if let Some((_, range)) = complaint.split_once(" is not in ") {
        return match range.split_once("..=").or_else(|| range.split_once("..")) {
            Some((least, "")) => format!("{least} or more is right"),
            Some(("", most)) => format!("at most {most} is right"),
            Some((least, most)) => format!("{least} to {most} are right"),
            None => complaint.to_owned(),
        };
    }
    let known = [
        ("invalid digit found in string", whole),
        ("cannot parse integer from empty string", whole),
        ("number too large to fit in target type", "the number is too large"),
        ("number too small to fit in target type", "the number is too small"),
        ("invalid socket address syntax", "write an IP address and a port, for example 127.0.0.1:3939"),
        ("invalid IP address syntax", "write an IP address, for example 127.0.0.1"),
        ("invalid float literal", "write a number"),
        ("provided string was not `true` or `false`", "write true or false"),
        ("malformed public key", "write a public key: 64 hex digits"),
        ("invalid hex", "write hex digits"),
        ("odd length, failed to create bytes from hex", "write hex digits, two for each byte"),
        ("failed to parse hex", "write hex digits"),
    ];
    let found = known.iter().find(|(library, _)| complaint.starts_with(library));
    found.map_or_else(|| complaint.to_owned(), |(_, words)| (*words).to_owned())
}

/// Broken between words: an option's help under itself, a command so that a shell still takes it.
pub fn folded(text: &str, width: usize) -> String {
    text.lines().flat_map(|line| folded_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn folded_line(line: &str, width: usize) -> Vec<String> {
    if measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let bare = strip_ansi_codes(line).into_owned();
    let begins = bare.len().saturating_sub(bare.trim_start().len());
    if bare.trim_start().starts_with("hypothec") {
        return command(line, begins, width);
    }
    // An option or command, and beside it what it is.
    if let Some((name, rest)) = line.trim_start().split_once("  ").filter(|_| begins > 0) {
        let rest = rest.trim_start();
        let column = measure_text_width(line).saturating_sub(measure_text_width(rest));
        let head = format!("{}{name}", " ".repeat(begins));
        if column.saturating_add(LEAST) <= width {
            let gap = column.saturating_sub(measure_text_width(&head));
            return prose(&format!("{head}{}{rest}", " ".repeat(gap)), column, width);
        }
        let mut lines = prose(&head, INDENT, width);
        lines.extend(prose(&format!("{}{rest}", " ".repeat(INDENT)), INDENT, width));
        return lines;
    }
    let hang = if begins == 0 && bare.starts_with("Usage: ") { "Usage: ".len() } else { begins };
    prose(line, hang, width)
}

/// An example of a command, with a backslash where it goes on, and its remark below it.
fn command(line: &str, begins: usize, width: usize) -> Vec<String> {
    let (command, remark) = match line.trim_start().split_once("   ") {
        Some((command, remark)) => (command.trim_end(), remark.trim_start()),
        None => (line.trim(), ""),
    };
    // An example that goes on by itself still does.
    let (command, goes_on) = match command.strip_suffix('\\') {
        Some(command) => (command.trim_end(), true),
        None => (command, false),
    };
    let broken = prose(&format!("{}{command}", " ".repeat(begins)), begins.saturating_add(4), width.saturating_sub(2));
    let last = broken.len().saturating_sub(1);
    let end = |at: usize, line: String| if at < last || goes_on { format!("{line} \\") } else { line };
    let mut lines: Vec<String> = broken.into_iter().enumerate().map(|(at, line)| end(at, line)).collect();
    if !remark.is_empty() {
        let indent = begins.saturating_add(4);
        lines.extend(prose(&format!("{}# {remark}", " ".repeat(indent)), indent.saturating_add(2), width));
    }
    lines
}

/// The words of a line. What stands in backquotes is one word where it is no longer than `most`: a command is copied whole.
pub fn words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text);
    loop {
        let quoted = rest.find('`').filter(|at| !rest.get(..*at).unwrap_or_default().contains(' '));
        let ends = quoted.and_then(|at| {
            let from = at.checked_add(1)?;
            let within = rest.get(from..)?.find('`')?;
            // With what is written against it, as a comma.
            let after = from.checked_add(within)?.checked_add(1)?;
            let end = rest.get(after..)?.find(' ').map_or(rest.len(), |more| after.saturating_add(more));
            (measure_text_width(rest.get(..end)?) <= most).then_some(end)
        });
        let Some(end) = ends.or_else(|| rest.find(' ')).filter(|end| *end < rest.len()) else {
            words.push(rest);
            return words;
        };
        words.push(rest.get(..end).unwrap_or_default());
        rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
    }
}

/// Words in lines; those after the first begin at `hang`. What is longer than a line stands alone.
fn prose(text: &str, hang: usize, width: usize) -> Vec<String> {
    let begins = text.len().saturating_sub(text.trim_start().len());
    let (mut lines, mut line, mut is_first) = (Vec::new(), " ".repeat(begins), true);
    // Gaps inside stay as they are: `rest` lines up with its column.
    for word in words(text.trim_start(), width.saturating_sub(hang)) {
        let more = measure_text_width(word).saturating_add(usize::from(!is_first));
        if !is_first && measure_text_width(&line).saturating_add(more) > width && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, " ".repeat(hang)).trim_end().to_owned());
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Everything that a program's help says, and what it says to wrong values of each of its arguments: for tests.
#[doc(hidden)]
pub fn everything_said(program: &Command, width: usize) -> Vec<String> {
    let mut said_all = Vec::new();
    let mut ahead = vec![(vec![program.get_name().to_owned()], program.clone())];
    while let Some((words, command)) = ahead.pop() {
        let mut say = |more: &[&str]| {
            let line = words.iter().map(String::as_str).chain(more.iter().copied());
            if let Err(error) = plain(program.clone()).try_get_matches_from(line) {
                said_all.push(said(&error, &error.render().to_string(), width));
            }
        };
        say(&["--help"]);
        say(&["--no-such-option"]);
        say(&[]);
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            for wrong in ["", "-1", "x", "0", "1.5", "99999999999999999999", "a b", "=", "1,000", "é", "nan"] {
                match arg.get_long() {
                    Some(long) => say(&[&format!("--{long}"), wrong]),
                    None => say(&["--", wrong]),
                }
            }
        }
        for below in command.get_subcommands() {
            ahead.push(([words.as_slice(), &[below.get_name().to_owned()]].concat(), below.clone()));
        }
    }
    said_all
}

/// The first line of a paragraph that was broken before its end although the next word would fit: for tests.
#[doc(hidden)]
pub fn broken_early(text: &str, width: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| line.len().saturating_sub(line.trim_start().len());
    let early = lines.windows(2).find(|pair| {
        let [line, next] = pair else { return false };
        let first = words(next.trim_start(), width).first().copied().filter(|word| !word.is_empty());
        let Some(word) = first.filter(|_| !line.trim().is_empty()) else { return false };
        // Text at the margin, and an argument's below it; in between are tables, and commands to type.
        let is_prose = begins(line) == begins(next) && (begins(line) == 0 || begins(line) >= INDENT);
        let stands_alone = ['[', '-', '<'].iter().any(|mark| word.starts_with(*mark));
        let ends = line.ends_with(':') || line.starts_with("Usage: ");
        let long = measure_text_width(line).saturating_add(1).saturating_add(measure_text_width(word));
        is_prose && !stands_alone && !ends && long <= width
    });
    early.map(|pair| pair.join("\n"))
}

/// The first words of libraries, or of programs, in a text that people read.
#[doc(hidden)]
pub fn library_words(text: &str) -> Option<&'static str> {
    let words = [
        "digit found in string",
        "empty string",
        "target type",
        "..=",
        "socket address syntax",
        "os error",
        "Os {",
        "ParseInt",
        "invalid type",
        "expected u",
        "expected i",
        "expected struct",
        "deserialize",
        "at line ",
        "error sending request",
        "client error",
        "literal",
        "malformed",
        "panicked",
        "None",
        "Some(",
        "unwrap",
    ];
    words.into_iter().find(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_broken_between_words_options_under_themselves_and_commands_so_that_a_shell_takes_them() {
        let option =
            "      --lender <PUBKEY@HOST:PORT>  The lender, as its `status` shows it, or a beginning of its key";
        assert_eq!(
            folded(option, 70),
            [
                "      --lender <PUBKEY@HOST:PORT>  The lender, as its `status` shows",
                &format!("{:35}it, or a beginning of its key", "")
            ]
            .join("\n")
        );
        assert_eq!(
            folded(option, 50),
            [
                "      --lender <PUBKEY@HOST:PORT>",
                "          The lender, as its `status` shows it, or",
                "          a beginning of its key",
            ]
            .join("\n")
        );
        let example = "  hypothec quote --lender 0279 --principal 50000 --term 90     a lender of `peer list`";
        assert_eq!(
            folded(example, 50),
            "  hypothec quote --lender 0279 --principal 50000 \\\n      --term 90\n      # a lender of `peer list`"
        );
        assert_eq!(folded("short", 50), "short");
    }

    #[test]
    fn a_command_in_backquotes_is_not_broken_where_a_line_holds_it() {
        assert_eq!(words("see `a b`, c  d", 80), ["see", "`a b`,", "c", "", "d"]);
        assert_eq!(words("see `a b`, c", 5), ["see", "`a", "b`,", "c"]);
        assert_eq!(words("one ` b", 80), ["one", "`", "b"]);
        assert_eq!(words("(`a b`)", 80), ["(`a b`)"]);
        assert_eq!(words("", 80), [""]);
        let text = "it stands still: `kill -CONT 12345` lets it go on";
        assert_eq!(prose(text, 0, 30), ["it stands still:", "`kill -CONT 12345` lets it go", "on"]);
    }

    #[test]
    fn a_paragraph_that_was_broken_twice_is_found() {
        let once = "Usage: x\n\none two three\nfour\n\nOptions:\n  -h  Help\n  -q  Quiet";
        assert_eq!(broken_early(once, 15), None);
        assert_eq!(broken_early("one two\nthree\nfour", 15).as_deref(), Some("one two\nthree"));
        assert_eq!(broken_early("          one\n          two", 15).as_deref(), None);
        assert!(broken_early("          one\n          two", 20).is_some());
    }

    #[test]
    fn a_readers_complaint_is_said_in_plain_words() {
        for (complaint, words) in [
            ("invalid digit found in string", "write a whole number"),
            ("0 is not in 1..=5", "1 to 5 are right"),
            ("0 is not in 1..", "1 or more is right"),
            ("write whole days", "write whole days"),
        ] {
            assert_eq!(in_words(complaint), words);
        }
    }
}

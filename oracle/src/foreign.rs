//! Text that a stranger wrote, made fit to be shown: a peer's refusal, an oracle's error, a relay's notice, a venue's page,
//! bitcoind's reason. It is cleaned where it is read, so that nobody has to think of it where it is printed or logged.
//!
//! A terminal obeys escape sequences; control characters forge lines of a log; overrides of the writing direction and
//! characters without width make one text look like another. None of them survives, and no text is long. What is dropped
//! never takes visible text with it, so that nothing can be hidden.

use serde::{Deserialize, Deserializer};
use std::iter::Peekable;
use std::str::Chars;

/// Longest sentence of a stranger's that is shown, in characters.
pub const SENTENCE: usize = 200;
/// Longest word of a stranger's that is shown, such as a code or an event's id, in characters.
pub const WORD: usize = 80;
/// Longest control sequence that is dropped as one, in characters; no terminal needs as many.
const LONGEST_SEQUENCE: usize = 32;

/// A stranger's sentence on one line, [`SENTENCE`] characters at most: cleaned of all that is not seen.
pub fn clean(text: &str) -> String {
    clean_to(text, SENTENCE)
}

/// A stranger's text on one line, `most` characters at most and `…` where there were more.
pub fn clean_to(text: &str, most: usize) -> String {
    let (mut shown, mut count) = (String::new(), 0usize);
    for seen in visible(text, false) {
        if seen == ' ' && shown.is_empty() {
            continue;
        }
        if count >= most {
            shown.truncate(shown.trim_end().len());
            shown.push('…');
            return shown;
        }
        shown.push(seen);
        count = count.saturating_add(1);
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// The last line of defence, where text is printed: of any length and on its own lines, but cleaned like the rest.
pub fn printable(text: &str) -> String {
    visible(text, true).collect()
}

/// Every text inside a JSON value made [`printable`].
pub fn printable_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.chars().any(is_unseen) => *text = printable(text),
        serde_json::Value::Array(all) => all.iter_mut().for_each(printable_json),
        serde_json::Value::Object(all) => all.values_mut().for_each(printable_json),
        _ => {}
    }
}

/// Reads a text field cleaned: for what was written down before texts were cleaned where they are heard.
///
/// # Errors
/// When it is no text.
pub fn cleaned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(clean_to(&String::deserialize(deserializer)?, 600))
}

/// What is seen of a text. A run of control characters is one space, but for the line breaks where those are kept.
fn visible(text: &str, lines: bool) -> impl Iterator<Item = char> + '_ {
    let (mut rest, mut blank) = (text.chars().peekable(), false);
    std::iter::from_fn(move || loop {
        let next = rest.next()?;
        if lines && matches!(next, '\n' | '\t') {
            blank = false;
            return Some(next);
        }
        if is_unseen(next) {
            if begins_sequence(next, &mut rest) {
                skip_sequence(&mut rest);
                continue;
            }
            if is_format(next) || next == '\u{1b}' || blank {
                continue;
            }
            blank = true;
            return Some(' ');
        }
        if next == ' ' && blank {
            continue;
        }
        blank = false;
        return Some(next);
    })
}

/// Is this a character that no reader sees?
fn is_unseen(c: char) -> bool {
    c.is_control() || is_format(c) || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Characters without a shape of their own: directions, joiners, fillers, marks of order, tags.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `ESC [`, or the one character that stands for both.
fn begins_sequence(first: char, rest: &mut Peekable<Chars<'_>>) -> bool {
    first == '\u{9b}' || (first == '\u{1b}' && rest.next_if_eq(&'[').is_some())
}

/// Parameters and the letter that ends them. Of any other sequence only the escape is dropped: what follows it is then text.
fn skip_sequence(rest: &mut Peekable<Chars<'_>>) {
    for _ in 0..LONGEST_SEQUENCE {
        if rest.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_none() {
            break;
        }
    }
    let _ = rest.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone_and_what_is_to_be_read_stays() {
        for (said, shown) in [
            ("min relay fee not met", "min relay fee not met"),
            ("für Größe 1 → 2, «ja», 価格", "für Größe 1 → 2, «ja», 価格"),
            ("\u{1b}[31;1mred\u{1b}[0m", "red"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{1b}]0;title\u{7}text", "]0;title text"),
            ("\u{1b}]8;;http://evil\u{1b}\\link", "]8;;http://evil\\link"),
            ("one\r\nINFO forged line", "one INFO forged line"),
            ("a\u{0}\u{1}\u{8}b", "a b"),
            ("pay \u{202e}txet\u{202c} now", "pay txet now"),
            ("a\u{200b}d\u{2060}m\u{feff}in\u{ad}", "admin"),
            ("tag\u{e0041}\u{e0042}s \u{2066}x\u{2069}", "tags x"),
            ("first\u{2028}second\u{2029}third", "first second third"),
            ("  \n end \n", "end"),
            ("", ""),
        ] {
            assert_eq!(clean(said), shown, "{said:?}");
        }
        assert_eq!(clean_to("abcdef", 6), "abcdef");
        assert_eq!(clean_to("abc def", 4), "abc…");
        let endless = format!("\u{1b}[{}", "1;".repeat(10_000));
        assert_eq!(clean(&endless).chars().count(), SENTENCE + 1, "a sequence without an end hides nothing");
        assert_eq!(printable("one\n\ttwo\u{1b}[2J\r\u{202e}"), "one\n\ttwo ");
    }

    #[test]
    fn every_text_of_a_json_document_is_cleaned_and_nothing_else_changes() {
        let mut value = serde_json::json!({ "a": ["x\u{1b}[2Jy", 7, null], "b": { "c": "two\nlines", "d": 1.5 } });
        printable_json(&mut value);
        assert_eq!(value, serde_json::json!({ "a": ["xy", 7, null], "b": { "c": "two\nlines", "d": 1.5 } }));
    }

    proptest! {
        #[test]
        fn nothing_unseen_is_left_of_any_text_and_cleaning_twice_changes_nothing(text in any::<String>(), most in 0..90usize) {
            let shown = clean_to(&text, most);
            prop_assert!(!shown.chars().any(is_unseen), "{:?}", shown);
            prop_assert!(shown.chars().count() <= most + 1);
            prop_assert_eq!(clean(&clean(&text)), clean(&text));
            prop_assert!(!printable(&text).chars().any(|c| is_unseen(c) && c != '\n' && c != '\t'));
        }
    }
}

//! Text that a stranger wrote, made fit to be shown: a peer's refusal, an oracle's error, a relay's notice, a venue's page,
//! bitcoind's reason. It is cleaned where it is read, so that nobody has to think of it where it is printed or logged.
//!
//! A terminal obeys escape sequences; control characters forge lines of a log; overrides of the writing direction and
//! characters without width make one text look like another; marks heaped on a letter cover the lines above. None of them
//! survives, and no text is long. What is dropped never takes visible text with it, so that nothing can be hidden. What a
//! character is, Unicode's own table of categories says, so that none is forgotten here.

use serde::{Deserialize, Deserializer};
use std::iter::Peekable;
use std::str::Chars;
use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory};

/// Longest sentence of a stranger's that is shown, in characters.
pub const SENTENCE: usize = 200;
/// Longest word of a stranger's that is shown, such as a code or an event's id, in characters.
pub const WORD: usize = 80;
/// Longest control sequence that is dropped as one, in characters; no terminal needs as many.
const LONGEST_SEQUENCE: usize = 32;
/// Most marks that are shown on one letter; hardly a language writes more.
const MARKS: usize = 3;

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
        serde_json::Value::String(text) => *text = printable(text),
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

/// What is seen of a text. A run of control characters is one space, but for the line breaks where those are kept. Of marks
/// in a row the first few are seen.
fn visible(text: &str, lines: bool) -> impl Iterator<Item = char> + '_ {
    let (mut rest, mut blank, mut marks) = (text.chars().peekable(), false, 0usize);
    std::iter::from_fn(move || loop {
        let next = rest.next()?;
        if lines && matches!(next, '\n' | '\t') {
            (blank, marks) = (false, 0);
            return Some(next);
        }
        if is_unseen(next) {
            if begins_sequence(next, &mut rest) {
                skip_sequence(&mut rest);
                continue;
            }
            if !parts(next) || next == '\u{1b}' || blank {
                continue;
            }
            (blank, marks) = (true, 0);
            return Some(' ');
        }
        if next == ' ' && blank {
            continue;
        }
        marks = if is_mark(next) { marks.saturating_add(1) } else { 0 };
        if marks > MARKS {
            continue;
        }
        blank = false;
        return Some(next);
    })
}

/// Is this a character that no reader sees, or one that has no meaning outside the program that wrote it?
fn is_unseen(c: char) -> bool {
    if c == ' ' || c.is_ascii_graphic() {
        return false;
    }
    let category = c.general_category();
    parts(c)
        || matches!(category, Category::Format | Category::PrivateUse | Category::Unassigned | Category::Surrogate)
        || is_blank(c)
}

/// Does it part what stands before it from what comes after, as a space does?
fn parts(c: char) -> bool {
    matches!(c.general_category(), Category::Control | Category::LineSeparator | Category::ParagraphSeparator)
}

/// Letters, marks and signs whose shape is nothing: fillers, joiners, selectors of a variant, empty cells.
fn is_blank(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}' | '\u{1d159}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Is it drawn on the character before it, without a place of its own?
fn is_mark(c: char) -> bool {
    !c.is_ascii() && matches!(c.general_category(), Category::NonspacingMark | Category::EnclosingMark)
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
            ("a\u{1bca0}b\u{13430}c\u{70f}d\u{600}e\u{110bd}f", "abcdef"),
            ("a\u{2800}b\u{3164}c\u{115f}\u{1160}d\u{ffa0}e\u{1d159}f", "abcdef"),
            ("a\u{e000}b\u{f8ff}c\u{10fffd}d\u{378}e\u{fdd0}f", "abcdef"),
            ("cafe\u{301} Vi\u{1ec7}t Tie\u{302}\u{301}ng", "cafe\u{301} Vi\u{1ec7}t Tie\u{302}\u{301}ng"),
            ("\u{5e9}\u{5c1}\u{5b8}\u{591}", "\u{5e9}\u{5c1}\u{5b8}\u{591}"),
            ("\u{1f469}\u{200d}\u{1f680}", "\u{1f469}\u{1f680}"),
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
    fn of_marks_heaped_on_a_letter_three_are_shown_whatever_stands_between_them() {
        let heap = |mark: &str, count| format!("a{}b{}c", mark.repeat(count), mark.repeat(count));
        for mark in ["\u{301}", "\u{489}", "\u{20dd}", "\u{e49}"] {
            assert_eq!(clean(&heap(mark, 93)), heap(mark, 3), "{mark:?}");
            assert_eq!(printable(&heap(mark, 93)), heap(mark, 3), "{mark:?}");
            // What is not seen parts them no more than what is not there.
            assert_eq!(clean(&heap(&format!("{mark}\u{200b}\u{2800}"), 93)), heap(mark, 3), "{mark:?}");
        }
        let mut value = serde_json::json!(heap("\u{301}", 93));
        printable_json(&mut value);
        assert_eq!(value, serde_json::json!(heap("\u{301}", 3)));
    }

    #[test]
    fn nothing_that_unicode_calls_unseen_is_shown_and_no_letter_digit_or_sign_is_lost() {
        for c in '\0'..=char::MAX {
            let kept = printable(&format!("x{c}")).chars().nth(1);
            match c.general_category() {
                Category::Control if matches!(c, '\n' | '\t') => assert_eq!(kept, Some(c)),
                Category::Control | Category::LineSeparator | Category::ParagraphSeparator => {
                    assert!(matches!(kept, None | Some(' ')), "{c:?}");
                }
                Category::Format | Category::PrivateUse | Category::Unassigned | Category::Surrogate => {
                    assert_eq!(kept, None, "{c:?}");
                }
                _ => assert_eq!(kept, (!is_blank(c)).then_some(c), "{c:?}"),
            }
        }
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

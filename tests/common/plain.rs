//! Is a text written for people?

/// Nothing in it is as Rust writes a value: no braces, no paths, no `Some(`, no name in camel case before a bracket.
pub fn is_plain(text: &str) -> bool {
    let camel = text.match_indices(['(', ' ']).any(|(at, _)| {
        let word = text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let is_camel = word.chars().next().is_some_and(char::is_uppercase) && word.chars().any(char::is_lowercase);
        is_camel && (text[at..].starts_with('(') || text[at..].starts_with(" {"))
    });
    !camel && !text.is_empty() && !["{", "}", "::", "Some(", "None"].iter().any(|rust| text.contains(rust))
}

#[test]
fn what_rust_writes_is_told_from_what_people_do() {
    for text in ["the loan is active; a sign needs an offer", "terms agreed: $5 (10 %)", "GET /v1/status (HTTP)"] {
        assert!(is_plain(text), "{text}");
    }
    for rust in ["Cancelled { reason: x }", "LoanId(0a)", "Some(3)", "Stage::Active", "x None", "is Watch(ab)", ""] {
        assert!(!is_plain(rust), "{rust}");
    }
}

//! One thing that was looked at.

use crate::foreign::clean_to;
use serde::Serialize;
use std::fmt;

/// Most characters of what was found: much of it is others' words.
const LONGEST: usize = 600;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// It could not be looked at, or is worth knowing.
    Note,
    /// Somebody must do something.
    Trouble,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `clock`, `disk`, `venue`, `key`, `mirror`, `relay` or `service`.
    pub area: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// Why it matters; empty when it is fine.
    pub why: String,
    /// What to do; empty when it is fine.
    pub remedy: String,
}

impl Finding {
    /// Nothing to do.
    pub fn fine(area: &'static str, what: impl Into<String>) -> Finding {
        Finding { area, level: Level::Fine, what: shown(what), why: String::new(), remedy: String::new() }
    }

    /// Worth knowing.
    pub fn note(area: &'static str, what: impl Into<String>, why: &str, remedy: &str) -> Finding {
        Finding { area, level: Level::Note, what: shown(what), why: why.into(), remedy: remedy.into() }
    }

    /// Somebody must act.
    pub fn trouble(area: &'static str, what: impl Into<String>, why: &str, remedy: &str) -> Finding {
        Finding { area, level: Level::Trouble, what: shown(what), why: why.into(), remedy: remedy.into() }
    }
}

fn shown(what: impl Into<String>) -> String {
    clean_to(&what.into(), LONGEST)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Fine => "fine",
            Level::Note => "note",
            Level::Trouble => "TROUBLE",
        };
        write!(f, "{mark:8}{:8}{}", self.area, self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n{:16}why: {}\n{:16}do:  {}", "", self.why, "", self.remedy)?;
        }
        Ok(())
    }
}

//! Readings: how venues' answers are read, as a policy names it.
//!
//! How an answer is read decides whether a venue counts, so it is as much a part of the signed policy as its numbers: an
//! auditor reads old ticks as they were read then.

use serde::{Deserialize, Serialize};

/// How answers are read. A policy that names none has the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Reading {
    /// 1. Positional answers have exactly the fields of 2023; Gemini's quote is as of the end of its volume window.
    #[default]
    First,
    /// 2. Positional answers may have more fields than are read; Gemini's quote is as of its receipt.
    Second,
}

impl Reading {
    /// Is it the one that a policy leaves out?
    pub fn is_first(&self) -> bool {
        *self == Reading::First
    }
}

/// No such reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading is {0}; this version knows 1 and 2")]
pub struct NoReading(u32);

impl TryFrom<u32> for Reading {
    type Error = NoReading;

    fn try_from(number: u32) -> Result<Reading, NoReading> {
        match number {
            1 => Ok(Reading::First),
            2 => Ok(Reading::Second),
            other => Err(NoReading(other)),
        }
    }
}

impl From<Reading> for u32 {
    fn from(reading: Reading) -> u32 {
        match reading {
            Reading::First => 1,
            Reading::Second => 2,
        }
    }
}

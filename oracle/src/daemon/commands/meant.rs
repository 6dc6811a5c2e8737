//! Asks a person whether something unusual is meant.

use crate::screen;
use anyhow::{bail, Context};
use std::io::{BufRead, IsTerminal};

/// Is it meant? `what` says what is unusual, without a full stop.
///
/// # Errors
/// When there is nobody to ask.
pub fn is_meant(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{what}; say --yes if it is meant");
    }
    screen::ask(format_args!("{what}. Is it meant? Write yes: "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(answer.trim() == "yes")
}

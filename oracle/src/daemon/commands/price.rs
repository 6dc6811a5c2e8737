//! `price set` and `price clear`: the manual feed's price.

use super::super::feed::manual::HIGHEST;
use super::super::private::{tell_price, FarOff};
use crate::units::Cents;
use anyhow::{bail, Context};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

/// Sets the price, and waits until it is on disk and served. One far from the last is asked about, or wants `yes`.
///
/// # Errors
/// When it is no price, no oracle runs there, it has another feed, or nobody says that it is meant.
pub async fn set(data: &Path, cents: Cents, yes: bool) -> anyhow::Result<()> {
    if !(1..=HIGHEST).contains(&cents.0) {
        bail!("the price must be between 1 and {HIGHEST} cents; {} was given", cents.0);
    }
    let refused = match tell_price(data, Some(cents), yes).await {
        Err(error) if error.is::<FarOff>() => error,
        done => return done.map(|()| println!("the price is {cents}")),
    };
    if !std::io::stdin().is_terminal() {
        bail!("{refused}; say --yes if it is meant");
    }
    eprint!("{refused}. Is it meant? Write yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    match answer.trim() {
        "yes" => tell_price(data, Some(cents), true).await.map(|()| println!("the price is {cents}")),
        _ => bail!("nothing is set"),
    }
}

/// Says that there is no price.
///
/// # Errors
/// When no oracle runs there, or it has another feed.
pub async fn clear(data: &Path) -> anyhow::Result<()> {
    tell_price(data, None, false).await
}

//! `price set` and `price clear`: the manual feed's price.

use super::super::feed::manual::HIGHEST;
use super::super::private::{tell_price, FarOff};
use super::meant::is_meant;
use crate::screen;
use crate::units::Cents;
use anyhow::bail;
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
        done => return done.and_then(|()| told(cents)),
    };
    if !is_meant(&refused.to_string())? {
        bail!("nothing is set");
    }
    tell_price(data, Some(cents), true).await.and_then(|()| told(cents))
}

fn told(cents: Cents) -> anyhow::Result<()> {
    Ok(screen::say(format_args!("the price is {cents}"))?)
}

/// Says that there is no price.
///
/// # Errors
/// When no oracle runs there, or it has another feed.
pub async fn clear(data: &Path) -> anyhow::Result<()> {
    tell_price(data, None, false).await
}

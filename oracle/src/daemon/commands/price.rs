//! `price set` and `price clear`: the manual feed's price.

use super::super::feed::manual::HIGHEST;
use super::super::private::tell_price;
use crate::units::Cents;
use anyhow::bail;
use std::path::Path;

/// Sets the price, and waits until it is on disk and served.
///
/// # Errors
/// When it is no price, no oracle runs there, or it has another feed.
pub async fn set(data: &Path, cents: Cents) -> anyhow::Result<()> {
    if !(1..=HIGHEST).contains(&cents.0) {
        bail!("the price must be between 1 and {HIGHEST} cents; {} was given", cents.0);
    }
    tell_price(data, Some(cents)).await
}

/// Says that there is no price.
///
/// # Errors
/// As [`set`].
pub async fn clear(data: &Path) -> anyhow::Result<()> {
    tell_price(data, None).await
}

//! `status`: how the oracle on this machine is. Exits with an error when it is not in order, so that a script can ask.

use super::super::private::{ask_status, PrivateStatus};
use crate::screen;
use anyhow::bail;
use std::fmt::Write;
use std::path::Path;

/// Prints how the oracle is, for people or as JSON.
///
/// # Errors
/// When none runs on this folder, or it is not in order.
pub async fn status(data: &Path, json: bool) -> anyhow::Result<()> {
    let status = ask_status(data).await?;
    if json {
        screen::say(format_args!("{}", serde_json::to_string_pretty(&status)?))?;
    } else {
        screen::say(format_args!("{}", written(&status).trim_end_matches('\n')))?;
    }
    if status.readiness.ready {
        return Ok(());
    }
    bail!("not in order: {}", status.readiness.missing.join("; "))
}

fn written(status: &PrivateStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line("key", &status.pubkey);
    line("network", &status.network);
    line("feed", &status.feed);
    line("price", &status.spot_cents.map_or_else(|| "none".to_string(), |cents| cents.to_string()));
    line("as of", &status.clock);
    line("final to", &status.frozen_until);
    line("records", &status.records);
    for venue in &status.venues.list {
        let price = venue.price.map_or_else(|| "no price".to_string(), |price| price.to_string());
        let now = venue.trouble.as_deref().unwrap_or(if venue.used { "counts" } else { "does not count" });
        let trouble = venue.absent.as_deref().unwrap_or(now);
        line("venue", &format!("{} {price} {trouble}", venue.name));
    }
    if !status.complaint.is_empty() {
        line("trouble", &status.complaint);
    }
    for wrong in &status.statements {
        line("trouble", wrong);
    }
    text
}

//! `hypothec status`: how the node is.

use super::line::Place;
use super::out::{count, item, moment, Grid};
use crate::api::views;
use clap::Args;

/// How the node is: chain, peers, loans, and what stands in the way
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec status\n  hypothec status --json | jq .idle")]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let status: views::Status = place.client()?.get("/v1/status").await?;
        place.out().say(&status, |status| text(status, &place.again()))
    }
}

fn text(status: &views::Status, again: &str) -> String {
    let address = match &status.listen {
        Some(listen) => format!("{}@{listen}", status.node_id),
        None => format!("{} (does not listen)", status.node_id),
    };
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("node", address);
    row("version", format!("{} on {}", status.version, status.network));
    row("chain", format!("block {} {}", status.height, status.tip));
    row("time", format!("{} (the chain's median: {})", moment(status.clock), moment(status.median_time)));
    row("peers", format!("{} connected", status.peers_connected));
    let loans = &status.loans;
    row("loans", format!("{} negotiating, {} active, {} ended", loans.negotiating, loans.active, loans.ended));
    row("busy", if status.idle { "no".to_owned() } else { "yes, with something under way".to_owned() });
    let troubles = match status.troubles.as_slice() {
        [] => "All is well.".to_owned(),
        some => {
            let number = count(u64::try_from(some.len()).unwrap_or(u64::MAX), "thing");
            let lines: String = some.iter().map(|trouble| item(trouble)).collect();
            format!("In the way, {number}:\n{lines}")
        }
    };
    let next = match (loans.active, loans.negotiating) {
        (0, 0) => format!("{again} quote --help  or, to lend, {again} policy show"),
        _ => format!("{again} loan list"),
    };
    format!("{}\n{}\n\nNext: {next}", grid.text(), troubles.trim_end())
}

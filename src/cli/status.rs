//! `hypothec status`: how the node is.

use super::amount::short;
use super::line::{Ends, Place};
use super::out::{count, item, moment, Grid};
use super::{show, turn};
use crate::api::views;
use clap::Args;
use std::net::SocketAddr;

/// The exit code when something needs a person.
const NEEDS_SOMEBODY: u8 = 3;
/// Ended loans that are named.
const ENDED_SHOWN: usize = 5;

/// What needs somebody now, and how the node is: chain, peers, loans
///
/// Ends with 0 when nothing needs anybody, with 3 when something does, and with 1 when no node answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec status\n  hypothec status --json | jq -r '.attention[].text'\n  \
    hypothec status >/dev/null || echo look")]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let status: views::Status = place.client()?.get("/v1/status").await?;
        place.out().say(&status, |status| text(status, &place.again()))?;
        match status.attention.is_empty() {
            true => Ok(()),
            false => Err(Ends(NEEDS_SOMEBODY).into()),
        }
    }
}

fn text(status: &views::Status, again: &str) -> String {
    let address = match status.announce.as_ref().or(status.listen.as_ref()) {
        Some(place) => format!("{}@{place}", status.node_id),
        None => format!("{} (does not listen)", status.node_id),
    };
    // What stands for every address of the machine is none that anybody can dial.
    let is_anywhere = |listen: &String| listen.parse::<SocketAddr>().is_ok_and(|place| place.ip().is_unspecified());
    let unsaid = status.announce.is_none() && status.listen.as_ref().is_some_and(is_anywhere);
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("node", address);
    if unsaid {
        row("", "nobody can dial that: say which address in `[peers] announce`".to_owned());
    }
    row("version", format!("{} on {}", status.version, status.network));
    row("chain", format!("block {} {}", status.height, status.tip));
    row("time", format!("{} (the chain's median: {})", moment(status.clock), moment(status.median_time)));
    row("peers", format!("{} connected", status.peers_connected));
    let loans = &status.loans;
    row("loans", counted(loans));
    row("busy", if status.idle { "no".to_owned() } else { "yes, with something under way".to_owned() });
    let (first, last) = match status.attention.as_slice() {
        [] => (String::new(), "\nAll is well.\n"),
        some => {
            let number = count(u64::try_from(some.len()).unwrap_or(u64::MAX), "thing");
            let lines: String = some.iter().map(|one| item(&sentence(one))).collect();
            (format!("{number} to look at:\n{lines}\n"), "")
        }
    };
    let waiting: String = status.waiting.iter().map(|one| item(&waits(one))).collect();
    let waiting = if waiting.is_empty() { waiting } else { format!("\nWaiting:\n{waiting}") };
    let ended = ended(&status.ended_today);
    let next = match loans.active.saturating_add(loans.negotiating).saturating_add(loans.taken_back) {
        0 => format!("{again} quote --help\nOr, to lend:\n  {again} policy show"),
        _ => format!("{again} loan list"),
    };
    format!("{first}{}{waiting}{ended}{last}\nNext: {next}", grid.text())
}

/// Loans by how they stand; of coins that are taken back only where there are some.
fn counted(loans: &views::LoanCounts) -> String {
    let back = match loans.taken_back {
        0 => String::new(),
        many => format!("{many} whose coin is taken back, "),
    };
    format!("{} negotiating, {} active, {back}{} ended", loans.negotiating, loans.active, loans.ended)
}

/// The loans that ended within a day: somebody may not have looked then.
fn ended(ended: &[views::EndedView]) -> String {
    let line = |one: &views::EndedView| {
        let how = one.exit.map_or("ended by a spend nobody can name", show::exit);
        item(&format!("loan {}: {how}, seen {}", short(&one.loan_id.to_string()), moment(one.at)))
    };
    let more = match ended.len().saturating_sub(ENDED_SHOWN) {
        0 => String::new(),
        more => item(&format!("and {more} more: see `loan list`")),
    };
    let lines: String = ended.iter().take(ENDED_SHOWN).map(line).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\nEnded within a day:\n{lines}{more}")
    }
}

fn waits(one: &views::WaitingView) -> String {
    let loan = short(&one.loan_id.to_string());
    format!("loan {loan}: {}, {}", turn::what(&one.turn), turn::when(&one.turn))
}

fn sentence(one: &views::AttentionView) -> String {
    let urgent = if one.severity == views::Severity::Urgent { "NOW: " } else { "" };
    match one.loan_id {
        Some(id) => {
            // What waits for a person's word is no loan yet.
            let what = if one.about.starts_with("request ") { "request" } else { "loan" };
            format!("{urgent}{what} {}: {}", short(&id.to_string()), one.text)
        }
        None => format!("{urgent}{}", one.text),
    }
}

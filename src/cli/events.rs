//! `hypothec events`: what happened.

use super::amount::short;
use super::follow::is_away;
use super::line::Place;
use super::out::{folded, moment, tell, Look};
use super::which::{named, Named};
use crate::api::views::EventView;
use clap::Args;
use hypothec_oracle::units::times_for_people;
use std::time::Duration;

/// The longest wait of one request, in seconds.
const WAIT: u64 = 30;
/// Between two tries to reach a node that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// What happened to the loans, by number
///
/// Numbers go on when the node is started again: keep the last one you have seen and ask for what came after it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hypothec events\n  hypothec events --after 17\n  hypothec events --follow\n  hypothec events --loan 1a2b\n  \
    hypothec events --follow --json | jq -c '[.number, .event, .price_cents, .ltv_bp]'      one JSON document a line"
)]
pub(super) struct Events {
    /// Keep waiting for more, also while the node is started again
    #[arg(long)]
    follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = number)]
    after: u64,
    /// Only of this loan: its id, the beginning of it, or its short form
    #[arg(long, value_name = "LOAN", value_parser = named)]
    loan: Option<Named>,
}

/// An event's number.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write the number that an event is shown with, for example 17".to_owned())
}

impl Events {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let loan = match &self.loan {
            Some(named) => Some(named.loan(place).await?),
            None => None,
        };
        let mut after = self.after;
        let mut wait = 0;
        let (mut reached, mut away) = (false, false);
        loop {
            let events = match ask(place, after, wait).await {
                Ok(events) => events,
                // A node that was there comes back; one that never was is not waited for.
                Err(error) if self.follow && reached && is_away(&error) => {
                    if !away {
                        tell(&format!("hypothec: {error:#}; waiting for it"));
                        away = true;
                    }
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            (reached, away) = (true, false);
            for event in &events {
                if loan.is_none() || event.loan_id == loan {
                    place.out().line(event, text)?;
                }
                after = after.max(event.number);
            }
            if !self.follow && events.is_empty() {
                return Ok(());
            }
            wait = if self.follow { WAIT } else { 0 };
        }
    }
}

/// Every time anew: the node may answer elsewhere once it was started again.
async fn ask(place: &Place, after: u64, wait: u64) -> anyhow::Result<Vec<EventView>> {
    place.client()?.get(&format!("/v1/events?after={after}&wait={wait}")).await
}

fn text(event: &EventView) -> String {
    let loan = event.loan_id.map_or("–".to_owned(), |id| id.to_string());
    // As wide with seconds as without.
    let head = format!("{:>5}  {:<23}  {}", event.number, moment(event.at), short(&loan));
    let (text, width) = (times_for_people(&event.text), Look::of_stdout().width);
    let line = format!("{head}  {:<20} {text}", event.event);
    match line.chars().count() <= width {
        true => line,
        // The sentence below, a little further in than the number.
        false => format!("{head}  {}\n{}", event.event, folded(&format!("       {text}"), width)),
    }
}

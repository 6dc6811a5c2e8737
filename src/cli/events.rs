//! `hypothec events`: what happened.

use super::amount::short;
use super::line::Place;
use super::out::second;
use crate::api::views::EventView;
use clap::Args;

/// The longest wait of one request, in seconds.
const WAIT: u64 = 30;

/// What happened to the loans since the node started
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec events\n  hypothec events --follow\n  \
    hypothec events --follow --json | jq .text       one JSON document a line")]
pub(super) struct Events {
    /// Keep waiting for more
    #[arg(long)]
    follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = number)]
    after: u64,
}

/// An event's number.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write the number that an event is shown with, for example 17".to_owned())
}

impl Events {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        let mut after = self.after;
        let mut wait = 0;
        loop {
            let events: Vec<EventView> = client.get(&format!("/v1/events?after={after}&wait={wait}")).await?;
            for event in &events {
                place.out().line(event, text)?;
                after = after.max(event.number);
            }
            if !self.follow && events.is_empty() {
                return Ok(());
            }
            wait = if self.follow { WAIT } else { 0 };
        }
    }
}

fn text(event: &EventView) -> String {
    let loan = event.loan_id.map_or("–".to_owned(), |id| id.to_string());
    format!("{}  {}  {:<20} {}", second(event.at), short(&loan), event.event, event.text)
}

//! `hypothec-oracle payment`: orders to a running daemon, over the socket in its data folder.

use crate::daemon::cli::Place;
use crate::daemon::payments::{Order, PaymentView, Told};
use crate::daemon::socket::Caller;
use crate::screen;
use clap::Subcommand;
use std::time::Duration;

/// How long the daemon may take. Real time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be ordered.
#[derive(Debug, Subcommand)]
pub enum Payment {
    /// Make a payment; prints the ids of its two events.
    Make {
        /// The last UTC day on which something can be said of it, YYYYMMDD.
        #[arg(long, value_name = "YYYYMMDD")]
        until: String,
        /// Your own name for it, 1 to 64 of A-Z a-z 0-9 . _ -; made again under it, it is the same payment.
        #[arg(long)]
        reference: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Attest one of its events, once and for ever.
    Attest {
        /// The event's id, for example pay-0a0b…-20270131-paid.
        event: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show all payments.
    List(Place),
}

impl Payment {
    /// Asks the daemon and prints what came of it, as JSON lines.
    ///
    /// # Errors
    /// When the daemon does not run, or refuses.
    pub fn run(self) -> anyhow::Result<()> {
        let (order, place) = match self {
            Payment::Make { until, reference, place } => (Order::Make { until, reference }, place),
            Payment::Attest { event, place } => (Order::Attest { event }, place),
            Payment::List(place) => (Order::List {}, place),
        };
        let socket = place.said()?.data()?.join("payments.sock");
        let print = |view: PaymentView| -> anyhow::Result<()> {
            Ok(screen::say(format_args!("{}", serde_json::to_string(&view)?))?)
        };
        match Caller::connect(&socket, PATIENCE)?.ask(&order)? {
            Told::One(view) => print(view),
            Told::All { payments } => payments.into_iter().try_for_each(print),
            Told::Refused { refused } => anyhow::bail!(refused),
        }
    }
}

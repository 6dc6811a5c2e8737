//! `hypothec demo`: the whole story on one machine.

use super::line::Place;
use crate::demo;
use clap::Args;

/// Play four loans on this machine, with real prices, a real chain and real sockets
///
/// Fetches bitcoind if there is none, starts it with an oracle, a lender and a borrower, and plays March 2020 by the
/// hour: one loan is repaid, one liquidated, one matures, one settles without its oracle.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec demo\n  hypothec demo --json | jq '.loans[].exit'\n  \
    hypothec demo --keep     leaves everything running and says how to talk to it\n  \
    hypothec demo --data ~/demo     plays in that folder, new or empty, and leaves it there")]
pub(super) struct Demo {
    #[command(flatten)]
    args: demo::Args,
}

impl Demo {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        demo::run(demo::Args { folder: place.named(), ..self.args }).await
    }
}

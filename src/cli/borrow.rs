//! `hypothec borrow`: takes a quote.

use super::line::Place;
use super::show;
use super::which::{named, Named};
use crate::api::views::{BorrowRequest, LoanView};
use clap::Args;

/// Take a quote: the two nodes sign the contract and fund it by themselves
///
/// Collateral and principal change hands in one transaction: until it confirms, nobody has given anything away.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = "Example:\n  hypothec borrow <the id that quote ended with>")]
pub(super) struct Borrow {
    /// Its id, the beginning of it, or its short form as `quote` prints it, 1a2b3c4d…9f0e
    #[arg(value_name = "QUOTE", value_parser = named)]
    quote: Named,
}

impl Borrow {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let quote = self.quote.quote(place).await?;
        let loan: LoanView = place.client()?.post("/v1/loans", &BorrowRequest { quote }).await?;
        place.out().say(&loan, |loan| {
            let (again, text) = (place.again(), show::loan(loan, &place.again()));
            match show::stage_word(&loan.stage) {
                "negotiating" => format!(
                    "The quote is taken; the nodes go on by themselves.\n\n{text}\n\
                     Once it is active: {again} backup FILE. The words alone do not restore an open loan."
                ),
                _ => format!("This quote was taken before; this is its loan.\n\n{text}"),
            }
        })
    }
}

//! `hypothec borrow`: takes a quote.

use super::amount::short;
use super::confirm::{consequence, Sure};
use super::follow::{borrowing, follow, End, Goal, Patience, NO_ANSWER};
use super::line::{Ends, Place};
use super::show;
use super::which::{named, Named};
use crate::api::views::{BorrowRequest, LoanView, PreviewRequest, Stage};
use clap::Args;

const AFTER: &str = "\
Examples:
  hypothec borrow <the id that quote ended with>
  hypothec borrow <the id that quote ended with> --wait
  hypothec borrow <the id that quote ended with> --yes      without asking

It ends when the lender has answered: with 0 when it has signed (with --wait, when the loan is active), with 1 when the \
loan does not come to be, with 4 when there is no answer yet, and with 130 after Ctrl-C; the nodes go on then.";

/// Take a quote: the two nodes sign the contract and fund it by themselves
///
/// Collateral and principal change hands in one transaction: until it confirms, nobody has given anything away.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Borrow {
    /// Its id, the beginning of it, or its short form as `quote` prints it, 1a2b3c4d…9f0e
    #[arg(value_name = "QUOTE", value_parser = named)]
    quote: Named,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    patience: Patience,
}

impl Borrow {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let quote = self.quote.quote(place).await?;
        let client = place.client()?;
        let would = PreviewRequest::Borrow { quote };
        self.sure.ask(&client, &would, |view| consequence::of_borrowing(quote, view)).await?;
        let taken: LoanView = client.post("/v1/loans", &BorrowRequest { quote }).await?;
        let goal = self.patience.goal();
        let end = follow(place, &client, &self.patience, taken, |loan, _, _| borrowing(loan, goal)).await?;
        let (loan, waits) = match end {
            End::Done(loan) => (loan, None),
            End::Waits(loan, what) => (loan, Some(what)),
        };
        place.out().say(&loan, |loan| text(loan, waits.as_deref(), goal, &place.again()))?;
        match waits {
            Some(_) => Err(Ends(NO_ANSWER).into()),
            None => Ok(()),
        }
    }
}

fn text(loan: &LoanView, waits: Option<&str>, goal: Goal, again: &str) -> String {
    let (id, shown) = (short(&loan.loan_id.to_string()), show::loan(loan, again));
    let backup = format!("{again} backup FILE. With the words alone the loan comes back only if the lender gives it.");
    match (waits, &loan.stage) {
        (Some(what), _) => format!(
            "The quote is taken, and the lender has neither signed nor refused yet: {what}.\n\
             The nodes go on by themselves.\n\n{shown}\nTo wait: {again} borrow {id} --wait\n\
             Once it is active: {backup}"
        ),
        (None, Stage::Active | Stage::Closing | Stage::Closed) if goal == Goal::Answer => {
            format!("This quote was taken before; this is its loan.\n\n{shown}")
        }
        (None, Stage::Active) => format!("The loan is active.\n\n{shown}\nNow: {backup}"),
        (None, _) => format!("The lender has signed.\n\n{shown}\nOnce it is active: {backup}"),
    }
}

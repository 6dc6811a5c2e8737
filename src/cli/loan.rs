//! `hypothec loan`: the loans of this node, on either side.

use super::amount::short;
use super::client::Client;
use super::confirm::{consequence, Sure};
use super::follow::{follow, repaying, End, Goal, Patience, NO_ANSWER};
use super::line::{Ends, Place};
use super::out::{moment, sats, usd, Grid};
use super::which::{Either, Which};
use super::{requests, show, turn};
use crate::api::views::{LoanView, PreviewRequest, RepayRequest, Source, Stage};
use crate::loan::units::BasisPoints;
use clap::{Args, Subcommand, ValueEnum};

/// The loans of this node, on either side
#[derive(Debug, Subcommand)]
pub(super) enum Loan {
    /// Every loan, newest last
    #[command(after_help = "Examples:\n  hypothec loan list\n  hypothec loan list --json | jq '.[].loan_id'")]
    List,
    /// One loan: owed today, price now, levels, and every way it can end
    #[command(after_help = "Example:\n  hypothec loan show 1a2b")]
    Show(Which),
    /// Walk away from a loan whose funding transaction is not in a block
    #[command(
        after_help = "Example:\n  hypothec loan cancel 1a2b\n\nOnce both have signed it asks first; --yes for programs."
    )]
    Cancel(Act),
    /// Repay: one transaction pays the lender and brings the collateral back
    #[command(after_help = "Examples:\n  hypothec loan repay 1a2b\n  hypothec loan repay 1a2b --from collateral\n  \
        hypothec loan repay 1a2b --wait      until it is final, step by step\n  \
        hypothec loan repay 1a2b --yes       without asking, for programs\n\n\
        A loan is repaid as a whole; a part of it cannot be.\n\n\
        It ends when the lender has answered: with 0 when it has signed (with --wait, when the loan has ended for good), \
        with 1 when it does not go ahead, with 4 when there is no answer yet, and with 130 after Ctrl-C; the nodes go on \
        then.")]
    Repay {
        #[command(flatten)]
        which: Which,
        /// Where the sats come from
        #[arg(long, default_value = "wallet")]
        from: From,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        patience: Patience,
    },
    /// Take a repayment back that the lender has not completed
    #[command(
        after_help = "Examples:\n  hypothec loan withdraw 1a2b\n  hypothec loan withdraw 1a2b --yes       without asking, for programs"
    )]
    Withdraw(Act),
    /// As the lender, say that you were paid outside the chain: frees the whole collateral, for ever
    #[command(after_help = "Example:\n  hypothec loan receipt 1a2b")]
    Receipt(Act),
}

/// Which loan, and whether it is sure.
#[derive(Debug, Args)]
pub(super) struct Act {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    sure: Sure,
}

/// Where the sats of a repayment come from.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum From {
    /// The node's wallet; the collateral comes back whole
    Wallet,
    /// The collateral; the rest of it comes back
    Collateral,
}

impl Loan {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        let (loan, done) = match self {
            Loan::List => {
                let loans: Vec<LoanView> = client.get("/v1/loans").await?;
                return place.out().say(&loans, |loans| list(loans, &place.again()));
            }
            Loan::Show(which) => {
                return show(place, which).await;
            }
            Loan::Cancel(Act { which, sure }) => {
                let loan_id = which.find(place).await?;
                let would = PreviewRequest::Cancel { loan_id };
                // Before both have signed nothing is lost by it but the quote.
                sure.ask(&client, &would, |view| consequence::of_cancelling(loan_id, view)).await?;
                let loan: LoanView = client.act(&format!("/v1/loans/{loan_id}/cancel")).await?;
                let done = given_up(&loan);
                (loan, done)
            }
            Loan::Withdraw(Act { which, sure }) => {
                let loan_id = which.find(place).await?;
                let would = PreviewRequest::Withdraw { loan_id };
                sure.ask(&client, &would, |view| consequence::of_withdrawing(loan_id, view)).await?;
                let loan: LoanView = client.act(&format!("/v1/loans/{loan_id}/withdraw")).await?;
                let done = withdrawn(&loan);
                (loan, done)
            }
            Loan::Receipt(Act { which, sure }) => {
                let loan_id = which.find(place).await?;
                let would = PreviewRequest::Receipt { loan_id };
                sure.ask(&client, &would, |view| consequence::of_a_receipt(loan_id, view)).await?;
                let loan = client.act(&format!("/v1/loans/{loan_id}/receipt")).await?;
                (loan, "The receipt is given; the borrower can take the collateral.\n\n".to_owned())
            }
            Loan::Repay { which, from, sure, patience } => {
                let loan_id = which.find(place).await?;
                let from = match from {
                    From::Wallet => Source::Wallet,
                    From::Collateral => Source::Collateral,
                };
                let would = PreviewRequest::Repay { loan_id, from };
                sure.ask(&client, &would, |view| consequence::of_repaying(loan_id, from, view)).await?;
                let asked: LoanView =
                    client.post(&format!("/v1/loans/{loan_id}/repay"), &RepayRequest { from }).await?;
                return repay(place, &client, asked, &patience).await;
            }
        };
        place.out().say(&loan, |loan| format!("{done}{}", show::loan(loan, &place.again())))
    }
}

/// A loan; or a request that waits or waited for this lender's word, which is none yet.
async fn show(place: &Place, which: Which) -> anyhow::Result<()> {
    match which.find_either(place).await? {
        Either::Request(request) => place.out().say(&*request, |request| requests::one(request, &place.again())),
        Either::Loan(loan) => place.out().say(&*loan, |loan| show::loan(loan, &place.again())),
    }
}

/// Waits for the lender's answer to a repayment, or for its end, and says what came of it.
async fn repay(place: &Place, client: &Client, asked: LoanView, patience: &Patience) -> anyhow::Result<()> {
    let (before, goal) = (asked.clone(), patience.goal());
    let step = |loan: &LoanView, waited, height| repaying(&before, loan, goal, waited, height);
    let (loan, done, code) = match follow(place, client, patience, asked, step).await? {
        End::Done(loan) if goal == Goal::End => (loan, "The loan is repaid, for good.", None),
        End::Done(loan) => (loan, "The lender has signed too: the repayment is out and waits for its blocks.", None),
        End::Waits(loan, _) => (
            loan,
            "The repayment is proposed; the lender's node completes it. Keep this node running until it is done: a \
             half-signed repayment can be completed for as long as its coins lie where they are, and a backup made \
             before now does not know of it (a restored node moves its coins first).",
            Some(NO_ANSWER),
        ),
    };
    place.out().say(&loan, |loan| format!("{done}\n\n{}", show::loan(loan, &place.again())))?;
    match code {
        Some(code) => Err(Ends(code).into()),
        None => Ok(()),
    }
}

/// What is going on after `cancel`.
fn given_up(loan: &LoanView) -> String {
    match (loan.taken_back, loan.stage) {
        (Some(txid), _) => format!(
            "Your coin is taken back by a transaction of yours, which is sent to the network:\n  {txid}\nOnce it is in a block the loan \
             can never be, and your coins are free. Should the funding transaction be in one first, the loan begins all the \
             same.\n\n"
        ),
        (None, Stage::Cancelled) => "The loan is given up. Nothing was signed that could still be used, and the coins that were \
            set aside for it are free.\n\n"
            .to_owned(),
        (None, _) => "The loan is not given up: no coin of yours is taken back, and below is what it waits for.\n\n".to_owned(),
    }
}

/// What is going on after `withdraw`.
fn withdrawn(loan: &LoanView) -> String {
    match (loan.taken_back, loan.repayment) {
        (Some(txid), _) => format!(
            "The repayment is taken back by a transaction of yours, which is sent to the network:\n  {txid}\nOnce it is in a block the \
             repayment can never be, its coins are free and the loan goes on as before. Until then it still waits, and the \
             lender can still complete it.\n\n"
        ),
        (None, Some(repayment)) => format!(
            "Repayment {repayment} still waits{}: nothing that takes it back is made yet. Ask again in a minute.\n\n",
            loan.turn.as_ref().map_or(String::new(), |turn| format!(", {}", turn::when(turn)))
        ),
        (None, None) => "No repayment waits any more; the loan goes on as before.\n\n".to_owned(),
    }
}

fn list(loans: &[LoanView], again: &str) -> String {
    if loans.is_empty() {
        return format!("No loans yet.\n\nNext: {again} quote --help");
    }
    let mut grid =
        Grid::new(["loan", "we are", "stands", "principal", "collateral", "owed today", "ltv", "due", "margin"]);
    for loan in loans {
        let id = short(&loan.loan_id.to_string());
        let ended = loan.ended.as_ref().and_then(|ended| ended.exit).map(|exit| exit.to_string());
        grid.row([
            id,
            loan.role.to_string(),
            ended.unwrap_or(show::stage_word(loan).to_owned()),
            usd(loan.principal_cents),
            sats(loan.collateral_sats),
            if loan.ended.is_none() && !is_cancelled(loan) { usd(loan.debt_now_cents) } else { "–".into() },
            loan.ltv_bp.map_or("–".into(), |ltv| BasisPoints(ltv).to_string()),
            moment(loan.due).chars().take(10).collect(),
            match loan.margin.filter(|_| loan.ended.is_none()) {
                Some(line) => line.to_string(),
                None => String::new(),
            },
        ]);
        if let Some(line) = loan.margin.filter(|_| loan.ended.is_none()) {
            grid.tone(8, show::tone(line));
        }
    }
    format!("{}\nNext: {again} loan show LOAN", grid.right(&[3, 4, 5, 6]).spare(&[4, 3, 7, 1]).text())
}

fn is_cancelled(loan: &LoanView) -> bool {
    matches!(loan.stage, Stage::Cancelled)
}

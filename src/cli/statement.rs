//! The statement of a loan that is over: what happened when, who paid which fee, and what it came to.

use super::out::{both, grouped, moment, usd, Grid};
use super::show;
use crate::api::views::{ExitView, LoanView, Role, Stage, StatementView};

/// The text; nothing for a loan that goes on.
pub fn text(loan: &LoanView) -> Option<String> {
    let heading = match (&loan.ended, loan.stage) {
        (Some(_), Stage::Closed) => "How it ended",
        (Some(_), _) => "How it ends",
        (None, Stage::Cancelled) => "What it came to",
        (None, _) => return None,
    };
    let mut text = format!("\n{heading}:\n{}", ending(loan));
    match &loan.statement {
        Some(statement) => {
            if !statement.transactions.is_empty() {
                text.push_str(&format!(
                    "\nTransactions and their fees, in sat:\n{}",
                    transactions(statement, loan.role)
                ));
            }
            text.push_str(&format!("\n{}", sums(statement, loan.role)));
        }
        None => text.push_str("\nWho paid which fee cannot be said now: bitcoind does not answer.\n"),
    }
    Some(text)
}

fn ending(loan: &LoanView) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    if let Some(statement) = &loan.statement {
        row("opened", format!("{}, at {}", moment(statement.opened), usd(statement.opened_at_cents)));
        if let Some(confirmed) = statement.confirmed {
            row("confirmed", moment(confirmed));
        }
        let name = if loan.ended.is_some() { "ended" } else { "cancelled" };
        row(name, moment(statement.ended));
    }
    let Some(ended) = &loan.ended else { return grid.text() };
    row("how", ended.exit.map_or("by a spend nobody can name", show::exit).to_owned());
    row("transaction", ended.txid.to_string());
    row("in block", ended.height.map_or("not yet".to_owned(), |height| height.to_string()));
    if let Some(price) = ended.price_cents {
        row("at a price of", usd(price));
    }
    row("owed then", owed(loan, ended));
    row("lender got", both(ended.paid_to_lender_sats));
    row("borrower got", both(ended.returned_to_borrower_sats));
    grid.text()
}

fn owed(loan: &LoanView, ended: &ExitView) -> String {
    match &loan.statement {
        Some(statement) => format!(
            "{}: {} lent and {} of interest",
            usd(ended.owed_cents),
            usd(loan.principal_cents),
            usd(statement.interest_cents)
        ),
        None => usd(ended.owed_cents),
    }
}

fn transactions(statement: &StatementView, role: Role) -> String {
    let theirs = format!("by the {}", role.other());
    let mut grid = Grid::new(["what", "fee", "by us", &theirs, "block", "transaction"]);
    for line in &statement.transactions {
        let fee = i64::try_from(line.fee_sats).unwrap_or(i64::MAX);
        grid.row([
            line.what.clone(),
            grouped(line.fee_sats),
            signed(line.ours_sats),
            signed(fee.saturating_sub(line.ours_sats)),
            line.height.map_or("waits".to_owned(), |height| height.to_string()),
            line.txid.to_string(),
        ]);
    }
    let is_given_back =
        statement.transactions.iter().any(|line| line.ours_sats < 0 || as_signed(line.fee_sats) < line.ours_sats);
    let note = if is_given_back { "A negative part was paid ahead at funding and not used.\n" } else { "" };
    format!("{}{note}", grid.right(&[1, 2, 3, 4]).spare(&[5]).text())
}

fn sums(statement: &StatementView, role: Role) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    let sat = |sats: i64| format!("{} sat", signed(sats));
    let (principal, paid) = (as_signed(statement.principal_sats), as_signed(statement.paid_sats));
    let (got, gave) = match role {
        Role::Borrower => (principal, paid),
        Role::Lender => (paid, principal),
    };
    row(if role == Role::Borrower { "lent to us" } else { "paid to us" }, sat(got));
    row(if role == Role::Borrower { "paid by us" } else { "lent by us" }, sat(gave.saturating_neg()));
    row("fees by us", sat(statement.fees_sats.saturating_neg()));
    row("our wallet", sat(statement.change_sats));
    let mut text = grid.right(&[1]).text();
    if let (Some(net), Some(price)) = (statement.net_cents, statement.ended_at_cents) {
        let (said, cents) = match (role, net < 0) {
            (_, true) => ("cost us", net.unsigned_abs()),
            (_, false) => ("brought us", net.unsigned_abs()),
        };
        text.push_str(&format!(
            "In dollars it {said} {}: the principal counts as agreed, what was paid and the fees at {} a bitcoin, the price \
             recorded with its end.\n",
            usd(cents),
            usd(price)
        ));
    }
    text
}

fn as_signed(sats: u64) -> i64 {
    i64::try_from(sats).unwrap_or(i64::MAX)
}

/// `1,234` or `−1,234`.
fn signed(number: i64) -> String {
    format!("{}{}", if number < 0 { "−" } else { "" }, grouped(number.unsigned_abs()))
}

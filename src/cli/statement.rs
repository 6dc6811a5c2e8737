//! The statement of a loan that is over: what happened when, who paid which fee, and what it came to.

use super::amount::short;
use super::out::{both, grouped, moment, sats, signed, usd, Grid};
use super::show;
use crate::api::views::{Exit, ExitView, LoanView, Role, Stage, StatementLine, StatementView};

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
        None => text.push_str(&match &loan.no_statement {
            Some(why) => format!("\nWho paid which fee cannot be said now: {why}.\n"),
            None => format!("\nWho paid which fee: loan show {}\n", short(&loan.loan_id.to_string())),
        }),
    }
    Some(text)
}

/// What a statement says where neither the node's record nor its chain knows.
const UNKNOWN: &str = "not known here";

fn known<T>(fact: Option<T>, text: impl FnOnce(T) -> String) -> String {
    fact.map_or(UNKNOWN.to_owned(), text)
}

fn ending(loan: &LoanView) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    if let Some(statement) = &loan.statement {
        let opened = known(statement.opened, moment);
        row("opened", format!("{opened}, at {}", usd(statement.opened_at_cents)));
        if loan.ended.is_some() {
            row("confirmed", known(statement.confirmed, moment));
        }
        let name = if loan.ended.is_some() { "ended" } else { "cancelled" };
        row(name, known(statement.ended, moment));
    }
    let Some(ended) = &loan.ended else { return grid.text() };
    row("how", ended.exit.map_or("by a spend nobody can name", show::exit).to_owned());
    row("transaction", ended.txid.to_string());
    row("in block", in_block(loan, ended));
    if let Some(price) = ended.price_cents {
        row("at a price of", usd(price));
        if ended.exit == Some(Exit::Repaid) {
            row("", "the oracle's then, a little against who proposed it".to_owned());
        }
    }
    row("owed then", owed(loan, ended));
    if let Some((cushion, owed)) = loan.statement.as_ref().and_then(|one| one.cushion_cents).zip(ended.owed_cents) {
        let all = usd(owed.saturating_add(cushion));
        row("", format!("and on top {} of cushion for the sale: {all} in all", usd(cushion)));
    }
    row("lender got", lender_got(loan, ended));
    row("borrower got", both(ended.returned_to_borrower_sats));
    grid.text()
}

/// What the lender got; of it, what is its own stake.
fn lender_got(loan: &LoanView, ended: &ExitView) -> String {
    let got = both(ended.paid_to_lender_sats);
    let paid = loan.statement.as_ref().and_then(|statement| statement.paid_sats);
    match paid.and_then(|paid| ended.paid_to_lender_sats.checked_sub(paid)) {
        Some(stake) if stake > 0 => format!("{got}, of it {} its own stake", sats(stake)),
        _ => got,
    }
}

/// The block of its end, as recorded; where this chain does not have the transaction, that too.
fn in_block(loan: &LoanView, ended: &ExitView) -> String {
    let lines = loan.statement.iter().flat_map(|statement| &statement.transactions);
    let is_missing = lines.into_iter().any(|line| line.txid == ended.txid && line.missing);
    match (ended.height, is_missing) {
        (None, _) => "not yet".to_owned(),
        (Some(height), false) => height.to_string(),
        (Some(height), true) => format!("{height} by the record; the chain here does not have it"),
    }
}

fn owed(loan: &LoanView, ended: &ExitView) -> String {
    let Some(owed) = ended.owed_cents else { return UNKNOWN.to_owned() };
    let by_block = loan.statement.as_ref().is_some_and(|statement| statement.owed_by_block);
    let by_block = if by_block { ", by the time of its block" } else { "" };
    match loan.statement.as_ref().and_then(|statement| statement.interest_cents) {
        Some(interest) => {
            format!("{}: {} lent and {} of interest{by_block}", usd(owed), usd(loan.principal_cents), usd(interest))
        }
        None => usd(owed),
    }
}

fn transactions(statement: &StatementView, role: Role) -> String {
    let theirs = format!("by the {}", role.other());
    let mut grid = Grid::new(["what", "fee", "by us", &theirs, "block", "transaction"]);
    for line in &statement.transactions {
        let part = |sats: Option<i64>| sats.map_or("?".to_owned(), signed);
        grid.row([
            line.what.clone(),
            line.fee_sats.map_or("?".to_owned(), grouped),
            part(line.ours_sats),
            part(theirs_of(line)),
            match line.height {
                Some(height) => height.to_string(),
                None if line.missing => "missing".to_owned(),
                None => "waits".to_owned(),
            },
            line.txid.to_string(),
        ]);
    }
    let lines = &statement.transactions;
    let mut note = String::new();
    if lines
        .iter()
        .any(|line| line.ours_sats.is_some_and(|part| part < 0) || theirs_of(line).is_some_and(|part| part < 0))
    {
        note.push_str("A negative part was paid ahead at funding and not used.\n");
    }
    if lines.iter().any(|line| line.missing) {
        note.push_str("What is missing was in a block by the record, and the chain here does not have it: see that bitcoind is on the right chain and has read all of it.\n");
    }
    if statement.given_back {
        note.push_str(
            "A peer gave this loan back: the making of our coin and repayments taken back before are not known here.\n",
        );
    }
    if lines.iter().any(|line| line.ours_sats.is_none()) {
        note.push_str("A question mark is not known here.\n");
    }
    format!("{}{note}", grid.right(&[1, 2, 3, 4]).spare(&[5]).text())
}

fn sums(statement: &StatementView, role: Role) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    let sat = |sats: Option<i64>| known(sats, |sats| format!("{} sat", signed(sats)));
    let (principal, paid) = (Some(as_signed(statement.principal_sats)), statement.paid_sats.map(as_signed));
    let (got, gave) = match role {
        Role::Borrower => (principal, paid),
        Role::Lender => (paid, principal),
    };
    row(if role == Role::Borrower { "lent to us" } else { "paid to us" }, sat(got));
    row(if role == Role::Borrower { "paid by us" } else { "lent by us" }, sat(gave.map(i64::saturating_neg)));
    row("fees by us", sat(statement.fees_sats.map(i64::saturating_neg)));
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

/// The other side's part of a transaction's fee.
fn theirs_of(line: &StatementLine) -> Option<i64> {
    Some(as_signed(line.fee_sats?).saturating_sub(line.ours_sats?))
}

fn as_signed(sats: u64) -> i64 {
    i64::try_from(sats).unwrap_or(i64::MAX)
}

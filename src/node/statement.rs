//! The statement of a loan that is over: what its transactions did, and who paid which fee.
//!
//! A fee's two parts are read off what each transaction did to the own wallet. What of that is neither principal nor debt,
//! stake nor what was paid ahead is fee; so every sat is in exactly one place, and the parts of both sides are the whole.

use super::events::recorded;
use super::tools::{error, lock, Tools};
use super::view::{ErrorView, ExitView, StatementLine, StatementView};
use crate::contract::offer::{borrower_shares, lender_shares};
use crate::contract::Role;
use crate::loan::units::{Cents, SATS_PER_BTC};
use crate::protocol::{ErrorCode, Event, Loan, Recorded};
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use std::collections::BTreeMap;

/// What a transaction of a loan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The lender's coin was made.
    Coin,
    /// The contract was funded.
    Funding,
    /// A funding coin was taken back.
    TakenBack,
    /// A repayment's coin was.
    RepaymentTakenBack,
    /// The contract ended.
    Exit,
    /// A child paid for that.
    Child,
}

/// A transaction as chain and wallet have it.
struct Found {
    part: Part,
    txid: Txid,
    height: Option<u32>,
    fee: u64,
    spent: u64,
    received: u64,
}

/// What the fees are told from.
struct Sums {
    role: Role,
    collateral: u64,
    principal: u64,
    stake: u64,
    /// This side's part of an exit's fee, paid at funding.
    ahead: u64,
    /// What the lender got for the debt.
    paid: u64,
}

impl Sums {
    /// This side's part of a transaction's fee.
    fn part_of(&self, found: &Found) -> i64 {
        let out = i128::from(found.spent) - i128::from(found.received);
        let [collateral, principal, stake, ahead, paid] =
            [self.collateral, self.principal, self.stake, self.ahead, self.paid].map(i128::from);
        let part = match (found.part, self.role) {
            (Part::Funding, Role::Borrower) => out - (collateral - principal + ahead),
            (Part::Funding, Role::Lender) => out - (principal + stake + ahead),
            (Part::Exit, Role::Borrower) => out + collateral - paid + ahead,
            (Part::Exit, Role::Lender) => out + paid + stake + ahead,
            _ => out,
        };
        i64::try_from(part).unwrap_or(i64::MAX)
    }
}

/// The statement of a loan that is over; `ended` is how it ended, if it did.
///
/// # Errors
/// When chain or store cannot be asked.
pub(super) async fn of(tools: &Tools, loan: &Loan, ended: Option<&ExitView>) -> Result<StatementView, ErrorView> {
    let mut found = Vec::new();
    for (part, txid) in parts(tools, loan) {
        found.extend(look(tools, part, txid).await?);
    }
    let log = recorded(&*tools.store, loan.id).map_err(|e| error(ErrorCode::Internal, format!("{e:#}")))?;
    made(loan, ended, &log, &found)
}

/// The transactions of a loan in the order in which they can have been.
fn parts(tools: &Tools, loan: &Loan) -> Vec<(Part, Txid)> {
    let id = Transaction::compute_txid;
    let funding = loan.funding.as_ref().map(|seen| &seen.transaction);
    let exit = loan.exit.as_ref().map(|exit| id(&exit.seen.transaction));
    let child = exit.and_then(|exit| lock(&tools.exits).child_of(loan.id, exit));
    let before =
        [(Part::Coin, loan.coin_made.as_ref()), (Part::Funding, funding), (Part::TakenBack, loan.withdrawal.as_ref())];
    let before = before.into_iter().filter_map(|(part, made)| Some((part, id(made?))));
    let back = loan.withdrawals.iter().copied().chain(loan.repayment_withdrawal.as_ref().map(id));
    let back = back.map(|txid| (Part::RepaymentTakenBack, txid));
    let end = exit.map(|txid| (Part::Exit, txid)).into_iter().chain(child.map(|txid| (Part::Child, txid)));
    before.chain(back).chain(end).collect()
}

/// A transaction with its fee and what it did to the wallet; nothing where another took its place.
async fn look(tools: &Tools, part: Part, txid: Txid) -> Result<Option<Found>, ErrorView> {
    let away = |e: crate::chain::Error| error(ErrorCode::Unavailable, e);
    let Some(seen) = tools.chain.transaction(txid).await.map_err(away)? else { return Ok(None) };
    let mut coins: BTreeMap<Txid, Transaction> = BTreeMap::new();
    let mut brought = Amount::ZERO;
    for OutPoint { txid, vout } in seen.transaction.input.iter().map(|input| input.previous_output) {
        if let std::collections::btree_map::Entry::Vacant(place) = coins.entry(txid) {
            let made = tools.chain.transaction(txid).await.map_err(away)?;
            let missing = || error(ErrorCode::Unavailable, format!("transaction {txid} is not on the chain right now"));
            place.insert(made.ok_or_else(missing)?.transaction);
        }
        let coin = coins.get(&txid).and_then(|made| made.output.get(usize::try_from(vout).ok()?));
        let value = coin.map_or(Amount::ZERO, |coin| coin.value);
        brought = brought.checked_add(value).unwrap_or(Amount::MAX_MONEY);
    }
    let takes = seen.transaction.output.iter().map(|out| out.value.to_sat()).fold(0, u64::saturating_add);
    let effect = lock(&tools.wallet).net_effect(&seen.transaction);
    Ok(Some(Found {
        part,
        txid,
        height: seen.confirmed.map(|confirmed| confirmed.height),
        fee: brought.to_sat().saturating_sub(takes),
        spent: effect.spent.to_sat(),
        received: effect.received.to_sat(),
    }))
}

fn made(loan: &Loan, ended: Option<&ExitView>, log: &[Recorded], found: &[Found]) -> Result<StatementView, ErrorView> {
    let terms = &loan.terms;
    let shares = match loan.role {
        Role::Borrower => borrower_shares(terms, 1),
        Role::Lender => lender_shares(terms),
    };
    let ahead = shares.map_err(|e| error(ErrorCode::Internal, e))?.exit_fee.to_sat();
    let stake = terms.stake.to_sat();
    let sums = Sums {
        role: loan.role,
        collateral: terms.collateral.to_sat(),
        principal: terms.principal_sats.to_sat(),
        stake,
        ahead,
        paid: ended.map_or(0, |ended| ended.paid_to_lender_sats.saturating_sub(stake)),
    };
    let transactions: Vec<StatementLine> = found.iter().map(|found| line(found, &sums, ended)).collect();
    let fees = transactions.iter().map(|line| line.ours_sats).fold(0, i64::saturating_add);
    let change = |line: &StatementLine| i128::from(line.received_sats) - i128::from(line.spent_sats);
    let change: i128 = transactions.iter().map(change).sum();
    let price = ended.and_then(|ended| ended.price_cents);
    let at = |wanted: fn(&Event) -> bool| log.iter().rev().find(|one| wanted(&one.event)).map(|one| one.at.0);
    Ok(StatementView {
        opened: loan.agreed_at.0,
        confirmed: at(|event| matches!(event, Event::FundingSeen { block: Some(_), .. })).filter(|_| ended.is_some()),
        ended: loan.exit.as_ref().map_or(loan.since, |exit| exit.at).0,
        opened_at_cents: terms.reference_price.0,
        ended_at_cents: price,
        interest_cents: ended.map_or(0, |ended| ended.owed_cents.saturating_sub(terms.principal.0)),
        principal_sats: ended.map_or(0, |_| sums.principal),
        paid_sats: sums.paid,
        transactions,
        fees_sats: fees,
        change_sats: i64::try_from(change).unwrap_or(i64::MAX),
        net_cents: price.and_then(|price| net_cents(&sums, terms.principal, fees, price)),
    })
}

fn line(found: &Found, sums: &Sums, ended: Option<&ExitView>) -> StatementLine {
    let exit = ended.and_then(|ended| ended.exit);
    let what = match found.part {
        Part::Coin => "lender's coin".to_owned(),
        Part::Funding => "funding".to_owned(),
        Part::TakenBack => "coin taken back".to_owned(),
        Part::RepaymentTakenBack => "repayment taken back".to_owned(),
        Part::Exit => exit.map_or("unknown spend".to_owned(), |exit| exit.to_string()),
        Part::Child => "child".to_owned(),
    };
    StatementLine {
        what,
        txid: found.txid,
        height: found.height,
        fee_sats: found.fee,
        ours_sats: sums.part_of(found),
        spent_sats: found.spent,
        received_sats: found.received,
    }
}

/// What it brought in dollars: the principal as agreed, debt and fees at `price`, rounded against this side.
fn net_cents(sums: &Sums, principal: Cents, fees: i64, price: u64) -> Option<i64> {
    let (paid, fees, principal) = (i128::from(sums.paid), i128::from(fees), i128::from(principal.0));
    // What leaves this side counts up, what comes to it down.
    let worth = |sats: i128| Some(sats.checked_mul(i128::from(price))?.div_euclid(i128::from(SATS_PER_BTC)));
    let net = match sums.role {
        Role::Borrower => worth(-(paid + fees))? + principal,
        Role::Lender => worth(paid - fees)? - principal,
    };
    i64::try_from(net).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn sums(role: Role, ahead: u64) -> Sums {
        Sums { role, collateral: 100_000, principal: 50_000, stake: 1_000, ahead, paid: 52_000 }
    }

    fn found(part: Part, fee: u64, spent: u64, received: u64) -> Found {
        Found { part, txid: Txid::all_zeros(), height: Some(1), fee, spent, received }
    }

    /// Funding at a fee of 300, of which the borrower pays 180; 400 ahead, half by each; then a repayment from the wallet at
    /// a fee of 700.
    #[test]
    fn both_sides_parts_are_the_whole_fee_and_the_wallets_change() {
        let (borrower, lender) = (sums(Role::Borrower, 200), sums(Role::Lender, 200));
        // 101,400 in the contract; the borrower spends 150,000 and gets its principal and 49,620 back.
        let funding = [found(Part::Funding, 300, 150_000, 99_620), found(Part::Funding, 300, 51_320, 0)];
        // The borrower adds a coin of 60,000; the lender gets 53,000, the borrower the rest.
        let exit = [found(Part::Exit, 700, 60_000, 107_700), found(Part::Exit, 700, 0, 53_000)];
        let parts = [&funding, &exit].map(|[ours, theirs]| (borrower.part_of(ours), lender.part_of(theirs)));
        assert_eq!(parts, [(180, 120), (500, 200)]);
        let change = |all: [&Found; 2]| all.iter().map(|f| f.received as i64 - f.spent as i64).sum::<i64>();
        assert_eq!(change([&funding[0], &exit[0]]), 50_000 - 52_000 - (180 + 500));
        assert_eq!(change([&funding[1], &exit[1]]), 52_000 - 50_000 - (120 + 200));
    }

    #[test]
    fn dollars_count_the_principal_as_agreed_and_all_else_at_the_price_of_the_end() {
        // 50,000 sat lent as $5.00 at $10,000; 52,000 sat and 680 of fees at $12,000 are $6.3216.
        let principal = Cents(500);
        assert_eq!(net_cents(&sums(Role::Borrower, 200), principal, 680, 1_200_000), Some(500 - 633));
        assert_eq!(net_cents(&sums(Role::Lender, 200), principal, 320, 1_200_000), Some(620 - 500));
        for (paid, price) in [(u64::MAX, u64::MAX), (21_000_000 * SATS_PER_BTC, u64::MAX)] {
            assert_eq!(
                net_cents(&Sums { paid, ..sums(Role::Lender, 200) }, principal, -320, price),
                None,
                "nothing else"
            );
        }
    }
}

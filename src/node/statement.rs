//! The statement of a loan that is over: what its transactions did, and who paid which fee.
//!
//! A fee's two parts are read off what each transaction did to the own wallet. What of that is neither principal nor debt,
//! stake nor what was paid ahead is fee; so every sat is in exactly one place, and the parts of both sides are the whole.

use super::events::recorded;
use super::present;
use super::tools::{error, lock, Tools};
use super::view::{ErrorView, ExitView, LoanView, StatementLine, StatementView};
use crate::contract::offer::{borrower_shares, lender_shares};
use crate::contract::Role;
use crate::loan::units::{Cents, Time, SATS_PER_BTC, WHOLE};
use crate::protocol::{ErrorCode, Event, Exit, Loan, Recorded};
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

/// A transaction of a loan by its record.
struct Named {
    part: Part,
    txid: Txid,
    /// Did a block have it, by the record?
    was_in_block: bool,
}

/// A transaction as chain and wallet have it.
#[derive(Debug)]
struct Found {
    part: Part,
    txid: Txid,
    /// `None` where the record says that a block had it, and this chain does not.
    there: Option<There>,
}

/// What it did there.
#[derive(Debug)]
struct There {
    /// Height and time of its block.
    block: Option<(u32, Time)>,
    fee: u64,
    spent: u64,
    received: u64,
}

/// What the fees are told from.
#[derive(Clone, Copy)]
struct Sums {
    role: Role,
    collateral: u64,
    principal: u64,
    stake: u64,
    /// This side's part of an exit's fee, paid at funding.
    ahead: u64,
    /// What the lender got for the debt; `None` where nobody can name the spend that ended it.
    paid: Option<u64>,
}

impl Sums {
    /// This side's part of a transaction's fee; `None` of a spend that nobody can name.
    fn part_of(&self, part: Part, there: &There) -> Option<i64> {
        let out = i128::from(there.spent) - i128::from(there.received);
        let [collateral, principal, stake, ahead] =
            [self.collateral, self.principal, self.stake, self.ahead].map(i128::from);
        let part = match (part, self.role) {
            (Part::Funding, Role::Borrower) => out - (collateral - principal + ahead),
            (Part::Funding, Role::Lender) => out - (principal + stake + ahead),
            (Part::Exit, Role::Borrower) => out + collateral - i128::from(self.paid?) + ahead,
            (Part::Exit, Role::Lender) => out + i128::from(self.paid?) + stake + ahead,
            _ => out,
        };
        Some(i64::try_from(part).unwrap_or(i64::MAX))
    }
}

/// The statement of a loan that is over; `ended` is how it ended, if it did.
///
/// # Errors
/// When chain or store cannot be asked.
pub(super) async fn of(tools: &Tools, loan: &Loan, ended: Option<&ExitView>) -> Result<StatementView, ErrorView> {
    let mut found = Vec::new();
    for named in parts(tools, loan) {
        found.extend(look(tools, named).await?);
    }
    let log = recorded(&*tools.store, loan.id).map_err(|e| error(ErrorCode::Internal, format!("{e:#}")))?;
    made(loan, ended, &log, &found)
}

/// A loan with its statement, and what was owed at its end as that tells it.
pub(super) fn beside(mut view: LoanView) -> LoanView {
    let told = view.statement.as_ref().filter(|statement| statement.owed_by_block);
    let owed = told.and_then(|statement| view.principal_cents.checked_add(statement.interest_cents?));
    if let Some(ended) = view.ended.as_mut() {
        ended.owed_cents = ended.owed_cents.or(owed);
    }
    view
}

/// What was owed when a receipt was given that this node did not see, by the terms at the time of its block.
fn owed_by_block(loan: &Loan, ended: &ExitView, found: &[Found]) -> Option<Cents> {
    let is_unseen = ended.exit == Some(Exit::Receipt) && ended.owed_cents.is_none();
    let (_, time) = found.iter().find(|found| found.part == Part::Exit)?.there.as_ref()?.block?;
    is_unseen.then(|| loan.terms.owed_at(time))
}

/// A transaction of a loan: what it was for, and how this side's part of its fee is told.
pub(super) struct OfLoan {
    pub what: String,
    pub txid: Txid,
    part: Part,
    sums: Option<Sums>,
}

impl OfLoan {
    /// This side's part of its fee, by what it did to the wallet, sats; below zero where what was paid ahead comes back.
    /// `None` of a spend that nobody can name.
    pub fn our_fee(&self, spent: u64, received: u64) -> Option<i64> {
        self.sums.as_ref()?.part_of(self.part, &There { block: None, fee: 0, spent, received })
    }
}

/// The loan's transactions, each by what it was for.
pub(super) fn named(tools: &Tools, loan: &Loan) -> Vec<OfLoan> {
    let ended = present::ended(loan);
    let exit = ended.as_ref().and_then(|ended| ended.exit);
    let sums = sums(loan, ended.as_ref()).ok();
    let of_loan = |Named { part, txid, .. }| OfLoan { what: what(part, exit), txid, part, sums };
    parts(tools, loan).into_iter().map(of_loan).collect()
}

fn sums(loan: &Loan, ended: Option<&ExitView>) -> Result<Sums, ErrorView> {
    let terms = &loan.terms;
    let shares = match loan.role {
        Role::Borrower => borrower_shares(terms, 1),
        Role::Lender => lender_shares(terms),
    };
    let stake = terms.stake.to_sat();
    let paid = |ended: &ExitView| ended.exit.map(|_| ended.paid_to_lender_sats.saturating_sub(stake));
    Ok(Sums {
        role: loan.role,
        collateral: terms.collateral.to_sat(),
        principal: terms.principal_sats.to_sat(),
        stake,
        ahead: shares.map_err(|e| error(ErrorCode::Internal, e))?.exit_fee.to_sat(),
        paid: ended.map_or(Some(0), paid),
    })
}

/// The transactions of a loan in the order in which they can have been.
fn parts(tools: &Tools, loan: &Loan) -> Vec<Named> {
    let id = Transaction::compute_txid;
    let named = |part, txid, was_in_block| Named { part, txid, was_in_block };
    let coin = loan.coin_made.as_ref().map(|made| named(Part::Coin, id(made), loan.funding.is_some()));
    let funding = loan.funding.as_ref();
    let funding = funding.map(|seen| named(Part::Funding, id(&seen.transaction), seen.block.is_some()));
    let back = loan.withdrawal.as_ref().map(|made| named(Part::TakenBack, id(made), false));
    let repaid_back = loan.withdrawals.iter().map(|txid| named(Part::RepaymentTakenBack, *txid, true));
    let repaid_back_now = loan.repayment_withdrawal.as_ref();
    let repaid_back_now = repaid_back_now.map(|made| named(Part::RepaymentTakenBack, id(made), false));
    let exit = loan.exit.as_ref().map(|exit| (id(&exit.seen.transaction), exit.seen.block.is_some()));
    let child = exit.and_then(|(exit, _)| lock(&tools.exits).child_of(loan.id, exit));
    let before = coin.into_iter().chain(funding).chain(back).chain(repaid_back).chain(repaid_back_now);
    let end = exit.map(|(txid, was_in_block)| named(Part::Exit, txid, was_in_block));
    before.chain(end).chain(child.map(|txid| named(Part::Child, txid, false))).collect()
}

/// A transaction with its fee and what it did to the wallet; nothing where another took its place.
async fn look(tools: &Tools, named: Named) -> Result<Option<Found>, ErrorView> {
    let away = |e: crate::chain::Error| error(ErrorCode::Unavailable, e);
    let Named { part, txid, was_in_block } = named;
    let Some(seen) = tools.chain.transaction(txid).await.map_err(away)? else {
        // An index that is being built knows of none.
        tools.chain.check().await.map_err(away)?;
        return Ok(was_in_block.then_some(Found { part, txid, there: None }));
    };
    let mut coins: BTreeMap<Txid, Transaction> = BTreeMap::new();
    let mut brought = Amount::ZERO;
    for OutPoint { txid, vout } in seen.transaction.input.iter().map(|input| input.previous_output) {
        if let std::collections::btree_map::Entry::Vacant(place) = coins.entry(txid) {
            let made = tools.chain.transaction(txid).await.map_err(away)?;
            if made.is_none() {
                tools.chain.check().await.map_err(away)?;
            }
            let missing = || error(ErrorCode::Unavailable, format!("transaction {txid} is not on the chain right now"));
            place.insert(made.ok_or_else(missing)?.transaction);
        }
        let coin = coins.get(&txid).and_then(|made| made.output.get(usize::try_from(vout).ok()?));
        let value = coin.map_or(Amount::ZERO, |coin| coin.value);
        brought = brought.checked_add(value).unwrap_or(Amount::MAX_MONEY);
    }
    let takes = seen.transaction.output.iter().map(|out| out.value.to_sat()).fold(0, u64::saturating_add);
    let effect = lock(&tools.wallet).net_effect(&seen.transaction);
    let there = There {
        block: seen.confirmed.map(|confirmed| (confirmed.height, confirmed.time)),
        fee: brought.to_sat().saturating_sub(takes),
        spent: effect.spent.to_sat(),
        received: effect.received.to_sat(),
    };
    Ok(Some(Found { part, txid, there: Some(there) }))
}

fn made(loan: &Loan, ended: Option<&ExitView>, log: &[Recorded], found: &[Found]) -> Result<StatementView, ErrorView> {
    let terms = &loan.terms;
    let owed_by_block = ended.and_then(|ended| owed_by_block(loan, ended, found));
    let sums = sums(loan, ended)?;
    let exit = ended.and_then(|ended| ended.exit);
    let transactions: Vec<StatementLine> = found.iter().map(|found| line(found, &sums, exit)).collect();
    let fees =
        transactions.iter().map(|line| line.ours_sats).try_fold(0i64, |sum, ours| Some(sum.saturating_add(ours?)));
    let change = |line: &StatementLine| Some(i128::from(line.received_sats?) - i128::from(line.spent_sats?));
    let change = transactions.iter().map(change).try_fold(0i128, |sum, change| Some(sum.saturating_add(change?)));
    let price = ended.and_then(|ended| ended.price_cents);
    let time_of = |part| {
        let block = found.iter().find(|found| found.part == part)?.there.as_ref()?.block;
        block.map(|(_, time)| time.0)
    };
    let given_back = is_given_back(log);
    let by_block = owed_by_block.map(|owed| owed.0);
    let interest = |ended: &ExitView| Some(ended.owed_cents.or(by_block)?.saturating_sub(terms.principal.0));
    Ok(StatementView {
        opened: (!given_back).then_some(loan.agreed_at.0),
        given_back,
        confirmed: ended.and_then(|_| time_of(Part::Funding)),
        ended: match &loan.exit {
            Some(exit) if exit.waited => Some(exit.at.0),
            Some(_) => time_of(Part::Exit),
            None => Some(loan.since.0),
        },
        opened_at_cents: terms.reference_price.0,
        ended_at_cents: price,
        interest_cents: ended.map_or(Some(0), interest),
        owed_by_block: owed_by_block.is_some(),
        cushion_cents: ended.filter(|_| exit == Some(Exit::Liquidated)).and_then(|ended| {
            let share = u128::from(ended.owed_cents?).checked_mul(terms.cushion.0.into())?;
            u64::try_from(share.div_ceil(WHOLE.into())).ok()
        }),
        principal_sats: ended.map_or(0, |_| sums.principal),
        paid_sats: sums.paid,
        transactions,
        fees_sats: fees,
        change_sats: change.map(|change| i64::try_from(change).unwrap_or(i64::MAX)),
        net_cents: price.zip(fees).and_then(|(price, fees)| net_cents(&sums, terms.principal, fees, price)),
    })
}

/// Was the loan given back by a peer? Then its log was written at once, from the terms to the block of its funding, and says
/// nothing of what led there: a negotiation has the borrower's proofs, or the lender's steps.
fn is_given_back(log: &[Recorded]) -> bool {
    let funded = |event: &Event| matches!(event, Event::FundingSeen { block: Some(_), .. });
    let led_there = |event: &Event| match event {
        Event::Agreed { proven, .. } => !proven.is_empty(),
        event => matches!(event, Event::LenderStep { .. } | Event::CoinMade { .. }),
    };
    let Some(end) = log.iter().position(|one| funded(&one.event)) else { return false };
    let begun = log.iter().take(end.saturating_add(1));
    let at = log.first().map(|one| one.at);
    begun.clone().all(|one| Some(one.at) == at) && !begun.clone().any(|one| led_there(&one.event))
}

fn line(found: &Found, sums: &Sums, exit: Option<Exit>) -> StatementLine {
    let there = found.there.as_ref();
    StatementLine {
        what: what(found.part, exit),
        txid: found.txid,
        height: there.and_then(|there| there.block).map(|(height, _)| height),
        missing: there.is_none(),
        fee_sats: there.map(|there| there.fee),
        ours_sats: there.and_then(|there| sums.part_of(found.part, there)),
        spent_sats: there.map(|there| there.spent),
        received_sats: there.map(|there| there.received),
    }
}

/// What a transaction was for, in words.
fn what(part: Part, exit: Option<Exit>) -> String {
    match part {
        Part::Coin => "lender's coin".to_owned(),
        Part::Funding => "funding".to_owned(),
        Part::TakenBack => "coin taken back".to_owned(),
        Part::RepaymentTakenBack => "repayment taken back".to_owned(),
        Part::Exit => exit.map_or("unknown spend".to_owned(), |exit| exit.to_string()),
        Part::Child => "child".to_owned(),
    }
}

/// What it brought in dollars: the principal as agreed, debt and fees at `price`, rounded against this side.
fn net_cents(sums: &Sums, principal: Cents, fees: i64, price: u64) -> Option<i64> {
    let (paid, fees, principal) = (i128::from(sums.paid?), i128::from(fees), i128::from(principal.0));
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
    use crate::loan::units::DAY;
    use crate::protocol::fixtures;
    use crate::protocol::Moment;
    use bitcoin::hashes::Hash;

    fn sums(role: Role, ahead: u64) -> Sums {
        Sums { role, collateral: 100_000, principal: 50_000, stake: 1_000, ahead, paid: Some(52_000) }
    }

    fn there(fee: u64, spent: u64, received: u64) -> There {
        There { block: Some((1, Time(2))), fee, spent, received }
    }

    /// Funding at a fee of 300, of which the borrower pays 180; 400 ahead, half by each; then a repayment from the wallet at
    /// a fee of 700.
    #[test]
    fn both_sides_parts_are_the_whole_fee_and_the_wallets_change() {
        let (borrower, lender) = (sums(Role::Borrower, 200), sums(Role::Lender, 200));
        // 101,400 in the contract; the borrower spends 150,000 and gets its principal and 49,620 back.
        let funding = (Part::Funding, [there(300, 150_000, 99_620), there(300, 51_320, 0)]);
        // The borrower adds a coin of 60,000; the lender gets 53,000, the borrower the rest.
        let exit = (Part::Exit, [there(700, 60_000, 107_700), there(700, 0, 53_000)]);
        let both = |(part, [ours, theirs]): &(Part, [There; 2])| {
            (borrower.part_of(*part, ours).unwrap(), lender.part_of(*part, theirs).unwrap())
        };
        assert_eq!([both(&funding), both(&exit)], [(180, 120), (500, 200)]);
        let change = |all: [&There; 2]| all.iter().map(|f| f.received as i64 - f.spent as i64).sum::<i64>();
        assert_eq!(change([&funding.1[0], &exit.1[0]]), 50_000 - 52_000 - (180 + 500));
        assert_eq!(change([&funding.1[1], &exit.1[1]]), 52_000 - 50_000 - (120 + 200));
    }

    #[test]
    fn dollars_count_the_principal_as_agreed_and_all_else_at_the_price_of_the_end() {
        // 50,000 sat lent as $5.00 at $10,000; 52,000 sat and 680 of fees at $12,000 are $6.3216.
        let principal = Cents(500);
        assert_eq!(net_cents(&sums(Role::Borrower, 200), principal, 680, 1_200_000), Some(500 - 633));
        assert_eq!(net_cents(&sums(Role::Lender, 200), principal, 320, 1_200_000), Some(620 - 500));
        for (paid, price) in [(u64::MAX, u64::MAX), (21_000_000 * SATS_PER_BTC, u64::MAX)] {
            let sums = Sums { paid: Some(paid), ..sums(Role::Lender, 200) };
            assert_eq!(net_cents(&sums, principal, -320, price), None, "nothing else");
        }
    }

    fn exit(exit: Option<Exit>, owed_cents: Option<u64>) -> ExitView {
        ExitView {
            exit,
            txid: Txid::all_zeros(),
            height: Some(9),
            price_cents: Some(1_000_000),
            owed_cents,
            paid_to_lender_sats: 40_000,
            returned_to_borrower_sats: 60_000,
        }
    }

    fn found(part: Part, there: Option<There>) -> Found {
        Found { part, txid: Txid::all_zeros(), there }
    }

    #[test]
    fn what_neither_record_nor_chain_knows_is_absent_and_so_is_every_sum_of_it() {
        let loan = fixtures::taken(Role::Borrower);
        let told = |ended: &ExitView, all: &[Found]| made(&loan, Some(ended), &[], all).unwrap();
        let funding = || found(Part::Funding, Some(there(300, 150_000, 99_620)));
        let end = || found(Part::Exit, Some(there(700, 60_000, 107_700)));
        let whole = told(&exit(Some(Exit::Repaid), Some(loan.terms.principal.0 + 50)), &[funding(), end()]);
        assert_eq!((whole.interest_cents, whole.paid_sats), (Some(50), Some(39_000)));
        assert!(whole.fees_sats.is_some() && whole.change_sats.is_some() && whole.net_cents.is_some(), "{whole:?}");
        assert_eq!((whole.confirmed, whole.opened), (Some(2), Some(loan.agreed_at.0)));
        // A repayment of before the backup.
        let unrecorded = told(&exit(Some(Exit::Repaid), None), &[funding(), end()]);
        assert_eq!((unrecorded.interest_cents, unrecorded.fees_sats), (None, whole.fees_sats));
        // A spend that nobody can name: what it did to the wallet is known, whose fee it was is not.
        let unnamed = told(&exit(None, None), &[funding(), end()]);
        assert_eq!((unnamed.paid_sats, unnamed.fees_sats, unnamed.net_cents), (None, None, None));
        assert_eq!(unnamed.change_sats, whole.change_sats);
        // Another chain under the node.
        let swapped = told(&exit(Some(Exit::Repaid), Some(5)), &[found(Part::Funding, None), end()]);
        assert_eq!((swapped.confirmed, swapped.fees_sats, swapped.change_sats), (None, None, None));
        let line = &swapped.transactions[0];
        assert!(line.missing && line.fee_sats.is_none() && line.height.is_none(), "{line:?}");
    }

    #[test]
    fn what_was_owed_at_a_receipt_that_this_node_did_not_see_is_that_of_its_blocks_time() {
        let loan = fixtures::taken(Role::Borrower);
        let at = loan.terms.start.plus(3 * DAY).unwrap();
        let end = || There { block: Some((9, at)), ..there(700, 60_000, 107_700) };
        let funding = || found(Part::Funding, Some(there(300, 150_000, 99_620)));
        let told = |owed, end: There| {
            let ended = exit(Some(Exit::Receipt), owed);
            let told = made(&loan, Some(&ended), &[], &[funding(), found(Part::Exit, Some(end))]).unwrap();
            let by_block = told.owed_by_block;
            let view = present::loan(&loan, Moment::default(), None);
            let view = beside(LoanView { ended: Some(ended), statement: Some(told), ..view });
            (view.ended.unwrap().owed_cents, view.statement.unwrap().interest_cents, by_block)
        };
        let (owed, principal) = (loan.terms.owed_at(at).0, loan.terms.principal.0);
        assert!(owed > principal);
        assert_eq!(told(None, end()), (Some(owed), Some(owed - principal), true));
        // What the record says stands, and while no block has it nothing is known.
        assert_eq!(told(Some(principal + 7), end()), (Some(principal + 7), Some(7), false));
        assert_eq!(told(None, There { block: None, ..end() }), (None, None, false));
    }

    #[test]
    fn a_loan_that_a_peer_gave_back_does_not_say_when_it_was_agreed() {
        use crate::protocol::awaiting::LenderStep;
        use crate::protocol::Block;
        let empty = Transaction {
            version: bitcoin::transaction::Version(3),
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        let block = Block { height: 7, hash: bitcoin::BlockHash::all_zeros() };
        let at = |unix, event| Recorded { at: Time(unix), event };
        let seen = |unix| at(unix, Event::FundingSeen { transaction: empty.clone(), block: Some(block) });
        let step = at(5, Event::LenderStep { step: LenderStep::PreparesCoin, until: Time(9) });
        let offered = || at(5, Event::Offered { offer: Vec::new() });
        assert!(is_given_back(&[offered(), seen(5)]));
        assert!(!is_given_back(&[offered(), step, seen(5)]), "negotiated, while time stood still");
        assert!(!is_given_back(&[offered(), seen(6)]) && !is_given_back(&[offered()]));
    }
}

//! What is signed and not in a block: when this side gives it up, and what it does then.

use super::event::{Event, Spend};
use super::state::{Loan, Stage};
use super::todo::Action;
use super::Moment;
use crate::contract::clauses::Clause;
use crate::contract::Role;
use crate::loan::units::Time;
use crate::settlement::spot::Bounds;
use crate::settlement::unfunded::{self, Funding, Reason};
use bitcoin::{Amount, OutPoint, Transaction};

/// Rivals of one funding transaction that are written down: each pays more than the last, and the first says enough.
const RIVALS_MOST: u32 = 16;

/// Whether a loan that is not funded is still wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfunded {
    given_up: Option<String>,
    /// Was it the price, or an exit, that it was given up for at first?
    by_price: bool,
    at_stake: Amount,
    was_in_block: bool,
    away: Option<Away>,
    /// Seconds for which the funding transaction was away before.
    before: u32,
    rivals: u32,
    /// Did a rival spend a coin of the other side's?
    by_them: bool,
}

/// The funding transaction was in the mempool, or was to be, and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// Since when.
    pub since: Time,
    /// What spends one of its coins instead, if that was seen.
    pub rival: Option<Spend>,
}

impl Unfunded {
    /// Why this side takes its funding coin back, if it does.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    /// What it would lose if the loan came to be all the same; zero where that is not known.
    pub fn at_stake(&self) -> Amount {
        self.at_stake
    }

    /// Since when the funding transaction is out of the mempool again, and what took its place.
    pub fn away(&self) -> Option<Away> {
        self.away
    }

    /// Has the other side displaced it by spending a coin of its own elsewhere?
    pub fn was_displaced_by_them(&self) -> bool {
        self.by_them
    }

    /// Was it given up for what would be lost, and not because it came out too late or stayed away too long?
    pub fn was_given_up_by_price(&self) -> bool {
        self.given_up.is_some() && self.by_price
    }

    pub(super) fn give_up(&mut self, reason: String, at_stake: Amount) {
        if self.given_up.is_none() {
            self.by_price = at_stake > Amount::ZERO;
        }
        self.given_up = Some(reason);
        self.at_stake = self.at_stake.max(at_stake);
    }

    /// The funding transaction was seen: in a block it is too late to walk away, and should a reorganisation undo that the
    /// loan is wanted. Where it only waits, what was given up before anything was signed against it is looked at anew.
    /// For how long a rival kept it out counts with what is to come: whoever keeps it out once may do so again.
    pub(super) fn seen(&mut self, in_block: bool, withdrawing: bool, at: Time) {
        self.was_in_block |= in_block;
        self.came_back(at);
        if in_block || !withdrawing {
            self.given_up = None;
            self.at_stake = Amount::ZERO;
        }
    }

    /// It left the mempool, or a rival of it is there, which spends one of `ours` or a coin of the other side's.
    pub(super) fn left(&mut self, rival: Option<Spend>, ours: &[OutPoint], at: Time) {
        self.by_them |= rival.is_some_and(|rival| !ours.contains(&rival.coin));
        let since = self.away.map_or(at, |away| away.since);
        self.away = Some(Away { since, rival: rival.or(self.away.and_then(|away| away.rival)) });
        self.rivals = self.rivals.saturating_add(u32::from(rival.is_some()));
    }

    /// It is in the mempool again.
    pub(super) fn came_back(&mut self, at: Time) {
        let away = self.away.take().map_or(0, |away| at.since(away.since));
        self.before = self.before.saturating_add(away);
    }
}

/// Where the funding transaction of a loan is that no block has or had, and that is signed.
fn place(loan: &Loan) -> Option<Funding> {
    match (loan.stage, loan.role) {
        _ if loan.unfunded.was_in_block || loan.is_funded() => None,
        (Stage::Signed, Role::Borrower) | (Stage::Funded, Role::Lender) => Some(Funding::Held),
        (Stage::Confirming, _) if loan.unfunded.away.is_some() => Some(Funding::Away),
        (Stage::Confirming, _) => Some(Funding::Out),
        _ => None,
    }
}

/// Does this side walk away already?
fn leaves(loan: &Loan) -> bool {
    loan.unfunded.given_up.is_some() || loan.withdrawal.is_some()
}

/// Must what takes the coin back pay above the funding transaction at once, wherever that is? Else it pays the market's rate
/// until the funding transaction stands against it.
pub fn must_stand(loan: &Loan) -> bool {
    unfunded::must_stand(&loan.terms, loan.funding_inputs.len(), loan.unfunded.at_stake)
}

/// A reason to walk away: the first, or one for which so much more is at stake that it is counted anew.
fn for_reason(loan: &Loan, Reason { text, at_stake }: Reason) -> Option<Event> {
    let is_more = unfunded::is_counted_anew(&loan.terms, loan.funding_inputs.len(), loan.unfunded.at_stake, at_stake);
    (!leaves(loan) || is_more).then_some(Event::GivenUp { reason: text, at_stake_sats: at_stake.to_sat() })
}

/// Time passed.
pub(super) fn on_tick(loan: &Loan, moment: Moment) -> Option<Event> {
    let funding = place(loan)?;
    // Where there is something to settle, that says it.
    let agreed = loan.agreed.iter().filter(|_| funding == Funding::Held).find_map(|clause| on_agreed(loan, *clause));
    if agreed.is_some() || leaves(loan) {
        return agreed;
    }
    let reason = match (funding, loan.unfunded.away) {
        (Funding::Held, _) => unfunded::why_late(&loan.terms, loan.since, moment.now)?,
        (Funding::Away, Some(away)) => unfunded::why_away(&loan.terms, away.since, loan.unfunded.before, moment.now)?,
        _ => return None,
    };
    Some(Event::GivenUp { reason, at_stake_sats: 0 })
}

/// When [`on_tick`] gives a funding transaction that is away up; `None` where it is not away, or is given up already.
pub fn away_until(loan: &Loan) -> Option<Time> {
    let away = loan.unfunded.away.filter(|_| place(loan) == Some(Funding::Away) && !leaves(loan))?;
    unfunded::away_until(&loan.terms, away.since, loan.unfunded.before)
}

/// The price moved, on the side on which this one loses by it. What is given up already waits for no block: what is at stake then is counted as for what is held, wherever
/// the funding transaction is.
pub(super) fn on_price(loan: &Loan, price: Bounds, moment: Moment) -> Option<Event> {
    let spot = match loan.role {
        Role::Borrower => price.at_or_below,
        Role::Lender => price.at_or_above,
    };
    let place = place(loan).map(|place| if leaves(loan) { Funding::Held } else { place })?;
    let place = (place, loan.funding_inputs.len());
    for_reason(loan, unfunded::why_at_price(loan.role, &loan.terms, place, spot, moment.now)?)
}

/// An exit is attested: a borrower does not let a loan be funded that is liquidated at once.
pub(super) fn on_attested(loan: &Loan, exit: &Transaction) -> Option<Event> {
    let skeleton = loan.skeleton.as_ref()?;
    touched(loan, super::event::paid(skeleton, exit).1)
}

/// The same where several oracles have said it and there is nothing to settle yet.
pub(super) fn on_agreed(loan: &Loan, clause: Clause) -> Option<Event> {
    let Clause::Touch { index } = clause else { return None };
    touched(loan, loan.payouts.touches.get(index)?.borrower)
}

/// The borrower would have the principal and this of its collateral.
fn touched(loan: &Loan, left: Amount) -> Option<Event> {
    place(loan).filter(|_| loan.role == Role::Borrower)?;
    let has = left.checked_add(loan.terms.principal_sats).unwrap_or(Amount::MAX_MONEY);
    let at_stake = loan.terms.collateral.checked_sub(has).unwrap_or(Amount::ZERO);
    let text = "an exit is attested already, and the loan is not in a block yet".into();
    for_reason(loan, Reason { text, at_stake })
}

/// Is it what takes our funding coins back, or what did before more had to be paid: coins of ours to the same place?
pub fn takes_back(loan: &Loan, transaction: &Transaction) -> bool {
    let places = |one: &Transaction| one.output.iter().map(|output| output.script_pubkey.clone()).collect::<Vec<_>>();
    let is_ours = transaction.input.iter().all(|input| loan.coins.contains(&input.previous_output));
    is_ours && loan.withdrawal.as_ref().is_some_and(|made| places(made) == places(transaction))
}

/// What a transaction that spends coins of the funding transaction only pays; `None` where it spends others.
pub fn withdrawal_fee(loan: &Loan, made: &Transaction) -> Option<Amount> {
    let known = loan.messages.funding_coins();
    let coin = |outpoint| Some(known.iter().find(|(coin, _)| *coin == outpoint)?.1.value);
    let mut coins = made.input.iter().map(|input| coin(input.previous_output));
    let worth = coins.try_fold(Amount::ZERO, |sum, coin| sum.checked_add(coin?))?;
    let paid = made.output.iter().map(|output| output.value).try_fold(Amount::ZERO, Amount::checked_add)?;
    worth.checked_sub(paid)
}

/// Does one transaction that takes coins of ours back spend one that another does, and pay more?
pub(super) fn outbids(loan: &Loan, one: &Transaction, other: &Transaction) -> bool {
    let spends = |coin: OutPoint| other.input.iter().any(|input| input.previous_output == coin);
    let fees = withdrawal_fee(loan, one).zip(withdrawal_fee(loan, other));
    one.input.iter().any(|input| spends(input.previous_output)) && fees.is_some_and(|(more, less)| more > less)
}

/// Is its funding transaction signed, and in no block? Where it is matters also to who takes a coin back: what displaces it,
/// or that, is said, and may be the other side's doing.
fn minds(loan: &Loan) -> bool {
    matches!(loan.stage, Stage::Signed | Stage::Funded | Stage::Confirming) && !loan.is_funded()
}

/// The mempool has the funding transaction no more, and no block has it. Where a coin of ours is taken back that is as it
/// should be.
pub(super) fn on_gone(loan: &Loan) -> Option<Event> {
    let is_wanted = minds(loan) && loan.stage == Stage::Confirming && loan.withdrawal.is_none();
    (is_wanted && loan.unfunded.away.is_none()).then_some(Event::FundingAway { rival: None })
}

/// A transaction that waits, and does not take our coin back, spends a coin of the funding transaction.
pub(super) fn on_rival(loan: &Loan, coin: OutPoint, rival: &Transaction) -> Option<Event> {
    let txid = rival.compute_txid();
    let known = loan.unfunded.away.and_then(|away| away.rival).is_some_and(|rival| rival.txid == txid);
    let is_news = minds(loan) && !known && loan.unfunded.rivals < RIVALS_MOST && !takes_back(loan, rival);
    is_news.then_some(Event::FundingAway { rival: Some(Spend { coin, txid }) })
}

/// The funding transaction that is known waits in the mempool.
pub(super) fn on_waiting(loan: &Loan) -> Option<Event> {
    (loan.stage == Stage::Confirming && loan.unfunded.away.is_some()).then_some(Event::FundingBack)
}

/// What is to be done about what is held: the coin taken back, or what brings the loan on. What becomes of the price matters
/// in either case.
pub(super) fn actions(loan: &Loan, wanted: Option<Action>, actions: &mut Vec<Action>) {
    match &loan.withdrawal {
        Some(withdrawal) => {
            actions.push(Action::Broadcast(Box::new(withdrawal.clone())));
            // What was enough while nothing was at stake may be displaced.
            actions.extend(must_stand(loan).then_some(Action::Withdraw));
        }
        None if loan.unfunded.given_up.is_some() => actions.push(Action::Withdraw),
        None => actions.extend(wanted),
    }
    actions.push(Action::WatchTouches);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rival_kept_out_before_it_was_let_in_counts_with_what_it_keeps_out_again() {
        let mut funding = Unfunded::default();
        funding.left(None, &[], Time(1_000));
        funding.seen(false, false, Time(1_059));
        assert_eq!((funding.away, funding.before), (None, 59));
        funding.left(None, &[], Time(1_100));
        funding.came_back(Time(1_101));
        assert_eq!(funding.before, 60, "a minute in all, however it is cut");
    }
}

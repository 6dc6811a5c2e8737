//! Beginning a loan: no coin twice, no more than the policy lends at once, no work for nothing.

use super::core::{refused, Core};
use super::jobs::{taking, Given, Key};
use super::present;
use super::requests::Requests;
use super::shown::InVain;
use super::tools::error;
use super::view::ErrorView;
use crate::contract::offer::cost_of_lending;
use crate::contract::{wire, Role};
use crate::loan::terms::{LoanId, Terms};
use crate::loan::units::Cents;
use crate::loan::{earning, policy};
use crate::protocol::messages::Borrow;
use crate::protocol::{Doing, ErrorCode, Event, Input, Loan};
use crate::settlement::deadline;
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why nothing is lent: for the borrower.
pub(super) type No = (ErrorCode, String);

impl Core {
    pub(super) fn begin(&mut self, id: LoanId, event: Event) -> anyhow::Result<Result<(), ErrorView>> {
        if self.loans.contains_key(&id) {
            return Ok(Ok(()));
        }
        if let Event::Agreed { coins, .. } = &event {
            let taken = self.loans.values().find(|loan| loan.reserved().iter().any(|coin| coins.contains(coin)));
            if let Some(other) = taken {
                return Ok(Err(error(
                    ErrorCode::Coins,
                    format!("a coin is set aside for loan {} already; try again", other.id),
                )));
            }
        }
        self.got.remove(&id);
        self.quotes.remove(&id);
        self.record(id, vec![event])
    }

    /// Lender: begins a loan whose borrower has proved `coins`, unless that is more than the policy lends at once, or
    /// the same coins have been shown before only to make us work.
    pub(super) fn lend(
        &mut self,
        id: LoanId,
        event: Event,
        shown: &[(OutPoint, Amount)],
    ) -> anyhow::Result<Result<(), ErrorView>> {
        let Event::Agreed { terms, peer, proven, .. } = &event else { return Ok(Ok(())) };
        if self.loans.contains_key(&id) {
            return Ok(Ok(()));
        }
        // Many quotes may be open; together they are no way around the limit.
        let left = Cents(self.policy.exposure_max.0.saturating_sub(self.exposure().0));
        if terms.principal > left {
            let text = format!("principal {}: this lender has {left} left to lend", terms.principal);
            return Ok(Err(error(ErrorCode::Exposure, text)));
        }
        // Much may have happened while its coins were looked at.
        let (coins, peer) = (proven.clone(), *peer);
        let terms = terms.clone();
        let shown_before = self.guard(&coins, peer).and_then(|()| self.not_in_vain(shown, id));
        if shown_before.is_ok() {
            self.supersede(&coins, peer, id)?;
        }
        let allowed = shown_before.and_then(|()| self.room(peer, &terms));
        if let Err((code, message)) = allowed.and_then(|()| self.can_begin(&terms, peer)) {
            return Ok(Err(error(code, message)));
        }
        // Counted first: what comes to nothing by a crash counts too.
        self.show_coins(shown, id)?;
        self.begin(id, event)
    }

    /// What is said of a quote that a borrower takes before its coins are looked at. It has proved nothing yet: so nothing
    /// here depends on which coins it names, and nothing changes.
    pub(super) fn may_look(&self, given: &Given, borrow: &Borrow) -> Result<(), No> {
        // Without a price there is no new quote either.
        let ask = |(code, text)| match code {
            ErrorCode::Unavailable => (code, format!("{text}; ask again in a while")),
            _ => (code, format!("{text}; ask for a new one")),
        };
        self.allows(given, borrow)?;
        self.is_near(&given.terms).map_err(ask)
    }

    /// The same once its coins are proved: they are neither promised elsewhere nor more than this node can serve. An earlier
    /// negotiation of the same borrower with the same coins ends here.
    pub(super) fn may_lend(
        &mut self,
        given: &Given,
        borrow: &Borrow,
        shown: &[(OutPoint, Amount)],
    ) -> anyhow::Result<Result<(), No>> {
        let (id, peer) = (given.terms.id(), given.peer);
        let proved: Vec<OutPoint> = shown.iter().map(|(coin, _)| *coin).collect();
        // Much may have happened while they were looked at.
        let guarded = self.may_look(given, borrow).and_then(|()| self.guard(&proved, peer));
        let guarded = guarded.and_then(|()| self.not_in_vain(shown, id));
        if guarded.is_ok() {
            self.supersede(&proved, peer, id)?;
        }
        Ok(guarded.and_then(|()| self.can_begin(&given.terms, given.peer)))
    }

    /// The borrower's coins are proved: what the contract is locked to is fetched now.
    pub(super) fn on_proved(
        &mut self,
        given: Given,
        borrow: &Borrow,
        shown: Vec<(OutPoint, Amount)>,
    ) -> anyhow::Result<()> {
        let (id, peer) = (given.terms.id(), given.peer);
        // Begun already, or given up by its borrower since.
        if self.loans.contains_key(&id) || self.is_given_up(id, &shown)? {
            return Ok(());
        }
        if let Err((code, message)) = self.may_lend(&given, borrow, &shown)? {
            tracing::debug!(%peer, loan = %id, "{message}");
            self.send(peer, &refused(id.0, code, &message));
            return Ok(());
        }
        // Part of the turn that the look at the coins took.
        self.spawn(Key::Loan(id), Some(peer), id.0, taking::agree(self.tools.clone(), given, shown));
        Ok(())
    }

    /// Whether a quote can be taken, as far as is known before its coins are: what would be refused then is not quoted.
    pub(super) fn may_quote(&mut self, terms: &Terms, peer: PublicKey) -> Result<(), No> {
        self.can_quote(terms, peer)?;
        match self.policy.approval {
            policy::Approval::Manual if !self.may_make_place() => self.has_place(peer),
            _ => Ok(()),
        }
    }

    /// Neither node signs at a price that has moved, nor without one: that is said before anything is made for it. A lender
    /// that takes a loan up without a price has the silence to answer for, and not the borrower.
    pub(super) fn is_near(&self, terms: &Terms) -> Result<(), No> {
        let spot = self.tools.watched_spot(&terms.oracles, usize::from(terms.threshold));
        match spot {
            Ok(spot) if deadline::is_near(terms.reference_price, spot) => Ok(()),
            Ok(spot) => {
                let text = format!("the price is {spot}, more than 0.5 % from the quote's {}", terms.reference_price);
                Err((ErrorCode::PriceMoved, text))
            }
            Err(why) => {
                let text =
                    format!("this lender has no fresh price, and takes no quote up without one: {}", why.message());
                Err((ErrorCode::Unavailable, text))
            }
        }
    }

    /// A negotiation takes megabytes before it is signed and paid for.
    fn room(&self, peer: PublicKey, terms: &Terms) -> Result<(), No> {
        self.begins_loans()?;
        match self.limits.has_room(&peer, terms) {
            true => Ok(()),
            false => {
                Err((ErrorCode::Busy, "this lender negotiates as much as it can at once; ask again in a while".into()))
            }
        }
    }

    pub(super) fn allows(&self, given: &Given, borrow: &Borrow) -> Result<(), No> {
        let terms = &given.terms;
        if deadline::has_expired(terms, self.moment.now) {
            return Err((ErrorCode::Expired, format!("the quote expired at {}; ask for a new one", terms.expires)));
        }
        let request = policy::Request {
            principal: given.asked,
            collateral: terms.collateral,
            days: terms.days,
            oracles: terms.oracles.clone(),
            spot: terms.reference_price,
            exposure: self.exposure(),
            fee_rate: terms.fee_rate,
        };
        let refuse = |refusal: policy::Refusal| (code(&refusal), refusal.to_string());
        let quoted = self.policy.quote(&request).map_err(refuse)?;
        let fees = cost_of_lending(terms, given.making).map_err(|e| (ErrorCode::Amount, e.to_string()))?;
        earning::check(&self.policy, quoted.initial_ltv, terms, fees).map_err(refuse)?;
        if self.policy.threshold != terms.threshold {
            let text = "this lender's policy has changed since the quote; ask for a new one";
            return Err((ErrorCode::Policy, text.into()));
        }
        match borrow.coins.len() {
            1..=wire::MAX_INPUTS => self.room(given.peer, terms),
            count => Err((ErrorCode::Coins, format!("{count} coins, 1 to {}", wire::MAX_INPUTS))),
        }
    }

    /// A coin backs one negotiation at a time. Asked of proved coins only: else anybody could ask what is promised here.
    fn guard(&self, coins: &[OutPoint], peer: PublicKey) -> Result<(), No> {
        // Which loan it is stays between its two sides.
        let promised_to = |other: LoanId| {
            tracing::debug!(%peer, loan = %other, "refused: a coin is promised to another loan");
            Err((ErrorCode::Coins, "a coin is promised to another loan already; show another".into()))
        };
        let promised = self.shown_for(coins).find(|loan| loan.peer != peer || !loan.is_negotiating());
        if let Some(loan) = promised {
            return promised_to(loan.id);
        }
        let asked = self.requests.all().into_iter().filter(|request| request.peer() != peer);
        match asked.into_iter().find(|request| coins.iter().any(|coin| request.is_for(coin))) {
            Some(other) => promised_to(other.id()),
            None => Ok(()),
        }
    }

    /// What these coins were shown for that came to nothing, or would end for loan `id` to take its place: each costs us a
    /// transaction and a record.
    pub(super) fn coins_in_vain(&self, coins: &[OutPoint], id: LoanId) -> InVain {
        let is_signed =
            |loan: &LoanId| self.loans.get(loan).is_some_and(|loan| !loan.is_negotiating() && !loan.is_in_vain());
        self.shown.in_vain(coins, |loan| *loan != id && !is_signed(loan))
    }

    /// Were these coins shown too often for what came to nothing?
    pub(super) fn not_in_vain(&self, shown: &[(OutPoint, Amount)], id: LoanId) -> Result<(), No> {
        let coins: Vec<OutPoint> = shown.iter().map(|(coin, _)| *coin).collect();
        match self.coins_in_vain(&coins, id).refusal(shown) {
            Some(text) => Err((ErrorCode::Coins, text)),
            None => Ok(()),
        }
    }

    /// Coins that were proved for a loan that is about to begin, or to be asked for.
    pub(super) fn show_coins(&mut self, shown: &[(OutPoint, Amount)], id: LoanId) -> anyhow::Result<()> {
        let goes_on = |loan: &LoanId| *loan == id || goes_on(&self.loans, &self.requests, loan);
        self.shown.show(shown, id, self.moment.now, goes_on).context("keep which coins were shown")
    }

    /// The negotiations that these coins were proved for and that still go on.
    fn shown_for<'a>(&'a self, coins: &'a [OutPoint]) -> impl Iterator<Item = &'a Arc<Loan>> {
        let shown = coins.iter().flat_map(|coin| self.shown.of(coin)).filter(|showing| showing.is_most());
        let loans = shown.filter_map(|showing| self.loans.get(&showing.loan));
        loans.filter(|loan| present::phase(&loan.stage) == 0)
    }

    /// Ends the earlier negotiations of the same borrower with the same coins, which it has proved.
    fn supersede(&mut self, coins: &[OutPoint], peer: PublicKey, id: LoanId) -> anyhow::Result<()> {
        self.supersede_requests(coins, peer, id)?;
        let earlier: Vec<LoanId> = self.shown_for(coins).filter(|loan| loan.peer == peer).map(|loan| loan.id).collect();
        for earlier in earlier {
            let reason = "its coins were promised to another loan".to_string();
            if self.input(earlier, Input::Cancel { reason, by: Doing::Borrower })?.is_ok() {
                let text = "its coins were promised to another loan of yours, which goes on in its place";
                self.send(peer, &refused(earlier.0, ErrorCode::Superseded, text));
            }
        }
        Ok(())
    }

    /// A negotiation that the chain or time may have ended: if so the other side's node is told why.
    pub(super) fn tell_ended(&mut self, id: LoanId, code: ErrorCode) {
        let Some(loan) = self.loans.get(&id).cloned() else { return };
        if let Some(reason) = &loan.cancelled_because {
            self.send(loan.peer, &refused(id.0, code, reason));
        }
    }

    /// What is lent out or being agreed, by the dollars it counted at first.
    pub fn exposure(&self) -> Cents {
        self.loans
            .values()
            .filter(|loan| loan.role == Role::Lender && present::phase(&loan.stage) < 2)
            .fold(Cents(0), |sum, loan| Cents(sum.0.saturating_add(loan.terms.principal.0)))
    }
}

/// Did what coins were shown for not come to nothing, or not yet? What is not known any more came to nothing.
pub(super) fn goes_on(loans: &BTreeMap<LoanId, Arc<Loan>>, requests: &Requests, id: &LoanId) -> bool {
    loans.get(id).is_some_and(|loan| !loan.is_in_vain()) || requests.get(id).is_some()
}

/// Which refusal it is where a policy forbids a loan.
pub fn code(refusal: &policy::Refusal) -> ErrorCode {
    match refusal {
        policy::Refusal::ExposureExceeded { .. } => ErrorCode::Exposure,
        _ => ErrorCode::Policy,
    }
}

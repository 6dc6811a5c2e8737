//! Beginning a loan: no coin twice, no more than the policy lends at once, no work for nothing.

use super::core::{refused, Core};
use super::present;
use super::tools::error;
use super::view::ErrorView;
use crate::contract::Role;
use crate::loan::terms::LoanId;
use crate::loan::units::Cents;
use crate::protocol::{ErrorCode, Event, Input, Stage};
use bitcoin::secp256k1::PublicKey;
use bitcoin::OutPoint;

/// Quotes given and kept at most, and of one peer.
const GIVEN_MOST: usize = 1_000;
const GIVEN_PER_PEER: usize = 32;
/// Loans that may come to nothing in a day before their coin is refused.
const PROVEN_IN_VAIN: usize = 5;

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
        self.given.remove(&id);
        self.record(id, vec![event])
    }

    /// Lender: begins a loan whose borrower has proved `coins`, unless that is more than the policy lends at once, or
    /// the same coins have been shown before only to make us work.
    pub(super) fn lend(
        &mut self,
        id: LoanId,
        event: Event,
        coins: &[OutPoint],
    ) -> anyhow::Result<Result<(), ErrorView>> {
        let Event::Agreed { terms, peer, .. } = &event else { return Ok(Ok(())) };
        if self.loans.contains_key(&id) {
            return Ok(Ok(()));
        }
        // Many quotes may be open; together they are no way around the limit.
        let left = Cents(self.policy.exposure_max.0.saturating_sub(self.exposure().0));
        if terms.principal > left {
            let text = format!("principal {}: this lender has {left} left to lend", terms.principal);
            return Ok(Err(error(ErrorCode::Exposure, text)));
        }
        if let Err(refusal) = self.supersede(coins, *peer)? {
            return Ok(Err(refusal));
        }
        let now = self.moment.now;
        let begun = self.begin(id, event)?;
        if begun.is_ok() {
            for coin in coins {
                self.proven.entry(*coin).or_default().push((id, now));
            }
        }
        Ok(begun)
    }

    /// A coin backs one negotiation at a time: an earlier one of the same borrower ends; a borrower whose coins have
    /// come to nothing too often today is refused, for each costs us a transaction and a record.
    pub(super) fn supersede(&mut self, coins: &[OutPoint], peer: PublicKey) -> anyhow::Result<Result<(), ErrorView>> {
        let shown: Vec<LoanId> =
            coins.iter().filter_map(|coin| self.proven.get(coin)).flatten().map(|(id, _)| *id).collect();
        for earlier in shown {
            let Some(loan) = self.loans.get(&earlier) else { continue };
            if present::phase(&loan.stage) != 0 {
                continue;
            }
            let reason = "its coins were promised to another loan".to_string();
            let ended = loan.peer == peer && self.input(earlier, Input::Cancel { reason })?.is_ok();
            if !ended {
                return Ok(Err(error(ErrorCode::Coins, format!("a coin is promised to loan {earlier} already"))));
            }
            let text = "its coins were promised to another loan of yours, which goes on in its place";
            self.send(peer, &refused(earlier.0, ErrorCode::Superseded, text));
        }
        let idle = |id: &LoanId| self.loans.get(id).is_some_and(|loan| matches!(loan.stage, Stage::Cancelled { .. }));
        let wasted = |coin: &&OutPoint| {
            let shown = self.proven.get(*coin).map(Vec::as_slice).unwrap_or_default();
            shown.iter().filter(|(id, _)| idle(id)).count() >= PROVEN_IN_VAIN
        };
        Ok(match coins.iter().find(wasted) {
            Some(coin) => Err(error(
                ErrorCode::Coins,
                format!(
                    "coin {coin} was shown for {PROVEN_IN_VAIN} loans today that came to nothing; come back tomorrow"
                ),
            )),
            None => Ok(()),
        })
    }

    /// What is lent out or being agreed, by the dollars it counted at first.
    pub fn exposure(&self) -> Cents {
        self.loans
            .values()
            .filter(|loan| loan.role == Role::Lender && present::phase(&loan.stage) < 2)
            .fold(Cents(0), |sum, loan| Cents(sum.0.saturating_add(loan.terms.principal.0)))
    }

    /// May this peer have one more quote? Where the book is full, the quotes of peers that have gone make room.
    pub(super) fn has_room_for_quote(&mut self, peer: PublicKey) -> bool {
        if self.given.values().filter(|given| given.peer == peer).count() >= GIVEN_PER_PEER {
            return false;
        }
        if self.given.len() >= GIVEN_MOST {
            let net = &self.tools.net;
            self.given.retain(|_, given| given.peer == peer || net.is_connected(given.peer));
        }
        self.given.len() < GIVEN_MOST
    }
}

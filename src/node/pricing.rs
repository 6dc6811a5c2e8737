//! What a loan's oracles say of the price now: the price they agree on, what enough of them to settle it say where they do
//! not, and why there is none.
//!
//! Reads what the watch heard last. Never asks anybody.

use super::core::Core;
use super::present;
use super::tools::lock;
use crate::loan::units::{Cents, Time};
use crate::protocol::Loan;
use crate::settlement::spot::{agreed_by_operators_floor, bounds_by_operators, Bounds, NoSpot};
use bitcoin::key::XOnlyPublicKey;

impl Core {
    /// The price now, as the loan's oracles last said it.
    ///
    /// # Errors
    /// When too few have a fresh one, or they do not agree.
    pub fn price_of(&self, loan: &Loan) -> Result<Cents, NoSpot> {
        let (prices, threshold) = (self.fresh_prices(loan), loan.payouts.quorum.threshold);
        agreed_by_operators_floor(&prices, &loan.terms.oracles, threshold, &self.tools.operators())
    }

    /// What enough of the loan's oracles to settle it say of the price, whether they agree on one or not.
    ///
    /// # Errors
    /// When too few have a fresh one.
    pub fn bounds_of(&self, loan: &Loan) -> Result<Bounds, NoSpot> {
        let (prices, threshold) = (self.fresh_prices(loan), loan.payouts.quorum.threshold);
        bounds_by_operators(&prices, &loan.terms.oracles, threshold, &self.tools.operators())
    }

    fn fresh_prices(&self, loan: &Loan) -> Vec<(XOnlyPublicKey, Cents)> {
        let oracles = lock(&self.tools.oracles);
        let last = |key: &XOnlyPublicKey| oracles.get(key).and_then(|oracle| oracle.spot.as_ref());
        let fresh = |key: &XOnlyPublicKey| Some((*key, present::fresh_price(last(key), self.moment.now)?));
        loan.terms.oracles.iter().filter_map(fresh).collect()
    }

    /// That the loan's oracles say prices that are too far apart, and by which of them it is watched; nothing where they
    /// agree, or too few say one.
    pub(super) fn why_apart(&self, loan: &Loan) -> Option<String> {
        let Err(why @ NoSpot::Apart { threshold, .. }) = self.price_of(loan) else { return None };
        let lowest = self.bounds_of(loan).ok()?.at_or_below;
        Some(format!(
            "there is no price for this loan: {why}. Nothing is quoted or repaid until they do; touches settle it as ever, \
             and margin lines are watched at {lowest}, as {threshold} of them say that or less"
        ))
    }

    /// Why no price is shown for a loan, in words; nothing where one is.
    pub(super) fn why_no_price(&self, loan: &Loan) -> Option<String> {
        let why = self.price_of(loan).err()?;
        let oracles = lock(&self.tools.oracles);
        let said = |key: &XOnlyPublicKey| oracles.get(key).map(|oracle| (oracle.spot, oracle.trouble.is_some()));
        match (why, loan.terms.oracles.as_slice()) {
            (NoSpot::Silent { .. }, [only]) => Some(match said(only) {
                None => "its oracle is not added here".to_owned(),
                Some((Some(spot), false)) => why_not_of_now(spot.unix, self.moment.now),
                Some((_, true)) => "its oracle does not say one that counts: see `hypothec status`".to_owned(),
                Some((None, false)) => "its oracle has said none yet".to_owned(),
            }),
            (why, _) => Some(why.to_string()),
        }
    }
}

/// Why a price of `unix` does not count at `now`.
fn why_not_of_now(unix: Time, now: Time) -> String {
    let (seconds, side) = if unix < now { (now.since(unix), "behind") } else { (unix.since(now), "ahead of") };
    let by = match seconds / 60 {
        0 | 1 => "more than a minute".to_owned(),
        minutes @ ..=119 => format!("{minutes} minutes"),
        minutes => format!("{} hours", minutes / 60),
    };
    format!("its oracle's newest price is {by} {side} this machine's clock, and does not count")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_does_not_count_is_said_to_be_early_or_late_and_by_how_much() {
        let now = Time(1_584_003_600);
        let said = |unix| why_not_of_now(Time(unix), now);
        assert!(said(now.0 - 61).contains("is more than a minute behind this"), "{}", said(now.0 - 61));
        assert!(said(now.0 - 7_199).contains("is 119 minutes behind this"), "{}", said(now.0 - 7_199));
        assert!(said(now.0 + 7_200).contains("is 2 hours ahead of this"), "{}", said(now.0 + 7_200));
    }
}

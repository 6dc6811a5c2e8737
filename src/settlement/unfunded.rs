//! A loan that is signed and not funded, and when a side takes its coin back.
//!
//! Until the funding transaction is in a block somebody can still decide whether the loan comes to be, at a price of
//! before: the lender while it alone holds all signatures, the borrower while it keeps the transaction out by a rival
//! spend, and both while it waits. A side that loses by waiting more than it costs to walk away walks away.

use crate::contract::Role;
use crate::loan::fees::{TxKind, INPUT};
use crate::loan::terms::Terms;
use crate::loan::units::{sats_for_cents_ceil, BasisPoints, Cents, Time, WHOLE};
use crate::settlement::deadline;
use bitcoin::Amount;

/// How long what both have signed may take to be in the mempool, seconds.
pub const PATIENCE: u32 = 60;
/// How far spot may go against a side before the funding transaction is out: as far as it may be when both sign, and as
/// much again, so that nobody walks away from an honest loan for the jitter of some seconds.
pub const HELD_DRIFT: BasisPoints = BasisPoints(100);
/// How far once it is out: the other side holds nothing then, and the next block ends it.
pub const OUT_DRIFT: BasisPoints = BasisPoints(200);
/// What a transaction that takes one coin back weighs, virtual bytes.
const WITHDRAWAL: u64 = 110;

/// Is the funding transaction known to nobody but who holds it, or out for all to see?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// Held by one side.
    Held,
    /// In the mempool, with so many inputs.
    Out { inputs: u64 },
}

/// What walking away costs at most, by the rate of the terms: one's own transaction, and against a funding transaction that
/// is out what that pays as well. `None` on overflow.
fn cost_ceil(terms: &Terms, funding: Funding) -> Option<Amount> {
    let size = match funding {
        Funding::Held => WITHDRAWAL,
        Funding::Out { inputs } => {
            let more = inputs.saturating_sub(2).saturating_mul(INPUT);
            TxKind::Funding.vbytes_max().saturating_add(more).saturating_add(WITHDRAWAL)
        }
    };
    terms.fee_rate.fee(size)
}

/// What a side loses by a loan at the reference price while spot is another: a borrower the sats it owes above those it
/// gets, a lender those it pays above those it is owed.
fn lost(role: Role, terms: &Terms, spot: Cents) -> Amount {
    let owed = sats_for_cents_ceil(terms.principal, spot).unwrap_or(Amount::MAX_MONEY);
    let lost = match role {
        Role::Borrower => owed.checked_sub(terms.principal_sats),
        Role::Lender => terms.principal_sats.checked_sub(owed),
    };
    lost.unwrap_or(Amount::ZERO)
}

/// Why a side walks away at `spot`, in words; `None` where it waits on.
pub fn why_at_price(role: Role, terms: &Terms, funding: Funding, spot: Cents) -> Option<String> {
    let drift = match funding {
        Funding::Held => HELD_DRIFT,
        Funding::Out { .. } => OUT_DRIFT,
    };
    let reference = terms.reference_price;
    let far = u128::from(reference.0.abs_diff(spot.0)) * u128::from(WHOLE);
    let is_far = far > u128::from(reference.0) * u128::from(drift.0);
    let is_dear = cost_ceil(terms, funding).is_some_and(|cost| lost(role, terms, spot) > cost);
    let side = if spot < reference { "below" } else { "above" };
    (is_far && is_dear).then(|| {
        format!("spot is {spot}, more than {drift} {side} the quote's {reference}, and the loan is not in a block yet")
    })
}

/// Why a side walks away at `now` from what was signed at `since` and is not out, in words; `None` where it waits on.
pub fn why_late(terms: &Terms, since: Time, now: Time) -> Option<String> {
    if deadline::has_expired(terms, now) {
        return Some(format!("the terms expired at {} before the funding transaction was out", terms.expires));
    }
    (now.since(since) >= PATIENCE)
        .then(|| format!("the funding transaction was not out {PATIENCE} s after the last signature"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::reference;

    const HELD: Funding = Funding::Held;
    const OUT: Funding = Funding::Out { inputs: 2 };

    #[test]
    fn a_side_walks_away_from_a_price_that_went_against_it_and_not_from_jitter_or_from_a_price_for_it() {
        let terms = reference();
        assert_eq!(terms.reference_price, Cents(10_000_000));
        let cases = [
            (Role::Borrower, HELD, 9_900_000, false),
            (Role::Borrower, HELD, 9_899_999, true),
            (Role::Borrower, HELD, 10_500_000, false),
            (Role::Lender, HELD, 10_100_000, false),
            (Role::Lender, HELD, 10_100_001, true),
            (Role::Lender, HELD, 9_500_000, false),
            (Role::Borrower, OUT, 9_800_000, false),
            (Role::Borrower, OUT, 9_799_999, true),
            (Role::Lender, OUT, 10_200_001, true),
            (Role::Borrower, HELD, 0, true),
        ];
        for (role, funding, spot, walks) in cases {
            let why = why_at_price(role, &terms, funding, Cents(spot));
            assert_eq!(why.is_some(), walks, "{role} {funding:?} at {spot}: {why:?}");
        }
    }

    #[test]
    fn nobody_walks_away_for_less_than_it_costs() {
        // 100 dollars: 2 % are 2,000 sats, and walking away from a funding transaction that is out costs 9,025.
        let small = Terms { principal: Cents(10_000), principal_sats: Amount::from_sat(100_000), ..reference() };
        let walks = |funding, spot| why_at_price(Role::Borrower, &small, funding, Cents(spot)).is_some();
        assert_eq!(cost_ceil(&small, OUT), Some(Amount::from_sat(361 * 25)));
        assert!(!walks(OUT, 9_750_000) && !walks(OUT, 9_180_000));
        assert!(walks(OUT, 9_150_000));
        assert!(!walks(HELD, 9_750_000) && walks(HELD, 9_700_000));
    }

    #[test]
    fn what_is_signed_is_out_within_a_minute_and_before_the_terms_expire() {
        let terms = reference();
        let late = |since: u32, now: u32| why_late(&terms, Time(terms.expires.0 - since), Time(terms.expires.0 - now));
        assert_eq!((late(500, 441), late(500, 440).is_some()), (None, true));
        assert!(late(10, 0).is_none());
        assert!(why_late(&terms, terms.expires, Time(terms.expires.0 + 1)).unwrap().contains("the terms expired"));
    }
}

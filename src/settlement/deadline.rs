//! The moments at which something becomes possible or too late.

use crate::loan::terms::Terms;
use crate::loan::units::{BasisPoints, Cents, Days, Time, DAY};

/// How long either side waits for the lender's coin before it gives the negotiation up, seconds: a few blocks. What is
/// signed later than that is mostly refused for its price.
pub const COIN_PATIENCE: u32 = 1_800;
/// A spot price older than this is stale, seconds.
pub const SPOT_FRESH: u32 = 60;
/// How far spot may move from the reference price before neither side signs.
pub const SPOT_DRIFT: BasisPoints = BasisPoints(50);

/// How far a price somebody proposes may be from the spot we see while we look at it, at a cost to us: the proposer
/// would use a wider margin every time.
pub const FAIR_DRIFT: BasisPoints = BasisPoints(20);

/// How long after due a fixing waits for lows that might prove an earlier touch and cannot be had, seconds.
pub const LOWS_PATIENCE: u32 = 3_600;

/// So many days before due people are told of it, those of a loan with a longer term.
const TOLD_BEFORE: [u32; 3] = [1, 3, 7];

/// The fewest of seven, three and one days within which a loan of that term is due, when so many seconds are left.
pub fn days_told(term: Days, left: u32) -> Option<u32> {
    TOLD_BEFORE.into_iter().find(|days| *days < term.0 && left <= days.saturating_mul(DAY))
}

/// Has the fixing's hour come?
pub fn is_due(terms: &Terms, now: Time) -> bool {
    now >= terms.due()
}

/// Would a block take the fallback now? Transactions locked to a time need a median time past beyond it.
pub fn is_fallback_final(terms: &Terms, median_time: Time) -> bool {
    median_time > terms.fallback_locktime()
}

/// Would a block take the refund now?
pub fn is_refund_final(terms: &Terms, median_time: Time) -> bool {
    median_time > terms.refund_locktime()
}

/// Is it too late to sign?
pub fn has_expired(terms: &Terms, now: Time) -> bool {
    now > terms.expires
}

/// Is `spot` within 0.5 % of the price the terms were made at?
pub fn is_near(reference: Cents, spot: Cents) -> bool {
    within(reference, spot, SPOT_DRIFT)
}

/// Is `proposed` within 0.2 % of spot, seen at the same moment?
pub fn is_fair(spot: Cents, proposed: Cents) -> bool {
    within(spot, proposed, FAIR_DRIFT)
}

fn within(reference: Cents, other: Cents, drift: BasisPoints) -> bool {
    let far = u128::from(reference.0.abs_diff(other.0)) * 10_000;
    far <= u128::from(reference.0) * u128::from(drift.0)
}

/// The oldest price that is fresh at `now`.
pub fn fresh_since(now: Time) -> Time {
    Time(now.0.saturating_sub(SPOT_FRESH))
}

/// Is a price of `unix` fresh at `now`?
pub fn is_fresh(unix: Time, now: Time) -> bool {
    now.since(unix) <= SPOT_FRESH && unix.since(now) <= SPOT_FRESH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_seven_three_and_one_days_before_due_and_a_short_loan_not_at_its_start() {
        let told = |term, left| days_told(Days(term), left);
        assert_eq!((told(90, 8 * DAY), told(90, 7 * DAY), told(90, 3 * DAY + 1)), (None, Some(7), Some(7)));
        assert_eq!((told(90, 3 * DAY), told(90, DAY), told(90, 0)), (Some(3), Some(1), Some(1)));
        assert_eq!((told(7, 7 * DAY), told(7, 3 * DAY), told(1, DAY)), (None, Some(3), None));
    }
}

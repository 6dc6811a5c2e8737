//! The rules of a repayment proposal, alike for both sides.
//!
//! A half-signed repayment is an option for whoever holds it until it is taken back; a complete one that waits is an
//! option for whoever can still take it back. Few coins, the full fee, a price that favours the other side and a short
//! life make both worth little; what was completed and then taken back binds whoever did that for a day.

use crate::contract::Role;
use crate::loan::fees::INPUT;
use crate::loan::units::{BasisPoints, Cents, Time, WHOLE};
use crate::settlement::deadline;
use bitcoin::Amount;
use std::ops::RangeInclusive;

/// How long a proposal stands, seconds: answered no later, and taken back then.
pub const LIFE: u32 = 60;
/// How far spot may move from a proposal's price before it is taken back.
pub const DRIFT: BasisPoints = BasisPoints(20);
/// How far against itself a proposer sets the price, so that what spot moves while the message travels does not turn
/// it in its favour.
pub const MARGIN: BasisPoints = BasisPoints(5);
/// A lender proposes nothing, and takes back what it proposed, while a touch is this near.
pub const TOUCH_NEAR: BasisPoints = BasisPoints(100);
/// How long who took a complete repayment back is bound by it, seconds.
pub const MEMORY: u32 = 86_400;
/// Blocks within which a complete repayment must confirm before an exit attested meanwhile is brought out instead.
pub const PATIENCE_BLOCKS: u32 = 3;
/// A coin of a repayment is worth at least this many times the fee of spending it.
pub const COIN_FEE_TIMES: u64 = 5;

/// What an exit must pay more than a repayment it is to replace, at the usual step of relay and its largest size, sats.
pub const REPLACE_STEP: u64 = 200;

/// The price a proposer offers at `spot`: a little against itself.
pub fn price_offered(proposer: Role, spot: Cents) -> Cents {
    let margin = |up: u32| u128::from(spot.0) * u128::from(up);
    let whole = u128::from(WHOLE);
    let price = match proposer {
        Role::Borrower => margin(WHOLE.saturating_sub(MARGIN.0)) / whole,
        Role::Lender => margin(WHOLE.saturating_add(MARGIN.0)).div_ceil(whole),
    };
    Cents(u64::try_from(price).unwrap_or(u64::MAX))
}

/// May `proposer` use `price` while we see `spot`? Never in its own favour: a borrower owes less at a higher price, a
/// lender gets more at a lower one. And near, so that nobody pays by mistake.
pub fn is_price_fair(proposer: Role, spot: Cents, price: Cents) -> bool {
    why_unfair(proposer, spot, price).is_none()
}

/// Why a price is not [fair](is_price_fair), in words; `None` where it is.
pub fn why_unfair(proposer: Role, spot: Cents, price: Cents) -> Option<String> {
    let found = format!("it uses {price} per bitcoin, and spot is {spot}");
    let is_against = match proposer {
        Role::Borrower => price <= spot,
        Role::Lender => price >= spot,
    };
    match (is_against, deadline::is_near(spot, price)) {
        (true, true) => None,
        (true, false) => Some(format!("{found}: more than 0.5 % apart, which is taken for a mistake")),
        (false, _) => Some(format!("{found}: that favours the {proposer}, and it is never in the proposer's favour")),
    }
}

/// Does a proposal of `at` still stand?
pub fn is_alive(at: Time, now: Time) -> bool {
    now.since(at) <= LIFE
}

/// When the debt is counted that a proposal of `at` pays: a lender whose clock is ahead, or that says so just before
/// midnight, gets no day of interest for it.
pub fn counted_at(proposer: Role, at: Time, now: Time) -> Time {
    match proposer {
        Role::Borrower => at,
        Role::Lender => at.min(now),
    }
}

/// The total fee of a repayment of `size` virtual bytes, in sats: the full estimate (sat/vB), and no more than an exit
/// that has paid `ahead` can replace, or half as much again as the estimate asks, whichever is more.
pub fn fee_range(size: u64, estimate: u64, ahead: Amount) -> RangeInclusive<Amount> {
    let least = size.saturating_mul(estimate.max(1));
    let replaceable = ahead.to_sat().saturating_sub(REPLACE_STEP);
    let most = replaceable.max(least.saturating_add(least / 2));
    Amount::from_sat(least)..=Amount::from_sat(most)
}

/// The rate a proposer pays, sat/vB: a quarter above its own estimate, so that an estimate of the other side's that is
/// a little higher is met.
pub fn fee_rate_offered(estimate: u64) -> u64 {
    estimate.max(1).saturating_mul(5) / 4
}

/// What a coin of a repayment is worth at least: one that is hardly worth its fee is there to be double-spent, or to
/// make the transaction wide.
pub fn coin_least(estimate: u64) -> Amount {
    Amount::from_sat(INPUT.saturating_mul(COIN_FEE_TIMES).saturating_mul(estimate.max(1)))
}

/// Is `spot` within 1 % above `level`, or below it?
pub fn is_touch_near(spot: Cents, level: Cents) -> bool {
    let near = u128::from(WHOLE) + u128::from(TOUCH_NEAR.0);
    u128::from(spot.0) * u128::from(WHOLE) <= u128::from(level.0) * near
}

/// Why an open proposal must be taken back at `spot`; `level` is the highest a touch could now be true at.
pub fn why_recall(proposer: Role, price: Cents, spot: Cents, level: Option<Cents>) -> Option<String> {
    let far = u128::from(price.0.abs_diff(spot.0)) * u128::from(WHOLE);
    if far > u128::from(price.0) * u128::from(DRIFT.0) {
        return Some(format!("spot moved to {spot}, more than 0.2 % from its price {price}"));
    }
    let level = level.filter(|level| proposer == Role::Lender && is_touch_near(spot, *level))?;
    Some(format!("spot is {spot}, within 1 % of the level {level} at which the loan is liquidated"))
}

/// May an attested exit be brought out against a complete repayment that waits? `since` is the height at which both
/// had signed it, `None` where it never was complete; `rival` says that a coin of it was spent elsewhere.
pub fn may_exit_go(since: Option<u32>, height: u32, rival: bool) -> bool {
    rival || since.is_none_or(|since| height >= since.saturating_add(PATIENCE_BLOCKS))
}

/// A complete repayment whose proposer took it back while it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// Who proposed it, and spent its coin elsewhere.
    pub proposer: Role,
    /// The sats it paid for the debt.
    pub claim: Amount,
    /// When it was gone.
    pub at: Time,
}

/// What a repayment pays for a debt of `owed` sats, whoever proposes it: for a day nobody does better for having taken
/// one back. A borrower pays no less than it did, a lender gets no more than it asked. Where the two contradict each
/// other, whoever took back last offered what it was not bound to, and is held to that.
pub fn claim_bound(taken: &[TakenBack], owed: Amount, now: Time) -> Amount {
    let mut binding: Vec<&TakenBack> = taken.iter().filter(|one| now.since(one.at) < MEMORY).collect();
    binding.sort_by_key(|one| one.at);
    binding.into_iter().fold(owed, |owed, one| one.bind(owed))
}

impl TakenBack {
    fn bind(&self, owed: Amount) -> Amount {
        match self.proposer {
            Role::Borrower => owed.max(self.claim),
            Role::Lender => owed.min(self.claim),
        }
    }

    /// Takes its place among those `taken` before: of each side's the one that binds it most is enough, and what is a
    /// day old binds nobody.
    pub fn join(self, taken: &mut Vec<TakenBack>) {
        taken.retain(|one| self.at.since(one.at) < MEMORY);
        let same = taken.iter().filter(|one| one.proposer == self.proposer);
        let claim = same.fold(self.claim, |claim, one| one.bind(claim));
        taken.retain(|one| one.proposer != self.proposer);
        taken.push(TakenBack { claim, ..self });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPOT: Cents = Cents(10_000_000);

    #[test]
    fn the_price_is_never_in_the_proposers_favour_and_never_far() {
        let cases = [
            (Role::Borrower, 10_000_001, false),
            (Role::Borrower, 10_000_000, true),
            (Role::Borrower, 9_950_000, true),
            (Role::Borrower, 9_949_999, false),
            (Role::Lender, 9_999_999, false),
            (Role::Lender, 10_000_000, true),
            (Role::Lender, 10_050_000, true),
            (Role::Lender, 10_050_001, false),
        ];
        for (proposer, price, fair) in cases {
            assert_eq!(is_price_fair(proposer, SPOT, Cents(price)), fair, "{proposer} at {price}");
        }
    }

    #[test]
    fn a_price_that_favours_the_other_side_is_not_said_to_favour_its_proposer() {
        let why = |proposer, price| why_unfair(proposer, SPOT, Cents(price)).unwrap();
        assert!(
            why(Role::Borrower, 10_000_001).contains("that favours the borrower, and it is never in the proposer's")
        );
        assert!(why(Role::Lender, 9_000_000).contains("that favours the lender, and it is never in the proposer's"));
        for far in [why(Role::Borrower, 9_000_000), why(Role::Lender, 11_000_000)] {
            assert!(far.ends_with("more than 0.5 % apart, which is taken for a mistake"), "{far}");
        }
    }

    #[test]
    fn what_a_proposer_offers_stays_fair_while_spot_moves_by_the_margin() {
        assert_eq!(price_offered(Role::Borrower, SPOT), Cents(9_995_000));
        assert_eq!(price_offered(Role::Lender, SPOT), Cents(10_005_000));
        assert!(is_price_fair(Role::Borrower, Cents(9_995_000), price_offered(Role::Borrower, SPOT)));
        assert!(is_price_fair(Role::Lender, Cents(10_005_000), price_offered(Role::Lender, SPOT)));
    }

    #[test]
    fn a_lender_that_dates_its_proposal_after_midnight_gets_no_day_of_interest_for_it() {
        let (before, after) = (Time(86_390), Time(86_410));
        assert_eq!(counted_at(Role::Lender, after, before), before);
        assert_eq!(counted_at(Role::Lender, before, after), before, "nor one for the way of the message");
        assert_eq!(counted_at(Role::Borrower, before, after), before, "asked in time");
        assert_eq!(counted_at(Role::Borrower, after, before), after, "which costs itself");
    }

    #[test]
    fn a_proposal_stands_for_a_minute() {
        assert!(is_alive(Time(1_000), Time(1_060)));
        assert!(!is_alive(Time(1_000), Time(1_061)));
    }

    #[test]
    fn the_fee_is_the_full_estimate_and_no_more_than_an_exit_paid_ahead_unless_the_estimate_asks_it() {
        let sats = |range: RangeInclusive<Amount>| (range.start().to_sat(), range.end().to_sat());
        let ahead = Amount::from_sat(4_250);
        assert_eq!(sats(fee_range(300, 5, ahead)), (1_500, 4_050));
        assert_eq!(sats(fee_range(300, 20, ahead)), (6_000, 9_000));
        assert_eq!(sats(fee_range(300, 0, ahead)), (300, 4_050));
        assert_eq!(sats(fee_range(u64::MAX, 7, ahead)).0, u64::MAX);
    }

    proptest! {
        /// What one side offers, the other takes, as long as their estimates are near each other.
        #[test]
        fn the_fee_offered_is_within_what_is_asked(estimate in 1u64..500, size in 250u64..620, off in 0u64..=100) {
            let ahead = Amount::from_sat(170 * (estimate * 3).max(25));
            let fee = Amount::from_sat(size * fee_rate_offered(estimate));
            let theirs = estimate * (90 + off * 30 / 100) / 100;
            let range = fee_range(size, theirs, ahead);
            prop_assert!(range.contains(&fee), "{fee} in {range:?}");
        }
    }

    #[test]
    fn a_coin_is_worth_five_times_the_fee_of_spending_it() {
        assert_eq!(coin_least(5), Amount::from_sat(1_700));
        assert_eq!(coin_least(0), Amount::from_sat(340));
    }

    #[test]
    fn a_proposal_is_taken_back_when_spot_drifts_and_a_lenders_also_when_a_touch_is_near() {
        let level = Some(Cents(9_900_000));
        let cases = [
            (Role::Borrower, 10_020_000, None, false),
            (Role::Borrower, 10_020_001, None, true),
            (Role::Borrower, 9_979_999, None, true),
            (Role::Borrower, 9_999_000, level, false),
            (Role::Lender, 9_999_000, level, true),
            (Role::Lender, 9_999_001, level, false),
            (Role::Lender, 10_000_000, None, false),
        ];
        for (proposer, spot, level, recalled) in cases {
            let why = why_recall(proposer, SPOT, Cents(spot), level);
            assert_eq!(why.is_some(), recalled, "{proposer} at {spot}: {why:?}");
        }
    }

    #[test]
    fn an_exit_waits_three_blocks_for_a_complete_repayment_and_not_once_a_coin_of_it_is_spent() {
        let cases = [
            (None, 100, false, true),
            (Some(100), 100, false, false),
            (Some(100), 102, false, false),
            (Some(100), 103, false, true),
            (Some(100), 100, true, true),
            (Some(u32::MAX), u32::MAX - 1, false, false),
        ];
        for (since, height, rival, goes) in cases {
            assert_eq!(may_exit_go(since, height, rival), goes, "{since:?} at {height}");
        }
    }

    fn one(proposer: Role, sats: u64, at: u32) -> TakenBack {
        TakenBack { proposer, claim: Amount::from_sat(sats), at: Time(at) }
    }

    fn bound(taken: &[TakenBack], sats: u64, now: u32) -> u64 {
        claim_bound(taken, Amount::from_sat(sats), Time(now)).to_sat()
    }

    #[test]
    fn who_took_a_repayment_back_gains_nothing_by_it_for_a_day_whoever_proposes_next() {
        let borrowers = [one(Role::Borrower, 500, 1_000), one(Role::Borrower, 700, 2_000)];
        assert_eq!(bound(&borrowers, 400, 3_000), 700);
        assert_eq!(bound(&borrowers, 800, 3_000), 800, "a debt in more sats is paid in full");
        assert_eq!(bound(&borrowers, 400, 2_000 + MEMORY), 400, "after a day it is over");
        let lenders = [one(Role::Lender, 600, 1_000)];
        assert_eq!(bound(&lenders, 650, 3_000), 600);
        assert_eq!(bound(&lenders, 550, 3_000), 550);
        assert_eq!(bound(&lenders, 650, 1_000 + MEMORY), 650);
    }

    #[test]
    fn where_both_took_one_back_the_last_is_held_to_what_it_offered_beyond_its_due() {
        // A borrower pays more than the 400 that bind the lender; a lender asks less than the 500 that bind the borrower.
        let generous = [one(Role::Borrower, 450, 2_000), one(Role::Lender, 400, 1_000)];
        assert_eq!(bound(&generous, 430, 3_000), 450);
        let modest = [one(Role::Borrower, 500, 1_000), one(Role::Lender, 350, 2_000)];
        assert_eq!(bound(&modest, 430, 3_000), 350);
        let apart = [one(Role::Borrower, 400, 2_000), one(Role::Lender, 500, 1_000)];
        assert_eq!([350, 450, 550].map(|sats| bound(&apart, sats, 3_000)), [400, 450, 500]);
    }

    #[test]
    fn of_what_each_side_took_back_the_one_that_binds_it_most_is_kept() {
        let mut taken = Vec::new();
        for next in [one(Role::Borrower, 700, 1_000), one(Role::Lender, 600, 1_000), one(Role::Borrower, 500, 2_000)] {
            next.join(&mut taken);
        }
        assert_eq!(taken, [one(Role::Lender, 600, 1_000), one(Role::Borrower, 700, 2_000)]);
        one(Role::Lender, 650, 1_000 + MEMORY).join(&mut taken);
        assert_eq!(taken, [one(Role::Borrower, 700, 2_000), one(Role::Lender, 650, 1_000 + MEMORY)]);
    }
}

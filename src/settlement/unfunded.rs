//! A loan that is signed and not funded, and when a side takes its coin back.
//!
//! Until the funding transaction is in a block somebody can still decide whether the loan comes to be, at a price of
//! before: the lender while it alone holds all signatures, the borrower while it keeps the transaction out by a rival
//! spend, whoever displaces it from the mempool by a rival and could let it back in, and both while it waits. A side that loses
//! by waiting more than it costs to walk away walks away.

use crate::contract::Role;
use crate::loan::fees::{TxKind, INPUT};
use crate::loan::terms::Terms;
use crate::loan::units::{sats_for_cents_ceil, BasisPoints, Cents, Time, WHOLE};
use crate::settlement::deadline;
use bitcoin::Amount;

/// How long what both have signed may take to be in the mempool, seconds; and how long in all it may be out of it again.
pub const PATIENCE: u32 = 60;
/// How far spot may go against a side while the funding transaction is in no mempool: as far as it may be when both sign,
/// and as much again, so that nobody walks away from an honest loan for the jitter of some seconds.
pub const HELD_DRIFT: BasisPoints = BasisPoints(100);
/// How far while it is in the mempool and the terms have not expired: the next block ends it.
pub const OUT_DRIFT: BasisPoints = BasisPoints(200);
/// What a transaction that takes one coin back weighs, virtual bytes.
const WITHDRAWAL: u64 = 110;
/// Taking a funding coin back costs at most this part of the collateral, however much hangs on the funding transaction.
const WALK_AWAY_PARTS: u64 = 100;

/// Where the funding transaction is that no block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// Never seen: one side holds it.
    Held,
    /// In the mempool.
    Out,
    /// It was in the mempool and is not any more: both hold it, and who made room for it can let it back in.
    Away,
}

/// Why a side walks away, and what it would lose if the loan came to be all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// Zero where nothing is known to be lost.
    pub at_stake: Amount,
}

/// What taking the coin back costs, by the rate of the terms, where no funding transaction stands against it. `None` on
/// overflow.
fn quiet_cost_ceil(terms: &Terms) -> Option<Amount> {
    terms.fee_rate.fee(WITHDRAWAL)
}

/// What it costs at most, by the rate of the terms, where it pays above a funding transaction of so many inputs as well.
/// `None` on overflow.
pub fn standing_cost_ceil(terms: &Terms, inputs: usize) -> Option<Amount> {
    let more = u64::try_from(inputs).ok()?.saturating_sub(2).saturating_mul(INPUT);
    terms.fee_rate.fee(TxKind::Funding.vbytes_max().checked_add(more)?.checked_add(WITHDRAWAL)?)
}

/// Is so much at stake that a withdrawal pays above the funding transaction's fee at once, seen or not?
pub fn must_stand(terms: &Terms, inputs: usize, at_stake: Amount) -> bool {
    standing_cost_ceil(terms, inputs).is_some_and(|cost| at_stake > cost)
}

/// What is paid at most against a funding transaction and what hangs on it, where more than that may be at stake; rounded
/// down.
pub fn walk_away_most_floor(terms: &Terms) -> Amount {
    Amount::from_sat(terms.collateral.to_sat() / WALK_AWAY_PARTS)
}

/// Is what is at stake written down anew, `known` being what was? For the first time where a withdrawal must stand; then each
/// time a quarter more is at stake, as it is the limit to what is paid against a funding transaction; and no more once
/// another limit holds. So seldom: 23 times for one bitcoin of collateral at 25 sat/vB.
pub fn is_counted_anew(terms: &Terms, inputs: usize, known: Amount, at_stake: Amount) -> bool {
    let has_grown = u128::from(at_stake.to_sat()) * 4 >= u128::from(known.to_sat()) * 5;
    let is_limit = known < walk_away_most_floor(terms);
    must_stand(terms, inputs, at_stake) && (!must_stand(terms, inputs, known) || has_grown && is_limit)
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

/// Why a side walks away at `spot`; `None` where it waits on. The funding transaction has so many inputs.
pub fn why_at_price(
    role: Role,
    terms: &Terms,
    (funding, inputs): (Funding, usize),
    spot: Cents,
    now: Time,
) -> Option<Reason> {
    let expired = deadline::has_expired(terms, now);
    let (drift, cost) = match funding {
        Funding::Out if !expired => (OUT_DRIFT, standing_cost_ceil(terms, inputs)),
        Funding::Out => (HELD_DRIFT, standing_cost_ceil(terms, inputs)),
        Funding::Held | Funding::Away => (HELD_DRIFT, quiet_cost_ceil(terms)),
    };
    let reference = terms.reference_price;
    let far = u128::from(reference.0.abs_diff(spot.0)) * u128::from(WHOLE);
    let is_far = far > u128::from(reference.0) * u128::from(drift.0);
    let at_stake = lost(role, terms, spot);
    let is_dear = cost.is_some_and(|cost| at_stake > cost);
    let side = if spot < reference { "below" } else { "above" };
    let waits = if expired { "the terms have expired, and the loan" } else { "and the loan" };
    let text =
        format!("spot is {spot}, more than {drift} {side} the quote's {reference}, {waits} is not in a block yet");
    (is_far && is_dear).then_some(Reason { text, at_stake })
}

/// Why a side walks away at `now` from what was signed at `since` and never was out, in words; `None` where it waits on.
pub fn why_late(terms: &Terms, since: Time, now: Time) -> Option<String> {
    if deadline::has_expired(terms, now) {
        return Some(format!("the terms expired at {} before the funding transaction was out", terms.expires));
    }
    (now.since(since) >= PATIENCE)
        .then(|| format!("the funding transaction was not out {PATIENCE} s after the last signature"))
}

/// When a side walks away at the latest from a funding transaction that is away since `since`, `before` seconds of earlier
/// absences counted: whoever keeps it away has until then to see how the price goes. Where what may be lost meanwhile is
/// less than walking away costs, not before the terms have expired.
pub fn away_until(terms: &Terms, since: Time, before: u32) -> Option<Time> {
    let patient = since.plus(PATIENCE.saturating_sub(before))?;
    let may_lose = u128::from(terms.principal_sats.to_sat()) * u128::from(HELD_DRIFT.0);
    let is_dear = quiet_cost_ceil(terms).is_some_and(|cost| may_lose > u128::from(cost.to_sat()) * u128::from(WHOLE));
    match is_dear {
        true => Some(patient),
        false => Some(patient.max(terms.expires.plus(1)?)),
    }
}

/// Why a side walks away at `now` from a funding transaction that is away, in words; `None` where it waits on.
pub fn why_away(terms: &Terms, since: Time, before: u32, now: Time) -> Option<String> {
    let is_over = away_until(terms, since, before).is_some_and(|until| now >= until);
    is_over.then(|| match deadline::has_expired(terms, now) {
        true => format!("the terms expired at {}, and the funding transaction is not in the mempool", terms.expires),
        false => format!("the funding transaction was out of the mempool again for {PATIENCE} s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::reference;

    const HELD: Funding = Funding::Held;
    const OUT: Funding = Funding::Out;
    const AWAY: Funding = Funding::Away;

    fn walks(role: Role, terms: &Terms, funding: Funding, spot: u64, now: Time) -> Option<Reason> {
        why_at_price(role, terms, (funding, 2), Cents(spot), now)
    }

    #[test]
    fn a_side_walks_away_from_a_price_that_went_against_it_and_not_from_jitter_or_from_a_price_for_it() {
        let terms = reference();
        assert_eq!(terms.reference_price, Cents(10_000_000));
        let (before, after) = (terms.expires, terms.expires.plus(1).unwrap());
        let cases = [
            (Role::Borrower, HELD, before, 9_900_000, false),
            (Role::Borrower, HELD, before, 9_899_999, true),
            (Role::Borrower, HELD, before, 10_500_000, false),
            (Role::Lender, HELD, before, 10_100_000, false),
            (Role::Lender, HELD, before, 10_100_001, true),
            (Role::Lender, HELD, before, 9_500_000, false),
            (Role::Borrower, OUT, before, 9_800_000, false),
            (Role::Borrower, OUT, before, 9_799_999, true),
            (Role::Lender, OUT, before, 10_200_001, true),
            (Role::Borrower, HELD, before, 0, true),
            // Displaced it is as good as held, and after the terms have expired nobody is bound as long.
            (Role::Borrower, AWAY, before, 9_900_000, false),
            (Role::Borrower, AWAY, before, 9_899_999, true),
            (Role::Lender, AWAY, before, 10_100_001, true),
            (Role::Lender, AWAY, before, 9_500_000, false),
            (Role::Borrower, OUT, after, 9_900_000, false),
            (Role::Borrower, OUT, after, 9_899_999, true),
            (Role::Lender, OUT, after, 10_100_001, true),
            (Role::Lender, OUT, after, 9_500_000, false),
        ];
        for (role, funding, now, spot, walks_away) in cases {
            let why = walks(role, &terms, funding, spot, now);
            assert_eq!(why.is_some(), walks_away, "{role} {funding:?} at {spot}: {why:?}");
        }
        let why = walks(Role::Lender, &terms, HELD, 11_000_000, before).unwrap();
        let owed = sats_for_cents_ceil(terms.principal, Cents(11_000_000)).unwrap();
        assert_eq!(why.at_stake, terms.principal_sats - owed);
    }

    #[test]
    fn nobody_walks_away_for_less_than_it_costs() {
        // 100 dollars: 2 % are 2,000 sats, and walking away from a funding transaction that is out costs 9,025.
        let small = Terms { principal: Cents(10_000), principal_sats: Amount::from_sat(100_000), ..reference() };
        let walks = |funding, spot| walks(Role::Borrower, &small, funding, spot, small.expires).is_some();
        assert_eq!(standing_cost_ceil(&small, 2), Some(Amount::from_sat(361 * 25)));
        assert_eq!(standing_cost_ceil(&small, 4), Some(Amount::from_sat((361 + 2 * 68) * 25)));
        assert!(!walks(OUT, 9_750_000) && !walks(OUT, 9_180_000));
        assert!(walks(OUT, 9_150_000));
        assert!(!walks(HELD, 9_750_000) && walks(HELD, 9_700_000));
        let stands = |sats| must_stand(&small, 2, Amount::from_sat(sats));
        assert!(!stands(0) && !stands(9_025) && stands(9_026), "no more is paid than is at stake");
    }

    #[test]
    fn what_is_at_stake_is_written_down_a_bounded_number_of_times_however_slowly_it_grows() {
        let terms = reference();
        let anew = |known, sats| is_counted_anew(&terms, 2, Amount::from_sat(known), Amount::from_sat(sats));
        assert!(!anew(0, 9_025) && anew(0, 9_026) && anew(9_025, 9_026), "what must stand");
        assert!(!anew(10_000, 12_499) && anew(10_000, 12_500) && !anew(12_500, 10_000));
        let most = walk_away_most_floor(&terms).to_sat();
        assert!(anew(most - 1, 2 * most) && !anew(most, 2 * most), "another limit holds");
        assert!(anew(0, u64::MAX) && !anew(u64::MAX, u64::MAX));
        let (mut known, mut told) = (0, 0);
        for sats in 0..2 * most {
            if anew(known, sats) {
                (known, told) = (sats, told + 1);
            }
        }
        assert_eq!((most, told), (1_000_000, 23));
    }

    #[test]
    fn what_is_signed_is_out_within_a_minute_and_before_the_terms_expire() {
        let terms = reference();
        let late = |since: u32, now: u32| why_late(&terms, Time(terms.expires.0 - since), Time(terms.expires.0 - now));
        assert_eq!((late(500, 441), late(500, 440).is_some()), (None, true));
        assert!(late(10, 0).is_none());
        assert!(why_late(&terms, terms.expires, Time(terms.expires.0 + 1)).unwrap().contains("the terms expired"));
    }

    #[test]
    fn what_was_out_may_be_away_for_a_minute_in_all_and_a_small_loan_until_its_terms_expire() {
        let terms = reference();
        let since = Time(terms.expires.0 - 1_000);
        let away = |terms: &Terms, before, passed| why_away(terms, since, before, since.plus(passed).unwrap());
        assert_eq!((away(&terms, 0, 59), away(&terms, 0, 60).is_some()), (None, true));
        assert_eq!((away(&terms, 45, 14), away(&terms, 45, 15).is_some()), (None, true));
        assert!(away(&terms, 90, 0).is_some());
        // A hundredth of 275,000 sats is what taking a coin back costs.
        let small = Terms { principal_sats: Amount::from_sat(275_000), ..terms.clone() };
        assert_eq!((away(&small, 90, 1_000), away(&small, 0, 1_001).is_some()), (None, true));
        assert!(away(&small, 0, 1_001).unwrap().contains("the terms expired"));
        assert_eq!(away_until(&small, terms.expires, 0), terms.expires.plus(60), "a restart of bitcoind is no reason");
    }
}

//! Which blocks count that pass while an exit waits: those in which its child could have paid more.
//!
//! What has waited below one's own cap has waited for its owner, not for the market: once the cap is raised, the child
//! begins at what the market asks then.

use super::bump::Paid;
use super::bump::{rate_wanted, Waiting, BORROWER_WAITS, RISES_EVERY, TIMES_MOST};
use super::child;

/// How many blocks count at most, while the cap lets no child pay for more of them; `None` where it is not in the way, or
/// where something has to give way, whose cost decides and not the cap.
pub fn at_cap(waiting: &Waiting) -> Option<u32> {
    if !waiting.is_bound_by_cap() {
        return None;
    }
    let all = 0..=RISES_EVERY.saturating_mul(TIMES_MOST).saturating_add(BORROWER_WAITS);
    let reaches =
        |blocks: &u32| rate_wanted(waiting.role, *blocks, waiting.estimate).is_some_and(|rate| rate >= waiting.cap);
    all.into_iter().find(reaches).filter(|enough| waiting.blocks >= *enough)
}

/// Does bitcoind refuse the exit for something that no dearer child would change? With `child`, where one was handed in.
/// Where none was, since none is wanted, the exit by itself pays what is wanted.
pub fn is_in_vain(waiting: &Waiting, reason: &str, child: Option<Paid>) -> bool {
    match child {
        Some(child) => child::is_in_vain(waiting, reason, waiting.exit.with(child)),
        None => waiting.rival.is_none() && child::is_in_vain(waiting, reason, waiting.exit),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bump::tests::{any_waiting, sat, touch};
    use super::super::bump::{bump, Theirs, CHILD};
    use super::*;
    use crate::contract::Role;
    use proptest::prelude::*;

    /// What is paid once a cap of `cap` sat/vB that stood for `blocks` is raised: the counted blocks, and the package's rate.
    fn after_raise(role: Role, (cap, minimum): (u64, u64), blocks: u32) -> (u32, Option<u64>) {
        let waiting = Waiting { role, cap, estimate: minimum.min(cap), blocks, ..touch() };
        let counted = at_cap(&waiting).unwrap_or(blocks);
        let raised = Waiting { cap: 500, estimate: minimum, blocks: counted, ..waiting };
        (counted, bump(&raised).map(|made| raised.exit.with(Paid { fee: made.fee, size: CHILD }).rate_floor()))
    }

    #[test]
    fn once_the_cap_is_raised_a_child_begins_at_what_the_market_asks_and_not_at_ten_times_that() {
        // The exit pays 25 sat/vB itself, as much as the cap lets anything pay, or more.
        for cap in [10, 25] {
            assert_eq!([0, 1, 40].map(|blocks| after_raise(Role::Lender, (cap, 30), blocks)), [(0, Some(30)); 3]);
            assert_eq!([2, 40].map(|blocks| after_raise(Role::Borrower, (cap, 30), blocks)), [(2, Some(30)); 2]);
        }
        assert_eq!([0, 1].map(|blocks| after_raise(Role::Borrower, (25, 30), blocks).0), [0, 1], "it waits its turn");
        // One that paid as much as it could goes on from there.
        assert_eq!([2, 4, 40].map(|blocks| after_raise(Role::Lender, (60, 30), blocks).0), [2, 4, 4]);
        assert_eq!(after_raise(Role::Lender, (60, 30), 40), (4, Some(60)));
        assert_eq!(after_raise(Role::Lender, (500, 30), 40), (40, Some(300)), "what no cap kept from paying more");
    }

    #[test]
    fn a_refused_exit_that_pays_all_that_the_cap_allows_waits_in_vain_though_no_child_was_made() {
        let low = "min relay fee not met, 4250 < 5100";
        let capped = Waiting { estimate: 25, cap: 25, ..touch() };
        assert!(bump(&capped).is_none() && is_in_vain(&capped, low, None));
        // Where it is only the other side's turn, or another spend stands in its place, more would help.
        let turn = Waiting { role: Role::Borrower, estimate: 30, ..touch() };
        assert!(bump(&turn).is_none() && !is_in_vain(&turn, low, None));
        let rival = Some(super::super::bump::Rival { fee: sat(9_000), rate: 30 });
        assert!(!is_in_vain(&Waiting { rival, ..capped }, "txn-mempool-conflict", None));
    }

    #[test]
    fn the_cap_gives_way_to_a_wide_child_that_pays_too_little_and_its_blocks_count() {
        let child = Paid { fee: sat(30_000), size: 978 };
        let theirs = Some(Theirs { child, package: touch().exit.with(child) });
        let beside = Waiting { theirs, is_truc: true, is_relayed: true, estimate: 50, cap: 50, blocks: 9, ..touch() };
        assert_eq!((at_cap(&beside), at_cap(&Waiting { theirs: None, ..beside })), (None, Some(0)));
    }

    proptest! {
        /// What is counted is never more than what passed, and what is paid under the same cap is the same.
        #[test]
        fn what_does_not_count_changes_nothing_that_is_paid_below_the_cap(waiting in any_waiting()) {
            let counted = at_cap(&waiting).unwrap_or(waiting.blocks);
            prop_assert!(counted <= waiting.blocks);
            prop_assert_eq!(bump(&Waiting { blocks: counted, ..waiting }), bump(&waiting));
        }
    }
}

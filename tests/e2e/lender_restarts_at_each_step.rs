//! The lender's node is killed at every step of a loan's life and goes on where it was.

use crate::harness::restarts::{dies_at_each_step, Points};
use hypothec::contract::Role;

/// The second says whether the loan must come to be all the same. Before the agreement is on disk the lender knows
/// nothing of it: the borrower is told so and may ask again.
const POINTS: Points = Points {
    negotiating: &[
        ("before-append-agreed", false),
        ("after-append-agreed", true),
        ("before-append-coin_made", true),
        ("after-append-coin_made", true),
        ("before-broadcast", true),
        ("after-broadcast", true),
        ("before-append-ready", true),
        ("after-append-ready", true),
        ("before-send-33009", true),
        ("before-append-accepted", true),
        ("store-before-mark:4", true),
        ("after-append-accepted", true),
        ("before-send-33011", true),
        ("before-send-42780", true),
        ("before-append-funded", true),
        ("after-append-funded", true),
        ("before-broadcast:2", true),
        ("before-append-funding_seen", true),
        ("after-append-funding_seen", true),
    ],
    repaying: &[
        "before-append-repaying",
        "after-append-repaying",
        "before-broadcast",
        "after-broadcast",
        "before-append-exit_seen",
        "after-append-exit_seen:2",
        "before-append-closed",
        "after-append-closed",
    ],
    settling: &[
        "before-append-attested",
        "after-append-attested",
        "before-broadcast",
        "after-broadcast",
        "before-append-exit_seen",
        "after-append-exit_seen",
        "before-append-closed",
        "after-append-closed",
    ],
};

#[tokio::test]
async fn a_lender_that_dies_at_every_step_loses_no_loan_and_no_sat() {
    dies_at_each_step(Role::Lender, &POINTS).await;
}

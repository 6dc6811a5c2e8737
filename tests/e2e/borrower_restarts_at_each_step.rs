//! The borrower's node is killed at every step of a loan's life and goes on where it was.

use crate::harness::restarts::{dies_at_each_step, Points};
use hypothec::contract::Role;

/// The second says whether the loan must come to be all the same. Before the agreement is on disk nothing is agreed.
const POINTS: Points = Points {
    negotiating: &[
        ("before-append-agreed", false),
        ("store-before-commit", false),
        // Opening the store writes its mark once.
        ("store-before-mark:2", false),
        ("after-append-agreed", true),
        ("before-send-33007", true),
        ("before-append-offered", true),
        ("after-append-offered", true),
        ("before-send-42778", true),
        ("before-append-signed", true),
        ("after-append-signed", true),
        ("before-send-33011", true),
        ("before-send-42782", true),
        ("after-send-42782", true),
        ("before-append-funding_seen", true),
        ("after-append-funding_seen", true),
    ],
    repaying: &[
        "before-append-repaying",
        "after-append-repaying",
        "before-send-33013",
        "after-send-33013",
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
async fn a_borrower_that_dies_at_every_step_loses_no_loan_and_no_sat() {
    dies_at_each_step(Role::Borrower, &POINTS).await;
}

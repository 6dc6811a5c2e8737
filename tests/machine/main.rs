//! One loan seen by both sides, over a chain that mines, forgets and reorganises as it likes.
//!
//! The chain here is small but consistent: it never confirms two spends of one coin. Everything else happens in any
//! order: messages twice, replacements, evictions, withdrawals against confirmations, exits that compete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../common/mod.rs"]
mod common;
mod world;

use hypothec::protocol::{todo, Exit, Input, Stage};
use proptest::prelude::*;
use world::{scene, spend, steps, Step, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("MACHINE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_know_what_the_chain_knows_whatever_happens_in_whatever_order(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.public.insert(0);
        world.settle_down();
        let funded = world.nodes[1].loan.funding.as_ref().is_some_and(|seen| seen.block.is_some());
        if funded {
            for node in &world.nodes {
                prop_assert!(matches!(node.loan.stage, Stage::Closed), "{:?}: {:?}", node.loan.role, node.loan.stage);
            }
        }
        world.check_replay();
    }
}

/// A world whose loan is funded and confirmed, known to both.
fn funded() -> World {
    let mut world = World::new();
    world.act(1, false);
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Active));
    world
}

#[test]
fn a_borrower_who_double_spends_the_coin_of_a_waiting_repayment_does_not_escape_liquidation() {
    let mut world = funded();
    world.propose(true, true);
    world.act(1, false);
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Closing));
    let coin = world.nodes[1].loan.repayment.as_ref().unwrap().transaction.input[1].previous_output;
    assert!(world.submit(spend(coin, 8), true));
    world.mine(u8::MAX);
    world.check();
    for node in &world.nodes {
        assert_eq!((&node.loan.stage, node.loan.exit.is_none()), (&Stage::Active, true), "{:?}", node.loan.role);
        assert!(node.loan.repayment.is_none());
    }
    world.public.insert(0);
    world.settle_down();
    for node in &world.nodes {
        assert_eq!(node.loan.exit.as_ref().unwrap().exit, Some(Exit::Liquidated));
        assert_eq!(node.loan.stage, Stage::Closed);
    }
}

#[test]
fn a_touch_attested_while_a_repayment_waits_is_kept_in_case_the_repayment_never_confirms() {
    let mut world = funded();
    world.propose(true, true);
    world.act(1, false);
    world.public.insert(1);
    world.act(0, false);
    world.act(1, false);
    assert!(world.nodes.iter().all(|node| node.loan.is_attested()));
    // The repayment is forgotten by every mempool: the touch takes its place.
    world.mempool.clear();
    world.act(1, false);
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.exit.as_ref().unwrap().exit == Some(Exit::Liquidated)));
}

#[test]
fn a_funding_coin_spent_elsewhere_under_a_waiting_exit_ends_the_loan_for_both() {
    let mut world = World::new();
    world.act(1, false);
    world.public.insert(0);
    world.act(1, false);
    world.act(1, false);
    assert_eq!(world.nodes[1].loan.stage, Stage::Closing);
    let coin = scene().cast.offer_parts(&scene().n.terms).coins[0].outpoint();
    assert!(world.submit(spend(coin, 9), true));
    world.mine(u8::MAX);
    world.check();
    for node in &world.nodes {
        assert!(matches!(node.loan.stage, Stage::Cancelled { .. }), "{:?}", node.loan.stage);
        assert!(todo(&node.loan, world.moment).is_empty());
        assert!(node.loan.reserved().is_empty());
    }
}

#[test]
fn a_funding_transaction_that_a_reorganisation_swaps_for_a_withdrawal_and_back_is_a_loan_again() {
    let mut world = World::new();
    world.act(1, false);
    world.mine(u8::MAX);
    world.reorganise(1, 0);
    let coin = scene().cast.offer_parts(&scene().n.terms).coins[0].outpoint();
    assert!(world.submit(spend(coin, 9), true));
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| matches!(node.loan.stage, Stage::Cancelled { .. })));
    world.reorganise(1, 0);
    assert!(world.submit(scene().n.funding.clone(), true));
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Active));
}

#[test]
fn a_log_that_holds_a_repayment_reads_back() {
    let mut world = funded();
    world.propose(false, true);
    world.check_replay();
    assert!(world.nodes.iter().all(|node| node.loan.repayment.is_some()));
}

#[test]
fn no_repayment_before_the_funding_is_confirmed_and_none_after_an_attestation() {
    let mut world = World::new();
    world.act(1, false);
    world.propose(false, true);
    assert!(world.nodes.iter().all(|node| node.loan.repayment.is_none()));
    world.mine(u8::MAX);
    world.public.insert(0);
    world.act(0, false);
    world.act(1, false);
    world.propose(false, true);
    assert!(world.nodes.iter().all(|node| node.loan.repayment.is_none()));
}

#[test]
fn coins_are_taken_back_once_however_often_the_wallet_answers() {
    let mut world = World::new();
    world.step(&Step::Pass(700));
    world.act(0, false);
    let moment = world.moment;
    let first = world.nodes[0].loan.withdrawal.clone().unwrap();
    let coin = world.nodes[0].loan.coins[0];
    assert_eq!(world.nodes[0].tell(Input::Withdrawn(spend(coin, 77)), moment), Ok(vec![]));
    assert_eq!(world.nodes[0].loan.withdrawal.as_ref(), Some(&first));
}

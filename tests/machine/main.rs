//! One loan seen by both sides, over a chain that mines, forgets and reorganises as it likes.
//!
//! The chain here is small but consistent: it never confirms two spends of one coin. Everything else happens in any
//! order: messages twice, replacements, evictions, withdrawals against confirmations, exits that compete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../common/mod.rs"]
mod common;
mod jitter;
#[path = "../common/plain.rs"]
mod plain;
mod unfunded;
mod world;

use bitcoin::Amount;
use hypothec::contract::Role;
use hypothec::loan::ltv::MarginLine;
use hypothec::loan::units::Cents;
use hypothec::protocol::{todo, Action, Event, Exit, Input, Message, Stage};
use hypothec::settlement::proposal::TakenBack;
use hypothec::settlement::spot::Bounds;
use proptest::prelude::*;
use world::{scene, spend, steps, Step, World, DAY};

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
    for confirmations in 1..=scene().n.terms.confirmations {
        assert!(world.nodes.iter().all(|node| node.loan.stage != Stage::Active), "after {confirmations} less one");
        world.mine(u8::MAX);
        world.check();
    }
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Active));
    world
}

#[test]
fn an_exit_attested_while_the_funding_waits_is_kept_back_until_a_block_has_it() {
    let mut world = World::new();
    world.act(1, false);
    world.public.insert(0);
    world.hear(0, &[0]);
    world.hear(1, &[0]);
    let brings_out = |world: &World, who: usize| {
        let exit = &scene().exits[0].1[who];
        todo(&world.nodes[who].loan, world.moment).contains(&Action::Broadcast(Box::new(exit.clone())))
    };
    for who in 0..2 {
        assert!(world.nodes[who].loan.is_attested(), "{:?}", world.nodes[who].loan.stage);
        assert!(!brings_out(&world, who), "no node relays it yet");
    }
    world.mine(u8::MAX);
    assert!((0..2).all(|who| brings_out(&world, who)));
    world.settle_down();
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Closed));
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
    // The repayment is forgotten by every mempool and does not come back; after three blocks the touch takes its place.
    for _ in 0..3 {
        assert!(world.nodes.iter().all(|node| node.loan.standing_repayment(world.moment.height).is_some()));
        world.mempool.clear();
        world.mine(0);
        world.check();
    }
    world.act(1, false);
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.exit.as_ref().unwrap().exit == Some(Exit::Liquidated)));
}

#[test]
fn a_receipt_is_said_until_a_block_has_its_exit_and_again_when_the_block_is_gone() {
    let says = |world: &World, who: usize| {
        let sent = todo(&world.nodes[who].loan, world.moment).into_iter().filter_map(|action| match action {
            Action::Send(messages) => Some(messages),
            _ => None,
        });
        let mut attestations = sent.flatten().map(|message| match message {
            Message::Receipt(receipt) => receipt.attestation.0,
            other => panic!("{other:?}"),
        });
        (attestations.next(), attestations.next())
    };
    let given = hypothec::contract::wire::write_attestation(&scene().exits[2].0);
    let mut world = funded();
    assert_eq!(says(&world, 1), (None, None));
    // The borrower is away, and nobody's mempool takes the exit.
    world.public.insert(2);
    world.hear(1, &[2]);
    for _ in 0..3 {
        assert_eq!(says(&world, 1), (Some(given.clone()), None));
        world.mine(u8::MAX);
    }
    // It is back, and says nothing of it itself.
    world.hear(0, &[2]);
    assert_eq!(says(&world, 0), (None, None));
    world.act(1, false);
    assert_eq!(says(&world, 1), (Some(given.clone()), None), "what waits is in no block");
    world.mine(u8::MAX);
    assert_eq!(says(&world, 1), (None, None));
    world.reorganise(1, u8::MAX);
    assert_eq!(says(&world, 1), (Some(given), None));
    world.settle_down();
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Closed));
}

#[test]
fn a_funding_coin_spent_elsewhere_under_a_waiting_exit_ends_the_loan_for_both() {
    let mut world = World::new();
    world.act(1, false);
    world.public.insert(0);
    world.act(1, false);
    // Brought out by somebody whose mempool takes it: ours would not.
    assert!(world.submit(scene().exits[0].1[1].clone(), false));
    assert_eq!(world.nodes[1].loan.stage, Stage::Closing);
    let coin = scene().cast.offer_parts(&scene().n.terms).coins[0].outpoint();
    assert!(world.submit(spend(coin, 9), true));
    world.mine(u8::MAX);
    world.check();
    for node in &world.nodes {
        assert!(matches!(node.loan.stage, Stage::Cancelled), "{:?}", node.loan.stage);
        assert!(todo(&node.loan, world.moment).is_empty());
        assert!(node.loan.reserved().is_empty());
    }
}

#[test]
fn a_funding_transaction_that_a_reorganisation_swaps_for_a_withdrawal_and_back_is_a_loan_again() {
    let mut world = World::new();
    world.act(1, false);
    world.mine(u8::MAX);
    world.mine(u8::MAX);
    world.mine(u8::MAX);
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Active));
    world.reorganise(3, 0);
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Confirming));
    let coin = scene().cast.offer_parts(&scene().n.terms).coins[0].outpoint();
    assert!(world.submit(spend(coin, 9), true));
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| matches!(node.loan.stage, Stage::Cancelled)));
    world.reorganise(1, 0);
    assert!(world.submit(scene().n.funding.clone(), true));
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Confirming), "one block is not three");
    world.mine(0);
    world.mine(0);
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
fn no_repayment_before_the_funding_is_in_a_block_and_none_after_an_attestation() {
    let mut world = World::new();
    world.act(1, false);
    world.propose(false, true);
    assert!(world.nodes.iter().all(|node| node.loan.repayment.is_none()));
    world.mine(u8::MAX);
    assert!(
        world.nodes.iter().all(|node| node.loan.stage == Stage::Confirming),
        "in one block, where the terms say three"
    );
    world.public.insert(0);
    world.act(0, false);
    world.act(1, false);
    world.propose(false, true);
    assert!(world.nodes.iter().all(|node| node.loan.repayment.is_none()));
}

#[test]
fn a_loan_is_repaid_from_the_first_block_of_its_funding_on_and_a_reorganisation_undoes_both_or_neither() {
    let mut world = World::new();
    world.act(1, false);
    world.mine(u8::MAX);
    world.propose(true, true);
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Confirming && node.loan.repayment.is_some()));
    // The block is gone before the repayment is out: nobody relays it on top of a funding transaction that waits.
    world.reorganise(1, u8::MAX);
    world.check();
    for who in 0..2 {
        let actions = todo(&world.nodes[who].loan, world.moment);
        assert!(!actions.iter().any(|action| matches!(action, Action::Send(_))), "{actions:?}");
        assert_eq!(brings(&world, who), []);
    }
    world.mine(u8::MAX);
    world.act(1, false);
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.exit.as_ref().unwrap().exit == Some(Exit::Repaid)));
    println!("bound locked-in 1 block, whatever confirmations the terms ask for");
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

/// A world in which both have signed a repayment, which waits, and a touch is attested to both.
fn touched_while_a_repayment_waits() -> World {
    let mut world = funded();
    world.propose(true, true);
    world.act(1, false);
    assert!(world.nodes.iter().all(|node| node.loan.is_repayment_seen()));
    world.public.insert(0);
    world.act(0, false);
    world.act(1, false);
    assert!(world.nodes.iter().all(|node| node.loan.is_attested()));
    world
}

fn brings(world: &World, who: usize) -> Vec<Exit> {
    let spends = |tx: &bitcoin::Transaction| tx.input[0].previous_output == scene().n.skeleton.funding;
    let out = todo(&world.nodes[who].loan, world.moment).into_iter().filter_map(|action| match action {
        Action::Broadcast(tx) if spends(&tx) => Some(world.kind(&tx)),
        _ => None,
    });
    out.collect()
}

#[test]
fn a_repayment_that_both_signed_goes_before_a_touch_attested_meanwhile_and_is_booked_when_it_confirms() {
    let mut world = touched_while_a_repayment_waits();
    for who in [0, 1] {
        assert_eq!(brings(&world, who), [Exit::Repaid]);
    }
    world.mine(u8::MAX);
    world.check();
    assert!(world.nodes.iter().all(|node| node.loan.exit.as_ref().unwrap().exit == Some(Exit::Repaid)));
}

#[test]
fn the_touch_goes_out_as_soon_as_a_coin_of_the_repayment_is_seen_to_be_spent_elsewhere() {
    let mut world = touched_while_a_repayment_waits();
    let coin = world.nodes[1].loan.repayment.as_ref().unwrap().transaction.input[1].previous_output;
    assert!(world.submit(spend(coin, 8), true));
    world.check();
    for who in [0, 1] {
        assert_eq!(brings(&world, who), [Exit::Liquidated], "before any block");
    }
    world.settle_down();
    assert!(world.nodes.iter().all(|node| node.loan.exit.as_ref().unwrap().exit == Some(Exit::Liquidated)));
}

#[test]
fn the_touch_goes_out_when_the_repayment_has_not_confirmed_within_three_blocks() {
    let mut world = touched_while_a_repayment_waits();
    for _ in 0..3 {
        assert_eq!(brings(&world, 1), [Exit::Repaid]);
        world.mine(0);
        world.check();
    }
    for who in [0, 1] {
        assert_eq!(brings(&world, who), [Exit::Liquidated]);
    }
}

/// The price moves by `bp` basis points of the proposal's.
fn moved(bp: i64) -> Input {
    Input::Price(Cents(u64::try_from(10_000_000 + 1_000 * bp).unwrap()).into())
}

#[test]
fn a_half_signed_proposal_is_taken_back_at_once_when_spot_drifts_and_the_person_is_told_why() {
    let mut world = funded();
    world.propose(false, false);
    let moment = world.moment;
    assert_eq!(world.nodes[0].tell(moved(20), moment).unwrap(), []);
    let dropped = world.nodes[0].tell(moved(21), moment).unwrap();
    assert!(matches!(dropped.as_slice(), [Event::RepaymentDropped { .. }]), "{dropped:?}");
    assert!(todo(&world.nodes[0].loan, moment).contains(&Action::WithdrawRepayment));
    assert!(!todo(&world.nodes[0].loan, moment).iter().any(|action| matches!(action, Action::Send(_))));
    let note = world.nodes[0].loan.standing.note.clone().unwrap();
    assert!(note.contains("0.2 %"), "{note}");
    assert_eq!(world.nodes[0].tell(moved(30), moment).unwrap(), [], "once");
}

#[test]
fn where_oracles_are_apart_each_side_watches_the_bound_it_loses_by() {
    let at = |dollars: u64| Cents(dollars * 100);
    let apart = Input::Price(Bounds { at_or_below: at(80_000), at_or_above: at(99_999) });
    // No price is agreed on, and enough oracles to liquidate say that the price is far below.
    let mut world = funded();
    let moment = world.moment;
    for node in &mut world.nodes {
        let told = node.tell(apart.clone(), moment).unwrap();
        let margin = Event::Margin { line: Some(MarginLine::Warning), price: at(80_000) };
        assert_eq!(told, [margin], "the debt is half of $100,000");
        // One honest is silent, and one that lies says thrice the price: the line stays crossed.
        let lie = Input::Price(Bounds { at_or_below: at(300_000), at_or_above: at(80_000) });
        assert_eq!(node.tell(lie, moment).unwrap(), []);
        assert_eq!(node.tell(Input::Price(at(100_000).into()), moment).unwrap().len(), 1);
    }
    // A borrower's proposal that lies is worth something to the lender once enough say that the price rose, and nothing else
    // takes it back: not one that lies while another is silent.
    world.propose(false, false);
    let lie = Input::Price(Bounds { at_or_below: at(100_000), at_or_above: Cents(1) });
    for input in [apart.clone(), lie] {
        let told = world.nodes[0].tell(input, moment).unwrap();
        assert!(!told.iter().any(|event| matches!(event, Event::RepaymentDropped { .. })), "{told:?}");
    }
    let risen = Input::Price(Bounds { at_or_below: at(100_000), at_or_above: at(101_000) });
    let dropped = world.nodes[0].tell(risen, moment).unwrap();
    assert!(dropped.iter().any(|event| matches!(event, Event::RepaymentDropped { .. })), "{dropped:?}");
    // Not in a block yet, the borrower walks away from a fall and the lender from a rise.
    let mut waits = World::new();
    waits.act(1, false);
    let moment = waits.moment;
    let given_up = |waits: &mut World, who: usize, low, high| {
        let bounds = Bounds { at_or_below: at(low), at_or_above: at(high) };
        let events = waits.nodes[who].tell(Input::Price(bounds), moment).unwrap();
        events.iter().any(|event| matches!(event, Event::GivenUp { .. }))
    };
    assert!(!given_up(&mut waits, 0, 99_000, 120_000) && !given_up(&mut waits, 1, 80_000, 101_000));
    assert!(given_up(&mut waits, 0, 90_000, 100_000) && given_up(&mut waits, 1, 100_000, 110_000));
}

#[test]
fn a_half_signed_proposal_stands_for_a_minute_and_not_beside_an_attested_exit() {
    let mut world = funded();
    world.propose(false, false);
    world.step(&Step::Pass(60));
    assert!(!todo(&world.nodes[0].loan, world.moment).contains(&Action::WithdrawRepayment));
    world.step(&Step::Pass(1));
    assert!(todo(&world.nodes[0].loan, world.moment).contains(&Action::WithdrawRepayment));
    println!("bound half-signed-life {} s", hypothec::settlement::proposal::LIFE);

    let mut world = funded();
    world.propose(false, false);
    world.public.insert(0);
    world.act(0, false);
    let actions = todo(&world.nodes[0].loan, world.moment);
    assert!(actions.contains(&Action::WithdrawRepayment), "{actions:?}");
    assert_eq!(brings(&world, 0), [Exit::Liquidated], "and the touch goes out");
}

#[test]
fn who_double_spends_a_complete_repayment_pays_no_fewer_sats_for_a_day() {
    let mut world = funded();
    world.propose(true, true);
    world.act(1, false);
    let open = world.nodes[1].loan.repayment.clone().unwrap();
    assert!(world.submit(spend(open.transaction.input[1].previous_output, 8), true));
    let cheaper = Amount::from_sat(40_000_000);
    let bound = |world: &World, who: usize| world.nodes[who].loan.claim_bound(cheaper, world.moment.now).to_sat();
    assert_eq!([bound(&world, 0), bound(&world, 1)], [49_000_000, 49_000_000], "while that waits as well");
    world.mine(u8::MAX);
    world.check();
    assert_eq!([bound(&world, 0), bound(&world, 1)], [49_000_000, 49_000_000]);
    let dearer = Amount::from_sat(50_000_000);
    assert_eq!(world.nodes[1].loan.claim_bound(dearer, world.moment.now), dearer, "it binds the lender to nothing");
    // One taken back before it was complete binds nobody: a silent lender would have the choice for a day.
    let mut idle = funded();
    idle.propose(true, false);
    idle.step(&Step::Pass(61));
    idle.act(0, true);
    idle.act(0, true);
    idle.mine(u8::MAX);
    assert!(idle.nodes[0].loan.repayment.is_none());
    assert_eq!(bound(&idle, 0), cheaper.to_sat());
    world.step(&Step::Pass(DAY));
    assert_eq!(bound(&world, 1), cheaper.to_sat());
}

#[test]
fn a_borrower_pays_the_whole_debt_where_the_lender_does_not_hold_itself_to_what_it_took_back() {
    let mut world = funded();
    let taken = TakenBack { proposer: Role::Lender, claim: Amount::from_sat(49_000_000), at: world.moment.now };
    world.nodes[0].loan.standing.taken_back.push(taken);
    world.propose(true, false);
    let debt = Amount::from_sat(50_000_000);
    let (loan, now) = (&mut world.nodes[0].loan, world.moment.now);
    assert_eq!(loan.claim_bound(debt, now).to_sat(), 49_000_000);
    // Of 50,000,000 sats it pays 49,000,000.
    loan.repayment.as_mut().unwrap().owed = Cents(5_000_000);
    let refused = Input::RepaymentRefused { reason: "the lender's output is too small".into() };
    world.nodes[0].tell(refused, world.moment).unwrap();
    assert_eq!(world.nodes[0].loan.claim_bound(debt, now), debt);
}

#[test]
fn a_log_of_before_confirmations_were_counted_reads_back_and_its_loan_is_active_at_the_next_look() {
    let mut world = funded();
    world.propose(true, true);
    world.act(1, false);
    for node in &world.nodes {
        let new = |event: &Event| matches!(event, Event::Activated | Event::RepaymentCompleted { .. });
        let old: Vec<_> = node.log.iter().filter(|recorded| !new(&recorded.event)).cloned().collect();
        assert!(old.len() < node.log.len());
        let mut node = world::Node::of(&old);
        // What waits is a repayment of which nothing says since when: an attested exit would not wait for it.
        assert_eq!((&node.loan.stage, node.loan.standing_repayment(world.moment.height)), (&Stage::Closing, None));
        node.tell(Input::Tick, world.moment).unwrap();

        let before = old.iter().take_while(|recorded| !matches!(recorded.event, Event::Repaying(_)));
        let mut node = world::Node::of(&before.cloned().collect::<Vec<_>>());
        assert_eq!(node.loan.stage, Stage::Confirming);
        node.tell(Input::Tick, world.moment).unwrap();
        assert_eq!(node.loan.stage, Stage::Active);
    }
}

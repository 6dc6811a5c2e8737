//! What is signed and in no block, to both sides: held, out, displaced, and given up.

use super::{moved, scene, spend, todo, Action, Cents, Event, Input, Stage, Step, World};
use hypothec::loan::units::sats_for_cents_ceil;
use hypothec::settlement::unfunded::PATIENCE;

/// What a side does about its own coin: takes it back, or brings the loan on.
fn walks(world: &World, who: usize) -> bool {
    todo(&world.nodes[who].loan, world.moment).contains(&Action::Withdraw)
}

fn says(world: &mut World, who: usize, input: Input) -> Vec<Event> {
    let moment = world.moment;
    world.nodes[who].tell(input, moment).unwrap()
}

#[test]
fn a_borrower_whose_lender_keeps_the_last_signature_walks_away_when_the_price_falls_or_after_a_minute() {
    let fallen = |bp: i64| moved(-bp);
    let mut world = World::new();
    assert_eq!(says(&mut world, 0, fallen(100)), [], "jitter between two signatures");
    assert_eq!(says(&mut world, 0, moved(500)), [], "a rise is not against it");
    let given_up = says(&mut world, 0, fallen(101));
    assert!(matches!(given_up.as_slice(), [Event::GivenUp { .. }]), "{given_up:?}");
    assert_eq!(says(&mut world, 0, fallen(102)), [], "once");
    assert!(walks(&world, 0) && !todo(&world.nodes[0].loan, world.moment).iter().any(|a| matches!(a, Action::Send(_))));
    world.check_replay();

    let mut world = World::new();
    world.step(&Step::Pass(49));
    assert!(!walks(&world, 0));
    world.step(&Step::Pass(1));
    assert!(walks(&world, 0));
    println!("bound held-sign {PATIENCE} s, or 1 % of the principal, whichever is first");
}

#[test]
fn a_lender_whose_funding_is_kept_out_walks_away_when_the_price_rises_or_after_a_minute() {
    let mut world = World::new();
    assert_eq!(says(&mut world, 1, moved(100)), []);
    assert_eq!(says(&mut world, 1, moved(-500)), [], "a fall is not against it");
    let given_up = says(&mut world, 1, moved(101));
    assert!(matches!(given_up.as_slice(), [Event::GivenUp { .. }]), "{given_up:?}");
    assert!(walks(&world, 1));
    let mut world = World::new();
    world.step(&Step::Pass(49));
    assert!(!walks(&world, 1));
    world.step(&Step::Pass(1));
    assert!(walks(&world, 1));
    println!("bound held-funding {PATIENCE} s, or 1 % of the principal");
}

#[test]
fn a_funding_transaction_that_waits_is_walked_away_from_by_whom_the_price_goes_against_and_never_after_a_block() {
    for (who, against) in [(0, -201), (1, 201)] {
        let mut world = World::new();
        world.act(1, false);
        world.step(&Step::Pass(600));
        assert!(!walks(&world, 0) && !walks(&world, 1), "what is out may wait for its block");
        assert_eq!(says(&mut world, who, moved(if who == 0 { -200 } else { 200 })), []);
        assert_eq!(says(&mut world, 1 - who, moved(against)), [], "it is for the other side");
        assert!(matches!(says(&mut world, who, moved(against)).as_slice(), [Event::GivenUp { .. }]));
        assert!(walks(&world, who));
        world.act(who, true);
        world.act(who, true);
        world.mine(u8::MAX);
        world.check();
        assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Cancelled));

        let mut world = World::new();
        world.act(1, false);
        world.mine(u8::MAX);
        world.reorganise(1, u8::MAX);
        let events = says(&mut world, who, moved(against));
        assert!(!events.iter().any(|event| matches!(event, Event::GivenUp { .. })), "it was in a block: {events:?}");
    }
}

/// A world whose funding transaction was out and is displaced by a spend of one side's coin.
fn displaced(by: usize) -> World {
    let mut world = World::new();
    world.act(1, false);
    assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Confirming));
    let coin = world.nodes[by].loan.coins[0];
    assert!(world.submit(spend(coin, 40), true));
    world
}

#[test]
fn a_funding_transaction_that_a_rival_displaces_is_walked_away_from_after_a_minute_or_one_percent() {
    for who in [0, 1] {
        let mut world = displaced(1 - who);
        assert!(world.nodes[who].loan.unfunded.away().is_some_and(|away| away.rival.is_some()));
        world.step(&Step::Pass(59));
        assert!(!walks(&world, who));
        world.step(&Step::Pass(1));
        assert!(walks(&world, who));
        // The other side's rival makes room, and the funding transaction is back: the coin is taken back all the same.
        world.act(who, false);
        world.mempool.retain(|tx| tx.input.len() > 1 || tx.input[0].previous_output == world.nodes[who].loan.coins[0]);
        world.submit(scene().n.funding.clone(), true);
        world.act(who, true);
        world.act(who, true);
        world.mine(u8::MAX);
        world.check();
        assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Cancelled), "who {who}");
        world.check_replay();

        let against = if who == 0 { -101 } else { 101 };
        let mut world = displaced(1 - who);
        assert_eq!(says(&mut world, who, moved(against / 101 * 100)), [], "jitter");
        assert_eq!(says(&mut world, who, moved(-5 * against)), [], "for it");
        let given_up = says(&mut world, who, moved(against));
        assert!(matches!(given_up.as_slice(), [Event::GivenUp { at_stake_sats: 1.., .. }]), "{given_up:?}");
        world.check_replay();
    }
    println!("bound displaced-funding {PATIENCE} s in all, or 1 % of the principal");
}

#[test]
fn a_funding_transaction_that_comes_and_goes_is_away_for_the_sum_of_its_absences() {
    let mut world = World::new();
    world.act(1, false);
    for _ in 0..3 {
        world.forget(scene().n.funding.compute_txid());
        world.step(&Step::Pass(19));
        assert!(world.nodes.iter().all(|node| node.loan.unfunded.away().is_some_and(|away| away.rival.is_none())));
        world.act(0, false);
        assert!(world.nodes.iter().all(|node| node.loan.unfunded.away().is_none()), "sent again, it is back");
        // Time in the mempool is nobody's fault.
        world.step(&Step::Pass(200));
        assert!(!walks(&world, 0) && !walks(&world, 1));
    }
    world.forget(scene().n.funding.compute_txid());
    world.step(&Step::Pass(2));
    assert!(!walks(&world, 0) && !walks(&world, 1));
    world.step(&Step::Pass(1));
    assert!(walks(&world, 0) && walks(&world, 1));
    world.check_replay();
}

#[test]
fn once_the_terms_have_expired_a_percent_is_enough_and_a_price_for_it_never_is() {
    for (who, sign) in [(0, -1), (1, 1)] {
        let mut world = World::new();
        world.act(1, false);
        world.step(&Step::Pass(2_000));
        assert!(!walks(&world, 0) && !walks(&world, 1), "it waits for its block");
        assert_eq!(says(&mut world, who, moved(sign * 100)), []);
        assert_eq!(says(&mut world, 1 - who, moved(sign * 500)), []);
        assert!(matches!(says(&mut world, who, moved(sign * 101)).as_slice(), [Event::GivenUp { .. }]));
    }
}

#[test]
fn what_was_given_up_for_a_minute_is_taken_back_for_more_once_the_price_goes_against_it() {
    for (who, sign) in [(0, -1), (1, 1)] {
        let mut world = World::new();
        world.step(&Step::Pass(60));
        world.act(who, false);
        assert!(world.nodes[who].loan.withdrawal.is_some() && !walks(&world, who), "at the market's rate");
        assert_eq!(says(&mut world, who, moved(sign * 100)), []);
        assert_eq!(says(&mut world, who, moved(-sign * 900)), []);
        let more = says(&mut world, who, moved(sign * 101));
        assert!(matches!(more.as_slice(), [Event::GivenUp { at_stake_sats: 1.., .. }]), "{more:?}");
        assert!(walks(&world, who), "a funding transaction that comes out may not displace it");
        assert_eq!(says(&mut world, who, moved(sign * 102)), [], "as good as the same");
        // What pays more takes its place, wherever the funding transaction is.
        let coin = world.nodes[who].loan.coins[0];
        let raised = spend(coin, 0);
        assert_eq!(says(&mut world, who, Input::Withdrawn(raised.clone())), [Event::Withdrawn { transaction: raised }]);
        world.check_replay();
    }
}

/// What a side would lose at a spot of so many basis points above the reference price, sats.
fn lost(world: &World, who: usize, bp: i64) -> u64 {
    let terms = &world.nodes[who].loan.terms;
    let spot = Cents(u64::try_from(10_000_000 + 1_000 * bp).unwrap());
    terms.principal_sats.to_sat().abs_diff(sats_for_cents_ceil(terms.principal, spot).unwrap().to_sat())
}

#[test]
fn what_is_at_stake_is_counted_again_whenever_it_has_grown_by_a_quarter_and_seldom() {
    let held = |_: usize| World::new();
    let out = |_: usize| {
        let mut world = World::new();
        world.act(1, false);
        world
    };
    let away = |who: usize| displaced(1 - who);
    let late = |who: usize| {
        let mut world = World::new();
        world.step(&Step::Pass(60));
        world.act(who, false);
        world
    };
    let places: [&dyn Fn(usize) -> World; 4] = [&held, &out, &away, &late];
    for (place, world) in places.iter().enumerate() {
        for (who, sign) in [(0, -1), (1, 1)] {
            let mut world = world(who);
            let most = world.nodes[who].loan.terms.collateral.to_sat() / 100;
            let mut told = 0;
            for bp in 1..2_000 {
                told += says(&mut world, who, moved(sign * bp)).len();
                let known = world.nodes[who].loan.unfunded.at_stake().to_sat();
                let lost = lost(&world, who, sign * bp);
                let is_counted = known.min(most) * 5 >= lost.min(most) * 4;
                assert!(told == 0 || is_counted, "{place} {who} {bp}: {known} of {lost}");
            }
            // Two percent of the principal are a hundredth of the collateral here: for what is out that is said once.
            assert!(told <= 5 && told >= if place == 1 { 1 } else { 2 }, "{place} {who}: {told} times");
            assert_eq!(says(&mut world, who, moved(sign * 150)), [], "the price comes back");
            world.check_replay();
        }
    }
}

#[test]
fn what_was_given_up_while_it_was_held_is_counted_again_by_the_same_rule_once_it_is_out() {
    for (who, sign) in [(0, -1), (1, 1)] {
        let mut world = World::new();
        assert!(matches!(says(&mut world, who, moved(sign * 101)).as_slice(), [Event::GivenUp { .. }]));
        world.act(who, false);
        assert!(world.nodes[who].loan.withdrawal.is_some());
        // A child that pays for both brings the funding transaction in, in the withdrawal's place.
        world.mempool.clear();
        assert!(world.submit(scene().n.funding.clone(), true));
        assert_eq!(world.nodes[who].loan.stage, Stage::Confirming);
        assert!(walks(&world, who));
        let more = says(&mut world, who, moved(sign * 190));
        let lost = lost(&world, who, sign * 190);
        assert!(
            matches!(more.as_slice(), [Event::GivenUp { at_stake_sats, .. }] if *at_stake_sats == lost),
            "{more:?}"
        );
        world.check_replay();
    }
}

#[test]
fn what_is_displaced_again_after_a_cheap_withdrawal_is_minded_as_before() {
    for (who, sign) in [(0, -1), (1, 1)] {
        let mut world = displaced(1 - who);
        world.step(&Step::Pass(60));
        world.act(who, false);
        assert!(world.nodes[who].loan.withdrawal.is_some() && !world.nodes[who].loan.unfunded.was_given_up_by_price());
        world.act(who, true);
        assert!(told(&world, who).ends_with(&["withdrawn"]), "its own withdrawal is no rival: {:?}", told(&world, who));
        // The funding transaction takes the withdrawal's place, and another spend of the other side's coin its.
        world.mempool.clear();
        assert!(world.submit(scene().n.funding.clone(), true));
        assert_eq!(told(&world, who).last(), Some(&"funding_back"));
        let coin = world.nodes[1 - who].loan.coins[0];
        assert!(world.submit(spend(coin, 41), true));
        let away = world.nodes[who].loan.unfunded.away().and_then(|away| away.rival);
        assert_eq!(away.map(|rival| rival.txid), Some(spend(coin, 41).compute_txid()), "who displaced it is known");
        assert_eq!(says(&mut world, who, moved(sign * 100)), []);
        let more = says(&mut world, who, moved(sign * 101));
        assert!(matches!(more.as_slice(), [Event::GivenUp { at_stake_sats: 1.., .. }]), "one percent: {more:?}");
        assert!(walks(&world, who));
        world.check_replay();
    }
    // What the borrower does after a lender has signed is held against it all the same.
    let mut world = World::new();
    assert!(matches!(says(&mut world, 1, moved(101)).as_slice(), [Event::GivenUp { .. }]));
    world.act(1, false);
    assert!(world.nodes[1].loan.withdrawal.is_some() && !world.nodes[1].loan.unfunded.was_displaced_by_them());
    let coin = world.nodes[0].loan.coins[0];
    assert!(world.submit(spend(coin, 40), true));
    assert!(world.nodes[1].loan.unfunded.was_displaced_by_them());
    let back = world.nodes[1].loan.withdrawal.clone().unwrap();
    world.mempool.clear();
    world.submit(back, true);
    world.mine(u8::MAX);
    assert_eq!(world.nodes[1].loan.cancelled_by, Some(hypothec::protocol::Doing::Borrower));
    world.check_replay();
}

/// What one side's log says, in order.
fn told(world: &World, who: usize) -> Vec<&'static str> {
    world.nodes[who].log.iter().map(|recorded| recorded.event.name()).collect()
}

#[test]
fn a_borrower_does_not_let_a_loan_be_funded_whose_touch_is_attested() {
    for is_out in [false, true] {
        let mut world = World::new();
        if is_out {
            world.act(1, false);
        }
        world.public.insert(0);
        world.hear(0, &[0]);
        assert!(walks(&world, 0), "out: {is_out}");
        world.act(0, true);
        world.act(0, true);
        world.mine(u8::MAX);
        world.check();
        assert!(world.nodes.iter().all(|node| node.loan.stage == Stage::Cancelled), "out: {is_out}");
    }
}

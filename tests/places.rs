//! Oracles at several places, and several oracles, of which one says nothing, or nothing new: what the others say settles
//! loans in time, and what is wrong is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::secp256k1::SecretKey;
use hypothec::demo::wait::until;
use hypothec::loan::policy::Policy;
use hypothec::loan::LoanId;
use hypothec::node::view::{LoanView, OracleRequest, QuoteRequest};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::bundle::BundlePage;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon;
use hypothec_oracle::units::Time;
use hypothec_oracle::wire::SignedLows;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use world::liar::{changed, Liar, Lie};
use world::{loan, troubles, World, HOUR, START};

/// Hours from the start to 13 March 2020, 03:00: the price fell below $4,000 in the hour before, and never did again.
const CRASH: u32 = 4 * 24 + 3;
/// The beginning of that day.
const DAY_OF_CRASH: u32 = 4 * 24;

fn hour(number: u32) -> Time {
    START.plus(number * HOUR).unwrap()
}

/// Leaves out every attestation of what begins with `prefix`.
fn unsaid(prefix: &'static str) -> impl Fn(&str, Value, &SecretKey) -> Lie + Send + Sync + 'static {
    move |path, honest, _| match path.starts_with(prefix) {
        true => changed::<BundlePage>(honest, |page| page.attestations.clear()),
        false => Lie::Truth,
    }
}

/// A day whose lows are told truly.
type Truly = Arc<Mutex<Option<&'static str>>>;

/// The first answer about each day's lows that is final until then, for ever, but of the day that is told truly.
fn old_lows(since: Time, truly: &Truly) -> impl Fn(&str, Value, &SecretKey) -> Lie + Send + Sync + 'static {
    let (kept, truly) = (Mutex::<BTreeMap<String, Value>>::default(), truly.clone());
    move |path, honest, _| {
        let is_old = |day: &&str| *truly.lock().unwrap() != Some(*day);
        let Some(day) = path.strip_prefix("/v1/lows/").filter(is_old) else { return Lie::Truth };
        let lows: SignedLows = serde_json::from_value(honest.clone()).unwrap();
        match lows.frozen_until < since {
            true => Lie::Truth,
            false => Lie::Json(kept.lock().unwrap().entry(day.to_owned()).or_insert(honest).clone()),
        }
    }
}

/// Another oracle with the same prices, in a folder beside the world's.
async fn another_oracle(dir: &Path, name: &str) -> daemon::Oracle {
    let data = dir.join(name);
    daemon::init(&data).unwrap();
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/prices-2020-03.csv");
    daemon::start(daemon::Config {
        data,
        listen: "127.0.0.1:0".parse().unwrap(),
        network: daemon::Network::Regtest,
        feed: daemon::FeedChoice::Replay(prices),
        clock: Clock::file(dir.join("clock")),
        operating: daemon::Operating::default(),
        limits: daemon::Limits::default(),
        replicas: daemon::Replicas::default(),
    })
    .await
    .unwrap()
}

/// Time moves on, and nobody waits until all have looked.
async fn pass(world: &mut World, to: Time) {
    world.now = to;
    world.bitcoind.set_mock_time(to).await.unwrap();
    world.bitcoind.mine(6).await.unwrap();
    Clock::set_file(&world.dir.path().join("clock"), to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_drops_packets_keeps_no_look_at_many_loans_and_is_heard_once_it_answers() {
    const LOANS: usize = 8;
    let (mut world, liar) = World::with_liar(true).await;
    world.give_lender_coins(LOANS).await;
    let mut open = Vec::new();
    for number in 0..LOANS {
        let principal_cents = 20_000 + 1_000 * number as u64;
        let request = QuoteRequest { collateral_sats: 10_000_000, ..world.request(principal_cents, 1) };
        let quote = world.borrower.handle.quote(request).await.unwrap();
        let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
        open.push(world.open_taken(id).await);
    }
    // Three places for the borrower: two say nothing of the fixing, the third nothing at all. The lender hears the first.
    let (oracle, data) = (world.oracle.as_ref().unwrap(), world.dir.path().join("oracle"));
    let (other, silent) = (Liar::before(&oracle.url(), &data).await, Liar::before(&oracle.url(), &data).await);
    let mirrors = vec![other.url.clone(), silent.url.clone()];
    let request = OracleRequest { url: liar.url.clone(), mirrors, pubkey: Some(oracle.key) };
    world.borrower.handle.add_oracle(request).await.unwrap();
    liar.lies(unsaid("/v1/fixings"));
    other.lies(unsaid("/v1/fixings"));
    silent.lies(|_, _, _| Lie::Silence);
    let due = hour(24);
    let begun = Instant::now();
    pass(&mut world, due.plus(60).unwrap()).await;
    let looked = until("the look to be over", Duration::from_secs(150), || async {
        let status = world.borrower.handle.status().await.unwrap();
        (status.clock == world.now.0 && status.idle).then_some(()).ok_or_else(|| format!("{status:?}"))
    });
    looked.await.unwrap();
    let took = begun.elapsed();
    println!("bound silent-place {} s", took.as_secs());
    assert!(took < Duration::from_secs(25), "a look at {LOANS} loans took {took:?}");
    for id in &open {
        assert_eq!(loan(&world.borrower.handle, *id).await.ended, None);
    }
    // It alone knows the fixing, and is heard before its minute is over.
    silent.repents();
    let alive = Instant::now();
    let mut now = world.now;
    until("the loans to end", Duration::from_secs(50), || {
        now = now.plus(1).unwrap();
        let (clock, handle, open) = (world.dir.path().join("clock"), &world.borrower.handle, &open);
        async move {
            Clock::set_file(&clock, now).unwrap();
            let mut left = 0;
            for id in open {
                left += usize::from(loan(handle, *id).await.ended.is_none());
            }
            (left == 0).then_some(()).ok_or_else(|| format!("{left} are open"))
        }
    })
    .await
    .unwrap();
    assert!(alive.elapsed() < Duration::from_secs(50), "{:?}", alive.elapsed());
    for id in &open {
        assert_eq!(loan(&world.borrower.handle, *id).await.ended.unwrap().exit, Some(Exit::Matured));
    }
}

/// A world whose nodes know three oracles with the same prices, of which two must agree; the first and the second are heard
/// through liars that are honest yet.
async fn of_three() -> (World, [Liar; 2], [daemon::Oracle; 2]) {
    let (world, first) = World::with_liar(true).await;
    let further = [another_oracle(world.dir.path(), "second").await, another_oracle(world.dir.path(), "third").await];
    let second = Liar::before(&further[0].url(), &world.dir.path().join("second")).await;
    for url in [second.url.clone(), further[1].url()] {
        for node in [&world.lender, &world.borrower] {
            let request = OracleRequest { url: url.clone(), mirrors: Vec::new(), pubkey: None };
            node.handle.add_oracle(request).await.unwrap();
        }
    }
    let oracles = vec![world.oracle.as_ref().unwrap().key, further[0].key, further[1].key];
    let policy = world.lender.handle.policy().await.unwrap();
    world.lender.handle.set_policy(Policy { oracles, threshold: 2, ..policy }).await.unwrap();
    (world, [first, second], further)
}

/// How many of its oracles have said something of a loan, by both sides.
async fn words(world: &World, id: LoanId) -> usize {
    let said = |view: &LoanView| view.oracles.iter().filter(|oracle| !oracle.said.is_empty()).count();
    let [borrower, lender] = world.both(id).await;
    assert_eq!(said(&borrower), said(&lender), "both sides have heard the same");
    said(&borrower)
}

async fn days_until(world: &mut World, first: u32, last: u32) {
    for day in first..=last {
        world.advance(hour(24 * day)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_oracles_one_whose_lows_are_old_is_told_and_the_two_others_settle_the_loan() {
    let (mut world, [old, _], _further) = of_three().await;
    let id = world.open(310_000, 6).await;
    days_until(&mut world, 1, 4).await;
    let began = hour(DAY_OF_CRASH);
    old.lies(old_lows(began, &Truly::default()));
    world.advance(began.plus(1).unwrap()).await;
    world.advance(began.plus(HOUR + 900).unwrap()).await;
    let hours = format!("nothing is heard of the hours from {began} to {}", began.plus(HOUR).unwrap());
    for node in [&world.lender, &world.borrower] {
        let said = troubles(node).await;
        assert!(said.contains(&hours) && said.contains(&old.url), "{said}");
        assert_eq!(said.matches("nothing is heard").count(), 1, "of the others all is heard: {said}");
        let view = loan(&node.handle, id).await;
        assert!(view.stage == Stage::Active && view.price_cents.is_some(), "it goes on: {view:?}");
    }
    world.advance(hour(CRASH)).await;
    assert_eq!(words(&world, id).await, 2, "the old one says nothing, the others do");
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_lows_of_several_days_hide_no_touch_that_another_days_lows_prove() {
    let (mut world, [first, second], _further) = of_three().await;
    let id = world.open(310_000, 12).await;
    days_until(&mut world, 1, 4).await;
    let began = hour(DAY_OF_CRASH);
    let truly = Truly::default();
    first.lies(old_lows(began, &truly));
    second.lies(old_lows(began, &Truly::default()));
    world.advance(began.plus(1).unwrap()).await;
    world.advance(hour(CRASH)).await;
    assert_eq!(words(&world, id).await, 1);
    days_until(&mut world, 5, 9).await;
    for view in world.both(id).await {
        assert!(view.stage == Stage::Active && view.ended.is_none(), "one oracle's touch settles nothing: {view:?}");
    }
    // Five days are old at the first; of the day of the touch it tells the truth.
    *truly.lock().unwrap() = Some("20200313");
    world.advance(world.now.plus(10).unwrap()).await;
    assert!(troubles(&world.lender).await.contains("nothing is heard of"));
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_lows_of_one_day_and_a_touch_withheld_of_another_are_both_told() {
    let (mut world, liar) = World::with_liar(true).await;
    let id = world.open(310_000, 12).await;
    days_until(&mut world, 1, 3).await;
    // Of the 12th the last hour is missing, and of the 13th nothing is: what its lows prove is not attested.
    let began = hour(DAY_OF_CRASH - 1);
    let (lows, withheld) = (old_lows(began, &Arc::new(Mutex::new(Some("20200313")))), unsaid("/v1/bands"));
    liar.lies(move |path, honest, secret| match path.starts_with("/v1/lows") {
        true => lows(path, honest, secret),
        false => withheld(path, honest, secret),
    });
    world.advance(began).await;
    world.advance(hour(DAY_OF_CRASH + 1)).await;
    for (further, what) in [(4, "the old day is the older one"), (6, "and newer ones, which are looked at first")] {
        days_until(&mut world, 5, further).await;
        world.advance(world.now.plus(2 * HOUR).unwrap()).await;
        for node in [&world.lender, &world.borrower] {
            let said = troubles(node).await;
            assert!(said.contains("withholds btcusd-touch") && said.contains("nothing is heard of"), "{what}: {said}");
            let view = loan(&node.handle, id).await;
            assert_eq!((view.stage, view.ended), (Stage::Active, None), "{what}");
        }
    }
    liar.repents();
    world.advance(world.now.plus(10).unwrap()).await;
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    }
}

//! An oracle whose key hands over to a new one: what people see, and what nodes do and refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::demo::prices::Prices;
use hypothec::loan::policy::Policy;
use hypothec::node::view::{OracleRequest, OracleView};
use hypothec::node::{Handle, Running};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon;
use hypothec_oracle::operator::SameOperator;
use hypothec_oracle::rotation::Rotation;
use hypothec_oracle::units::{Cents, Time, DAY};
use std::time::Duration;
use world::liar::{Liar, Lie};
use world::{loan, start_node, World, HOUR, START};

fn new_key(byte: u8) -> OracleKeys {
    OracleKeys::from_secret(bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap())
}

/// The key in an oracle's data folder.
fn keys(world: &World, folder: &str) -> OracleKeys {
    let secret = std::fs::read_to_string(world.dir.path().join(folder).join("secret")).unwrap();
    OracleKeys::from_secret(secret.trim().parse().unwrap())
}

/// The oracle serves its hand-over to the key of `byte` from now on, and this one only.
fn hand_over(world: &World, byte: u8, from: Time) -> Rotation {
    let (data, old) = (world.dir.path().join("oracle"), keys(world, "oracle"));
    let said = Rotation::sign(&old, &new_key(byte), from).unwrap();
    std::fs::write(data.join("rotation.json"), serde_json::to_string(&[said]).unwrap()).unwrap();
    said
}

async fn oracle(handle: &Handle) -> OracleView {
    handle.oracles().await.unwrap().remove(0)
}

async fn events(handle: &Handle) -> Vec<String> {
    let events = handle.events(0, Duration::ZERO).await.unwrap();
    events.into_iter().map(|event| event.event).collect()
}

async fn refusal(world: &World, days: u32) -> String {
    world.borrower.handle.quote(world.request(300_000, days)).await.unwrap_err().message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_reaches_the_person_and_only_loans_that_end_before_it_are_new() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    assert_eq!(oracle(&world.borrower.handle).await.rotation, None);
    let from = START.plus(10 * DAY).unwrap();
    let said = hand_over(&world, 2, from);
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    for node in [&world.lender, &world.borrower] {
        let view = oracle(&node.handle).await.rotation.unwrap();
        assert_eq!((view.new_key, view.from), (said.new_key, from.0));
        assert!(view.text.contains("Open loans stay on the old key"), "{}", view.text);
        assert!(node.handle.status().await.unwrap().troubles.contains(&view.text));
        assert_eq!(events(&node.handle).await.iter().filter(|event| *event == "oracle_rotated").count(), 1);
    }
    let refused = refusal(&world, 30).await;
    for says in [said.old_key.to_string(), from.to_string(), format!("oracle add URL --pubkey {}", said.new_key)] {
        assert!(refused.contains(&says), "{says}: {refused}");
    }
    assert_eq!(world.quote(300_000, 2).await.days, 2, "one that ends before is quoted as ever");
    let view = loan(&world.borrower.handle, id).await;
    assert_eq!((view.stage, view.warnings), (Stage::Active, Vec::new()));
    // It is served no more, and the node starts again: what was signed was signed.
    std::fs::remove_file(world.dir.path().join("oracle/rotation.json")).unwrap();
    world.advance(START.plus(4 * HOUR).unwrap()).await;
    let World { borrower, bitcoind, dir, oracle: _alive, .. } = world;
    borrower.stop().await.unwrap();
    let again = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    assert_eq!(oracle(&again.handle).await.rotation.unwrap().new_key, said.new_key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_who_knows_of_a_hand_over_refuses_a_borrower_who_does_not() {
    let (mut world, liar) = World::with_liar(false).await;
    liar.lies(|path, _, _| match path {
        "/v1/rotation" => Lie::Raw(404, "{\"code\":\"no_rotation\",\"message\":\"none\"}".into()),
        _ => Lie::Truth,
    });
    let said = hand_over(&world, 2, START.plus(10 * DAY).unwrap());
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    assert_eq!(oracle(&world.borrower.handle).await.rotation, None);
    let refused = refusal(&world, 30).await;
    assert!(refused.contains("the lender refuses: oracle") && refused.contains(&said.new_key.to_string()), "{refused}");
    world.quote(300_000, 2).await;
    // And the borrower by itself, when it hears of it between the quote and its acceptance.
    liar.repents();
    std::fs::remove_file(world.dir.path().join("oracle/rotation.json")).unwrap();
    let quote = world.quote(300_000, 5).await;
    hand_over(&world, 2, START.plus(2 * DAY).unwrap());
    world.advance(START.plus(3 * HOUR - 1).unwrap()).await;
    assert_eq!(oracle(&world.borrower.handle).await.rotation, None, "it is asked once an hour");
    world.advance(START.plus(3 * HOUR).unwrap()).await;
    let refused = world.borrower.handle.borrow(quote.loan_id).await.unwrap_err().message;
    assert!(refused.contains("stops for new loans at"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_hand_overs_blinds_no_node_and_the_first_of_them_counts() {
    let (mut world, liar) = World::with_liar(false).await;
    let from = START.plus(10 * DAY).unwrap();
    let one = hand_over(&world, 2, from);
    let round = Rotation::sign(&new_key(2), &keys(&world, "oracle"), START).unwrap();
    let served = serde_json::to_string(&[one, round]).unwrap();
    liar.lies(move |path, _, _| match path {
        "/v1/rotation" => Lie::Raw(200, served.clone()),
        _ => Lie::Truth,
    });
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    let view = oracle(&world.borrower.handle).await.rotation.expect("the first is believed");
    assert_eq!((view.new_key, view.from), (one.new_key, from.0));
    let troubles = world.borrower.handle.status().await.unwrap().troubles;
    assert_eq!(troubles.iter().filter(|trouble| trouble.contains("hand")).collect::<Vec<_>>(), [&view.text]);
    assert_eq!(world.quote(300_000, 2).await.days, 2);
    let refused = refusal(&world, 30).await;
    assert!(refused.contains("stops for new loans at"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hand_overs_of_one_key_are_an_alarm_and_nothing_new_rests_on_it() {
    let mut world = World::new().await;
    let id = world.open(300_000, 5).await;
    let from = START.plus(40 * DAY).unwrap();
    let one = hand_over(&world, 2, from);
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    let other = hand_over(&world, 3, from);
    world.advance(START.plus(4 * HOUR).unwrap()).await;
    for node in [&world.lender, &world.borrower] {
        let view = oracle(&node.handle).await;
        let conflict = view.rotation_conflict.unwrap();
        assert_eq!(view.rotation, None);
        assert!(conflict.contains(&one.new_key.to_string()) && conflict.contains(&other.new_key.to_string()));
        assert!(node.handle.status().await.unwrap().troubles.contains(&conflict));
        assert!(events(&node.handle).await.contains(&"oracle_rotation_conflict".to_owned()));
        let view = loan(&node.handle, id).await;
        assert_eq!((view.stage, view.warnings), (Stage::Active, vec![conflict]));
    }
    let refused = refusal(&world, 2).await;
    assert!(refused.contains("contradict each other"), "{refused}");
}

/// Another oracle of the world, in a folder of this name: it sees the world's prices, and a crash nobody else sees.
async fn liar_of_a_crash(world: &World, name: &str) -> daemon::Oracle {
    let data = world.dir.path().join(name);
    daemon::init(&data).unwrap();
    let prices = world.dir.path().join(format!("{name}.csv"));
    let crash = START.plus(3 * HOUR).unwrap();
    std::fs::write(&prices, Prices::real().unwrap().falling(crash, Cents(100_000)).to_csv()).unwrap();
    daemon::start(daemon::Config {
        data,
        listen: "127.0.0.1:0".parse().unwrap(),
        network: daemon::Network::Regtest,
        feed: daemon::FeedChoice::Replay(prices),
        clock: Clock::file(world.dir.path().join("clock")),
        limits: daemon::Limits::default(),
        operating: daemon::Operating::default(),
        replicas: daemon::Replicas::default(),
    })
    .await
    .unwrap()
}

async fn pin(node: &Running, url: String) {
    node.handle.add_oracle(OracleRequest { url, mirrors: Vec::new(), pubkey: None }).await.unwrap();
}

/// Two further oracles, `a` and `successor`, beside the honest one; the lender lends on two of these three. The lender
/// hears the first of them through a liar.
async fn three_oracles(world: &World) -> ([daemon::Oracle; 2], Liar) {
    let two = [liar_of_a_crash(world, "a").await, liar_of_a_crash(world, "successor").await];
    let liar = Liar::before(&two[0].url(), &world.dir.path().join("a")).await;
    for node in [&world.lender, &world.borrower] {
        pin(node, two[1].url()).await;
    }
    pin(&world.lender, liar.url.clone()).await;
    pin(&world.borrower, two[0].url()).await;
    let oracles = vec![two[0].key, two[1].key, world.oracle.as_ref().unwrap().key];
    world.lender.handle.set_policy(Policy { oracles, threshold: 2, ..Policy::default() }).await.unwrap();
    world.settle().await;
    (two, liar)
}

fn a_hands_over(world: &World, from: Time) {
    let said = Rotation::sign(&keys(world, "a"), &keys(world, "successor"), from).unwrap();
    std::fs::write(world.dir.path().join("a/rotation.json"), serde_json::to_string(&[said]).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_and_its_successor_never_settle_together_what_needs_two() {
    let mut world = World::new().await;
    let ([a, successor], _liar) = three_oracles(&world).await;
    // Before anybody knows, the two names count as two.
    let quote = world.quote(300_000, 2).await;
    assert_eq!((quote.oracles.len(), quote.threshold), (3, 2));
    let early = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.open_taken(early).await;
    a_hands_over(&world, START.plus(10 * DAY).unwrap());
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    for node in [&world.lender, &world.borrower] {
        let known = node.handle.oracles().await.unwrap();
        let known = known.into_iter().find(|oracle| oracle.pubkey == a.key).unwrap();
        assert_eq!(known.same_operator, [successor.key]);
        // The open loan keeps its contract, and its people are told, once in general and once of the loan.
        let told = node.handle.events(0, Duration::ZERO).await.unwrap();
        let told: Vec<_> = told.into_iter().filter(|event| event.event == "oracles_joined").collect();
        assert_eq!(told.iter().map(|event| event.loan_id).collect::<Vec<_>>(), [None, Some(early)]);
        let view = loan(&node.handle, early).await;
        assert!(view.warnings.iter().any(|warning| warning.contains("it can settle this loan alone")), "{view:?}");
    }
    // New loans rest on one of its keys.
    let quote = world.quote(300_000, 2).await;
    assert_eq!((quote.oracles.len(), quote.threshold), (2, 2));
    assert!(quote.oracles.contains(&world.oracle.as_ref().unwrap().key), "{:?}", quote.oracles);
    let late = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.open_taken(late).await;
    // Both keys say a crash that nobody else saw.
    world.advance(START.plus(5 * HOUR).unwrap()).await;
    for view in world.closed(early).await {
        assert_eq!(
            view.ended.and_then(|ended| ended.exit),
            Some(Exit::Liquidated),
            "two keys of three, whoever holds them"
        );
    }
    for view in world.both(late).await {
        assert_eq!(
            (view.stage, view.oracles.iter().map(|oracle| oracle.said.len()).sum::<usize>()),
            (Stage::Active, 1)
        );
    }
    println!("bound rotated-oracle 1 voice of 2 keys, 0 sats of a loan that needs 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_side_takes_a_loan_on_two_keys_of_one_operator_from_one_who_does_not_know() {
    let mut world = World::new().await;
    let ([a, successor], liar) = three_oracles(&world).await;
    // The lender is not told of the hand-over; the borrower is, between the quote and its acceptance.
    liar.lies(|path, _, _| match path {
        "/v1/rotation" => Lie::Raw(404, "{\"code\":\"no_rotation\",\"message\":\"none\"}".into()),
        _ => Lie::Truth,
    });
    let quote = world.quote(300_000, 2).await;
    a_hands_over(&world, START.plus(10 * DAY).unwrap());
    world.advance(START.plus(HOUR).unwrap()).await;
    let refused = world.borrower.handle.borrow(quote.loan_id).await.unwrap_err().message;
    assert!(refused.contains("are keys of one operator"), "{refused}");
    let refused = refusal(&world, 2).await;
    assert!(refused.contains("are keys of one operator") && !refused.contains("the lender refuses"), "{refused}");
    // The other way about: a lender who knows names one of them to whoever does not, and a policy of these two alone,
    // set before it knew, lends nothing.
    let alone = Policy { oracles: vec![a.key, successor.key], threshold: 2, ..Policy::default() };
    world.lender.handle.set_policy(alone.clone()).await.unwrap();
    liar.repents();
    world.advance(START.plus(3 * HOUR - 1).unwrap()).await;
    let status = world.lender.handle.status().await.unwrap();
    assert!(status.troubles.iter().any(|trouble| trouble.contains("count as 1")), "{:?}", status.troubles);
    let refused = refusal(&world, 2).await;
    assert!(refused.contains("the lender refuses") && refused.contains("count as 1"), "{refused}");
    let refused = world.lender.handle.set_policy(alone).await.unwrap_err().message;
    assert!(refused.starts_with("threshold 2: the oracles named count as 1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_that_their_operator_joins_are_one_oracle() {
    let mut world = World::new().await;
    let ([a, successor], _liar) = three_oracles(&world).await;
    let said = SameOperator::sign(&keys(&world, "successor"), &keys(&world, "a")).unwrap();
    let place = world.dir.path().join("successor/same-operator.json");
    std::fs::write(&place, serde_json::to_string(&[said]).unwrap()).unwrap();
    world.advance(START.plus(2 * HOUR).unwrap()).await;
    let quote = world.quote(300_000, 2).await;
    assert_eq!(quote.oracles.len(), 2);
    // It is served no more, and the node starts again: what both keys signed stands.
    std::fs::remove_file(&place).unwrap();
    world.advance(START.plus(3 * HOUR - 1).unwrap()).await;
    let World { borrower, bitcoind, dir, oracle: _alive, .. } = world;
    borrower.stop().await.unwrap();
    let again = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    for (key, other) in [(a.key, successor.key), (successor.key, a.key)] {
        let oracles = again.handle.oracles().await.unwrap();
        let view = oracles.into_iter().find(|oracle| oracle.pubkey == key).unwrap();
        assert_eq!(view.same_operator, [other]);
    }
}

//! An oracle whose key hands over to a new one: what people see, and what nodes do and refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::node::view::OracleView;
use hypothec::node::Handle;
use hypothec::protocol::Stage;
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::rotation::Rotation;
use hypothec_oracle::units::{Time, DAY};
use std::time::Duration;
use world::liar::Lie;
use world::{loan, start_node, World, HOUR, START};

fn new_key(byte: u8) -> OracleKeys {
    OracleKeys::from_secret(bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap())
}

/// The oracle serves its hand-over to the key of `byte` from now on, and this one only.
fn hand_over(world: &World, byte: u8, from: Time) -> Rotation {
    let data = world.dir.path().join("oracle");
    let secret = std::fs::read_to_string(data.join("secret")).unwrap();
    let old = OracleKeys::from_secret(secret.trim().parse().unwrap());
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

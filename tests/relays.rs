//! Loans that settle by what Nostr relays carry, when no server of their oracle answers: a real bitcoind, a real oracle
//! that publishes, a real relay in this process, two nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::demo::wait::until;
use hypothec::protocol::Exit;
use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::LocalRelay;
use std::time::Duration;
use world::liar::{Liar, Lie};
use world::{World, HOUR, START};

/// Hours from the start to the bottom of March 2020.
const CRASH: u32 = 4 * 24 + 3;

/// The mock relay, without its limit of a note a second.
async fn relay() -> LocalRelay {
    let limit = RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 };
    let relay = LocalRelay::new(RelayBuilder::default().rate_limit(limit));
    relay.run().await.unwrap();
    relay
}

/// A world whose nodes know their oracle by a server that can be made dark and by a relay.
async fn world(relay: &LocalRelay) -> (World, Liar) {
    let url = relay.url().await.to_string();
    let mut server = None;
    let world = World::publishing(vec![url.trim_end_matches('/').to_owned()], async |_, oracle, data| {
        if server.is_none() {
            server = Some(Liar::before(&oracle.url(), data).await);
        }
        server.as_ref().map(|server| server.url.clone()).unwrap_or_default()
    })
    .await;
    (world, server.unwrap())
}

fn darken(server: &Liar) {
    server.lies(|_, _, _| Lie::Raw(503, r#"{"code":"dark","message":"nobody is here"}"#.into()));
}

/// Both nodes have tried in vain to ask the server.
async fn is_dark(world: &World) {
    for node in [&world.lender, &world.borrower] {
        until("a node to miss its oracle", Duration::from_secs(30), || async {
            let oracles = node.handle.oracles().await.unwrap();
            match oracles[0].trouble.as_deref() {
                Some(text) if text.contains("503") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_settles_from_a_relay_when_every_http_mirror_is_dark() {
    let relay = relay().await;
    let (mut world, server) = world(&relay).await;
    let id = world.open(380_000, 30).await;
    for day in 1..4 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    darken(&server);
    world.advance(START.plus(CRASH * HOUR).unwrap()).await;
    is_dark(&world).await;
    let [borrower, lender] = world.closed(id).await.map(|view| view.ended.unwrap());
    assert_eq!((borrower.exit, lender.exit), (Some(Exit::Liquidated), Some(Exit::Liquidated)));
    assert_eq!((borrower.txid, borrower.paid_to_lender_sats), (lender.txid, lender.paid_to_lender_sats));
    let oracles = world.borrower.handle.oracles().await.unwrap();
    assert!(oracles[0].dropped.is_empty() && oracles[0].mirrors.len() == 1, "{oracles:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_matures_by_the_fixing_on_a_relay_when_every_http_mirror_is_dark() {
    let relay = relay().await;
    let (mut world, server) = world(&relay).await;
    let id = world.open(300_000, 1).await;
    darken(&server);
    world.advance(START.plus(25 * HOUR).unwrap()).await;
    is_dark(&world).await;
    // Lows that cannot be had are waited for an hour; then the fixing counts.
    world.advance(START.plus(26 * HOUR + 60).unwrap()).await;
    let [borrower, lender] = world.closed(id).await.map(|view| view.ended.unwrap());
    assert_eq!((borrower.exit, lender.exit), (Some(Exit::Matured), Some(Exit::Matured)));
    assert_eq!((borrower.txid, borrower.paid_to_lender_sats), (lender.txid, lender.paid_to_lender_sats));
}

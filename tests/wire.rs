//! A lender's node and a stranger who lies: every message over a real connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::demo::wait::until;
use hypothec::loan::policy::Policy;
use hypothec::loan::units::{Cents, Time};
use hypothec::loan::LoanId;
use hypothec::protocol::messages::{Ready, Refused};
use hypothec::protocol::{Message, Stage};
use std::time::Duration;
use world::stranger::Stranger;
use world::World;

/// Waits until the lender's node says so.
async fn lender_says<T>(world: &World, what: &str, mut pick: impl FnMut(Vec<(LoanId, Stage)>) -> Option<T>) -> T {
    let pick = std::sync::Mutex::new(&mut pick);
    until(what, Duration::from_secs(20), || async {
        let loans = world.lender.handle.loans().await.unwrap();
        let stages = loans.iter().map(|loan| (loan.loan_id, loan.stage.clone())).collect();
        let found = (*pick.lock().unwrap())(stages);
        found.ok_or_else(|| format!("the lender has {loans:#?}"))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_taken_together_do_not_lend_more_than_the_policy_allows() {
    let world = World::new().await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    let policy = Policy { oracles, principal_max: Cents(400_000), exposure_max: Cents(700_000), ..Policy::default() };
    world.lender.handle.set_policy(policy).await.unwrap();
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 3).await;
    let mut quotes = Vec::new();
    for _ in 0..3 {
        quotes.push(stranger.quote(300_000, 2).await);
    }
    for (quoted, coin) in quotes.iter().zip(&coins) {
        stranger.borrow(&quoted.terms, *coin);
    }
    let refused = stranger
        .message("a refusal", |message| match message {
            Message::Refused(refused) => Some(refused),
            _ => None,
        })
        .await;
    assert_eq!(refused.code, "exposure", "{refused:?}");
    assert!(refused.message.contains("left to lend"), "{refused:?}");
    let begun = lender_says(&world, "two loans", |loans| (loans.len() == 2).then_some(loans)).await;
    assert!(begun.iter().all(|(id, _)| id.0 != refused.about));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_backs_one_negotiation_at_a_time_and_not_for_ever_in_vain() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let mut last: Option<[u8; 32]> = None;
    for _ in 0..6 {
        let quoted = stranger.quote(300_000, 2).await;
        let id = quoted.terms.id();
        stranger.borrow(&quoted.terms, coin);
        last = Some(id.0);
        let earlier = |loans: &[(LoanId, Stage)]| {
            loans.iter().filter(|(one, stage)| *one != id && !matches!(stage, Stage::Cancelled { .. })).count()
        };
        // Each new one ends the one before.
        lender_says(&world, "one at a time", |loans| {
            let here = loans.iter().any(|(one, _)| *one == id);
            ((here || loans.len() == 5) && earlier(&loans) == 0).then_some(())
        })
        .await;
    }
    let refused = stranger.refusal(last.unwrap()).await;
    assert!(refused.message.contains("came to nothing"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_say_of_other_peoples_loans_changes_nothing() {
    let world = World::new().await;
    let quote = world.quote(300_000, 2).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let no = Refused { about: id.0, code: "no".into(), message: "no".into() };
    for _ in 0..20 {
        stranger.say(&Message::Refused(no.clone()));
        stranger.say(&Message::Ready(Ready { loan: id.0 }));
    }
    // A shred of every kind: read, refused or ignored, and the connection holds.
    for kind in Message::kinds() {
        for bytes in [vec![], vec![0; 40], vec![0xff; 300]] {
            stranger.net.send(stranger.peer, hypothec::peer::Frame { kind, bytes }).unwrap();
        }
    }
    let loan = world.open_taken(id).await;
    assert_eq!(loan, id);
    stranger.ask(300_000, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repayment_that_pays_lender_or_miner_too_little_is_refused_and_a_fair_one_taken() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    let loan = stranger.open(&world, 300_000, 2, coins[0]).await;
    let (spot, id) = (stranger.spot().await, loan.terms.id().0);
    // However little, never to its own advantage.
    for dear in [Cents(spot.0 + spot.0 * 4 / 1_000), Cents(spot.0 + 1)] {
        let message = stranger.proposal(&loan, coins[1], dear, world.now, 5);
        stranger.say(&message);
        assert!(stranger.refusal(id).await.message.contains("never in the proposer's favour"));
    }
    // Ones that would linger in the mempool, to be taken back whenever the price suits, or that no exit could replace.
    for rate in [1, 3, 4, 20] {
        let message = stranger.proposal(&loan, coins[1], spot, world.now, rate);
        stranger.say(&message);
        assert!(stranger.refusal(id).await.message.contains("fee"), "{rate} sat/vB");
    }
    // A debt of another moment.
    let message = stranger.proposal(&loan, coins[1], spot, Time(world.now.0 - 61), 5);
    stranger.say(&message);
    assert!(stranger.refusal(id).await.message.contains("counts the debt at"));
    let message = stranger.proposal(&loan, coins[1], spot, world.now, 5);
    stranger.say(&message);
    lender_says(&world, "repaid", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Closing).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_who_takes_its_coin_back_from_under_the_funding_gets_no_loan_and_the_lender_its_coin() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let loan = stranger.negotiate(&world, 300_000, 2, coin).await;
    for message in &loan.messages {
        stranger.say(message);
    }
    let seen = |loans: Vec<(LoanId, Stage)>| loans.iter().any(|(_, stage)| *stage == Stage::Confirming).then_some(());
    lender_says(&world, "funding seen", seen).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(400);
    let back = stranger.wallet.spend_to_self(coin, rate, None).unwrap();
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    chain.broadcast(&back.transaction).await.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    let ended = |loans: Vec<(LoanId, Stage)>| {
        loans.iter().any(|(_, stage)| matches!(stage, Stage::Cancelled { .. })).then_some(())
    };
    lender_says(&world, "cancelled", ended).await;
    assert_eq!(world.lender.handle.balance().await.unwrap().reserved_sats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_who_refuses_while_the_lender_makes_its_coin_locks_none_of_the_lenders_money() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 4).await;
    for coin in coins {
        let quoted = stranger.quote(300_000, 2).await;
        let about = quoted.terms.id().0;
        stranger.borrow(&quoted.terms, coin);
        let no = Message::Refused(Refused { about, code: "no".into(), message: "no".into() });
        let id = quoted.terms.id();
        // Said again and again, so that some of it falls between the coin's making and its record. Where the coin was
        // faster the loan may live on.
        let stranger = &stranger;
        let _ = until("the loan to be cancelled", Duration::from_secs(5), || async {
            stranger.say(&no);
            let loan = world.lender.handle.loan(id).await.map_err(|error| error.message)?;
            if matches!(loan.stage, Stage::Cancelled { .. }) {
                Ok(())
            } else {
                Err(format!("{:?}", loan.stage))
            }
        })
        .await;
    }
    let whole = 299_900_000;
    world.bitcoind.mine(1).await.unwrap();
    until("the lender's money to be free", Duration::from_secs(10), || async {
        let balance = world.lender.handle.balance().await.unwrap();
        if balance.confirmed_sats > whole {
            Ok(())
        } else {
            Err(format!("it has {balance:?}"))
        }
    })
    .await
    .unwrap();
}

//! What a person is told of money is what happened: quotes count the coins they take, histories and statements explain every
//! sat, and what is not known is said to be so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::Amount;
use hypothec::contract::repay::Source;
use hypothec::contract::Role;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::backup;
use hypothec::node::view::{Balance, HistoryEntry, SendRequest};
use hypothec::node::words::Keep;
use hypothec::node::{Handle, Running};
use hypothec::protocol::{Exit, Stage};
use std::collections::BTreeMap;
use world::stranger::Stranger;
use world::{loan, start_node, World, HOUR};

fn total(balance: &Balance) -> u64 {
    balance.confirmed_sats + balance.unconfirmed_sats + balance.reserved_sats
}

/// Everything free goes to the other node, and so many coins of so much come.
async fn has_only(world: &World, node: &Running, other: &Running, coins: usize, sats: u64) {
    let address = other.handle.new_address().await.unwrap().address;
    node.handle.send(SendRequest { address, sats: None, all: true, with_fee_coin: true }).await.unwrap();
    for _ in 0..coins {
        let address = node.handle.new_address().await.unwrap().address;
        let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
        world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(sats)).await.unwrap();
    }
    world.mine(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_counts_the_coins_that_the_loan_then_spends() {
    let world = World::new().await;
    let one = world.quote(300_000, 2).await;
    assert_eq!((one.coins, one.coins_note.as_deref()), (Some(1), None));
    has_only(&world, &world.borrower, &world.lender, 6, 18_000_000).await;
    let quote = world.quote(300_000, 2).await;
    assert_eq!((quote.coins, quote.coins_note.as_deref()), (Some(6), None));
    let funding = |quote: &hypothec::node::view::QuoteView| quote.fees[0].sats;
    let rate = (funding(&quote) - funding(&one)) / (5 * 68);
    assert!(rate >= 25 && quote.needs_sats - one.needs_sats == funding(&quote) - funding(&one), "{quote:?}");
    let before = total(&world.borrower.handle.balance().await.unwrap());
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.open_taken(id).await;
    let after = total(&world.borrower.handle.balance().await.unwrap());
    // What left the wallet is what the quote said, to the sat.
    assert_eq!(before - after, quote.needs_sats - quote.principal_sats);
    println!("bound quoted-coins 0 sats beside what the quote said, with 6 coins: {} sats of fees", funding(&quote));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_says_before_it_is_taken_that_the_coins_are_too_many_or_not_enough() {
    let world = World::new().await;
    has_only(&world, &world.borrower, &world.lender, 30, 5_000_000).await;
    let quote = world.quote(300_000, 2).await;
    let note = quote.coins_note.clone().unwrap();
    assert!(
        quote.coins.unwrap() > 16 && note.contains("the most is 16") && note.contains("`wallet consolidate`"),
        "{note}"
    );
    let refused = world.borrower.handle.borrow(quote.loan_id).await.unwrap_err();
    assert_eq!(refused.message, note);
    // The remedy is one, for the same quote.
    world.borrower.handle.consolidate(false).await.unwrap();
    world.mine(1).await;
    let again = world.borrower.handle.quotes().await.unwrap().remove(0);
    assert_eq!((again.loan_id, again.coins, again.coins_note), (quote.loan_id, Some(1), None));
    has_only(&world, &world.borrower, &world.lender, 1, 5_000_000).await;
    let poor = world.borrower.handle.quotes().await.unwrap().remove(0);
    let note = poor.coins_note.unwrap();
    assert!(poor.coins.is_none() && note.contains("not enough confirmed coins") && note.contains("0.05"), "{note}");
}

/// The history of a wallet, every entry of which says what it was for; its sum is what the wallet holds, and what it says of each
/// loan is that loan's statement.
async fn explains_every_sat(node: &Handle) -> Vec<HistoryEntry> {
    let (history, balance) = (node.history().await.unwrap(), node.balance().await.unwrap());
    let sum: i64 = history.iter().map(|one| one.change_sats).sum();
    assert_eq!(sum, total(&balance) as i64, "{history:#?}");
    assert!(history.iter().all(|one| one.what.is_some() && one.at.is_some()), "{history:#?}");
    assert!(history.iter().all(|one| one.change_sats == one.received_sats as i64 - one.spent_sats as i64));
    let mut of_loans: BTreeMap<LoanId, i64> = BTreeMap::new();
    for one in history.iter() {
        if let Some(id) = one.loan_id {
            *of_loans.entry(id).or_default() += one.change_sats;
        }
    }
    for (id, change) in of_loans {
        let statement = node.loan(id).await.unwrap().statement.unwrap();
        assert_eq!(statement.change_sats, Some(change), "{statement:#?}");
        // The part of each fee that is ours, also where both sides put in coins.
        for line in statement.transactions {
            if let Some(one) = history.iter().find(|one| one.txid == line.txid) {
                assert!(one.fee_sats.is_some() && one.fee_sats == line.ours_sats, "{line:?} {one:?}");
            }
        }
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_wallet_explains_every_sat_the_fee_coins_own_transaction_too() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    // The borrower's wallet sets a coin apart by a transaction of its own.
    world.advance(world.now.plus(25 * HOUR).unwrap()).await;
    world.mine(1).await;
    let events = world.borrower.handle.events(0, std::time::Duration::ZERO).await.unwrap();
    let made = events.iter().find(|one| one.event == "fee_coin_made").unwrap();
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.closed(id).await;
    world.borrower.handle.consolidate(false).await.unwrap();
    world.mine(1).await;
    let address = world.lender.handle.new_address().await.unwrap().address;
    let sent = world
        .borrower
        .handle
        .send(SendRequest { address, sats: Some(1_000_000), all: false, with_fee_coin: false })
        .await
        .unwrap();
    // A loan that comes to nothing once its coins are set aside moves no sat.
    world.mine(1).await;
    let [ours, theirs] = [&world.borrower.handle, &world.lender.handle];
    let history = explains_every_sat(ours).await;
    let of = |what: &str| history.iter().filter(|one| one.what.as_deref() == Some(what)).collect::<Vec<_>>();
    let [coin] = of("coin set apart for fees")[..] else { panic!("{history:#?}") };
    assert_eq!((Some(coin.txid), coin.loan_id), (made.facts.txid, None));
    assert_eq!(coin.fee_sats.map(|fee| -fee), Some(coin.change_sats));
    assert!(made.text.contains(&format!("its own fee is {} sats", coin.fee_sats.unwrap())), "{}", made.text);
    let [joined] = of("coins joined")[..] else { panic!("{history:#?}") };
    assert_eq!(joined.fee_sats.map(|fee| -fee), Some(joined.change_sats));
    let [paid] = of("sent")[..] else { panic!("{history:#?}") };
    assert_eq!((paid.txid, paid.fee_sats), (sent.txid, Some(sent.fee_sats as i64)));
    assert_eq!(paid.change_sats, -(1_000_000 + sent.fee_sats as i64));
    for what in ["received", "funding", "repaid"] {
        assert_eq!(of(what).len(), 1, "{what} {history:#?}");
    }
    assert_eq!(of("funding")[0].loan_id, Some(id));
    let history = explains_every_sat(theirs).await;
    assert!(history.iter().any(|one| one.what.as_deref() == Some("lender's coin") && one.loan_id == Some(id)));
    println!("bound unexplained 0 sats of a wallet's change");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_fees_is_the_coin_set_apart_and_not_the_whole_wallet() {
    let world = World::new().await;
    let balance = world.borrower.handle.balance().await.unwrap();
    assert_eq!((balance.confirmed_sats, balance.fee_reserve_sats), (300_000_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_whose_coins_are_sent_away_end_and_the_others_stand() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let small = stranger.ask(100_000, 2).await.unwrap();
    let large = world.quote(390_000, 2).await;
    drop(small);
    let balance = world.lender.handle.balance().await.unwrap();
    assert_eq!(balance.open_quotes, 2);
    assert!(balance.quoted_sats > large.principal_sats, "{balance:?}");
    // What is left pays the small one and not the large one.
    let address = world.borrower.handle.new_address().await.unwrap().address;
    let sats = Some(balance.confirmed_sats - 30_000_000);
    let sent = world.lender.handle.send(SendRequest { address, sats, all: false, with_fee_coin: true }).await.unwrap();
    assert_eq!(sent.quotes_ended, 1);
    let left = world.lender.handle.balance().await.unwrap();
    assert_eq!(left.open_quotes, 1);
    assert!(left.quoted_sats < large.principal_sats, "{left:?}");
    let id = world.borrower.handle.borrow(large.loan_id).await.unwrap().loan_id;
    let reason = until("the borrower to be told", PATIENCE, || async {
        let loan = loan(&world.borrower.handle, id).await;
        loan.cancelled_because.ok_or_else(|| loan.stage.to_string())
    });
    let reason = reason.await.unwrap();
    assert!(reason.contains("its coins went elsewhere"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipts_statement_counts_the_day_it_was_given_and_a_cancelled_loans_is_told_at_once() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    world.advance(world.now.plus(50 * HOUR).unwrap()).await;
    let now = loan(&world.borrower.handle, id).await;
    assert!(now.principal_cents < now.debt_now_cents && now.debt_now_cents < now.owed_now_cents, "{now:#?}");
    world.lender.handle.receipt(id).await.unwrap();
    for view in world.closed(id).await {
        let ended = view.ended.clone().unwrap();
        assert_eq!((ended.exit, ended.owed_cents), (Some(Exit::Receipt), Some(now.debt_now_cents)));
        let statement = view.statement.unwrap();
        assert_eq!(statement.interest_cents, Some(now.debt_now_cents - now.principal_cents));
        assert_eq!(statement.paid_sats, Some(0));
    }
    let quote = world.quote(300_000, 2).await;
    let taken = world.borrower.handle.borrow(quote.loan_id).await.unwrap();
    assert_eq!(taken.stage, Stage::Agreed);
    let cancelled = world.borrower.handle.cancel(quote.loan_id).await.unwrap();
    assert_eq!((cancelled.stage, cancelled.no_statement), (Stage::Cancelled, None));
    assert_eq!(cancelled.statement.unwrap().change_sats, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_begins_with_the_principal_owed_and_no_interest() {
    let world = World::new().await;
    let quote = world.quote(300_000, 10).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.open_taken(id).await;
    for view in world.both(id).await {
        assert_eq!((view.debt_now_cents, view.owed_now_cents), (quote.principal_cents, quote.owed_at_least_cents));
        // So short a term is paid in full however early.
        assert_eq!((view.owed_now_cents, view.minimum_interest_days), (view.owed_at_due_cents, 10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_older_than_a_repayment_names_no_sum_and_no_time_that_it_has_not_seen() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let sealed = world.borrower.handle.backup("a passphrase of a test".into()).await.unwrap();
    world.advance(world.now.plus(30 * HOUR).unwrap()).await;
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    let [before, _] = world.closed(id).await;
    let (before, ended) = (before.statement.unwrap(), before.ended.unwrap());
    assert!(ended.owed_cents.is_some() && before.opened.is_some() && before.net_cents.is_some(), "{before:#?}");
    world.wait_until(world.now.plus(80 * HOUR).unwrap()).await;
    let World { bitcoind, borrower, dir, lender, oracle: _oracle, .. } = world;
    borrower.stop().await.unwrap();
    let backup = backup::open(&sealed, &"a passphrase of a test".to_owned().into()).unwrap();
    backup.restore(&dir.path().join("again"), &Keep::Plain, None).unwrap();
    let again = start_node(dir.path(), "again", &bitcoind, &dir.path().join("clock")).await;
    let view = until("the end to be seen", PATIENCE, || async {
        let view = loan(&again.handle, id).await;
        (view.stage == Stage::Closed).then_some(view.clone()).ok_or_else(|| view.stage.to_string())
    });
    let view = view.await.unwrap();
    let (statement, end) = (view.statement.unwrap(), view.ended.unwrap());
    assert_eq!((end.exit, end.price_cents, end.owed_cents), (Some(Exit::Repaid), None, None));
    assert_eq!((statement.interest_cents, statement.net_cents, statement.ended_at_cents), (None, None, None));
    // What the chain says is as before.
    assert_eq!((statement.opened, statement.confirmed), (before.opened, before.confirmed));
    assert_eq!((statement.paid_sats, statement.fees_sats), (before.paid_sats, before.fees_sats));
    assert_eq!(statement.change_sats, before.change_sats);
    // It ended with its block, days before the restored node saw that.
    let (was, is) = (before.ended.unwrap(), statement.ended.unwrap());
    assert!(is.abs_diff(was) < 2 * HOUR, "{was} {is}");
    assert_eq!(view.role, Role::Borrower);
    // Its coins move first, and that is explained too.
    until("the coins to be on their way", PATIENCE, || async {
        let status = again.handle.status().await.map_err(|error| error.message)?;
        (status.mempool > 0).then_some(()).ok_or(status.troubles.join("; "))
    })
    .await
    .unwrap();
    bitcoind.mine(1).await.unwrap();
    let height = bitcoind.height().await.unwrap();
    until("the block to be read", PATIENCE, || async {
        let status = again.handle.status().await.map_err(|error| error.message)?;
        (status.height == height && status.mempool == 0).then_some(()).ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
    let history = explains_every_sat(&again.handle).await;
    let moved = history.iter().filter(|one| one.what.as_deref() == Some("coins moved after a restore"));
    assert_eq!(moved.count(), 1, "{history:#?}");
    drop(lender);
}

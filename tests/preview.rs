//! What a command would do is said before it is done, to the sat; and what would be refused is refused then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::{Address, Amount};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::view::{ErrorView, PreviewRequest, PreviewView, SendRequest, Source};
use hypothec::node::Handle;
use hypothec::protocol::Stage;
use world::World;

async fn of(handle: &Handle, request: PreviewRequest) -> PreviewView {
    let view = handle.preview(request).await.unwrap();
    assert!(view.irrevocable, "{view:?}");
    view
}

fn send(address: &str, sats: Option<u64>, with_fee_coin: bool) -> (PreviewRequest, SendRequest) {
    let address = address.to_owned();
    (
        PreviewRequest::Send { address: address.clone(), sats, all: sats.is_none(), with_fee_coin },
        SendRequest { address, sats, all: sats.is_none(), with_fee_coin },
    )
}

/// Everything a side may ask about a loan, and what it is told where it cannot be done.
async fn refusals(handle: &Handle, loan_id: LoanId) -> [ErrorView; 4] {
    let no = async |request| handle.preview(request).await.unwrap_err();
    [
        no(PreviewRequest::Repay { loan_id, from: Source::Wallet }).await,
        no(PreviewRequest::Withdraw { loan_id }).await,
        no(PreviewRequest::Receipt { loan_id }).await,
        no(PreviewRequest::Cancel { loan_id }).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_costs_what_was_said_of_it_and_is_repaid_with_the_sats_that_were_named_without_the_stake() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    let quote = world.quote(300_000, 2).await;
    let id = quote.loan_id;
    let before = handle.balance().await.unwrap().confirmed_sats;
    let said = of(handle, PreviewRequest::Borrow { quote: id }).await;
    assert_eq!((said.coins, said.locks_sats, said.gets_sats), (1, 100_000_000, quote.principal_sats));
    assert_eq!(handle.loans().await.unwrap().len(), 0, "nothing was done");
    handle.borrow(id).await.unwrap();
    assert_eq!(world.open_taken(id).await, id);
    // Taken before, it is nothing to be asked about.
    assert!(!handle.preview(PreviewRequest::Borrow { quote: id }).await.unwrap().irrevocable);
    let active = handle.balance().await.unwrap().confirmed_sats;
    let gone = before - active;
    let paid = said.locks_sats + said.fee_sats.unwrap() - said.gets_sats;
    // Signatures are shorter than they are counted.
    assert!((paid - 10..=paid).contains(&gone), "{gone} of {paid} said");
    let no = handle.preview(PreviewRequest::Cancel { loan_id: id }).await.unwrap_err();
    assert!(no.message.contains("in a block, and nobody can cancel it any more"), "{no:?}");
    let no = handle.preview(PreviewRequest::Receipt { loan_id: id }).await.unwrap_err();
    assert!(no.message.contains("only the lender gives a receipt"), "{no:?}");
    let lender = &world.lender.handle;
    let no = lender.preview(PreviewRequest::Repay { loan_id: id, from: Source::Wallet }).await.unwrap_err();
    assert!(no.message.contains("only the borrower repays"), "{no:?}");
    let freed = of(lender, PreviewRequest::Receipt { loan_id: id }).await;
    assert_eq!(freed.pays_sats, 100_000_000);
    // The same words before and after.
    let said = of(handle, PreviewRequest::Repay { loan_id: id, from: Source::Wallet }).await;
    handle.repay(id, Source::Wallet).await.unwrap();
    let ended = world.closed(id).await;
    let end = ended[1].ended.as_ref().unwrap();
    assert_eq!(end.paid_to_lender_sats, said.pays_sats + 1_000, "with the stake, which is the lender's own");
    let gone = active + said.gets_sats - handle.balance().await.unwrap().confirmed_sats;
    let paid = said.pays_sats + said.fee_sats.unwrap() - said.ahead_sats;
    assert!((paid - 10..=paid + 10).contains(&gone), "{gone} of {paid} said");
    for (handle, role) in [(lender, "lender"), (handle, "borrower")] {
        for no in refusals(handle, id).await {
            let is_said =
                no.message.starts_with("this loan has ended, repaid") || no.message.contains("of this loan, and only");
            assert!(is_said, "{role}: {no:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repayment_of_more_coins_than_it_may_spend_is_refused_before_anybody_is_asked() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    let id = world.open(300_000, 30).await;
    // Everything goes away but six coins, of which five and more would be needed.
    let owed = of(handle, PreviewRequest::Repay { loan_id: id, from: Source::Wallet }).await.pays_sats;
    let own = handle.new_address().await.unwrap().address;
    for _ in 0..6 {
        handle.send(send(&own, Some(owed / 5), true).1).await.unwrap();
        world.mine(1).await;
    }
    let free = handle.balance().await.unwrap();
    let away = world.lender.handle.new_address().await.unwrap().address;
    let rest = free.confirmed_sats - 6 * (owed / 5) - 5_000;
    handle.send(send(&away, Some(rest), true).1).await.unwrap();
    world.mine(1).await;
    let would = handle.preview(PreviewRequest::Repay { loan_id: id, from: Source::Wallet }).await.unwrap_err();
    assert!(would.message.contains("coins of yours, and it may spend 4"), "{would:?}");
    let done = handle.repay(id, Source::Wallet).await.unwrap_err();
    assert_eq!(would, done, "the same words before and after");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_the_coin_for_fees_is_sent_while_a_loan_is_open_unless_it_is_named() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    let id = world.open(300_000, 2).await;
    let away = world.lender.handle.new_address().await.unwrap().address;
    // Everything has to be said: an amount that is missing is no wish for it.
    for (sats, all) in [(None, false), (Some(1_000), true)] {
        let no = handle.preview(PreviewRequest::Send { address: away.clone(), sats, all, with_fee_coin: true }).await;
        let request = SendRequest { address: away.clone(), sats, all, with_fee_coin: true };
        let done = handle.send(request).await.unwrap_err();
        assert!(done.code == "bad_request" && done.message.contains("`all: true`"), "{done:?}");
        assert_eq!(no.unwrap_err(), done);
    }
    let (would, request) = send(&away, None, false);
    let said = of(handle, would).await;
    assert!(said.keeps_sats > 0, "{said:?}");
    let free = handle.balance().await.unwrap().confirmed_sats;
    let sent = handle.send(request).await.unwrap();
    assert_eq!((Some(sent.fee_sats), free), (said.fee_sats, said.pays_sats + sent.fee_sats + said.keeps_sats));
    world.mine(1).await;
    assert_eq!(handle.balance().await.unwrap().confirmed_sats, said.keeps_sats);
    let no = handle.preview(send(&away, None, false).0).await.unwrap_err();
    assert!(no.message.contains("stay for the fees of exits") && no.message.contains("--with-fee-coin"), "{no:?}");
    handle.send(send(&away, None, true).1).await.unwrap();
    world.mine(1).await;
    assert_eq!(handle.balance().await.unwrap().confirmed_sats, 0);
    assert_eq!(handle.loan(id).await.unwrap().stage, Stage::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_that_cost_more_than_they_are_worth_stay_when_everything_is_sent_and_that_is_said() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    // At 5 sat/vB each would cost 340.
    for _ in 0..3 {
        let own = handle.new_address().await.unwrap().address.parse::<Address<_>>().unwrap().assume_checked();
        world.bitcoind.fund(&own, Amount::from_sat(330)).await.unwrap();
    }
    world.mine(1).await;
    let (would, request) = send(&world.lender.handle.new_address().await.unwrap().address, None, false);
    let said = of(handle, would).await;
    assert_eq!((said.coins, said.costly_coins, said.costly_sats), (1, 3, 990));
    let free = handle.balance().await.unwrap().confirmed_sats;
    assert_eq!(free, said.pays_sats + said.fee_sats.unwrap() + said.costly_sats);
    let sent = handle.send(request.clone()).await.unwrap();
    assert_eq!((sent.costly_coins, sent.costly_sats, Some(sent.fee_sats)), (3, 990, said.fee_sats));
    world.mine(1).await;
    // What is free, and what it is not enough for, say the same.
    let no = handle.preview(PreviewRequest::Send {
        sats: Some(500),
        all: false,
        address: request.address,
        with_fee_coin: false,
    });
    let no = no.await.unwrap_err().message;
    let behind = "is free, 0.00000990 BTC more is in coins that each cost more than they are worth";
    assert!(no.contains(behind), "{no}");
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_coins_leaves_the_one_for_fees_alone_while_a_loan_is_open_unless_it_is_named() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    world.open(300_000, 2).await;
    // Two more coins of its own, beside the one for fees.
    for _ in 0..2 {
        let own = handle.new_address().await.unwrap().address;
        handle.send(send(&own, Some(100_000), false).1).await.unwrap();
        world.mine(1).await;
    }
    let kept = handle.balance().await.unwrap().fee_reserve_sats;
    assert!(kept > 0);
    let would = |with_fee_coin| PreviewRequest::Consolidate { with_fee_coin };
    let (without, with) = (of(handle, would(false)).await, of(handle, would(true)).await);
    assert_eq!((without.keeps_sats, with.keeps_sats, with.coins), (kept, 0, without.coins + 1));
    let joined = handle.consolidate(false).await.unwrap();
    assert_eq!((joined.joined, joined.left), (without.coins, 2));
    world.mine(1).await;
    assert_eq!(handle.balance().await.unwrap().fee_reserve_sats, kept);
    let no = handle.preview(would(false)).await.unwrap_err();
    assert!(no.message.contains("stay for the fees of exits") && no.message.contains("--with-fee-coin"), "{no:?}");
    assert_eq!(handle.consolidate(true).await.unwrap().joined, 2);
    world.mine(1).await;
    assert_eq!(handle.balance().await.unwrap().fee_reserve_sats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_is_said_to_be_and_asks_nobody_anything() {
    let world = World::new().await;
    let handle = &world.borrower.handle;
    let id = world.quote(300_000, 2).await.loan_id;
    handle.borrow(id).await.unwrap();
    // Nothing is lost by it yet.
    assert!(!handle.preview(PreviewRequest::Cancel { loan_id: id }).await.unwrap().irrevocable);
    handle.cancel(id).await.unwrap();
    until("the lender to know", PATIENCE, || async {
        let loans = world.lender.handle.loans().await.unwrap();
        loans.iter().all(|loan| loan.stage == Stage::Cancelled).then_some(()).ok_or_else(|| format!("{loans:?}"))
    })
    .await
    .unwrap();
    for no in refusals(handle, id).await {
        let is_said = no.message.starts_with("this loan was cancelled and never came to be");
        assert!(is_said || no.message.contains("only the lender gives a receipt"), "{no:?}");
    }
    let no = handle.preview(PreviewRequest::Borrow { quote: id }).await.unwrap_err();
    assert!(no.message.contains("ask for a new quote"), "{no:?}");
}

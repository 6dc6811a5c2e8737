//! A node whose own `[fees] cap` is below what its bitcoind takes: it says so, and signs nothing that could not be taken back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::contract::repay::Source;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::{ErrorView, PreviewRequest, SendRequest, Severity};
use hypothec::node::Running;
use hypothec::protocol::Stage;
use world::{loan, World};

/// Both names of the field, and what would do.
const SAYS: [&str; 2] = ["`[fees] cap` is 25 sat/vB", "raise `[fees] cap` to 30 at least"];

fn names_the_cap(what: &str, error: &ErrorView) {
    assert!(SAYS.iter().all(|words| error.message.contains(words)), "{what}: {error:?}");
}

async fn is_told(node: &Running) {
    until("the cap to be told", PATIENCE, || async {
        let status = node.handle.status().await.unwrap();
        let told = status.attention.iter().find(|one| one.about == "fee cap");
        let right = told
            .is_some_and(|one| one.severity == Severity::Warning && SAYS.iter().all(|words| one.text.contains(words)));
        right.then_some(()).ok_or(format!("{:#?}", status.attention))
    })
    .await
    .unwrap();
}

/// The world whose bitcoind takes 30 sat/vB at least, and whose nodes pay 25 at most.
async fn capped(world: World) -> World {
    let world = world.with_bitcoind(&["-minrelaytxfee=0.0003"]).await.configured("cap = 500", "cap = 25").await;
    world.settle().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_below_what_bitcoind_takes_is_told_and_named_by_whatever_it_stands_in_the_way_of() {
    let world = World::new().await;
    let id = world.open(300_000, 30).await;
    let world = capped(world).await;
    for node in [&world.lender, &world.borrower] {
        is_told(node).await;
    }
    let borrower = &world.borrower.handle;
    let address = world.lender.handle.new_address().await.unwrap().address;
    let all = [(Some(100_000), false), (None, true)];
    for request in all.map(|(sats, all)| SendRequest { address: address.clone(), sats, all, with_fee_coin: false }) {
        names_the_cap("a payment", &borrower.send(request).await.unwrap_err());
    }
    names_the_cap("joining coins", &borrower.consolidate(false).await.unwrap_err());
    names_the_cap("a quote", &borrower.quote(world.request(300_000, 30)).await.unwrap_err());
    for from in [Source::Wallet, Source::Collateral] {
        let no = borrower.preview(PreviewRequest::Repay { loan_id: id, from }).await.unwrap_err();
        names_the_cap("what repaying costs", &no);
    }
    names_the_cap("a repayment", &borrower.repay(id, Source::Wallet).await.unwrap_err());
    world.settle().await;
    println!("bound minimum-above-cap 0 transactions signed, 1 trouble");
    for view in world.both(id).await {
        assert_eq!((view.stage, view.repayment), (Stage::Active, None), "nothing is half signed");
    }
    // The cap is raised as far as it was said.
    let world = world.configured("cap = 25", "cap = 30").await;
    world.settle().await;
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.closed(id).await;
    let status = world.borrower.handle.status().await.unwrap();
    assert!(status.attention.iter().all(|one| one.about != "fee cap"), "{:#?}", status.attention);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_is_not_taken_back_by_what_would_not_relay_and_is_once_the_cap_is_raised() {
    let world = World::new().await;
    let quote = world.quote(300_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    until("the funding to wait for a block", PATIENCE, || async {
        let view = loan(&world.borrower.handle, id).await;
        if view.stage != Stage::Confirming {
            // The lender's own coin has to be in one first.
            world.mine(1).await;
        }
        (view.stage == Stage::Confirming).then_some(()).ok_or(format!("{view:#?}"))
    })
    .await
    .unwrap();
    let world = capped(world).await;
    let borrower = &world.borrower.handle;
    names_the_cap("taking a coin back", &borrower.cancel(id).await.unwrap_err());
    assert_eq!(loan(borrower, id).await.taken_back, None);
    let world = world.configured("cap = 25", "cap = 500").await;
    world.borrower.handle.cancel(id).await.unwrap();
    until("the coin to be on its way back", PATIENCE, || async {
        let view = loan(&world.borrower.handle, id).await;
        let Some(back) = view.taken_back else { return Err(format!("{view:#?}")) };
        let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
        let seen = chain.transaction(back).await.unwrap();
        seen.map(|_| ()).ok_or(format!("{back} is in no mempool"))
    })
    .await
    .unwrap();
}

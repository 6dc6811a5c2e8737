//! A reorganisation takes the funding transaction's block, and later the exit's: the loan goes back and forth with the
//! chain and ends as it should.

use crate::harness::{after, Theatre, NOON};
use hypothec::contract::repay::Source;
use hypothec::node::view::RepayRequest;
use hypothec::protocol::{Exit, Stage};

#[tokio::test]
async fn funding_and_exit_lose_their_blocks_and_are_confirmed_again() {
    let mut theatre = Theatre::at_rest().await;
    let quote = theatre.quote(400_000, 100_000_000, 30).await.unwrap();
    let id = theatre.borrower.client().unwrap().borrow(quote.loan_id).await.unwrap().loan_id;
    // Until funding is in a block, and no further.
    let first = loop {
        theatre.quiet().await.unwrap();
        let [borrower, _] = theatre.both(id).await;
        match borrower.funding_height {
            Some(height) => break height,
            None => theatre.mine(1).await.unwrap(),
        }
    };
    let block = theatre.bitcoind.block_hash(first).await.unwrap();
    theatre.bitcoind.invalidate(block).await.unwrap();
    theatre.quiet().await.unwrap();
    for view in theatre.both(id).await {
        assert_eq!((view.funding_height, view.confirmations.0, view.stage), (None, 0, Stage::Confirming));
    }
    // The other branch holds an empty block before it.
    theatre.bitcoind.mine_only(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.funding_height.is_none()));
    theatre.mine(1).await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.funding_height == Some(first + 1)));
    theatre.until_active(id).await.unwrap();

    theatre.walk_to(after(NOON, 1), 3_600).await.unwrap();
    theatre.borrower.client().unwrap().repay(id, &RepayRequest { from: Source::Wallet }).await.unwrap();
    theatre.quiet().await.unwrap();
    theatre.mine(1).await.unwrap();
    let ended = |views: [hypothec::node::view::LoanView; 2]| views.map(|view| view.ended.and_then(|end| end.height));
    let [height, other] = ended(theatre.both(id).await);
    assert!(height.is_some() && height == other);
    let block = theatre.bitcoind.block_hash(height.unwrap()).await.unwrap();
    theatre.bitcoind.invalidate(block).await.unwrap();
    theatre.quiet().await.unwrap();
    assert_eq!(ended(theatre.both(id).await), [None, None]);
    assert!(theatre.both(id).await.iter().all(|view| view.stage == Stage::Closing));
    let line = theatre.settled(id, Exit::Repaid).await;
    theatre.nothing_else_happened(&[line]).await;
}

//! Both have signed a repayment, it waits in the mempool, and the price falls through the level: neither brings the touch
//! out against it. If three blocks come without it, both do.

use crate::harness::{after, Theatre, NOON};
use hypothec::contract::repay::Source;
use hypothec::demo::prices::Prices;
use hypothec::demo::wait::until;
use hypothec::loan::LoanId;
use hypothec::node::view::{EventView, RepayRequest};
use hypothec::protocol::Exit;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::Cents;
use std::time::Duration;

/// A loan repaid at $10,000 in a transaction that waits, and an hour later the touch at $5,000, known to both.
async fn touched_while_it_waits() -> (Theatre, LoanId) {
    let prices = Prices::flat(NOON, 24 * 60, Cents(1_000_000)).falling(after(NOON, 3), Cents(500_000));
    let mut theatre = Theatre::open(NOON, prices).await;
    let id = theatre.lent(4_500, 30).await;
    theatre.walk_to(after(NOON, 3), 3_600).await.unwrap();
    let request = RepayRequest { from: Source::Wallet };
    theatre.borrower.client().unwrap().repay(id, &request).await.unwrap();
    theatre.quiet().await.unwrap();
    // Time goes on and no block comes.
    theatre.bitcoind.set_mock_time(after(NOON, 4)).await.unwrap();
    Clock::set_file(theatre.clock_file(), after(NOON, 4)).unwrap();
    theatre.quiet().await.unwrap();
    for node in [&theatre.borrower, &theatre.lender] {
        until("the touch to be known", Duration::from_secs(60), || async {
            let events: Vec<EventView> =
                node.client().unwrap().call("GET".parse().unwrap(), "/v1/events?after=0", None::<&()>).await.unwrap();
            let is_known = events.iter().any(|event| event.event == "attested");
            is_known.then_some(()).ok_or_else(|| format!("the {}: {events:#?}", node.name()))
        })
        .await
        .unwrap();
    }
    (theatre, id)
}

async fn ends(theatre: &Theatre, id: LoanId) -> [Option<Exit>; 2] {
    theatre.both(id).await.map(|view| view.ended.and_then(|ended| ended.exit))
}

#[tokio::test]
async fn neither_node_brings_the_touch_out_against_a_repayment_both_have_signed() {
    let (mut theatre, id) = touched_while_it_waits().await;
    assert_eq!(ends(&theatre, id).await, [Some(Exit::Repaid); 2]);
    assert_eq!(theatre.bitcoind.mempool_len().await.unwrap(), 1);
    let line = theatre.settled(id, Exit::Repaid).await;
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn both_bring_the_touch_out_when_three_blocks_come_without_the_repayment() {
    let (mut theatre, id) = touched_while_it_waits().await;
    for _ in 0..3 {
        assert_eq!(ends(&theatre, id).await, [Some(Exit::Repaid); 2]);
        theatre.bitcoind.mine_only(&[]).await.unwrap();
        theatre.quiet().await.unwrap();
    }
    assert_eq!(ends(&theatre, id).await, [Some(Exit::Liquidated); 2]);
    let line = theatre.settled(id, Exit::Liquidated).await;
    theatre.nothing_else_happened(&[line]).await;
}

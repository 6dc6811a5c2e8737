//! The oracle is gone and both nodes sleep through the month of the fallback and the year after it. Whoever wakes reads
//! the chain block by block, so the fallback comes first, however late it is. The refund is left for a chain on which no
//! block stands between the two.

use crate::harness::{after, sats_ceil, Theatre, BTC, NOON};
use hypothec::loan::LoanId;
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::Time;

const DAY: u32 = 24 * 3_600;
/// Transactions leave the mempool after two weeks; nobody runs who could notice.
const FORTNIGHT: u32 = 14 * DAY;
/// A loan of one day is due a day after noon; so many days after noon the refund can be mined.
const REFUND: u32 = 1 + 365;

/// A loan of a day; then the oracle ends and everybody goes to sleep.
async fn asleep() -> (Theatre, LoanId) {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_000, 1).await;
    theatre.oracle.stop().await.unwrap();
    theatre.lender.stop().await.unwrap();
    theatre.borrower.stop().await.unwrap();
    (theatre, id)
}

async fn wake(theatre: &mut Theatre) {
    theatre.lender.start(&[]).await.unwrap();
    theatre.borrower.start(&[]).await.unwrap();
    theatre.connected().await.unwrap();
    theatre.quiet().await.unwrap();
}

/// Blocks that hold nothing but themselves, at a time of their own, however far ahead.
async fn empty_blocks_at(theatre: &Theatre, days: u32) {
    let at = after(NOON, days * 24);
    theatre.bitcoind.set_mock_time(at).await.unwrap();
    for _ in 0..6 {
        theatre.bitcoind.mine_only(&[]).await.unwrap();
    }
    Clock::set_file(theatre.clock_file(), at).unwrap();
    assert!(theatre.bitcoind.median_time().await.unwrap() > Time(at.0 - DAY));
}

#[tokio::test]
async fn who_wakes_only_after_the_year_still_takes_the_fallback_since_it_reads_every_block() {
    let (mut theatre, id) = asleep().await;
    theatre.walk_to(after(NOON, (REFUND + 2) * 24), FORTNIGHT).await.unwrap();
    wake(&mut theatre).await;
    let line = theatre.settled(id, Exit::FellBack).await;
    assert_eq!(line.price_cents, 1_000_000);
    assert_eq!(line.paid_to_lender_sats, 1_000 + sats_ceil(line.owed_cents, line.price_cents));
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn where_no_block_stands_between_fallback_and_refund_each_side_gets_back_what_it_locked() {
    let (mut theatre, id) = asleep().await;
    empty_blocks_at(&theatre, REFUND + 2).await;
    wake(&mut theatre).await;
    theatre.mine(4).await.unwrap();
    let views = theatre.both(id).await;
    for view in &views {
        let ended = view.ended.as_ref().unwrap();
        assert_eq!((&view.stage, ended.exit, ended.price_cents), (&Stage::Closed, Some(Exit::Refunded), None));
        // The stake and nothing else; everything that was locked, though nothing of the debt was paid.
        assert_eq!(ended.paid_to_lender_sats, 1_000);
        assert_eq!(ended.returned_to_borrower_sats, BTC);
        assert!(ended.owed_cents.unwrap() >= view.principal_cents);
    }
    assert_eq!(views[0].ended, views[1].ended);
    theatre.every_sat_is_explained().await;
}

#[tokio::test]
async fn a_fallback_that_waits_in_the_mempool_stays_when_the_refund_becomes_final_beside_it() {
    let (mut theatre, id) = asleep().await;
    theatre.walk_to(after(NOON, (REFUND - 2) * 24), FORTNIGHT).await.unwrap();
    theatre.lender.start(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    assert_eq!(theatre.bitcoind.mempool_len().await.unwrap(), 1);
    // Miners leave it out until the refund could be mined as well.
    empty_blocks_at(&theatre, REFUND + 2).await;
    theatre.quiet().await.unwrap();
    theatre.borrower.start(&[]).await.unwrap();
    theatre.connected().await.unwrap();
    theatre.quiet().await.unwrap();
    let both = theatre.both(id).await;
    assert!(both.iter().all(|view| view.stage == Stage::Closing), "{both:#?}");
    theatre.mine(4).await.unwrap();
    let line = theatre.settled(id, Exit::FellBack).await;
    assert_eq!(line.paid_to_lender_sats, 1_000 + sats_ceil(line.owed_cents, line.price_cents));
    theatre.nothing_else_happened(&[line]).await;
}

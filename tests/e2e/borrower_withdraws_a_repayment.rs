//! A proposal the lender does not answer is a free option for it: the borrower takes it back and repays later.

use crate::harness::Theatre;
use hypothec::contract::repay::Source;
use hypothec::demo::program::Signal;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::RepayRequest;
use hypothec::protocol::Exit;

#[tokio::test]
async fn borrower_takes_back_a_proposal_that_a_sleeping_lender_does_not_answer_and_repays_when_it_wakes() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_000, 30).await;
    theatre.lender.process().unwrap().signal(Signal::STOP).unwrap();
    let request = RepayRequest { from: Source::Wallet };
    let borrower = theatre.borrower.client().unwrap().clone();
    let proposed = borrower.repay(id, &request).await.unwrap().repayment.unwrap();
    assert!(borrower.repay(id, &request).await.is_err(), "one proposal at a time");
    // It may be busy with the proposal for a moment.
    let withdraw = || async { borrower.withdraw(id).await.map_err(|error| error.to_string()) };
    until("the withdrawal", PATIENCE, withdraw).await.unwrap();
    theatre.mine_without("lender", 1).await.unwrap();
    assert_eq!(borrower.loan(id).await.unwrap().repayment, None);
    theatre.lender.process().unwrap().signal(Signal::CONT).unwrap();
    theatre.mine(1).await.unwrap();
    // The old proposal can never confirm now, whatever the lender did with it.
    theatre.dial().await.unwrap();
    let again = borrower.repay(id, &request).await.unwrap().repayment.unwrap();
    assert_ne!(again, proposed);
    theatre.quiet().await.unwrap();
    let line = theatre.settled(id, Exit::Repaid).await;
    assert_eq!(line.exit_txid, again);
    theatre.nothing_else_happened(&[line]).await;
}

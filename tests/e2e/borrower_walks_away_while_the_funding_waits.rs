//! Until the funding transaction is in a block either side can walk away: a coin spent elsewhere, for a better fee, and
//! the loan has never been. It costs a fee and nothing more.

use crate::harness::{Theatre, BTC};
use hypothec::contract::Role;
use hypothec::protocol::{Exit, Stage};

/// Blocks a negotiation may take: the lender's coin has to confirm.
const MOST_BLOCKS: usize = 10;
/// More than one transaction of each side costs here.
const MOST_FEES: u64 = 50_000;

#[tokio::test]
async fn a_borrower_takes_its_collateral_out_from_under_a_funding_transaction_that_is_not_in_a_block() {
    let mut theatre = Theatre::at_rest().await;
    let before = theatre.totals().await.unwrap();
    let quote = theatre.quote(400_000, BTC, 30).await.unwrap();
    let id = theatre.borrower.client().unwrap().borrow(quote.loan_id).await.unwrap().loan_id;
    for _ in 0..MOST_BLOCKS {
        theatre.quiet().await.unwrap();
        if theatre.both(id).await.iter().all(|view| view.stage == Stage::Confirming) {
            break;
        }
        theatre.mine(1).await.unwrap();
    }
    let waiting = theatre.both(id).await;
    assert_eq!(waiting.each_ref().map(|view| view.stage), [Stage::Confirming, Stage::Confirming]);
    assert!(waiting.iter().all(|view| view.funding_height.is_none() && !view.exits.is_empty()));
    for view in &waiting {
        assert!(view.exits.iter().all(|open| !matches!(open.exit, Exit::Repaid | Exit::Receipt)), "{:?}", view.exits);
        assert!(
            view.turn.as_ref().is_some_and(|turn| turn.text.contains("; the terms hold until ")),
            "{:?}",
            view.turn
        );
    }

    let client = theatre.borrower.client().unwrap();
    assert_eq!(client.cancel(id).await.unwrap().stage, Stage::Confirming, "only a block settles it");
    theatre.quiet().await.unwrap();
    theatre.mine(1).await.unwrap();
    for view in theatre.both(id).await {
        assert!(matches!(view.stage, Stage::Cancelled), "the {}: {:?}", view.role, view.stage);
    }
    let why = theatre.both(id).await.map(|view| (view.role, view.cancelled_because.unwrap_or_default()));
    for (role, why) in why {
        let said = if role == Role::Borrower { "our coin was taken back, in " } else { "spent elsewhere, in " };
        assert!(why.contains(said), "the {role}: {why}");
    }
    for node in [&theatre.borrower, &theatre.lender] {
        let balance = node.client().unwrap().balance().await.unwrap();
        assert_eq!((balance.reserved_sats, balance.unconfirmed_sats), (0, 0), "the {}", node.name());
    }
    theatre.every_sat_is_explained().await;
    let after = theatre.totals().await.unwrap();
    let lost = before.iter().zip(after).map(|(before, after)| before - after).collect::<Vec<_>>();
    assert!(lost.iter().all(|lost| (1..MOST_FEES).contains(lost)), "fees of {lost:?} sats");
}

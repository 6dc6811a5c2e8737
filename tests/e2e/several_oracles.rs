//! Loans on two of three oracles: three real oracle processes, each with prices of its own.

use crate::harness::{after, sats_ceil, Theatre, BTC, NOON};
use hypothec::contract::repay::Source;
use hypothec::demo::prices::Prices;
use hypothec::node::view::{EventView, LoanView, MarginLine, RepayRequest};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::units::{Cents, Time};
use reqwest::Method;

const DAY: u32 = 24 * 3_600;
/// $10,000 a bitcoin, when nothing happens.
const PRICE: Cents = Cents(1_000_000);
/// Far below every level of the loans here.
const CRASH: Cents = Cents(500_000);

fn rest() -> Prices {
    Prices::flat(NOON, 24 * 60, PRICE)
}

fn falling_at(hour: u32) -> Prices {
    rest().falling(after(NOON, hour), CRASH)
}

/// What oracle number `index` of the play (not of the terms: those are sorted by key) has said, by both sides.
fn words(both: &[LoanView; 2]) -> Vec<usize> {
    let [borrower, lender] = both;
    let count = |view: &LoanView| view.oracles.iter().map(|oracle| oracle.said.len()).collect::<Vec<_>>();
    assert_eq!(count(borrower), count(lender), "both sides have heard the same");
    count(borrower)
}

#[tokio::test]
async fn two_of_three_touch_hours_apart_is_one_touch() {
    // One venue falls at 14:00; another, which the first oracle does not see, four hours later, after a recovery.
    let wick = Prices::flat(NOON, 2, PRICE).then(Prices::flat(after(NOON, 2), 1, CRASH)).then(Prices::flat(
        after(NOON, 3),
        24 * 60,
        PRICE,
    ));
    let later = Prices::flat(NOON, 6, PRICE).then(Prices::flat(after(NOON, 6), 1, CRASH)).then(Prices::flat(
        after(NOON, 7),
        24 * 60,
        PRICE,
    ));
    let mut theatre = Theatre::of_three(NOON, [wick, later, rest()]).await;
    let quote = theatre.quote(400_000, BTC, 3).await.unwrap();
    assert_eq!((quote.oracles.len(), quote.threshold), (3, 2));
    let spread = quote.spread.unwrap();
    assert_eq!((spread.always_usd, spread.never_usd, spread.never_bp), (64, 128, 128));
    let id = theatre.borrow(&quote).await.unwrap().loan_id;
    theatre.walk_to(after(NOON, 5), 3_600).await.unwrap();
    let both = theatre.both(id).await;
    assert!(both.iter().all(|view| view.stage == Stage::Active), "one oracle's touch settles nothing");
    assert_eq!(words(&both).iter().sum::<usize>(), 1, "it is heard and kept");
    let level = both[0].level_today.clone().unwrap();
    // What was said stays said: the oracle that said it is gone from now on, and a node forgets nothing in a restart.
    theatre.oracle.stop().await.unwrap();
    theatre.lender.stop().await.unwrap();
    theatre.lender.start(&[]).await.unwrap();
    theatre.dial().await.unwrap();
    theatre.walk_to(after(NOON, 8), 3_600).await.unwrap();
    let line = theatre.settled(id, Exit::Liquidated).await;
    assert_eq!(line.price_cents, u64::from(level.level) * 100);
    assert_eq!(line.paid_to_lender_sats, level.lender_sats);
    assert_eq!(line.paid_to_lender_sats + line.returned_to_borrower_sats, BTC + 1_000);
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn one_oracle_lies() {
    // It says a crash that nobody else saw, and goes on saying so at due.
    let mut theatre = Theatre::of_three(NOON, [falling_at(3), rest(), rest()]).await;
    let id = theatre.lent(4_000, 1).await;
    theatre.walk_to(after(NOON, 6), 3_600).await.unwrap();
    let both = theatre.both(id).await;
    assert!(both.iter().all(|view| view.stage == Stage::Active && view.price_cents == Some(PRICE.0)));
    assert_eq!(words(&both).iter().sum::<usize>(), 1);
    let due = Time(both[0].due);
    theatre.walk_to(due, 3_600).await.unwrap();
    theatre.hours(1).await.unwrap();
    let line = theatre.settled(id, Exit::Matured).await;
    assert_eq!(line.price_cents, PRICE.0, "the price of the two who agree");
    let exact = 1_000 + sats_ceil(line.owed_cents, PRICE.0);
    assert!(exact.abs_diff(line.paid_to_lender_sats) <= (BTC + 1_000) / 200 + 1, "within 0.5 %");
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn one_is_silent() {
    let mut theatre = Theatre::of_three(NOON, [rest(), rest(), rest()]).await;
    let id = theatre.lent(4_000, 1).await;
    theatre.oracle.stop().await.unwrap();
    let due = Time(theatre.both(id).await[0].due);
    theatre.walk_to(due, 3_600).await.unwrap();
    theatre.hours(1).await.unwrap();
    let line = theatre.settled(id, Exit::Matured).await;
    assert_eq!(line.price_cents, PRICE.0);
    assert_eq!(words(&theatre.both(id).await).iter().filter(|said| **said == 0).count(), 1);
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn one_lies_while_one_is_silent_and_nothing_is_priced_by_it() {
    // A price a thousand times too high would buy the collateral back for next to nothing; one near zero would halve a
    // debt. Of two that answer a median is wherever one of them wants it.
    for lie in [Cents(1_000_000_000 / 2), Cents(1_000)] {
        let apart = Prices::flat(NOON, 4, PRICE).then(Prices::flat(after(NOON, 4), 24 * 60, lie));
        let mut theatre = Theatre::of_three(NOON, [rest(), apart, rest()]).await;
        let id = theatre.lent(4_000, 1).await;
        theatre.further[1].stop().await.unwrap();
        theatre.walk_to(after(NOON, 5), 3_600).await.unwrap();
        for view in theatre.both(id).await {
            assert!(view.stage == Stage::Active && view.price_cents.is_none(), "{view:?}");
            assert!(view.warnings.iter().any(|warning| warning.contains("no 2 of them lie within 1 %")), "{view:?}");
        }
        let from = RepayRequest { from: Source::Collateral };
        let refused = theatre.borrower.client().unwrap().repay(id, &from).await.unwrap_err().to_string();
        assert!(refused.contains("within 1 %"), "{refused}");
        let refused = theatre.quote(4_000, BTC, 1).await.unwrap_err().to_string();
        assert!(refused.contains("cannot quote right now"), "{refused}");
    }
}

#[tokio::test]
async fn oracles_that_are_far_apart_warn_of_a_fall_before_they_liquidate() {
    // Never two within 1 % of each other: there is no price, and two of them settle the loan all the same.
    let falls = |first: u64, then: u64| {
        let flat = |hours, cents| Prices::flat(after(NOON, hours), 24 * 60, Cents(cents));
        Prices::flat(NOON, 3, PRICE).then(Prices::flat(after(NOON, 3), 3, Cents(first))).then(flat(6, then))
    };
    let feeds = [falls(620_000, 450_000), falls(640_000, 470_000), falls(690_000, 500_000)];
    let mut theatre = Theatre::of_three(NOON, feeds).await;
    let id = theatre.lent(4_000, 1).await;
    theatre.walk_to(after(NOON, 5), 3_600).await.unwrap();
    for view in theatre.both(id).await {
        assert_eq!((view.stage, view.price_cents, view.watched_at_cents), (Stage::Active, None, Some(640_000)));
        assert!(view.margin == Some(MarginLine::Warning) && view.price_note.is_some(), "{view:?}");
    }
    for node in [&theatre.borrower, &theatre.lender] {
        let client = node.client().unwrap();
        let needs = client.status().await.unwrap().attention;
        let says = |what: &str| needs.iter().any(|one| one.about.starts_with(what));
        assert!(says("margin ") && says("price "), "{needs:?}");
        let told: Vec<EventView> = client.call(Method::GET, "/v1/events?after=0", None::<&()>).await.unwrap();
        let told = told.iter().find(|event| event.event == "margin").unwrap();
        assert_eq!((told.facts.line, told.facts.price_cents), (Some(MarginLine::Warning), Some(640_000)));
    }
    theatre.walk_to(after(NOON, 8), 3_600).await.unwrap();
    let line = theatre.settled(id, Exit::Liquidated).await;
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn two_are_silent_fallback() {
    let mut theatre = Theatre::of_three(NOON, [rest(), rest(), rest()]).await;
    let id = theatre.lent(4_000, 1).await;
    theatre.oracle.stop().await.unwrap();
    theatre.further[0].stop().await.unwrap();
    falls_back(&mut theatre, id, 1).await;
}

#[tokio::test]
async fn prices_disagree_beyond_the_difference() {
    // More than 1,024 dollars between any two at due: no pair settles, whatever each of them says.
    let apart = |cents: u64| Prices::flat(NOON, 4, PRICE).then(Prices::flat(after(NOON, 4), 24 * 60, Cents(cents)));
    let mut theatre = Theatre::of_three(NOON, [rest(), apart(1_150_000), apart(1_300_000)]).await;
    let id = theatre.lent(4_000, 1).await;
    falls_back(&mut theatre, id, 3).await;
}

/// Goes on to the fallback, a month after due and not before; `spoke` oracles have said their price until then.
async fn falls_back(theatre: &mut Theatre, id: hypothec::loan::LoanId, spoke: usize) {
    theatre.walk_to(after(NOON, 31 * 24), DAY).await.unwrap();
    let both = theatre.both(id).await;
    assert!(both.iter().all(|view| view.stage == Stage::Active));
    assert_eq!(words(&both).iter().filter(|said| **said == 1).count(), spoke);
    theatre.hours(8).await.unwrap();
    let line = theatre.settled(id, Exit::FellBack).await;
    assert_eq!(line.price_cents, PRICE.0);
    assert_eq!(line.paid_to_lender_sats, 1_000 + sats_ceil(line.owed_cents, line.price_cents));
    theatre.nothing_else_happened(&[line]).await;
}

//! A lender that lends by hand: what a borrower takes waits for a person's word, and not for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::OutPoint;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::{Approval, Policy};
use hypothec::loan::units::Time;
use hypothec::loan::LoanId;
use hypothec::node::view::{ConnectRequest, PreviewRequest, QuoteRequest, RequestView, Severity, Source, Who};
use hypothec::protocol::messages::Refused;
use hypothec::protocol::Message;
use std::time::Duration;
use world::stranger::Stranger;
use world::{start_node, World, START};

/// A world whose lender asks a person.
async fn by_hand() -> World {
    let world = World::new().await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    let policy = Policy { oracles, approval: Approval::Manual, ..Policy::default() };
    world.lender.handle.set_policy(policy).await.unwrap();
    world
}

/// Waits until the lender's people see it.
async fn waits(world: &World, id: LoanId) -> RequestView {
    until("the request", PATIENCE, || async {
        let requests = world.lender.handle.requests().await.unwrap();
        requests.iter().find(|one| one.loan_id == id).cloned().ok_or_else(|| format!("{requests:?}"))
    })
    .await
    .unwrap()
}

/// Waits until the borrower's loan is cancelled, and says why. None of its coins is set aside then.
async fn freed(world: &World, id: LoanId) -> String {
    let reason = until("the end of it", PATIENCE, || async {
        let loan = world.borrower.handle.loan(id).await.unwrap();
        loan.cancelled_because.ok_or_else(|| format!("{:?}", loan.stage))
    });
    let reason = reason.await.unwrap();
    assert_eq!(world.borrower.handle.balance().await.unwrap().reserved_sats, 0);
    reason
}

async fn taken(world: &World) -> LoanId {
    let id = world.quote(300_000, 2).await.loan_id;
    world.borrower.handle.borrow(id).await.unwrap().loan_id
}

/// The lender's node again, on its folder.
async fn restart(world: &mut World) {
    let clock = world.dir.path().join("clock");
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    let again = start_node(world.dir.path(), "lender", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, again).stop().await.unwrap();
    let address = world.lender_address();
    world.borrower.handle.connect(ConnectRequest { address }).await.unwrap();
}

async fn events(world: &World, name: &str) -> usize {
    let events = world.lender.handle.events(0, Duration::ZERO).await.unwrap();
    events.iter().filter(|event| event.event == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_that_a_person_approves_after_a_restart_is_made_and_both_saw_whose_turn_it_was() {
    let mut world = by_hand().await;
    let id = taken(&world).await;
    let request = waits(&world, id).await;
    let end = START.0 + 1_800;
    assert_eq!((request.until, request.collateral_sats, request.days), (end, 100_000_000, 2));
    // No coin of the lender's is made for it, and its people are told, once.
    let status = world.lender.handle.status().await.unwrap();
    let wait: Vec<_> = status.attention.iter().filter(|one| one.loan_id == Some(id)).collect();
    assert!(wait.len() == 1 && wait[0].severity == Severity::Warning, "{:?}", status.attention);
    let short = &id.to_string()[..8];
    assert!(wait[0].text.contains(&format!("`approve {short}`")) && wait[0].text.contains("00:30 UTC"), "{wait:?}");
    assert!(world.lender.handle.loans().await.unwrap().is_empty());
    // The borrower sees who decides, and until when.
    let turn = until("the borrower to be told", PATIENCE, || async {
        let turn = world.borrower.handle.loan(id).await.unwrap().turn.unwrap();
        (turn.text == "the lender decides by hand").then_some(turn.clone()).ok_or_else(|| format!("{turn:?}"))
    });
    let turn = turn.await.unwrap();
    assert_eq!((turn.who, turn.ours, turn.until), (Who::Lender, false, Some(end)));
    restart(&mut world).await;
    // But for whether its node has connected again by now, and this one has a price.
    let (connected, price_note) = (request.connected, request.price_note.clone());
    assert_eq!(RequestView { connected, price_note, ..waits(&world, id).await }, request);
    assert_eq!(events(&world, "request_waits").await, 1);
    // A lender that has just been started has no price yet.
    let approved = until("the approval", PATIENCE, || async {
        world.lender.handle.approve(id).await.map_err(|error| error.message)
    });
    assert_eq!(approved.await.unwrap().loan_id, id);
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
    let again = world.lender.handle.approve(id).await.unwrap_err();
    assert!(again.code == "not_found" && again.message.contains("it was approved"), "{again:?}");
    let own = world.borrower.handle.approve(id).await.unwrap_err();
    assert!(own.code == "not_found" && own.message.contains("this node borrows by that loan"), "{own:?}");
    assert_eq!(world.open_taken(id).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_declines_or_nobody_decides_ends_with_a_word_and_frees_the_borrowers_coins() {
    let mut world = by_hand().await;
    let declined = taken(&world).await;
    waits(&world, declined).await;
    let reason = Some("no more this week".to_owned());
    // What the borrower would be told otherwise than it was typed is not told at all.
    let long = "x".repeat(201);
    for wrong in ["", " ", "not today\u{1b}[2J", "two\nlines", &long] {
        let no = world.lender.handle.decline(declined, Some(wrong.to_owned())).await.unwrap_err();
        assert_eq!(no.code, "bad_request", "{no:?}");
        assert!(no.message.starts_with("reason: ") && no.message.ends_with("nothing was declined"), "{no:?}");
    }
    assert!(world.lender.handle.requests().await.unwrap().iter().any(|one| one.loan_id == declined));
    // It is no loan yet, and what is asked of one says so.
    let said = async |text: &str| {
        let lender = &world.lender.handle;
        for no in [
            lender.preview(PreviewRequest::Receipt { loan_id: declined }).await.unwrap_err(),
            lender.preview(PreviewRequest::Cancel { loan_id: declined }).await.unwrap_err(),
            lender.receipt(declined).await.unwrap_err(),
            lender.repay(declined, Source::Wallet).await.unwrap_err(),
            lender.loan(declined).await.unwrap_err(),
        ] {
            assert!(no.message.contains(text), "{no:?}");
        }
    };
    said("it is a request that waits for your word").await;
    world.lender.handle.decline(declined, reason).await.unwrap();
    said("came to be: request").await;
    let said = freed(&world, declined).await;
    assert_eq!(said, "the lender refused: the lender declined: no more this week");
    // Not to be approved after all.
    assert_eq!(world.lender.handle.approve(declined).await.unwrap_err().code, "not_found");
    let late = taken(&world).await;
    waits(&world, late).await;
    world.wait_until(Time(START.0 + 1_800)).await;
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    world.wait_until(Time(START.0 + 1_801)).await;
    let said = freed(&world, late).await;
    assert!(said.contains("decided by 2020-03-09T00:30:00Z"), "{said}");
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
    // Either side's clock may have been the first.
    let over = events(&world, "request_expired").await + events(&world, "request_withdrawn").await;
    assert_eq!((events(&world, "request_declined").await, over), (1, 1));
    // A borrower that changes its mind is nobody's work any more.
    let over = taken(&world).await;
    waits(&world, over).await;
    world.borrower.handle.cancel(over).await.unwrap();
    until("the request to be gone", PATIENCE, || async {
        let requests = world.lender.handle.requests().await.unwrap();
        requests.is_empty().then_some(()).ok_or_else(|| format!("{requests:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_that_knows_no_such_message_is_refused_by_name_and_one_coin_backs_one_request() {
    let world = by_hand().await;
    let mut one = Stranger::new(&world, "one").await;
    let coin = one.coins(&world, 1).await[0];
    world.settle().await;
    let (first, second) = (one.quote(300_000, 2).await, one.quote(300_000, 2).await);
    one.borrow(&first.terms, coin);
    waits(&world, first.terms.id()).await;
    one.borrow(&second.terms, coin);
    assert_eq!(one.refusal(first.terms.id().0).await.code, "superseded");
    waits(&world, second.terms.id()).await;
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    // Its coin is no other's, and spent it is none.
    let mut other = Stranger::new(&world, "other").await;
    other.wallet = std::mem::replace(&mut one.wallet, other.wallet);
    let third = other.quote(300_000, 2).await;
    other.borrow(&third.terms, coin);
    let refused = other.refusal(third.terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("promised"), "{refused:?}");
    world.lender.handle.decline(second.terms.id(), None).await.unwrap();
    let refused = one.refusal(second.terms.id().0).await;
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("declined", "the lender declined"));
    let fourth = other.quote(300_000, 2).await;
    other.borrow(&fourth.terms, coin);
    waits(&world, fourth.terms.id()).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(5);
    let spent = other.wallet.spend_to_self(coin, rate, None).unwrap().transaction;
    other.chain.broadcast(&spent).await.unwrap();
    let refused = other.refusal(fourth.terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("was spent elsewhere"), "{refused:?}");
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
}

/// Takes a quote with a coin; its loan.
async fn asks(stranger: &mut Stranger, coin: OutPoint) -> LoanId {
    let terms = stranger.quote(300_000, 2).await.terms;
    stranger.borrow(&terms, coin);
    terms.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_lenders_people_decide_or_leave_is_never_held_against_the_coin_and_it_stays_welcome() {
    let mut world = by_hand().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let [coin, other] = stranger.coins(&world, 2).await[..] else { panic!() };
    world.settle().await;
    // One of which its borrower says what nobody can read is over, as a negotiation is.
    let unread = asks(&mut stranger, other).await;
    waits(&world, unread).await;
    let bytes = [&[0, 32], unread.0.as_slice(), &[2, 1, 0]].concat();
    stranger.net.send(stranger.peer, hypothec::peer::Frame { kind: 33011, bytes }).unwrap();
    assert_eq!(stranger.refusal(unread.0).await.code, "unreadable");
    until("the request to be over", PATIENCE, || async {
        let waiting = world.lender.handle.requests().await.unwrap();
        waiting.is_empty().then_some(()).ok_or_else(|| format!("{waiting:?}"))
    })
    .await
    .unwrap();
    for _ in 0..6 {
        let id = asks(&mut stranger, coin).await;
        waits(&world, id).await;
        world.lender.handle.decline(id, None).await.unwrap();
        assert_eq!(stranger.refusal(id.0).await.code, "declined");
    }
    let late = asks(&mut stranger, coin).await;
    waits(&world, late).await;
    world.wait_until(Time(START.0 + 1_801)).await;
    assert_eq!(stranger.refusal(late.0).await.code, "approval");
    // Over a restart too.
    restart(&mut world).await;
    stranger.net.connect(world.lender_address().parse().unwrap()).unwrap();
    until("the stranger to be back, and the lender to have a price", PATIENCE, || async {
        let oracles = world.lender.handle.oracles().await.unwrap();
        let is_back = stranger.net.is_connected(stranger.peer) && oracles.iter().all(|one| one.spot_cents.is_some());
        is_back.then_some(()).ok_or("not yet".to_owned())
    })
    .await
    .unwrap();
    let id = asks(&mut stranger, coin).await;
    let view = waits(&world, id).await;
    // Its people see who asks, and what it brings.
    assert_eq!((view.peer, view.connected, view.loans_with_it), (stranger.key(), true, 0));
    assert!(
        view.address.is_none() && view.earns_cents > 0 && view.earns_at_least_cents <= view.earns_cents,
        "{view:?}"
    );
    let preview = world.lender.handle.preview(PreviewRequest::Approve { loan_id: id }).await.unwrap();
    assert_eq!(preview.fee_sats, Some(view.fees_sats), "what is asked before it is approved counts the same");
    // What was declined and what nobody decided is known by its name, with the reason.
    let all = world.lender.handle.all_requests().await.unwrap();
    let over: Vec<&str> = all.iter().filter_map(|one| Some(one.ended.as_ref()?.event.as_str())).collect();
    assert_eq!(over, [&["request_withdrawn"], ["request_declined"; 6].as_slice(), &["request_expired"]].concat());
    let why = world.lender.handle.approve(late).await.unwrap_err();
    assert!(why.code == "not_found" && why.message.contains("nobody approved or declined it"), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_its_borrower_withdrew_five_times_reaches_nobodys_list_and_the_borrower_hears_why_once() {
    let world = by_hand().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    world.settle().await;
    for _ in 0..5 {
        let id = asks(&mut stranger, coin).await;
        waits(&world, id).await;
        let refusal = Refused { about: id.0, code: "cancelled".into(), message: "the other side cancelled".into() };
        stranger.say(&Message::Refused(refusal));
        until("the request to be gone", PATIENCE, || async {
            let requests = world.lender.handle.requests().await.unwrap();
            requests.is_empty().then_some(()).ok_or_else(|| format!("{requests:?}"))
        })
        .await
        .unwrap();
    }
    let shown = events(&world, "request_waits").await;
    let id = asks(&mut stranger, coin).await;
    let refused = stranger.refusal(id.0).await;
    assert!(refused.code == "coins" && refused.message.matches("came to nothing").count() == 1, "{refused:?}");
    assert_eq!((world.lender.handle.requests().await.unwrap(), events(&world, "request_waits").await), (vec![], shown));
    println!("bound vain-by-hand 5 a day, withdrawn by the borrower");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_and_cannot_be_lent_any_more_leaves_the_list_and_the_borrower_is_told_why() {
    let mut world = by_hand().await;
    let id = taken(&world).await;
    waits(&world, id).await;
    let policy = world.lender.handle.policy().await.unwrap();
    let less = Policy { principal_max: policy.principal_min, ..policy.clone() };
    world.lender.handle.set_policy(less).await.unwrap();
    // Asked what it would do, nothing is ended.
    let would = world.lender.handle.preview(PreviewRequest::Approve { loan_id: id }).await.unwrap_err();
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    let why = world.lender.handle.approve(id).await.unwrap_err();
    assert!(why.message.starts_with(&would.message) && why.message.ends_with("its borrower is told"), "{why:?}");
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
    let said = freed(&world, id).await;
    assert!(said.starts_with("the lender refused: ") && said.contains(&would.message), "{said}");
    assert_eq!(events(&world, "request_refused").await, 1);
    // A price that moved may come back: the request waits, and neither side is asked to sign meanwhile.
    world.lender.handle.set_policy(policy).await.unwrap();
    let id = taken(&world).await;
    waits(&world, id).await;
    // The price rises by two percent in the second quarter of the hour, and is back in the third.
    world.wait_until(Time(START.0 + 1_000)).await;
    let why = world.lender.handle.approve(id).await.unwrap_err();
    assert!(why.message.contains("approve it when the price is back"), "{why:?}");
    // Who decides sees that before trying, and the borrower waits on.
    let note = waits(&world, id).await.price_note.unwrap();
    assert!(note.contains("more than 0.5 % from the quote's"), "{note}");
    let status = world.lender.handle.status().await.unwrap();
    let said = status.attention.iter().find(|one| one.loan_id == Some(id)).unwrap();
    assert!(said.text.contains("Not now: the price is ") && said.text.ends_with("when the price is back"), "{said:?}");
    assert_eq!(world.borrower.handle.loan(id).await.unwrap().stage, hypothec::protocol::Stage::Agreed);
    world.wait_until(Time(START.0 + 1_800)).await;
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    assert_eq!(waits(&world, id).await.price_note, None);
    world.lender.handle.approve(id).await.unwrap();
    assert_eq!(world.open_taken(id).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_whose_oracle_is_gone_is_answered_at_once_with_its_name_and_what_to_do_and_can_be_given_again() {
    let mut world = by_hand().await;
    // For another day than the lender's node has asked for before.
    let id = world.quote(300_000, 3).await.loan_id;
    world.borrower.handle.borrow(id).await.unwrap();
    waits(&world, id).await;
    let url = world.oracle.as_ref().unwrap().url();
    world.oracle.take().unwrap().stop().await.unwrap();
    let began = std::time::Instant::now();
    let why = world.lender.handle.approve(id).await.unwrap_err().message;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for part in [&url, "connection refused", "see that it runs", "The request still waits, until ", "approve it again"]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_taken_when_the_price_has_moved_is_refused_before_anybody_is_asked_or_anything_is_shown() {
    let mut world = by_hand().await;
    let id = world.quote(300_000, 2).await.loan_id;
    world.wait_until(Time(START.0 + 1_000)).await;
    world.borrower.handle.borrow(id).await.unwrap();
    let said = freed(&world, id).await;
    assert!(said.contains("more than 0.5 % from the quote's"), "{said}");
    assert_eq!(events(&world, "request_waits").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_wants_to_earn_refuses_what_costs_it_more_and_says_which_sum_is_enough() {
    let world = by_hand().await;
    let lender = &world.lender.handle;
    let policy = lender.policy().await.unwrap();
    assert_eq!(policy.earning_min_sats, None);
    // Its node says what a loan costs, and that its smallest loan loses some of that.
    let terms = lender.policy_terms().await.unwrap();
    let from = terms.earns.iter().find(|one| one.days == 7).unwrap().at_once_cents.unwrap();
    assert!(terms.loan_fees_sats > 0 && terms.price_cents.is_some() && from > 10_000, "{terms:?}");
    assert!(terms.smallest_loses_cents.is_some_and(|loss| loss > 0), "{terms:?}");
    lender.set_policy(Policy { earning_min_sats: Some(0), ..policy.clone() }).await.unwrap();
    let refused = world.borrower.handle.quote(world.request(10_000, 7)).await.unwrap_err();
    let (_, said) = refused.message.split_once("ask for $").unwrap_or_else(|| panic!("{refused:?}"));
    assert!(refused.message.contains("principal $100.00: too little for 7 days"), "{refused:?}");
    let said = said.strip_suffix(" or more").unwrap_or_else(|| panic!("{refused:?}"));
    let enough: u64 = said.replace([',', '.'], "").parse().unwrap();
    assert!(enough.abs_diff(from) <= from / 20, "policy show says {from}, the refusal {enough}");
    // So much is lent, and what it costs is then no more than what it brings however early it is repaid.
    let request = |cents| QuoteRequest { collateral_sats: 10_000_000, ..world.request(cents, 7) };
    let quote = world.borrower.handle.quote(request(enough)).await.unwrap();
    let refused = world.borrower.handle.quote(request(enough / 2)).await.unwrap_err();
    assert!(refused.message.contains("too little for 7 days"), "{refused:?}");
    world.borrower.handle.borrow(quote.loan_id).await.unwrap();
    let request = waits(&world, quote.loan_id).await;
    let earns = u128::from(request.earns_at_least_cents) * 100_000_000 / u128::from(request.reference_price_cents);
    assert!(request.fees_sats > 0 && earns >= u128::from(request.fees_sats), "{request:?}");
    // What is wanted when a person says yes counts.
    lender.set_policy(Policy { earning_min_sats: Some(5_000), ..policy }).await.unwrap();
    let why = lender.approve(quote.loan_id).await.unwrap_err();
    assert!(why.code == "refused" && why.message.contains("ask for $"), "{why:?}");
    assert!(freed(&world, quote.loan_id).await.contains("too little for 7 days"));
}

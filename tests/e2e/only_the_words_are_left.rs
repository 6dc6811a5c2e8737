//! One side's folder is lost with an open loan in it. Its words are on paper: the other side gives the loan back, and the
//! restored node settles it alone.

use crate::harness::{after, Theatre, NOON};
use hypothec::contract::repay::Source;
use hypothec::contract::Role;
use hypothec::demo::party::Node;
use hypothec::demo::port::free_port;
use hypothec::demo::prices::Prices;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::view::{EventView, LoanView, OracleRequest, RepayRequest};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::units::Cents;
use std::io::Write;
use std::process::{Command, Stdio};

fn node(theatre: &mut Theatre, role: Role) -> &mut Node {
    match role {
        Role::Borrower => &mut theatre.borrower,
        Role::Lender => &mut theatre.lender,
    }
}

/// Throws a stopped node's folder away and makes a new one of its words alone; its peers find it at another port, or at the
/// old one. What the command said.
fn restore_from_words(node: &Node, moved: bool) -> String {
    let data = node.data();
    let words = std::fs::read(data.join("words")).unwrap();
    let config = std::fs::read_to_string(data.join("hypothec.toml")).unwrap();
    std::fs::remove_dir_all(data).unwrap();
    let mut restore = Command::new(env!("CARGO_BIN_EXE_hypothec"))
        .args(["--data".as_ref(), data.as_os_str()])
        .args(["init", "--restore", "--no-passphrase", "--network", "regtest"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    restore.stdin.take().unwrap().write_all(&words).unwrap();
    let said = restore.wait_with_output().unwrap();
    assert!(said.status.success());
    let listen = format!("listen = \"127.0.0.1:{}\"\n\n[api]", free_port().unwrap());
    let at_peers = config.find("listen = ").unwrap();
    let rest = config.find("[api]").unwrap();
    let config = match moved {
        true => format!("{}{listen}{}", &config[..at_peers], &config[rest + "[api]".len()..]),
        false => config,
    };
    std::fs::write(data.join("hypothec.toml"), config).unwrap();
    String::from_utf8(said.stdout).unwrap()
}

async fn attention(node: &Node) -> String {
    let status = node.client().unwrap().status().await.unwrap();
    status.attention.iter().map(|one| format!("{}\n", one.text)).collect()
}

async fn events(node: &Node, id: Option<LoanId>) -> Vec<(String, String)> {
    let client = node.client().unwrap();
    let events: Vec<EventView> = client.call(reqwest::Method::GET, "/v1/events?after=0", None::<&()>).await.unwrap();
    events.into_iter().filter(|one| one.loan_id == id).map(|one| (one.event, one.text)).collect()
}

/// Waits until the restored side has the loan again.
async fn is_back(theatre: &mut Theatre, lost: Role, id: LoanId) -> LoanView {
    let node = node(theatre, lost);
    let client = node.client().unwrap();
    until("the loan to be given back", PATIENCE, || async move {
        client.loan(id).await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap()
}

/// Adds the oracle again: words know none.
async fn knows_its_oracle(theatre: &mut Theatre, lost: Role) {
    let request = OracleRequest { url: theatre.oracle.url(), mirrors: Vec::new(), pubkey: None };
    node(theatre, lost).client().unwrap().add_oracle(&request).await.unwrap();
}

/// The restored side, alone, until its loan is over; what it says of it.
async fn settles_alone(theatre: &mut Theatre, lost: Role, id: LoanId) -> LoanView {
    node(theatre, lost.other()).stop().await.unwrap();
    for _ in 0..40 {
        let view = node(theatre, lost).client().unwrap().loan(id).await.unwrap();
        if view.stage == Stage::Closed {
            return view;
        }
        theatre.hours(1).await.unwrap();
    }
    panic!("not closed");
}

#[tokio::test]
async fn a_node_of_words_alone_that_never_had_a_loan_needs_nobody_once_its_coins_have_moved() {
    let mut theatre = Theatre::at_rest().await;
    theatre.borrower.stop().await.unwrap();
    restore_from_words(&theatre.borrower, true);
    theatre.borrower.start(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    let told = attention(&theatre.borrower).await;
    assert!(told.contains("its coins move") && !told.contains("was restored from holds no loan"), "{told}");
    theatre.mine(1).await.unwrap();
    let borrower = &theatre.borrower;
    until("nothing to look at", PATIENCE, || async move {
        let told = attention(borrower).await;
        told.is_empty().then_some(()).ok_or(told)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_borrower_with_only_its_words_has_its_loan_back_from_the_lender_and_settles_it_alone() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_500, 1).await;
    let before = theatre.both(id).await;
    theatre.borrower.stop().await.unwrap();
    let said = restore_from_words(&theatre.borrower, true);
    assert!(
        said.contains("peer connect KEY@HOST:PORT") && said.contains("gives it back once it is connected"),
        "{said}"
    );
    theatre.borrower.start(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    let told = attention(&theatre.borrower).await;
    assert!(told.contains("was restored from holds no loan") && told.contains("peer connect"), "{told}");
    assert!(theatre.borrower.client().unwrap().loans().await.unwrap().is_empty());

    theatre.dial().await.unwrap();
    let back = is_back(&mut theatre, Role::Borrower, id).await;
    assert_eq!(
        (back.role, back.start, back.principal_sats),
        (Role::Borrower, before[0].start, before[0].principal_sats)
    );
    assert_eq!(back.stage, Stage::Active);
    let lost = events(&theatre.lender, Some(id)).await;
    assert!(lost.iter().any(|(event, text)| event == "peer_lost_loan" && text.contains("gives it back")), "{lost:?}");
    let given = events(&theatre.borrower, Some(id)).await;
    let given = given.iter().find(|(event, _)| event == "loan_given_back").map(|(_, text)| text.clone()).unwrap();
    assert!(given.contains("every signature in it checked") && given.contains("repaid"), "{given}");
    let borrower = &theatre.borrower;
    until("the lender to hold no more", PATIENCE, || async move {
        match events(borrower, None).await.iter().any(|(event, _)| event == "no_more_loans") {
            true => Ok(()),
            false => Err(format!("{:?}", events(borrower, None).await)),
        }
    })
    .await
    .unwrap();
    let told = attention(&theatre.borrower).await;
    assert!(!told.contains("was restored from holds no loan") && told.contains("oracle add"), "{told}");
    let lender = &theatre.lender;
    until("the lender to see it known again", PATIENCE, || async move {
        let told = attention(lender).await;
        if told.contains("does not know") {
            Err(told)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();

    knows_its_oracle(&mut theatre, Role::Borrower).await;
    let view = settles_alone(&mut theatre, Role::Borrower, id).await;
    assert_eq!(view.ended.unwrap().exit, Some(Exit::Matured));
    theatre.lender.start(&[]).await.unwrap();
    theatre.dial().await.unwrap();
    theatre.quiet().await.unwrap();
    let line = theatre.settled(id, Exit::Matured).await;
    assert_eq!(line.price_cents, 1_000_000);
}

#[tokio::test]
async fn a_borrower_with_only_its_words_repays_the_loan_it_was_given_back_once_its_coins_have_moved() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_500, 30).await;
    theatre.hours(2).await.unwrap();
    theatre.borrower.stop().await.unwrap();
    restore_from_words(&theatre.borrower, false);
    theatre.borrower.start(&[]).await.unwrap();
    theatre.dial().await.unwrap();
    is_back(&mut theatre, Role::Borrower, id).await;
    knows_its_oracle(&mut theatre, Role::Borrower).await;
    let repay = RepayRequest { from: Source::Wallet };
    let refused = theatre.borrower.client().unwrap().repay(id, &repay).await.unwrap_err();
    assert!(format!("{refused:#}").contains("its coins move"), "{refused:#}");
    theatre.mine(1).await.unwrap();
    let borrower = &theatre.borrower;
    until("the coins to have moved", PATIENCE, || async move {
        let told = attention(borrower).await;
        if told.contains("coins move") {
            Err(told)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    theatre.quiet().await.unwrap();
    theatre.borrower.client().unwrap().repay(id, &repay).await.unwrap();
    // An hour later it would stand no longer.
    theatre.quiet().await.unwrap();
    theatre.settled(id, Exit::Repaid).await;
}

#[tokio::test]
async fn a_lender_with_only_its_words_has_its_loan_back_from_a_borrower_that_dials_it_and_liquidates_alone() {
    let prices = Prices::flat(NOON, 24 * 60, Cents(1_000_000)).falling(after(NOON, 6), Cents(500_000));
    let mut theatre = Theatre::open(NOON, prices).await;
    let id = theatre.lent(4_500, 2).await;
    theatre.lender.stop().await.unwrap();
    restore_from_words(&theatre.lender, false);
    theatre.lender.start(&[]).await.unwrap();
    let back = is_back(&mut theatre, Role::Lender, id).await;
    assert_eq!((back.role, back.stage), (Role::Lender, Stage::Active));
    knows_its_oracle(&mut theatre, Role::Lender).await;
    let view = settles_alone(&mut theatre, Role::Lender, id).await;
    assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    theatre.borrower.start(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    theatre.settled(id, Exit::Liquidated).await;
}

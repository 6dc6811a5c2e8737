//! A lender that decides by hand, at its command line: one request is approved, another declined.

use crate::harness::{Theatre, BTC};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::protocol::Stage;
use serde_json::Value;
use std::process::{Command, Output};

/// `hypothec` with these words, on a node's folder.
fn run(theatre: &Theatre, lender: bool, words: &[&str]) -> Output {
    let node = if lender { &theatre.lender } else { &theatre.borrower };
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    // What it says is compared in one line.
    command.env("COLUMNS", "500").args(words).arg("--data").arg(node.data()).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// However its lines are broken.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A quote taken, as the lender's people see it.
async fn asked(theatre: &Theatre) -> LoanId {
    let quote = theatre.quote(400_000, BTC, 30).await.unwrap();
    theatre.borrower.client().unwrap().borrow(quote.loan_id).await.unwrap();
    let listed = || async {
        let list: Value = serde_json::from_str(&said(&run(theatre, true, &["requests", "--json"]))).unwrap();
        let ids: Vec<&str> = list.as_array().unwrap().iter().filter_map(|one| one["loan_id"].as_str()).collect();
        (ids == [quote.loan_id.to_string()]).then_some(()).ok_or_else(|| format!("{ids:?}"))
    };
    until("the request", PATIENCE, listed).await.unwrap();
    quote.loan_id
}

#[tokio::test]
async fn a_request_is_approved_at_the_command_line_by_its_first_digits_and_another_declined_with_a_reason() {
    let mut theatre = Theatre::at_rest().await;
    said(&run(&theatre, true, &["policy", "set", "--approval", "manual"]));
    let show = said(&run(&theatre, true, &["policy", "show"]));
    assert!(show.contains("you decide within") && show.contains("margin lines"), "{show}");
    let first = asked(&theatre).await;
    let short = &first.to_string()[..8];
    // Something needs a person: the line says what to type.
    let status = run(&theatre, true, &["status"]);
    assert_eq!(status.status.code(), Some(3));
    let told = words(&String::from_utf8_lossy(&status.stdout));
    assert!(told.contains(&format!("`approve {short}`")), "{told}");
    let decides = || async {
        let show = said(&run(&theatre, false, &["loan", "show", short]));
        let told = show.contains("the other side's: the lender decides by hand") && show.contains("UTC at most");
        told.then_some(()).ok_or(show)
    };
    until("the borrower to see whose turn it is", PATIENCE, decides).await.unwrap();
    let unasked = run(&theatre, true, &["approve", short]);
    let question = words(&String::from_utf8_lossy(&unasked.stderr));
    assert!(
        unasked.status.code() == Some(2) && question.contains("you lend") && question.contains("nothing was done"),
        "{question}"
    );
    let approved = said(&run(&theatre, true, &["approve", short, "--yes"]));
    assert!(approved.starts_with("Approved; the borrower is told"), "{approved}");
    theatre.until_active(first).await.unwrap();
    let second = asked(&theatre).await;
    let short = &second.to_string()[..8];
    let declined = said(&run(&theatre, true, &["decline", short, "--reason", "one at a time"]));
    assert!(declined.starts_with("Declined; the borrower is told"), "{declined}");
    let borrower = theatre.borrower.client().unwrap().clone();
    let told = || async {
        let loan = borrower.loan(second).await.map_err(|error| error.to_string())?;
        let told = loan.cancelled_because.as_ref().is_some_and(|why| why.ends_with("declined: one at a time"));
        told.then_some(()).ok_or_else(|| format!("{loan:?}"))
    };
    until("the borrower to be told", PATIENCE, told).await.unwrap();
    let again = run(&theatre, true, &["approve", short, "--yes"]);
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(why.contains("waits no more since") && why.contains("declined by hand: one at a time"), "{again:?}");
    // Both sides still find it by its name, and why it is over.
    for lender in [true, false] {
        let show = said(&run(&theatre, lender, &["loan", "show", short]));
        assert!(words(&show).contains("one at a time"), "{show}");
    }
    assert!(theatre.both(first).await.iter().all(|loan| loan.stage == Stage::Active));
}

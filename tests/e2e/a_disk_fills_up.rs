//! A lender's disk fills up, byte by byte as a test says.

use crate::harness::{Theatre, BTC};
use hypothec::contract::repay::Source;
use hypothec::contract::Role;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::RepayRequest;
use hypothec::protocol::Exit;
use hypothec_oracle::room::{LEAST, LOW, VARIABLE};
use std::path::Path;
use std::process::Command;

/// Until the lender's status says this.
async fn lender_says(theatre: &Theatre, words: &str) {
    until("the disk to be told of", PATIENCE, || async {
        let said = theatre.lender.client().map_err(|error| error.to_string())?.status().await;
        let said = said.map_err(|error| error.to_string())?.troubles.join("; ");
        said.contains(words).then_some(()).ok_or(said)
    })
    .await
    .unwrap();
}

/// What `status` says of a node that does not run.
fn last_words(data: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    let output = command.args(["status", "--data"]).arg(data).env_remove("COLUMNS").output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// In one line: where it was broken for the screen does not matter.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_beforehand_takes_no_new_loan_settles_the_open_one_and_is_named_when_it_stops_the_node() {
    let mut theatre = Theatre::at_rest().await;
    let (first, second) = (theatre.lent(2_000, 30).await, theatre.lent(2_100, 30).await);
    let place = tempfile::tempdir().unwrap();
    let free = place.path().join("free");
    let say = |bytes: u64| std::fs::write(&free, bytes.to_string()).unwrap();
    say(LOW);
    theatre.restart(Role::Lender, &[(VARIABLE, free.to_str().unwrap())]).await;
    assert!(!theatre.lender.client().unwrap().status().await.unwrap().troubles.join("; ").contains("disk"));
    say(LOW - 1);
    lender_says(&theatre, "1023 MiB are free on the disk of").await;
    theatre.quote(220_000, BTC, 30).await.unwrap();
    // Below the least nothing new, for neither side, and what is open is repaid as ever.
    say(LEAST - 1);
    lender_says(&theatre, "no new loan is begun until there are 256 MiB").await;
    let refused = theatre.quote(230_000, BTC, 30).await.unwrap_err().to_string();
    assert!(refused.contains("this node begins no new loan: its disk is nearly full"), "{refused}");
    let request = RepayRequest { from: Source::Wallet };
    theatre.repaid(first).await;
    theatre.settled(first, Exit::Repaid).await;
    // Nothing is left: the next thing to be written ends it, and says why from the bytes that were set apart.
    say(0);
    theatre.borrower.client().unwrap().repay(second, &request).await.unwrap();
    let status = theatre.lender.process().unwrap().ended().await.unwrap();
    assert!(!status.success(), "{status}");
    let data = theatre.lender.data().to_path_buf();
    for said in [theatre.lender.process().unwrap().said(), last_words(&data)] {
        let store = format!("the store in {} could not write", data.join("store").display());
        println!("{said}");
        let said = joined(&said).replace("could not sync", "could not write");
        assert!(said.contains("the disk is full, 0 bytes are free: make room on it"), "{said}");
        assert!(said.contains(&joined(&store)) && !said.contains("os error") && !said.contains("Os {"), "{said}");
    }
    assert!(joined(&last_words(&data)).contains("It ended by itself at 2020-01-10 "));
    // With room it goes on, and nothing of the loan was lost.
    theatre.node(Role::Lender).kill();
    say(LOW);
    theatre.revive(Role::Lender).await;
    theatre.repaid(second).await;
    let ended = theatre.settled(second, Exit::Repaid).await;
    println!("bound full-disk told at {LOW} bytes, no new loan below {LEAST}, repaid to {} sats", ended.fees_sats);
}

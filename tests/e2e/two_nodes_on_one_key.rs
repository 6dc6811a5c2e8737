//! A copy of the borrower's folder runs on another machine: its lender tells both nodes, and the loan goes on.

use crate::harness::Theatre;
use hypothec::contract::repay::Source;
use hypothec::demo::client::Client;
use hypothec::demo::program::{Program, Start};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::RepayRequest;
use hypothec::protocol::{Exit, Stage};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a process believe that it is on a machine of its own.
const ELSEWHERE: &str = "HYPOTHEC_OTHER_MACHINE";
const PROGRAM: &str = env!("CARGO_BIN_EXE_hypothec");

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match from.is_dir() {
            true => copy(&from, &to.join(name)),
            false => drop(std::fs::copy(&from, to.join(name)).unwrap()),
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}

/// A copy of the folder beside it, of a node that listens elsewhere.
fn twin_of(data: &Path) -> PathBuf {
    let twin = data.with_file_name("twin");
    copy(data, &twin);
    let config = twin.join("hypothec.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let elsewhere = |line: &str| match line.starts_with("listen = ") {
        true => "listen = \"127.0.0.1:0\"\n".to_owned(),
        false => format!("{line}\n"),
    };
    std::fs::write(&config, text.lines().map(elsewhere).collect::<String>()).unwrap();
    twin
}

async fn is_told(name: &str, data: &Path) {
    until(&format!("the {name} to be told"), PATIENCE, || async {
        let status = Client::of(data).map_err(|e| format!("{e:#}"))?.status().await.map_err(|e| format!("{e:#}"))?;
        let told = status.attention.iter().any(|one| one.about.starts_with("second node, seen by"));
        told.then_some(()).ok_or_else(|| format!("it says {:?}", status.attention))
    })
    .await
    .unwrap();
    let said = Command::new(PROGRAM).arg("--data").arg(data).arg("status").output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(said.status.code(), Some(3), "{text}");
    assert!(
        text.contains("another node answers with this node's key") && text.contains("Stop one of the two"),
        "{text}"
    );
}

#[tokio::test]
async fn two_nodes_on_one_key_are_both_told_by_their_lender_and_the_loan_goes_on() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_000, 30).await;
    theatre.borrower.stop().await.unwrap();
    let twin = twin_of(theatre.borrower.data());
    theatre.borrower.start(&[]).await.unwrap();
    let clock = theatre.clock_file().to_path_buf();
    let words = ["--data".into(), twin.clone().into(), "node".into(), "--regtest-clock".into(), clock.into()];
    let start = Start {
        name: "the twin".into(),
        program: PROGRAM.into(),
        args: words.to_vec(),
        env: vec![(ELSEWHERE.into(), "the twin's".into())],
        log: twin.with_extension("log"),
    };
    let second = Program::start(&start).unwrap();
    is_told("first", theatre.borrower.data()).await;
    is_told("second", &twin).await;
    second.stop().await.unwrap();
    theatre.dial().await.unwrap();
    theatre.quiet().await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.stage == Stage::Active));
    let borrower = theatre.borrower.client().unwrap();
    borrower.repay(id, &RepayRequest { from: Source::Wallet }).await.unwrap();
    theatre.quiet().await.unwrap();
    theatre.settled(id, Exit::Repaid).await;
}

//! `borrow` and `loan repay` as somebody types them: each step is said as it comes, and the exit code is the answer.

use crate::harness::Theatre;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::protocol::Exit;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A command that runs, and what it has said on standard error so far.
struct Typed {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Typed {
    fn new(data: &Path, words: &[&str]) -> Typed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
        // What it says is compared in one line.
        command.env("COLUMNS", "500");
        command.arg("--data").arg(data).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said: Arc<Mutex<String>> = Arc::default();
        let kept = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Typed { child, said }
    }

    async fn says(&self, part: &str) {
        until(&format!("it to say {part:?}"), PATIENCE, || async {
            let said = self.said.lock().unwrap();
            said.contains(part).then_some(()).ok_or_else(|| format!("it says {said}"))
        })
        .await
        .unwrap();
    }

    /// Its exit code, what it printed, and what it said.
    async fn ends(mut self) -> (Option<i32>, String, String) {
        let ended = until("it to end", PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            async move { ended.ok_or_else(|| "it waits".to_owned()) }
        });
        let code = ended.await.unwrap().code();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let said = self.said.lock().unwrap().clone();
        (code, printed, said)
    }
}

#[tokio::test]
async fn a_person_waits_for_a_loan_and_for_its_repayment_and_is_told_each_step() {
    let mut theatre = Theatre::at_rest().await;
    let quote = theatre.quote(400_000, super::harness::BTC, 30).await.unwrap();
    let id = quote.loan_id.to_string();
    let data = theatre.borrower.data().to_path_buf();
    let borrow = Typed::new(&data, &["borrow", &id, "--yes", "--wait"]);
    borrow.says("prepares its own").await;
    // Its coin waits for a block.
    theatre.quiet().await.unwrap();
    theatre.mine(1).await.unwrap();
    borrow.says("waits for a block").await;
    for step in ["1 of 3 confirmations", "2 of 3 confirmations"] {
        theatre.mine(1).await.unwrap();
        borrow.says(step).await;
    }
    theatre.mine(1).await.unwrap();
    let (code, printed, _) = borrow.ends().await;
    assert!(code == Some(0) && printed.starts_with("The loan is active."), "{code:?} {printed}");
    let repay = Typed::new(&data, &["loan", "repay", &id, "--yes", "--wait"]);
    repay.says("both have signed; the repayment waits for a block").await;
    theatre.quiet().await.unwrap();
    for step in ["1 of 3 confirmations", "2 of 3 confirmations"] {
        theatre.mine(1).await.unwrap();
        repay.says(step).await;
    }
    theatre.mine(1).await.unwrap();
    let (code, printed, _) = repay.ends().await;
    assert!(code == Some(0) && printed.starts_with("The loan is repaid, for good."), "{code:?} {printed}");
    theatre.settled(quote.loan_id, Exit::Repaid).await;
}

#[tokio::test]
async fn a_borrower_whose_lender_refuses_is_told_so_and_not_that_the_quote_is_taken() {
    let theatre = Theatre::at_rest().await;
    let quote = theatre.quote(400_000, super::harness::BTC, 30).await.unwrap();
    let lender = theatre.lender.client().unwrap();
    let mut policy = lender.policy().await.unwrap();
    policy.principal_max = policy.principal_min;
    lender.set_policy(&policy).await.unwrap();
    let borrow = Typed::new(theatre.borrower.data(), &["borrow", &quote.loan_id.to_string(), "--yes"]);
    let (code, printed, said) = borrow.ends().await;
    assert_eq!((code, printed.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("the loan does not come to be: the lender refused: "), "{said}");
}

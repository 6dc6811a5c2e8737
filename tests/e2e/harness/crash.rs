//! Dying at a chosen line, as the plug is pulled, and going on.

use super::{Theatre, BTC};
use hypothec::contract::repay::Source;
use hypothec::contract::Role;
use hypothec::crash::VARIABLE;
use hypothec::demo::party::Node;
use hypothec::demo::report::LoanLine;
use hypothec::loan::LoanId;
use hypothec::node::view::{LoanView, RepayRequest};
use hypothec::protocol::{Exit, Stage};
use std::os::unix::process::ExitStatusExt;

/// Blocks after which a point that was not passed never will be.
const MOST_BLOCKS: u32 = 16;
/// What SIGKILL is called in an exit status.
const SIGKILL: i32 = 9;
/// Each loan asks for a little more, so that no coin left from an earlier one fits.
const STEP_DOLLARS: u64 = 25;
/// A fifth of a bitcoin a loan.
pub const COLLATERAL: u64 = BTC / 5;

/// How a negotiation ended in which somebody died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The loan came to be.
    Active(LoanId),
    /// It did not, on neither side.
    Nothing,
}

impl Theatre {
    /// The node on that side.
    pub fn node(&mut self, role: Role) -> &mut Node {
        match role {
            Role::Borrower => &mut self.borrower,
            Role::Lender => &mut self.lender,
        }
    }

    /// Starts a node again so that it dies at `point`.
    pub async fn doom(&mut self, role: Role, point: &str) {
        self.restart(role, &[(VARIABLE, point)]).await;
    }

    /// Starts a node again with these variables.
    pub async fn restart(&mut self, role: Role, variables: &[(&str, &str)]) {
        self.node(role).stop().await.unwrap();
        self.node(role).start(variables).await.unwrap();
        self.meet(role).await;
    }

    /// Starts a node that has died, and nothing will happen to it.
    pub async fn revive(&mut self, role: Role) {
        self.node(role).start(&[]).await.unwrap();
        self.meet(role).await;
    }

    /// Starts a node that is off, and that dies at `point` of what it has to catch up with.
    pub async fn rise_to_die(&mut self, role: Role, point: &str) {
        self.node(role).spawn(&[(VARIABLE, point)]).unwrap();
        // It may be dead before it answers.
        let ready = self.node(role).ready().await;
        assert!(ready.is_ok() || self.node(role).process().unwrap().exit().is_some(), "{point}: {ready:?}");
        self.until_death(role, point).await;
    }

    /// Where both run, they find each other. A borrower that has just started dials by itself; one whose lender was
    /// away is told to.
    async fn meet(&self, started: Role) {
        if self.lender.client().is_ok() && self.borrower.client().is_ok() {
            match started {
                Role::Borrower => self.connected().await.unwrap(),
                Role::Lender => self.dial().await.unwrap(),
            }
        }
        self.quiet().await.unwrap();
    }

    /// Mines until the node has died, and makes sure that it died as it was to.
    pub async fn until_death(&mut self, role: Role, point: &str) {
        for _ in 0..MOST_BLOCKS {
            let node = match role {
                Role::Borrower => &self.borrower,
                Role::Lender => &self.lender,
            };
            let status = tokio::select! {
                status = node.process().unwrap().ended() => status.unwrap(),
                quiet = self.quiet() => {
                    quiet.unwrap();
                    self.bitcoind.mine(1).await.unwrap();
                    continue;
                }
            };
            assert_eq!(status.signal(), Some(SIGKILL), "{point}: {status}");
            let said = node.process().unwrap().said();
            let (name, _) = point.split_once(':').unwrap_or((point, ""));
            assert!(said.contains(&format!("crash point {name}: dying")), "{point}: {said}");
            self.node(role).kill();
            return;
        }
        panic!("the {role} never passed {point}");
    }

    /// A loan during whose negotiation the node dies at `point`, and what becomes of it once the node is back.
    pub async fn negotiate_through(&mut self, role: Role, point: &str, number: usize) -> Outcome {
        self.doom(role, point).await;
        let dollars = 500 + STEP_DOLLARS * number as u64;
        let quote = self.quote(dollars * 100, COLLATERAL, 30).await.unwrap();
        let id = quote.loan_id;
        // Whoever dies here does not answer.
        let _ = self.borrower.client().unwrap().borrow(id).await;
        self.until_death(role, point).await;
        self.revive(role).await;
        for _ in 0..MOST_BLOCKS {
            self.quiet().await.unwrap();
            let views = [self.view(Role::Borrower, id).await, self.view(Role::Lender, id).await];
            let active = |view: &Option<LoanView>| {
                view.as_ref().is_some_and(|v| v.stage == Stage::Active && v.confirmations.0 >= v.confirmations.1)
            };
            if views.iter().all(active) {
                return Outcome::Active(id);
            }
            let nothing =
                |view: &Option<LoanView>| view.as_ref().is_none_or(|view| matches!(view.stage, Stage::Cancelled));
            if views.iter().all(nothing) {
                return Outcome::Nothing;
            }
            self.mine(1).await.unwrap();
        }
        panic!("{point}: {:#?} {:#?}", self.view(Role::Borrower, id).await, self.view(Role::Lender, id).await);
    }

    /// A repayment during which the node dies at `point`; read back once it is over.
    pub async fn repay_through(&mut self, role: Role, point: &str, id: LoanId) -> LoanLine {
        self.doom(role, point).await;
        let request = RepayRequest { from: Source::Wallet };
        let _ = self.borrower.client().unwrap().repay(id, &request).await;
        self.until_death(role, point).await;
        self.revive(role).await;
        self.repaid(id).await;
        self.settled(id, Exit::Repaid).await
    }

    /// Mines until both sides have signed a repayment that may have been begun already.
    pub async fn repaid(&mut self, id: LoanId) {
        let request = RepayRequest { from: Source::Wallet };
        // A proposal stands for a minute of played time, and dying may have cost it that; time stands still until both
        // sides have signed one.
        for _ in 0..MOST_BLOCKS {
            let view = self.view(Role::Borrower, id).await.unwrap();
            if view.stage != Stage::Active {
                break;
            }
            if view.repayment.is_none() {
                // It died before anything was on disk, or what was proposed is taken back: it is asked again.
                self.borrower.client().unwrap().repay(id, &request).await.unwrap();
            }
            self.mine(1).await.unwrap();
        }
    }

    /// The loan as one side sees it, if it knows it.
    pub async fn view(&self, role: Role, id: LoanId) -> Option<LoanView> {
        let node = match role {
            Role::Borrower => &self.borrower,
            Role::Lender => &self.lender,
        };
        node.client().unwrap().loans().await.unwrap().into_iter().find(|view| view.loan_id == id)
    }
}

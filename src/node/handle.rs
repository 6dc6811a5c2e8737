//! The one way into a running node: a request, a place for its answer.

use super::view::{
    AddressView, Balance, ConnectRequest, Consolidated, EffectView, ErrorView, EventView, HistoryEntry, LoanView,
    OracleRequest, OracleView, PeerView, PolicyTerms, PreviewRequest, PreviewView, ProofRequest, ProofView,
    QuoteRequest, QuoteView, RequestView, SendRequest, Sent, Status,
};
use crate::contract::repay::Source;
use crate::loan::policy::Policy;
use crate::loan::terms::LoanId;
use crate::protocol::ErrorCode;
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::sealed::SecretString;
use std::future::Future;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};

tokio::task_local! {
    /// Until when whoever asks waits for its request to be taken up.
    static UNTIL: SystemTime;
}

/// Where the node puts the answer to a command. The asker may have gone: sending then does nothing.
pub type Reply<T> = oneshot::Sender<Result<T, ErrorView>>;

/// Everything a person or program can ask of the node.
#[derive(Debug)]
pub enum Command {
    /// How is the node?
    Status {
        /// The answer's place.
        reply: Reply<Status>,
    },
    /// A fresh address of the wallet.
    NewAddress {
        /// The answer's place.
        reply: Reply<AddressView>,
    },
    /// What the wallet holds.
    Balance {
        /// The answer's place.
        reply: Reply<Balance>,
    },
    /// Every transaction of the wallet.
    History {
        /// The answer's place.
        reply: Reply<Vec<HistoryEntry>>,
    },
    /// What does a transaction do to the wallet?
    Effect {
        /// Which.
        txid: bitcoin::Txid,
        /// The answer's place.
        reply: Reply<EffectView>,
    },
    /// Pay somebody out of the wallet.
    Send {
        /// Whom, and how much.
        request: SendRequest,
        /// The answer's place.
        reply: Reply<Sent>,
    },
    /// What would a command do?
    Preview {
        /// Which.
        request: PreviewRequest,
        /// The answer's place.
        reply: Reply<PreviewView>,
    },
    /// Join the smallest free coins into one.
    Consolidate {
        /// Also the coin kept for the fees of exits?
        with_fee_coin: bool,
        /// The answer's place.
        reply: Reply<Consolidated>,
    },
    /// The peers known and whether they are there.
    Peers {
        /// The answer's place.
        reply: Reply<Vec<PeerView>>,
    },
    /// Dial a peer and keep dialling it.
    Connect {
        /// Whom.
        request: ConnectRequest,
        /// The answer's place.
        reply: Reply<PeerView>,
    },
    /// Dial a peer no more and forget it.
    RemovePeer {
        /// Whom.
        peer: PublicKey,
        /// The answer's place.
        reply: Reply<PeerView>,
    },
    /// Ask an oracle no more and forget it.
    RemoveOracle {
        /// Which.
        oracle: XOnlyPublicKey,
        /// The answer's place.
        reply: Reply<OracleView>,
    },
    /// The oracles known.
    Oracles {
        /// The answer's place.
        reply: Reply<Vec<OracleView>>,
    },
    /// Pin an oracle's key and use it.
    AddOracle {
        /// Which.
        request: OracleRequest,
        /// The answer's place.
        reply: Reply<OracleView>,
    },
    /// Take the proof that an oracle contradicted itself.
    GiveProof {
        /// Which.
        request: ProofRequest,
        /// The answer's place.
        reply: Reply<ProofView>,
    },
    /// The lender's policy.
    Policy {
        /// The answer's place.
        reply: Reply<Policy>,
    },
    /// What the policy implies.
    PolicyTerms {
        /// The answer's place.
        reply: Reply<PolicyTerms>,
    },
    /// Replace the lender's policy.
    SetPolicy {
        /// By this.
        policy: Box<Policy>,
        /// The answer's place.
        reply: Reply<Policy>,
    },
    /// Ask a lender for a quote.
    Quote {
        /// What for.
        request: QuoteRequest,
        /// The answer's place.
        reply: Reply<QuoteView>,
    },
    /// The quotes got that can still be taken.
    Quotes {
        /// The answer's place.
        reply: Reply<Vec<QuoteView>>,
    },
    /// Every loan.
    Loans {
        /// The answer's place.
        reply: Reply<Vec<LoanView>>,
    },
    /// One loan.
    Loan {
        /// Which.
        loan_id: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// Take a quote.
    Borrow {
        /// The quote's loan id.
        quote: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// What waits for a person's word.
    Requests {
        /// And what lately waited and became no loan?
        ended: bool,
        /// The answer's place.
        reply: Reply<Vec<RequestView>>,
    },
    /// Lend what a request asks for.
    Approve {
        /// Which.
        loan_id: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// Do not lend it.
    Decline {
        /// Which.
        loan_id: LoanId,
        /// What the borrower is told.
        reason: Option<String>,
        /// The answer's place.
        reply: Reply<RequestView>,
    },
    /// Give up a loan that is not funded yet.
    Cancel {
        /// Which.
        loan_id: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// Repay a loan, in one transaction.
    Repay {
        /// Which.
        loan_id: LoanId,
        /// Where the sats come from.
        from: Source,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// The lender frees the collateral.
    Receipt {
        /// Of which loan.
        loan_id: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// The borrower takes back an open repayment proposal.
    Withdraw {
        /// Of which loan.
        loan_id: LoanId,
        /// The answer's place.
        reply: Reply<LoanView>,
    },
    /// What happened after event number `after`; waits up to `wait` for something to happen.
    Events {
        /// The last number the asker has seen, 0 for none.
        after: u64,
        /// The longest wait while there is nothing newer.
        wait: Duration,
        /// The answer's place.
        reply: Reply<Vec<EventView>>,
    },
    /// Everything needed to restore this node, encrypted.
    Backup {
        /// What it is encrypted with.
        passphrase: SecretString,
        /// The answer's place.
        reply: Reply<Vec<u8>>,
    },
}

/// Speaks to a running node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Asked>,
}

/// The end at which the node takes commands, those alone that whoever asked still waits for.
#[derive(Debug)]
pub struct Commands {
    asked: mpsc::Receiver<Asked>,
}

/// A command on its way.
#[derive(Debug)]
struct Asked {
    command: Command,
    until: Option<SystemTime>,
    /// Told when it came too late.
    late: oneshot::Sender<()>,
}

/// Commands that may wait for the node before an asker has to.
const QUEUE: usize = 64;

impl Commands {
    /// The next one. A node that was busy for minutes must not do then what it was asked before, and whoever asked has given
    /// up: that is refused here, and never done. `None` when nobody can ask any more.
    pub async fn recv(&mut self) -> Option<Command> {
        loop {
            let Asked { command, until, late } = self.asked.recv().await?;
            if until.is_none_or(|until| SystemTime::now() <= until) {
                return Some(command);
            }
            tracing::warn!("a command came too late and is not done: whoever asked has given up");
            // Whoever asked may have gone.
            let _ = late.send(());
        }
    }
}

/// What is asked of a node meanwhile is refused once this moment is over, unless it is taken up before.
pub async fn until<T>(until: Option<SystemTime>, asked: impl Future<Output = T>) -> T {
    match until {
        Some(until) => UNTIL.scope(until, asked).await,
        None => asked.await,
    }
}

/// That what was asked is not done, since whoever asked has given up.
pub fn came_late() -> ErrorView {
    ErrorView {
        code: ErrorCode::TimedOut.word().into(),
        message: "this was asked long ago, and whoever asked has given up since: nothing was done".into(),
    }
}

impl Handle {
    /// A handle, and the end at which the node takes the commands.
    pub fn new() -> (Handle, Commands) {
        let (commands, asked) = mpsc::channel(QUEUE);
        (Handle { commands }, Commands { asked })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ErrorView> {
        let (reply, answer) = oneshot::channel();
        let gone = || ErrorView {
            code: ErrorCode::Unavailable.word().into(),
            message: "the node is stopping and takes no more requests: start it again and ask once more".into(),
        };
        let (late, mut was_late) = oneshot::channel();
        let asked = Asked { command: command(reply), until: UNTIL.try_get().ok(), late };
        self.commands.send(asked).await.map_err(|_| gone())?;
        answer.await.map_err(|_| if was_late.try_recv().is_ok() { came_late() } else { gone() })?
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, ErrorView> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// `POST /v1/wallet/address`.
    pub async fn new_address(&self) -> Result<AddressView, ErrorView> {
        self.ask(|reply| Command::NewAddress { reply }).await
    }

    /// `GET /v1/wallet/balance`.
    pub async fn balance(&self) -> Result<Balance, ErrorView> {
        self.ask(|reply| Command::Balance { reply }).await
    }

    /// `GET /v1/wallet/history`.
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, ErrorView> {
        self.ask(|reply| Command::History { reply }).await
    }

    /// `GET /v1/wallet/effect/{txid}`.
    pub async fn effect(&self, txid: bitcoin::Txid) -> Result<EffectView, ErrorView> {
        self.ask(|reply| Command::Effect { txid, reply }).await
    }

    /// `POST /v1/wallet/send`.
    pub async fn send(&self, request: SendRequest) -> Result<Sent, ErrorView> {
        self.ask(|reply| Command::Send { request, reply }).await
    }

    /// `POST /v1/preview`.
    pub async fn preview(&self, request: PreviewRequest) -> Result<PreviewView, ErrorView> {
        self.ask(|reply| Command::Preview { request, reply }).await
    }

    /// `POST /v1/wallet/consolidate`.
    pub async fn consolidate(&self, with_fee_coin: bool) -> Result<Consolidated, ErrorView> {
        self.ask(|reply| Command::Consolidate { with_fee_coin, reply }).await
    }

    /// `GET /v1/peers`.
    pub async fn peers(&self) -> Result<Vec<PeerView>, ErrorView> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// `POST /v1/peers`.
    pub async fn connect(&self, request: ConnectRequest) -> Result<PeerView, ErrorView> {
        self.ask(|reply| Command::Connect { request, reply }).await
    }

    /// `DELETE /v1/peers/{node_id}`.
    pub async fn remove_peer(&self, peer: PublicKey) -> Result<PeerView, ErrorView> {
        self.ask(|reply| Command::RemovePeer { peer, reply }).await
    }

    /// `DELETE /v1/oracles/{pubkey}`.
    pub async fn remove_oracle(&self, oracle: XOnlyPublicKey) -> Result<OracleView, ErrorView> {
        self.ask(|reply| Command::RemoveOracle { oracle, reply }).await
    }

    /// `GET /v1/oracles`.
    pub async fn oracles(&self) -> Result<Vec<OracleView>, ErrorView> {
        self.ask(|reply| Command::Oracles { reply }).await
    }

    /// `POST /v1/oracles`.
    pub async fn add_oracle(&self, request: OracleRequest) -> Result<OracleView, ErrorView> {
        self.ask(|reply| Command::AddOracle { request, reply }).await
    }

    /// `POST /v1/oracles/proof`.
    pub async fn give_proof(&self, request: ProofRequest) -> Result<ProofView, ErrorView> {
        self.ask(|reply| Command::GiveProof { request, reply }).await
    }

    /// `GET /v1/policy`.
    pub async fn policy(&self) -> Result<Policy, ErrorView> {
        self.ask(|reply| Command::Policy { reply }).await
    }

    /// `GET /v1/policy/terms`.
    pub async fn policy_terms(&self) -> Result<PolicyTerms, ErrorView> {
        self.ask(|reply| Command::PolicyTerms { reply }).await
    }

    /// `PUT /v1/policy`.
    pub async fn set_policy(&self, policy: Policy) -> Result<Policy, ErrorView> {
        self.ask(|reply| Command::SetPolicy { policy: Box::new(policy), reply }).await
    }

    /// `POST /v1/quotes`.
    pub async fn quote(&self, request: QuoteRequest) -> Result<QuoteView, ErrorView> {
        self.ask(|reply| Command::Quote { request, reply }).await
    }

    /// `GET /v1/quotes`.
    pub async fn quotes(&self) -> Result<Vec<QuoteView>, ErrorView> {
        self.ask(|reply| Command::Quotes { reply }).await
    }

    /// `GET /v1/loans`.
    pub async fn loans(&self) -> Result<Vec<LoanView>, ErrorView> {
        self.ask(|reply| Command::Loans { reply }).await
    }

    /// `GET /v1/loans/{id}`.
    pub async fn loan(&self, loan_id: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Loan { loan_id, reply }).await
    }

    /// `POST /v1/loans`.
    pub async fn borrow(&self, quote: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Borrow { quote, reply }).await
    }

    /// `GET /v1/requests`.
    pub async fn requests(&self) -> Result<Vec<RequestView>, ErrorView> {
        self.ask(|reply| Command::Requests { ended: false, reply }).await
    }

    /// `GET /v1/requests?ended=true`.
    pub async fn all_requests(&self) -> Result<Vec<RequestView>, ErrorView> {
        self.ask(|reply| Command::Requests { ended: true, reply }).await
    }

    /// `POST /v1/requests/{id}/approve`.
    pub async fn approve(&self, loan_id: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Approve { loan_id, reply }).await
    }

    /// `POST /v1/requests/{id}/decline`.
    pub async fn decline(&self, loan_id: LoanId, reason: Option<String>) -> Result<RequestView, ErrorView> {
        self.ask(|reply| Command::Decline { loan_id, reason, reply }).await
    }

    /// `POST /v1/loans/{id}/cancel`.
    pub async fn cancel(&self, loan_id: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Cancel { loan_id, reply }).await
    }

    /// `POST /v1/loans/{id}/repay`.
    pub async fn repay(&self, loan_id: LoanId, from: Source) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Repay { loan_id, from, reply }).await
    }

    /// `POST /v1/loans/{id}/receipt`.
    pub async fn receipt(&self, loan_id: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Receipt { loan_id, reply }).await
    }

    /// `POST /v1/loans/{id}/withdraw`.
    pub async fn withdraw(&self, loan_id: LoanId) -> Result<LoanView, ErrorView> {
        self.ask(|reply| Command::Withdraw { loan_id, reply }).await
    }

    /// `GET /v1/events`.
    pub async fn events(&self, after: u64, wait: Duration) -> Result<Vec<EventView>, ErrorView> {
        self.ask(|reply| Command::Events { after, wait, reply }).await
    }

    /// `POST /v1/backup`.
    pub async fn backup(&self, passphrase: String) -> Result<Vec<u8>, ErrorView> {
        self.ask(|reply| Command::Backup { passphrase: SecretString::from(passphrase), reply }).await
    }
}

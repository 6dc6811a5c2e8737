//! Jobs: whatever takes time or asks somebody. Each works on a snapshot and hands back inputs for the protocol.
//!
//! A job never records and never sends: the core does, in that order.

pub mod backing;
pub mod bump;
pub mod checks;
pub mod coin;
pub mod negotiate;
pub mod quote;
pub mod receipt;
pub mod recover;
pub mod repay;
pub mod taking;
pub mod watch;

use super::approval::Begun;
use super::exits::Look;
use super::handle::Reply;
use super::outgoing::Nowhere;
use super::recovery::{Candidate, Found};
use super::tools::Trouble;
use super::view::{ErrorView, LoanView, QuoteView, Sent};
use crate::chain::Health;
use crate::loan::terms::{LoanId, Terms};
use crate::loan::units::{Cents, Time};
use crate::protocol::messages::Borrow;
use crate::protocol::{Event, Input, Message};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, BlockHash, OutPoint, Txid};
use hypothec_oracle::operator::Link;
use hypothec_oracle::rotation::Succession;
use hypothec_oracle::wire::SignedPrice;
use std::sync::Arc;

/// What may run once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// One step of a loan's negotiation or repayment.
    Loan(LoanId),
    /// Settling a loan that enough oracles have spoken on.
    Settle(LoanId),
    /// A broadcast.
    Broadcast(Txid),
    /// Bringing out an exit and paying for it.
    Exit(Txid),
    /// A look at an oracle.
    Watch(XOnlyPublicKey),
    /// A question for an oracle's hand-overs.
    Rotations(XOnlyPublicKey),
    /// Moving the coins of a restored node.
    Move,
    /// Renewing the backup file.
    Renew,
    /// A look at a loan that a peer gave back.
    Recover,
    /// A look at the coin for fees.
    FeeCoin,
    /// A question to bitcoind how it is.
    Health,
    /// A request of a peer.
    Peer(PublicKey),
    /// A request of the API: any number.
    Ask(u64),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Loan(id) => write!(f, "loan {id}"),
            Key::Settle(id) => write!(f, "settling loan {id}"),
            Key::Broadcast(txid) => write!(f, "broadcast of {txid}"),
            Key::Exit(txid) => write!(f, "exit {txid}"),
            Key::Watch(oracle) => write!(f, "watch of oracle {oracle}"),
            Key::Rotations(oracle) => write!(f, "hand-overs of oracle {oracle}"),
            Key::Move => f.write_str("moving the coins of a restored node"),
            Key::Renew => f.write_str("renewing the backup"),
            Key::Recover => f.write_str("look at a loan given back"),
            Key::FeeCoin => f.write_str("looking after the fee coin"),
            Key::Health => f.write_str("question to bitcoind"),
            Key::Peer(peer) => write!(f, "request of peer {peer}"),
            Key::Ask(number) => write!(f, "request {number}"),
        }
    }
}

/// A quote we gave as lender, good until its terms expire.
#[derive(Clone, Debug)]
pub struct Given {
    /// To whom.
    pub peer: PublicKey,
    /// What.
    pub terms: Terms,
    /// The dollars asked for; those of the terms follow a coin.
    pub asked: Cents,
    /// The index of the keys in it.
    pub key_index: [u8; 32],
    /// What our coin for it is worth: held for it as long as the quote stands.
    pub coin: Amount,
    /// What making that coin costs, as far as it was reckoned.
    pub making: Amount,
}

/// A quote we got as borrower.
#[derive(Clone, Debug)]
pub struct Got {
    /// From whom.
    pub peer: PublicKey,
    /// What, with everything its contract is locked to.
    pub terms: Terms,
    /// The announcements, verified.
    pub announcements: crate::contract::clauses::Announcements,
    /// For the person.
    pub view: QuoteView,
}

/// What a job found.
pub enum Outcome {
    /// Inputs of a loan.
    Inputs(LoanId, Vec<Input>),
    /// Inputs of a loan that somebody waits for.
    Answered(LoanId, Vec<Input>, Reply<LoanView>),
    /// The borrower has no coin to propose with: the lender is to be asked.
    AskLender(LoanId, Reply<LoanView>),
    /// A quote to give.
    Give(Box<Given>, Message),
    /// A quote we got, and the one who asked.
    Got(Box<Got>, Reply<QuoteView>),
    /// A loan begins as borrower; somebody waits.
    Begin(Box<Event>, Reply<LoanView>),
    /// A quote was taken, and these coins proved, worth so much: what is promised is looked at before more is done.
    Proved(Box<Given>, Borrow, Vec<(OutPoint, Amount)>),
    /// A loan may begin as lender: the borrower agreed and proved these coins, worth so much.
    Agree(Box<Event>, Vec<(OutPoint, Amount)>),
    /// A quote was taken, with these coins and their worth; a person is to be asked.
    Ask(Box<Given>, Borrow, Vec<(OutPoint, Amount)>),
    /// A person said yes to a loan: what was found when everything was looked at again, and who waits.
    Approved(LoanId, Result<Begun, Trouble>, Reply<LoanView>),
    /// An oracle was looked at, at this time of ours.
    Watched {
        oracle: XOnlyPublicKey,
        at: Time,
        spot: Option<SignedPrice>,
        inputs: Vec<(LoanId, Input)>,
        trouble: Option<String>,
        /// Of which hours its lows say nothing though they should, in a sentence.
        unheard: Option<String>,
        /// How far its price is from this machine's clock where that is too far, in a sentence.
        apart: Option<String>,
    },
    /// An oracle was asked for hand-overs, and for what joins its key with others, at this time of ours. What it served, or what is false about that; neither
    /// when it did not answer.
    Rotations { oracle: XOnlyPublicKey, at: Time, served: Result<Box<(Succession, Vec<Link>)>, Option<String>> },
    /// The coin for fees was looked at.
    FeeCoin(crate::node::fee_coin::Minded),
    /// A person sent coins, or why not; who waits.
    Sent(Result<Sent, ErrorView>, Reply<Sent>),
    /// bitcoind has a payment that might have been out.
    PaymentOut(Txid),
    /// It refuses one, and does not know it.
    PaymentRefused(Nowhere),
    /// What the wallet has recorded, and bitcoind, whose tip is this, knows nothing of.
    Stray(Txid, BlockHash),
    /// How far a restored node is with moving its coins.
    Moved(Box<crate::node::restored::Step>),
    /// The backup file was written anew, with what a person should know of its place; or why not.
    Renewed(Result<Option<String>, String>),
    /// The backup's place was looked at, and what is there may not be the newest, or another line's.
    BackupSeen(super::place::Found),
    /// What a loan that a peer gave back is.
    Recovered(Arc<Candidate>, Box<Found>),
    /// How bitcoind is.
    Health(Health),
    /// What an exit on its way is like.
    Exit(LoanId, Look),
    /// Nothing for the core to do.
    Nothing,
}

/// A job's end.
pub struct Done {
    /// Which job.
    pub key: Key,
    /// Whose message it answered.
    pub peer: Option<PublicKey>,
    /// What a refusal would be about: the loan or the request.
    pub about: [u8; 32],
    /// How it ended.
    pub result: Result<Outcome, Trouble>,
}

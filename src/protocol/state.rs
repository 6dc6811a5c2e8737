//! A loan at a moment: its events folded together.

use super::awaiting::Awaited;
use super::ending::Doing;
use super::event::{Block, Event, Exit, Recorded, Repayment};
use super::repaying::Standing;
use super::said::Said;
use super::unfunded::Unfunded;
use crate::contract::clauses::{Announcements, Clause, Payouts};
use crate::contract::settle::{self, VerifiedAttestation};
use crate::contract::OracleAttestation;
use crate::contract::{build, wire, Role, Skeleton};
use crate::contract::{AcceptDlc, OfferDlc, SignDlc};
use crate::loan::ltv::MarginLine;
use crate::loan::terms::{LoanId, Terms};
use crate::loan::units::{Cents, Time};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a loan stands. In JSON always its one word, `agreed` to `cancelled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Terms agreed; the lender may still have to make its coin.
    Agreed,
    /// The lender's coin is made but not confirmed.
    Preparing,
    /// The lender waits for the offer.
    Ready,
    /// The borrower waits for the accept.
    Offered,
    /// The lender waits for the sign.
    Accepted,
    /// The borrower signed and waits for the funding transaction.
    Signed,
    /// The lender holds the complete funding transaction.
    Funded,
    /// The funding transaction is out. Until it is in a block, either side can still walk away; until it has the
    /// confirmations its terms ask for, a reorganisation could still undo it.
    Confirming,
    /// The funding transaction has its confirmations: the loan lives.
    Active,
    /// A transaction that ends it is out, not yet final.
    Closing,
    /// Ended, finally.
    Closed,
    /// Never came to be; why is in [`Loan::cancelled_because`].
    Cancelled,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Agreed => "agreed",
            Stage::Preparing => "waiting for the lender's coin",
            Stage::Ready => "waiting for the offer",
            Stage::Offered => "offered",
            Stage::Accepted => "accepted",
            Stage::Signed => "signed",
            Stage::Funded => "funded",
            Stage::Confirming => "confirming",
            Stage::Active => "active",
            Stage::Closing => "ending",
            Stage::Closed => "ended",
            Stage::Cancelled => "cancelled",
        })
    }
}

/// A transaction and where it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The transaction.
    pub transaction: Transaction,
    /// Its block, once confirmed.
    pub block: Option<Block>,
}

/// An exit that can be broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Which exit.
    pub exit: Exit,
    /// Complete and valid.
    pub transaction: Transaction,
    /// The attestations behind it, if it is an attested one.
    pub attestation: Option<(Clause, Vec<OracleAttestation>)>,
    /// Since when it can be.
    pub since: Time,
}

/// An exit on chain or in the mempool.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenExit {
    /// Which; `None` for a spend we cannot name.
    pub exit: Option<Exit>,
    /// What spends the funding output.
    pub seen: Seen,
    /// The price behind it, where there is one.
    pub price: Option<Cents>,
    /// When it was first seen.
    pub at: Time,
    /// Did it wait for its block then? One that was in a block already had ended the loan before it was seen here.
    pub waited: bool,
}

/// The three DLC messages and the fallback's halves, as far as they exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Messages {
    /// Type and fields.
    pub offer: Option<Vec<u8>>,
    /// Type and fields.
    pub accept: Option<Vec<u8>>,
    /// Type and fields.
    pub sign: Option<Vec<u8>>,
    /// The borrower's half of the fallback.
    pub borrower_fallback: Option<Signature>,
    /// The lender's half of the fallback.
    pub lender_fallback: Option<Signature>,
}

impl Messages {
    /// The offer, read.
    pub fn read_offer(&self) -> Option<OfferDlc> {
        self.offer.as_deref().and_then(|bytes| wire::read(bytes).ok())
    }

    /// The accept, read.
    pub fn read_accept(&self) -> Option<AcceptDlc> {
        self.accept.as_deref().and_then(|bytes| wire::read(bytes).ok())
    }

    /// The coins the funding transaction spends, both sides'.
    pub fn funding_inputs(&self) -> Vec<OutPoint> {
        self.funding_coins().into_iter().map(|(outpoint, _)| outpoint).collect()
    }

    /// The same, with what they are worth.
    pub fn funding_coins(&self) -> Vec<(OutPoint, TxOut)> {
        let (Some(offer), Some(accept)) = (self.read_offer(), self.read_accept()) else {
            return Vec::new();
        };
        let inputs = offer.funding_inputs.iter().chain(&accept.funding_inputs);
        let coin = |(outpoint, previous): (OutPoint, Transaction)| {
            let vout = usize::try_from(outpoint.vout).ok()?;
            Some((outpoint, previous.output.get(vout)?.clone()))
        };
        inputs.filter_map(|input| build::previous(input).ok().and_then(coin)).collect()
    }

    /// The sign, read.
    pub fn read_sign(&self) -> Option<SignDlc> {
        self.sign.as_deref().and_then(|bytes| wire::read(bytes).ok())
    }
}

/// One loan.
#[derive(Clone, Debug)]
pub struct Loan {
    /// Its name.
    pub id: LoanId,
    /// Our side.
    pub role: Role,
    /// The other side's node.
    pub peer: PublicKey,
    /// What was agreed.
    pub terms: Terms,
    /// What its clauses are locked to.
    pub announcements: Announcements,
    /// What its clauses pay.
    pub payouts: Payouts,
    /// Index our keys derive from.
    pub key_index: [u8; 32],
    /// Our coins set aside for funding.
    pub coins: Vec<OutPoint>,
    /// Lender: the coins the borrower proved.
    pub proven: Vec<OutPoint>,
    /// Where it stands.
    pub stage: Stage,
    /// When that began.
    pub since: Time,
    /// Why it never came to be, once it was cancelled.
    pub cancelled_because: Option<String>,
    /// Whose doing that was, where it is known.
    pub cancelled_by: Option<Doing>,
    /// When the terms were agreed.
    pub agreed_at: Time,
    /// Borrower: what the lender says it does before its coin is ready.
    pub lender_step: Option<Awaited>,
    /// The coin the lender made for it.
    pub coin_made: Option<Transaction>,
    /// The exchanged messages.
    pub messages: Messages,
    /// The coins the funding transaction spends, both sides'; empty before both are known.
    pub funding_inputs: Vec<OutPoint>,
    /// The funded contract in brief.
    pub skeleton: Option<Skeleton>,
    /// The funding transaction: complete at the lender, seen at the borrower.
    pub funding: Option<Seen>,
    /// Has the funding transaction had the confirmations its terms ask for?
    pub is_deep: bool,
    /// Whether it is still wanted while its funding is in no block.
    pub unfunded: Unfunded,
    /// A transaction of ours that takes back our funding coin.
    pub withdrawal: Option<Transaction>,
    /// An exit ready to broadcast.
    pub pending: Option<Pending>,
    /// A repayment on its way.
    pub repayment: Option<Repayment>,
    /// What is known of it, and of those before it.
    pub standing: Standing,
    /// A transaction of the proposer's, if that is us, that takes back the repayment's coin.
    pub repayment_withdrawal: Option<Transaction>,
    /// The withdrawals of earlier proposals, confirmed: their fees are part of what the loan cost.
    pub withdrawals: Vec<Txid>,
    /// The spend of the funding output.
    pub exit: Option<SeenExit>,
    /// What each of several oracles has said; empty where one oracle's word settles at once.
    pub said: Vec<Said>,
    /// The clauses that enough of them have said.
    pub agreed: Vec<Clause>,
    /// Repayments proposed by the lender so far: each costs it a fee to take back.
    pub lender_proposals: u32,
    /// The margin line last crossed.
    pub margin: Option<MarginLine>,
    /// The fewest days to due that were told of.
    pub due_told: Option<u32>,
    /// Events so far: the length of its log.
    pub length: u64,
}

/// A log that does not make sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// The first event is not an agreement.
    #[error("the log begins with {0}, not with the agreement")]
    NotBegun(String),
    /// The payouts cannot be computed.
    #[error("the terms cannot be paid out: {0}")]
    Terms(String),
    /// An event that cannot follow.
    #[error("{event} cannot follow while the loan is {stage}")]
    Unexpected { stage: Stage, event: String },
}

impl Loan {
    /// The loan after its first event.
    pub fn begin(recorded: &Recorded) -> Result<Loan, StateError> {
        let Event::Agreed { role, peer, terms, announcements, key_index, coins, proven } = &recorded.event else {
            return Err(StateError::NotBegun(recorded.event.name().into()));
        };
        Ok(Loan {
            id: terms.id(),
            role: *role,
            peer: *peer,
            payouts: Payouts::of(terms).map_err(|e| StateError::Terms(e.to_string()))?,
            terms: (**terms).clone(),
            announcements: (**announcements).clone(),
            key_index: *key_index,
            coins: coins.clone(),
            proven: proven.clone(),
            stage: Stage::Agreed,
            cancelled_because: None,
            cancelled_by: None,
            since: recorded.at,
            agreed_at: recorded.at,
            lender_step: None,
            coin_made: None,
            messages: Messages::default(),
            funding_inputs: Vec::new(),
            skeleton: None,
            funding: None,
            is_deep: false,
            unfunded: Unfunded::default(),
            withdrawal: None,
            pending: None,
            repayment: None,
            standing: Standing::default(),
            repayment_withdrawal: None,
            lender_proposals: 0,
            withdrawals: Vec::new(),
            exit: None,
            said: Vec::new(),
            agreed: Vec::new(),
            margin: None,
            due_told: None,
            length: 1,
        })
    }

    /// The loan of a whole log.
    pub fn replay<'a>(log: impl IntoIterator<Item = &'a Recorded>) -> Result<Loan, StateError> {
        let mut log = log.into_iter();
        let first = log.next().ok_or_else(|| StateError::NotBegun("nothing".into()))?;
        log.try_fold(Loan::begin(first)?, |loan, recorded| loan.apply(recorded))
    }

    /// The loan after one more event.
    pub fn apply(mut self, recorded: &Recorded) -> Result<Loan, StateError> {
        let before = self.stage;
        self.fold(recorded)?;
        self.length += 1;
        if self.stage != before {
            self.since = recorded.at;
        }
        // A reorganisation may bring back what a block had ended: then nothing ended it.
        if self.stage != Stage::Cancelled {
            (self.cancelled_because, self.cancelled_by) = (None, None);
        }
        Ok(self)
    }

    fn fold(&mut self, recorded: &Recorded) -> Result<(), StateError> {
        let unexpected = StateError::Unexpected { stage: self.stage, event: recorded.event.name().into() };
        match (&self.stage, recorded.event.clone()) {
            (Stage::Agreed, Event::CoinMade { transaction }) => {
                self.coin_made = Some(transaction);
                self.stage = Stage::Preparing;
            }
            (Stage::Agreed, Event::LenderStep { step, until }) => {
                self.lender_step = Some(Awaited { step, until, since: recorded.at });
            }
            (Stage::Agreed | Stage::Preparing, Event::Ready { coin }) => {
                self.coins = vec![coin];
                self.stage = Stage::Ready;
            }
            (Stage::Agreed, Event::Offered { offer }) => {
                self.messages.offer = Some(offer);
                self.stage = Stage::Offered;
            }
            (Stage::Ready, Event::Accepted { offer, accept, fallback, skeleton }) => {
                self.messages.offer = Some(offer);
                self.messages.accept = Some(accept);
                self.messages.lender_fallback = Some(fallback);
                self.skeleton = Some(*skeleton);
                self.funding_inputs = self.messages.funding_inputs();
                self.stage = Stage::Accepted;
            }
            (Stage::Offered, Event::Signed { accept, lender_fallback, sign, fallback, skeleton }) => {
                self.messages.accept = Some(accept);
                self.messages.lender_fallback = Some(lender_fallback);
                self.messages.sign = Some(sign);
                self.messages.borrower_fallback = Some(fallback);
                self.skeleton = Some(*skeleton);
                self.funding_inputs = self.messages.funding_inputs();
                self.stage = Stage::Signed;
            }
            (Stage::Accepted, Event::Funded { sign, borrower_fallback, transaction }) => {
                self.messages.sign = Some(sign);
                self.messages.borrower_fallback = Some(borrower_fallback);
                self.funding = Some(Seen { transaction, block: None });
                self.stage = Stage::Funded;
            }
            (stage, Event::Cancelled { reason, by }) if !matches!(stage, Stage::Closed) => {
                // What spends an output that never came to be is nothing.
                self.exit = None;
                self.stage = Stage::Cancelled;
                self.cancelled_because = Some(reason);
                self.cancelled_by = by;
                self.shed();
            }
            (_, event) => return self.fold_living(event, recorded.at).ok_or(unexpected),
        }
        Ok(())
    }

    /// Events of a loan whose funding transaction may be out.
    fn fold_living(&mut self, event: Event, at: Time) -> Option<()> {
        if self.fold_repaying(&event, at) {
            return Some(());
        }
        match event {
            Event::FundingSeen { transaction, block } => {
                self.funding = Some(Seen { transaction, block });
                self.unfunded.seen(block.is_some(), self.withdrawal.is_some(), at);
                if block.is_some() {
                    // Too late to walk away: should a reorganisation undo the block, the loan is wanted.
                    self.withdrawal = None;
                }
                if !matches!(self.stage, Stage::Closing | Stage::Closed) {
                    self.stage = self.unspent_stage();
                }
            }
            Event::FundingUnconfirmed => {
                self.funding.as_mut()?.block = None;
                self.is_deep = false;
                if self.stage == Stage::Active {
                    self.stage = Stage::Confirming;
                }
            }
            Event::Activated => {
                self.is_deep = true;
                self.stage = self.unspent_stage();
            }
            Event::FundingAway { rival } => self.unfunded.left(rival, &self.coins, at),
            Event::FundingBack => self.unfunded.came_back(at),
            Event::GivenUp { reason, at_stake_sats } => self.unfunded.give_up(reason, Amount::from_sat(at_stake_sats)),
            Event::Withdrawn { transaction } => self.withdrawal = Some(transaction),
            Event::Said { clause, attestation } => self.hear(Said { clause, attestation, at }),
            Event::Attested { clause, attestations, transaction } => {
                let exit = match clause {
                    Clause::Touch { .. } => Exit::Liquidated,
                    Clause::Receipt => Exit::Receipt,
                    Clause::Fixing => Exit::Matured,
                };
                let txid = transaction.compute_txid();
                self.pending =
                    Some(Pending { exit, transaction, attestation: Some((clause, attestations)), since: at });
                // The other side may have been faster: what it brought to the chain is this, at this price.
                let price = self.attested_price();
                if let Some(seen) = self.exit.as_mut().filter(|seen| seen.seen.transaction.compute_txid() == txid) {
                    seen.exit = Some(exit);
                    seen.price = seen.price.or(price);
                }
            }
            Event::Due { exit, transaction } => {
                self.pending = Some(Pending { exit, transaction, attestation: None, since: at })
            }
            Event::ExitSeen { exit, transaction, price, block } => {
                let txid = transaction.compute_txid();
                let known = self.exit.as_ref().filter(|seen| seen.seen.transaction.compute_txid() == txid);
                let (at, waited) = known.map_or((at, block.is_none()), |seen| (seen.at, seen.waited));
                self.exit = Some(SeenExit { exit, seen: Seen { transaction, block }, price, at, waited });
                self.stage = Stage::Closing;
            }
            Event::ExitUnconfirmed => {
                self.exit.as_mut()?.seen.block = None;
                self.stage = Stage::Closing;
            }
            Event::ExitGone => {
                self.exit = None;
                self.stage = self.unspent_stage();
            }
            Event::Closed => self.stage = Stage::Closed,
            Event::Margin { line, .. } => self.margin = line,
            Event::DueSoon { days } => self.due_told = Some(days),
            _ => return None,
        }
        Some(())
    }

    /// Can exits be broadcast: do both sides hold each other's signatures, and is the funding transaction known?
    pub fn is_living(&self) -> bool {
        matches!(self.stage, Stage::Funded | Stage::Confirming | Stage::Active | Stage::Closing)
    }

    /// Where a loan stands whose funding transaction is out, and nothing spends it: active once it is deep enough.
    fn unspent_stage(&self) -> Stage {
        match self.is_deep && self.funding.as_ref().is_some_and(|seen| seen.block.is_some()) {
            true => Stage::Active,
            false => Stage::Confirming,
        }
    }

    /// Lets go of what only a contract needs, where none was signed that could ever be funded: anybody with a coin can begin
    /// negotiations and end them.
    fn shed(&mut self) {
        if !self.is_over() {
            return;
        }
        self.lender_step = None;
        self.messages = Messages::default();
        self.skeleton = None;
        self.funding_inputs = Vec::new();
        self.announcements.oracles = Vec::new();
        self.payouts.days = Vec::new();
        self.payouts.touches = Vec::new();
        self.payouts.fixing = Vec::new();
    }

    /// Is it being negotiated: can it still be ended with a word?
    pub fn is_negotiating(&self) -> bool {
        matches!(self.stage, Stage::Agreed | Stage::Preparing | Stage::Ready | Stage::Offered | Stage::Accepted)
    }

    /// Is nothing left to do or to watch?
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closed) || (matches!(self.stage, Stage::Cancelled) && self.messages.sign.is_none())
    }

    /// Has it come to an end, so that nothing is owed and nothing rests on it? A cancelled one that both sides had signed is
    /// watched on, in case a reorganisation funds it.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Closed | Stage::Cancelled)
    }

    /// Did it come to nothing by its borrower's doing, so that its coins were shown in vain? Of one that an earlier version
    /// ended nobody knows, and it counts.
    pub fn is_in_vain(&self) -> bool {
        matches!(self.stage, Stage::Cancelled) && matches!(self.cancelled_by, None | Some(Doing::Borrower))
    }

    /// Did it end before anything was signed that could be funded?
    pub fn came_to_nothing(&self) -> bool {
        matches!(self.stage, Stage::Cancelled) && self.is_over()
    }

    /// Coins of ours nobody else may spend now.
    pub fn reserved(&self) -> Vec<OutPoint> {
        let mut reserved = match self.stage {
            Stage::Closed | Stage::Cancelled => Vec::new(),
            _ => self.coins.clone(),
        };
        // The coin made for this loan is nobody else's, from the moment it is made.
        if let (Stage::Preparing, Some(made)) = (&self.stage, &self.coin_made) {
            reserved.push(OutPoint { txid: made.compute_txid(), vout: 0 });
        }
        if self.stage != Stage::Closed {
            if let Some(repayment) = self.repayment.as_ref().filter(|repayment| repayment.proposer == self.role) {
                reserved.extend(repayment.transaction.input.iter().skip(1).map(|input| input.previous_output));
            }
        }
        reserved
    }

    /// Where this loan may still pay us.
    pub fn paid_to(&self) -> Vec<ScriptBuf> {
        if self.is_over() {
            return Vec::new();
        }
        let exits = self.skeleton.iter().map(|skeleton| skeleton.script_of(self.role).clone());
        let repayment = self.repayment.iter().flat_map(|open| &open.transaction.output);
        let repayment = repayment.map(|output| output.script_pubkey.clone());
        exits.chain(repayment).chain([self.terms.principal_script.clone()]).collect()
    }

    /// Every outpoint whose spend says something about this loan.
    pub fn watched(&self) -> Vec<OutPoint> {
        if self.is_over() {
            return Vec::new();
        }
        let mut watched = self.funding_inputs.clone();
        if self.is_negotiating() {
            watched.extend_from_slice(&self.proven);
            watched.extend(&self.coins);
        }
        watched.extend(self.skeleton.as_ref().map(|skeleton| skeleton.funding));
        if let Some(repayment) = &self.repayment {
            watched.extend(repayment.transaction.input.iter().skip(1).map(|input| input.previous_output));
        }
        // A waiting exit dies when any coin it spends is spent elsewhere.
        if let Some(exit) = &self.exit {
            watched.extend(exit.seen.transaction.input.iter().map(|input| input.previous_output));
        }
        watched.sort_unstable();
        watched.dedup();
        watched
    }

    /// Is the spend of the funding output in a block?
    pub fn is_exit_confirmed(&self) -> bool {
        self.exit.as_ref().is_some_and(|exit| exit.seen.block.is_some())
    }

    /// Is an attested exit ready?
    pub fn is_attested(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.attestation.is_some())
    }

    /// Did the other side settle it by a fixing that nobody has told us yet? The exit is what it is; its price is
    /// still asked for, so that both sides record the same.
    pub fn lacks_price(&self) -> bool {
        let unnamed = |exit: &SeenExit| exit.exit == Some(Exit::Matured) && exit.price.is_none();
        self.exit.as_ref().is_some_and(unnamed) && self.attested_price().is_none()
    }

    /// The price an attested fixing or touch stands for.
    pub fn attested_price(&self) -> Option<Cents> {
        let pending = self.pending.as_ref()?;
        // Another exit than the one we were told of says nothing about that one's price.
        if self.exit.as_ref().is_some_and(|seen| seen.exit.is_some_and(|exit| exit != pending.exit)) {
            return None;
        }
        let (clause, attestations) = pending.attestation.as_ref()?;
        match clause {
            Clause::Touch { index } => self.payouts.days.get(*index).map(|day| day.level.cents()),
            Clause::Fixing => {
                let attestations = attestations.clone();
                let attested =
                    VerifiedAttestation::check_all(&self.announcements, Clause::Fixing, attestations).ok()?;
                let place = settle::place(&self.terms, &self.payouts, &attested).ok()?;
                place.dollars.and_then(|dollars| Cents::from_dollars(u64::from(dollars)))
            }
            Clause::Receipt => None,
        }
    }
}

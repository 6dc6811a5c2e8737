//! What peers say to each other: the three standard DLC messages and our own of odd types.

use crate::contract::repay::{Proposal, Source};
use crate::contract::wire::{ACCEPT, MAX_MESSAGE, OFFER, SIGN};
use crate::loan::terms::LoanId;
use crate::loan::tlv::{Bytes, TlvError};
use crate::loan::units::{Cents, Days, Time};
use crate::tlv_struct;
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, ScriptBuf};
use hypothec_oracle::foreign::{clean_to, WORD};
use thiserror::Error;

/// The longest sentence of a peer's that is read, in characters.
const SAID: usize = 500;

tlv_struct! {
    /// Borrower → lender: what would you ask for this? (33001)
    pub struct QuoteRequest {
        /// Chosen by the borrower; the answer names it.
        0 => pub request: [u8; 32],
        /// The first block of the chain, as in the terms.
        2 => pub chain: [u8; 32],
        /// Dollars wanted.
        4 => pub principal: Cents,
        /// Sats offered as collateral.
        6 => pub collateral: Amount,
        /// The term.
        8 => pub days: Days,
        /// Oracles the borrower would trust.
        10 => pub oracles: Vec<XOnlyPublicKey>,
        /// The borrower's half of the loan id's randomness.
        12 => pub borrower_nonce: [u8; 32],
        /// Where the principal should go.
        14 => pub principal_script: ScriptBuf,
        /// The versions of the terms the borrower reads, ascending.
        16 => pub versions: Vec<u16>,
        /// The fewest oracles that may settle the loan together.
        18 => pub minimum_threshold: u8,
    }
}

tlv_struct! {
    /// Lender → borrower: these terms, until they expire. (33003)
    pub struct Quote {
        /// The request answered.
        0 => pub request: [u8; 32],
        /// The terms, encoded.
        2 => pub terms: Bytes,
        /// The receipt's announcement, encoded.
        4 => pub receipt: Bytes,
        /// The lender's node key over the loan id: see [`quote_digest`].
        6 => pub signature: [u8; 64],
    }
}

tlv_struct! {
    /// Either → other: no, and why. (33005)
    pub struct Refused {
        /// The request or the loan.
        0 => pub about: [u8; 32],
        /// A stable word for programs.
        2 => pub code: String,
        /// A sentence for people.
        4 => pub message: String,
    }
}

tlv_struct! {
    /// A coin and a signature by its key: proof that the borrower could lock it.
    pub struct Coin {
        /// Transaction of the coin, in the order of hashing.
        0 => pub txid: [u8; 32],
        /// Its output.
        2 => pub vout: u32,
        /// The key of its P2WPKH output.
        4 => pub key: PublicKey,
        /// ECDSA, compact, over the tagged hash of loan id and outpoint.
        6 => pub signature: [u8; 64],
    }
}

tlv_struct! {
    /// Borrower → lender: agreed; here is proof of the collateral. (33007)
    pub struct Borrow {
        /// The loan whose terms were quoted.
        0 => pub loan: [u8; 32],
        /// Confirmed coins that cover the collateral.
        2 => pub coins: Vec<Coin>,
    }
}

tlv_struct! {
    /// Lender → borrower: my coin is confirmed; send the offer. (33009)
    pub struct Ready {
        /// The loan.
        0 => pub loan: [u8; 32],
    }
}

tlv_struct! {
    /// Travels right before accept or sign: the sender's half of the fallback. (33011)
    pub struct Fallback {
        /// The loan.
        0 => pub loan: [u8; 32],
        /// ECDSA, compact.
        2 => pub signature: [u8; 64],
    }
}

tlv_struct! {
    /// Borrower → lender: I have no coin; propose a repayment out of the collateral. (33017)
    pub struct RepayRequest {
        /// The loan.
        0 => pub loan: [u8; 32],
    }
}

tlv_struct! {
    /// Proposer → other: a repayment, signed on the proposer's side. (33013)
    pub struct Repay {
        /// The loan.
        0 => pub loan: [u8; 32],
        /// The transaction, its coins' witnesses in place.
        2 => pub transaction: Bytes,
        /// The proposer's half for the 2-of-2, compact.
        4 => pub half: [u8; 64],
        /// Spot it was computed at, cents per bitcoin.
        6 => pub price: Cents,
        /// When: the debt is that of this moment.
        8 => pub at: Time,
        /// 0 from the wallet, 1 from the collateral.
        10 => pub source: u8,
    }
}

tlv_struct! {
    /// Lender → borrower: I was paid some other way; this frees the collateral. (33015)
    pub struct Receipt {
        /// The loan.
        0 => pub loan: [u8; 32],
        /// The attestation, encoded.
        2 => pub attestation: Bytes,
    }
}

tlv_struct! {
    /// Either → other: this oracle contradicted itself, and here is the proof. (33019)
    pub struct Equivocation {
        /// The oracle it is against.
        0 => pub oracle: XOnlyPublicKey,
        /// The proof's bytes.
        2 => pub proof: Bytes,
    }
}

tlv_struct! {
    /// Either → other: I was restored from less than I had; what signed loan of ours is none of these? (33021)
    pub struct LoansOfMine {
        /// Loans not to be sent: those known, and those that came and could not be taken.
        0 => pub known: Vec<[u8; 32]>,
    }
}

tlv_struct! {
    /// Either → other, when asked: a part of one such loan; no parts when there is none. (33023)
    pub struct LoanOfYours {
        /// The loan.
        0 => pub loan: [u8; 32],
        /// Which part, from 0, in order.
        2 => pub part: u16,
        /// How many parts.
        4 => pub parts: u16,
        /// The part's bytes; all together are a [`LoanFile`](crate::contract::recover::LoanFile).
        6 => pub bytes: Bytes,
    }
}

tlv_struct! {
    /// Lender → borrower: your quote is taken up, and this is what I do now. (33025)
    pub struct Progress {
        /// The loan.
        0 => pub loan: [u8; 32],
        /// [`LenderStep`](super::LenderStep), as a number.
        2 => pub step: u8,
        /// Until when at the latest.
        4 => pub until: Time,
    }
}

/// One message, of a known kind, its fields read but not believed.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// See [`QuoteRequest`].
    QuoteRequest(QuoteRequest),
    /// See [`Quote`].
    Quote(Quote),
    /// See [`Refused`].
    Refused(Refused),
    /// See [`Borrow`].
    Borrow(Borrow),
    /// See [`Ready`].
    Ready(Ready),
    /// See [`Fallback`].
    Fallback(Fallback),
    /// See [`Repay`].
    Repay(Repay),
    /// See [`Receipt`].
    Receipt(Receipt),
    /// See [`RepayRequest`].
    RepayRequest(RepayRequest),
    /// See [`Equivocation`].
    Equivocation(Equivocation),
    /// See [`LoansOfMine`].
    LoansOfMine(LoansOfMine),
    /// See [`LoanOfYours`].
    LoanOfYours(LoanOfYours),
    /// See [`Progress`].
    Progress(Progress),
    /// A DLC offer, type and all.
    Offer(Vec<u8>),
    /// A DLC accept, type and all.
    Accept(Vec<u8>),
    /// A DLC sign, type and all.
    Sign(Vec<u8>),
}

/// Why bytes are not a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// No such kind.
    #[error("message type {0} is none of ours")]
    UnknownKind(u16),
    /// The fields cannot be read.
    #[error(transparent)]
    Fields(#[from] TlvError),
    /// A DLC message that ends before it names its contract.
    #[error("it has {0} bytes, and ends before it names its loan")]
    CutShort(usize),
    /// Too long.
    #[error("a message of {0} bytes; the most is {MAX_MESSAGE}")]
    TooLong(usize),
}

macro_rules! kinds {
    ($($kind:literal => $name:ident),* $(,)?) => {
        impl Message {
            /// Every message type a node accepts.
            pub fn kinds() -> Vec<u16> {
                vec![OFFER, ACCEPT, SIGN, $($kind),*]
            }

            /// Reads the payload of a message of type `kind`.
            pub fn read(kind: u16, payload: &[u8]) -> Result<Message, MessageError> {
                if payload.len() > MAX_MESSAGE {
                    return Err(MessageError::TooLong(payload.len()));
                }
                if named_at(kind).is_some_and(|start| payload.len() < start + 32) {
                    return Err(MessageError::CutShort(payload.len()));
                }
                match kind {
                    $($kind => Ok(Message::$name($name::from_tlv(payload)?).cleaned()),)*
                    OFFER => Ok(Message::Offer(with_kind(kind, payload))),
                    ACCEPT => Ok(Message::Accept(with_kind(kind, payload))),
                    SIGN => Ok(Message::Sign(with_kind(kind, payload))),
                    other => Err(MessageError::UnknownKind(other)),
                }
            }

            /// Type and payload.
            pub fn write(&self) -> (u16, Vec<u8>) {
                match self {
                    $(Message::$name(message) => ($kind, message.to_tlv()),)*
                    Message::Offer(bytes) => (OFFER, without_kind(bytes)),
                    Message::Accept(bytes) => (ACCEPT, without_kind(bytes)),
                    Message::Sign(bytes) => (SIGN, without_kind(bytes)),
                }
            }
        }
    };
}

kinds! {
    33001 => QuoteRequest,
    33003 => Quote,
    33005 => Refused,
    33007 => Borrow,
    33009 => Ready,
    33011 => Fallback,
    33013 => Repay,
    33015 => Receipt,
    33017 => RepayRequest,
    33019 => Equivocation,
    33021 => LoansOfMine,
    33023 => LoanOfYours,
    33025 => Progress,
}

impl Message {
    /// The sender's own words made fit to be shown and logged.
    fn cleaned(self) -> Message {
        match self {
            Message::Refused(Refused { about, code, message }) => {
                Message::Refused(Refused { about, code: clean_to(&code, WORD), message: clean_to(&message, SAID) })
            }
            other => other,
        }
    }
}

/// What an unreadable message names, where its bytes are long enough for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A loan, or the quote of one.
    Loan([u8; 32]),
    /// A request for a quote.
    Request([u8; 32]),
}

impl Named {
    /// The name's bytes: what a refusal is about.
    pub fn bytes(self) -> [u8; 32] {
        match self {
            Named::Loan(id) | Named::Request(id) => id,
        }
    }
}

/// What an unreadable message of type `kind` is about. A list, an oracle's key and a sign's contract name nothing: what
/// stands in their place is no loan's id, whatever its bytes are.
pub fn about(kind: u16, payload: &[u8]) -> Option<Named> {
    let named: fn([u8; 32]) -> Named = match kind {
        QUOTE_REQUEST | QUOTE => Named::Request,
        BORROW | READY | FALLBACK | REPAY | RECEIPT | REPAY_REQUEST | LOAN_OF_YOURS | PROGRESS => Named::Loan,
        OFFER | ACCEPT => Named::Loan,
        _ => return None,
    };
    let start = match named_at(kind) {
        Some(start) => start,
        // The first record of each of ours: type 0, 32 bytes.
        None if payload.starts_with(&[0, 32]) => 2,
        None => return None,
    };
    Some(named(payload.get(start..start + 32)?.try_into().ok()?))
}

/// Where the payload of a DLC message names its contract, 32 bytes.
fn named_at(kind: u16) -> Option<usize> {
    match kind {
        // After version, flags and chain; after the version.
        OFFER => Some(37),
        ACCEPT | SIGN => Some(4),
        _ => None,
    }
}

/// Type of [`Refused`]: the one message that is never answered by another of its type.
pub const REFUSED: u16 = 33005;
/// Type of [`Quote`].
pub const QUOTE: u16 = 33003;
/// Types of those whose first record names a request or a loan.
const QUOTE_REQUEST: u16 = 33001;
const BORROW: u16 = 33007;
const READY: u16 = 33009;
const FALLBACK: u16 = 33011;
const REPAY: u16 = 33013;
const RECEIPT: u16 = 33015;
const REPAY_REQUEST: u16 = 33017;
const LOAN_OF_YOURS: u16 = 33023;
const PROGRESS: u16 = 33025;

/// The DLC messages carry their type as their first two bytes; the peer network carries it by itself.
fn with_kind(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), payload].concat()
}

fn without_kind(bytes: &[u8]) -> Vec<u8> {
    bytes.get(2..).unwrap_or_default().to_vec()
}

impl Coin {
    /// Where the coin is.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint { txid: bitcoin::hashes::Hash::from_byte_array(self.txid), vout: self.vout }
    }
}

impl Repay {
    /// The message of a proposal.
    pub fn of(loan: LoanId, proposal: &Proposal, price: Cents, at: Time, source: Source) -> Repay {
        Repay {
            loan: loan.0,
            transaction: Bytes(bitcoin::consensus::serialize(&proposal.transaction)),
            half: proposal.half.serialize_compact(),
            price,
            at,
            source: u8::from(source == Source::Collateral),
        }
    }

    /// The proposal and its source.
    ///
    /// # Errors
    /// The first field that is not one, by its name.
    pub fn proposal(&self) -> Result<(Proposal, Source), NoProposal> {
        let source = match self.source {
            0 => Source::Wallet,
            1 => Source::Collateral,
            other => return Err(NoProposal::Source(other)),
        };
        let transaction = bitcoin::consensus::deserialize(&self.transaction.0);
        let transaction = transaction.map_err(|_| NoProposal::Transaction(self.transaction.0.len()))?;
        let half = Signature::from_compact(&self.half).map_err(|_| NoProposal::Half)?;
        Ok((Proposal { transaction, half }, source))
    }
}

/// A field of a `Repay` that cannot be what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProposal {
    /// Neither of the two numbers.
    #[error("the repayment's source is {0}; it is 0 from the wallet or 1 from the collateral")]
    Source(u8),
    /// So many bytes that are no transaction.
    #[error("the repayment's transaction, {0} bytes, is not one transaction in consensus encoding")]
    Transaction(usize),
    /// Bytes that are no signature.
    #[error("the repayment's half is not a compact ECDSA signature")]
    Half,
}

/// What a quote's signature signs: BIP340's tagged hash of the loan id under `hypothec/quote/v0`.
pub fn quote_digest(loan: &LoanId) -> bitcoin::secp256k1::Message {
    use bitcoin::hashes::{sha256, Hash, HashEngine};
    let tag = sha256::Hash::hash(b"hypothec/quote/v0");
    let mut engine = sha256::Hash::engine();
    for part in [tag.as_ref(), tag.as_ref(), &loan.0] {
        engine.input(part);
    }
    bitcoin::secp256k1::Message::from_digest(sha256::Hash::from_engine(engine).to_byte_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repayment_that_cannot_be_read_is_refused_by_the_field_that_is_wrong() {
        let empty = bitcoin::Transaction {
            version: bitcoin::transaction::Version(3),
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![bitcoin::TxIn::default()],
            output: Vec::new(),
        };
        let transaction = Bytes(bitcoin::consensus::serialize(&empty));
        let good = Repay { loan: [1; 32], transaction, half: [1; 64], price: Cents(1), at: Time(1), source: 1 };
        assert_eq!(good.proposal().map(|(_, source)| source), Ok(Source::Collateral));
        let cut = Bytes(good.transaction.0[1..].to_vec());
        let said = |repay: Repay| repay.proposal().unwrap_err().to_string();
        assert!(said(Repay { source: 2, ..good.clone() }).contains("source is 2"));
        assert!(said(Repay { transaction: cut, ..good.clone() }).contains("transaction, "));
        assert!(said(Repay { half: [0xff; 64], ..good }).contains("half"));
    }

    #[test]
    fn only_what_begins_with_the_name_of_a_loan_or_a_request_names_one_when_it_cannot_be_read() {
        let bytes = [&[0, 32][..], &[7; 32], &[2, 1, 0]].concat();
        for kind in Message::kinds() {
            let named = match kind {
                33001 | 33003 => Some(Named::Request([7; 32])),
                // A refusal is never answered; the next two begin with an oracle's key and with a list.
                33005 | 33019 | 33021 => None,
                OFFER | ACCEPT | SIGN => continue,
                _ => Some(Named::Loan([7; 32])),
            };
            assert_eq!(about(kind, &bytes), named, "{kind}");
            assert_eq!(about(kind, &bytes[..33]), None, "{kind} cut short");
        }
        let long: Vec<u8> = (0..100).collect();
        let from = |start: usize| Some(Named::Loan(long[start..start + 32].try_into().unwrap()));
        assert_eq!((about(OFFER, &long), about(ACCEPT, &long), about(SIGN, &long)), (from(37), from(4), None));
    }

    #[test]
    fn a_peers_refusal_is_read_without_what_a_terminal_obeys_and_at_no_great_length() {
        let said = Refused {
            about: [1; 32],
            code: "pol\u{202e}icy\u{1b}[2J".into(),
            message: format!("no\u{1b}]0;t\u{7}\r\nINFO paid {}", "x".repeat(5_000)),
        };
        let (kind, bytes) = Message::Refused(said).write();
        let Ok(Message::Refused(read)) = Message::read(kind, &bytes) else { panic!("a refusal") };
        assert_eq!(read.code, "policy");
        assert!(read.message.starts_with("no]0;t INFO paid xxx") && read.message.ends_with("x…"), "{}", read.message);
        assert_eq!(read.message.chars().count(), SAID + 1);
        println!("bound foreign-text {} characters", SAID + 1);
    }
}

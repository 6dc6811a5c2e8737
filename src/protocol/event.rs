//! What happened to a loan. The log of these, in order, is the only truth about it.

use super::awaiting::LenderStep;
use super::ending::Doing;
use crate::contract::clauses::{Announcements, Clause};
use crate::contract::repay::Source;
use crate::contract::OracleAttestation;
use crate::contract::{Role, Skeleton};
use crate::loan::ltv::MarginLine;
use crate::loan::terms::Terms;
use crate::loan::units::{Cents, Time};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};
use hypothec_oracle::foreign::cleaned;
use serde::{Deserialize, Serialize};

/// A block a transaction stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// A transaction that spends a coin another needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// The coin.
    pub coin: OutPoint,
    /// The transaction.
    pub txid: Txid,
}

/// How an active loan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// One transaction signed by both paid the lender and freed the collateral.
    Repaid,
    /// The lender's receipt freed the collateral.
    Receipt,
    /// The price touched a day's level.
    Liquidated,
    /// The price at the due time settled it.
    Matured,
    /// The oracles were silent a month beyond due.
    FellBack,
    /// The refund of the DLC, a year beyond due.
    Refunded,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Exit::Repaid => "repaid",
            Exit::Receipt => "receipt",
            Exit::Liquidated => "liquidated",
            Exit::Matured => "matured",
            Exit::FellBack => "fallback",
            Exit::Refunded => "refunded",
        })
    }
}

/// A repayment on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repayment {
    /// Who proposed it.
    pub proposer: Role,
    /// The transaction: half-signed by the proposer, or complete.
    pub transaction: Transaction,
    /// The proposer's half for the 2-of-2.
    pub half: Signature,
    /// Spot it was computed at.
    pub price: Cents,
    /// The moment of the debt.
    pub at: Time,
    /// What was owed then.
    pub owed: Cents,
    /// Where the sats come from.
    pub source: Source,
}

/// One thing that happened. What was signed is in the event: replay never signs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The terms are agreed. First event of every loan.
    Agreed {
        /// Our side.
        role: Role,
        /// The other side's node.
        peer: PublicKey,
        /// What was agreed.
        terms: Box<Terms>,
        /// What the clauses are locked to.
        announcements: Box<Announcements>,
        /// Index our keys derive from.
        key_index: [u8; 32],
        /// Our coins set aside for funding (borrower's now, the lender's with `Ready`).
        coins: Vec<OutPoint>,
        /// Lender: the coins the borrower proved. Logs were first written without them.
        #[serde(default)]
        proven: Vec<OutPoint>,
    },
    /// The lender made the coin it will fund from.
    CoinMade { transaction: Transaction },
    /// The lender says what it does before its coin is ready, and until when at the latest.
    LenderStep { step: LenderStep, until: Time },
    /// The lender's coin is confirmed and set aside.
    Ready { coin: OutPoint },
    /// The borrower made the offer.
    Offered {
        #[serde(with = "hex_bytes")]
        offer: Vec<u8>,
    },
    /// The lender accepted the offer and signed its side of every exit.
    Accepted {
        #[serde(with = "hex_bytes")]
        offer: Vec<u8>,
        #[serde(with = "hex_bytes")]
        accept: Vec<u8>,
        fallback: Signature,
        skeleton: Box<Skeleton>,
    },
    /// The borrower verified the accept and signed; the lender can fund from here on.
    Signed {
        #[serde(with = "hex_bytes")]
        accept: Vec<u8>,
        lender_fallback: Signature,
        #[serde(with = "hex_bytes")]
        sign: Vec<u8>,
        fallback: Signature,
        skeleton: Box<Skeleton>,
    },
    /// The lender verified the sign and completed the funding transaction.
    Funded {
        #[serde(with = "hex_bytes")]
        sign: Vec<u8>,
        borrower_fallback: Signature,
        transaction: Transaction,
    },
    /// The funding transaction was seen; `block` when confirmed.
    FundingSeen { transaction: Transaction, block: Option<Block> },
    /// The funding transaction has the confirmations its terms ask for: the loan lives.
    Activated,
    /// A reorganisation took its confirmation back.
    FundingUnconfirmed,
    /// The funding transaction is out of the mempool again, or cannot get in: another, if one was seen, spends a coin of it.
    FundingAway { rival: Option<Spend> },
    /// It is in the mempool again.
    FundingBack,
    /// What both signed is not wanted any more while its funding is in no block, and why: our coin is to be taken back.
    GivenUp {
        reason: String,
        /// What would be lost if the loan came to be all the same, sats. Logs were first written without it.
        #[serde(default)]
        at_stake_sats: u64,
    },
    /// Our funding coin is taken back.
    Withdrawn { transaction: Transaction },
    /// The negotiation ended without a loan.
    Cancelled {
        /// A peer's own words are part of it: cleaned also where an earlier version wrote them down.
        #[serde(deserialize_with = "cleaned")]
        reason: String,
        /// Whose doing it is. Logs were first written without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Doing>,
    },
    /// One of several oracles attested a clause; whether that settles it depends on the others.
    Said { clause: Clause, attestation: OracleAttestation },
    /// Enough oracles (or the lender) attested a clause; the exit they unlock is ready.
    Attested {
        clause: Clause,
        /// By ascending index of their oracles.
        #[serde(alias = "attestation", deserialize_with = "one_or_more")]
        attestations: Vec<OracleAttestation>,
        transaction: Transaction,
    },
    /// The fallback or the refund is due and complete.
    Due { exit: Exit, transaction: Transaction },
    /// A repayment was proposed by us, or completed by us.
    Repaying(Box<Repayment>),
    /// Both sides have signed the repayment: it waits to confirm, since the chain had this height.
    RepaymentCompleted { height: u32 },
    /// A transaction that waits spends one of the complete repayment's coins elsewhere.
    RepaymentRival { txid: Txid },
    /// A repayment does not go ahead, and why; one of ours that is half-signed is to be taken back.
    RepaymentDropped {
        /// As with [`Event::Cancelled`].
        #[serde(deserialize_with = "cleaned")]
        reason: String,
    },
    /// The proposer takes its proposal back by spending its coin elsewhere.
    RepaymentWithdrawn { transaction: Transaction },
    /// The withdrawal of the proposal is final.
    RepaymentGone,
    /// A transaction spends the funding output; `block` when confirmed.
    ExitSeen { exit: Option<Exit>, transaction: Transaction, price: Option<Cents>, block: Option<Block> },
    /// A reorganisation took its confirmation back.
    ExitUnconfirmed,
    /// The exit that waited can never confirm: one of its other coins was spent elsewhere. The loan lives on.
    ExitGone,
    /// The exit is deep enough to be final.
    Closed,
    /// The loan-to-value ratio crossed a line, upwards or (with `None`) back below all.
    Margin { line: Option<MarginLine>, price: Cents },
    /// Due in so many days or less. Said once for each of seven, three and one.
    DueSoon { days: u32 },
}
/// Writes [`Event::name`] and, for its test, the list of all names.
macro_rules! names {
    ($($variant:ident $name:literal,)*) => {
        impl Event {
            /// Its name in logs, answers and messages: the tag under which it is written. Costs nothing, whatever it holds.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$variant { .. } => $name,)*
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[(&str, &str)] = &[$((stringify!($variant), $name),)*];
    };
}

names! {
    Agreed "agreed",
    CoinMade "coin_made",
    LenderStep "lender_step",
    Ready "ready",
    Offered "offered",
    Accepted "accepted",
    Signed "signed",
    Funded "funded",
    FundingSeen "funding_seen",
    Activated "activated",
    FundingUnconfirmed "funding_unconfirmed",
    FundingAway "funding_away",
    FundingBack "funding_back",
    GivenUp "given_up",
    Withdrawn "withdrawn",
    Cancelled "cancelled",
    Said "said",
    Attested "attested",
    Due "due",
    Repaying "repaying",
    RepaymentCompleted "repayment_completed",
    RepaymentRival "repayment_rival",
    RepaymentDropped "repayment_dropped",
    RepaymentWithdrawn "repayment_withdrawn",
    RepaymentGone "repayment_gone",
    ExitSeen "exit_seen",
    ExitUnconfirmed "exit_unconfirmed",
    ExitGone "exit_gone",
    Closed "closed",
    Margin "margin",
    DueSoon "due_soon",
}

/// An event and when it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The node's time. Written under a name that no event's own field has: they share one object.
    #[serde(rename = "recorded_at")]
    pub at: Time,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What each side got from an exit transaction, read off its outputs.
pub fn paid(skeleton: &Skeleton, transaction: &Transaction) -> (Amount, Amount) {
    let sum = |script: &bitcoin::ScriptBuf| {
        transaction
            .output
            .iter()
            .filter(|out| out.script_pubkey == *script)
            .fold(Amount::ZERO, |sum, out| sum.checked_add(out.value).unwrap_or(Amount::MAX_MONEY))
    };
    (sum(&skeleton.lender_script), sum(&skeleton.borrower_script))
}

/// Logs of loans with one oracle were first written with a single attestation.
fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<OracleAttestation>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Attestations {
        More(Vec<OracleAttestation>),
        One(OracleAttestation),
    }
    Ok(match Attestations::deserialize(deserializer)? {
        Attestations::More(attestations) => attestations,
        Attestations::One(attestation) => vec![attestation],
    })
}

/// Bytes as hex text.
mod hex_bytes {
    use bitcoin::hex::{DisplayHex, FromHex};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&bytes.as_hex())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Vec::from_hex(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_wrote_down_of_a_peers_words_is_cleaned_when_it_is_read() {
        let wild = "the lender refused: a\u{1b}[2J\u{202e}b\nc".to_owned();
        let shown = "the lender refused: ab c".to_owned();
        for (written, read) in [
            (Event::Cancelled { reason: wild.clone(), by: None }, Event::Cancelled { reason: shown.clone(), by: None }),
            (Event::RepaymentDropped { reason: wild }, Event::RepaymentDropped { reason: shown }),
        ] {
            let written = serde_json::to_string(&written).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), read);
        }
    }

    #[test]
    fn an_event_has_the_name_under_which_it_is_written() {
        let error = serde_json::from_str::<Event>(r#"{"event":"none_of_them"}"#).unwrap_err().to_string();
        let written: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>(), written);
        for (variant, name) in NAMES {
            assert_eq!(variant.to_lowercase(), name.replace('_', ""));
        }
        assert_eq!(Event::FundingUnconfirmed.name(), "funding_unconfirmed");
    }
}

//! The stable words that say which refusal it is: to a peer in [`Refused`](super::messages::Refused), to a person or
//! program in the API's error.
//!
//! Every word stands here once. What peers say to each other is listed in section 6.1 of docs/PROTOCOL.md, and a test
//! compares the two lists. A word that a later version says is no error: its sentence counts.

use std::fmt;

macro_rules! codes {
    (
        peers: { $($(#[doc = $of_peers:literal])+ $peers:ident = $said:literal,)* }
        own: { $($(#[doc = $of_own:literal])+ $own:ident = $word:literal,)* }
    ) => {
        /// Which refusal it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $($(#[doc = $of_peers])+ $peers,)*
            $($(#[doc = $of_own])+ $own,)*
        }

        impl ErrorCode {
            /// Every word that a node says to a peer.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$peers),*];
            /// The words that only a node's own people and programs hear.
            pub const OWN: &'static [ErrorCode] = &[$(ErrorCode::$own),*];

            /// As it is written.
            pub const fn word(self) -> &'static str {
                match self {
                    $(ErrorCode::$peers => $said,)*
                    $(ErrorCode::$own => $word,)*
                }
            }
        }
    };
}

codes! {
    peers: {
        /// The amounts asked for are out of range.
        Amount = "amount",
        /// The lender approves by hand, and nobody did.
        Approval = "approval",
        /// An oracle has already attested something that the contract rests on.
        Attested = "attested",
        /// Another request of this peer is being answered.
        Busy = "busy",
        /// A person ended the negotiation.
        Cancelled = "cancelled",
        /// Another chain than this node's.
        Chain = "chain",
        /// A coin of the funding transaction is not there or not as it was said to be.
        Coin = "coin",
        /// The coins proved do not do.
        Coins = "coins",
        /// A DLC message is not what the terms make it.
        Contract = "contract",
        /// A person at the lender's said no.
        Declined = "declined",
        /// An oracle of the loan is proved to have contradicted itself.
        Equivocation = "equivocation",
        /// The terms have expired.
        Expired = "expired",
        /// The lender has no more to lend.
        Exposure = "exposure",
        /// The complete funding transaction is not accepted.
        Funding = "funding",
        /// The lender has no free coins for it.
        Inventory = "inventory",
        /// Two of the oracles are keys of one operator.
        OneOperator = "one_operator",
        /// No oracle that both sides trust.
        Oracle = "oracle",
        /// The lender's policy does not allow it.
        Policy = "policy",
        /// The price has moved since the quote.
        PriceMoved = "price_moved",
        /// The receipt does not fit.
        Receipt = "receipt",
        /// The proposed repayment is not what it must be.
        Repayment = "repayment",
        /// An oracle's key is being replaced before the loan is due.
        Rotated = "rotated",
        /// The loan does not stand where this could be done.
        Stage = "stage",
        /// Another negotiation took its place.
        Superseded = "superseded",
        /// The terms are not allowed.
        Terms = "terms",
        /// A touch of the loan is true, or may be.
        Touched = "touched",
        /// Something is away that is needed for it.
        Unavailable = "unavailable",
        /// An oracle this node does not know.
        UnknownOracle = "unknown_oracle",
        /// No such quote is open.
        UnknownQuote = "unknown_quote",
        /// A message of a known type that cannot be read.
        Unreadable = "unreadable",
    }
    own: {
        /// The request cannot be read, or asks for what cannot be.
        BadRequest = "bad_request",
        /// The command failed before it reached a node.
        Failed = "failed",
        /// A fault of the node's own.
        Internal = "internal",
        /// The route has no such method.
        MethodNotAllowed = "method_not_allowed",
        /// The peer is connected and did not answer.
        NoAnswer = "no_answer",
        /// This node knows no oracle.
        NoOracle = "no_oracle",
        /// No repayment is open.
        NoRepayment = "no_repayment",
        /// The system knows no way to the peer.
        NoWay = "no_way",
        /// No such thing.
        NotFound = "not_found",
        /// Nothing listens where the peer is to be.
        NotListening = "not_listening",
        /// The peer is on another bitcoin network.
        OtherNetwork = "other_network",
        /// What answers where the peer is to be speaks another protocol.
        OtherProtocol = "other_protocol",
        /// The quote is not what was asked for.
        Quote = "quote",
        /// It cannot be done as things stand.
        Refused = "refused",
        /// A repayment is under way already.
        Repaying = "repaying",
        /// The other side's business.
        Role = "role",
        /// The loan is being settled.
        Settling = "settling",
        /// Nobody answers where the peer is to be.
        Silent = "silent",
        /// No answer in time.
        TimedOut = "timed_out",
        /// The request's body is too long.
        TooLarge = "too_large",
        /// The peer has the key, and ended the connection at once.
        TurnedAway = "turned_away",
        /// The token is missing or another's.
        Unauthorized = "unauthorized",
        /// The peer's host name leads nowhere.
        UnknownHost = "unknown_host",
        /// The command line cannot be read.
        Usage = "usage",
        /// The peer speaks another version.
        Version = "version",
        /// Another key answers where the peer is to be.
        WrongKey = "wrong_key",
    }
}

impl ErrorCode {
    /// The words that say why a peer did not answer: an asker is told which.
    pub const REACHING: &'static [ErrorCode] = &[
        ErrorCode::Busy,
        ErrorCode::NoAnswer,
        ErrorCode::NoWay,
        ErrorCode::NotListening,
        ErrorCode::OtherNetwork,
        ErrorCode::OtherProtocol,
        ErrorCode::Silent,
        ErrorCode::TurnedAway,
        ErrorCode::UnknownHost,
        ErrorCode::Version,
        ErrorCode::WrongKey,
    ];

    /// The code of a word that this version knows.
    pub fn of(word: &str) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().chain(ErrorCode::OWN).copied().find(|code| code.word() == word)
    }

    /// What a peer is told: what is wrong with this node in detail is not its business.
    pub fn for_peers(self) -> ErrorCode {
        match ErrorCode::OWN.contains(&self) {
            true => ErrorCode::Unavailable,
            false => self,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_is_one_codes_and_reads_back() {
        let all: Vec<ErrorCode> = ErrorCode::ALL.iter().chain(ErrorCode::OWN).copied().collect();
        let words: BTreeSet<&str> = all.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), all.len());
        for code in all {
            assert_eq!(ErrorCode::of(code.word()), Some(code));
            assert!(code.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
            assert!(ErrorCode::ALL.contains(&code.for_peers()));
        }
        assert_eq!(ErrorCode::of("of a later version"), None);
    }

    #[test]
    fn the_protocols_table_of_codes_is_the_programs() {
        let text = include_str!("../../docs/PROTOCOL.md");
        let section = text.split("### 6.1 ").nth(1).expect("section 6.1").split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let written: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let said: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(written, said);
    }
}

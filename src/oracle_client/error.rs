//! What can go wrong with an oracle. Every message names its URL.

use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::bundle::BundleError;
use hypothec_oracle::event::Event;
use hypothec_oracle::operator::LinkError;
use hypothec_oracle::rotation::RotationError;
use hypothec_oracle::units::Time;
use hypothec_oracle::verify::VerifyError;
use hypothec_oracle::wire::{BadSignature, Unheard};

/// Why an oracle's word is not to be had, or not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// The URL is not one.
    #[error("oracle URL {url:?} is not usable: {reason}; it should look like http://127.0.0.1:3939")]
    Url { url: String, reason: String },
    /// Not reached, cut off, or too slow.
    #[error("oracle {url}: no answer to {path}: {reason}; see that it runs, and that this machine reaches it")]
    Unreachable { url: String, path: String, reason: String },
    /// It was asked as much as it answers already, or said that it was too much.
    #[error("oracle {url}: {path} is not asked for now, it was asked a lot already; again in {seconds} s")]
    Crowded { url: String, path: String, seconds: u64 },
    /// It answered with an error.
    #[error("oracle {url}: {path} was refused with status {status}{}", said(code, message))]
    Refused { url: String, path: String, status: u16, code: String, message: String },
    /// It is another program's, without what a loan needs.
    #[error("oracle {url} is no oracle for these loans: it lacks {missing}. Announcements alone are not enough; it must run hypothec-oracle, or serve what docs/PROTOCOL.md says of oracles")]
    Lacks { url: String, missing: String },
    /// More than such an answer can have.
    #[error("oracle {url}: the answer to {path} is longer than {limit} bytes")]
    TooLong { url: String, path: String, limit: usize },
    /// Not the JSON expected.
    #[error("oracle {url}: the answer to {path} cannot be read: {reason}")]
    Unreadable { url: String, path: String, reason: String },
    /// It is another oracle.
    #[error("oracle {url} has the key {found}, but {right} was expected")]
    Key { url: String, found: String, right: String },
    /// A price or low with a bad signature.
    #[error("oracle {url}: {source}")]
    Signature { url: String, source: BadSignature },
    /// An answer about something else.
    #[error("oracle {url}: asked about {asked}, it answered about {answered}")]
    Elsewhere { url: String, asked: String, answered: String },
    /// A bundle that cannot be read.
    #[error("oracle {url}: {source}")]
    Bundle { url: String, source: BundleError },
    /// An announcement or attestation that does not verify.
    #[error("oracle {url}: {source}")]
    Verify { url: String, source: VerifyError },
    /// A relay served something else than the oracle's words.
    #[error("relay {url} served {served}: {wrong}")]
    Served { url: String, served: String, wrong: String },
    /// A hand-over to another key that cannot be believed.
    #[error("oracle {url}: {source}")]
    Rotation { url: String, source: RotationError },
    /// A statement that two keys are one operator's, which cannot be believed.
    #[error("oracle {url}: {source}")]
    Link { url: String, source: LinkError },
    /// Two answers, both signed, that cannot both be true.
    #[error("oracle {key} contradicts itself: {what} is one thing at {places}; trust it no longer")]
    Contradiction { key: XOnlyPublicKey, what: String, places: String },
    /// What it serves of its lows is signed, and of an earlier time.
    #[error("oracle {url}: nothing is heard of the hours from {} to {}, since {}: the lows served are of before. A touch in those hours would not be seen, so nothing is signed by them. Its clock or feed stands still, or somebody between keeps back what it says: ask its operator, and add another place that serves it, `oracle add URL MIRROR`", .unheard.from, .unheard.until, .unheard.since())]
    Unheard { url: String, unheard: Unheard },
    /// It should have said a fixing long since.
    #[error("oracle {url}: it has said no price for {at}, which it says by {by} if ever: it had none then, or somebody between keeps it back. Ask its operator, and add another place that serves it, `oracle add URL MIRROR`; without it the fallback settles 30 days after due, at the price of the loan's first day")]
    NoFixing { url: String, at: Time, by: Time },
    /// Its lows say that the event is true, but it does not attest it.
    #[error("oracle {url}: its own lows make {event} true, but it does not attest it")]
    Withheld { url: String, event: Event },
}

/// What stands behind a status: whoever answers in an oracle's place may say none of it.
fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        (one, "") | ("", one) => format!(": {one}"),
        (code, message) => format!(", {code}: {message}"),
    }
}

impl OracleError {
    /// Was something served that is not the oracle's word, or cannot be read as one?
    pub fn is_false(&self) -> bool {
        match self {
            OracleError::TooLong { .. }
            | OracleError::Unreadable { .. }
            | OracleError::Key { .. }
            | OracleError::Signature { .. }
            | OracleError::Elsewhere { .. }
            | OracleError::Bundle { .. }
            | OracleError::Rotation { .. }
            | OracleError::Link { .. }
            | OracleError::Served { .. }
            | OracleError::Verify { .. } => true,
            OracleError::Url { .. }
            | OracleError::Unreachable { .. }
            | OracleError::Refused { .. }
            | OracleError::Lacks { .. }
            | OracleError::Crowded { .. }
            | OracleError::Contradiction { .. }
            | OracleError::Unheard { .. }
            | OracleError::NoFixing { .. }
            | OracleError::Withheld { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_words_ends_with_its_status() {
        let refused = |code: &str, message: &str| {
            let (url, path) = ("http://127.0.0.1:1".to_owned(), "/v1/spot".to_owned());
            OracleError::Refused { url, path, status: 429, code: code.to_owned(), message: message.to_owned() }
                .to_string()
        };
        assert!(refused("", "").ends_with("was refused with status 429"));
        assert!(refused("", "Too many").ends_with("status 429: Too many"));
        assert!(refused("limited", "ask in 2 s").ends_with("status 429, limited: ask in 2 s"));
    }
}

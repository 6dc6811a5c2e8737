//! Why a contract message, transaction or signature was refused.

use bitcoin::hex::DisplayHex;
use thiserror::Error;

/// One refusal. Every message names the field, the value found and what would be right.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ContractError {
    /// A field of a message is not what the terms say.
    #[error("{message}.{field} is {found}, expected {expected}")]
    Field { message: &'static str, field: &'static str, found: String, expected: String },
    /// The bytes are not a message.
    #[error("the {message} message cannot be read: {reason}")]
    Unreadable { message: &'static str, reason: String },
    /// A signature does not verify.
    #[error("the {which} signature does not verify against {key}")]
    Signature { which: String, key: String },
    /// An attestation does not settle this contract.
    #[error("attestation of {event}: {reason}")]
    Attestation { event: String, reason: String },
    /// The announcements are not those the terms call for.
    #[error("announcement {event}: {reason}")]
    Announcement { event: String, reason: String },
    /// The library refused to build or check a transaction.
    #[error("the contract library refused: {0}")]
    Library(String),
    /// The terms themselves cannot be signed.
    #[error("terms: {0}")]
    Terms(#[from] crate::loan::TermsError),
    /// The amounts or dates cannot be computed.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
}

impl ContractError {
    /// A field that is not as the terms say.
    pub fn field(
        message: &'static str,
        field: &'static str,
        found: impl ToString,
        expected: impl ToString,
    ) -> ContractError {
        ContractError::Field { message, field, found: shortened(found), expected: shortened(expected) }
    }
}

/// What is shown of a value a peer chose: enough to recognise it, never all of a long one, and nothing unseen.
pub(super) fn shortened(value: impl ToString) -> String {
    hypothec_oracle::foreign::clean(&value.to_string())
}

/// Amounts in a row, as people write them; `nothing` where there are none.
pub(super) fn amounts(amounts: &[bitcoin::Amount]) -> String {
    match amounts {
        [] => "nothing".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl From<ddk::contract::ContractError> for ContractError {
    fn from(error: ddk::contract::ContractError) -> ContractError {
        ContractError::Library(shortened(error))
    }
}

impl From<dlc::Error> for ContractError {
    fn from(error: dlc::Error) -> ContractError {
        ContractError::Library(shortened(error))
    }
}

/// Fails with a [`ContractError::Field`] unless `found == expected`. Values are shown as people write them.
pub fn require<T: PartialEq + std::fmt::Display>(
    message: &'static str,
    field: &'static str,
    found: T,
    expected: T,
) -> Result<(), ContractError> {
    if found == expected {
        return Ok(());
    }
    Err(ContractError::field(message, field, found, expected))
}

/// [`require`] for ids and hashes, shown in hex as they stand in messages.
pub fn require_bytes(
    message: &'static str,
    field: &'static str,
    found: &[u8; 32],
    expected: &[u8; 32],
) -> Result<(), ContractError> {
    require(message, field, found.as_hex().to_string(), expected.as_hex().to_string())
}

/// Runs library code on foreign data and turns a panic into a refusal.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, ContractError>) -> Result<T, ContractError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) => Err(ContractError::Library("it stopped in the middle of the message".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_is_shown_cleaned() {
        let shown = ContractError::field("accept", "event", "a\u{1b}[2J\u{202e}b\nc", "d").to_string();
        assert_eq!(shown, "accept.event is ab c, expected d");
        let library = ContractError::from(dlc::Error::InvalidArgument("x\u{9b}31my".into())).to_string();
        assert!(!library.contains('\u{9b}'), "{library}");
    }
}

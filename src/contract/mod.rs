//! The contract: clauses, messages, signatures and transactions of one loan.
//!
//! The sole owner of the DLC libraries. Reads no clock, opens no socket, touches no disk; draws randomness only for
//! signatures and serial ids. Everything foreign is compared with what the terms fix before a library sees it, and
//! library code on foreign data runs behind a guard that turns a panic into a refusal.

pub mod accept;
pub mod adaptor;
pub mod build;
pub mod clauses;
pub mod difference;
pub mod error;
pub mod fallback;
pub mod offer;
pub mod receipt;
pub mod recover;
pub mod refund;
pub mod repay;
pub mod settle;
pub mod sign;
pub mod skeleton;
pub mod unread;
pub mod watcher;
pub mod wire;

pub use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
pub use dlc_messages::{AcceptDlc, OfferDlc, SignDlc};
pub use error::ContractError;
pub use skeleton::Skeleton;

use serde::{Deserialize, Serialize};

/// Which side of a loan a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Locks collateral; the offering party.
    Borrower,
    /// Pays the principal; the accepting party.
    Lender,
}

impl Role {
    /// The other side.
    pub fn other(self) -> Role {
        match self {
            Role::Borrower => Role::Lender,
            Role::Lender => Role::Borrower,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Borrower => "borrower",
            Role::Lender => "lender",
        })
    }
}

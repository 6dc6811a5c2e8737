//! What an operator can say to an oracle, one file each. None of them touches the ledger.

pub mod doctor;
pub mod payment;
pub mod price;
pub mod prove_equivocation;
pub mod rotate;
pub mod signer;
pub mod status;

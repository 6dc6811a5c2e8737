//! What an operator can say to an oracle, or ask of one; one file each. None of them changes the ledger.

pub mod audit;
pub mod backtest;
pub mod doctor;
pub mod import_record;
mod meant;
pub mod payment;
pub mod price;
pub mod prove_equivocation;
pub mod rotate;
pub mod same_operator;
pub mod signer;
pub mod status;
pub mod watermark;

//! The operator's commands, one file each.

pub mod doctor;
pub mod payment;
pub mod prove_equivocation;
pub mod rotate;
pub mod signer;

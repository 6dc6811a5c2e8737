//! What an operator can say to a running oracle. One file each; none of them touches the ledger or the key.

pub mod price;
pub mod status;

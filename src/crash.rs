//! Kill points for the restart stories; the oracle, which has its own, keeps the code.

pub use hypothec_oracle::crash::*;

//! The chain room: what the bitcoin network knows, asked of one full node.
//!
//! It reads blocks, the mempool, coins and fee rates, and hands transactions in. It never holds a key, never signs,
//! never decides whether a loan should act, and never reads a clock: times come from blocks.
//!
//! [`Chain`] is the door: an enum over backends, so that a second one can stand beside [`Bitcoind`] later.
//! [`Follower`] turns the chain into a list of [`ChainEvent`]s in which a reorganisation is said aloud.

mod bitcoind;
mod config;
mod error;
mod follower;
mod package;
mod relays;
mod rpc;
mod silence;
mod view;

pub use bitcoind::{Bitcoind, Chain};
pub use config::{Auth, Config, FeeBounds, CALL_TIMEOUT};
pub use error::{Error, Rejected};
pub use follower::{BlockRef, ChainEvent, Follower};
pub use package::{Child, Family};
pub use rpc::Pulse;
pub(crate) use rpc::Rpc;
pub use view::{Coin, Confirmed, Health, Seen, Tip};

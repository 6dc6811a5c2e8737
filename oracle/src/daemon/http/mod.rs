//! The public listener: reads only. Nothing here can set a price, an outcome or an order of any kind.
//!
//! One file for each group of routes. Around all of them: `listen` bounds connections, `guard` bounds requests by what
//! `tariff` says they take, `paper` says how long an answer lasts.

mod asker;
mod buckets;
mod bundles;
mod counter;
mod events;
mod guard;
mod kormir;
mod listen;
mod meters;
mod own;
mod p2pderivatives;
mod page;
mod paper;
mod refusal;
mod routes;
mod state;
mod tariff;
mod turns;

pub use counter::{info_of, Counter};
pub use guard::{Guard, Limits};
pub use listen::serve;
pub use meters::Meters;
pub use refusal::{behind, signing, Refusal};
pub use routes::router;
pub use state::{readiness, with_signer, Readiness};

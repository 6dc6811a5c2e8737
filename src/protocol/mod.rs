//! The protocol: what a loan is at any moment, what may happen to it next, and what is to be done about it.
//!
//! Events folded into state; decisions from state and input; actions from state alone. Never a clock, a key, a socket
//! or a disk: time comes as an argument, what needs the outside is an action whose result comes back as an input.

pub mod awaiting;
pub mod brief;
pub mod code;
pub mod decide;
pub mod ending;
pub mod event;
#[cfg(test)]
pub mod fixtures;
pub mod given_back;
pub mod messages;
pub mod repaying;
pub mod said;
pub mod stake;
pub mod state;
pub mod todo;
pub mod unfunded;

pub use awaiting::LenderStep;
pub use code::ErrorCode;
pub use decide::{decide, Input, Refusal};
pub use ending::Doing;
pub use event::{Block, Event, Exit, Recorded};
pub use messages::Message;
pub use state::{Loan, Stage};
pub use todo::{todo, Action};

use crate::loan::units::Time;
use serde::{Deserialize, Serialize};

/// What the clocks and the chain say: the arguments of every decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The node's clock.
    pub now: Time,
    /// Median time past of the chain's tip: what locktimes compare with.
    pub median_time: Time,
    /// Height of the chain's tip.
    pub height: u32,
}

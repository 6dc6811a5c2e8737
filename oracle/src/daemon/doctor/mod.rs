//! The doctor: looks at clock, disk, venues, keys, mirrors and relays, and says what is wrong, why it matters and what to do.
//!
//! Changes nothing but a probe file that it takes away again. Signs nothing.

mod ask;
mod clock;
mod disk;
mod finding;
mod keys;
mod live;
mod mirrors;
mod relays;
mod service;
mod venues;

pub use ask::Asker;
pub use clock::{look_at_bitcoind, look_at_clock};
pub use disk::look_at_disk;
pub use finding::{Finding, Level};
pub use keys::{look_at_key_file, look_at_signer, look_at_statements};
pub use live::{look_at_attendance, look_at_live};
pub use mirrors::look_at_mirror;
pub use relays::look_at_relay;
pub use service::look_at_service;
pub use venues::{look_at_venue, WebVenue};

//! The signer: a process of its own that alone holds the key and signs only what policy allows.
//!
//! The daemon faces the network, the signer faces the daemon. A daemon that was taken over can still lie about prices,
//! but it cannot get the key, cannot have two outcomes of one fixing signed (the signer keeps its own durable record),
//! cannot have a fixing signed ahead of its hour, and cannot have a touch signed without stating the low that makes it
//! true, to which it is then held: the signer never signs a day's lows without it.
//!
//! A daemon may hold the key itself. It then does so under the same rules and with the same record, which it locks: of one
//! folder's key there is one record, and one process that signs.
//!
//! Never opens a network socket, never signs a bare digest (of a note for relays it makes the id itself), never signs a
//! rotation.

mod adopt;
mod ask;
mod client;
mod here;
mod keys;
mod record;
mod vault;
mod watch;

pub use adopt::{check, entries};
pub use ask::{Answer, Ask, Say};
pub use client::SignerClient;
pub use here::Here;
pub use keys::Keys;
pub use record::{begin_record, import_record, Record};
pub use vault::Vault;
pub use watch::{Away, Why};

#[cfg(test)]
mod tests;

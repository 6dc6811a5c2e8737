//! The ports that this node listens on, while another program has them.
//!
//! Any user of the machine can take the port of a node that was killed. A node with open loans starts without it: it settles
//! them, dials its peers, and listens as soon as the port is free. One without has nothing to lose, and ends with the reason.

use super::core::Core;
use super::start::replay;
use crate::store::Store;
use std::sync::{Arc, Mutex, PoisonError};

/// What stands in the way of the API, whose server is not the node's. Shared by both.
#[derive(Clone, Debug, Default)]
pub struct ApiTrouble(Arc<Mutex<Option<String>>>);

impl ApiTrouble {
    /// Notes it in a sentence, or that it is over.
    pub fn put(&self, text: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Is there a loan in the store that has not ended?
pub(super) fn has_open_loans(store: &dyn Store) -> anyhow::Result<bool> {
    for stream in store.streams()? {
        if !replay(store, stream)?.has_ended() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Core {
    /// The ports that others have, a sentence each.
    pub(super) fn port_troubles(&self) -> Vec<String> {
        let peers = self.tools.net.not_listening().map(|why| {
            format!(
                "port for peers: {why}, or end the program that has it, which `ss -ltnp` names. Until then no peer can \
                 connect, and this node dials those it knows; it listens there as soon as it can"
            )
        });
        let api = self.api_trouble.get().map(|text| format!("port of the API: {text}"));
        peers.into_iter().chain(api).collect()
    }
}

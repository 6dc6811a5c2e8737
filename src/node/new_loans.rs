//! What keeps this node from beginning any loan: a disk that is nearly full, a bitcoind that would not relay its exits, a fee
//! cap below what relays.
//!
//! Open loans go on with each.

use super::core::Core;
use super::handle::Command;
use super::lending::No;
use super::tools::error;
use super::view::{ErrorView, PreviewRequest};
use crate::protocol::ErrorCode;
use hypothec_oracle::room::{Free, LEAST};

impl Core {
    /// May a loan be begun? For whoever asks elsewhere.
    pub(super) fn begins_loans(&self) -> Result<(), No> {
        let no = |why: &str| Err((ErrorCode::Unavailable, format!("this node begins no new loan: {why}")));
        match self.disk.short {
            Some(_) => no("its disk is nearly full"),
            None if self.troubles.is_no_relay() => no("its bitcoind does not relay the exits of one"),
            None if self.troubles.low_cap().is_some() => no("it pays less for fees than its bitcoind takes"),
            None => Ok(()),
        }
    }

    /// Why not, for whoever asks here.
    fn why_none(&self) -> Option<ErrorView> {
        let text = match self.disk.short {
            Some(free) => {
                let (folder, least) = (self.unlocked.folder().path().display(), Free(LEAST));
                format!("the disk of {folder} is nearly full, {free} are free: no new loan is begun until there are {least}")
            }
            None if self.troubles.is_no_relay() => {
                "this node's bitcoind takes no transactions of version 3, which the exits of a new loan are: none is begun. \
                 See `status`"
                    .into()
            }
            None => format!("no new loan is begun: {}", self.troubles.low_cap()?),
        };
        Some(error(ErrorCode::Unavailable, text))
    }

    /// Refuses what begins a loan while none is begun, and gives back what does not.
    pub(super) fn refuse_new_loan(&self, command: Command) -> Option<Command> {
        let Some(why) = self.why_none() else { return Some(command) };
        // Whoever asked may have gone.
        match command {
            Command::Quote { reply, .. } => drop(reply.send(Err(why))),
            Command::Borrow { reply, .. } | Command::Approve { reply, .. } => drop(reply.send(Err(why))),
            // Whoever would be refused is not asked first.
            Command::Preview { request: PreviewRequest::Borrow { .. } | PreviewRequest::Approve { .. }, reply } => {
                drop(reply.send(Err(why)));
            }
            harmless => return Some(harmless),
        }
        None
    }
}

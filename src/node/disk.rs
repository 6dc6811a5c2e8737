//! The data folder's disk: told of before it is full, and no new loan below what those that are open may still write.
//!
//! Exits, repayments and what is signed already go on to the last byte.

use super::core::{Core, AGAIN};
use super::handle::Command;
use super::lending::No;
use super::tools::error;
use super::view::PreviewRequest;
use crate::protocol::ErrorCode;
use hypothec_oracle::room::{Free, Room, LEAST, LOW};
use std::time::Instant;

/// What it is filed under among the troubles.
const TROUBLE: &str = "disk";

/// How the disk was when it was last looked at.
#[derive(Debug, Default)]
pub struct Disk {
    looked: Option<Instant>,
    short: Option<Free>,
}

impl Core {
    /// Looks at it every few seconds.
    pub(super) fn mind_disk(&mut self) {
        let now = Instant::now();
        if self.disk.looked.is_some_and(|looked| now.duration_since(looked) < AGAIN) {
            return;
        }
        self.disk.looked = Some(now);
        let folder = self.unlocked.folder().path().to_path_buf();
        // A system that does not say how full its disk is says it when it is full.
        let room = Room::at(&folder).unwrap_or(Room::Enough);
        self.disk.short = match room {
            Room::Short(free) => Some(free),
            Room::Low(_) | Room::Enough => None,
        };
        let place = folder.display();
        match room {
            Room::Enough => self.troubles.remove(TROUBLE),
            Room::Low(free) => self.trouble(
                TROUBLE,
                format!(
                    "{free} are free on the disk of {place}: make room. Below {} no new loan is begun, and a node whose \
                     disk is full stops",
                    Free(LEAST)
                ),
            ),
            Room::Short(free) => self.trouble(
                TROUBLE,
                format!(
                    "{free} are free on the disk of {place}: no new loan is begun until there are {}. Open loans go on \
                     while anything is free; make room now, {} of it",
                    Free(LEAST),
                    Free(LOW)
                ),
            ),
        }
    }

    /// Is there room for what a new loan writes? For whoever asks, here or elsewhere.
    pub(super) fn has_disk(&self) -> Result<(), No> {
        match self.disk.short {
            None => Ok(()),
            Some(_) => Err((ErrorCode::Unavailable, "this node begins no new loan: its disk is nearly full".into())),
        }
    }

    /// Refuses what begins a loan while the disk is nearly full, and gives back what does not.
    pub(super) fn refuse_without_disk(&self, command: Command) -> Option<Command> {
        let Some(free) = self.disk.short else { return Some(command) };
        let why = || {
            let (folder, least) = (self.unlocked.folder().path().display(), Free(LEAST));
            let text = format!(
                "the disk of {folder} is nearly full, {free} are free: no new loan is begun until there are {least}"
            );
            error(ErrorCode::Unavailable, text)
        };
        // Whoever asked may have gone.
        match command {
            Command::Quote { reply, .. } => drop(reply.send(Err(why()))),
            Command::Borrow { reply, .. } | Command::Approve { reply, .. } => drop(reply.send(Err(why()))),
            // Whoever would be refused is not asked first.
            Command::Preview { request: PreviewRequest::Borrow { .. } | PreviewRequest::Approve { .. }, reply } => {
                drop(reply.send(Err(why())));
            }
            harmless => return Some(harmless),
        }
        None
    }
}

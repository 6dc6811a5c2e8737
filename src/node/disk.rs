//! The data folder's disk: told of before it is full, and no new loan below what those that are open may still write.
//!
//! Exits, repayments and what is signed already go on to the last byte.

use super::core::{Core, AGAIN};
use hypothec_oracle::room::{Free, Room, LEAST, LOW};
use std::time::Instant;

/// What it is filed under among the troubles.
const TROUBLE: &str = "disk";

/// How the disk was when it was last looked at.
#[derive(Debug, Default)]
pub struct Disk {
    looked: Option<Instant>,
    /// What is free, where that is too little for a new loan.
    pub(super) short: Option<Free>,
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
}

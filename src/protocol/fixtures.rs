//! Loans of this room for tests.

use super::{Event, Loan, Recorded};
use crate::contract::clauses::Announcements;
use crate::contract::{receipt, Role};
use crate::loan::fixtures::{key, reference, secret};
use crate::loan::units::Time;

/// A loan that one side has just agreed to, fifty minutes before its terms expire.
pub fn taken(role: Role) -> Loan {
    let terms = reference();
    let announcements = Announcements { oracles: Vec::new(), receipt: receipt::announce(&terms, &secret(4)).unwrap() };
    let at = Time(terms.expires.0 - 3_000);
    let event = Event::Agreed {
        role,
        peer: key(2),
        announcements: Box::new(announcements),
        key_index: [9; 32],
        coins: Vec::new(),
        proven: Vec::new(),
        terms: Box::new(terms),
    };
    Loan::begin(&Recorded { at, event }).unwrap()
}

//! What the log of a negotiation that came to nothing keeps: who, which terms, what we made for it, and why it ended.
//!
//! Anybody with a coin can begin negotiations and end them, and what is exchanged in one is a thousand times as long as
//! that. Nothing that was ever signed for both is shortened.

use super::event::{Event, Recorded};
use super::state::{Loan, StateError};

/// The shorter log of a loan that was cancelled before anything was signed that could be funded; none where the log is as
/// short as that already, or the loan is another. Folded, it gives the same loan, but for its length.
///
/// # Errors
/// When the log does not fold.
pub fn brief(log: &[Recorded]) -> Result<Option<Vec<Recorded>>, StateError> {
    if !Loan::replay(log)?.came_to_nothing() || log.iter().all(is_brief) {
        return Ok(None);
    }
    Ok(Some(log.iter().filter(|one| is_kept(&one.event)).map(without_announcements).collect()))
}

fn is_kept(event: &Event) -> bool {
    matches!(event, Event::Agreed { .. } | Event::CoinMade { .. } | Event::Ready { .. } | Event::Cancelled { .. })
}

fn is_brief(one: &Recorded) -> bool {
    match &one.event {
        Event::Agreed { announcements, .. } => announcements.oracles.is_empty(),
        event => is_kept(event),
    }
}

fn without_announcements(one: &Recorded) -> Recorded {
    let mut brief = one.clone();
    if let Event::Agreed { announcements, .. } = &mut brief.event {
        announcements.oracles = Vec::new();
    }
    brief
}

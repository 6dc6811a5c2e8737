//! Whose turn it is in a loan, in words.

use super::out::moment;
use crate::api::views::{TurnView, Who};

/// What is done or waited for, and by whom.
pub fn what(turn: &TurnView) -> String {
    match (turn.who, turn.ours) {
        (Who::Chain | Who::Oracles, _) => turn.text.clone(),
        (_, true) => format!("this node's: {}", turn.text),
        (_, false) => format!("the other side's: {}", turn.text),
    }
}

/// Since when, and until when at the latest.
pub fn when(turn: &TurnView) -> String {
    match turn.until {
        Some(until) => format!("since {}, to {} at most", moment(turn.since), moment(until)),
        None => format!("since {}", moment(turn.since)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_said_with_its_times() {
        let text = "the lender prepares its coin".to_owned();
        let turn = TurnView { who: Who::Lender, ours: false, text, since: 1_584_007_200, until: Some(1_584_009_000) };
        assert_eq!(what(&turn), "the other side's: the lender prepares its coin");
        assert_eq!(when(&turn), "since 2020-03-12 10:00 UTC, to 2020-03-12 10:30 UTC at most");
        let own = TurnView { ours: true, until: None, ..turn };
        assert_eq!(what(&own), "this node's: the lender prepares its coin");
        assert_eq!(when(&own), "since 2020-03-12 10:00 UTC");
    }
}

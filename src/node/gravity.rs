//! The order of what needs a person: first the money that is at stake now, then what keeps new business from being done,
//! then what can wait for an evening.

use super::view::{AttentionView, Severity};

/// What it is about, by how it is filed, the gravest first.
const ORDER: [&[&str]; 8] = [
    // A loan ends, or should have.
    &["liquidation ", "exit ", "bringing out the exit ", "settling loan ", "overdue "],
    // Nothing that happens to a loan is seen, or another acts for it.
    &[
        "chain",
        "bitcoind",
        "another chain",
        "reading the chain",
        "clock",
        "second node",
        "signed before the restore",
        "lock of the key",
        "file lock of the key",
    ],
    &["level ", "margin ", "price "],
    &["due "],
    // What settles an open loan, or funds it.
    &["oracle ", "funding ", "loan ", "transaction ", "payment "],
    // What is filed otherwise may be in the way of something that goes on.
    &[],
    // New business.
    &["request ", "fee cap", "relay", "children", "coins", "policy", "port ", "peer ", "fee coin", "restored"],
    // What can wait for an evening.
    &["backup", "wallet", "log", "notify.", "hand-over "],
];
/// Where in it what is filed otherwise stands.
const OTHERWISE: usize = 5;

/// Sorts the list, the gravest first; what is alike stays in its order. What is urgent comes before all.
pub(super) fn sort(list: &mut [AttentionView]) {
    list.sort_by_key(|one| (one.severity != Severity::Urgent, rank(&one.about), std::cmp::Reverse(one.severity)));
}

fn rank(about: &str) -> usize {
    let place = ORDER.iter().position(|kind| kind.iter().any(|begins| about.starts_with(begins)));
    place.unwrap_or(OTHERWISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_at_stake_comes_first_then_new_business_then_housekeeping() {
        let one = |about: &str, severity| AttentionView {
            about: about.to_owned(),
            severity,
            loan_id: None,
            text: String::new(),
        };
        let grave = [
            ("margin 07", Severity::Urgent),
            ("exit of loan 07", Severity::Warning),
            ("overdue 07", Severity::Warning),
            ("chain", Severity::Warning),
            ("margin 08", Severity::Warning),
            ("price 08", Severity::Warning),
            ("due 08", Severity::Warning),
            ("due 09", Severity::Notice),
            ("oracle 1a of 07", Severity::Warning),
            ("disk", Severity::Warning),
            ("fee cap", Severity::Warning),
            ("policy oracle 1a", Severity::Warning),
            ("backup 07", Severity::Warning),
            ("backup", Severity::Warning),
        ];
        let mut list: Vec<_> = grave.iter().map(|(about, severity)| one(about, *severity)).collect();
        list.rotate_left(9);
        list.swap(2, 12);
        sort(&mut list);
        let abouts: Vec<&str> = list.iter().map(|one| one.about.as_str()).collect();
        assert_eq!(abouts, grave.map(|(about, _)| about));
    }
}

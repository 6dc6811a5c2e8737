//! What becomes of a child that was signed for an exit: it stays, it is handed in again, or another is made.
//!
//! One that is in no mempool is handed in for what would be paid now, whatever it was made for: bitcoind may have refused
//! it for days while what was wanted rose, and takes it in the end.

use super::bump::{bump, Bump, Paid, Waiting};

/// A child that waits outside the mempool is made anew where it pays more than so many fourths of what is wanted now.
const SLACK_FOURTHS: u64 = 5;

/// What becomes of our child at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is in the mempool and pays enough, or none is wanted.
    Nothing,
    /// The one that was signed is handed in.
    Same,
    /// Another is signed, and handed in.
    Other(Bump),
}

/// What becomes of our child as it was last signed. In the mempool (`is_out`) it is replaced by dearer ones only. One that is
/// in none is bound to nothing: what is wanted now is asked as if there were none, and it is handed in for that, or a
/// little more.
pub fn next(waiting: &Waiting, is_out: bool) -> Next {
    let Some(ours) = waiting.ours else { return bump(waiting).map_or(Next::Nothing, Next::Other) };
    if is_out {
        return bump(waiting).map_or(Next::Nothing, Next::Other);
    }
    let Some(now) = bump(&Waiting { ours: None, ..*waiting }) else { return Next::Nothing };
    let most = now.fee.to_sat().saturating_mul(SLACK_FOURTHS) / 4;
    match ours.fee.to_sat() > most {
        true => Next::Other(now),
        // Others may have it: a dearer one takes its place there too.
        false => bump(waiting).map_or(Next::Same, Next::Other),
    }
}

/// Was the exit refused in this package, its child with it where one was handed in, for something that no dearer child would change? Where a mempool counts the two
/// apart, what the exit pays alone is below its minimum whatever the child pays; and where the minimum is above the cap, no
/// child may pay it.
pub(super) fn is_in_vain(waiting: &Waiting, reason: &str, package: Paid) -> bool {
    match is_of_minimum(reason) {
        // The estimate is no less than the minimum, but where the cap is.
        true => package.pays(waiting.estimate.min(waiting.cap), 10),
        false => !says(reason, &["fee", "rbf", "replace", "mempool full"]),
    }
}

/// Why an exit is refused, for people: with what they have set themselves, where that is in the way. `minimum` is what their
/// mempool takes at least, sat/vB.
pub fn why(waiting: &Waiting, reason: String, minimum: u64) -> String {
    match is_of_minimum(&reason) && waiting.estimate >= waiting.cap {
        true => {
            let (cap, least) = (waiting.cap, minimum.max(waiting.cap.saturating_add(1)));
            format!(
                "{reason}, and `[fees] cap` lets exit and child pay {cap} sat/vB at most: raise `[fees] cap` to {least} at \
                 least"
            )
        }
        false => reason,
    }
}

/// Is it that less is paid than a mempool takes?
fn is_of_minimum(reason: &str) -> bool {
    says(reason, &["min relay fee", "mempool min fee"])
}

fn says(reason: &str, words: &[&str]) -> bool {
    let reason = reason.to_ascii_lowercase();
    words.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::bump::tests::{any_waiting, sat, touch};
    use super::super::bump::{Theirs, CHILD};
    use super::*;
    use crate::contract::Role;
    use proptest::prelude::*;

    #[test]
    fn a_child_in_no_mempool_is_handed_in_for_what_is_wanted_now_and_one_that_is_there_never_pays_less() {
        let child = |fee| Some(Paid { fee: sat(fee), size: CHILD });
        let after = |fee, is_out, waiting: Waiting| next(&Waiting { ours: child(fee), ..waiting }, is_out);
        let plain = |fee| Next::Other(Bump { fee: sat(fee), with_reserve: false });
        let wanted = 50 * 280 - 4_250;
        assert_eq!(next(&touch(), false), plain(wanted));
        assert_eq!([wanted, wanted * 5 / 4].map(|fee| after(fee, false, touch())), [Next::Same; 2], "or a little more");
        assert_eq!(after(wanted * 5 / 4 + 1, false, touch()), plain(wanted), "fees have fallen");
        assert_eq!(after(wanted - 1, false, touch()), plain(wanted + CHILD - 1), "they have risen");
        let relayed = Waiting { is_relayed: true, ..touch() };
        assert_eq!([wanted, 10 * wanted].map(|fee| after(fee, true, relayed)), [Next::Nothing; 2]);
        // Nothing is wanted any more: the exit pays by itself, or the other side pays for it.
        let calm = Waiting { estimate: 25, is_relayed: true, ..touch() };
        assert_eq!(after(wanted, false, calm), Next::Nothing);
        let theirs = Paid { fee: sat(wanted), size: CHILD };
        let theirs = Some(Theirs { child: theirs, package: touch().exit.with(theirs) });
        for is_truc in [false, true] {
            let beside = Waiting { theirs, is_truc, role: Role::Borrower, blocks: 2, ..relayed };
            assert_eq!(after(20 * wanted, false, beside), Next::Nothing);
        }
        // Where the other side's stands beside it, as version 3's rules would not have it, ours still counts.
        assert_eq!(after(2 * wanted, true, Waiting { theirs, blocks: 3, ..relayed }), Next::Nothing);
    }

    #[test]
    fn a_package_is_refused_in_vain_where_it_pays_the_minimum_or_no_fee_is_meant() {
        let child = |rate: u64| Paid { fee: sat(rate * 280 - 4_250), size: CHILD };
        let vain = |reason: &str, rate| is_in_vain(&touch(), reason, touch().exit.with(child(rate)));
        assert!(vain("min relay fee not met, 4250 < 8500", 50) && !vain("min relay fee not met, 4250 < 8500", 49));
        assert!(vain("mempool min fee not met", 50) && vain("version", 20) && vain("missing-inputs", 50));
        assert!(!vain("insufficient fee, rejecting replacement", 50) && !vain("package RBF failed", 50));
        assert!(!vain("mempool full", 50));
    }

    #[test]
    fn a_minimum_above_ones_own_cap_is_told_with_the_cap_and_no_block_counts_until_it_is_raised() {
        let reason = "min relay fee not met, 4250 < 8450";
        let child = Paid { fee: sat(40 * 280 - 4_250), size: CHILD };
        let capped = Waiting { estimate: 40, cap: 40, ..touch() };
        assert!(is_in_vain(&capped, reason, capped.exit.with(child)));
        let told = why(&capped, reason.to_owned(), 50);
        assert!(
            told.starts_with(reason)
                && told.ends_with(
                    "`[fees] cap` lets exit and child pay 40 sat/vB at most: raise `[fees] cap` to 50 at least"
                )
        );
        assert_eq!(why(&capped, "version".to_owned(), 50), "version");
        // It is raised: the child that was signed pays too little, and another brings the exit in.
        let raised = Waiting { estimate: 50, cap: 500, ..touch() };
        assert!(!is_in_vain(&raised, reason, raised.exit.with(child)));
        assert_eq!(why(&raised, reason.to_owned(), 50), reason);
    }

    proptest! {
        /// A child that is in no mempool never costs more than a quarter above what one made now would.
        #[test]
        fn what_is_handed_in_pays_for_now_and_not_for_what_once_was_wanted(waiting in any_waiting()) {
            let fee = match next(&waiting, false) {
                Next::Nothing => return Ok(()),
                Next::Same => waiting.ours.unwrap().fee,
                Next::Other(bump) => bump.fee,
            };
            let now = bump(&Waiting { ours: None, ..waiting }).unwrap().fee;
            let slack = now.to_sat() * SLACK_FOURTHS / 4;
            // One that takes the place of the last, in other mempools, is dearer by a step.
            let replaces = waiting.ours.filter(|ours| ours.fee.to_sat() <= slack && fee > ours.fee);
            prop_assert!(fee.to_sat() <= slack || replaces.is_some_and(|_| matches!(next(&waiting, false), Next::Other(_))));
        }
    }
}

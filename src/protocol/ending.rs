//! Whose doing it is that a negotiation came to nothing: what a lender holds against the borrower's coins, and what not.
//!
//! A borrower shows a coin in vain where it goes away, spends the coin, refuses or lets the time lapse. What a person at
//! the lender's decided, what the lender lacked, and what price and oracles did is not held against it. What a borrower
//! could bring about at will, and only the borrower's word speaks for another cause, is.

use super::awaiting::coin_deadline;
use super::state::{Loan, Stage};
use super::ErrorCode;
use crate::contract::Role;
use crate::loan::terms::Terms;
use crate::loan::units::Time;
use crate::settlement::deadline::COIN_PATIENCE;
use serde::{Deserialize, Serialize};

/// Who answers within this time kept nobody waiting, seconds: its node is there, and does its part by itself.
pub const PROMPT: u32 = 60;
/// Who was given less time than this, with the other side there, has not let it lapse, seconds.
pub const FAIR: u32 = 600;

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// The borrower's: its coins were shown in vain.
    Borrower,
    /// The lender's.
    Lender,
    /// Nobody's of the two: the price's, or the oracles'.
    Nobody,
}

impl Doing {
    /// What a side did.
    pub fn of(role: Role) -> Doing {
        match role {
            Role::Borrower => Doing::Borrower,
            Role::Lender => Doing::Lender,
        }
    }
}

/// How a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// A person here ended it.
    ByHand,
    /// This node refused what the other side said, for this.
    WeRefused(ErrorCode),
    /// The other side refused or ended it, with this word.
    TheyRefused(&'a str),
    /// Its borrower promised the same coins to another loan.
    Superseded,
    /// A coin it needs was spent elsewhere: one of ours, or the other side's.
    Spent { ours: bool },
    /// The lender's coin was not ready in time.
    CoinLate,
    /// The terms expired.
    Expired,
}

/// What this node knows besides the loan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its clock.
    pub now: Time,
    /// Since when it has run without a stop.
    pub runs_since: Time,
    /// The first and the last time in this stage that it could not answer the other side, or bring out what both signed, for
    /// a lack of its own.
    pub held_up: Option<(Time, Time)>,
    /// Is its own price near the quote's? Nothing where it has none.
    pub is_near: Option<bool>,
}

impl Known {
    /// Since when the other side could have done its part.
    fn since(&self, loan: &Loan) -> Time {
        loan.since.max(self.runs_since)
    }

    /// Did the other side do its part at once, so that the delay is not its?
    fn was_prompt(&self, loan: &Loan) -> bool {
        let since = self.since(loan);
        self.now.since(since) <= PROMPT || self.held_up.is_some_and(|(first, _)| first.since(since) <= PROMPT)
    }

    /// Was this node stopped, or held up, within a minute of the stage's beginning?
    fn could_not_bring_out(&self, loan: &Loan) -> bool {
        let held = |(first, _): (Time, Time)| first.since(loan.since) <= PROMPT;
        self.runs_since > loan.since || self.held_up.is_some_and(held)
    }

    /// Was this node in the way from the first to the last, or is it back too short a while?
    fn is_to_blame(&self, loan: &Loan) -> bool {
        let since = self.since(loan);
        let held = |(first, last): (Time, Time)| first.since(since) <= PROMPT && self.now.since(last) <= PROMPT;
        // Whoever had this node's answer kept it waiting before that: only what began here anew, or late for this side's sake,
        // was given too little time.
        let began_late = loan.stage != Stage::Accepted || self.runs_since > loan.since;
        self.held_up.is_some_and(held) || began_late && self.now.since(since) < FAIR
    }
}

/// Said of a negotiation whose terms expired.
pub fn expired(terms: &Terms) -> String {
    format!("the terms expired at {}", terms.expires)
}

/// Whose doing an end is.
pub fn whose(loan: &Loan, ending: Ending, known: &Known) -> Doing {
    let (us, them) = (Doing::of(loan.role), Doing::of(loan.role.other()));
    match ending {
        Ending::ByHand => us,
        Ending::Superseded => Doing::Borrower,
        Ending::Spent { ours: true } if is_driven_out(loan, known) => Doing::Borrower,
        Ending::Spent { ours } => {
            if ours {
                us
            } else {
                them
            }
        }
        Ending::CoinLate => Doing::Lender,
        Ending::Expired => lapsed(loan, known),
        Ending::WeRefused(code) => we_refused(loan, code, known),
        Ending::TheyRefused(word) => match loan.role {
            Role::Lender => borrower_refused(loan, ErrorCode::of(word), known),
            Role::Borrower => lender_refused(loan, ErrorCode::of(word), known),
        },
    }
}

/// Does a lender's node take its coin back because nobody's mempool has had what both signed for a minute, or because the
/// borrower has kept it out, or taken it out, by spending a coin of its own? A borrower that does that for a moment brings
/// both about. Where no such spend was seen and the price moved, the lender's node chose that end; and where it was stopped,
/// or without its bitcoind, in that minute, nobody else could bring the transaction out for it.
fn is_driven_out(loan: &Loan, known: &Known) -> bool {
    let by_itself = loan.unfunded.was_given_up_by_price() || known.could_not_bring_out(loan);
    let never_out = loan.stage == Stage::Funded && !by_itself;
    let given_up = loan.role == Role::Lender && loan.unfunded.given_up().is_some();
    given_up && (never_out || loan.unfunded.was_displaced_by_them())
}

/// Did the borrower take the quote when less was left of it than the lender's coin may need? Then it has brought it about
/// that the time is over, and a lender that quotes freely would make coins for it without end.
fn was_taken_late(loan: &Loan) -> bool {
    loan.agreed_at.plus(COIN_PATIENCE).is_none_or(|ready| ready > loan.terms.expires)
}

/// Who let the time pass.
fn lapsed(loan: &Loan, known: &Known) -> Doing {
    let (us, them) = (Doing::of(loan.role), Doing::of(loan.role.other()));
    match (loan.stage, loan.role) {
        _ if was_taken_late(loan) => Doing::Borrower,
        (Stage::Agreed | Stage::Preparing, _) => Doing::Lender,
        _ if known.is_to_blame(loan) => us,
        _ => them,
    }
}

fn we_refused(loan: &Loan, code: ErrorCode, known: &Known) -> Doing {
    use ErrorCode as Code;
    let (us, them) = (Doing::of(loan.role), Doing::of(loan.role.other()));
    match code {
        Code::Equivocation | Code::OneOperator | Code::Oracle | Code::Rotated | Code::UnknownOracle => Doing::Nobody,
        // Whoever waits until the price has moved brings that about.
        Code::Attested | Code::PriceMoved | Code::Touched if known.was_prompt(loan) => Doing::Nobody,
        Code::Approval | Code::Declined | Code::Exposure | Code::Inventory | Code::Policy | Code::Unavailable => us,
        Code::Expired => lapsed(loan, known),
        _ => them,
    }
}

/// A borrower's word alone frees its coins of nothing.
fn borrower_refused(loan: &Loan, code: Option<ErrorCode>, known: &Known) -> Doing {
    match code {
        Some(ErrorCode::PriceMoved) if known.is_near == Some(false) && known.was_prompt(loan) => Doing::Nobody,
        Some(ErrorCode::Expired) => match coin_deadline(loan) {
            _ if was_taken_late(loan) => Doing::Borrower,
            // The two clocks differ a little.
            Some(until) if known.now >= Time(until.0.saturating_sub(PROMPT)) => Doing::Lender,
            Some(_) => Doing::Borrower,
            None => lapsed(loan, known),
        },
        _ => Doing::Borrower,
    }
}

/// What a borrower takes a lender to hold against it.
fn lender_refused(loan: &Loan, code: Option<ErrorCode>, known: &Known) -> Doing {
    use ErrorCode as Code;
    match code {
        // Never begun there.
        Some(Code::Coins) if loan.stage == Stage::Agreed && loan.lender_step.is_none() => Doing::Lender,
        Some(Code::Coin | Code::Coins | Code::Contract | Code::Funding | Code::Superseded | Code::Unreadable)
        | None => Doing::Borrower,
        Some(Code::Expired) => lapsed(loan, known),
        Some(
            Code::Attested
            | Code::Equivocation
            | Code::OneOperator
            | Code::Oracle
            | Code::PriceMoved
            | Code::Rotated
            | Code::Touched
            | Code::UnknownOracle,
        ) => Doing::Nobody,
        Some(_) => Doing::Lender,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::Spend;
    use crate::protocol::fixtures::taken;
    use crate::protocol::unfunded::Unfunded;
    use bitcoin::hashes::Hash;
    use bitcoin::{Amount, OutPoint, Txid};

    /// The moment a stage began in these tests, and the start of the node long before.
    const SINCE: u32 = 1_000_000;

    fn at(role: Role, stage: Stage) -> Loan {
        let mut loan = taken(role);
        loan.terms.expires = Time(SINCE + 3_000);
        Loan { stage, since: Time(SINCE), agreed_at: Time(SINCE), ..loan }
    }

    fn outpoint(vout: u32) -> OutPoint {
        OutPoint { txid: Txid::all_zeros(), vout }
    }

    /// So many seconds after the stage began.
    fn after(seconds: u32) -> Known {
        Known { now: Time(SINCE + seconds), runs_since: Time(SINCE - 90_000), held_up: None, is_near: Some(true) }
    }

    fn held_up(first: u32, last: u32, now: u32) -> Known {
        Known { held_up: Some((Time(SINCE + first), Time(SINCE + last))), ..after(now) }
    }

    #[test]
    fn of_every_way_a_negotiation_ends_at_the_lenders_only_the_borrowers_own_counts_against_its_coins() {
        use Ending::{ByHand, CoinLate, Expired, Spent, Superseded, TheyRefused, WeRefused};
        let restarted = |seconds: u32, ago: u32| Known { runs_since: Time(SINCE + seconds - ago), ..after(seconds) };
        let far = |seconds| Known { is_near: Some(false), ..after(seconds) };
        #[rustfmt::skip]
        let table: &[(&str, Stage, Ending, Known, bool)] = &[
            ("a person at the lender's gives it up",        Stage::Agreed,    ByHand, after(5), false),
            ("the same when it has signed",                 Stage::Funded,    ByHand, after(5), false),
            ("the lender's coin is not ready",              Stage::Agreed,    CoinLate, after(1_801), false),
            ("its coin waits for a block too long",         Stage::Preparing, CoinLate, after(1_801), false),
            ("its coin is spent elsewhere",                 Stage::Ready,     Spent { ours: true }, after(5), false),
            ("its person takes back what is signed",        Stage::Funded,    Spent { ours: true }, after(5), false),
            ("its oracle contradicts itself",               Stage::Ready,     WeRefused(ErrorCode::Equivocation), after(5), false),
            ("its oracle's key is replaced",                Stage::Accepted,  WeRefused(ErrorCode::Rotated), after(5), false),
            ("the price moved and the borrower was prompt", Stage::Ready,     WeRefused(ErrorCode::PriceMoved), after(60), false),
            ("the price moved while the borrower waited",   Stage::Ready,     WeRefused(ErrorCode::PriceMoved), after(61), true),
            ("the same for its sign",                       Stage::Accepted,  WeRefused(ErrorCode::PriceMoved), after(61), true),
            ("the price moved while the oracle was silent", Stage::Ready,     WeRefused(ErrorCode::PriceMoved), held_up(3, 900, 903), false),
            ("the price moved while the lender was away",   Stage::Ready,     WeRefused(ErrorCode::PriceMoved), restarted(900, 5), false),
            ("a level is attested, the borrower prompt",    Stage::Ready,     WeRefused(ErrorCode::Attested), after(5), false),
            ("the borrower's node refuses a moved price",   Stage::Accepted,  TheyRefused("price_moved"), far(5), false),
            ("it says so and the price is where it was",    Stage::Accepted,  TheyRefused("price_moved"), after(5), true),
            ("it says so without a price to compare",       Stage::Accepted,  TheyRefused("price_moved"), Known { is_near: None, ..after(5) }, true),
            ("it says so after waiting for that",           Stage::Accepted,  TheyRefused("price_moved"), far(61), true),
            ("a person at the borrower's gives it up",      Stage::Accepted,  TheyRefused("cancelled"), after(5), true),
            ("the borrower says the lender's coin is gone", Stage::Accepted,  TheyRefused("coin"), after(5), true),
            ("the borrower says the oracle lied",           Stage::Ready,     TheyRefused("equivocation"), after(5), true),
            ("the borrower says anything else",             Stage::Ready,     TheyRefused("of a later version"), after(5), true),
            ("the borrower waited for the coin to the end", Stage::Agreed,    TheyRefused("expired"), after(1_790), false),
            ("the borrower did not wait for the coin",      Stage::Agreed,    TheyRefused("expired"), after(1_700), true),
            ("the borrower spends its coin",                Stage::Ready,     Spent { ours: false }, after(5), true),
            ("the borrower spends it when both signed",     Stage::Funded,    Spent { ours: false }, after(5), true),
            ("the borrower promises it elsewhere",          Stage::Ready,     Superseded, after(5), true),
            ("the borrower's offer is no offer",            Stage::Ready,     WeRefused(ErrorCode::Contract), after(5), true),
            ("the borrower's message cannot be read",       Stage::Accepted,  WeRefused(ErrorCode::Unreadable), after(5), true),
            ("what it offers is spent",                     Stage::Ready,     WeRefused(ErrorCode::Coin), after(5), true),
            ("what both signed is not accepted",            Stage::Accepted,  WeRefused(ErrorCode::Funding), after(5), true),
            ("the borrower never offers",                   Stage::Ready,     Expired, after(3_001), true),
            ("the borrower never signs",                    Stage::Accepted,  Expired, after(3_001), true),
            ("it offers at last, too late",                 Stage::Ready,     WeRefused(ErrorCode::Expired), after(3_001), true),
            ("the lender's oracle is silent to the end",    Stage::Ready,     Expired, held_up(3, 2_990, 3_001), false),
            ("it was silent, and the borrower went away",   Stage::Ready,     Expired, held_up(3, 900, 3_001), true),
            ("the borrower came when it was silent",        Stage::Ready,     Expired, held_up(2_900, 2_990, 3_001), true),
            ("the lender was shut down",                    Stage::Ready,     Expired, restarted(3_001, 599), false),
            ("the lender came back and waited",             Stage::Ready,     Expired, restarted(3_001, 600), true),
            ("it offered at the last moment, and no sign",  Stage::Accepted,  Expired, after(551), true),
            ("the lender was shut down when it had signed", Stage::Accepted,  Expired, restarted(3_001, 599), false),
            ("the coin was ready at the last moment",       Stage::Ready,     Expired, after(599), false),
            ("the lender's coin was never ready",           Stage::Preparing, Expired, after(3_001), false),
        ];
        for (name, stage, ending, known, counts) in table {
            let doing = whose(&at(Role::Lender, *stage), *ending, known);
            assert_eq!(doing == Doing::Borrower, *counts, "{name}: {doing:?}");
            println!("{} {name}", if *counts { "counts" } else { "free  " });
        }
        // The lender's node gives up what both signed and no mempool has.
        let mut unfunded = Unfunded::default();
        unfunded.give_up("late".into(), bitcoin::Amount::ZERO);
        let given_up = Loan { unfunded: unfunded.clone(), ..at(Role::Lender, Stage::Funded) };
        assert_eq!(whose(&given_up, Spent { ours: true }, &after(65)), Doing::Borrower);
        // Nobody but the lender can bring it out: not while its bitcoind is away or its node stopped.
        for (known, doing) in [
            (held_up(5, 64, 65), Doing::Lender),
            (held_up(60, 61, 90), Doing::Lender),
            (held_up(61, 64, 65), Doing::Borrower),
            (restarted(900, 5), Doing::Lender),
        ] {
            assert_eq!(whose(&given_up, Spent { ours: true }, &known), doing, "{known:?}");
        }
        // What the price makes it do is the price's, unless the borrower was seen to keep it out, before that or after.
        let mut moved = Loan { unfunded: Unfunded::default(), ..at(Role::Lender, Stage::Funded) };
        moved.unfunded.give_up("spot".into(), Amount::from_sat(1));
        moved.unfunded.give_up("late".into(), Amount::ZERO);
        assert_eq!(whose(&moved, Spent { ours: true }, &after(5)), Doing::Lender);
        let rival = |vout| Some(Spend { coin: outpoint(vout), txid: Txid::all_zeros() });
        moved.unfunded.left(rival(1), &[outpoint(1)], Time(SINCE + 5));
        assert_eq!(whose(&moved, Spent { ours: true }, &after(5)), Doing::Lender, "its own coin was spent");
        moved.unfunded.left(rival(2), &[outpoint(1)], Time(SINCE + 6));
        assert_eq!(whose(&moved, Spent { ours: true }, &after(6)), Doing::Borrower);
        // Once it is out, the price alone makes it do that.
        let out = Loan { unfunded, ..at(Role::Lender, Stage::Confirming) };
        assert_eq!(whose(&out, Spent { ours: true }, &after(65)), Doing::Lender);
    }

    #[test]
    fn a_lender_whose_funding_the_borrower_displaced_holds_its_own_withdrawal_against_the_borrowers_coins() {
        let doing = |coin: Option<OutPoint>| {
            let coins = vec![outpoint(1)];
            let mut loan = Loan { coins, ..at(Role::Lender, Stage::Confirming) };
            let rival = coin.map(|coin| Spend { coin, txid: Txid::all_zeros() });
            loan.unfunded.left(rival, &[outpoint(1)], Time(SINCE));
            loan.unfunded.give_up("a minute away".into(), Amount::ZERO);
            whose(&loan, Ending::Spent { ours: true }, &after(61))
        };
        assert_eq!(doing(Some(outpoint(2))), Doing::Borrower, "its coin was spent elsewhere");
        assert_eq!(doing(Some(outpoint(1))), Doing::Lender, "the lender's was");
        assert_eq!(doing(None), Doing::Lender, "it left the mempool by itself");
    }

    #[test]
    fn a_quote_that_is_taken_when_the_lenders_coin_has_no_time_left_is_its_borrowers_to_lose() {
        let left = |seconds: u32, stage: Stage| {
            let loan = at(Role::Lender, stage);
            Loan { agreed_at: Time(loan.terms.expires.0 - seconds), since: Time(loan.terms.expires.0 - 5), ..loan }
        };
        let over = Known { now: Time(SINCE + 3_001), ..after(0) };
        for stage in [Stage::Agreed, Stage::Preparing, Stage::Ready] {
            for (seconds, doing) in [(COIN_PATIENCE, Doing::Lender), (COIN_PATIENCE - 1, Doing::Borrower)] {
                let loan = left(seconds, stage);
                assert_eq!(whose(&loan, Ending::Expired, &over), doing, "{stage:?}, {seconds} s left");
                let said = whose(&loan, Ending::TheyRefused("expired"), &over);
                assert_eq!(said, doing, "{stage:?}, {seconds} s left, and the borrower says so");
            }
        }
        let own = whose(&left(10, Stage::Agreed), Ending::ByHand, &over);
        assert_eq!(own, Doing::Lender, "what the lender ends by hand stays its own");
    }

    #[test]
    fn every_word_of_refusal_is_somebodys_or_nobodys_and_a_borrowers_word_alone_frees_nothing() {
        for code in ErrorCode::ALL {
            let word = Ending::TheyRefused(code.word());
            let doing = whose(&at(Role::Lender, Stage::Ready), word, &after(700));
            assert_eq!(doing, Doing::Borrower, "{code} said by a borrower");
            let doing = whose(&at(Role::Borrower, Stage::Offered), word, &after(700));
            let against = ["coin", "coins", "contract", "funding", "superseded", "unreadable"];
            assert_eq!(doing == Doing::Borrower, against.contains(&code.word()), "{code} said by a lender: {doing:?}");
        }
        assert_eq!(
            whose(&at(Role::Borrower, Stage::Agreed), Ending::TheyRefused("coins"), &after(1)),
            Doing::Lender,
            "what a lender never took up it does not count"
        );
    }
}

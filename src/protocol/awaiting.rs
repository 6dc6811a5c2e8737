//! The wait for the lender's coin: what the lender says of its part, and when either side gives it up.
//!
//! The borrower's coins are set aside meanwhile, and the lender's. Each side counts by its own clock, so that a silent one
//! holds nobody.

use super::decide::cancelled;
use super::ending::Ending;
use super::event::Event;
use super::state::{Loan, Stage};
use super::Moment;
use crate::contract::Role;
use crate::loan::units::Time;
use crate::settlement::deadline::COIN_PATIENCE;
use serde::{Deserialize, Serialize};

/// What the lender does with a quote that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LenderStep {
    /// A person at the lender's decides.
    Decides,
    /// It finds or makes its coin.
    PreparesCoin,
}

impl LenderStep {
    /// As it travels.
    pub fn number(self) -> u8 {
        match self {
            LenderStep::Decides => 0,
            LenderStep::PreparesCoin => 1,
        }
    }

    /// The step of a number.
    pub fn of(number: u8) -> Option<LenderStep> {
        [LenderStep::Decides, LenderStep::PreparesCoin].into_iter().find(|step| step.number() == number)
    }
}

/// What the lender said it does, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// What.
    pub step: LenderStep,
    /// Until when at the latest.
    pub until: Time,
    /// Since when.
    pub since: Time,
}

/// Borrower: the lender says what it does. Each step is written down once, in its order, and is never given longer than
/// the terms, or than a coin may take.
pub fn lender_step(loan: &Loan, step: LenderStep, until: Time, moment: Moment) -> Vec<Event> {
    if loan.role != Role::Borrower || loan.stage != Stage::Agreed {
        return Vec::new();
    }
    let is_news = match (loan.lender_step.map(|known| known.step), step) {
        (None, _) | (Some(LenderStep::Decides), LenderStep::PreparesCoin) => true,
        (Some(_), _) => false,
    };
    let longest = match step {
        LenderStep::Decides => loan.terms.expires,
        LenderStep::PreparesCoin => moment.now.plus(COIN_PATIENCE).unwrap_or(loan.terms.expires),
    };
    let until = until.min(longest).min(loan.terms.expires);
    is_news.then_some(Event::LenderStep { step, until }).into_iter().collect()
}

/// Until when the lender's coin is waited for; `None` where it is not, or no more.
pub fn coin_deadline(loan: &Loan) -> Option<Time> {
    let alone = || loan.agreed_at.plus(COIN_PATIENCE).unwrap_or(loan.terms.expires);
    let until = match (&loan.stage, loan.role) {
        (Stage::Agreed, Role::Borrower) => loan.lender_step.map_or_else(alone, |known| known.until),
        (Stage::Agreed | Stage::Preparing, Role::Lender) => alone(),
        _ => return None,
    };
    Some(until.min(loan.terms.expires))
}

/// Ends a negotiation whose lender's coin was waited for long enough.
pub fn on_tick(loan: &Loan, moment: Moment) -> Option<Event> {
    let until = coin_deadline(loan).filter(|until| moment.now > *until)?;
    let reason = match loan.lender_step.map(|known| known.step) {
        Some(LenderStep::Decides) => {
            format!("nobody at the lender's decided by {until}; ask for a new quote, or another lender")
        }
        _ => format!("the lender's coin was not ready by {until}; ask for a new quote, or another lender"),
    };
    Some(cancelled(loan, reason, Ending::CoinLate, moment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixtures::taken;
    use crate::protocol::{decide, Input, Recorded};

    fn after(loan: &Loan, seconds: u32) -> Moment {
        Moment { now: loan.agreed_at.plus(seconds).unwrap(), ..Moment::default() }
    }

    fn told(loan: Loan, input: Input, seconds: u32) -> Loan {
        let moment = after(&loan, seconds);
        let events = decide(&loan, input, moment).unwrap();
        events.into_iter().fold(loan, |loan, event| loan.apply(&Recorded { at: moment.now, event }).unwrap())
    }

    /// After how many seconds the clock alone ends it, and why.
    fn ends(loan: &Loan) -> (u32, String) {
        let ended = |seconds: &u32| decide(loan, Input::Tick, after(loan, *seconds)).unwrap().pop();
        let seconds = (0..4_000).find(|seconds| ended(seconds).is_some()).unwrap();
        let Some(Event::Cancelled { reason, .. }) = ended(&seconds) else { panic!("another event") };
        (seconds, reason)
    }

    fn step(step: LenderStep, loan: &Loan, seconds: u32) -> Input {
        Input::LenderStep { step, until: loan.agreed_at.plus(seconds).unwrap() }
    }

    #[test]
    fn either_side_waits_for_the_lenders_coin_for_half_an_hour_and_no_longer() {
        for role in [Role::Borrower, Role::Lender] {
            let (seconds, reason) = ends(&taken(role));
            assert_eq!(seconds, COIN_PATIENCE + 1);
            assert!(reason.starts_with("the lender's coin was not ready by"), "{reason}");
            println!("bound silent-negotiation {} s", seconds - 1);
        }
        // One whose coin is on its way counts from the same moment; one that has it waits for the other side.
        let loan = taken(Role::Lender);
        let transaction = bitcoin::Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        let preparing = told(loan, Input::CoinMade(transaction), 1_700);
        assert_eq!((ends(&preparing).0, preparing.stage), (COIN_PATIENCE + 1, Stage::Preparing));
        let ready = told(preparing, Input::CoinConfirmed(bitcoin::OutPoint::null()), 1_750);
        assert_eq!(ends(&ready).0, 3_001, "then the terms expire");
    }

    #[test]
    fn a_borrower_waits_for_a_person_as_long_as_the_lender_says_and_then_for_the_coin() {
        let asked = taken(Role::Borrower);
        let asked = told(asked.clone(), step(LenderStep::Decides, &asked, 1_000), 5);
        let (seconds, reason) = ends(&asked);
        assert!(seconds == 1_001 && reason.starts_with("nobody at the lender's decided by"), "{seconds} {reason}");
        // More time is not given by asking for it.
        let again = told(asked.clone(), step(LenderStep::Decides, &asked, 2_000), 10);
        assert_eq!((ends(&again).0, again.length), (1_001, asked.length));
        let approved = told(again.clone(), step(LenderStep::PreparesCoin, &again, 2_500), 900);
        assert_eq!(ends(&approved).0, 2_501);
        let back = told(approved.clone(), step(LenderStep::Decides, &approved, 2_900), 901);
        assert_eq!((back.length, back.lender_step), (approved.length, approved.lender_step));
    }

    #[test]
    fn a_lender_that_names_a_day_far_off_is_waited_for_no_longer_than_a_coin_or_the_terms_take() {
        let loan = taken(Role::Borrower);
        let decides = told(loan.clone(), step(LenderStep::Decides, &loan, 90_000), 0);
        assert_eq!(ends(&decides).0, 3_001);
        let prepares = told(loan.clone(), step(LenderStep::PreparesCoin, &loan, 90_000), 60);
        assert_eq!(ends(&prepares).0, 60 + COIN_PATIENCE + 1);
        // The lender's own side is told nothing by its borrower.
        let lender = taken(Role::Lender);
        assert_eq!(told(lender.clone(), step(LenderStep::Decides, &lender, 90_000), 0).length, lender.length);
    }
}

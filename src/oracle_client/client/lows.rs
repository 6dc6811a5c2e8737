//! The lows of an oracle's days: the newest that any place serves.

use super::OracleClient;
use crate::oracle_client::OracleError;
use hypothec_oracle::equivocation::Proof;
use hypothec_oracle::units::{Day, Time};
use hypothec_oracle::wire::SignedLows;
use std::cmp::Reverse;
use std::sync::PoisonError;

/// Days whose lows are held against what was told before.
const DAYS_REMEMBERED: usize = 8;

impl OracleClient {
    /// The hour lows of a day as far as they are known, their signature verified: the newest that any place serves, or
    /// that one served before. A place that is behind, or wants to hide the hour that runs, changes nothing where an honest
    /// one answers too.
    ///
    /// # Errors
    /// When the oracle does not answer, they are not the oracle's, or it has signed two lows for one final hour.
    pub async fn lows(&self, day: Day) -> Result<SignedLows, OracleError> {
        self.lows_at(day, Time(0)).await
    }

    /// The same, and a list that is too old to be an honest oracle's of `now` is no reason to leave out a place that is
    /// slower. It may be old all the same: whoever uses it looks.
    ///
    /// # Errors
    /// As [`OracleClient::lows`].
    pub async fn lows_at(&self, day: Day, now: Time) -> Result<SignedLows, OracleError> {
        let end = day.end().unwrap_or(Time(u32::MAX));
        let is_new = move |lows: &SignedLows| lows.unheard(end, now).is_none();
        let mut answers = self.ask_for(move |mirror| async move { mirror.lows(day).await }, is_new).await?;
        answers.sort_by_cached_key(|(_, lows)| age(lows));
        let prove = |one: &SignedLows, other: &SignedLows| Proof::of_lows(self.key, one, other).ok();
        let agree = |one: &SignedLows, other: &SignedLows| one.contradicts(other).is_none();
        let lows = self.one_answer(answers, agree, prove, &format!("the lows of {day}"))?;
        Ok(self.remember(lows))
    }

    /// Holds a day's lows against those told before, and gives the newer. A change of mind is kept as a proof and is no
    /// error: the list served now is what everybody else is told too, and open loans settle by it.
    fn remember(&self, lows: SignedLows) -> SignedLows {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = told.get(&lows.day) {
            if before.contradicts(&lows).is_some() {
                let mut caught = self.caught_now();
                *caught = caught.take().or_else(|| Proof::of_lows(self.key, before, &lows).ok());
                return lows;
            }
            if age(before) < age(&lows) {
                return before.clone();
            }
        }
        told.insert(lows.day, lows.clone());
        while told.len() > DAYS_REMEMBERED {
            told.pop_first();
        }
        lows
    }
}

/// The newer a list of lows, the less: final for longer, then more hours known, then lower lows. What one oracle signs
/// of one day only ever becomes newer in all three.
fn age(lows: &SignedLows) -> (Reverse<Time>, Reverse<usize>, u64) {
    let known = lows.lows.iter().flatten();
    (Reverse(lows.frozen_until), Reverse(known.clone().count()), known.fold(0, |sum, low| sum.saturating_add(low.0)))
}

//! The audit: makes every price again from the raw inputs and compares with what was logged and said.
//!
//! Feed an [`Auditor`] the lines of one log in order, then hold what the oracle said against [`Logs`]. The first
//! disagreement ends an audit. What was said must have been fetched before the lines: an oracle that runs says more every
//! second.
//!
//! Replicas of one oracle keep a log each, and one of them speaks at a time: what it says follows from its own log. Who
//! spoke when is not published, so with several logs each thing said must follow from one of them, and an hour's low may
//! not lie above all of their lows. With one log that means: exactly what it makes.

use super::chain::{Chain, ChainError, End};
use super::entry::{named, Entry, Head, Line, LogId};
use crate::event::Event;
use crate::price::policy::Policies;
use crate::price::reckon::Reckoner;
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::dollars_fixed;
use crate::wire::{BadSignature, SignedLows};
use bitcoin::hashes::sha256;
use bitcoin::key::XOnlyPublicKey;
use std::collections::{BTreeMap, BTreeSet};

/// Seconds after an hour's end by which it is final: the two minutes of the rules, and one for an oracle that is slow.
const FREEZE: u32 = 180;

/// What does not agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The log was changed.
    #[error("the log's chain is broken: {0}")]
    Chain(#[from] ChainError),
    /// Something is signed by somebody else.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A tick stands in another day's file.
    #[error("tick {n} at {at} is not of day {day}, whose log it is in")]
    Day { n: u64, at: Time, day: Day },
    /// A tick names a policy that did not count then.
    #[error("tick {n} at {at} names policy version {found}; the published version then was {right}")]
    Policy { n: u64, at: Time, found: u32, right: String },
    /// The inputs are not one for each venue.
    #[error("tick {n} at {at} does not have one input for each venue of its policy, in its order")]
    Inputs { n: u64, at: Time },
    /// A median or held price does not follow from the inputs.
    #[error("tick {n} at {at}: the log says {what} {logged}, its inputs make {made}")]
    Tick { n: u64, at: Time, what: &'static str, logged: String, made: String },
    /// An hour's low is not what the ticks make.
    #[error("the low of the hour from {hour} is served as {served}, its ticks make {made}")]
    Low { hour: Time, served: String, made: String },
    /// A fixing is not what the ticks make.
    #[error("the fixing at {at} is attested as {attested} dollars, its ticks make {made}")]
    Fixing { at: Time, attested: String, made: String },
    /// A touch that is not true.
    #[error("event {event} is attested, but the least low from its hour on is {least}")]
    FalseTouch { event: Event, least: String },
    /// A touch that is true and not said.
    #[error("event {event} is not attested, but the low of its hours fell to {least}")]
    ForgottenTouch { event: Event, least: Cents },
    /// Lows are kept open that the log's ticks close.
    #[error("the log reaches {head}, but the lows of {day} are signed as final only until {until}: what was said since cannot be held against it")]
    Open { day: Day, until: Time, head: Time },
    /// The signed head is not of this log.
    #[error("the signed head of tick {n} is not of this log: {why}")]
    Head { n: u64, why: &'static str },
    /// Head and lines are of two logs.
    #[error(
        "the signed head is of log {head}, the lines are of log {lines}: this address speaks for several replicas in \
         turn; audit each at an address of its own"
    )]
    OtherLog { head: String, lines: String },
}

/// What an audit covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Ticks made again.
    pub ticks: u64,
    /// Of them, ticks with a median.
    pub medians: u64,
    /// Signed heads checked.
    pub heads: u64,
}

impl Covered {
    /// Of two logs together.
    #[must_use]
    pub fn and(self, other: Covered) -> Covered {
        let Covered { ticks, medians, heads } = other;
        Covered { ticks: self.ticks + ticks, medians: self.medians + medians, heads: self.heads + heads }
    }
}

/// An audit of one log under way.
#[derive(Debug)]
pub struct Auditor {
    oracle: XOnlyPublicKey,
    policies: Policies,
    from: Time,
    /// Ticks from here on are followed only for the heads between them.
    until: Option<Time>,
    chain: Chain,
    reckoner: Reckoner,
    first: Option<Time>,
    lows: BTreeMap<Time, Cents>,
    /// Every step of an hour's low on its way down.
    fell: BTreeSet<(Time, Cents)>,
    /// Hours with ticks.
    hours: BTreeSet<Time>,
    fixings: BTreeMap<Time, Cents>,
    promised: Option<Head>,
    kept_promise: bool,
    /// What the oracle signed for this log, by the tick's number.
    heads: BTreeMap<u64, Head>,
    covered: Covered,
}

impl Auditor {
    /// An audit of an oracle from a moment on, a day's start. Lines of a day before may be fed first: they are what the
    /// first held prices and the first fixing rest on.
    pub fn new(oracle: XOnlyPublicKey, policies: Policies, from: Time) -> Auditor {
        Auditor {
            oracle,
            policies,
            from,
            until: None,
            chain: Chain::from_middle(),
            reckoner: Reckoner::default(),
            first: None,
            lows: BTreeMap::new(),
            fell: BTreeSet::new(),
            hours: BTreeSet::new(),
            fixings: BTreeMap::new(),
            promised: None,
            kept_promise: false,
            heads: BTreeMap::new(),
            covered: Covered::default(),
        }
    }

    /// The lines begin with the log's very first: nothing may be missing before them.
    pub fn from_the_first_tick(mut self) -> Auditor {
        self.chain = Chain::from_start();
        self
    }

    /// Lines of days after the audited ones may be fed too: for the heads that came late.
    pub fn until(self, end: Option<Time>) -> Auditor {
        Auditor { until: end, ..self }
    }

    /// Does an hour of the audited days wait for its head, as far as the lines go?
    pub fn awaits_heads(&self) -> bool {
        let is_audited = |end: &End| self.until.is_some_and(|until| end.at < until);
        let last = self.chain.end().filter(|end| !end.headed && is_audited(end));
        last.is_some() || self.chain.waiting().any(is_audited)
    }

    /// A head that the oracle signed before the lines were fetched: they must reach it.
    ///
    /// # Errors
    /// When it is not signed by the oracle.
    pub fn promise(&mut self, head: Head) -> Result<(), Disagreement> {
        head.verify(&self.oracle)?;
        self.heads.insert(head.n, head);
        self.promised = Some(head);
        Ok(())
    }

    /// The id of the log that was followed; `None` for a log of an older version, which has none.
    pub fn log(&self) -> Option<LogId> {
        self.chain.end().and_then(|end| end.log)
    }

    /// Two different heads of one tick, if `other` followed the same log and was shown another past: a proof.
    pub fn fork(&self, other: &Auditor) -> Option<(Head, Head)> {
        let is_forked = |(one, two): &(&Head, &Head)| {
            one.log.is_some() && one.log == two.log && (one.at, one.hash) != (two.at, two.hash)
        };
        let both = self.heads.iter().filter_map(|(n, head)| Some((head, other.heads.get(n)?)));
        both.filter(is_forked).map(|(one, two)| (*one, *two)).next()
    }

    /// Takes the next line of a day's log.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn line(&mut self, day: Day, text: &str) -> Result<(), Disagreement> {
        match self.chain.follow(text)? {
            Line::Head(head) => {
                head.verify(&self.oracle)?;
                self.heads.insert(head.n, head);
                self.covered.heads += 1;
                Ok(())
            }
            Line::Tick(entry) => {
                if entry.at.day() != day {
                    return Err(Disagreement::Day { n: entry.n, at: entry.at, day });
                }
                if self.until.is_none_or(|until| entry.at < until) {
                    self.tick(&entry)?;
                }
                let hash = self.chain.end().map(|end| end.hash);
                self.compare_promise(entry.n, hash)
            }
        }
    }

    fn tick(&mut self, entry: &Entry) -> Result<(), Disagreement> {
        let (n, at) = (entry.n, entry.at);
        let wrong = |right: String| Disagreement::Policy { n, at, found: entry.policy, right };
        let policy = self.policies.at(at).ok_or_else(|| wrong("none".to_string()))?;
        if policy.version != entry.policy {
            return Err(wrong(policy.version.to_string()));
        }
        if !entry.inputs.iter().map(|input| input.venue).eq(policy.venues.iter().copied()) {
            return Err(Disagreement::Inputs { n, at });
        }
        let tick = self.reckoner.step(policy, at, &entry.inputs);
        self.first.get_or_insert(at);
        if at < self.from && entry.n > 0 && !self.has_lookback(at) {
            return Ok(());
        }
        for (what, logged, made) in
            [("median", entry.median, tick.aggregate.median), ("held price", entry.held, tick.held)]
        {
            if logged != made {
                return Err(Disagreement::Tick { n, at, what, logged: said(logged), made: said(made) });
            }
        }
        self.hours.insert(at.hour_floor());
        self.fell.extend(tick.low);
        self.lows.extend(tick.low);
        self.fixings.extend(tick.fixing);
        if at >= self.from {
            self.covered.ticks += 1;
            self.covered.medians += u64::from(tick.aggregate.median.is_some());
        }
        Ok(())
    }

    /// Have the lines reached far enough back for this tick?
    fn has_lookback(&self, at: Time) -> bool {
        self.first.is_some_and(|first| at.since(first) > crate::price::policy::LOOKBACK)
    }

    fn compare_promise(&mut self, n: u64, hash: Option<sha256::Hash>) -> Result<(), Disagreement> {
        match self.promised {
            Some(head) if head.n == n && Some(head.hash) == hash => {
                self.kept_promise = true;
                Ok(())
            }
            Some(head) if head.n == n && head.log != self.log() => Err(self.other_log(&head)),
            Some(head) if head.n == n => Err(Disagreement::Head { n, why: "the log has another tick there" }),
            _ => Ok(()),
        }
    }

    fn other_log(&self, head: &Head) -> Disagreement {
        Disagreement::OtherLog { head: named(head.log), lines: named(self.log()) }
    }

    /// After the last line: did the log reach the head that was promised (not asked for logs that end before it), and is
    /// every hour that was over before it signed for? Late is right, and the newest may still wait.
    ///
    /// # Errors
    /// When ticks are missing at the end, or a head.
    pub fn end(&self) -> Result<Covered, Disagreement> {
        let over = |end: &&End| self.promised.is_none_or(|head| end.n < head.n);
        let mut waiting = self.chain.waiting().filter(over);
        if let (Some(End { n, at, .. }), Some(_)) = (waiting.next(), waiting.next()) {
            return Err(ChainError::NoHead { n: *n, at: *at }.into());
        }
        match self.promised {
            Some(head) if !self.kept_promise && head.log != self.log() => Err(self.other_log(&head)),
            Some(head) if !self.kept_promise => {
                Err(Disagreement::Head { n: head.n, why: "the log ends before it; ticks at its end were dropped" })
            }
            _ => Ok(self.covered),
        }
    }

    /// Does the log cover this moment: is it in the audited days, and not before the log's first hour?
    fn covers(&self, moment: Time) -> bool {
        moment >= self.from && self.first.is_some_and(|first| moment >= first.hour_floor())
    }
}

/// What was made of the logs of an oracle's replicas, or of the one log of an oracle alone.
#[derive(Debug)]
pub struct Logs {
    oracle: XOnlyPublicKey,
    logs: Vec<Auditor>,
    /// Served lows of final hours, once they were found right.
    served: BTreeMap<Time, Option<Cents>>,
    /// Served lows of hours before the logs begin, and whether they are final: there is nothing to make them again from,
    /// but what follows from them must have been said, and nothing else.
    before: BTreeMap<Time, (Cents, bool)>,
}

impl Logs {
    /// Audits of all logs, every line taken.
    pub fn new(oracle: XOnlyPublicKey, logs: Vec<Auditor>) -> Logs {
        Logs { oracle, logs, served: BTreeMap::new(), before: BTreeMap::new() }
    }

    fn cover(&self, moment: Time) -> bool {
        self.logs.iter().any(|log| log.covers(moment))
    }

    /// What the logs that have ticks in an hour make of it: a log without any was not looking, and explains nothing.
    fn made<T: Copy>(&self, hour: Time, of: impl Fn(&Auditor) -> &BTreeMap<Time, T>) -> Vec<Option<T>> {
        let looked = |log: &&Auditor| log.covers(hour) && log.hours.contains(&hour);
        let mut made: Vec<_> = self.logs.iter().filter(looked).map(|log| of(log).get(&hour).copied()).collect();
        if made.is_empty() {
            made.push(None);
        }
        made
    }

    /// Are the served lows what the ticks make? In the hour that runs they may be behind.
    ///
    /// # Errors
    /// The first hour that differs.
    pub fn check_lows(&mut self, served: &SignedLows) -> Result<(), Disagreement> {
        served.verify(&self.oracle)?;
        let Some(start) = served.day.start() else { return Ok(()) };
        for (number, low) in (0u32..).zip(&served.lows) {
            let Some(hour) = start.plus(number * HOUR) else { continue };
            let is_final = hour.plus(HOUR).is_some_and(|end| end <= served.frozen_until);
            if !self.cover(hour) {
                self.before.extend(low.map(|low| (hour, (low, is_final))));
                continue;
            }
            let made = self.made(hour, |log| &log.lows);
            let agrees = match *low {
                None => !is_final || made.contains(&None),
                Some(low) => {
                    let was_made = self.logs.iter().any(|log| log.fell.contains(&(hour, low)));
                    was_made && (!is_final || made.iter().any(|made| made.is_none_or(|made| low <= made)))
                }
            };
            if !agrees {
                return Err(Disagreement::Low { hour, served: said(*low), made: all(made, said) });
            }
            if is_final {
                self.served.insert(hour, *low);
            }
        }
        Ok(())
    }

    /// Are hours that are over signed as final, as `head` says that they are over? An oracle that keeps them open could
    /// leave anything unsaid.
    ///
    /// # Errors
    /// When they are not.
    pub fn check_final(&self, served: &SignedLows, head: &Head) -> Result<(), Disagreement> {
        head.verify(&self.oracle)?;
        let right = Time(head.at.0.saturating_sub(FREEZE)).hour_floor();
        // A list whose day is over needs no newer word: what was signed when its last hour was final stands for good.
        match served.frozen_until < right && !served.is_closed() {
            true => Err(Disagreement::Open { day: served.day, until: served.frozen_until, head: head.at }),
            false => Ok(()),
        }
    }

    /// Is an attested fixing, or that there is none, what the ticks make? Everything at or before `frozen_until` is final.
    ///
    /// # Errors
    /// When it differs.
    pub fn check_fixing(&self, at: Time, attested: Option<u32>, frozen_until: Time) -> Result<(), Disagreement> {
        let dollars = |made: Option<Cents>| made.map(dollars_fixed);
        let made: Vec<_> = self.made(at, |log| &log.fixings).into_iter().map(dollars).collect();
        if !self.cover(at) || made.contains(&attested) || (attested.is_none() && at > frozen_until) {
            return Ok(());
        }
        let text = |none: &'static str| {
            move |dollars: Option<u32>| dollars.map_or_else(|| none.to_string(), |dollars| dollars.to_string())
        };
        Err(Disagreement::Fixing { at, attested: text("no")(attested), made: all(made, text("none")) })
    }

    /// Is an attested touch true, and one that is not attested not true in final hours? Final hours count at the lows
    /// that were served and found right, if there are any.
    ///
    /// # Errors
    /// When it was said and is not true, or is true and was not said.
    pub fn check_touch(&self, event: Event, attested: bool, frozen_until: Time) -> Result<(), Disagreement> {
        let Event::Touch { level, day, .. } = event else { return Ok(()) };
        let (Some(from), Some(end)) = (event.touch_from(), day.end()) else { return Ok(()) };
        let hours = |until: Time| (0..24).filter_map(|n| from.plus(n * HOUR)).take_while(move |hour| *hour < until);
        if attested {
            let made = |hour: Time| self.logs.iter().filter_map(move |log| log.lows.get(&hour).copied());
            let before = |hour: Time| self.before.get(&hour).map(|(low, _)| *low);
            let known = hours(end).flat_map(|hour| made(hour).chain(before(hour))).min();
            return match known {
                Some(low) if low <= level.cents() => Ok(()),
                _ => Err(Disagreement::FalseTouch { event, least: said(known) }),
            };
        }
        // Without a served low the highest that any of the logs makes: the oracle may have said that one.
        let highest = |hour: Time| self.made(hour, |log| &log.lows).into_iter().collect::<Option<Vec<_>>>();
        let before = |hour: Time| self.before.get(&hour).filter(|(_, is_final)| *is_final).map(|(low, _)| *low);
        let final_low = |hour: Time| match self.cover(hour) {
            true => self.served.get(&hour).copied().unwrap_or_else(|| highest(hour)?.into_iter().max()),
            false => before(hour),
        };
        match hours(end.min(frozen_until)).filter_map(final_low).min() {
            Some(least) if least <= level.cents() => Err(Disagreement::ForgottenTouch { event, least }),
            _ => Ok(()),
        }
    }
}

/// What each log makes, in words.
fn all<T>(made: Vec<T>, text: impl Fn(T) -> String) -> String {
    made.into_iter().map(text).collect::<Vec<_>>().join(" or ")
}

fn said(cents: Option<Cents>) -> String {
    cents.map_or_else(|| "none".to_string(), |cents| cents.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use bitcoin::hashes::Hash;
    use secp256k1_zkp::SecretKey;

    #[test]
    fn a_day_signed_as_over_stays_final_and_one_kept_open_is_named() {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        let start = Time(1_583_971_200);
        let logs = Logs::new(keys.public_key(), Vec::new());
        let lows = |hours: u32| SignedLows::sign(&keys, start.day(), start.plus(hours * HOUR).unwrap(), [None; 24]);
        let at = start.plus(26 * HOUR + FREEZE).unwrap();
        let head = Head::sign(&keys, End { log: None, n: 1, at, hash: sha256::Hash::all_zeros(), headed: true });
        assert_eq!(logs.check_final(&lows(24), &head), Ok(()), "signed at midnight, and asked for two hours later");
        assert_eq!(logs.check_final(&lows(26), &head), Ok(()));
        assert!(matches!(logs.check_final(&lows(23), &head), Err(Disagreement::Open { .. })));
    }
}

//! The audit: makes every price again from the raw inputs and compares with what was logged and said.
//!
//! Feed it lines in order with [`Auditor::line`], then hold what the oracle said against it. The first disagreement ends
//! an audit. What was said must have been fetched before the lines: an oracle that runs says more every second.

use super::chain::{Chain, ChainError};
use super::entry::{Entry, Head, Line};
use crate::event::Event;
use crate::price::policy::Policies;
use crate::price::reckon::Reckoner;
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::dollars_fixed;
use crate::wire::{BadSignature, SignedLows};
use bitcoin::hashes::sha256;
use bitcoin::key::XOnlyPublicKey;
use std::collections::BTreeMap;

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
    /// The signed head is not of this log.
    #[error("the signed head of tick {n} is not of this log: {why}")]
    Head { n: u64, why: &'static str },
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

/// An audit under way.
#[derive(Debug)]
pub struct Auditor {
    oracle: XOnlyPublicKey,
    policies: Policies,
    from: Time,
    chain: Chain,
    reckoner: Reckoner,
    first: Option<Time>,
    lows: BTreeMap<Time, Cents>,
    fixings: BTreeMap<Time, Cents>,
    promised: Option<Head>,
    kept_promise: bool,
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
            chain: Chain::from_middle(),
            reckoner: Reckoner::default(),
            first: None,
            lows: BTreeMap::new(),
            fixings: BTreeMap::new(),
            promised: None,
            kept_promise: false,
            covered: Covered::default(),
        }
    }

    /// The lines begin with the log's very first: nothing may be missing before them.
    pub fn from_the_first_tick(mut self) -> Auditor {
        self.chain = Chain::from_start();
        self
    }

    /// A head that the oracle signed before the lines were fetched: they must reach it.
    ///
    /// # Errors
    /// When it is not signed by the oracle.
    pub fn promise(&mut self, head: Head) -> Result<(), Disagreement> {
        head.verify(&self.oracle)?;
        self.promised = Some(head);
        Ok(())
    }

    /// Takes the next line of a day's log.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn line(&mut self, day: Day, text: &str) -> Result<(), Disagreement> {
        match self.chain.follow(text)? {
            Line::Head(head) => {
                head.verify(&self.oracle)?;
                self.covered.heads += 1;
                Ok(())
            }
            Line::Tick(entry) => {
                if entry.at.day() != day {
                    return Err(Disagreement::Day { n: entry.n, at: entry.at, day });
                }
                self.tick(&entry)?;
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
            Some(head) if head.n == n => Err(Disagreement::Head { n, why: "the log has another tick there" }),
            _ => Ok(()),
        }
    }

    /// After the last line: did the log reach the head that was promised? Not asked for logs that end before it.
    ///
    /// # Errors
    /// When ticks are missing at the end.
    pub fn end(&self) -> Result<Covered, Disagreement> {
        match self.promised {
            Some(head) if !self.kept_promise => {
                Err(Disagreement::Head { n: head.n, why: "the log ends before it; ticks at its end were dropped" })
            }
            _ => Ok(self.covered),
        }
    }

    /// The first tick's time: what was said about hours before has no log.
    pub fn first_tick(&self) -> Option<Time> {
        self.first
    }

    /// Are the served lows what the ticks make? Final hours must be equal; the hour that runs may be behind.
    ///
    /// # Errors
    /// The first hour that differs.
    pub fn check_lows(&self, served: &SignedLows) -> Result<(), Disagreement> {
        served.verify(&self.oracle)?;
        let Some(start) = served.day.start() else { return Ok(()) };
        for (number, low) in (0u32..).zip(&served.lows) {
            let Some(hour) = start.plus(number * HOUR).filter(|hour| self.covers(*hour)) else { continue };
            let made = self.lows.get(&hour).copied();
            let is_final = hour.plus(HOUR).is_some_and(|end| end <= served.frozen_until);
            let agrees = match (low, made) {
                (low, made) if is_final => *low == made,
                (None, _) => true,
                (Some(low), Some(made)) => *low >= made,
                (Some(_), None) => false,
            };
            if !agrees {
                return Err(Disagreement::Low { hour, served: said(*low), made: said(made) });
            }
        }
        Ok(())
    }

    /// Is an attested fixing, or that there is none, what the ticks make? Everything at or before `frozen_until` is final.
    ///
    /// # Errors
    /// When it differs.
    pub fn check_fixing(&self, at: Time, attested: Option<u32>, frozen_until: Time) -> Result<(), Disagreement> {
        let made = self.fixings.get(&at).map(|cents| dollars_fixed(*cents));
        if !self.covers(at) || made == attested || (attested.is_none() && at > frozen_until) {
            return Ok(());
        }
        let text = |dollars: Option<u32>| dollars.map_or_else(|| "no".to_string(), |dollars| dollars.to_string());
        let made = made.map_or_else(|| "none".to_string(), |dollars| dollars.to_string());
        Err(Disagreement::Fixing { at, attested: text(attested), made })
    }

    /// Is an attested touch true, and one that is not attested not true in final hours?
    ///
    /// # Errors
    /// When it was said and is not true, or is true and was not said.
    pub fn check_touch(&self, event: Event, attested: bool, frozen_until: Time) -> Result<(), Disagreement> {
        let Event::Touch { level, day, .. } = event else { return Ok(()) };
        let (Some(from), Some(end)) = (event.touch_from(), day.end()) else { return Ok(()) };
        if !self.covers(from) {
            return Ok(());
        }
        let least = |until: Time| self.lows.range(from..until.max(from)).map(|(_, low)| *low).min();
        if attested {
            let known = least(end);
            return match known {
                Some(low) if low <= level.cents() => Ok(()),
                _ => Err(Disagreement::FalseTouch { event, least: said(known) }),
            };
        }
        match least(end.min(frozen_until)) {
            Some(least) if least <= level.cents() => Err(Disagreement::ForgottenTouch { event, least }),
            _ => Ok(()),
        }
    }

    /// Does the log cover this moment: is it in the audited days, and not before the log's first hour?
    fn covers(&self, moment: Time) -> bool {
        moment >= self.from && self.first.is_some_and(|first| moment >= first.hour_floor())
    }
}

fn said(cents: Option<Cents>) -> String {
    cents.map_or_else(|| "none".to_string(), |cents| cents.to_string())
}

//! A question put to every place of an oracle at once: who is asked, who is left alone for a while, who is dropped.

use super::OracleClient;
use crate::oracle_client::mirror::Mirror;
use crate::oracle_client::relay::Relay;
use crate::oracle_client::OracleError;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long others have to say something else once one place has answered. Real time.
const GRACE: Duration = Duration::from_secs(2);
/// The same where what was answered is not enough: too old, or nothing. Real time.
const LONG_GRACE: Duration = Duration::from_secs(10);
/// How long a place that did not answer in that time is left alone. Real time. Where a question with no answer that is enough
/// has waited for it in vain, the questions that follow do not wait for it either.
const REST: Duration = Duration::from_secs(60);
/// So long a place answers nobody in time before people are told. Real time.
const SLOW: Duration = Duration::from_secs(300);
/// How long a place that speaks HTTP and served something else is left alone, while others answer: whoever stands between for
/// a moment must not take it away for good. Real time.
const DROPPED: Duration = Duration::from_secs(600);

impl OracleClient {
    /// The places dropped, and those left alone for a while because they do not answer, a sentence for each.
    pub fn dropped(&self) -> Vec<String> {
        let dropped = self.dropped.said();
        let out = self.dropped.now();
        let silent = self.benches.taken(Instant::now()).into_iter().filter(|index| !out.contains_key(index));
        let silent = silent.map(|index| {
            let url = self.url_of(index);
            format!(
                "mirror {url} of oracle {} does not answer in time, others do: it is asked again in a minute",
                self.key
            )
        });
        dropped.into_iter().chain(silent).collect()
    }

    /// The places dropped because they served something else, a sentence for each.
    pub fn false_places(&self) -> Vec<String> {
        self.dropped.said()
    }

    /// The places that have not answered in time for minutes while others did, the first of the oracle among them, a sentence
    /// for each.
    pub fn slow_places(&self) -> Vec<String> {
        let slow = self.benches.lasting(Instant::now()).into_iter().map(|index| {
            format!(
                "mirror {} of oracle {} has not answered in time for five minutes or more, others do, and decide meanwhile what \
                 is heard. See that it runs, and that this machine reaches it; or add the oracle again without it",
                self.url_of(index),
                self.key
            )
        });
        slow.collect()
    }

    /// Puts a question to every relay that is not dropped, at once. The answers with the places' indexes, maybe none: a
    /// relay that is away, or has nothing, is no trouble.
    pub(super) async fn ask_relays<T, Q, A>(&self, question: Q) -> Vec<(usize, T)>
    where
        T: Send + 'static,
        Q: Fn(Arc<Relay>) -> A,
        A: Future<Output = Result<Vec<T>, OracleError>> + Send + 'static,
    {
        let dropped = self.dropped.taken();
        let places = (self.mirrors.len()..).zip(&self.relays);
        let live = places.filter(|(index, _)| !dropped.contains(index));
        let asked: Vec<_> = live.map(|(index, relay)| (index, tokio::spawn(question(relay.clone())))).collect();
        let mut answers = Vec::new();
        for (index, asked) in asked {
            match asked.await {
                Ok(Ok(answer)) => answers.extend(answer.into_iter().map(|one| (index, one))),
                Ok(Err(error)) => {
                    tracing::debug!("{error}");
                    self.drop_if_false(index, &error);
                }
                // The runtime is ending.
                Err(_) => {}
            }
        }
        answers
    }

    /// Puts a question to every place that speaks HTTP, as [`OracleClient::ask_for`] does; any answer is enough.
    pub(super) async fn ask<T, Q, A>(&self, question: Q) -> Result<Vec<(usize, T)>, OracleError>
    where
        T: Send + 'static,
        Q: Fn(Arc<Mirror>) -> A,
        A: Future<Output = Result<T, OracleError>> + Send + 'static,
    {
        self.ask_for(question, |_| true).await
    }

    /// Puts a question to every place that speaks HTTP and is not left alone, at once. The answers by the places' indexes; at
    /// least one. Once one has answered the others have a moment to say something else, and longer where that is not enough;
    /// who takes longer is left alone for a while. Whoever is left alone is asked too where no other says enough, those that
    /// served something else last; but once that was in vain nobody waits for it again until its rest is over, unless no other
    /// answers at all. It is asked beside what goes on, and waited for again as soon as it answers.
    pub(super) async fn ask_for<T, Q, A>(
        &self,
        question: Q,
        is_enough: impl Fn(&T) -> bool,
    ) -> Result<Vec<(usize, T)>, OracleError>
    where
        T: Send + 'static,
        Q: Fn(Arc<Mirror>) -> A,
        A: Future<Output = Result<T, OracleError>> + Send + 'static,
    {
        let now = Instant::now();
        let (dropped, benched, silent) = (self.dropped.taken(), self.benches.taken(now), self.benches.silent(now));
        let (silent, heard): (Vec<usize>, Vec<usize>) =
            (0..self.mirrors.len()).partition(|index| silent.contains(index));
        let (last, live): (Vec<usize>, Vec<usize>) = heard.into_iter().partition(|index| dropped.contains(index));
        let (rested, ready): (Vec<usize>, Vec<usize>) = live.into_iter().partition(|index| benched.contains(index));
        let (mut all, mut first_failure) = (Vec::new(), None);
        let in_vain = silent.clone();
        for places in [ready, rested, last, silent].into_iter().filter(|places| !places.is_empty()) {
            if places == in_vain && !all.is_empty() {
                self.ask_beside(&in_vain, &question);
                break;
            }
            match self.ask_these(&places, &question, &is_enough, !all.is_empty()).await {
                Ok(answers) => all.extend(answers),
                Err(error) => first_failure = first_failure.or(Some(error)),
            }
            if all.iter().any(|(_, answer)| is_enough(answer)) {
                break;
            }
        }
        all.sort_by_key(|(index, _)| *index);
        match first_failure {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    /// Those that answer in time. `others`: some have answered before, so these are not waited for without end.
    async fn ask_these<T, Q, A>(
        &self,
        places: &[usize],
        question: &Q,
        is_enough: &impl Fn(&T) -> bool,
        others: bool,
    ) -> Result<Vec<(usize, T)>, OracleError>
    where
        T: Send + 'static,
        Q: Fn(Arc<Mirror>) -> A,
        A: Future<Output = Result<T, OracleError>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (index, mirror) in places.iter().filter_map(|index| Some((*index, self.mirrors.get(*index)?))) {
            let answer = question(mirror.clone());
            asked.spawn(async move { (index, answer.await) });
        }
        let begun = Instant::now();
        let (mut answers, mut failures) = (Vec::with_capacity(places.len()), BTreeMap::new());
        let (mut late, mut enough) = (Vec::new(), false);
        let mut until = others.then(|| tokio::time::Instant::now() + LONG_GRACE);
        loop {
            let next = match until {
                None => Ok(asked.join_next().await),
                Some(until) => tokio::time::timeout_at(until, asked.join_next()).await,
            };
            match next {
                Ok(Some(Ok((index, Ok(answer))))) => {
                    self.benches.leave(index);
                    self.dropped.leave(index);
                    let says_enough = is_enough(&answer);
                    enough |= says_enough;
                    let grace = if says_enough { GRACE } else { LONG_GRACE };
                    let end = tokio::time::Instant::now() + grace;
                    until = Some(until.map_or(end, |until| until.min(end)));
                    answers.push((index, answer));
                }
                Ok(Some(Ok((index, Err(error))))) => {
                    self.drop_if_false(index, &error);
                    self.dropped.fails(index, (!error.is_false()).then(|| error.to_string()));
                    // A connection that does not come about is waited for as an answer is.
                    if begun.elapsed() >= GRACE && !error.is_false() {
                        late.push(index);
                    }
                    failures.insert(index, error);
                }
                // The runtime is ending.
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let unheard = |index: &&usize| !failures.contains_key(*index) && !answers.iter().any(|(one, _)| one == *index);
        late.extend(places.iter().filter(unheard));
        if others || !answers.is_empty() {
            for index in late {
                self.benches.take(index, !enough, Instant::now());
                if !failures.contains_key(&index) {
                    self.dropped.fails(index, Some("it does not answer in time".to_owned()));
                }
            }
        }
        match failures.into_values().next() {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
        }
    }

    /// Asks those that nobody waits for, each one question at a time: who answers is waited for again from then on.
    fn ask_beside<T, Q, A>(&self, places: &[usize], question: &Q)
    where
        T: Send + 'static,
        Q: Fn(Arc<Mirror>) -> A,
        A: Future<Output = Result<T, OracleError>> + Send + 'static,
    {
        for (index, mirror) in places.iter().filter_map(|index| Some((*index, self.mirrors.get(*index)?))) {
            if !self.benches.begin_beside(index) {
                continue;
            }
            let (client, answer, begun) = (self.clone(), question(mirror.clone()), Instant::now());
            tokio::spawn(async move {
                let answer = tokio::time::timeout(LONG_GRACE, answer).await;
                if let Ok(Err(error)) = &answer {
                    client.drop_if_false(index, error);
                }
                match answer {
                    Ok(Ok(_)) => {
                        client.benches.leave(index);
                        client.dropped.leave(index);
                    }
                    // Whoever fails at once keeps nobody waiting.
                    answer => client.benches.end_beside(index, answer.is_ok() && begun.elapsed() < GRACE),
                }
            });
        }
    }

    /// Drops a place that served something else than the oracle's words, unless it is the last that speaks HTTP: a relay for
    /// good, another until it is asked again.
    pub(super) fn drop_if_false(&self, index: usize, error: &OracleError) {
        if !error.is_false() {
            return;
        }
        let mut dropped = self.dropped.now();
        let served = dropped.keys().filter(|index| **index < self.mirrors.len()).count();
        let is_mirror = index < self.mirrors.len();
        let is_known = dropped.contains_key(&index);
        if is_mirror && !is_known && served.saturating_add(1) >= self.mirrors.len() {
            return;
        }
        let now = Instant::now();
        let until = is_mirror.then(|| now + DROPPED);
        let place = format!("mirror {} of oracle {}", self.url_of(index), self.key);
        let out = Out { place, served: error.to_string(), until, failed: None };
        if !is_known {
            tracing::warn!("{}", out.said(now));
        }
        dropped.insert(index, out);
    }
}

/// A place that served something else.
#[derive(Debug)]
struct Out {
    place: String,
    /// What was wrong with it.
    served: String,
    /// When it is asked again; never where it is none.
    until: Option<Instant>,
    /// Why it could not be had when it was asked since.
    failed: Option<String>,
}

impl Out {
    /// What is so now, in a sentence.
    fn said(&self, now: Instant) -> String {
        let Out { place, served, until, failed } = self;
        let Some(until) = until else {
            return format!("{place} is dropped: {served}. Add the oracle again to try it once more, or without it");
        };
        let failed = failed.as_ref().map(|failed| format!(". Since then: {failed}")).unwrap_or_default();
        let minutes = until.saturating_duration_since(now).as_secs().div_ceil(60);
        match minutes {
            0 => format!(
                "{place} served something else, and nothing right since: {served}{failed}. It is asked as the others are \
                 again, and has its place back once it answers; take it out if it stays so"
            ),
            1 => format!(
                "{place} is dropped: {served}{failed}. It is asked again within a minute, and before where no other place \
                 answers; take it out if it stays so"
            ),
            _ => format!(
                "{place} is dropped: {served}{failed}. It is asked again in {minutes} minutes, and before where no other \
                 place answers; take it out if it stays so"
            ),
        }
    }
}

/// Places that served something else, by their index.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped(Arc<Mutex<BTreeMap<usize, Out>>>);

impl Dropped {
    fn now(&self) -> MutexGuard<'_, BTreeMap<usize, Out>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are left alone.
    fn taken(&self) -> Vec<usize> {
        let now = Instant::now();
        let is_out = |out: &Out| out.until.is_none_or(|until| until > now);
        self.now().iter().filter(|(_, out)| is_out(out)).map(|(index, _)| *index).collect()
    }

    /// It has served the oracle's words again.
    fn leave(&self, index: usize) {
        self.now().remove(&index);
    }

    /// It was asked again, and could not be had: why.
    fn fails(&self, index: usize, why: Option<String>) {
        if let Some(out) = self.now().get_mut(&index).filter(|_| why.is_some()) {
            out.failed = why;
        }
    }

    fn said(&self) -> Vec<String> {
        let now = Instant::now();
        self.now().values().map(|out| out.said(now)).collect()
    }
}

/// A place that did not answer in time while others did.
#[derive(Clone, Copy, Debug)]
struct Bench {
    since: Instant,
    /// Until when it is left alone.
    until: Instant,
    /// A question that no other answered well enough has waited for it in vain.
    silent: bool,
    /// A question is put to it that nobody waits for.
    beside: bool,
}

/// Places that did not answer in time while others did, by their index, until they do. Real time.
#[derive(Clone, Debug, Default)]
pub(super) struct Benches(Arc<Mutex<BTreeMap<usize, Bench>>>);

impl Benches {
    fn now(&self) -> MutexGuard<'_, BTreeMap<usize, Bench>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are left alone.
    fn taken(&self, now: Instant) -> Vec<usize> {
        self.now().iter().filter(|(_, bench)| bench.until > now).map(|(index, _)| *index).collect()
    }

    /// Those that nobody waits for where others answer.
    fn silent(&self, now: Instant) -> Vec<usize> {
        let is_silent = |bench: &Bench| bench.silent && bench.until > now;
        self.now().iter().filter(|(_, bench)| is_silent(bench)).map(|(index, _)| *index).collect()
    }

    /// A question that nobody waits for may be put to it: none is.
    fn begin_beside(&self, index: usize) -> bool {
        self.now().get_mut(&index).is_some_and(|bench| !std::mem::replace(&mut bench.beside, true))
    }

    /// That question is over, and has no answer.
    fn end_beside(&self, index: usize, at_once: bool) {
        if let Some(bench) = self.now().get_mut(&index) {
            bench.beside = false;
            bench.silent &= !at_once;
        }
    }

    /// Those that were late whenever they were asked, for so long that people are told; not those nobody asks any more.
    fn lasting(&self, now: Instant) -> Vec<usize> {
        let lasts = |bench: &Bench| {
            now.saturating_duration_since(bench.since) >= SLOW && now.saturating_duration_since(bench.until) < REST
        };
        self.now().iter().filter(|(_, bench)| lasts(bench)).map(|(index, _)| *index).collect()
    }

    /// It is late; `in_vain`: and no other said enough. What is late again while it rests rests no longer for it, unless that
    /// question was the first to wait in vain.
    fn take(&self, index: usize, in_vain: bool, now: Instant) {
        let mut benches = self.now();
        let rests = Bench { since: now, until: now + REST, silent: in_vain, beside: false };
        let bench = benches.entry(index).or_insert(rests);
        if bench.until <= now || (in_vain && !bench.silent) {
            *bench = Bench { until: now + REST, silent: in_vain, ..*bench };
        }
    }

    fn leave(&self, index: usize) {
        self.now().remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_dropped_place_is_what_is_so_now() {
        let (start, dropped) = (Instant::now(), Dropped::default());
        let (place, served) = ("mirror M of oracle K".to_owned(), "not the oracle's price".to_owned());
        dropped.now().insert(0, Out { place, served, until: Some(start + DROPPED), failed: None });
        let said = |seconds| dropped.now()[&0].said(start + Duration::from_secs(seconds));
        assert!(said(0).contains("is dropped: not the oracle's price. It is asked again in 10 minutes"), "{}", said(0));
        assert!(said(500).contains("in 2 minutes") && said(550).contains("within a minute"), "{}", said(550));
        // Its time is over, and it is away.
        dropped.fails(0, Some("no answer".into()));
        let away = said(3 * 3_600);
        assert!(!away.contains("is dropped") && !away.contains("minute"), "{away}");
        assert!(away.contains("nothing right since: not the oracle's price. Since then: no answer."), "{away}");
        dropped.leave(0);
        assert!(dropped.said().is_empty());
    }

    #[test]
    fn a_place_that_was_waited_for_in_vain_is_waited_for_again_after_a_minute_or_once_it_answers() {
        let (start, benches) = (Instant::now(), Benches::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        benches.take(0, false, start);
        assert_eq!((benches.taken(start), benches.silent(start)), (vec![0], vec![]), "others said enough");
        benches.take(0, true, after(50));
        benches.take(0, true, after(70));
        assert_eq!((benches.silent(after(109)), benches.silent(after(110))), (vec![0], vec![]));
        assert_eq!((benches.taken(after(110)), benches.lasting(after(110))), (vec![], vec![]));
        // One question beside at a time.
        assert!(benches.begin_beside(0) && !benches.begin_beside(0) && !benches.begin_beside(1));
        benches.end_beside(0, false);
        assert_eq!(benches.silent(after(109)), vec![0]);
        assert!(benches.begin_beside(0));
        benches.end_beside(0, true);
        assert_eq!((benches.silent(after(109)), benches.taken(after(109))), (vec![], vec![0]), "it fails at once");
    }

    #[test]
    fn a_place_that_is_late_for_minutes_is_told_of_until_it_answers_in_time() {
        let (start, benches) = (Instant::now(), Benches::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        let told = (0..).step_by(61).find(|seconds| {
            benches.take(0, false, after(*seconds));
            !benches.lasting(after(*seconds)).is_empty()
        });
        // Late again at the first question after 300 s.
        assert_eq!(told, Some(305));
        println!("bound slow-place {} s until people are told", SLOW.as_secs());
        assert!(benches.lasting(after(305 + 121)).is_empty(), "nobody asks it any more");
        benches.leave(0);
        benches.take(0, false, after(310));
        assert_eq!((benches.taken(after(310)), benches.lasting(after(310))), (vec![0], vec![]), "once late is no news");
    }
}

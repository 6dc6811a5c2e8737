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
/// How long a place that did not answer in that time is left alone. Real time.
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
    /// served something else last.
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
        let (dropped, benched) = (self.dropped.taken(), self.benches.taken(Instant::now()));
        let (last, live): (Vec<usize>, Vec<usize>) = (0..self.mirrors.len()).partition(|index| dropped.contains(index));
        let (rested, ready): (Vec<usize>, Vec<usize>) = live.into_iter().partition(|index| benched.contains(index));
        let (mut all, mut first_failure) = (Vec::new(), None);
        for places in [ready, rested, last].into_iter().filter(|places| !places.is_empty()) {
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
        let (mut answers, mut failures) = (Vec::with_capacity(places.len()), BTreeMap::new());
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
                    let grace = if is_enough(&answer) { GRACE } else { LONG_GRACE };
                    let end = tokio::time::Instant::now() + grace;
                    until = Some(until.map_or(end, |until| until.min(end)));
                    answers.push((index, answer));
                }
                Ok(Some(Ok((index, Err(error))))) => {
                    self.drop_if_false(index, &error);
                    failures.insert(index, error);
                }
                // The runtime is ending.
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let is_late = |index: &&usize| !failures.contains_key(*index) && !answers.iter().any(|(one, _)| one == *index);
        places.iter().filter(is_late).for_each(|index| self.benches.take(*index, Instant::now()));
        match failures.into_values().next() {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok(answers),
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
        let next = match is_mirror {
            true => {
                "It is asked again in ten minutes, and before where no other place answers; take it out if it stays so"
            }
            false => "Add the oracle again to try it once more, or without it",
        };
        let text = format!("mirror {} of oracle {} is dropped: {error}. {next}", self.url_of(index), self.key);
        if !is_known {
            tracing::warn!("{text}");
        }
        let until = is_mirror.then(|| Instant::now() + DROPPED);
        dropped.insert(index, Out { text, until });
    }
}

/// A place that served something else.
#[derive(Debug)]
struct Out {
    text: String,
    /// When it is asked again; never where it is none.
    until: Option<Instant>,
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

    fn said(&self) -> Vec<String> {
        self.now().values().map(|out| out.text.clone()).collect()
    }
}

/// A place that did not answer in time while others did.
#[derive(Clone, Copy, Debug)]
struct Bench {
    since: Instant,
    /// Until when it is left alone.
    until: Instant,
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

    /// Those that were late whenever they were asked, for so long that people are told; not those nobody asks any more.
    fn lasting(&self, now: Instant) -> Vec<usize> {
        let lasts = |bench: &Bench| {
            now.saturating_duration_since(bench.since) >= SLOW && now.saturating_duration_since(bench.until) < REST
        };
        self.now().iter().filter(|(_, bench)| lasts(bench)).map(|(index, _)| *index).collect()
    }

    fn take(&self, index: usize, now: Instant) {
        let mut benches = self.now();
        let since = benches.get(&index).map_or(now, |bench| bench.since);
        benches.insert(index, Bench { since, until: now + REST });
    }

    fn leave(&self, index: usize) {
        self.now().remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_late_for_minutes_is_told_of_until_it_answers_in_time() {
        let (start, benches) = (Instant::now(), Benches::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        let told = (0..).step_by(61).find(|seconds| {
            benches.take(0, after(*seconds));
            !benches.lasting(after(*seconds)).is_empty()
        });
        // Late again at the first question after 300 s.
        assert_eq!(told, Some(305));
        println!("bound slow-place {} s until people are told", SLOW.as_secs());
        assert!(benches.lasting(after(305 + 121)).is_empty(), "nobody asks it any more");
        benches.leave(0);
        benches.take(0, after(310));
        assert_eq!((benches.taken(after(310)), benches.lasting(after(310))), (vec![0], vec![]), "once late is no news");
    }
}

//! What stands in the way now: each trouble under what it is about, from when it begins until it ends.
//!
//! A condition (no bitcoind, an exit that does not relay) is noted and ended by whoever watches it. A job that failed
//! is tried again every few seconds as long as it is needed: its trouble ends with the next one that succeeds, or when
//! none comes any more.

use super::chain_gate::Left;
use super::core::{coin, Core, AGAIN};
use super::jobs::{Key, Outcome};
use super::tools::{lock, Oracle};
use super::turn;
use super::view::{EventFacts, EventView, Severity};
use crate::chain::Health;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::{Loan, Stage};
use anyhow::Context;
use bitcoin::{BlockHash, Txid};
use hypothec_oracle::screen;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long, in real time, the trouble of a job stands that is not tried again.
const JOB_STANDS: Duration = AGAIN.saturating_mul(4);
/// How often, in real time, bitcoind is asked how it is.
const HEALTH_AGAIN: Duration = AGAIN;
/// A tip so many blocks below a known height is far below it.
const FAR_BELOW: u32 = 6;
/// A clock so far behind the chain's median time is wrong, seconds.
const CLOCK_BEHIND: u32 = 7_200;
/// An oracle's newest price so far behind this clock is old, seconds.
const PRICE_BEHIND: u32 = 600;
/// How bitcoind's own state is filed.
const BITCOIND: &str = "bitcoind";
/// How it is filed that bitcoind does not relay the exits of new loans.
const RELAY: &str = "relay";
/// How it is filed that this node's fee cap is below what bitcoind takes.
const FEE_CAP: &str = "fee cap";
/// How it is filed that bitcoind is away.
pub(super) const CHAIN: &str = "chain";
/// How it is filed that bitcoind follows another chain than before.
const OTHER_CHAIN: &str = "another chain";
/// The document that says which chain was left.
const LEFT: &str = "left-chain";
/// What is said of such a bitcoind.
const NO_RELAY: &str = "this bitcoind takes no transactions of version 3, as Bitcoin Core before 28 does not, nor Knots with \
    `mempooltruc=reject`: the exits and repayments of loans have that version. No loan is begun; of open ones only those that \
    were made in version 2 end by it. Run Bitcoin Core or Knots of version 28 or later, without `mempooltruc=reject`";
/// How it is filed that bitcoind lets no child pay for an exit below its minimum.
const CHILDREN: &str = "children";
/// What is said of such a bitcoind.
const NO_CHILDREN: &str = "this bitcoind takes transactions of version 3 as any other (`mempooltruc=accept`, as Knots comes): an \
    exit that pays less than its minimum cannot be brought in by a child that pays more, and waits until the minimum falls. Put \
    `mempooltruc=enforce` or `corepolicy=1` in its bitcoin.conf, and start it again; loans go on meanwhile";
/// A chain that parts from the known one so many blocks back is another one: coins of a block's own are spent by then.
const ANOTHER: u32 = 100;

/// All that stands.
#[derive(Debug, Default)]
pub struct Troubles {
    standing: BTreeMap<String, Standing>,
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Standing {
    text: String,
    /// The end of a job's trouble, if no other comes.
    until: Option<Instant>,
}

impl Troubles {
    /// Notes one; true when it is news.
    pub fn note(&mut self, about: &str, text: String) -> bool {
        self.put(about, text, None)
    }

    fn put(&mut self, about: &str, text: String, until: Option<Instant>) -> bool {
        let before = self.standing.insert(about.to_owned(), Standing { text: text.clone(), until });
        before.is_none_or(|before| before.text != text)
    }

    /// Is bitcoind known to refuse the exits that a new loan would have?
    pub fn is_no_relay(&self) -> bool {
        self.standing.contains_key(RELAY)
    }

    /// That nothing this node pays for would relay, in words, where that is so.
    pub fn low_cap(&self) -> Option<&str> {
        self.standing.get(FEE_CAP).map(|standing| standing.text.as_str())
    }

    /// bitcoind is asked anew how it is: it may be another than before.
    pub(super) fn ask_anew(&mut self) {
        self.asked = None;
    }

    /// It is over.
    pub fn remove(&mut self, about: &str) {
        self.standing.remove(about);
    }

    /// One sentence each. What could not be done since bitcoind or an oracle is away is not said beside that.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        let away: Vec<&str> = self.standing.iter().filter(|(about, _)| is_outside(about)).flat_map(places).collect();
        let no_chain = self.standing.contains_key(CHAIN);
        let is_news = move |about: &str, standing: &Standing| match about {
            // How it was before it went away.
            BITCOIND | RELAY | CHILDREN | FEE_CAP => !no_chain,
            about if is_outside(about) => true,
            _ => !away.iter().any(|place| standing.text.contains(place)),
        };
        let told = self.standing.iter().filter(move |(about, standing)| is_news(about, standing));
        told.map(|(about, standing)| format!("{about}: {}", standing.text))
    }

    /// The loan is over: nothing that was tried for it is tried again.
    pub fn forget_loan(&mut self, id: LoanId) {
        let id = id.to_string();
        self.standing.retain(|about, standing| standing.until.is_none() || !about.contains(&id));
    }

    /// Ends those of jobs that nobody tries any more.
    fn forget(&mut self, now: Instant) {
        self.standing.retain(|_, standing| standing.until.is_none_or(|until| until > now));
    }
}

/// Is it about what this node needs from outside?
fn is_outside(about: &str) -> bool {
    about == CHAIN || about.starts_with("oracle ")
}

/// The places on the web that a trouble names.
fn places<'a>((_, standing): (&String, &'a Standing)) -> impl Iterator<Item = &'a str> {
    let words = standing.text.split([' ', ',', ';', '(', ')']).map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.starts_with("http://") || word.starts_with("https://"))
}

/// What a job's failure is filed under; `None` where somebody else tells it.
fn about_job(key: &Key, loan: Option<&Loan>) -> Option<String> {
    match key {
        Key::Loan(id) => Some(format!("loan {id}")),
        Key::Settle(id) => Some(format!("settling loan {id}")),
        Key::Broadcast(txid) => {
            loan.filter(|loan| !is_beside(loan, *txid)).map(|loan| format!("loan {}: transaction {txid}", loan.id))
        }
        Key::Exit(_) => loan.map(|loan| format!("bringing out the exit of loan {}", loan.id)),
        // What strangers can bring about at will is no alarm; what keeps this node from quoting is noted by itself.
        Key::Peer(_) | Key::Watch(_) | Key::Rotations(_) | Key::Move | Key::Renew | Key::Recover => None,
        Key::FeeCoin | Key::Health | Key::Ask(_) => None,
    }
}

/// Is it only one of several spends of the 2-of-2? Where another stands in its place nothing is in the way.
fn is_beside(loan: &Loan, txid: Txid) -> bool {
    let seen = loan.exit.as_ref().map(|exit| &exit.seen.transaction);
    let open = loan.repayment.as_ref().map(|open| &open.transaction);
    [seen, open].into_iter().flatten().any(|transaction| transaction.compute_txid() == txid)
}

/// What keeps the funding transaction, or what takes our coin of it back, out of the mempool, in words, and what comes next;
/// `None` where it is something else, or not known. `text` is what the job said.
fn in_the_way(key: &Key, loan: &Loan, text: &str) -> Option<String> {
    let Key::Broadcast(txid) = key else { return None };
    let funding = loan.skeleton.as_ref()?.funding.txid;
    let displaced = turn::displaced(loan);
    if *txid == funding {
        return Some(format!("it is the funding transaction, and has no place in the mempool: {}", displaced?));
    }
    let withdraws = loan.withdrawal.as_ref().is_some_and(|made| made.compute_txid() == *txid);
    let is_open = withdraws && !loan.is_funded();
    if is_open && text.starts_with(coin::NO_PLACE) && !text.contains(&funding.to_string()) {
        return Some(format!(
            "it takes our coin back, and was displaced: {text}, and that is none of this loan's. Was it made by another \
             wallet of the same words? It is tried again; if a block has the other one, the loan is not funded all the same"
        ));
    }
    let stands = is_open && loan.stage == Stage::Confirming && loan.unfunded.away().is_none();
    let is_there = is_open && text.starts_with(coin::NO_PLACE);
    (stands || is_there).then(|| {
        let how = if is_there { "stands in its place there" } else { "may stand against it" };
        format!(
            "it takes our coin back, and the funding transaction {funding} {how}: it is raised as far as that is worth, and \
             one of the two will be in a block"
        )
    })
}

impl Core {
    /// Notes what stands in the way, once.
    pub fn trouble(&mut self, about: &str, text: String) {
        if self.troubles.note(about, text.clone()) {
            tracing::warn!("{about}: {text}");
        }
    }

    /// The same of what only its repetition keeps alive.
    pub(super) fn trouble_for(&mut self, about: &str, text: String, stands: Duration) {
        if self.troubles.put(about, text.clone(), Some(Instant::now() + stands)) {
            tracing::warn!("{about}: {text}");
        }
    }

    /// A job came to nothing. The log hears of it once.
    pub(super) fn job_failed(&mut self, key: &Key, about: [u8; 32], text: &str) {
        let loan = self.loans.get(&LoanId(about));
        let words = loan.and_then(|loan| in_the_way(key, loan, text));
        let text = words.as_deref().unwrap_or(text);
        let is_over = loan.is_some_and(|loan| loan.has_ended());
        match about_job(key, loan.map(AsRef::as_ref)).filter(|_| !is_over) {
            Some(about) => {
                if self.troubles.put(&about, text.to_owned(), Some(Instant::now() + JOB_STANDS)) {
                    tracing::warn!("{about}: {text}");
                }
            }
            None => tracing::debug!("{key}: {text}"),
        }
    }

    /// A job did what it was to.
    pub(super) fn job_done(&mut self, key: &Key, about: [u8; 32]) {
        let loan = self.loans.get(&LoanId(about));
        if let Some(about) = about_job(key, loan.map(AsRef::as_ref)) {
            self.troubles.remove(&about);
        }
    }

    /// The places of oracles that served something else than their words, and those the watch finds late for minutes: the others
    /// decide then what is heard.
    pub(super) fn mirror_troubles(&self) -> Vec<String> {
        let oracles = lock(&self.tools.oracles);
        let places = |oracle: &Oracle| [oracle.client.false_places(), oracle.watch.slow_places()].concat();
        oracles.values().flat_map(places).collect()
    }

    /// Ends what nobody tries any more, and asks bitcoind how it is.
    pub(super) fn mind_troubles(&mut self) {
        let now = Instant::now();
        self.troubles.forget(now);
        if self.troubles.asked.is_some_and(|asked| now.duration_since(asked) < HEALTH_AGAIN) {
            return;
        }
        let tools = self.tools.clone();
        if self.spawn(Key::Health, None, [0; 32], async move { Ok(Outcome::Health(tools.chain.health().await?)) }) {
            self.troubles.asked = Some(now);
        }
    }

    /// The chain goes back so far: a person is told where that is no reorganisation. A bitcoind may go back step by step.
    pub(super) fn mind_rollback(&mut self, to_height: u32) {
        // Within one look it may go back twice: the tip between is not known, and what was left first counts.
        let Some(left) = self.chain_gate.left.take().or_else(|| self.leaves_now(to_height)) else { return };
        let (to_height, is_told) = (left.to_height.min(to_height), left.is_told);
        let is_far = left.height.saturating_sub(to_height) >= ANOTHER;
        let left = Left { to_height, is_told: is_told || is_far, ..left };
        if is_far {
            self.trouble(OTHER_CHAIN, left_text(&left));
            self.keep_left(Some(&left));
        }
        self.chain_gate.left = Some(left);
    }

    /// The chain that is left for the first time, down to a height.
    fn leaves_now(&self, to_height: u32) -> Option<Left> {
        let (height, block) = (self.moment.height, self.tip?);
        // The wallet is told of it last.
        let known = lock(&self.tools.wallet).checkpoints();
        let depth = height.saturating_sub(to_height).min(ANOTHER) / 2;
        let below = known.iter().rev().find(|one| one.height <= height.saturating_sub(depth) && one.height > to_height);
        Some(Left { height, block, below: below.map(|one| one.hash), to_height, is_told: false })
    }

    /// Keeps on disk which chain was left, or that none is: it is told after a restart too.
    fn keep_left(&mut self, left: Option<&Left>) {
        let bytes = left.map(|left| serde_json::to_vec(left).unwrap_or_default()).unwrap_or_default();
        let store = self.tools.store.clone();
        if let Err(e) = tokio::task::block_in_place(|| store.put(LEFT, &bytes)) {
            tracing::warn!("which chain bitcoind has left cannot be written: {e}");
        }
    }

    /// Says again what was said before the restart, of a chain that is not back.
    pub(super) fn remember_left(&mut self) -> anyhow::Result<()> {
        let bytes = self.tools.store.get(LEFT)?.filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else { return Ok(()) };
        let left: Left = serde_json::from_slice(&bytes).context("read which chain was left")?;
        self.trouble(OTHER_CHAIN, left_text(&left));
        self.chain_gate.left = Some(left);
        Ok(())
    }

    /// A block of the chain: the known one may be back, or a reorganisation be over.
    pub(super) fn mind_block(&mut self, height: u32, hash: BlockHash) {
        let is_back = |left: &Left| left.block == hash || left.below == Some(hash);
        // A chain that has no block of the known one but the first is another, however long it is.
        let is_passed = |left: &Left| height > left.height && (!left.is_told || left.to_height > 0);
        let Some(left) = self.chain_gate.left.take_if(|left| is_back(left) || is_passed(left)) else { return };
        self.troubles.remove(OTHER_CHAIN);
        if !left.is_told {
            return;
        }
        self.keep_left(None);
        let text = match is_back(&left) {
            true => format!("bitcoind is back on the chain that this node knew, at block {height}"),
            false => format!(
                "bitcoind's chain is longer now than the one that this node knew, and counts: it has no block of that above {}. \
                 See `loan list` and `wallet history` for what it has otherwise",
                left.to_height
            ),
        };
        let facts = EventFacts { about: Some(OTHER_CHAIN.into()), height: Some(height), ..EventFacts::default() };
        let (at, event) = (self.moment.now.0, "chain_again".to_owned());
        self.show(EventView { at, loan_id: None, event, severity: Severity::Warning, text, facts, number: 0 });
    }

    /// bitcoind said how it is.
    pub(super) fn on_health(&mut self, health: Health) {
        let known = lock(&self.tools.wallet).known_height();
        self.chain_gate.has_all = health.has_all();
        if let Some((found, configured)) = &health.other {
            self.chain_is_anothers(found, configured);
        }
        match why_behind(&health, known) {
            Some(text) => self.trouble(BITCOIND, text),
            None => self.troubles.remove(BITCOIND),
        }
        match health.refuses_version_3 {
            true => self.trouble(RELAY, NO_RELAY.into()),
            false => self.troubles.remove(RELAY),
        }
        match health.ignores_version_3 {
            true => self.trouble(CHILDREN, NO_CHILDREN.into()),
            false => self.troubles.remove(CHILDREN),
        }
        match health.low_cap {
            Some(error) => self.trouble(FEE_CAP, error.to_string()),
            None => self.troubles.remove(FEE_CAP),
        }
    }
}

/// That nobody reads the log, while that is so. No line of the log says it.
pub(super) fn log_trouble() -> Option<String> {
    screen::is_stalled().then(|| {
        format!(
            "log: nobody reads what this node writes on standard error, or it cannot be written, and {} lines were left out \
             since it started: see where that goes, a pipe, a terminal held with Ctrl-S, a log service, a full disk. \
             Everything else goes on",
            screen::left_out()
        )
    })
}

/// That bitcoind follows another chain than the one that was left.
fn left_text(left: &Left) -> String {
    let Left { height, block, to_height, .. } = left;
    let until = match to_height {
        0 => "the known chain is back".to_owned(),
        _ => format!("the known chain is back, or bitcoind's is longer than that, above block {height},"),
    };
    format!(
        "bitcoind has left the chain that this node knew, of which block {height} is {block}: it has no block of that above \
         {to_height}. See `bitcoind.url`, and on which data folder that bitcoind runs; until {until} \
         nothing that is said of a loan holds"
    )
}

/// What is wrong with a clock that lies behind the median time of the chain, which is an hour behind the world as a rule and
/// never more than two ahead. Time that a conductor moves is never wrong.
pub(super) fn why_clock(now: Time, median: Time, is_file: bool) -> Option<String> {
    (!is_file && median.since(now) > CLOCK_BEHIND).then(|| {
        format!(
            "this machine's clock says {now}, and the chain's median time is {median} already: set the clock. By a wrong \
             one prices, quotes and expiry are misjudged"
        )
    })
}

/// Is this clock confirmed neither by the chain nor by a price? Then nobody knows how soon anything is due. Time that a
/// conductor moves is what it says.
pub(super) fn is_unconfirmed(now: Time, median: Time, newest_price: Option<Time>, is_file: bool) -> bool {
    let is_old = |price: Time| now.since(price) > PRICE_BEHIND;
    !is_file && now.since(median) > CLOCK_BEHIND && newest_price.is_none_or(is_old)
}

/// What may be wrong with a clock that lies ahead of both the chain and every price that the oracles sign. A chain alone may
/// have no block for hours, and an oracle alone may stand still.
pub(super) fn why_clock_ahead(now: Time, median: Time, newest_price: Option<Time>, is_file: bool) -> Option<String> {
    let price = newest_price?;
    is_unconfirmed(now, median, newest_price, is_file).then(|| {
        format!(
            "this machine's clock says {now}, the newest price of its oracles is of {price}, and the chain's median time is \
             {median}: this clock may be ahead. See that it is right; if it is, its oracles stand still"
        )
    })
}

/// What is wrong with a bitcoind that is not where it should be; `known` is the highest block this node has seen.
fn why_behind(health: &Health, known: u32) -> Option<String> {
    let Health { blocks, headers, is_initial, other, .. } = health;
    if let Some((found, configured)) = other {
        return Some(format!(
            "it is on `{found}`, and this node is for `{configured}`: correct `bitcoind.url`, or start the right one there"
        ));
    }
    let (blocks, headers, is_initial) = (*blocks, *headers, *is_initial);
    let advice = "no loan is settled by what it does not know; wait until it has caught up";
    if headers > blocks.saturating_add(FAR_BELOW) {
        return Some(format!("it is at block {blocks} of {headers}: {advice}"));
    }
    if known > blocks.saturating_add(FAR_BELOW) {
        return Some(format!("it is at block {blocks}, and this node has seen block {known}: {advice}"));
    }
    is_initial
        .then(|| format!("it is in its initial download, at block {blocks}, and its newest block is old: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitcoind_far_behind_is_told_and_one_a_block_behind_is_not() {
        let at = |blocks, headers, is_initial| {
            let (refuses_version_3, ignores_version_3, low_cap) = (false, false, None);
            Health { blocks, headers, is_initial, other: None, refuses_version_3, ignores_version_3, low_cap }
        };
        let why = |blocks, headers, is_initial, known| why_behind(&at(blocks, headers, is_initial), known);
        let other = Some(("signet".to_owned(), "regtest".to_owned()));
        let swapped = why_behind(&Health { other, ..at(1, 1, true) }, 0).unwrap();
        assert!(swapped.starts_with("it is on `signet`, and this node is for `regtest`"), "{swapped}");
        assert_eq!(why(100, 101, false, 103), None);
        assert!(why(100, 900_000, true, 0).unwrap().contains("block 100 of 900000"));
        assert!(why(100, 107, false, 0).is_some());
        assert!(why(100, 100, false, 107).unwrap().contains("has seen block 107"));
        assert!(why(100, 100, true, 100).unwrap().contains("initial download"));
        assert_eq!(why(u32::MAX, u32::MAX, false, u32::MAX), None);
    }

    #[test]
    fn a_clock_a_day_behind_the_chain_is_told_and_one_beside_it_is_not() {
        let now = Time(1_583_712_000);
        let median = |ahead: u32| Time(now.0 + ahead);
        assert_eq!(why_clock(now, Time(0), false), None);
        assert_eq!(why_clock(now, median(CLOCK_BEHIND), false), None);
        assert!(why_clock(now, median(82_800), false)
            .unwrap()
            .contains("2020-03-09T00:00:00Z, and the chain's median"));
        assert_eq!(why_clock(now, median(82_800), true), None, "a conductor moves the chain first");
        // Ahead of chain and prices both: an hour of the chain alone, or an oracle that stands still, says nothing.
        let ahead = |by: u32, price: Option<u32>| {
            why_clock_ahead(Time(now.0 + by), now, price.map(|at| Time(now.0 + by - at)), false)
        };
        assert_eq!((ahead(7_200, Some(7_200)), ahead(90_000, None), ahead(90_000, Some(600))), (None, None, None));
        let text = ahead(90_000, Some(82_800)).unwrap();
        assert!(text.contains("the chain's median time is 2020-03-09T00:00:00Z: this clock may be ahead"), "{text}");
        assert_eq!(why_clock_ahead(Time(now.0 + 90_000), now, Some(now), true), None);
        // Before any price is heard nothing is told, and nothing is sure either.
        let unsure = |by: u32, price: Option<u32>| {
            is_unconfirmed(Time(now.0 + by), now, price.map(|at| Time(now.0 + by - at)), false)
        };
        assert!(unsure(90_000, None) && unsure(90_000, Some(82_800)));
        assert!(!unsure(90_000, Some(600)) && !unsure(7_200, None) && !unsure(7_200, Some(7_200)));
        assert!(!is_unconfirmed(Time(now.0 + 90_000), now, None, true));
    }

    #[test]
    fn a_trouble_is_news_once_and_a_jobs_ends_when_nobody_tries_again() {
        let mut troubles = Troubles::default();
        assert!(troubles.note("chain", "away".into()));
        assert!(!troubles.note("chain", "away".into()));
        assert!(troubles.note("chain", "far".into()));
        let now = Instant::now();
        troubles.put("loan", "no coin".into(), Some(now + JOB_STANDS));
        troubles.forget(now);
        assert_eq!(troubles.sentences().collect::<Vec<_>>(), ["chain: far", "loan: no coin"]);
        troubles.forget(now + JOB_STANDS);
        assert_eq!(troubles.sentences().collect::<Vec<_>>(), ["chain: far"]);
        troubles.remove("chain");
        assert_eq!(troubles.sentences().count(), 0);
    }

    #[test]
    fn one_outage_is_told_once_and_a_loan_that_is_over_is_told_no_more() {
        let mut troubles = Troubles::default();
        let soon = Some(Instant::now() + JOB_STANDS);
        let (id, node) = (LoanId([7; 32]), "bitcoind at http://127.0.0.1:18443");
        let job = format!("{node} did not answer `testmempoolaccept` within 30 s");
        troubles.put(&format!("loan {id}: transaction 1a"), job, soon);
        troubles.note(BITCOIND, "it is at block 39, and this node has seen block 102".into());
        assert_eq!(troubles.sentences().count(), 2, "each by itself is news");
        troubles.note(CHAIN, format!("waiting for bitcoind: {node} cannot be reached (refused): start bitcoind"));
        troubles.note(&format!("exit of loan {id}"), format!("{node} cannot be reached (refused)"));
        troubles.note("oracle 1a", "http://127.0.0.1:9800: no answer; look whether it runs".into());
        troubles.put(&format!("settling loan {id}"), "oracle http://127.0.0.1:9800 is silent".into(), soon);
        let told: Vec<String> = troubles.sentences().collect();
        assert!(told.len() == 2 && told[0].starts_with("chain: ") && told[1].starts_with("oracle 1a: "), "{told:?}");
        troubles.remove(CHAIN);
        troubles.remove("oracle 1a");
        assert_eq!(troubles.sentences().count(), 4);
        troubles.forget_loan(id);
        assert_eq!(troubles.sentences().count(), 2, "what its watcher ends is ended by it");
    }
}

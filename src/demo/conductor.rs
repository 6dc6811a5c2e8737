//! Fast time: it stands still until the conductor moves it, and everybody has caught up before it moves again.
//!
//! One step: set bitcoind's clock, mine, replace the clock file every process reads, then wait until the oracle has
//! said everything up to that moment and every node has nothing left to do. Network time-outs stay real; nothing here
//! waits for a fixed time.

use super::bitcoind::BitcoindProcess;
use super::client::Client;
use super::wait::{until, PATIENCE};
use crate::node::view::Status;
use anyhow::Context;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::{Time, DAY, HOUR};
use hypothec_oracle::wire::Status as OracleStatus;
use std::path::{Path, PathBuf};

/// Blocks after a long step: median time past is the median of the last eleven, so six of them carry it along.
const BLOCKS_FOR_MEDIAN: u32 = 6;
/// The longest single step. Transactions leave the mempool after 14 days.
const LONGEST_STEP: u32 = 14 * DAY;

/// Somebody who must have caught up before time moves on.
#[derive(Clone, Debug)]
pub enum Watched {
    /// An oracle, by its base URL.
    Oracle(String),
    /// A node.
    Node {
        /// What it is called.
        name: String,
        /// A line to it.
        client: Client,
    },
}

/// Who is watched now, and what time it is.
#[derive(Debug)]
pub struct Conductor {
    clock_file: PathBuf,
    now: Time,
    http: reqwest::Client,
}

/// One look at everybody: the chain and the number of things that ever happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    tip: String,
    turns: Vec<u64>,
}

impl Conductor {
    /// Sets the clock file for the first time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(clock_file: &Path, now: Time) -> anyhow::Result<Conductor> {
        Clock::set_file(clock_file, now)?;
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Conductor { clock_file: clock_file.to_path_buf(), now, http })
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The clock file.
    pub fn clock_file(&self) -> &Path {
        &self.clock_file
    }

    /// Moves time to `to` in one step and waits until everybody has caught up. Mines a block, or six when the step is
    /// longer than an hour, so that median time past follows.
    ///
    /// # Errors
    /// When `to` is not later, or lies so far ahead that transactions would be forgotten; when somebody does not catch
    /// up, with who and with what it says instead.
    pub async fn advance_to(
        &mut self,
        bitcoind: &BitcoindProcess,
        watched: &[Watched],
        to: Time,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(to > self.now, "time is {} and cannot be moved to {to}", self.now);
        let step = to.since(self.now);
        anyhow::ensure!(step <= LONGEST_STEP, "a step from {} to {to} is longer than 14 days", self.now);
        bitcoind.set_mock_time(to).await?;
        bitcoind.mine(if step > HOUR { BLOCKS_FOR_MEDIAN } else { 1 }).await?;
        Clock::set_file(&self.clock_file, to)?;
        self.now = to;
        self.quiet(bitcoind, watched).await
    }

    /// Moves time to `to` by steps of at most `step` seconds, each ending on a multiple of it or at `to`.
    ///
    /// # Errors
    /// As [`Conductor::advance_to`].
    pub async fn walk_to(
        &mut self,
        bitcoind: &BitcoindProcess,
        watched: &[Watched],
        to: Time,
        step: u32,
    ) -> anyhow::Result<()> {
        while let Some(next) = next_stop(self.now, to, step) {
            self.advance_to(bitcoind, watched, next).await?;
        }
        Ok(())
    }

    /// Mines while time stands still, and waits until everybody has caught up.
    ///
    /// # Errors
    /// When somebody does not.
    pub async fn mine(&mut self, bitcoind: &BitcoindProcess, watched: &[Watched], blocks: u32) -> anyhow::Result<()> {
        bitcoind.mine(blocks).await?;
        self.quiet(bitcoind, watched).await
    }

    /// Waits until everybody knows this moment and this chain and has nothing left to do: two looks in a row that show
    /// the same, so that nothing happened between them.
    ///
    /// # Errors
    /// Names who is not there, and with what, after two minutes.
    pub async fn quiet(&self, bitcoind: &BitcoindProcess, watched: &[Watched]) -> anyhow::Result<()> {
        let what = format!("everybody to have caught up with {}", self.now);
        let last = std::sync::Mutex::new(None::<Reading>);
        until(&what, PATIENCE, || async {
            let reading = self.look(bitcoind, watched).await;
            let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match reading {
                Ok(reading) if last.as_ref() == Some(&reading) => Ok(()),
                Ok(reading) => {
                    *last = Some(reading);
                    Err("something happened just now".to_string())
                }
                Err(not_yet) => {
                    *last = None;
                    Err(format!("{not_yet:#}"))
                }
            }
        })
        .await
    }

    /// One look; an error says who is not ready, and why.
    async fn look(&self, bitcoind: &BitcoindProcess, watched: &[Watched]) -> anyhow::Result<Reading> {
        let tip = bitcoind.tip().await?;
        let mempool = bitcoind.mempool_len().await?;
        let mut turns = Vec::with_capacity(watched.len());
        for each in watched {
            match each {
                Watched::Oracle(url) => {
                    let status: OracleStatus = self.http.get(format!("{url}/v1/status")).send().await?.json().await?;
                    anyhow::ensure!(status.clock >= self.now, "the oracle is at {}", status.clock);
                }
                Watched::Node { name, client } => {
                    let status = client.status().await.with_context(|| format!("ask the {name}"))?;
                    if let Some(not_yet) = not_ready(&status, self.now, &tip) {
                        anyhow::bail!("the {name} {not_yet}");
                    }
                    // What one node just broadcast, every node must have seen.
                    let seen = usize::try_from(status.mempool).unwrap_or(usize::MAX);
                    anyhow::ensure!(seen == mempool, "the {name} sees {seen} of {mempool} transactions that wait");
                    turns.push(status.turns);
                }
            }
        }
        Ok(Reading { tip, turns })
    }
}

/// What a node still lacks.
fn not_ready(status: &Status, now: Time, tip: &str) -> Option<String> {
    let troubles = || match status.troubles.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    };
    if status.clock < now.0 {
        return Some(format!("is at {}{}", Time(status.clock), troubles()));
    }
    if status.tip != tip {
        return Some(format!("is at block {} {}, not at {tip}{}", status.height, status.tip, troubles()));
    }
    (!status.idle).then(|| format!("has something left to do{}", troubles()))
}

/// The next stop on a way to `to`, `None` there.
fn next_stop(now: Time, to: Time, step: u32) -> Option<Time> {
    let step = step.max(1);
    let multiple = now.0.checked_sub(now.0 % step)?.checked_add(step);
    (now < to).then(|| multiple.map_or(to, |next| Time(next).min(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_stops_at_full_steps_and_at_its_end() {
        let stops = |now, to, step| {
            std::iter::successors(next_stop(Time(now), Time(to), step), |now| next_stop(*now, Time(to), step))
                .map(|t| t.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(stops(7_000, 15_000, HOUR), [7_200, 10_800, 14_400, 15_000]);
        assert_eq!(stops(7_200, 14_400, HOUR), [10_800, 14_400]);
        assert_eq!(stops(7_200, 7_200, HOUR), [0; 0]);
        assert_eq!(stops(u32::MAX - 10, u32::MAX, HOUR), [u32::MAX]);
    }
}

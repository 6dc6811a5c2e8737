//! Waiting for bitcoind: the node starts without it, says what it waits for, and asks again.
//!
//! Until bitcoind has said once that it is on the right network and has its index, nothing of it is believed.

use super::core::Core;
use anyhow::Context;
use bitcoin::BlockHash;
use std::time::{Duration, Instant};

/// How often a bitcoind that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Has bitcoind been found to be the right one since the start?
#[derive(Debug, Default)]
pub struct ChainGate {
    open: bool,
    asked: Option<Instant>,
    /// Where the chain was before bitcoind left it, until it is past that.
    pub(super) left: Option<Left>,
}

/// A tip that bitcoind went back from.
#[derive(Debug)]
pub(super) struct Left {
    pub height: u32,
    pub block: BlockHash,
    /// Was a person told of it?
    pub is_told: bool,
}

impl Core {
    /// Whether bitcoind may be followed; asks it, where that is not known yet.
    ///
    /// # Errors
    /// What makes waiting useless, only at the start: a wrong network, no index, wrong credentials.
    pub(super) async fn find_chain(&mut self, starting: bool) -> anyhow::Result<bool> {
        if self.chain_gate.open {
            return Ok(true);
        }
        if self.chain_gate.asked.is_some_and(|asked| asked.elapsed() < AGAIN) {
            return Ok(false);
        }
        self.chain_gate.asked = Some(Instant::now());
        let found = match self.tools.chain.check().await {
            Ok(()) => self.tools.chain.tip().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(tip) => {
                self.chain_gate.open = true;
                self.troubles.remove("chain");
                if self.tip == Some(tip.hash) {
                    // No block will come to tell it.
                    self.moment.median_time = tip.median_time;
                }
                Ok(true)
            }
            Err(error) if starting && !error.is_temporary() => Err(error).context("ask bitcoind"),
            Err(error) => {
                self.trouble("chain", format!("waiting for bitcoind: {error}"));
                Ok(false)
            }
        }
    }
}

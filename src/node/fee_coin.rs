//! The coin for fees, seen to: made where none is set apart, and told of where it is missing or too small.
//!
//! While a loan is open, its exit may have to be paid for when fees have risen. Its own output pays first; where that is too
//! small, or all of it is the other side's, only another coin can.

use super::core::Core;
use super::history::{note, Purpose};
use super::jobs::{Key, Outcome};
use super::outgoing;
use super::tools::{lock, Tools, Trouble};
use super::view::{EventFacts, EventView};
use crate::loan::units::{SatPerVb, Time, DAY};
use crate::protocol::Stage;
use crate::settlement::bump::CHILD_WITH_RESERVE;
use crate::store::Store;
use crate::wallet::Payment;
use anyhow::Context;
use bitcoin::{Amount, BlockHash};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The document that says since when one is missing, or when one was last made by a transaction of its own: unix seconds.
const WAITS: &str = "fee-coin-waits";
/// What people are told of one that is made.
const MADE: &str = "fee_coin_made";
/// How often it is looked at, in real time.
const LOOK: Duration = Duration::from_secs(30);
/// Virtual bytes of an exit that a child pays for.
const EXIT: u64 = 170;
/// A transaction of its own may cost this part of the coin it makes; where fees are higher, it waits.
const FEE_PARTS: u64 = 10;

/// What a look found, and what it made.
#[derive(Debug)]
pub struct Minded {
    estimate: SatPerVb,
    /// The transaction that sets a coin apart.
    made: Option<Payment>,
}

/// What was last found.
#[derive(Debug, Default)]
pub struct FeeCoin {
    looked: Option<Looked>,
    estimate: Option<SatPerVb>,
}

/// Where the chain was when it was looked at, where the clock of a test stood, and when that was.
type Looked = ((Option<BlockHash>, Option<Time>), Instant);

impl Core {
    /// Looks after the coin from time to time, while nothing else is done.
    pub(super) fn mind_fee_coin(&mut self) {
        let place = (self.tip, self.tools.clock.is_file().then_some(self.moment.now));
        let looked = self.fee_coin.looked.is_some_and(|(there, when)| there == place && when.elapsed() < LOOK);
        // A restored node first moves what it has; before the tip is reached nothing is known of its coins.
        if looked || !self.at_tip || !self.caught_up || self.is_moving() || !self.has_open_loans() {
            return;
        }
        if lock(&self.tools.wallet).reserve_wanted() == Amount::ZERO {
            return;
        }
        let tools = self.tools.clone();
        if self.spawn(Key::FeeCoin, None, [0; 32], async move { look(tools).await.map(Outcome::FeeCoin) }) {
            self.fee_coin.looked = Some((place, Instant::now()));
        }
    }

    pub(super) fn on_fee_coin(&mut self, minded: &Minded) {
        self.fee_coin.estimate = Some(minded.estimate);
        let Some(made) = &minded.made else { return };
        let (txid, fee) = (made.transaction.compute_txid(), made.fee.to_sat());
        let text = format!("a coin is set apart for the fees of exits, in {txid}; its own fee is {fee} sats");
        let facts = EventFacts { txid: Some(txid), ..EventFacts::default() };
        self.show(EventView { at: self.moment.now.0, event: MADE.into(), text, facts, ..EventView::default() });
    }

    /// What people are told while a loan is open: that there is no such coin, or that it is too small.
    pub(super) fn fee_coin_trouble(&self) -> Option<String> {
        // While a restored node moves its coins none is free, and that is told.
        if !self.has_open_loans() || self.is_moving() {
            return None;
        }
        let wallet = lock(&self.tools.wallet);
        let wanted = wallet.reserve_wanted();
        match wallet.reserve_coin() {
            _ if wanted == Amount::ZERO => None,
            // What is on its way will do.
            None if wallet.reserve_waits() => None,
            None => Some(missing(wanted)),
            Some(coin) => too_small(coin.txout.value, self.fee_coin.estimate?),
        }
    }

    fn has_open_loans(&self) -> bool {
        self.loans.values().any(|loan| matches!(loan.stage, Stage::Active | Stage::Closing))
    }
}

fn missing(wanted: Amount) -> String {
    format!(
        "fee coin: no coin is free for the fees of an exit. All is in the loan or bound elsewhere: should fees rise above \
         what was paid ahead, an exit waits until its own output can pay. Send {} sats to `wallet address`, or set \
         `[fees] reserve = 0`",
        wanted.to_sat()
    )
}

fn too_small(value: Amount, estimate: SatPerVb) -> Option<String> {
    let needed = estimate.0.saturating_mul(EXIT.saturating_add(CHILD_WITH_RESERVE));
    (value.to_sat() < needed).then(|| {
        format!(
            "fee coin: it has {} sats, and at {} sat/vB an exit may need {needed}: send as much to `wallet address`, or keep \
             more by `[fees] reserve`",
            value.to_sat(),
            estimate.0
        )
    })
}

/// Asks what fees are, and makes the coin where none is set apart and a transaction of its own is cheap: when no change has
/// made it for a day, and once a day at most, over restarts.
async fn look(tools: Arc<Tools>) -> Result<Minded, Trouble> {
    let estimate = tools.capped_estimate().await?;
    if !lock(&tools.wallet).lacks_reserve() {
        return Ok(Minded { estimate, made: None });
    }
    let (rate, now) = (tools.chain.patient_fee_rate().await?, tools.now()?);
    let wait = || tools.store.put(WAITS, now.0.to_string().as_bytes()).map_err(Trouble::later);
    match waits_since(&*tools.store)? {
        None => {
            wait()?;
            return Ok(Minded { estimate, made: None });
        }
        Some(since) if now.since(since) < DAY => return Ok(Minded { estimate, made: None }),
        Some(_) => {}
    }
    let payment = {
        let mut wallet = lock(&tools.wallet);
        let most = wallet.reserve_wanted() / FEE_PARTS;
        let Some(payment) = wallet.make_reserve(rate)?.filter(|payment| payment.fee <= most) else {
            return Ok(Minded { estimate, made: None });
        };
        // On disk first: a crash must not make another.
        wait()?;
        note(&*tools.store, payment.transaction.compute_txid(), Purpose::FeeCoin)?;
        wallet.record(&payment.transaction, now)?;
        payment
    };
    outgoing::bring(&tools, &payment, now, || false).await.map_err(|error| Trouble::Later(error.message))?;
    Ok(Minded { estimate, made: Some(payment) })
}

fn waits_since(store: &dyn Store) -> anyhow::Result<Option<Time>> {
    let Some(bytes) = store.get(WAITS)? else { return Ok(None) };
    let unix = String::from_utf8_lossy(&bytes).parse().with_context(|| format!("stored {WAITS}"))?;
    Ok(Some(Time(unix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_too_small_at_the_present_estimate_is_told_with_what_an_exit_may_need() {
        let value = Amount::from_sat(20_000);
        assert_eq!(too_small(value, SatPerVb(57)), None);
        let said = too_small(value, SatPerVb(58)).unwrap();
        assert!(said.contains("20000 sats") && said.contains("58 sat/vB") && said.contains("20184"), "{said}");
        assert!(missing(value).contains("20000 sats to `wallet address`"));
        assert!(too_small(value, SatPerVb(u64::MAX)).is_some());
    }
}

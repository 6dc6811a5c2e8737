//! Transactions of the wallet's own that a person asked for.

use super::core::Core;
use super::history::{note, Purpose};
use super::tools::{error, lock, Tools, Trouble};
use super::view::{Consolidated, ErrorView};
use crate::chain::ChainEvent;
use crate::loan::units::Time;
use crate::protocol::ErrorCode;
use crate::wallet::{Payment, MOST_INPUTS};
use bitcoin::Txid;

/// Brings out what the wallet has made and recorded; where nobody takes it, its coins are free again.
pub async fn bring(tools: &Tools, payment: &Payment, now: Time) -> Result<Txid, ErrorView> {
    let sent = match tools.chain.test_accept(&payment.transaction).await {
        Ok(()) => tools.chain.broadcast(&payment.transaction).await,
        Err(e) => Err(e),
    };
    if sent.as_ref().is_err_and(|e| e.rejection().is_some()) {
        // It is nowhere: its coins are free again.
        let gone = ChainEvent::Mempool { new: Vec::new(), evicted: vec![payment.transaction.compute_txid()] };
        lock(&tools.wallet).apply(&gone, now).map_err(|e| error(ErrorCode::Internal, e))?;
    }
    sent.map_err(|e| error(ErrorCode::Unavailable, e))
}

/// Joins the smallest free coins into one, as many as one transaction may spend.
pub async fn consolidate(tools: &Tools) -> Result<Consolidated, ErrorView> {
    let unavailable = |e: Trouble| e.view();
    let fee_rate = tools.chain.fee_rate().await.map_err(|e| unavailable(e.into()))?;
    let now = tools.now().map_err(unavailable)?;
    let (payment, left) = {
        let mut wallet = lock(&tools.wallet);
        let (payment, left) = wallet.consolidate(fee_rate).map_err(|e| error(ErrorCode::Refused, e))?;
        wallet.record(&payment.transaction, now).map_err(|e| error(ErrorCode::Internal, e))?;
        (payment, left)
    };
    note(&*tools.store, payment.transaction.compute_txid(), Purpose::Joined).map_err(unavailable)?;
    let txid = bring(tools, &payment, now).await?;
    let joined = u64::try_from(payment.transaction.input.len()).unwrap_or(u64::MAX);
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    Ok(Consolidated { txid, fee_sats: payment.fee.to_sat(), joined, left })
}

impl Core {
    /// Tells in time that there are more coins than one transaction may spend.
    pub(super) fn coin_trouble(&self) -> Option<String> {
        let free = lock(&self.tools.wallet).free_coins().len();
        (free > MOST_INPUTS).then(|| {
            format!(
                "wallet: {free} free coins are more than the {MOST_INPUTS} that one transaction may spend; join small ones \
                 with `wallet consolidate` while fees are low, and again until few are left"
            )
        })
    }
}

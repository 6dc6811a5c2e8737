//! One step of moving the coins: what was made is looked after, and what is missing is made.

use super::super::history::{note, Purpose};
use super::super::tools::{lock, Tools, Trouble};
use super::super::unmade;
use super::{Done, Move, Restored, Step, AT_ONCE};
use crate::chain::ChainEvent;
use crate::loan::units::Time;
use crate::wallet::{Rival, Wallet};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction};

/// A move that is not in a block after so many is paid for anew, at the estimate of then.
const DEARER_AFTER: u32 = 6;

/// Looks after what was made, and makes what is missing. What one move cannot have, another waits for as little as it must:
/// it is told, and tried again with the next step.
pub(super) async fn step(tools: &Tools, mut restored: Restored, height: u32) -> Result<Step, Trouble> {
    let (rate, now) = (tools.chain.fee_rate().await?, tools.now()?);
    restored.failed.clear();
    let mut moves = Vec::new();
    let all = std::mem::take(&mut restored.moves);
    let rivals = |made: &Move| all.iter().filter(|other| spends_with(made, other)).count();
    for made in all.clone() {
        let txid = made.transaction.compute_txid();
        match tools.chain.transaction(txid).await? {
            Some(seen) if seen.confirmed.is_some() => restored.done.push(Done { txid, fee_sats: made.fee_sats }),
            Some(_) => {
                // Once a dearer one is made it goes out before another is.
                let dearer = if rivals(&made) > 1 { Ok(None) } else { dearer(tools, &made, rate, height) };
                moves.push(made);
                match dearer {
                    Ok(dearer) => moves.extend(dearer),
                    Err(why) => {
                        restored.fail(format!("move {txid} is not paid for anew, because of this: {}", why.message()))
                    }
                }
            }
            None => match bring(tools, &made.transaction).await {
                Ok(()) => moves.push(made),
                Err(error) if error.rejection().is_some() => {
                    // Its coins went elsewhere, or a dearer one took its place: what is left moves anew.
                    let gone = ChainEvent::Mempool { new: Vec::new(), evicted: vec![txid] };
                    lock(&tools.wallet).apply(&gone, now)?;
                }
                Err(error) => return Err(error.into()),
            },
        }
    }
    let begun = *restored.begun.get_or_insert(height);
    // What was paid before goes out first, or is told: a move of its coins ends it.
    let unmade = unmade::bring_first(tools, begun, now).await?;
    let mut wallet = lock(&tools.wallet);
    let room = if unmade.is_empty() { AT_ONCE.saturating_sub(moves.len()) } else { 0 };
    for _ in 0..room {
        match make(tools, &mut wallet, begun, rate, now) {
            Ok(Some((transaction, fee_sats))) => moves.push(Move { transaction, fee_sats, height }),
            Ok(None) => break,
            Err(why) => {
                restored.fail(format!("no further move can be made, because of this: {}", why.message()));
                break;
            }
        }
    }
    restored.moves = moves;
    let left = wallet.unmoved(begun);
    drop(wallet);
    restored.left = left.into_iter().filter(|coin| !restored.moves_coin(coin)).collect();
    restored.works |= restored.moves.is_empty() && unmade.is_empty();
    Ok(Step { restored, unmade })
}

impl Restored {
    fn fail(&mut self, text: String) {
        tracing::warn!("{text}");
        self.failed.push(text);
    }
}

/// A move of coins that nothing moves yet; `None` where there is none to be made.
fn make(
    tools: &Tools,
    wallet: &mut Wallet,
    begun: u32,
    rate: FeeRate,
    now: Time,
) -> Result<Option<(Transaction, u64)>, Trouble> {
    let Some(payment) = wallet.move_old(begun, rate)? else { return Ok(None) };
    note(&*tools.store, payment.transaction.compute_txid(), Purpose::Moved)?;
    wallet.record(&payment.transaction, now)?;
    Ok(Some((payment.transaction, payment.fee.to_sat())))
}

/// Do they move a coin both?
fn spends_with(one: &Move, other: &Move) -> bool {
    let spent = |outpoint: &OutPoint| other.transaction.input.iter().any(|input| input.previous_output == *outpoint);
    one.transaction.input.iter().any(|input| spent(&input.previous_output))
}

async fn bring(tools: &Tools, transaction: &Transaction) -> Result<(), crate::chain::Error> {
    tools.chain.test_accept(transaction).await?;
    tools.chain.broadcast(transaction).await?;
    tracing::info!(txid = %transaction.compute_txid(), "the coins of the restored wallet move to a new address");
    Ok(())
}

/// The same move for more, when it has waited long and the estimate has risen; without coins that are not worth that.
fn dearer(tools: &Tools, made: &Move, rate: FeeRate, height: u32) -> Result<Option<Move>, Trouble> {
    let size = made.transaction.weight().to_vbytes_ceil().max(1);
    let paid = FeeRate::from_sat_per_kwu(made.fee_sats.saturating_mul(250) / size);
    if height < made.height.saturating_add(DEARER_AFTER) || rate <= paid {
        return Ok(None);
    }
    let coins: Vec<OutPoint> = made.transaction.input.iter().map(|input| input.previous_output).collect();
    let rival = Rival { fee: Amount::from_sat(made.fee_sats), fee_rate: paid };
    let Some(payment) = lock(&tools.wallet).move_dearer(&coins, rate, &rival)? else { return Ok(None) };
    note(&*tools.store, payment.transaction.compute_txid(), Purpose::Moved)?;
    Ok(Some(Move { transaction: payment.transaction, fee_sats: payment.fee.to_sat(), height }))
}

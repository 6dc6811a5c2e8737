//! Transactions of the wallet's own that a person asked for.

use super::core::Core;
use super::handle::{came_late, Reply};
use super::history::{note, Purpose};
use super::outgoing::bring;
use super::tools::{error, lock, Tools, Trouble};
use super::view::{Consolidated, ErrorView, PreviewView, SendRequest, Sent};
use crate::protocol::ErrorCode;
use crate::wallet::{Payment, Wallet, MOST_INPUTS};
use bitcoin::{Address, Amount, FeeRate, Transaction};

/// Coins that stay behind where everything is sent, since each costs more than it is worth.
#[derive(Clone, Copy, Default)]
struct Costly {
    coins: u64,
    sats: u64,
}

impl Costly {
    fn of(wallet: &Wallet, fee_rate: FeeRate) -> Costly {
        // Out of range is more than all bitcoin: then nothing is sent either.
        let (coins, value) = wallet.costly(fee_rate).unwrap_or_default();
        Costly { coins: u64::try_from(coins).unwrap_or(u64::MAX), sats: value.to_sat() }
    }
}

/// Makes a payment out of the wallet. With everything, `keep` leaves the coin for the fees of exits, and what costs more than
/// it is worth stays too.
async fn payment<T>(
    tools: &Tools,
    request: &SendRequest,
    keep: bool,
    then: impl FnOnce(&mut Wallet, Payment) -> Result<T, ErrorView>,
) -> Result<(T, Costly), ErrorView> {
    let address: Address<bitcoin::address::NetworkUnchecked> = request.address.parse().map_err(|_| {
        error(
            ErrorCode::BadRequest,
            format!(
                "address {:?} is none: a character is wrong or missing. Write one of the node's network, as `wallet address` \
                 shows them",
                request.address
            ),
        )
    })?;
    let sats = how_much(request)?;
    let fee_rate = tools.chain.fee_rate().await.map_err(|e| Trouble::from(e).view())?;
    let mut wallet = lock(&tools.wallet);
    let costly = if sats.is_none() { Costly::of(&wallet, fee_rate) } else { Costly::default() };
    let paying = match sats {
        Some(sats) => wallet.send(&address, Amount::from_sat(sats), fee_rate),
        None if keep => wallet.send_all_but_reserve(&address, fee_rate),
        None => wallet.send_all(&address, fee_rate),
    };
    let kept = wallet.reserve_wanted();
    let payment = paying.map_err(|e| match keep && kept > Amount::ZERO {
        true => error(
            ErrorCode::Refused,
            format!(
                "{e}. While loans are open {} sats stay for the fees of exits; to send them too, say --with-fee-coin",
                kept.to_sat()
            ),
        ),
        false => error(ErrorCode::Refused, e),
    })?;
    Ok((then(&mut wallet, payment)?, costly))
}

/// The amount; nothing for everything, which has to be said.
fn how_much(request: &SendRequest) -> Result<Option<u64>, ErrorView> {
    match (request.sats, request.all) {
        (Some(sats), false) => Ok(Some(sats)),
        (None, true) => Ok(None),
        (None, false) => {
            Err(error(ErrorCode::BadRequest, "there is no amount: name `sats`, or say `all: true` for everything free"))
        }
        (Some(_), true) => Err(error(
            ErrorCode::BadRequest,
            "there is an amount, and `all: true` for everything free: say one of the two",
        )),
    }
}

/// Pays somebody, as long as whoever asked waits for the answer.
pub async fn send(tools: &Tools, request: &SendRequest, keep: bool, reply: &Reply<Sent>) -> Result<Sent, ErrorView> {
    let now = tools.now().map_err(|trouble| trouble.view())?;
    // Known to the wallet at once, so that nothing else chooses the same coins.
    let record = |wallet: &mut Wallet, payment: Payment| {
        if reply.is_closed() {
            return Err(came_late());
        }
        wallet.record(&payment.transaction, now).map_err(|e| error(ErrorCode::Internal, e))?;
        Ok(payment)
    };
    let (payment, costly) = payment(tools, request, keep, record).await?;
    let txid = payment.transaction.compute_txid();
    note(&*tools.store, txid, Purpose::Sent).map_err(|trouble| trouble.view())?;
    let unsure = bring(tools, &payment, now, || reply.is_closed()).await?;
    let fee_sats = payment.fee.to_sat();
    Ok(Sent { txid, fee_sats, quotes_ended: 0, costly_coins: costly.coins, costly_sats: costly.sats, unsure })
}

/// What that would pay and cost.
pub async fn preview_send(tools: &Tools, request: &SendRequest, keep: bool) -> Result<PreviewView, ErrorView> {
    let (payment, costly) = payment(tools, request, keep, |_, payment| Ok(payment)).await?;
    let keeps = if keep { lock(&tools.wallet).reserve_wanted().to_sat() } else { 0 };
    let pays = payment.transaction.output.first().map_or(0, |output| output.value.to_sat());
    let Costly { coins: costly_coins, sats: costly_sats } = costly;
    Ok(PreviewView { pays_sats: pays, keeps_sats: keeps, costly_coins, costly_sats, ..of(&payment) })
}

/// What joining coins would cost.
pub async fn preview_consolidate(tools: &Tools, keep: bool) -> Result<PreviewView, ErrorView> {
    let fee_rate = tools.chain.fee_rate().await.map_err(|e| Trouble::from(e).view())?;
    let mut wallet = lock(&tools.wallet);
    let (payment, left) = join(&mut wallet, fee_rate, keep)?;
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    let keeps_sats = wallet.coin_set_apart().filter(|_| keep).map_or(0, |coin| coin.txout.value.to_sat());
    Ok(PreviewView { gets_sats: paid(&payment.transaction), left, keeps_sats, ..of(&payment) })
}

/// Joins the smallest free coins; `keep` leaves the coin for the fees of exits.
fn join(wallet: &mut Wallet, fee_rate: FeeRate, keep: bool) -> Result<(Payment, usize), ErrorView> {
    let kept = wallet.coin_set_apart().filter(|_| keep).map(|coin| coin.txout.value.to_sat());
    wallet.consolidate(fee_rate, keep).map_err(|e| match kept {
        Some(kept) => error(
            ErrorCode::Refused,
            format!(
                "{e}. While loans are open {kept} sats stay for the fees of exits; to join them too, say --with-fee-coin"
            ),
        ),
        None => error(ErrorCode::Refused, e),
    })
}

fn of(payment: &Payment) -> PreviewView {
    let fee = payment.fee.to_sat();
    PreviewView {
        fee_sats: Some(fee),
        sat_per_vb: Some(rate_ceil(fee, &payment.transaction)),
        coins: u64::try_from(payment.transaction.input.len()).unwrap_or(u64::MAX),
        irrevocable: true,
        ..PreviewView::default()
    }
}

/// What a transaction pays for a virtual byte, sats, rounded up.
pub(super) fn rate_ceil(fee: u64, transaction: &Transaction) -> u64 {
    fee.div_ceil(u64::try_from(transaction.vsize()).unwrap_or(u64::MAX).max(1))
}

/// What a transaction pays in all, sats.
pub(super) fn paid(transaction: &Transaction) -> u64 {
    transaction.output.iter().map(|output| output.value.to_sat()).fold(0, u64::saturating_add)
}

/// What the coins of ours that a transaction spends are worth, sats.
pub(super) fn spent(tools: &Tools, transaction: &Transaction) -> u64 {
    lock(&tools.wallet).net_effect(transaction).spent.to_sat()
}

/// Joins the smallest free coins into one, as many as one transaction may spend; `keep` leaves the coin for the fees of exits.
pub async fn consolidate(tools: &Tools, keep: bool, reply: &Reply<Consolidated>) -> Result<Consolidated, ErrorView> {
    let unavailable = |e: Trouble| e.view();
    let fee_rate = tools.chain.fee_rate().await.map_err(|e| unavailable(e.into()))?;
    let now = tools.now().map_err(unavailable)?;
    let (payment, left) = {
        let mut wallet = lock(&tools.wallet);
        let (payment, left) = join(&mut wallet, fee_rate, keep)?;
        if reply.is_closed() {
            return Err(came_late());
        }
        wallet.record(&payment.transaction, now).map_err(|e| error(ErrorCode::Internal, e))?;
        (payment, left)
    };
    let txid = payment.transaction.compute_txid();
    note(&*tools.store, txid, Purpose::Joined).map_err(unavailable)?;
    let unsure = bring(tools, &payment, now, || reply.is_closed()).await?;
    let joined = u64::try_from(payment.transaction.input.len()).unwrap_or(u64::MAX);
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    Ok(Consolidated { txid, fee_sats: payment.fee.to_sat(), joined, left, unsure })
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

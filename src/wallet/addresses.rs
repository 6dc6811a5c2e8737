//! Addresses: which one is given out next, and which one again.
//!
//! Words alone find money only so far along the addresses as is looked, so what was given out and never paid must not
//! grow: most negotiations come to nothing, and peers begin them. When [`MOST_UNPAID`] addresses after the last paid one
//! wait, one of them is given out again. That tells whoever had it that both are of one wallet; running on would lose
//! the money of a restore. Those that an open loan may still pay come last.

use super::{Error, Wallet};
use bdk_wallet::KeychainKind;
use bitcoin::{Address, OutPoint, Script, ScriptBuf};
use std::collections::{HashMap, HashSet};

/// Addresses looked for beyond the last one found, also by a restore.
pub(super) const LOOKAHEAD: u32 = 1_000;
/// Addresses given out, on either side of the wallet, beyond the last one that a block has paid. Twice as many, where the
/// block that paid is undone, still lie within [`LOOKAHEAD`].
pub const MOST_UNPAID: u32 = 400;
/// Addresses, on either side of the wallet, that a restore looks for: a wallet before this rule may have run far on.
pub const RESTORE_LOOKS: u32 = 10_000;
/// Coins whose way back is remembered.
const MOST_BACK: usize = 1_000;

/// What is known of addresses besides the chain. Not on disk: without it an address is given out again sooner, and no
/// money depends on that.
#[derive(Default)]
pub(super) struct Addresses {
    /// Those that open loans pay.
    held: HashSet<ScriptBuf>,
    /// The first index after the last paid one, as it was last looked up.
    unpaid_from: HashMap<KeychainKind, u32>,
    /// The one that was given out again last.
    again: u32,
    /// Where a coin goes that is sent back to us.
    back: HashMap<OutPoint, ScriptBuf>,
}

impl Wallet {
    /// An address to be paid at: one never given out, or the longest unused of many that were never paid. It is on disk
    /// when this returns.
    ///
    /// Ask for it last, after whatever may fail.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn new_address(&mut self) -> Result<Address, Error> {
        self.reveal(KeychainKind::External)
    }

    /// A script as long as every script of ours, to weigh and to try with; never to be paid.
    pub fn any_script(&self) -> ScriptBuf {
        self.bdk.peek_address(KeychainKind::Internal, 0).script_pubkey()
    }

    /// Scripts that open loans may pay, ours or not: addresses that are given out again come last from among them.
    pub fn set_held(&mut self, scripts: HashSet<ScriptBuf>) {
        self.addresses.held = scripts;
    }

    /// Looks for our coins at [`RESTORE_LOOKS`] addresses at least, and from each find on at [`LOOKAHEAD`] more: for a wallet
    /// whose history nobody knows. To be said before blocks are told; it stays so, and is on disk when this returns.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn look_far(&mut self) -> Result<(), Error> {
        for keychain in [KeychainKind::External, KeychainKind::Internal] {
            drop(self.bdk.reveal_addresses_to(keychain, RESTORE_LOOKS.saturating_sub(LOOKAHEAD).saturating_sub(1)));
        }
        self.persist()?;
        self.sync()
    }

    /// Whether an output with this script would be ours.
    pub fn is_ours(&self, script: &Script) -> bool {
        self.bdk.is_mine(script.to_owned())
    }

    /// Counts a script of ours as given out, so that it is watched for ever and given to nobody else. False where it is none
    /// of ours, as far as addresses are looked for. It is on disk when this returns.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn keep_script(&mut self, script: &Script) -> Result<bool, Error> {
        let Some((keychain, index)) = self.bdk.derivation_of_spk(script.to_owned()) else { return Ok(false) };
        // What is revealed up to here is revealed whether or not anybody reads the addresses.
        drop(self.bdk.reveal_addresses_to(keychain, index));
        self.persist()?;
        self.sync()?;
        Ok(true)
    }

    pub(super) fn reveal(&mut self, keychain: KeychainKind) -> Result<Address, Error> {
        if let Some(from) = self.crowded_from(keychain) {
            return Ok(self.give_again(keychain, from));
        }
        let address = self.bdk.reveal_next_address(keychain).address;
        self.persist()?;
        self.sync()?;
        Ok(address)
    }

    /// Where a coin goes that is sent back to us, tried or bumped however often: of all that spend it one is mined.
    pub(super) fn way_back(&mut self, coin: OutPoint) -> Result<ScriptBuf, Error> {
        if let Some(script) = self.addresses.back.get(&coin) {
            return Ok(script.clone());
        }
        let script = self.reveal(KeychainKind::Internal)?.script_pubkey();
        if self.addresses.back.len() >= MOST_BACK {
            self.addresses.back.clear();
        }
        self.addresses.back.insert(coin, script.clone());
        Ok(script)
    }

    /// The first index after the last paid one, if as many as may be were given out from there on.
    fn crowded_from(&mut self, keychain: KeychainKind) -> Option<u32> {
        let next = self.bdk.spk_index().last_revealed_index(keychain)?.saturating_add(1);
        let is_crowded = |from: u32| next.saturating_sub(from) >= MOST_UNPAID;
        let known = self.addresses.unpaid_from.get(&keychain).copied().unwrap_or(0);
        if !is_crowded(known) {
            return None;
        }
        let from = self.last_paid(keychain).map_or(0, |index| index.saturating_add(1));
        self.addresses.unpaid_from.insert(keychain, from);
        is_crowded(from).then_some(from)
    }

    /// The highest index that a transaction in a block has paid: what a restore is sure to find.
    fn last_paid(&self, keychain: KeychainKind) -> Option<u32> {
        let index = self.bdk.spk_index();
        let confirmed = self.bdk.transactions().filter(|t| self.confirmations(&t.chain_position) > 0);
        let paid =
            confirmed.flat_map(|t| index.txouts_in_tx(t.tx_node.txid).map(|(place, _)| place).collect::<Vec<_>>());
        paid.filter(|(kind, _)| *kind == keychain).map(|(_, index)| index).max()
    }

    /// One of the [`MOST_UNPAID`] from `from` on, in turn, and never the same twice running: those that no loan holds and
    /// nobody pays come first.
    fn give_again(&mut self, keychain: KeychainKind, from: u32) -> Address {
        let last = self.addresses.again;
        let places = (1..MOST_UNPAID).map(|step| from.saturating_add(last.saturating_add(step) % MOST_UNPAID));
        let best = places.min_by_key(|index| {
            let script = self.bdk.spk_index().spk_at_index(keychain, *index);
            let is_held = script.is_none_or(|script| self.addresses.held.contains(&script));
            (is_held, self.bdk.spk_index().is_used(keychain, *index))
        });
        let index = best.unwrap_or(from);
        self.addresses.again = index.saturating_sub(from);
        self.bdk.peek_address(keychain, index).address
    }
}

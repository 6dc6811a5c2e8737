//! Shown coins in memory and on disk: what a transaction made together is one record, in a document of its own.
//!
//! A record is written when it comes, when its showings change and when it goes, never because others did: what is written
//! for a transaction is as much as it moved. Places of records that have gone are used again.

use super::Showing;
use crate::loan::units::{Time, DAY};
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Txid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The document that once held them all. Empty lists in it are left to programs of that time.
pub(super) const ONE: &str = "shown-coins";
const NONE: &[u8] = b"[]";
/// The documents of the records, by place.
pub(super) const PLACES: &str = "shown-coin/";
/// Records at most; where there are more, the one that counts least is forgotten: value times showings.
pub(super) const MOST: usize = 800;
/// Coins of all records together.
const MOST_COINS: usize = 60_000;
/// Coins of one record, and the coins it says it was made from: beyond what is relayed, and below a document's size.
const WIDEST: usize = 20_000;
const MOST_SPENDS: usize = 4_000;
/// Bytes that are put by one sync, but for the last document.
const BATCH: usize = 4 << 20;

/// A record: the transaction that made it, and which of its coins where it is one alone.
pub(super) type Name = (Txid, Option<u32>);

/// Coins that one transaction made and that were shown alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// By age, then loan.
    pub shown: Vec<Showing>,
    /// What each is worth.
    pub coins: BTreeMap<u32, Amount>,
    /// The shown coins that its transaction spends.
    pub spends: Vec<OutPoint>,
}

/// What a group counts, and when it was shown last.
type Weight = (u128, Option<Time>);

impl Group {
    fn parts(&self) -> u128 {
        self.shown.iter().map(|showing| u128::from(showing.parts)).sum()
    }
}

struct Held {
    group: Group,
    sats: u64,
    weight: Weight,
    place: usize,
}

impl Held {
    fn weigh(&mut self) {
        self.weight =
            (self.group.parts().saturating_mul(self.sats.into()), self.group.shown.last().map(|showing| showing.at));
    }
}

/// A record on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    txid: Txid,
    /// One coin, shown otherwise than what was made with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
    coins: Vec<(u32, Amount)>,
    shown: Vec<Showing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spends: Vec<OutPoint>,
}

/// A coin as it was stored when one document held them all.
#[derive(Deserialize)]
struct Coin {
    sats: Amount,
    shown: Vec<Showing>,
    #[serde(default)]
    spent_by: Option<Txid>,
}

/// All records.
pub(super) struct Kept {
    store: Arc<dyn Store>,
    groups: BTreeMap<Name, Held>,
    by_weight: BTreeSet<(Weight, Name)>,
    /// The transaction that waits and spends a coin.
    spent_by: BTreeMap<OutPoint, Txid>,
    /// Coins of all groups.
    coins: usize,
    places: BTreeMap<usize, Name>,
    free: Vec<usize>,
    /// Places whose documents are old.
    changed: BTreeSet<usize>,
}

impl Kept {
    /// Those the store holds.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Kept> {
        let mut kept = Kept {
            groups: BTreeMap::new(),
            by_weight: BTreeSet::new(),
            spent_by: BTreeMap::new(),
            coins: 0,
            places: BTreeMap::new(),
            free: (0..MOST).rev().collect(),
            changed: BTreeSet::new(),
            store,
        };
        for name in kept.store.list(PLACES)? {
            let bytes = kept.store.get(&name)?.unwrap_or_default();
            let place = name.strip_prefix(PLACES).and_then(|place| place.parse().ok());
            let Some(place) = place.filter(|place| *place < MOST && !bytes.is_empty()) else { continue };
            let stored: Stored = serde_json::from_slice(&bytes).with_context(|| format!("stored {name}"))?;
            kept.take_in(place, stored);
        }
        let alone: Vec<Name> = kept.groups.keys().copied().filter(|(_, vout)| vout.is_some()).collect();
        for (txid, vout) in alone {
            // What the others' record still says of it is from before.
            vout.into_iter().for_each(|vout| kept.shrink((txid, None), vout));
        }
        let spent: Vec<(OutPoint, Txid)> = kept
            .groups
            .iter()
            .flat_map(|((txid, _), held)| held.group.spends.iter().map(|coin| (*coin, *txid)))
            .filter(|(coin, _)| kept.find(coin).is_some())
            .collect();
        kept.spent_by.extend(spent);
        kept.take_over()?;
        Ok(kept)
    }

    fn take_in(&mut self, place: usize, stored: Stored) {
        let Stored { txid, alone, coins, shown, spends } = stored;
        let coins: BTreeMap<u32, Amount> = coins.into_iter().collect();
        let name = (txid, coins.keys().next().copied().filter(|_| alone));
        self.free.retain(|free| *free != place);
        self.free.push(place);
        self.put(name, Group { shown, coins, spends });
        self.changed.remove(&place);
    }

    /// Takes what the one document of before holds into records.
    fn take_over(&mut self) -> anyhow::Result<()> {
        let Some(bytes) = self.store.get(ONE)?.filter(|bytes| bytes != NONE) else { return Ok(()) };
        let old: Vec<(OutPoint, Coin)> = serde_json::from_slice(&bytes).with_context(|| format!("stored {ONE}"))?;
        let mut spends: BTreeMap<Txid, Vec<OutPoint>> = BTreeMap::new();
        for (outpoint, coin) in &old {
            coin.spent_by.into_iter().for_each(|txid| spends.entry(txid).or_default().push(*outpoint));
        }
        for (outpoint, coin) in old {
            drop(self.lift(&outpoint));
            self.spent_by.extend(coin.spent_by.map(|txid| (outpoint, txid)));
            let (coins, spends) = ([(outpoint.vout, coin.sats)].into(), spends.remove(&outpoint.txid));
            let group = Group { shown: coin.shown, coins, spends: spends.unwrap_or_default() };
            self.put((outpoint.txid, Some(outpoint.vout)), group);
        }
        Ok(self.write(vec![(ONE.to_owned(), NONE.to_vec())])?)
    }

    /// The record that a coin is in.
    fn find(&self, coin: &OutPoint) -> Option<Name> {
        let alone = (coin.txid, Some(coin.vout));
        if self.groups.contains_key(&alone) {
            return Some(alone);
        }
        let all = (coin.txid, None);
        self.groups.get(&all).is_some_and(|held| held.group.coins.contains_key(&coin.vout)).then_some(all)
    }

    /// What a coin is worth, and when it was shown.
    pub fn get(&self, coin: &OutPoint) -> Option<(Amount, &[Showing])> {
        let group = &self.groups.get(&self.find(coin)?)?.group;
        Some((*group.coins.get(&coin.vout)?, &group.shown))
    }

    /// Is there a record of all that a transaction made?
    pub fn has_all_of(&self, txid: Txid) -> bool {
        self.groups.contains_key(&(txid, None))
    }

    /// A transaction spends a known coin. Returns the one that did before, if it is another.
    pub fn spend(&mut self, coin: &OutPoint, txid: Txid) -> Option<Txid> {
        self.find(coin)?;
        self.spent_by.insert(*coin, txid).filter(|before| *before != txid)
    }

    /// Remembers a group, in the place of those that count least where there are too many.
    pub fn put(&mut self, name: Name, mut group: Group) {
        self.forget(name);
        if group.coins.is_empty() || group.shown.is_empty() {
            return;
        }
        while group.coins.len() > WIDEST {
            group.coins.pop_last();
        }
        group.spends.truncate(MOST_SPENDS);
        while self.free.is_empty() || self.coins.saturating_add(group.coins.len()) > MOST_COINS {
            let Some((_, least)) = self.by_weight.first().copied() else { break };
            self.forget(least);
        }
        let Some(place) = self.free.pop() else { return };
        let sats = group.coins.values().fold(0u64, |sum, sats| sum.saturating_add(sats.to_sat()));
        self.coins = self.coins.saturating_add(group.coins.len());
        let mut held = Held { group, sats, weight: (0, None), place };
        held.weigh();
        self.by_weight.insert((held.weight, name));
        self.groups.insert(name, held);
        self.places.insert(place, name);
        self.changed.insert(place);
    }

    /// Takes a coin out, with what is known of it but which transaction spends it.
    pub fn lift(&mut self, coin: &OutPoint) -> Option<Group> {
        let name = self.find(coin)?;
        if self.groups.get(&name).is_some_and(|held| held.group.coins.len() == 1) {
            return self.take(name);
        }
        let shown = self.groups.get(&name)?.group.shown.clone();
        self.shrink(name, coin.vout);
        Some(Group { shown, ..Group::default() })
    }

    /// A coin is spent for good.
    pub fn remove(&mut self, coin: &OutPoint) {
        drop(self.lift(coin));
        self.spent_by.remove(coin);
    }

    /// Forgets all that a transaction made; returns what spends that.
    pub fn forget_made_by(&mut self, txid: Txid) -> Vec<Txid> {
        let names: Vec<Name> =
            self.groups.range((txid, None)..=(txid, Some(u32::MAX))).map(|(name, _)| *name).collect();
        names.into_iter().flat_map(|name| self.forget(name)).collect()
    }

    /// Has every record's showings changed, where `change` says that it has. What has none left is forgotten.
    pub fn change(&mut self, mut change: impl FnMut(&mut Vec<Showing>) -> bool) {
        let mut changed = Vec::new();
        for (name, held) in &mut self.groups {
            if change(&mut held.group.shown) {
                changed.push(*name);
            }
        }
        for name in changed {
            self.changed.extend(self.groups.get(&name).map(|held| held.place));
            match self.groups.get(&name).is_some_and(|held| held.group.shown.is_empty()) {
                true => drop(self.forget(name)),
                false => self.reweigh(name),
            }
        }
    }

    /// Forgets what is a day old.
    pub fn tick(&mut self, now: Time) {
        self.change(|shown| {
            let before = shown.len();
            shown.retain(|showing| now.since(showing.at) < DAY);
            shown.len() != before
        });
    }

    /// Puts on disk what has changed, by one sync.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        match self.changed.is_empty() {
            true => Ok(()),
            false => tokio::task::block_in_place(|| self.write(Vec::new())),
        }
    }

    fn write(&mut self, more: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let (mut batch, mut size) = (Vec::new(), 0usize);
        for place in &self.changed {
            let record = self.places.get(place).and_then(|name| self.stored(name));
            // Integers and hashes cannot fail to be written.
            let bytes = record.map(|record| serde_json::to_vec(&record).unwrap_or_default()).unwrap_or_default();
            size = size.saturating_add(bytes.len());
            batch.push((format!("{PLACES}{place:03}"), bytes));
            if size > BATCH {
                self.store.put_all(&std::mem::take(&mut batch))?;
                size = 0;
            }
        }
        batch.extend(more);
        self.store.put_all(&batch)?;
        self.changed.clear();
        Ok(())
    }

    fn stored(&self, name: &Name) -> Option<Stored> {
        let Group { shown, coins, spends } = self.groups.get(name)?.group.clone();
        Some(Stored { txid: name.0, alone: name.1.is_some(), coins: coins.into_iter().collect(), shown, spends })
    }

    fn take(&mut self, name: Name) -> Option<Group> {
        let held = self.groups.remove(&name)?;
        self.by_weight.remove(&(held.weight, name));
        self.coins = self.coins.saturating_sub(held.group.coins.len());
        self.places.remove(&held.place);
        self.changed.insert(held.place);
        self.free.push(held.place);
        Some(held.group)
    }

    /// Forgets a record; returns what spends its coins.
    fn forget(&mut self, name: Name) -> Vec<Txid> {
        let coins = self.take(name).unwrap_or_default().coins;
        coins.into_keys().filter_map(|vout| self.spent_by.remove(&OutPoint { txid: name.0, vout })).collect()
    }

    /// A coin is no more in this record. On disk it stays until the record goes: it is in one of its own, or spent.
    fn shrink(&mut self, name: Name, vout: u32) {
        let Some(held) = self.groups.get_mut(&name) else { return };
        let Some(sats) = held.group.coins.remove(&vout) else { return };
        held.sats = held.sats.saturating_sub(sats.to_sat());
        self.coins = self.coins.saturating_sub(1);
        match held.group.coins.is_empty() {
            true => drop(self.take(name)),
            false => self.reweigh(name),
        }
    }

    fn reweigh(&mut self, name: Name) {
        let Some(held) = self.groups.get_mut(&name) else { return };
        self.by_weight.remove(&(held.weight, name));
        held.weigh();
        self.by_weight.insert((held.weight, name));
    }

    /// Every coin that is known, and how it was shown.
    #[cfg(test)]
    pub fn all(&self) -> BTreeMap<OutPoint, Vec<Showing>> {
        let of = |(name, held): (&Name, &Held)| {
            let (txid, shown) = (name.0, held.group.shown.clone());
            held.group.coins.keys().map(move |vout| (OutPoint { txid, vout: *vout }, shown.clone())).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// What spends which coin.
    #[cfg(test)]
    pub fn spent(&self) -> &BTreeMap<OutPoint, Txid> {
        &self.spent_by
    }

    /// Records, and whether all that is counted of them is what they are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        let coins: usize = self.groups.values().map(|held| held.group.coins.len()).sum();
        let weights: BTreeSet<(Weight, Name)> = self.groups.iter().map(|(name, held)| (held.weight, *name)).collect();
        assert_eq!((coins, self.groups.len()), (self.coins, self.places.len()));
        assert!(weights == self.by_weight && self.free.len() == MOST - self.places.len());
        assert!(self.spent_by.keys().all(|coin| self.find(coin).is_some()));
        self.groups.len()
    }
}

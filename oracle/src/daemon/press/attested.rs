//! Attestations of bundles, kept in few bytes: what was signed once is not signed again because somebody asks for the page.
//!
//! The least lately asked for go first when they are too many. Lost ones are made again: they are the same for ever.

use crate::bundle::{halves, Bundle, PackedAttestation};
use crate::verify::fixing_dollars;
use bitcoin::hex::DisplayHex;
use dlc_messages::oracle_msgs::OracleAttestation;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of them kept: 1.2 million touches, which is all that came true above the price in a year and more.
const BUDGET: usize = 48 * 1_024 * 1_024;
/// What a bundle takes beside its rows, in bytes.
const BESIDE: usize = 192;
/// Place and dollars of a row, in bytes.
const HEAD: usize = 8;
/// The dollars of what says none.
const NONE: u32 = u32::MAX;

/// What was signed of one bundle: rows of place, dollars and the second halves of the signatures, in the order of places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    rows: Vec<u8>,
    /// Bytes of a row; events of one bundle have as many nonces.
    row: usize,
}

impl Signed {
    fn rows(&self) -> impl Iterator<Item = (u32, u32, &[u8])> {
        self.rows.chunks_exact(self.row.max(1)).filter_map(|row| {
            let (place, rest) = row.split_first_chunk::<4>()?;
            let (dollars, halves) = rest.split_first_chunk::<4>()?;
            Some((u32::from_be_bytes(*place), u32::from_be_bytes(*dollars), halves))
        })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.rows.len().checked_div(self.row).unwrap_or(0)
    }

    /// Which places of the bundle, ascending.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.rows().map(|(place, ..)| place)
    }

    /// The same with these too.
    pub fn with(&self, more: &[(u32, OracleAttestation)]) -> Signed {
        let mut all: BTreeMap<u32, (u32, Vec<u8>)> =
            self.rows().map(|(place, dollars, halves)| (place, (dollars, halves.to_vec()))).collect();
        all.extend(more.iter().map(|(place, one)| (*place, (fixing_dollars(one).unwrap_or(NONE), halves(one)))));
        let row = all.values().next().map_or(0, |(_, halves)| halves.len().saturating_add(HEAD));
        let mut rows = Vec::with_capacity(row.saturating_mul(all.len()));
        for (place, (dollars, halves)) in &all {
            rows.extend_from_slice(&place.to_be_bytes());
            rows.extend_from_slice(&dollars.to_be_bytes());
            rows.extend_from_slice(halves);
        }
        Signed { rows, row }
    }

    /// As a page carries them.
    pub fn packed(&self) -> Vec<PackedAttestation> {
        let packed = |(index, dollars, halves): (u32, u32, &[u8])| PackedAttestation {
            index,
            dollars: Some(dollars).filter(|dollars| *dollars != NONE),
            s: halves.to_lower_hex_string(),
        };
        self.rows().map(packed).collect()
    }

    fn size(&self) -> usize {
        self.rows.len().saturating_add(BESIDE)
    }
}

/// What was signed of all bundles.
#[derive(Debug, Default)]
pub struct Attested {
    by_bundle: HashMap<Bundle, (u64, Arc<Signed>)>,
    bytes: usize,
    /// Counts what is asked for, so that the least lately asked is known.
    uses: u64,
}

impl Attested {
    /// What is known of a bundle; it is then the last to go.
    pub fn of(&mut self, bundle: Bundle) -> Arc<Signed> {
        self.uses = self.uses.saturating_add(1);
        let uses = self.uses;
        let known = self.by_bundle.get_mut(&bundle).map(|(used, signed)| {
            *used = uses;
            Arc::clone(signed)
        });
        known.unwrap_or_default()
    }

    /// How many attestations of a bundle are known.
    pub fn count(&self, bundle: Bundle) -> usize {
        self.by_bundle.get(&bundle).map_or(0, |(_, signed)| signed.count())
    }

    /// Keeps these of a bundle, in place of fewer.
    pub fn keep(&mut self, bundle: Bundle, signed: Arc<Signed>) {
        self.uses = self.uses.saturating_add(1);
        self.bytes = self.bytes.saturating_add(signed.size());
        if let Some((_, fewer)) = self.by_bundle.insert(bundle, (self.uses, signed)) {
            self.bytes = self.bytes.saturating_sub(fewer.size());
        }
        while self.bytes > BUDGET {
            let oldest = self.by_bundle.iter().min_by_key(|(_, (used, _))| *used).map(|(bundle, _)| *bundle);
            let Some((_, gone)) = oldest.and_then(|oldest| self.by_bundle.remove(&oldest)) else { return };
            self.bytes = self.bytes.saturating_sub(gone.size());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::bundle::pack_attestation;
    use crate::units::Day;
    use secp256k1_zkp::SecretKey;

    const DAY: Day = Day(18_333);

    fn attested(bundle: Bundle, outcome: impl Fn(crate::event::Event) -> Vec<String>) -> Vec<(u32, OracleAttestation)> {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        (0u32..)
            .zip(bundle.events())
            .map(|(place, event)| (place, keys.attest(event, outcome(event)).unwrap()))
            .collect()
    }

    #[test]
    fn what_is_kept_is_what_a_page_carries_in_the_order_of_its_events() {
        let touches = attested(Bundle::Hour { band: 21, day: DAY, hour: 9 }, |event| vec![event.to_string()]);
        let digits = crate::verify::fixing_digits(crate::units::Cents(798_700));
        let fixings = attested(Bundle::Fixings { day: DAY }, |_| digits.clone());
        for all in [touches, fixings] {
            let half = Signed::default().with(&all[all.len() / 2..]);
            let whole = half.with(&all[..all.len() / 2]);
            assert_eq!((half.count(), whole.count()), (all.len() - all.len() / 2, all.len()));
            let packed: Vec<PackedAttestation> = all.iter().map(|(place, one)| pack_attestation(*place, one)).collect();
            assert_eq!(whole.packed(), packed);
            assert_eq!(whole.places().collect::<Vec<_>>(), (0..all.len() as u32).collect::<Vec<_>>());
            assert_eq!(whole.with(&all), whole, "said again it is the same");
        }
    }

    #[test]
    fn attestations_are_kept_within_their_bytes_and_the_least_lately_asked_for_go_first() {
        let bundle = |band| Bundle::Month { band, year: 2020, month: 3 };
        // A month of a band that lay above the price all the time.
        let month = Arc::new(Signed { rows: vec![0; 40 * 1_984], row: 40 });
        let mut kept = Attested::default();
        let many = u32::try_from(BUDGET / month.size()).unwrap();
        assert!(many > 600, "{many}: 39 bands of 15 months");
        for band in 0..many {
            kept.keep(bundle(band), Arc::clone(&month));
            kept.keep(bundle(band), Arc::clone(&month));
        }
        assert_eq!(kept.of(bundle(0)).count(), 1_984);
        kept.keep(bundle(many), Arc::clone(&month));
        assert_eq!((kept.count(bundle(0)), kept.count(bundle(1)), kept.count(bundle(many))), (1_984, 0, 1_984));
        assert!(kept.bytes <= BUDGET && kept.bytes == kept.by_bundle.len() * month.size());
    }
}

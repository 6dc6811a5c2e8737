//! The terms of a loan: everything both sides must agree on, in one canonical encoding whose hash is the loan's name.

use super::interest::owed_ceil;
use super::ltv::level_for;
use super::tlv::{TlvField, TlvReason, Unknown};
use super::units::{BasisPoints, Cents, Day, Days, Level, SatPerVb, Time, DAY};
use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::{PublicKey, XOnlyPublicKey};
use bitcoin::{Amount, ScriptBuf};
use hypothec_oracle::event::Event;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The lender's stake: the smallest output that DDK keeps.
pub const STAKE: Amount = Amount::from_sat(1_000);
/// Outputs below this are dropped into the fee by DDK; payouts never make one.
pub const DUST: Amount = Amount::from_sat(1_000);
/// The fallback is final this many days after due.
pub const FALLBACK_DELAY: Days = Days(30);
/// The refund is final this many days after due.
pub const REFUND_DELAY: Days = Days(365);

crate::tlv_struct! {
    /// The terms of one loan. Fields are as agreed, not yet checked: [`Terms::check`] says whether they can be signed.
    ///
    /// Fields of type 50 and above came with version 2: version 1 has none of them, and means what their methods say.
    #[derive(Hash, Serialize, Deserialize)]
    pub struct Terms keeping {
        /// Records of odd types that this code does not know: part of the loan's name, and otherwise ignored.
        #[serde(default, skip_serializing_if = "Unknown::is_empty")]
        pub unknown
    } {
        /// 1 or 2.
        0 => pub version: u16,
        /// Hash of the chain's first block, in the order of hashing (BOLT 0).
        2 => pub chain: [u8; 32],
        /// The borrower's node id.
        4 => pub borrower: PublicKey,
        /// The lender's node id.
        6 => pub lender: PublicKey,
        /// 32 random bytes of the borrower.
        8 => pub borrower_nonce: [u8; 32],
        /// 32 random bytes of the lender.
        10 => pub lender_nonce: [u8; 32],
        /// When interest and the first touch begin: a full hour.
        12 => pub start: Time,
        /// The term: due is `start` and this many times 86,400 seconds.
        14 => pub days: Days,
        /// What the borrower receives.
        16 => pub principal_sats: Amount,
        /// What the debt counts from: `principal_sats` at the reference price, rounded down.
        18 => pub principal: Cents,
        /// Spot at the quote, cents per bitcoin.
        20 => pub reference_price: Cents,
        /// Simple interest a year.
        22 => pub apr: BasisPoints,
        /// Days of interest that even the earliest repayment pays.
        24 => pub minimum_interest_days: Days,
        /// What the borrower locks.
        26 => pub collateral: Amount,
        /// What the lender locks, and gets back on every exit: 1,000 sats.
        28 => pub stake: Amount,
        /// Owed over collateral at which the day's level lies.
        30 => pub liquidation_ltv: BasisPoints,
        /// What a touch pays the lender above what is owed, out of surplus only.
        32 => pub cushion: BasisPoints,
        /// The price oracles' keys, one to five, ascending. An oracle's place here is its index.
        34 => pub oracles: Vec<XOnlyPublicKey>,
        /// How many of them must agree.
        36 => pub threshold: u8,
        /// The lender's key that signs the receipt: new for every contract.
        38 => pub receipt_key: XOnlyPublicKey,
        /// The nonce the receipt will be signed with.
        40 => pub receipt_nonce: XOnlyPublicKey,
        /// Fee rate of funding and of every exit paid ahead.
        42 => pub fee_rate: SatPerVb,
        /// Confirmations before funding counts, and before an exit is final.
        44 => pub confirmations: u32,
        /// Where the principal goes: the borrower's P2WPKH or P2TR.
        46 => pub principal_script: ScriptBuf,
        /// Neither side signs after this.
        48 => pub expires: Time,
        /// Version of the transactions of every exit: 2 or 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        50 => pub transaction_version: Option<u8>,
        /// What cents are cents of: USD.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        52 => pub currency: Option<String>,
        /// The lowest threshold the borrower asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        54 => pub minimum_threshold: Option<u8>,
        /// How the fixing's curve is made: 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        56 => pub curve: Option<u8>,
    }
}

/// One day's touch: what the oracle is asked, and what is owed if it says yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TouchDay {
    /// The UTC day.
    pub day: Day,
    /// The first hour that counts: the start's on the first day, 0 later.
    pub from_hour: u8,
    /// The day's liquidation level.
    pub level: Level,
    /// What is owed at the end of the day, or at due if that is earlier.
    pub owed: Cents,
}

impl TouchDay {
    /// The oracle's event.
    pub fn event(&self) -> Event {
        Event::Touch { level: self.level, day: self.day, from_hour: self.from_hour }
    }
}

impl Terms {
    /// The loan's name: SHA-256 of the terms' encoding. Also the DLC's temporary contract id.
    pub fn id(&self) -> LoanId {
        LoanId(sha256::Hash::hash(&self.to_tlv()).to_byte_array())
    }

    /// When the loan falls due; the end of time for terms that `check` refuses.
    pub fn due(&self) -> Time {
        after(self.start, self.days)
    }

    /// All that is locked: collateral and stake.
    pub fn total(&self) -> Amount {
        Amount::from_sat(self.collateral.to_sat().saturating_add(self.stake.to_sat()))
    }

    /// From when the fallback can be mined, by median time past.
    pub fn fallback_locktime(&self) -> Time {
        after(self.due(), FALLBACK_DELAY)
    }

    /// From when the refund can be mined, by median time past.
    pub fn refund_locktime(&self) -> Time {
        after(self.due(), REFUND_DELAY)
    }

    /// The UTC day of the start.
    pub fn first_day(&self) -> Day {
        self.start.day()
    }

    /// The last UTC day with a touch: that of the last second before due.
    pub fn last_day(&self) -> Day {
        Time(self.due().0.saturating_sub(1)).day()
    }

    /// The oracle's event that settles the loan at due.
    pub fn fixing_event(&self) -> Event {
        Event::Fixing { at: self.due() }
    }

    /// What is owed at `at`: whole days begun since the start, none before it, none after due.
    ///
    /// Touches, fixing, fallback and LTV count by this; an early repayment by [`Terms::repayment_at`].
    /// The highest number of cents for terms that `check` refuses.
    pub fn owed_at(&self, at: Time) -> Cents {
        self.owed_after(Days::covering_ceil(at.min(self.due()).since(self.start)))
    }

    /// What repays the loan at `at`: what is owed, and at least the minimum of interest days.
    pub fn repayment_at(&self, at: Time) -> Cents {
        let minimum = self.minimum_interest_days.min(self.days);
        self.owed_after(Days::covering_ceil(at.min(self.due()).since(self.start)).max(minimum))
    }

    /// What is owed when the term is over.
    pub fn owed_at_due(&self) -> Cents {
        self.owed_at(self.due())
    }

    /// What is owed at the end of `day`, or at due if that is earlier.
    pub fn owed_on(&self, day: Day) -> Cents {
        self.owed_at(day.end().unwrap_or(Time(u32::MAX)))
    }

    /// The touch of `day`; `None` outside the term, or when its level lies off the ladder.
    pub fn touch_day(&self, day: Day) -> Option<TouchDay> {
        if day < self.first_day() || day > self.last_day() {
            return None;
        }
        let from_hour = if day == self.first_day() { self.start.hour_of_day() } else { 0 };
        let owed = self.owed_on(day);
        let level = level_for(owed, self.collateral, self.liquidation_ltv)?;
        Some(TouchDay { day, from_hour, level, owed })
    }

    /// Every day's touch, first to last. Days whose level lies off the ladder are left out: `check` refuses them.
    pub fn touch_days(&self) -> Vec<TouchDay> {
        (self.first_day().0..=self.last_day().0).filter_map(|day| self.touch_day(Day(day))).collect()
    }

    fn owed_after(&self, days: Days) -> Cents {
        owed_ceil(self.principal, self.apr, days).unwrap_or(Cents(u64::MAX))
    }
}

/// `days` after `start`, or the end of time.
fn after(start: Time, days: Days) -> Time {
    Time(start.0.saturating_add(days.0.saturating_mul(DAY)))
}

/// A loan's name: the SHA-256 of its terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoanId(pub [u8; 32]);

/// 64 hex digits.
impl fmt::Display for LoanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_hex())
    }
}

impl fmt::Debug for LoanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoanId({self})")
    }
}

/// A text that is not a loan id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("loan id \"{0}\" is not 64 lower-case hex digits")]
pub struct NotALoanId(String);

impl FromStr for LoanId {
    type Err = NotALoanId;

    fn from_str(text: &str) -> Result<LoanId, NotALoanId> {
        let refuse = || NotALoanId(text.chars().take(80).collect());
        let id = <[u8; 32]>::from_hex(text).map(LoanId).map_err(|_| refuse())?;
        // One loan, one spelling.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(refuse())
        }
    }
}

impl Serialize for LoanId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LoanId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LoanId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl TlvField for LoanId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(bytes: &[u8]) -> Result<LoanId, TlvReason> {
        TlvField::read(bytes).map(LoanId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{key, loans, reference, reference_of_version_1, xonly};
    use crate::loan::tlv::Bytes;
    use crate::loan::units::HOUR;
    use proptest::prelude::*;

    #[test]
    fn ninety_days_from_ten_in_the_morning_touch_91_days_and_the_last_is_owed_as_at_due() {
        let terms = reference();
        let touches = terms.touch_days();
        assert_eq!(touches.len(), 91);
        assert_eq!((touches[0].day.to_string(), touches[0].from_hour), ("20200312".into(), 10));
        assert_eq!((touches[90].day.to_string(), touches[90].from_hour), ("20200610".into(), 0));
        // One day begun on the first, two on the second, ninety on the last two.
        let interest = |touch: &TouchDay| touch.owed.0 - terms.principal.0;
        assert_eq!((interest(&touches[0]), interest(&touches[1])), (1_370, 2_740));
        assert_eq!((interest(&touches[89]), interest(&touches[90])), (123_288, 123_288));
        assert_eq!(touches[0].event().to_string(), "btcusd-touch-64200-20200312-h10");
        assert_eq!(terms.fixing_event().to_string(), format!("btcusd{}", terms.due().0));
    }

    #[test]
    fn due_at_midnight_adds_no_day() {
        let midnight = Terms { start: reference().first_day().start().unwrap(), days: Days(1), ..reference() };
        assert_eq!(midnight.touch_days().iter().map(|t| (t.day, t.from_hour)).collect::<Vec<_>>(), [(Day(18_333), 0)]);
        let last_hour = Terms { start: midnight.start.plus(23 * HOUR).unwrap(), ..midnight };
        let days: Vec<_> = last_hour.touch_days().iter().map(|t| (t.day, t.from_hour)).collect();
        assert_eq!(days, [(Day(18_333), 23), (Day(18_334), 0)]);
    }

    #[test]
    fn interest_counts_days_begun_and_an_early_repayment_the_minimum() {
        let terms = reference();
        let interest = |owed: Cents| owed.0 - terms.principal.0;
        assert_eq!(interest(terms.owed_at(Time(0))), 0);
        assert_eq!(interest(terms.owed_at(terms.start)), 0);
        assert_eq!(interest(terms.owed_at(terms.start.plus(1).unwrap())), 1_370);
        assert_eq!(interest(terms.owed_at(terms.start.plus(DAY).unwrap())), 1_370);
        assert_eq!(interest(terms.owed_at(terms.start.plus(DAY + 1).unwrap())), 2_740);
        assert_eq!(interest(terms.owed_at(Time(u32::MAX))), 123_288);
        assert_eq!(interest(terms.repayment_at(terms.start)), 19_179);
        assert_eq!(terms.repayment_at(terms.due()), terms.owed_at_due());
    }

    #[test]
    fn locktimes_lie_a_month_and_a_year_after_due() {
        let terms = reference();
        assert_eq!(terms.fallback_locktime().since(terms.due()), 30 * DAY);
        assert_eq!(terms.refund_locktime().since(terms.due()), 365 * DAY);
        let wild = Terms { start: Time(u32::MAX), days: Days(u32::MAX), ..terms };
        assert_eq!(wild.refund_locktime(), Time(u32::MAX));
    }

    #[test]
    fn the_reference_terms_have_this_encoding_and_this_name() {
        let tlv = reference().to_tlv();
        assert!(tlv.starts_with(&[0, 2, 0, 2, 2, 32]));
        assert!(tlv.ends_with(&[50, 1, 3, 52, 3, b'U', b'S', b'D', 54, 1, 1, 56, 1, 1]));
        assert_eq!(tlv.len(), 428);
        assert_eq!(reference().id().to_string(), REFERENCE_ID);
        let before = reference_of_version_1();
        assert!(before.to_tlv().starts_with(&[0, 2, 0, 1, 2, 32]));
        assert_eq!((before.to_tlv().len(), before.exit_version()), (414, 2));
        assert_eq!(before.id().to_string(), REFERENCE_ID_BEFORE);
    }

    /// Counted once by other code too. It changes whenever the encoding does: that is a new version of the terms.
    const REFERENCE_ID: &str = "e283d5ad01eeff13fd3972f191fddab7fd2ba167116e382da9ab271cee31a075";
    const REFERENCE_ID_BEFORE: &str = "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";

    #[test]
    fn a_loan_id_reads_back_from_its_one_spelling() {
        let id = reference().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<LoanId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        for wrong in ["", "00", &id.to_string().to_uppercase(), &format!("{id}0"), &"g".repeat(64)] {
            assert!(wrong.parse::<LoanId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn terms_survive_json() {
        let text = serde_json::to_string(&reference()).unwrap();
        assert!(text.contains(r#""collateral":100000000,"#), "{text}");
        assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), reference());
    }

    #[test]
    fn any_changed_field_changes_the_id() {
        let changes: [fn(&mut Terms); 34] = [
            |t| t.version += 1,
            |t| t.chain[31] ^= 1,
            |t| t.borrower = key(9),
            |t| t.lender = key(9),
            |t| t.borrower_nonce[0] ^= 1,
            |t| t.lender_nonce[0] ^= 1,
            |t| t.start.0 += 1,
            |t| t.days.0 += 1,
            |t| t.principal_sats += Amount::from_sat(1),
            |t| t.principal.0 += 1,
            |t| t.reference_price.0 += 1,
            |t| t.apr.0 += 1,
            |t| t.minimum_interest_days.0 += 1,
            |t| t.collateral += Amount::from_sat(1),
            |t| t.stake += Amount::from_sat(1),
            |t| t.liquidation_ltv.0 += 1,
            |t| t.cushion.0 += 1,
            |t| t.oracles.push(xonly(9)),
            |t| t.threshold += 1,
            |t| t.receipt_key = xonly(9),
            |t| t.receipt_nonce = xonly(9),
            |t| t.fee_rate.0 += 1,
            |t| t.confirmations += 1,
            |t| t.principal_script = ScriptBuf::new(),
            |t| t.expires.0 += 1,
            |t| t.transaction_version = Some(2),
            |t| t.transaction_version = None,
            |t| t.currency = Some("EUR".into()),
            |t| t.currency = None,
            |t| t.minimum_threshold = Some(2),
            |t| t.minimum_threshold = None,
            |t| t.curve = Some(2),
            |t| t.curve = None,
            |t| t.unknown.0.push((1, Bytes(vec![]))),
        ];
        let mut ids = std::collections::BTreeSet::from([reference().id()]);
        for change in changes {
            let mut terms = reference();
            change(&mut terms);
            assert_eq!(Terms::from_tlv(&terms.to_tlv()).as_ref(), Ok(&terms));
            assert!(ids.insert(terms.id()), "{terms:?}");
        }
    }

    #[test]
    fn any_flipped_bit_or_cut_is_refused_or_changes_the_id() {
        let tlv = reference().to_tlv();
        for at in 0..tlv.len() {
            for bit in 0..8 {
                let mut flipped = tlv.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(terms) = Terms::from_tlv(&flipped) {
                    assert_ne!(terms.id(), reference().id());
                    assert_eq!(terms.to_tlv(), flipped, "one value, one encoding");
                }
            }
            // Cut between two records it may read, as terms that lack fields of their version.
            let cut = Terms::from_tlv(&tlv[..at]).map(|terms| terms.check());
            assert!(!matches!(cut, Ok(Ok(()))), "cut at {at}");
        }
        let trailing = [tlv.as_slice(), &[0]].concat();
        assert!(Terms::from_tlv(&trailing).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn terms_read_back_as_they_were_written(terms in loans()) {
            prop_assert_eq!(Terms::from_tlv(&terms.to_tlv()), Ok(terms));
        }

        #[test]
        fn every_day_of_the_term_has_a_touch_and_neither_level_nor_debt_ever_falls(terms in loans()) {
            let touches = terms.touch_days();
            let days = terms.last_day().0 - terms.first_day().0 + 1;
            prop_assert_eq!(touches.len(), usize::try_from(days).unwrap());
            for pair in touches.windows(2) {
                prop_assert!(pair[0].owed <= pair[1].owed && pair[0].level <= pair[1].level);
                prop_assert_eq!(pair[0].day.next(), Some(pair[1].day));
                prop_assert_eq!(pair[1].from_hour, 0);
            }
            prop_assert_eq!(touches.last().map(|touch| touch.owed), Some(terms.owed_at_due()));
        }

        #[test]
        fn what_is_owed_never_falls_and_repaying_never_costs_less(terms in loans(), a in any::<u32>(), b in any::<u32>()) {
            let (early, late) = (Time(a.min(b)), Time(a.max(b)));
            prop_assert!(terms.owed_at(early) <= terms.owed_at(late));
            prop_assert!(terms.repayment_at(early) >= terms.owed_at(early));
        }
    }
}

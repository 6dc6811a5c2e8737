//! A reference loan and the two parties who negotiate it, without node, socket or chain.

use bitcoin::absolute::LockTime;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, SecretKey, SECP256K1};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Psbt, Transaction, TxOut, Witness};
use hypothec::contract::accept::{self, AcceptParts, Accepted, CheckedAccept};
use hypothec::contract::clauses::{Announcements, OracleAnnouncements, Payouts};
use hypothec::contract::offer::{self, FundingCoin, OfferParts};
use hypothec::contract::sign::{self, CheckedSign, Signed};
use hypothec::contract::{receipt, wire, Skeleton};
use hypothec::loan::terms::Terms;
use hypothec::loan::units::{Cents, Days, Time};
use hypothec::loan::version::TRANSACTION_VERSION_BEFORE;
use hypothec_oracle::announce::OracleKeys;

pub mod offers;
mod reference;
pub use reference::*;

/// Keys and coins of everyone.
pub struct Cast {
    /// The oracle; of several the one of lowest index.
    pub oracle: OracleKeys,
    /// The others of several, by ascending key.
    pub others: Vec<OracleKeys>,
    pub threshold: u8,
    pub borrower_coin_key: SecretKey,
    pub lender_coin_key: SecretKey,
    pub borrower_key: SecretKey,
    pub lender_key: SecretKey,
    pub receipt_key: SecretKey,
    pub receipt_nonce: SecretKey,
}

impl Cast {
    pub fn new() -> Cast {
        Cast {
            oracle: OracleKeys::from_secret(secret(1)),
            others: Vec::new(),
            threshold: 1,
            borrower_coin_key: secret(2),
            lender_coin_key: secret(3),
            borrower_key: secret(4),
            lender_key: secret(5),
            receipt_key: secret(6),
            receipt_nonce: secret(7),
        }
    }

    /// With several oracles.
    pub fn of(threshold: u8, oracles: u8) -> Cast {
        let mut keys: Vec<OracleKeys> =
            (0..oracles).map(|number| OracleKeys::from_secret(secret(40 + number))).collect();
        keys.sort_by_key(|keys| keys.public_key().serialize());
        let oracle = keys.remove(0);
        Cast { oracle, others: keys, threshold, ..Cast::new() }
    }

    /// All oracles by index.
    pub fn oracles(&self) -> Vec<&OracleKeys> {
        [&self.oracle].into_iter().chain(&self.others).collect()
    }

    /// 1 BTC of collateral, $50,000 owed at due (or nearly), reference $100,000.
    pub fn terms(&self, days: u32) -> Terms {
        Terms {
            borrower: key(11),
            lender: key(12),
            borrower_nonce: [13; 32],
            lender_nonce: [14; 32],
            start: Time(1_583_935_200),
            days: Days(days),
            principal_sats: Amount::from_sat(48_780_487),
            principal: Cents(4_878_048),
            minimum_interest_days: hypothec::loan::interest::minimum_days(Days(days)),
            oracles: self.oracles().iter().map(|oracle| oracle.public_key()).collect(),
            threshold: self.threshold,
            minimum_threshold: Some(self.threshold),
            receipt_key: Keypair::from_secret_key(SECP256K1, &self.receipt_key).x_only_public_key().0,
            receipt_nonce: self.receipt_nonce.x_only_public_key(SECP256K1).0,
            principal_script: script(&secret(20)),
            expires: Time(1_583_935_200),
            ..reference()
        }
    }

    /// The same with exits of version 2: the only ones that the DLC library makes, and can judge.
    pub fn terms_as_the_library_has_them(&self, days: u32) -> Terms {
        Terms { transaction_version: Some(TRANSACTION_VERSION_BEFORE), ..self.terms(days) }
    }

    pub fn announcements(&self, terms: &Terms) -> Announcements {
        let of_one = |oracle: &OracleKeys| {
            let announce = |event| oracle.announcement(event).expect("an announcement");
            OracleAnnouncements {
                touches: terms.touch_days().iter().map(|day| announce(day.event())).collect(),
                fixing: announce(terms.fixing_event()),
            }
        };
        Announcements {
            oracles: self.oracles().into_iter().map(of_one).collect(),
            receipt: receipt::announce(terms, &self.receipt_key).expect("a receipt"),
        }
    }

    pub fn offer_parts(&self, terms: &Terms) -> OfferParts {
        let required = offer::borrower_shares(terms, 1).expect("shares").required;
        OfferParts {
            funding_key: self.borrower_key.public_key(SECP256K1),
            payout_script: script(&secret(21)),
            change_script: script(&secret(22)),
            coins: vec![coin(&self.borrower_coin_key, required + Amount::from_sat(77_777), 1)],
        }
    }

    pub fn accept_parts(&self, terms: &Terms) -> AcceptParts {
        AcceptParts {
            funding_key: self.lender_key,
            payout_script: script(&secret(23)),
            coin: coin(&self.lender_coin_key, offer::lender_coin_value(terms).expect("a value"), 2),
        }
    }
}

/// A coin of `value` from a transaction that never was.
pub fn coin(key: &SecretKey, value: Amount, salt: u32) -> FundingCoin {
    let previous = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(salt),
        input: vec![bitcoin::TxIn::default()],
        output: vec![TxOut { value, script_pubkey: script(key) }],
    };
    FundingCoin { previous, vout: 0 }
}

/// Signs and finalises every P2WPKH input of `key`'s.
pub fn sign_psbt(psbt: &mut Psbt, key: &SecretKey) {
    let own = script(key);
    let tx = psbt.unsigned_tx.clone();
    for (index, input) in psbt.inputs.iter_mut().enumerate() {
        let Some(out) = input.witness_utxo.clone().filter(|out| out.script_pubkey == own) else { continue };
        let hash = SighashCache::new(&tx)
            .p2wpkh_signature_hash(index, &own, out.value, EcdsaSighashType::All)
            .expect("a sighash");
        let message = Message::from_digest(bitcoin::hashes::Hash::to_byte_array(hash));
        let signature = bitcoin::ecdsa::Signature::sighash_all(SECP256K1.sign_ecdsa_low_r(&message, key));
        input.final_script_witness = Some(Witness::p2wpkh(&signature, &key.public_key(SECP256K1)));
    }
}

/// A contract negotiated to the end.
pub struct Negotiated {
    pub terms: Terms,
    pub announcements: Announcements,
    pub offer: dlc_messages::OfferDlc,
    pub accepted: Accepted,
    pub signed: Signed,
    pub completed: CheckedSign,
    pub funding: Transaction,
    pub skeleton: Skeleton,
}

/// Plays offer, accept and sign over bytes, each side checking what it gets.
pub fn negotiate(cast: &Cast, terms: Terms) -> Negotiated {
    let payouts = Payouts::of(&terms).expect("payouts");
    negotiate_with(cast, terms, &payouts)
}

/// [`negotiate`] with these payouts instead of the terms' own: a coarser fixing takes fewer signatures.
pub fn negotiate_with(cast: &Cast, terms: Terms, payouts: &Payouts) -> Negotiated {
    let parts = (cast.offer_parts(&terms), cast.accept_parts(&terms));
    negotiate_on(cast, terms, payouts, parts.0, parts.1)
}

/// [`negotiate_with`] with these coins, of the cast's keys.
pub fn negotiate_on(
    cast: &Cast,
    terms: Terms,
    payouts: &Payouts,
    offers: OfferParts,
    accepts: AcceptParts,
) -> Negotiated {
    let announcements = cast.announcements(&terms);
    let ours = || payouts.clone();
    let offer = offer::make_with(payouts, &terms, &announcements, offers).expect("an offer");
    let offer_bytes = wire::write(&offer);
    let checked = offer::check_with(ours(), &terms, &announcements, &offer_bytes).expect("the offer passes");
    let accepted = accept::make(&terms, &announcements, checked, accepts).expect("an accept");
    let bytes = wire::write(&accepted.accept);
    let CheckedAccept { accept, built, .. } =
        accept::check_with(ours(), &terms, &announcements, &offer, &bytes, &accepted.fallback)
            .expect("the accept passes");
    let mut psbt = built.funding_psbt(&offer, &accept).expect("a PSBT");
    sign_psbt(&mut psbt, &cast.borrower_coin_key);
    let signed = sign::make(&built, &offer, &cast.borrower_key, &psbt).expect("a sign");
    let bytes = wire::write(&signed.sign);
    let completed =
        sign::check_with(ours(), &terms, &announcements, &offer, &accept, &bytes, &signed.fallback).expect("it passes");
    let mut psbt = completed.built.funding_psbt(&offer, &accept).expect("a PSBT");
    sign_psbt(&mut psbt, &cast.lender_coin_key);
    let funding = sign::complete(&completed, &offer, &accept, &psbt).expect("a funding transaction");
    let skeleton = built.skeleton.clone();
    Negotiated { terms, announcements, offer, accepted, signed, completed, funding, skeleton }
}

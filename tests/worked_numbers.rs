//! The worked numbers of docs/PROTOCOL.md, counted from the code: if document and code part, this test says where.
//!
//! `UPDATE_DOCS=1 cargo test --test worked_numbers` writes what the code says into the document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::DisplayHex;
use bitcoin::secp256k1::SECP256K1;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use common::{coin, reference, reference_of_version_1, script, secret};
use dlc_messages::oracle_msgs::tagged_announcement_msg;
use dlc_messages::TlvRecord;
use dlc_messages::{AcceptDlc, CetAdaptorSignatures, OfferDlc};
use hypothec::contract::adaptor::{self, prefixes};
use hypothec::contract::build::Built;
use hypothec::contract::clauses::{
    check_announcements, contract_info, encoded, Announcements, OracleAnnouncements, Payouts,
};
use hypothec::contract::offer::{self, FundingCoin, OfferParts};
use hypothec::contract::repay::{self, RepayParts, Source};
use hypothec::contract::{difference, receipt, refund, sign, wire, Role};
use hypothec::loan::curve::{self, Bounds, Curve};
use hypothec::loan::payout::{self, Payout};
use hypothec::loan::terms::Terms;
use hypothec::loan::units::{BasisPoints, Cents, DAY};
use hypothec::protocol::messages::quote_digest;
use hypothec::protocol::Message;
use hypothec::wallet::{verify_coin_proof, CoinProof};
use hypothec_oracle::announce::{nonce_proof_message, OracleKeys};
use hypothec_oracle::bundle::{pack_announcement, pack_attestation, Bundle};
use hypothec_oracle::equivocation::Proof;
use hypothec_oracle::verify::fixing_digits;
use hypothec_oracle::wire::{SignedLows, SignedPrice};
use lightning::util::ser::Writeable;
use std::fmt::{Display, Write};
use std::path::PathBuf;

const BEGIN: &str = "<!-- worked numbers: begin -->\n";
const END: &str = "<!-- worked numbers: end -->\n";

fn oracle() -> OracleKeys {
    OracleKeys::from_secret(secret(3))
}

fn announced(keys: &OracleKeys, terms: &Terms) -> OracleAnnouncements {
    let announce = |event| keys.announcement(event).unwrap();
    OracleAnnouncements {
        touches: terms.touch_days().iter().map(|day| announce(day.event())).collect(),
        fixing: announce(terms.fixing_event()),
    }
}

fn announcements(terms: &Terms) -> Announcements {
    let receipt = receipt::announce(terms, &secret(4)).unwrap();
    Announcements { oracles: vec![announced(&oracle(), terms)], receipt }
}

/// Markdown under way.
#[derive(Default)]
struct Page(String);

impl Page {
    fn title(&mut self, title: &str) {
        write!(self.0, "\n### {title}\n\n").unwrap();
    }

    fn table(&mut self, head: &[&str]) {
        writeln!(self.0, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len())).unwrap();
    }

    fn row(&mut self, cells: &[&dyn Display]) {
        let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
        writeln!(self.0, "| {} |", cells.join(" | ")).unwrap();
    }

    fn text(&mut self, text: &str) {
        write!(self.0, "\n{text}\n\n").unwrap();
    }

    fn hex(&mut self, name: &str, hex: &str) {
        write!(self.0, "\n{name}:\n\n```text\n").unwrap();
        for line in hex.as_bytes().chunks(96) {
            writeln!(self.0, "{}", String::from_utf8_lossy(line)).unwrap();
        }
        self.0.push_str("```\n");
    }
}

fn split(payout: Payout) -> (u64, u64) {
    (payout.lender.to_sat(), payout.borrower.to_sat())
}

fn sha(bytes: &[u8]) -> String {
    sha256::Hash::hash(bytes).to_string()
}

fn names(page: &mut Page, terms: &Terms) {
    page.title("Terms and names");
    let tlv = terms.to_tlv();
    page.table(&["what", "value"]);
    page.row(&[&"bytes of the terms", &tlv.len()]);
    page.row(&[&"loan id", &format!("`{}`", terms.id())]);
    page.row(&[&"loan id of the same terms in version 1, 414 bytes", &format!("`{}`", reference_of_version_1().id())]);
    page.row(&[&"quote digest", &format!("`{}`", quote_digest(&terms.id()).as_ref().as_hex())]);
    page.row(&[&"start", &format!("{} ({})", terms.start, terms.start.0)]);
    page.row(&[&"due", &format!("{} ({})", terms.due(), terms.due().0)]);
    page.row(&[&"fallback locktime", &format!("{} ({})", terms.fallback_locktime(), terms.fallback_locktime().0)]);
    page.row(&[&"refund locktime", &format!("{} ({})", terms.refund_locktime(), terms.refund_locktime().0)]);
    page.row(&[&"days with a touch", &terms.touch_days().len()]);
    page.row(&[&"fixing event", &format!("`{}`", terms.fixing_event())]);
    page.row(&[&"receipt event", &format!("`{}`", receipt::event_id(&terms.id()))]);
    page.hex("The terms", &tlv.to_lower_hex_string());
}

fn money(page: &mut Page, terms: &Terms) {
    page.title("Debt and repayment");
    page.table(&["moment", "owed, cents", "repays it, cents", "sats at $100,000", "sats at $73,456.78"]);
    for (name, at) in [
        ("start", terms.start),
        ("a second after start", terms.start.plus(1).unwrap()),
        ("20 days after start", terms.start.plus(20 * DAY).unwrap()),
        ("due", terms.due()),
        ("a year after due", terms.due().plus(365 * DAY).unwrap()),
    ] {
        let sats = |price| payout::repayment_ceil(terms, at, Cents(price)).unwrap().to_sat();
        let (owed, repays) = (terms.owed_at(at).0, terms.repayment_at(at).0);
        page.row(&[&name, &owed, &repays, &sats(10_000_000), &sats(7_345_678)]);
    }
}

fn touches(page: &mut Page, terms: &Terms) {
    page.title("Touches");
    page.table(&["index", "event", "owed, cents", "level, dollars", "lender, sats", "borrower, sats"]);
    let days = terms.touch_days();
    for index in [0, 1, 2, 30, 60, 89, 90] {
        let day = days[index];
        let (lender, borrower) = split(payout::touch_floor(terms, &day).unwrap());
        page.row(&[&index, &format!("`{}`", day.event()), &day.owed.0, &day.level, &lender, &borrower]);
    }
    page.title("Ladder");
    page.table(&["dollars", "lowest level at or above", "its index", "its band"]);
    for dollars in [999, 1_001, 1_999, 4_996, 9_999, 64_103, 64_200, 199_801, 999_001, 1_000_000] {
        let level = hypothec_oracle::ladder::Level::at_or_above(dollars).unwrap();
        page.row(&[&dollars, &level, &level.index(), &level.band()]);
    }
}

fn others(page: &mut Page, terms: &Terms) {
    page.title("The other payouts");
    page.table(&["exit", "lender, sats", "borrower, sats"]);
    for (name, payout) in [
        ("receipt", payout::receipt(terms)),
        ("refund", payout::refund(terms)),
        ("fallback", payout::fallback_floor(terms)),
        ("repaid from collateral at due, $100,000", {
            payout::repayment_from_collateral(terms, terms.due(), Cents(10_000_000)).unwrap()
        }),
    ] {
        let (lender, borrower) = split(payout);
        page.row(&[&name, &lender, &borrower]);
    }
}

fn curve_line(page: &mut Page, name: &str, terms: &Terms, curve: &Curve) {
    let error = curve::achieved_error(terms, &curve.intervals);
    page.row(&[
        &name,
        &format!("{} / {}", curve.bounds.middle_ppm, curve.bounds.tails_ppm),
        &format!("{} / {}", error.middle_ppm, error.tails_ppm),
        &curve.intervals.len(),
        &curve.signatures(),
    ]);
}

fn fixing(page: &mut Page, terms: &Terms) {
    page.title("The fixing's curve");
    let uniform = Bounds { middle_ppm: 1_000, tails_ppm: 1_000 };
    let flat = Terms { apr: BasisPoints(0), ..terms.clone() };
    let chosen = curve::fixing_curve(terms);
    page.table(&["curve", "bounds, ppm (middle / tails)", "achieved", "steps", "adaptor signatures"]);
    curve_line(page, "reference loan, as signed", terms, &chosen);
    curve_line(page, "reference loan, 0.1 % everywhere", terms, &curve::fixing_curve_within(terms, uniform));
    curve_line(page, "the same at 0 % interest, as signed", &flat, &curve::fixing_curve(&flat));
    curve_line(page, "the same, 0.1 % everywhere", &flat, &curve::fixing_curve_within(&flat, uniform));
    page.text("What the curve as signed pays, beside the formula rounded down:");
    page.table(&["fixing, dollars", "step", "lender, sats", "formula, sats"]);
    for dollars in [0, 1, 51_232, 51_300, 60_000, 75_000, 100_000, 150_000, 199_999, 300_000, 1_048_575] {
        let step = chosen.intervals.iter().find(|step| (step.first..=step.last).contains(&dollars)).unwrap();
        let exact = payout::fixing_floor(terms, dollars).lender.to_sat();
        page.row(&[&dollars, &format!("{}–{}", step.first, step.last), &step.lender.to_sat(), &exact]);
    }
    page.text("The first and the last steps, with the binary prefixes that cover them:");
    page.table(&["step", "lender, sats", "prefixes"]);
    let steps = &chosen.intervals;
    for step in steps.iter().take(3).chain(steps.iter().skip(steps.len() - 2)) {
        let covering: Vec<String> = prefixes(step.first, step.last).iter().map(|p| digits(p)).collect();
        page.row(&[&format!("{}–{}", step.first, step.last), &step.lender.to_sat(), &covering.join(" ")]);
    }
}

fn digits(prefix: &[usize]) -> String {
    let text: String = prefix.iter().map(ToString::to_string).collect();
    format!("`{text}`")
}

struct Contract {
    offer: OfferDlc,
    built: Built,
}

/// Offer and accept with serial ids that say their numbers, and no signature.
fn contract(terms: &Terms, announcements: &Announcements) -> Contract {
    let payouts = Payouts::of(terms).unwrap();
    let required = offer::borrower_shares(terms, 1).unwrap().required;
    let parts = OfferParts {
        funding_key: secret(6).public_key(SECP256K1),
        payout_script: script(&secret(8)),
        change_script: script(&secret(10)),
        coins: vec![coin(&secret(11), required + Amount::from_sat(77_777), 1)],
    };
    let mut offer = offer::make_with(&payouts, terms, announcements, parts).unwrap();
    offer.funding_inputs[0].input_serial_id = 1;
    (offer.payout_serial_id, offer.change_serial_id, offer.fund_output_serial_id) = (3, 5, 4);
    let lenders: FundingCoin = coin(&secret(12), offer::lender_coin_value(terms).unwrap(), 2);
    let mut input = lenders.input().unwrap();
    input.input_serial_id = 2;
    let mut compact = [0; 64];
    (compact[31], compact[63]) = (1, 1);
    let accept = AcceptDlc {
        protocol_version: 1,
        temporary_contract_id: terms.id().0,
        accept_collateral: terms.stake,
        funding_pubkey: secret(7).public_key(SECP256K1),
        payout_spk: script(&secret(9)),
        payout_serial_id: 7,
        funding_inputs: vec![input],
        change_spk: terms.principal_script.clone(),
        change_serial_id: 6,
        cet_adaptor_signatures: CetAdaptorSignatures { ecdsa_adaptor_signatures: Vec::new() },
        refund_signature: bitcoin::secp256k1::ecdsa::Signature::from_compact(&compact).unwrap(),
        negotiation_fields: None,
        tlvs: Default::default(),
    };
    // The offer as made here passes the lender's own check.
    offer::check_with(payouts.clone(), terms, announcements, &wire::write(&offer)).unwrap();
    let built = Built::rebuild(terms, announcements, payouts, &offer, &accept).unwrap();
    Contract { offer, built }
}

fn shares(page: &mut Page, terms: &Terms, contract: &Contract) {
    page.title("Shares and the lender's coin");
    page.table(&["party", "funding fee", "exit fee", "must bring"]);
    let borrower = |inputs| offer::borrower_shares(terms, inputs).unwrap();
    for (name, shares) in [
        ("borrower, one coin", borrower(1)),
        ("borrower, two coins", borrower(2)),
        ("lender, without the principal", offer::lender_shares(terms).unwrap()),
    ] {
        let [funding, exit, required] = [shares.funding_fee, shares.exit_fee, shares.required].map(Amount::to_sat);
        page.row(&[&name, &funding, &exit, &required]);
    }
    page.text(&format!(
        "The lender's coin is worth {} sats; the funding output {} sats.",
        offer::lender_coin_value(terms).unwrap().to_sat(),
        contract.built.skeleton.funding_value.to_sat()
    ));
}

fn transactions(page: &mut Page, terms: &Terms, announcements: &Announcements, contract: &Contract) {
    page.title("Contract and transactions");
    let Contract { offer, built } = contract;
    let skeleton = &built.skeleton;
    let info = encoded(&contract_info(&built.payouts, announcements).unwrap());
    let offered = wire::write(offer);
    let touch = skeleton.cet(&built.payouts.touches[0]).unwrap();
    let freed = skeleton.cet(&built.payouts.receipt).unwrap();
    let (_, step) = built.payouts.fixing_step(100_000).unwrap();
    let fixed = skeleton.cet(&Payout { lender: step.lender, borrower: terms.total() - step.lender }).unwrap();
    let refunded = refund::transaction(terms, skeleton).unwrap();
    assert_eq!(built.transactions.cets[0], touch);
    assert_eq!(built.transactions.refund, refunded);
    page.text(
        "Secret keys are one repeated byte: borrower's node 1, lender's node 2, oracle 3, receipt key 4, receipt nonce 5, \
         funding keys 6 (borrower) and 7 (lender), P2WPKH payout scripts 8 and 9, borrower's change 10, coins 11 and 12. \
         The principal goes to the P2WPKH of key 1. A coin is output 0 of a version 2 transaction with one input that is \
         all default (null outpoint, empty scripts, sequence 0xffffffff) and lock time 1 (borrower's) or 2 (lender's); the \
         borrower's is worth 77,777 sats more than it must bring. Serial ids: inputs 1 (borrower) and 2 (lender), payouts \
         3 and 7, 2-of-2 output 4, borrower's change 5, principal 6.",
    );
    page.table(&["what", "value"]);
    page.row(&[&"contract info", &format!("{} bytes, SHA-256 `{}`", info.len(), sha(&info))]);
    page.row(&[&"offer, type in front", &format!("{} bytes, SHA-256 `{}`", offered.len(), sha(&offered))]);
    page.row(&[&"adaptor signatures of each side", &built.slots.len()]);
    page.row(&[&"adaptor point 0 (first touch)", &format!("`{}`", built.slots[0].point)]);
    page.row(&[&"adaptor point 91 (receipt)", &format!("`{}`", built.slots[91].point)]);
    page.row(&[&"adaptor point 92 (first of the fixing)", &format!("`{}`", built.slots[92].point)]);
    page.row(&[&"funding txid", &format!("`{}`", skeleton.funding.txid)]);
    page.row(&[&"2-of-2 output", &format!("{}, {} sats", skeleton.funding.vout, skeleton.funding_value.to_sat())]);
    let id = sign::contract_id(skeleton.funding, terms.id().0);
    page.row(&[&"contract id", &format!("`{}`", id.as_hex())]);
    for (name, transaction) in
        [("first touch", &touch), ("receipt", &freed), ("fixing at $100,000", &fixed), ("refund", &refunded)]
    {
        page.row(&[&format!("{name}: txid"), &format!("`{}`", transaction.compute_txid())]);
    }
    page.row(&[&"fallback: txid", &format!("`{}`", built.fallback.compute_txid())]);
    page.hex("Witness script of the 2-of-2", &skeleton.witness_script.as_bytes().to_lower_hex_string());
    page.hex("Funding transaction, unsigned", &serialize_hex(&built.transactions.fund));
    page.hex("First touch, unsigned", &serialize_hex(&touch));
    page.hex("Refund, unsigned", &serialize_hex(&refunded));
    page.hex("Fallback, unsigned", &serialize_hex(&built.fallback));
    repayments(page, terms, contract);
}

fn repayments(page: &mut Page, terms: &Terms, contract: &Contract) {
    let owed = payout::repayment_ceil(terms, terms.due(), Cents(10_000_000)).unwrap();
    let make = |source, value| -> Transaction {
        let spent = coin(&secret(11), Amount::from_sat(value), 3);
        let out = spent.previous.output[0].clone();
        let coins = vec![(spent.outpoint(), out)];
        let parts = RepayParts {
            proposer: Role::Borrower,
            source,
            owed,
            coins,
            change_script: script(&secret(10)),
            fee_rate: 5,
        };
        repay::transaction(terms, &contract.built.skeleton, &parts).unwrap()
    };
    page.text(
        "Repayments at due and $100,000 per bitcoin, fee rate 5 sat/vB, with one coin of key 11 (lock time 3) worth \
         60,000,000 sats (from the wallet) or 20,000 sats (from the collateral):",
    );
    for (name, source, value) in
        [("Repayment from the wallet", Source::Wallet, 60_000_000), ("From the collateral", Source::Collateral, 20_000)]
    {
        page.hex(&format!("{name}, unsigned"), &serialize_hex(&make(source, value)));
    }
}

fn oracles(page: &mut Page, terms: &Terms, announcements: &Announcements) {
    page.title("Oracle");
    let keys = oracle();
    let first = terms.touch_days()[0].event();
    let proven = &announcements.oracles[0].touches[0];
    let attested = keys.attest(first, vec![first.to_string()]).unwrap();
    let bundle = Bundle::of(first);
    let index = u32::try_from(bundle.index(first).unwrap()).unwrap();
    let packed = pack_attestation(index, &attested);
    let price = SignedPrice::sign(&keys, terms.start, Cents(10_000_000));
    let mut hours = [None; 24];
    (hours[10], hours[11]) = (Some(Cents(9_900_000)), Some(Cents(6_420_000)));
    let lows = SignedLows::sign(&keys, terms.first_day(), terms.start.plus(2 * 3_600).unwrap(), hours);
    assert!(lows.prove(first));
    let nonce = proven.announcement.oracle_event.oracle_nonces[0];
    let message = nonce_proof_message(&keys.public_key(), &proven.announcement.oracle_event);
    page.table(&["what", "value"]);
    page.row(&[&"oracle key", &format!("`{}`", keys.public_key())]);
    page.row(&[&"nonce of the first touch", &format!("`{nonce}`")]);
    page.row(&[&"message of its nonce proof", &format!("`{}`", message.as_ref().as_hex())]);
    page.row(&[&"bundle of the first touch", &format!("`{bundle}`, index {index}")]);
    page.row(&[&"its packed attestation, `s`", &format!("`{}`", packed.s)]);
    page.row(&[&"digits of a fixing at $76,543.99", &format!("`{}`", fixing_digits(Cents(7_654_399)).concat())]);
    page.row(&[&"fixing announcement, body", &{
        let body = announcements.oracles[0].fixing.announcement.encode();
        format!("{} bytes, SHA-256 `{}`", body.len(), sha(&body))
    }]);
    page.row(&[&"signed price, start, $100,000.00", &format!("`{}`", price.signature)]);
    page.row(&[&"signed lows of 20200312", &format!("`{}`", lows.signature)]);
    page.text("The lows are known for two hours: 10 at $99,000.00 and 11 at $64,200.00; frozen until 12:00. They prove the first touch.");
    page.hex("Event of the first touch, TLV", &proven.announcement.oracle_event.to_tlv_bytes().to_lower_hex_string());
    page.hex("Its announcement, body", &proven.announcement.encode().to_lower_hex_string());
    page.hex("The same packed for a bundle, with its nonce proof", &pack_announcement(proven));
    page.hex("Its attestation, body", &attested.encode().to_lower_hex_string());
    page.hex("The receipt's announcement, body", &announcements.receipt.encode().to_lower_hex_string());
    let freed = receipt::attest(terms, &secret(4), &secret(5)).unwrap();
    page.hex("The receipt's attestation, body", &freed.encode().to_lower_hex_string());
}

/// The tagged hash is built here by hand, and the code's own check must take a signature over it.
fn proofs(page: &mut Page, terms: &Terms) {
    page.title("Coin proof");
    let outpoint = OutPoint { txid: Txid::from_byte_array([3; 32]), vout: 1 };
    let tag = sha256::Hash::hash(b"hypothec/coin-proof/v0").to_byte_array();
    let data = [&tag[..], &tag, &terms.id().0, &[3; 32], &1u32.to_le_bytes()].concat();
    let digest = sha256::Hash::hash(&data).to_byte_array();
    let signature = SECP256K1.sign_ecdsa(&bitcoin::secp256k1::Message::from_digest(digest), &secret(11));
    let proof = CoinProof { outpoint, pubkey: secret(11).public_key(SECP256K1), signature };
    let out = bitcoin::TxOut { value: Amount::ONE_BTC, script_pubkey: script(&secret(11)) };
    verify_coin_proof(&proof, &out, &terms.id().0).unwrap();
    page.table(&["what", "value"]);
    page.row(&[&"loan", &format!("`{}`", terms.id())]);
    page.row(&[&"coin", &"txid of 32 bytes 03, output 1"]);
    page.row(&[&"digest", &format!("`{}`", digest.as_hex())]);
    page.row(&[&"signature of key 11 (RFC 6979)", &format!("`{}`", signature.serialize_compact().as_hex())]);
}

/// One proof of each kind, of what an honest oracle never signs. A whole one is written where it is short.
fn equivocations(page: &mut Page, terms: &Terms) {
    page.title("Equivocations");
    page.text("What an oracle of the key above would have to have signed; each proof's bytes are its `proof` field, without the length in front.");
    let (keys, touch, fixing) = (oracle(), terms.touch_days()[0].event(), terms.fixing_event());
    let announced = keys.announcement(fixing).unwrap().announcement;
    let say = |cents| keys.attest(fixing, fixing_digits(Cents(cents))).unwrap();
    let outcomes = Proof::of_attestations(&announced, &say(7_654_399), &say(7_654_499)).unwrap();
    let honest = keys.announcement(touch).unwrap().announcement;
    let mut other = honest.clone();
    other.oracle_event.oracle_nonces = vec![announced.oracle_event.oracle_nonces[0]];
    let message = tagged_announcement_msg(&other.oracle_event);
    other.announcement_signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &secret(3).keypair(SECP256K1));
    let announcements = Proof::of_announcements(&honest, &other).unwrap();
    let lows = |low| {
        let mut hours = [None; 24];
        hours[10] = Some(Cents(low));
        SignedLows::sign(&keys, terms.first_day(), terms.start.plus(2 * 3_600).unwrap(), hours)
    };
    let lows = Proof::of_lows(keys.public_key(), &lows(9_900_000), &lows(9_800_000)).unwrap();
    page.table(&["kind", "of", "bytes", "SHA-256"]);
    for (kind, of, proof) in [
        ("1, outcomes", "the fixing at due: $76,543 and $76,544, at the first digit in which they differ", &outcomes),
        ("2, announcements", "the first touch, with its nonce and with the fixing's first", &announcements),
        ("3, statements", "lows of 20200312, frozen until 12:00: hour 10 at $99,000.00 and at $98,000.00", &lows),
    ] {
        assert_eq!(proof.check(), Ok(keys.public_key()));
        let bytes = proof.to_bytes();
        page.row(&[&kind, &of, &bytes.len(), &format!("`{}`", sha(&bytes))]);
    }
    page.hex("The second, whole", &announcements.to_bytes().to_lower_hex_string());
    page.hex("The third, whole", &lows.to_bytes().to_lower_hex_string());
}

/// The reference loan on two of three oracles.
fn several(page: &mut Page, one: &Terms) {
    page.title("Two of three oracles");
    let mut keys: Vec<OracleKeys> = [3, 30, 31].map(|number| OracleKeys::from_secret(secret(number))).into();
    keys.sort_by_key(|keys| keys.public_key().serialize());
    let terms = Terms { oracles: keys.iter().map(OracleKeys::public_key).collect(), threshold: 2, ..one.clone() };
    terms.check().unwrap();
    let receipt = receipt::announce(&terms, &secret(4)).unwrap();
    let announcements = Announcements { oracles: keys.iter().map(|keys| announced(keys, &terms)).collect(), receipt };
    check_announcements(&terms, &announcements).unwrap();
    let payouts = Payouts::of(&terms).unwrap();
    let info = encoded(&contract_info(&payouts, &announcements).unwrap());
    let slots = adaptor::slots(&payouts, &announcements).unwrap();
    let (quorum, days) = (payouts.quorum, payouts.touches.len());
    page.text("The reference loan with the oracle keys of secrets 3, 30 and 31.");
    page.table(&["what", "value"]);
    for (index, key) in terms.oracles.iter().enumerate() {
        page.row(&[&format!("oracle {index}"), &format!("`{key}`")]);
    }
    page.row(&[&"loan id", &format!("`{}`", terms.id())]);
    page.row(&[&"contract_info", &format!("{} bytes, SHA-256 `{}`", info.len(), sha(&info))]);
    page.row(&[&"steps of the fixing", &payouts.fixing.len()]);
    page.row(&[
        &"adaptor signatures",
        &format!("{}, of them {} of the fixing", slots.len(), slots.len() - 3 * days - 1),
    ]);
    for (place, group) in quorum.groups().iter().enumerate() {
        page.row(&[&format!("point of the first touch, group {group:?}"), &format!("`{}`", slots[place].point)]);
    }
    page.row(&[&"point of the last slot", &format!("`{}`", slots.last().unwrap().point)]);
    let all: String = slots.iter().map(|slot| format!("{} {}\n", slot.cet, slot.point)).collect();
    page.row(&[&"all slots as lines `CET point`", &format!("SHA-256 `{}`", sha(all.as_bytes()))]);
    page.text("Agreements on a fixing. The slot is counted from 0 over the whole contract; digits are what is needed of each oracle.");
    page.table(&["oracle 0", "oracle 1", "oracle 2", "slot", "the price that pays", "lender", "digits"]);
    for said in [
        [Some(100_000), Some(100_400), None],
        [Some(90_000), Some(100_400), Some(100_000)],
        [Some(90_000), Some(95_000), Some(100_000)],
        [Some(0), None, Some(0)],
    ] {
        let known: Vec<(usize, u32)> =
            said.iter().enumerate().filter_map(|(index, price)| price.map(|price| (index, price))).collect();
        let found = difference::find(quorum, &payouts.fixing, &known).unwrap();
        let shown = said.map(|price: Option<u32>| price.map_or("silent".to_string(), |price| format!("${price}")));
        let [slot, pays, lender, digits] = match found {
            None => ["none".to_string(), "–".into(), "–".into(), "–".into()],
            Some(agreed) => [
                (3 * days + 1 + agreed.signature).to_string(),
                format!("${}", agreed.dollars),
                payouts.fixing[agreed.step].lender.to_sat().to_string(),
                agreed
                    .digits
                    .iter()
                    .map(|(oracle, count)| format!("{count} of oracle {oracle}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ],
        };
        page.row(&[&shown[0], &shown[1], &shown[2], &slot, &pays, &lender, &digits]);
    }
}

fn worked_numbers() -> String {
    let terms = reference();
    assert_eq!(terms.check(), Ok(()));
    let announcements = announcements(&terms);
    check_announcements(&terms, &announcements).unwrap();
    let contract = contract(&terms, &announcements);
    let mut page = Page::default();
    names(&mut page, &terms);
    money(&mut page, &terms);
    touches(&mut page, &terms);
    others(&mut page, &terms);
    fixing(&mut page, &terms);
    shares(&mut page, &terms, &contract);
    transactions(&mut page, &terms, &announcements, &contract);
    oracles(&mut page, &terms, &announcements);
    proofs(&mut page, &terms);
    equivocations(&mut page, &terms);
    several(&mut page, &terms);
    page.0.push('\n');
    page.0
}

#[test]
fn the_protocol_document_holds_the_numbers_that_the_code_counts() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/PROTOCOL.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the marker where worked numbers begin");
    let (written, after) = rest.split_once(END).expect("the marker where worked numbers end");
    let counted = worked_numbers();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{counted}{END}{after}")).unwrap();
        return;
    }
    let parting = written.lines().zip(counted.lines()).find(|(written, counted)| written != counted);
    assert!(written == counted, "document and code part at (document, code): {parting:#?}");
}

/// The document gives the rule for the prefixes; the library that makes them must follow it.
#[test]
fn a_step_is_covered_by_the_largest_aligned_blocks_from_the_lowest_price_up() {
    let curve = curve::fixing_curve(&reference());
    let mut all = 0;
    for step in &curve.intervals {
        let (mut at, mut expected) = (u64::from(step.first), Vec::new());
        while at <= u64::from(step.last) {
            let fits = |bits: &u32| at % (1 << bits) == 0 && at + (1 << bits) <= u64::from(step.last) + 1;
            let bits = (0..=20u32).rev().find(fits).unwrap();
            expected.push((bits..20).rev().map(|bit| usize::from(at >> bit & 1 == 1)).collect::<Vec<_>>());
            at += 1 << bits;
        }
        assert_eq!(prefixes(step.first, step.last), expected, "{step:?}");
        all += expected.len();
    }
    assert_eq!(all, curve.signatures());
}

#[test]
fn the_document_names_every_message_type() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).unwrap();
    for kind in Message::kinds() {
        assert!(text.contains(&kind.to_string()), "message type {kind} is not in the document");
    }
}

/// `4 => pub principal: Cents,` in a message or in the terms is the row `| 4 | principal |` of the document.
#[test]
fn the_document_names_every_field_of_every_message_and_of_the_terms() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/PROTOCOL.md")).unwrap();
    let mut fields = 0;
    for source in ["src/protocol/messages.rs", "src/loan/terms.rs"] {
        let source = std::fs::read_to_string(root.join(source)).unwrap();
        for line in source.lines().map(str::trim) {
            let Some((kind, rest)) = line.split_once(" => pub ") else { continue };
            let name = rest.split(':').next().unwrap();
            let row = format!("| {kind} | {name} |");
            assert!(text.contains(&row), "no row {row} in the document");
            fields += 1;
        }
    }
    assert!(fields > 50, "{fields}");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md")];
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    assert!(documents.len() > 10, "{documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: nothing is at {link}", document.display());
        }
    }
}

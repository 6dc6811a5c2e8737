//! The DLC offer: made by the borrower, checked by the lender field by field before the library sees it.

use super::clauses::{check_announcements, contract_info, encoded, Announcements, Payouts};
use super::error::{guarded, require, require_bytes, ContractError};
use super::wire;
use crate::loan::terms::Terms;
use crate::loan::units::SatPerVb;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use ddk::contract as stateless;
use dlc_messages::{FundingInput, OfferDlc};
use secp256k1_zkp::PublicKey;

/// DLC protocol version of the messages.
const PROTOCOL_VERSION: u32 = 1;

/// A confirmed coin that funds a contract.
#[derive(Clone, Debug)]
pub struct FundingCoin {
    /// The whole transaction that made it.
    pub previous: Transaction,
    /// Which of its outputs.
    pub vout: u32,
}

impl FundingCoin {
    /// Where it is.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint { txid: self.previous.compute_txid(), vout: self.vout }
    }

    /// As a funding input with a random serial id.
    pub fn input(&self) -> Result<FundingInput, ContractError> {
        let script = &super::build::output(&self.previous, self.vout)?.script_pubkey;
        let length = wire::witness_length(script)
            .ok_or_else(|| ContractError::field("coin", "script", script, "P2WPKH or P2TR"))?;
        Ok(stateless::funding_input(&self.previous, self.vout, None, wire::SEQUENCE, length, ScriptBuf::new())?)
    }
}

/// What the borrower brings to an offer.
pub struct OfferParts {
    /// The borrower's half of the 2-of-2.
    pub funding_key: PublicKey,
    /// Where every exit pays the borrower.
    pub payout_script: ScriptBuf,
    /// Where what the coins hold too much goes.
    pub change_script: ScriptBuf,
    /// Confirmed coins worth the collateral and the borrower's share of the fees.
    pub coins: Vec<FundingCoin>,
}

/// Makes the offer of a loan.
pub fn make(terms: &Terms, announcements: &Announcements, parts: OfferParts) -> Result<OfferDlc, ContractError> {
    make_with(&Payouts::of(terms)?, terms, announcements, parts)
}

/// [`make`] with payouts computed before.
pub fn make_with(
    payouts: &Payouts,
    terms: &Terms,
    announcements: &Announcements,
    parts: OfferParts,
) -> Result<OfferDlc, ContractError> {
    terms.check()?;
    check_announcements(terms, announcements)?;
    let params = stateless::CreateOfferParams {
        chain_hash: terms.chain,
        temporary_contract_id: Some(terms.id().0),
        contract_info: contract_info(payouts, announcements)?,
        offer_collateral: terms.collateral,
        party: stateless::PartyParams {
            funding_pubkey: parts.funding_key,
            funding_inputs: parts.coins.iter().map(FundingCoin::input).collect::<Result<_, _>>()?,
            payout_spk: parts.payout_script,
            payout_serial_id: None,
            change_spk: parts.change_script,
            change_serial_id: None,
        },
        fund_output_serial_id: None,
        fee_rate_per_vb: terms.fee_rate.0,
        // Zero: a touch settles the moment it is attested.
        cet_locktime: Some(0),
        refund_locktime: terms.refund_locktime().0,
        contract_flags: 0,
    };
    guarded(|| Ok(stateless::create_offer(params)?))
}

/// An offer that says what the terms say, and what checking it brought to light.
pub struct CheckedOffer {
    /// The message.
    pub offer: OfferDlc,
    /// The terms' payouts.
    pub payouts: Payouts,
    /// The coins it spends, to be found unspent and confirmed on chain with exactly these outputs.
    pub coins: Vec<(OutPoint, TxOut)>,
}

/// Reads an offer and requires that every field that is not a random number is the one the terms fix.
///
/// Left to the caller, who can see the chain: that the coins exist, are unspent and confirmed.
pub fn check(terms: &Terms, announcements: &Announcements, bytes: &[u8]) -> Result<CheckedOffer, ContractError> {
    check_with(Payouts::of(terms)?, terms, announcements, bytes)
}

/// [`check`] with payouts computed before.
pub fn check_with(
    payouts: Payouts,
    terms: &Terms,
    announcements: &Announcements,
    bytes: &[u8],
) -> Result<CheckedOffer, ContractError> {
    const OFFER: &str = "offer";
    // Every accept comes after this: what passes here is what everything later is built on.
    terms.check()?;
    check_announcements(terms, announcements)?;
    let offer: OfferDlc = wire::read(bytes)?;
    require(OFFER, "protocol_version", offer.protocol_version, PROTOCOL_VERSION)?;
    require_bytes(OFFER, "temporary_contract_id", &offer.temporary_contract_id, &terms.id().0)?;
    require(OFFER, "contract_flags", offer.contract_flags, 0)?;
    require_bytes(OFFER, "chain_hash", &offer.chain_hash, &terms.chain)?;
    require(OFFER, "fee_rate_per_vb", offer.fee_rate_per_vb, terms.fee_rate.0)?;
    require(OFFER, "cet_locktime", offer.cet_locktime, 0)?;
    require(OFFER, "refund_locktime", offer.refund_locktime, terms.refund_locktime().0)?;
    require(OFFER, "offer_collateral", offer.offer_collateral, terms.collateral)?;
    if !offer.tlvs.is_empty() {
        return Err(ContractError::field(OFFER, "tlvs", "records", "none: nobody asked for any"));
    }
    if encoded(&offer.contract_info) != encoded(&contract_info(&payouts, announcements)?) {
        return Err(ContractError::field(
            OFFER,
            "contract_info",
            "another contract",
            "the one both sides build from the terms and the announcements",
        ));
    }
    wire::check_script(OFFER, "payout_spk", &offer.payout_spk)?;
    wire::check_script(OFFER, "change_spk", &offer.change_spk)?;
    if offer.change_spk == terms.principal_script || offer.payout_spk == terms.principal_script {
        let fresh = "a script other than the principal's";
        return Err(ContractError::field(OFFER, "change_spk or payout_spk", &offer.change_spk, fresh));
    }
    if offer.payout_spk == offer.change_spk {
        let own = "a script that the change does not go to";
        return Err(ContractError::field(OFFER, "payout_spk", &offer.payout_spk, own));
    }
    if offer.change_serial_id == offer.fund_output_serial_id {
        let other = "another number than fund_output_serial_id";
        return Err(ContractError::field(OFFER, "change_serial_id", offer.change_serial_id, other));
    }
    wire::check_inputs(OFFER, &offer.funding_inputs)?;
    let offering = super::build::offering(&offer)?;
    if offering.get_change_output_and_fees(terms.total(), terms.fee_rate.0, Amount::ZERO).is_err() {
        let needed = format!("the collateral of {} and its fees", terms.collateral);
        return Err(ContractError::field(OFFER, "funding_inputs", offering.input_amount, needed));
    }
    let coins = offer
        .funding_inputs
        .iter()
        .map(|input| {
            let (outpoint, previous) = super::build::previous(input)?;
            Ok((outpoint, super::build::output(&previous, input.prev_tx_vout)?.clone()))
        })
        .collect::<Result<Vec<_>, ContractError>>()?;
    guarded(|| {
        // The library's own checks last; the interval that suits our refund makes its date check an equality.
        let closest = offer.contract_info.get_closest_maturity_date();
        let interval = offer.refund_locktime.saturating_sub(closest);
        Ok(stateless::validate_offer(&offer, interval, interval, u64::from(closest.saturating_sub(1)))?)
    })?;
    Ok(CheckedOffer { offer, payouts, coins })
}

/// What each party must bring, in sats, so that funding comes out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Funding fee paid by the party.
    pub funding_fee: Amount,
    /// The party's part of the fee of one exit, locked up in the funding output.
    pub exit_fee: Amount,
    /// Collateral or stake plus both fees.
    pub required: Amount,
}

/// The borrower's share with `inputs` P2WPKH coins.
pub fn borrower_shares(terms: &Terms, inputs: usize) -> Result<Shares, ContractError> {
    shares(terms, terms.collateral, inputs, 22)
}

/// The lender's share with its one P2WPKH coin; its change is the borrower's principal.
pub fn lender_shares(terms: &Terms) -> Result<Shares, ContractError> {
    shares(terms, terms.stake, 1, terms.principal_script.len())
}

/// The lender's share of the fees of funding and exit of a loan by such terms: a share is of weights, and no sum changes it.
/// `key` is any, and the principal goes to a script of so many bytes.
pub fn lender_fees(key: PublicKey, rate: SatPerVb, stake: Amount, script: usize) -> Result<Amount, ContractError> {
    let shares = shares_at(key, rate, Amount::MAX_MONEY, stake, 1, script)?;
    shares.required.checked_sub(stake).ok_or(ContractError::OutOfRange("the lender's fees"))
}

/// What a loan costs its lender in fees where making its coin costs `making`: its share of the funding transaction, and of what
/// is paid ahead for the end.
pub fn cost_of_lending(terms: &Terms, making: Amount) -> Result<Amount, ContractError> {
    let fees = lender_shares(terms)?.required.checked_sub(terms.stake);
    fees.and_then(|fees| fees.checked_add(making)).ok_or(ContractError::OutOfRange("the lender's fees"))
}

/// What the lender's one coin must be worth, to the sat.
pub fn lender_coin_value(terms: &Terms) -> Result<Amount, ContractError> {
    lender_shares(terms)?
        .required
        .checked_add(terms.principal_sats)
        .ok_or(ContractError::OutOfRange("the lender's coin"))
}

/// A party's shares as the library computes them; payouts go to 22-byte P2WPKH scripts.
fn shares(terms: &Terms, collateral: Amount, inputs: usize, change_length: usize) -> Result<Shares, ContractError> {
    shares_at(terms.borrower, terms.fee_rate, terms.total(), collateral, inputs, change_length)
}

fn shares_at(
    key: PublicKey,
    rate: SatPerVb,
    total: Amount,
    collateral: Amount,
    inputs: usize,
    change_length: usize,
) -> Result<Shares, ContractError> {
    let input = dlc::TxInputInfo {
        outpoint: OutPoint::null(),
        max_witness_len: dlc::P2WPKH_WITNESS_SIZE,
        redeem_script: ScriptBuf::new(),
        serial_id: 0,
    };
    let party = dlc::PartyParams {
        fund_pubkey: key,
        change_script_pubkey: ScriptBuf::from_bytes(vec![0; change_length]),
        change_serial_id: 0,
        payout_script_pubkey: ScriptBuf::from_bytes(vec![0; 22]),
        payout_serial_id: 0,
        inputs: vec![input; inputs],
        dlc_inputs: Vec::new(),
        input_amount: Amount::MAX_MONEY,
        collateral,
    };
    let (_, funding_fee, exit_fee) = party.get_change_output_and_fees(total, rate.0, Amount::ZERO)?;
    let required = collateral
        .checked_add(funding_fee)
        .and_then(|sum| sum.checked_add(exit_fee))
        .ok_or(ContractError::OutOfRange("the funding shares"))?;
    Ok(Shares { funding_fee, exit_fee, required })
}

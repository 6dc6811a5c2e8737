//! What a hostile borrower can put into an offer, one thing at a time: what is done, what the refusal must name, how it
//! is done. Played against the checks alone and over the wire.

use bitcoin::ScriptBuf;
use dlc_messages::contract_msgs::{
    ContractDescriptor, ContractInfo, ContractInfoInner, ContractOutcome, NumericOutcomeContractDescriptor,
};
use dlc_messages::oracle_msgs::{MultiOracleInfo, OracleInfo};
use dlc_messages::{DlcInput, OfferDlc};
use hypothec::contract::wire;

/// A case: what is done, what the refusal must name, how it is done.
pub type Case<M> = (&'static str, &'static str, fn(&mut M));

/// A record that redirects payouts of the accepting party: type 65005, an empty list.
pub const OVERRIDES: &[u8] = &[0xfd, 0xfd, 0xed, 1, 0];

/// What plain ddk accepts, panics or hangs on, and needs no coin of the chain's to be tried.
pub const DEADLY_OFFERS: &[Case<OfferDlc>] = &[
    ("enum payout above total", "contract_info", |o| outcome(o).offer_payout = bitcoin::Amount::from_sat(u64::MAX)),
    ("an empty list of oracles", "contract_info", |o| multi(o, 1, 0)),
    ("threshold 0", "contract_info", |o| multi(o, 0, 1)),
    ("threshold above the oracles", "contract_info", |o| multi(o, 2, 1)),
    ("the same oracle twice", "contract_info", |o| multi(o, 2, 2)),
    ("no pieces", "contract_info", |o| fixing(o).payout_function.payout_function_pieces.clear()),
    ("no rounding", "contract_info", |o| fixing(o).rounding_intervals.intervals[0].rounding_mod = 0),
    ("endpoint beyond the digits", "contract_info", |o| {
        fixing(o).payout_function.last_endpoint.event_outcome = 1 << 20
    }),
    ("an endpoint of 2^45", "contract_info", |o| fixing(o).payout_function.last_endpoint.event_outcome = 1 << 45),
    ("40 digits", "contract_info", |o| fixing(o).num_digits = 40),
    ("payouts redirected", "tlvs", |o| with_tlv(o, OVERRIDES)),
    ("another chain", "chain_hash", |o| o.chain_hash[0] ^= 1),
    ("no fee", "fee_rate_per_vb", |o| o.fee_rate_per_vb = 0),
    ("a payout script of 10 kB", "payout_spk", |o| o.payout_spk = ScriptBuf::from_bytes(vec![0x51; 10_000])),
    ("a coin twice", "funding_inputs", |o| {
        let mut again = o.funding_inputs[0].clone();
        again.input_serial_id ^= 1;
        o.funding_inputs.push(again);
    }),
    ("a splice beside a coin with a long witness", "dlc_input", |o| {
        let key = o.funding_pubkey;
        let mut splice = o.funding_inputs[0].clone();
        splice.input_serial_id ^= 1;
        splice.dlc_input = Some(DlcInput { local_fund_pubkey: key, remote_fund_pubkey: key, contract_id: [0; 32] });
        o.funding_inputs[0].max_witness_len = 300;
        o.funding_inputs.insert(0, splice);
    }),
];

pub fn infos(offer: &mut OfferDlc) -> &mut Vec<ContractInfoInner> {
    match &mut offer.contract_info {
        ContractInfo::DisjointContractInfo(union) => &mut union.contract_infos,
        ContractInfo::SingleContractInfo(_) => panic!("not a union"),
    }
}

pub fn fixing(offer: &mut OfferDlc) -> &mut NumericOutcomeContractDescriptor {
    match &mut infos(offer).last_mut().unwrap().contract_descriptor {
        ContractDescriptor::NumericOutcomeContractDescriptor(numeric) => numeric,
        _ => panic!("not numeric"),
    }
}

pub fn multi(offer: &mut OfferDlc, threshold: u16, count: usize) {
    let info = infos(offer).first_mut().unwrap();
    let OracleInfo::Single(single) = &info.oracle_info else { panic!("not single") };
    let oracle_announcements = vec![single.oracle_announcement.clone(); count];
    info.oracle_info = OracleInfo::Multi(MultiOracleInfo { threshold, oracle_announcements, oracle_params: None });
}

pub fn outcome(offer: &mut OfferDlc) -> &mut ContractOutcome {
    match &mut infos(offer)[0].contract_descriptor {
        ContractDescriptor::EnumeratedContractDescriptor(enumerated) => &mut enumerated.payouts[0],
        _ => panic!("not enumerated"),
    }
}

/// Appends a record to a message.
pub fn with_tlv<M: wire::Message>(message: &mut M, record: &[u8]) {
    let bytes = [wire::write(message), record.to_vec()].concat();
    *message = M::read(&mut lightning::io::Cursor::new(bytes)).unwrap();
}

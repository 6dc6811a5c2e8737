//! The clauses of a loan's contract, in their order, and the contract info both sides build from them.
//!
//! Order: `Touch` of each day, `Receipt`, `Fixing`. A clause's index is its place in that order, so a touch's index
//! is also the index of its contract execution transaction (CET) and of its adaptor signature.

use super::error::ContractError;
use super::receipt;
use crate::loan::curve::{self, Interval};
use crate::loan::payout::{self, Payout};
use crate::loan::terms::{Terms, TouchDay};
use bitcoin::Amount;
use dlc_messages::contract_msgs::{
    ContractDescriptor, ContractInfo, ContractInfoInner, ContractOutcome, DisjointContractInfo,
    EnumeratedContractDescriptor, NumericOutcomeContractDescriptor, PayoutCurvePiece, PayoutFunction,
    PayoutFunctionPiece, PayoutPoint, PolynomialPayoutCurvePiece, RoundingInterval, RoundingIntervals,
};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleInfo, SingleOracleInfo};
use hypothec_oracle::announce::ProvenAnnouncement;
use hypothec_oracle::event::{FIXING_DIGITS, FIXING_MAX};
use hypothec_oracle::verify;
use lightning::util::ser::Writeable;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What each clause settles on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clause {
    /// The price touched the level of the `index`-th day of the term.
    Touch { index: usize },
    /// The lender says it was paid.
    Receipt,
    /// The price at the due time.
    Fixing,
}

/// The announcements of a loan's clauses: what the adaptor signatures are locked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcements {
    /// One a day of the term, in order.
    pub touches: Vec<ProvenAnnouncement>,
    /// The lender's own.
    pub receipt: OracleAnnouncement,
    /// Of the price at the due time.
    pub fixing: ProvenAnnouncement,
}

/// Requires that `announcements` are exactly those `terms` call for, by the oracle and the receipt key they name.
///
/// Checked: event ids, descriptors, maturities, nonce counts, announcement signatures, nonce proofs, and that no
/// nonce serves twice.
pub fn check_announcements(terms: &Terms, announcements: &Announcements) -> Result<(), ContractError> {
    let oracle = terms.oracles.first().ok_or(ContractError::OutOfRange("terms.oracles"))?;
    let days = terms.touch_days();
    if days.len() != announcements.touches.len() {
        return Err(ContractError::field(
            "announcements",
            "touches",
            announcements.touches.len(),
            format!("{}, one a day of the term", days.len()),
        ));
    }
    let fixing = terms.fixing_event();
    let events = days.iter().map(TouchDay::event).chain([fixing]);
    let all: Vec<_> = events.zip(announcements.touches.iter().chain([&announcements.fixing])).collect();
    all.into_par_iter().try_for_each(|(event, announcement)| {
        verify::verify_announcement(announcement, oracle, event)
            .map_err(|e| ContractError::Announcement { event: event.to_string(), reason: e.to_string() })
    })?;
    receipt::check(terms, &announcements.receipt)?;
    let mut nonces: Vec<[u8; 32]> = announcements
        .touches
        .iter()
        .chain([&announcements.fixing])
        .map(|proven| &proven.announcement)
        .chain([&announcements.receipt])
        .flat_map(|announcement| announcement.oracle_event.oracle_nonces.iter().map(|nonce| nonce.serialize()))
        .collect();
    nonces.sort_unstable();
    if nonces.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(ContractError::Announcement {
            event: fixing.to_string(),
            reason: "a nonce stands in two announcements; the oracle must use each once".into(),
        });
    }
    Ok(())
}

/// Every clause's payouts, computed once from the terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Payouts {
    /// The days of the term with level and debt.
    pub days: Vec<TouchDay>,
    /// Payout of each day's touch.
    pub touches: Vec<Payout>,
    /// Payout of the receipt.
    pub receipt: Payout,
    /// The fixing's steps, lowest price first, no two neighbours alike.
    pub fixing: Vec<Interval>,
    /// Collateral and stake: what every split sums to.
    pub total: Amount,
}

impl Payouts {
    /// All payouts of the terms; fails when they do not fit the numbers.
    pub fn of(terms: &Terms) -> Result<Payouts, ContractError> {
        let total = terms.total();
        let days = terms.touch_days();
        let touches = days
            .iter()
            .map(|day| payout::touch_floor(terms, day))
            .collect::<Option<Vec<_>>>()
            .ok_or(ContractError::OutOfRange("the payout of a touch"))?;
        let fixing = curve::fixing_intervals(terms);
        Ok(Payouts { days, touches, receipt: payout::receipt(terms), fixing, total })
    }

    /// The split of every clause's every CET, in their order.
    pub fn splits(&self) -> Result<Vec<Payout>, ContractError> {
        let step = |step: &Interval| {
            let borrower = self.total.checked_sub(step.lender);
            borrower.map(|borrower| Payout { borrower, lender: step.lender })
        };
        let fixing = self.fixing.iter().map(step);
        let singles = self.touches.iter().chain([&self.receipt]).copied().map(Some);
        singles.chain(fixing).collect::<Option<_>>().ok_or(ContractError::OutOfRange("the payout of the fixing"))
    }

    /// The step a fixing at `dollars` falls on: its index and itself.
    pub fn fixing_step(&self, dollars: u32) -> Option<(usize, &Interval)> {
        let index = self.fixing.partition_point(|step| step.last < dollars);
        self.fixing.get(index).map(|step| (index, step))
    }
}

/// The contract info both sides must arrive at, byte for byte.
pub fn contract_info(payouts: &Payouts, announcements: &Announcements) -> Result<ContractInfo, ContractError> {
    let mut contract_infos = Vec::with_capacity(payouts.touches.len() + 2);
    for (split, proven) in payouts.touches.iter().zip(&announcements.touches) {
        contract_infos.push(single_outcome(split, &proven.announcement));
    }
    contract_infos.push(single_outcome(&payouts.receipt, &announcements.receipt));
    contract_infos.push(ContractInfoInner {
        contract_descriptor: ContractDescriptor::NumericOutcomeContractDescriptor(NumericOutcomeContractDescriptor {
            num_digits: FIXING_DIGITS,
            payout_function: step_function(&payouts.fixing, payouts.total)?,
            rounding_intervals: RoundingIntervals {
                intervals: vec![RoundingInterval { begin_interval: 0, rounding_mod: 1 }],
            },
        }),
        oracle_info: single_oracle(&announcements.fixing.announcement),
    });
    Ok(ContractInfo::DisjointContractInfo(DisjointContractInfo { total_collateral: payouts.total, contract_infos }))
}

/// The bytes two contract infos are compared by.
pub fn encoded(info: &ContractInfo) -> Vec<u8> {
    info.encode()
}

fn single_oracle(announcement: &OracleAnnouncement) -> OracleInfo {
    OracleInfo::Single(SingleOracleInfo { oracle_announcement: announcement.clone() })
}

/// An event of one outcome, whose text is the event's own id.
fn single_outcome(split: &Payout, announcement: &OracleAnnouncement) -> ContractInfoInner {
    ContractInfoInner {
        contract_descriptor: ContractDescriptor::EnumeratedContractDescriptor(EnumeratedContractDescriptor {
            payouts: vec![ContractOutcome {
                outcome: announcement.oracle_event.event_id.clone(),
                offer_payout: split.borrower,
            }],
        }),
        oracle_info: single_oracle(announcement),
    }
}

/// The steps as the DLC specification's polynomial pieces: a flat piece over each step and a straight piece from the
/// last dollar of one to the first dollar of the next. No float ever rounds: slopes span one dollar.
fn step_function(steps: &[Interval], total: Amount) -> Result<PayoutFunction, ContractError> {
    let mut points: Vec<PayoutPoint> = Vec::with_capacity(steps.len() * 2);
    for step in steps {
        let borrower = total.checked_sub(step.lender).ok_or(ContractError::OutOfRange("the payout of the fixing"))?;
        let point = |dollars: u32| PayoutPoint {
            event_outcome: u64::from(dollars),
            outcome_payout: borrower,
            extra_precision: 0,
        };
        points.push(point(step.first));
        if step.last > step.first {
            points.push(point(step.last));
        }
    }
    let last_endpoint = points.pop().ok_or(ContractError::OutOfRange("the payout of the fixing"))?;
    if last_endpoint.event_outcome != u64::from(FIXING_MAX) {
        return Err(ContractError::OutOfRange("the last step of the fixing"));
    }
    let payout_function_pieces = points
        .into_iter()
        .map(|end_point| PayoutFunctionPiece {
            end_point,
            payout_curve_piece: PayoutCurvePiece::PolynomialPayoutCurvePiece(PolynomialPayoutCurvePiece {
                payout_points: Vec::new(),
            }),
        })
        .collect();
    Ok(PayoutFunction { payout_function_pieces, last_endpoint })
}

//! The clauses of a loan's contract, in their order, and the contract info both sides build from them.
//!
//! Order: `Touch` of each day, `Receipt`, `Fixing`. A clause's index is its place in that order, so a touch's index
//! is also the index of its contract execution transaction (CET). With one oracle it is that of its adaptor signature
//! too; with several, each touch has one for every group of oracles that can agree.

use super::error::{require, ContractError};
use super::receipt;
use crate::loan::curve::{self, Interval};
use crate::loan::payout::{self, Payout};
use crate::loan::quorum::Quorum;
use crate::loan::terms::{Terms, TouchDay};
use bitcoin::Amount;
use dlc_messages::contract_msgs::{
    ContractDescriptor, ContractInfo, ContractInfoInner, ContractOutcome, DisjointContractInfo,
    EnumeratedContractDescriptor, NumericOutcomeContractDescriptor, PayoutCurvePiece, PayoutFunction,
    PayoutFunctionPiece, PayoutPoint, PolynomialPayoutCurvePiece, RoundingInterval, RoundingIntervals,
};
use dlc_messages::oracle_msgs::{MultiOracleInfo, OracleAnnouncement, OracleInfo, OracleParams, SingleOracleInfo};
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

/// What one oracle announced for a loan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OracleAnnouncements {
    /// One a day of the term, in order.
    pub touches: Vec<ProvenAnnouncement>,
    /// Of the price at the due time.
    pub fixing: ProvenAnnouncement,
}

/// The announcements of a loan's clauses: what the adaptor signatures are locked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Announcements {
    /// One for each oracle of the terms, in their order.
    pub oracles: Vec<OracleAnnouncements>,
    /// The lender's own.
    pub receipt: OracleAnnouncement,
}

/// As a log may hold them: loans of one oracle were first written without a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Now { oracles: Vec<OracleAnnouncements>, receipt: OracleAnnouncement },
    Before { touches: Vec<ProvenAnnouncement>, receipt: OracleAnnouncement, fixing: Box<ProvenAnnouncement> },
}

impl From<Stored> for Announcements {
    fn from(stored: Stored) -> Announcements {
        match stored {
            Stored::Now { oracles, receipt } => Announcements { oracles, receipt },
            Stored::Before { touches, receipt, fixing } => {
                Announcements { oracles: vec![OracleAnnouncements { touches, fixing: *fixing }], receipt }
            }
        }
    }
}

impl Announcements {
    /// What each oracle announced for a clause, in their order; for the receipt the lender's alone. Empty for a day
    /// outside the term.
    pub fn of(&self, clause: Clause) -> Vec<&OracleAnnouncement> {
        match clause {
            Clause::Receipt => vec![&self.receipt],
            Clause::Fixing => self.oracles.iter().map(|oracle| &oracle.fixing.announcement).collect(),
            Clause::Touch { index } => {
                self.oracles.iter().filter_map(|oracle| Some(&oracle.touches.get(index)?.announcement)).collect()
            }
        }
    }
}

/// Requires that `announcements` are exactly those `terms` call for, by the oracles and the receipt key they name.
///
/// Checked: event ids, descriptors, maturities, nonce counts, announcement signatures, nonce proofs, and that no
/// nonce serves twice, whoever announced it. **Without the nonce proofs the oracle that announces last settles alone**:
/// an adaptor point is the plain sum of the oracles' points, and a nonce R = xG − S cancels another's out of it.
pub fn check_announcements(terms: &Terms, announcements: &Announcements) -> Result<(), ContractError> {
    require("announcements", "oracles", announcements.oracles.len(), terms.oracles.len())?;
    let days = terms.touch_days();
    for announced in &announcements.oracles {
        if days.len() != announced.touches.len() {
            return Err(ContractError::field(
                "announcements",
                "touches",
                announced.touches.len(),
                format!("{}, one a day of the term", days.len()),
            ));
        }
    }
    let fixing = terms.fixing_event();
    let mut all = Vec::with_capacity(announcements.oracles.len() * (days.len() + 1));
    for (oracle, announced) in terms.oracles.iter().zip(&announcements.oracles) {
        let events = days.iter().map(TouchDay::event).chain([fixing]);
        let proven = announced.touches.iter().chain([&announced.fixing]);
        all.extend(events.zip(proven).map(|(event, proven)| (oracle, event, proven)));
    }
    all.into_par_iter().try_for_each(|(oracle, event, announcement)| {
        verify::verify_announcement(announcement, oracle, event).map_err(|e| ContractError::Announcement {
            event: event.to_string(),
            reason: format!("oracle {oracle}: {e}"),
        })
    })?;
    receipt::check(terms, &announcements.receipt)?;
    let announced = announcements.oracles.iter().flat_map(|oracle| oracle.touches.iter().chain([&oracle.fixing]));
    let mut nonces: Vec<[u8; 32]> = announced
        .map(|proven| &proven.announcement)
        .chain([&announcements.receipt])
        .flat_map(|announcement| announcement.oracle_event.oracle_nonces.iter().map(|nonce| nonce.serialize()))
        .collect();
    nonces.sort_unstable();
    if nonces.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(ContractError::Announcement {
            event: fixing.to_string(),
            reason: "a nonce stands in two announcements; each must be used once, by one oracle".into(),
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
    /// How many oracles must agree on a touch or the fixing.
    pub quorum: Quorum,
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
        Ok(Payouts { days, touches, receipt: payout::receipt(terms), fixing, total, quorum: Quorum::of(terms) })
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
    let threshold = payouts.quorum.threshold;
    for (index, split) in payouts.touches.iter().enumerate() {
        let announced = announcements.of(Clause::Touch { index });
        contract_infos.push(single_outcome(split, oracle_info(&announced, threshold, None)?, &announced)?);
    }
    // The receipt is the lender's word alone, however many oracles there are.
    let receipt = announcements.of(Clause::Receipt);
    contract_infos.push(single_outcome(&payouts.receipt, oracle_info(&receipt, 1, None)?, &receipt)?);
    contract_infos.push(ContractInfoInner {
        contract_descriptor: ContractDescriptor::NumericOutcomeContractDescriptor(NumericOutcomeContractDescriptor {
            num_digits: FIXING_DIGITS,
            payout_function: step_function(&payouts.fixing, payouts.total)?,
            rounding_intervals: RoundingIntervals {
                intervals: vec![RoundingInterval { begin_interval: 0, rounding_mod: 1 }],
            },
        }),
        oracle_info: oracle_info(&announcements.of(Clause::Fixing), threshold, Some(differ(payouts.quorum)))?,
    });
    Ok(ContractInfo::DisjointContractInfo(DisjointContractInfo { total_collateral: payouts.total, contract_infos }))
}

/// The difference parameters of a fixing several oracles settle.
pub fn differ(quorum: Quorum) -> OracleParams {
    OracleParams { max_error_exp: quorum.error_exp(), min_fail_exp: quorum.support_exp, maximize_coverage: true }
}

/// The bytes two contract infos are compared by.
pub fn encoded(info: &ContractInfo) -> Vec<u8> {
    info.encode()
}

/// One oracle, or `threshold` of several; `differ` is how far apart their prices may be.
fn oracle_info(
    announced: &[&OracleAnnouncement],
    threshold: usize,
    differ: Option<OracleParams>,
) -> Result<OracleInfo, ContractError> {
    if let [only] = announced {
        return Ok(OracleInfo::Single(SingleOracleInfo { oracle_announcement: (*only).clone() }));
    }
    Ok(OracleInfo::Multi(MultiOracleInfo {
        threshold: u16::try_from(threshold).map_err(|_| ContractError::OutOfRange("terms.threshold"))?,
        oracle_announcements: announced.iter().map(|announcement| (*announcement).clone()).collect(),
        oracle_params: differ,
    }))
}

/// An event of one outcome, whose text is the event's own id: the same at every oracle.
fn single_outcome(
    split: &Payout,
    oracle_info: OracleInfo,
    announced: &[&OracleAnnouncement],
) -> Result<ContractInfoInner, ContractError> {
    let event = announced.first().ok_or(ContractError::OutOfRange("the announcements of a clause"))?;
    Ok(ContractInfoInner {
        contract_descriptor: ContractDescriptor::EnumeratedContractDescriptor(EnumeratedContractDescriptor {
            payouts: vec![ContractOutcome {
                outcome: event.oracle_event.event_id.clone(),
                offer_payout: split.borrower,
            }],
        }),
        oracle_info,
    })
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

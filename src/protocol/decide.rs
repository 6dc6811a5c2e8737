//! What may happen next: state and input to events, or a refusal that says why not.

use super::awaiting::{self, LenderStep};
use super::ending::{self, whose, Doing, Ending, Known};
use super::event::{paid, Block, Event, Exit, Repayment};
use super::repaying;
use super::state::{Loan, SeenExit, Stage};
use super::unfunded;
use super::Moment;
use crate::contract::clauses::Clause;
use crate::contract::OracleAttestation;
use crate::contract::{fallback, refund, Role, Skeleton};
use crate::loan::ltv::{self, MarginLine};
use crate::loan::payout::Payout;
use crate::loan::units::{BasisPoints, Cents, Time};
use crate::settlement::deadline;
use crate::settlement::spot::Bounds;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{OutPoint, Transaction, Txid};
use thiserror::Error;

/// Something that came back from the outside, already verified where it was foreign.
#[derive(Clone, Debug)]
pub enum Input {
    /// Our wallet made the lender's coin.
    CoinMade(Transaction),
    /// The lender's coin is confirmed.
    CoinConfirmed(OutPoint),
    /// The lender says what it does before that, and until when at the latest.
    LenderStep { step: LenderStep, until: Time },
    /// The borrower's offer is made.
    Offered { offer: Vec<u8> },
    /// The offer passed and our accept is made.
    Accepted { offer: Vec<u8>, accept: Vec<u8>, fallback: Signature, skeleton: Skeleton },
    /// The accept passed and our sign is made.
    Signed { accept: Vec<u8>, lender_fallback: Signature, sign: Vec<u8>, fallback: Signature, skeleton: Skeleton },
    /// The sign passed and the funding transaction is complete.
    Funded { sign: Vec<u8>, borrower_fallback: Signature, transaction: Transaction },
    /// A transaction spends a watched outpoint; `block` once confirmed.
    Spent { outpoint: OutPoint, transaction: Transaction, block: Option<Block> },
    /// The mempool has the funding transaction no more, and no block has it.
    FundingGone,
    /// Blocks above this height are no longer in the chain.
    Rollback { to_height: u32 },
    /// A verified attestation by one of several oracles.
    Said { clause: Clause, attestation: OracleAttestation },
    /// Verified attestations, enough of them, and the exit they unlock.
    Attested { clause: Clause, attestations: Vec<OracleAttestation>, transaction: Transaction },
    /// A repayment is proposed by us (borrower) or completed by us (lender).
    Repaying(Repayment),
    /// Our wallet took back the funding coin.
    Withdrawn(Transaction),
    /// Our wallet took back the repayment's coin.
    RepaymentWithdrawn(Transaction),
    /// The other side refuses our repayment, or to make one for us.
    RepaymentRefused { reason: String },
    /// Somebody ended the negotiation.
    Cancel { reason: String, by: Doing },
    /// What the loan's oracles say the price is now.
    Price(Bounds),
    /// Time or height moved.
    Tick,
}

/// Why an input leads nowhere.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Not in this stage.
    #[error("the loan is {stage}; {what} needs {needs}")]
    Stage { stage: Stage, what: &'static str, needs: &'static str },
    /// The loan is on its way out.
    #[error("the loan is being settled ({exit}); nothing else can be done with it")]
    Settling { exit: Exit },
    /// Too late.
    #[error("the terms expired at {0}; ask for a new quote")]
    Expired(Time),
    /// A proposal is open.
    #[error("a repayment is already proposed in {0}; withdraw it first and wait until that confirms")]
    Proposed(Txid),
    /// A proposal too old to complete.
    #[error("the repayment was proposed at {at}, and it is {now}: more than a minute")]
    Stale { at: Time, now: Time },
    /// Wrong side.
    #[error("only the {0} can do that")]
    Side(Role),
}

/// How far below a margin line the ratio must fall before the line counts as no longer crossed.
const MARGIN_SLACK: BasisPoints = BasisPoints(50);

/// The events an input leads to; none when it says nothing new.
pub fn decide(loan: &Loan, input: Input, moment: Moment) -> Result<Vec<Event>, Refusal> {
    if let Some(decided) = repaying::decide(loan, &input, moment) {
        return decided;
    }
    match input {
        Input::CoinMade(transaction) => {
            at(loan, &[Stage::Agreed], "making a coin", "agreed terms").map(|()| vec![Event::CoinMade { transaction }])
        }
        Input::CoinConfirmed(coin) => {
            at(loan, &[Stage::Agreed, Stage::Preparing], "a confirmed coin", "agreed terms")?;
            Ok(vec![Event::Ready { coin }])
        }
        Input::LenderStep { step, until } => Ok(awaiting::lender_step(loan, step, until, moment)),
        Input::Offered { offer } => {
            at(loan, &[Stage::Agreed], "an offer", "agreed terms")?;
            timely(loan, moment, vec![Event::Offered { offer }])
        }
        Input::Accepted { offer, accept, fallback, skeleton } => {
            at(loan, &[Stage::Ready], "an accept", "the lender's coin")?;
            timely(loan, moment, vec![Event::Accepted { offer, accept, fallback, skeleton: Box::new(skeleton) }])
        }
        Input::Signed { accept, lender_fallback, sign, fallback, skeleton } => {
            at(loan, &[Stage::Offered], "a sign", "an offer")?;
            let skeleton = Box::new(skeleton);
            timely(loan, moment, vec![Event::Signed { accept, lender_fallback, sign, fallback, skeleton }])
        }
        Input::Funded { sign, borrower_fallback, transaction } => {
            at(loan, &[Stage::Accepted], "funding", "an accept")?;
            timely(loan, moment, vec![Event::Funded { sign, borrower_fallback, transaction }])
        }
        Input::Spent { outpoint, transaction, block } => Ok(spent(loan, outpoint, transaction, block, moment)),
        Input::FundingGone => Ok(unfunded::on_gone(loan).into_iter().collect()),
        Input::Rollback { to_height } => Ok(rollback(loan, to_height)),
        Input::Said { clause, attestation } => said(loan, clause, attestation),
        Input::Attested { clause, attestations, transaction } => attested(loan, clause, attestations, transaction),
        Input::Withdrawn(transaction) => {
            let unfunded = [Stage::Signed, Stage::Funded, Stage::Confirming];
            let needs = "a signed contract whose funding is not in a block";
            at(loan, &unfunded, "a withdrawal", needs)?;
            if loan.funding.as_ref().is_some_and(|seen| seen.block.is_some()) {
                return Err(stage(loan, "a withdrawal", needs));
            }
            // Taken back once is enough: the first transaction is repeated until it confirms. Where the funding
            // transaction stands against it, or would, one that pays more takes its place.
            Ok(match &loan.withdrawal {
                Some(first) if !unfunded::outbids(loan, &transaction, first) => Vec::new(),
                _ => vec![Event::Withdrawn { transaction }],
            })
        }
        Input::Cancel { reason, by } => cancel(loan, reason, by),
        Input::Price(price) => {
            let repaying = repaying::on_price(loan, price, moment);
            let unfunded = unfunded::on_price(loan, price, moment);
            Ok(margin(loan, price, moment).into_iter().chain(repaying).chain(unfunded).collect())
        }
        Input::Tick => {
            let unfunded = unfunded::on_tick(loan, moment);
            Ok(tick(loan, moment).into_iter().chain(repaying::on_tick(loan, moment)).chain(unfunded).collect())
        }
        // Decided above.
        Input::Repaying(_) | Input::RepaymentWithdrawn(_) | Input::RepaymentRefused { .. } => Ok(Vec::new()),
    }
}

fn stage(loan: &Loan, what: &'static str, needs: &'static str) -> Refusal {
    Refusal::Stage { stage: loan.stage, what, needs }
}

fn at(loan: &Loan, stages: &[Stage], what: &'static str, needs: &'static str) -> Result<(), Refusal> {
    if stages.contains(&loan.stage) {
        return Ok(());
    }
    Err(stage(loan, what, needs))
}

/// Neither side signs once the terms have expired.
fn timely(loan: &Loan, moment: Moment, events: Vec<Event>) -> Result<Vec<Event>, Refusal> {
    match deadline::has_expired(&loan.terms, moment.now) {
        true => Err(Refusal::Expired(loan.terms.expires)),
        false => Ok(events),
    }
}

/// Before its signature is out each side can simply stop.
fn cancel(loan: &Loan, reason: String, by: Doing) -> Result<Vec<Event>, Refusal> {
    match loan.stage {
        _ if loan.is_negotiating() => Ok(vec![Event::Cancelled { reason, by: Some(by) }]),
        Stage::Signed | Stage::Funded | Stage::Confirming => Err(stage(
            loan,
            "giving up with a word",
            "a loan not yet signed; out of a signed one each side takes its own coin back",
        )),
        _ => Err(stage(loan, "cancelling", "a loan still being negotiated")),
    }
}

/// Ended by the chain or by time.
pub(super) fn cancelled(loan: &Loan, reason: String, ending: Ending, moment: Moment) -> Event {
    let known = Known { now: moment.now, ..Known::default() };
    Event::Cancelled { reason, by: Some(whose(loan, ending, &known)) }
}

/// One oracle's word: kept once, as long as it can matter.
fn said(loan: &Loan, clause: Clause, attestation: OracleAttestation) -> Result<Vec<Event>, Refusal> {
    if !loan.is_living() && !loan.lacks_price() && loan.stage != Stage::Signed {
        return Err(stage(loan, "an attestation", "an active loan"));
    }
    let settled = (loan.is_attested() || loan.is_exit_confirmed()) && !loan.lacks_price();
    match settled || loan.has_said(clause, &attestation.oracle_public_key) {
        true => Ok(Vec::new()),
        false => {
            // Where it makes enough of them, a borrower lets nothing be funded now.
            let agreed = loan.stage == Stage::Signed && loan.would_agree(clause, &attestation);
            let given_up = agreed.then(|| unfunded::on_agreed(loan, clause)).flatten();
            Ok([Event::Said { clause, attestation }].into_iter().chain(given_up).collect())
        }
    }
}

fn attested(
    loan: &Loan,
    clause: Clause,
    attestations: Vec<OracleAttestation>,
    transaction: Transaction,
) -> Result<Vec<Event>, Refusal> {
    // The word that explains an exit of the other side's: it changes nothing but what is known of it.
    let explains = |seen: &SeenExit| seen.seen.transaction.compute_txid() == transaction.compute_txid();
    if loan.lacks_price() && clause == Clause::Fixing && loan.exit.as_ref().is_some_and(explains) {
        return Ok(vec![Event::Attested { clause, attestations, transaction }]);
    }
    let given_up = unfunded::on_attested(loan, &transaction);
    if loan.stage == Stage::Signed {
        // Nothing to settle yet, and nothing that a borrower would have funded now.
        return Ok(given_up.into_iter().collect());
    }
    if !loan.is_living() {
        return Err(stage(loan, "an attestation", "an active loan"));
    }
    // The first attested exit stands: it is out already, and two would only compete. One that was merely seen and
    // waits does not: it may be replaced or forgotten, and nothing would settle the loan.
    if loan.is_attested() || loan.is_exit_confirmed() {
        return Ok(Vec::new());
    }
    let dropped = repaying::drop_proposal(loan, || "the loan is being settled by an attested exit".into());
    let attested = Event::Attested { clause, attestations, transaction };
    Ok(dropped.into_iter().chain([attested]).chain(given_up).collect())
}

fn spent(
    loan: &Loan,
    outpoint: OutPoint,
    transaction: Transaction,
    block: Option<Block>,
    moment: Moment,
) -> Vec<Event> {
    let txid = transaction.compute_txid();
    // A borrower that spends what it proved goes back on it: nothing is prepared for it any longer.
    if loan.is_negotiating() && loan.proven.contains(&outpoint) {
        let reason = format!("a coin that the borrower proved was spent elsewhere, in {txid}");
        return vec![cancelled(loan, reason, Ending::Spent { ours: false }, moment)];
    }
    if loan.is_negotiating() && loan.coins.contains(&outpoint) && block.is_some() {
        // No contract can be funded with it any more.
        let reason = format!("our coin {outpoint} was spent elsewhere, in {txid}");
        return vec![cancelled(loan, reason, Ending::Spent { ours: true }, moment)];
    }
    let Some(skeleton) = &loan.skeleton else { return Vec::new() };
    if outpoint == skeleton.funding {
        let completed = repaying::on_exit(loan, &transaction, block.is_some(), moment.height);
        return completed.into_iter().chain(exit_seen(loan, skeleton, transaction, block)).collect();
    }
    if txid == skeleton.funding.txid {
        // Before it is seen once, anything is news; after that, only a block is, and a block it did not have.
        let known = loan.funding.as_ref().filter(|_| !matches!(loan.stage, Stage::Signed | Stage::Funded));
        let is_news = known.is_none_or(|seen| block.is_some() && seen.block != block);
        return match is_news {
            true => vec![Event::FundingSeen { transaction, block }],
            false if block.is_none() => unfunded::on_waiting(loan).into_iter().collect(),
            false => Vec::new(),
        };
    }
    if loan.funding_inputs.contains(&outpoint) && block.is_some() && !loan.is_over() && !loan.is_exit_confirmed() {
        let funded = loan.funding.as_ref().is_some_and(|seen| seen.block.is_some());
        return match funded || matches!(loan.stage, Stage::Cancelled) {
            true => Vec::new(),
            false => {
                let ours = loan.coins.contains(&outpoint);
                let reason = match unfunded::takes_back(loan, &transaction) {
                    true => format!("not funded: our coin was taken back, in {txid}"),
                    false => format!("a funding coin was spent elsewhere, in {txid}"),
                };
                vec![cancelled(loan, reason, Ending::Spent { ours }, moment)]
            }
        };
    }
    if block.is_none() {
        let is_rival = loan.funding_inputs.contains(&outpoint);
        let rival = is_rival.then(|| unfunded::on_rival(loan, outpoint, &transaction)).flatten();
        return rival.or_else(|| repaying::on_waiting_spend(loan, outpoint, txid)).into_iter().collect();
    }
    // A confirmed spend of a coin that a proposal, or an exit still waiting, needs.
    let dies = |rival: &Transaction| {
        rival.compute_txid() != txid && rival.input.iter().any(|input| input.previous_output == outpoint)
    };
    let mut events = Vec::new();
    if loan.repayment.as_ref().is_some_and(|repayment| dies(&repayment.transaction)) && !loan.is_exit_confirmed() {
        events.push(Event::RepaymentGone);
    }
    if loan.exit.as_ref().is_some_and(|exit| exit.seen.block.is_none() && dies(&exit.seen.transaction)) {
        events.push(Event::ExitGone);
    }
    events
}

fn exit_seen(loan: &Loan, skeleton: &Skeleton, transaction: Transaction, block: Option<Block>) -> Vec<Event> {
    let same = |seen: &Transaction| seen.compute_txid() == transaction.compute_txid();
    if let Some(known) = &loan.exit {
        let confirmed = known.seen.block.is_some();
        if same(&known.seen.transaction) && (known.seen.block == block || (confirmed && block.is_none())) {
            return Vec::new();
        }
        // What is confirmed is not displaced by what merely waits.
        if confirmed && block.is_none() {
            return Vec::new();
        }
    }
    let (exit, price) = recognise(loan, skeleton, &transaction);
    vec![Event::ExitSeen { exit, transaction, price, block }]
}

/// Which exit a spend of the funding output is, and the price behind it.
pub fn recognise(loan: &Loan, skeleton: &Skeleton, transaction: &Transaction) -> (Option<Exit>, Option<Cents>) {
    let txid = transaction.compute_txid();
    let is = |candidate: Option<Transaction>| candidate.is_some_and(|candidate| candidate.compute_txid() == txid);
    if let Some(repayment) = &loan.repayment {
        if repayment.transaction.compute_txid() == txid {
            return (Some(Exit::Repaid), Some(repayment.price));
        }
    }
    // Two clauses that pay alike have one transaction: the one we hold an attestation of is the one meant.
    if let Some(pending) = loan.pending.as_ref().filter(|pending| pending.attestation.is_some()) {
        if pending.transaction.compute_txid() == txid {
            return (Some(pending.exit), loan.attested_price());
        }
    }
    if is(fallback::transaction(&loan.terms, skeleton).ok()) {
        return (Some(Exit::FellBack), Some(loan.terms.reference_price));
    }
    if is(refund::transaction(&loan.terms, skeleton).ok()) {
        return (Some(Exit::Refunded), None);
    }
    if is(skeleton.cet(&loan.payouts.receipt).ok()) {
        return (Some(Exit::Receipt), None);
    }
    for (day, payout) in loan.payouts.days.iter().zip(&loan.payouts.touches) {
        if is(skeleton.cet(payout).ok()) {
            return (Some(Exit::Liquidated), Some(day.level.cents()));
        }
    }
    let (lender, borrower) = paid(skeleton, transaction);
    let fixed = loan.payouts.fixing.iter().any(|step| step.lender == lender);
    if fixed && is(skeleton.cet(&Payout { lender, borrower }).ok()) {
        return (Some(Exit::Matured), None);
    }
    // A cooperative spend we did not record: only a repayment takes both sides' signatures.
    match transaction.input.len() {
        0 | 1 => (None, None),
        _ => (Some(Exit::Repaid), None),
    }
}

fn rollback(loan: &Loan, to_height: u32) -> Vec<Event> {
    let gone = |block: Option<Block>| block.is_some_and(|block| block.height > to_height);
    let mut events = Vec::new();
    if gone(loan.funding.as_ref().and_then(|seen| seen.block)) {
        events.push(Event::FundingUnconfirmed);
    }
    if gone(loan.exit.as_ref().and_then(|exit| exit.seen.block)) {
        events.push(Event::ExitUnconfirmed);
    }
    events
}

/// A line is crossed by what enough oracles say is at most the price, and left only by the lower of the two bounds: neither is
/// moved there by fewer liars than the threshold, also while honest ones are silent.
fn margin(loan: &Loan, price: Bounds, moment: Moment) -> Vec<Event> {
    let crossing = margin_at(loan, price.at_or_below, moment);
    if crossing.iter().any(|event| matches!(event, Event::Margin { line, .. } if *line > loan.margin)) {
        return crossing;
    }
    let leaving = margin_at(loan, price.at_or_below.min(price.at_or_above), moment);
    leaving.into_iter().filter(|event| matches!(event, Event::Margin { line, .. } if *line < loan.margin)).collect()
}

fn margin_at(loan: &Loan, price: Cents, moment: Moment) -> Vec<Event> {
    if !loan.is_repayable() {
        return Vec::new();
    }
    let owed = loan.terms.owed_at(moment.now);
    let crossed = |ltv| MarginLine::crossed(ltv, loan.terms.liquidation_ltv);
    // No ratio, no news: a price of nothing must not look like all is well.
    let Some(ltv) = ltv::ltv_ceil(owed, loan.terms.collateral, price) else { return Vec::new() };
    let line = crossed(ltv);
    // A price that trembles at a line would fill the log: the way back takes a little more than the way there.
    let back = crossed(BasisPoints(ltv.0.saturating_add(MARGIN_SLACK.0)));
    match line == loan.margin || (line < loan.margin && back >= loan.margin) {
        true => Vec::new(),
        false => vec![Event::Margin { line, price }],
    }
}

fn tick(loan: &Loan, moment: Moment) -> Vec<Event> {
    match loan.stage {
        Stage::Agreed | Stage::Preparing | Stage::Ready | Stage::Offered | Stage::Accepted
            if deadline::has_expired(&loan.terms, moment.now) =>
        {
            vec![cancelled(loan, ending::expired(&loan.terms), Ending::Expired, moment)]
        }
        Stage::Agreed | Stage::Preparing => awaiting::on_tick(loan, moment).into_iter().collect(),
        Stage::Confirming => match loan.funding.as_ref().and_then(|seen| seen.block) {
            Some(block) if is_deep(block, loan.terms.confirmations, moment.height) => vec![Event::Activated],
            _ => Vec::new(),
        },
        Stage::Active | Stage::Closing if loan.pending.is_none() && !loan.is_exit_confirmed() => {
            due(loan, moment).or_else(|| due_soon(loan, moment)).into_iter().collect()
        }
        Stage::Closing => match loan.exit.as_ref().and_then(|exit| exit.seen.block) {
            Some(block) if is_deep(block, loan.terms.confirmations, moment.height) => vec![Event::Closed],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The borrower, and the lender, are told before the price settles what nobody repaid.
fn due_soon(loan: &Loan, moment: Moment) -> Option<Event> {
    let due = loan.terms.due();
    if loan.stage != Stage::Active || moment.now >= due {
        return None;
    }
    let days = deadline::days_told(loan.terms.days, due.since(moment.now))?;
    loan.due_told.is_none_or(|told| told > days).then_some(Event::DueSoon { days })
}

/// Is a block buried under enough others, itself counted?
pub fn is_deep(block: Block, confirmations: u32, height: u32) -> bool {
    height.saturating_add(1).saturating_sub(block.height) >= confirmations
}

/// The fallback or the refund, when its time has come.
fn due(loan: &Loan, moment: Moment) -> Option<Event> {
    let skeleton = loan.skeleton.as_ref()?;
    if deadline::is_refund_final(&loan.terms, moment.median_time) {
        let unsigned = refund::transaction(&loan.terms, skeleton).ok()?;
        let (borrower, lender) =
            (loan.messages.read_sign()?.refund_signature, loan.messages.read_accept()?.refund_signature);
        let transaction = fallback::complete(unsigned, 0, skeleton, borrower, lender).ok()?;
        return Some(Event::Due { exit: Exit::Refunded, transaction });
    }
    if deadline::is_fallback_final(&loan.terms, moment.median_time) {
        let unsigned = fallback::transaction(&loan.terms, skeleton).ok()?;
        let (borrower, lender) = (loan.messages.borrower_fallback?, loan.messages.lender_fallback?);
        let transaction = fallback::complete(unsigned, 0, skeleton, borrower, lender).ok()?;
        return Some(Event::Due { exit: Exit::FellBack, transaction });
    }
    None
}

/// For a log line: what an input would record.
pub fn names(events: &[Event]) -> String {
    events.iter().map(Event::name).collect::<Vec<_>>().join(", ")
}

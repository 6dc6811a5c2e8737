//! Loans, quotes and events as a person asks for them.

use super::events::{facts, severity};
use super::turn;
use super::view::{
    EventView, ExitView, FeeView, GapView, LevelView, LoanView, OpenExit, OracleWords, QuoteView, SaidView, Severity,
    SpreadView,
};
use crate::contract::clauses::Clause;
use crate::contract::offer::{borrower_shares, lender_shares};
use crate::contract::repay::{Source, MAX_COINS};
use crate::contract::{difference, ContractError, OracleAttestation, Role};
use crate::loan::curve;
use crate::loan::fees::{TxKind, INPUT};
use crate::loan::ltv::{ltv_ceil, MarginLine};
use crate::loan::payout::{self, Payout};
use crate::loan::quorum::Quorum;
use crate::loan::risk;
use crate::loan::terms::{Terms, TouchDay};
use crate::loan::units::{Cents, Days, Time, WHOLE};
use crate::protocol::event::{paid, Spend};
use crate::protocol::state::SeenExit;
use crate::protocol::unfunded::away_until;
use crate::protocol::{Event, Exit, Loan, Moment, Recorded, Stage};
use crate::settlement::{deadline, proposal};
use bitcoin::secp256k1::PublicKey;
use bitcoin::Txid;

/// What remains, in plain words; shown to both before signing.
pub const WARNINGS: [&str; 6] = [
    "What you receive is bitcoin worth dollars, and the debt is counted in dollars: if bitcoin rises you owe fewer sats, if it falls you owe more.",
    "A lender who does not answer can stop an early repayment: you then wait for the fixing at the due time, or are liquidated at a level shown here.",
    "Until the funding transaction confirms, either side can walk away.",
    "A node that is offline for long after an attestation leaves the other side the choice of exit: keep yours running, or run a watcher.",
    "Exits pay their fee ahead at a fixed rate; in a rush of fees they may wait, and they stay reversible until enough confirmations.",
    "A fall through the level faster than anyone can sell is the lender's loss beyond the cushion.",
];

/// Said beside [`WARNINGS`] where one oracle is enough to settle.
pub const ONE_ORACLE: &str = "One oracle alone decides this loan: if it lies, or its key is stolen, nothing in the \
    contract helps. Two of three cost a few more signatures.";

fn level(terms: &Terms, day: &TouchDay) -> Option<LevelView> {
    let split = payout::touch_floor(terms, day)?;
    Some(LevelView {
        day: day.day.to_string(),
        level: day.level.dollars(),
        owed_cents: day.owed.0,
        borrower_sats: split.borrower.to_sat(),
        lender_sats: split.lender.to_sat(),
        event: day.event().to_string(),
    })
}

/// Everything about a quote before commitment, with one coin to lock.
pub fn quote(terms: &Terms, lender: PublicKey, asked: Cents) -> Result<QuoteView, ContractError> {
    let days = terms.touch_days();
    let curve = curve::fixing_curve(terms);
    let error = curve::achieved_error(terms, &curve.intervals);
    let quorum = Quorum::of(terms);
    let touches = days.len().saturating_mul(quorum.groups().len());
    let signatures = touches.saturating_add(1).saturating_add(difference::signatures(quorum, &curve.intervals)?);
    let needs = borrower_shares(terms, 1)?.required;
    let ltv = |owed| ltv_ceil(owed, terms.collateral, terms.reference_price).map_or(0, |ltv| ltv.0);
    Ok(QuoteView {
        loan_id: terms.id(),
        lender,
        principal_sats: terms.principal_sats.to_sat(),
        principal_cents: terms.principal.0,
        asked_cents: asked.0,
        collateral_sats: terms.collateral.to_sat(),
        reference_price_cents: terms.reference_price.0,
        ltv_bp: ltv(terms.owed_at(terms.start)),
        ltv_at_due_bp: ltv(terms.owed_at_due()),
        apr_bp: terms.apr.0,
        start: terms.start.0,
        days: terms.days.0,
        due: terms.due().0,
        owed_at_due_cents: terms.owed_at_due().0,
        owed_at_least_cents: terms.repayment_at(terms.start).0,
        minimum_interest_days: terms.minimum_interest_days.min(terms.days).0,
        expires: terms.expires.0,
        cushion_bp: terms.cushion.0,
        levels: days.iter().filter_map(|day| level(terms, day)).collect(),
        gaps: risk::quoted_gaps(terms).iter().map(gap).collect(),
        fees: fees(terms)?,
        needs_sats: needs.to_sat(),
        coins: None,
        coins_note: None,
        place_note: None,
        missing_sats: 0,
        waiting_sats: 0,
        oracles: terms.oracles.clone(),
        threshold: terms.threshold,
        spread: spread(terms),
        signatures: u32::try_from(signatures).unwrap_or(u32::MAX),
        curve_error_ppm: (error.middle_ppm, error.tails_ppm),
        warnings: (terms.threshold <= 1).then_some(ONE_ORACLE).into_iter().chain(WARNINGS).map(str::to_owned).collect(),
    })
}

/// How far apart the prices of oracles may be that settle a loan together; nothing where one settles it alone.
fn spread(terms: &Terms) -> Option<SpreadView> {
    if terms.threshold <= 1 {
        return None;
    }
    let quorum = Quorum::of(terms);
    let (always, never) = (quorum.always(), quorum.never());
    let reference = terms.reference_price.0.max(1);
    let share = u64::from(never).saturating_mul(100 * u64::from(WHOLE)).div_ceil(reference);
    Some(SpreadView { always_usd: always, never_usd: never, never_bp: u32::try_from(share).unwrap_or(u32::MAX) })
}

/// What each oracle of a loan has said about it.
fn oracles(loan: &Loan) -> Vec<OracleWords> {
    let attested = loan.pending.iter().filter_map(|pending| pending.attestation.as_ref());
    let attested = attested.flat_map(|(clause, said)| said.iter().map(|one| (*clause, one)));
    let words: Vec<(Clause, &OracleAttestation)> =
        loan.said.iter().map(|said| (said.clause, &said.attestation)).chain(attested).collect();
    let of = |oracle: &bitcoin::key::XOnlyPublicKey| {
        let mine = words.iter().filter(|(_, word)| word.oracle_public_key == *oracle);
        let mut known: Vec<SaidView> = Vec::new();
        for (clause, word) in mine {
            let view = said(*clause, word);
            if !known.contains(&view) {
                known.push(view);
            }
        }
        known
    };
    loan.terms.oracles.iter().map(|oracle| OracleWords { pubkey: *oracle, said: of(oracle) }).collect()
}

fn said(clause: Clause, attestation: &OracleAttestation) -> SaidView {
    let dollars = match clause {
        Clause::Fixing => hypothec_oracle::verify::fixing_dollars(attestation),
        Clause::Touch { .. } | Clause::Receipt => None,
    };
    let price = dollars.and_then(|dollars| Cents::from_dollars(dollars.into()));
    SaidView { event: attestation.event_id.clone(), price_cents: price.map(|price| price.0) }
}

fn gap(gap: &risk::Gap) -> GapView {
    GapView { below_bp: gap.below.0, proceeds_cents: gap.proceeds.0, shortfall_cents: gap.shortfall.0 }
}

fn fees(terms: &Terms) -> Result<Vec<FeeView>, ContractError> {
    let (borrower, lender) = (borrower_shares(terms, 1)?, lender_shares(terms)?);
    let ahead = "both, paid ahead at funding";
    let exit = borrower.exit_fee.to_sat().saturating_add(lender.exit_fee.to_sat());
    let fee = |transaction: &str, sats: u64, paid_by: &str| FeeView {
        transaction: transaction.into(),
        sats,
        paid_by: paid_by.into(),
    };
    let coins = u64::try_from(MAX_COINS).unwrap_or(u64::MAX);
    let more = terms.fee_rate.0.saturating_mul(INPUT).saturating_mul(coins.saturating_sub(1));
    let repay = TxKind::RepayFromWallet.fee_ceil(terms.fee_rate).map_or(0, |fee| fee.to_sat()).saturating_add(more);
    let repays = format!("you, less what was paid ahead; with {coins} coins, the most it spends");
    Ok(vec![
        fee("funding, your share", borrower.funding_fee.to_sat(), "you, from your coins"),
        fee("funding, the lender's share", lender.funding_fee.to_sat(), "the lender, from its coin"),
        fee("touch", exit, ahead),
        fee("fixing", exit, ahead),
        fee("receipt", exit, ahead),
        fee("fallback", exit, ahead),
        fee("refund", exit, ahead),
        fee("repayment, at the loan's rate", repay, &repays),
    ])
}

/// A loan now.
pub fn loan(loan: &Loan, moment: Moment, price: Option<Cents>) -> LoanView {
    let terms = &loan.terms;
    let living = matches!(loan.stage, Stage::Confirming | Stage::Active);
    let height = loan.funding.as_ref().and_then(|seen| seen.block).map(|block| block.height);
    let confirmations = height.map_or(0, |height| moment.height.saturating_add(1).saturating_sub(height));
    let owed_at = loan.exit.as_ref().map_or(moment.now, |exit| exit.at);
    let today = moment.now.day();
    let next = loan.payouts.days.iter().find(|day| day.day > today);
    LoanView {
        loan_id: loan.id,
        role: loan.role,
        peer: loan.peer,
        stage: loan.stage,
        cancelled_because: loan.cancelled_because.clone(),
        principal_sats: terms.principal_sats.to_sat(),
        principal_cents: terms.principal.0,
        collateral_sats: terms.collateral.to_sat(),
        apr_bp: terms.apr.0,
        start: terms.start.0,
        due: terms.due().0,
        // A loan begins at the next full hour: until then a day more would be counted than it has.
        due_note: None,
        days_left: Days::covering_ceil(terms.due().since(moment.now.max(terms.start))).0,
        // Whatever ended it, nothing is owed any more; what was stands with the exit.
        owed_now_cents: if loan.has_ended() { 0 } else { terms.repayment_at(owed_at).0 },
        debt_now_cents: if loan.has_ended() { 0 } else { terms.owed_at(owed_at).0 },
        minimum_interest_days: terms.minimum_interest_days.min(terms.days).0,
        owed_at_due_cents: if loan.has_ended() { 0 } else { terms.owed_at_due().0 },
        price_cents: price.map(|price| price.0),
        price_note: None,
        watched_at_cents: price.map(|price| price.0),
        ltv_bp: price
            .filter(|_| living)
            .and_then(|price| ltv_ceil(terms.owed_at(moment.now), terms.collateral, price))
            .map(|ltv| ltv.0),
        margin: loan.margin,
        level_today: terms.touch_day(today).as_ref().and_then(|day| level(terms, day)),
        level_next: next.and_then(|day| level(terms, day)),
        funding: loan.skeleton.as_ref().map(|skeleton| skeleton.funding),
        funding_height: height,
        confirmations: (confirmations, terms.confirmations),
        oracles: oracles(loan),
        threshold: terms.threshold,
        exits: if living { open_exits(loan, moment, price) } else { Vec::new() },
        repayment: loan.repayment.as_ref().map(|repayment| repayment.transaction.compute_txid()),
        repayment_note: loan.standing.note.clone(),
        taken_back: taken_back(loan),
        pending_exit: None,
        turn: None,
        ended: ended(loan),
        statement: None,
        no_statement: None,
        transactions: transactions(loan),
        warnings: Vec::new(),
    }
}

fn open_exits(loan: &Loan, moment: Moment, price: Option<Cents>) -> Vec<OpenExit> {
    let terms = &loan.terms;
    let open = |exit, when: String, split: Option<Payout>| OpenExit {
        exit,
        when,
        lender_sats: split.map(|split| split.lender.to_sat()),
        borrower_sats: split.map(|split| split.borrower.to_sat()),
    };
    let mut exits = Vec::new();
    // At the price that would be proposed, which is a little against the borrower.
    let offered = price.map(|price| proposal::price_offered(Role::Borrower, price));
    let repaid = offered.and_then(|price| payout::repayment_from_collateral(terms, moment.now, price));
    // Both are refused while no block has the funding, or while our coin is taken back.
    if loan.is_repayable() {
        let wallet = "now, if the lender's node answers (from the wallet: the collateral comes back whole)";
        exits.push(open(Exit::Repaid, wallet.into(), repaid));
        exits.push(open(Exit::Receipt, "when the lender says it was paid".into(), Some(payout::receipt(terms))));
    }
    if let Some(day) = terms.touch_day(moment.now.day()) {
        let end = day.day.end().unwrap_or(terms.due()).min(terms.due());
        // On its first day a loan counts from its first hour: what was before touches it never.
        let start = day.event().touch_from().unwrap_or(terms.start);
        let when = format!("if the price is at or below {} at any time between {start} and {end}", day.level.cents());
        exits.push(open(Exit::Liquidated, when, payout::touch_floor(terms, &day)));
    }
    let fixing = price.map(|price| {
        let dollars = u32::try_from(price.dollars_floor()).unwrap_or(u32::MAX);
        payout::fixing_floor(terms, dollars)
    });
    exits.push(open(Exit::Matured, format!("at {}, shown at today's price", terms.due()), fixing));
    let at = terms.fallback_locktime();
    exits.push(open(
        Exit::FellBack,
        format!("from {at}, if the oracles are silent"),
        Some(payout::fallback_floor(terms)),
    ));
    let at = terms.refund_locktime();
    exits.push(open(Exit::Refunded, format!("from {at}, the last resort"), Some(payout::refund(terms))));
    exits
}

pub(super) fn ended(loan: &Loan) -> Option<ExitView> {
    let (exit, skeleton) = (loan.exit.as_ref()?, loan.skeleton.as_ref()?);
    let (to_lender, to_borrower) = paid(skeleton, &exit.seen.transaction);
    Some(ExitView {
        exit: exit.exit,
        txid: exit.seen.transaction.compute_txid(),
        height: exit.seen.block.map(|block| block.height),
        price_cents: exit.price.or_else(|| loan.attested_price()).map(|price| price.0),
        owed_cents: owed_at_exit(loan, exit).map(|owed| owed.0),
        paid_to_lender_sats: to_lender.to_sat(),
        returned_to_borrower_sats: to_borrower.to_sat(),
    })
}

/// What was owed when the loan ended: a touch pays its day's, a repayment that of its moment, a receipt is given on its day, the
/// rest pays what was owed at due. Nothing where the record does not say which.
fn owed_at_exit(loan: &Loan, seen: &SeenExit) -> Option<Cents> {
    let terms = &loan.terms;
    let txid = seen.seen.transaction.compute_txid();
    match seen.exit? {
        Exit::Repaid => {
            let repayment = loan.repayment.as_ref().filter(|repayment| repayment.transaction.compute_txid() == txid);
            repayment.map(|repayment| repayment.owed)
        }
        Exit::Liquidated => {
            let days = loan.payouts.days.iter().zip(&loan.payouts.touches);
            let mut touched =
                days.filter(|(day, split)| Some(day.level.cents()) == seen.price && paid_split(loan, split));
            touched.next().map(|(day, _)| day.owed)
        }
        Exit::Receipt => {
            let given = loan.pending.as_ref().filter(|pending| pending.exit == Exit::Receipt).map(|given| given.since);
            given.or(seen.waited.then_some(seen.at)).map(|at| terms.owed_at(at))
        }
        Exit::Matured | Exit::FellBack | Exit::Refunded => Some(terms.owed_at_due()),
    }
}

fn paid_split(loan: &Loan, split: &Payout) -> bool {
    let (Some(exit), Some(skeleton)) = (loan.exit.as_ref(), loan.skeleton.as_ref()) else { return false };
    paid(skeleton, &exit.seen.transaction).0 == split.lender
}

/// What takes a coin of ours back and is in no block yet: with its block the loan is cancelled, or the proposal is gone.
fn taken_back(loan: &Loan) -> Option<Txid> {
    let made = match loan.stage {
        // With the funding in a block nothing but a repayment is taken back, however deep that block is.
        Stage::Confirming if loan.is_funded() => loan.repayment_withdrawal.as_ref(),
        Stage::Signed | Stage::Funded | Stage::Confirming => loan.withdrawal.as_ref(),
        Stage::Active => loan.repayment_withdrawal.as_ref(),
        _ => None,
    };
    made.map(bitcoin::Transaction::compute_txid)
}

/// Does this side take its coin back from a signed loan, and no block has decided yet?
pub fn is_walked_away(loan: &Loan) -> bool {
    loan.withdrawal.is_some() && taken_back(loan).is_some() && !loan.is_funded()
}

/// Our transactions of this loan.
fn transactions(loan: &Loan) -> Vec<Txid> {
    let made = loan.coin_made.as_ref();
    let funding = loan.funding.as_ref().map(|seen| &seen.transaction);
    let exit = loan.exit.as_ref().map(|exit| &exit.seen.transaction);
    let all = [made, funding, loan.withdrawal.as_ref(), loan.repayment_withdrawal.as_ref(), exit];
    let now = all.into_iter().flatten().map(bitcoin::Transaction::compute_txid);
    loan.withdrawals.iter().copied().chain(now).collect()
}

/// An event as a sentence. `before` is the highest margin line that was crossed before it, `loan` the loan after it.
pub fn event(before: Option<MarginLine>, loan: &Loan, recorded: &Recorded) -> EventView {
    let eases = matches!(&recorded.event, Event::Margin { line, .. } if *line < before);
    EventView {
        number: 0,
        at: recorded.at.0,
        loan_id: Some(loan.id),
        event: recorded.event.name().into(),
        severity: if eases { Severity::Notice } else { severity(loan, &recorded.event) },
        text: match (&recorded.event, before) {
            (Event::Margin { line: Some(line), price }, Some(before)) if eases => {
                format!("no longer at margin line {before}, at {price}; {line} is still crossed")
            }
            (event, _) => sentence(loan, event),
        },
        facts: facts(loan, recorded),
    }
}

fn sentence(loan: &Loan, event: &Event) -> String {
    let terms = &loan.terms;
    let us = loan.role;
    match event {
        Event::Agreed { .. } => format!(
            "terms agreed as {us}: {} against {}, {} for {} days",
            terms.principal, terms.collateral, terms.apr, terms.days.0
        ),
        Event::CoinMade { transaction } => format!("the lender's coin is on its way in {}", transaction.compute_txid()),
        Event::LenderStep { step, until } => format!("{}, until {until} at the latest", turn::lender_step(*step)),
        Event::Ready { coin } => format!("the lender's coin {coin} is confirmed and set aside"),
        Event::Offered { offer } => format!("contract offered, {} bytes", offer.len()),
        Event::Accepted { accept, .. } => format!("contract accepted and every exit signed, {} bytes", accept.len()),
        Event::Signed { sign, .. } => format!("contract signed, {} bytes; the lender can fund it", sign.len()),
        Event::Funded { transaction, .. } => format!("funding transaction {} is complete", transaction.compute_txid()),
        Event::FundingSeen { transaction, block } => match block {
            Some(block) => format!("funding transaction {} confirmed at {}", transaction.compute_txid(), block.height),
            None => format!("funding transaction {} seen", transaction.compute_txid()),
        },
        Event::Activated => format!("the loan is active: its funding has {} confirmations", terms.confirmations),
        Event::FundingUnconfirmed => "a reorganisation took the funding transaction's confirmation back".into(),
        Event::FundingAway { rival: Some(Spend { coin, txid }) } if loan.withdrawal.is_some() => {
            let whose = if loan.coins.contains(coin) { "our coin" } else { "the other side's coin" };
            format!(
                "{whose} {coin} is spent by transaction {txid}, which is not what takes our coin back: a block decides, and \
                 the loan is not funded where it has either"
            )
        }
        Event::FundingAway { rival } => {
            let what = match rival {
                Some(Spend { coin, txid }) => format!("displaced: its coin {coin} is spent by transaction {txid}"),
                None => "out of the mempool, and in no block".into(),
            };
            let until = away_until(loan).map(|until| format!("; if it is not back by {until}, our coin is taken back"));
            format!("the funding transaction is {what}{}", until.unwrap_or_default())
        }
        Event::FundingBack if loan.withdrawal.is_some() => {
            "the funding transaction is in the mempool again, against what takes our coin back: that is raised as far as it is \
             worth, and one of the two will be in a block"
                .into()
        }
        Event::FundingBack => "the funding transaction is in the mempool again".into(),
        Event::GivenUp { reason, .. } => format!("our coin is taken back: {reason}"),
        Event::Withdrawn { transaction } => {
            format!("not funded: taking our coin back in {}", transaction.compute_txid())
        }
        Event::Cancelled { reason, .. } => format!("cancelled: {reason}"),
        Event::Said { clause, attestation } => {
            let said = said(*clause, attestation);
            let price = said.price_cents.map(|price| format!(" at {}", Cents(price))).unwrap_or_default();
            format!("oracle {} says {}{price}", attestation.oracle_public_key, said.event)
        }
        Event::Attested { attestations, transaction, .. } => {
            let event = attestations.first().map(|attestation| attestation.event_id.as_str()).unwrap_or_default();
            format!("{event} attested: settling in {}", transaction.compute_txid())
        }
        Event::Due { exit, transaction } => format!("{exit} is due: {}", transaction.compute_txid()),
        Event::Repaying(repayment) => {
            let from = match repayment.source {
                Source::Wallet => "the wallet",
                Source::Collateral => "the collateral",
            };
            format!(
                "repaying {} at {} from {from} in {}",
                repayment.owed,
                repayment.price,
                repayment.transaction.compute_txid()
            )
        }
        Event::RepaymentCompleted { .. } => "the repayment is signed by both sides and waits to confirm".into(),
        Event::RepaymentRival { txid } => format!("a coin of the repayment is spent elsewhere, in {txid}"),
        Event::RepaymentDropped { reason } => format!("the repayment does not go ahead: {reason}"),
        Event::RepaymentWithdrawn { transaction } => {
            format!("repayment withdrawn: its coin is taken back in {}", transaction.compute_txid())
        }
        Event::RepaymentGone => "the repayment's coin is spent elsewhere: the proposal is gone".into(),
        Event::ExitSeen { exit, transaction, block, .. } => {
            let what = exit.map_or("unknown spend".to_string(), |exit| exit.to_string());
            match block {
                Some(block) => format!("{what} confirmed at {}: {}", block.height, transaction.compute_txid()),
                None => format!("{what} seen: {}", transaction.compute_txid()),
            }
        }
        Event::ExitGone => "the transaction that was ending the loan has become impossible; the loan lives on".into(),
        Event::ExitUnconfirmed => "a reorganisation took the exit's confirmation back".into(),
        Event::Closed => "final".into(),
        Event::DueSoon { days } => {
            let left = if *days == 1 { "1 day".to_owned() } else { format!("{days} days") };
            format!("due in {left} or less, at {}: then the price settles what nobody repaid", terms.due())
        }
        Event::Margin { line, price } => match line {
            Some(line) => format!("margin line {line} crossed at {price}"),
            None => format!("below every margin line again at {price}"),
        },
    }
}

/// Whether a loan waits for an answer of its peer.
pub fn waits_for_peer(loan: &Loan) -> bool {
    match loan.stage {
        Stage::Offered | Stage::Accepted | Stage::Ready | Stage::Signed => true,
        Stage::Confirming | Stage::Active => loan.is_proposing(),
        _ => false,
    }
}

/// Did both sides sign it, whatever became of it?
pub fn was_signed(loan: &Loan) -> bool {
    loan.messages.sign.is_some() || matches!(loan.stage, Stage::Closed)
}

/// Whether the loan counts as negotiating, active or ended.
pub fn phase(stage: &Stage) -> u8 {
    match stage {
        Stage::Confirming | Stage::Active | Stage::Closing => 1,
        Stage::Closed | Stage::Cancelled => 2,
        _ => 0,
    }
}

/// Is the moment the price's own, or is it stale?
pub fn fresh_price(spot: Option<&hypothec_oracle::wire::SignedPrice>, now: Time) -> Option<Cents> {
    spot.filter(|spot| deadline::is_fresh(spot.unix, now)).map(|spot| spot.cents)
}

//! The numbers of an event, for programs, beside the sentence; and how much it matters.

use super::super::view::{EventFacts, Severity};
use crate::contract::clauses::Clause;
use crate::loan::ltv::{ltv_ceil, MarginLine};
use crate::protocol::event::paid;
use crate::protocol::unfunded::away_until;
use crate::protocol::{Event, Exit, Loan, Recorded};

/// How much an event matters to whoever runs the node.
pub fn severity(loan: &Loan, event: &Event) -> Severity {
    match event {
        Event::Margin { line: Some(line), .. } => severity_of_margin(*line),
        Event::Margin { line: None, .. } => Severity::Notice,
        Event::DueSoon { .. } => Severity::Warning,
        Event::Attested { clause: Clause::Touch { .. }, .. } => Severity::Urgent,
        Event::Attested { .. } => Severity::Notice,
        Event::Due { .. } => Severity::Warning,
        Event::ExitSeen { exit: None | Some(Exit::Liquidated), .. } => Severity::Urgent,
        Event::ExitSeen { exit: Some(Exit::FellBack | Exit::Refunded), .. } => Severity::Warning,
        Event::ExitSeen { .. } | Event::Closed => Severity::Notice,
        Event::ExitGone | Event::RepaymentRival { .. } => Severity::Warning,
        // A repayment that confirms instead of a proposal of ours is no failure of it.
        Event::RepaymentDropped { .. } | Event::RepaymentGone if loan.exit.is_none() => Severity::Warning,
        Event::FundingUnconfirmed | Event::ExitUnconfirmed => Severity::Warning,
        Event::Withdrawn { .. } => Severity::Notice,
        Event::GivenUp { .. } | Event::FundingAway { .. } => Severity::Warning,
        Event::FundingBack => Severity::Notice,
        _ => Severity::Info,
    }
}

/// How much it matters that a margin line is crossed.
pub fn severity_of_margin(line: MarginLine) -> Severity {
    match line {
        MarginLine::Warning | MarginLine::Call => Severity::Warning,
        MarginLine::Urgent | MarginLine::Liquidation => Severity::Urgent,
    }
}

/// What an event says in numbers. `loan` is the loan after it.
pub fn facts(loan: &Loan, recorded: &Recorded) -> EventFacts {
    let terms = &loan.terms;
    let base = EventFacts { due: Some(terms.due().0), ..EventFacts::default() };
    let debt = EventFacts { owed_cents: Some(terms.owed_at(recorded.at).0), ..base.clone() };
    match &recorded.event {
        Event::Agreed { .. } | Event::Activated => EventFacts {
            principal_sats: Some(terms.principal_sats.to_sat()),
            principal_cents: Some(terms.principal.0),
            collateral_sats: Some(terms.collateral.to_sat()),
            ..debt
        },
        Event::Margin { line, price } => {
            let owed = terms.owed_at(recorded.at);
            EventFacts {
                line: *line,
                price_cents: Some(price.0),
                ltv_bp: ltv_ceil(owed, terms.collateral, *price).map(|ltv| ltv.0),
                owed_cents: Some(owed.0),
                level_usd: terms.touch_day(recorded.at.day()).map(|day| day.level.dollars()),
                collateral_sats: Some(terms.collateral.to_sat()),
                ..base
            }
        }
        Event::DueSoon { days } => EventFacts { days_left: Some(*days), ..debt },
        Event::Repaying(repayment) => EventFacts {
            price_cents: Some(repayment.price.0),
            owed_cents: Some(repayment.owed.0),
            txid: Some(repayment.transaction.compute_txid()),
            ..base
        },
        Event::Attested { transaction, .. } => EventFacts {
            exit: loan.pending.as_ref().map(|pending| pending.exit),
            price_cents: loan.attested_price().map(|price| price.0),
            txid: Some(transaction.compute_txid()),
            ..base
        },
        Event::Due { exit, transaction } => {
            EventFacts { exit: Some(*exit), txid: Some(transaction.compute_txid()), ..base }
        }
        Event::ExitSeen { exit, transaction, price, block } => {
            let sums = loan.skeleton.as_ref().map(|skeleton| paid(skeleton, transaction));
            EventFacts {
                exit: *exit,
                price_cents: price.or_else(|| loan.attested_price()).map(|price| price.0),
                txid: Some(transaction.compute_txid()),
                height: block.map(|block| block.height),
                to_lender_sats: sums.map(|(lender, _)| lender.to_sat()),
                to_borrower_sats: sums.map(|(_, borrower)| borrower.to_sat()),
                ..base
            }
        }
        Event::Closed => EventFacts { exit: loan.exit.as_ref().and_then(|exit| exit.exit), ..base },
        Event::Withdrawn { transaction }
        | Event::RepaymentWithdrawn { transaction }
        | Event::CoinMade { transaction } => EventFacts { txid: Some(transaction.compute_txid()), ..base },
        Event::FundingSeen { transaction, block } => {
            EventFacts { txid: Some(transaction.compute_txid()), height: block.map(|block| block.height), ..base }
        }
        Event::LenderStep { until, .. } => EventFacts { until: Some(until.0), ..base },
        Event::FundingAway { rival } => {
            EventFacts { txid: rival.map(|rival| rival.txid), until: away_until(loan).map(|until| until.0), ..base }
        }
        Event::RepaymentRival { txid } => EventFacts { txid: Some(*txid), ..base },
        _ => base,
    }
}

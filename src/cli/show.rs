//! A loan and a day's level, in words.

use super::amount::short;
use super::out::{both, count, date, item, moment, sats, usd, Grid, Tone};
use super::{statement, turn};
use crate::api::views::{Exit, LevelView, LoanView, MarginLine, OpenExit, OracleWords, PendingExit, Role, Stage, Who};
use crate::loan::units::BasisPoints;

/// Where a loan stands, in a few words.
pub fn stage(loan: &LoanView) -> String {
    match (loan.stage, loan.role) {
        _ if is_walked_away(loan) => "given up: our coin is taken back, and the next block decides".into(),
        (Stage::Agreed, Role::Borrower) => "terms agreed; the lender has the next step".into(),
        (Stage::Agreed | Stage::Preparing, _) => "terms agreed; the lender's coin has to confirm".into(),
        (Stage::Ready, _) => "the lender is ready and waits for the contract's offer".into(),
        (Stage::Offered, _) => "the contract is offered; the lender signs".into(),
        (Stage::Accepted, _) => "the lender has signed; the borrower signs".into(),
        (Stage::Signed, _) => "both have signed; the lender sends the funding transaction".into(),
        (Stage::Funded, _) => "the funding transaction is complete and on its way".into(),
        (Stage::Confirming, _) => "the funding transaction is out; active once it has its confirmations".into(),
        (Stage::Active, _) if loan.pending_exit.is_some() && loan.repayment.is_none() => {
            "being settled: its exit is ready and not yet on its way".into()
        }
        (Stage::Active, _) => "active".into(),
        (Stage::Closing, _) => "ending: a transaction that ends it is out, not yet final".into(),
        (Stage::Closed, _) => "ended".into(),
        (Stage::Cancelled, _) => match &loan.cancelled_because {
            Some(reason) => format!("cancelled: {reason}"),
            None => "cancelled".into(),
        },
    }
}

/// Is our coin taken back from a loan that no block has funded?
fn is_walked_away(loan: &LoanView) -> bool {
    let is_signed = matches!(loan.stage, Stage::Signed | Stage::Funded | Stage::Confirming);
    is_signed && loan.taken_back.is_some() && loan.funding_height.is_none()
}

/// One word for tables.
pub fn stage_word(loan: &LoanView) -> &'static str {
    match &loan.stage {
        _ if is_walked_away(loan) => "taken back",
        Stage::Agreed | Stage::Preparing | Stage::Ready | Stage::Offered | Stage::Accepted | Stage::Signed => {
            "negotiating"
        }
        Stage::Funded => "funded",
        Stage::Confirming => "confirming",
        Stage::Active => "active",
        Stage::Closing => "ending",
        Stage::Closed => "ended",
        Stage::Cancelled => "cancelled",
    }
}

/// What an exit is, in words.
pub fn exit(exit: Exit) -> &'static str {
    match exit {
        Exit::Repaid => "repaid",
        Exit::Receipt => "freed by the lender's receipt",
        Exit::Liquidated => "liquidated",
        Exit::Matured => "settled at the due time's price",
        Exit::FellBack => "settled without the oracle, at the reference price",
        Exit::Refunded => "refunded",
    }
}

/// A margin line, in words.
pub fn margin(line: MarginLine) -> &'static str {
    match line {
        MarginLine::Warning => "warning (60 %): watch the price",
        MarginLine::Call => "margin call (66 %): repay, or be ready to",
        MarginLine::Urgent => "urgent (72 %): the last word before liquidation",
        MarginLine::Liquidation => "liquidation: a touch is about to be true, or is",
    }
}

/// How much a margin line asks to be looked at.
pub fn tone(line: MarginLine) -> Tone {
    match line {
        MarginLine::Warning | MarginLine::Call => Tone::Warning,
        MarginLine::Urgent | MarginLine::Liquidation => Tone::Urgent,
    }
}

/// Levels as a table.
pub fn levels(levels: &[LevelView]) -> String {
    let mut grid = Grid::new(["day", "touched at", "then owed", "to the lender", "to the borrower"]);
    for level in levels {
        grid.row([
            date(&level.day),
            usd(u64::from(level.level).saturating_mul(100)).replace(".00", ""),
            usd(level.owed_cents),
            sats(level.lender_sats),
            sats(level.borrower_sats),
        ]);
    }
    grid.right(&[1, 2, 3, 4]).spare(&[2]).text()
}

/// A loan: what a person asks, answered.
pub fn loan(loan: &LoanView, again: &str) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("loan", loan.loan_id.to_string());
    row("we are", format!("the {}; the {} is {}", loan.role, loan.role.other(), loan.peer));
    row("stands", stage(loan));
    row("principal", format!("{}, worth {} when agreed", both(loan.principal_sats), usd(loan.principal_cents)));
    row("collateral", both(loan.collateral_sats));
    row("rate", format!("{} a year", BasisPoints(loan.apr_bp)));
    row("from", moment(loan.start));
    let lives = loan.ended.is_none() && !matches!(loan.stage, Stage::Cancelled);
    match lives {
        true if loan.days_left == 0 => row("due", format!("{}: it is due", moment(loan.due))),
        // Days begun are counted.
        true if loan.days_left == 1 => row("due", format!("{}, within a day", moment(loan.due))),
        true => row("due", format!("{}, {} left", moment(loan.due), count(loan.days_left.into(), "day"))),
        false => row("due", moment(loan.due)),
    }
    if let Some(note) = loan.due_note.as_ref().filter(|_| lives) {
        row("", note.clone());
    }
    if lives {
        row("owed today", usd(loan.debt_now_cents));
        row("repaid today", repaid_today(loan));
        row("owed at due", usd(loan.owed_at_due_cents));
        row("price now", price(loan));
        if let Some(ltv) = loan.ltv_bp {
            row("LTV", BasisPoints(ltv).to_string());
        }
        for (index, oracle) in loan.oracles.iter().enumerate() {
            let name = match (index, loan.oracles.len()) {
                (0, 1) => "oracle".to_owned(),
                (0, all) => format!("oracles, {} of {all}", loan.threshold),
                _ => String::new(),
            };
            row(&name, words(oracle));
        }
        row("margin line", margin_line(loan));
        if let Some(tone) = loan.margin.map(tone) {
            grid.tone(1, tone);
        }
    }
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    if let Some(turn) = &loan.turn {
        row("turn", turn::what(turn));
        row("", turn::when(turn));
    }
    if let Some(funding) = loan.funding {
        row("funding", funding.to_string());
        row("", confirmed(loan));
    }
    if let Some(repayment) = loan.repayment.filter(|_| loan.ended.is_none()) {
        row("repayment", format!("under way in {repayment}"));
    }
    if let Some(note) = loan.repayment_note.as_ref().filter(|_| loan.ended.is_none()) {
        let name = if loan.repayment.is_some() { "" } else { "repayment" };
        let what = if loan.repayment.is_some() { "it does not go ahead" } else { "the last one did not go ahead" };
        row(name, format!("{what}: {note}"));
    }
    if let Some(txid) = loan.taken_back {
        row("taken back", format!("{txid}, waits for a block"));
    }
    if let Some(pending) = &loan.pending_exit {
        row("settling in", pending.txid.to_string());
        row("", pending_text(pending));
    }
    let mut text = grid.text();
    match statement::text(loan) {
        Some(statement) => text.push_str(&statement),
        None => text.push_str(&coming(loan)),
    }
    if !loan.warnings.is_empty() {
        let warnings: String = loan.warnings.iter().map(|warning| item(warning)).collect();
        let advice = match loan.price_note {
            None => "The contract stays as it was signed. Repay early where you can.",
            Some(_) => "The contract stays as it was signed.",
        };
        text.push_str(&format!("\nWarning:\n{warnings}{advice}\n"));
    }
    let next = next(loan, again);
    if !next.is_empty() {
        text.push_str(&format!("\nNext: {next}\n"));
    }
    text
}

fn price(loan: &LoanView) -> String {
    match (loan.price_cents, &loan.price_note) {
        (Some(price), _) => usd(price),
        (None, Some(why)) => format!("none that counts: {why}"),
        (None, None) => "not known".to_owned(),
    }
}

/// The line crossed, and whether that is of now.
fn margin_line(loan: &LoanView) -> String {
    match (loan.margin, loan.watched_at_cents.is_some()) {
        (Some(line), true) => margin(line).to_owned(),
        (Some(line), false) => format!("{}; by the last price that counted", margin(line)),
        (None, true) => "none crossed".to_owned(),
        (None, false) => "none crossed by the last price that counted".to_owned(),
    }
}

/// What repaying now costs in dollars, and what the least interest has to do with it.
fn repaid_today(loan: &LoanView) -> String {
    let costs = usd(loan.owed_now_cents);
    let least = count(loan.minimum_interest_days.into(), "day");
    match (loan.owed_now_cents > loan.debt_now_cents, loan.owed_now_cents < loan.owed_at_due_cents) {
        (true, true) => format!("{costs}: {least} of interest at least"),
        (true, false) => format!("{costs}, as at due: to repay early saves nothing"),
        (false, _) => costs,
    }
}

/// What an exit on its way waits for, and what it pays.
fn pending_text(pending: &PendingExit) -> String {
    let what = pending.exit.map_or("an unknown spend".to_owned(), |exit| exit.to_string());
    let rate = pending.sat_per_vb.map_or(String::new(), |rate| format!(", at {rate} sat/vB"));
    let child = match (pending.child, pending.child_fee_sats) {
        (Some(_), Some(fee)) => format!(" with our child that pays {}", sats(fee)),
        _ => String::new(),
    };
    let why = pending.refused.as_ref().map_or(String::new(), |why| format!(": it does not relay, because {why}"));
    format!("{what}; waits for {}{rate}{child}{why}", pending.waits_for)
}

/// An oracle, and what it has said about the loan.
fn words(oracle: &OracleWords) -> String {
    let said: Vec<String> = oracle
        .said
        .iter()
        .map(|said| match said.price_cents {
            Some(price) => format!("{} at {}", said.event, usd(price)),
            None => said.event.clone(),
        })
        .collect();
    match said.as_slice() {
        [] => format!("{} has said nothing yet", oracle.pubkey),
        said => format!("{} says {}", oracle.pubkey, said.join(", ")),
    }
}

fn confirmed(loan: &LoanView) -> String {
    let (has, wanted) = loan.confirmations;
    match loan.funding_height {
        Some(height) if has < wanted => format!("block {height}, {has} of {}", count(wanted.into(), "confirmation")),
        Some(height) => format!("block {height}, {}", count(has.into(), "confirmation")),
        None if loan.stage == Stage::Cancelled => "which was never in a block".to_owned(),
        None => "not in a block yet".to_owned(),
    }
}

fn coming(loan: &LoanView) -> String {
    let mut text = String::new();
    let coming: Vec<LevelView> = [&loan.level_today, &loan.level_next].into_iter().flatten().cloned().collect();
    if matches!(loan.stage, Stage::Cancelled) {
        return text;
    }
    if !coming.is_empty() {
        text.push_str(&format!("\nToday's level and the next:\n{}", levels(&coming)));
    }
    if loan.exits.is_empty() {
        return text;
    }
    let mut grid = Grid::new(["open exit", "to the lender", "to the borrower", "when"]);
    let shown = |amount: Option<u64>| amount.map_or("–".to_owned(), sats);
    for open in &loan.exits {
        grid.row([open.exit.to_string(), shown(open.lender_sats), shown(open.borrower_sats), open.when.clone()]);
    }
    let stake = stake(loan).map(|stake| format!("Of what the lender gets {} are its own stake.\n", sats(stake)));
    text.push_str(&format!("\nHow it can end:\n{}{}", grid.right(&[1, 2]).text(), stake.unwrap_or_default()));
    text
}

/// What the lender locked itself: every end shares out that and the collateral.
fn stake(loan: &LoanView) -> Option<u64> {
    let all = |open: &OpenExit| open.lender_sats?.checked_add(open.borrower_sats?);
    let stake = loan.exits.iter().find_map(all)?.checked_sub(loan.collateral_sats)?;
    (stake > 0).then_some(stake)
}

/// Is the price at today's level or below it? Then what the lender gets where it is repaid now, and where it is liquidated.
fn touched(loan: &LoanView) -> Option<(u64, u64)> {
    let level = u64::from(loan.level_today.as_ref()?.level).saturating_mul(100);
    let pays = |end: Exit| loan.exits.iter().find(|open| open.exit == end)?.lender_sats;
    (loan.price_cents? <= level).then_some(())?;
    Some((pays(Exit::Repaid)?, pays(Exit::Liquidated)?))
}

/// What can be done about it.
fn next(loan: &LoanView, again: &str) -> String {
    let id = short(&loan.loan_id.to_string());
    if let Some(pending) = loan.pending_exit.as_ref().filter(|pending| pending.waits_for != "a block") {
        return match pending.waits_for.as_str() {
            "relay" => {
                "wait: the exit is tried again with each block; see that bitcoind's minimum fee is no higher than \
                others' (bitcoin-cli getmempoolinfo)"
                    .to_owned()
            }
            waits_for => format!("wait for {waits_for}: the exit is ready and goes out after it"),
        };
    }
    match (&loan.stage, loan.role) {
        // What settles it is out, and neither side can begin anything else.
        (Stage::Active | Stage::Confirming, _) if loan.pending_exit.is_some() && loan.repayment.is_none() => {
            let exit = loan.pending_exit.as_ref().and_then(|pending| pending.exit);
            format!("wait for a block: the loan ends, {}", exit.map_or("by a spend nobody can name", self::exit))
        }
        (Stage::Signed | Stage::Funded | Stage::Confirming, _)
            if loan.taken_back.is_some() && loan.repayment.is_none() =>
        {
            "wait for a block: then the loan can never be, and your coins are free".to_owned()
        }
        (Stage::Active | Stage::Confirming, _)
            if loan.repayment.is_some() && (loan.repayment_note.is_some() || loan.taken_back.is_some()) =>
        {
            "wait for a block: the repayment is being taken back, and can be made anew after that".to_owned()
        }
        (Stage::Active | Stage::Confirming, Role::Borrower) if loan.repayment.is_some() => {
            format!("wait for the lender, or take the repayment back with {again} loan withdraw {id}")
        }
        (Stage::Active, role) if loan.turn.as_ref().is_some_and(|turn| turn.who == Who::Oracles) => match role {
            Role::Borrower => format!("wait for its oracles; where one gives a price of now, {again} loan repay {id}"),
            Role::Lender => "wait for its oracles: see that they run, and that this node reaches them".to_owned(),
        },
        (Stage::Active, Role::Borrower) => match touched(loan) {
            Some((repaid, liquidated)) => format!(
                "wait for the oracle, which is about to attest the touch: the lender then gets {}. To repay before that gives it \
                 {}: {again} loan repay {id}",
                sats(liquidated),
                sats(repaid)
            ),
            None => format!("{again} loan repay {id}"),
        },
        (Stage::Active, Role::Lender) => {
            format!("nothing; if you were paid outside the chain, {again} loan receipt {id}")
        }
        (Stage::Closing, _) => "wait for confirmations".to_owned(),
        (Stage::Confirming, Role::Borrower) if loan.funding_height.is_some() => {
            format!("wait for confirmations; it can be repaid already, with {again} loan repay {id}")
        }
        (Stage::Confirming, _) if loan.funding_height.is_some() => "wait for confirmations".to_owned(),
        (Stage::Confirming, _) => {
            format!("wait for a block; until then you can still walk away with {again} loan cancel {id}")
        }
        (Stage::Closed | Stage::Cancelled, _) => String::new(),
        _ => format!("wait; see {again} events --follow, or give it up with {again} loan cancel {id}"),
    }
}

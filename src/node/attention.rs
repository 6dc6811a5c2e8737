//! What needs a person now: a pure rule from facts to a list, and where the facts come from.
//!
//! The list is made anew from what stands, so that a restart says it again. What no event of a loan tells goes into the
//! events once, when it has stood for a while; margin lines, due dates and liquidations are told by the loans' own.

use super::core::{Core, AGAIN};
use super::events::severity_of_margin;
use super::gravity;
use super::tools::lock;
use super::view::{AttentionView, EventFacts, EventView, Severity};
use crate::loan::ltv::MarginLine;
use crate::loan::terms::LoanId;
use crate::loan::units::{BasisPoints, Cents, Time};
use crate::protocol::{Exit, Loan, Stage};
use crate::settlement::deadline;
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::units::times_for_people;
use std::collections::BTreeSet;
use std::time::Instant;

/// A price so little above today's level is near it, basis points of the level.
const NEAR: u64 = 200;
/// An exit that waits so long for a block is stuck, and a loan that nothing has settled so long after it was due is late, seconds.
pub(super) const STUCK: u32 = 3_600;
/// What is said of a due time while neither the chain nor a price confirms the clock.
const BY_THE_CLOCK: &str = "by this machine's clock, which neither the chain nor a price confirms";
/// The document that names the loans the last backup holds.
const BACKED_UP: &str = "backed-up";

/// What is known of an open loan.
#[derive(Clone, Debug, PartialEq)]
pub struct LoanFacts {
    /// Its name.
    pub id: LoanId,
    /// The margin line crossed.
    pub margin: Option<MarginLine>,
    /// The price now; where its oracles agree on none, what enough of them to settle it say it is at most.
    pub price: Option<Cents>,
    /// That its oracles agree on none, in words.
    pub apart: Option<String>,
    /// Loan to value now.
    pub ltv: Option<BasisPoints>,
    /// Today's level.
    pub level: Option<Cents>,
    /// From when a touch counts, where that is still to come.
    pub counts_from: Option<Time>,
    /// Due so soon that people are told, in days.
    pub due_in: Option<u32>,
    /// The due time.
    pub due: Time,
    /// For how long it has been due, and no oracle has settled it, seconds.
    pub overdue: Option<u32>,
    /// Does neither the chain nor a price confirm the clock by which that is?
    pub is_clock_unconfirmed: bool,
    /// From when what both sides signed at the start can settle it without oracles.
    pub fallback: Time,
    /// The exit that is under way and in no block yet.
    pub ending: Option<Exit>,
    /// For how long it has been, seconds.
    pub waits: u32,
    /// For how long its funding transaction has waited for a block, seconds; nothing where one has it, or where our coin is
    /// taken back.
    pub unfunded: Option<u32>,
    /// Its oracles that this node does not know.
    pub unknown: Vec<XOnlyPublicKey>,
    /// Does the last backup hold its signatures?
    pub is_backed_up: bool,
    /// Is there a backup at all, made before it was signed?
    pub has_older_backup: bool,
}

/// What is known of the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Open loans, funded or on the way to it.
    pub loans: Vec<LoanFacts>,
    /// What stands in the way, a sentence each.
    pub troubles: Vec<String>,
    /// Oracles of the policy that this node does not know.
    pub unknown: Vec<XOnlyPublicKey>,
    /// Borrowers that wait for a person's word, a sentence each.
    pub requests: Vec<(LoanId, String)>,
    /// Does it lend, and its free coins do not cover the smallest loan of its policy?
    pub lends_without_coins: bool,
}

/// The list, the gravest first.
pub fn attention(facts: &Facts) -> Vec<AttentionView> {
    let mut list: Vec<AttentionView> = facts.loans.iter().flat_map(of_loan).collect();
    // One cause, one line: a backup file that is not renewed says of every loan signed since what it says of each.
    if facts.troubles.iter().any(|text| text.starts_with("backup: ")) {
        list.retain(|one| !one.about.starts_with("backup "));
    }
    let about_node = |about: &str, text: String| view(about, Severity::Warning, None, text);
    if facts.lends_without_coins {
        let text =
            "this node lends, and its free coins do not cover the smallest loan of its policy: who asks is refused; \
            send bitcoin to `wallet address`, or take the oracles out of the policy";
        list.push(about_node("coins", text.to_owned()));
    }
    list.extend(
        facts
            .requests
            .iter()
            .map(|(id, text)| view(&format!("request {id}"), Severity::Warning, Some(*id), text.clone())),
    );
    list.extend(facts.unknown.iter().map(|oracle| {
        let text = format!(
            "the policy names oracle {oracle}, which this node does not know: `oracle add URL --pubkey {oracle}`"
        );
        about_node(&format!("policy oracle {oracle}"), text)
    }));
    list.extend(facts.troubles.iter().map(|text| {
        let about = text.split_once(": ").map_or(text.as_str(), |(about, _)| about);
        about_node(about, text.clone())
    }));
    gravity::sort(&mut list);
    list
}

fn view(about: &str, severity: Severity, loan_id: Option<LoanId>, text: String) -> AttentionView {
    AttentionView { about: about.chars().take(100).collect(), severity, loan_id, text: times_for_people(&text) }
}

fn of_loan(loan: &LoanFacts) -> Vec<AttentionView> {
    let mut list = Vec::new();
    let mut say = |what: &str, severity, text: String| {
        list.push(view(&format!("{what} {}", loan.id), severity, Some(loan.id), text));
    };
    if let Some(exit) = loan.ending {
        match exit {
            Exit::Liquidated => {
                say("liquidation", Severity::Urgent, "it is being liquidated: its level was touched".into())
            }
            _ if loan.waits < STUCK => {}
            _ => {
                let text = format!("its exit ({exit}) has waited for a block for {} minutes", loan.waits / 60);
                say("exit", Severity::Warning, text);
            }
        }
    } else {
        if let Some(line) = loan.margin {
            let at = match (loan.ltv, loan.price) {
                (Some(ltv), Some(price)) => format!(", {ltv} at {price}"),
                _ => String::new(),
            };
            let level = loan.level.map(|level| format!("; it is liquidated at {level}")).unwrap_or_default();
            say("margin", severity_of_margin(line), format!("margin line {line} is crossed{at}{level}"));
        }
        if let (Some(price), Some(level)) = (loan.price, loan.level) {
            let near = u128::from(level.0) * u128::from(10_000 + NEAR);
            if u128::from(price.0) * 10_000 <= near {
                let text = match (price <= level, loan.counts_from) {
                    (true, Some(from)) => format!(
                        "the price, {price}, is at or below its level, {level}, and touches count from {from} on: if it is so \
                         then, it is liquidated"
                    ),
                    (true, None) => format!(
                        "the price, {price}, has touched today's level, {level}: it is liquidated once the oracle attests \
                         that, within about an hour"
                    ),
                    (false, _) => format!("the price, {price}, is near today's level, {level}: there it is liquidated"),
                };
                say("level", Severity::Urgent, text);
            }
        }
        if let Some(apart) = &loan.apart {
            say("price", Severity::Warning, apart.clone());
        }
        if let Some(days) = loan.due_in {
            let left = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
            let (severity, by) = match loan.is_clock_unconfirmed {
                true => (Severity::Notice, format!(" {BY_THE_CLOCK}")),
                false => (Severity::Warning, String::new()),
            };
            say(
                "due",
                severity,
                format!("due within {left}{by}, at {}: then the price settles what nobody repaid", loan.due),
            );
        }
    }
    if let Some(late) = loan.overdue.filter(|late| *late >= STUCK && loan.is_clock_unconfirmed) {
        let text = format!(
            "it was due at {}, {} ago {BY_THE_CLOCK}: its oracles may not owe the price of then yet",
            loan.due,
            hours(late)
        );
        // Not as what is late is filed: that is told once, and when it is so.
        say("due", Severity::Notice, text);
    } else if let Some(late) = loan.overdue.filter(|late| *late >= STUCK) {
        let text = format!(
            "it was due at {}, {} ago, and its oracles have not said the price of then: it ends when they do, and from \
             {} without them, by what both sides signed at the start",
            loan.due,
            hours(late),
            loan.fallback
        );
        say("overdue", Severity::Warning, text);
    }
    if let Some(waits) = loan.unfunded.filter(|waits| *waits >= STUCK) {
        let text = format!(
            "its funding transaction has waited for a block for {} minutes; `loan cancel` takes our coin back, where that is \
             wanted",
            waits / 60
        );
        say("funding", Severity::Warning, text);
    }
    for oracle in &loan.unknown {
        let text = format!("its oracle {oracle} is not known here, so nothing it says settles the loan: `oracle add URL --pubkey {oracle}`");
        say(&format!("oracle {oracle} of"), Severity::Warning, text);
    }
    if !loan.is_backed_up {
        let which = match loan.has_older_backup {
            true => "the newest backup is older than it and does not hold its signatures",
            false => "no backup holds its signatures",
        };
        let text = format!(
            "{which}; with the words alone only the other side can give it back. Make a new one: `hypothec backup FILE`"
        );
        say("backup", Severity::Warning, text);
    }
    list
}

/// Whole hours, in words.
fn hours(seconds: u32) -> String {
    match seconds / 3_600 {
        1 => "an hour".to_owned(),
        hours => format!("{hours} hours"),
    }
}

impl Core {
    /// What needs a person now.
    pub(super) fn attention(&self) -> Vec<AttentionView> {
        attention(&self.facts())
    }

    fn facts(&self) -> Facts {
        let known: BTreeSet<XOnlyPublicKey> = lock(&self.tools.oracles).keys().copied().collect();
        let missing = |oracles: &[XOnlyPublicKey]| {
            oracles.iter().filter(|oracle| !known.contains(oracle)).copied().collect::<Vec<_>>()
        };
        let backed_up = self.backed_up();
        let open = self.loans.values().filter(|loan| is_open(loan));
        let loans = open.map(|loan| self.facts_of(loan, missing(&loan.terms.oracles), &backed_up)).collect();
        Facts {
            loans,
            troubles: self.what_stands(),
            unknown: missing(&self.policy.oracles),
            requests: self.requests.all().into_iter().map(|one| (one.id(), self.asks(one))).collect(),
            lends_without_coins: self.lends_without_coins(),
        }
    }

    fn facts_of(&self, loan: &Loan, unknown: Vec<XOnlyPublicKey>, backed_up: &Option<BTreeSet<LoanId>>) -> LoanFacts {
        let (now, terms) = (self.moment.now, &loan.terms);
        let price = self.bounds_of(loan).ok().map(|price| price.at_or_below);
        let is_active = loan.is_repayable() || loan.stage == Stage::Active;
        let unconfirmed = loan.exit.as_ref().filter(|exit| exit.seen.block.is_none());
        let pending = loan.pending.as_ref().filter(|_| loan.exit.is_none()).map(|pending| pending.exit);
        let is_unfunded = loan.stage == Stage::Confirming && !loan.is_funded() && loan.withdrawal.is_none();
        let ending = unconfirmed.and_then(|seen| seen.exit).or(pending);
        let is_overdue = is_active && loan.exit.is_none() && ending.is_none() && now >= terms.due();
        LoanFacts {
            id: loan.id,
            margin: loan.margin.filter(|_| is_active),
            price: price.filter(|_| is_active),
            apart: self.why_apart(loan).filter(|_| is_active),
            ltv: price.and_then(|price| crate::loan::ltv::ltv_ceil(terms.owed_at(now), terms.collateral, price)),
            level: terms.touch_day(now.day()).map(|day| day.level.cents()),
            counts_from: (now < terms.start).then_some(terms.start),
            due_in: deadline::days_told(terms.days, terms.due().since(now)).filter(|_| is_active && now < terms.due()),
            due: terms.due(),
            overdue: is_overdue.then(|| now.since(terms.due())),
            is_clock_unconfirmed: self.is_clock_unconfirmed,
            fallback: terms.fallback_locktime(),
            ending,
            waits: now.since(loan.since),
            unfunded: is_unfunded.then(|| now.since(loan.since)),
            unknown,
            is_backed_up: backed_up.as_ref().is_some_and(|held| held.contains(&loan.id)),
            has_older_backup: backed_up.is_some(),
        }
    }

    /// What stands beside a loan's due time while nothing confirms the clock it is counted by.
    pub(super) fn due_note(&self) -> Option<&'static str> {
        self.is_clock_unconfirmed.then_some(BY_THE_CLOCK)
    }

    /// The loans that the newest backup holds; nothing where none was made.
    fn backed_up(&self) -> Option<BTreeSet<LoanId>> {
        let bytes = self.tools.store.get(BACKED_UP).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The loans whose signatures a backup made now holds: what is kept beside it once it is made.
    pub(super) fn loans_for_backup(&self) -> Vec<u8> {
        let signed: Vec<LoanId> = self.loans.values().filter(|loan| is_open(loan)).map(|loan| loan.id).collect();
        serde_json::to_vec(&signed).unwrap_or_default()
    }

    /// Tells, once, of what has stood for a while and no event of a loan tells.
    pub(super) fn mind_attention(&mut self) {
        let now = Instant::now();
        if self.standing.looked.is_some_and(|looked| now.duration_since(looked) < AGAIN) {
            return;
        }
        self.standing.looked = Some(now);
        let told_by_loans = ["margin ", "due ", "liquidation ", "request "];
        let mut list = self.attention();
        // A request is told of when it comes.
        list.retain(|one| one.loan_id.is_none() || !told_by_loans.iter().any(|what| one.about.starts_with(what)));
        let abouts: Vec<&str> = list.iter().map(|one| one.about.as_str()).collect();
        let news = match tokio::task::block_in_place(|| self.standing.look(now, &abouts)) {
            Ok(news) => news,
            Err(e) => return self.trouble("events", e.to_string()),
        };
        for index in news {
            let Some(one) = list.get(index).cloned() else { continue };
            let facts = EventFacts { about: Some(one.about), ..EventFacts::default() };
            let (at, event) = (self.moment.now.0, "attention".to_owned());
            let severity = one.severity;
            self.show(EventView { at, loan_id: one.loan_id, event, severity, text: one.text, facts, number: 0 });
        }
    }
}

/// Notes which loans a backup that was just made holds.
pub(super) fn note_backup(store: &dyn crate::store::Store, loans: &[u8]) -> Result<(), crate::store::StoreError> {
    store.put(BACKED_UP, loans)
}

/// Are there signatures that nothing but the store holds, for money that is, or may be, in the contract?
fn is_open(loan: &Loan) -> bool {
    let is_open =
        matches!(loan.stage, Stage::Signed | Stage::Funded | Stage::Confirming | Stage::Active | Stage::Closing);
    // Who takes its coin back wants no loan any more; should a block fund it all the same, nothing is taken back.
    is_open && loan.withdrawal.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> LoanFacts {
        LoanFacts {
            id: LoanId([7; 32]),
            margin: None,
            price: Some(Cents(1_000_000)),
            apart: None,
            ltv: Some(BasisPoints(5_000)),
            level: Some(Cents(640_000)),
            counts_from: None,
            due_in: None,
            due: Time(1_584_003_600),
            overdue: None,
            is_clock_unconfirmed: false,
            fallback: Time(1_586_595_600),
            ending: None,
            waits: 0,
            unfunded: None,
            unknown: Vec::new(),
            is_backed_up: true,
            has_older_backup: true,
        }
    }

    fn said(loan: LoanFacts) -> Vec<(Severity, String)> {
        let list = attention(&Facts { loans: vec![loan], ..Facts::default() });
        list.into_iter().map(|one| (one.severity, one.text)).collect()
    }

    #[test]
    fn a_quiet_loan_needs_nobody_and_each_thing_that_is_wrong_is_said() {
        assert_eq!(said(quiet()), []);
        let oracle = crate::loan::fixtures::xonly(3);
        for (loan, severity, word) in [
            (LoanFacts { margin: Some(MarginLine::Call), ..quiet() }, Severity::Warning, "call is crossed, 50 % at"),
            (LoanFacts { margin: Some(MarginLine::Urgent), ..quiet() }, Severity::Urgent, "liquidated at $6,400"),
            (LoanFacts { price: Some(Cents(652_800)), ..quiet() }, Severity::Urgent, "near today's level"),
            (LoanFacts { price: Some(Cents(640_001)), ..quiet() }, Severity::Urgent, "near today's level"),
            (LoanFacts { price: Some(Cents(640_000)), ..quiet() }, Severity::Urgent, "has touched today's level"),
            (
                LoanFacts { price: Some(Cents(640_000)), counts_from: Some(Time(1_583_712_000)), ..quiet() },
                Severity::Urgent,
                "touches count from 2020-03-09",
            ),
            (LoanFacts { apart: Some("no price".into()), ..quiet() }, Severity::Warning, "no price"),
            (LoanFacts { due_in: Some(3), ..quiet() }, Severity::Warning, "due within 3 days"),
            (
                LoanFacts { overdue: Some(2 * STUCK), ..quiet() },
                Severity::Warning,
                "2 hours ago, and its oracles have not",
            ),
            (LoanFacts { ending: Some(Exit::Liquidated), ..quiet() }, Severity::Urgent, "being liquidated"),
            (LoanFacts { ending: Some(Exit::Matured), waits: STUCK, ..quiet() }, Severity::Warning, "for 60 minutes"),
            (LoanFacts { unfunded: Some(STUCK), ..quiet() }, Severity::Warning, "waited for a block for 60 minutes"),
            (LoanFacts { unknown: vec![oracle], ..quiet() }, Severity::Warning, "oracle add"),
            (LoanFacts { is_backed_up: false, ..quiet() }, Severity::Warning, "newest backup is older than it"),
            (
                LoanFacts { is_backed_up: false, has_older_backup: false, ..quiet() },
                Severity::Warning,
                "no backup holds its signatures; with the words alone",
            ),
        ] {
            let said = said(loan);
            assert!(said.len() == 1 && said[0].0 == severity && said[0].1.contains(word), "{word}: {said:?}");
        }
        assert_eq!(said(LoanFacts { price: Some(Cents(652_801)), ..quiet() }), []);
        assert_eq!(said(LoanFacts { ending: Some(Exit::Repaid), waits: STUCK - 1, ..quiet() }), []);
        assert_eq!(said(LoanFacts { overdue: Some(STUCK - 1), ..quiet() }), []);
    }

    #[test]
    fn what_is_due_by_a_clock_that_nothing_confirms_is_said_to_be_so_and_is_no_alarm() {
        let unsure = LoanFacts { is_clock_unconfirmed: true, ..quiet() };
        for (loan, begins) in [
            (
                LoanFacts { due_in: Some(1), ..unsure.clone() },
                "due within a day by this machine's clock, which neither",
            ),
            (
                LoanFacts { overdue: Some(25 * STUCK), ..unsure.clone() },
                "it was due at 2020-03-12 09:00 UTC, 25 hours ago by",
            ),
        ] {
            let said = attention(&Facts { loans: vec![loan], ..Facts::default() });
            assert!(said.len() == 1 && said[0].severity == Severity::Notice, "{said:?}");
            assert!(said[0].text.starts_with(begins) && said[0].about.starts_with("due "), "{said:?}");
        }
        assert_eq!(said(unsure), []);
    }

    #[test]
    fn a_backup_file_that_is_not_renewed_is_told_once_and_not_again_for_each_loan_signed_since() {
        let loans = vec![LoanFacts { is_backed_up: false, ..quiet() }, LoanFacts { is_backed_up: false, ..quiet() }];
        let told = |troubles: Vec<String>| attention(&Facts { loans: loans.clone(), troubles, ..Facts::default() });
        assert_eq!(told(Vec::new()).len(), 2);
        let abouts: Vec<String> =
            told(vec!["backup: the backup file is not renewed".into()]).into_iter().map(|one| one.about).collect();
        assert_eq!(abouts, ["backup"]);
    }

    #[test]
    fn the_gravest_comes_first_and_a_trouble_keeps_its_name_while_its_words_change() {
        let loan = LoanFacts { margin: Some(MarginLine::Liquidation), is_backed_up: false, ..quiet() };
        let troubles = vec!["chain: bitcoind cannot be reached".to_owned()];
        let unknown = vec![crate::loan::fixtures::xonly(3)];
        let facts = Facts { loans: vec![loan], troubles, unknown, lends_without_coins: true, ..Facts::default() };
        let list = attention(&facts);
        assert_eq!((list.len(), list[0].severity), (5, Severity::Urgent));
        let kinds: Vec<&str> = list.iter().filter_map(|one| one.about.split(' ').next()).collect();
        assert_eq!(kinds, ["margin", "chain", "coins", "policy", "backup"]);
    }
}

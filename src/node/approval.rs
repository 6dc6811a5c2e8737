//! Lending by hand: a quote that was taken waits until a person approves or declines it, or its time is over.

use super::core::{refused, Core};
use super::handle::Reply;
use super::jobs::{taking, Given, Key};
use super::lending::No;
use super::present;
use super::requests::Request;
use super::tools::{error, Trouble};
use super::view::{ErrorView, EventFacts, EventView, LoanView, RequestEnd, RequestView, Severity};
use crate::contract::Role;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::ending::PROMPT;
use crate::protocol::messages::{Borrow, Progress};
use crate::protocol::{Doing, ErrorCode, Event, LenderStep, Loan};
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Transaction};
use hypothec_oracle::foreign::clean_to;
use std::sync::Arc;

/// The longest reason told to a borrower, in characters.
const REASON: usize = 200;

/// A request that nobody decided in time.
const EXPIRED: &str = "request_expired";
/// A request that its borrower ended.
const WITHDRAWN: &str = "request_withdrawn";

/// A loan that may begin: its first event, and the coins proved for it with their worth.
pub type Begun = (Box<Event>, Vec<(OutPoint, Amount)>);

impl Core {
    /// The borrower's coins are proved; who lends by hand is asked now.
    pub(super) fn on_asked(
        &mut self,
        given: &Given,
        borrow: &Borrow,
        shown: Vec<(OutPoint, Amount)>,
    ) -> anyhow::Result<()> {
        let (id, peer) = (given.terms.id(), given.peer);
        let is_known = self.loans.contains_key(&id) || self.requests.get(&id).is_some();
        if is_known || self.is_given_up(id, &shown)? {
            return Ok(());
        }
        // Much may have happened while its coins were looked at.
        let again = self.shown.was_pardoned(&shown);
        let allowed = self.may_lend(given, borrow, &shown)?;
        if allowed.is_ok() && !again {
            self.make_place()?;
        }
        let allowed = allowed.and_then(|()| self.has_place(peer));
        let request = allowed.and_then(|()| {
            let text = "this lender decides by hand, and too little of the quote's time is left for that; ask for a new one and take it at once";
            let request = Request::new(given, borrow, shown, again, self.moment.now);
            request.ok_or_else(|| (ErrorCode::Approval, text.to_owned()))
        });
        let request = match request {
            Ok(request) => request,
            Err((code, text)) => {
                self.send(peer, &refused(id.0, code, &text));
                return Ok(());
            }
        };
        self.show_coins(request.shown(), id)?;
        let text = request.sentence();
        let facts = facts(&request);
        self.requests.add(request).context("keep a request")?;
        self.quotes.remove(&id);
        self.tell_request(id, "request_waits", Severity::Warning, text, facts);
        self.say_progress(peer, id);
        Ok(())
    }

    /// Where strangers have as many places as they may, one whose coins have waited before gives way to one whose have not:
    /// the same coins hold no place for ever.
    fn make_place(&mut self) -> anyhow::Result<()> {
        if !self.requests.is_full_for_strangers() {
            return Ok(());
        }
        let Some(id) = self.gives_way() else { return Ok(()) };
        let text = "its place was given to a borrower that has not waited before";
        let no =
            (ErrorCode::Approval, format!("nobody at this lender's has decided, and {text}; ask again in a while"));
        self.end_request(id, EXPIRED, Severity::Info, Some(no), text.into(), Doing::Nobody)
    }

    fn gives_way(&self) -> Option<LoanId> {
        self.requests.gives_way(|peer| self.limits.is_partner(peer))
    }

    /// Can a place be made for one that has not waited before?
    pub(super) fn may_make_place(&self) -> bool {
        self.requests.is_full_for_strangers() && self.gives_way().is_some()
    }

    pub(super) fn has_place(&self, peer: PublicKey) -> Result<(), No> {
        match self.requests.has_room(&peer, self.limits.is_partner(&peer)) {
            true => Ok(()),
            false => {
                let text = "this lender decides by hand, and as many wait for its word as may; ask again in a while";
                Err((ErrorCode::Approval, text.to_owned()))
            }
        }
    }

    fn tell_request(&mut self, id: LoanId, event: &str, severity: Severity, text: String, facts: EventFacts) {
        let (at, event) = (self.moment.now.0, event.to_owned());
        self.turns += 1;
        self.show(EventView { at, loan_id: Some(id), event, severity, text, facts, number: 0 });
    }

    /// A request is over without a loan. Its borrower is told why, unless it ended it itself.
    fn end_request(
        &mut self,
        id: LoanId,
        event: &str,
        severity: Severity,
        no: Option<No>,
        text: String,
        by: Doing,
    ) -> anyhow::Result<()> {
        let Some(view) = self.requests.get(&id).map(|request| self.request_view(request)) else { return Ok(()) };
        let end = RequestEnd { at: self.moment.now.0, event: event.into(), text: text.clone() };
        self.requests.end(view, end).context("keep how a request ended")?;
        if by != Doing::Borrower {
            self.shown.pardon(&id).context("keep which coins were shown")?;
        }
        let Some(request) = self.requests.remove(&id).context("drop a request")? else { return Ok(()) };
        self.sent.remove(&id);
        if let Some((code, message)) = no {
            self.send(request.peer(), &refused(id.0, code, &message));
        }
        self.tell_request(id, event, severity, text, facts(&request));
        Ok(())
    }

    /// Ends those that nobody decided in time.
    pub(super) fn expire_requests(&mut self) -> anyhow::Result<()> {
        let now = self.moment.now;
        let over: Vec<(LoanId, Time)> = self
            .requests
            .all()
            .into_iter()
            .filter(|request| now > request.until() && !self.running.contains(&Key::Loan(request.id())))
            .map(|request| (request.id(), request.until()))
            .collect();
        for (id, until) in over {
            let no = format!("nobody at this lender's decided by {until}; ask for a new quote, or another lender");
            let text = format!("nobody approved or declined it by {until}; the borrower is told");
            let no = Some((ErrorCode::Approval, no));
            self.end_request(id, EXPIRED, Severity::Notice, no, text, Doing::Lender)?;
        }
        Ok(())
    }

    /// A borrower that spends what it proved goes back on it.
    pub(super) fn spent_under_requests(&mut self, transaction: &Transaction) -> anyhow::Result<()> {
        let spent = |request: &&Request| transaction.input.iter().any(|input| request.is_for(&input.previous_output));
        let over: Vec<LoanId> = self.requests.all().into_iter().filter(spent).map(Request::id).collect();
        for id in over {
            let text =
                format!("a coin that the borrower proved was spent elsewhere, in {}", transaction.compute_txid());
            let no = Some((ErrorCode::Coins, text.clone()));
            self.end_request(id, WITHDRAWN, Severity::Info, no, text, Doing::Borrower)?;
        }
        Ok(())
    }

    /// The borrower ends it.
    pub(super) fn on_request_refused(&mut self, peer: PublicKey, id: LoanId, message: &str) -> anyhow::Result<()> {
        let Some(until) = self.requests.get(&id).filter(|request| request.peer() == peer).map(Request::until) else {
            return Ok(());
        };
        // The two clocks differ a little: it waited to the end.
        let by = match self.moment.now.0.saturating_add(PROMPT) >= until.0 {
            true => Doing::Lender,
            false => Doing::Borrower,
        };
        self.end_request(id, WITHDRAWN, Severity::Info, None, format!("the borrower: {message}"), by)
    }

    /// What its borrower said about it could not be read, and was refused.
    pub(super) fn end_unreadable_request(&mut self, id: LoanId, text: &str) -> anyhow::Result<()> {
        self.end_request(id, WITHDRAWN, Severity::Info, None, format!("we refused: {text}"), Doing::Borrower)
    }

    /// Its coins were promised to a later quote of the same borrower.
    pub(super) fn supersede_requests(
        &mut self,
        coins: &[OutPoint],
        peer: PublicKey,
        but: LoanId,
    ) -> anyhow::Result<()> {
        let theirs = |request: &&Request| request.peer() == peer && request.id() != but;
        let requests = self.requests.all().into_iter().filter(theirs);
        let over: Vec<LoanId> =
            requests.filter(|request| coins.iter().any(|coin| request.is_for(coin))).map(Request::id).collect();
        for id in over {
            let no = "its coins were promised to another loan of yours, which goes on in its place".to_owned();
            let text = "its borrower took another quote with the same coins".to_owned();
            let no = Some((ErrorCode::Superseded, no));
            self.end_request(id, WITHDRAWN, Severity::Info, no, text, Doing::Borrower)?;
        }
        Ok(())
    }

    /// Tells the borrower of a request that it waits, and until when.
    pub(super) fn waits_for_a_person(&self, peer: PublicKey, id: LoanId) -> Option<Progress> {
        let request = self.requests.get(&id).filter(|request| request.peer() == peer)?;
        Some(Progress { loan: id.0, step: LenderStep::Decides.number(), until: request.until() })
    }

    /// What waits for a person; with `ended` also what lately waited and became no loan, in front.
    pub(super) fn request_views(&self, ended: bool) -> Vec<RequestView> {
        let over = self.requests.ended().iter().filter(|_| ended).cloned();
        over.chain(self.requests.all().into_iter().map(|request| self.request_view(request))).collect()
    }

    /// What waits, in a sentence; and that it cannot be approved at the price now, or without one, where that is so.
    pub(super) fn asks(&self, request: &Request) -> String {
        match self.is_near(request.terms()) {
            Err((_, text)) => {
                format!("{}. Not now: {text}; it can be approved when the price is back", request.sentence())
            }
            Ok(()) => request.sentence(),
        }
    }

    /// A request, and who asks.
    fn request_view(&self, request: &Request) -> RequestView {
        let peer = request.peer();
        let was_signed = |loan: &&Arc<Loan>| loan.peer == peer && present::was_signed(loan);
        RequestView {
            address: self.tools.net.kept_address(peer).map(|address| address.to_string()),
            connected: self.tools.net.is_connected(peer),
            price_note: self.is_near(request.terms()).err().map(|(_, text)| text),
            loans_with_it: u32::try_from(self.loans.values().filter(was_signed).count()).unwrap_or(u32::MAX),
            ..request.view()
        }
    }

    /// A person says yes: everything is looked at again, and the loan begins.
    pub(super) fn approve(&mut self, id: LoanId, reply: Reply<LoanView>) -> anyhow::Result<()> {
        let answer = match self.check_request(id) {
            Ok(Ok((given, borrow))) => {
                let work = taking::approve(self.tools.clone(), given, borrow, reply);
                self.spawn(Key::Loan(id), None, id.0, work);
                return Ok(());
            }
            Ok(Err(no)) => self.not_approved(id, no)?,
            Err(why) => why,
        };
        let _ = reply.send(Err(answer));
        Ok(())
    }

    /// What this node knows by itself of a request that is to be approved, and why it does not lend.
    pub(super) fn check_request(&self, id: LoanId) -> Result<Result<(Given, Borrow), No>, ErrorView> {
        let request = self.requests.get(&id).ok_or_else(|| self.no_request(id))?;
        if self.running.contains(&Key::Loan(id)) {
            let text = "this request is being looked at right now; try again in a moment";
            return Err(error(ErrorCode::Unavailable, text));
        }
        let (given, borrow) = request.taken().map_err(|e| error(ErrorCode::Internal, format!("{e:#}")))?;
        let allowed = self.allows(&given, &borrow).and_then(|()| self.is_near(&given.terms));
        let allowed = allowed.and_then(|()| self.not_in_vain(request.shown(), id));
        Ok(allowed.map(|()| (given, borrow)))
    }

    /// A person said yes, and it cannot be lent. What may be possible in a while goes on waiting; else the request is over, and
    /// its borrower is told why.
    fn not_approved(&mut self, id: LoanId, (code, text): No) -> anyhow::Result<ErrorView> {
        let until = self.requests.get(&id).map(Request::until);
        let said = match (code, until) {
            (ErrorCode::PriceMoved, Some(until)) => {
                format!(
                    "{text}. Neither node would sign now; approve it when the price is back, before {until}, or `decline` it"
                )
            }
            (ErrorCode::Busy | ErrorCode::Unavailable, Some(until)) => {
                format!("{text}. The request still waits, until {until}: approve it again when that is mended, or `decline` it")
            }
            _ => {
                let by = if code == ErrorCode::Coins { Doing::Borrower } else { Doing::Lender };
                let no = Some((code, text.clone()));
                self.end_request(id, "request_refused", Severity::Notice, no, text.clone(), by)?;
                format!("{text}. The request is over, and its borrower is told")
            }
        };
        Ok(error(ErrorCode::Refused, said))
    }

    /// A person said yes, and everything was looked at again.
    pub(super) fn on_approved(
        &mut self,
        id: LoanId,
        looked: Result<Begun, Trouble>,
        reply: Reply<LoanView>,
    ) -> anyhow::Result<()> {
        if reply.is_closed() {
            tracing::warn!(loan = %id, "not approved: whoever said so has given up; the request still waits");
            return Ok(());
        }
        let begun = match looked {
            Ok((event, shown)) => self.begin_approved(id, *event, &shown)?,
            Err(Trouble::Refuse { code, message }) => Err(error(code, message)),
            Err(Trouble::Later(message)) => Err(error(ErrorCode::Unavailable, message)),
        };
        let answer = match begun {
            Ok(()) => self.view(id),
            Err(why) if self.requests.get(&id).is_none() => Err(why),
            Err(why) => {
                let code = ErrorCode::of(&why.code).unwrap_or(ErrorCode::Unavailable);
                Err(self.not_approved(id, (code.for_peers(), why.message))?)
            }
        };
        let _ = reply.send(answer);
        Ok(())
    }

    fn begin_approved(
        &mut self,
        id: LoanId,
        event: Event,
        shown: &[(OutPoint, Amount)],
    ) -> anyhow::Result<Result<(), ErrorView>> {
        // Withdrawn while it was looked at.
        let Some(peer) = self.requests.get(&id).map(Request::peer) else { return Ok(Err(self.no_request(id))) };
        let begun = self.lend(id, event, shown)?;
        if begun.is_ok() {
            // The loan is on disk; what is left of the request after a crash is dropped at the start.
            self.requests.remove(&id).context("drop a request")?;
            self.sent.remove(&id);
            self.say_progress(peer, id);
        }
        Ok(begun)
    }

    /// A person says no.
    pub(super) fn decline(
        &mut self,
        id: LoanId,
        reason: Option<&str>,
    ) -> anyhow::Result<Result<RequestView, ErrorView>> {
        let Some(request) = self.requests.get(&id).map(|request| self.request_view(request)) else {
            return Ok(Err(self.no_request(id)));
        };
        let (reason_given, said) = (reason.is_some(), reason.unwrap_or_default().trim());
        let reason = clean_to(said, REASON);
        // What the borrower is told is what was typed, or nothing is done.
        if reason != said || (said.is_empty() && reason_given) {
            let text = format!(
                "reason: write one line of 1 to {REASON} characters, without control characters, or give none; nothing was \
                 declined"
            );
            return Ok(Err(error(ErrorCode::BadRequest, text)));
        }
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let no = Some((ErrorCode::Declined, format!("the lender declined{because}")));
        let text = format!("declined by hand{because}");
        self.end_request(id, "request_declined", Severity::Info, no, text, Doing::Lender)?;
        Ok(Ok(request))
    }

    /// That there is no such loan; where a borrower asks for it, or has asked, that too.
    pub(super) fn no_loan(&self, id: LoanId) -> ErrorView {
        let was = self.requests.ended().iter().any(|one| one.loan_id == id);
        let text = match self.requests.get(&id) {
            Some(request) => format!(
                "no loan {id} yet: it is a request that waits for your word until {}; `approve` or `decline` it",
                request.until()
            ),
            None if was => format!("no loan {id} came to be: {}", self.no_request(id).message),
            None => format!("no loan {id}: see `loan list`"),
        };
        error(ErrorCode::NotFound, text)
    }

    /// Why there is nothing to decide.
    fn no_request(&self, id: LoanId) -> ErrorView {
        let over = self.requests.ended().iter().find(|one| one.loan_id == id).and_then(|one| one.ended.as_ref());
        let text = match (over, self.loans.get(&id).map(|loan| loan.role)) {
            (Some(end), _) => format!("request {id} waits no more since {}: {}", Time(end.at), end.text),
            (None, Some(Role::Lender)) => format!("no request {id} waits: it was approved; see `loan show`"),
            (None, Some(Role::Borrower)) => {
                format!(
                    "no request {id} waits: this node borrows by that loan, and its lender decides; see `loan show`"
                )
            }
            (None, None) => format!("no request {id} waits: see `requests`"),
        };
        error(ErrorCode::NotFound, text)
    }

    /// Forgets the requests whose loans have begun: a crash came between.
    pub(super) fn forget_begun_requests(&mut self) -> anyhow::Result<()> {
        let begun: Vec<LoanId> =
            self.requests.all().into_iter().map(Request::id).filter(|id| self.loans.contains_key(id)).collect();
        for id in begun {
            self.requests.remove(&id).context("drop a request")?;
        }
        Ok(())
    }
}

fn facts(request: &Request) -> EventFacts {
    let terms = request.terms();
    EventFacts {
        principal_sats: Some(terms.principal_sats.to_sat()),
        principal_cents: Some(terms.principal.0),
        collateral_sats: Some(terms.collateral.to_sat()),
        price_cents: Some(terms.reference_price.0),
        until: Some(request.until().0),
        ..EventFacts::default()
    }
}

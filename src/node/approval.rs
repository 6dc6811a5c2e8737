//! Lending by hand: a quote that was taken waits until a person approves or declines it, or its time is over.

use super::core::{refused, Core};
use super::handle::Reply;
use super::jobs::{taking, Given, Key};
use super::lending::No;
use super::requests::{Request, RequestView};
use super::tools::{error, Trouble};
use super::view::{ErrorView, EventFacts, EventView, LoanView, Severity};
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::messages::{Borrow, Progress};
use crate::protocol::{ErrorCode, Event, LenderStep};
use crate::settlement::deadline;
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Transaction};
use hypothec_oracle::foreign::clean_to;

/// The longest reason told to a borrower, in characters.
const REASON: usize = 200;

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
        if self.loans.contains_key(&id) || self.requests.get(&id).is_some() {
            return Ok(());
        }
        // Much may have happened while its coins were looked at.
        let allowed = self.may_lend(given, borrow)?.and_then(|()| self.has_place(peer));
        let coins: Vec<OutPoint> = shown.iter().map(|(coin, _)| *coin).collect();
        let vain = self.coins_in_vain(&coins, id).refusal(&shown);
        let allowed = allowed.and_then(|()| vain.map_or(Ok(()), |text| Err((ErrorCode::Coins, text))));
        let request = allowed.and_then(|()| {
            let text = "this lender decides by hand, and too little of the quote's time is left for that; ask for a new one and take it at once";
            let request = Request::new(given, borrow, shown, self.moment.now);
            request.ok_or_else(|| (ErrorCode::Approval, text.to_owned()))
        });
        let request = match request {
            Ok(request) => request,
            Err((code, text)) => {
                self.send(peer, &refused(id.0, code, &text));
                return Ok(());
            }
        };
        self.shown.show(request.shown(), id, self.moment.now).context("keep which coins were shown")?;
        let text = request.sentence();
        let facts = facts(&request);
        self.requests.add(request).context("keep a request")?;
        self.quotes.remove(&id);
        self.tell_request(id, "request_waits", Severity::Warning, text, facts);
        self.say_progress(peer, id);
        Ok(())
    }

    fn has_place(&self, peer: PublicKey) -> Result<(), No> {
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
    ) -> anyhow::Result<()> {
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
            self.end_request(id, "request_expired", Severity::Notice, Some((ErrorCode::Approval, no)), text)?;
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
            self.end_request(id, "request_withdrawn", Severity::Info, no, text)?;
        }
        Ok(())
    }

    /// The borrower ends it.
    pub(super) fn on_request_refused(&mut self, peer: PublicKey, id: LoanId, message: &str) -> anyhow::Result<()> {
        match self.requests.get(&id).is_some_and(|request| request.peer() == peer) {
            true => self.end_request(id, "request_withdrawn", Severity::Info, None, format!("the borrower: {message}")),
            false => Ok(()),
        }
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
            self.end_request(id, "request_withdrawn", Severity::Info, Some((ErrorCode::Superseded, no)), text)?;
        }
        Ok(())
    }

    /// Tells the borrower of a request that it waits, and until when.
    pub(super) fn waits_for_a_person(&self, peer: PublicKey, id: LoanId) -> Option<Progress> {
        let request = self.requests.get(&id).filter(|request| request.peer() == peer)?;
        Some(Progress { loan: id.0, step: LenderStep::Decides.number(), until: request.until() })
    }

    /// What waits for a person.
    pub(super) fn request_views(&self) -> Vec<RequestView> {
        self.requests.all().into_iter().map(Request::view).collect()
    }

    /// A person says yes: everything is looked at again, and the loan begins.
    pub(super) fn approve(&mut self, id: LoanId, reply: Reply<LoanView>) {
        match self.check_request(id) {
            Ok((given, borrow)) => {
                let work = taking::approve(self.tools.clone(), given, borrow, reply);
                self.spawn(Key::Loan(id), None, id.0, work);
            }
            Err(why) => drop(reply.send(Err(why))),
        }
    }

    fn check_request(&self, id: LoanId) -> Result<(Given, Borrow), ErrorView> {
        let request = self.requests.get(&id).ok_or_else(|| no_request(id))?;
        if self.running.contains(&Key::Loan(id)) {
            let text = "this request is being looked at right now; try again in a moment";
            return Err(error(ErrorCode::Unavailable, text));
        }
        let (given, borrow) = request.taken().map_err(|e| error(ErrorCode::Internal, format!("{e:#}")))?;
        let refuse = |text: String| error(ErrorCode::Refused, text);
        self.allows(&given, &borrow).map_err(|(_, text)| refuse(format!("policy: {text}")))?;
        let terms = &given.terms;
        let spot = self.tools.watched_spot(&terms.oracles, usize::from(terms.threshold));
        match spot {
            Ok(spot) if !deadline::is_near(terms.reference_price, spot) => {
                let text = format!(
                    "the price is {spot}, more than 0.5 % from the quote's {}: neither node would sign now; \
                     approve it when the price is back, or `decline` it",
                    terms.reference_price
                );
                Err(refuse(text))
            }
            _ => Ok((given, borrow)),
        }
    }

    /// A person said yes, and everything was looked at again.
    pub(super) fn on_approved(
        &mut self,
        id: LoanId,
        looked: Result<Begun, Trouble>,
        reply: Reply<LoanView>,
    ) -> anyhow::Result<()> {
        let answer = match looked {
            Ok((event, shown)) => self.begin_approved(id, *event, &shown)?,
            Err(trouble) => {
                if let Trouble::Refuse { code, message } = &trouble {
                    let no = Some((*code, message.clone()));
                    self.end_request(id, "request_withdrawn", Severity::Notice, no, message.clone())?;
                }
                Err(trouble.view())
            }
        };
        let _ = reply.send(answer.and_then(|()| self.view(id)));
        Ok(())
    }

    fn begin_approved(
        &mut self,
        id: LoanId,
        event: Event,
        shown: &[(OutPoint, Amount)],
    ) -> anyhow::Result<Result<(), ErrorView>> {
        // Withdrawn while it was looked at.
        let Some(peer) = self.requests.get(&id).map(Request::peer) else { return Ok(Err(no_request(id))) };
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
        let Some(request) = self.requests.get(&id).map(Request::view) else { return Ok(Err(no_request(id))) };
        let reason = clean_to(reason.unwrap_or_default().trim(), REASON);
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let no = Some((ErrorCode::Declined, format!("the lender declined{because}")));
        self.end_request(id, "request_declined", Severity::Info, no, format!("declined by hand{because}"))?;
        Ok(Ok(request))
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

fn no_request(id: LoanId) -> ErrorView {
    error(ErrorCode::NotFound, format!("no request {id} waits: see `requests`"))
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

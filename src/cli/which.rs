//! What is meant by an id that somebody types: the id itself, any beginning of it that no other has, or the short form
//! that is printed. The same for loans, quotes, peers and oracles.

use super::client::Refused;
use super::line::Place;
use super::out::count;
use crate::api::views::{ErrorCode, LoanId, LoanView, OracleView, PeerView, QuoteView, RequestView};
use anyhow::bail;
use bitcoin::key::XOnlyPublicKey;
use clap::Args;
use std::fmt::Display;

/// Which loan.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its id, the beginning of it, or its short form as lists print it, 1a2b3c4d…9f0e
    #[arg(value_name = "LOAN", value_parser = named)]
    loan: Named,
}

/// What an id stands for.
pub(super) enum Either {
    /// A loan.
    Loan(Box<LoanView>),
    /// A request that is none.
    Request(Box<RequestView>),
}

/// An id as somebody types it: how it begins, and how it ends where that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    begin: String,
    end: String,
}

impl Named {
    fn fits(&self, id: &str) -> bool {
        id.starts_with(&self.begin) && id.ends_with(&self.end)
    }

    /// The one of `all` that is meant. `what` they are in one word, as in `loan`; `see` is the command that lists them.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) fn one_of<T: Copy + Display + PartialEq>(
        &self,
        what: &str,
        all: impl IntoIterator<Item = T>,
        see: &str,
    ) -> anyhow::Result<T> {
        let mut found: Vec<T> = Vec::new();
        for id in all {
            if self.fits(&id.to_string()) && !found.contains(&id) {
                found.push(id);
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => bail!("{what} {self}: no {what} begins so; see `{see}`"),
            some => bail!(
                "{what} {self}: {} begin so; give more digits",
                count(u64::try_from(some.len()).unwrap_or(u64::MAX), what)
            ),
        }
    }

    /// The loan that is meant; where none is, the request to this lender, of which the node says that it is no loan.
    ///
    /// # Errors
    /// When neither is, or several could be.
    pub(super) async fn loan(&self, place: &Place) -> anyhow::Result<LoanId> {
        if let Ok(id) = self.begin.parse() {
            return Ok(id);
        }
        let (client, see) = (place.client()?, format!("{} loan list", place.again()));
        let loans: Vec<LoanView> = client.get("/v1/loans").await?;
        let mut ids: Vec<LoanId> = loans.iter().map(|loan| loan.loan_id).collect();
        if !ids.iter().any(|id| self.fits(&id.to_string())) {
            let requests: Vec<RequestView> = client.get("/v1/requests?ended=true").await.unwrap_or_default();
            ids = requests.iter().map(|one| one.loan_id).collect();
        }
        self.one_of("loan", ids, &see)
    }

    /// The request that is meant, of those that wait; else one that waited before, of which the node says what became.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn request(&self, place: &Place) -> anyhow::Result<LoanId> {
        if let Ok(id) = self.begin.parse() {
            return Ok(id);
        }
        let (client, see) = (place.client()?, format!("{} requests", place.again()));
        let ids = |all: &[RequestView]| all.iter().map(|one| one.loan_id).collect::<Vec<_>>();
        let waiting = ids(&client.get::<Vec<RequestView>>("/v1/requests").await?);
        if waiting.iter().any(|id| self.fits(&id.to_string())) {
            return self.one_of("request", waiting, &see);
        }
        let mut before = ids(&client.get::<Vec<RequestView>>("/v1/requests?ended=true").await?);
        before.extend(client.get::<Vec<LoanView>>("/v1/loans").await?.iter().map(|loan| loan.loan_id));
        self.one_of("request", before, &see)
    }

    /// The quote that is meant: an open one, or one that was taken.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn quote(&self, place: &Place) -> anyhow::Result<LoanId> {
        if let Ok(id) = self.begin.parse() {
            return Ok(id);
        }
        let client = place.client()?;
        let quotes: Vec<QuoteView> = client.get("/v1/quotes").await?;
        let loans: Vec<LoanView> = client.get("/v1/loans").await?;
        let all = quotes.iter().map(|quote| quote.loan_id).chain(loans.iter().map(|loan| loan.loan_id));
        self.one_of("quote", all, &format!("{} quote --help", place.again()))
    }

    /// The oracle that is meant, of those this node knows; a whole key also when it is none of them.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn oracle(&self, place: &Place) -> anyhow::Result<XOnlyPublicKey> {
        if let Ok(key) = self.begin.parse() {
            return Ok(key);
        }
        let oracles: Vec<OracleView> = place.client()?.get("/v1/oracles").await?;
        self.one_of("oracle", oracles.iter().map(|oracle| oracle.pubkey), &format!("{} oracle list", place.again()))
    }

    /// The peer that is meant, of those this node knows.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn peer(&self, place: &Place) -> anyhow::Result<PeerView> {
        let see = format!("{} peer list", place.again());
        let peers: Vec<PeerView> = place.client()?.get("/v1/peers").await?;
        let key = self.one_of("peer", peers.iter().map(|peer| peer.node_id), &see)?;
        match peers.into_iter().find(|peer| peer.node_id == key) {
            Some(peer) => Ok(peer),
            None => bail!("peer {self}: no peer begins so; see `{see}`"),
        }
    }
}

impl Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dots = if self.end.is_empty() { "" } else { "…" };
        write!(f, "{}{dots}{}", self.begin, self.end)
    }
}

/// Is there no such thing?
fn is_unknown(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<Refused>().map(|Refused(view)| view.code.as_str());
    code == Some(ErrorCode::NotFound.word())
}

impl Which {
    /// The one loan that is meant.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn find(&self, place: &Place) -> anyhow::Result<LoanId> {
        self.loan.loan(place).await
    }

    /// The loan that is meant; where there is none, the request to this lender, one that waits or waited lately and is no loan.
    ///
    /// # Errors
    /// When neither is, or several could be.
    pub(super) async fn find_either(&self, place: &Place) -> anyhow::Result<Either> {
        let client = place.client()?;
        let whole: Option<LoanId> = self.loan.begin.parse().ok();
        let mut unknown = None;
        if let Some(id) = whole {
            match client.get::<LoanView>(&format!("/v1/loans/{id}")).await {
                Ok(loan) => return Ok(Either::Loan(Box::new(loan))),
                Err(error) if !is_unknown(&error) => return Err(error),
                Err(error) => unknown = Some(error),
            }
        } else {
            let loans: Vec<LoanView> = client.get("/v1/loans").await?;
            let ids: Vec<LoanId> = loans.iter().map(|loan| loan.loan_id).collect();
            if ids.iter().any(|id| self.loan.fits(&id.to_string())) {
                let id = self.loan.one_of("loan", ids, &format!("{} loan list", place.again()))?;
                return Ok(Either::Loan(Box::new(client.get(&format!("/v1/loans/{id}")).await?)));
            }
        }
        let requests: Vec<RequestView> = client.get("/v1/requests?ended=true").await?;
        let see = format!("{} loan list", place.again());
        let found = self.loan.one_of("loan", requests.iter().map(|one| one.loan_id), &see);
        let id = found.map_err(|none| unknown.unwrap_or(none))?;
        match requests.into_iter().find(|one| one.loan_id == id) {
            Some(request) => Ok(Either::Request(Box::new(request))),
            None => bail!("loan {}: no loan begins so; see `{see}`", self.loan),
        }
    }

    /// The one request that is meant.
    ///
    /// # Errors
    /// When none is, or several could be.
    pub(super) async fn find_request(&self, place: &Place) -> anyhow::Result<LoanId> {
        self.loan.request(place).await
    }
}

/// Reads what somebody types for an id: 4 to 66 hex digits, or its beginning and end with `…` or `...` between.
pub(super) fn named(text: &str) -> Result<Named, String> {
    let lower = text.to_ascii_lowercase().replace("...", "…");
    let (begin, end) = lower.split_once('…').unwrap_or((&lower, ""));
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match begin.len().saturating_add(end.len()) {
        4..=66 if is_hex(begin) && is_hex(end) && !begin.is_empty() => {
            Ok(Named { begin: begin.to_owned(), end: end.to_owned() })
        }
        _ => {
            Err("write an id or key, its short form as it is printed, 1a2b3c4d…9f0e, or its first 4 digits or more"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_is_named_by_its_beginning_or_by_the_form_that_is_printed() {
        let id = "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
        for text in ["d01e", "D01E2A", id, "d01e2a31…f2d0", "d01e2a31...f2d0", &super::super::amount::short(id)] {
            assert!(named(text).unwrap().fits(id), "{text}");
        }
        assert!(!named("d01e2a31…f2d1").unwrap().fits(id));
        for text in ["", "d01", "xyz1", "…f2d0", "d01e…xyz", &"a".repeat(67)] {
            assert!(named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_is_meant_or_it_is_said_how_many_could_be() {
        let [a, b] = [0x1a, 0x1b].map(|byte| LoanId([byte; 32]));
        let one = |text: &str, all: &[LoanId]| named(text).unwrap().one_of("loan", all.iter().copied(), "loan list");
        assert_eq!(one("1a1a", &[a, b, a]).unwrap(), a, "the same twice is one");
        assert!(one("2c2c", &[a, b]).unwrap_err().to_string().contains("no loan begins so"));
        let c = LoanId([&[0x1a; 31][..], &[0]].concat().try_into().unwrap());
        assert!(one("1a1a", &[a, b, c]).unwrap_err().to_string().contains("2 loans begin so; give more digits"));
        assert_eq!(one("1a1a…1a00", &[a, b, c]).unwrap(), c);
    }
}

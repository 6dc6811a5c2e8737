//! One bounded GET.

use super::budget::{Asker, Budget};
use super::OracleError;
use hypothec_oracle::foreign::{clean, clean_to, WORD};
use hypothec_oracle::reached;
use hypothec_oracle::wire::ErrorBody;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// Real time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Real time for a whole answer; an oracle may need a second to sign a month of a band.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest error body read, in bytes.
const ERROR_LIMIT: usize = 4 * 1024;

/// An HTTP client for one oracle.
#[derive(Clone, Debug)]
pub struct Fetcher {
    url: String,
    http: Client,
    asker: Asker,
    budget: Budget,
}

impl Fetcher {
    /// A client for the oracle at `url`: scheme, host, port, and a path if it has one.
    pub fn new(url: &str) -> Result<Fetcher, OracleError> {
        let refuse = |reason: &str| OracleError::Url { url: clean(url), reason: reason.to_string() };
        let parsed = Url::parse(url).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refuse("the scheme must be http or https"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty() {
            return Err(refuse("it must not have a user, a query or a fragment"));
        }
        let http = connection(&parsed).map_err(|error| refuse(&error.to_string()))?;
        let (url, budget) = (url.trim_end_matches('/').to_string(), Budget::new(Instant::now()));
        Ok(Fetcher { url, http, asker: Asker::Jobs, budget })
    }

    /// The same place asked by the watch: over connections of its own, from its own part of the same budget.
    pub fn for_watch(&self) -> Fetcher {
        let own = Url::parse(&self.url).ok().and_then(|url| connection(&url).ok());
        let http = own.unwrap_or_else(|| self.http.clone());
        Fetcher { url: self.url.clone(), http, asker: Asker::Watch, budget: self.budget.clone() }
    }

    /// Requests are no longer counted.
    pub fn without_budget(&self) {
        self.budget.lift();
    }

    /// Waits for the turn of a request.
    async fn turn(&self, path: &str) -> Result<(), OracleError> {
        let Some(cost) = cost(path) else { return Ok(()) };
        match self.budget.reserve(self.asker, cost, Instant::now()) {
            Ok(wait) if wait.is_zero() => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let seconds = wait.as_secs().saturating_add(1);
                Err(OracleError::Crowded { url: self.url.clone(), path: path.to_string(), seconds })
            }
        }
    }

    /// The oracle's URL, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The JSON at `path`, at most `limit` bytes of it.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<T, OracleError> {
        let unreachable = |error: reqwest::Error| OracleError::Unreachable {
            url: self.url.clone(),
            path: path.to_string(),
            reason: clean(&reached::why(&error)),
        };
        self.turn(path).await?;
        let mut response = self.http.get(format!("{}{path}", self.url)).send().await.map_err(unreachable)?;
        let status = response.status();
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let after =
                    response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
                self.budget.refused(self.asker, after, Instant::now());
            }
            _ => self.budget.answered(self.asker),
        }
        let limit = if status.is_success() { limit } else { ERROR_LIMIT };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(OracleError::TooLong { url: self.url.clone(), path: path.to_string(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let said: Option<ErrorBody> = serde_json::from_slice(&body).ok();
            let (code, message) = said.map(|said| (said.code, said.message)).unwrap_or_default();
            return Err(OracleError::Refused {
                url: self.url.clone(),
                path: path.to_string(),
                status: status.as_u16(),
                code: clean_to(&code, WORD),
                message: clean(&message),
            });
        }
        serde_json::from_slice(&body).map_err(|error| OracleError::Unreadable {
            url: self.url.clone(),
            path: path.to_string(),
            reason: clean(&error.to_string()),
        })
    }
}

/// Connections to one place.
fn connection(url: &Url) -> reqwest::Result<Client> {
    let mut building = Client::builder().connect_timeout(CONNECT).timeout(ANSWER).redirect(Policy::none());
    if is_loopback(url) {
        building = building.no_proxy();
    }
    building.build()
}

/// What a request counts for, about as the oracle counts: it goes by what is still to be signed, and of attestations alone
/// that is little as a rule. Nothing where only the conductor of fast time asks.
fn cost(path: &str) -> Option<u32> {
    let is_bundle = path.starts_with("/v1/bands/") || path.starts_with("/v1/fixings/");
    match path {
        "/v1/status" => None,
        _ if is_bundle && !path.ends_with("?only=attestations") => Some(4),
        _ => Some(1),
    }
}

/// A proxy of the environment must not see, or break, what stays on this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

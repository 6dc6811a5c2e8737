//! One bounded GET.

use super::OracleError;
use hypothec_oracle::foreign::{clean, clean_to, WORD};
use hypothec_oracle::wire::ErrorBody;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

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
        let mut building = Client::builder().connect_timeout(CONNECT).timeout(ANSWER).redirect(Policy::none());
        if is_loopback(&parsed) {
            building = building.no_proxy();
        }
        let http = building.build().map_err(|error| refuse(&error.to_string()))?;
        Ok(Fetcher { url: url.trim_end_matches('/').to_string(), http })
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
            reason: clean(&causes(&error.without_url())),
        };
        let mut response = self.http.get(format!("{}{path}", self.url)).send().await.map_err(unreachable)?;
        let status = response.status();
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

/// A proxy of the environment must not see, or break, what stays on this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error and what it came from, in one line.
fn causes(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let chain = std::iter::successors(Some(first), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

//! Questions over HTTP, bounded in time and size.

use crate::reached;
use crate::units::Time;
use anyhow::{anyhow, bail, Context};
use serde::de::DeserializeOwned;
use std::time::Duration;
use time::format_description::well_known::Rfc2822;
use time::OffsetDateTime;

/// How long an answer may take. Real time.
const PATIENCE: Duration = Duration::from_secs(8);
/// The longest answer read.
const LONGEST: usize = 1024 * 1024;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The server's clock, by its `Date` header.
    pub date: Option<Time>,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks.
#[derive(Clone, Debug)]
pub struct Asker(reqwest::Client);

impl Asker {
    /// Makes one.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new() -> anyhow::Result<Asker> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("hypothec-oracle/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Asker(client))
    }

    /// GETs a URL.
    ///
    /// # Errors
    /// When there is no answer in time, it is no success, or it is too long.
    pub async fn get(&self, url: &str) -> anyhow::Result<Heard> {
        let sent = self.0.get(url).send().await;
        read(sent.map_err(|error| anyhow!(reached::why(&error)))?).await
    }

    /// GETs JSON.
    ///
    /// # Errors
    /// As [`Asker::get`], and when it is not the JSON it should be.
    pub async fn json<T: DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        let heard = self.get(url).await?;
        serde_json::from_slice(&heard.body).context("the answer is not what this route answers")
    }

    /// One call of bitcoind's JSON-RPC; user and password stand in the URL.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn rpc(&self, url: &str, method: &str) -> anyhow::Result<serde_json::Value> {
        let body = serde_json::json!({ "jsonrpc": "1.0", "id": "doctor", "method": method, "params": [] });
        let sent = self.0.post(url).json(&body).send().await;
        // Without its URL: a password must not reach a report.
        let heard = read(sent.map_err(|error| anyhow!(reached::why(&error)))?).await?;
        let answer: serde_json::Value = serde_json::from_slice(&heard.body).context("the answer is not JSON")?;
        answer.get("result").filter(|result| !result.is_null()).cloned().context("it answers with an error")
    }
}

async fn read(mut answer: reqwest::Response) -> anyhow::Result<Heard> {
    if !answer.status().is_success() {
        bail!("it answers {}", answer.status());
    }
    let date = answer.headers().get("date").and_then(|value| value.to_str().ok()).and_then(parse_date);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| anyhow!(reached::why(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            bail!("it answers more than {LONGEST} bytes");
        }
    }
    Ok(Heard { date, body })
}

/// `Sun, 22 Nov 2026 17:15:15 GMT`.
fn parse_date(text: &str) -> Option<Time> {
    let text = text.replace("GMT", "+0000");
    let date = OffsetDateTime::parse(&text, &Rfc2822).ok()?;
    u32::try_from(date.unix_timestamp()).ok().map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_date_is_read() {
        assert_eq!(parse_date("Thu, 12 Mar 2020 10:00:00 GMT"), Some(Time(1_584_007_200)));
        assert_eq!(parse_date("yesterday"), None);
    }
}

//! A small HTTP client for a node's API, with the node's own view types.
//!
//! It asks for no proof that it is the node: its nodes are this process' children on regtest, in folders of their own that end
//! with it, and their tokens command nothing of worth. It asks often, over connections that are kept.

use crate::loan::terms::LoanId;
use crate::node::view::{
    AddressView, Balance, BorrowRequest, ConnectRequest, EffectView, ErrorView, LoanView, OracleRequest, OracleView,
    PeerView, PolicyView, QuoteRequest, QuoteView, RepayRequest, Status,
};
use anyhow::Context;
use bitcoin::Txid;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Longest wait for one answer; making a quote or an offer takes a while on a busy machine. Real time.
const CALL: Duration = Duration::from_secs(60);

/// A node said no, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{method} {path}: {} ({})", answer.message, answer.code)]
pub struct Refused {
    /// The request's method.
    pub method: reqwest::Method,
    /// And its path.
    pub path: String,
    /// The answer.
    pub answer: ErrorView,
}

/// A line to one node.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// Reads address and token from the data folder of a running node.
    ///
    /// # Errors
    /// When one of the files is not there (yet).
    pub fn of(data: &Path) -> anyhow::Result<Client> {
        let read = |name: &str| {
            let path = data.join(name);
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let text = text.trim().to_string();
            anyhow::ensure!(!text.is_empty(), "{} is empty", path.display());
            Ok(text)
        };
        let http = reqwest::Client::builder().timeout(CALL).no_proxy().build()?;
        Ok(Client { http, base: read("api")?, token: read("token")? })
    }

    /// A line that leads nowhere: to a node that has not said its address yet.
    pub(super) fn nowhere() -> anyhow::Result<Client> {
        // Port 0 is nobody's.
        let http = reqwest::Client::builder().timeout(CALL).no_proxy().build()?;
        Ok(Client { http, base: "http://127.0.0.1:0".into(), token: String::new() })
    }

    /// Where it calls.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Any route. `body` is sent as JSON where there is one.
    ///
    /// # Errors
    /// [`Refused`] with the node's own answer, or what is wrong with the line.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> anyhow::Result<T> {
        let doing = || format!("{method} {}{path}", self.base);
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(doing)?;
        let status = response.status();
        let text = response.text().await.with_context(doing)?;
        if !status.is_success() {
            let answer = serde_json::from_str(&text).unwrap_or(ErrorView { code: status.to_string(), message: text });
            return Err(Refused { method, path: path.to_string(), answer }.into());
        }
        serde_json::from_str(&text).with_context(|| format!("{}: an answer that does not fit: {text}", doing()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(reqwest::Method::GET, path, None::<&()>).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    /// How the node is.
    pub async fn status(&self) -> anyhow::Result<Status> {
        self.get("/v1/status").await
    }

    /// The oracles it trusts.
    pub async fn oracles(&self) -> anyhow::Result<Vec<OracleView>> {
        self.get("/v1/oracles").await
    }

    /// A fresh address of its wallet.
    pub async fn new_address(&self) -> anyhow::Result<AddressView> {
        self.call(reqwest::Method::POST, "/v1/wallet/address", None::<&()>).await
    }

    /// What its wallet holds.
    pub async fn balance(&self) -> anyhow::Result<Balance> {
        self.get("/v1/wallet/balance").await
    }

    /// What a transaction did to its wallet.
    pub async fn effect(&self, txid: Txid) -> anyhow::Result<EffectView> {
        self.get(&format!("/v1/wallet/effect/{txid}")).await
    }

    /// Makes an oracle known to it.
    pub async fn add_oracle(&self, request: &OracleRequest) -> anyhow::Result<OracleView> {
        self.post("/v1/oracles", request).await
    }

    /// Makes a peer known to it, which it dials from then on.
    pub async fn connect(&self, request: &ConnectRequest) -> anyhow::Result<PeerView> {
        self.post("/v1/peers", request).await
    }

    /// The lender's policy.
    pub async fn policy(&self) -> anyhow::Result<PolicyView> {
        self.get("/v1/policy").await
    }

    /// Replaces the lender's policy.
    pub async fn set_policy(&self, policy: &PolicyView) -> anyhow::Result<PolicyView> {
        self.call(reqwest::Method::PUT, "/v1/policy", Some(policy)).await
    }

    /// Asks a lender, through the borrower's node.
    pub async fn quote(&self, request: &QuoteRequest) -> anyhow::Result<QuoteView> {
        self.post("/v1/quotes", request).await
    }

    /// Takes a quote.
    pub async fn borrow(&self, quote: LoanId) -> anyhow::Result<LoanView> {
        self.post("/v1/loans", &BorrowRequest { quote }).await
    }

    /// One loan.
    pub async fn loan(&self, id: LoanId) -> anyhow::Result<LoanView> {
        self.get(&format!("/v1/loans/{id}")).await
    }

    /// All loans.
    pub async fn loans(&self) -> anyhow::Result<Vec<LoanView>> {
        self.get("/v1/loans").await
    }

    /// Proposes a repayment.
    pub async fn repay(&self, id: LoanId, request: &RepayRequest) -> anyhow::Result<LoanView> {
        self.post(&format!("/v1/loans/{id}/repay"), request).await
    }

    /// Ends a negotiation, or takes it back.
    pub async fn cancel(&self, id: LoanId) -> anyhow::Result<LoanView> {
        self.call(reqwest::Method::POST, &format!("/v1/loans/{id}/cancel"), None::<&()>).await
    }

    /// Takes an open repayment proposal back.
    pub async fn withdraw(&self, id: LoanId) -> anyhow::Result<LoanView> {
        self.call(reqwest::Method::POST, &format!("/v1/loans/{id}/withdraw"), None::<&()>).await
    }

    /// The lender's receipt.
    pub async fn receipt(&self, id: LoanId) -> anyhow::Result<LoanView> {
        self.call(reqwest::Method::POST, &format!("/v1/loans/{id}/receipt"), None::<&()>).await
    }
}

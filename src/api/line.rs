//! The other end: a connection to a node that proves itself on it before it is shown the token.
//!
//! A killed node leaves its address behind, and any user of the machine may listen there then. Proof and question go over one
//! connection: what answers on another may be somebody else.

use super::auth::PROOF;
use super::views::ProvedView;
use crate::node::data::Token;
use axum::body::{to_bytes, Body};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::client::conn::http1::{handshake, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout_at, Instant};

/// The most bytes of an answer that is to be a proof.
const PROOF_MAX: usize = 1 << 10;
/// The first pause after a connection that was ended without a word; each is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody listens there.
    Nobody,
    /// It took too long.
    Silent,
    /// What answers does not prove that it is the node. It was not shown the token.
    Stranger,
    /// It ended each connection without a word. It was not shown the token.
    Shut,
    /// The connection was ended before the question was sent: the node never had it.
    Unasked,
    /// It broke off: whether the node has done what was asked is not known.
    Broken,
}

/// What is asked of a node, without the token.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Such as `GET`.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers beside host and token.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Ask {
    /// A question without a body.
    pub fn get(path: &str) -> Ask {
        let path = path.to_owned();
        Ask { method: Method::GET, path, headers: HeaderMap::new(), body: Vec::new() }
    }
}

/// A connection on which the node has proved itself.
pub struct Proved {
    sender: SendRequest<Body>,
    host: HeaderValue,
    bearer: HeaderValue,
}

impl Proved {
    /// Connects to `address`, and lets what listens there prove that it knows the token, within `patience`. A node that others
    /// crowd may end a connection before it is heard: it is tried again, since nothing was asked on it.
    ///
    /// # Errors
    /// Nobody is there, it is silent, it ends every connection, or it is another.
    pub async fn open(address: SocketAddr, token: &Token, patience: Duration) -> Result<Proved, Lost> {
        let until = Instant::now() + patience;
        let mut pause = PAUSE;
        let mut lost = Lost::Silent;
        loop {
            match timeout_at(until, Proved::prove(address, token)).await {
                Ok(Err(Lost::Shut)) => lost = Lost::Shut,
                Ok(said) => return said,
                Err(_) => return Err(lost),
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    async fn prove(address: SocketAddr, token: &Token) -> Result<Proved, Lost> {
        let stream = TcpStream::connect(address).await.map_err(|_| Lost::Nobody)?;
        // A question must not wait for its own end. A socket that refuses is about to fail anyway.
        drop(stream.set_nodelay(true));
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Lost::Stranger)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let value = |text: String| HeaderValue::from_str(&text).map_err(|_| Lost::Stranger);
        let mut bearer = value(format!("Bearer {}", token.secret()))?;
        bearer.set_sensitive(true);
        let mut proved = Proved { sender, host: value(address.to_string())?, bearer };
        let nonce = Token::nonce();
        let question = proved.request(&Ask::get(&format!("{PROOF}?nonce={nonce}")))?;
        let no_word = |error: hyper::Error| if error.is_parse() { Lost::Stranger } else { Lost::Shut };
        let answer = proved.sender.send_request(question).await.map_err(no_word)?;
        let said = to_bytes(Body::new(answer.into_body()), PROOF_MAX).await.map_err(|_| Lost::Stranger)?;
        match serde_json::from_slice::<ProvedView>(&said) {
            Ok(said) if said.proof == token.proof(address, &nonce) => Ok(proved),
            _ => Err(Lost::Stranger),
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Body>, Lost> {
        let body = Body::from(ask.body.clone());
        let request = Request::builder().method(ask.method.clone()).uri(&ask.path).header(HOST, &self.host).body(body);
        let mut request = request.map_err(|_| Lost::Unasked)?;
        request.headers_mut().extend(ask.headers.clone());
        Ok(request)
    }

    /// Asks it, with the token. The answer is whole.
    ///
    /// # Errors
    /// [`Lost::Unasked`] where nothing of it was sent, or [`Lost::Broken`].
    pub async fn ask(&mut self, ask: &Ask) -> Result<Response<Vec<u8>>, Lost> {
        let mut request = self.request(ask)?;
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        self.sender.ready().await.map_err(|_| Lost::Unasked)?;
        let sent = self.sender.send_request(request).await;
        let (head, body) = sent.map_err(|e| if e.is_canceled() { Lost::Unasked } else { Lost::Broken })?.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.map_err(|_| Lost::Broken)?;
        Ok(Response::from_parts(head, body.to_vec()))
    }
}

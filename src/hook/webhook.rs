//! An address that is posted to, signed as Standard Webhooks says (standardwebhooks.com, version 1, symmetric).

use super::Notice;
use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest time to an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A secret that both ends know. Never written out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Not the form.
    #[error("it is whsec_ followed by base64, as a receiver shows it; `echo whsec_$(head -c 24 /dev/urandom | base64)` makes one")]
    Form,
    /// Too short to be one, or too long.
    #[error("it has {0} bytes behind whsec_; 24 to 64 are right")]
    Length(usize),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl std::str::FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Secret, SecretError> {
        let bytes = text.strip_prefix(PREFIX).and_then(|rest| STANDARD.decode(rest).ok()).ok_or(SecretError::Form)?;
        match bytes.len() {
            24..=64 => Ok(Secret(bytes)),
            length => Err(SecretError::Length(length)),
        }
    }
}

impl Secret {
    /// `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut engine = HmacEngine::<sha256::Hash>::new(&self.0);
        engine.input(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()))
    }
}

/// Where to post, and the secret to sign with.
#[derive(Clone)]
pub struct Webhook {
    http: reqwest::Client,
    url: reqwest::Url,
    secret: Secret,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path may be a secret of its own.
        write!(f, "Webhook({})", self.place())
    }
}

impl Webhook {
    /// One for this URL.
    ///
    /// # Errors
    /// When it is no http(s) URL, or no client can be made.
    pub fn new(url: &str, secret: Secret) -> Result<Webhook, String> {
        let form = "write https://host/path, or http:// for this machine and others you trust the way to";
        let url: reqwest::Url = url.parse().map_err(|_| form.to_owned())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(form.to_owned());
        }
        // What was signed for one address is not handed on to another.
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        Ok(Webhook { http: http.build().map_err(|e| e.to_string())?, url, secret })
    }

    fn place(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// Posts it. The time in the signature is the machine's: a receiver refuses what is old.
    pub(super) async fn post(&self, notice: &Notice) -> Result<(), String> {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
        let signature = self.secret.sign(&notice.id, timestamp, &notice.body);
        let request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &notice.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(notice.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{} answered {}", self.place(), answer.status())),
            Err(e) if e.is_timeout() => Err(format!("{} did not answer in {} s", self.place(), PATIENCE.as_secs())),
            Err(e) if e.is_connect() => Err(format!("{} cannot be reached", self.place())),
            Err(e) => Err(format!("{}: {}", self.place(), e.without_url())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standards_example() {
        // The example of the specification's reference libraries.
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_or_no_address_is_refused_and_a_secret_is_never_shown() {
        assert_eq!("hello".parse::<Secret>(), Err(SecretError::Form));
        assert_eq!("whsec_AAAA".parse::<Secret>(), Err(SecretError::Length(3)));
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        for url in ["example.org", "ftp://example.org/", "mailto:me@example.org"] {
            assert!(Webhook::new(url, secret.clone()).is_err(), "{url}");
        }
        let webhook = Webhook::new("https://example.org:8443/hooks/token", secret).unwrap();
        assert_eq!(format!("{webhook:?}"), "Webhook(https://example.org:8443)");
    }
}

//! What another program's oracle lacks: which of the routes that loans need it does not have.

use super::fetch::Fetcher;
use super::OracleError;
use serde::de::IgnoredAny;

/// What a loan needs of an oracle, each with the path that asks for it. The day and the band are any.
const NEEDED: &[(&str, &str)] = &[
    ("/pubkey", "its key"),
    ("/v1/info", "its network"),
    ("/v1/price", "a signed price"),
    ("/v1/lows/20260101", "signed hour lows"),
    ("/v1/fixings/20260101?only=announcements", "fixings with nonce proofs"),
    ("/v1/bands/0/202601?only=announcements", "touches with nonce proofs"),
];
/// Most bytes of an answer that is looked at: whether there is one is all that counts.
const LOOKED_AT: usize = 2 * 1024 * 1024;

/// Why an oracle could not be added, where the answer is that it is another program's: the routes it does not have. Any
/// other error is given back.
pub async fn explained(error: OracleError, url: &str) -> OracleError {
    let (OracleError::Refused { status: 404 | 405 | 501, .. } | OracleError::Unreadable { .. }) = &error else {
        return error;
    };
    let Ok(fetcher) = Fetcher::new(url) else { return error };
    let mut missing = Vec::new();
    for (path, what) in NEEDED {
        let asked = fetcher.get::<IgnoredAny>(path, LOOKED_AT).await;
        if let Err(OracleError::Refused { status: status @ (404 | 405 | 501), code, .. }) = &asked {
            // Our own oracles answer 404 by name where they have nothing to say of a day.
            if code.is_empty() || code == "no_such_route" {
                let path = path.split('?').next().unwrap_or(path);
                missing.push(format!("{path} ({what}; status {status})"));
            }
        } else if let Err(OracleError::Unreadable { .. }) = &asked {
            missing.push(format!("{path} ({what}; no JSON)"));
        }
    }
    match missing.is_empty() {
        true => error,
        false => OracleError::Lacks { url: fetcher.url().to_owned(), missing: missing.join(", ") },
    }
}

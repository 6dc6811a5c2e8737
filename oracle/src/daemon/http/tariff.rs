//! What a request counts for: the signatures that must be made for it, and the bytes that are sent.
//!
//! By what is wanted, never by the route alone: the attestations of a month that lay above the price are as many as its
//! announcements. What was signed before is not signed again, and counts by its bytes.

use super::super::press::{Press, Work};
use super::bundles;
use super::turns::AT_ONCE;
use axum::extract::RawPathParams;
use axum::http::Uri;

/// Signatures that count as one request: some 15 ms of one core.
const SIGNATURES: usize = 512;
/// Bytes that count as one request.
const BYTES: usize = 256 * 1_024;
/// The fixings of three days with their announcements, for clients that list events.
const LIST: u32 = 4;
/// A piece of a tick log: a mebibyte.
const LOG: u32 = 4;

/// What a request takes from whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Requests that it counts for, at least 1.
    pub requests: u32,
    /// Turns, of the [`AT_ONCE`] that an address has, until it is answered: all of them where much must be signed, none for
    /// what is at hand.
    pub turns: usize,
}

/// What is asked, at its price now.
pub fn price(press: &Press, route: &str, path: &RawPathParams, uri: &Uri) -> Price {
    if let Some((bundles, parts)) = bundles::asked(route, path, uri) {
        return of_pages(bundles.into_iter().map(|bundle| press.work(bundle, parts)));
    }
    match route {
        "/list-events" => Price { requests: LIST, turns: AT_ONCE },
        "/v1/log/{day}" => Price { requests: LOG, turns: 1 },
        "/announcement/{id}"
        | "/attestation/{id}"
        | "/asset/{asset}/announcement/{time}"
        | "/asset/{asset}/attestation/{time}"
        | "/v1/policy" => Price { requests: 1, turns: 1 },
        _ => Price { requests: 1, turns: 0 },
    }
}

fn of_pages(pages: impl Iterator<Item = Work>) -> Price {
    let (mut requests, mut signs) = (0u32, false);
    for page in pages {
        let counts = page.signatures.div_ceil(SIGNATURES).max(page.bytes.div_ceil(BYTES)).max(1);
        requests = requests.saturating_add(u32::try_from(counts).unwrap_or(u32::MAX));
        signs |= page.signatures > 0;
    }
    Price { requests: requests.max(1), turns: if signs { AT_ONCE } else { 1 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_by_what_must_be_signed_or_sent_whichever_is_more() {
        let of = |pages: &[(usize, usize)]| {
            let price =
                of_pages(pages.iter().map(|(signatures, bytes)| Work { signatures: *signatures, bytes: *bytes }));
            (price.requests, price.turns)
        };
        let month = 31 * 64;
        assert_eq!(of(&[(0, 200)]), (1, 1), "no attestations yet");
        assert_eq!(of(&[(month, 175_000)]), (4, 4), "attestations alone, none of them signed yet");
        assert_eq!(of(&[(0, 175_000)]), (1, 1), "the same again");
        assert_eq!(of(&[(month, 650_000)]), (4, 4), "announcements");
        assert_eq!(of(&[(0, 650_000)]), (3, 1));
        assert_eq!(of(&[(2 * month, 825_000)]), (8, 4), "both");
        assert_eq!(of(&[(month, 650_000); 12]), (48, 4), "a year");
        assert_eq!(of(&[]), (1, 1));
    }
}

//! How long an answer lasts: cache headers and entity tags.
//!
//! Announcements and attestations are the same for ever, so a browser, a proxy or a content network may keep them for
//! ever. A wrong answer that a cache keeps could delay a settlement, so everything else lasts a few seconds or nothing.

use super::super::press::Page;
use super::super::tag::digest;
use super::refusal::{internal, Refusal};
use axum::body::{Body, Bytes};
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

/// How long an answer lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// It never changes.
    Forever,
    /// It changes when somebody changes the oracle itself.
    Minute,
    /// It grows: two seconds.
    Briefly,
    /// It is about this very moment.
    Now,
}

impl Lasts {
    /// For ever once it is final, briefly before.
    pub fn once(is_final: bool) -> Lasts {
        if is_final {
            Lasts::Forever
        } else {
            Lasts::Briefly
        }
    }

    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Lasts::Forever => "public, max-age=31536000, immutable",
            Lasts::Minute => "public, max-age=60",
            Lasts::Briefly => "public, max-age=2",
            Lasts::Now => "no-store",
        })
    }
}

/// A JSON answer.
pub fn json<T: Serialize>(asked: &HeaderMap, lasts: Lasts, value: &T) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(value).map_err(|error| internal(&error.into()))?;
    Ok(paper(asked, lasts, "application/json", body))
}

/// An answer of any kind; 304 when the asker has it already.
pub fn paper(asked: &HeaderMap, lasts: Lasts, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let tag = format!("\"{}\"", digest(&[&body]));
    if has_already(asked, &tag) {
        return unchanged(lasts, &tag);
    }
    dressed(lasts, kind, &tag, Body::from(body))
}

/// A page of a bundle, whose tag is known.
pub fn sheet(asked: &HeaderMap, lasts: Lasts, page: Page) -> Response {
    let tag = format!("\"{}\"", page.tag);
    if has_already(asked, &tag) {
        return unchanged(lasts, &tag);
    }
    dressed(lasts, "application/json", &tag, Body::from(page.text))
}

/// An answer that is made while it is sent. `tag` must change whenever the answer would.
pub fn stream(lasts: Lasts, kind: &'static str, tag: &str, body: Body) -> Response {
    dressed(lasts, kind, tag, body)
}

/// A tag for something that is known by other things than its bytes. Weak: it promises the same meaning, not bytes.
pub fn weak_tag(parts: &[&[u8]]) -> String {
    format!("W/\"{}\"", digest(parts))
}

/// The answer to somebody who has it already.
pub fn unchanged(lasts: Lasts, tag: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, lasts, tag)
}

/// Does `If-None-Match` name this tag? Compared weakly, as RFC 9110 says for GET.
pub fn has_already(asked: &HeaderMap, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let right = bare(tag);
    let named = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|list| list.split(',')).any(|one| one.trim() == "*" || bare(one) == right)
}

fn dressed(lasts: Lasts, kind: &'static str, tag: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    tagged(response, lasts, tag)
}

fn tagged(mut response: Response, lasts: Lasts, tag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, lasts.header());
    if lasts != Lasts::Now {
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(header::ETAG, tag);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(tag: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap())])
    }

    #[test]
    fn who_has_it_already_is_sent_nothing() {
        let first = paper(&HeaderMap::new(), Lasts::Forever, "text/plain", b"words".to_vec());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for asked in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = paper(&asks(&asked), Lasts::Forever, "text/plain", b"words".to_vec());
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{asked}");
            assert_eq!(again.headers()[header::ETAG].to_str().unwrap(), tag);
        }
        for (asked, body) in [("\"other\"", "words"), (tag.as_str(), "other words"), ("", "words")] {
            let again = paper(&asks(asked), Lasts::Forever, "text/plain", body.as_bytes().to_vec());
            assert_eq!(again.status(), StatusCode::OK, "{asked} {body}");
        }
    }
}

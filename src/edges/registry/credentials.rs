//! The `Authorization` header.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Credentials;
use crate::base::secret::Secret;

/// What the request carries; `None` also for a header that cannot be read.
pub(super) struct Caller(pub Option<Credentials>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(Self(header.and_then(parse)))
    }
}

/// `Basic` (RFC 7617) or `Bearer` (RFC 6750).
fn parse(header: &str) -> Option<Credentials> {
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials { user: String::new(), secret: Secret::new(rest.to_owned()) });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some(Credentials { user: user.to_owned(), secret: Secret::new(secret.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_are_read_and_nothing_else() {
        let read = |header| parse(header).map(|c| (c.user, c.secret.reveal().clone()));
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(read("Basic YW5uOmE6Yg=="), pair("ann", "a:b"));
        assert_eq!(read("bearer  hyt_1"), pair("", "hyt_1"));
        for other in ["", "Basic", "Basic !", "Basic YW5u", "Digest YW5uOmE6Yg==", "hyt_1"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

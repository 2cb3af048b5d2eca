//! The `Authorization` header of programs that know users and passwords: docker, git.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::secret::Secret;

/// What a request carries: Basic user and password, or a Bearer token with an empty user.
#[derive(Debug, Clone)]
pub struct Credentials {
    #[cfg_attr(not(test), allow(dead_code, reason = "any user will do: the token says who it is"))]
    pub user: String,
    pub secret: Secret<String>,
}

/// `None` also for a header that cannot be read.
pub fn read(headers: &HeaderMap) -> Option<Credentials> {
    parse(headers.get(AUTHORIZATION)?.to_str().ok()?)
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

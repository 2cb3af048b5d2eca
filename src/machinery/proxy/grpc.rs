//! gRPC over HTTP/2: calls pass like any request; what the proxy itself answers is a status of theirs, which comes with
//! 200 and in the head where nothing else does (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::fmt::Write as _;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, Version};

use super::body::Answer;
use super::headers::X_REQUEST_ID;
use super::pages::Fault;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A call may be silent for so long where nothing else bounds it: who listens for news says nothing and hears nothing. Whether
/// its client is there is found out by pings.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// A call in HTTP/2. gRPC for browsers (`application/grpc-web`) has other rules.
pub(super) fn is_call(parts: &Parts) -> bool {
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc")).map(|_| &kind[16..]);
    parts.version == Version::HTTP_2 && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Codes of gRPC. `UNAVAILABLE` invites to try again, so it is only said of what no app has begun to work on, or broke.
fn code(fault: Fault) -> u8 {
    const INVALID_ARGUMENT: u8 = 3;
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match fault {
        Fault::Host(_) | Fault::Framing | Fault::BodyBroken => INVALID_ARGUMENT,
        Fault::NoAnswer | Fault::BodyStalled => DEADLINE_EXCEEDED,
        Fault::Forbidden => PERMISSION_DENIED,
        Fault::TooMany | Fault::BodyTooLarge => RESOURCE_EXHAUSTED,
        Fault::Method | Fault::UnknownHost | Fault::Misdirected => UNIMPLEMENTED,
        Fault::Unauthorized => UNAUTHENTICATED,
        Fault::Maintenance | Fault::Stopped | Fault::NoReplica | Fault::StillStarting | Fault::Busy | Fault::Broken => {
            UNAVAILABLE
        }
    }
}

/// Headers alone, with what trailers would have said.
pub(super) fn failure(fault: Fault, request_id: &HeaderValue) -> Response<Answer> {
    let mut response = Response::new(Answer::Page(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, u16::from(code(fault)).into());
    if let Ok(message) = HeaderValue::from_str(&encoded(&fault.text())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    headers.insert(X_REQUEST_ID, request_id.clone());
    response
}

/// Printable ASCII stays, all else and `%` become `%` and two digits.
fn encoded(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => all.push_str("%25"),
            b' '..=b'~' => all.push(char::from(byte)),
            _ => drop(write!(all, "%{byte:02X}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    #[test]
    fn calls_are_told_by_their_type_and_version() {
        let is = |kind: &str, version| {
            let request = Request::post("/").header(CONTENT_TYPE, kind).version(version).body(()).expect("a request");
            is_call(&request.into_parts().0)
        };
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC;x=y", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grp", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is(kind, Version::HTTP_2), call, "{kind}");
            assert!(!is(kind, Version::HTTP_11), "{kind}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(encoded("100 % sure\r\ngrpc-status: 0 \u{e9}"), "100 %25 sure%0D%0Agrpc-status: 0 %C3%A9");
    }
}

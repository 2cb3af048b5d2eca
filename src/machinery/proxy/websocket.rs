//! WebSocket over HTTP/2: the extended CONNECT of a client (RFC 8441) becomes the upgrade of HTTP/1.1 that replicas know (RFC 6455 §4).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::ext::Protocol;
use hyper::header::{
    CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What a replica must say to the key that was made up here.
pub(super) struct Handshake(HeaderValue);

/// Makes a request to open a WebSocket of an extended CONNECT that asks for one; leaves any other alone.
pub(super) fn opened(parts: &mut Parts) -> Option<Handshake> {
    let asked = parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if !asked || parts.method != Method::CONNECT || parts.version != Version::HTTP_2 {
        return None;
    }
    let key = STANDARD.encode(rand::random::<u128>().to_be_bytes());
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    parts.method = Method::GET;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).ok()?);
    parts.headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    Some(Handshake(HeaderValue::from_str(&accept).ok()?))
}

impl Handshake {
    /// The answer to the CONNECT. `Err`: the replica has not done what it says, or says what would be taken for it.
    pub(super) fn finish<T>(&self, response: &mut Response<T>) -> Result<(), Unfinished> {
        let accepted = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS if accepted.as_ref() == Some(&self.0) => {
                *response.status_mut() = StatusCode::OK;
                forget_length(response.headers_mut());
                Ok(())
            }
            status if status.is_success() || status.is_informational() => Err(Unfinished),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Unfinished;

fn forget_length(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(method: Method, protocol: Option<&'static str>, version: Version) -> Parts {
        let (mut parts, ()) = hyper::Request::new(()).into_parts();
        (parts.method, parts.version) = (method, version);
        if let Some(protocol) = protocol {
            parts.extensions.insert(Protocol::from_static(protocol));
        }
        parts
    }

    #[test]
    fn only_an_extended_connect_for_websocket_is_one() {
        let mut well = asking(Method::CONNECT, Some("websocket"), Version::HTTP_2);
        assert!(opened(&mut well).is_some());
        assert_eq!((well.method, well.headers.len()), (Method::GET, 2));
        for (method, protocol, version) in [
            (Method::CONNECT, None, Version::HTTP_2),
            (Method::CONNECT, Some("connect-udp"), Version::HTTP_2),
            (Method::CONNECT, Some("WebSocket"), Version::HTTP_2),
            (Method::CONNECT, Some("websocket"), Version::HTTP_11),
            (Method::GET, Some("websocket"), Version::HTTP_2),
        ] {
            let mut parts = asking(method.clone(), protocol, version);
            assert!(opened(&mut parts).is_none(), "{method} {protocol:?}");
            assert_eq!((parts.method, parts.headers.len()), (method, 0));
        }
    }

    #[test]
    fn a_replica_must_have_seen_the_key() {
        let mut parts = asking(Method::CONNECT, Some("websocket"), Version::HTTP_2);
        let handshake = opened(&mut parts).expect("asks");
        let answer = |status, accept: Option<&HeaderValue>| {
            let mut response = Response::new(());
            *response.status_mut() = status;
            accept.map(|accept| response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept.clone()));
            handshake.finish(&mut response).map(|()| response)
        };
        let switching = StatusCode::SWITCHING_PROTOCOLS;
        let well = answer(switching, Some(&handshake.0)).expect("accepted");
        assert!(well.status() == StatusCode::OK && well.headers().is_empty());
        let other = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (status, accept) in [(switching, None), (switching, Some(&other)), (StatusCode::OK, Some(&handshake.0))] {
            assert!(answer(status, accept).is_err(), "{status}");
        }
        assert_eq!(answer(StatusCode::FORBIDDEN, None).expect("an answer").status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn the_example_of_the_rfc() {
        let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("dGhlIHNhbXBsZSBub25jZQ=={GUID}").as_bytes());
        assert_eq!(STANDARD.encode(accept), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

//! Requests to an authority: bounded in time and size, over TLS only. What its answers say beside their documents, a status
//! and when to come again, is heard here.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Request};

use super::super::issuer::IssueError;
use super::{Place, host_of};

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(30);
/// A chain has a few kilobytes.
const MOST_BYTES: usize = 256 << 10;
/// An authority that asks for more is asked again earlier all the same.
const LONGEST_PAUSE: u64 = 86_400;

/// Of the last answer.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<(Option<u16>, Option<Duration>)>>);

impl Heard {
    pub(super) fn after(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Where that was no success.
    pub(super) fn status(&self) -> Option<u16> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.filter(|status| *status >= 400)
    }

    fn set(&self, status: Option<u16>, after: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (status, after);
    }
}

pub(super) struct Transport {
    client: Client,
    heard: Heard,
}

impl Transport {
    pub(super) fn open(place: &Place) -> Result<(Self, Heard), IssueError> {
        let fault = |error: reqwest::Error| IssueError::Unreachable {
            host: host_of(&place.directory),
            cause: super::chain(&error),
        };
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &place.roots {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(fault)?);
        }
        let heard = Heard::default();
        Ok((Self { client: builder.build().map_err(fault)?, heard: heard.clone() }, heard))
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (client, heard) = (self.client.clone(), self.heard.clone());
        Box::pin(async move {
            heard.set(None, None);
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_or_else(|never| match never {}, |whole| whole.to_bytes());
            let request = Request::try_from(http::Request::from_parts(parts, body));
            let request = request.map_err(|error| Error::Other(error.without_url().into()))?;
            let mut answer = client.execute(request).await.map_err(|error| Error::Other(error.without_url().into()))?;
            let after = answer.headers().get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?));
            heard.set(Some(answer.status().as_u16()), after);
            let mut whole = BytesMut::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| Error::Other(error.without_url().into()))? {
                if whole.len() + piece.len() > MOST_BYTES {
                    return Err(Error::Other(format!("an answer has more than {MOST_BYTES} bytes").into()));
                }
                whole.extend_from_slice(&piece);
            }
            let mut response = http::Response::new(http_body_util::Full::new(whole.freeze()));
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok(BytesResponse::from(response))
        })
    }
}

/// Seconds (RFC 9110 §10.2.3). A date, which nobody's clock agrees on, counts as a minute.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(Duration::from_secs(u64::from_str(text).map_or(60, |seconds| seconds.min(LONGEST_PAUSE))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_bounded_and_a_date_is_a_minute() {
        assert_eq!(pause(" 5 "), Some(Duration::from_secs(5)));
        assert_eq!(pause("99999999999"), Some(Duration::from_secs(LONGEST_PAUSE)));
        assert_eq!(pause("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(pause(""), None);
    }
}

//! The API of a server elsewhere, over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};

use super::{Answer, Bytestream, ClientError, Duplex, Result};
use crate::base::secret::Secret;

const CONNECT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Http {
    base: Url,
    token: Option<Secret<String>>,
    client: reqwest::Client,
}

impl Http {
    pub(super) fn new(base: &str, token: Option<Secret<String>>) -> Result<Self> {
        let wrong = || ClientError::Address(base.to_owned());
        let url: Url = base.parse().map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() {
            return Err(wrong());
        }
        let mut client =
            reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none());
        if is_here(&host) {
            client = client.no_proxy();
        }
        // RFC 6761 §6.3: names below `localhost` are this machine, whatever the resolver thinks.
        if host.ends_with(".localhost") {
            let here = SocketAddr::from((Ipv4Addr::LOCALHOST, url.port_or_known_default().unwrap_or(80)));
            client = client.resolve(&host, here);
        }
        let client = client.build().map_err(|e| ClientError::Unreachable { base: base.into(), source: e.into() })?;
        Ok(Self { base: url, token, client })
    }

    pub(super) async fn send(&self, method: &'static str, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let request = self.request(method, path, body)?;
        Ok(told(self.sent(request).await?))
    }

    pub(super) async fn upload(&self, path: &str, bytes: Bytestream) -> Result<Answer> {
        let request = self.request("POST", path, None)?;
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        Ok(told(self.sent(request.body(reqwest::Body::wrap_stream(bytes))).await?))
    }

    /// The connection, or the answer of a server that did not switch it over.
    pub(super) async fn upgrade(
        &self,
        path: &str,
        protocol: &str,
    ) -> Result<std::result::Result<Box<dyn Duplex>, Answer>> {
        let request = self.request("POST", path, None)?;
        let answer = self.sent(request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, protocol)).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(told(answer)));
        }
        let upgraded = answer.upgrade().await.map_err(|e| ClientError::Broken(std::io::Error::other(e)))?;
        Ok(Ok(Box::new(upgraded)))
    }

    fn request(&self, method: &'static str, path: &str, body: Option<Vec<u8>>) -> Result<RequestBuilder> {
        let address = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let method: Method = method.parse().map_err(|_| ClientError::Strange(format!("method {method}")))?;
        let mut request = self.client.request(method, address);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        Ok(request)
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        let unreachable = |e: reqwest::Error| ClientError::Unreachable {
            base: self.base.to_string(),
            source: e.without_url().into(),
        };
        request.send().await.map_err(unreachable)
    }
}

fn told(answer: Response) -> Answer {
    let status = answer.status().as_u16();
    let body = answer.bytes_stream().map(|part| part.map_err(std::io::Error::other)).boxed();
    Answer { status, body }
}

fn is_here(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|ip| ip.is_loopback())
}

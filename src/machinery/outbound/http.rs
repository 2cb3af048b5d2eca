//! Batches of lines as newline-separated JSON (`application/x-ndjson`) in the body of a POST.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;

use super::{CONNECT, Guard, OutboundError, Parcel, Result, SEND};
use crate::base::model::OutboundUrl;
use crate::base::secret::Secret;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

pub struct Sender {
    client: Client,
    host: String,
    url: Url,
    credentials: Option<(String, Secret<String>)>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    app: &'a str,
    environment: &'a str,
    source: &'a str,
    process: &'a str,
    message: &'a str,
}

impl Sender {
    pub(super) async fn open(url: &OutboundUrl, guard: Guard) -> Result<Self> {
        let host = url.host.clone();
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: host.clone(), source };
        let address = guard.resolve(&host, url.port).await?;
        let place = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let text = format!("{}://{place}:{}{}", url.scheme.as_str(), url.port, url.path.reveal());
        let parsed: Url = text.parse().map_err(|_| failed("the address is not understood".into()))?;
        // No name is looked up again: what was checked is what is connected to. A host that is an address as written
        // needs no look-up, and one that HTTP writes differently (0177.0.0.1) was checked as something else.
        if parsed.host_str().map(|h| h.trim_matches(['[', ']'])) != Some(host.as_str()) {
            return Err(OutboundError::Refused { host, address: address.ip() });
        }
        let client = Client::builder()
            .resolve(&host, address)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(SEND)
            .build()
            .map_err(|e| failed(e.into()))?;
        let credentials = url.credentials.as_ref().map(|both| {
            let (user, password) = both.reveal().split_once(':').unwrap_or((both.reveal(), ""));
            (user.to_owned(), Secret::new(password.to_owned()))
        });
        Ok(Self { client, host, url: parsed, credentials })
    }

    pub(super) async fn send(&self, parcels: &[Parcel]) -> Result<()> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: self.host.clone(), source };
        let mut body = Vec::new();
        for parcel in parcels {
            let line = Line {
                time: parcel.at.to_string(),
                app: &parcel.app,
                environment: &parcel.environment,
                source: parcel.source,
                process: &parcel.name,
                message: &parcel.text,
            };
            serde_json::to_writer(&mut body, &line).map_err(|e| failed(e.into()))?;
            body.push(b'\n');
        }
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, NDJSON)]);
        self.post(headers, body).await
    }

    /// Whatever the receiver says beyond its status is not read.
    pub(super) async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<()> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: self.host.clone(), source };
        let mut request = self.client.post(self.url.clone()).headers(headers).body(body);
        if let Some((user, password)) = &self.credentials {
            request = request.basic_auth(user, Some(password.reveal()));
        }
        // The address may hold a token.
        let answer = request.send().await.map_err(|e| failed(e.without_url().into()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(OutboundError::Answer { host: self.host.clone(), status: status.as_u16() })
    }
}

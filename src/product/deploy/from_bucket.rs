//! An archive in a bucket becomes a quarantine. Where the connection is lost in the middle, the rest is asked for: an archive
//! may be large.

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::fetched;
use super::fetching::{Fault, FetchOrder, Progress, Taken, not_taken};
use super::sources::{Upload, import};
use crate::base::error::Error;
use crate::base::model::VariableName;
use crate::machinery::outbound::{Fetcher, Keys, Object, OutboundError};
use crate::product::Ctx;

/// Bytes of an answer that is no pack and no archive.
const DOCUMENT: usize = 1 << 20;
/// Times that the rest is asked for.
const MOST_RESTS: usize = 5;
/// What people of the field call them.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION: &str = "AWS_SESSION_TOKEN";

pub(super) async fn fetch(ctx: &Ctx, order: &FetchOrder, object: &Object, progress: &Progress) -> Result<Taken, Fault> {
    let keys = keys(ctx, order).await?;
    let mut upload = ctx.sources.upload(ctx.config.git.max_pack_bytes).await?;
    let url = object.address().map_err(|error| Fault::Final(error.to_string()))?;
    let mut from = Place { ctx, fetcher: fetched::fetcher(ctx)?, object, keys, url, version: None };
    let mut rests = 0;
    loop {
        let before = upload.written();
        match from.read_into(&mut upload, progress).await {
            Ok(()) => break,
            // Who sends nothing at all will not send the rest either.
            Err(Fault::Lost(_)) if from.version.is_some() && rests < MOST_RESTS && upload.written() > before => {
                rests += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    import(ctx, &order.app, upload, "Fetched archive").await?.map_err(not_taken)
}

struct Place<'a> {
    ctx: &'a Ctx,
    fetcher: Fetcher,
    object: &'a Object,
    keys: Option<Keys>,
    url: Url,
    /// Of what has come so far: the rest must be of the same.
    version: Option<HeaderValue>,
}

impl Place<'_> {
    async fn read_into(&mut self, upload: &mut Upload, progress: &Progress) -> Result<(), Fault> {
        self.fetcher.check(&self.url).map_err(|error| Fault::Final(error.to_string()))?;
        let at = upload.written();
        let mut headers = match &self.keys {
            Some(keys) => {
                let signed = self.object.signed(&self.url, keys, self.ctx.now());
                signed.map_err(|error| Fault::Final(error.to_string()))?
            }
            None => HeaderMap::new(),
        };
        if let Some(version) = self.version.as_ref().filter(|_| at > 0) {
            let range = HeaderValue::try_from(format!("bytes={at}-")).map_err(Error::internal)?;
            headers.extend([(RANGE, range), (IF_MATCH, version.clone())]);
        }
        let client = if self.keys.is_some() { self.fetcher.straight() } else { self.fetcher.client() };
        let answer = client.get(self.url.clone()).headers(headers).send().await.map_err(lost)?;
        let mut answer = well(answer)?;
        if at == 0 {
            self.version = answer.headers().get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        } else if !goes_on(&answer, at) {
            return Err(Fault::Lost("the connection was lost, and the store does not send the rest alone".into()));
        }
        while let Some(part) = answer.chunk().await.map_err(lost)? {
            progress.add(part.len());
            upload.write(&part).await?;
        }
        Ok(())
    }
}

fn goes_on(answer: &Response, at: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    answer.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

/// Those that the request names, else those of the usual names where the app has them; without any the object must be public.
async fn keys(ctx: &Ctx, order: &FetchOrder) -> Result<Option<Keys>, Fault> {
    let all = fetched::variables(ctx, &order.app, &order.environment).await?;
    let usual = |name: &str| name.parse::<VariableName>().ok().filter(|name| all.contains_key(name));
    let id = order.login.user.clone().or_else(|| usual(KEY_ID));
    let secret = order.login.password.clone().or_else(|| usual(SECRET_KEY));
    let (Some(id), Some(secret)) = (id, secret) else { return Ok(None) };
    let value = |name: &VariableName| all.get(name).cloned().ok_or_else(|| fetched::no_variable(name));
    let session = usual(SESSION).and_then(|name| all.get(&name).cloned());
    Ok(Some(Keys { id: value(&id)?.reveal().clone(), secret: value(&secret)?, session }))
}

pub(super) fn well(answer: Response) -> Result<Response, Fault> {
    let status = answer.status();
    let cause = match status {
        _ if status.is_success() => return Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the server refuses: name the variables that hold its credentials, or correct their values".into()
        }
        StatusCode::NOT_FOUND => "the server does not have it, or shows it to nobody without credentials".into(),
        StatusCode::PRECONDITION_FAILED => "it changed while it was fetched".into(),
        _ if status.is_redirection() => {
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()?.parse::<Url>().ok());
            let to = to.as_ref().and_then(Url::host_str).map(|host| format!(" to {host}")).unwrap_or_default();
            format!("the server redirects{to}, where credentials do not follow: name its region or endpoint")
        }
        _ => "the server does not answer as it should".into(),
    };
    let text = format!("{cause} ({status})");
    let passing =
        status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_FAILED);
    Err(if passing { Fault::Lost(text) } else { Fault::Final(text) })
}

pub(super) async fn document(mut answer: Response) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(lost)? {
        bytes.extend_from_slice(&part);
        if bytes.len() > DOCUMENT {
            return Err(Fault::Final(format!("the server answers with more than {DOCUMENT} bytes")));
        }
    }
    Ok(bytes)
}

/// With its causes and without the address, which a redirect may have given a signature.
pub(super) fn lost(error: reqwest::Error) -> Fault {
    let final_word = error.is_redirect() || error.is_builder();
    let error = error.without_url();
    let mut text = error.to_string();
    let mut judged = false;
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        judged |= cause.downcast_ref::<OutboundError>().is_some_and(|fault| !fault.is_temporary());
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    if final_word || judged { Fault::Final(text) } else { Fault::Lost(text) }
}

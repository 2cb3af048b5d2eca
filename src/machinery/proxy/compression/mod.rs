//! Answers compressed on their way (RFC 9110 §8.4, §12.5.3), where an app's rules ask for it. What the app has encoded itself, said
//! is not to be transformed, or gave in part goes on as it is.
//!
//! - Only as many at once as memory bears; further answers go uncompressed, which is always right.
//! - An encoder takes a turn of bounded length on the thread that serves the client, then lets others have theirs.

mod accept;
mod coder;

use std::sync::{Arc, LazyLock};

use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RANGE, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use coder::Coder;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

/// Shorter answers would hardly be shorter.
const LEAST: u64 = 256;
/// Answers that are compressed at once: a megabyte each by Brotli, a third of that by the others.
const MOST: usize = 128;
const MOST_OF_ONE: usize = 32;

static PRESSES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MOST)));

/// The right to compress one answer.
pub(super) struct Press {
    _permits: [OwnedSemaphorePermit; 2],
}

/// An app's share of what is compressed at once.
#[derive(Debug)]
pub(super) struct Presses(Arc<Semaphore>);

impl Default for Presses {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_OF_ONE)))
    }
}

impl Presses {
    fn take(&self) -> Option<Press> {
        let of = |presses: &Arc<Semaphore>| Arc::clone(presses).try_acquire_owned().ok();
        Some(Press { _permits: [of(&self.0)?, of(&PRESSES)?] })
    }
}

/// What a request says of the form of its answer.
pub(super) struct Form {
    coding: Option<Coding>,
    is_head: bool,
    known: Option<HeaderValue>,
}

impl Form {
    pub(super) fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        // A part of what is encoded would be a part of something else.
        let as_it_is = headers.contains_key(RANGE) || has_directive(headers, b"no-transform");
        Self {
            coding: accept::chosen(headers.get_all(ACCEPT_ENCODING)).filter(|_| !as_it_is),
            is_head: parts.method == Method::HEAD,
            known: headers.get(IF_NONE_MATCH).cloned(),
        }
    }

    /// Makes the head of an answer that of the compressed one, where there is one; none for an answer without a body.
    pub(super) fn begin(
        self,
        status: StatusCode,
        headers: &mut HeaderMap,
        is_empty: bool,
        presses: &Presses,
    ) -> Option<Coder> {
        if status == StatusCode::NOT_MODIFIED {
            vary(headers);
            if self.knows_weak(headers) {
                weaken(headers);
            }
            return None;
        }
        if !may_be_encoded(status, headers) {
            return None;
        }
        vary(headers);
        let coding = self.coding?;
        let length = headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length.is_none_or(|length| length < LEAST)) || (is_empty && !self.is_head) {
            return None;
        }
        let coder = if self.is_head { None } else { Some(Coder::new(coding, presses.take()?)?) };
        headers.remove(CONTENT_LENGTH);
        headers.remove(ACCEPT_RANGES);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        weaken(headers);
        coder
    }

    /// Whether the client has the answer by the name that it was given when it was compressed.
    fn knows_weak(&self, headers: &HeaderMap) -> bool {
        let (Some(known), Some(tag)) = (&self.known, headers.get(ETAG)) else { return false };
        memchr::memmem::find(known.as_bytes(), &[b"W/", tag.as_bytes()].concat()).is_some()
    }
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

fn may_be_encoded(status: StatusCode, headers: &HeaderMap) -> bool {
    const DIGESTS: [HeaderName; 4] = [
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("repr-digest"),
    ];
    let without_body = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT);
    !without_body
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
        && !has_directive(headers, b"no-transform")
        && headers.get(CONTENT_TYPE).is_some_and(|kind| is_compressible(kind.as_bytes()))
}

fn has_directive(headers: &HeaderMap, wanted: &[u8]) -> bool {
    let fields = headers.get_all(CACHE_CONTROL).iter();
    fields.flat_map(|field| field.as_bytes().split(|b| *b == b',')).any(|d| d.trim_ascii().eq_ignore_ascii_case(wanted))
}

/// Text in the wide sense. Pictures, films and archives are compressed already; gRPC compresses its messages itself.
fn is_compressible(kind: &[u8]) -> bool {
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    if kind.starts_with(b"text/") || [&b"+json"[..], b"+xml", b"+text", b"+yaml"].iter().any(|end| kind.ends_with(end))
    {
        return true;
    }
    matches!(
        &kind[..],
        b"application/json"
            | b"application/javascript"
            | b"application/x-javascript"
            | b"application/ecmascript"
            | b"application/xml"
            | b"application/xml-dtd"
            | b"application/yaml"
            | b"application/toml"
            | b"application/sql"
            | b"application/graphql"
            | b"application/rtf"
            | b"application/wasm"
            | b"application/ndjson"
            | b"application/x-ndjson"
            | b"application/jsonl"
            | b"application/x-sh"
            | b"application/vnd.ms-fontobject"
            | b"font/ttf"
            | b"font/otf"
            | b"image/bmp"
            | b"image/x-icon"
            | b"image/vnd.microsoft.icon"
    )
}

/// Caches keep the forms of an answer apart (RFC 9110 §12.5.5).
fn vary(headers: &mut HeaderMap) {
    let named = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    let fields = headers.get_all(VARY).iter();
    if !fields.flat_map(|field| field.as_bytes().split(|b| *b == b',')).any(|name| named(name.trim_ascii())) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// A strong tag is that of the very bytes (RFC 9110 §8.8.1), and these are others.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) if tag.as_bytes().starts_with(b"\"") => drop(headers.insert(ETAG, weak)),
        // Not a tag at all, so no name of the other form either.
        _ => drop(headers.remove(ETAG)),
    }
}

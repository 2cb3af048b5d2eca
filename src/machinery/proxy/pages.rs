//! What the proxy itself answers: a small page, or problem details (RFC 9457) for clients that
//! prefer JSON. Addresses of upstreams never appear in either.

use bytes::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::body::Answer;
use super::headers::X_REQUEST_ID;
use super::host::HostFault;
use crate::base::model::PageKind;

/// Why a request gets no answer from an app.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Fault {
    Host(HostFault),
    Framing,
    Method,
    BodyStalled,
    BodyBroken,
    BodyTooLarge,
    Forbidden,
    TooMany,
    Unauthorized,
    Maintenance,
    UnknownHost,
    /// The connection was made for another name.
    Misdirected,
    Stopped,
    NoReplica,
    /// All replicas had as many requests as they may, for too long.
    Busy,
    StillStarting,
    /// No upstream took the request, or the one that did broke off before an answer.
    Broken,
    NoAnswer,
}

struct Words {
    status: StatusCode,
    /// Last part of the problem's `type`; stable.
    slug: &'static str,
    title: &'static str,
    what: &'static str,
    remedy: &'static str,
}

impl Fault {
    /// Which page of the app's own stands for it, if any may.
    pub(super) fn kind(self) -> Option<PageKind> {
        match self {
            Self::Broken => Some(PageKind::Broken),
            Self::Stopped | Self::NoReplica | Self::Busy | Self::StillStarting => Some(PageKind::Unavailable),
            Self::NoAnswer => Some(PageKind::Late),
            Self::Maintenance => Some(PageKind::Maintenance),
            _ => None,
        }
    }

    /// In one line.
    pub(super) fn text(self) -> String {
        let words = self.words();
        format!("{} {}", words.what, words.remedy)
    }

    pub(super) fn status(self) -> StatusCode {
        self.words().status
    }

    fn words(self) -> Words {
        let words = |status, slug, title, what, remedy| Words { status, slug, title, what, remedy };
        match self {
            Self::Host(fault) => words(
                StatusCode::BAD_REQUEST,
                "invalid-host",
                "Bad request",
                fault.text(),
                "Send one Host header that holds a host name and, if needed, a port.",
            ),
            Self::Framing => words(
                StatusCode::BAD_REQUEST,
                "invalid-framing",
                "Bad request",
                "The length of the request body is not clear.",
                "Send either Content-Length or \"Transfer-Encoding: chunked\", once.",
            ),
            Self::Method => words(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                "CONNECT and TRACE are not served here.",
                "Use another method.",
            ),
            Self::BodyStalled => words(
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "Request timeout",
                "The rest of the request body did not arrive in time.",
                "Send the request again.",
            ),
            Self::BodyBroken => words(
                StatusCode::BAD_REQUEST,
                "broken-body",
                "Bad request",
                "The request body broke off or is malformed.",
                "Send the request again.",
            ),
            Self::BodyTooLarge => words(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Request too large",
                "The request body is longer than this app takes.",
                "Send less at a time. If the app is yours: hythe traffic shows the bound.",
            ),
            Self::Forbidden => words(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Not from here",
                "This app does not take requests from your network.",
                "If the app is yours: hythe traffic shows which networks may ask.",
            ),
            Self::TooMany => words(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
                "Your address has sent more requests than this app takes from one.",
                "Wait a moment, and send fewer at a time.",
            ),
            Self::Unauthorized => words(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Password needed",
                "This app is only for those who have a name and a password for it.",
                "Ask its owner for them.",
            ),
            Self::Maintenance => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "maintenance",
                "Under maintenance",
                "This app is being worked on by its owner.",
                "Try again later.",
            ),
            Self::UnknownHost => words(
                StatusCode::NOT_FOUND,
                "unknown-host",
                "No app here",
                "No app answers on this host name.",
                "Check the spelling of the address. If the app is yours, look at its domains and whether it was ever deployed.",
            ),
            Self::Misdirected => words(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "Wrong connection",
                "This connection was made for another host name, with another certificate.",
                "Send the request on a connection of its own.",
            ),
            Self::Stopped => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "app-stopped",
                "App is stopped",
                "This app exists and has been stopped by its owner.",
                "If the app is yours, scale its web process to at least 1.",
            ),
            Self::NoReplica => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-replica",
                "App is not available",
                "No replica of this app is running at the moment.",
                "Try again in a moment. If the app is yours, its status and logs tell why.",
            ),
            Self::Busy => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "app-busy",
                "App is busy",
                "This app has as many requests as it can work on, and no place or no more time for this one to wait.",
                "Try again in a moment. If the app is yours: hythe ps:scale gives it more replicas, hythe traffic shows its bounds.",
            ),
            Self::StillStarting => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "app-starting",
                "App is starting",
                "This app is starting and was not ready in time.",
                "Try again in a moment. If the app is yours, its logs tell what it waits for.",
            ),
            Self::Broken => words(
                StatusCode::BAD_GATEWAY,
                "broken-answer",
                "App did not answer",
                "The app refused the connection or broke it off before it answered.",
                "Try again in a moment. If the app is yours, its logs tell why.",
            ),
            Self::NoAnswer => words(
                StatusCode::GATEWAY_TIMEOUT,
                "answer-timeout",
                "App took too long",
                "The app did not begin its answer in time.",
                "Try again in a moment. If the app is yours, move long work out of the request.",
            ),
        }
    }
}

const PLAIN: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
/// A page of an app's own may have pictures and fonts in itself; it runs nothing and loads nothing.
const OWN: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; form-action 'none'; base-uri 'none'",
);

/// `host` has been checked to hold nothing but characters of a host name, `request_id` to be harmless. `own` is the app's page.
pub(super) fn page(
    fault: Fault,
    json: bool,
    host: Option<&str>,
    request_id: &HeaderValue,
    own: Option<Bytes>,
) -> Response<Answer> {
    const HTML: &str = "text/html; charset=utf-8";
    let words = fault.words();
    let id = request_id.to_str().unwrap_or_default();
    let (kind, policy, text) = match own {
        _ if json => ("application/problem+json", PLAIN, problem(&words, host, id).into()),
        Some(own) => (HTML, OWN, own),
        None => (HTML, PLAIN, html(&words, host, id).into()),
    };
    let mut response = Response::new(Answer::Page(Some(text)));
    *response.status_mut() = words.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_REQUEST_ID, request_id.clone());
    match fault {
        Fault::NoReplica | Fault::Busy | Fault::StillStarting => {
            drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5")))
        }
        Fault::Method => {
            drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")))
        }
        Fault::TooMany => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        Fault::Maintenance => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("60"))),
        Fault::Unauthorized => {
            drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"app\", charset=\"UTF-8\"")))
        }
        Fault::Host(_) | Fault::Framing | Fault::BodyStalled | Fault::BodyBroken | Fault::BodyTooLarge => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

fn problem(words: &Words, host: Option<&str>, id: &str) -> String {
    serde_json::json!({
        "type": format!("urn:hythe:problem:{}", words.slug),
        "title": words.title,
        "status": words.status.as_u16(),
        "detail": format!("{} {}", words.what, words.remedy),
        "host": host,
        "request_id": id,
    })
    .to_string()
}

fn html(words: &Words, host: Option<&str>, id: &str) -> String {
    let Words { status, title, what, remedy, .. } = words;
    let host = host.map(|host| format!("<p class=host>{host}</p>")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>{code} {title}</title>\n<style>\n:root{{color-scheme:light dark}}\n\
         body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 2rem;padding:0 1.25rem}}\n\
         h1{{font-size:1.5rem;line-height:1.2;margin:0 0 .25rem}}\n\
         .host,small{{opacity:.65;overflow-wrap:anywhere}}\n.host{{margin:0 0 1.25rem}}\n\
         small{{display:block;margin-top:2rem}}\n</style>\n\
         <h1>{title}</h1>\n{host}\n<p>{what}</p>\n<p>{remedy}</p>\n\
         <small>{code} · request {id}</small>\n</html>\n",
        code = status.as_u16(),
    )
}

/// Whether `Accept` puts JSON before HTML (RFC 9110 §12.5.1); in a tie HTML wins unless only JSON is named.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    let (mut json, mut html) = (None::<f32>, None::<f32>);
    let raise = |best: &mut Option<f32>, quality: f32| *best = Some(best.map_or(quality, |b| b.max(quality)));
    for field in headers.get_all(ACCEPT) {
        for range in field.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            match kind.as_str() {
                "application/json" | "application/problem+json" => raise(&mut json, quality),
                "text/html" | "application/xhtml+xml" | "text/*" => raise(&mut html, quality),
                _ => {}
            }
        }
    }
    json.is_some_and(|json| json > 0.0 && html.is_none_or(|html| json > html))
}

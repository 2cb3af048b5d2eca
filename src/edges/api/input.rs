//! Bodies, queries and names, with refusals that say which field and why.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::ApiState;
use super::problem::Problem;
use super::types::Page;
use crate::base::error::Error;

const LARGEST_BODY: usize = 1 << 20;

/// A JSON body. Only as `application/json`, which a form of a foreign page cannot send.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let text = "send the body as application/json".to_owned();
            return Err(Problem::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", text));
        }
        let bytes = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await.map_err(|_| {
            let text = format!("the body is cut off, or larger than {LARGEST_BODY} bytes");
            Problem::Http(StatusCode::PAYLOAD_TOO_LARGE, "too-large", text)
        })?;
        parse(&bytes).map(Self)
    }
}

/// A body of any bytes. Only as one of these types, none of which a form of a foreign page can send.
pub(super) struct Archive(pub(super) axum::body::Body);

const ARCHIVES: [&str; 4] = ["application/octet-stream", "application/x-tar", "application/gzip", "application/zip"];

impl FromRequest<ApiState> for Archive {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !ARCHIVES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            let text = format!("send the archive as one of {}", ARCHIVES.join(", "));
            return Err(Problem::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", text));
        }
        Ok(Self(request.into_body()))
    }
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                Problem::from(Error::invalid(if path == "." { "" } else { &path }, plain(&inner)))
            }
            _ => Problem::Http(StatusCode::BAD_REQUEST, "not-json", format!("the body is not JSON: {inner}")),
        }
    })?;
    json.end().map_err(|e| Problem::Http(StatusCode::BAD_REQUEST, "not-json", format!("the body is not JSON: {e}")))?;
    Ok(parsed)
}

/// Without the place in the text: the field says it.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(e) => Err(Error::invalid("", format!("the query is wrong: {}", e.body_text())).into()),
        }
    }
}

/// Parameters in the path. One that is no text (`%ff`) names nothing.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(super::problem::no_such_path().await),
        }
    }
}

/// A name in a body or a query.
pub(super) fn name<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|e| Error::invalid(field, format!("{e}")).into())
}

#[derive(Debug, serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// 1 to 200; 50 when it is left out.
    #[serde(default)]
    limit: Option<i64>,
    /// `next` of the page before.
    #[serde(default)]
    pub(super) after: Option<String>,
}

impl Paging {
    /// Where the query has parameters of its own beside.
    pub(super) fn of(limit: Option<i64>) -> Self {
        Self { limit, after: None }
    }

    pub(super) fn limit(&self) -> Result<i64, Problem> {
        match self.limit.unwrap_or(50) {
            limit @ 1..=200 => Ok(limit),
            _ => Err(Error::invalid("limit", "must be 1 to 200").into()),
        }
    }
}

/// The page, with the way to the next one as a `Link` (RFC 8288) as well.
pub(super) fn page<T: Serialize>(items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Response {
    let full = i64::try_from(items.len()).is_ok_and(|length| length >= limit);
    let next = items.last().filter(|_| full).map(cursor);
    let link = next
        .as_ref()
        .and_then(|next| HeaderValue::from_str(&format!("<?after={next}&limit={limit}>; rel=\"next\"")).ok());
    let mut response = axum::Json(Page { items, next }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

//! Lines as they come: plain text, or server-sent events for who asks for them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::ApiState;

const SILENCE: Duration = Duration::from_secs(15);

pub(super) enum Format {
    Plain,
    Events,
}

impl FromRequestParts<ApiState> for Format {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Infallible> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(if accept.contains("text/event-stream") { Self::Events } else { Self::Plain })
    }
}

pub(super) fn answer(format: &Format, lines: BoxStream<'static, String>) -> Response {
    match format {
        // A carriage return would end the event's line; `Event::data` refuses it.
        Format::Events => {
            Sse::new(lines.map(|l| Ok::<_, Infallible>(Event::default().data(l.replace(['\r', '\n'], " ")))))
                .keep_alive(KeepAlive::new().interval(SILENCE))
                .into_response()
        }
        Format::Plain => {
            let text = lines.map(|mut line| {
                line.push('\n');
                Ok::<_, Infallible>(line)
            });
            let mut response = Body::from_stream(text).into_response();
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    }
}

//! The logs of an environment.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Path, Query};
use super::lines::{self, Format};
use super::problem::Answer;
use super::types::ProblemView;
use crate::product::insight::{self, LogQuery};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Lines to start with: 0 to 10000; 100 when it is left out.
    #[serde(default)]
    tail: Option<usize>,
    /// True: go on with the lines to come.
    #[serde(default)]
    follow: bool,
    /// Only this process type (`web`) or replica (`web.1`).
    #[serde(default)]
    process: Option<String>,
    /// Only `app`, `build`, `deploy`, `proxy` or `system`.
    #[serde(default)]
    source: Option<String>,
    /// From this time on (RFC 3339), or how long ago: `90s`, `15m`, `2h`, `3d`.
    #[serde(default)]
    since: Option<String>,
    /// Before this time.
    #[serde(default)]
    until: Option<String>,
    /// Only lines that contain this text, whatever its case.
    #[serde(default)]
    grep: Option<String>,
}

/// What is kept of all that was written here, by replicas that are gone as well, and what comes: lines as
/// `TIME NAME: TEXT`, as text, or as server-sent events for `Accept: text/event-stream`.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/logs", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path), LogsQuery),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
    format: Format,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let query = LogQuery {
        tail: query.tail.unwrap_or(100),
        follow: query.follow,
        process: query.process,
        source: query.source,
        since: query.since,
        until: query.until,
        word: query.grep,
    };
    let lines = insight::logs(&state.ctx, &actor, &app, &environment, &query).await?;
    Ok(lines::answer(&format, lines))
}

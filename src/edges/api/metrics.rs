//! Measurements: of an environment, of the machine, and all of it for Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Path, Query};
use super::problem::Answer;
use super::types::{MetricsView, ProblemView};
use crate::product::insight::{self, MetricsQuery};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// From this time on (RFC 3339), or how long ago: `90s`, `15m`, `2h`, `3d`; an hour when it is left out.
    #[serde(default)]
    since: Option<String>,
    /// Seconds of one point, a multiple of 60; the finest that is kept so far back when it is left out.
    #[serde(default)]
    step: Option<i64>,
}

/// Processor and memory of each replica, requests and their latency. Minutes are kept for a day, ten minutes for 30 days.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/metrics", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path), SeriesQuery),
    responses((status = 200, body = MetricsView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(query): Query<SeriesQuery>,
) -> Answer<Json<MetricsView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let query = MetricsQuery { since: query.since, step: query.step };
    let (step, points) = insight::metrics(&state.ctx, &actor, &app, &environment, &query).await?;
    Ok(Json(MetricsView::new(step, &points)))
}

/// The machine that the platform runs on; for its administrators.
#[utoipa::path(get, path = "/v1/host/metrics", tag = "platform", params(SeriesQuery),
    responses((status = 200, body = MetricsView), (status = "default", body = ProblemView)))]
pub(super) async fn host(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<SeriesQuery>,
) -> Answer<Json<MetricsView>> {
    let query = MetricsQuery { since: query.since, step: query.step };
    let (step, points) = insight::host_metrics(&state.ctx, &actor, &query).await?;
    Ok(Json(MetricsView::new(step, &points)))
}

/// All counters as they stand, for Prometheus; needs the token of an administrator of the platform.
#[utoipa::path(get, path = "/metrics", tag = "platform",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemView)))]
pub(super) async fn prometheus(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Response> {
    let text = insight::prometheus(&state.ctx, &actor).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

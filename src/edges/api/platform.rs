//! The platform itself: is it well, where is what.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::ApiState;
use super::caller::Caller;
use super::problem::Answer;
use super::types::{HealthView, PlatformView, ProblemView};
use crate::product::accounts;

/// 200 as long as the state can be read.
#[utoipa::path(get, path = "/v1/healthz", tag = "platform", security(()),
    responses((status = 200, body = HealthView), (status = "default", body = ProblemView)))]
pub(super) async fn healthz(State(state): State<ApiState>) -> Answer<Json<HealthView>> {
    accounts::is_set_up(&state.ctx).await?;
    Ok(Json(HealthView { status: "ok".into() }))
}

#[utoipa::path(get, path = "/v1/status", tag = "platform",
    responses((status = 200, body = PlatformView), (status = "default", body = ProblemView)))]
pub(super) async fn status(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<PlatformView>> {
    actor.may_act()?;
    let config = &state.ctx.config;
    Ok(Json(PlatformView {
        version: env!("CARGO_PKG_VERSION").into(),
        base_domain: config.http.base_domain.to_string(),
        git_host: config.git.public_host.clone(),
        git_port: config.git.listen.port(),
        now: state.ctx.now().to_string(),
    }))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "platform", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn openapi(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.document.to_string())
}

//! What people say of a release that is on its way to be live.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::{place, view};
use super::input::Path;
use super::problem::Answer;
use super::types::{EnvironmentView, ProblemView};
use crate::product::deploy;

/// Lets a canary that holds go on: to its next step, or after the last one to all of the requests.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/continue", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn proceed(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<EnvironmentView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let environment = deploy::proceed(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

/// Ends a release that is being rolled out, held or watched: all requests go to the one before.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/abort", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn abort(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<EnvironmentView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let environment = deploy::abort(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

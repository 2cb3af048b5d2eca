//! Process types that the platform scales.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::processes::view;
use super::types::{Page, ProblemView, ProcessItem, ScalingBody};
use crate::base::model::Scaling;
use crate::product::deploy;

/// The platform chooses the number of replicas within these bounds. Requests and their latency count for `web` alone, which alone
/// may sleep; any other process type needs an aim for its processor or memory.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{environment}/processes/{process}/scaling", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path), ("process" = String, Path)), request_body = ScalingBody,
    responses((status = 200, body = Page<ProcessItem>), (status = "default", body = ProblemView)))]
pub(super) async fn set(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, process)): Path<(String, String, String)>,
    Body(body): Body<ScalingBody>,
) -> Answer<Json<Page<ProcessItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let (process, scaling) = (name("process", &process)?, Scaling::from(body));
    let environment = deploy::autoscale(&state.ctx, &actor, &app, &environment, &process, Some(scaling)).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

/// The number of replicas is what people set again.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/processes/{process}/scaling", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path), ("process" = String, Path)),
    responses((status = 200, body = Page<ProcessItem>), (status = "default", body = ProblemView)))]
pub(super) async fn unset(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, process)): Path<(String, String, String)>,
) -> Answer<Json<Page<ProcessItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let process = name("process", &process)?;
    let environment = deploy::autoscale(&state.ctx, &actor, &app, &environment, &process, None).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

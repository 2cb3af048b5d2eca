//! What holds for the requests of an environment before and after its replicas see them.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path};
use super::problem::Answer;
use super::types::{ProblemView, TrafficChangeBody, TrafficView};
use crate::product::apps;

/// Passwords are told to nobody.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/traffic", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = TrafficView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<TrafficView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let beneath = apps::traffic_beneath(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(TrafficView::new(&environment.spec.traffic, &beneath)))
}

/// What is left out stays as it is, null is the usual. It holds from now on, whatever release is live, and is no part of
/// one; it goes before what `app.json` of a release says.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}/traffic", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = TrafficChangeBody,
    responses((status = 200, body = TrafficView), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<TrafficChangeBody>,
) -> Answer<Json<TrafficView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let (change, users) = body.read()?;
    let name = environment.id.to_string();
    let environment = apps::change_traffic(&state.ctx, &actor, &app, &name, change, users).await?;
    let beneath = apps::traffic_beneath(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(TrafficView::new(&environment.spec.traffic, &beneath)))
}
